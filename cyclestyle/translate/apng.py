"""Moving PNG (PNG 3rd edition, 11.3.6): Pillow mixes up frames that are laid over others, and keeps 8 bits of 16."""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import count
from typing import BinaryIO, NamedTuple

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
WITH_ALPHA = {4, 6}  # colour types
CLEARED, UNDONE = 1, 2  # what becomes of the place of a frame after it was shown; else it stays
OVER = 1  # how a frame is laid on what is there; else it takes its place
MOST = 65535  # of the numbers that are a time, as a fraction of seconds

Still = tuple[np.ndarray, np.ndarray | None]  # (H, W, 3), and alpha, (H, W), or None


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents, as far as they are whole, to the end of the picture."""
    at, name = len(SIGNATURE), b""
    while at + 12 <= len(png) and name != b"IEND":
        length, name = struct.unpack_from(">I4s", png, at)
        if at + 12 + length <= len(png):
            yield name, png[at + 8 : at + 8 + length]
        at += 12 + length


def chunk(name: bytes, content: bytes) -> bytes:
    """As it stands in a file."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


class _Control(NamedTuple):
    """What fcTL says of a frame."""

    width: int
    height: int
    left: int
    top: int
    numerator: int
    denominator: int
    after: int
    how: int


class MovingPng:
    """The frames of a file.

    Attributes:
        milliseconds: for each of them, how long it is shown.
        still: a file without them, with all else that it says.

    Raises:
        ValueError: it is damaged.
    """

    def __init__(self, png: bytes) -> None:
        self._header, self._beside, told = b"", b"", 0
        controls: list[_Control] = []
        self._coded: list[list[bytes]] = []
        beside, still, begun = [], [SIGNATURE], False
        for name, content in chunks(png):
            begun = begun or name == b"IDAT"
            if name == b"acTL" and not (begun or told):
                told = int.from_bytes(content[:4], "big")
            elif name == b"fcTL" and len(content) == 26:
                controls.append(_Control(*struct.unpack_from(">4I2H2B", content, 4)))
                self._coded.append([])
            elif name in (b"IDAT", b"fdAT") and self._coded:  # else a picture for programs that know of no others
                self._coded[-1].append(content[4:] if name == b"fdAT" else content)
            if name == b"IHDR":
                self._header = content
            elif name in (b"PLTE", b"tRNS"):
                beside.append(chunk(name, content))
            if name not in (b"acTL", b"fcTL", b"fdAT"):
                still.append(chunk(name, content))
        self._beside, self.still = b"".join(beside), b"".join(still)
        if len(self._header) != 13 or len(controls) < max(told, 1):
            raise ValueError(f"{len(controls)} of {told} frames are there")
        self._controls = controls[:told]
        self.milliseconds = [1000 * c.numerator / (c.denominator or 100) for c in self._controls]

    def frames(self, decode: Callable[[bytes], Still]) -> Iterator[Still]:
        """As they are shown.

        Args:
            decode: makes uint8 or uint16 of a PNG file of one frame.

        Returns:
            of that type; alpha is None where all are opaque.

        Raises:
            ValueError: it is damaged.
        """
        width, height = struct.unpack_from(">2I", self._header)
        opaque = self._header[9] not in WITH_ALPHA and b"tRNS" not in self._beside and self._are_whole(width, height)
        canvas: np.ndarray | None = None
        for control, coded in zip(self._controls, self._coded, strict=False):  # there may be more than it tells of
            if control.left + control.width > width or control.top + control.height > height:
                raise ValueError("a frame goes beyond the picture")
            colours, alpha = decode(self._still(control, b"".join(coded)))
            first, white = canvas is None, np.iinfo(colours.dtype).max
            if canvas is None:
                canvas = np.zeros((height, width, 4), colours.dtype)
            place = canvas[control.top :, control.left :][: control.height, : control.width]
            before = place.copy()
            place[..., :3], place[..., 3] = colours, white if alpha is None else alpha
            if control.how == OVER:
                place[...] = _over(place, before, white)
            yield canvas[..., :3].copy(), None if opaque else canvas[..., 3].copy()
            if control.after == CLEARED or (control.after == UNDONE and first):
                place[...] = 0
            elif control.after == UNDONE:
                place[...] = before

    def _are_whole(self, width: int, height: int) -> bool:
        """Whether no place is empty at any time."""
        empty = True
        for control in self._controls:
            if empty and control[:4] != (width, height, 0, 0):
                return False
            empty = control.after == CLEARED or (control.after == UNDONE and control is self._controls[0])
        return True

    def _still(self, control: _Control, coded: bytes) -> bytes:
        header = struct.pack(">2I", control.width, control.height) + self._header[8:]
        return SIGNATURE + chunk(b"IHDR", header) + self._beside + chunk(b"IDAT", coded) + chunk(b"IEND", b"")


def _over(above: np.ndarray, below: np.ndarray, white: int) -> np.ndarray:
    """(h, w, 4), one laid over the other."""
    seen = below[..., 3:] * (1 - above[..., 3:] / white)
    alpha = above[..., 3:] + seen
    colours = (above[..., :3] * above[..., 3:].astype(np.float64) + below[..., :3] * seen) / np.maximum(alpha, 1)
    return np.concatenate([colours, alpha], -1).round().astype(above.dtype)


def write_moving(
    file: BinaryIO, stills: Iterable[bytes], before: bytes, milliseconds: Sequence[float], loop: int
) -> None:
    """Write PNG files of one size and kind as one that moves.

    Args:
        before: chunks that go between the header and the frames.
        milliseconds: for each of them, how long it is shown.
        loop: how often all are shown, 0: for ever.
    """
    numbers = count()
    for index, (still, shown) in enumerate(zip(stills, milliseconds, strict=True)):
        (_, header), *rest = chunks(still)
        if index == 0:
            file.write(SIGNATURE + chunk(b"IHDR", header))
            file.write(chunk(b"acTL", struct.pack(">2I", len(milliseconds), loop)) + before)
        control = struct.pack(">I8s2I2H2x", next(numbers), header[:8], 0, 0, *_seconds(shown))
        coded = b"".join(content for name, content in rest if name == b"IDAT")
        file.write(chunk(b"fcTL", control))
        file.write(chunk(b"fdAT", struct.pack(">I", next(numbers)) + coded) if index else chunk(b"IDAT", coded))
    file.write(chunk(b"IEND", b""))


def _seconds(milliseconds: float) -> tuple[int, int]:
    """Numerator and denominator."""
    seconds = Fraction(min(milliseconds / 1000, MOST))
    time = seconds.limit_denominator(int(MOST / max(1.0, float(seconds))))
    return time.numerator, time.denominator
