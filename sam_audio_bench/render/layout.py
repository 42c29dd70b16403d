"""Layout of tables, independent of the output format: what they show, order, mark and print in bold.

By default there is one block per task, one line per separator and one column per metric, see `TableOptions`. The best
separator and all that are not significantly worse are bold; a line not surely better than the mixture is marked.
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
from sam_audio_bench.separators.pickers import shares_model_with_picker
from sam_audio_bench.stats.cost import Cost, lag_notes
from sam_audio_bench.stats.findings import ALL_TASKS, Findings, main_metric
from sam_audio_bench.stats.item_coverage import coverage_class_rank
from sam_audio_bench.stats.summary import SummaryRow
from sam_audio_bench.stats.verdict import ALPHA

__all__ = ["PIVOTS", "UNSURE", "Block", "Cell", "ColumnHeader", "Line", "TableOptions", "layout", "line_label",
           "overall_sentence", "shared_notes"]  # fmt: skip

Pivot = Literal["task", "metric", "separator"]
PIVOTS: tuple[Pivot, ...] = ("task", "metric", "separator")
"""What a table can have one block per."""
UNSURE = "†"
"""Mark of a line that is not surely better than the mixture."""
TRAINED_ON = "‡"
"""Mark of scores of a separator trained on recordings from the same collection as the task's."""
SORTED = "▾"
"""Mark of the column by which lines are sorted."""
_CAUTIONS = {"saj-mini": "saj-mini is not for comparing generative separators"}
"""Notes under tables with scores of a network; on the shipped judge until it agrees with listeners on them."""
_MOST_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """Options of a table: its arrangement, order and numbers.

    Args:
        sort: the metric by which lines are sorted, and first column; None: si_sdr_i, otherwise the first improvement.
        pivot: one block per "task" with a column per metric, per "metric" with a column per task, or per "separator"
            with a line per task and a column per metric.
        digits: decimals of every number.
        interval: whether intervals are shown.
        metrics: requested metrics, in this order; a block notes which of them it has no scores of. Empty: all.
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
    """Mean, interval and count as text, all empty if the metric was not computed."""

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
        """The name and its mark."""
        return f"{self.name} {UNSURE}" if self.unsure else self.name


@dataclass(frozen=True, slots=True)
class ColumnHeader:
    """Header of a column: a metric with its unit and direction, or a task."""

    name: str
    unit: str = ""
    sorted: Literal["", "ascending", "descending"] = ""
    count: str = ""  # "scored/all" items, if it is the same in all lines

    @property
    def shown(self) -> str:
        """The unit and the mark of the sorted column."""
        return " ".join(filter(None, (self.unit, SORTED if self.sorted else "")))

    def __str__(self) -> str:
        return " ".join(filter(None, (self.name, self.shown)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The table of one task, or of one metric or separator."""

    title: str
    headers: tuple[ColumnHeader, ...]
    lines: tuple[Line, ...]  # best first, oracles last
    notes: tuple[str, ...]
    sentence: str = ""  # the verdict above the numbers
    overall: bool = False  # over all tasks

    @property
    def sections(self) -> list[list[Line]]:
        """Lines of the separators, then lines of the oracles, without empty sections."""
        parts = [[line for line in self.lines if line.oracle is oracle] for oracle in (False, True)]
        return [part for part in parts if part]

    @property
    def counts(self) -> str:
        """Note on the number of scored items, for columns with a single count."""
        counts = Counter(head.count for head in self.headers if head.count)
        if not counts:
            return ""
        (usual, _), *_ = counts.most_common()
        others = [f"{head.name} {head.count}" for head in self.headers if head.count not in ("", usual)]
        beside = f" ({', '.join(others)})" if others else ""
        return f"items scored: {usual}{beside}"


def shared_notes(blocks: Sequence[Block]) -> list[str]:
    """Returns the notes of more than one block, which are printed once below all of them."""
    found = Counter(note for block in blocks for note in block.notes if not note.startswith("*"))  # except counts
    return [note for note, count in found.items() if count > 1]


def line_label(row: SummaryRow) -> str:
    """Returns the name of a row's line in tables and in verdicts."""
    return line_name(row.separator, row.picked_by, row.candidates)


def overall_sentence(rows: Sequence[SummaryRow], answers: Findings, view: TableOptions) -> str:
    """Returns the verdict above all blocks: over all tasks, or of the only one; empty if there is none."""
    tasks = {task for task, _ in answers.verdicts}
    task = ALL_TASKS if ALL_TASKS in tasks else min(tasks, default="")
    if task != ALL_TASKS and any(row.part.removeprefix(task)[:1] not in ("", ":") for row in rows):  # of another task
        return ""
    members = [row for row in (*rows, *answers.overall) if row.part == task]
    metric = main_metric(members, view.sort)
    return "" if metric is None else _sentence(answers, task, metric, members, view)


