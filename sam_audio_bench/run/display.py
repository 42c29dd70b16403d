"""Results as figures, and as a page of a notebook: the answer, the table, and the worst items to listen to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from sam_audio_bench.errors import BenchError, UsageError, describe_error
from sam_audio_bench.notebook import STYLE, player, prompt_html, quoted, row_html
from sam_audio_bench.records import read_run
from sam_audio_bench.render.numbers import number
from sam_audio_bench.render.text import pluralize
from sam_audio_bench.run.store import RunFolder, answer_path
from sam_audio_bench.separators.catalogue import BASELINES
from sam_audio_bench.stats.answers import main_metric
from sam_audio_bench.stats.summary import SummaryRow, compute_item_scores, compute_line_scores

if TYPE_CHECKING:
    from sam_audio_bench.plots.base import Plot
    from sam_audio_bench.run.results import Results
    from sam_audio_bench.types import Item

__all__ = ["WorstItem", "draw_results", "find_item", "results_html", "results_text", "worst_items"]

_SHOWN_NAMES = 5  # of separators
_WORST = 3  # items to listen to
_SECONDS = 10.0  # of each of their sounds
_MOST_LETTERS = 2_000_000  # of all players of a page; three items of 10 s have about 1,000,000


def draw_results(results: Results, kind: str, metrics: Sequence[str], separators: Sequence[str]) -> Plot:
    """The figure behind `Results.plot`; without metrics, of the one that orders the table. It draws all items."""
    from sam_audio_bench.plots.lines import RunData
    from sam_audio_bench.plots.runs import draw

    if results.slices:
        raise UsageError("expected results of all items to draw, found slices; `sabench slices --out` draws slices")
    rows = results.rows
    chosen = list(metrics) or [metric for metric in [main_metric(rows)] if metric is not None]
    if not chosen:
        raise UsageError("expected scores to draw, found none; name a metric that these runs have")
    scores = compute_line_scores(results.counted, _units(results))
    data = RunData(rows=rows, scores=scores, costs=results.costs, partial=results.watermark)
    return draw(kind, data, chosen, separators)


def results_text(results: Results) -> str:
    """What results are of, on one line."""
    separators = list(dict.fromkeys(name for _, name in results.coverage))
    sizes = (pluralize(len(values), what) for values, what in ((separators, "separator"), (results.labels, "task")))
    shown = ", ".join(separators[:_SHOWN_NAMES]) + " …" * (len(separators) > _SHOWN_NAMES)
    missing = f", {results.watermark}" if results.partial else ""
    return f"Results({' on '.join(sizes)}: {shown}; by {', '.join(results.metrics) or 'nothing'}{missing})"


def results_html(results: Results) -> str:
    """The answer, the table, and the worst items of the best separator, with players of at most two million letters.

    Baselines and oracles have no worst items. Sounds are read from the run folders and from the task's data; what is
    not there is told in its place.
    """
    table, rows = results.table("html"), replace(results, slices={}).rows
    metric = main_metric(rows)
    separator = None if metric is None else _best_separator(rows, metric)
    if metric is None or separator is None:
        return table
    room = _Room(_MOST_LETTERS)
    items = "".join(_item_html(one, results, room) for one in worst_items(results, separator, metric))
    title = f"Where {quoted(separator)} is worst, by {quoted(metric)}"
    return (
        f'{table}{STYLE}<details open class="sabench-sound"><summary><b>{title}</b></summary>'
        f"{items}<p><small>Sounds: the first {_SECONDS:g} s in mono, as MP3, for listening only.</small></p></details>"
    )


@dataclass(frozen=True)
class WorstItem:
    """An item with a low score."""

    task: str
    item: str
    separator: str
    score: str


class _Room:
    """How many letters may still be embedded."""

    def __init__(self, letters: int) -> None:
        self._left = letters

    def fit(self, content: str) -> str:
        """The content where there is room for it, or else what is said in its place."""
        if len(content) > self._left:
            return "<small>no room for its sound on this page</small>"
        self._left -= len(content)
        return content


def _units(results: Results) -> dict[str, str]:
    return {name: record.unit for name, record in results.metrics.items()}


def _best_separator(rows: Sequence[SummaryRow], metric: str) -> str | None:
    """With the best mean over tasks, of those that answer without knowing the answer."""
    means: dict[str, list[float]] = {}
    for row in rows:
        if row.metric == metric and row.value is not None and not row.oracle and row.separator not in BASELINES:
            sign = -1 if row.higher_is_better is False else 1
            means.setdefault(row.separator, []).append(sign * row.value)
    return max(means, key=lambda name: fmean(means[name]), default=None)


def worst_items(results: Results, separator: str, metric: str) -> list[WorstItem]:
    """The items on which a separator is worst by a metric, the worst first."""
    record = results.metrics[metric]
    sign = 1 if record.higher_is_better else -1
    scores = compute_item_scores(results.counted, _units(results))
    found = [
        (sign * score.value, task, item)
        for (task, name, column), items in scores.items() if (name, column) == (separator, metric)
        for item, score in items.items() if score.value is not None
    ]  # fmt: skip
    return [
        WorstItem(task, item, separator, f"{number(sign * value)} {record.unit}".strip())
        for value, task, item in sorted(found)[:_WORST]
    ]


def _item_html(one: WorstItem, results: Results, room: _Room) -> str:
    """Prompt, score, and players of mixture, answer and reference."""
    folder, item, told = find_item(results.runs, one)
    asked = "" if item is None else f", asked for {prompt_html(item.query.prompt)}"
    place = quoted(results.labels.get(one.task, one.task))
    head = f"<p><b>{quoted(one.item)}</b> of {place}: {quoted(one.score)}{asked}</p>"
    sounds = {"mixture": _told(told) if item is None else player(item.query.mixture, seconds=_SECONDS, mono=True)}
    sounds["answer"] = _answer(folder, one.item)
    if item is not None:
        known = item.reference
        sounds["reference"] = _told("there is none") if known is None else player(known, seconds=_SECONDS, mono=True)
    return head + "".join(row_html(name, room.fit(content)) for name, content in sounds.items())


def find_item(runs: Sequence[Path | str], one: WorstItem) -> tuple[RunFolder | None, Item | None, str]:
    """The run folder of an item, and the item with its sounds, or why one of them is not there."""
    from sam_audio_bench.run.data import recorded_data

    folder = None
    try:
        folder = _folder(runs, one)
        if folder is None:
            return None, None, "its run folder is not on this disk"
        return folder, recorded_data([folder])[one.item], ""
    except BenchError as error:
        return folder, None, describe_error(error)


def _folder(runs: Sequence[Path | str], one: WorstItem) -> RunFolder | None:
    """The run folder of an item, of those on this disk."""
    for path in runs:
        if isinstance(path, Path) and (path / "run.json").is_file():
            header = read_run(path / "run.json")
            if (header.task.id, header.model.name) == (one.task, one.separator):
                folder = RunFolder.open(path)
                if one.item in folder.items:
                    return folder
    return None


def _answer(folder: RunFolder | None, item: str) -> str:
    from sam_audio_bench import audio

    path = None if folder is None else answer_path(folder, item)
    if path is None:
        return _told("no audio is kept of it here")
    try:
        return player(audio.read(path), seconds=_SECONDS, mono=True) + _told(str(path))
    except BenchError as error:
        return _told(describe_error(error))


def _told(text: str) -> str:
    return f" <small>{quoted(text)}</small>"
