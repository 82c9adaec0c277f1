"""Training data: checked files, samples that follow from seed and number, and batches that do not depend on threads."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cyclestyle.config import ConfigError, DataConfig
from cyclestyle.data import unpaired
from cyclestyle.data.held_out import held_out
from cyclestyle.data.layout import DataError
from cyclestyle.data.loader import batches
from cyclestyle.data.unpaired import UnpairedData, list_pictures


def config(root: Path | None, **changes: Any) -> DataConfig:
    values = {"load_size": 40, "crop_size": 32, "root": None if root is None else str(root), **changes}
    return DataConfig.model_validate(values)


@pytest.fixture
def copy(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "set"))


def test_a_sample_follows_from_seed_and_number_alone(drawn: Path) -> None:
    first, second = UnpairedData(config(drawn), 5), UnpairedData(config(drawn, cache_mb=0), 5)
    forwards = [first.sample(n) for n in range(20)]
    backwards = [second.sample(n) for n in reversed(range(20))][::-1]
    for (a, b), (c, d) in zip(forwards, backwards, strict=True):
        assert np.array_equal(a, c)
        assert np.array_equal(b, d)
    assert forwards[0][0].shape == (32, 32, 3)
    other = UnpairedData(config(drawn), 6)
    assert any(not np.array_equal(other.sample(n)[0], forwards[n][0]) for n in range(3))


def test_crops_do_not_repeat_from_epoch_to_epoch(drawn: Path) -> None:
    data = UnpairedData(config(drawn, load_size=48, crop_size=16), 0)
    seen = {data.sample(n)[0].tobytes() for n in range(5 * data.epoch_length())}
    assert len(seen) > 0.9 * 5 * data.epoch_length()


def test_every_picture_is_seen_once_in_an_epoch(drawn: Path) -> None:
    whole = [{"CenterCrop": {"height": "crop_size", "width": "crop_size"}}]
    data = UnpairedData(config(drawn, augment={"A": whole, "B": whole}), 0)
    for epoch in range(2):
        seen = {data.sample(epoch * 8 + n)[0].tobytes() for n in range(8)}
        assert len(seen) == 8


def test_the_smaller_domain_goes_around_while_the_larger_is_seen_once(copy: Path) -> None:
    for path in list_pictures(config(copy), "trainB")[3:]:
        path.unlink()
    whole = [{"CenterCrop": {"height": "crop_size", "width": "crop_size"}}]
    data = UnpairedData(config(copy, augment=whole), 0)
    assert data.epoch_length() == 8
    seen = [data.sample(n)[1].tobytes() for n in range(9)]
    assert [len(set(seen[i : i + 3])) for i in (0, 3, 6)] == [3, 3, 3]


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_no_batch(drawn: Path, workers: int) -> None:
    data = UnpairedData(config(drawn), 1)
    for (a, b), (c, d), _ in zip(batches(data, 5, 2, 0), batches(data, 5, 2, workers), range(6), strict=False):
        assert a.shape == (2, 3, 32, 32)
        assert a.dtype == torch.float32
        assert torch.equal(a, c)
        assert torch.equal(b, d)


def test_an_error_in_a_worker_reaches_the_loop(copy: Path) -> None:
    data = UnpairedData(config(copy, cache_mb=0), 0)
    shutil.rmtree(copy / "trainA")
    with pytest.raises(unpaired.ImageError, match="no such file"):
        next(batches(data, 0, 1, 2))


def test_pictures_stay_in_memory_while_they_fit(copy: Path) -> None:
    data = UnpairedData(config(copy), 0)
    shutil.rmtree(copy / "trainA")
    data.sample(0)


def spoil(root: Path) -> None:
    (root / "trainA" / "empty.jpg").write_bytes(b"")
    (root / "trainA" / "text.png").write_text("no picture")
    whole = (root / "trainB" / "0000.png").read_bytes()
    (root / "trainB" / "half.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (9, 300)).save(root / "trainB" / "tiny.png")


def test_all_bad_files_are_listed_in_one_message(copy: Path) -> None:
    spoil(copy)
    with pytest.raises(DataError) as caught:
        UnpairedData(config(copy), 0)
    message = str(caught.value)
    assert "4 of 20 training pictures cannot be used" in message
    for name in ("empty.jpg", "text.png", "half.png", "tiny.png: tiny: 9x300 pixels, data.min_size is 32"):
        assert name in message
    assert "data.on_bad_file=skip" in message


def test_bad_files_can_be_left_out(copy: Path) -> None:
    spoil(copy)
    data = UnpairedData(config(copy, on_bad_file="skip"), 0)
    assert len(data.skipped) == 4
    assert [len(paths) for paths in data.paths] == [8, 8]
    for n in range(10):
        data.sample(n)


def test_a_domain_needs_two_pictures(copy: Path) -> None:
    for path in list_pictures(config(copy), "trainA")[1:]:
        path.unlink()
    with pytest.raises(DataError, match="trainA: holds 1 usable picture; a domain needs at least 2"):
        UnpairedData(config(copy), 0)


def test_folders_that_are_missing_or_empty_are_named(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.root: is not set; put pictures into .* or draw some"):
        UnpairedData(config(None), 0)
    with pytest.raises(DataError, match=r"there is no folder .*nowhere'; put pictures into"):
        UnpairedData(config(tmp_path / "nowhere"), 0)
    shutil.rmtree(copy / "trainB")
    with pytest.raises(DataError, match=r"trainB: this folder is missing; .* has testA, testB, trainA"):
        UnpairedData(config(copy), 0)
    (copy / "trainB").mkdir()
    with pytest.raises(DataError, match="trainB: holds no pictures"):
        UnpairedData(config(copy), 0)


def test_a_crop_larger_than_a_picture_is_named(copy: Path) -> None:
    Image.new("RGB", (200, 50)).save(copy / "trainA" / "low.png")
    with pytest.raises(DataError, match=r"low\.png: 200x50 pixels, smaller than data.crop_size 64"):
        UnpairedData(config(copy, resize="none", load_size=64, crop_size=64), 0)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"RandomCropp": {}}, r"data\.augment\.A\.0: unknown 'RandomCropp'; did you mean 'RandomCrop'\?$"),
        ({"HorizontalFlip": {"prob": 1}}, "unknown option 'prob'; accepted: p"),
        ({"RandomCrop": {"height": -1, "width": 3}}, r"data\.augment\.A\.0 RandomCrop: height: .*, not -1$"),
        ({"HorizontalFlip": {}}, "gives uint8 40x40, not uint8 32x32 RGB"),
        ({"RandomCrop": {"height": 64, "width": 64}}, "failed on a picture of uint8 40x40"),
        ({"A": {}, "B": {}}, "one transform a step"),
    ],
)
def test_a_wrong_augmentation_is_one_clear_error(drawn: Path, step: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        UnpairedData(config(drawn, augment=[step]), 0)


def test_domains_can_have_pipelines_of_their_own(drawn: Path) -> None:
    crop = {"CenterCrop": {"height": "crop_size", "width": "crop_size"}}
    data = UnpairedData(config(drawn, augment={"A": [crop, {"ToGray": {"p": 1}}], "B": [crop]}), 0)
    a, b = data.sample(0)
    assert (a.std(2) == 0).all()
    assert (b.std(2) > 0).any()


def test_only_the_domain_that_is_to_be_prepared_is_and_the_same_held_out(drawn: Path) -> None:
    prepared = config(drawn, prepare={"A": {"autocontrast": 0}})
    plain = config(drawn)
    _, (held_a, held_b), _ = held_out(prepared, 1)
    _, (plain_a, plain_b), _ = held_out(plain, 1)
    assert np.array_equal(held_b[0], plain_b[0])
    assert (held_a[0].min(), held_a[0].max()) == (0, 255)
    assert (plain_a[0].min(), plain_a[0].max()) != (0, 255)
    assert not np.array_equal(UnpairedData(prepared, 0).sample(0)[0], UnpairedData(plain, 0).sample(0)[0])
    assert np.array_equal(UnpairedData(prepared, 0).sample(0)[1], UnpairedData(plain, 0).sample(0)[1])


def test_held_out_pictures_that_are_not_resized_are_cut_to_what_a_grid_can_take(copy: Path) -> None:
    Image.effect_noise((300, 200), 50).convert("RGB").save(copy / "testA" / "000.png")
    _, (a, b), _ = held_out(config(copy, resize="none"), 1)
    assert (a[0].shape, b[0].shape) == ((40, 40, 3), (40, 40, 3))


def test_held_out_pictures_come_from_test_or_else_train(copy: Path) -> None:
    split, (a, b), problems = held_out(config(copy), 2)
    assert (split, len(a), len(b), problems) == ("test", 2, 2, [])
    for path in list_pictures(config(copy), "testA"):
        path.write_bytes(b"damaged")
    split, (a, b), problems = held_out(config(copy), 2)
    assert (split, len(a), len(b), len(problems)) == ("train", 2, 2, 3)
    shutil.rmtree(copy / "testA")
    assert held_out(config(copy), 2)[0] == "train"
