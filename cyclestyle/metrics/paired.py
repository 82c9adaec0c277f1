"""Measures of one picture against another: of reconstructions, ground truths, and what a translation keeps."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cyclestyle.metrics.filters import blur, gaussian, luminance

STRONGEST = 0.1  # the share of pixels, by gradient, among which edges are sought
WINDOW, SMOOTH = gaussian(1.5, 5), gaussian(1.0, 3)


def psnr(picture: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio of uint8 (H, W, 3) pictures, in dB; infinite for equal ones."""
    error = float(np.mean((picture.astype(np.float64) - truth) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def ssim(pictures: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of luminance, in Gaussian windows (Wang et al. 2004, doi:10.1109/TIP.2003.819861).

    Args:
        pictures, truth: (B, 3, H, W) in [-1, 1].

    Returns:
        (B,), -1 to 1.
    """
    mean_x, mean_y, var_x, var_y, both = _local(pictures, truth)
    c1, c2 = (2 * 0.01) ** 2, (2 * 0.03) ** 2
    likeness = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (likeness * (2 * both + c2) / (var_x + var_y + c2)).mean((1, 2, 3))


def structure(pictures: Tensor, source: Tensor) -> Tensor:
    """Whether dark and bright lie alike, whatever their tone and contrast: the structure term of `ssim`.

    Args and result as `ssim`; negative where dark and bright are exchanged, and near 0 where one picture alone is flat:
    the authors' term is 1 there, the best for a generator that paints nothing.
    """
    _, _, var_x, var_y, both = _local(pictures, source)
    c3 = (2 * 0.03) ** 2 / 2
    return ((both + c3) / ((var_x + c3) * (var_y + c3)).sqrt()).mean((1, 2, 3))


def _local(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Means, variances and covariance of luminance around each pixel that has a whole window."""
    x, y = luminance(x.float()) + 1, luminance(y.float()) + 1
    mean_x, mean_y, xx, yy, xy = blur(torch.cat([x, y, x * x, y * y, x * y], 1), WINDOW, padded=False).split(1, 1)
    return (
        mean_x, mean_y, (xx - mean_x**2).clamp(min=0), (yy - mean_y**2).clamp(min=0), xy - mean_x * mean_y
    )  # fmt: skip


def correlation(pictures: Tensor, source: Tensor) -> Tensor:
    """Pearson's correlation of luminance; (B, 3, H, W) each -> (B,), 0 for a flat picture."""
    x, y = (luminance(p.float()).flatten(1) for p in (pictures, source))
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    return (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1)).clamp(min=1e-6)


def edges(pictures: Tensor) -> Tensor:
    """Ridges of the gradient of luminance, the strongest of each picture; (B, 3, H, W) -> bool (B, 1, H, W)."""
    grey = blur(luminance(pictures.float()), SMOOTH)
    padded = F.pad(grey, (1, 1, 1, 1), mode="reflect")
    across, down = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2], padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    size = (across**2 + down**2).sqrt()
    # A ridge is not lower than its two neighbours along the gradient, whose direction is one of four.
    sector = (torch.atan2(down, across) / (torch.pi / 4)).round().remainder(4)
    padded = F.pad(size, (1, 1, 1, 1))
    height, width = size.shape[2:]
    ridge = torch.zeros_like(size, dtype=torch.bool)
    for number, (y, x) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        after = padded[:, :, 1 + y : 1 + y + height, 1 + x : 1 + x + width]
        before = padded[:, :, 1 - y : 1 - y + height, 1 - x : 1 - x + width]
        ridge |= (sector == number) & (size >= after) & (size > before)
    flat = size.flatten(1)
    least = flat.kthvalue(int((1 - STRONGEST) * flat.shape[1])).values.view(-1, 1, 1, 1)
    return ridge & (size > least.clamp(min=1e-3))


def edge_f_score(pictures: Tensor, source: Tensor) -> Tensor:
    """Whether the same edges are there: F-score of `edges`, 1 pixel apart for each 128 (Martin et al. 2004).

    Args:
        pictures, source: (B, 3, H, W) in [-1, 1].

    Returns:
        (B,), 0 to 1; 1 where neither has any edge.
    """
    ours, theirs = edges(pictures), edges(source)
    reach = max(1, round(min(pictures.shape[2:]) / 128))

    def share(of: Tensor, near: Tensor) -> Tensor:
        wide = F.max_pool2d(near.float(), 2 * reach + 1, stride=1, padding=reach) > 0
        return (of & wide).sum((1, 2, 3)) / of.sum((1, 2, 3)).clamp(min=1)

    precision, recall = share(ours, theirs), share(theirs, ours)
    none = ~(ours.any(3).any(2).any(1) | theirs.any(3).any(2).any(1))
    return torch.where(none, 1.0, 2 * precision * recall / (precision + recall).clamp(min=1e-6))
