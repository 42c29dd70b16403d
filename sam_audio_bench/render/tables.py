"""Rows as a table to read: Markdown, CSV, LaTeX, HTML, JSON, and a terminal.

One block a task, one line a separator, one column a metric. `_layout` decides what is shown, ranked and bold; the
renderers write it down, each in its own escaping.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import dump_json
from sam_audio_bench.metrics.catalogue import CAP_DB
from sam_audio_bench.render.numbers import UNDEFINED, interval, number
from sam_audio_bench.render.text import line_name, one_line, pluralize, unit_and_direction
from sam_audio_bench.separators.pickers import judges_itself
from sam_audio_bench.stats.item_coverage import coverage_class_rank
from sam_audio_bench.stats.summary import SummaryRow, to_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["FORMATS", "print_terminal", "render", "terminal"]

_MAIN_METRIC = "si_sdr_i"
_WIDTH_OF_FILES = 100
_METRICS_ABREAST = 5  # in a terminal
_WIDEST_NAME = 15  # letters of a metric's name on one line of a terminal


_CAUTIONS = {"saj-mini": "saj-mini is not for comparing generative separators"}
"""What is said under a table of a network's column; of the shipped judge until it agrees with listeners about them."""


@dataclass(frozen=True, slots=True)
class _Cell:
    """Mean, interval and count as text, all empty where the metric was not asked."""

    mean: str
    interval: str
    count: str
    best: bool = False


_NOT_ASKED = _Cell("", "", "")


@dataclass(frozen=True, slots=True)
class _Line:
    """One separator in one block."""

    name: str
    oracle: bool
    cells: tuple[_Cell, ...]


@dataclass(frozen=True, slots=True)
class _Head:
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
class _Block:
    """The table of one task."""

    task: str
    heads: tuple[_Head, ...]
    lines: tuple[_Line, ...]  # best first, oracles last
    note: str | None

    @property
    def sections(self) -> list[list[_Line]]:
        """Lines of the systems, then lines of the oracles, without empty sections."""
        parts = [[line for line in self.lines if line.oracle is oracle] for oracle in (False, True)]
        return [part for part in parts if part]


def render(rows: Sequence[SummaryRow], format: str, *, partial: str | None = None, runs: Iterable[str] = ()) -> str:
    """Writes rows as text that ends with a newline.

    Args:
        rows: of `sam_audio_bench.stats.summarise`.
        format: one of `FORMATS`.
        partial: the watermark of an unfinished run, such as "PARTIAL n=4/24"; None: everything is there.
        runs: the run folders, which JSON names.

    Raises:
        UsageError: an unknown format.
    """
    if format not in _RENDERERS:
        raise UsageError(f"expected a table format of {', '.join(FORMATS)}, found {format!r}")
    return _RENDERERS[format](rows, partial, runs)


