"""How much memory there is, and how much is needed."""

import contextlib
import ctypes
import math
import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory, on a GPU or on the CPU."""
    signs = "can't allocate memory", "out of memory", "could not create a primitive"  # the last is oneDNN's
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)


def size_text(count: float) -> str:
    """Bytes in words: 4.7 GiB, or 12 MiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 0.1 * 2**30 else f"{math.ceil(count / 2**20)} MiB"


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated on the device, or None where that is not known."""
    if device.type == "cuda":
        return (
            torch.cuda.mem_get_info(device)[0]
            + torch.cuda.memory_reserved(device)
            - torch.cuda.memory_allocated(device)
        )
    known = [free for free in (_free_of_machine(), _free_of_container()) if free is not None]
    return min(known) if known else None


def _free_of_machine() -> int | None:
    """Bytes; where the system does not tell what is free, as macOS, half of what there is."""
    lines = _lines(Path("/proc/meminfo"))
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    if free is None and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return free


def _free_of_container(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes up to the limit of the control group (version 2) that a container or a job is in, if it has one."""
    group = next((line[4:] for line in _lines(Path("/proc/self/cgroup")) if line.startswith("0::/")), "")
    found = []
    for folder in (root / group, *(root / group).parents):
        if not folder.is_relative_to(root):
            break
        most, used, told = (_lines(folder / f"memory.{name}") for name in ("max", "current", "stat"))
        if most and most[0].isdecimal() and used:
            cached = next((int(line.split()[1]) for line in told if line.startswith("inactive_file ")), 0)
            found.append(max(0, int(most[0]) - int(used[0]) + cached))
    return min(found, default=None)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def keep_freed_memory(keep: bool = True) -> None:
    """Let glibc reuse large blocks in place of returning them to the system; no effect with other allocators.

    Fetched anew, page by page, maps of more than 32 MiB make a picture of 1024 pixels take 1.5 times as long. Reused,
    they leave holes: up to twice the memory is taken.
    """
    m_trim_threshold, m_mmap_threshold, most, least = -1, -3, 2**31 - 1, 2**20
    with contextlib.suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        if not keep:
            libc.mallopt(m_mmap_threshold, least)
            libc.mallopt(m_trim_threshold, least)
            libc.malloc_trim(0)
        elif libc.mallopt(m_mmap_threshold, most) or libc.mallopt(m_mmap_threshold, 2**25):  # older ones accept no more
            libc.mallopt(m_trim_threshold, most)


def peak_memory(work: Callable[[], object]) -> int:
    """Bytes that tensors take at the peak of some work, beside what existed before.

    Args:
        work: is gone through with tensors of which nothing but the shape is computed; it makes its inputs itself.
    """
    counter = _Counter()
    with FakeTensorMode(allow_non_fake_inputs=True), counter:
        work()
    return counter.most


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self.most = max(self.most, self.now + _of_convolution(args[0], result))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        self.most = max(self.most, self.now)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage not in self._known:
            self._known.add(storage)
            self.now += storage.nbytes()
            weakref.finalize(storage, self._freed, storage.nbytes())

    def _freed(self, size: int) -> None:
        self.now -= size


def _of_convolution(x: Tensor, y: Tensor) -> int:
    """On a CPU contiguous maps are copied into blocks of 16 channels before, and back after."""
    blocks = x.device.type == "cpu" and x.is_contiguous() and x.shape[1] % 16 == y.shape[1] % 16 == 0
    return max(x.nbytes + y.nbytes, 2 * y.nbytes) if blocks else 0
