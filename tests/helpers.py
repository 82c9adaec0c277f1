"""Small tools of several tests."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from cyclestyle.data.synthetic import draw_scene
from cyclestyle.nets import GENERATORS, init_weights


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with nested `changes` on top."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def differing(a: Any, b: Any, name: str = "", ignore: tuple[str, ...] = ()) -> list[str]:
    """Names of the leaves in which two nested states differ by a single bit."""
    if name.split(".")[-1] in ignore:
        return []
    if isinstance(a, torch.Tensor):
        return [] if isinstance(b, torch.Tensor) and torch.equal(a, b) else [name]
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [x for key in a for x in differing(a[key], b[key], f"{name}.{key}", ignore)]
    if isinstance(a, (list, tuple)) and len(a) == len(b):
        return [x for i, (p, q) in enumerate(zip(a, b, strict=True)) for x in differing(p, q, f"{name}.{i}", ignore)]
    return [] if a == b else [name]


def relative_error(values: torch.Tensor, exact: torch.Tensor) -> float:
    return float((values - exact).detach().norm() / exact.detach().norm())


def errors_of_gradients(
    channels: int, shape: tuple[int, ...], layout: torch.memory_format, device: torch.device, dtype: torch.dtype
) -> dict[str, float]:
    """Of the weights of a generator, relative to float64 on the CPU."""
    torch.manual_seed(0)
    net = GENERATORS["resnet"](channels=channels, blocks=2)
    init_weights(net)
    exact = GENERATORS["resnet"](channels=channels, blocks=2).double()
    exact.load_state_dict(net.state_dict())
    net.to(device, memory_format=layout)
    x = torch.rand(shape) * 2 - 1
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        out = net(x.to(device, memory_format=layout))
    out.square().mean().backward()
    exact(x.double()).square().mean().backward()
    found = {name: p.grad.cpu() for name, p in net.named_parameters() if p.grad is not None}
    expected = {name: p.grad for name, p in exact.named_parameters() if p.ndim == 4}  # biases have none but noise
    return {name: relative_error(found[name], gradient) for name, gradient in expected.items()}


def landscapes(draw: Callable[..., np.ndarray], part: int, count: int = 16, size: int = 48) -> np.ndarray:
    """uint8 (count, size, size, 3); another part, other scenes."""
    keys = [[part, i] for i in range(count)]
    return np.stack([draw(draw_scene(np.random.default_rng(k), size), np.random.default_rng(k)) for k in keys])
