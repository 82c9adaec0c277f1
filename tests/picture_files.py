"""Small pictures for tests, and profiles for their colours."""

import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from cyclestyle.provenance import Provenance
from cyclestyle.translate.reading import Frame, Source

ORIGIN = Provenance("ab" * 32, "BtoA", 'photo to <ink> & "wash"')
LOSSLESS = {"PNG", "TIFF"}
WIDE = [(0.7976749, 0.2880402, 0.0), (0.1351917, 0.7118741, 0.0), (0.0313534, 0.0000857, 0.8252100)]  # ProPhoto, D50
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
CURVES = {
    "linear": struct.pack(">4sII", b"curv", 0, 0),
    "gamma": struct.pack(">4sIIHxx", b"curv", 0, 1, round(1.8 * 256)),
    "table": struct.pack(">4sII", b"curv", 0, 1024) + (np.linspace(0, 1, 1024) ** 2.2 * 65535).astype(">u2").tobytes(),
    "para 0": struct.pack(">4sIHHi", b"para", 0, 0, 0, round(2.2 * 65536)),
    "para 3": struct.pack(">4sIHH5i", b"para", 0, 3, 0, *(round(value * 65536) for value in SRGB_CURVE)),
}


def smooth(height: int = 24, width: int = 36, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    rough = np.random.default_rng(seed).integers(60, 200, (3, 4, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))
    return pixels if dtype == np.uint8 else pixels.astype(np.uint16) * 257 - np.arange(width, dtype=np.uint16)[:, None]


def read(path: Path) -> tuple[Source, list[Frame]]:
    with Source(path) as source:
        return source, list(source.frames())


def fixed(*values: float) -> bytes:
    return struct.pack(">4sI", b"XYZ ", 0) + struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))


def profile(curve: bytes, kind: bytes = b"RGB ") -> bytes:
    """A display profile of version 4."""
    tags = {b"wtpt": fixed(0.9642, 1.0, 0.8249)}
    if kind == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        tags |= {name + b"XYZ": fixed(*colour) for name, colour in zip((b"r", b"g", b"b"), WIDE, strict=True)}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    place, entries, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        entries += struct.pack(">4sII", name, place + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s12x4s", place + len(body), bytes(4), 0x04200000, b"mntr", kind, b"XYZ ", b"acsp")
    head += bytes(28) + fixed(0.9642, 1.0, 0.8249)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + entries + body


def deep_jpeg_2000(path: Path, values: np.ndarray, bits: int) -> Path:
    """Without loss, uint16 (H, W) or (H, W, C) of so many bits; OpenCV writes 16, so less is put where it says so."""
    moved = (values.astype(np.int64) + 2**15 - 2 ** (bits - 1)).astype(np.uint16)  # the middle is what is coded as 0
    planes = moved if moved.ndim == 2 else np.dstack([moved[..., 2::-1], moved[..., 3:]])
    _, encoded = cv2.imencode(".jp2", planes, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
    data, count = bytearray(encoded.tobytes()), 1 if values.ndim == 2 else values.shape[2]
    data[data.index(b"ihdr") + 14] = bits - 1
    start = data.index(b"\xff\x4f\xff\x51") + 42
    data[start : start + 3 * count : 3] = bytes([bits - 1] * count)
    path.write_bytes(data)
    return path
