"""A run that diverges goes back to its last good state, and on from there in another way."""

import math
from collections.abc import Callable

from cyclestyle.checkpoint import newest_intact, save_checkpoint
from cyclestyle.config import Config
from cyclestyle.errors import UserError
from cyclestyle.training.run_folder import RunFolder
from cyclestyle.training.state import TrainState

EXPLODED = 1000.0  # healthy losses are below 20


def what_diverged(state: TrainState) -> list[str]:
    """Names of losses that are no finite number any more or have exploded, or `a weight`; usually empty."""
    means = state.means()
    bad = [n for n, v in means.items() if not math.isfinite(v) or (n.startswith("loss/") and abs(v) >= EXPLODED)]
    return bad or ([] if state.is_finite() else ["a weight"])


def go_back(folder: RunFolder, config: Config, state: TrainState, first_state: Callable[[], TrainState]) -> str:
    """Load the last checkpoint, count a retry, and write that count down; the best measurement stays.

    Args:
        first_state: makes the state that the run began with, where there is no checkpoint yet.

    Returns:
        a sentence that tells of it.

    Raises:
        UserError: no retry is left.
    """
    bad, at, retries = ", ".join(what_diverged(state)), state.step, state.retries + 1
    if retries > config.train.retries:
        raise UserError(
            f"{bad} is no longer a finite number, or has exploded, near step {at}, also after {retries - 1} retries at "
            f"lower rates; the checkpoints in {folder.path} are from before. Resume with a lower train.lr, with "
            "train.precision=fp32, or with more train.retries"
        )
    found, pictures, best = newest_intact(folder.checkpoints), state.pictures, state.best
    state.load_state_dict(found[1] if found else first_state().state_dict())
    state.retries, state.pictures, state.best = retries, pictures, best
    save_checkpoint(folder.checkpoints, config, state.state_dict(), config.train.keep_last)
    return (
        f"{bad} diverged near step {at}: back to step {state.step}, with half the learning rate and other random "
        f"numbers (retry {retries} of {config.train.retries}); if it happens again, lower train.lr or set "
        "train.precision=fp32"
    )
