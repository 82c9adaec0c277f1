"""Timing that stands noise: candidates take turns, and the middle and the spread of their rounds are told."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from tqdm import tqdm


@dataclass(frozen=True)
class Timing:
    """Seconds a call of one candidate took in each round."""

    rounds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """Half the distance of the slowest from the fastest round, as a share of the median."""
        return (max(self.rounds) - min(self.rounds)) / 2 / self.median


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    device: torch.device,
    rounds: int,
    seconds: float = 0.3,
    warm: int = 1,
) -> dict[str, Timing]:
    """Time candidates in turns, after one call of each, or `warm` calls, that do not count.

    Args:
        rounds: how often each is timed.
        seconds: shorter calls are repeated within a round until it takes about that long.
    """
    calls: dict[str, int] = {}
    for name, candidate in [*candidates.items()] * warm:
        first = _seconds(candidate, 1, device)
        calls[name] = 1 if first > 4 * seconds else max(1, round(seconds / _seconds(candidate, 1, device)))
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    turns = [name for _ in range(rounds) for name in candidates]
    for name in tqdm(turns, "measuring", unit="round", disable=None, leave=False):
        taken[name].append(_seconds(candidates[name], calls[name], device))
    return {name: Timing(values) for name, values in taken.items()}


def _seconds(candidate: Callable[[], object], calls: int, device: torch.device) -> float:
    _wait(device)
    began = time.perf_counter()
    for _ in range(calls):
        candidate()
    _wait(device)
    return (time.perf_counter() - began) / calls


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
