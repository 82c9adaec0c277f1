"""Whole training runs: killed and resumed to the last bit, stopped, continued, refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cyclestyle import checkpoint
from cyclestyle.checkpoint import CheckpointError, read_checkpoint, read_model
from cyclestyle.config import check_config
from cyclestyle.errors import UserError
from cyclestyle.train import main as train_command
from cyclestyle.training import loop, report, run_folder
from cyclestyle.training import step as training_step
from cyclestyle.training.loop import train
from tests.helpers import differing, merged

ROOT = Path(__file__).parents[2]
TIMES = ("seconds", "summed_seconds", "version")


def run(values: dict[str, Any], run_dir: Path, resume: bool = False, **changes: Any) -> int:
    return train(check_config(merged(values, changes)), run_dir, "cpu", resume)


def final(run_dir: Path) -> dict[str, Any]:
    return read_checkpoint(run_dir / "checkpoints" / "latest.pt")


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k.startswith(("step", "loss", "score"))} for line in lines]


@pytest.fixture(scope="module")
def straight(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 8 steps that was never stopped."""
    run_dir = tmp_path_factory.mktemp("straight") / "run"
    assert run(tiny, run_dir) == 0
    return run_dir


def assert_same_end(run_dir: Path, straight: Path) -> None:
    a, b = final(run_dir), final(straight)
    assert a["step"] == b["step"]
    for content in (a, b):
        content.pop("config")
    assert differing(a, b, ignore=TIMES) == []
    assert metrics(run_dir) == metrics(straight)
    one, other = (read_model(folder / "checkpoints" / "latest.safetensors") for folder in (run_dir, straight))
    assert one.step == other.step
    assert differing(one.generators, other.generators) == []


def test_a_run_folder_holds_what_is_promised(straight: Path) -> None:
    names = {p.relative_to(straight).as_posix() for p in straight.rglob("*") if p.is_file()}
    assert {
        "config.yaml",
        "metrics.jsonl",
        "log.txt",
        "checkpoints/latest.pt",
        "checkpoints/latest.safetensors",
    } <= names
    assert {f"samples/0000000{n}_{d}.jpg" for n in (4, 8) for d in ("AtoB", "BtoA")} <= names
    assert [line["step"] for line in metrics(straight)] == [2, 4, 6, 8]
    expected = {f"loss/{t}_{d}" for t in ("adversarial", "cycle", "identity") for d in ("ab", "ba")}
    expected |= {"loss/disc_a", "loss/disc_b"} | {f"score/disc_{d}_{k}" for d in "ab" for k in ("real", "fake")}
    line = json.loads((straight / "metrics.jsonl").read_text().splitlines()[0])
    assert line.keys() - {"step", "time"} == expected | {
        "train/learning_rate", "train/pictures_per_second", "train/memory_gib"
    }  # fmt: skip


@pytest.mark.parametrize("workers", [0, 3])
def test_workers_change_no_bit(tiny: dict[str, Any], straight: Path, tmp_path: Path, workers: int) -> None:
    assert run(tiny, tmp_path / "run", data={"workers": workers}) == 0
    assert_same_end(tmp_path / "run", straight)


def run_until(
    step: int, values: dict[str, Any], run_dir: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any
) -> None:
    """A run that gets SIGTERM in a step."""
    real = training_step.generator_losses

    def stop_at(*args: Any) -> Any:
        stop_at.calls += 1  # type: ignore[attr-defined]
        if stop_at.calls == step:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args)

    stop_at.calls = 0  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(training_step, "generator_losses", stop_at)
        assert run(values, run_dir, **changes) == 143  # saved, then ended by SIGTERM
    assert final(run_dir)["step"] == step


