"""What generators add that no picture has: the checkerboard of strided layers, and droplets."""

import torch
from torch import Tensor

BLOCK = 32


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
