"""Evaluates the shipped judge against its acceptance criteria: `python judge/evaluate.py`.

Rates the embedded mini split and, if they exist, the held-out sets of `judge.simulate` and the recordings of
`judge.sources`, and prints every criterion with its interval. `judge/listeners.py` compares the judge with listeners.
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

from judge import criteria, gaming, held_out, mini_split, tolerance  # noqa: E402
from judge.criteria import DENOISED, POOLED, Criterion, format_bounds  # noqa: E402
from sam_audio_bench.files import load_json, write_json  # noqa: E402
from sam_audio_bench.judge import SAJ, load  # noqa: E402
from sam_audio_bench.judge.checkpoints import DEFAULT, find_judge  # noqa: E402

MADE = ROOT / "judge" / "made"
REPORT = ROOT / "judge" / "report"
SETS = (*(name for names in POOLED.values() for name in names), DENOISED)

Sections = Mapping[str, Sequence[Criterion]]

_LONG_CLIP_EVERY = 10  # items per one that is also rated at a length of two minutes


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Rows of all ratings on mini."""

    mini: list[dict[str, Any]] = field(default_factory=list)
    gains: list[dict[str, Any]] = field(default_factory=list)
    trivial: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    lengths: list[dict[str, Any]] = field(default_factory=list)
    attacks: list[dict[str, Any]] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)

    def frames(self) -> dict[str, pd.DataFrame]:
        """Returns the rows as tables, by name."""
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
    """Print the acceptance criteria of a judge and its results."""
    checkpoint = find_judge(place)
    digest = checkpoint.sha256()
    judge = load(checkpoint)
    console = Console(width=None if sys.stdout.isatty() else 150)
    sets = {name: _rated(judge, answers / name) for name in SETS if any((answers / name).glob("*.tar"))}
    alone = pd.DataFrame()
    if (pool / "stems.parquet").is_file():
        with _progress("recordings alone") as progress:
            alone = held_out.single_source_rows(judge, pool, progress)
    mini = _mini(judge, every).frames()
    sections = _sections(mini, sets, alone)
    within = [bar for table in sets.values() for bar in criteria.family_criteria(table)]
    for title, found in {**sections, "Inside one family of separators": within}.items():
        if found:
            console.print(criteria_table(found, f"{title} ({place} {digest[:8]})"))
    if absent := _format_unmeasured(sets, alone, answers, pool):
        console.print(absent, soft_wrap=True)
    if report is None and place == DEFAULT and every == 1:
        report = REPORT
    if report is not None:
        write_criteria(report, digest, sections, within)
        _write_rows(report, {**sets, "mini": mini["mini"]})
    console.print(count_met(sections))


def _sections(mini: Mapping[str, pd.DataFrame], sets: Mapping[str, pd.DataFrame], alone: pd.DataFrame) -> Sections:
    """Returns all criteria by section, in the order of the report."""
    return {
        "Cannot be gamed": [
            *gaming.gain_criteria(mini["gains"]),
            *gaming.trivial_criteria(mini["trivial"]),
            *gaming.attack_criteria(mini["attacks"]),
        ],
        "Tolerant where ears are": [
            *tolerance.change_criteria(mini["changes"]),
            *tolerance.length_criteria(mini["lengths"]),
        ],
        "Knows perfection": [
            *criteria.perfection_criteria(sets),
            *held_out.single_source_criteria(alone),
            *mini_split.mini_perfection_criteria(mini["mini"]),
        ],
        "Against its labels": [
            criteria.scale_criterion({**sets, **{name: mini[name] for name in ("mini", "gains", "changes")}}),
            *held_out.pesq_criteria(sets),
            *criteria.label_criteria(sets),
            *mini_split.mini_criteria(mini["mini"]),
            *mini_split.span_criteria(mini["spans"]),
        ],
    }


