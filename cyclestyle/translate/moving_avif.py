"""Moving AVIF without loss or of more than 8 bits: OpenCV codes it, but leaves out EXIF, XMP and its colours."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cyclestyle.boxes import boxes
from cyclestyle.deep import encoded_by, opencv

# Boxes that consist of boxes, with how many bytes of their own come before.
OUTER = {b"meta": 4, b"iinf": 6, b"iref": 4, b"iprp": 0, b"ipco": 0, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0}
OUTER |= {b"stbl": 0, b"stsd": 8, b"av01": 78}
BT709, SRGB = 1, 13  # primaries and transfer characteristics of H.273
OF_FOUR_BYTES = b"\0\0\0\0\x44\0"  # how iloc begins where offsets and lengths are so
SPEED = 6  # of 10
MOST_MILLISECONDS = 2**31 - 1
SEEN = 500  # bytes by which OpenCV tells an AVIF, in vain where they end within the head of a box

Place = tuple[int, int, int]  # of an item: its number, and offset and length of its content in the file


@dataclass
class _Box:
    kind: bytes
    own: bytes
    within: list["_Box"] = field(default_factory=list)

    def __bytes__(self) -> bytes:
        content = self.own + b"".join(map(bytes, self.within))
        return struct.pack(">I4s", 8 + len(content), self.kind) + content

    def all(self) -> Iterator["_Box"]:
        """Itself and all boxes within, at any depth."""
        yield self
        for box in self.within:
            yield from box.all()

    def get(self, kind: bytes) -> "_Box":
        """The first of a kind within.

        Raises:
            ValueError: there is none.
        """
        for box in self.within:
            if box.kind == kind:
                return box
        raise ValueError(f"OpenCV wrote no {kind.decode()}")


def moving_avif(
    frames: Sequence[np.ndarray], milliseconds: Sequence[float], bits: int, quality: int, exif: bytes, xmp: bytes
) -> bytes:
    """Frames as an AVIF that is shown again and again.

    Args:
        frames: uint8 or uint16 (H, W, 3 or 4), blue before red, 0 to 2^bits - 1, in sRGB.
        milliseconds: for each of them, how long it is shown.
        bits: of a channel: 8, 10 or 12.
        quality: 1 to 100, which is without loss.
        exif, xmp: may be empty.

    Raises:
        ValueError: it cannot be coded.
    """
    cv2 = opencv()
    animation = cv2.Animation()
    animation.frames = list(frames)
    animation.durations = [min(max(1, round(shown)), MOST_MILLISECONDS) for shown in milliseconds]
    options = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, quality, cv2.IMWRITE_AVIF_SPEED, SPEED]
    notes = [(b"Exif", b"", bytes(4) + exif.removeprefix(b"Exif\0\0"))] * bool(exif)
    notes += [(b"mime", b"application/rdf+xml\0", xmp)] * bool(xmp)
    return _annotated(encoded_by(cv2.imencodeanimation, ".avif", animation, options), notes)


def _annotated(avif: bytes, notes: Sequence[tuple[bytes, bytes, bytes]]) -> bytes:
    """Tagged as sRGB, with notes on the picture and on its track (ISO 23008-12, 6.2, 7.2 and annex A).

    Args:
        notes: of each its type, what else `infe` says of it, and its content.
    """
    file = _Box(b"", b"", _parsed(avif, 0, len(avif)))
    meta, data = file.get(b"meta"), file.get(b"mdat")
    places = _places(meta.get(b"iloc"))
    start, first = len(avif) - len(data.own), 1 + max(item for item, _, _ in places)  # data is what comes last
    new, infos = [], []
    for item, (kind, more, content) in enumerate(notes, first):
        infos.append(_Box(b"infe", struct.pack(">IHH4sx", 2 << 24, item, 0, kind) + more))
        new.append((item, start + len(data.own), len(content)))
        data.own += content
    if notes:
        (primary,) = struct.unpack_from(">H", meta.get(b"pitm").own, 4)
        about = [_Box(b"cdsc", struct.pack(">3H", item, 1, primary)) for item, _, _ in new]
        if not any(box.kind == b"iref" for box in meta.within):
            meta.within.append(_Box(b"iref", bytes(4)))
        meta.get(b"iref").within += about
        meta.get(b"iloc").own = _located([*places, *new])
        listed = meta.get(b"iinf")
        listed.within += infos
        listed.own = _counted(listed.within)
        of_track = [meta.get(b"hdlr"), _Box(b"iloc", _located(new)), _Box(b"iinf", _counted(infos), infos)]
        file.get(b"moov").get(b"trak").within.append(_Box(b"meta", bytes(4), of_track))
    before = sum(len(bytes(box)) for box in file.within[: file.within.index(file.get(b"moov"))])
    if SEEN - 8 < before < SEEN:
        file.within.insert(1, _Box(b"free", bytes(8)))
    shift = sum(len(bytes(box)) for box in file.within) - len(data.own) - start
    for box in file.all():
        if box.kind == b"colr" and box.own[:4] == b"nclx":
            box.own = box.own[:4] + struct.pack(">2H", BT709, SRGB) + box.own[8:]
        elif box.kind == b"iloc":
            box.own = _located([(item, offset + shift, length) for item, offset, length in _places(box)])
        elif box.kind == b"stco":
            offsets = np.frombuffer(box.own, ">u4", offset=8) + shift
            box.own = box.own[:8] + offsets.astype(">u4").tobytes()
    return b"".join(map(bytes, file.within))


def _parsed(data: bytes, start: int, end: int) -> list[_Box]:
    found = []
    for kind, begin, finish in boxes(data, start, end):
        within = begin + OUTER.get(kind, finish - begin)
        found.append(_Box(kind, data[begin:within], _parsed(data, within, finish) if kind in OUTER else []))
    return found


def _places(located: _Box) -> list[Place]:
    """What iloc says."""
    (count,) = struct.unpack_from(">H", located.own, 6)
    found = list(struct.iter_unpack(">H2xHII", located.own[8:])) if located.own[:6] == OF_FOUR_BYTES else []
    if len(found) != count or any(extents != 1 for _, extents, _, _ in found):
        raise ValueError("OpenCV wrote where things lie in another way than is known")
    return [(item, offset, length) for item, _, offset, length in found]


def _located(places: Sequence[Place]) -> bytes:
    """The content of iloc."""
    entries = (struct.pack(">HHHII", item, 0, 1, offset, length) for item, offset, length in places)
    return OF_FOUR_BYTES + struct.pack(">H", len(places)) + b"".join(entries)


def _counted(infos: Sequence[Any]) -> bytes:
    """How iinf begins."""
    return struct.pack(">IH", 0, len(infos))
