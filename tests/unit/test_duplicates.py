"""Copies are found whatever was done to them, and nothing else is."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from cyclestyle.data.duplicates import Pair, find_pairs, groups, thumbnail
from cyclestyle.data.synthetic import draw_ink, draw_photo, draw_scene
from cyclestyle.images import find_images, read_image


def recompressed(image: Image.Image, quality: int = 40) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def cropped(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """Cut these shares of the sides off."""
    width, height = image.size
    return image.crop((int(left * width), int(top * height), width - int(right * width), height - int(bottom * height)))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "recompressed": recompressed,
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "cropped at a corner": lambda image: cropped(image, 0.05, 0.05, 0, 0),
    "cropped all around": lambda image: cropped(image, 0.05, 0.05, 0.05, 0.05),
    "cropped unevenly": lambda image: cropped(image, 0.02, 0.04, 0.03, 0.01),
    "without its caption": lambda image: cropped(image, 0, 0, 0, 0.1),
    "mirrored": ImageOps.mirror,
    "lighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.85),
    "of more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.15),
    "of less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.85),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "all at once": lambda image: recompressed(
        ImageEnhance.Brightness(ImageOps.mirror(cropped(image, 0, 0.05, 0.05, 0)).reduce(2)).enhance(0.85), quality=75
    ),
}


def pairs_of(pictures: list[np.ndarray]) -> set[tuple[int, int]]:
    """Near-duplicates by content alone, as the digests all differ."""
    found = find_pairs([str(i) for i in range(len(pictures))], np.stack([thumbnail(p) for p in pictures]))
    return {(pair.first, pair.second) for pair in found}


def changed(picture: np.ndarray, how: str) -> np.ndarray:
    return np.asarray(CHANGES[how](Image.fromarray(picture)))


@pytest.fixture(scope="module")
def landscapes() -> list[np.ndarray]:
    """Six ink paintings and six photographs, of twelve scenes, 128 pixels."""
    scenes = [draw_scene(np.random.default_rng([5, i]), 128) for i in range(12)]
    return [(draw_ink, draw_photo)[i % 2](scene, np.random.default_rng([6, i])) for i, scene in enumerate(scenes)]


@pytest.mark.parametrize("how", CHANGES)
def test_a_copy_is_found_when_it_is(landscapes: list[np.ndarray], how: str) -> None:
    count = len(landscapes)
    found = pairs_of(landscapes + [changed(picture, how) for picture in landscapes])
    assert found == {(i, count + i) for i in range(count)}


def test_a_mirrored_copy_is_called_that(landscapes: list[np.ndarray]) -> None:
    pictures = [landscapes[7], changed(landscapes[7], "mirrored"), changed(landscapes[7], "darker")]
    found = find_pairs(["a", "b", "c"], np.stack([thumbnail(p) for p in pictures]))
    assert [(p.first, p.second, p.mirrored) for p in found] == [(0, 1, True), (0, 2, False), (1, 2, True)]
    assert not any(pair.exact for pair in found)


def test_a_common_frame_does_not_make_copies(landscapes: list[np.ndarray]) -> None:
    for width in (6, 12, 20):
        framed = [np.asarray(ImageOps.expand(Image.fromarray(p), width, "black")) for p in landscapes]
        assert not pairs_of(framed)


def test_blank_papers_and_fog_are_not_copies_unless_all_pixels_are_the_same() -> None:
    rng = np.random.default_rng(0)
    fog = np.linspace(200, 150, 96)[:, None, None] + np.zeros((96, 96, 3))
    pictures = [(fog + rng.normal(0, 3, fog.shape)).clip(0, 255).astype(np.uint8) for _ in range(4)]
    assert not pairs_of(pictures)
    found = find_pairs(["a", "b", "c", "a"], np.stack([thumbnail(p) for p in pictures]))
    assert found == [Pair(0, 3)]
    assert found[0].exact


def test_copies_of_equal_pictures_are_copies_of_each(landscapes: list[np.ndarray]) -> None:
    pictures = [landscapes[8], landscapes[8], changed(landscapes[8], "cropped all around")]
    found = find_pairs(["a", "a", "b"], np.stack([thumbnail(p) for p in pictures]))
    assert [(p.first, p.second, p.exact) for p in found] == [(0, 1, True), (0, 2, False), (1, 2, False)]


def test_few_pictures_and_none_are_no_trouble(landscapes: list[np.ndarray]) -> None:
    assert find_pairs([], np.zeros((0, 96, 96), np.uint8)) == []
    assert find_pairs(["a"], thumbnail(landscapes[0])[None]) == []


def test_groups_hold_what_pairs_connect() -> None:
    assert groups(6, [Pair(0, 3), Pair(3, 5), Pair(1, 2)]) == [[0, 3, 5], [1, 2], [4]]


KNOWN = {  # looked at: each shows one photograph or one painting, in two reproductions
    ("dp_0411", "dp_0428"), ("ws_1561", "ws_1736"), ("ws_1561", "ws_1581"), ("ws_1581", "ws_1736"),
    ("ws_1541", "ws_1568"), ("ws_1543", "ws_1546"), ("ws_1544", "ws_1641"), ("dp_0401", "dp_0455"),
    ("sm_0316", "sm_0444"), ("sm_0345", "sm_0371"), ("sm_0523", "sm_0554"),
}  # fmt: skip


@pytest.mark.long
def test_among_real_landscapes_all_copies_are_found_and_no_others(real_data: Path) -> None:
    paths = find_images(real_data / "ink2photo")
    pictures = [read_image(path) for path in paths]
    found = {tuple(sorted((paths[i].stem, paths[j].stem))) for i, j in pairs_of(pictures)}
    assert found == KNOWN
    chosen = np.random.default_rng(0).permutation(len(paths))[:60]
    alone = [pictures[i] for i in chosen if not any(paths[i].stem in pair for pair in KNOWN)]
    for how in CHANGES:
        count = len(alone)
        assert pairs_of(alone + [changed(p, how) for p in alone]) == {(i, count + i) for i in range(count)}, how
