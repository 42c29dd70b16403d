"""Whether the shipped judge is as good as demanded: `python judge/evaluate.py`.

Rates the held-out sets of `judge.simulate` and the embedded mini split and prints every bar with its interval. Without
the held-out sets, which take an hour to make, it rates mini and shows the rest as it was measured after training.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a file
    sys.path[0] = str(ROOT)

import click  # noqa: E402
import pandas as pd  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import Progress  # noqa: E402
from rich.table import Table  # noqa: E402

from judge import bars, on_mini  # noqa: E402
from judge.bars import KNOWN, NEW, UNSEEN, UNSEEN_NEW, Bar  # noqa: E402
from sam_audio_bench.files import load_json, write_json  # noqa: E402
from sam_audio_bench.judge import SAJ, load  # noqa: E402
from sam_audio_bench.judge.checkpoints import find_judge  # noqa: E402
from sam_audio_bench.judge.training.rating import rate_examples  # noqa: E402
from sam_audio_bench.judge.training.shards import read_shards  # noqa: E402

SETS = (KNOWN, NEW, UNSEEN, UNSEEN_NEW)


@click.command()
@click.option("--judge", "place", default="saj-mini", show_default=True, help="A judge's folder or name.")
@click.option("--answers", type=click.Path(path_type=Path), default=ROOT / "judge" / "work" / "answers",
              help="Where judge.simulate put its sets.")  # fmt: skip
@click.option("--twin", type=click.Path(path_type=Path), help="A judge that was trained without texts.")
@click.option("--report", type=click.Path(path_type=Path), help="Where to keep what was found.")
def main(place: str, answers: Path, twin: Path | None, report: Path | None) -> None:
    """Print what is demanded of a judge and what it reaches."""
    checkpoint = find_judge(place)
    digest = checkpoint.sha256()
    judge = load(checkpoint)
    console = Console()
    there = [name for name in SETS if any((answers / name).glob("*.tar"))]
    sets = {name: _rated(judge, answers / name) for name in there}
    blind = {} if twin is None or KNOWN not in there else {KNOWN: _rated(load(twin), answers / KNOWN, texts=False)}
    with _bar("mini") as follow:
        mini = on_mini.rate_mini(judge, follow)
    found = [*bars.held_out_bars(sets, blind), *on_mini.mini_bars(mini)]
    within = [bar for name in there for bar in bars.families(sets[name])]
    console.print(_table(found, f"{place} {digest[:8]}, simulated ratings"))
    console.print(_table(within, "inside one family of separators"))
    if not there:
        _recall(console, ROOT / "judge" / "report" / "bars.json", digest, answers)
    if report is not None:
        _keep(report, digest, found, within, {**sets, "mini": mini})
    missed = [bar for bar in found if bar.met is False]
    console.print(f"{sum(bar.met is True for bar in found)} bars met, {len(missed)} missed")


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, where that is a terminal, which is told how much is done of how much."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as shown:
        task = shown.add_task(f"rating {name}")
        yield lambda done, total: shown.update(task, completed=done, total=total)


def _rated(judge: SAJ, place: Path, *, texts: bool = True) -> pd.DataFrame:
    """Rows of a set with what a judge says of them."""
    examples = read_shards(place) if texts else read_shards(place).without_texts()
    with _bar(place.name) as follow:
        frame = rate_examples(judge, examples, progress=follow).frame()
    return frame.assign(answer_id=examples.rows["answer"].to_numpy())


def _table(found: Sequence[Bar], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("part", "what", "value", "95 % interval", "n", "demanded", ""):
        table.add_column(name, justify="right" if name in ("value", "n") else "left", overflow="fold")
    for bar in found:
        value = "—" if bar.value is None else f"{bar.value:.3f}"
        interval = "" if bar.low is None else f"[{bar.low:.3f}, {bar.high:.3f}]"
        wanted = "" if bar.wanted is None else f"≥ {bar.wanted:g}" + ("" if bar.most is None else f", ≤ {bar.most:g}")
        verdict = {True: "met", False: "missed", None: ""}[bar.met]
        table.add_row(bar.part, bar.what, value, interval, str(bar.n), wanted, verdict)
    return table


def _recall(console: Console, kept: Path, digest: str, answers: Path) -> None:
    """Shows what was measured on the held-out sets when they were there, if it was this judge."""
    console.print(f"No held-out sets in {answers}; `python -m judge.sources` and `python -m judge.simulate` make them.")
    known = load_json(kept) if kept.is_file() else {}
    if known.get("weights_sha256") != digest:
        return
    old = [Bar(**{name: value for name, value in bar.items() if name != "met"}) for bar in known["bars"]]
    before = [bar for bar in old if not bar.part.startswith("mini")]
    console.print(_table(before, f"measured before with the same weights, kept in {kept.relative_to(ROOT)}"))


def _keep(
    folder: Path, digest: str, found: Sequence[Bar], within: Sequence[Bar], tables: dict[str, pd.DataFrame]
) -> None:
    """Writes ``bars.json`` and what was said of every answer."""
    bars_found = [bar.plain() for bar in found]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / "bars.json",
        {"weights_sha256": digest, "bars": bars_found, "families": [bar.plain() for bar in within]},
    )
    for name, table in tables.items():
        columns = [column for column in table.columns if column not in ("spans", "video", "raters", "answer_id")]
        table[columns].round(4).to_csv(
            folder / f"{name}.csv.gz", index=False, compression={"method": "gzip", "mtime": 0}
        )


if __name__ == "__main__":
    main()
