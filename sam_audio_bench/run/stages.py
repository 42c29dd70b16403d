"""Time per stage of a run, in this process and in workers, for ``--profile``.

Stages are measured in every thread and in every run, since reading a clock twice costs nothing in comparison. Items
are loaded and estimates written concurrently, and workers run in parallel: the sum may exceed the wall time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from sam_audio_bench.devices import synchronized_seconds

__all__ = ["NAME", "StageTime", "add_stage_times", "format_stage_times", "pop_stage_times", "stage"]

NAME = "profile.txt"
"""File name in a run folder."""

_lock = threading.Lock()
_spent: dict[str, StageTime] = {}


class StageTime(NamedTuple):
    """Total time and number of calls of a stage."""

    seconds: float
    calls: int


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Measures the time of a block, also if it fails, including pending GPU work at its end."""
    begun = synchronized_seconds()
    try:
        yield
    finally:
        add_stage_times({name: StageTime(synchronized_seconds() - begun, 1)})


def add_stage_times(spent: Mapping[str, StageTime]) -> None:
    """Adds times that were measured elsewhere, such as in a worker."""
    with _lock:
        for name, (seconds, calls) in spent.items():
            known = _spent.get(name, StageTime(0.0, 0))
            _spent[name] = StageTime(known.seconds + seconds, known.calls + calls)


def pop_stage_times() -> dict[str, StageTime]:
    """Returns the times since the last call, and resets them."""
    with _lock:
        found = dict(_spent)
        _spent.clear()
    return found


def format_stage_times(spent: Mapping[str, StageTime], wall_seconds: float) -> str:
    """Formats times as a table, longest stage first.

    >>> print(format_stage_times({"load": StageTime(0.5, 2), "separate": StageTime(1.5, 2)}, 2.0))
    stage      seconds   calls   ms a call   % of 2.00 s
    separate      1.50       2       750.0          75.0
    load          0.50       2       250.0          25.0
    """
    width = max(map(len, ("stage", *spent)))
    lines = [f"{'stage':{width}}   seconds   calls   ms a call   % of {wall_seconds:.2f} s"]
    last = len(f"% of {wall_seconds:.2f} s")
    for name, (seconds, calls) in sorted(spent.items(), key=lambda one: -one[1].seconds):
        share = 100 * seconds / wall_seconds if wall_seconds else 0.0
        lines.append(
            f"{name:{width}}{seconds:10.2f}{calls:8d}{1000 * seconds / max(calls, 1):12.1f}{share:{last + 3}.1f}"
        )
    return "\n".join(lines)
