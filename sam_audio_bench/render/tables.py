"""Rows as a table to read: Markdown, CSV, LaTeX, HTML, JSON, and a terminal.

`layout` decides what is shown, ranked and bold; the renderers write it down, each in its own escaping.
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
from sam_audio_bench.render.costs import cost_table
from sam_audio_bench.render.layout import Cell, layout
from sam_audio_bench.render.text import one_line
from sam_audio_bench.stats.cost import Cost
from sam_audio_bench.stats.summary import SummaryRow, to_json
from sam_audio_bench.tabular import is_formula

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["FORMATS", "markdown", "print_terminal", "render", "terminal"]

_WIDTH_OF_FILES = 100
_METRICS_ABREAST = 5  # in a terminal


@dataclass(frozen=True, slots=True)
class _Beside:
    """What a reader is told beside the rows."""

    partial: str | None
    runs: tuple[str, ...] = ()
    costs: tuple[Cost, ...] = ()


def render(
    rows: Sequence[SummaryRow], format: str, *, partial: str | None = None, runs: Iterable[str] = (),
    costs: Iterable[Cost] = (),
) -> str:  # fmt: skip
    """Writes rows as text that ends with a newline.

    Args:
        rows: of `sam_audio_bench.stats.summarise`.
        format: one of `FORMATS`.
        partial: the watermark of an unfinished run, such as "PARTIAL n=4/24"; None: everything is there.
        runs: the run folders, which JSON names.
        costs: of the separators, which JSON holds; where one is late, every format says so.

    Raises:
        UsageError: an unknown format.
    """
    if format not in _RENDERERS:
        raise UsageError(f"expected a table format of {', '.join(FORMATS)}, found {format!r}")
    return _RENDERERS[format](rows, _Beside(partial, tuple(runs), tuple(costs)))


def terminal(rows: Sequence[SummaryRow], *, partial: str | None = None, costs: Sequence[Cost] = ()) -> RenderableType:
    """What a rich console prints: mean and count on the first line of a cell, the interval on the second, and costs."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = [] if partial is None else [Text(one_line(partial), style="bold yellow")]
    for block in layout(rows, costs):
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
    parts += [] if not costs else [Text(""), cost_table(costs)]
    return Group(*parts)


def _panels(metrics: int) -> list[slice]:
    """Columns that stand side by side in a terminal: evenly, and as few panels as hold them.

    >>> _panels(8), _panels(5)
    ([slice(0, 4, None), slice(4, 8, None)], [slice(0, 5, None)])
    """
    count = -(-metrics // _METRICS_ABREAST) or 1
    size = -(-metrics // count)
    return [slice(start, start + size) for start in range(0, metrics, size or 1)] or [slice(0, 0)]


def print_terminal(
    rows: Sequence[SummaryRow], *, partial: str | None = None, console: Console | None = None,
    costs: Sequence[Cost] = (),
) -> None:  # fmt: skip
    """Prints the table to a rich console; None: standard output, in 100 columns where that is no terminal."""
    from rich.console import Console

    if console is None:
        console = Console()
        console.width = console.width if console.is_terminal else _WIDTH_OF_FILES
    console.print(terminal(rows, partial=partial, costs=costs))


def _in_terminal(cell: Cell) -> list[tuple[str, str]]:
    return [(cell.mean, "bold" if cell.best else ""), (f"  {cell.count}\n{cell.interval}", "")]


def _json(rows: Sequence[SummaryRow], beside: _Beside) -> str:
    return dump_json(to_json(rows, beside.runs, beside.partial is not None, beside.costs), indent=1) + "\n"


def _csv(rows: Sequence[SummaryRow], beside: _Beside) -> str:
    """Long format: one line a row, every field at full precision, and how partial the run is.

    A text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*(column.name for column in fields(SummaryRow)), "partial"], lineterminator="\n")
    writer.writeheader()
    lines = ({**asdict(row), "partial": beside.partial} for row in rows)
    writer.writerows({name: _csv_cell(value) for name, value in line.items()} for line in lines)
    return stream.getvalue()


def _csv_cell(value: object) -> object:
    """A cell that no spreadsheet runs; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    shown = value.replace("\r", "\\r")  # a line's end to some, which `csv` does not quote
    return f"'{shown}" if is_formula(value) else shown


_MD_LONE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # one inside a word is no emphasis


def _md_text(text: str) -> str:
    safe = html.escape(text, quote=False)  # raw HTML is markup in Markdown
    return _MD_LONE_UNDERSCORE.sub(r"\\_", re.sub(r"([\\`*|\[\]~#])", r"\\\1", safe))


def markdown(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    r"""Cells as a table of Markdown, which show as they are.

    >>> print(markdown(["a", "b"], [["x|y", "1"]]))
    | a | b |
    | :-- | --: |
    | x\|y | 1 |
    """
    table = [[_md_text(one_line(cell)) for cell in line] for line in (heads, *lines)]
    table.insert(1, [":--", *("--:" for _ in heads[1:])])
    return "\n".join(f"| {' | '.join(line)} |" for line in table)


def _md(rows: Sequence[SummaryRow], beside: _Beside) -> str:
    parts = [] if beside.partial is None else [f"**{_md_text(one_line(beside.partial))}**"]
    for block in layout(rows, beside.costs):
        table = [
            [_md_text(str(head)) for head in block.heads],
            [":--", *("--:" for _ in block.heads[1:])],
            *([_md_text(line.name), *map(_md_cell, line.cells)] for line in block.lines),
        ]
        parts += [f"### {_md_text(block.task)}", "\n".join(f"| {' | '.join(line)} |" for line in table)]
        parts += [] if block.note is None else [_md_text(block.note)]
    return "\n\n".join(parts) + "\n"


def _md_cell(cell: Cell) -> str:
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
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
    }
)


def _tex(rows: Sequence[SummaryRow], beside: _Beside) -> str:
    parts = [r"% needs \usepackage{booktabs}"]
    parts += [] if beside.partial is None else [rf"\noindent\textbf{{{one_line(beside.partial).translate(_TEX)}}}\par"]
    for block in layout(rows, beside.costs):
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


def _tex_cell(cell: Cell) -> str:
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


def _html(rows: Sequence[SummaryRow], beside: _Beside) -> str:
    parts = ['<div class="sabench">', _STYLE]
    parts += [] if beside.partial is None else [f"<p><strong>{html.escape(one_line(beside.partial))}</strong></p>"]
    for block in layout(rows, beside.costs):
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


def _html_cell(cell: Cell) -> str:
    shown = f"<b>{cell.mean}</b>" if cell.best else cell.mean
    return f"<td>{shown} <small>{f'{cell.interval} {cell.count}'.strip()}</small></td>" if cell.count else "<td></td>"


_RENDERERS: Mapping[str, Callable[[Sequence[SummaryRow], _Beside], str]] = MappingProxyType(
    {"md": _md, "csv": _csv, "tex": _tex, "html": _html, "json": _json}
)
FORMATS = tuple(_RENDERERS)
"""What `render` writes."""
