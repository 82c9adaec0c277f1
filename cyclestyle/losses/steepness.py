"""Discriminators that are not steep, so that generators need not run after them (arXiv:1801.04406, section 4.1)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

STEP = 0.1  # standard deviation of the noise


class Noise(NamedTuple):
    """How to make it from white noise, and by what factor its power falls from scale to scale of a discriminator."""

    colour: Callable[[Tensor], Tensor]
    fading: float


def white(noise: Tensor) -> Tensor:
    """Nearly all of it is finer than what is in pictures: so discriminators judge tone and colour, not strokes."""
    return noise


def pink(noise: Tensor) -> Tensor:
    """As much in each octave, from a pixel to a quarter of a side, as in nature (Field, doi:10.1364/JOSAA.4.002379).

    Fine strokes may be judged then, and tone less, from which glowing discs and dark clouds come. To weigh frequencies
    in such a penalty was proposed by Adler and Lunz (arXiv:1806.06621).
    """
    octaves = [noise]
    for exponent in range(1, (min(noise.shape[2:]) // 4).bit_length()):
        coarse = 2**exponent * F.avg_pool2d(noise, 2**exponent)
        octaves.append(F.interpolate(coarse, size=noise.shape[2:], mode="bilinear"))
    return torch.stack(octaves).sum(0) / len(octaves) ** 0.5


NOISES = {"steepness": Noise(white, fading=4), "pink_steepness": Noise(pink, fading=1)}


def steepness(before: list[Tensor], after: list[Tensor], fading: float) -> Tensor:
    """The mean squared slope of a logit along noise, zero-centred; a scalar.

    Along white noise it is the squared norm of the gradient with respect to the picture. It is told from what noise
    does to the logits: on average over noise, the square of the difference is that of the slope, to first order. That
    takes no second derivatives, which are slow.

    Args:
        before: logits of the scales of a discriminator, (B, 1, h, w) each.
        after: those of the same pictures and STEP times noise of a variance of about 1.
        fading: see `Noise`.
    """
    changes = [
        fading**scale * (y.float() - x.float()).square().mean()
        for scale, (x, y) in enumerate(zip(before, after, strict=True))
    ]
    return torch.stack(changes).mean() / STEP**2
