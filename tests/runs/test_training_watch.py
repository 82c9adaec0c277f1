"""Runs that are measured, keep their best generators, stop early, or go back when they diverge."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cyclestyle.checkpoint import CheckpointError, read_checkpoint, read_model
from cyclestyle.config import DataConfig, check_config
from cyclestyle.data.synthetic import write_set
from cyclestyle.data.unpaired import UnpairedData
from cyclestyle.errors import UserError
from cyclestyle.training import detectors, loop, quality
from cyclestyle.training import step as training_step
from cyclestyle.training.loop import train
from cyclestyle.translate.translator import Translator
from tests.helpers import differing, merged


@pytest.fixture(scope="module")
def measured(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A configuration whose set has enough test pictures to measure."""
    root = tmp_path_factory.mktemp("drawn") / "set"
    write_set(root, count=8, size=48, seed=0, test_count=5)
    changes = {"data": {"root": str(root)}, "report": {"evaluate_every_steps": 3, "evaluate_count": 4}}
    return merged(tiny, changes)


def run(values: dict[str, Any], run_dir: Path, resume: bool = False, **changes: Any) -> int:
    return train(check_config(merged(values, changes)), run_dir, "cpu", resume)


def entries(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def final(run_dir: Path) -> dict[str, Any]:
    return read_checkpoint(run_dir / "checkpoints" / "latest.pt")


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Multiply the generators' losses in some calls (numbered from 1, over all tries) by a factor."""

    def spoil(calls: range, factor: float) -> None:
        real, count = training_step.generator_losses, []

        def poisoned(*args: Any) -> Any:
            count.append(0)
            return {n: v * (factor if len(count) in calls else 1) for n, v in real(*args).items()}

        monkeypatch.setattr(training_step, "generator_losses", poisoned)

    return spoil


def test_a_run_is_measured_within_the_first_epoch_at_the_interval_and_at_the_end(
    measured: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(measured, tmp_path / "run")
    found = [entry for entry in entries(tmp_path / "run") if "quality/score" in entry]
    assert [entry["step"] for entry in found] == [3, 6, 8]
    names = ("swd", "edge_f", "structure", "cycle_l1", "cycle_psnr", "cycle_ssim", "checkerboard")
    assert {f"quality/{name}_{d}" for name in names for d in ("ab", "ba")} <= found[0].keys()
    monkeypatch.setattr(loop, "EARLIEST", 1)
    run(measured, tmp_path / "other", report={"evaluate_every_steps": 100}, train={"batch_size": 2})
    steps = [entry["step"] for entry in entries(tmp_path / "other") if "quality/score" in entry]
    assert steps == [4, 8]  # an epoch of 8 pictures is 4 steps


@pytest.mark.parametrize(("pictures", "steps"), [(8, [100, 1000]), (586, [146, 1000]), (9000, [1000])])
def test_generators_are_not_measured_before_they_have_learned_for_some_steps(
    tiny: dict[str, Any], pictures: int, steps: list[int]
) -> None:
    config = check_config(merged(tiny, {"train": {"batch_size": 4}}))
    due = (step for step in range(1, 1001) if loop._due(config, step, pictures, False, False)["evaluate"])
    assert list(due) == steps


def scored(monkeypatch: pytest.MonkeyPatch, scores: list[float], spread: float = 0.0) -> None:
    """Measure these scores, one after another; differences from one to the next vary by `spread` among draws."""
    turn = iter(enumerate(scores))

    def measure(self: quality.Quality, translate: quality.Translate) -> dict[str, torch.Tensor]:
        number, score = next(turn)
        return {"score": score + number * spread * torch.tensor([0] + 25 * [-1, 1])}

    monkeypatch.setattr(quality.Quality, "measure", measure)
    monkeypatch.setattr(detectors.Watch, "look_at_quality", lambda self, step, values: {})


def test_the_measurement_within_the_first_epoch_makes_no_best(
    measured: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(monkeypatch, [0.25, 0.75])
    monkeypatch.setattr(loop, "EARLIEST", 1)
    run(measured, tmp_path / "run", report={"evaluate_every_steps": 100}, train={"batch_size": 2})
    found = [entry for entry in entries(tmp_path / "run") if "quality/score" in entry]
    assert [(entry["step"], entry["quality/score"]) for entry in found] == [(4, 0.25), (8, 0.75)]
    assert final(tmp_path / "run")["best"]["step"] == 8


@pytest.mark.parametrize(
    ("scores", "spread", "best", "kept"),
    [
        ([0.5, 0.2, 0.4], 0.0, 6, 6),
        ([0.5, 0.2, 0.4], 0.5, 6, 8),  # as far as 32 pictures and the like can tell, 0.4 is no worse than 0.2
        ([0.2, 0.9, 0.4], 0.05, 3, 3),
        ([0.4, 0.3, 0.2], 0.0, 8, 8),
    ],
)
def test_generators_are_kept_as_the_best_unless_earlier_ones_were_better_beyond_chance(
    measured: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scores: list[float],
    spread: float,
    best: int,
    kept: int,
) -> None:
    scored(monkeypatch, scores, spread)  # at steps 3, 6 and 8
    run(measured, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    for path in (folder / "best.pt", folder / "best.safetensors", tmp_path / "run"):
        assert Translator.load(path).model.step == kept
    found = final(tmp_path / "run")["best"]
    assert (found["value"], found["step"], found["kept"]) == (pytest.approx(min(scores)), best, kept)
    told = (tmp_path / "run" / "log.txt").read_text()
    assert f"best {min(scores):.3f} at step {best}" in told
    assert ("step 8, no worse beyond chance, is kept" in told) == (best != kept)


def test_generators_that_could_not_be_kept_are_not_called_the_best(
    measured: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise CheckpointError("best.pt: No space left on device")

    monkeypatch.setattr(quality, "save_best", full)
    assert run(measured, tmp_path / "run") == 0
    assert final(tmp_path / "run")["best"] == {}
    assert "the best generators so far are not kept" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize("name", ["swd", "edge_f"])
def test_another_measure_can_choose_the_best(measured: dict[str, Any], tmp_path: Path, name: str) -> None:
    run(measured, tmp_path / "run", report={"best_by": name})
    found = [e for e in entries(tmp_path / "run") if "quality/score" in e]
    means = {e["step"]: (e[f"quality/{name}_ab"] + e[f"quality/{name}_ba"]) / 2 for e in found}
    choose = max if name == "edge_f" else min
    best = final(tmp_path / "run")["best"]
    assert best["step"] == choose(means, key=means.__getitem__)
    assert read_model(tmp_path / "run" / "checkpoints" / "best.pt").step == best["kept"]


def test_a_resumed_run_that_chooses_by_another_measure_compares_no_score_with_it(
    measured: dict[str, Any], tmp_path: Path
) -> None:
    run(measured, tmp_path / "run")
    run(measured, tmp_path / "run", resume=True, train={"max_steps": 10}, report={"best_by": "cycle_l1"})
    best = final(tmp_path / "run")["best"]
    assert (best["by"], best["kept"]) == ("cycle_l1", 10)


def test_a_resumed_run_that_measures_other_pictures_compares_no_score_with_them(
    measured: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(measured["data"]["root"], tmp_path / "set")
    scored(monkeypatch, [0.1, 0.2, 0.3])
    run(measured, tmp_path / "run", data={"root": str(root)})
    for domain in "AB":
        shutil.copytree(root / f"train{domain}", root / f"val{domain}")
    scored(monkeypatch, [0.9, 0.9])
    run(measured, tmp_path / "run", resume=True, train={"max_steps": 10}, data={"root": str(root)})
    best = final(tmp_path / "run")["best"]
    assert (best["value"], best["kept"]) == (pytest.approx(0.9), 10)


def test_a_score_that_cannot_be_told_is_told_once(
    measured: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality.Quality, "_bounds", {"ab": {}, "ba": {}})
    run(measured, tmp_path / "run")
    told = [e["warning/no_best"] for e in entries(tmp_path / "run") if "warning/no_best" in e]
    assert len(told) == 1
    assert "to tell score: no best.pt is kept" in told[0]
    assert not (tmp_path / "run" / "checkpoints" / "best.pt").exists()


def test_a_resumed_run_measures_and_chooses_alike(measured: dict[str, Any], tmp_path: Path) -> None:
    run(measured, tmp_path / "straight", train={"keep_last": 3})
    shutil.copytree(tmp_path / "straight", tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        if path.name != "step_00000003.pt":
            path.unlink()
    run(measured, tmp_path / "run", resume=True, train={"keep_last": 3})
    a, b = final(tmp_path / "straight"), final(tmp_path / "run")
    assert differing(a, b, ignore=("seconds", "summed_seconds")) == []
    told = [
        [
            {k: v for k, v in entry.items() if k == "step" or k.startswith("quality/")}
            for entry in entries(tmp_path / name)
        ]
        for name in ("straight", "run")
    ]
    assert told[0] == told[1]
    assert read_model(tmp_path / "run" / "checkpoints" / "best.pt").step == b["best"]["kept"]


def test_measuring_does_not_change_the_training(measured: dict[str, Any], tmp_path: Path) -> None:
    run(measured, tmp_path / "measured")
    run(measured, tmp_path / "not", report={"evaluate_every_steps": 0})
    states = [final(tmp_path / name)["model"] for name in ("measured", "not")]
    assert differing(states[0], states[1]) == []
    assert not (tmp_path / "not" / "checkpoints" / "best.pt").exists()


def test_a_run_stops_early_when_asked(
    measured: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(monkeypatch, [0.5, 0.4, 0.6, 0.7, 0.3])
    changes = {"train": {"max_steps": 40, "early_stop": 2}}
    assert run(measured, tmp_path / "run", **changes) == 0
    assert final(tmp_path / "run")["step"] == 12  # measured at 3, 6, 9 and 12
    assert read_model(tmp_path / "run" / "checkpoints" / "best.pt").step == 6
    assert (
        "stopped early: 12 steps; score: best 0.400 at step 6, last 0.700" in (tmp_path / "run" / "log.txt").read_text()
    )


def test_a_fault_is_told_in_the_log_and_in_tensorboard(
    measured: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    always = detectors.TRANSLATIONS["mode_collapse"]._replace(test=lambda numbers: True, earliest=0)
    monkeypatch.setitem(detectors.TRANSLATIONS, "mode_collapse", always)
    run(measured, tmp_path / "run")
    told = {n: s for entry in entries(tmp_path / "run") for n, s in entry.items() if n.startswith("warning/")}
    assert told["warning/mode_collapse_ab"] in (tmp_path / "run" / "log.txt").read_text()
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert "warning/mode_collapse_ab" in str(board.Tags()["tensors"])


@pytest.mark.parametrize("factor", [float("nan"), 1e6])
def test_a_run_that_diverges_goes_back_halves_the_rate_and_ends(
    tiny: dict[str, Any], tmp_path: Path, poison: Callable[..., None], factor: float
) -> None:
    poison(range(5, 6), factor)
    assert run(tiny, tmp_path / "run") == 0
    state = final(tmp_path / "run")
    assert (state["step"], state["retries"]) == (8, 1)
    assert all(torch.isfinite(p).all() for p in state["model"].values())
    logged = [e for e in entries(tmp_path / "run") if "train/learning_rate" in e]
    assert [e["step"] for e in logged] == [2, 4, 6, 8]
    assert [e["train/learning_rate"] for e in logged[:2]] == [2e-4, 1e-4]
    [told] = [e["warning/diverged"] for e in entries(tmp_path / "run") if "warning/diverged" in e]
    assert "back to step 3" in told
    assert "lower train.lr" in told
    assert told in (tmp_path / "run" / "log.txt").read_text()


def test_a_run_that_diverges_before_its_first_checkpoint_starts_again(
    tiny: dict[str, Any], tmp_path: Path, poison: Callable[..., None]
) -> None:
    poison(range(1, 2), float("nan"))
    assert run(tiny, tmp_path / "run") == 0
    assert (final(tmp_path / "run")["step"], final(tmp_path / "run")["retries"]) == (8, 1)
    assert "back to step 0" in (tmp_path / "run" / "log.txt").read_text()


def test_a_run_that_goes_back_to_its_start_begins_with_the_generators_it_was_given(
    tiny: dict[str, Any], tmp_path: Path, poison: Callable[..., None]
) -> None:
    run(tiny, tmp_path / "given")
    poison(range(1, 2), float("nan"))
    still = {"lr": 1e-30, "max_steps": 2, "init_from": str(tmp_path / "given")}
    run(tiny, tmp_path / "run", train=still)
    assert final(tmp_path / "run")["retries"] == 1
    assert differing(final(tmp_path / "given")["generators"], final(tmp_path / "run")["generators"]) == []


def test_a_run_that_goes_back_keeps_the_best_that_it_measured(
    measured: dict[str, Any], tmp_path: Path, poison: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(monkeypatch, [0.2, 0.4, 0.3, 0.5])  # at steps 3, 6 and 8, of which 3 comes before the first checkpoint
    poison(range(5, 6), float("nan"))
    run(measured, tmp_path / "run", train={"save_every_steps": 7})
    assert final(tmp_path / "run")["retries"] == 1
    assert final(tmp_path / "run")["best"]["value"] == pytest.approx(0.2)
    assert read_model(tmp_path / "run" / "checkpoints" / "best.pt").step == 3


def test_a_run_that_diverges_again_and_again_ends_and_spoils_no_checkpoint(
    tiny: dict[str, Any], tmp_path: Path, poison: Callable[..., None]
) -> None:
    poison(range(5, 1000), float("nan"))
    with pytest.raises(UserError, match=r"no longer a finite number.*also after 2 retries.*lower train.lr"):
        run(tiny, tmp_path / "run", train={"retries": 2})
    state = final(tmp_path / "run")
    assert (state["step"], state["retries"]) == (3, 2)  # so that a resumed run does not replay them
    assert all(torch.isfinite(p).all() for p in state["model"].values())


def test_a_retry_changes_what_is_random(drawn: Path) -> None:
    data = UnpairedData(DataConfig(root=str(drawn), load_size=40, crop_size=32), seed=0)
    before = [data.sample(number)[0].tobytes() for number in range(8)]
    data.retries = 1
    after = [data.sample(number)[0].tobytes() for number in range(8)]
    data.retries = 0
    assert before == [data.sample(number)[0].tobytes() for number in range(8)]
    assert sum(a == b for a, b in zip(before, after, strict=True)) <= 1
