"""What separators cost, as a small table under the tables of their scores in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from sam_audio_bench.render.layout import Block, Cell, Head, Line
from sam_audio_bench.render.numbers import UNDEFINED, amount, mebibytes, plain
from sam_audio_bench.render.text import one_line
from sam_audio_bench.stats.cost import Cost

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["cost_block", "cost_table"]


def cost_table(costs: Sequence[Cost]) -> Table:
    """One line a separator: the median over its tasks of the real-time factor, the largest of the rest."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    block = cost_block(costs)
    table = Table(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, style="dim", title_justify="left",
        title=Text(block.title, style="bold"),
    )  # fmt: skip
    for place, head in enumerate(block.heads):
        table.add_column(Text(head.name), justify="right" if place else "left", no_wrap=True)
    for line in block.lines:
        table.add_row(Text(line.name), *(Text(cell.mean) for cell in line.cells))
    return table


def cost_block(costs: Sequence[Cost]) -> Block:
    """The same as blocks of scores are, for a terminal that is too narrow for heads of one line."""
    machines = list(dict.fromkeys(one_line(cost.hardware) for cost in costs if cost.hardware))
    place = f", on {machines[0]}" if len(machines) == 1 else ""
    heads = ["separator", "real-time factor", "memory", "GPU memory", "parameters"]
    own = {name: [cost for cost in costs if cost.separator == name] for name in {c.separator: None for c in costs}}
    lines = [(one_line(name), *_cells(members)) for name, members in own.items()]
    shown = [index for index in range(len(heads)) if index != _GPU or any(line[_GPU] != UNDEFINED for line in lines)]
    return Block(
        title=f"cost{place}",
        heads=tuple(Head(heads[index]) for index in shown),
        lines=tuple(Line(line[0], False, tuple(Cell(line[index]) for index in shown[1:])) for line in lines),
        notes=(),
    )


_GPU = 3  # place of the column that is left out where nothing ran on one


def _cells(costs: Sequence[Cost]) -> tuple[str, str, str, str]:
    factors = [cost.real_time_factor for cost in costs if cost.real_time_factor is not None]
    largest = [
        max((value for cost in costs if (value := getattr(cost, name)) is not None), default=None)
        for name in ("peak_memory_mib", "device_memory_mib", "parameters")
    ]
    host, device, parameters = largest
    return plain(median(factors) if factors else None), mebibytes(host), mebibytes(device), amount(parameters)
