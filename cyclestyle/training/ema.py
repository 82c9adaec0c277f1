"""Moving average of weights: translates better than the last weights of an adversarial game (arXiv:1806.04498)."""

import torch
from torch import nn


@torch.no_grad()
def update_average(average: nn.Module, current: nn.Module, decay: float, step: int) -> None:
    """Move `average` towards `current` in place; early on faster, so that the random start is forgotten.

    Args:
        decay: share kept a step, reached from below as (1 + step) / (10 + step).
        step: steps done before this one.
    """
    kept = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(current.parameters()), 1 - kept)
