"""Boxes of ISO base media files (ISO 14496-12), of which AVIF, HEIC and JPEG 2000 consist."""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

CODESTREAM = b"\xff\x4f\xff\x51"  # how JPEG 2000 begins without boxes
COD, TILE = 0xFF52, 0xFF90  # markers in it: how it is coded, and the end of its header
RGB = 0  # MatrixCoefficients of H.273
YCC, CMYK = 18, 12  # colour spaces of JPEG 2000 (ISO 15444-1, I.5.3.3)


class Box(NamedTuple):
    """Where the content of a box lies."""

    kind: bytes
    start: int
    end: int


def boxes(data: Any, start: int, end: int) -> Iterator[Box]:
    """The boxes between two places of a buffer, as far as they are whole."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1 and start + 16 <= end:
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        size = size or end - start
        if size < head:
            return
        yield Box(kind, start + head, min(start + size, end))
        start += size


def properties_of_heif(path: Path) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    """Kinds and contents of what an AVIF or HEIC (ISO 23008-12) says of its primary picture, and of all."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _properties(data)
        except (IndexError, struct.error):  # damaged
            return [], []


def colours_of_heif(path: Path) -> tuple[int, int, int] | None:
    """Primaries, transfer characteristics and matrix of an AVIF or HEIC, as H.273 counts them; None: it tells none."""
    for kind, content in properties_of_heif(path)[0]:
        if kind == b"colr" and content[:4] == b"nclx" and len(content) > 9:
            return struct.unpack_from(">3H", content, 4)
    return None


def has_all_colours(path: Path) -> bool:
    """Whether an AVIF or HEIC is coded as those without loss are: an AVIF as red, green and blue, or as grey; a HEIC
    with as many samples of colour as of brightness, or as grey.
    """
    own, every = properties_of_heif(path)
    coded = [(kind, content) for kind, content in own if kind in (b"av1C", b"hvcC")] or every  # of a grid, its tiles
    for kind, content in coded:
        if kind == b"av1C" and len(content) > 2 and content[2] & 0x10:
            return True
        if kind == b"hvcC" and len(content) > 16:
            return content[16] & 3 in (0, 3)
    colours = colours_of_heif(path)
    return colours is not None and colours[2] == RGB


def _properties(data: Any) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    found: dict[bytes, Box] = {}
    for meta in boxes(data, 0, len(data)):
        if meta.kind == b"meta":
            found = {box.kind: box for box in boxes(data, meta.start + 4, meta.end)}
            break
    if not found.keys() >= {b"pitm", b"iprp"}:
        return [], []
    listed = {box.kind: box for box in boxes(data, *found[b"iprp"][1:])}
    if not listed.keys() >= {b"ipco", b"ipma"}:
        return [], []
    every = [(box.kind, data[box.start : box.end]) for box in boxes(data, *listed[b"ipco"][1:])]
    at = found[b"pitm"].start
    (primary,) = struct.unpack_from(">I" if data[at] else ">H", data, at + 4)
    own = _associated(data, listed[b"ipma"].start, primary)
    return [every[number - 1] for number in own if 0 < number <= len(every)], every


def _associated(data: Any, at: int, item: int) -> list[int]:
    """The numbers of an item's properties, counted from 1 (8.11.14)."""
    version, wide = data[at], data[at + 3] & 1
    (count,) = struct.unpack_from(">I", data, at + 4)
    at += 8
    for _ in range(count):
        (number,), at = struct.unpack_from(">I" if version else ">H", data, at), at + (4 if version else 2)
        (length,) = struct.unpack_from("B", data, at)
        numbers = struct.unpack_from(f">{length}{'H' if wide else 'B'}", data, at + 1)
        if number == item:
            return [value & (0x7FFF if wide else 0x7F) for value in numbers]
        at += 1 + length * (2 if wide else 1)
    return []


class Jpeg2000(NamedTuple):
    """What the header of a codestream says (ISO 15444-1, A.5.1), and the boxes around it.

    Attributes:
        bits: of a channel, most.
        plain: whether it is grey or RGB, perhaps with alpha, each channel of the same size and kind.
        reversible: whether it is coded as those without loss are, in whole numbers (A.6.1).
    """

    bits: int
    plain: bool
    reversible: bool = False


def jpeg_2000_of(path: Path) -> Jpeg2000:
    """Of a file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return jpeg_2000(data)


def jpeg_2000(data: Any) -> Jpeg2000:
    """Of the bytes of a file; of a damaged one as if it had 8 bits."""
    start, coded_as = 0, 0
    try:
        if bytes(data[:4]) != CODESTREAM:
            for box in boxes(data, 0, len(data)):
                if box.kind == b"jp2h":
                    coded_as = _colour_space(data, box)
                if box.kind == b"jp2c":
                    start = box.start
                    break
        if bytes(data[start : start + 4]) != CODESTREAM:
            return Jpeg2000(8, False)
        left, above = struct.unpack_from(">2I", data, start + 16)
        (count,) = struct.unpack_from(">H", data, start + 40)
        channels = [struct.unpack_from("3B", data, start + 42 + 3 * channel) for channel in range(count)]
    except struct.error:
        return Jpeg2000(8, False)
    alike = len(set(channels)) == 1 and channels[0][0] < 128 and channels[0][1:] == (1, 1)
    plain = alike and count in (1, 3, 4) and coded_as not in (YCC, CMYK) and left == above == 0
    return Jpeg2000(max((depth & 0x7F for depth, _, _ in channels), default=7) + 1, plain, _is_reversible(data, start))


def _is_reversible(data: Any, at: int) -> bool:
    """Whether the wavelets of a codestream are those of 5 and 3 taps, as the segment COD of its header says."""
    at += 2
    while at + 14 <= len(data):
        marker, length = struct.unpack_from(">2H", data, at)
        if marker == COD:
            return bool(data[at + 13] == 1)
        if length < 2 or marker == TILE:
            return False
        at += 2 + length
    return False


def _colour_space(data: Any, header: Box) -> int:
    """As the first of its `colr` boxes numbers it; 0 if that holds a profile."""
    for box in boxes(data, header.start, header.end):
        if box.kind == b"colr":
            method, _, _, space = struct.unpack_from(">BBBI", data, box.start)
            return int(space) if method == 1 else 0
    return 0
