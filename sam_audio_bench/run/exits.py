"""Code of third parties does not end this process with success. Importing this module imports no torch."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

__all__ = ["no_exit"]


@contextmanager
def no_exit() -> Iterator[None]:
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
