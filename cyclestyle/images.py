"""The only place that knows ranges and layouts: uint8 (H, W, 3) outside, float (B, 3, H, W) in [-1, 1] inside."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, Image, ImageDraw
from torch import Tensor

from cyclestyle.config import DataConfig
from cyclestyle.deep import (
    BITS_PER_SAMPLE,
    PHOTOMETRIC,
    SAMPLE_FORMAT,
    UNSIGNED,
    WHITE_IS_ZERO,
    bits_of,
    is_read_deep,
    read_deep,
    white_of_floats,
)
from cyclestyle.errors import UserError
from cyclestyle.files import atomic_write
from cyclestyle.rare_tiff import begins_as_tiff, encoded, is_misread, rare_page

# Registered by Pillow, yet not decoded by it: stubs, a video probe, and PostScript, which runs a program.
_NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
_TURNS = [  # what undoes the orientations 2 to 8 of EXIF
    *(Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM),
    *(Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90),
]
HEIC = {".heic", ".heif", ".hif"}
RARE = "a TIFF of a rare kind, or a damaged one; save it as RGB"
LEVELS = {"L;2": 4, "L;4": 16}  # of grey, in a PNG
LEAST_SIDE = 32  # of what a network sees: instance norm and reflection padding need some pixels to work with
MOST_PIXELS = 178_956_970  # where Pillow refuses by itself
CPU = torch.device("cpu")


class ImageError(UserError):
    """A file that cannot be read as a picture."""


@cache
def register_heic() -> bool:
    """Teach Pillow HEIC, if the extra `heic` is installed; returns whether it is."""
    try:
        import pillow_heif
    except ModuleNotFoundError:
        return False
    pillow_heif.register_heif_opener()
    return True


def readable_suffixes() -> frozenset[str]:
    """Lower-case file suffixes, with the dot, of every format that Pillow decodes, and of HEIC in any case.

    Reading a HEIC file without the extra then says what is missing, where it would be passed over in silence.
    """
    register_heic()
    registered = Image.registered_extensions()
    decoded = Image.OPEN.keys() - _NOT_DECODED | {"MPO"}  # which Pillow opens as JPEG
    return frozenset(suffix for suffix, name in registered.items() if name in decoded) | HEIC


def find_images(folder: Path, others: frozenset[str] = frozenset(), unlisted: list[Path] | None = None) -> list[Path]:
    """All pictures below a folder, by suffix, sorted by their relative path.

    Hidden files and folders are passed over; links are followed, each folder once.

    Args:
        others: further suffixes that are looked for.
        unlisted: gets the folders that cannot be listed.

    Raises:
        OSError: a folder cannot be listed, and `unlisted` is not given.
    """
    suffixes = readable_suffixes() | others
    found: list[Path] = []
    seen: set[Path] = set()

    def refuse(error: OSError) -> None:
        if unlisted is None:
            raise error
        unlisted.append(Path(error.filename))

    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = Path(parent).resolve()
        folders[:] = [name for name in folders if not name.startswith(".")] if real not in seen else []
        if real not in seen:
            found += [Path(parent, n) for n in names if Path(n).suffix.lower() in suffixes and not n.startswith(".")]
        seen.add(real)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


@contextmanager
def decoding(path: Path, most: int = MOST_PIXELS, remedy: str = "") -> Iterator[None]:
    """Turn whatever decoders raise within the block into an ImageError that names the file.

    Args:
        most, remedy: as of `open_image`.
    """
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except Image.UnidentifiedImageError:
        raise ImageError(f"{path}: {RARE if begins_as_tiff(path) else 'not a picture, or a damaged one'}") from None
    except Image.DecompressionBombError:
        raise _too_many_pixels(path, most, remedy) from None
    except MemoryError:
        raise ImageError(f"{path}: too large for the memory of this machine") from None
    except Exception as error:  # decoders raise nearly anything on damaged files
        if isinstance(error, SyntaxError) and begins_as_tiff(path):  # a page of such a kind
            raise ImageError(f"{path}: {RARE}") from None
        told = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise ImageError(f"{path}: cannot be decoded: {' '.join(told.split())}") from None


def open_image(path: Path, most: int = MOST_PIXELS, remedy: str = "") -> Image.Image:
    """Open a picture file without decoding it yet.

    Args:
        most: pixels that it may have.
        remedy: ends the message where it has more.

    Raises:
        ImageError: the file is missing, not a picture, or has more pixels.
    """
    with decoding(path, most, remedy):
        if not path.is_file() and path.exists():
            if path.is_dir():
                raise ImageError(f"{path}: a folder without pictures, or one that may not be read")
            raise ImageError(f"{path}: not a file that can be read from its start to its end")
        if not register_heic() and path.suffix.lower() in HEIC:
            raise ImageError(f"{path}: HEIC needs a package more: pip install 'cyclestyle[heic]'")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the limit is the one below, and what is wrong an error
            Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, -(-most // 2))  # Pillow refuses twice as many
            image = scale_hidden(_opened(path, most))
        try:
            check_pixels(image, path, most, remedy)
        except ImageError:
            image.close()
            raise
        return image


def _opened(path: Path, most: int) -> Image.Image:
    """By Pillow, or, if it begins with such a page of a TIFF, by `rare_page`."""
    logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)  # an error is raised
    try:
        image = Image.open(path)
    except Image.UnidentifiedImageError:
        if not begins_as_tiff(path):
            raise
    else:
        if image.format != "TIFF" or not is_misread(image):
            return image
        image.close()
    return rare_page(path, most)


def scale_hidden(image: Image.Image) -> Image.Image:
    """Make the grey that is transparent in an open PNG, of a few levels, one of 256, for which Pillow takes it."""
    coded = next((str(tile.args) for tile in getattr(image, "tile", [])), "")
    hidden = image.info.get("transparency")
    if image.format == "PNG" and coded in LEVELS and isinstance(hidden, int):
        image.info["transparency"] = hidden * 255 // (LEVELS[coded] - 1)
    return image


def check_pixels(image: Image.Image, path: Path, most: int, remedy: str = "") -> None:
    """Whether a picture, or the page of it that was turned to, has no more than `most` pixels.

    Raises:
        ImageError: it has.
    """
    if image.width * image.height > most:
        raise _too_many_pixels(path, most, remedy, f"{image.width}x{image.height} are ")


def _too_many_pixels(path: Path, most: int, remedy: str, size: str = "") -> ImageError:
    return ImageError(f"{path}: refused: {size}more than {most / 1e6:.0f} megapixels{remedy}")


def read_image(path: Path) -> np.ndarray:
    """Read any picture as it is meant to be seen: EXIF rotation applied, transparency over white, 16 bit scaled to 8.

    Returns:
        uint8 (H, W, 3), RGB; of an animation the first frame.

    Raises:
        ImageError: the file is missing, not a picture, truncated, or larger than Pillow's safety limit.
    """
    with open_image(path) as opened, decoding(path):
        return np.asarray(_to_rgb(_decoded(opened, path)))


def _decoded(image: Image.Image, path: Path) -> Image.Image:
    """Upright; JPEG 2000 of more than 8 bits not by Pillow, which makes black of its white."""
    if image.format != "JPEG2000" or not is_read_deep(image, bits := bits_of(image, path)):
        return upright(image)
    colours, alpha = read_deep(image, encoded(image, path), bits)
    return Image.fromarray(to_8_bit(colours if alpha is None else np.dstack([colours, alpha])))


def orientation_of(image: Image.Image) -> int:
    """1 to 8, as EXIF numbers them; 1 where it does not say, or is damaged."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises many kinds
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says that it is to be shown."""
    image.load()  # turns a TIFF by itself
    orientation = orientation_of(image)
    return image if orientation == 1 else image.transpose(_TURNS[orientation - 2])


def resize_image(picture: np.ndarray, size: int, how: str) -> np.ndarray:
    """Resize with Pillow's antialiased bicubic filter.

    Args:
        picture: uint8 (H, W, 3).
        size: pixels of the short side (`how` is "short") or of both sides ("square"); unused for "none".

    Returns:
        uint8 (H', W', 3).
    """
    height, width = picture.shape[:2]
    if how == "none":
        return picture
    scale = size / min(width, height)
    target = (size, size) if how == "square" else (max(size, round(width * scale)), max(size, round(height * scale)))
    if target == (width, height):
        return picture
    return np.asarray(Image.fromarray(picture).resize(target, Image.Resampling.BICUBIC))


def prepare_image(picture: np.ndarray, config: DataConfig, domain: str) -> np.ndarray:
    """What `data.prepare` does to every picture of a domain, before training and before translation.

    The contrast is that of the picture as training sees it, at `data.load_size`, so that the grain and the fine strokes
    of a large original count no more there than here. It is raised to four times at most: blank paper stays blank.

    Args:
        picture: uint8 or uint16 (H, W, 3), resized already or not.
        config: has `prepare`, `load_size` and `resize`.
        domain: A or B.

    Returns:
        of the same type and size.
    """
    percent = getattr(config.prepare, domain).autocontrast
    if percent is None:
        return picture
    seen = resize_image(to_8_bit(picture), config.load_size, config.resize)
    black, white = np.percentile(seen, (percent, 100 - percent), axis=(0, 1))
    black = np.minimum(black, white - 255 / 4)
    full = np.iinfo(picture.dtype).max
    table = ((np.arange(full + 1)[:, None] - black / 255 * full) / (white - black) * 255).clip(0, full)
    table = table.round().astype(picture.dtype)
    return np.stack([table[picture[..., channel], channel] for channel in range(3)], axis=-1)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB: 16-bit and float grey scaled to 8 bit, transparency laid over white."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(scaled_grey(image)).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        with_alpha = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return image.convert("RGB")


def scaled_grey(image: Image.Image, dtype: npt.DTypeLike = np.uint8) -> np.ndarray:
    """Grey of 16 bit, 32 bit or floating point -> uint8 or uint16 (H, W)."""
    tags: Any = getattr(image, "tag_v2", {})
    bits, unsigned = min(tags.get(BITS_PER_SAMPLE, (16,))), tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0] == UNSIGNED
    grey, full = np.asarray(image), 65535.0
    if image.mode == "I":
        grey = grey.view(np.uint32) if unsigned and bits == 32 else grey
        full = 2.0 ** max(16, int(grey.max(initial=0)).bit_length()) - 1  # many programs write fewer than 32
    grey = grey.astype(np.float64)
    if image.mode.startswith("I;16"):
        full = 2.0 ** min(16, bits) - 1  # scanners write 12
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO and image.mode != "F":
        grey = full - grey
    if image.mode == "F":
        full = white_of_floats(grey)
    white = np.iinfo(dtype).max
    grey *= white / full
    return np.nan_to_num(grey).clip(0, white).round().astype(dtype)


def write_image(path: Path, picture: np.ndarray) -> None:
    """Write uint8 (H, W, 3) in the format of the suffix, whole or not at all; JPEG and WebP at quality 95."""
    options = {"quality": 95, "subsampling": 0} if path.suffix.lower() in (".jpg", ".jpeg", ".jpe", ".jfif") else {}
    if path.suffix.lower() == ".webp":
        options = {"quality": 95}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        try:
            Image.fromarray(picture).save(file, format=Image.registered_extensions()[path.suffix.lower()], **options)
        except (OverflowError, ValueError) as error:  # the format has no room for so many pixels
            raise ImageError(f"{path}: cannot be written: {error}; choose another format") from None


def to_tensor(pictures: np.ndarray, device: torch.device = CPU) -> Tensor:
    """uint8 or uint16 (B, H, W, 3) or (H, W, 3) -> float32 (B, 3, H, W) in [-1, 1], on a device."""
    half = np.iinfo(pictures.dtype).max / 2
    tensor = torch.from_numpy(np.array(pictures, np.uint8 if pictures.dtype == np.uint8 else np.float32)).to(device)
    if tensor.ndim == 3:
        tensor = tensor[None]
    # Standard layout: strides left from (H, W, 3) would make every layer channels_last, whatever its weights are.
    return tensor.permute(0, 3, 1, 2).float().contiguous().div_(half).sub_(1)


def to_pixels(tensor: Tensor, dtype: npt.DTypeLike = np.uint8) -> np.ndarray:
    """float (B, 3, H, W) in [-1, 1] -> uint8 or uint16 (B, H, W, 3)."""
    full = np.iinfo(dtype).max
    scaled = tensor.detach().float().add(1).mul_(full / 2).round_().clamp_(0, full)
    whole = scaled.permute(0, 2, 3, 1).to(torch.uint8 if dtype == np.uint8 else torch.int32)
    return whole.cpu().numpy().astype(dtype, copy=False)


def to_8_bit(values: np.ndarray) -> np.ndarray:
    """uint8 or uint16 -> uint8."""
    return values if values.dtype == np.uint8 else ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def grid(rows: list[list[np.ndarray]], titles: list[str], gap: int = 4) -> np.ndarray:
    """Lay pictures of any sizes out in a titled table on white.

    Args:
        rows: uint8 (H, W, 3) pictures; every row has one for each title.

    Returns:
        uint8 (H', W', 3).
    """
    bar = 16
    widths = [max(row[i].shape[1] for row in rows) for i in range(len(titles))]
    heights = [max(picture.shape[0] for picture in row) for row in rows]
    sheet = Image.new(
        "RGB", (sum(widths) + gap * (len(widths) + 1), bar + sum(heights) + gap * (len(rows) + 1)), "white"
    )
    draw = ImageDraw.Draw(sheet)
    left = gap
    for column, title in enumerate(titles):
        draw.text((left, 2), title, fill="black")
        top = bar + gap
        for row, height in zip(rows, heights, strict=True):
            sheet.paste(Image.fromarray(row[column]), (left, top))
            top += height + gap
        left += widths[column] + gap
    return np.asarray(sheet)


def pad_to_multiple(picture: np.ndarray, stride: int) -> np.ndarray:
    """Extend to the right and below by reflection until both sides are multiples of `stride` and not under 32.

    The caller cuts the result back.
    """
    height, width = padded_size(picture.shape[0], picture.shape[1], stride)
    return np.pad(picture, ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0)), mode="reflect")


def padded_size(height: int, width: int, stride: int) -> tuple[int, int]:
    """What `pad_to_multiple` makes of a size."""
    return -(-max(height, LEAST_SIDE) // stride) * stride, -(-max(width, LEAST_SIDE) // stride) * stride
