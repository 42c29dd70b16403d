"""Whose children are whose: what a program started, told from everything else that this process has started.

On Linux this process adopts orphans while a program runs (it is a "subreaper", prctl(2)), and a variable in their
environment says whose they are. Elsewhere no child is found.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["SUBREAPER", "Family", "mark_of"]

_MARK = "SABENCH_PROGRAM"
_SET_SUBREAPER, _GET_SUBREAPER = 36, 37  # of prctl(2)
_PATIENCE = 5.0  # seconds in which what was killed must be gone


class Family:
    """What one program started and left to this process, whatever session it is in.

    A child with the program's mark is of the family. So is one without any mark, which emptied its environment, if it
    came while the program was at work; children of our own are in our session, or were there before.
    """

    def __init__(self) -> None:
        self.leader: int | None = None  # the program, which whoever started it waits for
        self._mark = uuid.uuid4().hex
        self._own: set[int] = set()
        self._others: set[int] = set()
        self._is_at_work = False

    @property
    def variables(self) -> dict[str, str]:
        """The environment by which its members are known."""
        return {_MARK: self._mark}

    def begin(self) -> None:
        """The program is at work: what was here before and has no mark is not of the family."""
        if not self._is_at_work:
            processes = _processes()
            self._own &= {one.number for one in processes}
            strange = {child.number for child in _children(processes)} - self._own
            self._others = {number for number in strange if mark_of(number, _MARK) != self._mark}
            self._is_at_work = True

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The program is at work in this block and idle after it."""
        self.begin()
        yield  # after an exception it is to be ended, and all that has come until then with it
        self._is_at_work = False
        processes = _processes()
        children = _children(processes)
        members = [member.number for member in self._members(children)]
        self._own.update(_with_descendants([*members, *filter(None, [self.leader])], processes))
        self._reap(children)

    def end(self) -> None:
        """Ends all members, and what they started in turn; they may start more while they are being ended."""
        self.begin()
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            processes = _processes()
            children = _children(processes)
            self._reap(children)
            left = [member.number for member in self._members(children)]
            if not left:
                return
            for number in _with_descendants(left, processes):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(number, signal.SIGKILL)
                self._own.add(number)
            time.sleep(0.002)

    def _members(self, children: Sequence[_Process]) -> list[_Process]:
        """Those of the family that are alive."""
        if not children:  # or a system without sessions
            return []
        ours, marks = os.getsid(0), ("", self._mark)
        strange = [one for one in children if one.session != ours and one.number not in self._others]
        return [one for one in strange if not one.is_zombie and mark_of(one.number, _MARK) in marks]

    def _reap(self, children: Sequence[_Process]) -> None:
        """Lets go of members that have ended; one that is not known as a member may be waited for by somebody."""
        for child in children:
            known = child.number in self._own or child.session == self.leader
            if child.is_zombie and known and child.number != self.leader:
                with suppress(ChildProcessError):
                    os.waitpid(child.number, os.WNOHANG)


class _Subreaper:
    """Makes this process the parent of orphans as long as any program runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._before = 1  # whether it was one already

    @contextmanager
    def adopting(self) -> Iterator[None]:
        """Orphans come here within this block; outside Linux they do not."""
        with self._lock:
            if self._running == 0:
                self._before = _subreaper()
                _set_subreaper(1)
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if self._running == 0:
                    _set_subreaper(self._before)


SUBREAPER = _Subreaper()
"""Of this process, shared by all programs."""


def _subreaper() -> int:
    found = ctypes.c_int(1)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_GET_SUBREAPER, ctypes.byref(found), 0, 0, 0)
    return found.value


def _set_subreaper(value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_SUBREAPER, ctypes.c_ulong(value), 0, 0, 0)


class _Process(NamedTuple):
    number: int
    parent: int
    session: int
    is_zombie: bool


def _processes() -> list[_Process]:
    """All processes of this machine that can be seen; none where none is a child of this one, and outside Linux."""
    found = []
    for path in Path("/proc").iterdir() if sys.platform == "linux" and _has_children() else ():
        if path.name.isdecimal():
            with suppress(OSError, ValueError):  # it ended meanwhile
                state, parent, _, session = (path / "stat").read_text(errors="replace").rpartition(")")[2].split()[:4]
                found.append(_Process(int(path.name), int(parent), int(session), state == "Z"))
    return found


def _children(processes: Sequence[_Process]) -> list[_Process]:
    """Children of this process, orphans that it adopted among them."""
    return [process for process in processes if process.parent == os.getpid()]


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def mark_of(number: int, variable: str) -> str:
    """A variable in the environment of a process; "" where it has none, or has ended."""
    try:
        variables = Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    begin = f"{variable}=".encode()
    marks = [value.removeprefix(begin).decode(errors="replace") for value in variables if value.startswith(begin)]
    return marks[0] if marks else ""


def _with_descendants(numbers: Sequence[int], processes: Sequence[_Process]) -> list[int]:
    """The numbers of processes and of all that they started, parents first."""
    parents: dict[int, list[int]] = {}
    for process in processes:
        parents.setdefault(process.parent, []).append(process.number)
    found = [*numbers]
    for number in found:
        found += parents.get(number, [])
    return found
