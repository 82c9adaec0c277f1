"""Everything that is measured of a model, in both directions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from cyclestyle.config import DataConfig
from cyclestyle.data.held_out import middle_squares
from cyclestyle.data.layout import DataError
from cyclestyle.data.unpaired import list_pictures
from cyclestyle.errors import UserError
from cyclestyle.metrics import compare
from cyclestyle.metrics.compare import Described, Extractors, Measured
from cyclestyle.metrics.distances import precision_recall
from cyclestyle.metrics.paired import psnr, ssim
from cyclestyle.translate.translator import Translator

LONELY = "has no partner that can be used"
LEAST, FEW = 4, 50  # pictures of a domain: fewer are refused, fewer are told to say little


@dataclass(frozen=True)
class Sets:
    """The pictures that a model is measured on; each mapping has the keys A and B.

    Attributes:
        real: of the split, uint8 (N, S, S, 3).
        floor: of the train folders, as many of a domain as there are translations into it.
        paths: of `real`.
        problems: a line for each picture that could not be used.
    """

    real: Mapping[str, np.ndarray]
    floor: Mapping[str, np.ndarray]
    paths: Mapping[str, list[Path]]
    problems: list[str]


@dataclass
class Direction:
    """What came out of one direction.

    Attributes:
        distances: of the translations to real pictures of the target.
        precision, recall: on Inception features, if there are any.
        each: measures of single pictures, (N,) by name: what they keep, how they come back, how near in style.
        means: of artefacts and colours, of translations (`fake`), real pictures of the target, and sources.
    """

    source: str
    target: str
    sources: np.ndarray
    fakes: np.ndarray
    recs: np.ndarray
    paths: list[Path]
    distances: dict[str, Measured] = field(default_factory=dict)
    precision: float | None = None
    recall: float | None = None
    each: dict[str, np.ndarray] = field(default_factory=dict)
    means: dict[str, dict[str, float]] = field(default_factory=dict)


def load_sets(config: DataConfig, split: str, count: int | None, seed: int, paired: bool = False) -> Sets:
    """Read the pictures of a split and of the train folders.

    Args:
        count: how many of each domain at most, drawn by `seed`.
        paired: those alone whose name stands in both folders of the split, in the same order.

    Raises:
        UserError: a folder is missing, or holds too few pictures that can be used; or `_partners`.
    """
    real, floor, paths, problems = {}, {}, {}, list[str]()
    try:
        listed = {d: list_pictures(config, split + d) for d in "AB"}
    except DataError as error:
        raise UserError(f"{error}; choose others with --split or --data") from None
    trained = {d: list_pictures(config, f"train{d}") for d in "AB"}
    if split == "train":  # pictures are no floor for themselves
        listed, trained = ({d: paths[start::2] for d, paths in trained.items()} for start in (0, 1))
    if paired:
        listed, problems = _partners(listed)
    for domain in "AB":
        title = f"reading {split}{domain}"
        real[domain], paths[domain], bad = middle_squares(listed[domain], config, title, count, seed)
        problems += bad
    if paired:
        names = {path.stem for path in paths["A"]} & {path.stem for path in paths["B"]}
        for domain, of_domain in paths.items():
            usable = [i for i, path in enumerate(of_domain) if path.stem in names]
            problems += [f"{path}: {LONELY}" for path in of_domain if path.stem not in names]
            real[domain], paths[domain] = real[domain][usable], [of_domain[i] for i in usable]
    for domain in "AB":
        if len(real[domain]) < LEAST:
            lines = "".join(f"\n  {line}" for line in problems)
            raise UserError(
                f"{config.root}/{split}{domain}: {len(real[domain])} of its pictures can be used; distances between "
                f"collections need at least {LEAST}, and {FEW} to say much{lines}"
            )
    for domain, other in ("AB", "BA"):
        title = f"reading train{domain}"
        floor[domain], _, bad = middle_squares(trained[domain], config, title, len(real[other]), seed)
        problems += bad
        if len(floor[domain]) < LEAST:
            raise UserError(f"{config.root}/train{domain}: {len(floor[domain])} of its pictures can be used")
    return Sets(real, floor, paths, problems)


def _partners(listed: Mapping[str, list[Path]]) -> tuple[dict[str, list[Path]], list[str]]:
    """The files of A and B whose names stand in both, in order of their names, and a line for each other one.

    Raises:
        UserError: fewer than half have a partner, or a name stands twice in a folder.
    """
    where = {d: {path.stem: path for path in paths} for d, paths in listed.items()}
    common = sorted(where["A"].keys() & where["B"].keys())
    lonely = sorted(str(path) for paths in listed.values() for path in paths if path.stem not in common)
    twice = [str(path) for d, paths in listed.items() for path in paths if where[d][path.stem] != path]
    if twice or len(common) < LEAST or len(common) < len(lonely) / 2:
        what = f"twice there: {', '.join(twice[:3])}" if twice else f"without a partner: {', '.join(lonely[:3])}"
        raise UserError(f"--paired: pictures that show the same must have the same name in both folders; {what}")
    return {d: [where[d][name] for name in common] for d in "AB"}, [f"{path}: {LONELY}" for path in lonely]


def measure(
    translators: Mapping[str, Translator], sets: Sets, extractors: Extractors, rounds: int, paired: bool, batch: int
) -> dict[str, Direction]:
    """Translate both ways and back, and measure.

    Args:
        translators: `ab` and `ba`.
        rounds: drawings for the intervals.
        paired: pictures of equal place in A and B show the same.
        batch: pictures in one pass.

    Returns:
        `ab` and `ba`.

    Raises:
        UserError: a translator gives what is not a number.
    """
    found = _translate(translators, sets, batch)
    real = {d: Described(sets.real[d], extractors, seed) for seed, d in enumerate("AB")}
    floor = {d: Described(sets.floor[d], extractors, seed) for seed, d in enumerate("AB", start=2)}
    published = extractors.inception is not None
    work: list[Callable[[], object]] = []
    for key, one in found.items():
        source, target, near = real[key[0].upper()], real[key[1].upper()], floor[key[1].upper()]
        fake, rec = Described(one.fakes, extractors, 4), Described(one.recs, extractors, 5)
        for described in (source, target, near, fake):
            work += [partial(getattr, described, name) for name in ("random", "patches", "inception")[: 2 + published]]
        for distance in (*compare.DISTANCES, *((compare.inception,) if published else ())):
            work.append(partial(_add_distance, one, distance, (fake, source, target, near), rounds))
        work.append(partial(_add_single, one, fake, source, target, rec))
        if paired:
            work.append(partial(_add_truth, one, fake, target))
    for step in tqdm(work, "measuring", unit="step", disable=None, leave=False):
        step()
    return found


def _translate(translators: Mapping[str, Translator], sets: Sets, batch: int) -> dict[str, Direction]:
    total = 2 * sum(map(len, sets.real.values()))
    found = {}
    with tqdm(total=total, desc="translating", unit="picture", disable=None, leave=False) as bar:

        def all_of(translator: Translator, pictures: np.ndarray) -> np.ndarray:
            made = []
            for start in range(0, len(pictures), batch):
                made += translator.batch(list(pictures[start : start + batch]))
                bar.update(len(made) - (bar.n - before))
            return np.stack(made)

        for key, back in (("ab", "ba"), ("ba", "ab")):
            domain, translator = key[0].upper(), translators[key]
            before = bar.n
            fakes = all_of(translator, sets.real[domain])
            before = bar.n
            recs = all_of(translators[back], fakes)
            names = translator.source, translator.target
            found[key] = Direction(*names, sets.real[domain], fakes, recs, sets.paths[domain])
    return found


def _add_distance(
    one: Direction, distance: compare.Distance, sets: tuple[Described, Described, Described, Described], rounds: int
) -> None:
    one.distances |= compare.compare(*sets, distances=(distance,), rounds=rounds)


def _add_single(one: Direction, fake: Described, source: Described, target: Described, rec: Described) -> None:
    """Measures of single pictures, and means of artefacts and colours."""
    one.each |= compare.pairs(fake, source, rec)
    one.each["style"] = compare.nearness(fake, target, source)
    for name, described in (("fake", fake), ("real", target), ("source", source)):
        lab = described.colours.cpu()
        one.means[name] = {key: float(value.mean()) for key, value in compare.checkerboard(described).items()}
        for axis, letter in enumerate("Lab"):
            one.means[name] |= {
                f"{letter}_mean": float(lab[..., axis].mean()),
                f"{letter}_std": float(lab[..., axis].std()),
            }
    if fake.has_inception:
        one.precision, one.recall = precision_recall(fake.inception, target.inception)


def _add_truth(one: Direction, fake: Described, truth: Described) -> None:
    one.each["truth_psnr"] = np.array(
        [min(psnr(x, y), 100) for x, y in zip(fake.pictures, truth.pictures, strict=True)]
    )
    parts = zip(fake.tensors(), truth.tensors(), strict=True)
    one.each["truth_ssim"] = torch.cat([ssim(x, y).cpu() for x, y in parts]).numpy()


def plain(directions: Mapping[str, Direction]) -> dict[str, Any]:
    """What was measured as nested plain values, for JSON."""
    return {
        key: {
            "source": one.source,
            "target": one.target,
            "distances": {
                name: {
                    "value": m.value.value,
                    "interval": [m.value.low, m.value.high],
                    "floor": m.floor,
                    "ceiling": m.ceiling,
                    "excess": m.excess and m.excess.value,
                    "excess_interval": m.excess and [m.excess.low, m.excess.high],
                }
                for name, m in one.distances.items()
            },
            **({} if one.precision is None else {"precision": one.precision, "recall": one.recall}),
            "means": {name: float(values.mean()) for name, values in one.each.items()},
            "artefacts_and_colours": one.means,
            "pictures": [
                {"file": str(path), **{name: float(values[i]) for name, values in one.each.items()}}
                for i, path in enumerate(one.paths)
            ],
        }
        for key, one in directions.items()
    }
