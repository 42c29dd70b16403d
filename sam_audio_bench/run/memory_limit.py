"""A limit of the memory that a process may have, where the platform has one."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from sam_audio_bench.errors import Precondition

__all__ = ["limit_memory", "limits_memory"]

_GIB = 1 << 30


def limits_memory() -> bool:
    """Whether this platform limits what a process allocates: Linux does (RLIMIT_DATA, setrlimit(2))."""
    return sys.platform == "linux"


def limit_memory(gib: float | None) -> None:
    """Makes allocations fail that would take the private memory of this process above a limit.

    What it maps of files, programs and libraries say, does not count, and neither does memory of a GPU. A program that
    it starts has the same limit of its own.

    Args:
        gib: GiB; None: no limit.

    Raises:
        Precondition: it has more already.
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
    """What counts against the limit so far."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) << 10
    return 0
