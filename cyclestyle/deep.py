"""Pictures of more than 8 bits a channel, of which Pillow keeps 8, or in JPEG 2000 makes black of white."""

import io
import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BITS_PER_SAMPLE, PHOTOMETRIC, PLANAR_CONFIGURATION, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 262, 284, 338, 339  # of TIFF
WHITE_IS_ZERO, CMYK = 0, 5  # values of the second
UNSPECIFIED, PREMULTIPLIED = 0, 1  # of the fourth: what the fourth channel is; else it is alpha
UNSIGNED = 1  # of the last
START_OF_CODESTREAM = b"\xff\x4f\xff\x51"  # of JPEG 2000: its sizes follow (ISO 15444-1, A.5.1)


def bits_of(image: Image.Image, path: Path) -> int:
    """Bits a channel has in an open file, or in the page of it that was turned to; told only before it is decoded.

    Where that cannot be told, 8, or 16 where Pillow gives more.
    """
    tiles: list[Any] = getattr(image, "tile", [])
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        return int(max(tags.get(BITS_PER_SAMPLE, (1,))))
    if image.format == "HEIF":
        return int(image.info.get("bit_depth", 8))
    if image.format == "AVIF":
        return _bits_of_avif(path)
    if image.format == "JPEG2000":
        return _sizes_of_jpeg_2000(path)[2]
    if image.format == "PPM" and image.mode != "F" and tiles:
        return _largest(tiles[0].args).bit_length()
    if image.mode == "F":
        return 32
    deep = image.mode.startswith("I") or any(";16" in str(tile.args) or tile.codec_name == "SGI16" for tile in tiles)
    return 16 if deep else 8


def is_read_deep(image: Image.Image, path: Path, bits: int) -> bool:
    """Whether `read_deep` takes a picture of so many bits a channel; else it is for Pillow."""
    if bits <= 8:
        return False
    moves = getattr(image, "n_frames", 1) > 1
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        plain = set(tags.get(SAMPLE_FORMAT, (UNSIGNED,))) == {UNSIGNED} and tags.get(PHOTOMETRIC) != CMYK
        return plain and set(tags.get(BITS_PER_SAMPLE, ())) == {16}
    if image.format == "AVIF":
        import cv2

        return not moves and cv2.haveImageWriter("a.avif")  # some builds are without it
    return (
        (image.format == "PNG" and not moves)
        or image.format == "HEIF"
        or (image.format == "PPM" and image.mode == "RGB")
        or (
            image.format == "JPEG2000"
            and image.mode in ("I;16", "RGB", "RGBA")
            and image.size == _sizes_of_jpeg_2000(path)[:2]
        )
    )


def read_deep(
    image: Image.Image, encoded: np.ndarray, bits: int, page: int = 0
) -> tuple[np.ndarray, np.ndarray | None]:
    """Decode what `is_read_deep` takes.

    Args:
        image: the file, open, at the page; it is not decoded.
        encoded: uint8, all bytes of the file.
        bits: a channel has.

    Returns:
        uint16 (H, W, 3), or (H, W) of grey, black to white 0 to 65535, turned as TIFF and HEIC say it, while the
        orientation of other formats is left to the caller; and alpha of the same type, (H, W), or None.

    Raises:
        ValueError: it is damaged, or of a rare kind.
    """
    if image.format == "PPM":
        return _read_ppm(image, encoded), None
    if image.format == "HEIF":
        return _read_heic(encoded, bits)
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # an error is raised below, in one line
    extra: tuple[int, ...] = ()
    pixels: Any
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        if tags.get(PLANAR_CONFIGURATION, 1) != 1:
            raise ValueError("16 bit a channel in planes of one colour are not read; save it with interleaved ones")
        _, pages = cv2.imdecodemulti(encoded, cv2.IMREAD_UNCHANGED, None, (page, page + 1))
        pixels = pages[0] if pages else None
        if pixels is not None and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            pixels = ~pixels
        extra = tags.get(EXTRA_SAMPLES, ())
    else:
        pixels = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError(f"{bits} bits a channel of a rare kind, or damaged")
    pixels = _widened(pixels, bits)
    if pixels.ndim == 2:
        hidden = image.info.get("transparency") if image.format == "PNG" else None
        alpha = np.where(pixels == hidden, 0, 65535).astype(np.uint16) if isinstance(hidden, int) else None
        return pixels, alpha
    colours = np.ascontiguousarray(pixels[..., 2::-1])
    if pixels.shape[2] == 3 or UNSPECIFIED in extra:
        return colours, None
    alpha = np.ascontiguousarray(pixels[..., 3])
    return _undone(colours, alpha) if PREMULTIPLIED in extra else colours, alpha


