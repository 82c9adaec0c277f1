"""A generator in stages, so that a picture too large for one pass can go through it part by part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclestyle.nets.layers import Norm


@dataclass(frozen=True)
class Stage:
    """What happens between maps that are small enough to be kept whole.

    One after the other, on whole maps, the stages of a generator do what its `forward` does. On a part of the picture
    and a margin around it, a stage gives the same within that part, if its norms are given the statistics of the whole.

    Attributes:
        reads: maps that it takes; "picture" is the generator's input.
        writes: the map that it makes, "translation" in the end; one of those it reads only if `margin` is 0.
        channels, stride: of that map, and how many pixels of the picture one of its cells is wide.
        margin: how many pixels beyond a part its result depends on, at most; a multiple of the generator's stride.
        function: (1, C, h, w) of each map it reads -> (1, channels, h', w'). It changes none of them.
        norms: those whose statistics it needs and no earlier stage needed, in the order of use.
        following: the norm, if there is one, that a later stage applies to what this one writes.
    """

    reads: Sequence[str]
    writes: str
    channels: int
    stride: int
    margin: int
    function: Callable[..., Tensor]
    norms: Sequence[Norm] = ()
    following: Sequence[Norm] = ()


def run_stages(stages: Sequence[Stage], picture: Tensor) -> Tensor:
    """All stages on a whole picture, (1, 3, H, W) in [-1, 1] -> the same."""
    maps: dict[str, Tensor] = {"picture": picture}
    for stage in stages:
        maps[stage.writes] = stage.function(*(maps[name] for name in stage.reads))
    return maps["translation"]


def norms_in(*modules: nn.Module) -> list[Norm]:
    """Those within modules, in the order of their definition."""
    return [m for module in modules for m in module.modules() if isinstance(m, Norm)]


class Statistics:
    """Mean and variance of the channels of a map that comes in parts (Chan et al. 1979), in float64."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._squares = torch.zeros(())

    def add(self, part: Tensor) -> None:
        """Take in (1, C, h, w)."""
        layout = torch.channels_last if part.stride(1) == 1 else torch.contiguous_format
        mean, variance = (torch.zeros(part.shape[1], device=part.device) for _ in range(2))
        # In bf16 this takes a tenth of the time of torch.var_mean.
        F.batch_norm(part.contiguous(memory_format=layout), mean, variance, training=True, momentum=1.0)
        count = part.shape[2:].numel()
        mean, variance = mean.cpu().double(), variance.cpu().double() * ((count - 1) / count)
        total = self._count + count
        off = mean - self._mean
        self._squares = self._squares + variance * count + off**2 * (self._count * count / total)
        self._mean = self._mean + off * (count / total)
        self._count = total

    def of_groups(self, groups: int | None) -> tuple[Tensor, Tensor]:
        """Mean and variance (C,) of channels that share them in so many groups; None: each has its own."""
        groups = groups or len(self._mean)
        means, variances = self._mean.view(groups, -1), (self._squares / self._count).view(groups, -1)
        mean = means.mean(1, keepdim=True)
        variance = (variances + (means - mean) ** 2).mean(1, keepdim=True)
        return mean.expand_as(means).flatten(), variance.expand_as(means).flatten()
