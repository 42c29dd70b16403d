"""Guards against third-party code that ends this process early or keeps it alive.

Importing this module does not import torch.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

__all__ = ["exit_despite_threads", "prevent_exit"]

_GRACE_SECONDS = 10.0  # seconds for threads to end after everything is done
_SHOWN = 5  # names of threads in the message


@contextmanager
def prevent_exit() -> Iterator[None]:
    """Makes ``os._exit`` raise SystemExit within the block, so that a separator cannot end the process with success.

    Forked processes can still exit. Other threads can still end this process, but with an exit code that is not 0.
    """
    leave, process = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != process:
            leave(status)
        if threading.current_thread() is not threading.main_thread():
            leave(status or 1)
        raise SystemExit(status)

    modules: tuple[Any, ...] = os, sys.modules[os.name]  # the module that os imports it from
    for module in modules:
        module._exit = refuse
    try:
        yield
    finally:
        for module in modules:
            module._exit = leave


def exit_despite_threads(code: int, say: Callable[[str], None]) -> None:
    """Ends this process with an exit code even if other threads go on, for which Python would wait forever.

    Call it when everything is written: a thread waits for the end of the main thread. Threads that end within
    `_GRACE_SECONDS`, such as those that are still writing, are not cut off.

    Args:
        code: exit code of the process.
        say: called with a message about the threads that are left.
    """
    threading.Thread(target=_exit_after_main, args=(code, say), name="end of the process", daemon=True).start()


def _exit_after_main(code: int, say: Callable[[str], None]) -> None:
    main, end = threading.main_thread(), threading.Event()
    main.join()
    end.wait(_GRACE_SECONDS)
    left = [thread.name for thread in threading.enumerate() if thread.is_alive() and not thread.daemon]
    if not left:  # Python ends the process itself
        return
    names = ", ".join(left[:_SHOWN]) + (f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else "")
    say(
        f"expected all threads to end with the command, found {names} at work {_GRACE_SECONDS:g} s later: ended with "
        "the process; end threads that a separator or metric starts, or make them daemons"
    )
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
