"""Cycle consistency: there and back again gives the same picture (arXiv:1703.10593, equation 2)."""

import torch.nn.functional as F
from torch import Tensor

from cyclestyle.roundtrip import RoundTrip


def cycle(trip: RoundTrip) -> Tensor:
    """L1 between a picture and its reconstruction."""
    assert trip.rec is not None
    return F.l1_loss(trip.rec.float(), trip.real)
