"""Pictures of more than 8 bits a channel, of which Pillow keeps 8, or in JPEG 2000 makes black of white."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PpmImagePlugin

from cyclestyle.boxes import jpeg_2000, jpeg_2000_of, properties_of_heif

BITS_PER_SAMPLE, PHOTOMETRIC, PLANAR_CONFIGURATION, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 262, 284, 338, 339  # of TIFF
WHITE_IS_ZERO, CMYK = 0, 5  # values of the second
UNSPECIFIED, PREMULTIPLIED = 0, 1  # of the fourth: what the fourth channel is; else it is alpha
UNSIGNED = 1  # of the last
SAMPLES, INTERLEAVED = 277, 1  # another tag, and a value of PLANAR_CONFIGURATION
BRIGHT = 16  # times white: what is brighter is rare in pictures of a high dynamic range
AT_ONCE = 1 << 30  # bytes of frames of an AVIF: to come to one, OpenCV decodes all before it


def bits_of(image: Image.Image, path: Path) -> int:
    """Bits a channel has in an open file, or in the page of it that was turned to; told only before it is decoded.

    Where that is not told, as many as Pillow's mode has.
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
        return jpeg_2000_of(path).bits
    if image.format == "PPM" and image.mode != "F" and tiles:
        return _largest(tiles[0].args).bit_length()
    if image.mode.startswith("I;16") or any(";16" in str(tile.args) or tile.codec_name == "SGI16" for tile in tiles):
        return 16
    return 32 if image.mode in ("F", "I") else 8


def is_in_planes(image: Image.Image) -> bool:
    """Whether the samples of a TIFF that is open, or of its page, lie colour by colour."""
    tags: Any = getattr(image, "tag_v2", {})
    return bool(tags.get(PLANAR_CONFIGURATION, INTERLEAVED) > INTERLEAVED and tags.get(SAMPLES, 1) > 1)


def is_read_deep(image: Image.Image, bits: int) -> bool:
    """Whether `read_deep` takes a picture of so many bits a channel; else it is for Pillow."""
    if bits <= 8:
        return False
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        plain = set(tags.get(SAMPLE_FORMAT, (UNSIGNED,))) == {UNSIGNED} and tags.get(PHOTOMETRIC) != CMYK
        return plain and set(tags.get(BITS_PER_SAMPLE, ())) == {16}
    if image.format == "AVIF":
        return has_avif("imdecodeanimation") if getattr(image, "n_frames", 1) > 1 else has_avif()
    return image.format in ("HEIF", "JPEG2000", "PNG") or (image.format == "PPM" and image.mode == "RGB")


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
    extra: tuple[int, ...] = ()
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        bits = 16
        pixels = _decoded(encoded, bits, page)
        if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            pixels = ~pixels
        extra = tags.get(EXTRA_SAMPLES, ())
    elif image.format == "JPEG2000" and not (jpeg_2000(encoded).plain and bits <= 16):
        raise ValueError(f"{bits} bits a channel of JPEG 2000 are read in grey and RGB alone, up to 16; save it so")
    else:
        pixels = _decoded(encoded, bits)
    pixels = _widened(pixels, bits)
    if pixels.ndim == 2:
        hidden = image.info.get("transparency") if image.format == "PNG" else None
        alpha = np.where(pixels == hidden, 0, 65535).astype(np.uint16) if isinstance(hidden, int) else None
        return pixels, alpha
    colours, alpha = _parted(pixels)
    if alpha is None or UNSPECIFIED in extra:
        return colours, None
    return _undone(colours, alpha) if PREMULTIPLIED in extra else colours, alpha


def read_moving_avif(encoded: np.ndarray, bits: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """So many frames of more than 8 bits, each as of `read_deep`.

    Raises:
        ValueError: it is damaged.
    """
    cv2 = opencv()
    read, wanted = 0, 1
    while read < count:
        try:
            _, animation = cv2.imdecodeanimation(encoded, read, wanted)
            frames = animation.frames
        except cv2.error:
            frames = ()
        if len(frames) < wanted or any(frame.dtype != np.uint16 for frame in frames):
            raise ValueError(f"{bits} bits a channel of a rare kind, or damaged")
        for frame in frames:
            yield _parted(_widened(frame, bits))
        read += wanted
        wanted = min(count - read, max(1, AT_ONCE // frames[0].nbytes))


def _parted(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """OpenCV's (H, W, 3 or 4) as red, green and blue, and alpha."""
    colours = np.ascontiguousarray(pixels[..., 2::-1])
    return colours, np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] > 3 else None


def white_of_floats(values: np.ndarray) -> float:
    """White of (H, W) or (H, W, C): some programs write 0 to 1, and what is brighter beyond, others to 255 or 65535."""
    some = values[:: 1 + values.shape[0] // 1000, :: 1 + values.shape[1] // 1000]
    some = some[np.isfinite(some) & (some > 0)]
    if not some.size or some.max() <= BRIGHT or np.median(some) <= 1:
        return 1.0
    return 255.0 if some.max() < 2 * 255 else 65535.0


def opencv() -> Any:
    """OpenCV, which says nothing by itself, as an error is raised; libpng within it may."""
    import cv2

    if hasattr(cv2, "setLogLevel"):  # to 4.12
        cv2.setLogLevel(0)
    else:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def has_avif(function: str = "imdecode") -> bool:
    """Whether OpenCV knows it, of which some builds do not, and has a function, which older ones have not."""
    cv2 = opencv()
    return hasattr(cv2, function) and bool(cv2.haveImageWriter("a.avif"))


def encoded_by(encode: Any, *args: Any) -> bytes:
    """The file that one of OpenCV's functions makes.

    Raises:
        ValueError: it refuses.
    """
    try:
        done, encoded = encode(*args)
    except opencv().error:
        done = False
    if not done:
        raise ValueError("the encoder refuses it")
    file: bytes = encoded.tobytes()
    return file


def _decoded(encoded: np.ndarray, bits: int, page: int | None = None) -> np.ndarray:
    """By OpenCV, uint16 (H, W) or (H, W, C), blue before red."""
    cv2: Any = opencv()
    try:
        if page is None:
            pixels = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
        else:
            _, pages = cv2.imdecodemulti(encoded, cv2.IMREAD_UNCHANGED, None, (page, page + 1))
            pixels = pages[0] if pages else None
    except cv2.error:
        pixels = None
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError(f"{bits} bits a channel of a rare kind, or damaged")
    decoded: np.ndarray = pixels
    return decoded


def _read_ppm(image: Image.Image, encoded: np.ndarray) -> np.ndarray:
    tiles: list[Any] = getattr(image, "tile", [])
    count, start, largest = image.width * image.height * 3, tiles[0].offset, _largest(tiles[0].args)
    if tiles[0].codec_name == "ppm":
        values = np.frombuffer(encoded, ">u2", count, start)
        return _widened(values.reshape(image.height, image.width, 3), 0, largest)
    grey = b"P2 %d %d %d\n" % (3 * image.width, image.height, largest)  # Pillow keeps all bits of that
    with PpmImagePlugin.PpmImageFile(io.BytesIO(grey + encoded[start:].tobytes())) as text:
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
    """As its AV1CodecConfigurationRecord has it (AV1 in ISO base media, 2.3.3)."""
    own, every = properties_of_heif(path)
    for kind, content in own + every:
        if kind == b"av1C" and len(content) > 2:
            return 8 if not content[2] & 0x40 else 12 if content[2] & 0x20 else 10
        if kind == b"pixi" and len(content) > 5:  # of a grid, whose tiles have the other
            return min(max(content[5:]), 12)
    return 8
