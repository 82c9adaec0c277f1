"""The lightness of one picture and the colours of another, in Oklab (Ottosson 2020, bottosson.github.io/posts/oklab).

It is a space in which equal distances look about equal.
"""

import numpy as np
import torch
from torch import Tensor

from cyclestyle.translate.strips import by_strips

# Linear sRGB to the cones' responses, and their cube roots to lightness and two opponent colours.
TO_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
TO_OKLAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
HALVINGS = 8  # of the range in which the largest chroma is sought


def with_colours_of(source: np.ndarray, made: np.ndarray) -> np.ndarray:
    """The lightness of `made`, hue and chroma of `source`; uint8 or uint16 (H, W, 3) each.

    Where sRGB has no colour of that lightness and chroma, the chroma is as large as it can be.
    """
    return by_strips(_with_colours_of, 0, source, made)


def _with_colours_of(source: Tensor, made: Tensor) -> Tensor:
    """(1, 3, H, W) in [-1, 1]"""
    lightness = to_oklab(made)[:, :1]
    colours = to_oklab(source)[:, 1:]
    low = torch.zeros_like(lightness)
    high = torch.ones_like(lightness)
    whole = _linear(torch.cat([lightness, colours], 1))
    outside = ~_is_colour(whole)
    if not outside.any():
        return _encoded(whole)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        fits = _is_colour(_linear(torch.cat([lightness, middle * colours], 1)))
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    share = torch.where(outside, low, torch.ones_like(low))
    return _encoded(_linear(torch.cat([lightness, share * colours], 1)))


def to_oklab(x: Tensor) -> Tensor:
    """sRGB in [-1, 1], (B, 3, H, W) -> L in [0, 1], a and b."""
    encoded = (x + 1) / 2
    linear = torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return _times(TO_OKLAB, _times(TO_CONES, linear).clamp(min=0) ** (1 / 3))


def _linear(oklab: Tensor) -> Tensor:
    """Oklab -> linear sRGB, in [0, 1] if there is such a colour."""
    return _times(_inverse(TO_CONES), _times(_inverse(TO_OKLAB), oklab) ** 3)


def _encoded(linear: Tensor) -> Tensor:
    """Linear sRGB -> sRGB in [-1, 1]."""
    linear = linear.clamp(0, 1)
    encoded = torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded * 2 - 1


def _is_colour(linear: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W)"""
    return ((linear >= -1e-4) & (linear <= 1 + 1e-4)).all(1, keepdim=True)


def _times(matrix: object, x: Tensor) -> Tensor:
    return torch.einsum("ij,bjhw->bihw", torch.as_tensor(matrix, dtype=x.dtype), x)


def _inverse(matrix: object) -> Tensor:
    return torch.linalg.inv(torch.as_tensor(matrix, dtype=torch.float64))
