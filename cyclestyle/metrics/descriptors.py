"""What distances are told from, without any weights that were trained.

- Patches of a Laplacian pyramid (Karras et al., arXiv:1710.10196, section 5): strokes, grain and outlines, by scale.
- Random convolutions (Naeem et al., arXiv:2002.09797, section 3.4): textures and how they occur together.
- Colours in CIELAB.
"""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclestyle.metrics.filters import blur

PATCH, PATCHES, SMALLEST = 7, 128, 16
TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
WIDTHS = (3, 16, 32, 32, 64, 64, 128, 128, 128, 128)


def laplacian_pyramid(pictures: Tensor) -> list[Tensor]:
    """(N, 3, H, W) -> what is lost from each scale to the next, each half as large, and the smallest (16 pixels up)."""
    levels = []
    while min(pictures.shape[2:]) >= 2 * SMALLEST:
        smaller = blur(pictures, BINOMIAL)[:, :, ::2, ::2]
        spread = torch.zeros_like(pictures)
        spread[:, :, ::2, ::2] = 4 * smaller
        levels.append(pictures - blur(spread, BINOMIAL))
        pictures = smaller
    return [*levels, pictures]


def pyramid_patches(pictures: Tensor, seed: int) -> list[Tensor]:
    """(N, 3, H, W) -> for each scale 128 patches of 7x7 pixels a picture at random places, (N, 128, 147)."""
    random = np.random.RandomState(seed)
    inside = torch.arange(PATCH, device=pictures.device)
    found = []
    for level in laplacian_pyramid(pictures):
        count, _, height, width = level.shape
        top, left = (
            torch.from_numpy(random.randint(0, side - PATCH + 1, (count, PATCHES))).to(level.device)
            for side in (height, width)
        )
        rows = (top[..., None] + inside)[..., :, None].expand(-1, -1, -1, PATCH)
        columns = (left[..., None] + inside)[..., None, :].expand(-1, -1, PATCH, -1)
        which = torch.arange(count, device=level.device)[:, None, None, None]
        found.append(level.permute(0, 2, 3, 1)[which, rows, columns].permute(0, 1, 4, 2, 3).flatten(2))
    return found


def directions(size: int, count: int, seed: int) -> Tensor:
    """(size, count) directions of length 1, drawn evenly."""
    drawn = torch.from_numpy(np.random.RandomState(seed).standard_normal((size, count))).float()
    return drawn / drawn.norm(dim=0)


class RandomFeatures(nn.Module):
    """Random convolutions of a fixed seed: (B, 3, H, W) in [-1, 1] -> features (B, D) of length sqrt(D).

    Nine 3x3 convolutions on five scales; of every map its mean and the logarithm of its standard deviation. What comes
    out of each layer, and the features, are measured in units of their spread over drawn pictures of natural
    statistics: without that, deep maps of random weights all tell the brightness. The numbers are those of numpy's
    RandomState, which never change.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        random = np.random.RandomState(seed)
        self._layers: list[tuple[Tensor, Tensor]] = []
        x = drawn = _dead_leaves(random, 64, 64)
        for depth, (narrow, wide) in enumerate(pairwise(WIDTHS)):
            kernel = torch.from_numpy(random.standard_normal((wide, narrow, 3, 3))).float()
            maps = _convolved(x, depth, kernel, torch.zeros(wide))
            std, mean = torch.std_mean(maps, (0, 2, 3))
            kernel, bias = kernel / std.view(-1, 1, 1, 1), -mean / std
            self._layers.append((kernel, bias))
            x = F.leaky_relu(_convolved(x, depth, kernel, bias), 0.2)
        raw = self._raw(drawn)
        self._centre, self._unit = raw.mean(0), raw.std(0)

    @torch.inference_mode()
    def forward(self, pictures: Tensor) -> Tensor:
        raw = torch.cat([self._raw(part) for part in pictures.split(8)])
        features = (raw - self._centre.to(raw)) / self._unit.to(raw)
        return features / features.norm(dim=1, keepdim=True) * features.shape[1] ** 0.5

    def _raw(self, x: Tensor) -> Tensor:
        found = []
        x = x.contiguous(memory_format=torch.channels_last)  # twice as fast on a CPU
        for depth, (kernel, bias) in enumerate(self._layers):
            x = F.leaky_relu_(_convolved(x, depth, kernel.to(x), bias.to(x)), 0.2)
            mean = x.mean((2, 3))
            power = torch.linalg.vector_norm(x, dim=(2, 3)).square() / x.shape[2:].numel()
            found += [mean, ((power - mean.square()).clamp(min=0).sqrt() + 0.02).log()]
        return torch.cat(found, 1)


def _convolved(x: Tensor, depth: int, kernel: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(F.avg_pool2d(x, 2) if depth % 2 else x, kernel, bias, padding=1)


def _dead_leaves(random: np.random.RandomState, count: int, side: int) -> Tensor:
    """(count, 3, side, side) in [-1, 1]: discs of all sizes that cover each other (Lee et al. 2001, IJCV 41)."""
    rows, columns = np.mgrid[:side, :side]
    pictures = np.empty((count, 3, side, side), np.float32)
    for picture in pictures:
        base, spread = random.uniform(-1, 1, 3), random.uniform(0.1, 0.8)
        picture[:] = base[:, None, None]
        for _ in range(60):
            radius = min(2 / random.uniform(0.02, 1), side / 2)
            row, column = random.uniform(0, side, 2)
            colour = base + spread * (0.7 * random.uniform(-1, 1) + 0.5 * random.uniform(-1, 1, 3))
            picture[:, (rows - row) ** 2 + (columns - column) ** 2 < radius**2] = colour.clip(-1, 1)[:, None]
    return torch.from_numpy(pictures)


def to_lab(pictures: Tensor) -> Tensor:
    """sRGB (N, 3, H, W) in [-1, 1] -> CIELAB of white point D65, L* 0 to 100."""
    srgb = (pictures.float() + 1) / 2
    linear = torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055).clamp(min=0) ** 2.4)
    to_xyz = torch.tensor(TO_XYZ)
    xyz = torch.einsum("ij,njhw->nihw", (to_xyz / to_xyz.sum(1, keepdim=True)).to(linear), linear)  # white is 1, 1, 1
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-9) ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return torch.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)
