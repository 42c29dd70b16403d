"""Devices of networks and their numerical settings; the only module that handles CUDA."""

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
    """Returns the device of a name: "auto" (CUDA if available), "cpu", "cuda", "cuda:1" …

    It may be unavailable, see `device_unavailable_reason`.

    Raises:
        UsageError: not a name of a device.
    """
    try:
        return torch.device(name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    except RuntimeError as error:
        raise UsageError(f"expected device to be auto, cpu or cuda, found {name!r}") from error


def gpu_names() -> list[str]:
    """Returns the names of the available GPUs."""
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def used_gpu_indices() -> list[int]:
    """Returns the indices of the GPUs on which this process holds memory, without initializing CUDA."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return []
    return [index for index in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(index)]


def synchronized_seconds() -> float:
    """Returns `time.perf_counter()` once all queued GPU work has finished, since GPU calls return before it has."""
    for index in used_gpu_indices():
        torch.cuda.synchronize(index)
    return time.perf_counter()


def device_unavailable_reason(device: torch.device) -> str | None:
    """Returns why a device cannot be used, as a clause; None if it can."""
    if device.type != "cuda" or (device.index or 0) < torch.cuda.device_count():
        return None
    return f"expected a CUDA device for {device}, found {torch.cuda.device_count() or 'none'}"


def require_device(name: str | torch.device) -> torch.device:
    """Returns the device of a name as `find_device` does; raises Precondition if it is not available."""
    device = find_device(name)
    if (reason := device_unavailable_reason(device)) is not None:
        raise Precondition(f"{reason}; use device=cpu")
    return device


@contextmanager
def deterministic_fp32() -> Iterator[None]:
    """Disables TF32, which has a mantissa of ten bits, and non-deterministic algorithms in cuDNN's convolutions.

    Matrix products need no setting: torch computes them in full float32 by default.
    """
    with torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled, deterministic=True, benchmark=False, allow_tf32=False
    ):
        yield
