"""``sabench filter``: pseudo-labels from any separator's estimates, as a task."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sam_audio_bench.cli.arguments import RUN_OR_URL
from sam_audio_bench.cli.output import claim_stdout, echo, note, print_json, print_records

if TYPE_CHECKING:
    from sam_audio_bench.filtering.labelling import FilterResult

__all__ = ["filter_command"]


@click.command(name="filter")
@click.argument("inputs", nargs=-1, required=True, type=RUN_OR_URL)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the kept labels.")
@click.option("--keep", default="", help='A condition on columns: "clap > 0.35 and silence < 0.95".')
@click.option("--preset", default="", help="Conditions by name: sam-audio or offline; --keep adds to them.")
@click.option("--best", help="Column by which labels are ranked, also COLUMN:lowest or COLUMN:highest.")
@click.option("--quota", type=int, help="Maximal number of labels per class, the best ones.")
@click.option("--by", default="text", show_default=True, help="Column with the class of a label.")
@click.option("--duplicates", is_flag=True, help="Keep duplicates: targets that sound like a kept one.")
@click.option("--rule", type=click.Choice(["relative", "absolute"]), default="absolute", show_default=True,
              help="When a target is active, as in `sabench data spans`.")  # fmt: skip
@click.option("--copy", is_flag=True, help="Copy sounds, also if a hard link is possible.")
@click.option("--shard", help="I/N: only measure every N-th target, from the I-th; without it, merge and decide.")
@click.option("--sample", type=int, default=0, show_default=True, help="Kept labels to draw for a listening test.")
@click.option("--raters", type=int, default=3, show_default=True, help="Raters of each label of the sample.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sample.")
@click.option("--rated", type=click.Path(path_type=Path), help="Ratings of the sample: how many labels are right.")
@click.option("--correct", default="overall >= 4", show_default=True, help="When a rated label is right.")
@click.option("--report/--no-report", default=True, show_default=True, help="Write the page.")
@click.option("--allow-outside", is_flag=True, help="Accept files outside the folder of a table.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def filter_command(inputs: tuple[Path | str, ...], out: Path, rule: str, shard: str | None, as_json: bool,
                   **options: Any) -> None:  # fmt: skip
    """Keep the estimates that are good enough to train on, by their scores, as a task in a folder.

    INPUTS are run folders, or folders that hold them; or a table of questions with a column target, or a folder that
    holds one. Nothing is separated or scored: `sabench eval` and `sabench score` do that. Exits with 1 if nothing is
    kept.
    """
    from sam_audio_bench.errors import UsageError
    from sam_audio_bench.filtering.expression import parse_condition
    from sam_audio_bench.filtering.presets import PRESETS
    from sam_audio_bench.names import check_exists

    if not (options["keep"] or options["preset"]):
        raise UsageError(f"expected --keep CONDITION or --preset {' or '.join(PRESETS)}, found neither")
    if options["preset"] and options["preset"] not in PRESETS:
        raise UsageError(f"expected --preset {' or '.join(PRESETS)}, found {options['preset']!r}")
    for name in ("keep", "correct"):
        if options[name]:
            parse_condition(options[name], option=f"--{name}")
    if options["rated"] is not None:
        check_exists("ratings", options["rated"])
    from sam_audio_bench.filtering.labelling import LabelOptions, filter_labels
    from sam_audio_bench.tasks.span_table import RULES

    chosen = LabelOptions(rule=RULES[rule], shard=None if shard is None else _parse_shard(shard), **options)
    stdout = claim_stdout() if as_json else None
    found = filter_labels(inputs, out, chosen)
    for text in found.notes:
        note(f"filter: {text}")
    if stdout is not None:
        print_json({**found.record, "measured": found.measured, "notes": list(found.notes)}, stdout)
    elif found.counts:
        _show(found)
    else:
        echo(f"{found.measured} targets measured for {found.condition}; the same command without --shard decides")
    sys.exit(0 if not found.counts or found.counts["kept"] else 1)


def _parse_shard(shard: str) -> tuple[int, int]:
    """Returns I and N; not from a launcher, since the command that merges has no shard."""
    from sam_audio_bench.errors import UsageError
    from sam_audio_bench.run.settings import parse_option

    found = parse_option("shard", shard)
    if found == "auto":
        raise UsageError(f"expected --shard I/N, for example 2/8, found {shard!r}")
    index, count = found
    return index, count


def _show(found: FilterResult) -> None:
    from sam_audio_bench.filtering.labelling import OUTCOMES
    from sam_audio_bench.filtering.writing import MANIFEST

    print_records(found.record["conditions"], ("condition", "met", "failed", "undefined", "unseen", "only"))
    echo()
    rows = [{"outcome": name, "labels": found.counts[name], "why": why} for name, why in OUTCOMES.items()]
    print_records(rows, ("outcome", "labels", "why"))
    if found.counts["kept"] == 0 or found.counts["rejected"] == found.counts["undefined"] == 0:
        echo()
        table = [
            {"column": name, **{key: "-" if value is None else f"{value:.4g}" for key, value in row.items()}}
            for name, row in found.quantiles.items()
        ]
        print_records(table, ("column", *next(iter(found.quantiles.values()), {})))
    echo(f"\n{found.counts['kept']} of {found.total} labels are kept: {found.condition}")
    if found.precision is not None:
        echo(str(found.precision))
    if (found.out / "report.html").exists():
        echo(f"Report: {found.out / 'report.html'}")
    if found.listening is not None:
        echo(f"For raters: {found.listening / 'page' / 'index.html'}#1; then sabench ratings import ANSWERS.json --key "
             f"{found.listening / 'key.json'} --out rated.parquet, and --rated rated.parquet")  # fmt: skip
    if found.counts["kept"]:
        echo(f"Next: sabench eval --model hpss --task labels={found.out / MANIFEST}")
