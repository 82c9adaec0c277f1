"""Checkpoints: atomic, self-describing, read safely; damage is named and never hides what is intact."""

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from cyclestyle import checkpoint
from cyclestyle.checkpoint import (
    CheckpointError,
    newest_intact,
    read_checkpoint,
    read_model,
    save_best,
    save_checkpoint,
)  # fmt: skip
from cyclestyle.config import Config, check_config
from cyclestyle.training.state import TrainState
from tests.helpers import differing


@pytest.fixture
def config(tiny: dict[str, Any]) -> Config:
    return check_config(tiny)


@pytest.fixture
def state(config: Config) -> dict[str, Any]:
    return TrainState(config, torch.device("cpu"), torch.float32).state_dict()


def at(state: dict[str, Any], step: int) -> dict[str, Any]:
    return {**state, "step": step}


def test_a_checkpoint_reads_back_bit_by_bit_with_its_config(
    tmp_path: Path, config: Config, state: dict[str, Any]
) -> None:
    path = save_checkpoint(tmp_path, config, at(state, 7), keep_last=2)
    content = read_checkpoint(path)
    assert content["config"] == config
    assert differing({key: content[key] for key in state}, at(state, 7)) == []
    assert read_checkpoint(tmp_path / "latest.pt")["step"] == 7


def test_the_last_ones_are_kept(tmp_path: Path, config: Config, state: dict[str, Any]) -> None:
    for step in (5, 10, 100, 99999999, 123456789):
        save_checkpoint(tmp_path, config, at(state, step), keep_last=2)
    names = sorted(p.name for p in tmp_path.glob("*.pt"))
    assert names == ["latest.pt", "step_123456789.pt", "step_99999999.pt"]
    assert read_checkpoint(tmp_path / "latest.pt")["step"] == 123456789


def test_files_that_a_user_keeps_there_are_left_alone(tmp_path: Path, config: Config, state: dict[str, Any]) -> None:
    (tmp_path / "step_00000001_keep.pt").write_bytes(b"mine")
    for step in (1, 2):
        save_checkpoint(tmp_path, config, at(state, step), keep_last=1)
    assert (tmp_path / "step_00000001_keep.pt").read_bytes() == b"mine"
    assert not (tmp_path / "step_00000001.pt").exists()


