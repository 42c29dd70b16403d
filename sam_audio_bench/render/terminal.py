"""Rendering of tables for the width of a terminal: no cell is cut, and names are broken between words if possible."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING

from sam_audio_bench.render.layout import Block, Cell, ColumnHeader, Line, shared_notes
from sam_audio_bench.render.numbers import UNDEFINED, amount, mebibytes, plain
from sam_audio_bench.render.text import one_line, split_in_two, wrap_name
from sam_audio_bench.stats.cost import Cost

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table

__all__ = ["Screen", "panels", "standard_output"]

_WIDTH_OF_FILES = 100
_GAP = 2  # between columns
_MAX_HEADER_WIDTH = 24
_MIN_NAME_WIDTH = 16
_ANY_WIDTH = 10_000  # in which every table fits
_GPU_COLUMN = 3  # index of the column that is omitted if no separator ran on a GPU


class Screen:
    """Tables and costs as a rich renderable."""

    def __init__(self, blocks: Sequence[Block], answer: str, partial: str | None, costs: Sequence[Cost]) -> None:
        self.blocks, self.answer, self.partial, self.costs = blocks, answer, partial, costs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Renders tables in the width of the console, with intervals below the means; then costs."""
        from rich.text import Text

        if self.partial is not None:
            yield Text(one_line(self.partial), style="bold yellow")
        several, shared = len(self.blocks) > 1, shared_notes(self.blocks)
        if several and self.answer:
            yield Text(self.answer)
        for place, block in enumerate(self.blocks):
            if place or (several and self.answer):
                yield Text("")
            yield Text(block.title, style="bold")
            if block.sentence and not (several and block.sentence == self.answer):
                yield Text(block.sentence)
            yield from _tables(block, options.max_width)
            yield from _notes(note for note in block.notes if note not in shared)
        if shared:
            yield Text("")
            yield from _notes(shared)
        if self.costs:
            yield Text("")
            table = _cost_table(self.costs)
            if console.measure(table, options=options.update(max_width=_ANY_WIDTH)).maximum <= options.max_width:
                yield table
            else:
                block = _cost_block(self.costs)
                yield Text(block.title, style="bold")
                yield from _tables(block, options.max_width)


def _notes(notes: Iterable[str]) -> Iterator[RenderableType]:
    from rich.text import Text

    if text := "; ".join(notes):
        yield Text(text, style="dim")


def standard_output() -> Console:
    """Returns a console of the width of the terminal or COLUMNS, otherwise of 100 columns."""
    from rich.console import Console

    console = Console()
    columns = os.environ.get("COLUMNS", "")
    if not console.is_terminal and not (columns.isdigit() and int(columns)):  # a width of 0 is not usable
        console.width = _WIDTH_OF_FILES
    return console


