"""One progress bar for a whole run: rate, remaining time, failures; silent where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from sam_audio_bench.render.text import printable
from sam_audio_bench.run.output_log import own_stderr

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Progress", "say"]


_STEP = 0.05  # seconds between two looks of the bar


class Progress:
    """A context manager around the bar."""

    def __init__(self, total: int, *, show: bool | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        shown = sys.stderr is not None and sys.stderr.isatty() if show is None else show
        self._failures = self._counted = 0
        self._label, self._shown = "", 0.0
        self._stream, self._is_own = own_stderr()  # what separators print goes elsewhere
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(file=self._stream),
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not shown,
        )
        self._task = self._bar.add_task("starting", total=total, rate="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):  # its terminal may be gone
            if self._counted:
                self._count(self._label)
            self._bar.stop()
        if self._is_own:
            with suppress(OSError):
                self._stream.close()

    def counting(self, label: str) -> Callable[[str | None], None]:
        """A function that counts one finished item of what ``label`` names; its argument is an error message."""

        def advance(message: str | None) -> None:
            if message is not None:
                self._failures += 1
                self.note(f"{label}: {message}")
            self._counted += 1
            if message is not None or time.monotonic() - self._shown > _STEP:
                self._count(label)

        self._label = label
        return advance

    def _count(self, label: str) -> None:
        """Shows what was counted since the last time: rich looks at its last 1,000 steps each time."""
        self._label, self._shown = label, time.monotonic()
        speed = self._bar.tasks[self._task].speed
        failed = f", {self._failures} failed" if self._failures else ""
        rate = f"{speed:.1f} items/s" if speed else ""
        counted, self._counted = self._counted, 0
        self._bar.update(self._task, advance=counted, rate=rate, description=label + failed)

    def following(self, label: str) -> Callable[[int, int], None]:
        """A function that is told how many steps of how many are done."""

        def follow(done: int, total: int) -> None:
            self._bar.update(self._task, completed=done, total=total, description=label)

        return follow

    def note(self, text: str) -> None:
        """A line above the bar."""
        _print(self._bar.console, text)


def say(text: str) -> None:
    """A line on standard error, where there is no bar."""
    from rich.console import Console

    _print(Console(stderr=True), text)


def _print(console: Console, text: str) -> None:
    with suppress(OSError):  # a terminal that is gone costs no run
        console.print(printable(text), style="yellow", markup=False, highlight=False, soft_wrap=True)
