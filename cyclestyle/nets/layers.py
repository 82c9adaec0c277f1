"""Layers that the networks share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InstanceNorm(nn.Module):
    """Instance normalisation without learned scale (arXiv:1607.08022); statistics are taken in fp32.

    In fp32 it rounds as `F.instance_norm`, and so as published implementations do. That function gives wrong gradients
    on the CPU for a batch of one whose incoming gradient is channels_last (PyTorch 2.13 and 2.15), hence the guard.
    Elsewhere it is the same function under other names, which are right in every layout and faster: `F.group_norm` with
    one channel a group; and in channels_last, where the backward pass of that takes 20 times as long, the batch norm of
    each picture alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32 and x.is_contiguous():
            normed = F.instance_norm(x)
            if normed.requires_grad:
                normed.register_hook(torch.Tensor.contiguous)
            return normed
        if x.is_contiguous() or x.shape[2:].numel() == 1:
            return F.group_norm(x, x.shape[1])
        each = [F.batch_norm(one, None, None, training=True) for one in x.split(1)]
        return each[0] if len(each) == 1 else torch.cat(each)


def make_norm(name: str, channels: int) -> nn.Module:
    """`instance`, `group` (16 channels a group, or as many as divide) or `none` for (B, channels, H, W)."""
    if name == "none":
        return nn.Identity()
    if name == "instance":
        return InstanceNorm()
    groups = max(1, channels // 16)
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels, affine=False)


def init_weights(net: nn.Module) -> None:
    """normal(0, 0.02) for convolutions, 0 for biases (arXiv:1703.10593, section 7.1)."""
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
