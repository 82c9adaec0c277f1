"""Pictures that training does not see, for grids and for measuring."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cyclestyle.config import DataConfig
from cyclestyle.data.layout import DataError
from cyclestyle.data.unpaired import fitted, list_pictures
from cyclestyle.images import ImageError, read_image, resize_image


def held_out(config: DataConfig, count: int) -> tuple[str, list[list[np.ndarray]], list[str]]:
    """The first `count` readable pictures of A and B of the first split there is of test, val and train.

    Returns:
        the split's name; uint8 (H, W, 3) pictures of each domain, resized to load_size, prepared, and cut in the middle
        to at most twice as long as wide (`resize: none`: to a square of load_size); and a line for each picture that
        could not be read.
    """
    problems: list[str] = []
    for split in ("test", "val", "train"):
        pictures = [_first_readable(config, split, domain, count, problems) for domain in "AB"]
        if all(pictures):
            return split, pictures, problems
    raise DataError("\n".join(["no picture can be read:", *problems]))


def _first_readable(config: DataConfig, split: str, domain: str, count: int, problems: list[str]) -> list[np.ndarray]:
    pictures: list[np.ndarray] = []
    try:
        paths = list_pictures(config, split + domain)
    except DataError:
        return []
    for path in paths:
        if len(pictures) == count:
            break
        try:
            picture = fitted(read_image(path), config, domain)
            most = max(config.load_size, config.crop_size) if config.resize == "none" else 2 * min(picture.shape[:2])
            pictures.append(_middle(picture, most))
        except ImageError as error:
            problems.append(str(error))
    return pictures


def middle_squares(
    paths: Sequence[Path],
    config: DataConfig,
    title: str,
    count: int | None = None,
    seed: int = 0,
    domain: str | None = None,
) -> tuple[np.ndarray, list[Path], list[str]]:
    """Pictures at the scale of training, cut to the square in their middle.

    Args:
        config: gives `load_size`, `resize` and `crop_size`, the side S.
        title: of the progress bar.
        count: how many, drawn by `seed` (None: all); others take the place of those that cannot be used.
        domain: A or B, to prepare them as training does; None: as they are.

    Returns:
        uint8 (N, S, S, 3), their paths, and a line for each picture that could not be used.
    """
    order = np.arange(len(paths))
    if count is not None and count < len(paths):
        order = np.random.RandomState(seed % 2**32).permutation(len(paths))
    wanted = len(paths) if count is None else count

    def read(path: Path) -> np.ndarray | str:
        try:
            picture = read_image(path)
        except ImageError as error:
            return str(error)
        picture = fitted(picture, config, domain) if domain else resize_image(picture, config.load_size, config.resize)
        if min(picture.shape[:2]) < config.crop_size:
            return f"{path}: {picture.shape[1]}x{picture.shape[0]} pixels, smaller than {config.crop_size}"
        return _middle(picture, config.crop_size)

    good: dict[Path, np.ndarray] = {}
    problems: list[str] = []
    with ThreadPoolExecutor(max(1, config.workers)) as pool:
        while len(good) < wanted and len(order):
            part, order = np.sort(order[: wanted - len(good)]), order[wanted - len(good) :]
            some = [paths[i] for i in part]
            bar = tqdm(pool.map(read, some), title, len(some), unit="file", disable=None, leave=False)
            for path, picture in zip(some, bar, strict=True):
                if isinstance(picture, str):
                    problems.append(picture)
                else:
                    good[path] = picture
    kept = [path for path in paths if path in good]
    pictures = [good[path] for path in kept]
    return np.stack(pictures) if pictures else np.empty((0, *2 * [config.crop_size], 3), np.uint8), kept, problems


def _middle(picture: np.ndarray, most: int) -> np.ndarray:
    """What lies within `most` pixels each way around the middle."""
    height, width = picture.shape[:2]
    top, left = max(0, height - most) // 2, max(0, width - most) // 2
    return picture[top : top + most, left : left + most]
