"""Tells the processes that a program started from all other children of this process.

On Linux this process adopts orphans while a program runs (it is a "subreaper", prctl(2)); a variable in their
environment identifies their program. Elsewhere no child is found.
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

__all__ = ["SUBREAPER", "ProcessFamily", "read_environment"]

_VARIABLE = "SABENCH_PROGRAM"
_SET_SUBREAPER, _GET_SUBREAPER = 36, 37  # of prctl(2)
_PATIENCE = 5.0  # seconds until killed processes must be gone


class ProcessFamily:
    """The processes that one program started and left to this process, in any session.

    A child with the program's mark is a member. So is a child without any mark (it may have emptied its environment)
    that appeared while the program was working; our own children are in our session, or existed before.
    """

    def __init__(self) -> None:
        self.leader: int | None = None  # pid of the program, which its starter waits for
        self._mark = uuid.uuid4().hex
        self._known: set[int] = set()
        self._unrelated: set[int] = set()
        self._is_at_work = False

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that mark the members."""
        return {_VARIABLE: self._mark}

    def begin_work(self) -> None:
        """Marks the program as working: unmarked processes that exist already are no members."""
        if not self._is_at_work:
            processes = _list_processes()
            self._known &= {one.pid for one in processes}
            strange = {child.pid for child in _children(processes)} - self._known
            self._unrelated = {pid for pid in strange if read_environment(pid, _VARIABLE) != self._mark}
            self._is_at_work = True

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Marks the program as working within this block, and as idle after it."""
        self.begin_work()
        yield  # after an exception it will be ended with everything that has started until then
        self._is_at_work = False
        processes = _list_processes()
        children = _children(processes)
        members = [member.pid for member in self._living_members(children)]
        self._known.update(_add_descendants([*members, *filter(None, [self.leader])], processes))
        self._reap(children)

    def end(self) -> None:
        """Kills all members and their descendants, repeatedly, since they may start more meanwhile."""
        self.begin_work()
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            processes = _list_processes()
            children = _children(processes)
            self._reap(children)
            left = [member.pid for member in self._living_members(children)]
            if not left:
                return
            for pid in _add_descendants(left, processes):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
                self._known.add(pid)
            time.sleep(0.002)

    def _living_members(self, children: Sequence[_Process]) -> list[_Process]:
        """Returns the members that are alive."""
        if not children:  # or a system without sessions
            return []
        ours, marks = os.getsid(0), ("", self._mark)
        strange = [one for one in children if one.session != ours and one.pid not in self._unrelated]
        return [one for one in strange if not one.is_zombie and read_environment(one.pid, _VARIABLE) in marks]

    def _reap(self, children: Sequence[_Process]) -> None:
        """Reaps members that have ended; others are left alone, since their starter may wait for them."""
        for child in children:
            known = child.pid in self._known or child.session == self.leader
            if child.is_zombie and known and child.pid != self.leader:
                with suppress(ChildProcessError):
                    os.waitpid(child.pid, os.WNOHANG)


class _Subreaper:
    """Makes this process a subreaper, the parent of orphans, while any program runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._was_subreaper = 1  # the state to restore

    @contextmanager
    def adopting(self) -> Iterator[None]:
        """Adopts orphans within this block; has no effect outside Linux."""
        with self._lock:
            if self._running == 0:
                self._was_subreaper = _is_subreaper()
                _set_subreaper(1)
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if self._running == 0:
                    _set_subreaper(self._was_subreaper)


SUBREAPER = _Subreaper()
"""The subreaper state of this process, shared by all programs."""


def _is_subreaper() -> int:
    found = ctypes.c_int(1)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_GET_SUBREAPER, ctypes.byref(found), 0, 0, 0)
    return found.value


def _set_subreaper(value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_SUBREAPER, ctypes.c_ulong(value), 0, 0, 0)


class _Process(NamedTuple):
    pid: int
    parent: int
    session: int
    is_zombie: bool


def _list_processes() -> list[_Process]:
    """Lists all visible processes; none if this process has no children, and outside Linux."""
    found = []
    for path in Path("/proc").iterdir() if sys.platform == "linux" and _has_children() else ():
        if path.name.isdecimal():
            with suppress(OSError, ValueError):  # it ended meanwhile
                state, parent, _, session = (path / "stat").read_text(errors="replace").rpartition(")")[2].split()[:4]
                found.append(_Process(int(path.name), int(parent), int(session), state == "Z"))
    return found


def _children(processes: Sequence[_Process]) -> list[_Process]:
    """Returns the children of this process, including adopted orphans."""
    return [process for process in processes if process.parent == os.getpid()]


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def read_environment(pid: int, variable: str) -> str:
    """Reads a variable from the environment of a process; "" if it is not set or the process has ended."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    begin = f"{variable}=".encode()
    marks = [value.removeprefix(begin).decode(errors="replace") for value in variables if value.startswith(begin)]
    return marks[0] if marks else ""


def _add_descendants(pids: Sequence[int], processes: Sequence[_Process]) -> list[int]:
    """Returns the pids and those of all descendants, parents first."""
    parents: dict[int, list[int]] = {}
    for process in processes:
        parents.setdefault(process.parent, []).append(process.pid)
    found = [*pids]
    for pid in found:
        found += parents.get(pid, [])
    return found
