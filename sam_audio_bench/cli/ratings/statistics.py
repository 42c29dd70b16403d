"""``sabench ratings agreement``, ``correlate``, ``prefer`` and ``power``: statistics of listening tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sam_audio_bench.cli.arguments import RUN_OR_URL, parse_names
from sam_audio_bench.cli.output import note, print_json, print_records
from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import atomic_write
from sam_audio_bench.render.numbers import number, p_value, with_interval

if TYPE_CHECKING:
    from sam_audio_bench.ratings.agreement import AgreementRow, OpinionRow
    from sam_audio_bench.ratings.correlation import CorrelationResult, CorrelationRow
    from sam_audio_bench.ratings.power import SmallestDesign

__all__ = ["agreement", "correlate", "power", "prefer"]

_Row = TypeVar("_Row", bound=Mapping[str, object])

_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, dir_okay=False)
_LEVELS = ("utterance", "within_item", "system")
_COEFFICIENTS = ("pearson", "spearman", "kendall", "accuracy", "rmse_linear", "rmse_cubic")
_REFERENCE_TESTS = ("williams", "zou", "permutation")
_INTERVALS = ("two_way", "cluster", "row", "fisher")

_by = click.option("--by", metavar="COLUMN", help="Also for each value of this column, such as domain.")
_axis = click.option("--axis", help="One axis; default: all.")
_seed = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command()
@click.argument("table", type=_PATH)
@_by
@_axis
@click.option("--resamples", type=click.IntRange(min=1), default=2000, show_default=True, help="Of the intervals.")
@_seed
@click.option("--mos", type=_FILE, help="Write the mean opinion of each stimulus to this CSV file.")
@_json
def agreement(
    table: Path, by: str | None, axis: str | None, resamples: int, seed: int, mos: Path | None, as_json: bool
) -> None:
    """Measure agreement of raters, and the mean opinion of each system.

    ICC, Krippendorff's α, split-half, leave-one-out and the noise ceiling √ICC(k); opinions raw, z-scored by rater,
    and with raters' biases removed (ITU-T P.913).
    """
    from sam_audio_bench.ratings.agreement import agreement_rows, opinion_rows, stimulus_opinions
    from sam_audio_bench.ratings.table import Ratings
    from sam_audio_bench.tabular import format_spreadsheet_csv

    ratings = Ratings.read(table)
    rows = agreement_rows(ratings, by=by, axis=axis, resamples=resamples, seed=seed)
    opinions = opinion_rows(ratings, by=by, axis=axis)
    if mos is not None:
        with atomic_write(mos) as temporary:
            temporary.write_text(
                format_spreadsheet_csv(stimulus_opinions(ratings, axis)), encoding="utf-8", newline="\n"
            )
    if as_json:
        print_json({"rows": rows, "opinions": opinions})
        return
    for (name, value), part in _grouped(rows, ("axis", "by")).items():
        click.echo(f"{name}, {value}: {part[0]['n']} stimuli, {number(part[0]['raters'], 1)} raters each")
        print_records(map(_statistic_record, part), ("statistic", "value", "status", "interval by"))
        click.echo()
        _show_opinions([row for row in opinions if (row["axis"], row["by"]) == (name, value)])


def _statistic_record(row: AgreementRow) -> dict[str, object]:
    value = with_interval(row["value"], row["ci_low"], row["ci_high"], 3)
    return {
        "statistic": row["statistic"],
        "value": value,
        "status": row["status"],
        "interval by": row["method"] or None,
    }


def _show_opinions(rows: Sequence[OpinionRow]) -> None:
    methods = list(dict.fromkeys(row["method"] for row in rows))
    records = []
    for (system,), part in _grouped(rows, ("system",)).items():
        means = {r["method"]: with_interval(r["value"], r["ci_low"], r["ci_high"]) for r in part}
        records.append({"system": system, "stimuli": part[0]["n"], **means})
    print_records(records, ("system", "stimuli", *methods))
    click.echo()


def _grouped(rows: Sequence[_Row], keys: Sequence[str]) -> dict[tuple[str, ...], list[_Row]]:
    found: dict[tuple[str, ...], list[_Row]] = {}
    for row in rows:
        found.setdefault(tuple(str(row[key]) for key in keys), []).append(row)
    return found


@click.command()
@click.argument("table", type=_PATH)
@click.option(
    "--scores",
    multiple=True,
    type=RUN_OR_URL,
    help="A run whose scores are metrics, joined on item and system; may be repeated.",
)
@click.option("--metrics", help="Metrics, comma-separated; default: all.")
@_by
@_axis
@click.option("--level", multiple=True, type=click.Choice(_LEVELS), help="May be repeated; default: all three.")
@click.option(
    "--coefficient",
    multiple=True,
    type=click.Choice(_COEFFICIENTS),
    help="May be repeated; default: spearman, with --json pearson, spearman and kendall.",
)
@click.option(
    "--interval",
    type=click.Choice(_INTERVALS),
    default="two_way",
    show_default=True,
    help="Resampling items and systems; the others are for reference.",
)
@click.option("--resamples", type=click.IntRange(min=1), default=10_000, show_default=True, help="Of the intervals.")
@click.option("--compare/--no-compare", default=True, show_default=True, help="Test which metrics differ.")
@click.option(
    "--test",
    type=click.Choice(("bootstrap", *_REFERENCE_TESTS)),
    help="Of differences; default: bootstrap, with --interval fisher zou. The others are for reference.",
)
@click.option("--pairs", is_flag=True, help="Print the difference of every pair of metrics too.")
@_seed
@_json  # fmt: skip
def correlate(table: Path, scores: tuple[Path | str, ...], as_json: bool, **options: Any) -> None:
    """Correlate metrics with ratings: by utterance, within items and by system, with intervals.

    Metrics that share a letter could not be told apart (Holm over all pairs, 5 %).
    """
    from sam_audio_bench.ratings.correlation import CorrelationSettings, add_run_scores, correlate_ratings
    from sam_audio_bench.ratings.table import Ratings

    ratings = Ratings.read(table)
    if scores:
        ratings = add_run_scores(ratings, scores)
    coefficients = options["coefficient"] or (_COEFFICIENTS[:3] if as_json else ("spearman",))
    settings = CorrelationSettings(
        metrics=tuple(parse_names(options["metrics"], "--metrics")) if options["metrics"] else None,
        by=options["by"],
        axis=options["axis"],
        levels=options["level"] or _LEVELS,
        coefficients=coefficients,
        interval=options["interval"],
        resamples=options["resamples"],
        seed=options["seed"],
        test=options["test"],
        compare=options["compare"],
    )
    found = correlate_ratings(ratings, settings)
    if as_json:
        print_json({"rows": found.rows, "differences": found.differences, "warnings": found.warnings})
    else:
        _show_correlations(found)
        if options["pairs"]:
            _show_differences(found)


def _show_correlations(found: CorrelationResult) -> None:
    for text in found.warnings:
        note(f"warning: {text}")
    for (axis, by, coefficient), part in _grouped(found.rows, ("axis", "by", "coefficient")).items():
        ceiling = next((row["ceiling"] for row in part if row["ceiling"] is not None), None)
        click.echo(f"{axis}, {by}: {coefficient}" + (f", noise ceiling {number(ceiling, 3)}" if ceiling else ""))
        levels = list(dict.fromkeys(row["level"] for row in part))
        strongest = sorted(_grouped(part, ("metric",)).items(), key=lambda rows: _strength(rows[1][0]))
        records = [_metric_record(metric, rows) for (metric,), rows in strongest]
        lettered = ["group"] if any(record["group"] for record in records) else []
        print_records(records, ("metric", *(f"{level} (n={_n(part, level)})" for level in levels), *lettered))
        click.echo()
    methods = ", ".join(dict.fromkeys(row["method"] for row in found.rows if row["method"]))
    click.echo(f"95 % intervals: {methods or 'none'}. Signs are raw: a metric of errors correlates negatively.")


def _show_differences(found: CorrelationResult) -> None:
    """Prints differences of metrics, oriented so that more is better, with Holm's p over all pairs."""
    for (axis, by, level, coefficient), part in _grouped(
        found.differences, ("axis", "by", "level", "coefficient")
    ).items():
        click.echo(f"\n{axis}, {by}: differences of {coefficient}, {level}, each metric turned so that more is better")
        records = [
            {
                "metrics": f"{row['first']} − {row['second']}",
                "difference": with_interval(row["value"], row["ci_low"], row["ci_high"], 3),
                "p": p_value(row["p"]),
                "p (Holm)": p_value(row["p_holm"]),
                "n": row["n"],
                "by": row["method"] or row["status"],
            }
            for row in part
        ]
        print_records(records, ("metrics", "difference", "p", "p (Holm)", "n", "by"))
    if found.differences:
        click.echo("\nIntervals and p are of one pair, p (Holm) of all pairs of a table together.")