def terminal(rows: Sequence[SummaryRow], *, partial: str | None = None) -> RenderableType:
    """What a rich console prints: mean and count on the first line of a cell, the interval on the second."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = [] if partial is None else [Text(one_line(partial), style="bold yellow")]
    for block in _layout(rows):
        parts += [Text("")] if parts else []
        parts.append(Text(block.task, style="bold"))
        for index, columns in enumerate(_panels(len(block.heads) - 1)):
            table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
            for head in (block.heads[0], *block.heads[1:][columns]):
                table.add_column(Text(head.stacked), overflow="fold")
            for section in block.sections:
                for line in section:
                    texts = [Text.assemble(*_in_terminal(cell)) for cell in line.cells[columns]]
                    table.add_row(Text(line.name.replace(" (", "\n(")), *texts)
                table.add_section()
            parts += [Text(""), table] if index else [table]
        parts += [] if block.note is None else [Text(block.note, style="dim")]
    return Group(*parts)


def _panels(metrics: int) -> list[slice]:
    """Columns that stand side by side in a terminal: evenly, and as few panels as hold them.

    >>> _panels(8), _panels(5)
    ([slice(0, 4, None), slice(4, 8, None)], [slice(0, 5, None)])
    """
    count = -(-metrics // _METRICS_ABREAST) or 1
    size = -(-metrics // count)
    return [slice(start, start + size) for start in range(0, metrics, size or 1)] or [slice(0, 0)]


def print_terminal(rows: Sequence[SummaryRow], *, partial: str | None = None, console: Console | None = None) -> None:
    """Prints the table to a rich console; None: standard output, in 100 columns where that is no terminal."""
    from rich.console import Console

    if console is None:
        console = Console()
        console.width = console.width if console.is_terminal else _WIDTH_OF_FILES
    console.print(terminal(rows, partial=partial))


def _in_terminal(cell: _Cell) -> list[tuple[str, str]]:
    return [(cell.mean, "bold" if cell.best else ""), (f"  {cell.count}\n{cell.interval}", "")]


def _layout(rows: Sequence[SummaryRow]) -> list[_Block]:
    tasks: dict[str, list[SummaryRow]] = {}
    for row in rows:
        tasks.setdefault(row.task, []).append(row)
    return [_block(task, members) for task, members in tasks.items()]


def _block(task: str, rows: Sequence[SummaryRow]) -> _Block:
    metrics = {row.metric: row for row in rows}
    best = {metric: _best(row for row in rows if row.metric == metric) for metric in metrics}
    systems: dict[tuple[str, str | None], dict[str, SummaryRow]] = {}
    for row in rows:
        systems.setdefault((row.separator, row.picked_by), {})[row.metric] = row
    lines = []
    for asked in _ranked(list(systems.values()), _main_metric(rows)):
        cells = tuple(
            _cell(asked[metric], best[metric]) if metric in asked else _Cell("", "", "") for metric in metrics
        )
        first = next(iter(asked.values()))
        lines.append(_Line(_name(first), first.oracle, cells))
    heads = (_Head("separator"), *(_head(row) for row in metrics.values()))
    return _Block(one_line(rows[0].heading or rows[0].label or task), heads, tuple(lines), _note(rows))


def _note(rows: Sequence[SummaryRow]) -> str | None:
    """What a reader must know about the numbers: capped scores, and scores that prove nothing."""
    capped = sum(row.capped for row in rows)
    notes = [f"* {pluralize(capped, 'item score')} counted as ±{CAP_DB:.0f} dB (infinite or beyond)"] if capped else []
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


def _cell(row: SummaryRow, best: tuple[int, str] | None) -> _Cell:
    count = f"{row.n_ok}/{row.n}"
    if row.value is None:
        return _Cell(UNDEFINED, "", count)
    mean = number(row.value)
    wins = (coverage_class_rank(row.coverage), mean) == best and not row.oracle and not _judges_itself(row)
    return _Cell(mean + "*" * bool(row.capped), interval(row.ci_low, row.ci_high), count, wins)


def _name(row: SummaryRow) -> str:
    name = line_name(row.separator, row.picked_by, row.candidates)
    return one_line(name + " (oracle)" * row.oracle + f" ({row.remark})" * bool(row.remark))


def _head(row: SummaryRow) -> _Head:
    unit = unit_and_direction(row.unit, row.higher_is_better)
    return _Head(*map(one_line, (row.metric, row.model, unit)))


def _json(rows: Sequence[SummaryRow], partial: str | None, runs: Iterable[str]) -> str:
    return dump_json(to_json(rows, runs, partial is not None), indent=1) + "\n"


def _csv(rows: Sequence[SummaryRow], partial: str | None, runs: Iterable[str]) -> str:
    """Long format: one line a row, every field at full precision, and how partial the run is.

    A text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*(column.name for column in fields(SummaryRow)), "partial"], lineterminator="\n")
    writer.writeheader()
    lines = ({**asdict(row), "partial": partial} for row in rows)
    writer.writerows({name: _csv_cell(value) for name, value in line.items()} for line in lines)
    return stream.getvalue()


