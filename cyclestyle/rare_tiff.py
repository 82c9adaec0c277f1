"""TIFFs that Pillow does not open or gets wrong: of 16 bit in planes or with grey and alpha, RGB of 32 bit, and floats.

OpenCV decodes their samples, in all compressions that it knows, as those of a grey picture. A page is then opened as
one with the same samples in 16 bit, laid out plainly, and with all of its other tags (TIFF 6.0; sections in brackets).
"""

import io
import logging
import mmap
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from cyclestyle.deep import (
    BITS_PER_SAMPLE,
    EXTRA_SAMPLES,
    INTERLEAVED,
    PHOTOMETRIC,
    PLANAR_CONFIGURATION,
    PREMULTIPLIED,
    SAMPLE_FORMAT,
    SAMPLES,
    UNSIGNED,
    WHITE_IS_ZERO,
    is_in_planes,
    opencv,
    white_of_floats,
)
from cyclestyle.memory import free_memory

WIDTH, HEIGHT, COMPRESSION, FILL_ORDER = 256, 257, 259, 266
STRIPS, ROWS, LENGTHS, PREDICTOR = 273, 278, 279, 317
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_LENGTHS = 322, 323, 324, 325
LEAST_AND_LARGEST = {280, 281, 340, 341}
OTHERS = {330, 347}  # further pictures, tables of a compression
LAID_OUT = (
    LEAST_AND_LARGEST
    | OTHERS
    | {
        *(
            WIDTH,
            HEIGHT,
            BITS_PER_SAMPLE,
            COMPRESSION,
            PHOTOMETRIC,
            FILL_ORDER,
            STRIPS,
            SAMPLES,
            ROWS,
            LENGTHS,
            PLANAR_CONFIGURATION,
        ),
        *(PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_LENGTHS, EXTRA_SAMPLES, SAMPLE_FORMAT),
    }
)
DIRECTORIES = {34665, 34853, 40965}  # tags that say where those of EXIF lie
BLACK_IS_ZERO, RGB = 1, 2  # of PHOTOMETRIC
UNCOMPRESSED, UNPREDICTED = 1, 1  # of COMPRESSION, PREDICTOR
DIFFERENCES, OF_FLOATS = 2, 3  # of PREDICTOR (14)
ALPHA = (PREMULTIPLIED, 2)  # of EXTRA_SAMPLES
FLOATING = 3  # of SAMPLE_FORMAT
KINDS = {(bits, UNSIGNED) for bits in (8, 10, 12, 14, 16, 32)} | {(bits, FLOATING) for bits in (16, 32, 64)}
MOST_SAMPLES = 16
SHORT, LONG = 3, 4  # types (2)
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 18: 8}  # of them
STRIP = 64  # rows, of what is computed at once
MOST_OF_STRIP = 1 << 26  # bytes
NO_MEMORY = -4  # a code of OpenCV's errors


def is_misread(image: Image.Image) -> bool:
    """Whether the page of a TIFF is in planes of more than 8 bits, or of 32 whose bytes Pillow does not turn."""
    tags: Any = getattr(image, "tag_v2", {})
    bits = max(tags.get(BITS_PER_SAMPLE, (1,)))
    unturned = tags.prefix == b"MM" and tags.get(COMPRESSION, UNCOMPRESSED) != UNCOMPRESSED
    return (bits > 8 and is_in_planes(image)) or (bits > 16 and unturned)


def is_rare(image: Image.Image) -> bool:
    """Whether a picture was opened by `rare_page`."""
    return image.format == "TIFF" and isinstance(getattr(image, "fp", None), io.BytesIO)


def encoded(image: Image.Image, path: Path) -> np.ndarray:
    """uint8, all bytes of the file of a picture that is open, or of what `rare_page` made of it."""
    file = getattr(image, "fp", None)
    return np.frombuffer(file.getvalue(), np.uint8) if isinstance(file, io.BytesIO) else np.fromfile(path, np.uint8)


