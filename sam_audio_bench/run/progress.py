"""One progress bar for a whole run: rate, remaining time, failures; silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from sam_audio_bench.run.plan import Job

__all__ = ["Progress"]


class Progress:
    """A context manager around the bar; ``advance`` counts one item of a job."""

    def __init__(self, jobs: Sequence[Job], *, all_items: bool = False, show: bool | None = None) -> None:
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
        total = sum(len(job.chosen) if all_items else _left(job) for job in jobs)
        self._task = self._bar.add_task("starting", total=total, rate="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def advance(self, job: Job, message: str | None) -> None:
        """Counts one finished item; ``message`` tells why it has no answer."""
        if message is not None:
            self._failures += 1
            self._bar.console.print(f"{job.data.task}: {message}", style="yellow", markup=False, highlight=False)
        speed = self._bar.tasks[self._task].speed
        rate = f"{speed:.1f} items/s" if speed else ""
        failed = f", {self._failures} failed" if self._failures else ""
        self._bar.update(
            self._task, advance=1, rate=rate, description=f"{job.separator.name} on {job.data.task}{failed}"
        )


def _left(job: Job) -> int:
    separate = set(job.to_separate())
    return sum(1 for item in job.chosen.ids if item in separate or job.to_score(item))
