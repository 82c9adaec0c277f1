"""Discriminators that are not steep, so that generators need not run after them (arXiv:1801.04406, section 4.1)."""

import torch
from torch import Tensor, nn


def steepness(discriminator: nn.Module, pictures: Tensor) -> Tensor:
    """The mean squared norm of the gradient of a logit with respect to the picture, (B, 3, H, W) in [-1, 1]; a scalar.

    Gradients of all patches are found in one pass: their sum with random signs has the squared norm that they have
    together, on average. The signs are the same in every step, as a resumed run shall have the same. A pixel is one of
    the scale.
    """
    pictures = pictures.detach().requires_grad_()
    maps: list[Tensor] = discriminator(pictures)
    total = torch.zeros((), device=pictures.device)
    for scale, logits in enumerate(maps):
        total = total + 2**scale * (_signs(logits) * logits.float()).sum() / logits[0].numel() ** 0.5
    (gradient,) = torch.autograd.grad(total, pictures, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean() / len(maps)


def _signs(like: Tensor) -> Tensor:
    """1 and -1, as if by chance."""
    number = torch.arange(like.numel(), device=like.device)
    return ((number * number * 2654435761 >> 20) % 2 * 2 - 1).view_as(like)