def panels(widths: Sequence[int], room: int, gap: int) -> list[slice]:
    """Divides columns into as few panels as possible, with about equally many columns in each.

    Args:
        widths: widths of the columns.
        room: width available beside the names of lines.
        gap: width before each column.

    >>> panels([10] * 8, 60, 2), panels([10, 99, 10], 60, 2)
    ([slice(0, 4, None), slice(4, 8, None)], [slice(0, 1, None), slice(1, 2, None), slice(2, 3, None)])
    """
    greedy = _filled(widths, room, gap, len(widths))
    most = -(-len(widths) // len(greedy)) if greedy else 0
    even = _filled(widths, room, gap, most)
    return even if len(even) == len(greedy) else greedy


def _filled(widths: Sequence[int], room: int, gap: int, most: int) -> list[slice]:
    found, start = [], 0
    while start < len(widths):
        end, used = start + 1, widths[start] + gap
        while end < len(widths) and end - start < most and used + widths[end] + gap <= room:
            used += widths[end] + gap
            end += 1
        found.append(slice(start, end))
        start = end
    return found


def _tables(block: Block, width: int) -> Iterator[RenderableType]:
    """Yields the panels of a block."""
    from rich.text import Text

    name = min(max(len(line.shown) for line in block.lines), max(_MIN_NAME_WIDTH, width // 4))
    names = [wrap_name(line.shown, name) for line in block.lines]
    name = max(len(block.headers[0].name), *(len(part) for lines in names for part in lines))
    columns = [
        _Column(head, [line.cells[place] for line in block.lines], width - name - _GAP)
        for place, head in enumerate(block.headers[1:])
    ]
    for place, part in enumerate(panels([column.width for column in columns], width - name, _GAP)):
        if place:
            yield Text("")
        yield _panel(block, names, name, columns[part])


class _Column:
    """The texts of a column, and their width."""

    def __init__(self, head: ColumnHeader, cells: Sequence[Cell], room: int) -> None:
        self.cells = cells
        body = max((len(part) for cell in cells for part in _lines(cell)), default=0)
        width = max(body, len(head.shown), min(max(map(len, split_in_two(head.name))), _MAX_HEADER_WIDTH))
        self.head = [
            part for text in (head.name, head.shown) if text for part in wrap_name(text, min(width, max(room, 1)))
        ]
        self.width = max(body, *map(len, self.head))


def _lines(cell: Cell) -> list[str]:
    counted = f"{cell.mean}  {cell.count}" if cell.count else cell.mean
    return [part for part in (counted if cell.mean else "", cell.interval) if part]


def _panel(block: Block, names: Sequence[Sequence[str]], width: int, columns: Sequence[_Column]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False)
    tall = max((len(column.head) for column in columns), default=1)
    table.add_column(Text("\n" * (tall - 1) + block.headers[0].name), width=width)
    for column in columns:
        above = "\n" * (tall - len(column.head))
        table.add_column(Text(above + "\n".join(column.head)), width=column.width, justify="right")
    at = 0
    for section in block.sections:
        for _ in section:
            cells = [_text(column.cells[at]) for column in columns]
            table.add_row(Text("\n".join(names[at])), *cells)
            at += 1
        table.add_section()
    return table


def _text(cell: Cell) -> RenderableType:
    from rich.text import Text

    first, *rest = _lines(cell) or [""]
    text = Text.assemble((cell.mean, "bold" if cell.best else ""), first[len(cell.mean) :])
    return text.append("".join(f"\n{part}" for part in rest))


def _cost_table(costs: Sequence[Cost]) -> Table:
    """Returns a table with a line per separator: the median real-time factor over tasks, and maxima of the rest."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    block = _cost_block(costs)
    table = Table(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, style="dim", title_justify="left",
        title=Text(block.title, style="bold"),
    )  # fmt: skip
    for place, head in enumerate(block.headers):
        table.add_column(Text(head.name), justify="right" if place else "left", no_wrap=True)
    for line in block.lines:
        table.add_row(Text(line.name), *(Text(cell.mean) for cell in line.cells))
    return table


def _cost_block(costs: Sequence[Cost]) -> Block:
    """Returns the same as a block, for a terminal that is too narrow for headers of one line."""
    machines = list(dict.fromkeys(one_line(cost.hardware) for cost in costs if cost.hardware))
    place = f", on {machines[0]}" if len(machines) == 1 else ""
    heads = ["separator", "real-time factor", "memory", "GPU memory", "parameters"]
    own = {name: [cost for cost in costs if cost.separator == name] for name in {c.separator: None for c in costs}}
    lines = [(one_line(name), *_cost_cells(members)) for name, members in own.items()]
    shown = [
        index
        for index in range(len(heads))
        if index != _GPU_COLUMN or any(line[_GPU_COLUMN] != UNDEFINED for line in lines)
    ]
    return Block(
        title=f"cost{place}",
        headers=tuple(ColumnHeader(heads[index]) for index in shown),
        lines=tuple(Line(line[0], False, tuple(Cell(line[index]) for index in shown[1:])) for line in lines),
        notes=(),
    )


def _cost_cells(costs: Sequence[Cost]) -> tuple[str, str, str, str]:
    factors = [cost.real_time_factor for cost in costs if cost.real_time_factor is not None]
    largest = [
        max((value for cost in costs if (value := getattr(cost, name)) is not None), default=None)
        for name in ("peak_memory_mib", "device_memory_mib", "parameters")
    ]
    host, device, parameters = largest
    return plain(median(factors) if factors else None), mebibytes(host), mebibytes(device), amount(parameters)
