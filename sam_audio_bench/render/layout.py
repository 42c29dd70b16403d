"""What a table shows, ranks, marks and prints bold, before it is written down in any format.

One block a task, one line a separator, one column a metric; a `View` turns them. Bold is the best, and all that cannot
be told from it; a line that is not surely better than the mixture is marked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.catalogue import CAP_DB
from sam_audio_bench.render.numbers import UNDEFINED, interval, number
from sam_audio_bench.render.text import line_name, one_line, pluralize, unit_and_direction
from sam_audio_bench.render.verdict import sentence
from sam_audio_bench.separators.pickers import judges_itself
from sam_audio_bench.stats.cost import Cost, lag_notes
from sam_audio_bench.stats.findings import ALL_TASKS, Findings, main_metric
from sam_audio_bench.stats.item_coverage import coverage_class_rank
from sam_audio_bench.stats.summary import SummaryRow
from sam_audio_bench.stats.verdict import ALPHA

__all__ = ["PIVOTS", "UNSURE", "Block", "Cell", "Head", "Line", "View", "answer", "layout", "name_of", "shared_notes"]

Pivot = Literal["task", "metric", "separator"]
PIVOTS: tuple[Pivot, ...] = ("task", "metric", "separator")
"""What a block of a table can be of."""
UNSURE = "†"
"""Marks a line that is not surely better than the mixture."""
TRAINED_ON = "‡"
"""Marks the scores of a separator that was trained on recordings of the same collection as the task's."""
SORTED = "▾"
"""Marks the column that lines are sorted by."""
_CAUTIONS = {"saj-mini": "saj-mini is not for comparing generative separators"}
"""What is said under a table of a network's column; of the shipped judge until it agrees with listeners about them."""
_MOST_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How a table is turned, sorted and written.

    Args:
        sort: the metric that lines are sorted by, in the first column; None: si_sdr_i, or else the first improvement.
        pivot: what a block is of: a "task" with a column a metric, a "metric" with a column a task, or a "separator"
            with a line a task and a column a metric.
        digits: decimals of every number.
        interval: whether intervals are shown.
        metrics: that were asked for, in this order; a block says which of them it lacks. None: whatever there is.
    """

    sort: str | None = None
    pivot: Pivot = "task"
    digits: int = 2
    interval: bool = True
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pivot not in PIVOTS:
            raise UsageError(f"expected a table by {', '.join(PIVOTS)}, found {self.pivot!r}")
        if not 0 <= self.digits <= _MOST_DIGITS:
            raise UsageError(f"expected from 0 to {_MOST_DIGITS} decimals, found {self.digits}")


@dataclass(frozen=True, slots=True)
class Cell:
    """Mean, interval and count as text, all empty where the metric was not asked."""

    mean: str = ""
    interval: str = ""
    count: str = ""
    best: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a block: a separator, or a task."""

    name: str
    oracle: bool
    cells: tuple[Cell, ...]
    unsure: bool = False

    @property
    def shown(self) -> str:
        """The name with its mark."""
        return f"{self.name} {UNSURE}" if self.unsure else self.name


