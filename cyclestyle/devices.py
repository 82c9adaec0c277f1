"""Which device and which precision to compute with."""

import contextlib
import ctypes
from pathlib import Path

import torch

from cyclestyle.errors import UserError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """`auto` takes a GPU if there is one.

    Raises:
        UserError: the device is not on this machine.
    """
    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in usable.items() if there)
    if not usable.get(name, False):
        built = (
            "this torch is built without CUDA" if name == "cuda" and torch.version.cuda is None else "none was found"
        )
        there = ", ".join(device for device, is_there in usable.items() if is_there)
        raise UserError(f"--device {name}: not usable on this machine ({built}); usable here: {there}")
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """The type that convolutions compute in; `auto` takes the fastest that the device computes natively.

    Raises:
        UserError: the device cannot compute in that precision.
    """
    if device.type == "cuda":
        native = ["bf16", "fp16"] if torch.cuda.is_bf16_supported(including_emulation=False) else ["fp16"]
    elif device.type == "cpu":
        capable = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        native = ["bf16"] if capable.get("avx512_bf16") or capable.get("amx_bf16") else []
    else:
        native = []
    if name == "auto":
        return PRECISIONS[[*native, "fp32"][0]]
    if name != "fp32" and name not in native:
        raise UserError(
            f"precision {name}: not native to {device.type} on this machine; use {' or '.join([*native, 'fp32'])}"
        )
    return PRECISIONS[name]


def check_compiler(device: torch.device) -> None:
    """Compile and run something small.

    Raises:
        UserError: torch.compile does not work here; why.
    """
    try:
        torch.compile(_something_small)(torch.ones(8, device=device))
    except Exception as error:  # of many kinds: no compiler, no Triton, no headers, an unwritable cache
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        needed = "Triton (pip install triton)" if device.type == "cuda" else "a C++ compiler (Debian: apt install g++)"
        raise UserError(
            f"train.compile: torch.compile does not work on this machine: {reason}; install {needed}, or set "
            "train.compile=false"
        ) from None


def _something_small(x: torch.Tensor) -> torch.Tensor:
    return (x * 2 + 1).relu()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory, on a GPU or on the CPU."""
    told = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in told or "out of memory" in told


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated on the device, or None where that is not known."""
    if device.type == "cuda":
        return (
            torch.cuda.mem_get_info(device)[0]
            + torch.cuda.memory_reserved(device)
            - torch.cuda.memory_allocated(device)
        )
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def keep_freed_memory() -> None:
    """Let glibc reuse large blocks in place of returning them; no effect with other allocators.

    Else every map of more than 32 MiB is fetched anew from the system, page by page: a picture of 1024 pixels took 1.5
    times as long.
    """
    m_trim_threshold, m_mmap_threshold, most = -1, -3, 2**31 - 1
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        if mallopt(m_mmap_threshold, most) or mallopt(m_mmap_threshold, 2**25):  # the most that older ones accept
            mallopt(m_trim_threshold, most)
