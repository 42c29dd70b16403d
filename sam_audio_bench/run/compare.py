"""Compares two runs on the items that both have: differences, confidence intervals, p-values and the worst items.

The first run is the baseline: differences are second minus first, and the worst items are those on which the second
run is furthest behind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sam_audio_bench.cards import MAIN_METRIC
from sam_audio_bench.errors import UsageError
from sam_audio_bench.identity import Difference
from sam_audio_bench.records import MetricRecord
from sam_audio_bench.run.compatibility import check_item_content
from sam_audio_bench.run.remote import find_runs, show_urls_in_errors
from sam_audio_bench.run.results import Results
from sam_audio_bench.run.store import RunFolder, estimate_path
from sam_audio_bench.separators.pickers import shares_model_with_picker
from sam_audio_bench.stats.paired import holm, paired_difference
from sam_audio_bench.stats.summary import ItemScore, compute_item_scores

__all__ = ["ComparedItem", "Comparison", "ComparisonRow", "compare_runs", "compare_scores", "find_estimate_file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """Two systems on one task by one metric, over the items that both have scores of."""

    task: str
    metric: str
    a: float | None  # mean of the first system
    b: float | None
    difference: float | None  # second minus first
    ci_low: float | None
    ci_high: float | None
    p: float | None  # two-sided
    p_holm: float | None  # over all rows of the comparison
    wins: int  # items on which the second is better
    ties: int
    losses: int
    n_ok: int  # items with a score of both
    n: int  # items that both systems were evaluated on
    missing_a: int  # of these, items of which only the first has no score
    missing_b: int
    unit: str
    higher_is_better: bool
    own_judge: bool  # the metric is from the model that picked the estimates of a run: no evidence, hence no p

    def verdict(self, alpha: float = 0.05) -> str:
        """Returns whether the second system is "better", "worse" or "not told apart"; "" if nothing was tested."""
        if self.p_holm is None or self.difference is None:
            return ""
        if self.p_holm >= alpha or not self.difference:
            return "not told apart"
        return "better" if (self.difference > 0) is self.higher_is_better else "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedItem:
    """The scores of both systems on one item, and the files of their estimates."""

    task: str
    item: str
    metric: str
    a: float
    b: float
    difference: float
    audio_a: Path | None  # None: the run has no audio of it
    audio_b: Path | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Result of comparing two runs."""

    name_a: str
    name_b: str
    labels: Mapping[str, str]  # task -> name with version and split
    rows: tuple[ComparisonRow, ...]
    worst: tuple[ComparedItem, ...]  # of the second run against the first, by one metric
    notes: tuple[str, ...]  # what was left out

    def to_json(self) -> dict[str, Any]:
        """Returns the content of ``--json``."""
        worst = [{**asdict(one), **{name: _text(getattr(one, name)) for name in ("audio_a", "audio_b")}}
                 for one in self.worst]  # fmt: skip
        rows = [{**asdict(row), "verdict": row.verdict()} for row in self.rows]
        return {"a": self.name_a, "b": self.name_b, "rows": rows, "worst": worst, "notes": list(self.notes)}


class _Side:
    """The runs of one of the two systems."""

    def __init__(self, path: Path | str, *, first: bool) -> None:
        self.path, self._first = path, first
        self.folders = [RunFolder.open(found) for found in find_runs([path], audio=False)]
        names = sorted({folder.header.model.name for folder in self.folders})
        if len(names) > 1:
            raise UsageError(
                f"expected runs of one separator in {path}, found {', '.join(names)}; name the folder of one"
            )
        self.name = str(names[0])
        self.results = Results.of_folders(self.folders)
        self.tasks = {folder.header.task.id: folder.header.task for folder in self.folders}
        units = {name: record.unit for name, record in self.results.metrics.items()}
        means = compute_item_scores(self.results.frame, units, first=first)
        self.means = {(task, metric): items for (task, _, metric), items in means.items()}

    def target_file(self, task: str, item: str) -> Path | None:
        """Returns the file of the target estimate that was scored, or None."""
        return find_estimate_file(self.folders, task, item, first=self._first)

    def title(self, tasks: Collection[str]) -> str:
        """Returns the system's name, with the pickers of its estimates for some tasks."""
        scores = (one for (task, _), items in self.means.items() if task in tasks for one in items.values())
        pickers = sorted({one.picked_by for one in scores if one.picked_by is not None})
        return self.name + (f" (best by {', '.join(pickers)})" if pickers else "")


