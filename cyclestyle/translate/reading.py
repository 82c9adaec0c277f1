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

from cyclestyle.boxes import has_all_colours, jpeg_2000_of
from cyclestyle.deep import bits_of, is_read_deep, read_deep, read_moving_avif
from cyclestyle.images import (
    MOST_PIXELS,
    ImageError,
    check_pixels,
    decoding,
    open_image,
    orientation_of,
    scale_hidden,
    scaled_grey,
    to_8_bit,
    upright,
)
from cyclestyle.rare_tiff import encoded, is_rare
from cyclestyle.translate.apng import MovingPng, Still
from cyclestyle.translate.exif import kept_exif
from cyclestyle.translate.profiles import code_points, coded_to_srgb, deep_to_srgb, differ_from_srgb
from cyclestyle.translate.tiff_pages import TiffPages
from cyclestyle.translate.xmp import kept_xmp

SEVERAL = {"AVIF", "GIF", "PNG", "TIFF", "WEBP"}  # further pictures in other formats are previews
LOSSY = {"JPEG", "MPO"}
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
        lossless: whether the file keeps every pixel as it was, as far as its way of coding tells.
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
        self._apng: MovingPng | None = None
        self._bits: dict[int, int] = {}  # of each page
        self._deep: set[int] = set()  # those that Pillow would not read in full
        self._image = open_image(path, most, ALLOW_MORE)
        self._pages: TiffPages | None = None
        try:
            self._describe(path)
        except ImageError:
            self.close()
            raise

    def _describe(self, path: Path) -> None:
        with self._decoding():
            several = self._image.format in SEVERAL
            self.count: int = getattr(self._image, "n_frames", 1) if several else 1
            if self._image.format == "PNG" and self.count > 1:
                self._apng, loop = MovingPng(self._encoded.tobytes()), self._image.info.get("loop")
                self.count = len(self._apng.milliseconds)
                self._image.close()
                self._image = Image.open(io.BytesIO(self._apng.still))  # which tells what stands behind the frames, too
                self._image.info["loop"] = loop
            if self._image.format == "TIFF":
                self._pages = TiffPages(path, self._image, self._most)
                self.count = self._pages.count
            for number in range(self.count if self._pages else 1):
                self._measure(number)
            self._seek(0)
            self._composed = self._apng is not None or (self._image.format == "AVIF" and self._moves_deep())
            self._coded = code_points(self._image, path)
            self.about = About(
                exif=kept_exif(self._image),
                xmp=kept_xmp(self._image, path),
                dpi=_dpi(self._image),
                milliseconds=self._times() if self.count > 1 else [],
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
        if self._pages:
            self._pages.close()

    def _decoding(self) -> AbstractContextManager[None]:
        return decoding(self._path, self._most, ALLOW_MORE)

    def _seek(self, number: int) -> None:
        if self._pages:
            self._image = self._pages.open(number)
        elif self.count > 1 and not self._apng:  # the one picture of a HEIC or a PSD need not be the first
            self._image.seek(number)
        check_pixels(self._image, self._path, self._most, ALLOW_MORE)

    def _measure(self, number: int) -> None:
        """What is told of a page only before it is decoded, or of a picture of another kind."""
        rare = self._pages is not None and self._pages.is_rare(number)
        if not rare:  # which opening would decode
            self._seek(number)
        bits = self._bits[number] = self._pages.bits_of(number) if self._pages else bits_of(self._image, self._path)
        if rare or is_read_deep(self._image, bits):
            self._deep.add(number)
        self.deep = self.deep or number in self._deep or self._image.mode.startswith(("F", "I"))

    def _moves_deep(self) -> bool:
        """Whether an AVIF is one of frames of more than 8 bits that OpenCV reads, of which there are some."""
        if self.count == 1 or not self.deep:
            return False
        try:
            next(read_moving_avif(self._encoded, self._bits[0], 1))
        except ValueError:
            self.deep = False
            self._deep.clear()
        return self.deep

    def _times(self) -> list[float]:
        if self._apng:
            return self._apng.milliseconds
        if self._image.format == "TIFF":
            return [0.0] * self.count
        times = []
        for number in range(self.count):
            self._seek(number)
            if self._image.format in ("AVIF", "WEBP"):  # which tell only then
                self._image.load()
            times.append(float(self._image.info.get("duration", 0)))
        return times

    def frames(self) -> Iterator[Frame]:
        """All frames in order, decoded one at a time."""
        moving = self._moving() if self._composed else None
        for number in range(self.count):
            with self._decoding():
                frame = next(moving) if moving else self._still(number)
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
        return encoded(self._image, self._path)

    def _still(self, number: int) -> Frame:
        self._seek(number)
        if number not in self._deep:
            return _read(self._image, self._profile)
        try:
            if is_rare(self._image):
                colours, alpha = read_deep(self._image, encoded(self._image, self._path), 16)
            else:
                colours, alpha = read_deep(self._image, self._encoded, self._bits[number], number)
        except ValueError:
            if self._image.format != "AVIF":
                raise
            self.deep = False  # some of which OpenCV does not read
            return _read(self._image, self._profile)
        frame = Frame(_grey_or_rgb_to_srgb(colours, self._profile), alpha)
        return frame if self._image.format == "TIFF" else _turned(frame, orientation_of(self._image))  # that is turned

    def _moving(self) -> Iterator[Frame]:
        """Frames that are laid over others, or of more than 8 bits."""
        orientation = orientation_of(self._image)
        frames = self._apng.frames(self._part_of_png) if self._apng else self._frames_of_avif()
        for colours, alpha in frames:
            yield _turned(Frame(colours, alpha), orientation)

    def _part_of_png(self, still: bytes) -> Still:
        with Image.open(io.BytesIO(still)) as image:
            if not self.deep:
                frame = _read(scale_hidden(image), self._profile)
                return frame.pixels, frame.alpha
            colours, alpha = read_deep(image, np.frombuffer(still, np.uint8), self._bits[0])
            return _grey_or_rgb_to_srgb(colours, self._profile), alpha

    def _frames_of_avif(self) -> Iterator[Still]:
        for colours, alpha in read_moving_avif(self._encoded, self._bits[0], self.count):
            yield _grey_or_rgb_to_srgb(colours, self._profile), alpha


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


def _grey_or_rgb_to_srgb(pixels: np.ndarray, profile: bytes | None) -> np.ndarray:
    """The same, where three channels may have been made of one."""
    if profile and profile[16:20] == b"GRAY" and pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = np.ascontiguousarray(pixels[..., 0])
    return _deep_to_srgb(pixels, profile)


def _to_16_bit(frame: Frame) -> Frame:
    if frame.pixels.dtype == np.uint16:
        return frame
    alpha = None if frame.alpha is None else frame.alpha.astype(np.uint16) * 257
    return Frame(frame.pixels.astype(np.uint16) * 257, alpha)


def _to_8_bit(frame: Frame) -> Frame:
    return Frame(to_8_bit(frame.pixels), None if frame.alpha is None else to_8_bit(frame.alpha))


def _is_lossless(path: Path, image: Image.Image) -> bool:
    if image.format in ("AVIF", "HEIF"):
        return has_all_colours(path)
    if image.format == "JPEG2000":
        return jpeg_2000_of(path).reversible
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


def _turned(frame: Frame, orientation: int) -> Frame:
    """As EXIF says that it is to be shown."""
    alpha = None if frame.alpha is None else _upright(frame.alpha, orientation)
    return Frame(_upright(frame.pixels, orientation), alpha)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W) or (H, W, C), turned."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
