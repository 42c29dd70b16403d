"""``sabench distance``: distance of all estimates of a run from a reference set of sounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sam_audio_bench.cli.arguments import RUN_OR_URL, parse_names
from sam_audio_bench.cli.lazy import HomeText
from sam_audio_bench.cli.output import claim_stdout, echo, note, print_json, print_markdown, print_records
from sam_audio_bench.metrics.distance_catalogue import BUILTIN_EMBEDDING, DISTANCES, check_distances, embedding_source
from sam_audio_bench.render.numbers import UNDEFINED, number, with_interval
from sam_audio_bench.render.text import pluralize

if TYPE_CHECKING:
    from sam_audio_bench.run.distance import DistanceReport, DistanceRow

__all__ = ["distance"]

_Table = Callable[[Sequence[dict[str, str]], Sequence[str]], None]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RUN_OR_URL)
@click.option("--metric", default=",".join(DISTANCES), show_default=True, help="Ids, comma-separated.")
@click.option("--reference", type=HomeText(), default="references", show_default=True, metavar="SET",
              help="The set that estimates are compared with: references, the clean targets of the items; mixtures; a "
              "folder of sounds; or runs of one separator.")  # fmt: skip
@click.option("--embedding", type=HomeText(), default=BUILTIN_EMBEDDING, show_default=True, metavar="MODEL",
              help="The embedding space of distances: saj-mini, the folder of an audio model of transformers, or "
              "its id in the hub's cache, owner/name@revision.")  # fmt: skip
@click.option("--window", type=float, help="Seconds of sound per vector; default: 0.96 for saj-mini, 10 for others.")
@click.option("--device", default="auto", show_default=True, help="Device of the embedding: auto, cpu, cuda …")
@click.option("--draws", type=click.IntRange(min=2), default=200, show_default=True,
              help="Random halves of the recordings, for intervals.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--format", "form", type=click.Choice(["terminal", "md", "csv", "json"]), default="terminal",
              show_default=True)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Same as --format json.")
@click.option("--digits", type=click.IntRange(0, 8), default=3, show_default=True, help="Decimals of every number.")
def distance(
    runs: tuple[Path | str, ...], metric: str, reference: str, embedding: str, window: float | None, device: str,
    draws: int, seed: int, form: str, as_json: bool, digits: int,
) -> None:  # fmt: skip
    """Measure the distance of all estimates of RUNS from a reference set of sounds; RUNS as for `sabench table`.

    One number per separator and task, not per item: fad, the Fréchet audio distance, extrapolated to infinitely
    many sounds, and kad, the kernel audio distance. Smaller is nearer. Numbers are comparable for the same embedding
    and reference set, which are shown. Distances from too few sounds are shown and not ranked. Separators are compared
    on the items that all of them have separated. Embeddings are stored in the cache folder.
    """
    from sam_audio_bench.run.distance_reference import reference_kind
    from sam_audio_bench.run.remote import find_runs

    chosen = check_distances(parse_names(metric, "--metric"))
    if (source := embedding_source(embedding)) is not None:
        source.find()
    reference_kind(reference)
    find_runs(runs)
    from sam_audio_bench.run.distance import measure_distances

    stdout = claim_stdout() if as_json or form == "json" else None
    found = measure_distances(
        runs, metrics=chosen, reference=reference, embedding=embedding, window=window, device=device, draws=draws,
        seed=seed,
    )  # fmt: skip
    if stdout is not None:
        print_json(found.to_json(), stdout)
    elif form == "csv":
        echo(found.to_csv(), nl=False)
    else:
        _show(found, digits, print_markdown if form == "md" else print_records, form == "md")


def _show(found: DistanceReport, digits: int, table: _Table, markdown: bool) -> None:
    for text in found.notes:
        note(f"note: {text}")
    for task, label in found.labels.items():
        own = [row for row in found.rows if row.task == task]
        held = found.references[task]
        size = f"{pluralize(held.sounds, 'sound')}, {pluralize(held.recordings, 'recording')}, {held.windows} windows"
        title = f"{label}: distance from {held.name} {held.sha256[:8]} ({size}) in the space of {found.model_label}"
        echo(f"### {title}\n" if markdown else title)
        table([_record(row, digits) for row in own], ("metric", "rank", "separator", "distance ↓", "as it is", "R²",
                                                      "sounds", "recordings", "windows"))  # fmt: skip
        echo()
        for metric in dict.fromkeys(row.metric for row in own):
            for reason in dict.fromkeys(row.not_ranked for row in own if row.metric == metric and row.not_ranked):
                names = ", ".join(row.separator for row in own if row.metric == metric and row.not_ranked == reason)
                echo(f"Not ranked by {metric}: {names} ({reason}).\n")


def _record(row: DistanceRow, digits: int) -> dict[str, str]:
    without = f" ({row.without})" if row.without else ""
    return {
        "metric": row.metric,
        "rank": UNDEFINED if row.rank is None else str(row.rank),
        "separator": row.separator + (" (oracle)" if row.oracle else ""),
        "distance ↓": with_interval(row.value, row.low, row.high, digits),
        "as it is": number(row.plain, digits),
        "R²": number(row.r2, 2),
        "sounds": f"{row.sounds}/{row.asked}{without}",
        "recordings": str(row.recordings),
        "windows": str(row.windows),
    }