def _n(rows: Sequence[CorrelationRow], level: str) -> int:
    return max(row["n"] for row in rows if row["level"] == level)


def _strength(row: CorrelationRow) -> float:
    """Returns a sort key, lowest for the metric that agrees most with raters."""
    if row["value"] is None:
        return math.inf
    return row["value"] if row["coefficient"].startswith("rmse") else -abs(row["value"])


def _metric_record(metric: str, rows: Sequence[CorrelationRow]) -> dict[str, str]:
    record = {"metric": metric, "group": "".join(row["group"] for row in rows)}
    most = {row["level"]: row["n"] for row in rows}
    for row in rows:
        text = with_interval(row["value"], row["ci_low"], row["ci_high"], 3)
        record[f"{row['level']} (n={most[row['level']]})"] = text if row["status"] == "ok" else f"— {row['status']}"
    return record


@click.command()
@click.argument("table", type=_PATH)
@_by
@click.option(
    "--order-effect/--no-order-effect",
    default=True,
    show_default=True,
    help="Model an effect of being first.",
)
@click.option(
    "--prior",
    type=click.FloatRange(min=0),
    default=3.0,
    show_default=True,
    help="Standard deviation of strengths in logits; 0: none.",
)
@click.option("--resamples", type=click.IntRange(min=1), default=1000, show_default=True, help="Of the intervals.")
@_seed
@_json  # fmt: skip
def prefer(
    table: Path, by: str | None, order_effect: bool, prior: float, resamples: int, seed: int, as_json: bool
) -> None:
    """Rank systems by pairwise votes (Bradley–Terry with ties); TABLE holds imported votes.

    Intervals resample raters. Elo is a display scale of the same strengths.
    """
    from sam_audio_bench.ratings.preference import prefer as preferences
    from sam_audio_bench.ratings.preference import preference_texts
    from sam_audio_bench.ratings.table import Ratings

    found = preferences(
        Ratings.read(table), by=by, order_effect=order_effect, prior=prior, resamples=resamples, seed=seed
    )
    if as_json:
        print_json({"rows": found.rows, "overall": found.overall, "warnings": found.warnings})
        return
    for text in found.warnings:
        note(f"warning: {text}")
    for (axis, by_value), rows in _grouped(found.rows, ("axis", "by")).items():
        (overall,) = [entry for entry in found.overall if (entry["axis"], entry["by"]) == (axis, by_value)]
        click.echo(f"{axis}, {by_value}: {overall['votes']} votes")
        print_records(
            map(preference_texts, rows), ("system", "strength", "rank", "net win rate", "wins-ties-losses", "elo")
        )
        order = with_interval(overall["order"], overall["order_low"], overall["order_high"], 3)
        click.echo(
            f"Advantage of the first position {order} logits; {overall['circular']} of {overall['triads']} triads "
            f"circular (p of so few by coin tosses: {p_value(overall['p'])}).\n"
        )


