"""Trace of torch's operations in one call of a separator, for ``--profile``, in Chrome's trace format.

The first two calls of a job are traced, in whichever process they happen, and the last trace is kept: the first call
loads and compiles. Tracing makes a call slower, but does not change the estimate.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import profiler
from torch.autograd import _profiler_enabled as is_profiling  # type: ignore[attr-defined]

__all__ = [
    "NAME",
    "Trace",
    "add_trace",
    "keep_longest_events",
    "pop_trace",
    "trace_first_calls",
    "traced",
    "write_trace",
]

NAME = "trace.json.gz"
"""File name in a run folder."""

_CALLS = 2
_MAX_EVENTS = 20_000  # of a trace, about 300 KiB
_SILENT = "99"  # log level above all of Kineto's, which would otherwise write to the terminal


class Trace(NamedTuple):
    """The trace of one call."""

    call: int  # from 1
    content: bytes  # gzipped JSON


class _State:
    left = 0
    found: Trace | None = None


def trace_first_calls(is_enabled: bool) -> None:
    """Enables or disables tracing of the next calls, and discards an earlier trace."""
    _State.left, _State.found = (_CALLS if is_enabled else 0), None


def add_trace(trace: Trace | None) -> None:
    """Keeps a trace made elsewhere, such as in a worker, unless one of an equal or later call is kept already."""
    if trace is not None and (_State.found is None or trace.call > _State.found.call):
        _State.found = trace


def pop_trace() -> Trace | None:
    """Returns the trace since the last call, and resets it."""
    found, _State.found = _State.found, None
    return found


def write_trace(folder: Path) -> str:
    """Writes the trace to a run folder and returns a message; without a traced call, writes nothing and returns ""."""
    if (trace := pop_trace()) is None:
        return ""
    path = folder / NAME
    path.write_bytes(trace.content)
    return f"\ncall {trace.call} of the separator is traced in {path}; https://ui.perfetto.dev shows it"


@contextmanager
def traced() -> Iterator[None]:
    """Wraps a call of a separator, which is traced if it is one of the first; its errors are not changed.

    A process can have only one profiler: if another one is active, or the separator starts its own, that one is kept.
    """
    if not _State.left or is_profiling():
        yield
        return
    _State.left -= 1
    tracer = _started()
    try:
        with profiler.record_function("separate"):
            yield
    finally:
        if is_profiling():  # still ours: torch crashes on reading a profiler that another one has ended
            tracer.stop()
            add_trace(Trace(_CALLS - _State.left, _exported(tracer)))


def _started() -> profiler.profile:
    level = os.environ.get("KINETO_LOG_LEVEL")
    os.environ["KINETO_LOG_LEVEL"] = level or _SILENT
    try:
        tracer = profiler.profile(activities=profiler.supported_activities())  # type: ignore[no-untyped-call]
        tracer.start()
    finally:
        if level is None:
            os.environ.pop("KINETO_LOG_LEVEL")
    return tracer


def _exported(tracer: profiler.profile) -> bytes:
    with tempfile.TemporaryDirectory(prefix="sabench-") as folder:
        path = Path(folder) / "trace.json"
        tracer.export_chrome_trace(str(path))
        events = json.loads(path.read_bytes())["traceEvents"]
    document = {"displayTimeUnit": "ms", **keep_longest_events(events)}  # other fields identify this machine
    return gzip.compress(json.dumps(document).encode(), mtime=0)


def keep_longest_events(events: list[dict[str, Any]], most: int = _MAX_EVENTS) -> dict[str, Any]:
    """Returns the longest events of a trace in their order, without arguments, and a note of how many there were.

    >>> events = [{"ph": "X", "name": name, "dur": len(name)} for name in ("aa", "b", "cccc")]
    >>> found = keep_longest_events(events, most=2)
    >>> [event["name"] for event in found["traceEvents"]], found["otherData"]
    (['aa', 'cccc'], {'events': '2 of 3, the longest'})
    """
    lasting = [event for event in events if event.get("ph") == "X"]
    longest = sorted(lasting, key=lambda event: -float(event.get("dur", 0.0)))[:most]
    staying = set(map(id, longest))
    kept = [
        {key: value for key, value in event.items() if key != "args" or event["ph"] == "M"}
        for event in events if id(event) in staying or event.get("ph") == "M"
    ]  # fmt: skip
    how = f"{len(longest)} of {len(lasting)}, the longest" if len(longest) < len(lasting) else f"all {len(lasting)}"
    return {"traceEvents": kept, "otherData": {"events": how}}
