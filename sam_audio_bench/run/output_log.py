"""What components print goes to files: by Python, by libraries written in C, by programs that they start."""

from __future__ import annotations

import ctypes
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from sam_audio_bench.platforms import O_BINARY

__all__ = ["NAME", "Printed", "append_text", "captured", "captured_text", "own_stderr"]

NAME = "separator.log"
"""Of the file in a run folder."""

_LARGEST = 16 << 20  # bytes of a log
_KEPT = 1 << 20  # bytes of what is held until there is a run folder
_TEXT: Any = {"encoding": "utf-8", "errors": "backslashreplace", "buffering": 1}


@contextmanager
def captured(log: Path | None, heading: str = "") -> Iterator[None]:
    """Appends what is printed within to a file, below a heading; beyond 16 MiB it is thrown away.

    Args:
        log: the file; None: nothing is captured.
        heading: a line, which stays only if something is printed.
    """
    if log is None:
        yield
        return
    try:
        with os.fdopen(_descriptor(log), "w", **_TEXT) as stream:
            before = os.fstat(stream.fileno()).st_size
            stream.write(f"--- {heading}\n" if heading else "")
            stream.flush()
            begun = os.fstat(stream.fileno()).st_size
            try:
                with _redirected(stream):
                    yield
            finally:
                _trim(stream.fileno(), before, begun)
    finally:
        with suppress(OSError):
            if log.stat().st_size == 0:
                log.unlink()


def _trim(log: int, before: int, begun: int) -> None:
    """Takes back a heading below which nothing stands, and what is too much."""
    size = os.fstat(log).st_size
    with suppress(OSError):
        if size == begun and begun > before:
            os.truncate(log, before)
        elif size > _LARGEST:
            os.truncate(log, _LARGEST)


@dataclass
class Printed:
    """What was printed."""

    text: str = ""


@contextmanager
def captured_text() -> Iterator[Printed]:
    """Holds what is printed within; its text is there at the end, also where the block fails."""
    found = Printed()
    with tempfile.TemporaryFile("w+", **_TEXT) as stream:
        try:
            with _redirected(stream):
                yield found
        finally:
            stream.seek(0)
            found.text = stream.read(_KEPT)


def append_text(log: Path, text: str) -> None:
    """Adds a text to a log, if there is any."""
    if text:
        with captured(log):
            sys.stdout.write(text)


def own_stderr() -> tuple[TextIO, bool]:
    """Standard error that stays what it is while others' is captured, and whether it is to be closed."""
    stream = sys.stderr
    if not isinstance(stream, io.TextIOWrapper):
        return stream, False
    try:
        copy = os.dup(stream.fileno())
    except OSError:  # it lies in memory
        return stream, False
    return os.fdopen(copy, "w", **{**_TEXT, "encoding": stream.encoding}), True


def _descriptor(log: Path) -> int:
    """Of the log, or of nowhere, if it is too large or cannot be written: what is printed is no reason to fail."""
    with suppress(OSError):
        found = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | O_BINARY, 0o666)
        if os.fstat(found).st_size < _LARGEST:
            return found
        os.close(found)
    return os.open(os.devnull, os.O_WRONLY)


class _Relay(io.TextIOBase):
    """A stream that lasts, since loggers hold on to it: writes to whatever a descriptor stands for at the time."""

    encoding = "utf-8"

    def __init__(self, number: int) -> None:
        self._number = number

    @property
    def buffer(self) -> BinaryIO:
        """For bytes."""
        return os.fdopen(self._number, "wb", 0, closefd=False)

    def write(self, text: str) -> int:
        """Writes at once."""
        os.write(self._number, text.encode("utf-8", "backslashreplace"))
        return len(text)

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._number

    def close(self) -> None:
        """Stays open: it is everybody's."""


_RELAYS = {1: _Relay(1), 2: _Relay(2)}


@contextmanager
def _redirected(stream: TextIO) -> Iterator[None]:
    """Makes a file standard output and standard error, for Python and for everything below it."""
    _flush(sys.stdout, sys.stderr)
    streams = sys.stdout, sys.stderr
    copies = {number: os.dup(number) for number in (1, 2) if _is_open(number)}
    for number in (1, 2):
        os.dup2(stream.fileno(), number)
    sys.stdout, sys.stderr = inside = tuple(_writing_to(number, own) for number, own in enumerate(streams, 1))
    try:
        yield
    finally:
        _flush(sys.stdout, sys.stderr, *streams)
        sys.stdout, sys.stderr = inside  # what was put in their place may complain when it goes: still into the log
        for number in (1, 2):
            if number in copies:
                os.dup2(copies[number], number)
                os.close(copies[number])
            else:
                os.close(number)
        sys.stdout, sys.stderr = (_reopened(number, own) for number, own in enumerate(streams, 1))


def _writing_to(number: int, stream: TextIO) -> TextIO:
    """The stream if it writes to a descriptor, else one that does."""
    with suppress(OSError, ValueError, AttributeError):  # it lies in memory, or there is none
        if stream.fileno() == number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # the last words of a process that dies are wanted most
            return stream
    return _RELAYS[number]  # type: ignore[return-value]


def _reopened(number: int, stream: TextIO) -> TextIO:
    """The stream, or a new one where somebody has closed it."""
    if stream is None or not stream.closed or not _is_open(number):
        return stream
    return os.fdopen(number, "w", closefd=False, **_TEXT)  # type: ignore[no-any-return]


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _flush(*streams: TextIO) -> None:
    """Writes what Python and C hold back, so that it goes where it was printed to."""
    for stream in streams:
        with suppress(OSError, ValueError, AttributeError):  # closed, or no stream
            stream.flush()
    if os.name == "posix":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).fflush(None)