def _csv_cell(value: object) -> object:
    """A cell that no spreadsheet runs; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    shown = value.replace("\r", "\\r")  # a line's end to some, which `csv` does not quote
    return f"'{shown}" if value.lstrip().startswith(_FORMULA) else shown


_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # the wide ones, too, which some take for these
_MD_LONE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # one inside a word is no emphasis


def _md_text(text: str) -> str:
    safe = html.escape(text, quote=False)  # raw HTML is markup in Markdown
    return _MD_LONE_UNDERSCORE.sub(r"\\_", re.sub(r"([\\`*|\[\]~#])", r"\\\1", safe))


def _md(rows: Sequence[SummaryRow], partial: str | None, runs: Iterable[str]) -> str:
    parts = [] if partial is None else [f"**{_md_text(one_line(partial))}**"]
    for block in _layout(rows):
        table = [
            [_md_text(str(head)) for head in block.heads],
            [":--", *("--:" for _ in block.heads[1:])],
            *([_md_text(line.name), *map(_md_cell, line.cells)] for line in block.lines),
        ]
        parts += [f"### {_md_text(block.task)}", "\n".join(f"| {' | '.join(line)} |" for line in table)]
        parts += [] if block.note is None else [_md_text(block.note)]
    return "\n\n".join(parts) + "\n"


def _md_cell(cell: _Cell) -> str:
    mean, bounds = (text.replace("−", "-") for text in (_md_text(cell.mean), cell.interval))  # programs read it too
    shown = f"**{mean}**" if cell.best else mean
    return " ".join(part for part in (shown, bounds, cell.count) if part)


_TEX = str.maketrans(
    {
        **{mark: f"\\{mark}" for mark in "&%$#_{}"},
        **{mark: f"{{{mark}}}" for mark in "[*"},  # after a line's end, either would be an argument of it
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "—": "---",
        "−": "$-$",
        "±": r"$\pm$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
    }
)


def _tex(rows: Sequence[SummaryRow], partial: str | None, runs: Iterable[str]) -> str:
    parts = [r"% needs \usepackage{booktabs}"]
    parts += [] if partial is None else [rf"\noindent\textbf{{{one_line(partial).translate(_TEX)}}}\par"]
    for block in _layout(rows):
        sections = [
            "\n".join(" & ".join([line.name.translate(_TEX), *map(_tex_cell, line.cells)]) + r" \\" for line in section)
            for section in block.sections
        ]
        parts += [
            r"\begin{table}",
            rf"\caption{{{block.task.translate(_TEX)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(block.heads) - 1)}}}",
            r"\toprule",
            " & ".join(str(head).translate(_TEX) for head in block.heads) + r" \\",
            r"\midrule",
            "\n\\midrule\n".join(sections),
            r"\bottomrule",
            r"\end{tabular}",
            *([] if block.note is None else [rf"\par {block.note.translate(_TEX)}"]),
            r"\end{table}",
        ]
    return "\n".join(parts) + "\n"


def _tex_cell(cell: _Cell) -> str:
    mean, bounds = (text.translate(_TEX) for text in (cell.mean, cell.interval))
    shown = rf"\textbf{{{mean}}}" if cell.best else mean
    return " ".join(part for part in (shown, bounds, cell.count) if part)


_STYLE = """<style>
.sabench table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; }
.sabench caption { text-align: left; font-weight: bold; }
.sabench th, .sabench td { padding: .25em .75em; text-align: right; vertical-align: top; }
.sabench tr > :first-child { text-align: left; font-weight: normal; }
.sabench thead th { border-bottom: 1px solid; }
.sabench .oracle { border-top: 1px solid; font-style: italic; }
.sabench small { display: block; white-space: nowrap; }
</style>"""


def _html(rows: Sequence[SummaryRow], partial: str | None, runs: Iterable[str]) -> str:
    parts = ['<div class="sabench">', _STYLE]
    parts += [] if partial is None else [f"<p><strong>{html.escape(one_line(partial))}</strong></p>"]
    for block in _layout(rows):
        heads = "".join(f'<th scope="col">{html.escape(str(head))}</th>' for head in block.heads)
        parts += ["<table>", f"<caption>{html.escape(block.task)}</caption>", f"<thead><tr>{heads}</tr></thead>"]
        for section in block.sections:
            parts.append('<tbody class="oracle">' if section[0].oracle else "<tbody>")
            parts += [
                f'<tr><th scope="row">{html.escape(line.name)}</th>{"".join(map(_html_cell, line.cells))}</tr>'
                for line in section
            ]
            parts.append("</tbody>")
        parts.append("</table>")
        parts += [] if block.note is None else [f"<p><small>{html.escape(block.note)}</small></p>"]
    return "\n".join([*parts, "</div>"]) + "\n"


def _html_cell(cell: _Cell) -> str:
    shown = f"<b>{cell.mean}</b>" if cell.best else cell.mean
    return f"<td>{shown} <small>{f'{cell.interval} {cell.count}'.strip()}</small></td>" if cell.count else "<td></td>"


_RENDERERS: Mapping[str, Callable[[Sequence[SummaryRow], str | None, Iterable[str]], str]] = MappingProxyType(
    {"md": _md, "csv": _csv, "tex": _tex, "html": _html, "json": _json}
)
FORMATS = tuple(_RENDERERS)
"""What `render` writes."""
