"""Loss terms by name; a new one is a function of a RoundTrip, a line in TERMS and a weight in config.py."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from cyclestyle.losses.adversarial import AdversarialLoss, Hinge, Lsgan, Vanilla
from cyclestyle.losses.cycle import back_translation, cycle
from cyclestyle.losses.flat import flat
from cyclestyle.losses.identity import identity
from cyclestyle.roundtrip import RoundTrip


class Term(NamedTuple):
    """A loss term, and the pass of a RoundTrip (`rec`, `back`, `idt` or none) that must be computed for it."""

    loss: Callable[[RoundTrip], Tensor]
    needs: str | None = None


TERMS = {
    "cycle": Term(cycle, needs="rec"),
    "back_translation": Term(back_translation, needs="back"),
    "identity": Term(identity, needs="idt"),
    "flat": Term(flat),
}
ADVERSARIAL: dict[str, type[AdversarialLoss]] = {"lsgan": Lsgan, "hinge": Hinge, "vanilla": Vanilla}

__all__ = ["ADVERSARIAL", "TERMS", "AdversarialLoss", "Term"]
