"""The benchmark runs, counts the work right, and its yardstick trains as we do."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cyclestyle.checkpoint import save_checkpoint
from cyclestyle.config import check_config, load_config
from cyclestyle.cyclegan import CycleGAN
from cyclestyle.images import write_image
from cyclestyle.training.state import TrainState
from cyclestyle.training.step import TrainStep
from tests.clip_files import drawn, write_clip
from tests.helpers import merged

ROOT = Path(__file__).parents[2]
SMALL = "data.load_size=40 data.crop_size=32 model.generator.channels=4 model.generator.blocks=1"
SMALL += " model.discriminator.channels=4 model.discriminator.layers=2"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


def test_every_part_is_measured_and_recorded(tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    words = ["benchmarks/speed.py", "--device", "cpu", "--rounds", "1", "--json", str(out), *SMALL.split()]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert {row["part"] for row in rows} == {"train", "translate", "input"}
    assert all(row["what"] in done.stdout for row in rows)
    steps = [row for row in rows if row["what"].startswith("step")]
    assert [row["what"] for row in steps][:2] == ["step, plain fp32", "step, ours fp32"]
    assert all(row["times_plain"] > 0 and row["of_ceiling"] > 0 and row["of_floor"] > 0 for row in steps)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--rounds", "0"], "--rounds: at least 1, not 0"),
        (["--json", "nowhere/x.json"], "--json: nowhere is no folder"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(words: list[str], expected: str) -> None:
    done = subprocess.run([sys.executable, "benchmarks/speed.py", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stdout == ""


def test_the_work_of_a_step_is_counted_as_the_field_counts_it() -> None:
    from ceiling import convolutions

    convs = convolutions(CycleGAN(load_config(None).model), batch=1, side=256, identity=True)
    work = sum(conv.flops() * count for conv, count in convs.items())
    assert work == pytest.approx(1.885e12, rel=0.01)


def test_the_yardstick_has_the_losses_of_our_step(tiny: dict[str, Any]) -> None:
    from plain import PlainTraining

    config = check_config(merged(tiny, {"train": {"ema": 0.0, "pool_size": 50}}))
    cpu = torch.device("cpu")
    state, plain = TrainState(config, cpu, torch.float32), PlainTraining(config, cpu)
    for name in ("gen_ab", "gen_ba", "disc_a", "disc_b"):
        getattr(plain, name).load_state_dict(getattr(state.model, name).state_dict())
    a, b = torch.rand(2, 1, 3, 32, 32) * 2 - 1
    step = TrainStep(state, config.loss, torch.float32)
    for _ in range(2):
        state.begin_step(1.0)
        ours = {n: v.detach() for n, v in step(a, b).items()}
        state.finish_step(ours)
        generators = sum(float(v) for n, v in ours.items() if n.startswith("loss/") and "disc" not in n)
        expected = [generators, float(ours["loss/disc_a"]), float(ours["loss/disc_b"])]
        assert plain.step(a, b) == pytest.approx(expected, rel=1e-4)


def test_recipes_are_compared_on_the_same_pictures(tiny: dict[str, Any], tmp_path: Path) -> None:
    config = check_config(merged(tiny, {"train": {"max_steps": 1}}))
    for seed, name in enumerate(("base", "other")):
        state = TrainState(config.model_copy(update={"seed": seed}), torch.device("cpu"), torch.float32)
        save_checkpoint(tmp_path / name / "checkpoints", config, state.state_dict(), keep_last=1)
    runs = [str(tmp_path / name) for name in ("base", "other", "base")]
    words = ["benchmarks/recipes.py", str(config.data.root), *runs, "--split", "test", "--size", "40"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines()[1:]]
    assert [row[:2] for row in rows] == [[name, to] for name in ("base", "other", "base") for to in ("photo", "ink")]
    for own, other, again in zip(rows[:2], rows[2:4], rows[4:], strict=True):
        assert own[4] == "+0.000 [+0.000, +0.000]"
        assert again == own
        assert other[2] != own[2]
        assert float(other[2]) - float(own[2]) == pytest.approx(float(other[4].split()[0]), abs=2e-3)


def test_tiles_are_compared_with_one_pass(run_dir: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    write_image(tmp_path / "noise.png", noise)
    words = [str(run_dir), str(tmp_path / "noise.png"), "--tile", "off", "64", "--megapixels", "0.006", "0.02"]
    done = subprocess.run(
        [sys.executable, "benchmarks/tiles.py", *words, "--device", "cpu"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"{s}, tile {t}" for s in ("89x67", "163x122") for t in ("off", 64)
    ]
    assert all(("in tiles of 64 pixels" in line) == ("tile 64" in line) for line in lines)
    differences = [int(line.partition("differs by ")[2].split()[0]) for line in lines]
    assert differences[0] == differences[2] == 0
    assert max(differences) <= 1


def test_flicker_is_told_from_steadiness(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import flicker

    pictures = drawn(5, (96, 64))
    noise = np.random.default_rng(0).integers(-20, 20, pictures.shape)
    clips = [
        write_clip(tmp_path / name, shown, pix_fmt="yuv444p")
        for name, shown in (("a.mp4", pictures), ("b.mp4", np.uint8(pictures + noise)), ("c.mp4", 255 - pictures))
    ]
    monkeypatch.setattr("sys.argv", ["flicker.py", *map(str, clips)])
    flicker.main()
    head, _, source, noisy, steady = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head[:2] == ["5", "pictures,"]
    assert float(noisy[1]) > 3 * float(steady[1])
    assert float(steady[1]) == pytest.approx(float(source[1]), rel=0.3)
    assert (noisy[3], len(source)) == ("1.00", 3)
