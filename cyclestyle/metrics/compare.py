"""Every measure of one direction of translation, from five sets of pictures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cyclestyle.images import to_tensor
from cyclestyle.metrics import paired
from cyclestyle.metrics.artefacts import droplets, lattice_energy
from cyclestyle.metrics.descriptors import RandomFeatures, directions, pyramid_patches, to_lab
from cyclestyle.metrics.distances import Interval, fid, interval, kid, resamplings, wasserstein, witness
from cyclestyle.metrics.inception import InceptionFeatures

DIRECTIONS = 128  # of a sliced Wasserstein distance
COLOURS = 256  # pixels a picture
CHUNK = 16


@dataclass(frozen=True)
class Extractors:
    """Networks that features come from, shared among sets of pictures."""

    device: torch.device
    random: RandomFeatures = field(default_factory=RandomFeatures)
    inception: InceptionFeatures | None = None


class Described:
    """A set of pictures and their descriptors, computed when first asked for.

    Args:
        pictures: uint8 (N, S, S, 3).
        seed: of the places that patches and colours are taken from; sets that are compared have different ones.
    """

    def __init__(self, pictures: np.ndarray, extractors: Extractors, seed: int) -> None:
        self.pictures, self._extractors, self._seed = pictures, extractors, 10_000 * seed

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def has_inception(self) -> bool:
        """Whether there are features of InceptionV3."""
        return self._extractors.inception is not None

    def tensors(self) -> list[Tensor]:
        """The pictures in chunks, float (B, 3, S, S) in [-1, 1]."""
        return [to_tensor(self.pictures[i : i + CHUNK], self._extractors.device) for i in range(0, len(self), CHUNK)]

    @cached_property
    def random(self) -> Tensor:
        """Features of random convolutions, (N, D)."""
        return torch.cat([self._extractors.random(part) for part in self.tensors()])

    @cached_property
    def inception(self) -> Tensor:
        """Features of InceptionV3, (N, 2048)."""
        assert self._extractors.inception is not None
        return torch.cat([self._extractors.inception(part) for part in self.tensors()])

    @cached_property
    def patches(self) -> list[Tensor]:
        """(N, P, 147) for each scale, the largest first."""
        parts = [pyramid_patches(part, self._seed + i) for i, part in enumerate(self.tensors())]
        return [torch.cat(level) for level in zip(*parts, strict=True)]

    @cached_property
    def colours(self) -> Tensor:
        """CIELAB of some pixels, (N, 256, 3)."""
        height, width = self.pictures.shape[1:3]
        places = np.random.RandomState(self._seed).randint(0, height * width, (len(self), COLOURS))
        picked = np.take_along_axis(self.pictures.reshape(len(self), -1, 3), places[..., None], 1)
        return to_lab(to_tensor(picked)).permute(0, 2, 3, 1)[0].to(self._extractors.device)


Weighted = tuple[Described, Tensor]  # a set, and weights (R, N) of its pictures
Distance = Callable[[list[Weighted], Described, Tensor], list[dict[str, Tensor]]]


def kid_random(sets: list[Weighted], real: Described, weights: Tensor) -> list[dict[str, Tensor]]:
    """`kid` on `RandomFeatures`; for each set values (R,) by name."""
    return [{"kid_random": kid(x.random, real.random, w, weights)} for x, w in sets]


def swd(sets: list[Weighted], real: Described, weights: Tensor) -> list[dict[str, Tensor]]:
    """Sliced Wasserstein distance of pyramid patches, times 1000: the mean over the scales, and each by its pixels.

    All are in units of the real pictures' standard deviation of each colour channel, about their mean, so that a tint
    counts. (The authors of arXiv:1710.10196 take each set's own.)
    """
    found: list[dict[str, Tensor]] = [{} for _ in sets]
    for depth, patches in enumerate(real.patches):
        unit = patches.unflatten(2, (3, -1)).std((0, 1, 3)).clamp(min=1e-6).repeat_interleave(patches.shape[2] // 3)
        ways = directions(patches.shape[2], DIRECTIONS, depth).to(patches) / unit[:, None]
        for scales, (x, weights_x) in zip(found, sets, strict=True):
            distance = wasserstein(x.patches[depth], patches, weights_x, weights, ways)
            scales[f"swd_{-(-min(real.pictures.shape[1:3]) // 2**depth)}"] = 1000 * distance
    return [{"swd": torch.stack(list(scales.values())).mean(0), **scales} for scales in found]


def colour(sets: list[Weighted], real: Described, weights: Tensor) -> list[dict[str, Tensor]]:
    """Mean of the Wasserstein-1 distances of L*, a* and b* over all pixels, in their units."""
    axes = torch.eye(3, device=real.colours.device)
    return [{"colour": wasserstein(x.colours, real.colours, w, weights, axes)} for x, w in sets]


def inception(sets: list[Weighted], real: Described, weights: Tensor) -> list[dict[str, Tensor]]:
    """FID and KID on features of InceptionV3."""
    return [
        {"fid": fid(x.inception, real.inception, w, weights), "kid": kid(x.inception, real.inception, w, weights)}
        for x, w in sets
    ]


DISTANCES: tuple[Distance, ...] = (kid_random, swd, colour)


def values(x: Described, real: Described, rounds: int = 0) -> dict[str, Tensor]:
    """Every distance of `DISTANCES` between two sets, by name, (1 + rounds,): of all pictures, then of draws."""
    weights, weights_real = resamplings(len(x), rounds, 0), resamplings(len(real), rounds, 1)
    found: dict[str, Tensor] = {}
    for distance in DISTANCES:
        found |= distance([(x, weights)], real, weights_real)[0]
    return found


def excess(value: float, floor: float, ceiling: float) -> float:
    """0 where translations are as near as real pictures are, 1 where they are no nearer than untranslated ones."""
    return (value - floor) / (ceiling - floor) if ceiling > floor else float("nan")


class Measured(NamedTuple):
    """A distance of translations to real pictures of the target.

    Attributes:
        value: with its interval over draws of pictures.
        floor: of as many real training pictures of the target.
        ceiling: of the untranslated pictures.
        excess: (value - floor) / (ceiling - floor), with its interval; None where ceiling and floor hardly differ.
    """

    value: Interval
    floor: float
    ceiling: float
    excess: Interval | None


def compare(
    fake: Described,
    source: Described,
    real: Described,
    floor: Described,
    distances: tuple[Distance, ...] = DISTANCES,
    rounds: int = 200,
) -> dict[str, Measured]:
    """Every distance of translations `fake` of `source` to `real`, beside those of `floor` and of `source`.

    The intervals come from drawing the pictures of each set anew `rounds` times, the translations with their sources.
    """
    weights, weights_real, weights_floor = (
        resamplings(len(x), rounds, seed) for seed, x in enumerate((fake, real, floor))
    )
    sets = ((fake, weights), (floor, weights_floor), (source, weights))
    found: dict[str, Measured] = {}
    for distance in distances:
        told = distance(list(sets), real, weights_real)
        for name in told[0]:
            value, low, high = (float(one[name][0]) for one in told)
            draws, lows, highs = (one[name][1:] for one in told)
            known = interval(high - low, highs - lows).low > 0
            share = excess(value, low, high)
            # To first order: quotients themselves have no mean where draws of the ceiling come near to the floor.
            shares = (draws - lows - share * (highs - lows)) / (high - low)
            found[name] = Measured(interval(value, draws), low, high, interval(share, shares) if known else None)
    return found


def pairs(fake: Described, source: Described, rec: Described | None = None) -> dict[str, np.ndarray]:
    """What each translation keeps of its source, and how well each reconstruction gives it back; (N,) by name.

    Returns:
        edge_f, structure and correlation of the translation, its change (L1, 0 to 1) and number of droplets; and
        cycle_l1 (0 to 255), cycle_psnr (dB), cycle_ssim.
    """
    found: dict[str, list[Tensor]] = {}

    def add(name: str, value: Tensor) -> None:
        found.setdefault(name, []).append(value.cpu())

    for x, y in zip(fake.tensors(), source.tensors(), strict=True):
        add("edge_f", paired.edge_f_score(x, y))
        add("structure", paired.structure(x, y))
        add("correlation", paired.correlation(x, y))
        add("change", (x - y).abs().mean((1, 2, 3)) / 2)
        add("droplets", droplets(x, y))
    for x, y in zip(rec.tensors(), source.tensors(), strict=True) if rec else ():
        add("cycle_l1", 127.5 * (x - y).abs().mean((1, 2, 3)))
        add("cycle_psnr", 10 * torch.log10(4 / (x - y).square().mean((1, 2, 3)).clamp(min=4e-10)))
        add("cycle_ssim", paired.ssim(x, y))
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def checkerboard(x: Described) -> dict[str, np.ndarray]:
    """`lattice_energy` of each picture at strides 2 and 4, in dB; (N,) by name."""
    energy = torch.cat([lattice_energy(part) for part in x.tensors()]).cpu().numpy()
    return {"checkerboard_2": energy[:, 0], "checkerboard_4": energy[:, 1]}


def nearness(x: Described, real: Described, source: Described) -> np.ndarray:
    """How much nearer each picture is to `real` than to `source` by random features (the witness of `kid`), (N,)."""
    return (witness(x.random, real.random) - witness(x.random, source.random)).cpu().numpy()


def diversity(x: Described) -> float:
    """How much pictures differ from one another: the distance of 16x16 thumbnails to the next, a mean, 0 to 1."""
    small = torch.cat([F.adaptive_avg_pool2d(part, 16).flatten(1) for part in x.tensors()]) / 2
    apart = torch.cdist(small, small) / small.shape[1] ** 0.5
    return float(apart.fill_diagonal_(torch.inf).amin(1).mean())
