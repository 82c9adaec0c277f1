"""Layers that the networks share."""

import torch.nn.functional as F
from torch import Tensor, nn


class Norm(nn.Module):
    """Group normalisation without learned scale; with one channel a group it is instance norm (arXiv:1607.08022).

    `F.group_norm` is used for both because it keeps channels_last and its gradients are right in every memory
    layout, which `F.instance_norm` does not offer on the CPU. Statistics are taken in fp32.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.groups)


def make_norm(name: str, channels: int) -> nn.Module:
    """`instance`, `group` (16 channels a group, or as many as divide) or `none` for (B, channels, H, W)."""
    if name == "none":
        return nn.Identity()
    if name == "instance":
        return Norm(channels)
    groups = max(1, channels // 16)
    while channels % groups:
        groups -= 1
    return Norm(groups)


def init_weights(net: nn.Module) -> None:
    """normal(0, 0.02) for convolutions, 0 for biases (arXiv:1703.10593, section 7.1)."""
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
