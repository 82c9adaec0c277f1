"""Colours for what a picture hides, so that they leave no halo around what it shows."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

EIGHTH = 1 / 8  # of a pixel that is covered; below, its colour counts for less and less


def fill_hidden(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Replace colours that cannot be seen by those of their surroundings (push-pull; Gortler et al. 1996, section 4.3).

    A generator sees some way around each pixel, hidden colours too, and files hold anything there.

    Args:
        pixels: uint8 or uint16 (H, W, 3).
        alpha: of the same type (H, W).

    Returns:
        as `pixels`; what is covered by an eighth or more keeps its colour.
    """
    if alpha.all() or not alpha.any():
        return pixels
    seen = torch.from_numpy(alpha.astype(np.float32) / np.iinfo(alpha.dtype).max)[None, None]
    colours = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
    filled = _filled(colours * seen, seen).lerp(colours, (seen / EIGHTH).clamp(max=1))
    return filled[0].permute(1, 2, 0).round().numpy().astype(pixels.dtype)


def _filled(weighted: Tensor, weights: Tensor) -> Tensor:
    """(1, 3, H, W) colours everywhere, given those times their weights (1, 1, H, W)."""
    if min(weights.shape[2:]) > 1:
        coarse = _filled(*(F.avg_pool2d(x, 2, ceil_mode=True) for x in (weighted, weights)))
    else:
        coarse = weighted.sum((2, 3), keepdim=True) / weights.sum().clamp(min=1e-6)
    around = F.interpolate(coarse, weights.shape[2:], mode="bilinear")
    return (weighted + around * EIGHTH) / (weights + EIGHTH)
