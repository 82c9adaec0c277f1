"""How much memory a training step takes, before it is tried."""

import contextlib
import math
from collections.abc import Iterator

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from cyclestyle.config import Config, ConfigError
from cyclestyle.cyclegan import CycleGAN
from cyclestyle.errors import UserError
from cyclestyle.memory import free_memory, is_out_of_memory, peak_memory, size_text
from cyclestyle.training.state import TrainState
from cyclestyle.training.step import TrainStep

LIBRARIES = 80 * 2**20  # bytes, measured on a CPU


def check_memory(config: Config, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a step takes less than half of what is free, so that memory may be spent on speed.

    Raises:
        ConfigError: it takes more than is free; which batch, and which crop, would fit.
    """
    free = free_memory(device)
    if free is None or _surely_fits(config, free):
        return True
    with FakeTensorMode():
        learning = 4 * sum(p.nbytes for p in CycleGAN(config.model).parameters())
    if learning > free:
        raise ConfigError(
            f"model: the weights, gradients and moments of these networks need {size_text(learning)} of memory, "
            f"{size_text(free)} are free; lower model.generator.channels or model.discriminator.channels"
        )
    fixed, growing = step_memory(config, device, dtype)
    if fixed + growing <= free:
        return fixed + growing < free / 2
    batch, side = config.train.batch_size, config.data.crop_size
    share = max(0.0, (free - fixed) / growing)
    smaller, less = int(batch * share), int(side * math.sqrt(share)) // 4 * 4
    remedies = [f"train.batch_size={smaller}"] * (smaller >= 1) + [f"data.crop_size={less}"] * (less >= 32)
    would = f"{' or '.join(remedies)} would fit" if remedies else "use smaller networks, or another machine"
    raise ConfigError(
        f"train.batch_size: {batch} of {side} pixels with these networks need about {size_text(fixed + growing)} "
        f"of memory, {size_text(free)} are free; {would}"
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
    pictures = config.train.batch_size + config.train.replay
    maps = pictures * config.data.crop_size**2 * max(generator.channels, discriminator.channels)
    return 2**30 + 2000 * maps * max(1, generator.blocks / 9) < free


def step_memory(config: Config, device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Bytes at the peak of training: what does not depend on the pictures, and what grows with their area.

    A first step is gone through without computing; to its peak are added the networks, and Adam's two moments and the
    gradients, which it leaves behind.
    """
    batch = config.train.batch_size
    growing = _peak_of_step(config, device, dtype, min(batch, 2))
    if batch > 2:  # counting it would take long
        growing += (batch - 2) * (growing - _peak_of_step(config, device, dtype, 1))
    with FakeTensorMode():
        model = CycleGAN(config.model)
    weights, average = (sum(p.nbytes for p in nets.parameters()) for nets in (model, model.generators))
    return LIBRARIES + 4 * weights + average * (config.train.ema > 0), growing


def _peak_of_step(config: Config, device: torch.device, dtype: torch.dtype, batch: int) -> int:
    dtype = torch.bfloat16 if dtype == torch.float16 else dtype  # as large, and without a loss scale to compute
    state = TrainState(config, device, dtype)
    for optimiser in (state.optim_g, state.optim_d):
        optimiser.param_groups[0]["lr"] = 0.0  # with a tensor, as on a GPU, PyTorch would really compute
    step = TrainStep(state, config.loss, dtype)
    shape = (batch, 3, config.data.crop_size, config.data.crop_size)
    return peak_memory(lambda: step(torch.empty(shape, device=device), torch.empty(shape, device=device)))