def _sentence(answers: Findings, task: str, metric: str, rows: Iterable[SummaryRow], view: TableOptions) -> str:
    verdict = answers.verdicts.get((task, metric))
    unit = next((row.unit for row in rows if row.metric == metric), "")
    text = sentence(verdict, metric, unit, view.digits) if verdict is not None else ""
    counts = answers.counts(metric) if task == ALL_TASKS and text else None
    if counts is None or verdict is None or verdict.too_few:
        return text
    better, worse, tasks = counts
    leader = one_line(str(verdict.leader))
    return f"{text} Taken one by one, {leader} is surely better on {better} of {tasks} and surely worse on {worse}."


class _Place(NamedTuple):
    """The position of a row in a table."""

    block: str
    line: str
    column: str


def _place(row: SummaryRow, pivot: Pivot) -> _Place:
    name = line_label(row)
    if pivot == "metric":
        return _Place(row.metric, name, row.part)
    return _Place(name, row.part, row.metric) if pivot == "separator" else _Place(row.part, name, row.metric)


def layout(
    rows: Sequence[SummaryRow], costs: Iterable[Cost] = (), answers: Findings | None = None,
    view: TableOptions | None = None,
) -> list[Block]:  # fmt: skip
    """Arranges rows in blocks; if a separator has a lag, according to ``costs``, the block has a note on it."""
    answers, view = answers or Findings(), view or TableOptions()
    late = lag_notes(costs)
    blocks: dict[str, dict[tuple[str, str], SummaryRow]] = {}
    for row in (*rows, *answers.overall):
        place = _place(row, view.pivot)
        blocks.setdefault(place.block, {})[place.line, place.column] = row
    there = {row.metric for row in rows}
    return [_BlockBuilder(list(cells.values()), cells, answers, view, there).block(late) for cells in blocks.values()]


class _BlockBuilder:
    """Builds one block."""

    def __init__(
        self, rows: Sequence[SummaryRow], cells: Mapping[tuple[str, str], SummaryRow], answers: Findings,
        view: TableOptions, there: Collection[str],
    ) -> None:  # fmt: skip
        self.rows, self.cells, self.answers, self.view = rows, cells, answers, view
        self._there = there  # metrics of all blocks
        self.metric = main_metric(rows, view.sort)  # for the sentence and the marks
        tasks = list(dict.fromkeys(row.part for row in rows))
        self.task = ALL_TASKS if ALL_TASKS in tasks else tasks[0]  # for the same, if it is valid for all columns
        self.is_for_all = self.task == ALL_TASKS or len(tasks) == 1
        self.columns = self._columns(tasks)
        self.best = {key: _best(members, view.digits) for key, members in _by_column(rows).items()}

    def _columns(self, tasks: Sequence[str]) -> list[str]:
        """Returns the columns; the one by which lines are sorted comes first."""
        if self.view.pivot == "metric":
            return sorted(tasks, key=lambda task: task != self.task)
        return sorted(dict.fromkeys(row.metric for row in self.rows), key=lambda name: name != self.metric)

    def block(self, late: Mapping[str, Sequence[str]]) -> Block:
        """Returns the block."""
        pivot, first = self.view.pivot, self.rows[0]
        title = first.heading or first.label or first.task
        if pivot != "task":
            name, unit = line_label(first) + " (oracle)" * first.oracle, _unit(first)
            title = name if pivot == "separator" else f"{first.metric} {unit}".rstrip()
        lines = self._lines()
        known = pivot != "separator" and self.metric is not None and self.is_for_all
        tasks = dict.fromkeys(row.task for row in self.rows)
        text = _sentence(self.answers, self.task, str(self.metric), self.rows, self.view) if known else ""
        return Block(
            title=one_line(title),
            headers=(ColumnHeader("task" if pivot == "separator" else "separator"), *self._headers(lines)),
            lines=tuple(lines),
            notes=(
                *_notes(self.rows, [note for task in tasks for note in late.get(task, ())], self._marks(lines)),
                *self._missing(),
            ),
            sentence=text,
            overall=self.task == ALL_TASKS and pivot == "task",
        )

    def _headers(self, lines: Sequence[Line]) -> list[ColumnHeader]:
        heads = []
        for place, column in enumerate(self.columns):
            row = next(row for (_, own), row in self.cells.items() if own == column)
            counts = {line.cells[place].count for line in lines} - {""}
            way = "" if place or not self._is_sorted else _sort_direction(row)
            name, unit = (row.label or row.part, "") if self.view.pivot == "metric" else (row.metric, _unit(row))
            heads.append(ColumnHeader(one_line(name), one_line(unit), way, counts.pop() if len(counts) == 1 else ""))
        return heads

    def _lines(self) -> list[Line]:
        names = dict.fromkeys(line for line, _ in self.cells)
        lines = [(self._line(name), self._key(name)) for name in names]
        if self._is_sorted:
            lines.sort(key=lambda pair: pair[1])
        return [line for line, _ in lines]

    @property
    def _is_sorted(self) -> bool:
        """Whether lines are sorted; tasks keep their order unless a metric to sort by is given."""
        return self.view.pivot != "separator" or self.view.sort is not None

    def _key(self, name: str) -> tuple[bool, int, bool, float]:
        row = self.cells.get((name, self.columns[0]))
        first = next(row for (own, _), row in self.cells.items() if own == name)
        below = first.task == ALL_TASKS if self.view.pivot == "separator" else first.oracle
        rank = coverage_class_rank((row or first).coverage)
        if row is None or row.value is None or _is_self_judged(row) or row.higher_is_better is None:
            return below, rank, True, 0.0
        sign = -1 if row.higher_is_better else 1
        return below, rank, False, sign * row.value

    def _line(self, name: str) -> Line:
        own = {column: self.cells[name, column] for column in self.columns if (name, column) in self.cells}
        first = next(iter(own.values()))
        shown = f"{line_label(first)}{' (oracle)' * first.oracle}{f' ({first.remark})' if first.remark else ''}"
        by_separator = self.view.pivot == "separator"
        if by_separator:
            shown = first.label or first.part
        task = first.part if by_separator else self.task if self.is_for_all else ""
        found = self.answers.verdicts.get((task, str(self.metric)))
        gap = None if found is None or first.oracle else found.over_baseline.get(line_label(first))
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
        if self.view.pivot == "separator" or row.oracle or _is_self_judged(row):
            return False
        found = self.answers.verdicts.get((row.part, row.metric))
        if found is not None:
            return line_label(row) in found.best
        shown = number(row.value, self.view.digits)
        return (coverage_class_rank(row.coverage), shown) == self.best[row.part, row.metric]

    def _missing(self) -> list[str]:
        """Notes which requested metrics have no column here, or no table."""
        pivot, first = self.view.pivot, self.rows[0]
        own = self._there if pivot == "metric" else {row.metric for row in self.rows}
        place = line_label(first) if pivot == "separator" else first.label or first.task
        what = "table" if pivot == "metric" else "column"
        found: dict[str, list[str]] = {}
        for name in self.view.metrics:
            if name not in own:
                where = place if name in self._there else "these runs"
                found.setdefault(one_line(where), []).append(one_line(name))
        return [f"no {what} {', '.join(names)}: for no item of {where}" for where, names in found.items()]

    def _marks(self, lines: Sequence[Line]) -> list[str]:
        """Explains bold and the mark."""
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
    """Returns coverage class and displayed mean of the best rows, for tables without verdicts; ties are all best."""
    contest = [
        (-coverage_class_rank(row.coverage), (1 if row.higher_is_better else -1) * row.value, row.value)
        for row in rows
        if row.value is not None and row.higher_is_better is not None and not row.oracle and not _is_self_judged(row)
    ]
    return (-max(contest)[0], number(max(contest)[2], digits)) if contest else None


