"""Whether the shipped judge is as good as demanded: `python judge/evaluate.py`.

Rates the embedded mini split, and the held-out sets of `judge.simulate` and the recordings of `judge.sources` where
they are there, and prints every bar with its interval. `judge/listeners.py` holds it against listeners.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a file
    sys.path[0] = str(ROOT)

import click  # noqa: E402
import pandas as pd  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import Progress  # noqa: E402
from rich.table import Table  # noqa: E402

from judge import bars, gaming, held_out, on_mini, tolerance  # noqa: E402
from judge.bars import DENOISED, POOLED, Bar, demanded  # noqa: E402
from sam_audio_bench.files import load_json, write_json  # noqa: E402
from sam_audio_bench.judge import SAJ, load  # noqa: E402
from sam_audio_bench.judge.checkpoints import DEFAULT, find_judge  # noqa: E402

MADE = ROOT / "judge" / "made"
REPORT = ROOT / "judge" / "report"
SETS = (*(name for names in POOLED.values() for name in names), DENOISED)

Sections = Mapping[str, Sequence[Bar]]

_LONG_CLIPS = 10  # one case of so many is rated for two minutes


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Rows of everything that was rated on mini."""

    mini: list[dict[str, Any]] = field(default_factory=list)
    gains: list[dict[str, Any]] = field(default_factory=list)
    trivial: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    lengths: list[dict[str, Any]] = field(default_factory=list)
    attacks: list[dict[str, Any]] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)

    def frames(self) -> dict[str, pd.DataFrame]:
        """As tables by name."""
        return {name: pd.DataFrame(rows) for name, rows in vars(self).items()}


@click.command()
@click.option("--judge", "place", default=DEFAULT, show_default=True, help="A judge's folder or name.")
@click.option("--answers", type=click.Path(path_type=Path), default=MADE / "answers",
              help="Where judge.simulate put its sets.")  # fmt: skip
@click.option(
    "--pool", type=click.Path(path_type=Path), default=MADE / "pool", help="Where judge.sources put its pool."
)
@click.option("--every", type=click.IntRange(1), default=1, help="Use one item of mini of so many.")
@click.option("--report", type=click.Path(path_type=Path), help="Where to keep what was found.  [default: judge/report "
              "for all of mini and the shipped judge, else nowhere]")  # fmt: skip
def main(place: str, answers: Path, pool: Path, every: int, report: Path | None) -> None:
    """Print what is demanded of a judge and what it reaches."""
    checkpoint = find_judge(place)
    digest = checkpoint.sha256()
    judge = load(checkpoint)
    console = Console(width=None if sys.stdout.isatty() else 150)
    sets = {name: _rated(judge, answers / name) for name in SETS if any((answers / name).glob("*.tar"))}
    alone = pd.DataFrame()
    if (pool / "stems.parquet").is_file():
        with _progress("recordings alone") as follow:
            alone = held_out.alone_rows(judge, pool, follow)
    mini = _mini(judge, every).frames()
    sections = _sections(mini, sets, alone)
    within = [bar for table in sets.values() for bar in bars.families(table)]
    for title, found in {**sections, "Inside one family of separators": within}.items():
        if found:
            console.print(table_of(found, f"{title} ({place} {digest[:8]})"))
    if absent := _absent(sets, alone, answers, pool):
        console.print(absent, soft_wrap=True)
    if report is None and place == DEFAULT and every == 1:
        report = REPORT
    if report is not None:
        keep(report, digest, sections, within)
        _keep_rows(report, {**sets, "mini": mini["mini"]})
    console.print(count_of(sections))


def _sections(mini: Mapping[str, pd.DataFrame], sets: Mapping[str, pd.DataFrame], alone: pd.DataFrame) -> Sections:
    """Every bar, in the order in which they are demanded."""
    return {
        "Cannot be gamed": [
            *gaming.gain_bars(mini["gains"]),
            *gaming.trivial_bars(mini["trivial"]),
            *gaming.attack_bars(mini["attacks"]),
        ],
        "Tolerant where ears are": [*tolerance.change_bars(mini["changes"]), *tolerance.length_bars(mini["lengths"])],
        "Knows perfection": [
            *bars.perfection_bars(sets),
            *held_out.alone_bars(alone),
            *on_mini.mini_perfection(mini["mini"]),
        ],
        "Against its labels": [
            bars.in_scale({**sets, **{name: mini[name] for name in ("mini", "gains", "changes")}}),
            *held_out.pesq_bar(sets),
            *bars.label_bars(sets),
            *on_mini.mini_checks(mini["mini"]),
            *on_mini.span_checks(mini["spans"]),
        ],
    }


