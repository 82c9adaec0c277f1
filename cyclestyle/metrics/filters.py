"""Filters that several measures share."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def luminance(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W) of the same range, with the weights of Rec. 601."""
    return torch.einsum("c,bchw->bhw", pictures.new_tensor([0.299, 0.587, 0.114]), pictures)[:, None]


def blur(x: Tensor, taps: Sequence[float], padded: bool = True) -> Tensor:
    """Blur (B, C, H, W) with a separable kernel; borders are mirrored, or, if not `padded`, lost.

    Shifted copies are added up: PyTorch's convolutions of single channels take twice as long on a CPU.
    """
    reach = len(taps) // 2
    if padded:
        x = F.pad(x, (reach, reach, reach, reach), mode="reflect")
    for dim in (2, 3):
        length = x.shape[dim] - 2 * reach
        summed = x.narrow(dim, 0, length) * taps[0]
        for start, weight in enumerate(taps[1:], start=1):
            summed.add_(x.narrow(dim, start, length), alpha=weight)
        x = summed
    return x


def gaussian(sigma: float, reach: int) -> list[float]:
    """Taps of a Gaussian, for `blur`."""
    taps = torch.exp(-((torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2) / 2)
    return list((taps / taps.sum()).tolist())
