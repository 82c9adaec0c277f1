"""ResNet generator (Johnson et al., arXiv:1603.08155, as in CycleGAN, arXiv:1703.10593, section 7.2)."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclestyle.nets.layers import ReflectConv, make_norm
from cyclestyle.nets.stages import Stage, norms_in

ANCHOR = 0.5  # of the source; more gives weaker styles


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ReflectConv(channels, channels, 3),
            make_norm(norm, channels),
            nn.ReLU(inplace=True),
            ReflectConv(channels, channels, 3),
            make_norm(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + x

    def stages(self, channels: int) -> list[Stage]:
        """From a map x to the next; two of its size are kept meanwhile."""
        first, norm, _, second, last = self.body
        return [
            Stage(["x"], "y", channels, 4, 4, first, following=norms_in(norm)),
            Stage(["y"], "z", channels, 4, 4, lambda y: second(F.relu(norm(y))), following=norms_in(last)),
            Stage(["x", "z"], "x", channels, 4, 0, lambda x, z: x + last(z)),
        ]


class ResnetGenerator(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> the same; H and W are multiples of `stride`.

    Args:
        channels: of the first layer; doubled by each of the two strided ones.
        blocks: residual blocks at a quarter of the resolution.
        upsample: "transpose" (paper), or "resize" (nearest neighbour) or "bilinear", each followed by a convolution,
            which cures the checkerboard (Odena et al. 2016, doi:10.23915/distill.00003).
        norm: see `make_norm`.
        skips: add the maps of full and half resolution before the blocks to those after them, as a U-Net joins them
            (arXiv:1505.04597): fine detail need not pass through a quarter of the resolution.
        padding: "zeros" (paper) or "reflect", of the strided convolutions. Zeros tell the network where the picture
            ends, which may give it a bright or dark rim, on the left and at the top.
        anchored: half of the source is added to what the last layer makes. With random weights dark comes out bright as
            often as not, and a generator that begins so may stay so, as nothing in the losses forbids it.
    """

    stride = 4

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 9,
        upsample: str = "transpose",
        norm: str = "instance",
        skips: bool = False,
        padding: str = "zeros",
        anchored: bool = False,
    ) -> None:
        super().__init__()
        self.skips, self.anchored = skips, anchored
        c = channels
        self.stem = _unit(ReflectConv(3, c, 7), norm)
        self.down = nn.Sequential(
            _unit(_strided(c, 2 * c, padding), norm), _unit(_strided(2 * c, 4 * c, padding), norm)
        )
        self.blocks = nn.Sequential(*[ResidualBlock(4 * c, norm) for _ in range(blocks)])
        self.up = nn.Sequential(_up(4 * c, 2 * c, upsample, norm), _up(2 * c, c, upsample, norm))
        self.head = ReflectConv(c, 3, 7)

    def forward(self, picture: Tensor) -> Tensor:
        if self.skips:
            full = self.stem(picture)
            half = self.down[0](full)
            half = half + self.up[0](self.blocks(self.down[1](half)))
            x = full + self.up[1](half)
        else:
            x = self.up(self.blocks(self.down(self.stem(picture))))
        return self._shown(x, picture)

    def _shown(self, x: Tensor, picture: Tensor) -> Tensor:
        """From the last map to colours."""
        made = self.head(x).float()
        return torch.tanh(made + ANCHOR * picture.float() if self.anchored else made)

    def stages(self) -> list[Stage]:
        """The same in stages: what lies between them is of a quarter of the resolution, and of half of it at last."""
        c = self.head.in_channels
        conv, norm, _ = cast(nn.Sequential, self.down[1])

        def encode(picture: Tensor) -> Tensor:
            x: Tensor = conv(self.down[0](self.stem(picture)))
            return x

        stages = [
            Stage(["picture"], "x", 4 * c, 4, 8, encode, norms_in(self.stem, self.down[0]), norms_in(norm)),
            Stage(["x"], "x", 4 * c, 4, 0, lambda x: F.relu(norm(x))),
        ]
        for block in self.blocks:
            stages += cast(ResidualBlock, block).stages(4 * c)
        beside = ["picture"] if self.skips else []
        return [
            *stages,
            Stage(["x", *beside], "half", 2 * c, 2, 8, self._decode, norms_in(self.up[0])),
            Stage(["half", "picture"], "translation", 3, 1, 8, self._finish, norms_in(self.up[1])),
        ]

    def _decode(self, x: Tensor, picture: Tensor | None = None) -> Tensor:
        half: Tensor = self.up[0](x)
        return half if picture is None else self.down[0](self.stem(picture)) + half

    def _finish(self, half: Tensor, picture: Tensor) -> Tensor:
        full = self.up[1](half)
        return self._shown(self.stem(picture) + full if self.skips else full, picture)


def _unit(conv: nn.Module, norm: str) -> nn.Sequential:
    assert isinstance(conv.out_channels, int)
    return nn.Sequential(conv, make_norm(norm, conv.out_channels), nn.ReLU(inplace=True))


def _strided(channels_in: int, channels_out: int, padding: str) -> nn.Module:
    if padding == "reflect":
        return ReflectConv(channels_in, channels_out, 3, stride=2)
    return nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1)


def _up(channels_in: int, channels_out: int, upsample: str, norm: str) -> nn.Module:
    if upsample == "transpose":
        return _unit(nn.ConvTranspose2d(channels_in, channels_out, 3, stride=2, padding=1, output_padding=1), norm)
    conv = ReflectConv(channels_in, channels_out, 3)
    mode = "nearest" if upsample == "resize" else "bilinear"
    return nn.Sequential(nn.Upsample(scale_factor=2, mode=mode), _unit(conv, norm))
