"""How fast training and translation are: ours, the plain way, and the ceiling of the machine, measured in one run.

python benchmarks/speed.py [--config FILE] [section.key=value ...] [--json FILE]
"""

import argparse
import contextlib
import io
import json
import platform
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ceiling import best_rate, convolutions, time_alone
from plain import PlainTraining, make_plain
from timing import Timing, interleave
from torch import Tensor, nn

from cyclestyle.checkpoint import TrainedModel
from cyclestyle.commands import run_command
from cyclestyle.config import Config, load_config
from cyclestyle.cyclegan import CycleGAN, make_generator
from cyclestyle.data.loader import batches
from cyclestyle.data.synthetic import draw_photo, draw_scene
from cyclestyle.data.unpaired import UnpairedData
from cyclestyle.devices import PRECISIONS, pick_device, pick_precision
from cyclestyle.images import read_image, to_pixels, to_tensor, write_image
from cyclestyle.memory import keep_freed_memory
from cyclestyle.training.state import TrainState
from cyclestyle.training.step import TrainStep
from cyclestyle.translate.pipeline import Settings, translate_files
from cyclestyle.translate.sources import find_jobs, make_folders
from cyclestyle.translate.translator import Translator

ROOT = Path(__file__).parents[1]
PARTS = ("train", "translate", "input")
Row = dict[str, Any]


def main(argv: list[str] | None = None) -> int:
    return run_command(_main, argv)


def _main(argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/speed.py", description="Measure training, translation and input.")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "horse2zebra.yaml", metavar="FILE")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part (may be repeated)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each is timed (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers there")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="as in train.py")
    args = parser.parse_intermixed_args(argv)
    if args.rounds < 1:
        parser.error(f"--rounds: at least 1, not {args.rounds}")
    if args.json and not args.json.parent.is_dir():
        parser.error(f"--json: {args.json.parent} is no folder; make it first")
    config = load_config(args.config, args.overrides)
    device = pick_device(args.device)
    auto = pick_precision("auto", device)
    keep_freed_memory()  # as train.py and translate do where memory is plenty
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "side": config.data.crop_size,
        "batch": config.train.batch_size,
        "auto": str(auto).removeprefix("torch."),
    }
    print("  ".join(f"{name}: {value}" for name, value in about.items()), flush=True)
    rows: list[Row] = []
    for part, measure in (("train", _train), ("translate", _translate), ("input", _input)):
        if args.only is None or part in args.only:
            print(f"\n{part}", flush=True)
            for row in measure(config, device, auto, args.rounds):
                rows.append({"part": part, **row})
                print("  " + _line(row), flush=True)
                if args.json:
                    args.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    return 0


def _train(config: Config, device: torch.device, auto: torch.dtype, rounds: int) -> Iterator[Row]:
    """Steps of training, and what share of the machine they use."""
    side, batch = config.data.crop_size, config.train.batch_size
    torch.manual_seed(0)
    real_a, real_b = (torch.rand(batch, 3, side, side, device=device) * 2 - 1 for _ in range(2))
    candidates: dict[str, Callable[[], object]] = {
        "plain fp32": partial(PlainTraining(config, device).step, real_a, real_b)
    }
    for name, dtype in _precisions(auto).items():
        state = TrainState(config, device, dtype)
        candidates[f"ours {name}"] = partial(
            _our_step, state, TrainStep(state, config.loss, dtype, config.train.compile), real_a, real_b
        )
    times = interleave(candidates, device, rounds, warm=3)  # memory is laid out, and a GPU records, in the first
    convs = convolutions(CycleGAN(config.model).to(device), batch, side, identity=True)
    work = sum(conv.flops() * count for conv, count in convs.items())
    rates = {n: best_rate(device, dtype) for n, dtype in _precisions(auto).items()}
    floors = {n: time_alone(convs, device, dtype) for n, dtype in _precisions(auto).items()}
    for name, timing in times.items():
        precision = name.split()[1]
        shares = {"of_ceiling": work / timing.median / rates[precision], "of_floor": floors[precision] / timing.median}
        yield _row(f"step, {name}", timing, times["plain fp32"], batch) | shares
    for name in rates:
        yield {"what": f"ceiling {name}", "gflops": rates[name] / 1e9, "floor_seconds": floors[name]}
    yield {"what": "work of a step", "tflop": work / 1e12}
    yield _memory(device)


def _our_step(state: TrainState, train_step: TrainStep, real_a: Tensor, real_b: Tensor) -> None:
    state.begin_step(1.0)
    state.finish_step(train_step(real_a, real_b))


