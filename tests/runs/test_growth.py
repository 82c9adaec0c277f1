"""Runs whose pictures grow (train.growth_steps)."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cyclestyle.checkpoint import read_checkpoint
from cyclestyle.training.step import TrainStep
from tests.runs.test_training_runs import run


def test_pictures_are_halved_at_first_and_the_log_says_so(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    learn = TrainStep.__call__

    def watch(step: TrainStep, real_a: torch.Tensor, real_b: torch.Tensor) -> Any:
        seen.append(real_a)
        return learn(step, real_a, real_b)

    monkeypatch.setattr(TrainStep, "__call__", watch)
    assert run(tiny, tmp_path / "straight") == 0
    full, seen = seen, []
    assert run(tiny, tmp_path / "run", train={"growth_steps": [3]}) == 0
    assert [picture.shape[-1] for picture in seen] == [16] * 3 + [32] * (len(full) - 3)
    corners = full[0][..., 0::2, 0::2], full[0][..., 1::2, 0::2], full[0][..., 0::2, 1::2], full[0][..., 1::2, 1::2]
    torch.testing.assert_close(seen[0], sum(corners) / 4)  # the same picture, smaller
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "pictures of 16 pixels at first (train.growth_steps)" in log
    assert "step 3: pictures of 32 pixels from here on" in log


def test_what_judges_the_finest_detail_waits_for_the_full_size(tiny: dict[str, Any], tmp_path: Path) -> None:
    train = {"growth_steps": [6], "max_steps": 9, "keep_last": 3}
    assert run(tiny, tmp_path, train=train, model={"discriminator": {"scales": 2}}) == 0
    saved = [read_checkpoint(tmp_path / f"checkpoints/step_0000000{step}.pt")["model"] for step in (3, 6, 9)]
    for name in ("disc_a.body.0.weight", "disc_b.body.0.weight"):
        at_3, at_6, at_9 = (weights[name] for weights in saved)
        assert torch.equal(at_3, at_6)
        assert not torch.equal(at_6, at_9)
    at_3, at_6, at_9 = (weights["disc_a.coarser.0.0.weight"] for weights in saved)
    assert not torch.equal(at_3, at_6)
    assert not torch.equal(at_6, at_9)
