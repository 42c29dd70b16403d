"""Ctrl-C, SIGTERM, SIGHUP, and SIGBREAK of Windows: all end a run in the same way, between two steps.

Within `handle_signals` each of them raises KeyboardInterrupt in the main thread, but no second one while the first is
propagating. Within `defer_signals` a signal is only recorded, until `raise_if_interrupted` is called, or a block of
`allow_interruption` begins or ends: work that may take long and can be abandoned at any point. Even if such work
catches the KeyboardInterrupt, the run ends.

Importing this module does not import torch.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

__all__ = [
    "EXIT_CODE",
    "allow_interruption",
    "defer_signals",
    "exit_interrupted",
    "handle_signals",
    "raise_if_interrupted",
    "was_interrupted",
]

EXIT_CODE = 3
"""Exit code of a process that was interrupted."""
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
_REPEAT_SECONDS = 2.0  # after which a signal raises again, since the last KeyboardInterrupt must have been caught


@dataclass
class _State:
    is_handled: bool = False
    is_received: bool = False
    is_deferred: bool = False
    is_leaving: bool = False
    raised: float = 0.0
    process: int = 0


_STATE = _State()


def _receive(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _STATE.process:  # a process forked by a component gets the default behaviour
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    again, _STATE.is_received = _STATE.is_received, True
    if _STATE.is_deferred or (again and time.monotonic() - _STATE.raised < _REPEAT_SECONDS):
        return
    _STATE.raised = time.monotonic()
    raise KeyboardInterrupt


@contextmanager
def handle_signals() -> Iterator[None]:
    """Handles the signals within this block, unless they have a handler or are ignored, as under ``nohup``."""
    if _STATE.is_handled or not _is_main_thread():
        yield
        return
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: handler for number in _SIGNALS if (handler := signal.getsignal(number)) in usual}
    _STATE.__init__(is_handled=True, process=os.getpid())  # type: ignore[misc]  # reset
    try:
        for number in before:
            signal.signal(number, _receive)
        yield
    finally:
        _STATE.is_handled = _STATE.is_deferred = False
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if _STATE.is_leaving else handler)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Records signals within this block, and raises KeyboardInterrupt at its end; later ones are only recorded."""
    if _STATE.is_deferred or not (_STATE.is_handled and _is_main_thread()):
        yield
        return
    _STATE.is_deferred = True
    try:
        yield
        raise_if_interrupted()
    finally:
        _STATE.is_deferred = _STATE.is_received


@contextmanager
def allow_interruption() -> Iterator[None]:
    """Lets a signal raise KeyboardInterrupt at any point of this block, and again at its end if that was caught."""
    if not (_STATE.is_deferred and _is_main_thread()):
        yield
        return
    raise_if_interrupted()
    try:
        _STATE.is_deferred = False
        yield
    except BaseException:
        _STATE.is_deferred = True
        raise_if_interrupted()
        raise
    finally:
        _STATE.is_deferred = True
    raise_if_interrupted()


def raise_if_interrupted() -> None:
    """Raises KeyboardInterrupt if a signal was received."""
    if was_interrupted() and _is_main_thread():
        raise KeyboardInterrupt


def was_interrupted() -> bool:
    """Whether a signal was received while signals are handled."""
    return _STATE.is_handled and _STATE.is_received


def exit_interrupted() -> NoReturn:
    """Ends this process with exit code 3, regardless of further signals and of threads that are still running."""
    _STATE.is_leaving = True
    for number in _SIGNALS:
        if signal.getsignal(number) is _receive:
            signal.signal(number, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the terminal is gone; at exit Python would try again, and change the exit code
            os._exit(EXIT_CODE)
    last = threading.Timer(_REPEAT_SECONDS, os._exit, (EXIT_CODE,))
    last.daemon = True
    last.start()
    sys.exit(EXIT_CODE)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
