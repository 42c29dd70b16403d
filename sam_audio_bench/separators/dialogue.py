"""Talking with a program that stays: a line in, a line out, within a time, until something is wrong with it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sam_audio_bench import platforms
from sam_audio_bench.separators.pipes import open_pipes
from sam_audio_bench.separators.programs import Program, ending, last_lines

__all__ = ["Broken", "Dialogue"]

_TICK = 0.05  # seconds after which a program that says nothing is looked at
_LONGEST_LINE = 1 << 20  # bytes
_PASSED_ON = 1 << 20  # bytes of what a program writes to standard error during a query
_LARGEST_LOG = 1 << 24  # bytes
_GRACE = 2.0  # seconds in which a program may end by itself


class Broken(Exception):  # noqa: N818 - it says what the program did
    """The program is of no further use. The message goes on after its name: "ended with exit code 1 …"."""


class Dialogue:
    """A program that is asked line by line.

    Args:
        command: the program and its arguments; no shell.

    Raises:
        Broken: it cannot be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = _Errors()
        try:
            self._program = Program(command, errors=self._errors.number, talks=True)
        except (OSError, ValueError) as error:  # no executable format; no rights
            raise Broken(f"could not be started: {error}") from error
        process = self._program.process
        assert process.stdin is not None
        assert process.stdout is not None
        self._pipes = open_pipes(process.stdin, process.stdout)
        self._heard = bytearray()

    def ask(self, line: bytes, *, timeout: float, expected: str, see: str) -> tuple[bytes, float]:
        """Sends a line and gives the line that comes back, without its end, and the seconds between.

        Args:
            line: with its end; empty: the program speaks first.
            timeout: seconds.
            expected: what comes back, for messages.
            see: which option says how long that may take, for messages.

        Raises:
            Broken: it ended, took too long, or wrote a line that is too long; or it has not read all that it was told.
        """
        with self._program.family.at_work():
            begun = time.perf_counter()
            self._pipes.send(line)
            while self._pipes.unsent or b"\n" not in self._heard:
                left = begun + timeout - time.perf_counter()
                if left <= 0:
                    raise Broken(
                        f"was killed: expected {expected} within {timeout:g} seconds (see {see}), "
                        f"found {self._so_far()}"
                    )
                self._exchange(min(left, _TICK))
            seconds = time.perf_counter() - begun
        answer, _, rest = bytes(self._heard).partition(b"\n")
        self._heard[:] = rest
        return answer, seconds

    def unasked(self) -> str:
        """What it wrote beyond its answers, as a message shows it; "" where there is nothing."""
        self._heard += self._pipes.heard()
        return shown(bytes(self._heard)) if self._heard else ""

    def ended(self) -> str:
        """How it ended; "" while it runs."""
        code = self._program.process.poll()
        return "" if code is None else ending(code)

    def pass_errors_on(self) -> None:
        """Writes what it wrote to standard error to our own."""
        self._errors.pass_on()

    def end(self, *, patiently: bool = False) -> None:
        """Ends it, and all that it started.

        Args:
            patiently: it is told by the end of its input, and has a moment to end by itself.
        """
        try:
            if patiently:
                self._program.family.begin()
                self._pipes.end_queries()
                self._program.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._errors.write("it had not ended when its standard input did, and was killed\n")
        finally:
            self._program.end()
            self._pipes.close()
            self._errors.pass_on()

    def _exchange(self, seconds: float) -> None:
        """Sends and hears what can be sent and heard within a moment."""
        self._errors.keep_small()
        found = self._pipes.exchange(seconds)
        if found == b"" and self._program.process.poll() is not None:
            found = self._pipes.exchange(_TICK) or None  # something that it left may hold the pipe open
        if found is None:
            raise Broken(self._silence())
        self._heard += found
        if len(self._heard) > _LONGEST_LINE and b"\n" not in self._heard[:_LONGEST_LINE]:
            raise Broken(
                f"was killed: expected lines of at most {_LONGEST_LINE:,} bytes, found one that begins with "
                f"{shown(bytes(self._heard))}"
            )

    def _silence(self) -> str:
        """How it came that there will be no answer."""
        try:
            how = ending(self._program.process.wait(1))
        except subprocess.TimeoutExpired:
            how = "closed its standard output"
        half = f" with half a line, {shown(bytes(self._heard))}" if self._heard else ""
        return f"{how}{half} instead of an answer: {last_lines(self._errors.new())}"

    def _so_far(self) -> str:
        if self._pipes.unsent:
            return f"that it has not read its query ({self._pipes.unsent:,} bytes are left)"
        if self._heard:
            return f"half a line, {shown(bytes(self._heard))}"
        return "nothing (does it end its lines, and flush its standard output?)"


_SHOWN = 80  # bytes


def shown(line: bytes) -> str:
    """The beginning of a line as a message shows it."""
    text = line[:_SHOWN].decode("utf-8", "backslashreplace")
    return f"{text!r}{' …' if len(line) > _SHOWN else ''}"


class _Errors:
    """The standard error of a program, in a file without a name; on Windows in one that goes with this object.

    It is read by a descriptor of its own place, since that of the program's says where it writes on.
    """

    def __init__(self) -> None:
        self.number, path = tempfile.mkstemp(prefix="sabench-")
        self._reader = os.open(path, os.O_RDONLY | platforms.O_BINARY)
        weakref.finalize(self, _let_go, (self.number, self._reader), path)
        if not platforms.IS_WINDOWS:  # which refuses to remove what is open
            Path(path).unlink()
        self._told = 0

    def new(self) -> str:
        """The end of what has not been passed on."""
        os.lseek(self._reader, max(self._told, os.fstat(self.number).st_size - _PASSED_ON), os.SEEK_SET)
        return os.read(self._reader, _PASSED_ON).decode(errors="replace")

    def pass_on(self) -> None:
        """Writes the end of what is new to our own standard error; a file that has become large begins anew."""
        size = os.fstat(self.number).st_size
        left_out = max(0, size - self._told - _PASSED_ON)
        told, self._told = self.new(), size
        if size > _LARGEST_LOG:
            left_out += os.fstat(self.number).st_size - size
            os.ftruncate(self.number, 0)
            os.lseek(self.number, 0, os.SEEK_SET)  # the program's place in the file too
            self._told = 0
        sys.stderr.write(f"({left_out:,} bytes of standard error are left out here)\n" if left_out else "")
        sys.stderr.write(told)

    def keep_small(self) -> None:
        """Passes on what is there before the file becomes too large."""
        if os.fstat(self.number).st_size > _LARGEST_LOG:
            self.pass_on()

    def write(self, text: str) -> None:
        """Adds a word of our own."""
        os.write(self.number, text.encode())


def _let_go(descriptors: Sequence[int], path: str) -> None:
    for number in descriptors:
        os.close(number)
    with suppress(OSError):  # it is gone, or a process that was left behind has it open
        Path(path).unlink()
