"""Grids of the same held-out pictures, drawn again and again while a model learns."""

import contextlib
import re
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cyclestyle.config import Config
from cyclestyle.cyclegan import round_trips
from cyclestyle.data.held_out import held_out
from cyclestyle.images import grid, pad_to_multiple, to_pixels, to_tensor

BOTH = {"rec", "idt"}
JPEG_SIDE = 65_500  # pixels


class Samples:
    """The pictures that grids show: the first `report.sample_count` of the test (else val, else train) folders.

    Attributes:
        split: which folders they are from.
        problems: a line for each picture there that cannot be read.
    """

    def __init__(self, config: Config) -> None:
        self.split, self._pictures, self.problems = held_out(config.data, config.report.sample_count)
        self._names, self._compiled = config.data.names, config.train.compile

    @torch.no_grad()
    def draw(self, generators: nn.ModuleDict, stride: int, dtype: torch.dtype) -> dict[str, np.ndarray]:
        """A grid of real, fake, rec and idt for `ab` and `ba`, uint8 (H, W, 3) each."""
        device = next(generators.parameters()).device
        # Compiled networks would be compiled again for each size of picture.
        eager = torch.compiler.set_stance("force_eager") if self._compiled else contextlib.nullcontext()
        rows: dict[str, list[list[np.ndarray]]] = {"ab": [], "ba": []}
        with eager:
            for a, b in zip(*self._pictures, strict=False):
                real_a, real_b = (to_tensor(pad_to_multiple(picture, stride), device) for picture in (a, b))
                with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                    trips = round_trips(generators, real_a, real_b, {"ab": BOTH, "ba": BOTH})
                for direction, real, example in (("ab", a, b), ("ba", b, a)):
                    trip = trips[direction]
                    made = [to_pixels(tensor)[0] for tensor in (trip.fake, trip.rec, trip.idt) if tensor is not None]
                    cut = [m[: s.shape[0], : s.shape[1]] for m, s in zip(made, (real, real, example), strict=True)]
                    rows[direction].append([real, *cut])
        grids = {}
        for direction, (source, target) in (("ab", self._names), ("ba", self._names[::-1])):
            titles = [f"{source} ({self.split})", f"to {target}", f"back to {source}", f"{target} to {target}"]
            grids[direction] = grid(rows[direction], titles)
        return grids


def sample_path(folder: Path, step: int, direction: str, grid: np.ndarray) -> Path:
    """Where a grid of `ab` or `ba` is kept: as JPEG, which is written far faster than PNG, if it has room."""
    name, suffix = "AtoB" if direction == "ab" else "BtoA", "jpg" if max(grid.shape) <= JPEG_SIDE else "png"
    return folder / f"{step:08d}_{name}.{suffix}"


def sample_paths(folder: Path) -> list[Path]:
    """The grids kept in a folder, by step; other files there are left alone. Once all were PNGs."""
    return sorted(p for p in folder.glob("*.*") if re.fullmatch(r"\d{8}_(AtoB|BtoA)\.(jpg|png)", p.name))
