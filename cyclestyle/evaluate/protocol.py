"""What somebody needs to know to get the same figures again, and where a result is kept."""

import argparse
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch

from cyclestyle import __version__
from cyclestyle.checkpoint import CheckpointError, TrainedModel, read_model
from cyclestyle.config import DataConfig
from cyclestyle.devices import precise_device
from cyclestyle.errors import UserError
from cyclestyle.evaluate.measure import FEW, Direction, Sets
from cyclestyle.files import whole_lines
from cyclestyle.images import open_image, orientation_of
from cyclestyle.metrics.compare import Extractors
from cyclestyle.metrics.inception import DEFAULT_PATH, SOURCE, InceptionFeatures

SMALLEST = 32  # pixels, for the spectrum of a checkerboard


def data_config(model: TrainedModel, root: str | None, size: int | None) -> DataConfig:
    """The model's options of data, with another root or another size.

    Raises:
        UserError: neither names a folder, or the pictures would be too small to measure.
    """
    data = model.config.data
    if root is None and data.root is None:
        raise UserError(f"{model.path}: does not say where its pictures lie; name a folder with --data ROOT")
    if size is None and data.crop_size < SMALLEST:
        raise UserError(
            f"{model.path}: was trained on {data.crop_size} pixels, and measures need {SMALLEST}: add --size {SMALLEST}"
        )
    sides = {} if size is None else {"load_size": size, "crop_size": size}
    return data.model_copy(update={"root": root or data.root, **sides})


def pick_extractors(weights: Path | None, device: torch.device) -> tuple[Extractors, str | None]:
    """The networks that features come from, and a line where Inception is not among them, or is not the usual one.

    Raises:
        UserError: `weights` is given and cannot be used.
    """
    path, device = weights or DEFAULT_PATH.expanduser(), precise_device(device)
    try:
        inception = InceptionFeatures(path, device)
    except UserError as error:
        if weights is not None:
            raise
        return Extractors(device), f"without FID and KID on Inception: {error}"
    other = f"{path}: not the published weights; FID and KID compare with no others' figures (published: {SOURCE})"
    return Extractors(device, inception=inception), None if inception.is_published else other


def notes(model: TrainedModel, config: DataConfig, sets: Sets, args: argparse.Namespace) -> list[str]:
    """What a reader of the figures should know, a line each."""
    lines = [f"left out: {problem}" for problem in sets.problems]
    trained_on, (name_a, name_b) = model.config.data.root, model.config.data.names
    same_root = bool(trained_on) and Path(str(trained_on)).resolve() == Path(str(config.root)).expanduser().resolve()
    if not same_root:
        lines.append(f"the model learned {name_a} (A) and {name_b} (B) from {trained_on}, not from {config.root}")
    for domain, pictures in sets.real.items():
        if len(pictures) < FEW:
            lines.append(f"{args.split}{domain}: {len(pictures)} pictures say little; {FEW} or more are better")
    names = [[path.stem for path in sets.paths[d]] for d in "AB"]
    if names[0] == names[1] and not args.paired:
        lines.append("files of both folders have the same names; if they show the same, add --paired")
    if args.paired and config.resize != "square":
        unlike = [pair for pair in zip(sets.paths["A"], sets.paths["B"], strict=True) if differ_in_shape(*pair)]
        if unlike:
            lines.append(
                f"{len(unlike)} of the pairs differ in shape, so that their middle squares may not show the same: "
                f"{unlike[0][0]} and {unlike[0][1]}"
            )
    for domain, other in ("AB", "BA"):
        if len(sets.floor[domain]) < len(sets.real[other]):
            lines.append(
                f"train{domain} has {len(sets.floor[domain])} pictures for the floor, fewer than are translated"
            )
    prepared = [d for d in "AB" if getattr(config.prepare, d).autocontrast is not None]
    if prepared:
        lines.append(
            f"data.prepare: the model learned other pictures of {' and '.join(prepared)} than those it is compared with"
        )
    best = _best_beside(model)
    if best is not None and best.step != model.step:
        lines.append(f"this is step {model.step}; step {best.step} was kept as the best while training: {best.path}")
    chosen_by = "val" if Path(str(config.root), "valA").is_dir() else "test"
    if model.path.stem == "best" and same_root and args.split == chosen_by:
        other = "the test pictures tell more" if chosen_by == "val" else "hold others out in valA and valB"
        lines.append(f"the generators were chosen by pictures of these {chosen_by} folders; {other}")
    if args.split == "train":
        lines.append(
            "the model has seen these pictures (every other one is measured, the rest are the floor); test or val tell "
            "how good it is"
        )
    return lines


