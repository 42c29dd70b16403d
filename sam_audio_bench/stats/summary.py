"""Summary of item scores: one row per task, separator and metric, with mean, interval and numbers of items."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.catalogue import CAP_DB
from sam_audio_bench.stats.bootstrap import Interval, Method, cluster_intervals, median_intervals
from sam_audio_bench.stats.cost import Cost
from sam_audio_bench.tasks.data import base_item_id
from sam_audio_bench.types import Status

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ItemScore",
    "MetricInfo",
    "SummaryRow",
    "compute_item_scores",
    "compute_line_scores",
    "summarise",
    "summarise_paraphrases",
    "to_json",
]

_COLUMNS = ("task", "separator", "picked_by", "metric", "item", "group", "status", "value")
_FAILURES = frozenset(
    {Status.ERROR, Status.MISSING_MEDIA, Status.LENGTH_MISMATCH, Status.NON_FINITE, Status.UNSUPPORTED}
)


class MetricInfo(Protocol):
    """Properties of a metric that a summary needs, as those of `MetricCard`."""

    @property
    def unit(self) -> str:
        """Unit of the values, "" for a bare number."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """Direction of the values."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """One cell of a results table."""

    task: str
    separator: str
    metric: str
    value: float | None  # mean over items, or median; None: no item has a value
    ci_low: float | None
    ci_high: float | None  # None: fewer than two groups have a value
    n_ok: int  # items with a value
    n: int  # items that the metric applies to
    oracle: bool = False
    capped: int = 0  # items whose score was clipped to ±CAP_DB
    unit: str = ""
    higher_is_better: bool | None = None  # None: the metric is unknown here
    picked_by: str | None = None  # the reranker that chose among candidates
    label: str = ""  # the task with version and split, for display
    candidates: int = 1  # number of candidates of which the reranker chose
    model: str = ""  # the network of the metric: its name and the beginning of its weights' digest
    covered: int = 0  # items for which the separator has an estimate, of the task's ``items``
    items: int = 0
    coverage: str = ""  # of `sam_audio_bench.stats.item_coverage.CoverageClass`; "": unknown here
    missing_media: int = 0  # items without a recording
    set_aside: int = 0  # estimates that are ignored since others of the coverage class have none
    heading: str = ""  # ``label`` with the coverage, if all separators have the same
    remark: str = ""  # the coverage, if they differ
    slice: str = ""  # of the items, by an attribute; "": all of them
    trained_on: str = ""  # training data of the separator that share a collection with the task's recordings

    @property
    def part(self) -> str:
        """The task, with the slice of it."""
        return f"{self.task}, {self.slice}" if self.slice else self.task


class ItemScore(NamedTuple):
    """Score of one item by one metric."""

    group: str
    value: float | None  # capped as in `SummaryRow`; None: no score is defined
    picked_by: str | None  # the reranker that chose the estimate


class _Key(NamedTuple):
    task: str
    separator: str
    picked_by: str | None
    metric: str


class _Cell(NamedTuple):
    """The items of a row, in order of first appearance: lists of equal length."""

    key: _Key
    items: list[str]
    groups: list[str]
    means: list[float | None]  # over seeds and candidates, capped; None: no value
    capped: int  # items with a value that was capped

    def scored(self) -> tuple[list[float], list[str]]:
        """Returns the defined means and their groups."""
        known = [(mean, group) for mean, group in zip(self.means, self.groups, strict=True) if mean is not None]
        return [mean for mean, _ in known], [group for _, group in known]


def summarise(
    scores: pd.DataFrame,
    metrics: Mapping[str, MetricInfo],
    oracles: Collection[str] = (),
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    method: Method = "percentile",
    average: Literal["mean", "median"] = "mean",
) -> list[SummaryRow]:
    """Returns one row per task, separator and metric, in order of first appearance.

    Seeds and candidates of one item are averaged first, then items; the interval resamples groups. Estimates picked by
    a reranker get separate rows, never averaged with others. An item without a value counts in ``n`` only. In dB,
    values are clipped to ±CAP_DB, so that a perfect estimate, whose score is infinite, never counts less than a nearly
    perfect one; ``capped`` counts such items.

    Args:
        scores: columns of scores.parquet; a missing value is NaN or None; no value depends on the order of rows.
        metrics: unit and direction by metric id; a missing metric is summarised without them.
        oracles: names of the separators that were given the references.
        level: of the intervals.
        resamples: of the intervals.
        seed: of the intervals.
        method: of the intervals.
        average: over items, of the value and of the intervals; those of a median are percentiles.

    Raises:
        UsageError: scores without a required column, or an option of the intervals is out of range.
    """
    intervals, over = (cluster_intervals, _mean) if average == "mean" else (median_intervals, median)
    interval = partial(intervals, level=level, resamples=resamples, seed=seed, method=method)
    return _rows(_collect(scores, _units(metrics)), metrics, oracles, interval, over)


def summarise_paraphrases(
    scores: pd.DataFrame, metrics: Mapping[str, MetricInfo], oracles: Collection[str] = ()
) -> list[SummaryRow]:
    """Summarises robustness to the wording of prompts: worst score and spread over the paraphrases of each item.

    Rows as `summarise` gives them, of the tasks ``<task>:worst`` and ``<task>:spread``. The spread is the largest minus
    the smallest score; lower is better. Only items whose paraphrases all have a value are used, since the worst of
    fewer would be too good. A metric without a direction has no worst score.

    Args:
        scores: of tasks whose items are paraphrases, see `sam_audio_bench.tasks.prompts`; columns as in `summarise`.
        metrics: unit and direction by metric id.
        oracles: names of the separators that were given the references.

    Raises:
        UsageError: scores without a required column.
    """
    cells = _collect(scores, _units(metrics))
    rows = []
    for task in dict.fromkeys(cell.key.task for cell in cells):
        for statistic in ("worst", "spread"):
            known = [
                cell
                for cell in cells
                if cell.key.task == task and (statistic == "spread" or cell.key.metric in metrics)
            ]
            cells_of_task = [_over_paraphrases(cell, statistic, metrics.get(cell.key.metric)) for cell in known]
            found = _rows(cells_of_task, metrics, oracles, cluster_intervals, _mean)
            rows += [replace(row, higher_is_better=False) if statistic == "spread" else row for row in found]
    return rows


def compute_line_scores(
    scores: pd.DataFrame, units: Mapping[str, str]
) -> dict[tuple[str, str, str | None, str], dict[str, ItemScore]]:
    """Computes the item scores that `summarise` averages, by task, separator, picker and metric.

    Args:
        scores: columns as in `summarise`.
        units: by metric id; they determine which values are clipped.

    Raises:
        UsageError: scores without a required column.
    """
    return {
        cell.key: {
            item: ItemScore(group, mean, cell.key.picked_by)
            for item, group, mean in zip(cell.items, cell.groups, cell.means, strict=True)
        }
        for cell in _collect(scores, units)
    }


def compute_item_scores(
    scores: pd.DataFrame, units: Mapping[str, str], *, first: bool = False
) -> dict[tuple[str, str, str], dict[str, ItemScore]]:
    """Computes item scores by task, separator and metric, of the estimate that a user would get.

    If a picker chose among candidates, its choice is used; otherwise seeds and candidates are averaged.

    Args:
        scores: columns as in `summarise`.
        units: by metric id; they determine which values are clipped.
        first: use the first candidates, not the picked ones.

    Raises:
        UsageError: scores without a required column.
    """
    found: dict[tuple[str, str, str], dict[str, ItemScore]] = {}
    for (task, separator, picked_by, metric), items in compute_line_scores(scores, units).items():
        means = found.setdefault((task, separator, metric), {})
        for item, mean in items.items():
            if item not in means or (picked_by is None) is first:
                means[item] = mean
    return found


def _over_paraphrases(questions: _Cell, statistic: str, info: MetricInfo | None) -> _Cell:
    """Returns one value per item; None if a paraphrase has no value."""
    worst = min if info is None or info.higher_is_better else max
    values: dict[str, list[float | None]] = {}
    groups: dict[str, str] = {}
    for question, group, mean in zip(questions.items, questions.groups, questions.means, strict=True):
        item = base_item_id(question)
        groups.setdefault(item, group)
        values.setdefault(item, []).append(mean)
    means: list[float | None] = []
    for found in values.values():
        known = [value for value in found if value is not None]
        whole = len(known) == len(found)
        means.append((worst(known) if statistic == "worst" else max(known) - min(known)) if whole else None)
    key = questions.key._replace(task=f"{questions.key.task}:{statistic}")
    unit = "" if info is None else info.unit
    limited = [None if mean is None else _cap(mean, unit) for mean in means]
    capped = sum(mean != own for mean, own in zip(means, limited, strict=True))
    return _Cell(key, list(values), list(groups.values()), limited, capped)


def _rows(
    cells: Sequence[_Cell],
    metrics: Mapping[str, MetricInfo],
    oracles: Collection[str],
    intervals: Callable[[Sequence[tuple[list[float], list[str]]]], list[Interval | None]],
    average: Callable[[Sequence[float]], float],
) -> list[SummaryRow]:
    scored = [cell.scored() for cell in cells]
    return [
        _row(cell, means, average, interval, metrics.get(cell.key.metric), oracles)
        for cell, (means, _), interval in zip(cells, scored, intervals(scored), strict=True)
    ]


def _row(
    cell: _Cell, means: Sequence[float], average: Callable[[Sequence[float]], float], interval: Interval | None,
    info: MetricInfo | None, oracles: Collection[str],
) -> SummaryRow:  # fmt: skip
    low, high = interval or (None, None)
    return SummaryRow(
        **cell.key._asdict(),
        value=average(means) if means else None,
        ci_low=low,
        ci_high=high,
        n_ok=len(means),
        n=len(cell.items),
        oracle=cell.key.separator in oracles,
        capped=cell.capped,
        unit="" if info is None else info.unit,
        higher_is_better=None if info is None else info.higher_is_better,
    )


def to_json(
    rows: Iterable[SummaryRow], runs: Iterable[str] = (), partial: bool = False, costs: Iterable[Cost] = ()
) -> dict[str, object]:
    """Returns the object that ``--json`` prints: every field of every row, run folders, whether partial, and costs."""
    return {
        "rows": [asdict(row) for row in rows], "runs": list(runs), "partial": partial, "costs": [*map(asdict, costs)],
    }  # fmt: skip


def _units(metrics: Mapping[str, MetricInfo]) -> dict[str, str]:
    return {name: info.unit for name, info in metrics.items()}


def _collect(scores: pd.DataFrame, units: Mapping[str, str]) -> list[_Cell]:
    """Returns the cells of a table, in order of first appearance of each part of their keys."""
    missing = [name for name in _COLUMNS if name not in scores.columns]
    if missing:
        raise UsageError(f"expected scores with the columns {', '.join(_COLUMNS)}, found none of {', '.join(missing)}")
    coded = {name: _coded(scores[name]) for name in ("task", "separator", "picked_by", "metric")}
    values = scores["value"].to_numpy(dtype="float64", na_value=math.nan)
    keys = np.stack([codes for codes, _ in coded.values()], axis=1)
    keys, rows = _assign_failures_to_pickers(keys, ~np.isnan(values), scores["status"].isin(_FAILURES).to_numpy())
    if not len(rows):
        return []
    items, groups = (scores[name].to_numpy(dtype=object)[rows] for name in ("item", "group"))
    values = values[rows]
    distinct, cell_of = _distinct(keys)
    parts = np.split(np.argsort(cell_of, kind="stable"), np.cumsum(np.bincount(cell_of))[:-1])
    ranks = [{code: rank for rank, code in enumerate(dict.fromkeys(part))} for part in distinct.T.tolist()]
    cells = []
    for at in sorted(
        range(len(distinct)), key=lambda at: [ranks[part][code] for part, code in enumerate(distinct[at])]
    ):
        key = _Key(*(names[code] for code, (_, names) in zip(distinct[at], coded.values(), strict=True)))
        found = parts[at]
        cells.append(
            _cell(key, items[found].tolist(), groups[found].tolist(), values[found], units.get(key.metric, ""))
        )
    return cells


def _distinct(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns distinct rows of small numbers from -1 in order of first appearance, and the index of each row."""
    number = np.zeros(len(keys), dtype=np.int64)
    for column in keys.T:
        number = number * (column.max(initial=-1) + 2) + column + 1
    _, first, found = np.unique(number, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return keys[first[order]], np.argsort(order)[found.reshape(-1)]


def _coded(column: pd.Series) -> tuple[NDArray[np.int64], list[Any]]:
    """Encodes texts as indices; returns indices and texts, where index -1 is a missing text."""
    codes, names = column.where(column.notna(), None).factorize()
    return codes.astype(np.int64), [*names, None]


def _assign_failures_to_pickers(
    keys: NDArray[np.int64], has_value: NDArray[np.bool_], has_failed: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the keys of rows, and their positions in the table.

    A failed estimate has no picker, so it is missing from every line of its separator.
    """
    alone = has_failed & (keys[:, 2] == -1)
    rows = np.arange(len(keys))
    if not alone.any():
        return keys, rows
    pickers: dict[tuple[int, int], dict[int, None]] = {}
    for task, separator, picker in _distinct(keys[has_value][:, :3])[0].tolist():
        pickers.setdefault((task, separator), {})[picker] = None
    parts = []
    for task, separator in _distinct(keys[:, :2])[0].tolist():
        own = rows[alone & (keys[:, 0] == task) & (keys[:, 1] == separator)]
        for picker in pickers.get((task, separator), {-1: None}):
            parts.append((own, picker))
    places = np.concatenate([rows[~alone], *(own for own, _ in parts)])
    found = keys[places]
    found[:, 2] = np.concatenate([keys[~alone][:, 2], *(np.full(len(own), picker) for own, picker in parts)])
    order = np.argsort(places, kind="stable")
    return found[order], places[order]


def _cell(key: _Key, items: list[str], groups: list[str], values: NDArray[np.float64], unit: str) -> _Cell:
    limit = CAP_DB if unit == "dB" else math.inf
    limited = np.where(np.isinf(values), np.clip(values, -CAP_DB, CAP_DB), np.clip(values, -limit, limit))
    is_capped = (limited != values) & ~np.isnan(values)
    numbers = limited.tolist()
    if len(set(items)) == len(items):
        means = [None if number != number else number for number in numbers]
        return _Cell(key, items, groups, means, int(is_capped.sum()))
    known: dict[str, list[float]] = {}
    group_of: dict[str, str] = {}
    for item, group, number in zip(items, groups, numbers, strict=True):
        group_of.setdefault(item, group)
        own = known.setdefault(item, [])
        if number == number:
            own.append(number)
    capped = len({item for item, one in zip(items, is_capped.tolist(), strict=True) if one})
    return _Cell(
        key, list(known), list(group_of.values()), [_mean(own) if own else None for own in known.values()], capped
    )


def _cap(value: float, unit: str) -> float:
    return min(max(value, -CAP_DB), CAP_DB) if unit == "dB" or math.isinf(value) else value


def _mean(values: Iterable[float]) -> float:
    """Computes the mean by an exactly rounded sum, bit-identical in any order."""
    numbers: Sequence[float] = list(values)
    return math.fsum(numbers) / len(numbers)
