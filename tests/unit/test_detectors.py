"""Detectors: each fires on pictures or numbers made for it, and none on a healthy translation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cyclestyle.config import check_config
from cyclestyle.data.synthetic import write_set
from cyclestyle.losses import ADVERSARIAL
from cyclestyle.metrics.compare import Measured, compare
from cyclestyle.training.detectors import Watch
from cyclestyle.training.quality import Quality
from tests.helpers import merged

NAMES = ["ink", "photo"]


@pytest.fixture(scope="module")
def quality(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Quality:
    root = tmp_path_factory.mktemp("drawn") / "set"
    write_set(root, count=12, size=64, seed=0, test_count=12)
    config = check_config(merged(tiny, {"data": {"root": str(root), "load_size": 64, "crop_size": 64}}))
    return Quality(config, torch.device("cpu"))


@pytest.fixture(scope="module")
def truth(quality: Quality) -> dict[str, np.ndarray]:
    """By direction the true translations: test pictures of equal place show the same scene."""
    pictures = quality._real
    return {"ab": pictures["B"], "ba": pictures["A"]}


def sentences(quality: Quality, made: dict[str, np.ndarray]) -> dict[str, str]:
    """What is told of translations `made`, where the way back gives the sources."""
    back = iter((quality._real["A"], quality._real["B"]))

    def translate(direction: str, pictures: np.ndarray) -> np.ndarray:
        return made[direction] if pictures is quality._real[direction[0].upper()] else next(back)

    measured = {name: float(draws[0]) for name, draws in quality.measure(translate).items()}
    watch = Watch(NAMES)
    assert watch.look_at_quality(99, measured) == {}, "generators that have hardly learned"
    early, then = watch.look_at_quality(100, measured), watch.look_at_quality(300, measured)
    assert all(name.startswith("droplets") for name in then), "what was told is not told again"
    assert not any(name.startswith("droplets") for name in early)
    return early | then


def with_checkerboard(pictures: np.ndarray) -> np.ndarray:
    lattice = 14 * (-1.0) ** np.indices(pictures.shape[1:3]).sum(0)
    return (pictures + lattice[None, :, :, None]).clip(0, 255).astype(np.uint8)


def with_droplets(pictures: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(pictures.shape[1:3])
    result = pictures.copy()
    random = np.random.default_rng(0)
    for picture in result:
        for _ in range(3):
            row, column = random.integers(6, 58, 2)
            picture[(rows - row) ** 2 + (columns - column) ** 2 <= 5] = 255 * random.integers(0, 2)
    return result


def test_no_detector_fires_on_true_translations(quality: Quality, truth: dict[str, np.ndarray]) -> None:
    assert sentences(quality, truth) == {}


@pytest.mark.parametrize("direction", ["ab", "ba"])
@pytest.mark.parametrize(
    ("fault", "spoil"),
    [
        ("inverted", lambda source, fake: 255 - source),
        ("identity_collapse", lambda source, fake: source),
        ("mode_collapse", lambda source, fake: np.repeat(fake[:1], len(fake), 0)),
        ("mode_collapse", lambda source, fake: np.tile(fake[:2], (len(fake) // 2, 1, 1, 1))),
        ("mode_collapse", lambda source, fake: (0.15 * fake + 0.85 * fake.mean(0)).astype(np.uint8)),
        ("checkerboard", lambda source, fake: with_checkerboard(fake)),
        ("droplets", lambda source, fake: with_droplets(fake)),
    ],
)
def test_a_fault_is_told_with_its_remedy_and_nothing_else(
    quality: Quality, truth: dict[str, np.ndarray], direction: str, fault: str, spoil: Any
) -> None:
    source = quality._real[direction[0].upper()]
    found = sentences(quality, truth | {direction: spoil(source, truth[direction])})
    assert list(found) == [f"{fault}_{direction}"]
    assert NAMES[1 if direction == "ab" else 0] in found[f"{fault}_{direction}"]


def test_a_distance_that_these_pictures_cannot_tell_is_named_as_missing_from_the_score(
    quality: Quality, truth: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def blind(*args: Any, **others: Any) -> dict[str, Measured]:
        found = compare(*args, **others)
        return found | {"swd": found["swd"]._replace(excess=None)}

    monkeypatch.setattr("cyclestyle.metrics.compare.compare", blind)
    caplog.set_level("INFO", "cyclestyle")
    measured = Quality(quality._config, quality._device).measure(lambda d, _: truth[d])
    assert "swd_ab" not in measured
    assert torch.equal(measured["score"], (measured["kid_random_ab"] + measured["kid_random_ba"]) / 2)
    assert "quality/score goes without swd_ab and swd_ba" in caplog.text


def test_droplets_in_one_picture_of_ten_or_of_young_generators_are_no_fault() -> None:
    def told(step: int, droplets: float) -> list[str]:
        healthy = {"change": 0.2, "diversity": 1, "checkerboard": 0, "correlation": 0.9, "droplets": droplets}
        return list(
            Watch(NAMES).look_at_quality(step, {f"{k}_{d}": v for k, v in healthy.items() for d in ("ab", "ba")})
        )

    assert told(299, 0.15) == told(300, 0.1) == []
    assert told(300, 0.15) == ["droplets_ab", "droplets_ba"]


def test_a_discriminator_that_wins_is_told_once_after_some_entries() -> None:
    watch = Watch(NAMES)
    lost, won = {"loss/disc_a": 0.2, "loss/disc_b": 0.25}, {"loss/disc_a": 0.2, "loss/disc_b": 0.001}
    assert watch.look_at_losses(lost) == {}
    told = [watch.look_at_losses(won) for _ in range(8)]
    assert [list(one) for one in told] == [[]] * 2 + [["discriminator_won_b"]] + [[]] * 5
    assert "discriminator of photo" in told[2]["discriminator_won_b"]
    assert watch.look_at_losses(lost) == {}
    assert [bool(watch.look_at_losses(won)) for _ in range(3)] == [False] * 2 + [True]


@pytest.mark.parametrize("name", list(ADVERSARIAL))
def test_a_discriminator_has_won_when_its_loss_is_a_fifth_of_that_of_chance(name: str) -> None:
    loss = ADVERSARIAL[name]()
    undecided = [torch.full((1, 1, 2, 2), 0.5 if name == "lsgan" else 0.0)]
    chance = float(loss.discriminator(undecided, undecided))
    for share, told in ((0.21, []), (0.19, ["discriminator_won_a", "discriminator_won_b"])):
        means = {f"loss/disc_{letter}": share * chance for letter in "ab"}
        assert list(Watch(NAMES, name).look_at_losses(means, entries=1)) == told


def test_what_was_told_is_remembered_across_a_resume() -> None:
    first, second = Watch(NAMES), Watch(NAMES)
    for _ in range(2):
        first.look_at_losses({"loss/disc_a": 0.0, "loss/disc_b": 0.3})
    second.load_state_dict(first.state_dict())
    won = {"loss/disc_a": 0.0, "loss/disc_b": 0.3}
    assert list(second.look_at_losses(won)) == ["discriminator_won_a"]
    third = Watch(NAMES)
    third.load_state_dict(second.state_dict())
    assert third.look_at_losses(won) == {}


def test_without_enough_held_out_pictures_nothing_is_measured_and_that_is_said(
    tiny: dict[str, Any], drawn: Path
) -> None:
    quality = Quality(check_config(tiny), torch.device("cpu"))
    assert quality.split is None
    assert "nothing will be measured" in quality.problems[0]
    off = Quality(check_config(merged(tiny, {"report": {"evaluate_every_steps": 0}})), torch.device("cpu"))
    assert (off.split, off.problems) == (None, [])


def test_where_training_prepares_a_domain_translations_are_measured_against_prepared_pictures(
    quality: Quality, truth: dict[str, np.ndarray]
) -> None:
    values = quality._config.model_dump()
    stretched = Quality(
        check_config(merged(values, {"data": {"prepare": {"A": {"autocontrast": 20}}}})), quality._device
    )
    white = stretched._real["A"]
    assert all((picture.min(), picture.max()) == (0, 255) for picture in white)
    assert np.array_equal(stretched._real["B"], truth["ab"])
    scores = [
        float(stretched.measure(lambda d, _, a=made: truth["ab"] if d == "ab" else a)["score"][0])  # type: ignore[misc]
        for made in (white, truth["ba"])
    ]
    assert scores[0] < scores[1] - 0.1
