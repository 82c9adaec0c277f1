"""Which recipe is better: `python benchmarks/recipes.py ROOT BASE RUN...`, for runs on the same data set.

All held-out pictures of ROOT are translated by every run, both ways, and compared with all training pictures of the
target: they are many more, so chance has less part in it. The difference to BASE in random-feature KID is drawn over
the same pictures for both runs, and is far sharper than two intervals: what is hard for one is hard for the other.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from cyclestyle.checkpoint import read_model
from cyclestyle.config import check_config
from cyclestyle.data.held_out import middle_squares
from cyclestyle.data.unpaired import list_pictures
from cyclestyle.devices import pick_device, precise_device
from cyclestyle.metrics.compare import Described, Extractors, checkerboard, kid_random, pairs, swd
from cyclestyle.metrics.distances import interval, resamplings
from cyclestyle.translate.style import Style
from cyclestyle.translate.translator import Translator

ROUNDS, BATCH = 200, 4
HEAD = ("run", "to", "KID", "SWD", "KID - base", "edges", "structure", "checkerboard", "droplets")


class Scale(NamedTuple):
    """Distances of real held-out pictures (floor) and of untranslated ones (ceiling) to the training pictures."""

    kid: tuple[float, float]
    swd: tuple[float, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("root", metavar="ROOT", help="folder of trainA, trainB and the held-out pictures")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders; the first is the base")
    parser.add_argument("--split", default="val", choices=("val", "test"), help="default: val")
    parser.add_argument("--size", type=int, default=128, help="side of the squares, in pixels (default: 128)")
    parser.add_argument("--strength", type=float, default=1.0, help="0 to 1, as of translate (default: 1)")
    args = parser.parse_args()
    style = Style(strength=args.strength)
    size = {"load_size": round(args.size * 286 / 256), "crop_size": args.size}
    data = check_config({"data": {"root": args.root, **size}}).data
    extractors = Extractors(precise_device(pick_device("auto")))

    def read(folder: str, seed: int) -> Described:
        return Described(middle_squares(list_pictures(data, folder), data, folder)[0], extractors, seed)

    train = {d: read(f"train{d}", i) for i, d in enumerate("AB")}
    held = {d: read(args.split + d, i + 2) for i, d in enumerate("AB")}
    scales = {d: _scale(held[d], held["BA"["AB".index(d)]], train[d]) for d in "AB"}
    base: dict[str, torch.Tensor] = {}
    print(" | ".join(HEAD))
    for run in args.runs:
        model = read_model(run)
        for way, (source, target) in (("AtoB", "AB"), ("BtoA", "BA")):
            fake = Described(_translated(Translator(model, way, style=style), held[source].pictures), extractors, 4)
            row, draws = _row(fake, held[source], held[target], train[target], scales[target], base.get(target))
            base.setdefault(target, draws)
            print(" | ".join([run.name, model.config.data.names["AB".index(target)], *row]), flush=True)
    return 0


def _kid(x: Described, real: Described) -> torch.Tensor:
    """Of all pictures, then of draws of them."""
    weights = resamplings(len(x), ROUNDS, 0)
    return kid_random([(x, weights)], real, torch.ones(ROUNDS + 1, len(real)))[0]["kid_random"]


def _swd(x: Described, real: Described) -> float:
    return float(swd([(x, torch.ones(1, len(x)))], real, torch.ones(1, len(real)))[0]["swd"])


def _scale(near: Described, far: Described, real: Described) -> Scale:
    return Scale(
        (float(_kid(near, real)[0]), float(_kid(far, real)[0])),
        (_swd(near, real), _swd(far, real)),
    )


def _translated(translator: Translator, pictures: np.ndarray) -> np.ndarray:
    parts = range(0, len(pictures), BATCH)
    bar = tqdm(parts, f"to {translator.target}", disable=None, leave=False)
    return np.stack([made for i in bar for made in translator.batch(list(pictures[i : i + BATCH]))])


def _row(
    fake: Described, source: Described, target: Described, real: Described, scale: Scale, base: torch.Tensor | None
) -> tuple[list[str], torch.Tensor]:
    """Excess of the distances, the difference to the base, and what was kept; and the draws of the first."""
    floor, ceiling = scale.kid
    draws = (_kid(fake, real) - floor) / (ceiling - floor)
    low, high = scale.swd
    apart = draws - (draws if base is None else base)
    _, least, most = interval(float(apart[0]), apart[1:])
    kept = {name: values.mean() for name, values in pairs(fake, source).items()}
    ours, theirs = checkerboard(fake), checkerboard(target)
    lattice = max(ours[name].mean() - theirs[name].mean() for name in ours)
    return [
        f"{draws[0]:.3f}",
        f"{(_swd(fake, real) - low) / (high - low):.3f}",
        f"{apart[0]:+.3f} [{least:+.3f}, {most:+.3f}]",
        f"{kept['edge_f']:.2f}",
        f"{kept['structure']:.2f}",
        f"{lattice:+.1f} dB",
        f"{kept['droplets']:.2f}",
    ], draws


if __name__ == "__main__":
    sys.exit(main())
