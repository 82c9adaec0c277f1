"""ICC profiles (ISO 15076-1:2010) of curves and a matrix, as cameras and screens have, for 16 bit.

Pillow's colour management takes 8 bit alone, and a table made with it has too few nodes for the dark of linear or
wide colours.
"""

import struct

import numpy as np

LEVELS = 65536
# Columns are red, green and blue of sRGB in XYZ, seen in D50 (Bradford), as profiles count.
SRGB = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
STRIP = 64  # rows


def deep_to_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray | None:
    """Colours of a profile in sRGB, relative to white.

    Args:
        pixels: uint16 (H, W, 3), or (H, W) of grey.

    Returns:
        uint16 (H, W, 3); None if the profile is damaged, of another kind, or of other colours.
    """
    try:
        tags, kind = _tags(profile), profile[16:20]
        if kind == b"GRAY" and pixels.ndim == 2:
            return np.repeat(_encoded(_curve(tags[b"kTRC"]))[pixels][..., None], 3, 2)
        if kind != b"RGB " or pixels.ndim != 3 or profile[20:24] != b"XYZ " or b"A2B0" in tags:
            return None
        curves = [_curve(tags[name]).astype(np.float32) for name in (b"rTRC", b"gTRC", b"bTRC")]
        columns = [np.frombuffer(tags[name], ">i4", 3, 8) / 65536 for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    except (KeyError, ValueError, struct.error):
        return None
    matrix = np.linalg.solve(SRGB, np.stack(columns, 1)).astype(np.float32)
    made = np.empty_like(pixels)
    for top in range(0, len(pixels), STRIP):
        rows = pixels[top : top + STRIP]
        made[top : top + STRIP] = _encoded(np.stack([c[rows[..., i]] for i, c in enumerate(curves)], -1) @ matrix.T)
    return made


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * number) for number in range(min(count, 100))]
    return {name: profile[start : start + size] for name, start, size in entries}


def _curve(tag: bytes) -> np.ndarray:
    """How much light each of 65536 levels is, 0 to 1 (10.6 and 10.18 of the standard)."""
    x = np.linspace(0, 1, LEVELS)
    if tag[:4] == b"curv":
        table = np.frombuffer(tag, ">u2", struct.unpack_from(">I", tag, 8)[0], 12)
        if len(table) < 2:
            return x ** (float(table[0]) / 256 if len(table) else 1)
        return np.interp(x, np.linspace(0, 1, len(table)), table / 65535)
    if tag[:4] != b"para":
        raise ValueError("a curve of another kind")
    shape = struct.unpack_from(">H", tag, 8)[0]
    values = np.frombuffer(tag, ">i4", {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}.get(shape, 1), 12) / 65536
    gamma, a, b = (*values, 1, 0)[:3] if shape == 0 else values[:3]
    power = np.maximum(a * x + b, 0) ** gamma
    if shape < 3:
        return power + (values[3] if shape == 2 else 0)
    c, d, e, f = (*values[3:], 0, 0)[:4]
    found: np.ndarray = np.where(x >= d, power + e, c * x + f)
    return found


def _encoded(light: np.ndarray) -> np.ndarray:
    """Light, 0 to 1, as uint16 of sRGB (IEC 61966-2-1)."""
    light = np.clip(light, 0, 1)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(encoded * (LEVELS - 1)).astype(np.uint16)
