"""Colours of 16 bit in sRGB, by profiles that are made here, against Pillow's colour management in 8 bit."""

import io
import struct
from itertools import product

import numpy as np
import pytest
from PIL import Image, ImageCms

from cyclestyle.translate.profiles import deep_to_srgb

WIDE = [(0.7976749, 0.2880402, 0.0), (0.1351917, 0.7118741, 0.0), (0.0313534, 0.0000857, 0.8252100)]  # ProPhoto, D50
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
CURVES = {
    "linear": struct.pack(">4sII", b"curv", 0, 0),
    "gamma": struct.pack(">4sIIHxx", b"curv", 0, 1, round(1.8 * 256)),
    "table": struct.pack(">4sII", b"curv", 0, 1024) + (np.linspace(0, 1, 1024) ** 2.2 * 65535).astype(">u2").tobytes(),
    "para 0": struct.pack(">4sIHHi", b"para", 0, 0, 0, round(2.2 * 65536)),
    "para 3": struct.pack(">4sIHH5i", b"para", 0, 3, 0, *(round(value * 65536) for value in SRGB_CURVE)),
}


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


def by_pillow(pixels: np.ndarray, given: bytes, mode: str) -> np.ndarray:
    source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(given)), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(source, srgb, mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
    return np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), transform)).astype(float)


@pytest.mark.parametrize("curve", CURVES)
def test_16_bit_colours_are_those_of_pillow_and_finer(curve: str) -> None:
    given = profile(CURVES[curve])
    eight = np.array(list(product(range(0, 256, 15), repeat=3)), np.uint8)[None]
    made = deep_to_srgb(eight.astype(np.uint16) * 257, given)
    assert made is not None
    assert np.abs(made / 257 - by_pillow(eight, given, "RGB")).max() < 1.5
    ramp = np.repeat(np.arange(0, 4096, dtype=np.uint16)[None, :, None], 3, 2)
    dark = deep_to_srgb(ramp, given)
    assert dark is not None
    assert len(np.unique(dark)) > 1000


@pytest.mark.parametrize("curve", CURVES)
def test_grey_of_16_bit_gets_the_light_of_its_curve(curve: str) -> None:
    given = profile(CURVES[curve], b"GRAY")
    levels = np.arange(256, dtype=np.uint8)[None]
    made = deep_to_srgb(levels.astype(np.uint16) * 257, given)
    assert made is not None
    error = np.abs(made / 257 - by_pillow(levels, given, "L"))
    assert error[:, 64:].max() < 1.5
    if curve == "linear":  # of whose dark levels Pillow makes half of what they are
        assert made[0, 1, 0] == pytest.approx(65535 * (1.055 * (1 / 255) ** (1 / 2.4) - 0.055), abs=2)
    else:
        assert error.max() < 1.5


@pytest.mark.parametrize("damage", ["empty", "cut", "another curve", "grey for colours", "tables"])
def test_other_profiles_are_left_to_the_table(damage: str) -> None:
    given = profile(CURVES["gamma"], b"GRAY" if damage == "grey for colours" else b"RGB ")
    wrong = {"empty": b"", "cut": given[:200], "another curve": given.replace(b"curv", b"abcd"),
             "tables": given.replace(b"wtpt", b"A2B0")}.get(damage, given)  # fmt: skip
    assert deep_to_srgb(np.zeros((2, 2, 3), np.uint16), wrong) is None
