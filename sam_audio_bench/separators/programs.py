"""Running a program to its end, and ending everything that it started.

A program is the leader of a session and so of a process group of its own, which is killed as a whole. What left that
group, for a session of its own say, is found on Linux: while a program runs, this process adopts orphans (it is a
"subreaper", prctl(2)), and a variable in their environment says whose they are. Elsewhere only the group is ended.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

__all__ = ["run_program"]

_MARK = "SABENCH_PROGRAM"
_SET_SUBREAPER, _GET_SUBREAPER = 36, 37  # of prctl(2)
_PATIENCE = 5.0  # seconds in which what was killed must be gone


def run_program(command: Sequence[str], *, timeout: float, errors: BinaryIO) -> int:
    """Runs a program and gives its exit code; nothing that it started is left when this returns or raises.

    Args:
        command: the program and its arguments; no shell.
        timeout: seconds.
        errors: takes its standard error; a file, since a pipe would stay open in processes left behind.

    Raises:
        OSError, ValueError: it cannot be started. subprocess.TimeoutExpired: it had not ended, and was killed.
    """
    mark, process = uuid.uuid4().hex, None
    with _SUBREAPER.adopting():
        before = {child.number for child in _children()}
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                env={**os.environ, _MARK: mark},
            )
            return process.wait(timeout)
        finally:
            if process is not None:
                _end_group(process)
            _end_orphans(mark, before, None if process is None else process.pid)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):  # nobody is left in it
            os.killpg(process.pid, signal.SIGKILL)
    elif process.returncode is None:
        process.kill()
    process.wait()


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


_SUBREAPER = _Subreaper()


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


def _processes() -> Iterator[_Process]:
    """All processes of this machine that can be seen."""
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with suppress(OSError, ValueError):  # it ended meanwhile
                state, parent, _, session = (path / "stat").read_text(errors="replace").rpartition(")")[2].split()[:4]
                yield _Process(int(path.name), int(parent), int(session), state == "Z")


def _children() -> list[_Process]:
    """Children of this process, orphans that it adopted among them; none outside Linux."""
    if sys.platform != "linux" or not _has_children():
        return []
    return [process for process in _processes() if process.parent == os.getpid()]


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _end_orphans(mark: str, before: set[int], session: int | None) -> None:
    """Ends what a program left, and what that started in turn; it may start more while it is being ended."""
    killed: set[int] = set()
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        children = [child for child in _children() if child.number not in before]
        for child in children:
            if child.is_zombie and (child.session == session or child.number in killed):
                with suppress(ChildProcessError):
                    os.waitpid(child.number, os.WNOHANG)
        left = [child.number for child in children if not child.is_zombie and _is_left_by(child, mark)]
        if not left:
            return
        for number in _with_descendants(left):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)
            killed.add(number)
        time.sleep(0.002)


def _is_left_by(child: _Process, mark: str) -> bool:
    """Whether an adopted process belongs to the program of a mark.

    One that emptied its environment is known by its session: children of our own are in ours.
    """
    if child.session == os.getsid(0):
        return False
    try:
        variables = Path(f"/proc/{child.number}/environ").read_bytes().split(b"\0")
    except OSError:
        variables = []
    marks = [value for value in variables if value.startswith(f"{_MARK}=".encode())]
    return not marks or f"{_MARK}={mark}".encode() in marks


def _with_descendants(numbers: Sequence[int]) -> list[int]:
    """The processes and all that they started, parents first."""
    parents: dict[int, list[int]] = {}
    for process in _processes():
        parents.setdefault(process.parent, []).append(process.number)
    found = [*numbers]
    for number in found:
        found += parents.get(number, [])
    return found