@dataclass(frozen=True, slots=True)
class Head:
    """What is over a column: a metric with its unit and direction, or a task."""

    name: str
    unit: str = ""
    sorted: Literal["", "ascending", "descending"] = ""
    count: str = ""  # items with a score and items asked, where all lines have the same

    @property
    def shown(self) -> str:
        """The unit with the mark of the sorted column."""
        return " ".join(filter(None, (self.unit, SORTED if self.sorted else "")))

    def __str__(self) -> str:
        return " ".join(filter(None, (self.name, self.shown)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The table of one task, or of one metric or separator."""

    title: str
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]  # best first, oracles last
    notes: tuple[str, ...]
    sentence: str = ""  # the answer above the numbers
    overall: bool = False  # over all tasks

    @property
    def sections(self) -> list[list[Line]]:
        """Lines of the systems, then lines of the oracles, without empty sections."""
        parts = [[line for line in self.lines if line.oracle is oracle] for oracle in (False, True)]
        return [part for part in parts if part]

    @property
    def counts(self) -> str:
        """What a note says of the items behind the columns that have one count."""
        counts = Counter(head.count for head in self.heads if head.count)
        if not counts:
            return ""
        (usual, _), *_ = counts.most_common()
        others = [f"{head.name} {head.count}" for head in self.heads if head.count not in ("", usual)]
        beside = f" ({', '.join(others)})" if others else ""
        return f"items scored: {usual}{beside}"


def shared_notes(blocks: Sequence[Block]) -> list[str]:
    """Notes of more than one block, which are told once below all of them."""
    found = Counter(note for block in blocks for note in block.notes if not note.startswith("*"))  # those are counts
    return [note for note, count in found.items() if count > 1]


def name_of(row: SummaryRow) -> str:
    """What the line of a row is called, in tables and in verdicts."""
    return line_name(row.separator, row.picked_by, row.candidates)


def answer(rows: Sequence[SummaryRow], answers: Findings, view: View) -> str:
    """The sentence above all: over all tasks, or of the only one; empty where there is no such answer."""
    tasks = {task for task, _ in answers.verdicts}
    task = ALL_TASKS if ALL_TASKS in tasks else min(tasks, default="")
    if task != ALL_TASKS and any(row.part.removeprefix(task)[:1] not in ("", ":") for row in rows):  # another task's
        return ""
    members = [row for row in (*rows, *answers.overall) if row.part == task]
    metric = main_metric(members, view.sort)
    return "" if metric is None else _sentence(answers, task, metric, members, view)


def _sentence(answers: Findings, task: str, metric: str, rows: Iterable[SummaryRow], view: View) -> str:
    verdict = answers.verdicts.get((task, metric))
    unit = next((row.unit for row in rows if row.metric == metric), "")
    told = sentence(verdict, metric, unit, view.digits) if verdict is not None else ""
    counts = answers.counts(metric) if task == ALL_TASKS and told else None
    if counts is None or verdict is None or verdict.too_few:
        return told
    better, worse, tasks = counts
    leader = one_line(str(verdict.leader))
    return f"{told} Taken one by one, {leader} is surely better on {better} of {tasks} and surely worse on {worse}."


class _Place(NamedTuple):
    """Where a row stands."""

    block: str
    line: str
    column: str


def _place(row: SummaryRow, pivot: Pivot) -> _Place:
    name = name_of(row)
    if pivot == "metric":
        return _Place(row.metric, name, row.part)
    return _Place(name, row.part, row.metric) if pivot == "separator" else _Place(row.part, name, row.metric)


def layout(
    rows: Sequence[SummaryRow], costs: Iterable[Cost] = (), answers: Findings | None = None, view: View | None = None
) -> list[Block]:
    """The blocks of some rows; where a separator is late, by its costs, the note of the block says so."""
    answers, view = answers or Findings(), view or View()
    late = lag_notes(costs)
    blocks: dict[str, dict[tuple[str, str], SummaryRow]] = {}
    for row in (*rows, *answers.overall):
        place = _place(row, view.pivot)
        blocks.setdefault(place.block, {})[place.line, place.column] = row
    there = {row.metric for row in rows}
    return [_Laid(list(cells.values()), cells, answers, view, there).block(late) for cells in blocks.values()]


class _Laid:
    """One block that is being laid out."""

    def __init__(
        self, rows: Sequence[SummaryRow], cells: Mapping[tuple[str, str], SummaryRow], answers: Findings, view: View,
        there: Collection[str],
    ) -> None:  # fmt: skip
        self.rows, self.cells, self.answers, self.view = rows, cells, answers, view
        self._there = there  # metrics of all blocks
        self.metric = main_metric(rows, view.sort)  # of the sentence and the marks
        tasks = list(dict.fromkeys(row.part for row in rows))
        self.task = (
            ALL_TASKS if ALL_TASKS in tasks else tasks[0]
        )  # of the sentence and the marks, too, if it is for all
        self.is_for_all = self.task == ALL_TASKS or len(tasks) == 1
        self.columns = self._columns(tasks)
        self.best = {key: _best(members, view.digits) for key, members in _by_column(rows).items()}

    def _columns(self, tasks: Sequence[str]) -> list[str]:
        """The column that lines are sorted by comes first."""
        if self.view.pivot == "metric":
            return sorted(tasks, key=lambda task: task != self.task)
        return sorted(dict.fromkeys(row.metric for row in self.rows), key=lambda name: name != self.metric)

    def block(self, late: Mapping[str, Sequence[str]]) -> Block:
        """All of it."""
        pivot, first = self.view.pivot, self.rows[0]
        title = first.heading or first.label or first.task
        if pivot != "task":
            name, unit = name_of(first) + " (oracle)" * first.oracle, _unit(first)
            title = name if pivot == "separator" else f"{first.metric} {unit}".rstrip()
        lines = self._lines()
        known = pivot != "separator" and self.metric is not None and self.is_for_all
        tasks = dict.fromkeys(row.task for row in self.rows)
        told = _sentence(self.answers, self.task, str(self.metric), self.rows, self.view) if known else ""
        return Block(
            title=one_line(title),
            heads=(Head("task" if pivot == "separator" else "separator"), *self._heads(lines)),
            lines=tuple(lines),
            notes=(
                *_notes(self.rows, [note for task in tasks for note in late.get(task, ())], self._marks(lines)),
                *self._missing(),
            ),
            sentence=told,
            overall=self.task == ALL_TASKS and pivot == "task",
        )

    def _heads(self, lines: Sequence[Line]) -> list[Head]:
        heads = []
        for place, column in enumerate(self.columns):
            row = next(row for (_, own), row in self.cells.items() if own == column)
            counts = {line.cells[place].count for line in lines} - {""}
            way = "" if place or not self._is_sorted else _way(row)
            name, unit = (row.label or row.part, "") if self.view.pivot == "metric" else (row.metric, _unit(row))
            heads.append(Head(one_line(name), one_line(unit), way, counts.pop() if len(counts) == 1 else ""))
        return heads

    def _lines(self) -> list[Line]:
        names = dict.fromkeys(line for line, _ in self.cells)
        lines = [(self._line(name), self._key(name)) for name in names]
        if self._is_sorted:
            lines.sort(key=lambda pair: pair[1])
        return [line for line, _ in lines]

    @property
    def _is_sorted(self) -> bool:
        """Tasks stay in their order unless another one is asked for."""
        return self.view.pivot != "separator" or self.view.sort is not None

    def _key(self, name: str) -> tuple[bool, int, bool, float]:
        row = self.cells.get((name, self.columns[0]))
        first = next(row for (own, _), row in self.cells.items() if own == name)
        below = first.task == ALL_TASKS if self.view.pivot == "separator" else first.oracle
        rank = coverage_class_rank((row or first).coverage)
        if row is None or row.value is None or _judges_itself(row) or row.higher_is_better is None:
            return below, rank, True, 0.0
        sign = -1 if row.higher_is_better else 1
        return below, rank, False, sign * row.value

    def _line(self, name: str) -> Line:
        own = {column: self.cells[name, column] for column in self.columns if (name, column) in self.cells}
        first = next(iter(own.values()))
        shown = f"{name_of(first)}{' (oracle)' * first.oracle}{f' ({first.remark})' if first.remark else ''}"
        by_separator = self.view.pivot == "separator"
        if by_separator:
            shown = first.label or first.part
        task = first.part if by_separator else self.task if self.is_for_all else ""
        found = self.answers.verdicts.get((task, str(self.metric)))
        gap = None if found is None or first.oracle else found.over_baseline.get(name_of(first))
        cells = tuple(self._cell(own[column]) if column in own else Cell() for column in self.columns)
        return Line(one_line(shown), first.oracle, cells, gap is not None and not gap.ahead)

    def _cell(self, row: SummaryRow) -> Cell:
        count = f"{row.n_ok}/{row.n}"
        if row.value is None:
            return Cell(UNDEFINED, "", count)
        mean = number(row.value, self.view.digits)
        bounds = interval(row.ci_low, row.ci_high, self.view.digits) if self.view.interval else ""
        marks = "*" * bool(row.capped) + TRAINED_ON * bool(row.trained_on)
        return Cell(mean + marks, bounds, count, self._is_best(row))

    def _is_best(self, row: SummaryRow) -> bool:
        if self.view.pivot == "separator" or row.oracle or _judges_itself(row):
            return False
        found = self.answers.verdicts.get((row.part, row.metric))
        if found is not None:
            return name_of(row) in found.best
        shown = number(row.value, self.view.digits)
        return (coverage_class_rank(row.coverage), shown) == self.best[row.part, row.metric]

    def _missing(self) -> list[str]:
        """Which metrics that were asked for have no column here, or no table."""
        pivot, first = self.view.pivot, self.rows[0]
        own = self._there if pivot == "metric" else {row.metric for row in self.rows}
        place = name_of(first) if pivot == "separator" else first.label or first.task
        what = "table" if pivot == "metric" else "column"
        found: dict[str, list[str]] = {}
        for name in self.view.metrics:
            if name not in own:
                where = place if name in self._there else "these runs"
                found.setdefault(one_line(where), []).append(one_line(name))
        return [f"no {what} {', '.join(names)}: for no item of {where}" for where, names in found.items()]

    def _marks(self, lines: Sequence[Line]) -> list[str]:
        """What bold and the mark mean here."""
        if not self.answers.verdicts:
            return []
        bold = any(cell.best for line in lines for cell in line.cells)
        within = " in each slice" * any(row.slice for row in self.rows)
        test = f"paired, Holm{within}, {ALPHA:.0%}".replace("%", " %")
        marks = [f"bold: best, or not told from the best ({test})"] if bold else []
        if any(line.unsure for line in lines):
            marks.append(f"{UNSURE} not surely better than the mixture by {one_line(str(self.metric))} ({test})")
        return marks


def _by_column(rows: Iterable[SummaryRow]) -> dict[tuple[str, str], list[SummaryRow]]:
    found: dict[tuple[str, str], list[SummaryRow]] = {}
    for row in rows:
        found.setdefault((row.part, row.metric), []).append(row)
    return found


def _best(rows: Iterable[SummaryRow], digits: int) -> tuple[int, str] | None:
    """Class of coverage and mean of the best as it is shown, where no scores of items tell more; ties win together."""
    contest = [
        (-coverage_class_rank(row.coverage), (1 if row.higher_is_better else -1) * row.value, row.value)
        for row in rows
        if row.value is not None and row.higher_is_better is not None and not row.oracle and not _judges_itself(row)
    ]
    return (-max(contest)[0], number(max(contest)[2], digits)) if contest else None


def _notes(rows: Sequence[SummaryRow], late: Iterable[str], marks: Iterable[str]) -> list[str]:
    """What a reader must know: what marks mean, who scored, capped scores, late answers, scores that prove nothing."""
    notes = list(marks)
    models: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.model:
            models.setdefault(one_line(row.model), {})[one_line(row.metric)] = None
    notes += [f"{', '.join(names)}: by {model}" for model, names in models.items()]
    capped = sum(row.capped for row in rows)
    notes += [f"* {pluralize(capped, 'item score')} counted as ±{CAP_DB:.0f} dB (infinite or beyond)"] if capped else []
    notes += map(one_line, late)
    notes += _trained_on(rows)
    if any(row.set_aside for row in rows):
        notes.append("means over the items that all separators of one class of coverage have answered")
    judges = {row.model.partition(" ")[0] for row in rows}
    notes += [caution for name, caution in _CAUTIONS.items() if name in judges]
    own: dict[str, dict[str, None]] = {}
    for row in filter(_judges_itself, rows):
        own.setdefault(one_line(row.picked_by or ""), {})[one_line(row.metric)] = None
    return notes + [
        f"not ranked, being of the picker's own model: {', '.join(own[name])} of best by {name}" for name in own
    ]


def _trained_on(rows: Sequence[SummaryRow]) -> list[str]:
    """What the mark beside scores means."""
    known = {one_line(f"{row.separator}: {row.trained_on}"): None for row in rows if row.trained_on}
    return [f"{TRAINED_ON} trained on recordings of the same source ({'; '.join(known)})"] if known else []


def _way(row: SummaryRow) -> Literal["", "ascending", "descending"]:
    return "" if row.higher_is_better is None else "descending" if row.higher_is_better else "ascending"


def _unit(row: SummaryRow) -> str:
    return unit_and_direction(row.unit, row.higher_is_better)


def _judges_itself(row: SummaryRow) -> bool:
    return judges_itself(row.metric, row.picked_by)
