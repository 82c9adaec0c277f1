"""What can be trained, and what is refused before anything is written."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclestyle.config import check_config
from cyclestyle.errors import UserError
from cyclestyle.training import loop, run_folder
from cyclestyle.training.loop import train
from tests.helpers import differing, merged
from tests.runs.test_training_runs import ROOT, command, final, run


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "model",
    [
        {"discriminator": {"name": "pixel", "channels": 4}, "generator": {"channels": 4, "blocks": 1}},
        {"generator": {"channels": 4, "blocks": 2, "upsample": "transpose", "norm": "group"}},
    ],
    ids=["pixel", "group"],
)
@pytest.mark.parametrize("adversarial", ["hinge", "vanilla"])
def test_every_kind_of_network_and_loss_trains(
    tiny: dict[str, Any], tmp_path: Path, precision: str, model: dict[str, Any], adversarial: str
) -> None:
    values = {**tiny, "model": model, "loss": {"adversarial": adversarial}}
    capable = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if precision == "bf16" and not capable.get("avx512_bf16"):
        pytest.skip("this CPU does not compute bf16")
    assert run(values, tmp_path / "run", train={"max_steps": 2, "precision": precision, "batch_size": 2}) == 0


def test_fp16_scales_its_losses_and_resumes(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "pick_precision", lambda name, device: torch.float16)  # the CPU computes it, if slowly
    assert run(tiny, tmp_path / "straight", train={"max_steps": 4}) == 0
    assert run(tiny, tmp_path / "run", train={"max_steps": 2, "decay_steps": 0}) == 0
    assert final(tmp_path / "run")["scaler"]["scale"] >= 1
    assert run(tiny, tmp_path / "run", resume=True, train={"max_steps": 4}) == 0
    a, b = final(tmp_path / "straight"), final(tmp_path / "run")
    assert a["scaler"] == b["scaler"]
    assert differing(a["model"], b["model"]) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data": {"crop_size": 8}}, "data.crop_size: 8 is too small for the patchgan"),
        (
            {"train": {"growth_steps": [1, 1]}},
            r"data.crop_size: 32 is too small .* \(train.growth_steps begins with 8; ",
        ),
        ({"data": {"crop_size": 20}, "train": {"growth_steps": [1]}}, "data.crop_size: 20 is not a multiple of 8"),
        ({"train": {"growth_steps": [99]}}, r"train.growth_steps: \[99\] leave none of \d+ steps .* train.max_steps"),
        ({"data": {"augment": [{"HorizontalFlip": {}}]}}, r"data.augment.A: gives uint8 \d+x40, not uint8 32x32"),
        ({"train": {"precision": "fp16"}}, "precision fp16: not native to cpu on this machine; use"),
        ({"train": {"init_from": "nowhere"}}, "train.init_from: nowhere: no such file"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_written(
    tiny: dict[str, Any], tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        run(tiny, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_is_named(tiny: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--device cuda: not usable on this machine .*; usable here: cpu"):
        train(check_config(tiny), tmp_path / "run", "cuda")


def test_a_folder_without_write_permission_is_named(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run_folder.os, "open", refuse)  # the owner of this process may be root, who may write anywhere
    with pytest.raises(UserError, match="cannot be used as a run folder: Permission denied; choose another --run-dir"):
        run(tiny, tmp_path / "run")


def test_compiling_without_a_compiler_is_an_error_that_says_what_to_install(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    words = command(merged(tiny, {"train": {"compile": True}}), tmp_path)
    nothing = {"CXX": str(tmp_path / "no-such-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **nothing})
    assert done.returncode == 1
    assert "train.compile: torch.compile does not work on this machine: " in done.stderr
    assert "set train.compile=false" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_compiling_is_asked_of_every_network(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(loop, "check_compiler", lambda device: None)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda net, dynamic: compiled.append(type(net).__name__))
    assert run(tiny, tmp_path / "run", train={"compile": True, "max_steps": 2}) == 0
    assert compiled == ["ResnetGenerator"] * 2 + ["PatchDiscriminator"] * 2
    assert "compiling the networks" in (tmp_path / "run" / "log.txt").read_text()
