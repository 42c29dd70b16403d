"""Rendering of rows as tables: Markdown, CSV, LaTeX, HTML, JSON, and for a terminal.

`layout` decides what is shown, how it is sorted and what is bold; the renderers write it, each with its own escaping.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import dump_json
from sam_audio_bench.render.layout import (
    UNSURE,
    Block,
    Cell,
    ColumnHeader,
    Line,
    TableOptions,
    layout,
    overall_sentence,
    shared_notes,
)
from sam_audio_bench.render.terminal import Screen, panels, standard_output
from sam_audio_bench.render.text import markdown_text, one_line, split_in_two, wrap_name
from sam_audio_bench.render.verdict import verdicts_to_json
from sam_audio_bench.stats.cost import Cost
from sam_audio_bench.stats.findings import Findings
from sam_audio_bench.stats.summary import SummaryRow, to_json
from sam_audio_bench.tabular import is_formula

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["FORMATS", "print_terminal", "render", "table_to_json"]


@dataclass(frozen=True, slots=True)
class _TableContext:
    """What a table shows in addition to the rows."""

    partial: str | None
    runs: tuple[str, ...] = ()
    costs: tuple[Cost, ...] = ()
    answers: Findings = field(default_factory=Findings)
    view: TableOptions = field(default_factory=TableOptions)

    def overall_sentence(self, rows: Sequence[SummaryRow], blocks: Sequence[Block]) -> str:
        """Returns the sentence above several blocks; a single block has its own."""
        return overall_sentence(rows, self.answers, self.view) if len(blocks) > 1 else ""


def render(
    rows: Sequence[SummaryRow], format: str, *, partial: str | None = None, runs: Iterable[str] = (),
    costs: Iterable[Cost] = (), answers: Findings | None = None, view: TableOptions | None = None,
) -> str:  # fmt: skip
    """Renders rows as text that ends with a newline.

    Args:
        rows: of `sam_audio_bench.stats.summarise`.
        format: one of `FORMATS`.
        partial: the watermark of an incomplete run, such as "PARTIAL n=4/24"; None: the run is complete.
        runs: the run folders, for JSON.
        costs: of the separators, for JSON; if one has a lag, every format has a note on it.
        answers: verdicts on the columns, and rows over all tasks; None: no verdicts.
        view: arrangement and order; CSV and JSON contain every row at full precision in any case.

    Raises:
        UsageError: an unknown format.
    """
    if format not in _RENDERERS:
        raise UsageError(f"expected a table format of {', '.join(FORMATS)}, found {format!r}")
    context = _TableContext(partial, tuple(runs), tuple(costs), answers or Findings(), view or TableOptions())
    return _RENDERERS[format](rows, context)


def print_terminal(
    rows: Sequence[SummaryRow], *, partial: str | None = None, console: Console | None = None,
    costs: Sequence[Cost] = (), answers: Findings | None = None, view: TableOptions | None = None,
) -> None:  # fmt: skip
    """Prints the table to a rich console; None: standard output, COLUMNS or 100 columns wide if it is no terminal."""
    answers, view = answers or Findings(), view or TableOptions()
    blocks = layout(rows, costs, answers, view)
    (console or standard_output()).print(Screen(blocks, overall_sentence(rows, answers, view), partial, costs))


def table_to_json(
    rows: Sequence[SummaryRow], *, partial: str | None, runs: Iterable[str], costs: Iterable[Cost], answers: Findings,
    view: TableOptions,
) -> dict[str, Any]:  # fmt: skip
    """Returns `sam_audio_bench.stats.to_json` with the answer, the rows over all tasks, and all verdicts."""
    found = to_json(rows, runs, partial is not None, costs)
    overall = [asdict(row) for row in answers.overall]
    verdicts = {
        "answer": overall_sentence(rows, answers, view),
        "overall": overall,
        "verdicts": verdicts_to_json(answers),
    }
    return {**found, **verdicts}


def _json(rows: Sequence[SummaryRow], context: _TableContext) -> str:
    found = table_to_json(
        rows,
        partial=context.partial,
        runs=context.runs,
        costs=context.costs,
        answers=context.answers,
        view=context.view,
    )
    return dump_json(found, indent=1) + "\n"


def _csv(rows: Sequence[SummaryRow], context: _TableContext) -> str:
    """Renders the long format: a line per row, those over all tasks last, with all fields at full precision.

    A text that a spreadsheet would evaluate as a formula is prefixed with an apostrophe.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*(column.name for column in fields(SummaryRow)), "partial"], lineterminator="\n")
    writer.writeheader()
    lines = ({**asdict(row), "partial": context.partial} for row in (*rows, *context.answers.overall))
    writer.writerows({name: csv_cell(value) for name, value in line.items()} for line in lines)
    return stream.getvalue()


