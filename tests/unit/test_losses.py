"""Losses against values worked out by hand, and terms of weight 0, which cost nothing."""

import itertools
import math

import pytest
import torch
from torch import nn

from cyclestyle.config import load_config
from cyclestyle.cyclegan import CycleGAN, discriminator_losses, generator_losses, needed_passes, round_trips
from cyclestyle.losses import ADVERSARIAL, TERMS
from cyclestyle.losses.steepness import NOISES, STEP, pink, steepness
from cyclestyle.roundtrip import RoundTrip

REAL = [torch.tensor([[2.0, 0.0]])]
FAKE = [torch.tensor([[-1.0, 0.5]])]


@pytest.mark.parametrize(
    ("name", "generator", "discriminator"),
    [
        ("lsgan", (4 + 0.25) / 2, ((1 + 1) / 2 + (1 + 0.25) / 2) / 2),
        ("hinge", 0.25, ((0 + 1) / 2 + (0 + 1.5) / 2) / 2),
        (
            "vanilla",
            (math.log1p(math.e) + math.log1p(math.exp(-0.5))) / 2,
            ((math.log1p(math.exp(-2)) + math.log(2)) / 2 + (math.log1p(math.exp(-1)) + math.log1p(math.exp(0.5))) / 2)
            / 2,
        ),
    ],
)
def test_adversarial_losses(name: str, generator: float, discriminator: float) -> None:
    loss = ADVERSARIAL[name]()
    assert float(loss.generator(FAKE)) == pytest.approx(generator, rel=1e-5)
    assert float(loss.discriminator(REAL, FAKE)) == pytest.approx(discriminator, rel=1e-5)


def test_scales_of_a_discriminator_count_alike() -> None:
    loss = ADVERSARIAL["lsgan"]()
    assert float(loss.generator([torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 8, 8)])) == 0.5


def test_cycle_and_identity_are_mean_absolute_differences() -> None:
    real, example = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    trip = RoundTrip(real, example, fake=real, rec=real + 0.25, back=real - 0.75, idt=example - 0.5)
    assert float(TERMS["cycle"].loss(trip)) == 0.25
    assert float(TERMS["back_translation"].loss(trip)) == 0.75
    assert float(TERMS["identity"].loss(trip)) == 0.5


def test_flat_is_the_detail_that_comes_up_where_the_source_has_none() -> None:
    ramp = torch.linspace(-0.1, 0.1, 128).expand(1, 3, 128, 128)
    stripes = torch.tensor([0.1, -0.1]).repeat(64).expand(1, 3, 128, 128)

    def flat(real: torch.Tensor, fake: torch.Tensor) -> float:
        return float(TERMS["flat"].loss(RoundTrip(real, real, fake)))

    zero = torch.zeros_like(ramp)
    assert flat(zero, zero + 0.7) == pytest.approx(0, abs=1e-5)  # another tone
    assert flat(zero, ramp) < 0.002  # a soft gradient, but for its ends
    assert flat(zero, zero + stripes) == pytest.approx(0.1 * 16 / 17, rel=0.01)  # less the mean of 17 of them
    assert flat(ramp, ramp + stripes) == pytest.approx(0.0941 * (1 - 0.0077 / 0.1), rel=0.03)  # with some contrast
    assert flat(stripes, -stripes) == pytest.approx(0, abs=1e-3)  # a place with detail
    sharp = zero.clone().requires_grad_()
    TERMS["flat"].loss(RoundTrip(zero, zero, sharp + stripes)).backward()
    assert sharp.grad is not None
    assert torch.isfinite(sharp.grad).all()


def test_what_flat_calls_detail_follows_the_size_of_a_picture() -> None:
    def flat(side: int) -> float:
        fake = torch.linspace(0, 12 * math.pi, side).sin().mul(0.1).expand(1, 3, side, side)
        return float(TERMS["flat"].loss(RoundTrip(torch.zeros_like(fake), fake, fake)))

    assert flat(256) == pytest.approx(flat(128), rel=0.05)
    assert flat(128) > 0.03