def _mini(judge: SAJ, every: int) -> Tables:
    """Rates everything on mini in one pass; every second item under gains and changes."""
    tables = Tables()
    with _progress("mini") as follow:
        for number, count, case in on_mini.mini_cases(every):
            follow(number, count)
            tables.mini.extend(on_mini.mini_rows(judge, case))
            tables.trivial.extend(gaming.trivial_rows(judge, case))
            if number % 2 == 0:
                tables.gains.extend(gaming.gain_rows(judge, case))
                tables.changes.extend(tolerance.change_rows(judge, case))
            if number % _LONG_CLIPS == 0:
                tables.lengths.extend(tolerance.length_rows(judge, case))
            if number % max(1, count // gaming.ATTACKED) == 0 and len(tables.attacks) < gaming.ATTACKED:
                tables.attacks.append(gaming.attack(judge, case, len(tables.attacks)))
    with _progress("mini by spans alone") as follow:
        for number, count, case in on_mini.mini_cases(every, on_mini.SPAN_TASKS):
            follow(number, count)
            tables.spans.extend(on_mini.mini_rows(on_mini.BySpans(judge, case.spans), case))
    return tables


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, where that is a terminal, which is told how much is done of how much."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as shown:
        task = shown.add_task(f"rating {name}")
        yield lambda done, total: shown.update(task, completed=done, total=total)


def _rated(judge: SAJ, place: Path) -> pd.DataFrame:
    with _progress(place.name) as follow:
        return held_out.rate_set(judge, place, follow)


def table_of(found: Sequence[Bar], title: str) -> Table:
    """Bars as a table for the terminal."""
    table = Table(title=title, title_justify="left")
    for name in ("part", "what", "value", "95 % interval", "n", "demanded", ""):
        table.add_column(name, justify="right" if name in ("value", "n") else "left", overflow="fold")
    for bar in found:
        value = "—" if bar.value is None else f"{bar.value:.3f}"
        interval = "" if bar.low is None else f"[{bar.low:.3f}, {bar.high:.3f}]"
        verdict = {True: "met", False: "missed", None: ""}[bar.met]
        table.add_row(bar.part, bar.what, value, interval, str(bar.n), demanded(bar.wanted, bar.most), verdict)
    return table


def count_of(sections: Sections) -> str:
    """How many bars are met and missed."""
    verdicts = [bar.met for found in sections.values() for bar in found]
    return f"{verdicts.count(True)} bars met, {verdicts.count(False)} missed"


def _absent(sets: Mapping[str, pd.DataFrame], alone: pd.DataFrame, answers: Path, pool: Path) -> str:
    """One line about what could not be measured; empty: everything was."""
    missing = [f"the set {name} (no archives in {answers / name})" for name in SETS if name not in sets]
    if len(missing) == len(SETS):
        missing = [f"bars against labels and on perfect answers of held-out recordings (no sets in {answers})"]
    if alone.empty:
        missing.append(f"single sources (no pool with such classes at {pool})")
    if "pesq" in (known := bars.set_rows(sets, SETS)) and known["pesq"].isna().all():
        missing.append("PESQ (not installed, or no denoised speech beside a perfect answer)")
    if not missing:
        return ""
    return f"Not measured: {'; '.join(missing)}. `python -m judge.sources` and `python -m judge.simulate` make them."


def keep(folder: Path, digest: str, sections: Sections, within: Sequence[Bar] = ()) -> None:
    """Writes ``bars.json``: what was found, after sections that were kept there before of the same weights alone.

    Of a section that was measured in part, bars of the rest stay as they were with the same weights.
    """
    path = folder / "bars.json"
    known = load_json(path) if path.is_file() else {}
    if known.get("weights_sha256") != digest:
        known = {}
    new = [{"section": title, **bar.plain()} for title, found in sections.items() for bar in found]
    measured = {(bar["section"], bar["part"]) for bar in new}
    old = [bar for bar in known.get("bars", []) if (bar.get("section"), bar["part"]) not in measured]
    order = list(dict.fromkeys(bar.get("section") for bar in [*new, *old]))
    folder.mkdir(parents=True, exist_ok=True)
    everything = sorted([*new, *old], key=lambda bar: order.index(bar.get("section")))
    inside = [bar.plain() for bar in within] or known.get("families", [])
    write_json(path, {"weights_sha256": digest, "bars": everything, "families": inside})


def _keep_rows(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Writes what was said of every answer."""
    for name, table in tables.items():
        columns = [column for column in table.columns if column not in ("spans", "video", "raters", "answer_id")]
        path = folder / f"{name}.csv.gz"
        table[columns].round(4).to_csv(path, index=False, compression={"method": "gzip", "mtime": 0})


if __name__ == "__main__":
    main()