def _read_ppm(image: Image.Image, encoded: np.ndarray) -> np.ndarray:
    tiles: list[Any] = getattr(image, "tile", [])
    count, start, largest = image.width * image.height * 3, tiles[0].offset, _largest(tiles[0].args)
    if tiles[0].codec_name == "ppm":
        values = np.frombuffer(encoded, ">u2", count, start)
        return _widened(values.reshape(image.height, image.width, 3), 0, largest)
    grey = b"P2 %d %d %d\n" % (3 * image.width, image.height, largest)  # Pillow keeps all bits of that
    with Image.open(io.BytesIO(grey + encoded[start:].tobytes())) as text:
        return np.asarray(text).reshape(image.height, image.width, 3).astype(np.uint16)


def _read_heic(encoded: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray | None]:
    import pillow_heif

    file = pillow_heif.open_heif(io.BytesIO(encoded.tobytes()), convert_hdr_to_8bit=False)
    pixels = _widened(np.asarray(file) >> (16 - bits), bits)
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels, None
    colours, alpha = np.ascontiguousarray(pixels[..., :-1]), np.ascontiguousarray(pixels[..., -1])
    if colours.shape[2] == 1:
        return colours[..., 0], alpha
    return _undone(colours, alpha) if file.mode.startswith("RGBa") else colours, alpha


def _undone(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours that were multiplied with alpha, before that."""
    whole = colours * (65535 / np.maximum(alpha, 1, dtype=np.float32))[..., None]
    return whole.round().clip(0, 65535).astype(np.uint16)


def _widened(values: np.ndarray, bits: int, largest: int = 0) -> np.ndarray:
    """0 to `largest` (else what so many bits hold) as uint16, 0 to 65535."""
    largest = largest or 2**bits - 1
    if largest == 65535:
        return values.astype(np.uint16, copy=False)
    table = np.rint(np.arange(largest + 1) * (65535 / largest)).astype(np.uint16)
    return table[np.minimum(values, largest)]


def _largest(args: Any) -> int:
    """The value of white in a PPM, of which Pillow tells its decoder."""
    numbers = [value for value in (args if isinstance(args, tuple) else (args,)) if isinstance(value, int)]
    return numbers[-1] if numbers else 65535 if ";16" in str(args) else 255


def _bits_of_avif(path: Path) -> int:
    """As the first picture's AV1CodecConfigurationRecord has it (AV1 in ISO base media, 2.3.3)."""
    with path.open("rb") as file:
        head = file.read(2**20)
    at = head.find(b"av1C")
    flags = head[at + 6] if 0 < at < len(head) - 6 else 0
    return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10


def _sizes_of_jpeg_2000(path: Path) -> tuple[int, int, int]:
    """Width, height and bits a channel of what is encoded, whatever the boxes around it say."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(START_OF_CODESTREAM)
        if at < 0 or len(data) < at + 43:
            return 0, 0, 8
        right, below, left, above = struct.unpack_from(">4I", data, at + 8)
        (count,) = struct.unpack_from(">H", data, at + 40)
        depths = data[at + 42 : at + 42 + 3 * count : 3]
    return right - left, below - above, max((depth & 0x7F for depth in depths), default=7) + 1
