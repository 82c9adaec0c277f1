"""TIFFs that Pillow does not open or gets wrong: of 16 bit in planes or with grey and alpha, RGB of 32 bit, and floats.

OpenCV decodes their samples, in whatever compression, as those of a grey picture. The file is then opened with the same
samples in 16 bit, laid out plainly, and with all of its other tags (TIFF 6.0; sections in brackets).
"""

import io
import logging
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cyclestyle.deep import (
    BITS,
    BITS_PER_SAMPLE,
    EXTRA_SAMPLES,
    PHOTOMETRIC,
    PLANAR_CONFIGURATION,
    PREMULTIPLIED,
    SAMPLE_FORMAT,
    UNSIGNED,
    WHITE_IS_ZERO,
    opencv,
    white_of_floats,
)

WIDTH, HEIGHT, COMPRESSION, STRIPS, SAMPLES, ROWS, LENGTHS = 256, 257, 259, 273, 277, 278, 279
PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_LENGTHS = 317, 322, 323, 324, 325
LAID_OUT = {
    BITS_PER_SAMPLE,
    COMPRESSION,
    PHOTOMETRIC,
    STRIPS,
    SAMPLES,
    ROWS,
    LENGTHS,
    PLANAR_CONFIGURATION,
    PREDICTOR,
    TILE_WIDTH,
    TILE_HEIGHT,
}
LAID_OUT |= {
    TILES,
    TILE_LENGTHS,
    EXTRA_SAMPLES,
    SAMPLE_FORMAT,
    280,
    281,
    340,
    341,
}  # the last: the least and largest values
BLACK_IS_ZERO, RGB = 1, 2  # of PHOTOMETRIC
ALPHA = (PREMULTIPLIED, 2)  # of EXTRA_SAMPLES
FLOATING = 3  # of SAMPLE_FORMAT
DIFFERENCES, OF_FLOATS = 2, 3  # of PREDICTOR (14)
KINDS = {(bits, UNSIGNED) for bits in (8, 10, 12, 14, 16, 32)} | {(bits, FLOATING) for bits in (16, 32, 64)}
MOST_SAMPLES, MOST_PAGES = 16, 1000
STRIP = 64  # rows, of what is computed at once
MOST_OF_STRIP = 1 << 26  # bytes
PLAIN = 1  # no compression, no predictor, no planes


def open_picture(path: Path, most: int) -> Image.Image:
    """As Pillow opens it, or, if it is such a TIFF, from memory.

    Args:
        most: pixels that a page of such a TIFF may have.

    Raises:
        Image.UnidentifiedImageError: it is not a picture, or a TIFF of another kind; Pillow raises others.
        Image.DecompressionBombError: it has more pixels.
    """
    try:
        image = Image.open(path)
    except Image.UnidentifiedImageError:
        if not begins_as_tiff(path):
            raise
    else:
        tags: Any = getattr(image, "tag_v2", {})
        plain = image.format != "TIFF" or tags.get(PLANAR_CONFIGURATION, PLAIN) == PLAIN
        if plain or max(tags.get(BITS_PER_SAMPLE, (1,))) <= 8:
            return image
        image.close()
    try:
        data, bits = in_16_bit(path.read_bytes(), most)
        image = Image.open(io.BytesIO(data))
    except (Image.DecompressionBombError, MemoryError):
        raise
    except Exception:  # tifffile and OpenCV raise many kinds
        raise Image.UnidentifiedImageError from None
    image.info[BITS] = bits
    return image


def encoded(image: Image.Image, path: Path) -> np.ndarray:
    """uint8, all bytes of what `open_picture` opened."""
    file = getattr(image, "fp", None)
    return np.frombuffer(file.getvalue(), np.uint8) if isinstance(file, io.BytesIO) else np.fromfile(path, np.uint8)


def begins_as_tiff(path: Path) -> bool:
    """Whether a file calls itself one."""
    with path.open("rb") as file:
        return file.read(3) in (b"II*", b"II+", b"MM\0")