def find_estimate_file(folders: Iterable[RunFolder], task: str, item: str, *, first: bool = False) -> Path | None:
    """Returns the stored target estimate of an item in runs of one separator, or None if there is none here.

    Args:
        folders: the runs.
        task: name of the task.
        item: id of the item.
        first: return the first candidate instead of the one that a picker chose.
    """
    for folder in folders:
        if folder.header.task.id == task and item in folder.items:
            return estimate_path(folder, item, first=first)
    return None


@show_urls_in_errors()
def compare_runs(
    a: Path | str,
    b: Path | str,
    *,
    metrics: Sequence[str] = (),
    worst: int = 10,
    worst_by: str | None = None,
    first: bool = False,
    tie: float = 0.0,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compares two systems on every task and by every metric that both have.

    Scores of an item are averaged over seeds; if a picker chose among candidates, its choice is scored.

    Args:
        a: the baseline: a run folder, or a folder that holds runs of one separator; a string may be a URL.
        b: the other system, likewise.
        metrics: ids; empty: all that both have.
        worst: number of worst items to list.
        worst_by: metric that orders the worst items; None: si_sdr_i, or else the first one.
        first: compare the first candidates (k = 1) instead of those that a picker chose.
        tie: items whose scores differ by at most this much are ties.
        resamples: number of random swaps for tests and intervals.
        seed: seed of the random swaps.

    Raises:
        UsageError: several separators in one folder, no task or metric in common, or different versions of a task or
            metric.
        Precondition, StoreError: a folder has no runs, or a damaged one.
    """
    sides = _Side(a, first=first), _Side(b, first=first)
    notes: list[str] = []
    tasks = _common("task", [list(side.tasks) for side in sides], sides, notes)
    known = _common("metric", [list(side.results.metrics) for side in sides], sides, notes)
    if unknown := [name for name in metrics if name not in known]:
        raise UsageError(f"expected metrics among {', '.join(known)}, which both runs have, found {', '.join(unknown)}")
    chosen = list(metrics) or known
    for task in tasks:
        _check_same(f"task {task}", sides[0].tasks[task].differences(sides[1].tasks[task]), sides)
    contents: dict[tuple[str, str], tuple[str, Path]] = {}
    for folder in (folder for side in sides for folder in side.folders if folder.header.task.id in tasks):
        for item in folder.items.values():
            check_item_content(contents, folder.header.task.id, item, folder.path)
    for metric in chosen:
        _check_same(
            f"metric {metric}", sides[0].results.metrics[metric].differences(sides[1].results.metrics[metric]), sides
        )
    _note_unshared_items(tasks, sides, notes)
    cells = [(task, name) for task in tasks for name in chosen if all((task, name) in side.means for side in sides)]
    rows = [_compare_metric(sides, task, name, tie=tie, resamples=resamples, seed=seed) for task, name in cells]
    adjusted = holm([row.p for row in rows])
    by = worst_by or next((name for name in chosen if name == MAIN_METRIC), chosen[0])
    if by not in chosen:
        raise UsageError(f"expected the worst items by one of {', '.join(chosen)}, found {by!r}")
    names = [side.title(tasks) for side in sides]
    if names[0] == names[1]:
        names = [f"{name} in {side.path}" for name, side in zip(names, sides, strict=True)]
    return Comparison(
        name_a=names[0],
        name_b=names[1],
        labels={task: sides[0].results.labels[task] for task in tasks},
        rows=tuple(replace(row, p_holm=p) for row, p in zip(rows, adjusted, strict=True)),
        worst=tuple(_list_worst(sides, [task for task, name in cells if name == by], by, worst)),
        notes=tuple(notes),
    )


def _common(what: str, names: Sequence[Sequence[str]], sides: Sequence[_Side], notes: list[str]) -> list[str]:
    """Returns the names that both sides have, in the order of the first; adds a note about the others."""
    both = [name for name in names[0] if name in names[1]]
    if not both:
        found = [f"{', '.join(own) or 'none'} in {side.path}" for own, side in zip(names, sides, strict=True)]
        raise UsageError(f"expected a {what} that both runs have, found {' and '.join(found)}")
    for own, side in zip(names, sides, strict=True):
        if alone := [name for name in own if name not in both]:
            notes.append(f"left out, in {side.path} alone: {', '.join(alone)}")
    return both


def _check_same(what: str, changes: Iterable[Difference], sides: Sequence[_Side]) -> None:
    """Raises UsageError if the two sides differ."""
    for change in changes:
        raise UsageError(
            f"expected {what} with the same {change.field} in both runs, found {change.one} in {sides[0].path} and "
            f"{change.other} in {sides[1].path}; run or score one of them again"
        )


def _note_unshared_items(tasks: Sequence[str], sides: Sequence[_Side], notes: list[str]) -> None:
    for task in tasks:
        evaluated = [{item for (at, _), items in side.means.items() if at == task for item in items} for side in sides]
        for own, others, side in ((evaluated[0], evaluated[1], sides[0]), (evaluated[1], evaluated[0], sides[1])):
            if alone := len(own - others):
                notes.append(f"{task}: {alone} items left out, in {side.path} alone")


def _compare_metric(sides: Sequence[_Side], task: str, metric: str, **options: Any) -> ComparisonRow:
    one, other = (side.means[task, metric] for side in sides)
    return compare_scores(task, sides[0].results.metrics[metric], one, other, **options)


def compare_scores(
    task: str, record: MetricRecord, one: Mapping[str, ItemScore], other: Mapping[str, ItemScore], *,
    tie: float = 0.0, resamples: int = 2000, seed: int = 0,
) -> ComparisonRow:  # fmt: skip
    """Compares two systems by one metric, given the score of each item.

    Args:
        task: name of the task.
        record: the metric.
        one: scores of the baseline, by item.
        other: scores of the other system, by item.
        tie: items whose scores differ by at most this much are ties.
        resamples: number of random swaps for the test and its interval.
        seed: seed of the random swaps.
    """
    common = sorted(one.keys() & other.keys())
    scored_a, scored_b = ({item for item in common if own[item].value is not None} for own in (one, other))
    scored = scored_a & scored_b
    both = [item for item in common if item in scored]
    found = paired_difference(
        _values(one, both), _values(other, both), [one[item].group for item in both],
        higher_is_better=record.higher_is_better, tie=tie, resamples=resamples, seed=seed,
    )  # fmt: skip
    pickers = {own[item].picked_by for own in (one, other) for item in both}
    own_judge = any(shares_model_with_picker(record.id, picker) for picker in pickers)
    return ComparisonRow(
        task=task,
        metric=record.id,
        a=found.first,
        b=found.second,
        difference=found.value,
        ci_low=found.low,
        ci_high=found.high,
        p=None if own_judge else found.p,
        p_holm=None,
        wins=found.wins,
        ties=found.ties,
        losses=found.losses,
        n_ok=found.n,
        n=len(common),
        missing_a=len(scored_b - scored_a),
        missing_b=len(scored_a - scored_b),
        unit=record.unit,
        higher_is_better=record.higher_is_better,
        own_judge=own_judge,
    )


def _values(means: Mapping[str, ItemScore], items: Iterable[str]) -> list[float]:
    return [value for item in items if (value := means[item].value) is not None]


def _list_worst(sides: Sequence[_Side], tasks: Iterable[str], metric: str, most: int) -> list[ComparedItem]:
    """Returns the items on which the second run is worse, the worst first."""
    sign = 1 if sides[0].results.metrics[metric].higher_is_better else -1
    found: list[tuple[float, str, str]] = []
    for task in tasks:
        one, other = (side.means[task, metric] for side in sides)
        for item in one.keys() & other.keys():
            a, b = one[item].value, other[item].value
            if a is not None and b is not None and sign * (b - a) < 0:
                found.append((sign * (b - a), task, item))
    return [_compare_item(sides, task, item, metric) for _, task, item in sorted(found)[:most]]


def _compare_item(sides: Sequence[_Side], task: str, item: str, metric: str) -> ComparedItem:
    """Compares an item that both systems have a score of."""
    values = [side.means[task, metric][item].value for side in sides]
    a, b = (value for value in values if value is not None)
    audio_a, audio_b = (side.target_file(task, item) for side in sides)
    return ComparedItem(
        task=task, item=item, metric=metric, a=a, b=b, difference=b - a, audio_a=audio_a, audio_b=audio_b
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