def doubts(directions: Mapping[str, Direction]) -> list[str]:
    """A line where translations are so far from their target that the model may be meant for other pictures."""
    excesses = [one.distances["kid_random"].excess for one in directions.values()]
    if all(excess is not None and excess.value >= 1 for excess in excesses):
        return [
            "translations are no nearer to their target than untranslated pictures, both ways: are A and B those that "
            "the model learned, and not exchanged? If so, it has to learn for longer"
        ]
    return []


def differ_in_shape(one: Path, other: Path) -> bool:
    """Whether two pictures, as shown, have sides of another proportion."""
    aspects = []
    for path in (one, other):
        with open_image(path) as image:
            width, height = image.size if orientation_of(image) < 5 else image.size[::-1]
            aspects.append(width / height)
    return max(aspects) > 1.02 * min(aspects)


def _best_beside(model: TrainedModel) -> TrainedModel | None:
    """The generators that the same run kept as the best, if they can be read."""
    run = run_folder_of(model)
    try:
        return read_model(run / "checkpoints" / "best.safetensors") if run else None
    except CheckpointError:
        return None


def protocol(
    model: TrainedModel,
    config: DataConfig,
    sets: Sets,
    extractors: Extractors,
    args: argparse.Namespace,
    where: str,
) -> dict[str, Any]:
    """Everything that the figures depend on, as plain values."""
    side = config.crop_size
    how = {"short": "short side", "square": "both sides", "none": "not resized"}[config.resize]
    resized = f"{how} to {config.load_size}" if config.resize != "none" else how
    return {
        "program": f"cyclestyle {__version__}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__,
            "pillow": PIL.__version__,
        },
        "command": args.command,
        "model": {
            "path": str(model.path),
            "sha256": model.hash,
            "step": model.step,
            "names": model.config.data.names,
            "seed": model.config.seed,
        },
        "computed_on": where,
        "data": {
            "root": str(config.root),
            "split": args.split,
            "counts": {domain: len(pictures) for domain, pictures in sets.real.items()},
            "floor_counts": {domain: len(pictures) for domain, pictures in sets.floor.items()},
            "size": f"{resized} (Pillow, bicubic, antialiased), the middle {side}x{side}",
            "paired": args.paired,
            "left_out": sets.problems,
        },
        "seed": args.seed,
        "rounds": args.rounds,
        "random_features": "9 random 3x3 convolutions, seed 0, normalised on drawn pictures",
        "inception": _about(extractors.inception),
    }  # fmt: skip


def _about(inception: InceptionFeatures | None) -> dict[str, Any] | None:
    if inception is None:
        return None
    return {
        "sha256": inception.hash,
        "published": inception.is_published,
        "torch_fidelity": metadata.version("torch-fidelity"),
        "resize": "TensorFlow 1 bilinear to 299, by torch-fidelity",
    }


def run_folder_of(model: TrainedModel) -> Path | None:
    """The folder of the run that a model lies in, if it does."""
    folder = model.path.resolve().parent
    return folder.parent if folder.name == "checkpoints" else None


def default_out(model: TrainedModel, split: str) -> Path:
    """A folder for the result that does not exist yet: in the run, or, for a model elsewhere, in `evaluation`."""
    run = run_folder_of(model)
    where = run / "evaluation" if run else Path("evaluation") / model.path.stem
    number, path = 1, where / f"{split}_step_{model.step:08d}"
    while path.exists():
        number += 1
        path = where / f"{split}_step_{model.step:08d}-{number}"
    return path


def metrics_of(model: TrainedModel) -> list[dict[str, Any]]:
    """The entries of the run's metrics.jsonl, if the model lies in a run."""
    run = run_folder_of(model)
    path = run / "metrics.jsonl" if run else None
    return whole_lines(path) if path is not None and path.exists() else []