def _translate(config: Config, device: torch.device, auto: torch.dtype, rounds: int) -> Iterator[Row]:
    """Pictures to pictures, and files to files."""
    rng = np.random.default_rng(0)
    model = TrainedModel(config, 0, {n: g.state_dict() for n, g in CycleGAN(config.model).generators.items()}, Path())
    net = make_plain(make_generator(config.model))
    net = net.to(device).requires_grad_(False)
    ours = {n: Translator(model, device=device.type, precision=n) for n in _precisions(auto)}
    side = config.data.crop_size
    for count, large in ((1, side), (4, side), (1, 4 * side)):
        pictures = list(rng.integers(0, 256, (count, large, large, 3), dtype=np.uint8))
        candidates: dict[str, Callable[[], object]] = {"plain fp32": partial(_plain_batch, net, pictures, device)}
        candidates |= {f"ours {name}": partial(translator.batch, pictures) for name, translator in ours.items()}
        times = interleave(candidates, device, rounds if large == side else max(3, rounds // 2))
        for name, timing in times.items():
            yield _row(f"{count} x {large} pixels, {name}", timing, times["plain fp32"], count)
    yield _files(model, side, device, rounds)
    yield _memory(device)


@torch.no_grad()
def _plain_batch(net: nn.Module, pictures: list[np.ndarray], device: torch.device) -> np.ndarray:
    return to_pixels(net(to_tensor(np.stack(pictures)).to(device)))


def _files(model: TrainedModel, side: int, device: torch.device, rounds: int) -> Row:
    """JPEGs to JPEGs, and what share of that time the network takes by itself."""
    count, batch = (600, 16) if device.type == "cuda" else (16, 1)
    translator = Translator(model, device=device.type)
    with tempfile.TemporaryDirectory() as folder:
        _draw(Path(folder, "in"), count, side)
        jobs = find_jobs([str(Path(folder, "in"))], Path(folder, "out"))
        make_folders(jobs)
        pictures = [read_image(job.source) for job in jobs]
        settings = Settings(batch, most=10**9, quality=95, provenance=None, overwrite=True)

        def files() -> None:
            with contextlib.redirect_stderr(io.StringIO()):
                assert translate_files(translator, jobs, settings) == 0

        def network() -> None:
            for i in range(0, count, batch):
                translator.batch(pictures[i : i + batch])

        times = interleave({"files": files, "network": network}, device, max(3, rounds // 2), seconds=0)
    row = _row(f"{count} files of {side} pixels", times["files"], None, count)
    return row | {"of_network": times["network"].median / times["files"].median}


def _input(config: Config, device: torch.device, auto: torch.dtype, rounds: int, count: int = 200) -> Iterator[Row]:
    """Training samples from JPEGs of 286 pixels, decoded anew and from the cache."""
    with tempfile.TemporaryDirectory() as folder:
        for domain in "AB":
            _draw(Path(folder, f"train{domain}"), 16, 286)
        for what, cache in (("from files", 0), ("from the cache", 4096)):
            values = config.data.model_dump() | {"root": folder, "cache_mb": cache, "min_size": 8}
            with contextlib.redirect_stderr(io.StringIO()):
                data = UnpairedData(type(config.data).model_validate(values), seed=0)
            samples = partial(_take_samples, data, config.data.workers, count)
            timing = interleave({"samples": samples}, device, rounds, seconds=0)["samples"]
            yield _row(what, timing, None, 2 * count)


def _take_samples(data: UnpairedData, workers: int, count: int) -> None:
    with contextlib.closing(batches(data, 0, 1, workers)) as loader:
        for _ in islice(loader, count):
            pass


def _draw(folder: Path, count: int, side: int) -> None:
    rng = np.random.default_rng(0)
    picture = draw_photo(draw_scene(rng, side), rng)
    for i in range(count):
        write_image(folder / f"{i}.jpg", np.roll(picture, i, axis=1))


def _precisions(auto: torch.dtype) -> dict[str, torch.dtype]:
    return {name: dtype for name, dtype in PRECISIONS.items() if dtype in (torch.float32, auto)}


def _row(what: str, timing: Timing, plain: Timing | None, pictures: int) -> Row:
    row: Row = {"what": what, "seconds": timing.median, "spread": timing.spread}
    row["pictures_per_second"] = pictures / timing.median
    if plain is not None:
        row["times_plain"] = plain.median / timing.median
    return row


def _memory(device: torch.device) -> Row:
    if device.type == "cuda":
        return {"what": "peak memory of the GPU so far", "gib": torch.cuda.max_memory_reserved(device) / 2**30}
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "what": "peak memory of the process so far",
        "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30,
    }


def _line(row: Row) -> str:
    forms = {
        "seconds": "{:8.4f} s",
        "spread": "+-{:.0%}",
        "pictures_per_second": "{:8.2f} pictures/s",
        "times_plain": "{:5.2f} x plain",
        "of_ceiling": "{:4.0%} of the ceiling",
        "of_floor": "{:4.0%} of the convolutions alone",
        "of_network": "{:4.0%} of it in the network alone",
        "gflops": "{:8.0f} GFLOP/s",
        "floor_seconds": "{:8.3f} s for the convolutions of a step alone",
        "tflop": "{:.3f} TFLOP",
        "gib": "{:.1f} GiB",
    }
    return f"{row['what']:52}" + "  ".join(form.format(row[key]) for key, form in forms.items() if key in row)


def _processor() -> str:
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main())
