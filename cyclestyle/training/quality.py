"""How good the generators are by now: measures without weights on held-out pictures, while training goes on."""

import contextlib
import hashlib
import logging
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cyclestyle.checkpoint import CheckpointError, save_best
from cyclestyle.config import Config
from cyclestyle.data.held_out import middle_squares
from cyclestyle.data.layout import DataError
from cyclestyle.data.unpaired import list_pictures
from cyclestyle.devices import precise_device
from cyclestyle.images import to_pixels, to_tensor
from cyclestyle.metrics import compare
from cyclestyle.metrics.compare import Described, Extractors
from cyclestyle.metrics.distances import interval, resamplings
from cyclestyle.training.report import Report
from cyclestyle.training.state import TrainState

log = logging.getLogger("cyclestyle")
LEAST, BATCH = 4, 8  # pictures of a domain; in a pass
DRAWS = 50  # of the pictures, for a standard error
SMALLEST = 32  # pixels, for the spectrum of a checkerboard
DISTANCES = {"kid_random", "swd", "colour"}
SCORE = ("kid_random", "swd")
HIGHER_IS_BETTER = ("edge_f", "structure")
Translate = Callable[[str, np.ndarray], np.ndarray]


class Quality:
    """Measures on up to `report.evaluate_count` pictures a domain of the val, or else the test folders, as training
    sees them: prepared.

    Attributes:
        split: which folders, or None if there are too few pictures to measure anything.
        problems: a line that says so, and one for each picture that cannot be used.
        fingerprint: of the pictures; measurements on others are not compared.
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        self._config, self._device = config, device
        self.problems: list[str] = []
        self.split: str | None = None
        self._real: dict[str, np.ndarray] = {}
        if config.report.evaluate_every_steps and config.data.crop_size >= SMALLEST:
            self.split = next((split for split in ("val", "test") if self._load(split)), None)
        pixels = b"".join(self._real[domain].tobytes() for domain in sorted(self._real))
        self.fingerprint = hashlib.blake2b(pixels, digest_size=16).hexdigest()
        if config.report.evaluate_every_steps and self.split is None:
            self.problems.append(
                f"nothing will be measured, and no best.pt kept: that needs {LEAST} or more pictures in each test (or "
                f"val) folder of {config.data.root}, and a data.crop_size of at least {SMALLEST}"
            )

    def _load(self, split: str) -> bool:
        for domain in "AB":
            self._real[domain] = self._pictures(split + domain, self._config.report.evaluate_count)
        return all(len(pictures) >= LEAST for pictures in self._real.values())

    def _pictures(self, folder: str, count: int) -> np.ndarray:
        data = self._config.data
        try:
            paths = list_pictures(data, folder)
        except DataError:
            paths = []
        title, seed, domain = f"reading {folder}", self._config.seed, folder[-1]
        pictures, _, problems = middle_squares(paths, data, title, count, seed, domain)
        self.problems += [f"left out of measurements: {problem}" for problem in problems]
        return pictures

    @cached_property
    def _extractors(self) -> Extractors:
        return Extractors(precise_device(self._device))

    @cached_property
    def _targets(self) -> dict[str, Described]:
        return {d: Described(pictures, self._extractors, seed) for seed, (d, pictures) in enumerate(self._real.items())}

    @cached_property
    def _bounds(self) -> dict[str, dict[str, tuple[float, float]]]:
        """For `ab` and `ba`, by distance, floor and ceiling, where these pictures can tell them apart."""
        bounds = {}
        for key in ("AB", "BA"):
            source, target = self._targets[key[0]], self._targets[key[1]]
            near = Described(self._pictures(f"train{key[1]}", len(source)), self._extractors, 2)
            measured = compare.compare(source, source, target, near, rounds=50)
            bounds[key.lower()] = {n: (m.floor, m.ceiling) for n, m in measured.items() if m.excess is not None}
        blind = [f"{name}_{key}" for key, known in bounds.items() for name in SCORE if name not in known]
        if blind:
            log.info("quality/score goes without %s: these pictures are too few, or too alike", " and ".join(blind))
        return bounds

    def measure(self, translate: Translate) -> dict[str, Tensor]:
        """Translate both ways and back, and measure.

        Args:
            translate: of a direction (`ab` or `ba`) and uint8 (N, S, S, 3) pictures, the translations.

        Returns:
            values by name, each with `_ab` or `_ba`: excess of distances (0: as near as real pictures are, 1: no nearer
            than untranslated ones; left out where so few pictures cannot tell these apart), means of measures of single
            pictures, `checkerboard` in dB above real pictures, `diversity` as a share of that of real pictures; and
            without suffix `score`, the mean of the excesses of `SCORE`. The first number is the value; those
            behind it are of `DRAWS` draws of the pictures, and tell its standard error.
        """
        found: dict[str, Tensor] = {}
        for key, back in (("ab", "ba"), ("ba", "ab")):
            source, target = self._targets[key[0].upper()], self._targets[key[1].upper()]
            pictures = translate(key, source.pictures)
            fake = Described(pictures, self._extractors, 3)
            rec = Described(translate(back, pictures), self._extractors, 4)
            distances = compare.values(fake, target, DRAWS)
            for name in DISTANCES & self._bounds[key].keys():
                low, high = self._bounds[key][name]
                found[f"{name}_{key}"] = (distances[name] - low) / (high - low)
            shares = resamplings(len(source), DRAWS, 0) / len(source)
            for name, each in compare.pairs(fake, source, rec).items():
                found[f"{name}_{key}"] = shares @ torch.from_numpy(each).double()
            ours, theirs = compare.checkerboard(fake), compare.checkerboard(target)
            found[f"checkerboard_{key}"] = torch.tensor([max(ours[n].mean() - theirs[n].mean() for n in ours)])
            found[f"diversity_{key}"] = torch.tensor([compare.diversity(fake) / max(compare.diversity(target), 1e-6)])
        scores = [draws for name, draws in found.items() if name.rpartition("_")[0] in SCORE]
        return {**({"score": torch.stack(scores).mean(0)} if scores else {}), **found}


def evaluate(
    state: TrainState, quality: Quality, report: Report, checkpoints: Path | None, config: Config, dtype: torch.dtype
) -> None:
    """Measure the generators, tell what was found, and keep them as `best.pt` if none before were better beyond chance.

    Chance is the 95 % interval of the difference to the best so far, over draws of the pictures: among generators that
    these pictures cannot tell apart, those are kept that have learned longest. Without a folder none are kept, as of a
    measurement so early that whatever is newest will be better.
    """
    measured = quality.measure(partial(_translations, state.best_generators, config, dtype))
    values = {name: float(draws[0]) for name, draws in measured.items()}
    report.numbers(state.step, {f"quality/{name}": value for name, value in values.items()})
    by, before = config.report.best_by, state.best
    report.warnings(state.step, state.watch.look_at_quality(state.step, values) | state.watch.look_at_best(by, values))
    known = [measured[name] for name in (by, f"{by}_ab", f"{by}_ba") if name in measured]
    draws = torch.stack(known).mean(0) if known else torch.tensor(float("nan"))
    if checkpoints is None or not torch.isfinite(draws).all():
        return
    value = float(draws[0])
    alike = before.get("by") == by and before.get("pictures", quality.fingerprint) == quality.fingerprint
    worse = (draws - before["draws"]) * (-1 if by in HIGHER_IS_BETTER else 1) if alike else None
    if worse is None or worse[0] < 0:
        found = {"value": value, "step": state.step, "draws": draws, "kept": state.step}
        state.best = {"by": by, "pictures": quality.fingerprint, "since": 0, **found}
    else:
        state.best = before | {"since": before["since"] + 1}
    state.best["last"] = value
    if worse is None or interval(float(worse[0]), worse[1:]).low <= 0:
        state.best["kept"] = state.step
        try:
            save_best(checkpoints, config, state.state_dict())
        except CheckpointError as error:
            log.error("%s; the best generators so far are not kept", error)
            state.best = before and before | {"since": before["since"] + 1}
    log.info("step %d: %s", state.step, describe_best(state))


def out_of_patience(config: Config, state: TrainState) -> bool:
    """Whether `train.early_stop` measurements in a row were no better than the best."""
    return config.train.early_stop is not None and state.best.get("since", 0) >= config.train.early_stop


def describe_best(state: TrainState) -> str:
    """The best and the last measurement in words, and which generators are kept."""
    if not (best := state.best):
        return "no measurement tells which generators are best"
    last = "the last" if best["since"] == 0 else f"last {best['last']:.3f}"
    told = f"{best['by']}: best {best['value']:.3f} at step {best['step']}, {last}"
    if best["kept"] != best["step"]:
        told += f"; step {best['kept']}, no worse beyond chance, is kept"
    return told


@torch.no_grad()
def _translations(
    generators: nn.ModuleDict, config: Config, dtype: torch.dtype, direction: str, pictures: np.ndarray
) -> np.ndarray:
    net, made = generators[f"gen_{direction}"], []
    device = next(net.parameters()).device
    # Compiled networks would be compiled again for batches of another size.
    eager = torch.compiler.set_stance("force_eager") if config.train.compile else contextlib.nullcontext()
    with eager, torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        for start in range(0, len(pictures), BATCH):
            made.append(to_pixels(net(to_tensor(pictures[start : start + BATCH], device))))
    return np.concatenate(made)
