"""``sabench slices``: kinds of items in which a separator is worse, without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sam_audio_bench.cli.arguments import RUN_OR_URL, parse_slicing
from sam_audio_bench.cli.output import echo, note, print_json, print_markdown, print_records
from sam_audio_bench.render.numbers import UNDEFINED, number, with_interval
from sam_audio_bench.render.text import pluralize, unit_and_direction

if TYPE_CHECKING:
    from sam_audio_bench.run.slices import SliceReport, SliceRow, WorstItem

__all__ = ["slices"]

_COLUMNS = ("separator", "slice", "mean", "elsewhere", "difference", "p (Holm)", "items", "recordings", "surely worse")
_WORST = ("task", "separator", "item", "score", "in slices that are surely worse", "audio")
_Table = Callable[[Sequence[str], Sequence[dict[str, str]]], None]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RUN_OR_URL)
@click.option("--metric", help="The metric; default: si_sdr_i, or else the first one.")
@click.option("--by", metavar="NAME[:N,N…]", multiple=True,
              help="Only this attribute, cut as by `sabench table`; may be repeated.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["terminal", "md", "json"]), default="terminal", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder for figures: SVG, PNG and CSV, one per task.")  # fmt: skip
@click.option("--worst", type=click.IntRange(min=0), default=5, show_default=True,
              help="How many of the worst items to list per separator and task.")  # fmt: skip
@click.option("--permutations", type=click.IntRange(min=1),
              help="Per test; default: 2000, or a hundred per slice if that is more.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def slices(
    runs: tuple[Path | str, ...], metric: str | None, by: tuple[str, ...], form: str, out: Path | None, worst: int,
    permutations: int | None, seed: int,
) -> None:  # fmt: skip
    """Find kinds of items in which a separator is surely worse than elsewhere; RUNS as for `sabench table`.

    Items are sliced by each of their attributes, numbers at their terciles. Few attributes, chosen in advance, give
    more power than many, since Holm's adjustment covers all of them. A slice is compared with all other items whose
    attribute is known. Intervals resample recordings; p is one-sided, the larger of a permutation test and of
    Welch's, both over recordings, by Holm over all slices.
    """
    from sam_audio_bench.run.slices import find_slices

    chosen = dict(map(parse_slicing, by))
    found = find_slices(runs, metric=metric, by=chosen, worst=worst, permutations=permutations, seed=seed)
    if out is not None:
        from sam_audio_bench.run.display import draw_slice_figures

        for path in (path for figure in draw_slice_figures(found).values() for path in figure.save(out)):
            note(f"wrote {path}")
    if form == "json":
        print_json(found.to_json())
    else:
        _show(found, _as_markdown if form == "md" else _as_columns, "### " if form == "md" else "")


def _as_columns(heads: Sequence[str], records: Sequence[dict[str, str]]) -> None:
    print_records(records, heads)


def _as_markdown(heads: Sequence[str], records: Sequence[dict[str, str]]) -> None:
    echo()
    print_markdown(records, heads)


def _show(found: SliceReport, table: _Table, mark: str) -> None:
    for text in found.notes:
        note(f"note: {text}")
    direction = unit_and_direction(found.unit, found.higher_is_better)
    for task, label in found.labels.items():
        own = [row for row in found.rows if row.task == task]
        sure = sum(row.is_surely_worse() for row in own)
        tested = [row for row in own if row.p is not None]
        echo(f"{mark}{label}, {found.metric} {direction}: surely worse in {sure} of {pluralize(len(tested), 'slice')}")
        if tested:
            table(_COLUMNS, [_record(row) for row in tested])
        if rest := [row for row in own if row.p is None]:
            echo(f"\nNot tested: {_untested(rest)}.")
        echo()
    if found.worst:
        echo(f"{mark}Worst by {found.metric} {direction}")
        table(_WORST, [_item(one) for one in found.worst])


def _record(row: SliceRow) -> dict[str, str]:
    return {
        "separator": row.separator,
        "slice": row.slice,
        "mean": with_interval(row.mean, row.low, row.high),
        "elsewhere": number(row.elsewhere),
        "difference": with_interval(row.difference, row.difference_low, row.difference_high),
        "p (Holm)": number(row.p_holm, 3),
        "items": str(row.n),
        "recordings": str(row.recordings),
        "surely worse": "yes" if row.is_surely_worse() else "",
    }


def _item(one: WorstItem) -> dict[str, str]:
    return {
        "task": one.task, "separator": one.separator, "item": one.item, "score": number(one.value),
        "in slices that are surely worse": "; ".join(one.slices) or UNDEFINED, "audio": str(one.audio or UNDEFINED),
    }  # fmt: skip


def _untested(rows: Sequence[SliceRow]) -> str:
    """Lists untested slices by reason, each once."""
    reasons: dict[str, dict[str, None]] = {}
    for row in rows:
        reasons.setdefault(row.untested, {})[row.slice] = None
    return "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
