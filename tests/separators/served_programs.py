"""Programs that stay, written for a test, and whether processes are alive."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

_PROGRAM = """
import json, os, shutil, signal, subprocess, sys, time
STARTS = {starts!r}
open(STARTS, "a").write("x")
start = len(open(STARTS).read())
def say(text, end="\\n"):
    os.write(1, (text + end).encode("utf-8", "surrogateescape"))
def copy(query, name="target.wav"):
    shutil.copy(query["mixture"], os.path.join(query["folder"], name))
def answer(query, **fields):
    copy(query)
    say(json.dumps({{"id": query["id"], "target": "target.wav", **fields}}))
{loading}
say('{{"ready": true}}')
for line in sys.stdin:
    query = json.loads(line)
    if {turn}:
{misdeed}
    else:
        answer(query)
{end}
"""


class Written:
    """A program that answers with the mixture, but for what a test has it do.

    Args:
        folder: where it lies.
        misdeed: statements for a query, ``query``.
        turn: the expression that says when; by default always.
        loading: statements before it is ready.
        end: statements when its input has ended.
    """

    def __init__(
        self, folder: Path, misdeed: str = "answer(query)", *, turn: str = "True", loading: str = "", end: str = ""
    ) -> None:
        self.path, self._starts = folder / "program.py", folder / "starts"
        indented = "\n".join(f"        {line}" for line in misdeed.split("\n"))
        self.path.write_text(
            _PROGRAM.format(starts=str(self._starts), misdeed=indented, turn=turn, loading=loading, end=end)
        )

    @property
    def command(self) -> str:
        """What ``serve:`` is given."""
        return f"{shlex.quote(sys.executable)} -S {shlex.quote(str(self.path))}"

    @property
    def starts(self) -> int:
        """How often it was started."""
        return len(self._starts.read_text()) if self._starts.exists() else 0


def alive(process: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent does not count."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def gone(*processes: int) -> bool:
    """Whether processes are gone, soon."""
    deadline = time.monotonic() + 10
    while any(map(alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(map(alive, processes))
