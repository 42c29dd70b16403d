"""Estimate of the memory and disk space that the longest item of a run needs, and warnings if this machine has less.

A separator gets the whole mixture and returns whole estimates: `SEPARATOR_FACTOR` times the mixture in float32, or what
built-in separators declare that they need. Everything else is done in blocks, in files of `SCRATCH_FACTOR` times it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sam_audio_bench.blocks import LONG, scratch_folder
from sam_audio_bench.run.contract import get_batch_size

if TYPE_CHECKING:
    from sam_audio_bench.run.job import Job

__all__ = ["BASE_BYTES", "METRIC_FACTOR", "SCRATCH_FACTOR", "SEPARATOR_FACTOR", "find_shortages", "total_memory"]

SEPARATOR_FACTOR = 5
"""The separator's copy of the mixture, its target and residual, and two intermediate copies."""

METRIC_FACTOR = 8
"""For a metric that is not computed in blocks: reference and estimate in float64, and as much for intermediates."""

SCRATCH_FACTOR = 10
"""Mixture, references and estimates, sums of some of them, and the inputs of perceptual metrics."""

BASE_BYTES = 1 << 30
"""Memory of a process with all default metrics, independent of length: measured in benchmarks/long_audio.md."""

_SAMPLE_BYTES = 4  # float32
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # Linux: the limit of a container


def find_shortages(jobs: Iterable[Job], batch: int | None = None) -> list[str]:
    """Describes each job whose longest item does not fit into memory, or into the folder for temporary files.

    Args:
        jobs: the jobs of a run.
        batch: items per batch; None: as the separator prefers.
    """
    return [text for job in jobs for text in _shortages(job, batch)]


def total_memory() -> int | None:
    """Returns the memory of this machine or its container in bytes; None if it is unknown."""
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        return min(found, int(_CGROUP_LIMIT.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no limit, or no such file
        return found


def _shortages(job: Job, batch: int | None) -> Iterator[str]:
    size_of = job.data.size
    if size_of is None:
        return
    sizes = {item: found for item in job.items_to_separate() if (found := size_of(item)) is not None and found > LONG}
    if not sizes:
        return
    longest = max(sizes, key=lambda item: sizes[item])
    mixture = sizes[longest] * _SAMPLE_BYTES
    together = min(batch or get_batch_size(job.separator), len(sizes))
    about = f"{job.model.name} on {job.data.label}: {longest}, {_shown(mixture)} as float32, will need about"
    factor = max(float(getattr(job.separator, "memory", 0)), SEPARATOR_FACTOR) * together
    whole = [name for one in job.metrics if not one.metric.in_blocks for name in one.columns]
    if whole:
        factor += METRIC_FACTOR
    memory, there = BASE_BYTES + factor * mixture, total_memory()
    if there is not None and memory > there:
        others = f", or leave out {', '.join(whole)}, which hold it as a whole" if whole else ""
        batches = ", say --batch-size 1" if together > 1 else ""
        advice = f"cut it into shorter items{batches}{others}"
        yield f"{about} {_shown(memory)} of memory, found {_shown(there)}; {advice}"
    room, free = SCRATCH_FACTOR * mixture * together, _free(scratch_folder())
    if free is not None and room > free:
        yield (
            f"{about} {_shown(room)} in {scratch_folder()} for temporary files, found {_shown(free)}; set TMPDIR to "
            "a folder that has them, or cut it into shorter items"
        )


def _shown(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 1 << 30 else f"{size / 2**20:.0f} MiB"


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