def csv_cell(value: object) -> object:
    """Returns a value that no spreadsheet evaluates as a formula; numbers are unchanged."""
    if not isinstance(value, str):
        return value
    shown = value.replace("\r", "\\r")  # a line break for some programs, which `csv` does not quote
    return f"'{shown}" if is_formula(value) else shown


def _md(rows: Sequence[SummaryRow], context: _TableContext) -> str:
    parts = [] if context.partial is None else [f"**{markdown_text(one_line(context.partial))}**"]
    blocks = layout(rows, context.costs, context.answers, context.view)
    sentence, shared = context.overall_sentence(rows, blocks), shared_notes(blocks)
    parts += [_md_minus(markdown_text(sentence))] if sentence else []
    for block in blocks:
        table = [
            [markdown_text(str(head)) for head in block.headers],
            [":--", *("--:" for _ in block.headers[1:])],
            *([markdown_text(line.shown), *(_md_cell(block, place, cell) for place, cell in enumerate(line.cells, 1))]
              for line in block.lines),
        ]  # fmt: skip
        parts.append(f"### {markdown_text(block.title)}")
        parts += [_md_minus(markdown_text(block.sentence))] if block.sentence not in ("", sentence) else []
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in table))
        parts += [markdown_text(notes)] if (notes := _notes(block, shared)) else []
    parts += [markdown_text("; ".join(shared))] if shared else []
    return "\n\n".join(parts) + "\n"


def _notes(block: Block, elsewhere: Collection[str] = ()) -> str:
    """Returns the notes under a table in a file, with the counts of columns that have the same in all lines."""
    return "; ".join(note for note in (block.counts, *block.notes) if note and note not in elsewhere)


def _count(block: Block, place: int, cell: Cell) -> str:
    """Returns the count of a cell in a file, unless it is the column's."""
    return "" if block.headers[place].count else cell.count


def _md_minus(text: str) -> str:
    """Replaces the typographic minus, since programs read Markdown too."""
    return text.replace("−", "-")


def _md_cell(block: Block, place: int, cell: Cell) -> str:
    mean, bounds = map(_md_minus, (markdown_text(cell.mean), cell.interval))
    shown = f"**{mean}**" if cell.best else mean
    return " ".join(part for part in (shown, bounds, _count(block, place, cell)) if part)


_TEX = str.maketrans(
    {
        **{mark: f"\\{mark}" for mark in "&%$#_{}"},
        **{mark: f"{{{mark}}}" for mark in "[*"},  # after \\, either would be parsed as its argument
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
        "†": r"$^\dagger$",
        "‡": r"$^\ddagger$",
        "▾": r"{\tiny$\bigtriangledown$}",
    }
)


_TEX_WIDTH = 80  # characters per page width in \small
_TEX_GAP = 3  # characters between columns


def _tex(rows: Sequence[SummaryRow], context: _TableContext) -> str:
    parts = [r"% needs \usepackage{booktabs}"]
    parts += (
        [] if context.partial is None else [rf"\noindent\textbf{{{one_line(context.partial).translate(_TEX)}}}\par"]
    )
    labels: set[str] = set()
    for block in layout(rows, context.costs, context.answers, context.view):
        label = _tex_label(block.title, labels)
        sentence = f" {block.sentence.translate(_TEX)}" if block.sentence else ""
        parts += [
            r"\begin{table}",
            r"\centering\small",
            rf"\caption{{{block.title.translate(_TEX)}.{sentence}}}",
            rf"\label{{{label}}}",
            "\n\\par\\medskip\n".join(_tex_panels(block)),
            *([rf"\par\smallskip\footnotesize {notes.translate(_TEX)}."] if (notes := _notes(block)) else []),
            r"\end{table}",
        ]
    return "\n".join(parts) + "\n"


def _tex_label(title: str, taken: set[str]) -> str:
    """Returns a unique label of letters and digits."""
    name = "tab:" + (re.sub(r"[^a-z0-9]+", "-", title.partition(",")[0].lower()).strip("-") or "results")
    label = next(
        one for one in (name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))) if one not in taken
    )
    taken.add(label)
    return label


