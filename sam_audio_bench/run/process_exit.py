"""Code of third parties does not end this process with success, nor keep it. Importing this module imports no torch."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

__all__ = ["exit_despite_threads", "prevent_exit"]

_PATIENCE = 10.0  # seconds that threads have to end after everything is done
_SHOWN = 5  # of their names


@contextmanager
def prevent_exit() -> Iterator[None]:
    """Within it ``os._exit`` raises SystemExit, so that a separator cannot end the process with success.

    Processes that it forks end as they want. Its other threads end this one, as they want, but with a code that is no
    success.
    """
    leave, process = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != process:
            leave(status)
        if threading.current_thread() is not threading.main_thread():
            leave(status or 1)
        raise SystemExit(status)

    places: tuple[Any, ...] = os, sys.modules[os.name]  # from where it is imported
    for place in places:
        place._exit = refuse
    try:
        yield
    finally:
        for place in places:
            place._exit = leave


def exit_despite_threads(code: int, say: Callable[[str], None]) -> None:
    """Ends this process with an exit code even where threads go on, for which Python would wait without end.

    Call it when everything is done and written: a thread waits for the main thread's end. Threads that end within
    `_PATIENCE`, as those that write something still, have all their time.

    Args:
        code: of the process.
        say: is told which threads are left.
    """
    threading.Thread(target=_outlive, args=(code, say), name="end of the process", daemon=True).start()


def _outlive(code: int, say: Callable[[str], None]) -> None:
    main, end = threading.main_thread(), threading.Event()
    main.join()
    end.wait(_PATIENCE)
    left = [thread.name for thread in threading.enumerate() if thread.is_alive() and not thread.daemon]
    if not left:  # Python ends the process
        return
    names = ", ".join(left[:_SHOWN]) + (f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else "")
    say(
        f"expected all threads to end with the command, found {names} at work {_PATIENCE:g} s later: ended with the "
        "process; end threads that a separator or metric starts, or make them daemons"
    )
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
