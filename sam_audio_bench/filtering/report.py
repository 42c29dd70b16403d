"""Writes the HTML report: what is kept and why, by condition and class, with examples around each threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sam_audio_bench import audio
from sam_audio_bench.errors import MediaError
from sam_audio_bench.files import safe_names
from sam_audio_bench.filtering.choosing import OUTCOMES, Choice, compute_quantiles, count_by_condition
from sam_audio_bench.filtering.expression import Threshold
from sam_audio_bench.filtering.figures import can_be_drawn, draw_threshold
from sam_audio_bench.filtering.pool import Label, Pool, column_values
from sam_audio_bench.filtering.writing import copy_file
from sam_audio_bench.plots.base import INK
from sam_audio_bench.ratings.report import HtmlFigure, HtmlSound, HtmlTable, write_report

__all__ = ["write_page"]

EXAMPLES = "examples"

_NEAREST = 3  # examples on each side of a threshold
_CLASSES = 50  # classes in a table


def write_page(
    path: Path, pool: Pool, choice: Choice, *, by: str, finding: Sequence[str], notes: Sequence[str],
    files: Mapping[str, str],
) -> None:  # fmt: skip
    """Writes the report, and in its folder the sounds of examples that are not kept.

    Args:
        path: the HTML file, in the output folder.
        pool: the labels.
        choice: the outcome of every label.
        by: the column with the class.
        finding: sentences at the beginning.
        notes: notes of the run.
        files: id of a kept label -> its target, relative to the report.
    """
    names = list(dict.fromkeys(name for part, _ in choice.parts for name in part.columns))
    sections: list[tuple[str, Sequence[HtmlTable | HtmlFigure]]] = [
        ("Yield", [_outcomes(choice), _conditions(choice), _classes(choice, by)]),
        ("Distributions", [_quantile_table(choice, names)]),
    ]
    for number, (part, one) in enumerate(choice.parts, 1):
        threshold = part.threshold
        if threshold is None or not np.isfinite(column_values(choice.frame[threshold.column])).any():
            continue
        others = ~np.logical_or.reduce([decision.false & (other is not part) for other, decision in choice.parts])
        values = column_values(choice.frame[threshold.column])
        nearest = _nearest(values, others, one.true, threshold)
        examples = _examples(path.parent, pool, choice, nearest, threshold, files)
        figures = [_figure(values, others, threshold, number)] if can_be_drawn(values, threshold) else []
        sections.append((part.text, [*figures, examples]))
    write_report(path, title="Labels kept", finding=finding, facts=None, notes=notes, sections=sections)


def _figure(values: NDArray[np.float64], others: NDArray[np.bool_], threshold: Threshold, number: int) -> HtmlFigure:
    drawn = draw_threshold(values, others, threshold, number)
    return HtmlFigure(name=drawn.name, title=drawn.title, caption=drawn.caption, svg=drawn.svg(),
                      csv=drawn.data.to_csv(index=False), ink=INK)  # fmt: skip


def _outcomes(choice: Choice) -> HtmlTable:
    total = len(choice.outcomes)
    rows = [[name, str(count), f"{count / total:.1%}", OUTCOMES[name]] for name, count in choice.counts.items()]
    return HtmlTable(caption="What became of the labels", columns=["outcome", "labels", "share", "why"], rows=rows)


def _conditions(choice: Choice) -> HtmlTable:
    table = count_by_condition(choice)
    rows = [[str(cell) for cell in row] for row in table.itertuples(index=False)]
    columns = ["condition", "met", "failed", "undefined", "rejected before it was looked at", "rejected by this alone"]
    return HtmlTable(caption="Each condition", columns=columns, rows=rows)


def _classes(choice: Choice, by: str) -> HtmlTable:
    classes = choice.frame[by].fillna("").astype(str).replace("", "none")
    kept = pd.Series(choice.outcomes == "kept").groupby(classes.to_numpy()).agg(["size", "sum"])
    kept = kept.sort_values("size", ascending=False, kind="stable")
    rows = [
        [str(name), str(size), str(count), f"{count / size:.1%}"]
        for name, size, count in kept.head(_CLASSES).itertuples()
    ]
    more = f"; the {_CLASSES} largest of {len(kept)}" if len(kept) > _CLASSES else ""
    return HtmlTable(caption=f"By {by}{more}", columns=[by, "labels", "kept", "yield"], rows=rows)


def _quantile_table(choice: Choice, names: Sequence[str]) -> HtmlTable:
    table = compute_quantiles(choice, names)
    rows = [
        [str(name), str(int(row.iloc[0])), *(f"{value:.4g}" for value in row.iloc[1:])]
        for name, row in table.iterrows()
    ]
    caption = "Quantiles of the columns of the condition"
    return HtmlTable(caption=caption, columns=["column", *table.columns], rows=rows)


def _nearest(
    values: NDArray[np.float64], others: NDArray[np.bool_], met: NDArray[np.bool_], threshold: Threshold
) -> list[int]:
    """Returns the rows nearest to the threshold on either side, of those that no other condition rejects."""
    found = []
    for side in (met, ~met):
        rows = np.flatnonzero(others & side & np.isfinite(values))
        found += rows[np.argsort(np.abs(values[rows] / 2 - threshold.value / 2), kind="stable")[:_NEAREST]].tolist()
    return sorted(found, key=lambda row: -float(values[row]))


def _examples(
    folder: Path, pool: Pool, choice: Choice, rows: Sequence[int], threshold: Threshold, files: Mapping[str, str]
) -> HtmlTable:
    """Returns a table of examples on either side of a threshold, with their sounds."""
    lines: list[list[str | HtmlSound]] = []
    names = safe_names(pool.labels[row].id for row in rows)
    for row in rows:
        label = pool.labels[row]
        target = files.get(label.id) or _copy_example(label.target, folder, f"{names[label.id]}.target")
        value = column_values(choice.frame[threshold.column])[row]
        lines.append([
            label.id, label.text or "—", f"{value:.4g}", str(choice.outcomes[row]),
            HtmlSound(_copy_mixture(label, folder, names[label.id]), f"mixture of {label.id}"),
            HtmlSound(target, f"target of {label.id}"),
        ])  # fmt: skip
    columns = ["label", "text", threshold.column, "outcome", "mixture", "target"]
    return HtmlTable(caption=f"Nearest to {threshold.value:g}, on either side", columns=columns, rows=lines)


def _copy_example(source: Path, folder: Path, name: str) -> str:
    path = folder / EXAMPLES / f"{name}{source.suffix}"
    if source.is_file():
        copy_file(source, path, copy=False)
    return f"{EXAMPLES}/{path.name}"


def _copy_mixture(label: Label, folder: Path, name: str) -> str:
    if label.mixture is not None or label.load is None:
        return _copy_example(label.mixture or label.target, folder, f"{name}.mixture")
    stem = folder / EXAMPLES / f"{name}.mixture"
    try:
        return f"{EXAMPLES}/{audio.write(stem, audio.round_trip(label.load().query.mixture)).name}"
    except MediaError:  # the player shows that the sound is missing
        return f"{EXAMPLES}/{stem.name}.flac"
