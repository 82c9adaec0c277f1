"""Length of a run, its learning rate: constant, then linearly down to 0 (arXiv:1703.10593, section 7.1); its growth."""

from itertools import accumulate

from cyclestyle.config import TrainConfig

HALF = 0.3  # of the time of a step, about, where pictures have half the side


def total_steps(train: TrainConfig, epoch_length: int, step: int = 0, samples: int = 0) -> int:
    """Steps in the whole run.

    Args:
        epoch_length: number of samples in an epoch.
        step, samples: what the run has behind it, perhaps with another batch size.
    """
    if train.max_steps is not None:
        return train.max_steps
    left = (train.n_epochs + train.n_epochs_decay) * epoch_length - samples
    return step + -(-left // train.batch_size)


def describe_length(train: TrainConfig, epoch_length: int, total: int) -> str:
    """The length of a run in words, such as `130000 (200 epochs of 650)`."""
    if train.max_steps is not None:
        return f"{total} (train.max_steps; epochs are not counted)"
    return f"{total} ({train.n_epochs + train.n_epochs_decay} epochs of {epoch_length})"


def rate_factor(train: TrainConfig, epoch_length: int, step: int, total: int) -> float:
    """Share of `train.lr` in step number `step` (from 0) of `total`: 1 at first, then falling towards 0 at the end."""
    if train.max_steps is None:
        decay = total_steps(train, epoch_length) - -(-train.n_epochs * epoch_length // train.batch_size)
    else:
        decay = total // 2 if train.decay_steps is None else train.decay_steps
    return 1.0 if step < total - decay else max(0.0, (total - step) / (decay + 1))


def halvings(train: TrainConfig, step: int) -> int:
    """How often the sides of pictures are halved in step number `step` (from 0), as in arXiv:1710.10196, section 2."""
    return sum(step < until for until in accumulate(train.growth_steps))


def work(train: TrainConfig, steps: int) -> float:
    """How many steps at the full size take about as long as the first `steps`."""
    done = 0.0
    for times, here in zip(range(len(train.growth_steps), 0, -1), train.growth_steps, strict=True):
        done += HALF**times * min(here, steps)
        steps -= min(here, steps)
    return done + steps