def test_steepness_is_the_mean_squared_gradient_of_a_logit() -> None:
    torch.manual_seed(0)
    fine, coarse = nn.Conv2d(3, 1, 4, 2, 1), nn.Conv2d(3, 1, 4, 2, 1)  # patches that overlap
    squared = [float(net.weight.detach().square().sum()) for net in (fine, coarse)]
    pictures = torch.rand(2, 3, 256, 256)
    noisy = pictures + STEP * torch.randn_like(pictures)

    def judged(x: torch.Tensor) -> list[torch.Tensor]:
        return [fine(x), coarse(nn.functional.avg_pool2d(x, 2))]

    with torch.no_grad():
        told = [float(steepness([x], [y], fading=4)) for x, y in zip(judged(pictures), judged(noisy), strict=True)]
        both = float(steepness(judged(pictures), judged(noisy), fading=4))
    assert told[0] == pytest.approx(squared[0], rel=0.03)
    assert told[1] == pytest.approx(squared[1] / 4, rel=0.03), "as if it were the first scale"
    assert both == pytest.approx((squared[0] + squared[1]) / 2, rel=0.03), "in pixels of their scales"


def test_pink_noise_has_as_much_power_in_each_octave_and_white_noise_four_times_as_much_in_the_finer() -> None:
    noise = torch.randn(8, 3, 128, 128, generator=torch.Generator().manual_seed(0))

    def octaves(x: torch.Tensor) -> list[float]:
        spectrum = torch.fft.fft2(x).abs().square().mean((0, 1))
        frequency = torch.fft.fftfreq(128).abs()
        radius = torch.maximum(frequency[:, None], frequency[None])
        return [float(spectrum[(radius >= 2**-n) & (radius < 2 ** (1 - n))].sum()) / 128**4 for n in (5, 4, 3, 2)]

    ratios = [b / a for a, b in itertools.pairwise(octaves(noise))]
    assert ratios == pytest.approx([4, 4, 4], rel=0.1)
    ratios = [b / a for a, b in itertools.pairwise(octaves(pink(noise)))]
    assert ratios == pytest.approx([1, 1, 1], rel=0.35)
    torch.manual_seed(0)
    for side in (32, 64, 100, 256):
        assert float(pink(torch.randn(16, 3, side, side)).std()) == pytest.approx(1.1, abs=0.1), side


def test_discriminators_may_see_fine_strokes_sooner_with_pink_steepness_and_tone_sooner_with_the_other() -> None:
    torch.manual_seed(0)
    noise, picture = torch.randn(16, 3, 64, 64), torch.zeros(16, 3, 64, 64)
    of_strokes = torch.tensor([1.0, -1.0]).repeat(4, 2).expand(1, 3, 4, 4) / 48  # answers stripes by 1
    of_tone = torch.ones(1, 3, 4, 4) / 48  # answers brightness by 1

    def penalty(term: str, weight: torch.Tensor) -> float:
        colour, fading = NOISES[term]
        before, after = (nn.functional.conv2d(x, weight) for x in (picture, picture + STEP * colour(noise)))
        return float(steepness([before], [after], fading))

    white = penalty("steepness", of_tone) / penalty("steepness", of_strokes)
    assert white == pytest.approx(1, rel=0.1)
    assert penalty("pink_steepness", of_tone) / penalty("pink_steepness", of_strokes) > 10


@pytest.mark.parametrize("term", ["steepness", "pink_steepness"])
def test_steepness_is_a_loss_of_discriminators_that_flattens_them(term: str) -> None:
    options = ["model.generator.channels=2", "model.generator.blocks=1", f"loss.{term}={{ab: 3, ba: 0}}"]
    config = load_config(None, options)
    model = CycleGAN(config.model)
    real, fake, noise = torch.rand(3, 2, 3, 128, 128)
    pictures = {"disc_a": (real, fake), "disc_b": (fake, real)}

    def measured() -> torch.Tensor:
        losses, _ = discriminator_losses(model.discriminators, pictures, config.loss, noise)
        assert set(losses) == {"disc_a", "disc_b", f"{term}_ab"}, "what judges translations to B"
        return losses[f"{term}_ab"]

    before = measured()
    before.backward()
    first = model.disc_b.body[0].weight
    assert first.grad is not None
    with torch.no_grad():
        first -= 0.1 * first.grad / first.grad.norm()
        assert float(measured()) < float(before.detach())
    one_of_each = torch.stack([fake[0], real[0]])
    colour, fading = NOISES[term]
    with torch.no_grad():
        by_hand = steepness(model.disc_b(one_of_each), model.disc_b(one_of_each + STEP * colour(noise)), fading)
        assert float(measured()) == pytest.approx(3 * float(by_hand), rel=1e-3)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x