def in_16_bit(data: bytes, most: int) -> tuple[bytearray, int]:
    """A TIFF with samples that Pillow opens and OpenCV reads, and how many bits they had.

    Args:
        most: pixels that a page may have.

    Raises:
        ValueError: it is of another kind, or damaged; others of damage that tifffile does not expect.
        Image.DecompressionBombError: a page has more pixels.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # an error is raised
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        made, order, most_bits = None, file.tiff.byteorder, 0
        for page in file.pages[:MOST_PAGES]:
            assert isinstance(page, tifffile.TiffPage)  # as long as nobody asks for frames
            if page.imagewidth * page.imagelength > most:
                raise Image.DecompressionBombError
            pixels = _to_16_bit(_samples(data, file.tiff, page), page)
            made = made or _Extended(data, file.tiff)
            count = pixels.shape[2]
            laid_out = {
                BITS_PER_SAMPLE: [16] * count,
                COMPRESSION: [PLAIN],
                PHOTOMETRIC: [RGB if count > 1 else BLACK_IS_ZERO],
            }
            laid_out |= {
                SAMPLES: [count],
                PLANAR_CONFIGURATION: [PLAIN],
                SAMPLE_FORMAT: [UNSIGNED] * count,
                ROWS: [len(pixels)],
            }
            laid_out |= {LENGTHS: [pixels.nbytes], STRIPS: [made.append(pixels.astype(f"{order}u2").tobytes())]}
            if count == 4:
                laid_out[EXTRA_SAMPLES] = [next(kind for kind in page.extrasamples if kind in ALPHA)]
            entries = (data[tag.offset :][: file.tiff.tagsize] for tag in page.tags if tag.code not in LAID_OUT)
            made.add_page(entries, laid_out)
            most_bits = max(most_bits, page.bitspersample)
    if made is None:
        raise ValueError("a TIFF without pages")
    return made.file, most_bits


class _Extended:
    """A file with pages that take the place of its own."""

    def __init__(self, data: bytes, tiff: Any) -> None:
        self.file = bytearray(data)
        self._tiff = tiff
        self._link = tiff.offsetsize  # where it says where the next page is, first of all in the header

    def append(self, content: bytes) -> int:
        """Returns where it lies."""
        self.file += bytes(len(self.file) % 2)
        self.file += content
        return len(self.file) - len(content)

    def add_page(self, entries: Iterable[bytes], numbers: Mapping[int, Sequence[int]]) -> None:
        """Add a page of entries that are there, and of others by their tags."""
        order, offset, room = self._tiff.byteorder, self._tiff.offsetformat, self._tiff.offsetsize
        entries = list(entries)
        for tag, values in numbers.items():
            short = max(values) < 1 << 16
            kind, letter = (3, "H") if short else (4, "I") if room == 4 else (16, "Q")
            content = struct.pack(f"{order}{len(values)}{letter}", *values)
            if len(content) > room:
                content = struct.pack(offset, self.append(content))
            head = struct.pack(f"{order}HH", tag, kind) + struct.pack(offset, len(values))
            entries.append(head + content.ljust(room, b"\0"))
        entries.sort(key=lambda entry: struct.unpack_from(f"{order}H", entry))
        content = struct.pack(self._tiff.tagnoformat, len(entries)) + b"".join(entries) + bytes(room)
        struct.pack_into(offset, self.file, self._link, self.append(content))
        self._link = len(self.file) - room


def _samples(data: bytes, tiff: Any, page: Any) -> np.ndarray:
    """Of a page, (H, W, C), as they are."""
    bits, kind, count, predictor = page.bitspersample, page.sampleformat, page.samplesperpixel, page.predictor
    if (bits, kind) not in KINDS or count > MOST_SAMPLES or page.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        raise ValueError("a TIFF of a rare kind")
    planes = count if page.planarconfig > PLAIN else 1
    natively = predictor == OF_FLOATS and planes == 1 and count in (3, 4)
    beside = 1 if planes > 1 or natively else count  # samples that count as so many pixels
    laid_out = {WIDTH: [page.imagewidth * beside], HEIGHT: [page.imagelength], COMPRESSION: [page.compression]}
    laid_out |= {SAMPLES: [count if natively else 1], PHOTOMETRIC: [RGB if natively else BLACK_IS_ZERO]}
    laid_out |= {tag: [value] * laid_out[SAMPLES][0] for tag, value in ((BITS_PER_SAMPLE, bits), (SAMPLE_FORMAT, kind))}
    laid_out |= {PREDICTOR: [PLAIN if beside > 1 else predictor]}
    if bits == 16:  # floats of which OpenCV does not read
        laid_out[SAMPLE_FORMAT] = [UNSIGNED]
    rows, starts, lengths = _strips(page, planes)
    if page.is_tiled:
        laid_out |= {TILE_WIDTH: [page.tilewidth * beside], TILE_HEIGHT: [page.tilelength]}
    else:
        laid_out[ROWS] = [rows]
    at, long = (TILES, TILE_LENGTHS) if page.is_tiled else (STRIPS, LENGTHS)
    relabelled, each = _Extended(data, tiff), len(starts) // planes
    for part in range(0, planes * each, max(1, each)):
        relabelled.add_page((), laid_out | {at: starts[part:][:each], long: lengths[part:][:each]})
    _, grey = opencv().imdecodemulti(np.frombuffer(relabelled.file, np.uint8), opencv().IMREAD_UNCHANGED)
    samples = np.stack(grey, -1) if planes > 1 else grey[0].reshape(page.imagelength, page.imagewidth, count)
    if natively:
        return samples[..., [2, 1, 0, 3][:count]]
    if beside > 1 and predictor == DIFFERENCES:
        samples = _summed(samples, page.tilewidth if page.is_tiled else page.imagewidth)
    elif beside > 1 and predictor == OF_FLOATS:
        raise ValueError("a TIFF of a rare kind")
    if 8 < bits < 16:  # which OpenCV makes larger
        samples = samples >> 16 - bits
    return samples.view(np.float16) if (bits, kind) == (16, FLOATING) else samples


def _strips(page: Any, planes: int) -> tuple[int, Sequence[int], Sequence[int]]:
    """Rows of a strip, and where strips or tiles begin and how long they are; OpenCV takes none of a gigabyte."""
    starts, lengths = page.dataoffsets, page.databytecounts
    if page.is_tiled or page.compression != PLAIN or len(starts) != planes:
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
    colours = 3 if page.photometric == RGB else 1
    kinds = page.extrasamples[: samples.shape[2] - colours]
    alphas = [colours + number for number, kind in enumerate(kinds) if kind in ALPHA][:1]
    samples = samples[..., [*range(colours), *alphas]]
    if (page.bitspersample, page.sampleformat) != (16, UNSIGNED):
        scale, scaled = 65535 / _white(samples[..., :colours], page), np.empty(samples.shape, np.uint16)
        for top in range(0, len(samples), STRIP):
            rows = samples[top : top + STRIP].astype(np.float64) * scale
            scaled[top : top + STRIP] = np.nan_to_num(rows).clip(0, 65535).round()
        samples = scaled
    if page.photometric == WHITE_IS_ZERO and page.sampleformat == UNSIGNED:
        samples[..., 0] = ~samples[..., 0]
    return samples[..., [0, 0, 0, 1]] if colours == 1 and alphas else samples


def _white(colours: np.ndarray, page: Any) -> float:
    """The value of white; of 32 bits many programs use fewer."""
    if page.sampleformat == FLOATING:
        return white_of_floats(colours)
    bits = page.bitspersample if page.bitspersample < 16 else max(16, int(colours.max(initial=0)).bit_length())
    return 2.0**bits - 1
