"""How much memory a training step takes, before it is tried."""

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from cyclestyle.config import Config, ConfigError
from cyclestyle.cyclegan import CycleGAN, generator_losses, needed_passes, round_trips
from cyclestyle.devices import free_memory, is_out_of_memory
from cyclestyle.errors import UserError

GIB = 2**30


def check_memory(config: Config, device: torch.device, dtype: torch.dtype) -> None:
    """Whether a step fits into what is free.

    Raises:
        ConfigError: it does not; which batch, and which crop, would.
    """
    free = free_memory(device)
    if free is None or _surely_fits(config, free):
        return
    fixed, growing = step_memory(config, device, dtype)
    if fixed + growing <= free:
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
    return GIB + 3000 * maps * max(1, generator.blocks / 9) < free


def step_memory(config: Config, device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Bytes at the peak of a step: what does not depend on the pictures, and what grows with their area.

    The generators' step is gone through without computing, and what is kept for its backward pass is counted. The
    factors were measured on a CPU, in fp32 and bf16.
    """
    side = config.data.crop_size
    with FakeTensorMode(), torch.device(device):
        model = CycleGAN(config.model)
        model.discriminators.requires_grad_(False)
        of_weights = sum(p.nbytes for p in model.parameters())
        kept: dict[int, torch.UntypedStorage] = {}

        def keep(x: Tensor) -> Tensor:
            storage = x.untyped_storage()
            kept[storage._cdata] = storage
            return x

        if dtype != torch.float32:
            for p in model.parameters():
                p.data = p.data.contiguous(memory_format=torch.channels_last) if p.ndim == 4 else p.data
        weights = {p.untyped_storage()._cdata for p in model.parameters()}
        real_a, real_b = (torch.empty(config.train.batch_size, 3, side, side) for _ in "AB")
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x),
            torch.autocast(device.type, dtype, enabled=dtype != torch.float32),
        ):
            trips = round_trips(model.generators, real_a, real_b, needed_passes(config.loss))
            generator_losses(model.discriminators, trips, config.loss)
        activations = sum(storage.nbytes() for key, storage in kept.items() if key not in weights)
    # Weights, gradients, two moments, a moving average of the generators; buffers of libraries.
    return 4.8 * of_weights + 0.2 * GIB, 1.3 * activations
