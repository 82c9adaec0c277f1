"""Which device and which precision to compute with."""

import os

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
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # of torchrun, whose processes share the GPUs of a machine
        return torch.device(name, int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    return torch.device(name)


def precise_device(device: torch.device) -> torch.device:
    """The device, or the CPU in place of one without float64, as Apple's."""
    return torch.device("cpu") if device.type == "mps" else device


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
