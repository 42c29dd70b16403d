"""Non-blocking access to the standard input and output of a running program.

`SelectedPipes` use select. Windows does not support that for pipes: `ThreadedPipes` have one thread per pipe, which
waits instead.
"""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Callable
from typing import IO, Protocol

from sam_audio_bench import platforms

__all__ = ["Pipes", "SelectedPipes", "ThreadedPipes", "open_pipes"]

_CHUNK = 1 << 16  # bytes


class Pipes(Protocol):
    """Both pipes of a program; to be used from one thread."""

    @property
    def pending_bytes(self) -> int:
        """Number of bytes that the program has not read."""

    def send(self, content: bytes) -> None:
        """Starts to write; unread bytes of an earlier call are dropped."""

    def exchange(self, seconds: float) -> bytes | None:
        """Writes, and returns what was read within ``seconds``: b"" if nothing, None at the end of the output."""

    def read_available(self) -> bytes:
        """Reads without waiting."""

    def close_input(self) -> None:
        """Closes the program's input."""

    def close(self) -> None:
        """Frees the resources for waiting; `Program` closes the pipes themselves."""


def open_pipes(input_pipe: IO[bytes], output: IO[bytes]) -> Pipes:
    """Returns the implementation of `Pipes` for this system.

    Args:
        input_pipe: its standard input, unbuffered.
        output: its standard output, unbuffered.
    """
    return (ThreadedPipes if platforms.IS_WINDOWS else SelectedPipes)(input_pipe, output)


class SelectedPipes:
    """Pipes that wait with a selector; arguments as for `open_pipes`."""

    def __init__(self, input_pipe: IO[bytes], output: IO[bytes]) -> None:
        self._input, self._output = input_pipe, output
        for pipe in (input_pipe, output):
            os.set_blocking(pipe.fileno(), False)
        self._pending = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(output, selectors.EVENT_READ)
        self._is_sending = False

    @property
    def pending_bytes(self) -> int:
        """See `Pipes`."""
        return len(self._pending)

    def send(self, content: bytes) -> None:
        """See `Pipes`."""
        self._pending = content
        self._select_input()

    def exchange(self, seconds: float) -> bytes | None:
        """See `Pipes`."""
        found: bytes | None = b""
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._output:
                try:
                    found = os.read(self._output.fileno(), _CHUNK) or None
                except BlockingIOError:
                    continue
            else:
                self._write_pending()
        return found

    def read_available(self) -> bytes:
        """See `Pipes`."""
        try:
            return os.read(self._output.fileno(), _CHUNK)
        except BlockingIOError:
            return b""

    def close_input(self) -> None:
        """See `Pipes`."""
        self._pending = b""
        self._select_input()
        self._input.close()

    def close(self) -> None:
        """See `Pipes`."""
        self._selector.close()

    def _write_pending(self) -> None:
        try:
            self._pending = self._pending[os.write(self._input.fileno(), self._pending[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it reads no more; how it ended is reported at the end of its output
            self._pending = b""
        self._select_input()

    def _select_input(self) -> None:
        """Selects the program's input only while there is something to write."""
        has_pending = bool(self._pending)
        if has_pending != self._is_sending:
            if has_pending:
                self._selector.register(self._input, selectors.EVENT_WRITE)
            else:
                self._selector.unregister(self._input)
            self._is_sending = has_pending


class ThreadedPipes:
    """Pipes with two waiting threads, which end with the program; arguments as for `open_pipes`."""

    def __init__(self, input_pipe: IO[bytes], output: IO[bytes]) -> None:
        self._input, self._output = input_pipe, output
        self._changed = threading.Condition()
        self._pending, self._received = b"", bytearray()
        self._has_ended = self._is_closed = False
        for work in (self._read_output, self._write_pending):
            threading.Thread(target=self._run_guarded, args=(work,), name="pipe", daemon=True).start()

    @property
    def pending_bytes(self) -> int:
        """See `Pipes`."""
        return len(self._pending)

    def send(self, content: bytes) -> None:
        """See `Pipes`."""
        with self._changed:
            self._pending = content
            self._changed.notify_all()

    def exchange(self, seconds: float) -> bytes | None:
        """See `Pipes`."""
        with self._changed:
            self._changed.wait_for(lambda: self._received or self._has_ended, seconds)
            return self._take_received() or (None if self._has_ended else b"")

    def read_available(self) -> bytes:
        """See `Pipes`."""
        with self._changed:
            return self._take_received()

    def close_input(self) -> None:
        """See `Pipes`."""
        self.close()
        self._input.close()

    def close(self) -> None:
        """See `Pipes`."""
        with self._changed:
            self._pending, self._is_closed = b"", True
            self._changed.notify_all()

    def _take_received(self) -> bytes:
        found = bytes(self._received)
        self._received.clear()
        return found

    def _run_guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, ValueError):  # the pipe is closed; how the program ended is reported at the end of its output
            with self._changed:
                self._pending = b""

    def _read_output(self) -> None:
        try:
            while found := os.read(self._output.fileno(), _CHUNK):
                with self._changed:
                    self._received += found
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()

    def _write_pending(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._is_closed)
                if self._is_closed:
                    return
                content = self._pending
            count = os.write(self._input.fileno(), content[:_CHUNK])
            with self._changed:
                if self._pending is content:  # no newer content has replaced it
                    self._pending = content[count:]
