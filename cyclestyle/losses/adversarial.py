"""Adversarial losses on lists of logit maps, one map for each scale of the discriminator."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class AdversarialLoss(Protocol):
    """Both sides of a two-player loss; logits are lists of (B, 1, h, w), results are scalars."""

    def generator(self, fake: list[Tensor]) -> Tensor:
        """What the generator minimises, given the logits of its pictures."""

    def discriminator(self, real: list[Tensor], fake: list[Tensor]) -> Tensor:
        """What the discriminator minimises: half the sum of its real and fake parts."""


def _mean(maps: list[Tensor]) -> Tensor:
    return torch.stack([m.float().mean() for m in maps]).mean()


class Lsgan:
    """Least squares (Mao et al., arXiv:1611.04076), the paper's choice."""

    def generator(self, fake: list[Tensor]) -> Tensor:
        return _mean([(m.float() - 1) ** 2 for m in fake])

    def discriminator(self, real: list[Tensor], fake: list[Tensor]) -> Tensor:
        return 0.5 * (_mean([(m.float() - 1) ** 2 for m in real]) + _mean([m.float() ** 2 for m in fake]))


class Hinge:
    """Hinge (Lim and Ye, arXiv:1705.02894)."""

    def generator(self, fake: list[Tensor]) -> Tensor:
        return -_mean(fake)

    def discriminator(self, real: list[Tensor], fake: list[Tensor]) -> Tensor:
        return 0.5 * (_mean([F.relu(1 - m.float()) for m in real]) + _mean([F.relu(1 + m.float()) for m in fake]))


class Vanilla:
    """Cross entropy with the non-saturating generator loss (Goodfellow et al., arXiv:1406.2661)."""

    def generator(self, fake: list[Tensor]) -> Tensor:
        return _mean([F.softplus(-m.float()) for m in fake])

    def discriminator(self, real: list[Tensor], fake: list[Tensor]) -> Tensor:
        return 0.5 * (_mean([F.softplus(-m.float()) for m in real]) + _mean([F.softplus(m.float()) for m in fake]))
