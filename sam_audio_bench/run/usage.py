"""Resource usage of a separator besides time: memory of the process and of the GPU, and number of parameters."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch

from sam_audio_bench.devices import used_gpu_indices
from sam_audio_bench.records import Timing
from sam_audio_bench.run.provenance import peak_memory_mib

__all__ = ["MemoryWatch", "Usage", "UsageMeter", "count_parameters"]

_INTERVAL = 0.02  # seconds between samples of the memory
_MAX_DEPTH = 6  # nesting of attributes and containers
_MAX_MEMBERS = 1000  # inspected members of a container
_MAX_OBJECTS = 20_000  # inspected objects
_LEAVES = (type, ModuleType, str, bytes, int, float, torch.Tensor)  # their members are not inspected


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Resource usage of one separator on one task; unknown values are None."""

    host_mib: int | None = None  # largest resident set
    device_mib: int | None = None  # largest amount that torch allocated on a GPU
    parameters: int | None = None

    @classmethod
    def of(cls, timing: Timing | None) -> Usage:
        """Makes the usage from the timing in a run's record."""
        if timing is None:
            return cls()
        return cls(host_mib=timing.peak_memory_mib, device_mib=timing.device_memory_mib, parameters=timing.parameters)

    def merged(self, other: Usage) -> Usage:
        """Returns the larger of each value, for two workers with the same separator."""

        def larger(*values: int | None) -> int | None:
            return max((value for value in values if value is not None), default=None)

        return Usage(
            host_mib=larger(self.host_mib, other.host_mib),
            device_mib=larger(self.device_mib, other.device_mib),
            parameters=larger(self.parameters, other.parameters),
        )


class MemoryWatch:
    """The peak memory of this process since the object was made.

    The operating system reports the peak of the whole process, which is the right value if it has grown since. If it
    has not, as with the second of two separators, the value is that of a thread that samples the memory; outside Linux,
    where that is not possible, the peak of the whole process is used.
    """

    def __init__(self) -> None:
        self._before, self._largest = peak_memory_mib(), 0
        for index in used_gpu_indices():
            torch.cuda.reset_peak_memory_stats(index)
        self._closed = threading.Event()
        self._look()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def host_mib(self) -> int | None:
        """Largest resident set, MiB."""
        self._look()
        peak = peak_memory_mib()
        return peak if peak != self._before or not self._largest else self._largest

    @property
    def device_mib(self) -> int | None:
        """Largest amount that torch has allocated on one GPU, MiB."""
        return max((torch.cuda.max_memory_allocated(index) >> 20 for index in used_gpu_indices()), default=None)

    def usage(self, parameters: int | None) -> Usage:
        """Returns the memory usage, together with the given number of parameters."""
        return Usage(host_mib=self.host_mib, device_mib=self.device_mib, parameters=parameters)

    def close(self) -> None:
        """Stops the thread."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(_INTERVAL):
            self._look()

    def _look(self) -> None:
        with suppress(OSError, ValueError, IndexError):
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            self._largest = max(self._largest, pages * os.sysconf("SC_PAGE_SIZE") >> 20)


class UsageMeter:
    """Measures the usage of a run's separator, in this process or in workers.

    Args:
        separator: of the run.
        earlier: timing in the folder's earlier record; None: there was no run.
    """

    def __init__(self, separator: object, earlier: Timing | None) -> None:
        self._separator, self._earlier, self._watch = separator, Usage.of(earlier), MemoryWatch()
        self._workers: Usage | None = None
        self._is_called = earlier is None

    def add(self, usage: Usage | None) -> None:
        """Records that an estimate was made; ``usage`` is that of its worker, or None for this process."""
        self._is_called = True
        if usage is not None:
            self._workers = usage if self._workers is None else self._workers.merged(usage)

    def usage(self) -> Usage:
        """Returns the usage; for a run that only scored, that of the earlier run."""
        if self._workers is not None:
            return self._workers
        if not self._is_called:
            return self._earlier
        return self._watch.usage(count_parameters(self._separator))

    def close(self) -> None:
        """Stops measuring the memory."""
        self._watch.close()


def count_parameters(separator: object) -> int | None:
    """Counts the parameters of all torch modules of a separator, each once; None: it has no module.

    They are searched in its attributes, in the closure and the globals of functions, and in containers among these.
    Networks in another process or another framework are not found.
    """
    try:
        modules = list(_modules(separator, _MAX_DEPTH, set()))
        sizes = {id(one): one.numel() for module in modules for one in module.parameters() if not _is_lazy(one)}
    except Exception:  # of objects with unusual attributes
        return None
    return sum(sizes.values()) if modules else None


def _is_lazy(parameter: torch.nn.Parameter) -> bool:
    """Returns whether the size of a parameter is unknown before the module's first call."""
    return bool(torch.nn.parameter.is_lazy(parameter))


def _modules(found: object, depth: int, seen: set[int]) -> Iterator[torch.nn.Module]:
    """Yields the outermost modules reachable from an object."""
    if isinstance(found, torch.nn.Module):
        yield found
        return
    if depth == 0 or id(found) in seen or len(seen) >= _MAX_OBJECTS or isinstance(found, _LEAVES):
        return
    seen.add(id(found))
    for member in _members(found):
        yield from _modules(member, depth - 1, seen)


def _members(found: Any) -> list[object]:
    """Returns the members of a container, function or other object."""
    if isinstance(found, Mapping):
        return list(islice(found.values(), _MAX_MEMBERS))
    if isinstance(found, list | tuple | set | frozenset):
        return list(islice(found, _MAX_MEMBERS))
    members: list[object] = []
    if isinstance(found, FunctionType):
        members += [found.__globals__[name] for name in found.__code__.co_names if name in found.__globals__]
        for cell in found.__closure__ or ():
            with suppress(ValueError):  # the cell is empty
                members.append(cell.cell_contents)
    for name in ("__self__", "__wrapped__", "func", "args", "keywords"):  # of methods, decorators and partials
        with suppress(Exception):
            members.append(object.__getattribute__(found, name))
    with suppress(Exception):
        members += object.__getattribute__(found, "__dict__").values()
    return members