def begins_as_tiff(path: Path) -> bool:
    """Whether a file calls itself one."""
    with path.open("rb") as file:
        return file.read(3) in (b"II*", b"II+", b"MM\0")


def rare_page(path: Path, most: int, number: int = 0) -> Image.Image:
    """A page of a TIFF, opened as the one page of a TIFF in memory, of 16 bit.

    Args:
        most: pixels that it may have.
        number: of the page, from 0.

    Raises:
        Image.UnidentifiedImageError: it is of another kind, or damaged.
        Image.DecompressionBombError: it has more pixels.
    """
    with _opened(path) as (data, file):
        page = file.pages[number]
        if page.imagewidth * page.imagelength > most:
            raise Image.DecompressionBombError
        pixels = _to_16_bit(_samples(data, file.tiff.byteorder, page), page)
        made, count = _Written(file.tiff.byteorder), pixels.shape[2]
        laid_out = {
            WIDTH: [page.imagewidth],
            HEIGHT: [page.imagelength],
            BITS_PER_SAMPLE: [16] * count,
            COMPRESSION: [UNCOMPRESSED],
            PHOTOMETRIC: [RGB if count > 1 else BLACK_IS_ZERO],
            STRIPS: [made.append(pixels.astype(f"{file.tiff.byteorder}u2").tobytes())],
            SAMPLES: [count],
            ROWS: [len(pixels)],
            LENGTHS: [pixels.nbytes],
            PLANAR_CONFIGURATION: [INTERLEAVED],
            SAMPLE_FORMAT: [UNSIGNED] * count,
        }
        if count == 4:
            laid_out[EXTRA_SAMPLES] = [next(kind for kind in page.extrasamples if kind in ALPHA)]
        return Image.open(io.BytesIO(made.page(laid_out, _kept(made, data, file.tiff, page.offset, set()))))


