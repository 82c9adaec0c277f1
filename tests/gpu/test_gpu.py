"""What only a GPU can show: CUDA graphs, bf16 there, exact resume, moves between devices. See `benchmarks/gpu.sh`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cyclestyle.checkpoint import TrainedModel
from cyclestyle.config import check_config
from cyclestyle.cyclegan import CycleGAN
from cyclestyle.training import cuda_graph
from cyclestyle.training.loop import train
from cyclestyle.training.schedule import halvings
from cyclestyle.training.state import TrainState
from cyclestyle.training.step import TrainStep
from cyclestyle.translate.maps import Room
from cyclestyle.translate.style import Style
from cyclestyle.translate.translator import Translator
from tests.helpers import differing, errors_of_gradients, merged

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]
CUDA, CPU = torch.device("cuda"), torch.device("cpu")
PRECISIONS = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
RECIPE: dict[str, Any] = {  # that of configs/ink2photo.yaml, but for bilinear upsampling, which varies in its last bits
    "model": {
        "generator": {"norm": "group", "skips": True, "padding": "reflect", "anchored": True},
        "discriminator": {"norm": "none", "scales": 2},
    },
    "loss": {
        "cycle": 0,
        "back_translation": 0.5,
        "identity": {"ab": 0.01, "ba": 0.05},
        "flat": {"ab": 0, "ba": 5},
        "steepness": {"ab": 5, "ba": 0.5},
        "pink_steepness": 1,
    },
    "train": {"replay": 3, "batch_size": 4, "growth_steps": [5]},
}


@pytest.fixture(autouse=True)
def no_tf32() -> Iterator[None]:
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = True


def run(
    values: dict[str, Any], device: torch.device, dtype: torch.dtype, steps: int, saved: Any = None
) -> tuple[TrainState, list[dict[str, float]]]:
    """Steps on drawn numbers that depend on the step alone."""
    config = check_config(values)
    state = TrainState(config, device, dtype)
    if saved is not None:
        state.load_state_dict(saved)
    entries, halved = [], -1
    while state.step < steps:
        if (times := halvings(config.train, state.step)) != halved:
            step, halved = TrainStep(state, config.loss, dtype, config.train.compile, times), times
        random = torch.Generator().manual_seed(state.step)
        pictures = torch.rand(2, config.train.batch_size, 3, 32, 32, generator=random) * 2 - 1
        state.begin_step(1.0 - state.step / 100)
        result = step(*F.avg_pool2d(pictures.flatten(0, 1), 2**halved).unflatten(0, (2, -1)).to(device))
        entries.append({name: float(value) for name, value in result.items()})
        state.finish_step(result)
    return state, entries


@PRECISIONS
@pytest.mark.parametrize("options", [{}, {"train": {"batch_size": 2}}, RECIPE], ids=["one", "two", "recipe"])
def test_recorded_steps_equal_those_that_were_not(
    tiny: dict[str, Any], dtype: torch.dtype, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = merged(tiny, options)
    recorded, entries = run(values, CUDA, dtype, 10)
    monkeypatch.setattr(cuda_graph, "EAGER_CALLS", 100)
    eager, expected = run(values, CUDA, dtype, 10)
    assert entries == [pytest.approx(entry, rel=1e-3, abs=1e-3) for entry in expected]
    assert differing(recorded.state_dict(), eager.state_dict(), ignore=("seconds", "summed_seconds")) == []


@PRECISIONS
def test_a_resumed_run_ends_bit_equal(tiny: dict[str, Any], dtype: torch.dtype, tmp_path: Path) -> None:
    whole, _ = run(tiny, CUDA, dtype, 12)
    half, _ = run(tiny, CUDA, dtype, 6)
    torch.save(half.state_dict(), tmp_path / "half.pt")
    saved = torch.load(tmp_path / "half.pt", map_location="cpu", weights_only=True)
    resumed, _ = run(tiny, CUDA, dtype, 12, saved)
    assert differing(whole.state_dict(), resumed.state_dict(), ignore=("seconds", "summed_seconds", "sums")) == []


@pytest.mark.parametrize(("first", "then"), [(CUDA, CPU), (CPU, CUDA)], ids=["to the cpu", "to the gpu"])
def test_a_run_goes_on_on_another_device(
    tiny: dict[str, Any], tmp_path: Path, first: torch.device, then: torch.device
) -> None:
    half, _ = run(tiny, first, torch.float32, 4)
    torch.save(half.state_dict(), tmp_path / "half.pt")
    saved = torch.load(tmp_path / "half.pt", map_location="cpu", weights_only=True)
    _, entries = run(tiny, then, torch.float32, 7, saved)
    _, expected = run(tiny, first, torch.float32, 7)
    assert entries[0] == pytest.approx(expected[4], rel=0.01, abs=0.01)


def test_fp32_losses_equal_those_of_the_cpu(tiny: dict[str, Any]) -> None:
    """The first, and one that was recorded, when rounding has grown."""
    _, entries = run(tiny, CUDA, torch.float32, 6)
    _, expected = run(tiny, CPU, torch.float32, 6)
    assert entries[:2] == [pytest.approx(entry, rel=1e-3, abs=1e-3) for entry in expected[:2]]
    assert entries[5] == pytest.approx(expected[5], rel=0.05, abs=0.05)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels_last"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-3), (torch.bfloat16, 0.3)], ids=["fp32", "bf16"])
def test_generator_gradients_equal_float64(
    batch: int, layout: torch.memory_format, dtype: torch.dtype, tolerance: float
) -> None:
    errors = errors_of_gradients(16, (batch, 3, 64, 64), layout, CUDA, dtype)
    assert all(error < tolerance for error in errors.values()), errors


@pytest.mark.parametrize(("precision", "mean"), [("fp32", 0.05), ("bf16", 1.2), ("fp16", 0.5)])
def test_translations_equal_those_of_the_cpu(tiny: dict[str, Any], precision: str, mean: float) -> None:
    config = check_config(merged(tiny, {"model": {"generator": {"channels": 16, "blocks": 3}}}))
    nets = CycleGAN(config.model).generators
    model = TrainedModel(config, 0, {name: net.state_dict() for name, net in nets.items()}, Path())
    picture = np.random.default_rng(0).integers(0, 255, (93, 130, 3), dtype=np.uint8)
    results = [
        Translator(model, "AtoB", device, p)(picture).astype(float)
        for device, p in (("cuda", precision), ("cpu", "fp32"))
    ]
    assert np.abs(results[0] - results[1]).mean() < mean


@pytest.mark.parametrize("room", [Room(10**9), Room(0, 10**9), Room(0)], ids=["memory", "machine", "files"])
def test_tiles_equal_one_pass(tiny: dict[str, Any], room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    config = check_config(merged(tiny, {"model": {"generator": {"channels": 16, "blocks": 3}}}))
    nets = CycleGAN(config.model).generators
    model = TrainedModel(config, 0, {name: net.state_dict() for name, net in nets.items()}, Path())
    picture = np.random.default_rng(0).integers(0, 255, (293, 430, 3), dtype=np.uint8)
    style = Style("native")
    monkeypatch.setattr(Translator, "_room", lambda self: room)
    whole, tiled = (Translator(model, "AtoB", "cuda", "fp32", t, style)(picture).astype(int) for t in ("off", 96))
    assert np.abs(whole - tiled).max() <= 1


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of PyTorch 2.11 within itself
def test_compiled_steps_equal_those_that_are_not(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what the compiler makes of resizing, gradients are added in an order that varies."""
    values = merged(tiny, {"model": {"generator": {"upsample": "transpose"}}})
    compiled = merged(values, {"train": {"compile": True}})
    recorded, entries = run(compiled, CUDA, torch.float32, 7)
    _, expected = run(values, CUDA, torch.float32, 7)
    assert entries[:3] == [pytest.approx(entry, rel=0.01, abs=0.01) for entry in expected[:3]]
    monkeypatch.setattr(cuda_graph, "EAGER_CALLS", 100)
    eager, _ = run(compiled, CUDA, torch.float32, 7)
    assert differing(recorded.state_dict(), eager.state_dict(), ignore=("seconds", "summed_seconds")) == []


def test_a_whole_run_records_while_the_loader_works(tiny: dict[str, Any], tmp_path: Path) -> None:
    values = merged(tiny, {"data": {"workers": 4}, "train": {"precision": "bf16", "max_steps": 20}})
    assert train(check_config(values), tmp_path / "run", "cuda") == 0