def _mini(judge: SAJ, every: int) -> Tables:
    """Rates everything on mini in one pass; gains and changes are applied to every second item."""
    tables = Tables()
    with _progress("mini") as progress:
        for number, count, case in mini_split.mini_cases(every):
            progress(number, count)
            tables.mini.extend(mini_split.mini_rows(judge, case))
            tables.trivial.extend(gaming.trivial_rows(judge, case))
            if number % 2 == 0:
                tables.gains.extend(gaming.gain_rows(judge, case))
                tables.changes.extend(tolerance.change_rows(judge, case))
            if number % _LONG_CLIP_EVERY == 0:
                tables.lengths.extend(tolerance.length_rows(judge, case))
            if number % max(1, count // gaming.ATTACKED) == 0 and len(tables.attacks) < gaming.ATTACKED:
                tables.attacks.append(gaming.attack(judge, case, len(tables.attacks)))
    with _progress("mini by spans alone") as progress:
        for number, count, case in mini_split.mini_cases(every, mini_split.SPAN_TASKS):
            progress(number, count)
            tables.spans.extend(mini_split.mini_rows(mini_split.SpanOnlyJudge(judge, case.spans), case))
    return tables


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """Shows a progress bar on standard error if that is a terminal; yields a callback (done, total)."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as shown:
        task = shown.add_task(f"rating {name}")
        yield lambda done, total: shown.update(task, completed=done, total=total)


def _rated(judge: SAJ, place: Path) -> pd.DataFrame:
    with _progress(place.name) as progress:
        return held_out.rate_set(judge, place, progress)


def criteria_table(found: Sequence[Criterion], title: str) -> Table:
    """Returns criteria as a table for the terminal."""
    table = Table(title=title, title_justify="left")
    for name in ("part", "what", "value", "95 % interval", "n", "demanded", ""):
        table.add_column(name, justify="right" if name in ("value", "n") else "left", overflow="fold")
    for bar in found:
        value = "—" if bar.value is None else f"{bar.value:.3f}"
        interval = "" if bar.low is None else f"[{bar.low:.3f}, {bar.high:.3f}]"
        verdict = {True: "met", False: "missed", None: ""}[bar.met]
        table.add_row(bar.part, bar.what, value, interval, str(bar.n), format_bounds(bar.wanted, bar.most), verdict)
    return table


def count_met(sections: Sections) -> str:
    """Formats how many criteria are met and missed."""
    verdicts = [bar.met for found in sections.values() for bar in found]
    return f"{verdicts.count(True)} bars met, {verdicts.count(False)} missed"


def _format_unmeasured(sets: Mapping[str, pd.DataFrame], alone: pd.DataFrame, answers: Path, pool: Path) -> str:
    """Formats what could not be measured in one line; empty if everything was."""
    missing = [f"the set {name} (no archives in {answers / name})" for name in SETS if name not in sets]
    if len(missing) == len(SETS):
        missing = [f"bars against labels and on perfect answers of held-out recordings (no sets in {answers})"]
    if alone.empty:
        missing.append(f"single sources (no pool with such classes at {pool})")
    if "pesq" in (known := criteria.concat_sets(sets, SETS)) and known["pesq"].isna().all():
        missing.append("PESQ (not installed, or no denoised speech beside a perfect answer)")
    if not missing:
        return ""
    return f"Not measured: {'; '.join(missing)}. `python -m judge.sources` and `python -m judge.simulate` make them."


def write_criteria(folder: Path, digest: str, sections: Sections, within: Sequence[Criterion] = ()) -> None:
    """Writes ``bars.json``, keeping earlier results that were not measured again if they are for the same weights.

    This holds for whole sections and for parts of a section.
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


def _write_rows(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Writes the ratings of every estimate."""
    for name, table in tables.items():
        columns = [column for column in table.columns if column not in ("spans", "video", "raters", "answer_id")]
        path = folder / f"{name}.csv.gz"
        table[columns].round(4).to_csv(path, index=False, compression={"method": "gzip", "mtime": 0})


if __name__ == "__main__":
    main()
