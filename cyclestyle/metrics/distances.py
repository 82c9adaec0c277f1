"""Distances between two sets of pictures, told from their descriptors; each with a bootstrap over pictures.

Every distance takes weights (R, N) of the pictures of each set, a row for each resampling of `resamplings`, and gives R
values; a row of ones gives the distance itself.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURS = 3  # of precision and recall, as in the paper
CHUNK = 16  # directions at a time


class Interval(NamedTuple):
    """A value and the range of 95 in 100 draws of as many pictures (wider than need be near the floor)."""

    value: float
    low: float
    high: float


def resamplings(count: int, rounds: int, seed: int) -> Tensor:
    """Bootstrap weights (1 + rounds, count): first of all pictures once, then of draws with replacement."""
    random = np.random.RandomState(seed)
    drawn = random.multinomial(count, np.full(count, 1 / count), size=rounds)
    drawn[drawn.max(1) == count] = 1  # of one picture alone there are no pairs
    return torch.from_numpy(np.concatenate([np.ones((1, count)), drawn])).double()


def interval(value: float, draws: Tensor) -> Interval:
    """The value and its 95 % interval, from those of `draws` (R,).

    Drawing pictures twice makes distances larger; the interval is moved so that its draws have the value as their mean.
    """
    low, high = torch.quantile(draws - draws.mean(), torch.tensor([0.025, 0.975], dtype=draws.dtype)).tolist()
    return Interval(value, value + low, value + high)


def kid(x: Tensor, y: Tensor, weights_x: Tensor, weights_y: Tensor) -> Tensor:
    """Kernel Inception distance (Binkowski et al., arXiv:1801.01401): unbiased MMD^2 with a cubic polynomial kernel.

    Args:
        x, y: features (N, D) and (M, D).
        weights_x, weights_y: (R, N) and (R, M); a picture drawn twice makes no pair with itself.

    Returns:
        (R,), in units of the kernel; around 0 for equal distributions.
    """
    x, y = x.double(), y.double()

    def within(a: Tensor, weights: Tensor) -> Tensor:
        pairs = _kernel(a, a).fill_diagonal_(0)
        return ((weights @ pairs) * weights).sum(1) / (weights.sum(1) ** 2 - (weights**2).sum(1))

    weights_x, weights_y = weights_x.to(x), weights_y.to(y)
    across = ((weights_x @ _kernel(x, y)) * weights_y).sum(1) / (weights_x.sum(1) * weights_y.sum(1))
    return (within(x, weights_x) + within(y, weights_y) - 2 * across).cpu()


def witness(x: Tensor, y: Tensor) -> Tensor:
    """Mean kernel of `kid` between each of `x` (N, D) and all of `y` (M, D): how alike they are, (N,)."""
    return _kernel(x.double(), y.double()).mean(1)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def fid(x: Tensor, y: Tensor, weights_x: Tensor, weights_y: Tensor) -> Tensor:
    """Fréchet distance of two Gaussians (Heusel et al., arXiv:1706.08500); biased upwards where pictures are few.

    Args and result as `kid`.
    """
    x, y = x.double(), y.double()

    def centred(a: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        mean = weights @ a / weights.sum()
        return mean, (a - mean) * (weights / (weights.sum() - 1)).sqrt()[:, None]

    values = []
    for row_x, row_y in zip(weights_x.to(x), weights_y.to(y), strict=True):
        (mean_x, root_x), (mean_y, root_y) = centred(x, row_x), centred(y, row_y)
        # Covariances are root.T @ root, so that tr((Cx Cy)^(1/2)) is the nuclear norm of the small root_x @ root_y.T.
        shared = torch.linalg.matrix_norm(root_x @ root_y.T, "nuc")
        values.append((mean_x - mean_y).square().sum() + root_x.square().sum() + root_y.square().sum() - 2 * shared)
    return torch.stack(values).cpu()


def precision_recall(fake: Tensor, real: Tensor) -> tuple[float, float]:
    """Share of translations among real pictures, and of real ones among translations (arXiv:1904.06991).

    Args:
        fake, real: features (N, D) and (M, D); among means nearer than a third neighbour is.

    Returns:
        precision and recall, 0 to 1.
    """

    def covered(points: Tensor, by: Tensor) -> float:
        radius = torch.cdist(by, by).kthvalue(min(NEIGHBOURS + 1, len(by)), dim=1).values  # the first is itself
        return float((torch.cdist(points, by) <= radius).any(dim=1).double().mean())

    return covered(fake.double(), real.double()), covered(real.double(), fake.double())


def wasserstein(x: Tensor, y: Tensor, weights_x: Tensor, weights_y: Tensor, ways: Tensor) -> Tensor:
    """Sliced Wasserstein-1 distance: the mean over directions, in units of the descriptors.

    Along a line it is the difference between the means of a potential (Villani 2009, Optimal Transport, theorem 5.10),
    which is kept for all draws: so they follow to first order, and cost nothing.

    Args:
        x, y: descriptors (N, P, D), P of each picture, and (M, Q, D).
        weights_x, weights_y: (R, N) and (R, M).
        ways: directions, (D, K).

    Returns:
        (R,); a row of ones gives the distance itself.
    """
    found = [_potentials(x, y, part) * part.shape[1] for part in ways.split(CHUNK, dim=1)]
    of_x, of_y = torch.stack(found).sum(0).div(ways.shape[1]).split([len(x), len(y)])

    def means(weights: Tensor, potentials: Tensor) -> Tensor:
        return (weights.to(potentials) * potentials).sum(1) / weights.to(potentials).sum(1)

    return (means(weights_y, of_y) - means(weights_x, of_x)).cpu()


def _potentials(x: Tensor, y: Tensor, ways: Tensor) -> Tensor:
    """Of slope 1 or -1, as more of x or of y lie below; means over descriptors and directions, (N + M,)."""
    values = torch.cat([x.flatten(0, 1), y.flatten(0, 1)]).matmul(ways).T.double()
    values, order = values.sort(dim=1)
    count_x, count_y = x.shape[:2].numel(), y.shape[:2].numel()
    below = torch.where(order < count_x, count_y, -count_x).cumsum(dim=1)  # whole numbers, so that 0 is 0
    rises = below[:, :-1].sign() * values.diff(dim=1)
    potential = torch.zeros_like(values).scatter_(1, order, F.pad(rises.cumsum(dim=1), (1, 0))).mean(0)
    of_x, of_y = potential.split([count_x, count_y])
    return torch.cat([of_x.view(x.shape[:2]).mean(1), of_y.view(y.shape[:2]).mean(1)])
