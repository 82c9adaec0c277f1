"""Translations as files: in the format of the suffix, all frames, transparency, 16 bit, what was kept of the source."""

import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

from cyclestyle.boxes import RGB
from cyclestyle.deep import encoded_by, has_avif, opencv
from cyclestyle.files import atomic_write
from cyclestyle.images import CPU, ImageError, register_heic, to_8_bit
from cyclestyle.memory import free_memory, size_text
from cyclestyle.provenance import Provenance, xmp_packet
from cyclestyle.translate.apng import SIGNATURE, chunk, chunks, write_moving
from cyclestyle.translate.exif import extra_tags, tiff_tags, with_directories
from cyclestyle.translate.moving_avif import moving_avif
from cyclestyle.translate.reading import About, Frame
from cyclestyle.translate.xmp import without_source_type

XMP_IN_PNG, XMP_TAG = "XML:com.adobe.xmp", 700
FORMATS = {"AVIF", "GIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP"}  # those that can say where a picture is from
TRANSPARENT = FORMATS - {"JPEG"}
MOST_EXIF = 65527  # bytes, in a JPEG
MOST_BITS = {"HEIF": 12, "PNG": 16, "TIFF": 16}  # of a channel; others have 8, but for AVIF
QUALITY = 95
MOST_OF_AVIF = 32768  # pixels a side, that libavif reads
ANIMATED = {"AVIF", "GIF", "PNG", "TIFF", "WEBP"}


def suffixes() -> frozenset[str]:
    """Lower-case file suffixes, with the dot, of the formats that can be written."""
    register_heic()
    registered = Image.registered_extensions()
    return frozenset(s for s, kind in registered.items() if kind in FORMATS and kind in Image.SAVE)


def holds_frames(path: Path) -> bool:
    """Whether the format of the suffix has room for several frames or pages."""
    return _kind(path) in ANIMATED


def not_held(path: Path, frame: Frame, about: About) -> list[str]:
    """What a frame of a file has and the format of the suffix has no room for."""
    kind, alpha = _kind(path), frame.alpha
    bits = min(about.bits, 16) if frame.pixels.dtype == np.uint16 else 8
    found = [f"{bits} bits a channel"] * (bits > 8 and bits > _most_bits(kind, about))
    if alpha is not None and kind not in TRANSPARENT and (alpha < np.iinfo(alpha.dtype).max).any():
        found.append("transparency")
    return found


def write_frames(
    path: Path,
    frames: Iterable[Frame],
    about: About,
    origin: Provenance | None = None,
    quality: int | None = None,
    overwrite: bool = True,
) -> None:
    """Write frames in the format of the suffix, tagged as sRGB, whole or not at all.

    Pages of a TIFF are taken one at a time; Pillow keeps the frames of an animation together. Where the format has no
    transparency, they are laid over white; frames of 16 bit keep as many as the source has and the format holds; a
    format that holds one picture gets the first.

    Args:
        about: what is said of the source, in a TIFF by its first page.
        origin: what all pages say of their own; None: nothing.
        quality: 1 to 100, of formats that lose something; None: 95, or without loss where the source is so, in WebP,
            from AVIF to AVIF and from HEIC to HEIC.
        overwrite: whether a file that is there by the end is replaced.

    Raises:
        ImageError: the format has no room for so many pixels, or for frames of several sizes.
        OSError: the file cannot be written.
    """
    kind = _kind(path)
    frames = iter(frames)
    first = next(frames)
    deep = first.pixels.dtype == np.uint16
    with atomic_write(path, overwrite) as file:
        try:
            if kind == "AVIF" and max(first.pixels.shape) > MOST_OF_AVIF:
                raise ValueError(f"AVIF has at most {MOST_OF_AVIF} pixels a side")
            if deep and kind == "PNG":
                _write_deep_png(file, first, frames, about, origin)
            elif deep and kind == "TIFF":
                _write_deep_tiff(file, chain([first], frames), about, origin)
            elif kind == "AVIF" and (deep or _stays_lossless(kind, about, quality)) and _most_bits(kind, about) > 8:
                _write_exact_avif(file, first, frames, about, origin, quality)
            elif kind == "HEIF" and (deep or _stays_lossless(kind, about, quality)):
                _write_exact_heic(file, first, about, origin, quality)
            else:
                _write(file, kind, first, frames, about, origin, quality)
        except (OSError, OverflowError, RuntimeError, SyntaxError, ValueError, struct.error) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ImageError(f"{path}: cannot be written: {error}; choose another format") from None


