"""What generators add that no picture has: the checkerboard of strided layers, and droplets."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cyclestyle.metrics.filters import blur, gaussian

BLOCK = 32
NARROW, WIDE = gaussian(1, 3), gaussian(4, 10)  # for droplets, in pixels of a picture of 64


def lattice_energy(pictures: Tensor) -> Tensor:
    """How far the spectrum rises at the frequencies of lattices of 2 and 4 pixels, above what lies around them.

    Transposed convolutions write such lattices (Odena et al. 2016, doi:10.23915/distill.00003).

    Args:
        pictures: (B, 3, H, W) in [-1, 1], at least 32 pixels each way.

    Returns:
        (B, 2), for strides of 2 and 4 (without those of 2), in dB; around 0 for pictures without.
    """
    window = torch.hann_window(BLOCK, periodic=True, device=pictures.device)
    blocks = pictures.float().unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK)  # (B, 3, h, w, 32, 32)
    power = torch.fft.fft2(blocks * torch.outer(window, window)).abs().square().mean((1, 2, 3)) + 1e-6
    # The neighbours are three bins away, out of reach of the window; seen as a torus, the spectrum has no border.
    around = [power.roll((i, j), (1, 2)) for i in (-3, 0, 3) for j in (-3, 0, 3) if (i, j) != (0, 0)]
    rise = 10 * (power.log10() - torch.stack(around).log10().mean(0))
    lattice = torch.arange(0, BLOCK, BLOCK // 4)
    found = rise[:, lattice][:, :, lattice]
    two = torch.stack([found[:, 0, 2], found[:, 2, 0], found[:, 2, 2]], 1).mean(1)
    four = (found.sum((1, 2)) - found[:, 0, 0] - 3 * two) / 12
    return torch.stack([two, four], 1)


def droplets(pictures: Tensor, source: Tensor) -> Tensor:
    """Spots of the darkest or brightest where the source has none: an artefact of instance norm (arXiv:1912.04958, 2).

    A spot is a peak of the difference between a narrow and a wide blur (1/64 and 1/16 of the side), of 0.8 and more in
    some channel (that of a jump of 1.03 of 2), around which the source stays below 0.3.

    Args:
        pictures, source: (B, 3, H, W) in [-1, 1].

    Returns:
        (B,), their number.
    """
    ours, theirs = _spot_contrast(pictures), _spot_contrast(source)
    peaks = (ours == F.max_pool2d(ours, 9, 1, 4)) & (ours >= 0.8)
    return (peaks & (F.max_pool2d(theirs, 9, 1, 4) < 0.3)).sum((1, 2, 3)).float()


def _spot_contrast(x: Tensor) -> Tensor:
    """At about 64 pixels of the short side."""
    small = F.avg_pool2d(x.float(), max(1, round(min(x.shape[2:]) / 64)))
    return (blur(small, NARROW) - blur(small, WIDE)).abs().amax(1, keepdim=True)
