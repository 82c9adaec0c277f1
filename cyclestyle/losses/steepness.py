"""Discriminators that are not steep, so that generators need not run after them (arXiv:1801.04406, section 4.1)."""

import torch
from torch import Tensor


def steepness(maps: list[Tensor], pictures: Tensor) -> Tensor:
    """The mean squared norm of the gradient of a logit with respect to the picture, zero-centred (R1 and R2 at once).

    Gradients of all patches are found in one pass: their sum with random signs has the squared norm that they have
    together, on average. The signs are the same in every step, as a resumed run shall have the same.

    Args:
        maps: logits of the scales of a discriminator, (B, 1, h, w) each; a pixel of scale s is 2**s pixels wide.
        pictures: what they are about, (B, 3, H, W), which requires a gradient.
    """
    total = torch.zeros((), device=pictures.device)
    for scale, logits in enumerate(maps):
        shown = _signs(logits) * logits.float()
        total = total + 2**scale * shown.sum() / logits[0].numel() ** 0.5
    (gradient,) = torch.autograd.grad(total, pictures, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean() / len(maps)


def _signs(like: Tensor) -> Tensor:
    """1 and -1, as if by chance."""
    number = torch.arange(like.numel(), device=like.device)
    return ((number * number * 2654435761 >> 20) % 2 * 2 - 1).view_as(like)
