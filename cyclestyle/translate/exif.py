"""EXIF of a picture (CIPA DC-008) as far as it is true of its translation; a TIFF has it among the tags of a page."""

import struct
from collections.abc import Iterator
from typing import Any

from PIL import ExifTags, Image, TiffImagePlugin

from cyclestyle.images import orientation_of

CAMERA, PLACE, INTEROP = (int(d) for d in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop))
LAID_OUT = {  # how the file was turned, and where its thumbnail lies
    int(tag) for tag in (ExifTags.Base.Orientation, ExifTags.Base.JpegIFOffset, ExifTags.Base.JpegIFByteCount)
}
# What the page of a TIFF says of its content; its other tags tell how a file is laid out, which is not that of another.
DESCRIPTIVE = {
    int(ExifTags.Base[name])
    for name in (
        *("ImageDescription", "Make", "Model", "Software", "DateTime", "Artist", "HostComputer", "Copyright"),
        *("DocumentName", "PageName", "ProcessingSoftware", "Rating", "RatingPercent"),
        *("XPTitle", "XPComment", "XPAuthor", "XPKeywords", "XPSubject"),
    )
}
SIZES = ((ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength), (ExifTags.Base.ExifImageWidth, 40963))
COLOUR_SPACE, SRGB = int(ExifTags.Base.ColorSpace), 1
INDEX, ADOBE_RGB, STANDARD = 1, "R03", "R98"  # of the directory INTEROP


class _Text(str):
    """Text that keeps its bytes: Pillow reads them as Latin-1, and writes all but ASCII as question marks."""

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return super().encode("latin-1", "replace")


def kept_exif(image: Image.Image) -> bytes:
    """All of it but orientation and thumbnail, upright and in sRGB as the translation is; nothing if it is damaged."""
    try:
        return _kept(image)
    except Exception:  # Pillow raises many kinds
        return b""


def _kept(image: Image.Image) -> bytes:
    read, kept = image.getexif(), Image.Exif()
    kept.endian = read.endian  # that of notes of the maker, too
    page = set(read) - LAID_OUT - {CAMERA, PLACE}
    for tag in page & DESCRIPTIVE if image.format == "TIFF" else page:
        kept[tag] = _written(read[tag])
    camera, place, interop = (
        {tag: _written(value) for tag, value in read.get_ifd(name).items()} for name in (CAMERA, PLACE, INTEROP)
    )
    if COLOUR_SPACE in camera:
        camera[COLOUR_SPACE] = SRGB
    if INTEROP in camera:
        camera[INTEROP] = interop | ({INDEX: STANDARD} if interop.get(INDEX) == ADOBE_RGB else {})
    if orientation_of(image) > 4 or (image.info.get("original_orientation") or 1) > 4:  # the second of HEIC
        for entries, (width, height) in zip((kept, camera), SIZES, strict=True):
            if width in entries and height in entries:
                entries[width], entries[height] = entries[height], entries[width]
    for name, entries in ((CAMERA, camera), (PLACE, place)):
        if entries:
            kept.get_ifd(name).update(entries)
    return kept.tobytes() if len(kept) or camera or place else b""


def _written(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_written(each) for each in value)
    return _Text(value) if isinstance(value, str) else value


def _read(exif: bytes) -> Image.Exif:
    read = Image.Exif()
    read.load(exif)
    return read


def _descriptive(exif: bytes) -> Iterator[tuple[int, Any]]:
    for tag, value in _read(exif).items():
        if tag in DESCRIPTIVE:
            yield tag, _written(value)


def tiff_tags(exif: bytes) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The plain tags, as Pillow takes them."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in _descriptive(exif):
        tags[tag] = value
    return tags


def extra_tags(exif: bytes) -> list[tuple[Any, ...]]:
    """The plain tags, as tifffile takes them."""
    tags: list[tuple[Any, ...]] = []
    for tag, value in _descriptive(exif):
        if isinstance(value, int) and 0 <= value < 1 << 32:
            tags.append((tag, "H" if value < 1 << 16 else "I", 1, value, True))
        elif isinstance(value, (str, bytes)):
            data = value.encode() if isinstance(value, str) else value
            tags.append((tag, "s" if isinstance(value, str) else "B", len(data), data, True))
    return tags


def with_directories(tiff: bytes, exif: bytes) -> bytes:
    """A TIFF to whose first page those of EXIF were added, which no encoder writes beside compressed pixels."""
    read, order = _read(exif), "<" if tiff[:2] == b"II" else ">"
    directories = {tag: read.get_ifd(tag) for tag in (CAMERA, PLACE)}
    if not any(directories.values()) or tiff[2:4] not in (b"*\0", b"\0*"):  # or it is a BigTIFF
        return tiff
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    entries = [tiff[at : at + 12] for at in range(start + 2, start + 2 + 12 * count, 12)]
    next_page = tiff[start + 2 + 12 * count :][:4]
    body = bytearray(tiff)
    for tag, directory in directories.items():
        if not directory:
            continue
        written = TiffImagePlugin.ImageFileDirectory_v2(tiff[:8], group=tag)
        for name, value in directory.items():
            if name != INTEROP:  # which would lie elsewhere
                written[name] = _written(value)
        body += b"\0" * (len(body) % 2)
        entries.append(struct.pack(f"{order}HHII", tag, 4, 1, len(body)))
        body += written.tobytes(len(body))
    entries.sort(key=lambda entry: struct.unpack_from(f"{order}H", entry))
    body += b"\0" * (len(body) % 2)
    struct.pack_into(f"{order}I", body, 4, len(body))
    return bytes(body + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + next_page)
