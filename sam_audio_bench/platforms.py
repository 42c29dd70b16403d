"""Differences between operating systems: splitting of commands, process groups, file flags.

POSIX systems have ``killpg``, sessions and shell quoting; Windows has ``taskkill``, process groups and its own quoting.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

__all__ = ["IS_WINDOWS", "O_BINARY", "join_command", "kill_group", "new_group_options", "split_command"]

IS_WINDOWS = os.name == "nt"
O_BINARY: int = getattr(os, "O_BINARY", 0)
"""Flag of `os.open` that prevents the translation of line ends on Windows; 0 elsewhere."""
_NEW_GROUP = 0x200  # CREATE_NEW_PROCESS_GROUP, which `subprocess` defines on Windows alone
_TASKKILL_SECONDS = 10.0  # time limit of taskkill


def split_command(command: str) -> list[str]:
    r"""Splits a command into words as a shell does; on Windows, a backslash is part of a path and not an escape.

    Args:
        command: single and double quotes group words on every system.

    Raises:
        ValueError: a quote that is not closed.

    >>> split_command("python 'my model.py' --gain=0.5")
    ['python', 'my model.py', '--gain=0.5']
    """
    words = shlex.shlex(command, posix=True)
    words.whitespace_split, words.commenters = True, ""
    if IS_WINDOWS:
        words.escape = ""
    return list(words)


def join_command(words: Sequence[str]) -> str:
    """Joins words to a command that can be pasted into this system's shell.

    >>> join_command(["sabench", "eval", "--model", "cmd:cp {mixture} {target}"])
    "sabench eval --model 'cmd:cp {mixture} {target}'"
    """
    return subprocess.list2cmdline(words) if IS_WINDOWS else shlex.join(words)


def new_group_options() -> dict[str, Any]:
    """Returns options of `subprocess.Popen` for a new process group, to be ended by `kill_group` and not by Ctrl-C."""
    return {"creationflags": _NEW_GROUP} if IS_WINDOWS else {"start_new_session": True}


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kills a process started with `new_group_options` and its process group; on Windows, its descendants.

    On Windows, descendants of a process that has already exited are not found.
    """
    if IS_WINDOWS:
        if process.poll() is None:
            with suppress(OSError, subprocess.TimeoutExpired):
                tree = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
                subprocess.run(tree, capture_output=True, check=False, timeout=_TASKKILL_SECONDS)
            process.kill()  # no effect on a process that has exited
    else:
        with suppress(ProcessLookupError, PermissionError):  # the group is empty
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