def _notes(rows: Sequence[SummaryRow], late: Iterable[str], marks: Iterable[str]) -> list[str]:
    """Returns the notes of a block: marks, models of metrics, capped scores, lags, scores that are not comparable."""
    notes = list(marks)
    models: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.model:
            models.setdefault(one_line(row.model), {})[one_line(row.metric)] = None
    notes += [f"{', '.join(names)}: by {model}" for model, names in models.items()]
    capped = sum(row.capped for row in rows)
    notes += [f"* {pluralize(capped, 'item score')} counted as ±{CAP_DB:.0f} dB (infinite or beyond)"] if capped else []
    notes += map(one_line, late)
    notes += _training_notes(rows)
    if any(row.set_aside for row in rows):
        notes.append("means over the items that all separators of one class of coverage have answered")
    judges = {row.model.partition(" ")[0] for row in rows}
    notes += [caution for name, caution in _CAUTIONS.items() if name in judges]
    own: dict[str, dict[str, None]] = {}
    for row in filter(_is_self_judged, rows):
        own.setdefault(one_line(row.picked_by or ""), {})[one_line(row.metric)] = None
    return notes + [
        f"not ranked, being of the picker's own model: {', '.join(own[name])} of best by {name}" for name in own
    ]


def _training_notes(rows: Sequence[SummaryRow]) -> list[str]:
    """Explains the mark beside scores."""
    known = {one_line(f"{row.separator}: {row.trained_on}"): None for row in rows if row.trained_on}
    return [f"{TRAINED_ON} trained on recordings of the same source ({'; '.join(known)})"] if known else []


def _sort_direction(row: SummaryRow) -> Literal["", "ascending", "descending"]:
    return "" if row.higher_is_better is None else "descending" if row.higher_is_better else "ascending"


def _unit(row: SummaryRow) -> str:
    return unit_and_direction(row.unit, row.higher_is_better)


def _is_self_judged(row: SummaryRow) -> bool:
    return shares_model_with_picker(row.metric, row.picked_by)
