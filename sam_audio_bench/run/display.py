"""Results as figures, and as a page of a notebook: the answer, the table, and the worst items to listen to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sam_audio_bench.errors import BenchError, UsageError, describe_error, unknown_name
from sam_audio_bench.files import safe_name
from sam_audio_bench.notebook import STYLE, player, prompt_html, quoted, row_html
from sam_audio_bench.records import read_run
from sam_audio_bench.render.layout import name_of
from sam_audio_bench.render.numbers import number
from sam_audio_bench.render.text import pluralize
from sam_audio_bench.run.store import RunFolder, answer_path
from sam_audio_bench.separators.catalogue import BASELINES
from sam_audio_bench.stats.findings import ALL_TASKS, main_metric
from sam_audio_bench.stats.slices import MIN_RECORDINGS
from sam_audio_bench.stats.summary import compute_item_scores, compute_line_scores

if TYPE_CHECKING:
    from sam_audio_bench.plots.base import Plot
    from sam_audio_bench.run.results import Results
    from sam_audio_bench.run.slices import SliceReport
    from sam_audio_bench.types import Item

__all__ = [
    "SLICES",
    "WorstItem",
    "draw_results",
    "find_item",
    "results_html",
    "results_text",
    "slice_figures",
    "worst_items",
]

SLICES = "slices"
"""The kind of figure that is no panel a task, but a figure."""
_SHOWN_NAMES = 5  # of separators
_WORST = 3  # items to listen to
_SECONDS = 10.0  # of each of their sounds
_MOST_LETTERS = 2_000_000  # of all players of a page; three items of 10 s have about 1,000,000


def draw_results(
    results: Results, kind: str, metrics: Sequence[str], separators: Sequence[str], task: str | None = None
) -> Plot:
    """The figure behind `Results.plot`; without metrics, of the one that orders the table. It draws all items."""
    from sam_audio_bench.plots.lines import RunData
    from sam_audio_bench.plots.runs import KINDS, draw

    if kind not in (*KINDS, SLICES):
        raise unknown_name("kind of figure", kind, (*KINDS, SLICES))
    if results.slices:
        raise UsageError("expected results of all items to draw, found slices; `sabench slices --out` draws slices")
    if task is not None and task not in results.labels:
        raise unknown_name("task of these runs", task, results.labels)
    if kind == SLICES:
        return _draw_slices(results, metrics, separators, task)
    rows = results.rows
    chosen = list(metrics) or [metric for metric in [main_metric(rows)] if metric is not None]
    if not chosen:
        raise UsageError("expected scores to draw, found none; name a metric that these runs have")
    scores = compute_line_scores(results.counted, _units(results))
    data = RunData(rows=rows, scores=scores, costs=results.costs, partial=results.watermark)
    return draw(kind, data if task is None else data.of_task(task), chosen, separators)


def _draw_slices(results: Results, metrics: Sequence[str], separators: Sequence[str], task: str | None) -> Plot:
    """The figure of one task, whose caption says what is not compared; p is by Holm over all tasks."""
    from sam_audio_bench.run.slices import compare_results

    if len(metrics) > 1:
        raise UsageError(f"expected one metric for {SLICES}, found {len(metrics)}")
    report = compare_results(results, metric=next(iter(metrics), None))
    found = slice_figures(report, separators)
    if task is None and len(found) > 1:
        raise UsageError(f"expected a task whose slices to draw, of {', '.join(found)}; name it with task=")
    if task is not None and task not in found:
        raise UsageError(f"expected slices to draw of {', '.join(found)}, found {task}, of which none has "
                         f"{MIN_RECORDINGS} recordings")  # fmt: skip
    figure = found[task or next(iter(found))]
    missing = f" Not compared: {'; '.join(report.notes)}." if report.notes else ""
    return replace(figure, caption=figure.caption + missing)


def slice_figures(found: SliceReport, separators: Sequence[str] = ()) -> dict[str, Plot]:
    """By task, the figure of each that has a slice with enough recordings.

    Args:
        found: what `sabench slices` tells.
        separators: names of those to draw; none: all.

    Raises:
        UsageError: a name that these runs do not have, or nothing to draw.
    """
    import pandas as pd

    from sam_audio_bench.plots.intervals import slice_means

    known = dict.fromkeys(row.separator for row in found.rows)
    for name in separators:
        if name not in known:
            raise unknown_name("separator", name, known)
    rows = [
        {**asdict(row), "surely_worse": row.is_surely_worse()}
        for row in found.rows
        if row.recordings >= MIN_RECORDINGS and row.mean is not None and row.separator in (separators or known)
    ]
    if not rows:
        raise UsageError(
            f"expected a slice with {MIN_RECORDINGS} recordings to draw, found none; `sabench slices` says why"
        )
    axis = f"{found.metric} {f'({found.unit})' if found.unit else ''}".strip()
    return {
        str(task): slice_means(part, axis=axis, title=f"{found.labels[str(task)]} in slices",
                               name=safe_name(f"slices-{task}-{found.metric}"))
        for task, part in pd.DataFrame(rows).groupby("task", sort=False)
    }  # fmt: skip


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
    table, whole = results.table("html"), replace(results, slices={})
    metric = main_metric(whole.rows)
    separator = None if metric is None else _leader(whole, metric)
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


def _leader(results: Results, metric: str) -> str | None:
    """The separator that leads by a metric over all tasks, or where none has all of them, on the first task.

    Baselines are passed over.
    """
    frame = results.frame[results.frame["metric"] == metric]
    alone = replace(results, frame=frame, metrics={metric: results.metrics[metric]})
    verdicts = alone.answers(metric).verdicts
    order = sorted(verdicts, key=lambda key: key[0] != ALL_TASKS)  # stable
    leaders = (verdicts[key].first_except(BASELINES) for key in order)
    name = next(filter(None, leaders), None)
    return next((row.separator for row in alone.rows if name_of(row) == name), None)


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
