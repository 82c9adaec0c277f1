"""Measures pictures: what is in a file, what it looks like at the size of training, and what tells copies."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from cyclestyle.data.duplicates import THUMB, thumbnail
from cyclestyle.images import ImageError, decoding, orientation_of, read_image, resize_image

THREADS = min(8, os.cpu_count() or 1)
_LUMA_TABLE = 57.625  # mean of the JPEG standard's table, which programs scale by quality


@dataclass(frozen=True, eq=False)
class Picture:
    """What was measured.

    Attributes:
        width, height: pixels, as shown.
        format: Pillow's name, such as JPEG.
        quality: of a JPEG on the usual scale, 1 to 100, as its tables tell.
        plain: the file holds upright RGB under the right suffix, and training sees just its pixels.
        digest: equal for equal pixels.
        thumb: uint8 (96, 96) of `duplicates.thumbnail`.
        brightness, colour: 0 to 255; mean luminance, and mean distance of the channels (0 is grey).
        contrast: grey levels between the darkest and the lightest parts.
        detail: mean difference in grey levels from pixel to pixel at the size of training.
    """

    path: Path
    width: int
    height: int
    format: str
    quality: int | None
    plain: bool
    digest: str
    thumb: np.ndarray
    brightness: float
    colour: float
    contrast: float
    detail: float

    @property
    def short(self) -> int:
        return min(self.width, self.height)

    @property
    def aspect(self) -> float:
        return max(self.width, self.height) / self.short


@dataclass(frozen=True)
class Broken:
    """A file that cannot be read, and why."""

    path: Path
    reason: str


def examine(path: Path, load_size: int) -> Picture | Broken:
    """Read and measure one picture; its detail with a short side of `load_size`."""
    try:
        picture = read_image(path)
        form, quality, plain = _header(path)
    except (ImageError, OSError) as error:
        return Broken(path, str(error).removeprefix(f"{path}: "))
    height, width = picture.shape[:2]
    thumb = thumbnail(picture)
    digest = hashlib.blake2b(f"{width}x{height}".encode() + picture.tobytes(), digest_size=16).hexdigest()
    most = 4 * min(height, width)  # a long scroll is measured by its beginning
    seen = resize_image(picture[:most, :most], load_size, "short")
    grey = np.asarray(Image.fromarray(seen).convert("L")).astype(np.float32)
    dark, light = np.percentile(thumb, (2, 98))
    return Picture(
        path, width, height, form, quality, plain, digest, thumb,
        brightness=float(thumb.mean()),
        colour=float((seen.max(2) - seen.min(2)).mean()),
        contrast=float(light - dark),
        detail=float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()) / 2,
    )  # fmt: skip


def examine_all(paths: Sequence[Path], load_size: int = 286) -> list[Picture | Broken]:
    """`examine` in threads, in order, with a bar; decoding and resizing leave Python's lock."""
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            results = pool.map(lambda path: examine(path, load_size), paths)
            return list(tqdm(results, "examining", len(paths), unit="picture", disable=None, leave=False))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
            raise


def thumbs(pictures: Sequence[Picture]) -> np.ndarray:
    """uint8 (N, 96, 96)."""
    return np.array([picture.thumb for picture in pictures], np.uint8).reshape(-1, THUMB, THUMB)


def _header(path: Path) -> tuple[str, int | None, bool]:
    with decoding(path), Image.open(path) as opened:
        form = opened.format or "?"
        suffixes = Image.registered_extensions()
        plain = (
            orientation_of(opened) == 1
            and opened.mode == "RGB"
            and "transparency" not in opened.info
            and getattr(opened, "n_frames", 1) == 1
            and suffixes.get(path.suffix.lower()) == form
        )
        tables = getattr(opened, "quantization", None)
        return form, _quality(tables[0]) if tables and 0 in tables else None, plain


def _quality(table: Sequence[int]) -> int:
    """IJG quality from the mean of a luminance table; other programs' tables come near it."""
    scale = 100 * sum(table) / len(table) / _LUMA_TABLE
    return round(min(100, max(1, (200 - scale) / 2 if scale <= 100 else 5000 / scale)))
