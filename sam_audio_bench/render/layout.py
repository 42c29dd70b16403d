"""What a table shows, ranks and prints bold, before it is written down in any format.

One block a task, one line a separator, one column a metric.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sam_audio_bench.metrics.catalogue import CAP_DB
from sam_audio_bench.render.numbers import UNDEFINED, interval, number
from sam_audio_bench.render.text import line_name, one_line, pluralize, unit_and_direction
from sam_audio_bench.separators.pickers import judges_itself
from sam_audio_bench.stats.cost import Cost, lag_notes
from sam_audio_bench.stats.item_coverage import coverage_class_rank
from sam_audio_bench.stats.summary import SummaryRow

__all__ = ["Block", "Cell", "Head", "Line", "layout"]

_MAIN_METRIC = "si_sdr_i"
_WIDEST_NAME = 15  # letters of a metric's name on one line of a terminal
_CAUTIONS = {"saj-mini": "saj-mini is not for comparing generative separators"}
"""What is said under a table of a network's column; of the shipped judge until it agrees with listeners about them."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Mean, interval and count as text, all empty where the metric was not asked."""

    mean: str
    interval: str
    count: str
    best: bool = False


_NOT_ASKED = Cell("", "", "")


@dataclass(frozen=True, slots=True)
class Line:
    """One separator in one block."""

    name: str
    oracle: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """What is over a column: a metric, the network behind it, its unit and direction."""

    name: str
    model: str = ""
    unit: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.name, self.model and f"[{self.model}]", self.unit)))

    @property
    def stacked(self) -> str:
        """On several short lines: five metrics fit in 100 columns."""
        name = "\n_".join(self.name.rsplit("_", 1)) if len(self.name) > _WIDEST_NAME else self.name
        return "\n".join(filter(None, (name, *self.model.split(), self.unit)))


@dataclass(frozen=True, slots=True)
class Block:
    """The table of one task."""

    task: str
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]  # best first, oracles last
    note: str | None

    @property
    def sections(self) -> list[list[Line]]:
        """Lines of the systems, then lines of the oracles, without empty sections."""
        parts = [[line for line in self.lines if line.oracle is oracle] for oracle in (False, True)]
        return [part for part in parts if part]


def layout(rows: Sequence[SummaryRow], costs: Iterable[Cost] = ()) -> list[Block]:
    """The blocks of some rows; where a separator is late, by its costs, the note of the block says so."""
    blocks: dict[tuple[str, str], list[SummaryRow]] = {}
    for row in rows:
        blocks.setdefault((row.task, row.slice), []).append(row)
    late = lag_notes(costs)
    return [_block(task, members, late.get(task, ())) for (task, _), members in blocks.items()]


def _block(task: str, rows: Sequence[SummaryRow], late: Iterable[str]) -> Block:
    metrics = {row.metric: row for row in rows}
    best = {metric: _best(row for row in rows if row.metric == metric) for metric in metrics}
    systems: dict[tuple[str, str | None], dict[str, SummaryRow]] = {}
    for row in rows:
        systems.setdefault((row.separator, row.picked_by), {})[row.metric] = row
    lines = []
    for asked in _ranked(list(systems.values()), _main_metric(rows)):
        cells = tuple(_cell(asked[metric], best[metric]) if metric in asked else Cell("", "", "") for metric in metrics)
        first = next(iter(asked.values()))
        lines.append(Line(_name(first), first.oracle, cells))
    heads = (Head("separator"), *(_head(row) for row in metrics.values()))
    return Block(one_line(rows[0].heading or rows[0].label or task), heads, tuple(lines), _note(rows, late))


def _note(rows: Sequence[SummaryRow], late: Iterable[str]) -> str | None:
    """What a reader must know about the numbers: capped scores, late answers, and scores that prove nothing."""
    capped = sum(row.capped for row in rows)
    notes = [f"* {pluralize(capped, 'item score')} counted as ±{CAP_DB:.0f} dB (infinite or beyond)"] if capped else []
    notes += map(one_line, late)
    own: dict[str, dict[str, None]] = {}
    for row in filter(_judges_itself, rows):
        own.setdefault(one_line(row.picked_by or ""), {})[one_line(row.metric)] = None
    if any(row.set_aside for row in rows):
        notes.append("means over the items that all separators of one class of coverage have answered")
    judges = {row.model.partition(" ")[0] for row in rows}
    notes += [caution for name, caution in _CAUTIONS.items() if name in judges]
    notes += [f"not ranked, being of the picker's own model: {', '.join(own[name])} of best by {name}" for name in own]
    return "; ".join(notes) or None


def _main_metric(rows: Iterable[SummaryRow]) -> str | None:
    """The metric that orders the lines: si_sdr_i, or else the first improvement, or else the first one with a value."""
    known = {row.metric: bool(row.higher_is_better) for row in rows if _direction(row) and row.value is not None}
    order = sorted(known, key=lambda name: (name != _MAIN_METRIC, not name.endswith("_i"), not known[name]))
    return order[0] if order else None


def _ranked(systems: Iterable[dict[str, SummaryRow]], metric: str | None) -> list[dict[str, SummaryRow]]:
    def key(asked: Mapping[str, SummaryRow]) -> tuple[bool, int, bool, float]:
        row = asked.get(metric or "")
        first = next(iter(asked.values()))
        if row is None or row.value is None or _judges_itself(row):
            return first.oracle, coverage_class_rank(first.coverage), True, 0.0
        return first.oracle, coverage_class_rank(first.coverage), False, -_direction(row) * row.value

    return sorted(systems, key=key)


def _direction(row: SummaryRow) -> int:
    return {True: 1, False: -1, None: 0}[row.higher_is_better]


def _judges_itself(row: SummaryRow) -> bool:
    return judges_itself(row.metric, row.picked_by)


def _best(rows: Iterable[SummaryRow]) -> tuple[int, str] | None:
    """The best mean of one metric as it is shown, in the best class of coverage, oracles aside; ties win together."""
    contest = [
        (-coverage_class_rank(row.coverage), _direction(row) * row.value, row.value)
        for row in rows
        if row.value is not None and _direction(row) and not row.oracle and not _judges_itself(row)
    ]
    return (-max(contest)[0], number(max(contest)[2])) if contest else None


def _cell(row: SummaryRow, best: tuple[int, str] | None) -> Cell:
    count = f"{row.n_ok}/{row.n}"
    if row.value is None:
        return Cell(UNDEFINED, "", count)
    mean = number(row.value)
    wins = (coverage_class_rank(row.coverage), mean) == best and not row.oracle and not _judges_itself(row)
    return Cell(mean + "*" * bool(row.capped), interval(row.ci_low, row.ci_high), count, wins)


def _name(row: SummaryRow) -> str:
    name = line_name(row.separator, row.picked_by, row.candidates)
    return one_line(name + " (oracle)" * row.oracle + f" ({row.remark})" * bool(row.remark))


def _head(row: SummaryRow) -> Head:
    unit = unit_and_direction(row.unit, row.higher_is_better)
    return Head(*map(one_line, (row.metric, row.model, unit)))