def _tex_panels(block: Block) -> Iterator[str]:
    """Yields tables of as many columns as fit on a page, one below the other."""
    heads = [[*split_in_two(head.name), *([head.shown] if head.shown else [])] for head in block.headers]
    cells = [[_tex_cell(block, place, cell) for place, cell in enumerate(line.cells, 1)] for line in block.lines]
    widths = [
        max(map(len, (*head, *(part for line in block.lines for part in _plain(block, place, line)))))
        for place, head in enumerate(heads[1:], 1)
    ]
    name = max(len(line.shown) for line in block.lines)
    tall_lines = any(cell.interval for line in block.lines for cell in line.cells)
    for part in panels(widths, _TEX_WIDTH - min(name, _TEX_WIDTH // 3), _TEX_GAP):
        shown = [heads[0], *heads[1:][part]]
        tall = max(map(len, shown))
        rows = [[""] * (tall - len(head)) + head for head in shown]
        body, at = [], 0
        for section in block.sections:
            lines = (_tex_line(line, cells[at + place][part]) for place, line in enumerate(section))
            body.append(("\n\\addlinespace[2pt]\n" if tall_lines else "\n").join(lines))
            at += len(section)
        yield "\n".join([
            rf"\begin{{tabular}}{{l{'r' * (len(shown) - 1)}}}",
            r"\toprule",
            *(" & ".join(text.translate(_TEX) for text in row) + r" \\" for row in zip(*rows, strict=True)),
            r"\midrule",
            "\n\\midrule\n".join(body),
            r"\bottomrule",
            r"\end{tabular}",
        ])  # fmt: skip


def _plain(block: Block, place: int, line: Line) -> tuple[str, str]:
    cell = line.cells[place - 1]
    return f"{cell.mean} {_count(block, place, cell)}".strip(), cell.interval


def _tex_line(line: Line, cells: Sequence[tuple[str, str]]) -> str:
    """Renders a line: the means, and the intervals below them."""
    names = [part.replace(f" {UNSURE}", UNSURE) for part in wrap_name(line.shown, _TEX_WIDTH // 3)]
    rows = [[mean for mean, _ in cells], *([[low for _, low in cells]] if any(low for _, low in cells) else [])]
    rows += [[""] * len(cells)] * (len(names) - len(rows))
    names += [""] * (len(rows) - len(names))
    return "\n".join(
        " & ".join([name.translate(_TEX), *row]) + r" \\" for name, row in zip(names, rows, strict=True)
    )  # fmt: skip


def _tex_cell(block: Block, place: int, cell: Cell) -> tuple[str, str]:
    mean, bounds = (text.translate(_TEX) for text in (cell.mean, cell.interval))
    shown = rf"\textbf{{{mean}}}" if cell.best else mean
    return f"{shown} {_count(block, place, cell)}".strip(), rf"\scriptsize {bounds}" if bounds else ""


_STYLE = """<style>
.sabench table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; }
.sabench caption { text-align: left; font-weight: bold; }
.sabench caption p { font-weight: normal; margin: .25em 0; }
.sabench th, .sabench td { padding: .25em .75em; text-align: right; vertical-align: top; }
.sabench tr > :first-child { text-align: left; font-weight: normal; }
.sabench thead th { border-bottom: 1px solid; }
.sabench .oracle { border-top: 1px solid; font-style: italic; }
.sabench th span { white-space: nowrap; }
.sabench small { display: block; white-space: nowrap; }
</style>"""


def _html(rows: Sequence[SummaryRow], context: _TableContext) -> str:
    parts = ['<div class="sabench">', _STYLE]
    parts += [] if context.partial is None else [f"<p><strong>{html.escape(one_line(context.partial))}</strong></p>"]
    blocks = layout(rows, context.costs, context.answers, context.view)
    sentence, shared = context.overall_sentence(rows, blocks), shared_notes(blocks)
    parts += [f"<p>{html.escape(sentence)}</p>"] if sentence else []
    for block in blocks:
        heads = "".join(map(_html_head, block.headers))
        own = f"<p>{html.escape(block.sentence)}</p>" if block.sentence not in ("", sentence) else ""
        parts += ["<table>", f"<caption>{html.escape(block.title)}{own}</caption>", f"<thead><tr>{heads}</tr></thead>"]
        for section in block.sections:
            parts.append('<tbody class="oracle">' if section[0].oracle else "<tbody>")
            parts += [
                f'<tr><th scope="row">{html.escape(line.shown)}</th>'
                f"{''.join(_html_cell(block, place, cell) for place, cell in enumerate(line.cells, 1))}</tr>"
                for line in section
            ]
            parts.append("</tbody>")
        parts.append("</table>")
        parts += [f"<p><small>{html.escape(notes)}</small></p>"] if (notes := _notes(block, shared)) else []
    parts += [f"<p><small>{html.escape('; '.join(shared))}</small></p>"] if shared else []
    return "\n".join([*parts, "</div>"]) + "\n"


def _html_head(head: ColumnHeader) -> str:
    order = f' aria-sort="{head.sorted}"' if head.sorted else ""
    beside = f" <span>{html.escape(head.shown)}</span>" if head.shown else ""
    return f'<th scope="col"{order}>{html.escape(head.name)}{beside}</th>'


def _html_cell(block: Block, place: int, cell: Cell) -> str:
    shown = f"<b>{cell.mean}</b>" if cell.best else cell.mean
    beside = " ".join(filter(None, (cell.interval, _count(block, place, cell))))
    return f"<td>{shown}{f' <small>{beside}</small>' if beside else ''}</td>"


_RENDERERS: Mapping[str, Callable[[Sequence[SummaryRow], _TableContext], str]] = MappingProxyType(
    {"md": _md, "csv": _csv, "tex": _tex, "latex": _tex, "html": _html, "json": _json}
)
FORMATS = tuple(_RENDERERS)
"""The formats of `render`."""