@click.command()
@click.argument("table", type=_PATH)
@click.option("--raters", default="5,10,20", show_default=True, help="Raters per stimulus, comma-separated.")
@click.option("--items", default="20,50,100", show_default=True)
@click.option("--systems", default="2,5", show_default=True)
@click.option("--difference", default="0.2,0.5", show_default=True, help="Between two systems, in units of the scale.")
@click.option("--alpha", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05, show_default=True)
@click.option("--simulations", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option(
    "--power",
    "wanted",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.8,
    show_default=True,
    help="Name the smallest design that has this power.",
)
@_axis
@_seed
@_json
def power(table: Path, as_json: bool, **options: Any) -> None:
    """Find the size of the next test: power to detect a difference, simulated from the variances of this test."""
    from sam_audio_bench.ratings.power import power_rows, smallest_designs
    from sam_audio_bench.ratings.table import Ratings

    components, rows, warnings = power_rows(
        Ratings.read(table),
        raters=[int(value) for value in _numbers(options["raters"], "--raters", whole=True)],
        items=[int(value) for value in _numbers(options["items"], "--items", whole=True)],
        systems=[int(value) for value in _numbers(options["systems"], "--systems", whole=True)],
        differences=_numbers(options["difference"], "--difference", whole=False),
        axis=options["axis"], alpha=options["alpha"], simulations=options["simulations"], seed=options["seed"],
    )  # fmt: skip
    least = smallest_designs(rows, options["wanted"])
    if as_json:
        print_json({"rows": rows, "least": least, "components": components, "warnings": warnings})
        return
    for text in warnings:
        note(f"warning: {text}")
    for part in components:
        variances = {
            "item": part["item"],
            "system": part["system"],
            "rater": part["rater"],
            "cell": part["cell"],
            "residual": part["residual"],
        }
        parts = ", ".join(f"{name} {number(value, 3)}" for name, value in variances.items())
        click.echo(f"{part['axis']}: variances {parts}")
        records = [
            {**row, "power": with_interval(row["power"], row["low"], row["high"])}
            for row in rows
            if row["axis"] == part["axis"]
        ]
        print_records(records, ("raters", "items", "systems", "difference", "power"))
        for design in least:
            if design["axis"] == part["axis"]:
                click.echo(_least(design, options["wanted"]))
        click.echo()


def _least(design: SmallestDesign, wanted: float) -> str:
    what = f"{design['difference']:g} between {design['systems']} systems, power {wanted:g}: "
    if design["raters"] is None:
        return what + "none of these designs"
    return what + f"{design['raters']} raters x {design['items']} items, {design['ratings']} ratings"


def _numbers(text: str, option: str, *, whole: bool) -> list[float]:
    try:
        values = [float(word) for word in parse_names(text, option)]
    except ValueError:
        values = []
    if not values or any(value <= 0 or (whole and value != int(value)) for value in values):
        raise UsageError(
            f"expected positive {'whole ' if whole else ''}numbers for {option}, comma-separated, found {text!r}"
        )
    return values
