"""Drawn landscapes: paired in test, unpaired in train, the same for a seed, never over existing files."""

from pathlib import Path

import numpy as np
import pytest

from cyclestyle.data.synthetic import main
from cyclestyle.images import find_images, read_image


def test_test_pictures_are_pairs_and_training_pictures_are_not(drawn: Path) -> None:
    def darkness(path: Path) -> np.ndarray:
        grey = read_image(path).mean(2)
        return (grey - grey.mean()) / grey.std()

    def likeness(a: str, b: str) -> float:
        pairs = zip(find_images(drawn / a), find_images(drawn / b), strict=True)
        return float(np.mean([(darkness(p) * darkness(q)).mean() for p, q in pairs]))

    assert likeness("testA", "testB") > likeness("trainA", "trainB") + 0.2


def test_ink_is_nearly_grey_on_light_paper_and_photographs_are_coloured(drawn: Path) -> None:
    ink = np.stack([read_image(p) for p in find_images(drawn / "trainA")]).astype(int)
    photo = np.stack([read_image(p) for p in find_images(drawn / "trainB")]).astype(int)
    assert np.median(ink) > 200
    assert np.ptp(ink, axis=-1).mean() < 30 < np.ptp(photo, axis=-1).mean()
    assert ink.min() < 60


def test_a_seed_gives_the_same_pictures_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert main([str(tmp_path / name), "--count", "1", "--test-count", "1", "--size", "32", "--seed", seed]) == 0
    a, b, c = ([read_image(p) for p in find_images(tmp_path / name)] for name in "abc")
    assert len(a) == 4
    assert all(p.shape == (32, 32, 3) for p in a)
    assert all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))
    assert not any(np.array_equal(p, q) for p, q in zip(a, c, strict=True))


def test_nothing_is_drawn_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main([str(tmp_path)]) == 1
    assert "is not empty; choose another folder" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
