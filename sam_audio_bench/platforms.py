"""What systems do differently: words of a command, groups of processes, flags of files. Each way has its twin here.

A POSIX system has ``killpg``, sessions and a shell's quotes; Windows has ``taskkill``, process groups and quotes of its
own. `IS_WINDOWS` chooses.
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
"""For `os.open`: bytes stay what they are, also where the system would translate ends of lines."""
_NEW_GROUP = 0x200  # CREATE_NEW_PROCESS_GROUP, which `subprocess` has on Windows alone
_TASKKILL_SECONDS = 10.0  # seconds that taskkill may take


def split_command(command: str) -> list[str]:
    r"""The words of a command as a shell takes them; on Windows a backslash is part of a path and protects nothing.

    Args:
        command: single and double quotes hold words together on every system.

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
    """A command to be pasted into the shell of this system.

    >>> join_command(["sabench", "eval", "--model", "cmd:cp {mixture} {target}"])
    "sabench eval --model 'cmd:cp {mixture} {target}'"
    """
    return subprocess.list2cmdline(words) if IS_WINDOWS else shlex.join(words)


def new_group_options() -> dict[str, Any]:
    """Options of `subprocess.Popen` for a program that `kill_group` reaches, and a Ctrl-C of the terminal does not."""
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
            process.kill()  # does nothing to one that has ended
    else:
        with suppress(ProcessLookupError, PermissionError):  # nobody is left in it
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
