"""Flat places stay flat: no ripples in skies, water and paper (ours; no paper)."""

import torch.nn.functional as F
from torch import Tensor

from cyclestyle.roundtrip import RoundTrip

WINDOW = 8  # of them to a side: what is finer is detail, what is coarser is tone
CONTRAST = 0.1  # standard deviation of brightness, in [-1, 1], from which on a place is not flat at all


def flat(trip: RoundTrip) -> Tensor:
    """L1 between the detail of a translation and that of its source, where the source has next to none.

    A discriminator asks for strokes or grain everywhere. A generator that finds nothing to draw them from answers with
    ripples; it may change the tone there, and all else elsewhere.
    """
    brightness = trip.real.mean(1, keepdim=True)
    variance = _blurred(brightness.square()) - _blurred(brightness).square()
    flatness = 1 - (variance.clamp(min=0).sqrt() / CONTRAST).clamp(max=1)
    change = trip.fake.float() - trip.real
    return (flatness * (change - _blurred(change)).abs()).mean()


def _blurred(x: Tensor) -> Tensor:
    margin = max(1, min(x.shape[2:]) // WINDOW // 2)
    return F.avg_pool2d(x, 2 * margin + 1, stride=1, padding=margin, count_include_pad=False)