def _stays_lossless(kind: str, about: About, quality: int | None) -> bool:
    return quality in (None, 100) and about.lossless and kind in ("WEBP", about.format)


def _kind(path: Path) -> str:
    register_heic()
    return Image.registered_extensions()[path.suffix.lower()]


def _write(
    file: BinaryIO,
    kind: str,
    first: Frame,
    others: Iterator[Frame],
    about: About,
    origin: Provenance | None,
    quality: int | None = None,
) -> None:
    lossless = _stays_lossless(kind, about, quality)
    quality = QUALITY if quality is None else quality
    xmp = _packet(about.xmp, origin)
    exif = about.exif if kind != "JPEG" or len(about.exif) <= MOST_EXIF else b""
    options: dict[str, Any] = {"icc_profile": srgb_profile(), "dpi": about.dpi, "exif": exif, "xmp": xmp}
    special: dict[str, dict[str, Any]] = {
        "AVIF": {"quality": 100, "subsampling": "4:4:4"} if lossless else {"quality": quality},  # which loses little
        "HEIF": {"quality": quality},
        "JPEG": {"quality": quality, "subsampling": 0},
        "PNG": {"pnginfo": _texts(xmp)},
        "TIFF": {"compression": "tiff_adobe_deflate", "tiffinfo": _tags(about.exif, xmp), "exif": b""},
        "WEBP": {"quality": quality, "lossless": lossless, "exact": True},
    }
    options = {name: value for name, value in (options | special.get(kind, {})).items() if value not in (None, b"")}
    if kind == "TIFF":
        later = options | {"tiffinfo": _tags(b"", _packet("", origin))}
        file.write(with_directories(_tiff(chain([first], others), options, later), about.exif))
        return
    if kind in ANIMATED and len(about.milliseconds) > 1:
        _check_memory(first, len(about.milliseconds))
        following = [_image(frame, kind) for frame in _of_one_size(first, others, kind)]
        options |= {"save_all": True, "append_images": following, "disposal": 1 if kind == "PNG" else 2}
        options["duration"] = [round(ms) for ms in about.milliseconds]
        if about.loop is not None or kind != "GIF":  # which is shown once if it does not say
            options["loop"] = 1 if about.loop is None else about.loop
    if kind != "GIF":
        _image(first, kind).save(file, kind, **options)
        return
    encoded = io.BytesIO()
    _image(first, kind).save(encoded, kind, **options)
    file.write(_with_xmp(encoded.getvalue(), xmp) if xmp else encoded.getbuffer())


def _packet(kept: str, origin: Provenance | None) -> bytes:
    """The XMP of a file or a page of which so much is kept; or nothing."""
    if origin:
        return origin.packet(without_source_type(kept))
    return xmp_packet(kept) if kept else b""


def _tiff(frames: Iterable[Frame], options: dict[str, Any], later: dict[str, Any]) -> bytes:
    """A page for each frame, written before the next is taken."""
    encoded = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(encoded) as pages:
        for frame in frames:
            _image(frame, "TIFF").save(pages, "TIFF", **options)
            pages.newFrame()
            options = later
    return encoded.getvalue()


def _check_memory(frame: Frame, count: int) -> None:
    """Whether all frames of an animation fit into memory together, and once more for the encoder."""
    needed, free = 2 * count * 4 * frame.pixels[..., 0].nbytes, free_memory(CPU)
    if free is not None and needed > free:
        raise ValueError(
            f"{count} frames of {frame.pixels.shape[1]}x{frame.pixels.shape[0]} need {size_text(needed)} of memory "
            f"together, {size_text(free)} are free"
        )


