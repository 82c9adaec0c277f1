"""How much of a style, in which colours and at which size."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from cyclestyle.data.synthetic import draw_ink, draw_photo
from cyclestyle.errors import UserError
from cyclestyle.images import to_tensor
from cyclestyle.metrics.paired import edge_f_score
from cyclestyle.translate import enlarge, strips
from cyclestyle.translate.colour import to_oklab, with_colours_of
from cyclestyle.translate.enlarge import enlarged, reduced
from cyclestyle.translate.strength import blend
from cyclestyle.translate.style import Style
from tests.helpers import landscapes

PHOTO, INK = landscapes(draw_photo, 0, 1, 96)[0], landscapes(draw_ink, 0, 1, 96)[0]
STEPS = (0, 0.25, 0.5, 0.75, 1)


def noise(seed: int, size: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).normal(128, 30, (size, size, 3)).clip(0, 255).round().astype(np.uint8)


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strength_leads_from_the_source_to_the_translation(dtype: type) -> None:
    source, made = ((picture.astype(dtype) * (257 if dtype == np.uint16 else 1)) for picture in (PHOTO, INK))
    between = [blend(source, made, strength) for strength in STEPS]
    assert np.array_equal(between[0], source)
    assert np.array_equal(between[-1], made)
    assert all(x.dtype == dtype for x in between)
    away, near = [apart(x, source) for x in between], [apart(x, made) for x in between]
    assert away == sorted(away)
    assert near == sorted(near, reverse=True)


def test_edges_of_the_source_fade_as_strength_grows() -> None:
    kept = [float(edge_f_score(to_tensor(blend(PHOTO, INK, s)), to_tensor(PHOTO))) for s in STEPS]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > kept[2] > kept[4]


def test_half_a_style_is_not_pale() -> None:
    half = blend(noise(0), noise(1), 0.5)
    assert half.std() == pytest.approx(noise(0).std(), rel=0.1)
    assert ((noise(0).astype(float) + noise(1)) / 2).std() < 0.75 * noise(0).std()


def test_large_pictures_are_blended_in_strips_that_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (noise(seed, 1500)[:, :96] for seed in (0, 1))
    in_strips = blend(one, other, 0.4)
    monkeypatch.setattr(strips, "ROWS", 2048)
    assert np.abs(blend(one, other, 0.4).astype(int) - in_strips).max() <= 1


def test_colours_of_the_source_are_kept_under_the_lightness_of_the_translation() -> None:
    made = with_colours_of(PHOTO, INK)
    ours, source, translation = (to_oklab(to_tensor(x)) for x in (made, PHOTO, INK))
    assert float((ours[:, 0] - translation[:, 0]).abs().max()) < 0.02
    chroma, allowed = ours[:, 1:].norm(dim=1), source[:, 1:].norm(dim=1)
    assert float((chroma - allowed).max()) < 0.01, "never more colourful than the source"
    turned = (ours[:, 1:] - source[:, 1:] * (chroma / allowed.clamp(min=1e-6))[:, None]).norm(dim=1)
    assert float(turned.max()) < 0.02, "the same hue"
    assert float(chroma.mean()) > 0.6 * float(allowed.mean())
    assert np.array_equal(with_colours_of(PHOTO, PHOTO), PHOTO)


def test_oklab_is_as_published() -> None:
    colours = np.array([[[255, 255, 255], [255, 0, 0], [0, 0, 255]]], np.uint8)
    found = to_oklab(to_tensor(colours))[0, :, 0].T.tolist()
    published = [(1, 0, 0), (0.6280, 0.2249, 0.1258), (0.4520, -0.0324, -0.3115)]
    for ours, expected in zip(found, published, strict=True):
        assert ours == pytest.approx(expected, abs=2e-4)


def bicubic(picture: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize(like.shape[1::-1], Image.Resampling.BICUBIC))


def sharp_scene(size: int = 192) -> np.ndarray:
    """Discs of several tones with hard edges, and nothing else."""
    y, x = np.mgrid[:size, :size]
    picture = np.full((size, size, 3), 200, np.uint8)
    for seed in range(12):
        random = np.random.default_rng(seed)
        left, top, radius = (*random.integers(0, size, 2).tolist(), int(random.integers(10, 40)))
        picture[(x - left) ** 2 + (y - top) ** 2 < radius**2] = random.integers(0, 256, 3)
    return picture


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_style_that_follows_the_source_comes_back_with_the_edges_of_the_source(dtype: type) -> None:
    whole = sharp_scene().astype(dtype) * (257 if dtype == np.uint16 else 1)
    small = reduced(whole, 48)
    assert small.shape == (48, 48, 3)
    assert small.dtype == dtype

    def darkened(picture: np.ndarray) -> np.ndarray:
        grey = (picture @ np.array([0.299, 0.587, 0.114]))[..., None].repeat(3, 2)
        return (0.6 * grey).astype(dtype)

    made = enlarged(darkened(small), small, whole)
    assert made.dtype == dtype
    full = np.iinfo(dtype).max
    exact = darkened(whole)
    plain = enlarged(darkened(small), np.full_like(small, full // 2), np.full_like(whole, full // 2))
    assert apart(made, exact) < apart(plain, exact) / 3
    assert made.max() <= exact.max() + 0.03 * full, "no ringing"


def test_a_style_that_goes_its_own_way_is_enlarged_and_no_more() -> None:
    whole, drawn = noise(3, 192), sharp_scene(64)
    flat = np.full_like(whole, 90)
    assert apart(enlarged(drawn, reduced(flat, 64), flat), bicubic(drawn, whole)) < 1
    made = enlarged(drawn, reduced(whole, 64), whole)
    assert apart(made, bicubic(drawn, whole)) < apart(whole, np.full_like(whole, 128)) / 4


def test_rows_do_not_show_where_a_picture_is_resized_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    small = reduced(sharp_scene(), 48)
    whole = enlarged(small, small, sharp_scene())
    monkeypatch.setattr(enlarge, "ROWS", 17)
    assert np.abs(reduced(sharp_scene(), 48).astype(int) - small).max() <= 1
    assert np.abs(enlarged(small, small, sharp_scene()).astype(int) - whole).max() <= 1


@pytest.mark.parametrize("size", [(30, 40), (64, 1000), (1000, 31), (1, 1)])
def test_small_pictures_are_not_enlarged_for_the_generator(size: tuple[int, int]) -> None:
    picture = np.zeros((*size, 3), np.uint8)
    small = reduced(picture, 64)
    assert small.shape[:2] == (size if min(size) <= 64 else (64, 64))
    assert enlarged(small, small, picture).shape == picture.shape


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"scale": "big"},
            "scale: 'big' is not a choice; accepted: pixels of the short side, 32 or more, train, or native",
        ),
        ({"scale": 20}, "scale: 20 is not a choice"),
        ({"strength": 1.5}, "strength: must be between 0 and 1, not 1.5"),
        ({"strength": float("nan")}, "strength: must be between 0 and 1, not nan"),
    ],
)
def test_values_out_of_range_are_named(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Style(**options)
