"""``sabench judge train``, ``evaluate`` and ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sam_audio_bench.cli.lazy import HomeText
from sam_audio_bench.cli.output import echo, note, print_json, print_records
from sam_audio_bench.errors import Precondition
from sam_audio_bench.render.numbers import number, with_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sam_audio_bench.judge.training.measures import AgreementRow
    from sam_audio_bench.judge.training.rating import RatedExamples

__all__ = ["evaluate", "export", "train"]

_SHOWN = ("domain", "axis", "level", "pcc", "srcc", "tau", "rmse", "ceiling", "n")


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="A recipe, TOML.")
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder.  [default: runs/judge/NAME]")
@click.option("--resume", is_flag=True, help="Continue from the checkpoint in the folder, if there is one.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change the recipe: optimizer.epochs=5; may be repeated.",
)
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu"]))
@click.option("--hear-only", is_flag=True, help="Encode all sounds by the frozen encoders, and stop.")
def train(config: Path, out: Path | None, resume: bool, changes: tuple[str, ...], device: str, hear_only: bool) -> None:
    """Train a judge on ratings.

    On several GPUs or machines: accelerate launch -m judge.train --config FILE.
    """
    from sam_audio_bench.files import load_json
    from sam_audio_bench.judge.training.recipe import read_recipe

    recipe = read_recipe(config, changes)
    from sam_audio_bench.judge.training.loop import train as run

    folder = out or Path("runs/judge") / recipe.name
    found = run(recipe, folder, resume=resume, device=device, encode_only=hear_only)
    if hear_only:
        note("sabench: all sounds are encoded")
    elif found is not None:
        _report_training(load_json(folder / "report" / "report.json"))
        note(f"sabench: the judge is in {found}, its report in {folder / 'report'}")


def _report_training(report: Mapping[str, Any]) -> None:
    """Prints which rows were used and left out, and how ratings were calibrated."""
    facts = report["data"]
    used = " and ".join(f"{facts[side]['rows']} rows {side}" for side in ("trained on", "held out"))
    note(f"sabench: {used}")
    for reason, count in report["dropped"].items():
        note(f"sabench: left out {count} {reason}")
    if any("mixtures of a recording" in reason for reason in report["dropped"]):
        note("sabench: to keep them, name a table of other recordings in data.valid")
    note(f"sabench: {report['calibration'][0].lower()}{report['calibration'][1:].removesuffix('.')}")


@click.command()
@click.option("--judge", "place", default="saj-mini", show_default=True, type=HomeText(),
              help="A judge's folder or name.")  # fmt: skip
@click.option(
    "--ratings", type=click.Path(path_type=Path), required=True, help="A table of ratings, or a folder of shards."
)
@click.option("--out", type=click.Path(path_type=Path), help="Also write figures, predictions and report.json here.")
@click.option("--resamples", type=click.IntRange(1), default=1000, show_default=True, help="Of the intervals.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the intervals.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda ….")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate(
    place: str, ratings: Path, out: Path | None, resamples: int, seed: int, device: str, as_json: bool
) -> None:
    """Measure how well a judge agrees with ratings: by axis, domain and level, with intervals."""
    from sam_audio_bench.names import check_exists

    check_exists("a table of ratings or a folder of tar files", ratings)
    from sam_audio_bench.judge import load
    from sam_audio_bench.judge.checkpoints import find_judge
    from sam_audio_bench.judge.training.measures import agreement_rows, rater_ceilings
    from sam_audio_bench.judge.training.rating import count_training_mixtures, rate_examples
    from sam_audio_bench.judge.training.tables import read_examples
    from sam_audio_bench.run.progress import Progress

    examples = read_examples(ratings)
    checkpoint = find_judge(place)
    judge = load(checkpoint, device=device)
    for reason, count in examples.dropped.items():
        note(f"sabench: left out {count} {reason}")
    if known := count_training_mixtures(checkpoint.folder, examples):
        note(f"sabench: {place} was trained on {known} of these mixtures; its ratings of them are biased")
    with Progress(1) as progress:
        rated = rate_examples(judge, examples, progress=progress.step_callback("hearing"))
    rows = agreement_rows(rated, ceilings=rater_ceilings(ratings), resamples=resamples, seed=seed)
    inside = _coverage(rated)
    if out is not None:
        _write(out, place, rated, rows, inside)
    if as_json:
        print_json(
            {
                "judge": place,
                "ratings": str(ratings),
                "rows": rows,
                "coverage_80": inside,
                "simulated": examples.simulated,
                "trained_on": known,
            }
        )
        return
    print_records(_lines(rows), _SHOWN, "In brackets: 95 % intervals, over recordings and systems.")
    if inside:
        echo("\n80 % intervals hold " + ", ".join(f"{share:.0%} of {axis}" for axis, share in inside.items()))
    if examples.simulated:
        note("sabench: these ratings are simulated")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A folder without a judge in it.")
@click.option("--half", is_flag=True, help="Weights in float16: half the size, nearly the same ratings.")
def export(run: Path, out: Path, half: bool) -> None:
    """Write the judge of a finished RUN in the official layout, with its card."""
    if not run.is_dir():
        raise Precondition(f"expected the folder of a run at {run}, found none")
    from sam_audio_bench.judge.training.export import export as copy

    note(f"sabench: {copy(run, out, half=half)} can be loaded with sam_audio_bench.judge.load")


def _coverage(rated: RatedExamples) -> dict[str, float]:
    """Returns the coverage of the 80 % interval, by axis."""
    from sam_audio_bench.judge.training.measures import coverage_rows

    return {
        row["axis"]: row["covered"]
        for row in coverage_rows(rated)
        if row["nominal"] == 0.8 and row["covered"] is not None
    }


def _write(
    out: Path, name: str, rated: RatedExamples, rows: Sequence[AgreementRow], inside: Mapping[str, float]
) -> None:
    from sam_audio_bench.files import atomic_write
    from sam_audio_bench.judge.training.report import JudgeReport, ReportFacts, data_facts, write_report

    with atomic_write(out / "predictions.parquet") as temporary:
        rated.frame().to_parquet(temporary, index=False)
    facts: ReportFacts = {"data": {"held out": data_facts(rated.examples)}}
    write_report(out, JudgeReport(name=name, rated=rated, agreement=rows, coverage=inside, facts=facts))


def _lines(rows: Sequence[AgreementRow]) -> list[dict[str, object]]:
    """Formats one line per domain, axis and level; the accuracy of pairs is only in ``--json``."""
    lines: dict[tuple[str, str, str], dict[str, object]] = {}
    for row in rows:
        place = row["domain"], row["axis"], row["level"]
        line = lines.setdefault(place, {"domain": place[0], "axis": place[1], "level": place[2], "n": row["n"]})
        if row["value"] is not None:
            line[row["coefficient"]] = with_interval(row["value"], row["ci_low"], row["ci_high"])
        if row["ceiling"] is not None:
            line["ceiling"] = number(row["ceiling"])
    return list(lines.values())
