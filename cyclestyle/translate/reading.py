"""Picture files as they are: frames in sRGB, of 8 or 16 bit, their transparency, and what else is worth keeping."""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms

from cyclestyle.boxes import colours_of_heif
from cyclestyle.deep import bits_of, is_read_deep, read_deep
from cyclestyle.images import (
    MOST_PIXELS,
    ImageError,
    check_pixels,
    decoding,
    open_image,
    orientation_of,
    scaled_grey,
    to_8_bit,
    upright,
)
from cyclestyle.translate.exif import kept_exif
from cyclestyle.translate.profiles import code_points, coded_to_srgb, deep_to_srgb, differ_from_srgb
from cyclestyle.translate.xmp import kept_xmp

SEVERAL = {"AVIF", "GIF", "PNG", "TIFF", "WEBP"}  # further pictures in other formats are previews
LOSSY = {"HEIF", "JPEG", "JPEG2000", "MPO"}  # AVIF and WebP may be
RGB, YCC = 0, 6  # MatrixCoefficients of H.273
ALLOW_MORE = "; --max-megapixels allows more, if you trust the file"


@dataclass(frozen=True)
class Frame:
    """One picture of a file, upright.

    Attributes:
        pixels: uint8 or uint16 (H, W, 3), sRGB.
        alpha: of the same type, (H, W); None if the file has no transparency.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None


@dataclass(frozen=True)
class About:
    """What a file says beside its pixels.

    Attributes:
        exif: without orientation and thumbnail, which a translation makes untrue; or empty.
        xmp: an `rdf:Description` of what stays true; or empty.
        dpi: resolution in print, if known.
        milliseconds: for each frame of an animation, how long it is shown.
        loop: how often an animation is shown, 0: for ever; None: once.
        lossless: whether the file keeps every pixel as it was.
        format: as Pillow calls it.
        bits: of a channel.
    """

    exif: bytes = b""
    xmp: str = ""
    dpi: tuple[float, float] | None = None
    milliseconds: Sequence[float] = ()
    loop: int | None = None
    lossless: bool = False
    format: str | None = None
    bits: int = 8


class Source:
    """A picture file, opened, to be read frame by frame; a context manager.

    Args:
        most: pixels that a frame may have.

    Attributes:
        count: of frames.
        deep: whether they are read in 16 bit a channel, as the file has more than 8.
        cut: bits of a channel of a frame that was read, and how many of them were, where that is fewer.
        about: what it says beside them.

    Raises:
        ImageError: the file is missing, not a picture, damaged or too large; frames raise it, too.
    """

    def __init__(self, path: Path, most: int = MOST_PIXELS) -> None:
        self._path, self._most = path, most
        self.deep = False
        self.cut: tuple[int, int] | None = None
        self._bits: dict[int, int] = {}  # of each page
        self._deep: set[int] = set()  # those that Pillow would not read in full
        self._image = open_image(path, most, ALLOW_MORE)
        try:
            self._describe(path)
        except ImageError:
            self.close()
            raise

    def _describe(self, path: Path) -> None:
        with self._decoding():
            several = self._image.format in SEVERAL
            # A PNG may begin with a picture that is shown where nothing moves.
            self._first = int(several and getattr(self._image, "default_image", False))
            self.count: int = getattr(self._image, "n_frames", 1) - self._first if several else 1
            pages = range(self.count) if self._image.format == "TIFF" else range(1)
            for number in pages:  # of which this is told only before they are decoded
                self._measure(number)
            self._seek(0)
            self._coded = code_points(self._image, path)
            self.about = About(
                exif=kept_exif(self._image),
                xmp=kept_xmp(self._image, path),
                dpi=_dpi(self._image),
                milliseconds=[self._shown(number) for number in range(self.count)] if self.count > 1 else [],
                loop=self._image.info.get("loop", 0 if self._image.format == "AVIF" else None),
                lossless=_is_lossless(path, self._image),
                format=self._image.format,
                bits=max(self._bits.values()),
            )

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._image.close()

    def _decoding(self) -> AbstractContextManager[None]:
        return decoding(self._path, self._most, ALLOW_MORE)

    def _seek(self, number: int) -> None:
        if self.count > 1 or self._first:  # the one picture of a HEIC or a PSD need not be the first
            self._image.seek(self._first + number)
            check_pixels(self._image, self._path, self._most, ALLOW_MORE)

    def _measure(self, number: int) -> None:
        self._seek(number)
        bits = self._bits[number] = bits_of(self._image, self._path)
        if is_read_deep(self._image, bits):
            self._deep.add(number)
        one = self.count == 1 or self._image.format == "TIFF"  # what moves is written in 8 bits
        self.deep = self.deep or number in self._deep or (one and self._image.mode.startswith(("F", "I")))

    def _shown(self, number: int) -> float:
        self._seek(number)
        if self._image.format in ("AVIF", "WEBP"):  # which tell only then
            self._image.load()
        return float(self._image.info.get("duration", 0))

    def frames(self) -> Iterator[Frame]:
        """All frames in order, decoded one at a time."""
        for number in range(self.count):
            with self._decoding():
                self._seek(number)
                frame = self._read_deep(number) if number in self._deep else _read(self._image, self._profile)
            if self._coded and differ_from_srgb(*self._coded):
                frame = _decoded(frame, *self._coded)
            bits, read = self._bits.get(number, self._bits[0]), frame.pixels.itemsize * 8 if self.deep else 8
            if bits > read:
                self.cut = bits, read
            yield _to_16_bit(frame) if self.deep else _to_8_bit(frame)  # one deep page of a TIFF is enough

    @property
    def _profile(self) -> bytes | None:
        return None if self._coded else self._image.info.get("icc_profile")

    @cached_property
    def _encoded(self) -> np.ndarray:
        return np.fromfile(self._path, np.uint8)

    def _read_deep(self, number: int) -> Frame:
        """16 bit a channel, of which Pillow would keep 8."""
        try:
            colours, alpha = read_deep(self._image, self._encoded, self._bits[number], number)
        except ValueError:
            if self._image.format != "AVIF":
                raise
            self.deep = False  # some of which OpenCV does not read
            return _read(self._image, self._profile)
        if self._image.format != "TIFF":  # which is turned
            orientation = orientation_of(self._image)
            colours, alpha = _upright(colours, orientation), None if alpha is None else _upright(alpha, orientation)
        profile = self._profile
        if profile and profile[16:20] == b"GRAY" and colours.ndim == 3 and (colours == colours[..., :1]).all():
            colours = np.ascontiguousarray(colours[..., 0])  # OpenCV made three of one
        return Frame(_deep_to_srgb(colours, profile), alpha)


def _read(image: Image.Image, profile: bytes | None) -> Frame:
    image = upright(image)
    if image.mode.startswith(("F", "I")):
        return Frame(_deep_to_srgb(scaled_grey(image, np.uint16), profile))
    alpha = None
    if image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA", "La")
        image = image.convert("LA" if grey else "RGBA")
        alpha = np.asarray(image.getchannel("A"))
        image = image.convert("L" if grey else "RGB")
    return Frame(np.asarray(_to_srgb(image, profile)), alpha)


def _decoded(frame: Frame, primaries: int, transfer: int) -> Frame:
    """Of colours that a file tells by code points."""
    pixels = coded_to_srgb(_to_16_bit(frame).pixels, primaries, transfer)
    return Frame(pixels if frame.pixels.dtype == np.uint16 else to_8_bit(pixels), frame.alpha)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB in sRGB; a profile that is damaged, or of another kind of colours, counts as none."""
    if profile:
        if image.mode not in ("RGB", "L", "CMYK", "LAB"):
            image = image.convert("RGB")
        try:
            transform = ImageCms.buildTransform(
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                image.mode,
                "RGB",
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            if image.mode == "RGB" and _is_srgb(np.asarray(ImageCms.applyTransform(_all_colours(), transform))):
                return image
            converted = ImageCms.applyTransform(image, transform)
        except (ImageCms.PyCMSError, OSError):
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")


def _all_colours(mode: str = "RGB") -> Image.Image:
    """18x18x18 of them, or all greys (L), in a row."""
    values = np.arange(0, 256, 15, dtype=np.uint8)
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    return Image.fromarray(np.stack(np.meshgrid(values, values, values, indexing="ij"), -1).reshape(1, -1, 3))


def _is_srgb(converted: np.ndarray, mode: str = "RGB") -> bool:
    """Whether a profile leaves `_all_colours` as they are, but for the rounding of its tables."""
    return bool(np.abs(converted.astype(int) - np.asarray(_all_colours(mode).convert("RGB"))).max() <= 2)


def _deep_to_srgb(pixels: np.ndarray, profile: bytes | None) -> np.ndarray:
    """The same for uint16 (H, W, 3), or (H, W) of grey, which Pillow's colour management does not take.

    Colours that curves and a matrix do not describe go through a table.
    """
    mode = "L" if pixels.ndim == 2 else "RGB"
    converted = np.asarray(_to_srgb(_all_colours(mode), profile))
    plain = np.repeat(pixels[..., None], 3, 2) if mode == "L" else pixels
    if not profile or _is_srgb(converted, mode):
        return plain
    if (exact := deep_to_srgb(pixels, profile)) is not None:
        return exact
    if mode == "L":
        return plain
    side = round(converted.shape[1] ** (1 / 3))
    converted = converted.reshape(side, side, side, 3)
    nodes = torch.from_numpy(converted.astype(np.float32)).permute(3, 0, 1, 2)[None]
    places = torch.from_numpy(pixels[..., ::-1].astype(np.float32)).div_(65535 / 2).sub_(1)[None, None]
    colours = F.grid_sample(nodes, places, align_corners=True, padding_mode="border")[0, :, 0].permute(1, 2, 0)
    return (colours * 257).round_().numpy().astype(np.uint16)


def _to_16_bit(frame: Frame) -> Frame:
    if frame.pixels.dtype == np.uint16:
        return frame
    alpha = None if frame.alpha is None else frame.alpha.astype(np.uint16) * 257
    return Frame(frame.pixels.astype(np.uint16) * 257, alpha)


def _to_8_bit(frame: Frame) -> Frame:
    return Frame(to_8_bit(frame.pixels), None if frame.alpha is None else to_8_bit(frame.alpha))


def _is_lossless(path: Path, image: Image.Image) -> bool:
    if image.format == "AVIF":  # which tells it by colours that stay red, green and blue
        return (colours_of_heif(path) or (0, 0, YCC))[2] == RGB
    if image.format != "WEBP":
        return image.format not in LOSSY
    with path.open("rb") as file:
        file.seek(12)
        while len(header := file.read(8)) == 8:
            kind, length = header[:4], int.from_bytes(header[4:], "little")
            if kind in (b"VP8 ", b"VP8L"):
                return kind == b"VP8L"
            file.seek(16 if kind == b"ANMF" else length + length % 2, os.SEEK_CUR)  # a frame has chunks of its own
    return False


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    dpi = image.info.get("dpi")  # 1, where a TIFF gives none
    return (float(dpi[0]), float(dpi[1])) if dpi and all(1 < float(d) < 1e5 for d in dpi) else None


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """As EXIF says that (H, W) or (H, W, C) is to be shown."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
