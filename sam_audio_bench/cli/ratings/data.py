"""``sabench ratings example``, ``import``, ``describe`` and ``screen``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sam_audio_bench.cli.arguments import parse_names
from sam_audio_bench.cli.output import note, print_json, print_records
from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import atomic_write
from sam_audio_bench.render.numbers import number

if TYPE_CHECKING:
    from sam_audio_bench.ratings.describe import AxisDescription
    from sam_audio_bench.ratings.importing import FileReading, ImportResult
    from sam_audio_bench.ratings.screening import ScreeningResult

__all__ = ["describe", "example", "import_", "screen"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, dir_okay=False)
_ROLES = ("rater", "item", "system", "axis", "group", "domain", "trial", "session", "time", "first", "second", "choice")


def _role_options(command: _Command) -> _Command:
    """Adds --rater COLUMN and so on for every role; the last is declared first, so that help keeps their order."""
    for role in reversed(_ROLES):
        command = click.option(f"--{role}", metavar="COLUMN", help=f"The column of the {role}, or =TEXT for all rows.")(
            command
        )
    return command


@click.command("import")
@click.argument("sources", nargs=-1, required=True, type=_PATH)
@click.option("--out", required=True, type=_FILE, help="The parquet file to write.")
@click.option("--format", "form", help="page, webmushra, p808, lists, votes, wide or long; default: recognised.")
@click.option(
    "--score",
    multiple=True,
    metavar="COLUMN",
    help="Columns of scores; wide: patterns such as 'rating_*'; may be repeated.",
)
@_role_options
@click.option("--scale", metavar="LOW:HIGH", help="Lowest and highest score; default: guessed.")
@click.option(
    "--direction",
    type=click.Choice(["higher", "lower"]),
    default="higher",
    show_default=True,
    help="Which end of the scale is better.",
)
@click.option("--metric-columns", metavar="A,B", help="Columns of objective metrics, or none; default: guessed.")
@click.option("--pattern", metavar="REGEX", help="Splits the item: '(?P<system>[^/]+)/(?P<item>[^/]+)$'.")
@click.option("--missing", multiple=True, metavar="TEXT", help="A text that means no rating; may be repeated.")
@click.option("--key", type=_PATH, help="key.json of a planned test, with the meaning of its trials.")
@click.option("--json", "as_json", is_flag=True, help="Print how the files were read as JSON.")  # fmt: skip
def import_(sources: tuple[Path, ...], out: Path, as_json: bool, **options: Any) -> None:
    """Read listening-test data as one tidy table.

    Reads tables (one column per rater, or one row per score), JSON lines with lists of scores, webMUSHRA, the P.808
    toolkit, pairwise votes, and files of our listening page. Columns are guessed and printed; options override them.
    """
    from sam_audio_bench.ratings.formats import ColumnChoice
    from sam_audio_bench.ratings.importing import import_ratings
    from sam_audio_bench.ratings.table import parse_scale

    metrics = options["metric_columns"]
    choice = ColumnChoice(
        roles={role: options[role] for role in _ROLES if options[role]},
        score=options["score"],
        metrics=None
        if metrics is None
        else ()
        if metrics == "none"
        else tuple(parse_names(metrics, "--metric-columns")),
        pattern=options["pattern"],
        missing=options["missing"],
        key=options["key"],
    )
    scale = parse_scale(options["scale"]) if options["scale"] else None
    imported = import_ratings(sources, choice, format=options["form"], scale=scale, direction=options["direction"])
    imported.ratings.write(out)
    if as_json:
        print_json(_as_json(imported, out))
    else:
        _show(imported, out)


@click.command()
@click.option("--out", required=True, type=_FILE, help="The CSV file to write.")
@click.option("--votes", is_flag=True, help="Pairwise votes instead of ratings.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def example(out: Path, votes: bool, seed: int) -> None:
    """Write ratings of a simulated test: eight systems, twelve items, nine raters of whom one did not listen."""
    from sam_audio_bench.ratings.example import example_ratings, example_votes

    frame = example_votes(seed) if votes else example_ratings(seed)
    with atomic_write(out) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")
    click.echo(f"{len(frame)} rows in {out}")
    click.echo(f"Next: sabench ratings import {out} --out ratings.parquet")


def _as_json(imported: ImportResult, out: Path) -> dict[str, object]:
    table = imported.ratings
    readings = [
        {"path": str(r.path), "format": r.format, "columns": dict(r.columns), "rows": r.rows} for r in imported.readings
    ]
    return {
        "out": str(out), "rows": len(table.frame), "votes": table.votes, "scale": table.scale,
        "direction": table.direction, "metrics": list(table.metrics), "anonymous": table.anonymous,
        "readings": readings, "notes": list(imported.notes),
    }  # fmt: skip


def _show(imported: ImportResult, out: Path) -> None:
    table = imported.ratings
    alike: dict[tuple[str, ...], list[FileReading]] = {}
    for reading in imported.readings:
        alike.setdefault((reading.format, *chain(*reading.columns.items())), []).append(reading)
    for readings in alike.values():
        first, others = readings[0], len(readings) - 1
        files = f"{first.path} and {others} more alike" if others else str(first.path)
        click.echo(f"{files}: {sum(reading.rows for reading in readings)} rows, format {first.format}")
        print_records(
            [{"role": role, "read from": name} for role, name in first.columns.items()], ("role", "read from")
        )
        click.echo()
    for text in imported.notes:
        note(f"note: {text}")
    if table.scale:
        click.echo(f"Scale {table.scale[0]:g} to {table.scale[1]:g}, {table.direction} is better.")
    if table.metrics:
        click.echo(f"Metrics: {', '.join(table.metrics)}.")
    click.echo(
        f"{len(table.frame)} rows in {out}. A wrong guess is overridden by --rater, --item, --system, --score, …"
    )
    click.echo(f"Next: sabench ratings {'prefer' if table.votes else 'describe'} {out}")


@click.command()
@click.argument("table", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def describe(table: Path, as_json: bool) -> None:
    """Count raters, items and scores, and show how the scale was used."""
    from sam_audio_bench.ratings.describe import describe as facts_of
    from sam_audio_bench.ratings.table import Ratings

    facts = facts_of(Ratings.read(table))
    if as_json:
        print_json(facts)
        return
    click.echo(", ".join(f"{count} {name}" for name, count in facts["counts"].items()))
    if facts["anonymous"]:
        click.echo("Raters are anonymous: they cannot be identified across stimuli.")
    if facts["controls"]:
        click.echo("Controls: " + ", ".join(f"{count} {kind}" for kind, count in facts["controls"].items()))
    for done in facts["history"]:
        click.echo(f"History: {done.get('step')} dropped {done.get('dropped_rows')} rows")
    if "choices" in facts:
        print_records(
            [{"choice": name, "votes": count} for name, count in facts["choices"].items()], ("choice", "votes")
        )
        return
    click.echo()
    print_records(map(_axis_record, facts["axes"]), _AXIS_COLUMNS)
    for axis in facts["axes"]:
        click.echo(f"\n{axis['axis']}")
        most = max(entry["count"] for entry in axis["histogram"]) or 1
        for entry in axis["histogram"]:
            step = f"{entry['low']:g}" if entry["low"] == entry["high"] else f"{entry['low']:g}–{entry['high']:g}"
            click.echo(f"{step:>9}  {entry['count']:>8}  {'█' * round(40 * entry['count'] / most)}".rstrip())


_AXIS_COLUMNS = ("axis", "scores", "stimuli", "raters a stimulus", "mean", "sd", "repeated")


def _axis_record(axis: AxisDescription) -> dict[str, object]:
    return {
        "axis": axis["axis"],
        "scores": axis["n"],
        "stimuli": axis["stimuli"],
        "raters a stimulus": f"{axis['raters_median']:g} ({axis['raters_min']:g} to {axis['raters_max']:g})",
        "mean": number(axis["mean"]),
        "sd": None if axis["sd"] is None else number(axis["sd"]),
        "repeated": axis["repeated"],
    }


def _rule_option(name: str, text: str) -> Callable[[_Command], _Command]:
    """Returns an option of a rule: ``--name``, or ``--name=LIMIT`` with another limit than the default."""
    return click.option(f"--{name}", is_flag=False, flag_value="default", metavar="[LIMIT]", help=text)


@click.command()
@click.argument("table", type=_PATH)
@click.option("--out", required=True, type=_FILE, help="The parquet file to write.")
@click.option("--p808", is_flag=True, help="Rules of ITU-T P.808: trap, gold, variance, playback.")
@click.option("--bs1534", is_flag=True, help="Rules of ITU-R BS.1534-3: hidden-reference, anchor.")
@_rule_option("trap", "Sessions with a wrong answer to a trap.")
@_rule_option("gold", "Sessions further than this from a gold answer; default 1.")
@_rule_option("variance", "Sessions whose scores vary less; default 0.1.")
@_rule_option("playback", "Sessions with a clip that was not played.")
@_rule_option("hidden-reference", "Raters below 90 % for more than this share of hidden references; default 0.15.")
@_rule_option("anchor", "Raters above 90 % for more than this share of anchors; default 0.15.")
@_rule_option("agreement", "Raters who correlate less with the others; default 0.25.")
@_rule_option("straight-lining", "Raters whose most frequent score has a larger share; default 0.95.")
@_rule_option("speed", "Raters whose median answer took fewer seconds; default 2.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def screen(table: Path, out: Path, p808: bool, bs1534: bool, as_json: bool, **options: Any) -> None:
    """Exclude unreliable raters or sessions, and report who and why.

    Each rule is a switch; set another limit as in --gold=2. All rules use the whole table.
    """
    from sam_audio_bench.ratings.screening import PRESETS, applicable_rules
    from sam_audio_bench.ratings.screening import screen as screened
    from sam_audio_bench.ratings.table import Ratings

    ratings = Ratings.read(table)
    limits: dict[str, float | None] = {}
    for is_chosen, names in ((p808, PRESETS["p808"]), (bs1534, PRESETS["bs1534"])):
        if is_chosen:
            there = applicable_rules(ratings, names)
            limits.update(dict.fromkeys(there))
            for name in names:
                if name not in there:
                    note(f"note: {name} is left out: the ratings do not hold what it needs")
    for name, text in options.items():
        if text is not None:
            limits[name.replace("_", "-")] = _limit(name, text)
    result = screened(ratings, limits)
    result.ratings.write(out)
    _show_screened(result, out, as_json)


def _limit(name: str, text: str) -> float | None:
    if text == "default":
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"expected a number for --{name.replace('_', '-')}, found {text!r}") from None


def _show_screened(result: ScreeningResult, out: Path, as_json: bool) -> None:
    rows = [
        {"rater": d.rater, "session": d.session, "rule": d.rule, "value": d.value, "limit": d.limit, "why": d.why}
        for d in result.exclusions
    ]
    if as_json:
        notes = list(result.notes)
        counts = {"rows_before": result.rows_before, "rows_after": result.rows_after}
        print_json({"out": str(out), **counts, "dropped": rows, "notes": notes})
        return
    for text in result.notes:
        note(f"note: {text}")
    if rows:
        print_records(rows, ("rater", "session", "rule", "why"))
    dropped = result.rows_before - result.rows_after
    who = len({row["rater"] for row in rows})
    click.echo(f"{dropped} of {result.rows_before} rows dropped, of {who} raters; {result.rows_after} in {out}")
