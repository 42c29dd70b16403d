"""Standard input and output of a program that stays, without waiting longer than asked for either of them.

`SelectedPipes` ask the system which pipe is ready. Windows cannot say that of pipes: `ThreadedPipes` have a thread for
each, which waits instead.
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
    """Both pipes; one thread uses them."""

    @property
    def unsent(self) -> int:
        """Bytes that the program has not read."""

    def send(self, content: bytes) -> None:
        """Begins to write; what was not read of an earlier one is given up."""

    def exchange(self, seconds: float) -> bytes | None:
        """What was heard within a moment, while what is to be sent is sent; b"": nothing; None: it says no more."""

    def heard(self) -> bytes:
        """What can be heard without waiting."""

    def end_queries(self) -> None:
        """Closes the program's input."""

    def close(self) -> None:
        """Lets go of what the system keeps for waiting; the pipes are the program's to close."""


def open_pipes(queries: IO[bytes], answers: IO[bytes]) -> Pipes:
    """The pipes of a program in the way of this system.

    Args:
        queries: its standard input, unbuffered.
        answers: its standard output, unbuffered.
    """
    return (ThreadedPipes if platforms.IS_WINDOWS else SelectedPipes)(queries, answers)


class SelectedPipes:
    """As `open_pipes`, where the system tells which pipe is ready."""

    def __init__(self, queries: IO[bytes], answers: IO[bytes]) -> None:
        self._queries, self._answers = queries, answers
        for pipe in (queries, answers):
            os.set_blocking(pipe.fileno(), False)
        self._content = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(answers, selectors.EVENT_READ)
        self._is_sending = False

    @property
    def unsent(self) -> int:
        """See `Pipes`."""
        return len(self._content)

    def send(self, content: bytes) -> None:
        """See `Pipes`."""
        self._content = content
        self._watch_queries()

    def exchange(self, seconds: float) -> bytes | None:
        """See `Pipes`."""
        found: bytes | None = b""
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._answers:
                try:
                    found = os.read(self._answers.fileno(), _CHUNK) or None
                except BlockingIOError:
                    continue
            else:
                self._write()
        return found

    def heard(self) -> bytes:
        """See `Pipes`."""
        try:
            return os.read(self._answers.fileno(), _CHUNK)
        except BlockingIOError:
            return b""

    def end_queries(self) -> None:
        """See `Pipes`."""
        self._content = b""
        self._watch_queries()
        self._queries.close()

    def close(self) -> None:
        """See `Pipes`."""
        self._selector.close()

    def _write(self) -> None:
        try:
            self._content = self._content[os.write(self._queries.fileno(), self._content[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it reads no more; how it ended is told when its answers end
            self._content = b""
        self._watch_queries()

    def _watch_queries(self) -> None:
        """Waits for the program's input as long as there is something to send."""
        wants = bool(self._content)
        if wants != self._is_sending:
            if wants:
                self._selector.register(self._queries, selectors.EVENT_WRITE)
            else:
                self._selector.unregister(self._queries)
            self._is_sending = wants


class ThreadedPipes:
    """As `open_pipes`, with two threads that wait for the pipes; they end with the program."""

    def __init__(self, queries: IO[bytes], answers: IO[bytes]) -> None:
        self._queries, self._answers = queries, answers
        self._changed = threading.Condition()
        self._content, self._found = b"", bytearray()
        self._has_ended = self._is_closed = False
        for work in (self._hear, self._write):
            threading.Thread(target=self._guarded, args=(work,), name="pipe", daemon=True).start()

    @property
    def unsent(self) -> int:
        """See `Pipes`."""
        return len(self._content)

    def send(self, content: bytes) -> None:
        """See `Pipes`."""
        with self._changed:
            self._content = content
            self._changed.notify_all()

    def exchange(self, seconds: float) -> bytes | None:
        """See `Pipes`."""
        with self._changed:
            self._changed.wait_for(lambda: self._found or self._has_ended, seconds)
            return self._taken() or (None if self._has_ended else b"")

    def heard(self) -> bytes:
        """See `Pipes`."""
        with self._changed:
            return self._taken()

    def end_queries(self) -> None:
        """See `Pipes`."""
        self.close()
        self._queries.close()

    def close(self) -> None:
        """See `Pipes`."""
        with self._changed:
            self._content, self._is_closed = b"", True
            self._changed.notify_all()

    def _taken(self) -> bytes:
        found = bytes(self._found)
        self._found.clear()
        return found

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, ValueError):  # the pipe is gone; how the program ended is told when its answers end
            with self._changed:
                self._content = b""

    def _hear(self) -> None:
        try:
            while found := os.read(self._answers.fileno(), _CHUNK):
                with self._changed:
                    self._found += found
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._content or self._is_closed)
                if self._is_closed:
                    return
                content = self._content
            count = os.write(self._queries.fileno(), content[:_CHUNK])
            with self._changed:
                if self._content is content:  # nobody has begun another one
                    self._content = content[count:]
