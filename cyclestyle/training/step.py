"""One training step: generators first, then the discriminators on what these made (arXiv:1703.10593, section 4)."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cyclestyle.config import LossConfig, Weight
from cyclestyle.cyclegan import discriminator_losses, generator_losses, needed_passes, round_trips
from cyclestyle.losses.steepness import NOISES
from cyclestyle.training.cuda_graph import Recorded
from cyclestyle.training.state import TrainState

Values = dict[str, Tensor]


class TrainStep:
    """A training step on batches of one size, to be called again and again.

    On a GPU both halves are recorded as CUDA graphs after a few calls: a step is some 4,000 kernels, which take longer
    to launch than to run when batches are small.

    Args:
        weights: of the loss terms.
        dtype: of convolutions.
        compiled: compile the networks, see `check_compiler`.
        halvings: how often the sides of the pictures were halved.
    """

    def __init__(
        self, state: TrainState, weights: LossConfig, dtype: torch.dtype, compiled: bool = False, halvings: int = 0
    ) -> None:
        self._state, self._weights, self._dtype, self._halvings = state, weights, dtype, halvings
        if compiled:
            for net in state.model.children():
                net.compile(dynamic=False)  # in place: the names of weights stay
        self._generators: Callable[..., tuple[Values, Tensor, Tensor]] = _call
        self._discriminators: Callable[..., tuple[Values, Values]] = _call
        if next(state.model.parameters()).is_cuda and dtype != torch.float16:  # which has a loss scale to look at
            stream, pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()
            self._generators, self._discriminators = Recorded(stream, pool), Recorded(stream, pool)

    def __call__(self, real_a: Tensor, real_b: Tensor) -> Values:
        """Update all four networks once.

        Args:
            real_a, real_b: (B, 3, H, W) in [-1, 1], on the device of the networks.

        Returns:
            weighted losses `loss/NAME` and mean logits `score/NAME`, scalars, which the next call may overwrite.
        """
        with _deterministic():
            return self._learn(real_a, real_b)

    def _learn(self, real_a: Tensor, real_b: Tensor) -> Values:
        state = self._state
        losses, fake_a, fake_b = self._generators(self._generators_learn, real_a, real_b)
        shown = {
            "real_a": real_a,
            "disc_a": state.pools["disc_a"].query(fake_a, state.random(0)),
            "real_b": real_b,
            "disc_b": state.pools["disc_b"].query(fake_b, state.random(1)),
        }
        for number, name in enumerate(shown if state.replay else (), start=2):
            pool, rng = state.pools[name], state.random(number)
            if name.startswith("real"):
                pool.query(shown[name], rng)
            shown[name] = torch.cat([shown[name], pool.draw(state.replay, rng)])
        losses_d, scores = self._discriminators(self._discriminators_learn, *shown.values(), self._noise(real_a))
        state.scaler.update()
        return _grouped("loss", {**losses, **losses_d}) | _grouped("score", scores)

    def _noise(self, like: Tensor) -> Tensor:
        """What `discriminator_losses` needs for two pictures, if it needs any."""
        needed = any(getattr(self._weights, term) != Weight(ab=0, ba=0) for term in NOISES)
        shape = (2 if needed else 0, *like.shape[1:])
        return torch.from_numpy(self._state.random(6).standard_normal(shape, np.float32)).to(like.device)

    def _generators_learn(self, real_a: Tensor, real_b: Tensor) -> tuple[Values, Tensor, Tensor]:
        """Translate, there and back, and fool the discriminators."""
        state = self._state
        state.discriminators.requires_grad_(False)
        with self._mixed():
            trips = round_trips(state.generators, real_a, real_b, needed_passes(self._weights))
            losses = generator_losses(state.discriminators, trips, self._weights, self._halvings)
        state.update(state.optim_g, losses)
        return losses, trips["ba"].fake.detach(), trips["ab"].fake.detach()

    def _discriminators_learn(
        self, real_a: Tensor, fake_a: Tensor, real_b: Tensor, fake_b: Tensor, noise: Tensor
    ) -> tuple[Values, Values]:
        """Tell real pictures from these and earlier translations."""
        state = self._state
        state.discriminators.requires_grad_(True)
        with self._mixed():
            pictures = {"disc_a": (real_a, fake_a), "disc_b": (real_b, fake_b)}
            losses, scores = discriminator_losses(state.discriminators, pictures, self._weights, noise, self._halvings)
        state.update(state.optim_d, losses)
        return losses, scores

    def _mixed(self) -> torch.autocast:
        device = next(self._state.model.parameters()).device.type
        return torch.autocast(device, self._dtype, enabled=self._dtype != torch.float32)


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """Take those of cuDNN's kernels that give the same bits each time.

    A resumed run then ends bit-equal on a GPU as well, except with `upsample: bilinear`, whose gradients are added in
    an order that varies.
    """
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def _call(function: Callable[..., Any], *inputs: Tensor) -> Any:
    return function(*inputs)


def _grouped(group: str, values: Values) -> Values:
    return {f"{group}/{name}": value.detach() for name, value in values.items()}
