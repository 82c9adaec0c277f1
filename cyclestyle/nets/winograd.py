"""3x3 convolution with half the multiplications, for the CPU (Winograd; Lavin and Gray, arXiv:1509.09308).

F(4, 3) of the paper's section 4.1 along the height: four rows of the output follow from six rows of the input by six
products of rows in place of twelve. These are convolutions of 1x3. In two dimensions fewer multiplications would be
left, but more memory to go through, and in bf16 a larger error.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, add, mul, sub
from torch.autograd.function import once_differentiable

ROWS, PRODUCTS = 4, 6

# The points are 0, A, -A, B, -B and infinity: of those tried these round least.
A, B = 5 / 8, 3 / 2
AA, BB = A * A, B * B
NEAR, FAR = 1 / (2 * AA * (AA - BB)), 1 / (2 * BB * (BB - AA))
KERNEL = (
    (1 / (AA * BB), 0, 0),
    (NEAR, NEAR * A, NEAR * AA),
    (NEAR, -NEAR * A, NEAR * AA),
    (FAR, FAR * B, FAR * BB),
    (FAR, -FAR * B, FAR * BB),
    (0, 0, 1),
)


def winograd_pays(weight: Tensor, pixels: int | None = None) -> bool:
    """Whether it is faster than a direct convolution of so many pixels (of enough), as measured on two cores."""
    outs, channels, *side = weight.shape
    wide = side == [3, 3] and min(outs, channels) >= 128
    return wide and (pixels is None or outs * channels * pixels >= 2**26)


def winograd_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, kernel: Tensor | None = None) -> Tensor:
    """Convolve without padding.

    In fp32 it rounds as a direct convolution does. In bf16 the result differs from the exact one by 0.9 % of its
    norm (0.3 % directly), and so do the gradients.

    Args:
        x: (B, C, H, W).
        weight: (K, C, 3, 3), and `bias` (K,), of any type.
        kernel: `transform_kernel` of the weight, if it is at hand.

    Returns:
        (B, K, H - 2, W - 2) in channels_last, of the type of x.
    """
    height = x.shape[2] - 2
    if height % ROWS:
        x = F.pad(x, (0, 0, 0, -height % ROWS))
    y: Tensor = _Convolution.apply(x, weight, kernel)
    y = y[:, :, :height]
    return y if bias is None else y + bias.to(y.dtype)[:, None, None]


def transform_kernel(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """(K, C, 3, 3) -> (6 * K, C, 1, 3)"""
    outs, channels = weight.shape[:2]
    taps = weight.float().permute(2, 0, 3, 1).reshape(3, -1)
    with torch.autocast("cpu", enabled=False):
        kernel = (taps.new_tensor(KERNEL) @ taps).to(dtype)
    return kernel.view(PRODUCTS * outs, 1, 3, channels).permute(0, 3, 1, 2)


class _Convolution(torch.autograd.Function):
    """In here pictures are (B, H, W, C); rows, and their products, (B, H / 4, W, 6, C)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, kernel: Tensor | None) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        batch, height, width, channels = x.shape
        rows = x.new_empty(batch, (height - 2) // ROWS, width, PRODUCTS, channels)
        _transform_input(_every_fourth(x), rows.unbind(3))
        kernel = transform_kernel(weight, x.dtype) if kernel is None else kernel
        products = F.conv2d(_joined(rows), kernel, groups=PRODUCTS)
        ctx.save_for_backward(rows, kernel, weight)
        y = x.new_empty(batch, rows.shape[1], ROWS, width - 2, len(weight))
        _transform_output(_apart(products), y.unbind(2))
        return y.flatten(1, 2).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        rows, kernel, weight = ctx.saved_tensors
        batch, height, width, _, channels = rows.shape
        products = grad.new_empty(batch, height, width - 2, PRODUCTS, len(weight))
        _output_gradient(grad.permute(0, 2, 3, 1).unflatten(1, (height, ROWS)).unbind(2), products.unbind(3))
        grad_rows, grad_kernel, _ = torch.ops.aten.convolution_backward(
            _joined(products), _joined(rows), kernel, None, [1, 1], [0, 0], [1, 1], False, [0, 0], PRODUCTS,
            [*ctx.needs_input_grad[:2], False],
        )  # fmt: skip
        grad_x = grad_weight = None
        if grad_rows is not None:
            grad_x = grad.new_empty(batch, height * ROWS + 2, width, channels)
            _input_gradient(_apart(grad_rows), grad_x)
            grad_x = grad_x.permute(0, 3, 1, 2)
        if grad_kernel is not None:
            grad_weight = _kernel_gradient(grad_kernel, weight)
        return grad_x, grad_weight, None


def _joined(x: Tensor) -> Tensor:
    """(B, h, W, 6, C) -> (B, 6 * C, h, W)"""
    return x.flatten(3).permute(0, 3, 1, 2)


def _apart(x: Tensor) -> tuple[Tensor, ...]:
    """(B, 6 * C, h, W) -> 6 of (B, h, W, C)"""
    return x.permute(0, 2, 3, 1).unflatten(3, (PRODUCTS, -1)).unbind(3)


def _every_fourth(x: Tensor) -> list[Tensor]:
    """Of (B, H, W, C) the six rows that four of the output follow from, of all such groups; neighbours share two."""
    end = x.shape[1] - PRODUCTS + 1
    return [x[:, i : end + i : ROWS] for i in range(PRODUCTS)]


def _transform_input(x: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    even, odd = sub(x[4], x[2], alpha=BB), sub(x[3], x[1], alpha=BB)
    add(even, odd, alpha=A, out=out[1])
    sub(even, odd, alpha=A, out=out[2])
    even, odd = sub(x[4], x[2], alpha=AA), sub(x[3], x[1], alpha=AA)
    add(even, odd, alpha=B, out=out[3])
    sub(even, odd, alpha=B, out=out[4])
    sub(even, sub(x[2], x[0], alpha=AA), alpha=BB, out=out[0])
    sub(sub(x[5], x[3], alpha=AA), odd, alpha=BB, out=out[5])


def _input_gradient(grad: Sequence[Tensor], x: Tensor) -> None:
    """The transpose of `_every_fourth` and `_transform_input`."""
    x[:, -2:] = 0
    rows = _every_fourth(x)
    near, far = grad[1] + grad[2], grad[3] + grad[4]
    mul(grad[0], AA * BB, out=rows[0])
    mul(near, -BB, out=rows[2]).sub_(far, alpha=AA).sub_(grad[0], alpha=AA + BB)
    rows[4].add_(near.add_(far).add_(grad[0]))
    near, far = grad[1] - grad[2], grad[3] - grad[4]
    mul(grad[5], AA * BB, out=rows[1]).sub_(near, alpha=A * BB).sub_(far, alpha=AA * B)
    mul(near, A, out=rows[3]).add_(far, alpha=B).sub_(grad[5], alpha=AA + BB)
    rows[5].add_(grad[5])


def _kernel_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """The transpose of `transform_kernel`."""
    outs, channels = weight.shape[:2]
    products = grad.permute(0, 2, 3, 1).reshape(PRODUCTS, -1).float()
    taps = products.new_tensor(KERNEL).T @ products
    return taps.view(3, outs, 3, channels).permute(1, 3, 0, 2).to(weight.dtype)


def _transform_output(products: Sequence[Tensor], y: Sequence[Tensor]) -> None:
    near, far = products[1] + products[2], products[3] + products[4]
    add(products[0], near, out=y[0]).add_(far)
    mul(near, AA, out=y[2]).add_(far, alpha=BB)
    near, far = products[1] - products[2], products[3] - products[4]
    mul(near, A, out=y[1]).add_(far, alpha=B)
    add(products[5], near, alpha=A**3, out=y[3]).add_(far, alpha=B**3)


def _output_gradient(grad: Sequence[Tensor], products: Sequence[Tensor]) -> None:
    """The transpose of `_transform_output`."""
    products[0].copy_(grad[0])
    products[5].copy_(grad[3])
    even, odd = add(grad[0], grad[2], alpha=AA), add(grad[1], grad[3], alpha=AA)
    add(even, odd, alpha=A, out=products[1])
    sub(even, odd, alpha=A, out=products[2])
    even, odd = add(grad[0], grad[2], alpha=BB), add(grad[1], grad[3], alpha=BB)
    add(even, odd, alpha=B, out=products[3])
    sub(even, odd, alpha=B, out=products[4])
