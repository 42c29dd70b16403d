"""Findings shown with a table of results: rows over all tasks, and a verdict for every column.

The value over all tasks, of separators that have them all, is the mean over tasks of the mean over items; its interval
resamples recordings, which tasks may share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sam_audio_bench.cards import MAIN_METRIC
from sam_audio_bench.separators.pickers import shares_model_with_picker
from sam_audio_bench.stats.item_coverage import classify_coverage, coverage_class_rank, format_coverage
from sam_audio_bench.stats.ranking import Column
from sam_audio_bench.stats.slices import Slice
from sam_audio_bench.stats.summary import ItemScore, SummaryRow
from sam_audio_bench.stats.verdict import Verdict, decide

__all__ = ["ALL_TASKS", "Findings", "LineScores", "compute_findings", "compute_slice_findings", "main_metric"]

ALL_TASKS = "all tasks"
"""The task of the rows over all tasks."""

LineScores = Mapping[tuple[str, str, str | None, str], Mapping[str, ItemScore]]
"""(task, separator, picker, metric) -> item -> score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Rows over all tasks, and verdicts."""

    overall: tuple[SummaryRow, ...] = ()  # of the separators that have all tasks; empty for a single task
    left_out: tuple[str, ...] = ()  # separators without such a row, since a task is missing
    verdicts: Mapping[tuple[str, str], Verdict] = field(default_factory=dict)  # by part, or ALL_TASKS, and metric

    def counts(self, metric: str) -> tuple[int, int, int] | None:
        """Counts tasks on which the overall leader is surely better than the baseline, surely worse, and all tasks.

        Each task is tested separately; None without several tasks, a leader or a baseline, or if the leader's names
        differ between tasks.
        """
        whole = self.verdicts.get((ALL_TASKS, metric))
        if whole is None or whole.leader is None or whole.baseline is None:
            return None
        found = [self.verdicts[task, metric] for task in whole.tasks]
        if any(whole.leader not in one.order for one in found):
            return None
        better = sum(whole.leader in one.surely_better for one in found)
        worse = sum(whole.leader in one.surely_worse for one in found)
        return better, worse, len(found)


def main_metric(rows: Iterable[SummaryRow], preferred: str | None = None) -> str | None:
    """Chooses the metric that orders the lines: ``preferred``, or si_sdr_i, an improvement, or any with a value."""
    known = {
        row.metric: bool(row.higher_is_better)
        for row in rows
        if row.higher_is_better is not None and row.value is not None
    }
    order = sorted(
        known, key=lambda name: (name != preferred, name != MAIN_METRIC, not name.endswith("_i"), not known[name])
    )
    return order[0] if order else None


def compute_findings(
    scores: LineScores, rows: Sequence[SummaryRow], name: Callable[[SummaryRow], str], sort: str | None = None,
    *, by_metric: bool = False,
) -> Findings:  # fmt: skip
    """Computes the rows over all tasks, and the verdicts by each metric on each task and over all tasks.

    Args:
        scores: item scores, from `sam_audio_bench.stats.summary.compute_line_scores`.
        rows: rows of `sam_audio_bench.stats.summarise`, with their coverage; those without scores are skipped.
        name: returns the display name of a line, which must be unique within a task.
        sort: the column by which tables are sorted, as in `main_metric`: its differences have intervals.
        by_metric: whether there is one table per metric, so that all differences over all tasks need intervals.
    """
    known = _Known(scores, rows, name)
    overall = known.overall() if len(known.tasks) > 1 else []
    whole = {(row.separator, row.picked_by) for row in overall}
    incomplete = (name(row) for row in rows if overall and (row.separator, row.picked_by) not in whole)
    left_out = tuple(dict.fromkeys(incomplete))
    verdicts = {}
    for task, members in {**known.tasks, ALL_TASKS: overall}.items():
        main = main_metric(members, sort)
        for metric in dict.fromkeys(row.metric for row in members):
            own = [row for row in members if row.metric == metric]
            above = by_metric and task in (ALL_TASKS, *([] if overall else known.tasks))
            found = known.verdict(task, own, intervals=above or metric == main)
            if found is not None:
                scored = {name(row) for row in own}
                unscored = [name(row) for row in members if not row.oracle and name(row) not in scored]
                missing = (*(left_out if task == ALL_TASKS else ()), *found.left_out, *unscored)
                verdicts[task, metric] = replace(found, left_out=tuple(dict.fromkeys(missing)))
    return Findings(overall=tuple(overall), left_out=left_out, verdicts=verdicts)


def compute_slice_findings(
    scores: LineScores, rows: Sequence[SummaryRow], slices: Mapping[str, Sequence[Slice]],
    name: Callable[[SummaryRow], str], sort: str | None = None,
) -> Findings:  # fmt: skip
    """Computes the verdicts for each slice separately; there are none over all slices, which differ in size.

    Args:
        scores: item scores of all slices, as in `compute_findings`.
        rows: rows with their slices.
        slices: task -> slices.
        name: as in `compute_findings`.
        sort: as in `compute_findings`.
    """
    verdicts: dict[tuple[str, str], Verdict] = {}
    for task, part in ((task, part) for task, parts in slices.items() for part in parts):
        members = frozenset(part.items)
        own = [row for row in rows if (row.task, row.slice) == (task, part.label)]
        inside = {key: {item: score for item, score in items.items() if item in members}
                  for key, items in scores.items() if key[0] == task}  # fmt: skip
        found = compute_findings(inside, own, name, sort).verdicts if own else {}
        verdicts |= {(own[0].part, metric): replace(one, slice=part.label) for (_, metric), one in found.items()}
    return Findings(verdicts=verdicts)


class _Known:
    """Rows with the item scores that they average."""

    def __init__(self, scores: LineScores, rows: Sequence[SummaryRow], name: Callable[[SummaryRow], str]) -> None:
        self._scores, self._name = scores, name
        self.tasks: dict[str, list[SummaryRow]] = {}
        for row in rows:
            if (row.task, row.separator, row.picked_by, row.metric) in scores:
                self.tasks.setdefault(row.task, []).append(row)
        self._groups: dict[str, dict[str, str]] = {}
        for (task, *_), items in scores.items():
            groups = self._groups.setdefault(task, {})
            groups.update((item, items[item].group) for item in items.keys() - groups.keys())
        self._columns: dict[tuple[str, ...], Column] = {}  # cached, so that each draws its resamples once

    def _column(self, tasks: Iterable[str]) -> Column:
        names = tuple(tasks)
        return self._columns.setdefault(names, Column((names,), {task: self._groups[task] for task in names}))

    def _values(self, task: str, row: SummaryRow) -> dict[str, float]:
        items = self._scores.get((task, row.separator, row.picked_by, row.metric), {})
        return {item: score.value for item, score in items.items() if score.value is not None}

    def _with(self, metric: str) -> list[str]:
        """Returns the tasks on which the metric has a value."""
        return [
            task
            for task, rows in self.tasks.items()
            if any(row.metric == metric and row.value is not None for row in rows)
        ]

    def verdict(self, task: str, rows: Sequence[SummaryRow], *, intervals: bool) -> Verdict | None:
        """Returns the verdict by one metric; None if its direction is unknown or no line competes."""
        rivals = [row for row in rows if _competes(row)]
        if all(row.value is None for row in rivals):
            return None
        tasks = self._with(rows[0].metric) if task == ALL_TASKS else [task]
        return decide(
            self._column(tasks),
            {self._name(row): {own: self._values(own, row) for own in tasks} for row in rivals},
            higher_is_better=bool(rows[0].higher_is_better),
            classes={self._name(row): coverage_class_rank(row.coverage) for row in rivals},
            intervals=intervals,
        )

    def overall(self) -> list[SummaryRow]:
        """Returns one row per metric for each line that has all tasks."""
        lines: dict[tuple[str, str | None], dict[str, dict[str, SummaryRow]]] = {}
        for task, rows in self.tasks.items():
            for row in rows:
                lines.setdefault((row.separator, row.picked_by), {}).setdefault(task, {})[row.metric] = row
        whole = [line for line in lines.values() if len(line) == len(self.tasks)]
        found = []
        for line in whole:
            for metric in dict.fromkeys(metric for own in line.values() for metric in own):
                rows = [line[task][metric] for task in self._with(metric) if metric in line[task]]
                if rows and len(rows) == len(self._with(metric)):
                    found.append(self._mean_row(rows, [next(iter(own.values())) for own in line.values()]))
        return _headed(found, len(self.tasks))

    def _mean_row(self, rows: Sequence[SummaryRow], covering: Sequence[SummaryRow]) -> SummaryRow:
        """Averages over tasks; ``covering`` holds a row of every task of the table, with its coverage."""
        first, values = rows[0], [row.value for row in rows if row.value is not None]
        whole = len(values) == len(rows)
        low, high = first.ci_low, first.ci_high
        if any(row.ci_low is None for row in rows):  # for example one recording: its uncertainty is unknown
            low = high = None
        elif whole and len(rows) > 1:
            tasks = [row.task for row in rows]
            interval = self._column(tasks).interval({task: self._values(task, first) for task in tasks})
            low, high = interval or (None, None)
        alike = len({row.candidates for row in rows}) == 1
        covered, items = sum(row.covered for row in covering), sum(row.items for row in covering)
        return SummaryRow(
            task=ALL_TASKS, separator=first.separator, picked_by=first.picked_by, metric=first.metric,
            value=math.fsum(values) / len(values) if whole else None,
            ci_low=low if whole else None, ci_high=high if whole else None,
            n_ok=sum(row.n_ok for row in rows), n=sum(row.n for row in rows), oracle=first.oracle,
            capped=sum(row.capped for row in rows), unit=first.unit, higher_is_better=first.higher_is_better,
            candidates=first.candidates if alike else 1, model=first.model, covered=covered, items=items,
            coverage=str(classify_coverage(covered, items)), label=ALL_TASKS,
            missing_media=sum(row.missing_media for row in covering),
            set_aside=sum(row.set_aside for row in covering),
            trained_on="; ".join(dict.fromkeys(row.trained_on for row in rows if row.trained_on)),
        )  # fmt: skip


def _competes(row: SummaryRow) -> bool:
    return (
        row.higher_is_better is not None and not row.oracle and not shares_model_with_picker(row.metric, row.picked_by)
    )


def _headed(rows: Sequence[SummaryRow], tasks: int) -> list[SummaryRow]:
    """Adds the coverage to the heading if all lines have the same, or else to each row."""
    coverages = [format_coverage(row.covered, row.items, row.missing_media) for row in rows]
    heading = f"all {tasks} tasks, mean over tasks of the mean over items"
    alike = len(set(coverages)) == 1
    return [
        replace(row, heading=f"{heading}, {own}" if alike else heading, remark="" if alike else own)
        for row, own in zip(rows, coverages, strict=True)
    ]
