"""Results as figures, and as HTML in a notebook: the table with its summary, and the worst items with audio players."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sam_audio_bench.errors import BenchError, UsageError, describe_error, unknown_name
from sam_audio_bench.files import safe_name
from sam_audio_bench.notebook import STYLE, escape_text, player_html, prompt_html, row_html
from sam_audio_bench.records import read_run
from sam_audio_bench.render.layout import line_label
from sam_audio_bench.render.numbers import number
from sam_audio_bench.render.text import pluralize
from sam_audio_bench.run.store import RunFolder, estimate_path
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
    "draw_slice_figures",
    "find_worst_items",
    "load_worst_item",
    "render_results_html",
    "summarize_results",
]

SLICES = "slices"
"""The kind of figure that is drawn separately for each task, not as one panel per task."""
_SHOWN_NAMES = 5  # of separators
_WORST = 3  # items to listen to
_SECONDS = 10.0  # of each player
_MAX_CHARACTERS = 2_000_000  # characters of HTML of all players; three items of 10 s need about 1,000,000


def draw_results(
    results: Results, kind: str, metrics: Sequence[str], separators: Sequence[str], task: str | None = None
) -> Plot:
    """Draws a figure for `Results.plot`; without metrics, of the one that orders the table. It uses all items."""
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
    """Draws the slices of one task; the caption states what is not compared. p is corrected by Holm over all tasks."""
    from sam_audio_bench.run.slices import make_slice_report

    if len(metrics) > 1:
        raise UsageError(f"expected one metric for {SLICES}, found {len(metrics)}")
    report = make_slice_report(results, metric=next(iter(metrics), None))
    found = draw_slice_figures(report, separators)
    if task is None and len(found) > 1:
        raise UsageError(f"expected a task whose slices to draw, of {', '.join(found)}; name it with task=")
    if task is not None and task not in found:
        raise UsageError(f"expected slices to draw of {', '.join(found)}, found {task}, of which none has "
                         f"{MIN_RECORDINGS} recordings")  # fmt: skip
    figure = found[task or next(iter(found))]
    missing = f" Not compared: {'; '.join(report.notes)}." if report.notes else ""
    return replace(figure, caption=figure.caption + missing)


def draw_slice_figures(found: SliceReport, separators: Sequence[str] = ()) -> dict[str, Plot]:
    """Draws one figure per task that has a slice with enough recordings.

    Args:
        found: the report of `sabench slices`.
        separators: names of those to draw; empty: all.

    Raises:
        UsageError: an unknown separator, or nothing to draw.
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


def summarize_results(results: Results) -> str:
    """Returns a one-line summary of results: separators, tasks and metrics."""
    separators = list(dict.fromkeys(name for _, name in results.coverage))
    sizes = (pluralize(len(values), what) for values, what in ((separators, "separator"), (results.labels, "task")))
    shown = ", ".join(separators[:_SHOWN_NAMES]) + " …" * (len(separators) > _SHOWN_NAMES)
    missing = f", {results.watermark}" if results.partial else ""
    return f"Results({' on '.join(sizes)}: {shown}; by {', '.join(results.metrics) or 'nothing'}{missing})"


def render_results_html(results: Results) -> str:
    """Returns the table and the worst items of the best separator, with players of up to two million characters.

    Worst items are not shown for baselines and oracles. Sounds are read from the run folders and the task data; for a
    missing sound, the reason is shown in its place.
    """
    table, whole = results.table("html"), replace(results, slices={})
    metric = main_metric(whole.rows)
    separator = None if metric is None else _find_leader(whole, metric)
    if metric is None or separator is None:
        return table
    limit = _SizeLimit(_MAX_CHARACTERS)
    items = "".join(_render_item(one, results, limit) for one in find_worst_items(results, separator, metric))
    title = f"Where {escape_text(separator)} is worst, by {escape_text(metric)}"
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


class _SizeLimit:
    """Limits the number of characters that are embedded in a page."""

    def __init__(self, characters: int) -> None:
        self._left = characters

    def fit(self, content: str) -> str:
        """Returns the content if it fits into the limit, or else a short text in its place."""
        if len(content) > self._left:
            return "<small>no room for its sound on this page</small>"
        self._left -= len(content)
        return content


def _units(results: Results) -> dict[str, str]:
    return {name: record.unit for name, record in results.metrics.items()}


def _find_leader(results: Results, metric: str) -> str | None:
    """Returns the best separator by a metric over all tasks, or if none has all of them, on the first task.

    Baselines are skipped.
    """
    frame = results.frame[results.frame["metric"] == metric]
    alone = replace(results, frame=frame, metrics={metric: results.metrics[metric]})
    verdicts = alone.answers(metric).verdicts
    order = sorted(verdicts, key=lambda key: key[0] != ALL_TASKS)  # stable
    leaders = (verdicts[key].first_except(BASELINES) for key in order)
    name = next(filter(None, leaders), None)
    return next((row.separator for row in alone.rows if line_label(row) == name), None)


def find_worst_items(results: Results, separator: str, metric: str) -> list[WorstItem]:
    """Returns the items on which a separator is worst by a metric, the worst first."""
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


def _render_item(one: WorstItem, results: Results, limit: _SizeLimit) -> str:
    """Returns prompt, score, and players of mixture, estimate and reference."""
    folder, item, reason = load_worst_item(results.runs, one)
    prompt = "" if item is None else f", asked for {prompt_html(item.query.prompt)}"
    task = escape_text(results.labels.get(one.task, one.task))
    head = f"<p><b>{escape_text(one.item)}</b> of {task}: {escape_text(one.score)}{prompt}</p>"
    sounds = {
        "mixture": _render_note(reason)
        if item is None
        else player_html(item.query.mixture, seconds=_SECONDS, mono=True)
    }
    sounds["answer"] = _render_estimate(folder, one.item)
    if item is not None:
        known = item.reference
        sounds["reference"] = (
            _render_note("there is none") if known is None else player_html(known, seconds=_SECONDS, mono=True)
        )
    return head + "".join(row_html(name, limit.fit(content)) for name, content in sounds.items())


def load_worst_item(runs: Sequence[Path | str], one: WorstItem) -> tuple[RunFolder | None, Item | None, str]:
    """Returns the run folder of an item and the item with its sounds; if one is missing, None and the reason."""
    from sam_audio_bench.run.recorded_data import load_recorded_data

    folder = None
    try:
        folder = _find_folder(runs, one)
        if folder is None:
            return None, None, "its run folder is not on this disk"
        return folder, load_recorded_data([folder])[one.item], ""
    except BenchError as error:
        return folder, None, describe_error(error)


def _find_folder(runs: Sequence[Path | str], one: WorstItem) -> RunFolder | None:
    """Finds the run folder of an item among those on this disk."""
    for path in runs:
        if isinstance(path, Path) and (path / "run.json").is_file():
            header = read_run(path / "run.json")
            if (header.task.id, header.model.name) == (one.task, one.separator):
                folder = RunFolder.open(path)
                if one.item in folder.items:
                    return folder
    return None


def _render_estimate(folder: RunFolder | None, item: str) -> str:
    from sam_audio_bench import audio

    path = None if folder is None else estimate_path(folder, item)
    if path is None:
        return _render_note("no audio is kept of it here")
    try:
        return player_html(audio.read(path), seconds=_SECONDS, mono=True) + _render_note(str(path))
    except BenchError as error:
        return _render_note(describe_error(error))


def _render_note(text: str) -> str:
    return f" <small>{escape_text(text)}</small>"
