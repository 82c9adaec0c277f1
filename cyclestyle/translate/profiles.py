"""Colours of 16 bit in sRGB: those of ICC profiles of curves and a matrix, and those of code points, HDR among them.

Cameras and screens have such profiles (ISO 15076-1:2010). Pillow's colour management takes 8 bit alone, and a table
made with it has too few nodes for the dark of linear or wide colours. Of code points (ITU-T H.273) it knows nothing.
"""

import os
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from cyclestyle.boxes import colours_of_heif

LEVELS = 65536
# Columns are red, green and blue of sRGB in XYZ, seen in D50 (Bradford), as profiles count.
SRGB = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
STRIP = 64  # rows
# Columns are red, green and blue of other primaries in linear sRGB, both seen in D65.
PRIMARIES = {
    9: np.array([[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]]),
    12: np.array([[1.224940, -0.224940, 0.0], [-0.042057, 1.042057, 0.0], [-0.019638, -0.078636, 1.098274]]),
}  # BT.2020 and Display P3
LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020
UNSPECIFIED = 2
LINEAR, PQ, HLG = 8, 16, 18  # transfer characteristics
WHITE = 203  # cd/m2, of diffuse white in HDR (BT.2408)


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


def code_points(image: Image.Image, path: Path) -> tuple[int, int] | None:
    """Primaries and transfer characteristics that an open AVIF, HEIC or PNG tells as numbers of H.273.

    Returns:
        None: none, or there is a profile, which counts more but in a PNG (cICP).
    """
    if image.format == "PNG":
        return _cicp(path)
    if "icc_profile" in image.info:
        return None
    colours = colours_of_heif(path) if image.format in ("AVIF", "HEIF") else None
    return colours[:2] if colours else None


def _cicp(path: Path) -> tuple[int, int] | None:
    """What the chunk of a PNG says (PNG 11.3.2.6)."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            if head[4:] == b"cICP":
                told = file.read(2)
                return (told[0], told[1]) if len(told) == 2 and UNSPECIFIED not in told else None
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    return None


def differ_from_srgb(primaries: int, transfer: int) -> bool:
    """Whether colours of code points are others than those of sRGB, as far as they are known here."""
    return primaries in PRIMARIES or transfer in (LINEAR, PQ, HLG)


def coded_to_srgb(pixels: np.ndarray, primaries: int, transfer: int) -> np.ndarray:
    """Colours of code points in sRGB; of HDR, diffuse white becomes white, and what is brighter is cut.

    Args:
        pixels: uint16 (H, W, 3).
        primaries, transfer: ColourPrimaries and TransferCharacteristics of H.273; unknown ones count as those of sRGB.

    Returns:
        uint16 (H, W, 3).
    """
    light = _light(transfer).astype(np.float32)
    matrix = PRIMARIES.get(primaries, np.eye(3)).astype(np.float32)
    made = np.empty_like(pixels)
    for top in range(0, len(pixels), STRIP):
        rows = light[pixels[top : top + STRIP]]
        if transfer == HLG:  # of the scene; a screen of 1000 cd/m2 shows it so (BT.2100, table 5)
            rows *= (rows @ LUMINANCE)[..., None] ** 0.2 * (1000 / WHITE)
        made[top : top + STRIP] = _encoded(rows @ matrix.T)
    return made


def _light(transfer: int) -> np.ndarray:
    """How much light each of 65536 levels is; diffuse white is 1, but in HLG, where it is what the brightest is."""
    x = np.linspace(0, 1, LEVELS)
    if transfer == LINEAR:
        return x
    if transfer == PQ:  # BT.2100, table 4
        root = x ** (32 / 2523)
        light = np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root)
        return light ** (16384 / 2610) * (10000 / WHITE)
    if transfer == HLG:  # table 5
        a = 0.17883277
        return np.where(x <= 0.5, x**2 / 3, (np.exp((x - 0.5 + a * np.log(4 * a)) / a) + 1 - 4 * a) / 12)
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


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
