"""``sabench compare``: two runs on their common items, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sam_audio_bench.cli.arguments import RUN_OR_URL, parse_names
from sam_audio_bench.cli.output import echo, note, print_json, print_records
from sam_audio_bench.render.numbers import number, p_value, with_interval
from sam_audio_bench.render.text import unit_and_direction

if TYPE_CHECKING:
    from sam_audio_bench.run.compare import ComparedItem, Comparison, ComparisonRow

__all__ = ["compare"]


@click.command()
@click.argument("run_a", type=RUN_OR_URL)
@click.argument("run_b", type=RUN_OR_URL)
@click.option("--metrics", default="", help="Ids, comma-separated; default: all that both runs have.")
@click.option("--worst", type=click.IntRange(min=0), default=10, show_default=True, help="How many items to list.")
@click.option("--worst-by", help="The metric of that list; default: si_sdr_i, or else the first one.")
@click.option("--first", is_flag=True, help="Compare first candidates (k = 1), not those that a picker chose.")
@click.option("--tie", type=click.FloatRange(min=0), default=0.0, show_default=True,
              help="Items whose scores differ by no more are ties.")  # fmt: skip
@click.option("--resamples", type=click.IntRange(min=1), default=2000, show_default=True,
              help="Of intervals and tests.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare(run_a: Path | str, run_b: Path | str, metrics: str, as_json: bool, **options: Any) -> None:
    """Compare RUN_B with the baseline RUN_A: paired differences, who wins, and the worst items.

    Each is a run folder, or a folder that holds runs of one separator, here or at a URL. Differences are B minus A, on
    items that have a score in both; p is that of swapping the systems on whole recordings, and intervals hold the
    differences that this test does not reject. By p (Holm), which is for all rows together, B is better or not.
    """
    from sam_audio_bench.run.compare import compare_runs

    found = compare_runs(run_a, run_b, metrics=parse_names(metrics, "--metrics") if metrics else (), **options)
    if as_json:
        print_json(found.to_json())
    else:
        _show(found)


def _show(found: Comparison) -> None:
    from sam_audio_bench.stats.paired import FEWEST_RECORDINGS

    for text in found.notes:
        note(f"note: {text}")
    echo(f"A: {found.name_a}\nB: {found.name_b}")
    for task, label in found.labels.items():
        echo(f"\n{label}")
        print_records(
            (_record(row) for row in found.rows if row.task == task),
            ("metric", "A", "B", "B − A", "p", "p (Holm)", "B is", "wins-ties-losses", "items"),
        )
    if any(row.own_judge for row in found.rows):
        echo("\nNot tested: metrics by the model that picked the answers.")
    if any(row.p is not None and row.ci_low is None for row in found.rows):
        echo(f"\nNo interval: fewer than {FEWEST_RECORDINGS} recordings cannot show a difference at 5 %.")
    if any(row.missing_a or row.missing_b for row in found.rows):
        echo("\nItems with a score of one run alone are left out; --json counts them.")
    if found.worst:
        echo(f"\nWorst for B by {found.worst[0].metric}")
        print_records(map(_item, found.worst), ("task", "item", "A", "B", "B − A", "audio of A", "audio of B"))


def _record(row: ComparisonRow) -> dict[str, object]:
    return {
        "metric": f"{row.metric} {unit_and_direction(row.unit, row.higher_is_better)}",
        "A": number(row.a),
        "B": number(row.b),
        "B − A": with_interval(row.difference, row.ci_low, row.ci_high),
        "p": p_value(row.p),
        "p (Holm)": p_value(row.p_holm),
        "B is": row.verdict() or None,
        "wins-ties-losses": f"{row.wins}-{row.ties}-{row.losses}",
        "items": f"{row.n_ok}/{row.n}",
    }


def _item(one: ComparedItem) -> dict[str, object]:
    numbers = {"A": number(one.a), "B": number(one.b), "B − A": number(one.difference)}
    return {"task": one.task, "item": one.item, **numbers, "audio of A": one.audio_a, "audio of B": one.audio_b}
