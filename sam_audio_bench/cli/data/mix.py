"""``sabench data mix``: mixtures with exact stems, prompts and spans from labelled clips."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from sam_audio_bench.cli.lazy import HomeText
from sam_audio_bench.cli.output import echo, note, print_json
from sam_audio_bench.errors import UsageError
from sam_audio_bench.render.text import pluralize

if TYPE_CHECKING:
    from sam_audio_bench.tasks.mixing_plan import Planner
    from sam_audio_bench.tasks.mixing_write import Format, MixReport

__all__ = ["mix"]

_SHOWN = 3  # number of clips that are named


@click.command()
@click.argument("pool", type=HomeText())
@click.option("--recipe", type=click.Path(path_type=Path), help="A TOML file; every key is optional.")
@click.option("--set", "changes", metavar="KEY=VALUE", multiple=True, help="Override a key of the recipe.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write.")
@click.option("--shard", metavar="K/N", default="1/1",
              help="Make every N-th mixture, from the K-th; auto: from Slurm or another launcher.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["folders", "webdataset"]), default="folders", show_default=True,
              help="A table of questions with its files, or archives for training.")  # fmt: skip
@click.option("--allow-outside", is_flag=True, help="Accept files outside the folder of the pool.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def mix(
    pool: str, recipe: Path | None, changes: tuple[str, ...], out: Path, shard: str, form: str, allow_outside: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Mix labelled clips: sources that add up exactly, with texts, spans, levels and licences.

    POOL is a folder of folders, each named by the class of its sounds, a table with columns path and label, or mini,
    the recordings in the package. The same pool and recipe give the same bits. OUT is a task for `sabench eval`.
    """
    from sam_audio_bench.names import check_exists
    from sam_audio_bench.tasks.mixing_recipe import MINI, read_recipe

    chosen, part = read_recipe(recipe, changes), _parse_shard(shard)
    if pool != MINI:
        check_exists("a folder or a table of clips", Path(pool))
        _check_output(Path(pool), out)
    from sam_audio_bench.run.progress import Progress
    from sam_audio_bench.tasks.mixing_plan import Planner
    from sam_audio_bench.tasks.mixing_pool import read_pool, select_licensed
    from sam_audio_bench.tasks.mixing_write import write_mixtures

    planner = Planner(select_licensed(read_pool(pool, allow_outside=allow_outside), chosen), chosen)
    with Progress(2 * -(-chosen.count // max(1, part[1]))) as bar:
        count = bar.item_callback(out.name)
        report = write_mixtures(planner, out, form=cast("Format", form), shard=part, advance=lambda: count(None))
    if as_json:
        print_json(_record(planner, report, out))
    else:
        _print_report(planner, report, out)


def _check_output(pool: Path, out: Path) -> None:
    """Raises UsageError for an output folder inside the pool, whose mixtures would become clips of it."""
    if pool.is_dir() and out.resolve().is_relative_to(pool.resolve()):
        raise UsageError(f"expected --out beside the pool {pool}, found {out} in it, where mixtures would be clips")


def _parse_shard(shard: str) -> tuple[int, int]:
    """Returns K and N from the option, or for "auto" from the launcher."""
    from sam_audio_bench.run.cluster import find_own_shard
    from sam_audio_bench.run.settings import parse_option

    found = parse_option("shard", shard)
    if found != "auto":
        index, count = found
        return index, count
    part, origin = find_own_shard(os.environ)
    note(f"shard {part[0]}/{part[1]}: {origin}")
    return part


def _record(planner: Planner, report: MixReport, out: Path) -> dict[str, object]:
    reader = planner.reader
    return {
        "out": str(out), "mixtures": report.mixtures, "made": report.made, "missing": report.missing,
        "of_another_pool": report.foreign, "questions": report.questions, "tables": list(map(str, report.tables)),
        "turned_down_db": report.turned_down, "resampled": sorted(reader.resampled),
        "averaged": sorted(reader.averaged),
        "remarks": {clip: list(remarks) for clip, remarks in sorted(reader.remarks.items())},
    }  # fmt: skip


def _print_report(planner: Planner, report: MixReport, out: Path) -> None:
    recipe, reader = planner.recipe, planner.reader
    kept = report.mixtures - report.made
    echo(f"{pluralize(report.mixtures, 'mixture')} in {out}" + (f", {kept} of them made before" if kept else ""))
    _print_clips(reader.resampled, f"resampled to {recipe.rate} Hz")
    _print_clips(reader.averaged, "of several channels averaged to one")
    for clip, remarks in sorted(reader.remarks.items()):
        note(f"sabench: {clip}: {'; '.join(remarks)}")
    if down := report.turned_down:
        echo(
            f"{pluralize(len(down), 'mixture')} below the loudness of the recipe, by up to {max(down):.1f} dB, so that "
            "no peak is above 0.9"
        )
    if report.foreign:
        note(f"{pluralize(report.foreign, 'mixture')} of other shards made of another pool: run these shards again")
    if report.missing:
        echo(f"{pluralize(report.missing, 'mixture')} of other shards to come; the last shard writes the tables")
    elif len(report.tables) > 1:
        echo(f"{pluralize(report.questions, 'question')} in {report.tables[0]}: `sabench eval --task {out}`")
    for table in report.tables[-1:]:
        echo(f"Licences of the clips in {table}")


def _print_clips(clips: Collection[str], what: str) -> None:
    if clips:
        named = ", ".join(sorted(clips)[:_SHOWN]) + (", …" if len(clips) > _SHOWN else "")
        echo(f"{pluralize(len(clips), 'clip')} {what}: {named}")
