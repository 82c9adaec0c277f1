"""What a training step is said to need is what it takes, and what does not fit is refused with what would."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclestyle import memory as memory_of_machine
from cyclestyle.config import ConfigError, check_config
from cyclestyle.errors import UserError
from cyclestyle.memory import peak_memory
from cyclestyle.training import memory
from cyclestyle.training.memory import _peak_of_step, check_memory, out_of_memory_told, step_memory
from cyclestyle.training.state import TrainState
from tests.helpers import merged

GIB = 2**30
MEASURE_PEAK = """
import json, re, sys
import torch
from cyclestyle.config import check_config
from cyclestyle.memory import keep_freed_memory
from cyclestyle.training.state import TrainState
from cyclestyle.training.step import TrainStep
def kib(name):  # not ru_maxrss, which begins at that of the parent process
    return int(re.search(name + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1])
torch.set_num_threads(1)
config = check_config(json.loads(sys.argv[1]))
before = kib("RssAnon")
state = TrainState(config, torch.device("cpu"), torch.float32)
step = TrainStep(state, config.loss, torch.float32)
side = config.data.crop_size
keep_freed_memory(False)
step(*torch.rand(2, config.train.batch_size, 3, side, side))
print((kib("VmHWM") - kib("RssFile") - before) * 1024)
"""


@pytest.fixture(scope="module")
def wide(tiny: dict[str, Any]) -> dict[str, Any]:
    nets = {"generator": {"channels": 32, "blocks": 1}, "discriminator": {"channels": 32}}
    return merged(tiny, {"data": {"load_size": 192, "crop_size": 192}, "model": nets, "train": {"batch_size": 1}})


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = tmp_path / "jobs" / "mine"
    group.mkdir(parents=True)
    for folder, most, used in ((group, "max", 5), (tmp_path / "jobs", "1000", 900)):
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text("anon 1\ninactive_file 250\n")
    lines = memory_of_machine._lines
    told = {Path("/proc/self/cgroup"): ["0::/jobs/mine"]}
    monkeypatch.setattr(memory_of_machine, "_lines", lambda path: told[path] if path in told else lines(path))
    assert memory_of_machine._free_of_container(tmp_path) == 350
    told[Path("/proc/self/cgroup")] = ["0::/"]
    assert memory_of_machine._free_of_container(tmp_path) is None


def test_memory_is_counted_at_its_peak_without_computing() -> None:
    def work() -> None:
        x = torch.empty(2**40)  # a view takes none, and of what is dropped the memory is used again
        y = x[:10] + 1
        del x
        torch.cat([y, y])

    assert peak_memory(work) == 4 * (2**40 + 10)


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.parametrize(
    "options",
    [{}, {"loss": {"steepness": 1, "pink_steepness": 1, "back_translation": 1}, "train": {"replay": 3}}],
    ids=["plain", "more terms"],
)
def test_a_step_takes_the_memory_that_it_is_said_to_need(wide: dict[str, Any], options: dict[str, Any]) -> None:
    config = check_config(merged(wide, options))
    said = sum(step_memory(config, torch.device("cpu"), torch.float32))
    words = [sys.executable, "-c", MEASURE_PEAK, config.model_dump_json()]
    taken = float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert 0.85 * said < taken < 1.05 * said


def test_memory_grows_with_the_pictures(wide: dict[str, Any]) -> None:
    cpu = torch.device("cpu")
    fixed, growing = step_memory(check_config(wide), cpu, torch.float32)
    more = step_memory(check_config(merged(wide, {"train": {"batch_size": 2}})), cpu, torch.float32)
    assert more == (fixed, pytest.approx(2 * growing, rel=0.1))
    assert step_memory(check_config(wide), cpu, torch.bfloat16)[1] < 0.7 * growing
    three = check_config(merged(wide, {"train": {"batch_size": 3}}))
    assert step_memory(three, cpu, torch.float32)[1] == pytest.approx(
        _peak_of_step(three, cpu, torch.float32, 3), rel=1e-3
    )


def test_networks_that_were_only_counted_are_gone_at_once(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Any]] = []

    def make(*args: Any) -> TrainState:
        state = TrainState(*args)
        made.append(weakref.ref(state.model))
        return state

    monkeypatch.setattr(memory, "TrainState", make)
    gc.disable()
    try:
        step_memory(check_config(tiny), torch.device("cpu"), torch.float32)
    finally:
        gc.enable()
    assert [model() for model in made] == [None]


def test_a_batch_that_does_not_fit_is_refused_with_what_would(
    wide: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    fixed, growing = step_memory(check_config(wide), cpu, torch.float32)
    config = check_config(merged(wide, {"train": {"batch_size": 40}}))
    monkeypatch.setattr(memory, "free_memory", lambda device: int(fixed + 2.5 * growing))
    with pytest.raises(ConfigError, match=r"40 of 192 pixels .*; train.batch_size=(\d) or data.crop_size=(\d+) would"):
        check_memory(config, cpu, torch.float32)
    monkeypatch.setattr(memory, "free_memory", lambda device: int(fixed))
    with pytest.raises(ConfigError, match="use smaller networks"):
        check_memory(config, cpu, torch.float32)
    monkeypatch.setattr(memory, "free_memory", lambda device: int(fixed / 10))
    with pytest.raises(ConfigError, match=r"model: the weights, .* lower model.generator.channels"):
        check_memory(config, cpu, torch.float32)
    for more, plenty in ((45, False), (100, True)):
        monkeypatch.setattr(memory, "free_memory", lambda device, more=more: int(fixed + more * growing))
        assert check_memory(config, cpu, torch.float32) == plenty


def test_memory_that_runs_out_in_a_step_is_told_with_what_to_lower(wide: dict[str, Any]) -> None:
    for changes, remedy in (({"batch_size": 6}, "train.batch_size=3"), ({"batch_size": 1}, "data.crop_size=128")):
        config = check_config(merged(wide, {"train": changes}))
        with pytest.raises(UserError, match=f"out of memory in a step .* {remedy}"), out_of_memory_told(config):
            raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="other"), out_of_memory_told(config):
        raise RuntimeError("other")
