"""Limit of the memory of a process, on platforms that support one."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from sam_audio_bench.errors import Precondition

__all__ = ["limit_memory", "limits_memory"]

_GIB = 1 << 30


def limits_memory() -> bool:
    """Returns whether this platform can limit allocations of a process: Linux does (RLIMIT_DATA, setrlimit(2))."""
    return sys.platform == "linux"


def limit_memory(gib: float | None) -> None:
    """Limits the private memory of this process: allocations beyond the limit fail.

    Mapped files, such as programs and libraries, do not count, nor does GPU memory. A program that the process starts
    has the same limit for itself.

    Args:
        gib: limit in GiB; None: no limit.

    Raises:
        Precondition: the process uses more already.
    """
    if not limits_memory():
        return
    import resource

    if gib is None:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        return
    used = _private_bytes()
    if used >= gib * _GIB:
        raise Precondition(
            f"expected --memory above the {used / _GIB:.2f} GiB that a worker has before its separator, found {gib:g}"
        )
    resource.setrlimit(resource.RLIMIT_DATA, (int(gib * _GIB), resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _private_bytes() -> int:
    """Returns the memory that counts towards the limit, in bytes."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) << 10
    return 0
