"""Identity: a picture that is of the target domain already stays as it is (arXiv:1703.10593, section 5.2)."""

import torch.nn.functional as F
from torch import Tensor

from cyclestyle.roundtrip import RoundTrip


def identity(trip: RoundTrip) -> Tensor:
    """L1 between a picture of the target domain and its translation into that domain."""
    assert trip.idt is not None
    return F.l1_loss(trip.idt.float(), trip.example)
