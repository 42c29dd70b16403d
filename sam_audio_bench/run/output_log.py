"""Capture of what components print, in Python, in C libraries and in programs that they start."""

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

__all__ = ["LOG_NAME", "CapturedText", "append_text", "capture_output", "capture_text", "duplicate_stderr"]

LOG_NAME = "separator.log"
"""File name in a run folder."""

_MAX_LOG_BYTES = 16 << 20
_MAX_TEXT_BYTES = 1 << 20  # kept in memory until there is a run folder
_TEXT: Any = {"encoding": "utf-8", "errors": "backslashreplace", "buffering": 1}


@contextmanager
def capture_output(log: Path | None, heading: str = "") -> Iterator[None]:
    """Appends what is printed within the block to a file, below a heading; output beyond 16 MiB is discarded.

    Args:
        log: path of the file; None: nothing is captured.
        heading: a line that is kept only if something is printed.
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
    """Removes a heading without output, and output beyond the limit."""
    size = os.fstat(log).st_size
    with suppress(OSError):
        if size == begun and begun > before:
            os.truncate(log, before)
        elif size > _MAX_LOG_BYTES:
            os.truncate(log, _MAX_LOG_BYTES)


@dataclass
class CapturedText:
    """Captured output; empty until the block of `capture_text` ends."""

    text: str = ""


@contextmanager
def capture_text() -> Iterator[CapturedText]:
    """Captures what is printed within the block as a text, which is set when the block ends, also by an exception."""
    found = CapturedText()
    with tempfile.TemporaryFile("w+", **_TEXT) as stream:
        try:
            with _redirected(stream):
                yield found
        finally:
            stream.seek(0)
            found.text = stream.read(_MAX_TEXT_BYTES)


def append_text(log: Path, text: str) -> None:
    """Appends a text to a log unless it is empty."""
    if text:
        with capture_output(log):
            sys.stdout.write(text)


def duplicate_stderr() -> tuple[TextIO, bool]:
    """Returns a copy of standard error that `capture_output` does not affect, and whether the caller must close it."""
    stream = sys.stderr
    if not isinstance(stream, io.TextIOWrapper):
        return stream, False
    try:
        copy = os.dup(stream.fileno())
    except OSError:  # it is a stream in memory
        return stream, False
    return os.fdopen(copy, "w", **{**_TEXT, "encoding": stream.encoding}), True


def _descriptor(log: Path) -> int:
    """Opens the log, or the null device if it is too large or not writable, since output must not make a run fail."""
    with suppress(OSError):
        found = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | O_BINARY, 0o666)
        if os.fstat(found).st_size < _MAX_LOG_BYTES:
            return found
        os.close(found)
    return os.open(os.devnull, os.O_WRONLY)


class _DescriptorStream(io.TextIOBase):
    """A permanent stream, since loggers keep references to it; it writes to the current target of a descriptor."""

    encoding = "utf-8"

    def __init__(self, number: int) -> None:
        self._number = number

    @property
    def buffer(self) -> BinaryIO:
        """The binary stream below."""
        return os.fdopen(self._number, "wb", 0, closefd=False)

    def write(self, text: str) -> int:
        """Writes at once."""
        os.write(self._number, text.encode("utf-8", "backslashreplace"))
        return len(text)

    def writable(self) -> bool:
        """Returns True."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._number

    def close(self) -> None:
        """Does nothing, since the stream is shared."""


_DESCRIPTOR_STREAMS = {1: _DescriptorStream(1), 2: _DescriptorStream(2)}


@contextmanager
def _redirected(stream: TextIO) -> Iterator[None]:
    """Redirects standard output and standard error to a file, in Python and at the level of file descriptors."""
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
        sys.stdout, sys.stderr = inside  # streams that replaced them may print when deleted: still into the log
        for number in (1, 2):
            if number in copies:
                os.dup2(copies[number], number)
                os.close(copies[number])
            else:
                os.close(number)
        sys.stdout, sys.stderr = (_reopened(number, own) for number, own in enumerate(streams, 1))


def _writing_to(number: int, stream: TextIO) -> TextIO:
    """Returns the stream if it writes to the descriptor, otherwise one that does."""
    with suppress(OSError, ValueError, AttributeError):  # it is in memory, or None
        if stream.fileno() == number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # the last output of a process that dies matters most
            return stream
    return _DESCRIPTOR_STREAMS[number]  # type: ignore[return-value]


def _reopened(number: int, stream: TextIO) -> TextIO:
    """Returns the stream, or a new one if it was closed meanwhile."""
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
    """Flushes the buffers of Python and C, so that output goes to the target at the time of printing."""
    for stream in streams:
        with suppress(OSError, ValueError, AttributeError):  # closed, or None
            stream.flush()
    if os.name == "posix":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).fflush(None)
