"""``sabench judge listeners``: agreement of a judge with listening tests."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sam_audio_bench.cli.lazy import HomeText
from sam_audio_bench.cli.output import echo, note, print_json, print_records
from sam_audio_bench.render.numbers import number, with_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sam_audio_bench.judge.listeners import RatedTest
    from sam_audio_bench.ratings.correlation import CorrelationRow

__all__ = ["listeners", "print_test"]

_SHOWN = ("listeners", "judge", "over", "PCC", "SRCC", "n", "ceiling")
_OVER = {"utterance": "answers", "system": "systems"}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--judge", "place", default="saj-mini", show_default=True, type=HomeText(),
              help="A judge's folder or name.")  # fmt: skip
@click.option("--without", multiple=True, metavar="SYSTEM", help="A system to leave out; may be repeated.")
@click.option("--resamples", type=click.IntRange(1), default=2000, show_default=True, help="Of the intervals.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda ….")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def listeners(folder: Path, place: str, without: tuple[str, ...], resamples: int, device: str, as_json: bool) -> None:
    """Measure how well a judge agrees with listening tests: FOLDER is one or contains some, with their audio."""
    from sam_audio_bench.names import check_exists

    check_exists("a listening test", folder)
    from sam_audio_bench.judge import load
    from sam_audio_bench.judge.checkpoints import find_judge
    from sam_audio_bench.judge.listeners import agreement, find_tests, rate_test, system_means
    from sam_audio_bench.judge.training_mixtures import TrainingMixtures
    from sam_audio_bench.run.progress import Progress

    tests = find_tests(folder)
    checkpoint = find_judge(place)
    judge, trained = load(checkpoint, device=device), TrainingMixtures.of_folder(checkpoint.folder)
    found: dict[str, object] = {}
    for test in tests:
        with Progress(1) as progress:
            rated = rate_test(judge, test, progress.step_callback(test.name))
        if known := trained.count(test / name for name in rated.ratings.frame["mixture"].unique()):
            note(f"sabench: {place} was trained on {known} mixtures of {rated.name}; its ratings of them are biased")
        rows = agreement(rated, without=without, resamples=resamples)
        if as_json:
            means = system_means(rated).astype(object)
            records = means.where(means.notna(), None).to_dict("records")
            left_out = dict(rated.left_out)
            found[rated.name] = {"rows": rows, "systems": records, "left_out": left_out, "trained_on": known}
        else:
            print_test(rated, rows)
    if as_json:
        print_json({"judge": place, "tests": found})


def print_test(rated: RatedTest, rows: list[CorrelationRow]) -> None:
    """Prints correlations and means of systems of one test, and on standard error what was left out."""
    from sam_audio_bench.judge.listeners import system_means

    echo(f"{rated.name}\n")
    footer = "In brackets: 95 % intervals, over items. Ceiling: what a perfect judge could reach over answers."
    print_records(_lines(rows), _SHOWN, footer)
    echo("\nmean ratings, those of listeners mapped to 1 to 5\n")
    means = system_means(rated)
    numbers = [name for name in means.columns if name not in ("system", "n")]
    records = (_shown(row.to_dict(), numbers) for _, row in means.iterrows())
    print_records(records, ["system", *numbers, "n"])
    echo("")
    for reason, count in rated.left_out.items():
        note(f"sabench: {rated.name}: left out {count}: {reason}")


def _shown(row: Mapping[Any, Any], numbers: Sequence[str]) -> dict[str, object]:
    """Formats the numbers of a row."""
    return {**row, **{name: number(None if math.isnan(row[name]) else row[name]) for name in numbers}}


def _lines(rows: list[CorrelationRow]) -> list[dict[str, object]]:
    """Formats one line per axis and level."""
    lines: dict[tuple[str, str], dict[str, object]] = {}
    for row in rows:
        line = lines.setdefault(
            (row["axis"], row["level"]),
            {"listeners": row["axis"], "judge": row["metric"], "over": _OVER[row["level"]], "n": row["n"]},
        )
        column = {"pearson": "PCC", "spearman": "SRCC"}[row["coefficient"]]
        line[column] = with_interval(row["value"], row["ci_low"], row["ci_high"])
        if row["ceiling"] is not None:
            line["ceiling"] = number(row["ceiling"])
    return list(lines.values())
