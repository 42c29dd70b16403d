"""Programs that this process starts: they end with everything that they started in turn.

A program is the leader of a session and so of a process group of its own, which is killed as a whole; on Windows the
tree below it is (`platforms`). What left that group, for a session of its own say, is found on Linux (`orphans`);
elsewhere only the group is ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from typing import IO

from sam_audio_bench.platforms import kill_group, new_group_options
from sam_audio_bench.separators.orphans import SUBREAPER, Family

__all__ = ["Program", "ending", "last_lines", "run_program"]


class Program:
    """A program that runs, until it is ended, this object goes, or this process exits.

    Args:
        command: the program and its arguments; no shell.
        errors: takes its standard error; a file, since a pipe would stay open in processes left behind.
        talks: its standard input and output are pipes, unbuffered; else it has no input and shares our output.

    Raises:
        OSError, ValueError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], *, errors: IO[bytes] | int, talks: bool = False) -> None:
        self.family = Family()
        adopting, process = ExitStack(), None
        adopting.enter_context(SUBREAPER.adopting())
        try:
            self.family.begin()
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else None,
                stderr=errors,
                bufsize=0,
                **new_group_options(),
                env={**os.environ, **({"PYTHONUNBUFFERED": "1"} if talks else {}), **self.family.variables},
            )
            self.family.leader = process.pid
        except BaseException:
            _end(process, self.family, adopting, os.getpid())
            raise
        self.process = process
        self._parts = process, self.family, adopting, os.getpid()
        self._forgotten = weakref.finalize(self, _end, *self._parts)

    def end(self) -> None:
        """Ends it, and all that it started; does nothing the second time, unless the first was interrupted."""
        if self._forgotten.alive:
            _end(*self._parts)
            self._forgotten.detach()


def _end(process: subprocess.Popen[bytes] | None, family: Family, adopting: ExitStack, owner: int) -> None:
    if os.getpid() != owner:  # a fork of the process whose program it is
        return
    if process is not None:
        kill_group(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
    family.end()
    adopting.close()


def run_program(command: Sequence[str], *, timeout: float, errors: IO[bytes]) -> int:
    """Runs a program and gives its exit code; nothing that it started is left when this returns or raises.

    Args:
        command: as `Program`.
        timeout: seconds.
        errors: as `Program`.

    Raises:
        OSError, ValueError: it cannot be started. subprocess.TimeoutExpired: it had not ended, and was killed.
    """
    program = Program(command, errors=errors)
    try:
        return program.process.wait(timeout)
    finally:
        program.end()


def ending(code: int) -> str:
    """How a program ended, as a sentence goes on after its name.

    >>> ending(3), ending(-9)
    ('ended with exit code 3', 'was ended by SIGKILL')
    """
    if code >= 0:
        return f"ended with exit code {code}"
    names = {int(one): one.name for one in signal.Signals}
    return f"was ended by {names.get(-code, f'signal {-code}')}"


def last_lines(errors: str, count: int = 3) -> str:
    """The end of what a program wrote to standard error."""
    said = [line.strip() for line in errors[-2000:].split("\n") if line.strip()]
    return " | ".join(said[-count:]) or "it wrote nothing to stderr"
