"""Line-based exchange with a running program: one line in, one line out, within a time limit."""

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
from sam_audio_bench.separators.programs import Program, describe_exit, last_stderr_lines

__all__ = ["Dialogue", "ProgramError", "excerpt"]

_TICK = 0.05  # seconds between checks of a program that writes nothing
_LONGEST_LINE = 1 << 20  # bytes
_PASSED_ON = 1 << 20  # bytes of a program's standard error that are forwarded per query
_LARGEST_LOG = 1 << 24  # bytes
_GRACE = 2.0  # seconds that a program has to end by itself


class ProgramError(Exception):
    """A program failed and cannot be used any more; the message continues its name: "ended with exit code 1 …"."""


class Dialogue:
    """A running program that replies to each line with a line.

    Args:
        command: the program and its arguments; no shell.

    Raises:
        ProgramError: it cannot be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._stderr = _StderrLog()
        try:
            self._program = Program(command, errors=self._stderr.number, interactive=True)
        except (OSError, ValueError) as error:  # no executable format; no rights
            raise ProgramError(f"could not be started: {error}") from error
        process = self._program.process
        assert process.stdin is not None
        assert process.stdout is not None
        self._pipes = open_pipes(process.stdin, process.stdout)
        self._received = bytearray()

    def request(self, line: bytes, *, timeout: float, expected: str, see: str) -> tuple[bytes, float]:
        """Sends a line and returns the reply, without its line end, and the seconds until it came.

        Args:
            line: with its line end; empty: the program writes first.
            timeout: seconds.
            expected: the expected reply, for messages.
            see: the option that sets the timeout, for messages.

        Raises:
            ProgramError: it ended, took too long, wrote a line that is too long, or did not read its input.
        """
        with self._program.family.at_work():
            begun = time.perf_counter()
            self._pipes.send(line)
            while self._pipes.pending_bytes or b"\n" not in self._received:
                left = begun + timeout - time.perf_counter()
                if left <= 0:
                    raise ProgramError(
                        f"was killed: expected {expected} within {timeout:g} seconds (see {see}), "
                        f"found {self._describe_progress()}"
                    )
                self._exchange(min(left, _TICK))
            seconds = time.perf_counter() - begun
        reply, _, rest = bytes(self._received).partition(b"\n")
        self._received[:] = rest
        return reply, seconds

    def unrequested_output(self) -> str:
        """Returns an excerpt of output beyond the replies; "" if there is none."""
        self._received += self._pipes.read_available()
        return excerpt(bytes(self._received)) if self._received else ""

    def describe_exit(self) -> str:
        """Describes how it ended; "" while it runs."""
        code = self._program.process.poll()
        return "" if code is None else describe_exit(code)

    def forward_stderr(self) -> None:
        """Forwards its standard error to our own."""
        self._stderr.forward()

    def end(self, *, patiently: bool = False) -> None:
        """Ends it and every process that it started.

        Args:
            patiently: close its input first and give it a moment to end by itself.
        """
        try:
            if patiently:
                self._program.family.begin_work()
                self._pipes.close_input()
                self._program.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._stderr.write("it had not ended when its standard input did, and was killed\n")
        finally:
            self._program.end()
            self._pipes.close()
            self._stderr.forward()

    def _exchange(self, seconds: float) -> None:
        """Writes and reads what is possible within ``seconds``."""
        self._stderr.limit_size()
        found = self._pipes.exchange(seconds)
        if found == b"" and self._program.process.poll() is not None:
            found = self._pipes.exchange(_TICK) or None  # a process that it left behind may hold the pipe open
        if found is None:
            raise ProgramError(self._explain_missing_reply())
        self._received += found
        if len(self._received) > _LONGEST_LINE and b"\n" not in self._received[:_LONGEST_LINE]:
            raise ProgramError(
                f"was killed: expected lines of at most {_LONGEST_LINE:,} bytes, found one that begins with "
                f"{excerpt(bytes(self._received))}"
            )

    def _explain_missing_reply(self) -> str:
        """Explains why there will be no reply."""
        try:
            how = describe_exit(self._program.process.wait(1))
        except subprocess.TimeoutExpired:
            how = "closed its standard output"
        half = f" with half a line, {excerpt(bytes(self._received))}" if self._received else ""
        return f"{how}{half} instead of an answer: {last_stderr_lines(self._stderr.unread())}"

    def _describe_progress(self) -> str:
        if self._pipes.pending_bytes:
            return f"that it has not read its query ({self._pipes.pending_bytes:,} bytes are left)"
        if self._received:
            return f"half a line, {excerpt(bytes(self._received))}"
        return "nothing (does it end its lines, and flush its standard output?)"


_EXCERPT_SIZE = 80  # bytes


def excerpt(line: bytes) -> str:
    """Returns the beginning of a line, for messages."""
    text = line[:_EXCERPT_SIZE].decode("utf-8", "backslashreplace")
    return f"{text!r}{' …' if len(line) > _EXCERPT_SIZE else ''}"


class _StderrLog:
    """The standard error of a program, in a temporary file.

    It is read through a second descriptor, since the position of the first is where the program writes.
    """

    def __init__(self) -> None:
        self.number, path = tempfile.mkstemp(prefix="sabench-")
        self._reader = os.open(path, os.O_RDONLY | platforms.O_BINARY)
        weakref.finalize(self, _remove_log, (self.number, self._reader), path)
        if not platforms.IS_WINDOWS:  # which refuses to remove what is open
            Path(path).unlink()
        self._forwarded = 0

    def unread(self) -> str:
        """Returns the end of what was not forwarded yet."""
        os.lseek(self._reader, max(self._forwarded, os.fstat(self.number).st_size - _PASSED_ON), os.SEEK_SET)
        return os.read(self._reader, _PASSED_ON).decode(errors="replace")

    def forward(self) -> None:
        """Writes the end of the new output to our own standard error; truncates a file that has become large."""
        size = os.fstat(self.number).st_size
        left_out = max(0, size - self._forwarded - _PASSED_ON)
        text, self._forwarded = self.unread(), size
        if size > _LARGEST_LOG:
            left_out += os.fstat(self.number).st_size - size
            os.ftruncate(self.number, 0)
            os.lseek(self.number, 0, os.SEEK_SET)  # the program's position in the file too
            self._forwarded = 0
        sys.stderr.write(f"({left_out:,} bytes of standard error are left out here)\n" if left_out else "")
        sys.stderr.write(text)

    def limit_size(self) -> None:
        """Forwards the output before the file becomes too large."""
        if os.fstat(self.number).st_size > _LARGEST_LOG:
            self.forward()

    def write(self, text: str) -> None:
        """Appends a message of our own."""
        os.write(self.number, text.encode())


def _remove_log(descriptors: Sequence[int], path: str) -> None:
    for number in descriptors:
        os.close(number)
    with suppress(OSError):  # already removed, or held open by a process that was left behind
        Path(path).unlink()
