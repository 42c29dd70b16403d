"""What a separator costs beside time: memory of the process and of the GPU, and the parameters of its networks."""

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

__all__ = ["MemoryWatch", "Meter", "Usage", "count_parameters"]

_INTERVAL = 0.02  # seconds between two looks at the memory
_DEEPEST = 6  # attributes of attributes, items of containers
_WIDEST = 1000  # members of a container that are looked at
_MOST = 20_000  # objects that are looked at
_WITHOUT = (type, ModuleType, str, bytes, int, float, torch.Tensor)  # what is not looked into


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Of one separator on one task; what is not known, or not there, is None."""

    host_mib: int | None = None  # largest resident set
    device_mib: int | None = None  # largest amount that torch allocated on a GPU
    parameters: int | None = None

    @classmethod
    def of(cls, timing: Timing | None) -> Usage:
        """As a run's record tells of it."""
        if timing is None:
            return cls()
        return cls(host_mib=timing.peak_memory_mib, device_mib=timing.device_memory_mib, parameters=timing.parameters)

    def joined(self, other: Usage) -> Usage:
        """The larger of each: two workers that hold the same separator."""

        def larger(*values: int | None) -> int | None:
            return max((value for value in values if value is not None), default=None)

        return Usage(
            host_mib=larger(self.host_mib, other.host_mib),
            device_mib=larger(self.device_mib, other.device_mib),
            parameters=larger(self.parameters, other.parameters),
        )


class MemoryWatch:
    """The largest memory of this process from now on.

    The system knows the largest of the whole process, which is what is wanted where it has grown since. Where it has
    not, as with the second of two separators, a thread has looked at the memory now and then; outside Linux, where it
    cannot, the largest of the process is all that is known.
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
        """Largest amount that torch has allocated on any one GPU, MiB."""
        return max((torch.cuda.max_memory_allocated(index) >> 20 for index in used_gpu_indices()), default=None)

    def usage(self, parameters: int | None) -> Usage:
        """What is known of the memory, beside the parameters of a separator."""
        return Usage(host_mib=self.host_mib, device_mib=self.device_mib, parameters=parameters)

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(_INTERVAL):
            self._look()

    def _look(self) -> None:
        with suppress(OSError, ValueError, IndexError):
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            self._largest = max(self._largest, pages * os.sysconf("SC_PAGE_SIZE") >> 20)


class Meter:
    """What the separator of a run uses, in this process or in workers.

    Args:
        separator: of the run.
        earlier: what the record of the folder told before; None: there was no run.
    """

    def __init__(self, separator: object, earlier: Timing | None) -> None:
        self._separator, self._earlier, self._watch = separator, Usage.of(earlier), MemoryWatch()
        self._workers: Usage | None = None
        self._is_called = earlier is None

    def add(self, usage: Usage | None) -> None:
        """Notes that an estimate was made; ``usage`` is that of a worker, None: it was this process."""
        self._is_called = True
        if usage is not None:
            self._workers = usage if self._workers is None else self._workers.joined(usage)

    def usage(self) -> Usage:
        """What was used; of a run that only scored, what is known of the run before."""
        if self._workers is not None:
            return self._workers
        if not self._is_called:
            return self._earlier
        return self._watch.usage(count_parameters(self._separator))

    def close(self) -> None:
        """Ends the watch over the memory."""
        self._watch.close()


def count_parameters(separator: object) -> int | None:
    """Parameters of all torch modules that a separator holds, each once; None: it holds none.

    They are looked for in its attributes, in what a function closes over or names, and in containers among them. What
    another process or another framework holds is not seen.
    """
    try:
        modules = list(_modules(separator, _DEEPEST, set()))
        sizes = {id(one): one.numel() for module in modules for one in module.parameters() if not _is_lazy(one)}
    except Exception:  # of objects that are not what they seem
        return None
    return sum(sizes.values()) if modules else None


def _is_lazy(parameter: torch.nn.Parameter) -> bool:
    """Whether the size of a parameter is not known before the module's first call."""
    return bool(torch.nn.parameter.is_lazy(parameter))


def _modules(found: object, depth: int, seen: set[int]) -> Iterator[torch.nn.Module]:
    """The outermost modules below an object."""
    if isinstance(found, torch.nn.Module):
        yield found
        return
    if depth == 0 or id(found) in seen or len(seen) >= _MOST or isinstance(found, _WITHOUT):
        return
    seen.add(id(found))
    for member in _members(found):
        yield from _modules(member, depth - 1, seen)


def _members(found: Any) -> list[object]:
    """What an object holds."""
    if isinstance(found, Mapping):
        return list(islice(found.values(), _WIDEST))
    if isinstance(found, list | tuple | set | frozenset):
        return list(islice(found, _WIDEST))
    members: list[object] = []
    if isinstance(found, FunctionType):
        members += [found.__globals__[name] for name in found.__code__.co_names if name in found.__globals__]
        for cell in found.__closure__ or ():
            with suppress(ValueError):  # nothing is in it yet
                members.append(cell.cell_contents)
    for name in ("__self__", "__wrapped__", "func", "args", "keywords"):  # of methods, decorators and partials
        with suppress(Exception):
            members.append(object.__getattribute__(found, name))
    with suppress(Exception):
        members += object.__getattribute__(found, "__dict__").values()
    return members
