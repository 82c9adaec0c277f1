"""CycleGAN (Zhu et al., arXiv:1703.10593): four networks and two losses; no optimiser, device or file."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cyclestyle.config import LossConfig, ModelConfig, Section
from cyclestyle.losses import ADVERSARIAL, TERMS
from cyclestyle.losses.steepness import NOISES, STEP, steepness
from cyclestyle.nets import DISCRIMINATORS, GENERATORS, init_weights
from cyclestyle.registry import build
from cyclestyle.roundtrip import RoundTrip

JUDGES = {"ab": "disc_b", "ba": "disc_a"}  # of the translations of a direction


class CycleGAN(nn.Module):
    """Generators `gen_ab` (A to B), `gen_ba`; discriminators `disc_a`, `disc_b`, named after what is real to them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gen_ab = make_generator(config)
        self.gen_ba = make_generator(config)
        self.disc_a = _build("model.discriminator", DISCRIMINATORS, config.discriminator)
        self.disc_b = _build("model.discriminator", DISCRIMINATORS, config.discriminator)
        init_weights(self)

    @property
    def stride(self) -> int:
        """Height and width of pictures must be multiples of it."""
        stride: int = self.gen_ab.stride
        return stride

    @property
    def generators(self) -> nn.ModuleDict:
        """{"gen_ab": ..., "gen_ba": ...}"""
        return nn.ModuleDict({"gen_ab": self.gen_ab, "gen_ba": self.gen_ba})

    @property
    def discriminators(self) -> nn.ModuleDict:
        """{"disc_a": ..., "disc_b": ...}"""
        return nn.ModuleDict({"disc_a": self.disc_a, "disc_b": self.disc_b})


def make_generator(config: ModelConfig) -> Any:
    """An untrained generator: (B, 3, H, W) in [-1, 1] -> the same."""
    return _build("model.generator", GENERATORS, config.generator)


def _build(kind: str, table: Mapping[str, type[nn.Module]], spec: Section) -> Any:
    options = spec.model_dump()
    return build(kind, table, options.pop("name"), **options)


def needed_passes(weights: LossConfig) -> dict[str, set[str]]:
    """For each direction, which of the passes `rec`, `back` and `idt` some term of positive weight asks for."""
    return {
        d: {term.needs for name, term in TERMS.items() if term.needs and getattr(getattr(weights, name), d) > 0}
        for d in JUDGES
    }


def round_trips(
    generators: nn.ModuleDict, real_a: Tensor, real_b: Tensor, needs: Mapping[str, set[str]]
) -> dict[str, RoundTrip]:
    """Translate a batch of each domain, both ways.

    Args:
        generators: of a CycleGAN, or their moving average.
        real_a, real_b: (B, 3, H, W) in [-1, 1].
        needs: for `ab` and `ba`, which of `rec`, `back` and `idt` to compute besides `fake`.

    Returns:
        the RoundTrip of each direction.
    """
    trips = {}
    for direction, there, home, real, example in (
        ("ab", generators["gen_ab"], generators["gen_ba"], real_a, real_b),
        ("ba", generators["gen_ba"], generators["gen_ab"], real_b, real_a),
    ):
        fake = there(real)
        rec = home(fake) if "rec" in needs[direction] else None
        back = home(fake.detach()) if "back" in needs[direction] else None
        idt = there(example) if "idt" in needs[direction] else None
        trips[direction] = RoundTrip(real, example, fake, rec, back, idt)
    return trips


def generator_losses(
    discriminators: nn.ModuleDict, trips: Mapping[str, RoundTrip], weights: LossConfig, halvings: int = 0
) -> dict[str, Tensor]:
    """Weighted losses of the generators, `NAME_ab` and `NAME_ba`, to be summed. Weight 0 leaves a term out.

    `halvings` says how often the sides of the pictures were halved: each network of a discriminator knows one size.
    """
    adversarial = ADVERSARIAL[weights.adversarial]()
    losses = {}
    for direction, trip in trips.items():
        judge = discriminators[JUDGES[direction]]
        losses[f"adversarial_{direction}"] = adversarial.generator(judge(trip.fake, halvings))
        for name, term in TERMS.items():
            weight = getattr(getattr(weights, name), direction)
            if weight > 0:
                losses[f"{name}_{direction}"] = weight * term.loss(trip)
    return losses


def discriminator_losses(
    discriminators: nn.ModuleDict,
    pictures: Mapping[str, tuple[Tensor, Tensor]],
    weights: LossConfig,
    noise: Tensor,
    halvings: int = 0,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses of the discriminators.

    Args:
        pictures: for `disc_a` and `disc_b`, real pictures and translated ones (from the pool), (B, 3, H, W).
        noise: standard normal, (2, 3, H, W), from which the steepness is told; anything if that has no weight.
        halvings: how often the sides of the pictures were halved.

    Returns:
        losses by discriminator, whose sum is minimised, and mean logits `disc_X_real`, `disc_X_fake` for the log.
    """
    adversarial = ADVERSARIAL[weights.adversarial]()
    losses, scores = {}, {}
    for direction, name in JUDGES.items():
        real, fake = pictures[name]
        maps = discriminators[name](torch.cat([real, fake.detach()]), halvings)
        on_real = [m[: len(real)] for m in maps]
        on_fake = [m[len(real) :] for m in maps]
        losses[name] = adversarial.discriminator(on_real, on_fake)
        for term, (colour, fading) in NOISES.items():
            weight = getattr(getattr(weights, term), direction)
            if weight > 0:
                one_of_each = torch.cat([real[:1], fake[:1]])  # on average as good as all, and cheaper
                before = [torch.cat([r[:1], f[:1]]) for r, f in zip(on_real, on_fake, strict=True)]
                after = discriminators[name](one_of_each + STEP * colour(noise), halvings)
                losses[f"{term}_{direction}"] = weight * steepness(before, after, fading)
        scores[f"{name}_real"] = torch.stack([m.detach().float().mean() for m in on_real]).mean()
        scores[f"{name}_fake"] = torch.stack([m.detach().float().mean() for m in on_fake]).mean()
    return losses, scores