@pytest.mark.parametrize("step", [1, 4, 7])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_run_goes_on_to_the_same_bit(
    tiny: dict[str, Any], straight: Path, tmp_path: Path, step: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_until(step, tiny, tmp_path / "run", monkeypatch, data={"workers": workers})
    assert run(tiny, tmp_path / "run", resume=True) == 0
    assert_same_end(tmp_path / "run", straight)


@pytest.mark.parametrize("growth", [[], [4], [6]])
def test_earlier_pictures_are_the_same_after_a_stop(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, growth: list[int]
) -> None:
    train, model = {"replay": 2, "growth_steps": growth}, {"discriminator": {"scales": 2}}
    more: dict[str, Any] = {"train": train, "model": model, "loss": {"steepness": 1}}
    assert run(tiny, tmp_path / "straight", **more) == 0
    run_until(4, tiny, tmp_path / "run", monkeypatch, **more)
    assert run(tiny, tmp_path / "run", resume=True, **more) == 0
    assert_same_end(tmp_path / "run", tmp_path / "straight")


def command(values: dict[str, Any], folder: Path, *more: str) -> list[str]:
    config = folder / "config-of-test.yaml"
    config.write_text(yaml.safe_dump(values))
    return [
        sys.executable,
        str(ROOT / "train.py"),
        "--config",
        str(config),
        "--run-dir",
        str(folder / "run"),
        "--device",
        "cpu",
        *more,
    ]


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 90
    while not condition():
        assert process.poll() is None, f"ended early: {process.communicate()}"
        assert time.monotonic() < end
        time.sleep(0.002)


def start(words: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.fixture(scope="module")
def longer(tiny: dict[str, Any]) -> dict[str, Any]:
    """A run that is long enough to be killed in the middle."""
    return merged(tiny, {"train": {"max_steps": 80, "save_every_steps": 30}, "report": {"sample_every_steps": 40}})


@pytest.fixture(scope="module")
def straight_longer(longer: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("longer") / "run"
    assert run(longer, run_dir) == 0
    return run_dir


@pytest.mark.parametrize("moment", ["config.yaml", "metrics.jsonl", "checkpoints/latest.pt"])
def test_a_killed_run_goes_on_to_the_same_bit(
    longer: dict[str, Any], straight_longer: Path, tmp_path: Path, moment: str
) -> None:
    """SIGKILL when a file appears: before the first entry, before the first checkpoint, and right after one."""
    process = start(command(longer, tmp_path))
    wait_for((tmp_path / "run" / moment).exists, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    again = subprocess.run(command(longer, tmp_path, "--resume"), capture_output=True, text=True, cwd=ROOT)
    assert again.returncode == 0, again.stderr
    assert_same_end(tmp_path / "run", straight_longer)


def test_a_kill_in_the_middle_of_the_last_save_is_mended_on_resume(
    tiny: dict[str, Any], straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = checkpoint.finish_save, []

    def killed_at_last(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "finish_save", killed_at_last)
        with pytest.raises(KeyboardInterrupt):
            run(tiny, tmp_path / "run")
    assert read_model(tmp_path / "run" / "checkpoints" / "latest.safetensors").step == 6
    assert run(tiny, tmp_path / "run", resume=True) == 0
    assert_same_end(tmp_path / "run", straight)


def test_resume_touches_no_folder_that_is_not_a_run(tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        run(tiny, tmp_path, resume=True)
    assert (tmp_path / "metrics.jsonl").read_text() == "mine"


def test_a_run_that_lost_its_checkpoints_is_not_begun_again(
    tiny: dict[str, Any], straight: Path, tmp_path: Path
) -> None:
    run_dir = Path(shutil.copytree(straight, tmp_path / "run"))
    (run_dir / "checkpoints").rename(tmp_path / "elsewhere")
    with pytest.raises(
        UserError, match="has come to step 8 and there is no checkpoint; put them back, or, to begin again"
    ):
        run(tiny, run_dir, resume=True)
    assert metrics(run_dir) == metrics(straight)
    (run_dir / "metrics.jsonl").unlink()
    assert run(tiny, run_dir, resume=True) == 0
    assert_same_end(run_dir, straight)


def test_resume_keeps_the_options_of_the_run_and_says_where_the_file_differs(
    tiny: dict[str, Any], straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = Path(shutil.copytree(straight, tmp_path / "run"))
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(merged(tiny, {"train": {"lr": 0.5}})))
    words = ["--config", str(changed), "--run-dir", str(run_dir), "--resume", "--device", "cpu", "train.max_steps=9"]
    assert train_command(words) == 0
    assert f"note: train.lr stays 0.0002, as in the run; {changed} says 0.5" in capsys.readouterr().err
    assert (final(run_dir)["step"], final(run_dir)["config"].train.lr) == (9, 0.0002)
    changed.write_text(yaml.safe_dump(merged(tiny, {"data": {"names": ["horse", "zebra"]}})))
    assert train_command(words) == 1
    assert "holds another run, of ink and photo" in capsys.readouterr().err


def test_ctrl_c_saves_and_a_run_in_use_is_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    long = merged(tiny, {"train": {"max_steps": 100000, "save_every_steps": 100000}})
    process = start(command(long, tmp_path))
    wait_for((tmp_path / "run" / "metrics.jsonl").exists, process)
    with pytest.raises(run_folder.RunFolderError, match="in use by another process"):
        run(long, tmp_path / "run", resume=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped at step" in err
    assert out == ""
    assert final(tmp_path / "run")["step"] > 0


def test_a_finished_run_is_complete_and_takes_more_steps(tiny: dict[str, Any], straight: Path, tmp_path: Path) -> None:
    run_dir = Path(shutil.copytree(straight, tmp_path / "run"))
    assert run(tiny, run_dir, resume=True) == 0
    assert final(run_dir)["step"] == 8
    assert "nothing is left to do; to go on, raise train.max_steps" in (run_dir / "log.txt").read_text()
    assert run(tiny, run_dir, resume=True, train={"max_steps": 10}) == 0
    assert final(run_dir)["step"] == 10
    assert [line["step"] for line in metrics(run_dir)] == [2, 4, 6, 8, 10]


def test_fewer_steps_than_there_are_is_refused_and_changes_nothing(
    tiny: dict[str, Any], straight: Path, tmp_path: Path
) -> None:
    run_dir = Path(shutil.copytree(straight, tmp_path / "run"))
    before = (run_dir / "config.yaml").read_bytes()
    with pytest.raises(UserError, match=r"train.max_steps: the run has 8 steps behind it, 5 are asked for; raise it"):
        run(tiny, run_dir, resume=True, train={"max_steps": 5})
    assert (run_dir / "config.yaml").read_bytes() == before


def test_a_new_run_takes_no_folder_of_another(tiny: dict[str, Any], straight: Path) -> None:
    before = final(straight)
    with pytest.raises(UserError, match=r"holds a run already; go on with it by --resume"):
        run(tiny, straight)
    with pytest.raises(UserError, match=r"holds a run of another model \(model.generator.channels differ\)"):
        run(tiny, straight, resume=True, model={"generator": {"channels": 8}})
    with pytest.raises(UserError, match=r"another model \(data.prepare.A.autocontrast differ\)"):
        run(tiny, straight, resume=True, data={"prepare": {"A": {"autocontrast": 2}}})
    assert differing(before, final(straight)) == []


def test_a_damaged_newest_checkpoint_is_passed_over(tiny: dict[str, Any], straight: Path, tmp_path: Path) -> None:
    run_dir = Path(shutil.copytree(straight, tmp_path / "run"))
    for name in ("step_00000008.pt", "latest.pt"):
        os.truncate(run_dir / "checkpoints" / name, 5000)
    assert run(tiny, run_dir, resume=True) == 0
    assert_same_end(run_dir, straight)
    assert "step_00000008.pt: damaged" in (run_dir / "log.txt").read_text()


def test_a_disk_that_is_full_for_a_while_loses_nothing(
    tiny: dict[str, Any], straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = loop.save_checkpoint, []

    def full_at_times(*args: Any) -> Path:
        calls.append(args)
        if len(calls) in (1, 3, 4):  # one on the way, and twice at the end
            raise CheckpointError("step.pt: could not be written: No space left on device")
        return real(*args)

    monkeypatch.setattr(loop, "save_checkpoint", full_at_times)
    monkeypatch.setattr(loop, "PAUSE", 0)
    assert run(tiny, tmp_path / "run") == 0
    assert len(calls) == 5
    assert_same_end(tmp_path / "run", straight)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "No space left on device; training goes on" in log
    assert "No space left on device; make room: trying again" in log


def test_a_disk_that_stays_full_is_an_error_in_the_end(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> Path:
        raise CheckpointError("step.pt: could not be written: No space left on device")

    monkeypatch.setattr(loop, "save_checkpoint", full)
    monkeypatch.setattr(loop, "PAUSE", 0)
    with pytest.raises(CheckpointError, match="No space left on device; nothing was saved yet"):
        run(tiny, tmp_path / "run")


def test_a_signal_ends_the_wait_for_room(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> Path:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        raise CheckpointError("step.pt: could not be written: No space left on device")

    monkeypatch.setattr(loop, "save_checkpoint", full)
    began = time.monotonic()
    with pytest.raises(CheckpointError, match="No space left on device"):
        run(tiny, tmp_path / "run", train={"max_steps": 1})
    assert time.monotonic() - began < loop.PAUSE


def test_no_checkpoint_is_saved_before_the_numbers_of_its_steps(
    tiny: dict[str, Any], straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = report._append, []

    def full_at_times(path: Path, content: bytes) -> None:
        calls.append(content)
        if len(calls) in (1, 2):  # at step 2, and before the checkpoint of step 3
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(report, "_append", full_at_times)
    assert run(tiny, tmp_path / "run", train={"max_steps": 8}) == 0
    assert_same_end(tmp_path / "run", straight)
    assert "metrics.jsonl'; training goes on" in (tmp_path / "run" / "log.txt").read_text()


def test_other_training_pictures_than_before_are_told(
    tiny: dict[str, Any], drawn: Path, straight: Path, tmp_path: Path
) -> None:
    run_dir = Path(shutil.copytree(straight, tmp_path / "run"))
    root = Path(shutil.copytree(drawn, tmp_path / "set"))
    more = {"data": {"root": str(root)}, "train": {"max_steps": 9}}
    assert run(tiny, run_dir, resume=True, **more) == 0
    told = "the training pictures are others than at the checkpoint"
    assert told not in (run_dir / "log.txt").read_text()
    next((root / "trainA").iterdir()).unlink()
    assert run(tiny, run_dir, resume=True, **merged(more, {"train": {"max_steps": 10}})) == 0
    assert told in (run_dir / "log.txt").read_text()


def test_a_run_starts_from_the_generators_of_another(tiny: dict[str, Any], straight: Path, tmp_path: Path) -> None:
    still = {"lr": 1e-30, "max_steps": 1, "init_from": str(straight)}
    assert run(tiny, tmp_path / "run", train=still) == 0
    a, b = final(straight)["generators"], final(tmp_path / "run")["generators"]
    assert differing(a, b) == []
    with pytest.raises(UserError, match=r"train.init_from: .* has the domains the other way round"):
        run(tiny, tmp_path / "other", train=still, data={"names": ["photo", "ink"]})
    with pytest.raises(UserError, match=r"train.init_from: .* holds other generators"):
        run(tiny, tmp_path / "other", train=still, model={"generator": {"channels": 8}})


def test_a_picture_that_goes_away_ends_the_run_and_loses_no_step(
    tiny: dict[str, Any], drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(drawn, tmp_path / "set"))
    real, calls = training_step.generator_losses, []

    def delete_later(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            shutil.rmtree(root / "trainA")
        return real(*args)

    monkeypatch.setattr(training_step, "generator_losses", delete_later)
    with pytest.raises(UserError, match="no such file"):
        run(tiny, tmp_path / "run", data={"root": str(root), "cache_mb": 0, "workers": 0})
    assert final(tmp_path / "run")["step"] == 2
