"""The judge against listening tests with audio: `python judge/listeners.py LISTENING`.

Prints what `sabench judge listeners` prints, and the bars of the tests that have some. LISTENING holds folders as
`sam_audio_bench.judge.listeners` describes them; docs/judge-listeners.md says where these come from.
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

from judge.bars import Bar, average, missing_bar  # noqa: E402
from judge.evaluate import REPORT, count_of, keep, table_of  # noqa: E402
from sam_audio_bench.cli.judge.listeners import print_test  # noqa: E402
from sam_audio_bench.judge import load  # noqa: E402
from sam_audio_bench.judge.checkpoints import DEFAULT, find_judge  # noqa: E402
from sam_audio_bench.judge.listeners import WORSE, RatedTest, agreement, find_tests, rate_test  # noqa: E402
from sam_audio_bench.ratings.correlation import CorrelationRow  # noqa: E402

__all__ = ["TESTS", "Demands", "listener_bars", "rows_of"]

SECTION = "Agrees with listeners"
_ABOVE = 0.01  # equal is not above


@dataclass(frozen=True, kw_only=True)
class Demands:
    """What is demanded on a test: by axis of listeners the least PCC over answers, and over systems.

    Attributes:
        answers: by axis.
        systems: by axis; it must be more.
        clean: the least mean overall of clean targets, which must also be above every system's.
        without: the system that is the reference at another level.
        with_reference: what stands in for a reference is one of the conditions.
    """

    answers: dict[str, float]
    systems: dict[str, float] | None = None
    clean: float | None = None
    without: tuple[str, ...] = ()
    with_reference: bool = False


TESTS = {
    "gensvs60": Demands(answers={"DMOS": 0.45}, systems={"DMOS": _ABOVE}, clean=4.0),
    "p835_reference": Demands(answers={"BAK": 0.85, "OVRL": 0.80, "SIG": 0.50}, without=("c0",), with_reference=True),
    "codec_mushra": Demands(answers={"MUSHRA": 0.50}),
}
"""By folder."""

SINGING = Demands(answers={"interference": 0.50, "quality": 0.50, WORSE: 0.60})
"""Of tests that ask for interference and for quality apart."""

_STRETCH = {("gensvs60", "DMOS"): 0.60}


def rows_of(test: RatedTest, resamples: int = 2000) -> list[CorrelationRow]:
    """Correlations over those rows that the demands on the test are about."""
    wanted = TESTS.get(test.name, SINGING)
    return agreement(test, without=wanted.without, with_reference=wanted.with_reference, resamples=resamples)


def listener_bars(test: RatedTest, rows: list[CorrelationRow]) -> Iterator[Bar]:
    """The bars of one test; ``rows`` are those of `rows_of`."""
    wanted = TESTS.get(test.name, SINGING)
    for row in rows:
        if row["coefficient"] != "pearson":
            continue
        least = (wanted.answers if row["level"] == "utterance" else wanted.systems or {}).get(row["axis"])
        over = "answers" if row["level"] == "utterance" else "systems"
        stretch = _STRETCH.get((test.name, row["axis"])) if over == "answers" else None
        pair = f"PCC of {row['metric'].removeprefix('saj_')} × {row['axis']}, {over}"
        yield Bar(
            part=test.name,
            what=pair + (f" (hoped for: {stretch:g})" if stretch else ""),
            value=row["value"], low=row["ci_low"], high=row["ci_high"], n=row["n"], wanted=least,
        )  # fmt: skip
    if wanted.clean is not None:
        yield from _clean(test, wanted.clean)


def _clean(test: RatedTest, least: float) -> Iterator[Bar]:
    """Mean overall of clean targets, and how far it is above the best system's."""
    targets = test.controls[test.controls["kind"] == "reference"]
    yield average(test.name, "mean overall of clean targets", targets["saj_overall"], targets["item"], least)
    answers = test.ratings.without_controls.drop_duplicates(["item", "system"])
    if targets.empty or answers.empty:
        yield missing_bar(test.name, "clean targets above the best system", _ABOVE)
        return
    best = answers.groupby("system")["saj_overall"].mean().idxmax()
    own = answers[answers["system"] == best].set_index("item")["saj_overall"]
    margin = (targets.groupby("item")["saj_overall"].mean() - own).dropna().reset_index()
    yield average(
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
    found: list[Bar] = []
    for folder in find_tests(listening):
        test = rate_test(judge, folder)
        rows = rows_of(test)
        print_test(test, rows)
        found += listener_bars(test, rows)
    sections = {SECTION: found}
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table_of(found, f"{SECTION} ({place} {checkpoint.sha256()[:8]})"))
    if report is None and place == DEFAULT:
        report = REPORT
    if report is not None:
        keep(report, checkpoint.sha256(), sections)
    console.print(count_of(sections))


if __name__ == "__main__":
    main()
