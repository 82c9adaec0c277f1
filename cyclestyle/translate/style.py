"""How much of a style a translation gets, and at which size."""

from dataclasses import dataclass

import numpy as np

from cyclestyle.errors import OptionError
from cyclestyle.translate.colour import with_colours_of
from cyclestyle.translate.strength import blend

LEAST_SHORT = 32  # pixels


@dataclass(frozen=True)
class Style:
    """What is made of what a generator gives.

    Attributes:
        scale: pixels on the short side that the generator sees at most: a larger picture is reduced for it, and the
            result brought back to the size of the source. train: so many as it was trained on, `data.load_size`.
            native: all.
        strength: 0 to 1, from the source to the translation.
        keep_colour: the lightness of the translation, the colours of the source.

    Raises:
        OptionError: a value out of its range.
    """

    scale: str | int = 1080
    strength: float = 1.0
    keep_colour: bool = False

    def __post_init__(self) -> None:
        known = self.scale in ("native", "train") if isinstance(self.scale, str) else self.scale >= LEAST_SHORT
        if not known:
            raise OptionError(
                f"scale: {self.scale!r} is not a choice; accepted: pixels of the short side, {LEAST_SHORT} or more, "
                "train, or native"
            )
        if not 0 <= self.strength <= 1:
            raise OptionError(f"strength: must be between 0 and 1, not {self.strength:g}")

    def short_side(self, load_size: int | None) -> int | None:
        """Pixels that the generator sees at most on the short side, of a model trained at `load_size`; None: all."""
        return {"native": None, "train": load_size}[self.scale] if isinstance(self.scale, str) else self.scale

    def finish(self, source: np.ndarray, made: np.ndarray) -> np.ndarray:
        """Source and translation, uint8 or uint16 (H, W, 3) each, to what is shown."""
        made = blend(source, made, self.strength)
        return with_colours_of(source, made) if self.keep_colour else made


WHOLE = Style()
