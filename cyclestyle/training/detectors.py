"""What goes wrong in such runs, found early, each with a sentence that says what to do."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Numbers = Mapping[str, float]


class Detector(NamedTuple):
    """Fires where `test` of a direction's, or a discriminator's, numbers holds.

    Attributes:
        test: of the numbers of one direction (or discriminator), without the suffix of their names.
        sentence: `{source}` and `{target}` stand for the domains' names.
        at_first: whether it means something in the first measurement, of generators that have hardly learned.
    """

    test: Callable[[Numbers], bool]
    sentence: str
    at_first: bool = True


TRANSLATIONS = {
    "inverted": Detector(
        lambda n: n["correlation"] < -0.2,
        "dark and bright are exchanged from {source} to {target}: start again with model.generator.anchored=true, or "
        "with another seed",
    ),
    "identity_collapse": Detector(
        lambda n: n["change"] < 0.03 and n.get("kid_random", 1) > 0.8,
        "{source} is hardly changed on its way to {target}: lower loss.identity and loss.cycle of that direction",
    ),
    "mode_collapse": Detector(
        lambda n: n["diversity"] < 0.25,
        "all translations from {source} to {target} look alike: lower train.lr, raise loss.cycle, or train on more "
        "pictures",
    ),
    "checkerboard": Detector(
        lambda n: n["checkerboard"] > 4,
        "translations to {target} show a checkerboard: start again with model.generator.upsample=bilinear",
    ),
    "droplets": Detector(
        lambda n: n["droplets"] > 0.12,
        "translations to {target} show bright or dark droplets: start again with model.generator.norm=group",
        at_first=False,
    ),
}
WON = Detector(
    lambda n: n["loss"] < 0.02,
    "the discriminator of {target} has won, and the generator learns nothing from it: lower its "
    "model.discriminator.channels or layers, or start again from an earlier checkpoint with a lower train.lr",
)

BLIND = (
    "the val (else test) pictures are too few, or too alike, to tell {by}: no best.pt is kept, and train.early_stop "
    "does not end the run; put more pictures there"
)


class Watch:
    """Tells of each fault once, when it appears; one that went away and comes back is told again.

    Args:
        names: of domains A and B.
    """

    def __init__(self, names: list[str]) -> None:
        self._names, self._there = names, set[str]()
        self._entries_won: dict[str, int] = {}
        self._has_measured = False

    def state_dict(self) -> dict[str, Any]:
        return {
            "there": sorted(self._there),
            "entries_won": dict(self._entries_won),
            "has_measured": self._has_measured,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._there, self._entries_won = set(state.get("there", ())), dict(state.get("entries_won", {}))
        self._has_measured = state.get("has_measured", False)

    def look_at_quality(self, numbers: Numbers) -> dict[str, str]:
        """Sentences by `NAME_ab` or `NAME_ba`, from what `Quality.measure` gives."""
        found: dict[str, str] = {}
        for direction, (source, target) in (("ab", self._names), ("ba", self._names[::-1])):
            own = {n.removesuffix(f"_{direction}"): v for n, v in numbers.items() if n.endswith(f"_{direction}")}
            for name, detector in TRANSLATIONS.items():
                wrong = detector.test(own) and (detector.at_first or self._has_measured)
                found |= self._told(f"{name}_{direction}", wrong, detector.sentence, source, target)
        self._has_measured = True
        return found

    def look_at_best(self, by: str, numbers: Numbers) -> dict[str, str]:
        """A sentence where there is no number of what the best generators are chosen by."""
        missing = not any(name in numbers for name in (by, f"{by}_ab", f"{by}_ba"))
        return self._told("no_best", missing, BLIND.format(by=by), *self._names)

    def look_at_losses(self, means: Numbers, entries: int = 5) -> dict[str, str]:
        """Sentences by `discriminator_won_a` or `_b`, from means of the log, once for `entries` in a row."""
        found: dict[str, str] = {}
        for letter, (target, source) in (("a", self._names), ("b", self._names[::-1])):
            won = WON.test({"loss": means[f"loss/disc_{letter}"]})
            self._entries_won[letter] = self._entries_won.get(letter, 0) + 1 if won else 0
            lasting = self._entries_won[letter] >= entries
            found |= self._told(f"discriminator_won_{letter}", lasting, WON.sentence, source, target)
        return found

    def _told(self, name: str, wrong: bool, sentence: str, source: str, target: str) -> dict[str, str]:
        known = name in self._there
        (self._there.add if wrong else self._there.discard)(name)
        return {name: sentence.format(source=source, target=target)} if wrong and not known else {}
