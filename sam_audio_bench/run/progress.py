"""One progress bar for a whole run: rate, remaining time, failures; silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Progress", "say"]


class Progress:
    """A context manager around the bar."""

    def __init__(self, total: int, *, show: bool | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        shown = sys.stderr.isatty() if show is None else show
        self._failures = 0
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown,
        )
        self._task = self._bar.add_task("starting", total=total, rate="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def counting(self, label: str) -> Callable[[str | None], None]:
        """A function that counts one finished item of what ``label`` names; its argument is an error message."""

        def advance(message: str | None) -> None:
            if message is not None:
                self._failures += 1
                self.note(f"{label}: {message}")
            speed = self._bar.tasks[self._task].speed
            failed = f", {self._failures} failed" if self._failures else ""
            rate = f"{speed:.1f} items/s" if speed else ""
            self._bar.update(self._task, advance=1, rate=rate, description=label + failed)

        return advance

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
    console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