def _of_one_size(first: Frame, others: Iterator[Frame], kind: str) -> Iterator[Frame]:
    for frame in others:
        if frame.pixels.shape != first.pixels.shape:
            raise ValueError(f"its pages have several sizes, which {kind} does not hold")
        if frame.pixels.dtype == np.uint16 and (frame.alpha is None) != (first.alpha is None):
            raise ValueError(f"some of its pages are transparent and some are not, which {kind} does not hold")
        yield frame


def _image(frame: Frame, kind: str) -> Image.Image:
    """As Pillow writes it in a format."""
    pixels, alpha = to_8_bit(frame.pixels), None if frame.alpha is None else to_8_bit(frame.alpha)
    if alpha is None:
        return Image.fromarray(pixels)
    image = Image.fromarray(np.dstack([pixels, alpha]), "RGBA")
    return image if kind in TRANSPARENT else _over_white(image)


def _over_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


@cache
def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _texts(xmp: bytes) -> PngImagePlugin.PngInfo | None:
    if not xmp:
        return None
    info = PngImagePlugin.PngInfo()
    info.add_itxt(XMP_IN_PNG, xmp.decode())
    return info


def _tags(exif: bytes, xmp: bytes) -> TiffImagePlugin.ImageFileDirectory_v2:
    tags = tiff_tags(exif)
    if xmp:
        tags.tagtype[XMP_TAG] = 1  # bytes
        tags[XMP_TAG] = xmp
    return tags


def _with_xmp(gif: bytes, xmp: bytes) -> bytes:
    """A GIF with an application extension behind its header, as the XMP specification (part 3, 1.1.2) says."""
    (flags,) = struct.unpack_from("B", gif, 10)
    header = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    # Read as a chain of blocks, the packet leads into this: wherever one ends, its length points to the end.
    trailer = bytes([1, *range(255, -1, -1), 0])
    return b"GIF89a" + gif[6:header] + b"\x21\xff\x0bXMP DataXMP" + xmp + trailer + gif[header:]


def _write_deep_png(
    file: BinaryIO, first: Frame, others: Iterator[Frame], about: About, origin: Provenance | None
) -> None:
    """16 bit a channel, which Pillow does not write; it writes the chunks that go before the pixels."""
    described, moves = io.BytesIO(), len(about.milliseconds) > 1
    still = replace(about, milliseconds=())
    _write(described, "PNG", Frame(np.zeros((1, 1, 3), np.uint8)), iter(()), still, origin)
    coded = (b"IHDR", b"IDAT", b"IEND")
    before = b"".join(chunk(name, content) for name, content in chunks(described.getvalue()) if name not in coded)
    frames = chain([first], _of_one_size(first, others, "PNG") if moves else ())
    stills = (encoded_by(opencv().imencode, ".png", _planes(frame)) for frame in frames)
    if moves:
        write_moving(file, stills, before, about.milliseconds, 1 if about.loop is None else about.loop)
        return
    header, *rest = (chunk(name, content) for name, content in chunks(next(stills)))
    file.write(SIGNATURE + header + before + b"".join(rest))


def _planes(frame: Frame) -> np.ndarray:
    """As OpenCV takes them: blue, green, red, and alpha if there is any."""
    return np.ascontiguousarray(_with_alpha(Frame(frame.pixels[..., ::-1], frame.alpha)))


def _with_alpha(frame: Frame) -> np.ndarray:
    """(H, W, 3), or (H, W, 4) where there is any."""
    return frame.pixels if frame.alpha is None else np.dstack([frame.pixels, frame.alpha])


