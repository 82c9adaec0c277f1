"""Layers that the networks share."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cyclestyle.nets.winograd import transform_kernel, winograd_conv, winograd_pays


class ReflectConv(nn.Conv2d):
    """Convolution behind reflection padding, (B, C, H, W) -> (B, K, H / stride, W / stride).

    On a CPU wide 3x3 layers go through `winograd_conv`. A layer to few channels, of which a CPU computes 16 as fast as
    3, adds up the columns of its kernel in a second convolution, so that the first has many.
    """

    def __init__(self, channels_in: int, channels_out: int, side: int, stride: int = 1) -> None:
        super().__init__(channels_in, channels_out, side, stride, padding=side // 2, padding_mode="reflect")
        self._kernel: Tensor | None = None

    def fix_weights(self) -> None:
        """Transform them once, for inference; they must not change any more."""
        if self.stride == (1, 1) and winograd_pays(self.weight):
            self._kernel = transform_kernel(self.weight, self.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        kind, more = x.device.type, self.kernel_size[0] // 2
        if torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        # float64 is for comparisons; a compiler gets Winograd's convolution wrong.
        on_cpu = kind == "cpu" and x.dtype != torch.float64 and not torch.compiler.is_compiling()
        winograd = on_cpu and self.stride == (1, 1) and winograd_pays(self.weight, x.shape[2:].numel())
        if winograd:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(kind, enabled=False):  # which pads in fp32 on a CPU
            x = F.pad(x, (more, more, more, more), mode="reflect") if kind == "cpu" else _pad(x, more)
        if winograd:
            return winograd_conv(x, self.weight, self.bias, self._kernel)
        if on_cpu and self.in_channels >= 32 and self.out_channels <= 4:
            return self._by_columns(x)
        return F.conv2d(x, self.weight, self.bias, self.stride)

    def _by_columns(self, x: Tensor) -> Tensor:
        outs, channels, side, _ = self.weight.shape
        columns = self.weight.permute(3, 0, 1, 2).reshape(side * outs, channels, side, 1)
        shift = torch.eye(side * outs, dtype=x.dtype).view(side, outs, -1).permute(1, 2, 0)[:, :, None]
        return F.conv2d(F.conv2d(x, columns), shift, self.bias)


class _Pad(torch.autograd.Function):
    """Reflection padding of both sides of one dimension.

    The gradients of PyTorch's own are added on a GPU in an order that varies from run to run.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, more: int) -> Tensor:
        ctx.dim, ctx.more = dim, more
        before = x.narrow(dim, 1, more).flip(dim)
        after = x.narrow(dim, x.shape[dim] - 1 - more, more).flip(dim)
        return torch.cat([before, x, after], dim)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        dim, more, side = ctx.dim, ctx.more, grad.shape[ctx.dim] - 2 * ctx.more
        grad_x = grad.narrow(dim, more, side).clone()
        grad_x.narrow(dim, 1, more).add_(grad.narrow(dim, 0, more).flip(dim))
        grad_x.narrow(dim, side - 1 - more, more).add_(grad.narrow(dim, more + side, more).flip(dim))
        return grad_x, None, None


def _pad(x: Tensor, more: int) -> Tensor:
    for dim in (2, 3):
        x = _Pad.apply(x, dim, more)
    return x


def fix_weights(net: nn.Module) -> None:
    """Prepare a network for inference on a CPU; its weights must not change any more."""
    for module in net.modules():
        if isinstance(module, ReflectConv):
            module.fix_weights()


class Norm(nn.Module):
    """Normalisation of (B, C, H, W) without learned scale; statistics are taken in fp32.

    Attributes:
        groups: of channels that share statistics; None: each has its own.
        given: does the work in place of this layer, with statistics of its own, where parts of a picture are made.
    """

    eps = 1e-5
    groups: int | None = None
    given: Callable[[Tensor], Tensor] | None = None


class InstanceNorm(Norm):
    """Instance normalisation (arXiv:1607.08022).

    In fp32 it rounds as `F.instance_norm`, and so as published implementations do. That function gives wrong gradients
    on the CPU for a batch of one whose incoming gradient is channels_last (PyTorch 2.13 and 2.15), hence the guard.
    Elsewhere it is the same function under other names, which are right in every layout and faster: `F.group_norm` with
    one channel a group, also for a compiler, of which some versions fail on the guard; and in channels_last, where the
    backward pass of that takes 20 times as long, the batch norm of each picture alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.given is not None:
            return self.given(x)
        if x.dtype == torch.float32 and x.is_contiguous() and not torch.compiler.is_compiling():
            normed = F.instance_norm(x)
            if normed.requires_grad:
                normed.register_hook(torch.Tensor.contiguous)
            return normed
        if x.is_contiguous() or x.shape[2:].numel() == 1:
            return _group_norm(x, x.shape[1])
        each = [F.batch_norm(one, None, None, training=True) for one in x.split(1)]
        return each[0] if len(each) == 1 else torch.cat(each)


class GroupNorm(Norm):
    """Group normalisation (arXiv:1803.08494)."""

    groups: int

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        if self.given is not None:
            return self.given(x)
        return _group_norm(x, self.groups)


def _group_norm(x: Tensor, groups: int) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):  # which makes fp32 of it on a GPU, twice as large
        return F.group_norm(x, groups)


def make_norm(name: str, channels: int) -> nn.Module:
    """`instance`, `group` (16 channels a group, or as many as divide) or `none` for (B, channels, H, W)."""
    if name == "none":
        return nn.Identity()
    if name == "instance":
        return InstanceNorm()
    groups = max(1, channels // 16)
    while channels % groups:
        groups -= 1
    return GroupNorm(groups)


def init_weights(net: nn.Module) -> None:
    """normal(0, 0.02) for convolutions, 0 for biases (arXiv:1703.10593, section 7.1)."""
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
