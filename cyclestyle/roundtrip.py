"""What one generator did with a batch: the thing that loss terms look at."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class RoundTrip:
    """One direction, X to Y; every picture is float (B, 3, H, W) in [-1, 1].

    Attributes:
        real: x, pictures of X.
        example: y, real pictures of Y, unpaired.
        fake: G(x).
        rec: F(G(x)), or None if no loss asks for it.
        back: the same, but without a gradient to G, or None if no loss asks for it.
        idt: G(y), or None if no loss asks for it.
    """

    real: Tensor
    example: Tensor
    fake: Tensor
    rec: Tensor | None = None
    back: Tensor | None = None
    idt: Tensor | None = None
