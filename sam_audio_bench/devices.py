"""Where networks run, and how exactly: the one place that knows of CUDA."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sam_audio_bench.errors import Precondition, UsageError

__all__ = [
    "deterministic_fp32",
    "device_unavailable_reason",
    "find_device",
    "gpu_names",
    "require_device",
    "synchronized_seconds",
    "used_gpu_indices",
]


def find_device(name: str | torch.device) -> torch.device:
    """The device of a name: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1" …

    Raises:
        UsageError: no name of a device. Whether it is there, `device_unavailable_reason` says.
    """
    try:
        return torch.device(name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    except RuntimeError as error:
        raise UsageError(f"expected device to be auto, cpu or cuda, found {name!r}") from error


def gpu_names() -> list[str]:
    """Names of the GPUs that are there."""
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def used_gpu_indices() -> list[int]:
    """Indices of the GPUs on which this process holds memory; none is touched."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return []
    return [index for index in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(index)]


def synchronized_seconds() -> float:
    """`time.perf_counter()` when the GPUs have done what they were given: a call that returns has only asked them."""
    for index in used_gpu_indices():
        torch.cuda.synchronize(index)
    return time.perf_counter()


def device_unavailable_reason(device: torch.device) -> str | None:
    """What is missing for work on a device, as a clause; None: nothing."""
    if device.type != "cuda" or (device.index or 0) < torch.cuda.device_count():
        return None
    return f"expected a CUDA device for {device}, found {torch.cuda.device_count() or 'none'}"


def require_device(name: str | torch.device) -> torch.device:
    """As `find_device`; a device that is not there raises Precondition."""
    device = find_device(name)
    if (lack := device_unavailable_reason(device)) is not None:
        raise Precondition(f"{lack}; use device=cpu")
    return device


@contextmanager
def deterministic_fp32() -> Iterator[None]:
    """Within it, float32 on a GPU is float32: convolutions do not round to TF32, which keeps ten bits.

    And they take the same algorithm each time. Matrix products are exact by torch's default.
    """
    with torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled, deterministic=True, benchmark=False, allow_tf32=False
    ):
        yield