@pytest.mark.parametrize("where", ["run", "pt", "safetensors"])
def test_a_model_is_read_from_a_run_a_checkpoint_or_safetensors(
    tmp_path: Path, config: Config, state: dict[str, Any], where: str
) -> None:
    save_checkpoint(tmp_path / "checkpoints", config, at(state, 7), keep_last=2)
    paths = {
        "run": tmp_path,
        "pt": tmp_path / "checkpoints/latest.pt",
        "safetensors": tmp_path / "checkpoints/latest.safetensors",
    }
    model = read_model(paths[where])
    assert (model.step, model.config) == (7, config)
    assert differing(model.generators, {n: dict(s) for n, s in state["generators"].items()}) == []


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("write failed")])
def test_a_failed_save_keeps_the_previous_checkpoint_and_leaves_nothing(
    tmp_path: Path, config: Config, state: dict[str, Any], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, config, at(state, 1), keep_last=1)
    before = sorted(p.name for p in tmp_path.iterdir())

    def half(content: object, file: Any) -> None:
        file.write(b"half of it")
        raise error

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(
        CheckpointError, match=r"step_00000002.pt: could not be written: (No space|the file system took)"
    ):
        save_checkpoint(tmp_path, config, at(state, 2), keep_last=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert read_checkpoint(tmp_path / "latest.pt")["step"] == 1


def test_best_generators_that_cannot_be_kept_leave_both_files_as_they_were(
    tmp_path: Path, config: Config, state: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_best(tmp_path, config, state)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path: Path, *others: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("_save_generators", "os.fsync"):
        with monkeypatch.context() as broken:
            broken.setattr(f"cyclestyle.checkpoint.{name}", full)
            with pytest.raises(CheckpointError, match=r"best\.pt: could not be written: No space left on device"):
                save_best(tmp_path, config, state | {"step": 99})
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_latest_is_a_copy_where_links_are_not_possible(
    tmp_path: Path, config: Config, state: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object, **others: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    save_checkpoint(tmp_path, config, at(state, 3), keep_last=1)
    assert read_checkpoint(tmp_path / "latest.pt")["step"] == 3


def test_a_checkpoint_cut_in_half_is_named_and_the_one_before_is_found(
    tmp_path: Path, config: Config, state: dict[str, Any]
) -> None:
    for step in (1, 2):
        path = save_checkpoint(tmp_path, config, at(state, step), keep_last=2)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(CheckpointError, match=r"step_00000002.pt: damaged"):
        read_checkpoint(path)
    found = newest_intact(tmp_path)
    assert found is not None
    good, content, damaged = found
    assert (good.name, content["step"], len(damaged)) == ("step_00000001.pt", 1, 1)
    os.truncate(good, 10)
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read"):
        newest_intact(tmp_path)


def test_damaged_later_ones_never_cost_an_intact_one(tmp_path: Path, config: Config, state: dict[str, Any]) -> None:
    for step in (3, 6):
        path = save_checkpoint(tmp_path, config, at(state, step), keep_last=2)
    (tmp_path / "latest.pt").unlink()
    os.truncate(path, 5000)
    good = tmp_path / "step_00000003.pt"
    checkpoint.finish_save(good, config, at(state, 3), keep_last=1)
    assert good.exists()
    save_checkpoint(tmp_path, config, at(state, 5), keep_last=1)
    found = newest_intact(tmp_path)
    assert found is not None
    assert (found[0].name, found[1]["step"]) == ("step_00000005.pt", 5)


def test_a_whole_copy_of_a_damaged_newest_one_is_taken(tmp_path: Path, config: Config, state: dict[str, Any]) -> None:
    for step in (1, 2):
        path = save_checkpoint(tmp_path, config, at(state, step), keep_last=2)
    assert not (tmp_path / ".tmp-latest").exists()
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:5000])
    found = newest_intact(tmp_path)
    assert found is not None
    assert (found[0].name, found[1]["step"]) == ("latest.pt", 2)
    checkpoint.finish_save(found[0], config, at(state, 2), keep_last=2)
    assert (tmp_path / "latest.pt").read_bytes() == content


def test_latest_alone_is_enough(tmp_path: Path, config: Config, state: dict[str, Any]) -> None:
    path = save_checkpoint(tmp_path, config, at(state, 3), keep_last=1)
    path.rename(tmp_path / "kept")
    path.write_bytes(b"PK damaged")
    found = newest_intact(tmp_path)
    assert found is not None
    assert (found[0].name, found[1]["step"], len(found[2])) == ("latest.pt", 3, 1)


def test_a_run_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert newest_intact(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.pt", None, "no such file"),
        ("a.pt", b"text", "not a checkpoint of cyclestyle"),
        ("a.pt", b"PK\3\4", "damaged: it was cut or altered"),
        ("a.pt", {"weights": 1}, "not a checkpoint of cyclestyle"),
        ("a.pt", {"format": 99, "step": 1, "generators": {}, "config": {}}, "format 99 is not format"),
        ("a.pt", {"format": 1, "step": 1, "generators": {}, "config": {"sead": 1}}, "sead: unknown key"),
        ("a.safetensors", None, "no such file"),
        ("a.safetensors", b"text", "damaged, or not a model"),
        ("a.safetensors", "foreign", "was not written by cyclestyle"),
        ("a.safetensors", '{"config": "{}"}', "its description is another"),
        ("a.safetensors", '{"config": "x", "step": "1"}', "its description is another"),
    ],
)
def test_what_is_no_model_is_named(tmp_path: Path, name: str, content: Any, expected: str) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        torch.save(content, path)
    elif content is not None:
        save_file({"x": torch.zeros(1)}, path, None if content == "foreign" else json.loads(content))
    with pytest.raises(CheckpointError, match=expected) as caught:
        read_model(path)
    assert str(path) in str(caught.value)


def test_a_folder_without_a_model_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no checkpoints/latest.safetensors or latest.pt"):
        read_model(tmp_path)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "latest.pt").touch()
    with pytest.raises(CheckpointError, match=f"did you mean {tmp_path / 'run'}\\?"):
        read_model(tmp_path)


def test_a_model_that_is_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, config: Config, state: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_best(tmp_path, config, at(state, 1))
    read, tries = checkpoint._read_generators, []

    def replaced(path: Path) -> checkpoint.TrainedModel:
        model = read(path)
        if not tries:
            save_best(tmp_path, config, at(state, 2))
        tries.append(model.step)
        return model

    monkeypatch.setattr(checkpoint, "_read_generators", replaced)
    model = read_model(tmp_path / "best.safetensors")
    assert (tries, model.step) == ([1, 2], 2)
    assert model.hash == hashlib.sha256(model.path.read_bytes()).hexdigest()


def test_reading_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"generators": Evil(), "config": {}}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError):
        checkpoint.read_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()
