"""Small tools of several tests."""

from collections.abc import Mapping
from typing import Any

import torch


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
