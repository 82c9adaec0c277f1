"""Checks that take minutes: `make check-long`."""

import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

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
