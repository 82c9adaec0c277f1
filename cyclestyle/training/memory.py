"""How much memory a training step takes, before it is tried."""

import contextlib
import math
from collections.abc import Iterator

import torch

from cyclestyle.config import Config, ConfigError
from cyclestyle.errors import UserError
from cyclestyle.memory import free_memory, is_out_of_memory, keep_freed_memory, peak_memory
from cyclestyle.training.state import TrainState
from cyclestyle.training.step import TrainStep

GIB = 2**30
LIBRARIES = 80 * 2**20  # bytes, measured on a CPU


def check_memory(config: Config, device: torch.device, dtype: torch.dtype) -> None:
    """Whether a step fits into what is free, and if it does only just, spend no memory on speed.

    Raises:
        ConfigError: it does not; which batch, and which crop, would.
    """
    free = free_memory(device)
    if free is None or _surely_fits(config, free):
        return
    fixed, growing = step_memory(config, device, dtype)
    if fixed + growing <= free:
        keep_freed_memory(2 * (fixed + growing) < free)
        return
    batch, side = config.train.batch_size, config.data.crop_size
    share = max(0.0, (free - fixed) / growing)
    smaller, less = int(batch * share), int(side * math.sqrt(share)) // 4 * 4
    remedies = [f"train.batch_size={smaller}"] * (smaller >= 1) + [f"data.crop_size={less}"] * (less >= 32)
    would = f"{' or '.join(remedies)} would fit" if remedies else "use smaller networks, or another machine"
    raise ConfigError(
        f"train.batch_size: {batch} of {side} pixels with these networks need about {(fixed + growing) / GIB:.1f} GiB "
        f"of memory, {free / GIB:.1f} are free; {would}"
    )


@contextlib.contextmanager
def out_of_memory_told(config: Config) -> Iterator[None]:
    """Turn the exhaustion of memory within the block into an error that says what to lower."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        batch, side = config.train.batch_size, config.data.crop_size
        lower = f"train.batch_size={batch // 2}" if batch > 1 else f"data.crop_size={side * 2 // 3 // 4 * 4}"
        raise UserError(
            f"out of memory in a step of {batch} x {side} pixels; close other programs that use it, or try {lower}; "
            "--resume goes on from the last checkpoint"
        ) from None


def _surely_fits(config: Config, free: int) -> bool:
    """A rough bound from above, as counting takes seconds."""
    generator, discriminator = config.model.generator, config.model.discriminator
    maps = config.train.batch_size * config.data.crop_size**2 * max(generator.channels, discriminator.channels)
    return GIB + 2000 * maps * max(1, generator.blocks / 9) < free


def step_memory(config: Config, device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Bytes at the peak of training: what does not depend on the pictures, and what grows with their area.

    A first step is gone through without computing; to its peak are added the networks, and Adam's two moments and the
    gradients, which it leaves behind.
    """
    dtype = torch.bfloat16 if dtype == torch.float16 else dtype  # as large, and without a loss scale to compute
    state = TrainState(config, device, dtype)
    step, side = TrainStep(state, config.loss, dtype), config.data.crop_size
    growing = peak_memory(
        lambda: step(*(torch.empty(config.train.batch_size, 3, side, side, device=device) for _ in "AB"))
    )
    weights = sum(p.nbytes for p in state.model.parameters())
    average = sum(p.nbytes for p in state.average.parameters()) if state.average else 0
    return LIBRARIES + 4 * weights + average, growing
