"""Runs programs, and ends them together with every process that they started.

A program is the leader of its own session and process group, which is killed as a whole; on Windows its process tree
is (`platforms`). Processes that left the group, for example for another session, are found on Linux (`process_family`);
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
from sam_audio_bench.separators.process_family import SUBREAPER, ProcessFamily

__all__ = ["Program", "describe_exit", "last_stderr_lines", "run_program"]


class Program:
    """A running program; it ends with this object or this process at the latest.

    Args:
        command: the program and its arguments; no shell.
        errors: file for its standard error; a pipe would stay open in processes left behind.
        interactive: whether its standard input and output are unbuffered pipes; otherwise it has no input and shares
            our output.

    Raises:
        OSError, ValueError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], *, errors: IO[bytes] | int, interactive: bool = False) -> None:
        self.family = ProcessFamily()
        adopting, process = ExitStack(), None
        adopting.enter_context(SUBREAPER.adopting())
        try:
            self.family.begin_work()
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if interactive else subprocess.DEVNULL,
                stdout=subprocess.PIPE if interactive else None,
                stderr=errors,
                bufsize=0,
                **new_group_options(),
                env={**os.environ, **({"PYTHONUNBUFFERED": "1"} if interactive else {}), **self.family.variables},
            )
            self.family.leader = process.pid
        except BaseException:
            _end(process, self.family, adopting, os.getpid())
            raise
        self.process = process
        self._parts = process, self.family, adopting, os.getpid()
        self._finalizer = weakref.finalize(self, _end, *self._parts)

    def end(self) -> None:
        """Ends it and every process that it started; a repeated call does nothing unless the first was interrupted."""
        if self._finalizer.alive:
            _end(*self._parts)
            self._finalizer.detach()


def _end(process: subprocess.Popen[bytes] | None, family: ProcessFamily, adopting: ExitStack, owner: int) -> None:
    if os.getpid() != owner:  # we are a fork of the process that started it
        return
    if process is not None:
        kill_group(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
    family.end()
    adopting.close()


def run_program(command: Sequence[str], *, timeout: float, errors: IO[bytes]) -> int:
    """Runs a program and returns its exit code; all processes that it started have ended afterwards.

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


def describe_exit(code: int) -> str:
    """Describes an exit code, as the continuation of the program's name.

    >>> describe_exit(3), describe_exit(-9)
    ('ended with exit code 3', 'was ended by SIGKILL')
    """
    if code >= 0:
        return f"ended with exit code {code}"
    names = {int(one): one.name for one in signal.Signals}
    return f"was ended by {names.get(-code, f'signal {-code}')}"


def last_stderr_lines(errors: str, count: int = 3) -> str:
    """Returns the last lines that a program wrote to standard error."""
    lines = [line.strip() for line in errors[-2000:].split("\n") if line.strip()]
    return " | ".join(lines[-count:]) or "it wrote nothing to stderr"
