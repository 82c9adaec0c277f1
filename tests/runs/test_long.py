"""Checks that take minutes: `make check-long`."""

import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclestyle.devices import pick_precision
from cyclestyle.errors import UserError
from cyclestyle.nets import GENERATORS, init_weights
from tests.helpers import merged
from tests.runs.test_training_runs import ROOT, assert_same_end, command, run, start

pytestmark = pytest.mark.long


def test_the_demo_is_nearer_to_the_truth_by_3_db_in_both_directions(tmp_path: Path) -> None:
    began = time.monotonic()
    words = [sys.executable, "-m", "cyclestyle.demo", "-o", str(tmp_path / "demo")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    gains = [float(gain) for gain in re.findall(r"gain ([+-][0-9.]+)", done.stdout)]
    print(done.stdout)
    assert len(gains) == 2
    assert min(gains) >= 3
    assert time.monotonic() - began < 360


@pytest.mark.parametrize("attempt", range(3))
def test_a_run_killed_again_and_again_ends_with_the_same_bits(
    tiny: dict[str, Any], tmp_path: Path, attempt: int
) -> None:
    train = {"max_steps": 400, "save_every_steps": 30}
    values = merged(tiny, {"train": train, "data": {"workers": attempt}, "report": {"sample_every_steps": 100}})
    assert run(values, tmp_path / "straight") == 0
    rng, words = random.Random(attempt), command(values, tmp_path, "--resume")
    for _ in range(5):
        process = start(words)
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=rng.uniform(2, 7))
        process.kill()
        process.communicate()
    last = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert last.returncode == 0, last.stderr
    assert_same_end(tmp_path / "run", tmp_path / "straight")


def test_a_discriminator_that_wins_is_told(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Generators that must leave pictures as they are cannot learn to deceive."""
    changes = {
        "model": {"discriminator": {"channels": 16}},
        "loss": {"cycle": 200, "identity": 200},
        "train": {"max_steps": 150, "lr": 0.001, "batch_size": 2},
        "report": {"log_every_steps": 10},
    }
    assert run(merged(tiny, changes), tmp_path / "run") == 0
    assert "the discriminator of ink has won" in (tmp_path / "run" / "log.txt").read_text()


TRAIN_WITH_WINOGRAD = """
import sys
from cyclestyle import demo
from cyclestyle.nets import layers
layers.winograd_pays = lambda weight, pixels=None: weight.shape[2:] == (3, 3)  # however narrow
sys.exit(demo.main(sys.argv[1:]))
"""


def test_bf16_ends_as_good_as_fp32(tmp_path: Path) -> None:
    """Distance of translations from the truth after 500 steps: bf16 through Winograd's convolution, and fp32."""
    try:
        pick_precision("bf16", torch.device("cpu"))
    except UserError as error:
        pytest.skip(str(error))
    gains: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for seed in range(3):
        for precision, code in (("fp32", "from cyclestyle.demo import main; main()"), ("bf16", TRAIN_WITH_WINOGRAD)):
            out = str(tmp_path / f"{precision}{seed}")
            options = [f"train.precision={precision}", f"seed={seed}", "train.max_steps=500", "train.decay_steps=150"]
            words = [sys.executable, "-c", code, "-o", out, *options]
            done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env={"PATH": "/usr/bin:/bin"})
            assert done.returncode == 0, done.stderr
            both = [float(gain) for gain in re.findall(r"gain ([+-][0-9.]+)", done.stdout)]
            gains[precision].append(sum(both) / 2)
    print(gains)
    noise = max(gains["fp32"]) - min(gains["fp32"])
    assert sum(gains["bf16"]) / 3 > sum(gains["fp32"]) / 3 - max(noise, 0.3)


def test_compiled_networks_equal_those_that_are_not() -> None:
    """Wide enough for Winograd's convolution, of which the compiler makes something else."""
    torch.manual_seed(0)
    net = GENERATORS["resnet"](channels=32, blocks=1)
    init_weights(net)
    net.to(memory_format=torch.channels_last)
    picture = torch.rand(1, 3, 256, 256) * 2 - 1
    results = []
    for compiled in (False, True):
        if compiled:
            net.compile(dynamic=False)
        net.zero_grad()
        out = net(picture)
        out.square().mean().backward()
        results.append((out.detach(), net.stem[0].weight.grad.clone()))
    for plain, other in zip(*results, strict=True):
        assert (plain - other).norm() < 5e-3 * plain.norm()
