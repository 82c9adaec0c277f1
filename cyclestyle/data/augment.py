"""Augmentation of training pictures: an albumentations pipeline written in the configuration."""

import os
import threading
from typing import Any

import numpy as np

from cyclestyle.config import ConfigError, DataConfig, Step
from cyclestyle.errors import UserError
from cyclestyle.registry import build


class Pipeline:
    """The steps of one domain; safe to call from several threads.

    Args:
        steps: one-key mappings {transform: options}; the words `crop_size` and `load_size` stand for their values.
        data: gives those values and the size that must come out.
        key: the option's name in messages, such as `data.augment.A`.

    Raises:
        ConfigError: a transform or an option that albumentations does not have.
    """

    def __init__(self, steps: list[Step], data: DataConfig, key: str) -> None:
        self._steps, self._data, self._key = steps, data, key
        self._local = threading.local()
        self._compose()  # says at once what is wrong

    def __call__(self, picture: np.ndarray, seed: int) -> np.ndarray:
        """uint8 (H, W, 3) -> uint8 (crop_size, crop_size, 3), decided by `seed` (32 bit) alone.

        Raises:
            ConfigError: the steps give another size, type or an error.
        """
        if not hasattr(self._local, "compose"):
            self._local.compose = self._compose()
        compose = self._local.compose
        compose.set_random_seed(seed)
        try:
            result = compose(image=picture)["image"]
        except Exception as error:
            raise ConfigError(f"{self._key}: failed on a picture of {_size(picture)}: {error}") from error
        size = self._data.crop_size
        if not isinstance(result, np.ndarray) or result.shape != (size, size, 3) or result.dtype != np.uint8:
            made = _size(result) if isinstance(result, np.ndarray) else type(result).__name__
            raise ConfigError(
                f"{self._key}: gives {made}, not uint8 {size}x{size} RGB; "
                "end with a crop to {height: crop_size, width: crop_size}"
            )
        return result

    def _compose(self) -> Any:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network at import
        import albumentations

        table = {
            name: thing
            for name, thing in vars(albumentations).items()
            if isinstance(thing, type) and issubclass(thing, albumentations.BasicTransform)
        }
        transforms = []
        for index, step in enumerate(self._steps):
            key = f"{self._key}.{index}"
            if len(step) != 1:
                raise ConfigError(f"{key}: one transform a step, as in '- HorizontalFlip: {{p: 0.5}}', not {step!r}")
            [(name, options)] = step.items()
            try:
                transforms.append(build(key, table, name, **{k: self._fill(v) for k, v in options.items()}))
            except UserError as error:
                raise ConfigError(str(error)) from None
        return albumentations.Compose(transforms)

    def _fill(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._fill(v) for v in value]
        return getattr(self._data, value) if value in ("crop_size", "load_size") else value


def _size(picture: np.ndarray) -> str:
    return f"{picture.dtype} {picture.shape[1]}x{picture.shape[0]}" if picture.ndim >= 2 else str(picture.shape)