def bits_of_pages(path: Path) -> list[int]:
    """How many bits a sample has, of each page.

    Raises:
        Image.UnidentifiedImageError: it is damaged.
    """
    found: dict[int, int] = {}
    with _opened(path) as (_, file):
        for page in file.pages:
            if page.offset in found:  # or a chain that leads back would have no end
                break
            found[page.offset] = page.bitspersample
    return list(found.values())


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The bytes of a file, and what tifffile tells of it."""
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # an error is raised
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
            tifffile.TiffFile(file) as tiff,
        ):
            yield data, tiff
    except (Image.DecompressionBombError, MemoryError):
        raise
    except Exception as error:  # tifffile and OpenCV raise many kinds
        if getattr(error, "code", None) == NO_MEMORY:
            raise MemoryError from None
        raise Image.UnidentifiedImageError from None


class _Written:
    """A TIFF in memory.

    Attributes:
        copied: bytes of another file in it, as `_kept` counts them.
    """

    def __init__(self, order: str) -> None:
        self._order, self.copied = order, 0
        self._file = bytearray(struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 0))

    def append(self, content: bytes) -> int:
        """Returns where it lies."""
        self._file += bytes(len(self._file) % 2)
        self._file += content
        return len(self._file) - len(content)

    def entry(self, tag: int, kind: int, count: int, content: bytes) -> bytes:
        """Of a directory: values of a type."""
        if len(content) > 4:
            content = struct.pack(f"{self._order}I", self.append(content))
        return struct.pack(f"{self._order}HHI4s", tag, kind, count, content)

    def directory(self, entries: Iterable[bytes]) -> int:
        """Append one, and return where it lies."""
        ordered = sorted(entries, key=lambda entry: struct.unpack_from(f"{self._order}H", entry))
        return self.append(struct.pack(f"{self._order}H", len(ordered)) + b"".join(ordered) + bytes(4))

    def page(self, numbers: Mapping[int, Sequence[int]], entries: Sequence[bytes] = ()) -> bytearray:
        """The file, with the one page that these make: values by their tags, and entries that were made before."""
        made = [*entries]
        for tag, values in numbers.items():
            kind, letter = (SHORT, "H") if max(values) < 1 << 16 else (LONG, "I")
            content = struct.pack(f"{self._order}{len(values)}{letter}", *values)
            made.append(self.entry(tag, kind, len(values), content))
        struct.pack_into(f"{self._order}I", self._file, 4, self.directory(made))
        return self._file


def _kept(made: _Written, data: Any, tiff: Any, at: int, seen: set[int]) -> list[bytes]:
    """Entries of a directory that do not say how the pixels are laid out, copied with what they point to.

    Args:
        seen: gets where the directories lie, so that each is copied once. All values may take the room of the file.
    """
    order, room = tiff.byteorder, tiff.offsetsize
    found: dict[int, bytes] = {}
    (entries,) = struct.unpack_from(tiff.tagnoformat, data, at)
    for start in range(at + tiff.tagnosize, at + tiff.tagnosize + entries * tiff.tagsize, tiff.tagsize):
        tag, kind = struct.unpack_from(f"{order}HH", data, start)
        (count,) = struct.unpack_from(tiff.offsetformat, data, start + 4)
        size, place = count * SIZES.get(kind, 0), start + 4 + room
        if size > room:
            (place,) = struct.unpack_from(tiff.offsetformat, data, place)
        if tag in LAID_OUT or tag in found or not 0 < size <= len(data) - max(place, made.copied):
            continue
        made.copied += size
        content = data[place : place + size]
        if tag not in DIRECTORIES and kind < 16:  # the numbers of BigTIFF are not for this one
            found[tag] = made.entry(tag, kind, count, content)
        elif tag in DIRECTORIES and size in (4, 8):
            (lies,) = struct.unpack(f"{order}{'I' if size == 4 else 'Q'}", content)
            if 0 < lies < len(data) and lies not in seen:
                seen.add(lies)
                with suppress(struct.error):  # it is damaged
                    directory = made.directory(_kept(made, data, tiff, lies, seen))
                    found[tag] = made.entry(tag, LONG, 1, struct.pack(f"{order}I", directory))
    return list(found.values())


def _samples(data: Any, order: str, page: Any) -> np.ndarray:
    """Of a page, (H, W, C), as they are."""
    bits, kind, count, predictor = page.bitspersample, page.sampleformat, page.samplesperpixel, page.predictor
    if (bits, kind) not in KINDS or count > MOST_SAMPLES or page.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        raise ValueError("of a rare kind")
    planes = count if page.planarconfig > INTERLEAVED else 1
    natively = predictor == OF_FLOATS and planes == 1 and count in (3, 4)
    beside = 1 if planes > 1 or natively else count  # samples that count as so many pixels
    if beside > 1 and predictor == OF_FLOATS:
        raise ValueError("of a rare kind")
    needed = page.imagewidth * page.imagelength * (2 * count * bits // 8 + 16)
    if needed > (free_memory(torch.device("cpu")) or needed):
        raise MemoryError
    rows, starts, lengths = _strips(page, planes)
    each, decoded = len(starts) // planes, []
    for plane in range(planes):
        own = range(plane * each, (plane + 1) * each)
        relabelled = _Written(order)
        places = [relabelled.append(data[starts[part] : starts[part] + lengths[part]]) for part in own]
        laid_out = {WIDTH: [page.imagewidth * beside], HEIGHT: [page.imagelength], COMPRESSION: [page.compression]}
        laid_out |= {PHOTOMETRIC: [RGB if natively else BLACK_IS_ZERO], FILL_ORDER: [page.fillorder]}
        laid_out |= {SAMPLES: [count if natively else 1], BITS_PER_SAMPLE: [bits] * (count if natively else 1)}
        laid_out |= {PREDICTOR: [UNPREDICTED if beside > 1 else predictor]}
        # Floats of 16 bit are none to OpenCV.
        laid_out |= {SAMPLE_FORMAT: [UNSIGNED if bits == 16 else kind] * (count if natively else 1)}
        if page.is_tiled:
            laid_out |= {TILE_WIDTH: [page.tilewidth * beside], TILE_HEIGHT: [page.tilelength]}
            laid_out |= {TILES: places, TILE_LENGTHS: [lengths[part] for part in own]}
        else:
            laid_out |= {ROWS: [rows], STRIPS: places, LENGTHS: [lengths[part] for part in own]}
        file = np.frombuffer(relabelled.page(laid_out), np.uint8)
        decoded.append(opencv().imdecode(file, opencv().IMREAD_UNCHANGED))
    samples = np.stack(decoded, -1) if planes > 1 else decoded[0].reshape(page.imagelength, page.imagewidth, count)
    if natively:
        return samples[..., [2, 1, 0, 3][:count]]
    if beside > 1 and predictor == DIFFERENCES:
        samples = _summed(samples, page.tilewidth if page.is_tiled else page.imagewidth)
    if 8 < bits < 16:  # which OpenCV makes larger
        samples = samples >> 16 - bits
    return samples.view(np.float16) if (bits, kind) == (16, FLOATING) else samples


def _strips(page: Any, planes: int) -> tuple[int, Sequence[int], Sequence[int]]:
    """Rows of a strip, and where strips or tiles begin and how long they are; OpenCV takes none of a gigabyte."""
    starts, lengths = page.dataoffsets, page.databytecounts
    if page.is_tiled or page.compression != UNCOMPRESSED or len(starts) != planes:
        return page.rowsperstrip, starts, lengths
    row = -(-page.imagewidth * (1 if planes > 1 else page.samplesperpixel) * page.bitspersample // 8)
    rows = max(1, MOST_OF_STRIP // row)
    tops = range(0, page.imagelength, rows)
    cut = [min(rows, page.imagelength - top) * row for top in tops]
    return rows, [start + top * row for start in starts for top in tops], cut * planes


def _summed(samples: np.ndarray, width: int) -> np.ndarray:
    """Samples that were coded as differences to those on their left, within tiles of a width."""
    whole = samples.view(f"u{samples.itemsize}")
    parts = [whole[:, left : left + width].cumsum(1, whole.dtype) for left in range(0, whole.shape[1], width)]
    return np.concatenate(parts, 1).view(samples.dtype)


def _to_16_bit(samples: np.ndarray, page: Any) -> np.ndarray:
    """(H, W, 1) of grey, or (H, W, 3 or 4)."""
    kinds = page.extrasamples
    bands = samples.shape[2] > 2 and not set(ALPHA) & set(kinds)  # some write three colours, and call the first grey
    colours = 3 if page.photometric == RGB or bands else 1
    alphas = [samples.shape[2] - len(kinds) + number for number, kind in enumerate(kinds) if kind in ALPHA][:1]
    if (page.bitspersample, page.sampleformat) != (16, UNSIGNED):
        scaled = np.empty((*samples.shape[:2], colours + len(alphas)), np.uint16)
        _scale(samples[..., :colours], page, scaled[..., :colours])
        for alpha in alphas:
            _scale(samples[..., alpha : alpha + 1], page, scaled[..., colours:])
    else:
        scaled = samples[..., [*range(colours), *alphas]]
    if page.photometric == WHITE_IS_ZERO and page.sampleformat == UNSIGNED:
        scaled[..., :colours] = ~scaled[..., :colours]
    return scaled[..., [0, 0, 0, 1]] if colours == 1 and alphas else scaled


def _scale(samples: np.ndarray, page: Any, scaled: np.ndarray) -> None:
    """(H, W, C), white becomes 65535; of 32 bits many programs use fewer."""
    if page.sampleformat == FLOATING:
        white = white_of_floats(samples)
    else:
        bits = page.bitspersample
        white = 2.0 ** (bits if bits < 16 else max(16, int(samples.max(initial=0)).bit_length())) - 1
    for top in range(0, len(samples), STRIP):
        rows = samples[top : top + STRIP].astype(np.float64) * (65535 / white)
        scaled[top : top + STRIP] = np.nan_to_num(rows).clip(0, 65535).round()
