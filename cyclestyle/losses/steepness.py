"""Discriminators that are not steep, so that generators need not run after them (arXiv:1801.04406, section 4.1)."""

import torch
from torch import Tensor

STEP = 0.1  # standard deviation of the noise


def steepness(before: list[Tensor], after: list[Tensor]) -> Tensor:
    """The mean squared norm of the gradient of a logit with respect to the picture, zero-centred; a scalar.

    It is told from what noise does to the logits: on average over noise, the square of the difference is that of the
    norm, to first order. That takes no second derivatives, which are slow.

    Args:
        before: logits of the scales of a discriminator, (B, 1, h, w) each.
        after: those of the same pictures and STEP times standard normal noise. A pixel of scale s is 2**s pixels wide,
            over which the noise cancels out; hence the factor.
    """
    changes = [
        4**scale * (y.float() - x.float()).square().mean()
        for scale, (x, y) in enumerate(zip(before, after, strict=True))
    ]
    return torch.stack(changes).mean() / STEP**2
