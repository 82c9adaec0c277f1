"""PatchGAN and pixel discriminators (Isola et al., arXiv:1611.07004, section 3.2.2)."""

import torch.nn.functional as F
from torch import Tensor, nn

from cyclestyle.nets.layers import make_norm


class PatchDiscriminator(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> for each scale (B, 1, h, w) logits, each of a patch; 3 layers see 70x70 pixels.

    Args:
        channels: of the first layer; doubled by each further one, up to eight times.
        layers: strided layers after the first.
        norm: see `make_norm`; the first and the last layer have none.
        scales: a further network judges the picture at half the resolution, and so on (arXiv:1711.11585, section 3.2).
    """

    def __init__(self, channels: int = 64, layers: int = 3, norm: str = "instance", scales: int = 1) -> None:
        super().__init__()
        self.body = self._make_body(channels, layers, norm)
        self.coarser = nn.ModuleList(self._make_body(channels, layers, norm) for _ in range(scales - 1))

    @staticmethod
    def _make_body(channels: int, layers: int, norm: str) -> nn.Sequential:
        body: list[nn.Module] = [nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        wide = channels
        for layer in range(1, layers + 1):
            narrow, wide = wide, channels * min(2**layer, 8)
            stride = 2 if layer < layers else 1
            body += [
                nn.Conv2d(narrow, wide, 4, stride=stride, padding=1),
                make_norm(norm, wide),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        return nn.Sequential(*body, nn.Conv2d(wide, 1, 4, padding=1))

    def forward(self, x: Tensor, halvings: int = 0) -> list[Tensor]:
        """Of pictures whose sides were halved so often, networks judge what they judge of whole ones.

        The finest, which would see none of what it is for, are left out; the coarsest never is.
        """
        bodies = [self.body, *self.coarser]
        maps = []
        for scale, body in enumerate(bodies[min(halvings, len(bodies) - 1) :]):
            x = F.avg_pool2d(x, 2) if scale else x
            maps.append(body(x))
        return maps


class PixelDiscriminator(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> [(B, 1, H, W) logits], each of one pixel's colour."""

    def __init__(self, channels: int = 64, norm: str = "instance") -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, channels, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(channels, 2 * channels, 1),
            make_norm(norm, 2 * channels),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * channels, 1, 1),
        )

    def forward(self, x: Tensor, halvings: int = 0) -> list[Tensor]:
        return [self.body(x)]