def _write_deep_tiff(file: BinaryIO, frames: Iterable[Frame], about: About, origin: Provenance | None) -> None:
    """16 bit a channel, which Pillow does not write."""
    import tifffile

    tags = extra_tags(about.exif) + _xmp_tag(_packet(about.xmp, origin))
    encoded = io.BytesIO()  # which it cannot do without, as it asks for the name of a file
    with tifffile.TiffWriter(encoded) as pages:
        for frame in frames:
            pages.write(
                _with_alpha(frame),
                photometric="rgb",
                extrasamples=["unassalpha"] if frame.alpha is not None else None,
                compression="adobe_deflate",
                iccprofile=srgb_profile(),
                resolution=about.dpi,
                resolutionunit="inch" if about.dpi else None,
                extratags=tags,
                software=False,
                metadata=None,
            )
            tags = _xmp_tag(_packet("", origin))
    file.write(with_directories(encoded.getvalue(), about.exif))


def _most_bits(kind: str, about: About) -> int:
    """Of a channel, in a format."""
    if kind != "AVIF":
        return MOST_BITS.get(kind, 8)
    return 12 if has_avif("imencodeanimation" if len(about.milliseconds) > 1 else "imencodeWithMetadata") else 8


def _write_exact_avif(
    file: BinaryIO,
    first: Frame,
    others: Iterator[Frame],
    about: About,
    origin: Provenance | None,
    quality: int | None,
) -> None:
    """10 or 12 bit a channel, or without loss, neither of which Pillow writes."""
    cv2 = opencv()
    bits = 8 if first.pixels.dtype == np.uint8 else _bits_beyond_8(about)
    quality = 100 if _stays_lossless("AVIF", about, quality) else quality or QUALITY
    xmp = _packet(about.xmp, origin)
    if len(about.milliseconds) > 1:
        _check_memory(first, len(about.milliseconds))
        frames = [_narrowed(_planes(frame), bits) for frame in chain([first], _of_one_size(first, others, "AVIF"))]
        file.write(moving_avif(frames, about.milliseconds, bits, quality, about.exif, xmp))
        return
    texts = {
        cv2.IMAGE_METADATA_EXIF: about.exif,
        cv2.IMAGE_METADATA_XMP: xmp,
        cv2.IMAGE_METADATA_ICCP: srgb_profile(),
    }
    said = {kind: np.frombuffer(text, np.uint8) for kind, text in texts.items() if text}
    options = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, quality, cv2.IMWRITE_AVIF_SPEED, 6]
    planes = _narrowed(_planes(first), bits)
    file.write(encoded_by(cv2.imencodeWithMetadata, ".avif", planes, list(said), list(said.values()), options))


def _write_exact_heic(
    file: BinaryIO, frame: Frame, about: About, origin: Provenance | None, quality: int | None
) -> None:
    """10 or 12 bit a channel, which Pillow has no mode for, or without loss."""
    import pillow_heif

    planes = _with_alpha(frame)
    mode, (height, width) = "RGB" if frame.alpha is None else "RGBA", frame.pixels.shape[:2]
    if planes.dtype == np.uint16:
        mode, bits = f"{mode};16", _bits_beyond_8(about)
        pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
        planes = _narrowed(planes, bits) << 16 - bits
    coded: dict[str, Any] = {"quality": quality or QUALITY}
    if _stays_lossless("HEIF", about, quality):
        coded = {"quality": -1, "chroma": 444, "matrix_coefficients": RGB}
    picture = pillow_heif.from_bytes(mode, (width, height), planes.tobytes())
    xmp = _packet(about.xmp, origin)
    picture.save(file, exif=about.exif or None, xmp=xmp or None, icc_profile=srgb_profile(), **coded)


def _bits_beyond_8(about: About) -> int:
    """As AVIF and HEIC have them: as many as the source has, or the most there are."""
    return 10 if about.bits <= 10 else 12


def _narrowed(values: np.ndarray, bits: int) -> np.ndarray:
    """uint16 -> uint16 of so many bits; uint8 stay as they are."""
    if bits == 8:
        return values
    table = np.rint(np.arange(65536) * ((2**bits - 1) / 65535)).astype(np.uint16)
    return table[values]


def _xmp_tag(xmp: bytes) -> list[tuple[Any, ...]]:
    """As tifffile takes it."""
    return [(XMP_TAG, 1, len(xmp), xmp, True)] if xmp else []
