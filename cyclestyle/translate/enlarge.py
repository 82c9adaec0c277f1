"""A translation made at a smaller size, brought back to the size of its source with the source's own fine detail.

Joint upsampling with the local linear model of guided filters (He et al. 2013, doi:10.1109/TPAMI.2012.213; at low
resolution as in arXiv:1505.00996): where the translation follows the brightness of its source, it gets as much of what
the source lost in the smaller size; where the style has gone its own way, it is enlarged and no more.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cyclestyle.images import to_pixels, to_tensor
from cyclestyle.translate.strips import ROWS

RADIUS = 2  # of the windows in which a translation may follow its source, pixels of the smaller size
CONTRAST = 0.02  # of [-1, 1]: what varies less counts as flat
GAINS = -1.0, 1.5  # of the source's detail: beyond these its grain would be raised
LUMA = (0.299, 0.587, 0.114)


def reduced(picture: np.ndarray, short: int) -> np.ndarray:
    """With a short side of so many pixels, antialiased; (H, W, 3) of uint8 or uint16, unchanged if it is no larger."""
    size = reduced_size(picture, short)
    if size == picture.shape[:2]:
        return picture
    height, width = size
    strips = [picture[top : top + ROWS] for top in range(0, picture.shape[0], ROWS)]
    narrow = torch.cat([_resized(to_tensor(strip), len(strip), width) for strip in strips], 2)
    return to_pixels(_resized(narrow, height, width), picture.dtype)[0]


def _resized(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, (height, width), mode="bicubic", antialias=True, align_corners=False)


def reduced_size(picture: np.ndarray, short: int) -> tuple[int, int]:
    """Height and width of `reduced`."""
    height, width = picture.shape[:2]
    scale = min(1, short / min(height, width))
    return round(height * scale), round(width * scale)


def enlarged(made: np.ndarray, small: np.ndarray, source: np.ndarray) -> np.ndarray:
    """A translation in the size of its source.

    Args:
        made: translation of `small`, which is the source `reduced`; (h, w, 3) both.
        source: (H, W, 3), of the same type, uint8 or uint16.

    Returns:
        (H, W, 3), of that type.
    """
    if made.shape == source.shape:
        return made
    height, width = source.shape[:2]
    guide, follows = _grey(to_tensor(small)), to_tensor(made)
    gain = _gain(guide, follows)
    wide = _columns(torch.cat([follows, gain, guide], 1), width)
    result = np.empty_like(source)
    for top in range(0, height, ROWS):
        end = min(height, top + ROWS)
        follows, gain, guide = _rows(wide, top, end, height).split((3, 3, 1), 1)
        lost = _grey(to_tensor(source[top:end])) - guide
        result[top:end] = to_pixels(follows + gain * lost, source.dtype)[0]
    return result


def _gain(guide: Tensor, follows: Tensor) -> Tensor:
    """How a picture (1, 3, h, w) changes with the brightness of another (1, 1, h, w), in windows around each pixel."""

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2 * RADIUS + 1, 1, RADIUS, count_include_pad=False)

    variance = mean(guide**2) - mean(guide) ** 2
    covariance = mean(guide * follows) - mean(guide) * mean(follows)
    return mean((covariance / (variance + CONTRAST**2)).clamp(*GAINS))


def _grey(x: Tensor) -> Tensor:
    return torch.einsum("c,bchw->bhw", torch.tensor(LUMA), x)[:, None]


def _columns(x: Tensor, width: int) -> Tensor:
    return _rows(x.mT, 0, width, width).mT.contiguous()


def _rows(x: Tensor, top: int, end: int, height: int) -> Tensor:
    """Rows `top` to `end` of (1, C, h, w) enlarged to `height` rows (Keys 1981, doi:10.1109/TASSP.1981.1163711)."""
    places = (torch.arange(top, end) + 0.5) * (x.shape[2] / height) - 0.5
    near = torch.arange(int(places[0].floor()) - 1, int(places[-1].floor()) + 3)
    away = (places[:, None] - near).abs()
    inner = (1.5 * away - 2.5) * away**2 + 1
    outer = ((-0.5 * away + 2.5) * away - 4) * away + 2
    weights = torch.where(away < 1, inner, torch.where(away < 2, outer, 0))
    return weights @ x[:, :, near.clamp(0, x.shape[2] - 1)]