@pytest.mark.parametrize(
    ("overrides", "calls"),
    [
        ([], 6),
        (["loss.identity=0"], 4),
        (["loss.identity=0", "loss.cycle=0"], 2),
        (["loss.cycle={ab: 1, ba: 0}"], 5),
        (["loss.cycle=0", "loss.back_translation={ab: 1, ba: 0}"], 5),
    ],
)
def test_a_term_of_weight_0_costs_no_pass(overrides: list[str], calls: int) -> None:
    weights = load_config(None, overrides).loss
    nets = nn.ModuleDict({"gen_ab": Counting(), "gen_ba": Counting()})
    x = torch.zeros(1, 3, 8, 8)
    trips = round_trips(nets, x, x, needed_passes(weights))
    assert sum(net.calls for net in nets.values()) == calls  # type: ignore[misc]
    discs = nn.ModuleDict({name: nn.Sequential() for name in ("disc_a", "disc_b")})
    for name in discs:
        discs[name].forward = lambda x, halvings: [x.mean(1)]  # type: ignore[method-assign]
    names = generator_losses(discs, trips, weights).keys()
    assert {"adversarial_ab", "adversarial_ba"} <= names
    assert ("identity_ab" in names) == (weights.identity.ab > 0)
    assert ("cycle_ba" in names) == (weights.cycle.ba > 0)


def test_directions_look_at_their_own_discriminator_and_pictures() -> None:
    model = CycleGAN(
        load_config(
            None, ["model.generator.channels=2", "model.generator.blocks=1", "model.discriminator.channels=2"]
        ).model
    )
    a, b = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    trips = round_trips(model.generators, a, b, {"ab": {"rec", "back", "idt"}, "ba": {"rec", "idt"}})
    for direction, there, home, real, example in (
        ("ab", model.gen_ab, model.gen_ba, a, b),
        ("ba", model.gen_ba, model.gen_ab, b, a),
    ):
        trip = trips[direction]
        assert torch.equal(trip.fake, there(real))
        assert trip.rec is not None
        assert trip.idt is not None
        assert torch.equal(trip.rec, home(there(real)))
        assert torch.equal(trip.idt, there(example))
    assert trips["ba"].back is None
    weights = load_config(None).loss
    losses = generator_losses(model.discriminators, trips, weights)
    lsgan = ADVERSARIAL["lsgan"]()
    assert torch.equal(losses["adversarial_ab"], lsgan.generator(model.disc_b(trips["ab"].fake)))
    assert torch.equal(losses["adversarial_ba"], lsgan.generator(model.disc_a(trips["ba"].fake)))
    pair = {"disc_a": (a, trips["ba"].fake), "disc_b": (b, trips["ab"].fake)}
    loss, scores = discriminator_losses(model.discriminators, pair, weights, torch.zeros(2, 3, 32, 32))
    by_hand = lsgan.discriminator(model.disc_a(a), model.disc_a(trips["ba"].fake))
    assert torch.allclose(loss["disc_a"], by_hand)
    assert torch.allclose(scores["disc_b_real"], model.disc_b(b)[0].mean())
    sum(loss.values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is None for p in model.generators.parameters())


def test_only_the_way_back_learns_from_back_translation() -> None:
    model = CycleGAN(load_config(None, ["model.generator.channels=2", "model.generator.blocks=1"]).model)
    a, b = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)

    def taught(term: str) -> list[bool]:
        trip = round_trips(model.generators, a, b, {"ab": {"rec", "back"}, "ba": set()})["ab"]
        model.zero_grad()
        TERMS[term].loss(trip).backward()
        return [all(p.grad is not None for p in net.parameters()) for net in (model.gen_ab, model.gen_ba)]

    assert taught("back_translation") == [False, True]
    assert taught("cycle") == [True, True]
