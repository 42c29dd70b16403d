"""Ctrl-C, SIGTERM, SIGHUP, and SIGBREAK of Windows: all end a run in the same way, between two steps and not within.

While signals are `handled`, each of them raises KeyboardInterrupt in the main thread, but not a second one while the
first is on its way out. Within `deferred` a signal is only noted, until `check` is called or a part is entered or left
that is `interruptible`: work that may take long, and that can be given up at any point. Whatever such work makes of the
KeyboardInterrupt, the run ends.

Importing this module imports no torch.
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
"""Of a process that was interrupted."""
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
_PATIENCE = 2.0  # seconds after which a signal is raised again, since something must have swallowed the last one


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
    if os.getpid() != _STATE.process:  # a process that a component has forked ends as others do
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    again, _STATE.is_received = _STATE.is_received, True
    if _STATE.is_deferred or (again and time.monotonic() - _STATE.raised < _PATIENCE):
        return
    _STATE.raised = time.monotonic()
    raise KeyboardInterrupt


@contextmanager
def handle_signals() -> Iterator[None]:
    """Handles the signals within this block, where nobody else does: a signal that is ignored stays so (``nohup``)."""
    if _STATE.is_handled or not _is_main_thread():
        yield
        return
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: handler for number in _SIGNALS if (handler := signal.getsignal(number)) in usual}
    _STATE.__init__(is_handled=True, process=os.getpid())  # type: ignore[misc]  # as new
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
    """Notes signals within this block, and raises KeyboardInterrupt at its end; from then on all are only noted."""
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
    """Raises KeyboardInterrupt at any point of this block; at its end, if something in it swallowed that."""
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
    """Ends this process with exit code 3, whatever signals still come and whatever threads are still at work."""
    _STATE.is_leaving = True
    for number in _SIGNALS:
        if signal.getsignal(number) is _receive:
            signal.signal(number, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # its terminal is gone; at exit Python would try again, and say so by its code
            os._exit(EXIT_CODE)
    last = threading.Timer(_PATIENCE, os._exit, (EXIT_CODE,))
    last.daemon = True
    last.start()
    sys.exit(EXIT_CODE)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
