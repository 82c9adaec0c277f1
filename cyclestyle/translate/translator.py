"""What users hold: a trained generator that takes and gives pictures."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from cyclestyle.checkpoint import CheckpointError, TrainedModel, read_model
from cyclestyle.cyclegan import make_generator
from cyclestyle.devices import pick_device, pick_precision
from cyclestyle.errors import UserError, choices
from cyclestyle.images import pad_to_multiple, prepare_image, to_tensor, to_uint8
from cyclestyle.memory import free_memory, is_out_of_memory, keep_freed_memory, peak_memory
from cyclestyle.nets import fix_weights

SURELY_ENOUGH = 5000  # bytes of memory for a byte of pictures; where there are so many, none are counted
DIRECTIONS = {"AtoB": "gen_ab", "BtoA": "gen_ba"}


class Translator:
    """Translates uint8 (H, W, 3) RGB pictures of any size; the result has the same size.

    Args:
        model: of `read_model`; `Translator.load` takes a path.
        direction: AtoB or BtoA.
        device: auto, cpu, cuda or mps.
        precision: auto, fp32, bf16 or fp16, of convolutions.

    Attributes:
        source, target: what the two domains are called.

    Raises:
        UserError: the direction, device or precision cannot be had, or the weights do not fit the description.
    """

    def __init__(
        self, model: TrainedModel, direction: str = "AtoB", device: str = "auto", precision: str = "auto"
    ) -> None:
        if direction not in DIRECTIONS:
            raise UserError(f"direction: '{direction}' is not a choice; {choices(direction, DIRECTIONS)}")
        names = model.config.data.names
        self.source, self.target = names if direction == "AtoB" else names[::-1]
        self.direction, self.model = direction, model
        self.device = pick_device(device)
        self.dtype = pick_precision(precision, self.device)
        net = make_generator(model.config.model)
        try:
            net.load_state_dict(model.generators[DIRECTIONS[direction]])
        except (RuntimeError, KeyError) as error:
            raise CheckpointError(f"{model.path}: its weights do not fit its description: {error}") from None
        net = net.to(self.device, self.dtype).eval().requires_grad_(False)
        if self.dtype != torch.float32:  # convolutions are faster that way
            net.to(memory_format=torch.channels_last)
        if self.device.type == "cpu":
            fix_weights(net)
        self._net, self._stride = net, net.stride

    @classmethod
    def load(
        cls,
        path: str | Path,
        direction: str | None = None,
        to: str | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> "Translator":
        """Load a run folder, a checkpoint or a safetensors file.

        Args:
            direction: AtoB (the default) or BtoA.
            to: the name of the domain to translate to, in place of a direction.

        Raises:
            UserError: nothing can be read there, or as the constructor.
        """
        model = read_model(Path(path))
        names = model.config.data.names
        if to is not None and direction is not None:
            raise UserError("give either a direction or the domain to translate to, not both")
        if to is not None:
            if to not in names:
                raise UserError(f"to: {model.path} has no domain '{to}'; {choices(to, names)}")
            direction = "AtoB" if to == names[1] else "BtoA"
        return cls(model, direction or "AtoB", device, precision)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Translate one picture, uint8 (H, W, 3) -> uint8 (H, W, 3)."""
        return self.batch([picture])[0]

    def batch(self, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Translate pictures, uint8 (H, W, 3) each, in one pass for each size that occurs."""
        prepared = [prepare_image(_checked(p), self.model.config.data, self.direction[0]) for p in pictures]
        padded = [pad_to_multiple(picture, self._stride) for picture in prepared]
        results: list[np.ndarray | None] = [None] * len(pictures)
        for shape in dict.fromkeys(p.shape for p in padded):
            group = [i for i, p in enumerate(padded) if p.shape == shape]
            translated = self._translate(np.stack([padded[i] for i in group]))
            for i, result in zip(group, translated, strict=True):
                height, width = pictures[i].shape[:2]
                results[i] = result[:height, :width]
        return [result for result in results if result is not None]

    def padded_shape(self, picture: np.ndarray) -> tuple[int, ...]:
        """The size that the network sees; pictures that share it go through it together."""
        return pad_to_multiple(picture, self._stride).shape

    def _translate(self, pictures: np.ndarray) -> np.ndarray:
        self._check_memory(pictures)
        try:
            with torch.inference_mode():
                made = self._net(to_tensor(pictures).to(self.device, self.dtype))
                if made.isnan().any():  # which would become black pixels
                    raise UserError(
                        f"{self.model.path}: translates {self.source} to {self.target} into what is not a number; its "
                        "weights are damaged or its training has diverged: take an earlier checkpoint"
                    )
                return to_uint8(made)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        raise self._too_large(pictures, ", more than there is")

    def _check_memory(self, pictures: np.ndarray) -> None:
        """Whether there is enough; if there only just is, spend none on speed."""
        free = free_memory(self.device)
        scarce = free is not None and pictures.nbytes * SURELY_ENOUGH > free and self._memory(pictures) > free / 2
        if self.device.type == "cpu":
            keep_freed_memory(not scarce)
        free = free_memory(self.device)
        if scarce and free is not None and self._memory(pictures) > free:
            raise self._too_large(pictures, f" and {free / 2**30:.1f} are free")

    def _too_large(self, pictures: np.ndarray, compared: str) -> UserError:
        (count, height, width), needed = pictures.shape[:3], self._memory(pictures) / 2**30
        return UserError(
            f"{count} x {width}x{height} pixels need about {needed:.1f} GiB of memory{compared}; use smaller pictures "
            "or a smaller batch"
        )

    def _memory(self, pictures: np.ndarray) -> float:
        """Bytes at the peak of a pass."""
        return pictures.nbytes / 3 * self._bytes_a_pixel

    @cached_property
    @torch.no_grad()
    def _bytes_a_pixel(self) -> float:
        shape = (1, 3, 512, 512)
        return peak_memory(lambda: self._net(torch.empty(shape, dtype=self.dtype, device=self.device))) / 512**2


def _checked(picture: np.ndarray) -> np.ndarray:
    if not isinstance(picture, np.ndarray):
        raise UserError(
            f"a picture is an array, not {type(picture).__name__}; np.asarray(Image.open(path).convert('RGB')) is one"
        )
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise UserError(f"a picture is uint8 (height, width, 3), not {picture.dtype} {picture.shape}")
    return picture
