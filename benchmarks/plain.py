"""The yardstick: CycleGAN as public research code takes it. Eager fp32, NCHW, every pass on its own, unfused Adam."""

import itertools
import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclestyle.config import Config
from cyclestyle.cyclegan import CycleGAN
from cyclestyle.nets.layers import InstanceNorm, ReflectConv


def make_plain(net: nn.Module) -> nn.Module:
    """Put PyTorch's own layers in the place of ours, with the same weights."""
    for parent in list(net.modules()):
        channels = 0
        for name, child in parent.named_children():
            channels = getattr(child, "out_channels", channels)
            if isinstance(child, InstanceNorm):
                setattr(parent, name, nn.InstanceNorm2d(channels))
            elif isinstance(child, ReflectConv):
                side, outs = child.kernel_size[0], child.out_channels
                conv = nn.Conv2d(child.in_channels, outs, side, padding=side // 2, padding_mode="reflect")
                conv.load_state_dict(child.state_dict())
                setattr(parent, name, conv)
    return net


class PlainTraining:
    """Training steps with the losses of the paper (arXiv:1703.10593): lsgan, cycle 10, identity 5, a pool of 50."""

    def __init__(self, config: Config, device: torch.device) -> None:
        model: Any = make_plain(CycleGAN(config.model)).to(device)
        self.gen_ab, self.gen_ba, self.disc_a, self.disc_b = model.gen_ab, model.gen_ba, model.disc_a, model.disc_b
        generators = itertools.chain(self.gen_ab.parameters(), self.gen_ba.parameters())
        self._discriminator_weights = [*self.disc_a.parameters(), *self.disc_b.parameters()]
        self.optim_g = torch.optim.Adam(generators, lr=2e-4, betas=(0.5, 0.999))
        self.optim_d = torch.optim.Adam(self._discriminator_weights, lr=2e-4, betas=(0.5, 0.999))
        self.pool_a: list[Tensor] = []
        self.pool_b: list[Tensor] = []

    def step(self, real_a: Tensor, real_b: Tensor) -> list[float]:
        """One step on (B, 3, H, W) in [-1, 1]; returns the losses as numbers, as a log wants them."""
        fake_b, fake_a = self.gen_ab(real_a), self.gen_ba(real_b)
        rec_a, rec_b = self.gen_ba(fake_b), self.gen_ab(fake_a)
        self._judges_learn(False)
        self.optim_g.zero_grad()
        loss_g = 5 * (F.l1_loss(self.gen_ab(real_b), real_b) + F.l1_loss(self.gen_ba(real_a), real_a))
        loss_g = loss_g + 10 * (F.l1_loss(rec_a, real_a) + F.l1_loss(rec_b, real_b))
        loss_g = loss_g + _towards(self.disc_b(fake_b), 1) + _towards(self.disc_a(fake_a), 1)
        loss_g.backward()
        self.optim_g.step()
        self._judges_learn(True)
        self.optim_d.zero_grad()
        losses = [loss_g]
        for judge, real, fake, pool in (
            (self.disc_a, real_a, fake_a, self.pool_a),
            (self.disc_b, real_b, fake_b, self.pool_b),
        ):
            loss_d = 0.5 * (_towards(judge(real), 1) + _towards(judge(_exchange(pool, fake.detach())), 0))
            loss_d.backward()
            losses.append(loss_d)
        self.optim_d.step()
        return [float(loss.detach()) for loss in losses]

    def _judges_learn(self, learn: bool) -> None:
        for weight in self._discriminator_weights:
            weight.requires_grad = learn


def _towards(maps: list[Tensor], target: float) -> Tensor:
    logits = maps[0]
    return F.mse_loss(logits, torch.full_like(logits, target))


def _exchange(pool: list[Tensor], pictures: Tensor, size: int = 50) -> Tensor:
    chosen = []
    for picture in pictures:
        picture = picture[None]
        if len(pool) < size:
            pool.append(picture)
            chosen.append(picture)
        elif random.random() > 0.5:
            index = random.randrange(size)
            chosen.append(pool[index].clone())
            pool[index] = picture
        else:
            chosen.append(picture)
    return torch.cat(chosen)
