"""A progress bar for a whole run, with rate, remaining time and failures; without a terminal, occasional lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from sam_audio_bench.render.text import printable
from sam_audio_bench.run.output_log import duplicate_stderr

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Progress", "print_note"]


_REFRESH = 0.05  # seconds between updates of the bar
_MIN_INTERVAL = 10.0  # seconds between lines at least, so that short work prints none
_MAX_INTERVAL = 60.0  # seconds after which a line is printed even without much progress
_SHARE = 0.1  # of the total, after which a line is printed


class _ProgressLines:
    """Prints the progress of long work as a line per tenth or per minute, for logs without a progress bar."""

    def __init__(self, print_line: Callable[[str], None]) -> None:
        self._print_line = print_line
        self._begun = self._printed_at = time.monotonic()
        self._printed = 0.0
        self._first: tuple[float, float] | None = None  # time and count of the first update

    def update(self, label: str, done: float, total: float | None) -> None:
        """Prints a line if one is due.

        Args:
            label: name of the work, and how many items failed.
            done: finished steps; fewer than before if other work has begun.
            total: number of steps; None or 0: unknown.
        """
        now = time.monotonic()
        if self._first is None or done < self._printed:
            self._first, self._printed = (now, done), done
        since, steps = now - self._printed_at, done - self._printed
        if since < _MIN_INTERVAL or (since < _MAX_INTERVAL and (not total or steps < _SHARE * total)):
            return
        self._printed_at, self._printed = now, done
        parts = [f"{label}: {done:.0f} of {total:.0f} ({done / total:.0%})" if total else f"{label}: {done:.0f}"]
        parts.append(f"{_clock(now - self._begun)} so far")
        start, before = self._first
        if total and before < done < total:
            parts.append(f"some {_clock((now - start) * (total - done) / (done - before))} left")
        self._print_line(", ".join(parts))


def _clock(seconds: float) -> str:
    """Formats a duration as rich does in its bar.

    >>> _clock(3723.4)
    '1:02:03'
    """
    return str(timedelta(seconds=round(seconds)))


class Progress:
    """A progress bar, as a context manager.

    Args:
        total: number of steps.
        show: whether to show the bar; None: on a terminal, and `_ProgressLines` elsewhere.
    """

    def __init__(self, total: int, *, show: bool | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        shown = sys.stderr is not None and sys.stderr.isatty() if show is None else show
        self._failures = self._counted = 0
        self._label, self._shown = "", 0.0
        self._stream, self._is_own = duplicate_stderr()  # what separators print is redirected
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
        self._lines = _ProgressLines(self.note) if show is None and not shown and sys.stderr is not None else None

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):  # its terminal may be gone
            if self._counted:
                self._update(self._label)
            self._bar.stop()
        if self._is_own:
            with suppress(OSError):
                self._stream.close()

    def item_callback(self, label: str) -> Callable[[str | None], None]:
        """Returns a function that counts a finished item of ``label``; its argument is an error message or None."""

        def advance(message: str | None) -> None:
            if message is not None:
                self._failures += 1
                self.note(f"{label}: {message}")
            self._counted += 1
            if message is not None or time.monotonic() - self._shown > _REFRESH:
                self._update(label)

        self._label = label
        return advance

    def _update(self, label: str) -> None:
        """Shows the items counted since the last update, not each one: rich reads its last 1,000 steps every time."""
        self._label, self._shown = label, time.monotonic()
        speed = self._bar.tasks[self._task].speed
        failed = f", {self._failures} failed" if self._failures else ""
        rate = f"{speed:.1f} items/s" if speed else ""
        counted, self._counted = self._counted, 0
        self._bar.update(self._task, advance=counted, rate=rate, description=label + failed)
        self._update_lines()

    def step_callback(self, label: str) -> Callable[[int, int], None]:
        """Returns a function that sets how many steps are done, and of how many."""

        def follow(done: int, total: int) -> None:
            self._bar.update(self._task, completed=done, total=total, description=label)
            self._update_lines()

        return follow

    def _update_lines(self) -> None:
        if self._lines is not None:
            task = self._bar.tasks[self._task]
            self._lines.update(task.description, task.completed, task.total)

    def note(self, text: str) -> None:
        """Prints a line above the bar."""
        _print(self._bar.console, text)


def print_note(text: str) -> None:
    """Prints a line on standard error, when there is no bar."""
    from rich.console import Console

    _print(Console(stderr=True), text)


def _print(console: Console, text: str) -> None:
    with suppress(OSError):  # a closed terminal must not end a run
        console.print(printable(text), style="yellow", markup=False, highlight=False, soft_wrap=True)
