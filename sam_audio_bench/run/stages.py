"""Where the time of a run goes: seconds of each stage, in this process or told by workers, for ``--profile``.

Stages are measured in any thread, and always, since two looks at a clock cost nothing beside them. Items are loaded and
estimates written beside other work, and workers work side by side: the sum may be more than the time that passed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from sam_audio_bench.devices import synchronized_seconds

__all__ = ["NAME", "Spent", "add", "as_text", "stage", "take"]

NAME = "profile.txt"
"""File of a run folder."""

_lock = threading.Lock()
_spent: dict[str, Spent] = {}


class Spent(NamedTuple):
    """Time of a stage."""

    seconds: float
    calls: int


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Counts the time of a block, whatever becomes of it, and what a GPU still has to do at its end."""
    begun = synchronized_seconds()
    try:
        yield
    finally:
        add({name: Spent(synchronized_seconds() - begun, 1)})


def add(spent: Mapping[str, Spent]) -> None:
    """Counts times that were measured elsewhere."""
    with _lock:
        for name, (seconds, calls) in spent.items():
            known = _spent.get(name, Spent(0.0, 0))
            _spent[name] = Spent(known.seconds + seconds, known.calls + calls)


def take() -> dict[str, Spent]:
    """All that was counted since this was asked last."""
    with _lock:
        found = dict(_spent)
        _spent.clear()
    return found


def as_text(spent: Mapping[str, Spent], wall_seconds: float) -> str:
    """A table, the longest stage first.

    >>> print(as_text({"load": Spent(0.5, 2), "separate": Spent(1.5, 2)}, 2.0))
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
