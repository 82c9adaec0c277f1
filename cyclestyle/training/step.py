"""One training step: generators first, then the discriminators on what these made (arXiv:1703.10593, section 4)."""

import torch
from torch import Tensor

from cyclestyle.config import LossConfig
from cyclestyle.cyclegan import discriminator_losses, generator_losses, needed_passes, round_trips
from cyclestyle.training.state import TrainState


def train_step(
    state: TrainState, real_a: Tensor, real_b: Tensor, weights: LossConfig, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Update all four networks once.

    Args:
        real_a, real_b: (B, 3, H, W) in [-1, 1], on the device of the networks.
        weights: of the loss terms.
        dtype: of convolutions.

    Returns:
        weighted losses `loss/NAME` and mean logits `score/NAME`, scalars.
    """
    mixed = torch.autocast(real_a.device.type, dtype, enabled=dtype != torch.float32)

    # Generators: translate, there and back, and fool the discriminators.
    state.discriminators.requires_grad_(False)
    with mixed:
        trips = round_trips(state.generators, real_a, real_b, needed_passes(weights))
        losses = generator_losses(state.discriminators, trips, weights)
    state.update(state.optim_g, losses)

    # Discriminators: tell real pictures from these and earlier translations.
    state.discriminators.requires_grad_(True)
    pictures = {
        "disc_a": (real_a, state.pools["disc_a"].query(trips["ba"].fake, state.random(0))),
        "disc_b": (real_b, state.pools["disc_b"].query(trips["ab"].fake, state.random(1))),
    }
    with mixed:
        losses_d, scores = discriminator_losses(state.discriminators, pictures, weights)
    state.update(state.optim_d, losses_d)

    state.scaler.update()
    return _grouped("loss", {**losses, **losses_d}) | _grouped("score", scores)


def _grouped(group: str, values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{group}/{name}": value for name, value in values.items()}
