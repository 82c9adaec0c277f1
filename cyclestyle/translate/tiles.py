"""Pictures of any size, in tiles that give what the whole picture would.

Norms take their statistics from the whole picture, so tiles that are translated one by one differ in tone. Here a stage
of the generator (see `cyclestyle.nets.stages`) is done for all tiles before the next begins: once for each norm within
it, up to that norm, to gather its statistics, and then to the end. What lies between stages is kept whole, so that
nothing wide is computed twice, and margins are those of a few layers.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cyclestyle.images import to_tensor
from cyclestyle.nets.layers import Norm
from cyclestyle.nets.stages import Stage, Statistics
from cyclestyle.translate.maps import FileMap, MachineMap, Map, MemoryMap, Part, Room


class _Reached(Exception):  # noqa: N818, nothing is wrong
    """A pass has come to the norm whose statistics it gathers."""


class Tiles:
    """Translates one picture.

    Args:
        stages: of the generator.
        picture: uint8 (H, W, 3), both sides multiples of the generator's stride.
        core: side of a tile in pixels, a multiple of that stride; margins come on top.
        dtype: of the generator. Maps are kept in 16 bit, but for pictures that have as many themselves.
    """

    def __init__(
        self, stages: Sequence[Stage], picture: np.ndarray, core: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._stages, self._picture, self._device, self._dtype = stages, picture, device, dtype
        self._kept_as = torch.float16 if dtype == torch.float32 and picture.dtype == np.uint8 else dtype
        height, width = picture.shape[:2]
        stride = max(stage.stride for stage in stages)
        rows, columns = _cuts(height, core, stride), _cuts(width, core, stride)
        self._cores = [Part(*r, *c) for r in rows for c in columns]
        self._strides = {stage.writes: stage.stride for stage in stages}
        self._maps: dict[str, Map] = {}

    @property
    def work(self) -> int:
        """Tiles times passes."""
        return len(self._cores) * sum(len(stage.norms) + 1 for stage in self._stages)

    def kept(self, room: Room) -> Room:
        """What maps between stages take at most, in memory as far as there is room."""
        return self._plan(room)[1]

    def translate(
        self, room: Room, scratch: Path, finish: Callable[[Tensor], np.ndarray], progress: Callable[[], object]
    ) -> np.ndarray:
        """Go through all stages.

        Args:
            room: memory for maps; those beyond go into files in the folder `scratch`.
            finish: makes pixels (1, h, w, 3) of a tile of the generator's output, (1, 3, h, w) in [-1, 1].
            progress: called after each tile of each pass.

        Returns:
            (H, W, 3) of the type that `finish` gives.

        Raises:
            OSError: the files have no room.
        """
        places, pixels = self._plan(room)[0], None
        try:
            for number, stage in enumerate(self._stages):
                for norm in stage.norms:
                    self._measure(stage, norm, progress)
                for core, made in self._made(stage, progress):
                    if stage.writes == "translation":
                        tile = finish(made)[0]
                        pixels = np.empty(self._picture.shape, tile.dtype) if pixels is None else pixels
                        pixels[core.top : core.bottom, core.left : core.right] = tile
                    else:
                        kept = self._maps.get(stage.writes) or self._new_map(stage, places[number], scratch)
                        kept.write(core.at_stride(stage.stride), made)
                self._close(self._maps.keys() - self._needed_after(number))
                if self._device.type == "cuda":  # what is cached has not the sizes of the next stage
                    torch.cuda.empty_cache()
        finally:
            self._close(set(self._maps))
            for stage in self._stages:
                for norm in (*stage.norms, *stage.following):
                    norm.given = None
        assert pixels is not None
        return pixels

    def _new_map(self, stage: Stage, place: str, scratch: Path) -> Map:
        height, width = self._picture.shape[:2]
        shape, kind = (stage.channels, height // stage.stride, width // stage.stride), self._kept_as
        kept: Map
        if place == "device":
            kept = MemoryMap(shape, kind, self._device)
        else:
            kept = MachineMap(shape, kind) if place == "machine" else FileMap(shape, kind, scratch)
        self._maps[stage.writes] = kept
        return kept

    def _close(self, names: set[str]) -> None:
        for name in names:
            self._maps.pop(name).close()

    def _plan(self, room: Room) -> tuple[dict[int, str], Room]:
        """Where the map lies that a stage begins, by the number of the stage, and the most bytes there at any time."""
        places: dict[int, str] = {}
        there: dict[str, tuple[str, int]] = {}
        taken = dict.fromkeys(Room._fields, 0)
        most = Room(0)
        for number, stage in enumerate(self._stages[:-1]):
            size = self._picture[..., 0].size // stage.stride**2 * stage.channels * self._kept_as.itemsize
            if stage.writes not in there:
                in_memory = (place for place in ("device", "machine") if taken[place] + size <= getattr(room, place))
                places[number] = next(in_memory, "files")
                there[stage.writes] = places[number], size
                taken[places[number]] += size
            most = Room(*map(max, most, taken.values()))
            for name in there.keys() - self._needed_after(number):
                place, size = there.pop(name)
                taken[place] -= size
        return places, most

    def _needed_after(self, number: int) -> set[str]:
        return {name for stage in self._stages[number + 1 :] for name in stage.reads}

    def _measure(self, stage: Stage, norm: Norm, progress: Callable[[], object]) -> None:
        """Gather the statistics of a norm within a stage, and give them to it."""
        statistics = Statistics()
        for core, part in self._parts(stage):

            def take(x: Tensor, core: Part = core, part: Part = part) -> Tensor:
                stride = (part.bottom - part.top) // x.shape[2]
                statistics.add(core.within(part).at_stride(stride).of(x))
                raise _Reached

            norm.given = take
            try:
                self._run(stage, part)
            except _Reached:
                progress()
        norm.given = _normed(statistics, norm)

    def _made(self, stage: Stage, progress: Callable[[], object]) -> Iterator[tuple[Part, Tensor]]:
        """What a stage makes of each tile; gathers the statistics of the norm that follows on the way."""
        statistics = Statistics()
        for core, part in self._parts(stage):
            made = core.within(part).at_stride(stage.stride).of(self._run(stage, part))
            if stage.following:
                statistics.add(made)
            yield core, made
            progress()
        for norm in stage.following:
            norm.given = _normed(statistics, norm)

    def _parts(self, stage: Stage) -> Iterator[tuple[Part, Part]]:
        """Each tile's core, and with the margin that a stage needs."""
        height, width = self._picture.shape[:2]
        for core in self._cores:
            yield core, core.grown(stage.margin, height, width)

    def _run(self, stage: Stage, part: Part) -> Tensor:
        inputs = []
        for name in stage.reads:
            if name == "picture":
                x = to_tensor(self._picture[part.top : part.bottom, part.left : part.right], self._device)
            else:
                x = self._maps[name].read(part.at_stride(self._strides[name])).to(self._device)
            inputs.append(x.to(self._dtype))
        return stage.function(*inputs)


def _cuts(length: int, core: int, stride: int) -> list[tuple[int, int]]:
    """Cut a length into parts of about one size, of `core` at most, at multiples of `stride`."""
    count = -(-length // core)
    ends = [round(i * length / count / stride) * stride for i in range(count + 1)]
    return list(pairwise(ends))


def _normed(statistics: Statistics, norm: Norm) -> Callable[[Tensor], Tensor]:
    """What a norm does, with statistics of the whole picture."""
    mean, variance = statistics.of_groups(norm.groups)

    def apply(x: Tensor) -> Tensor:
        of_whole, spread = (values.to(x.device, torch.float32) for values in (mean, variance))
        return F.batch_norm(x, of_whole, spread, eps=norm.eps)

    return apply
