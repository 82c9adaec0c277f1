"""What goes wrong in such runs, found early, each with a sentence that says what to do."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Numbers = Mapping[str, float]
EARLIEST = 100  # steps before translations tell anything: some are inverted, or all alike, in the first twenty to forty
ALIKE = 0.25  # of the diversity of real pictures; healthy translations have 0.6 to 1.4
CHANCE = {"lsgan": 0.25, "hinge": 1.0, "vanilla": 0.693}  # loss of a discriminator that cannot tell them apart


class Detector(NamedTuple):
    """Fires where `test` of a direction's, or a discriminator's, numbers holds.

    Attributes:
        test: of the numbers of one direction (or discriminator), without the suffix of their names.
        sentence: `{source}` and `{target}` stand for the domains' names.
        earliest: the first step at which it means something.
    """

    test: Callable[[Numbers], bool]
    sentence: str
    earliest: int = EARLIEST


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
        lambda n: n["diversity"] < ALIKE,
        "all translations from {source} to {target} look alike: lower train.lr, raise loss.cycle, or train on more "
        "pictures",
    ),
    "checkerboard": Detector(
        lambda n: n["checkerboard"] > 4,
        "translations to {target} show a checkerboard: start again with model.generator.upsample=bilinear",
    ),
    "droplets": Detector(
        lambda n: n["droplets"] > 0.12 and n["diversity"] >= ALIKE,  # else what is in the one picture would be some
        "translations to {target} show bright or dark droplets: start again with model.generator.norm=group",
        earliest=300,  # healthy runs have some in their first two hundred
    ),
}
WON = Detector(
    lambda n: n["loss"] < 0.2 * n["chance"],
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
        adversarial: the loss of the discriminators.
    """

    def __init__(self, names: list[str], adversarial: str = "lsgan") -> None:
        self._names, self._chance, self._there = names, CHANCE[adversarial], set[str]()
        self._entries_won: dict[str, int] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"there": sorted(self._there), "entries_won": dict(self._entries_won)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._there, self._entries_won = set(state.get("there", ())), dict(state.get("entries_won", {}))

    def look_at_quality(self, step: int, numbers: Numbers) -> dict[str, str]:
        """Sentences by `NAME_ab` or `NAME_ba`, from what `Quality.measure` gives after a step."""
        found: dict[str, str] = {}
        for direction, (source, target) in (("ab", self._names), ("ba", self._names[::-1])):
            own = {n.removesuffix(f"_{direction}"): v for n, v in numbers.items() if n.endswith(f"_{direction}")}
            for name, detector in TRANSLATIONS.items():
                wrong = step >= detector.earliest and detector.test(own)
                found |= self._told(f"{name}_{direction}", wrong, detector.sentence, source, target)
        return found

    def look_at_best(self, by: str, numbers: Numbers) -> dict[str, str]:
        """A sentence where there is no number of what the best generators are chosen by."""
        missing = not any(name in numbers for name in (by, f"{by}_ab", f"{by}_ba"))
        return self._told("no_best", missing, BLIND.format(by=by), *self._names)

    def look_at_losses(self, means: Numbers, entries: int = 3) -> dict[str, str]:
        """Sentences by `discriminator_won_a` or `_b`, from means of the log, once for `entries` in a row."""
        found: dict[str, str] = {}
        for letter, (target, source) in (("a", self._names), ("b", self._names[::-1])):
            won = WON.test({"loss": means[f"loss/disc_{letter}"], "chance": self._chance})
            self._entries_won[letter] = self._entries_won.get(letter, 0) + 1 if won else 0
            lasting = self._entries_won[letter] >= entries
            found |= self._told(f"discriminator_won_{letter}", lasting, WON.sentence, source, target)
        return found

    def _told(self, name: str, wrong: bool, sentence: str, source: str, target: str) -> dict[str, str]:
        known = name in self._there
        (self._there.add if wrong else self._there.discard)(name)
        return {name: sentence.format(source=source, target=target)} if wrong and not known else {}
