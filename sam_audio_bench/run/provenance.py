"""Provenance of scores: versions, hardware, commits, fingerprints, seeds."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sam_audio_bench.files import dump_json, sha256

__all__ = ["commit", "fingerprint", "hardware", "item_seed", "packages", "peak_memory_mib"]

_PACKAGES = (
    "sam-audio-bench", "torch", "torchmetrics", "numpy", "scipy", "pandas", "soundfile", "soxr", "av", "transformers",
)  # fmt: skip


def item_seed(task: str, item: str, run_seed: int, candidate: int = 0) -> int:
    """Returns the 63-bit seed of an item's estimate, which does not depend on batch, order or shard.

    >>> item_seed("sfx@1-mini", "sfx-00", 0) == item_seed("sfx@1-mini", "sfx-00", 0)
    True
    """
    digest = hashlib.blake2b(f"{task}/{item}/{run_seed}/{candidate}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def fingerprint(**parts: Any) -> str:
    """Returns a digest of everything that an estimate depends on; if it is unchanged, a stored estimate can be kept."""
    return sha256(dump_json(dict(sorted(parts.items()))).encode())[:32]


@cache
def packages() -> dict[str, str]:
    """Returns the versions of packages that can change a score."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def hardware() -> dict[str, Any]:
    """Returns processor, cores, memory and accelerators."""
    import torch

    from sam_audio_bench.devices import gpu_names

    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_mib": _memory_mib(),
        "gpus": gpu_names(),
    }


def _processor() -> str:
    with suppress(OSError):  # there is no such file outside Linux
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_mib() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    except (AttributeError, ValueError, OSError):
        return None


def peak_memory_mib() -> int | None:
    """Returns the peak resident set size of this process so far; None if the platform does not report it."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> 20 if sys.platform == "darwin" else peak >> 10


@cache
def commit() -> dict[str, Any] | None:
    """Returns the commit of this package's checkout and whether it was modified; None for an installed wheel."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return None
