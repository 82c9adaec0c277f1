"""There and back again gives the same picture."""

import torch.nn.functional as F
from torch import Tensor

from cyclestyle.roundtrip import RoundTrip


def cycle(trip: RoundTrip) -> Tensor:
    """L1 between a picture and its reconstruction (cycle consistency, arXiv:1703.10593, equation 2)."""
    assert trip.rec is not None
    return F.l1_loss(trip.rec.float(), trip.real)


def back_translation(trip: RoundTrip) -> Tensor:
    """The same number, from which only the way back learns, as in machine translation (arXiv:1711.00043).

    The way there then gains nothing from hiding what the way back needs, such as colours in faint tints, which is what
    cycle consistency rewards (arXiv:1712.02950).
    """
    assert trip.back is not None
    return F.l1_loss(trip.back.float(), trip.real)
