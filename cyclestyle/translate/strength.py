"""Part of a style: source and translation blended frequency band by frequency band.

A plain mean of two pictures shows both as if through each other, and both pale: where their textures have nothing to do
with each other, half of each has only seven tenths of their contrast. So each band of a Laplacian pyramid (Burt and
Adelson 1983, doi:10.1109/TCOM.1983.1095851) is blended by itself, and gets the contrast between those of the two.
"""

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from cyclestyle.translate.strips import by_strips

BANDS = 5
MARGIN = 8 * 2**BANDS  # pixels
MOST_GAIN = 1.5  # where source and translation are opposites, next to nothing is left to be raised


def blend(source: np.ndarray, made: np.ndarray, strength: float) -> np.ndarray:
    """Between source (strength 0) and translation (1); uint8 or uint16 (H, W, 3) each."""
    if strength in (0, 1):
        return made if strength else source
    return by_strips(lambda x, y: _blend(x, y, strength), MARGIN, source, made)


def _blend(x: Tensor, y: Tensor, strength: float) -> Tensor:
    """(1, 3, H, W) in any range."""
    height, width = x.shape[2:]
    more = (0, -width % 2**BANDS, 0, -height % 2**BANDS)
    x, y = (F.pad(z, more, mode="replicate") for z in (x, y))
    mixed = []
    for _ in range(BANDS):
        low_x, low_y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        mixed.append(_mix(x - _twice(low_x), y - _twice(low_y), strength))
        x, y = low_x, low_y
    whole = x.lerp(y, strength)
    for band in reversed(mixed):
        whole = _twice(whole) + band
    return whole[:, :, :height, :width]


def _mix(x: Tensor, y: Tensor, strength: float) -> Tensor:
    """Two bands, with a local power between those of both."""
    mix = x.lerp(y, strength)
    wanted = _power(x).lerp(_power(y), strength)
    gain = (wanted / _power(mix).clamp(min=1e-12)).sqrt()
    return mix * gain.clamp(1, MOST_GAIN)


def _power(band: Tensor) -> Tensor:
    """(1, 3, H, W) -> (1, 1, H, W), over all channels and 5x5 pixels."""
    return F.avg_pool2d(band.square().mean(1, keepdim=True), 5, 1, 2, count_include_pad=False)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
