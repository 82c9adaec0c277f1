"""Colours of 16 bit in sRGB, by profiles that are made here, against Pillow's colour management in 8 bit."""

import io
from itertools import product

import numpy as np
import pytest
from PIL import Image, ImageCms

from cyclestyle.translate.profiles import deep_to_srgb
from tests.picture_files import CURVES, profile


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
