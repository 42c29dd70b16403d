"""Compares the judge with listening tests that have audio: `python judge/listeners.py LISTENING`.

Prints the output of `sabench judge listeners`, and the criteria of tests that have some. LISTENING contains folders in
the format of `sam_audio_bench.judge.listeners`; docs/judge-listeners.md describes their origin.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a file
    sys.path[0] = str(ROOT)

import click  # noqa: E402
from rich.console import Console  # noqa: E402

from judge.criteria import Criterion, mean_criterion, unmeasured  # noqa: E402
from judge.evaluate import REPORT, count_met, criteria_table, write_criteria  # noqa: E402
from sam_audio_bench.cli.judge.listeners import print_test  # noqa: E402
from sam_audio_bench.judge import load  # noqa: E402
from sam_audio_bench.judge.checkpoints import DEFAULT, find_judge  # noqa: E402
from sam_audio_bench.judge.listeners import WORSE, RatedTest, agreement, find_tests, rate_test  # noqa: E402
from sam_audio_bench.ratings.correlation import CorrelationRow  # noqa: E402

__all__ = ["TESTS", "Limits", "limited_correlations", "listener_criteria"]

SECTION = "Agrees with listeners"
_ABOVE = 0.01  # minimum lead; ties do not count


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on one test.

    Attributes:
        estimates: minimum PCC over estimates, by axis of listeners.
        systems: minimum PCC over systems, by axis of listeners.
        clean: minimum mean overall of clean targets, which must also be above that of every system.
        without: systems to leave out, such as the reference at another level.
        with_reference: whether the file used as reference is also one of the conditions.
    """

    estimates: dict[str, float]
    systems: dict[str, float] | None = None
    clean: float | None = None
    without: tuple[str, ...] = ()
    with_reference: bool = False


TESTS = {
    "gensvs60": Limits(estimates={"DMOS": 0.45}, systems={"DMOS": _ABOVE}, clean=4.0),
    "p835_reference": Limits(estimates={"BAK": 0.85, "OVRL": 0.80, "SIG": 0.50}, without=("c0",), with_reference=True),
    "codec_mushra": Limits(estimates={"MUSHRA": 0.50}),
}
"""Limits by name of the folder."""

SINGING = Limits(estimates={"interference": 0.50, "quality": 0.50, WORSE: 0.60})
"""Limits of tests that rate interference and quality separately."""

_STRETCH = {("gensvs60", "DMOS"): 0.60}


def limited_correlations(test: RatedTest, resamples: int = 2000) -> list[CorrelationRow]:
    """Returns correlations over the rows that the limits of the test refer to."""
    wanted = TESTS.get(test.name, SINGING)
    return agreement(test, without=wanted.without, with_reference=wanted.with_reference, resamples=resamples)


def listener_criteria(test: RatedTest, rows: list[CorrelationRow]) -> Iterator[Criterion]:
    """Yields the criteria of one test; ``rows`` is the result of `limited_correlations`."""
    wanted = TESTS.get(test.name, SINGING)
    for row in rows:
        if row["coefficient"] != "pearson":
            continue
        least = (wanted.estimates if row["level"] == "utterance" else wanted.systems or {}).get(row["axis"])
        over = "answers" if row["level"] == "utterance" else "systems"
        stretch = _STRETCH.get((test.name, row["axis"])) if over == "answers" else None
        pair = f"PCC of {row['metric'].removeprefix('saj_')} × {row['axis']}, {over}"
        yield Criterion(
            part=test.name,
            what=pair + (f" (hoped for: {stretch:g})" if stretch else ""),
            value=row["value"], low=row["ci_low"], high=row["ci_high"], n=row["n"], wanted=least,
        )  # fmt: skip
    if wanted.clean is not None:
        yield from _clean(test, wanted.clean)


def _clean(test: RatedTest, least: float) -> Iterator[Criterion]:
    """Yields the mean overall of clean targets, and its lead over the best system."""
    targets = test.controls[test.controls["kind"] == "reference"]
    yield mean_criterion(test.name, "mean overall of clean targets", targets["saj_overall"], targets["item"], least)
    estimates = test.ratings.without_controls.drop_duplicates(["item", "system"])
    if targets.empty or estimates.empty:
        yield unmeasured(test.name, "clean targets above the best system", _ABOVE)
        return
    best = estimates.groupby("system")["saj_overall"].mean().idxmax()
    own = estimates[estimates["system"] == best].set_index("item")["saj_overall"]
    margin = (targets.groupby("item")["saj_overall"].mean() - own).dropna().reset_index()
    yield mean_criterion(
        test.name, f"clean targets above the best system ({best})", margin["saj_overall"], margin["item"], _ABOVE
    )


@click.command()
@click.argument("listening", type=click.Path(path_type=Path))
@click.option("--judge", "place", default=DEFAULT, show_default=True, help="A judge's folder or name.")
@click.option("--report", type=click.Path(path_type=Path), help="Where to keep the bars.  [default: judge/report for "
              "the shipped judge, else nowhere]")  # fmt: skip
def main(listening: Path, place: str, report: Path | None) -> None:
    """Print how far a judge agrees with the listening tests in LISTENING."""
    checkpoint = find_judge(place)
    judge = load(checkpoint)
    found: list[Criterion] = []
    for folder in find_tests(listening):
        test = rate_test(judge, folder)
        rows = limited_correlations(test)
        print_test(test, rows)
        found += listener_criteria(test, rows)
    sections = {SECTION: found}
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(criteria_table(found, f"{SECTION} ({place} {checkpoint.sha256()[:8]})"))
    if report is None and place == DEFAULT:
        report = REPORT
    if report is not None:
        write_criteria(report, checkpoint.sha256(), sections)
    console.print(count_met(sections))


if __name__ == "__main__":
    main()
