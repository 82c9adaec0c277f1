"""Length of a run, and its learning rate: constant, then linearly down to 0 (arXiv:1703.10593, section 7.1)."""

from cyclestyle.config import TrainConfig


def total_steps(train: TrainConfig, epoch_length: int) -> int:
    """Steps in the whole run; `epoch_length` is the number of samples in an epoch."""
    return train.max_steps or _steps(train.n_epochs + train.n_epochs_decay, epoch_length, train.batch_size)


def describe_length(train: TrainConfig, epoch_length: int) -> str:
    """The length of a run in words, such as `130000 (200 epochs of 650)`."""
    if train.max_steps is not None:
        return f"{train.max_steps} (train.max_steps; epochs are not counted)"
    return f"{total_steps(train, epoch_length)} ({train.n_epochs + train.n_epochs_decay} epochs of {epoch_length})"


def rate_factor(train: TrainConfig, epoch_length: int, step: int) -> float:
    """Share of `train.lr` in step number `step` (from 0): 1 at first, then falling towards 0 at the end."""
    total = total_steps(train, epoch_length)
    if train.max_steps is None:
        decay = total - _steps(train.n_epochs, epoch_length, train.batch_size)
    else:
        decay = total // 2 if train.decay_steps is None else train.decay_steps
    return 1.0 if step < total - decay else max(0.0, (total - step) / (decay + 1))


def _steps(epochs: int, epoch_length: int, batch_size: int) -> int:
    return -(-epochs * epoch_length // batch_size)
