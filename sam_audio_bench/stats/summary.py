"""One row per task, separator and metric from the scores of items: mean, interval, and how many items it rests on."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.catalogue import CAP_DB
from sam_audio_bench.stats.bootstrap import Interval, Method, cluster_interval
from sam_audio_bench.tasks.data import asked_item
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
    """What a summary must know about a metric; a `MetricCard` has it."""

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
    value: float | None  # mean over items; None: no item has a value
    ci_low: float | None
    ci_high: float | None  # None: fewer than two groups have a value
    n_ok: int  # items with a value
    n: int  # items that the metric was asked of
    oracle: bool = False
    capped: int = 0  # items that count as ±CAP_DB
    unit: str = ""
    higher_is_better: bool | None = None  # None: the metric is not known here
    picked_by: str | None = None  # the reranker that chose the answers among candidates
    label: str = ""  # the task with its version and split, for readers
    candidates: int = 1  # from which that reranker chose
    model: str = ""  # the network that scored: its name and the beginning of its weights' digest
    covered: int = 0  # items that the separator has answered, of the ``items`` of the task
    items: int = 0
    coverage: str = ""  # of `sam_audio_bench.stats.item_coverage.CoverageClass`; "": not known here
    missing_media: int = 0  # items without a recording
    set_aside: int = 0  # answers that do not count, since others of the class lack them
    heading: str = ""  # ``label`` with the coverage, where all separators have the same
    remark: str = ""  # the coverage, where they differ


class ItemScore(NamedTuple):
    """Score of one item by one metric."""

    group: str
    value: float | None  # capped as in `SummaryRow`; None: no score is defined
    picked_by: str | None  # the reranker that chose the answer


class _Key(NamedTuple):
    task: str
    separator: str
    picked_by: str | None
    metric: str


@dataclass(slots=True)
class _ItemValues:
    """Values of one item: one for each seed and candidate that has one."""

    group: str
    values: list[float] = field(default_factory=list)


def summarise(
    scores: pd.DataFrame,
    metrics: Mapping[str, MetricInfo],
    oracles: Collection[str] = (),
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    method: Method = "percentile",
) -> list[SummaryRow]:
    """One row per task, separator and metric, in order of first appearance of each.

    Seeds and candidates of one item are averaged first, then items; the interval resamples groups. Estimates picked by
    a reranker get separate rows, never averaged with the others. An item without a value counts in ``n`` only. In dB,
    values are clipped to ±CAP_DB, so that a perfect estimate, which is infinite, never counts less than a nearly
    perfect one; ``capped`` counts such items.

    Args:
        scores: columns of scores.parquet; a missing value is NaN or None; no value depends on their order.
        metrics: unit and direction by metric id; a metric that is absent is summarised without them.
        oracles: names of the separators that were shown the references.
        level: of the intervals.
        resamples: of the intervals.
        seed: of the intervals.
        method: of the intervals.

    Raises:
        UsageError: scores lack a column, or an option of the intervals is out of range.
    """
    interval = partial(cluster_interval, level=level, resamples=resamples, seed=seed, method=method)
    return [_row(key, items, metrics.get(key.metric), oracles, interval) for key, items in _in_order(_collect(scores))]


def summarise_paraphrases(
    scores: pd.DataFrame, metrics: Mapping[str, MetricInfo], oracles: Collection[str] = ()
) -> list[SummaryRow]:
    """Robustness to the wording of prompts: worst score and spread over the paraphrases of each item.

    Rows as `summarise` gives them, of the tasks ``<task>:worst`` and ``<task>:spread``. The spread is the largest minus
    the smallest score; lower is better. Only items are used whose paraphrases all have a value, since the worst of
    fewer would be too good. A metric without a direction has no worst score.

    Args:
        scores: of tasks whose items are paraphrases, see `sam_audio_bench.tasks.prompts`; columns as in `summarise`.
        metrics: unit and direction by metric id.
        oracles: names of the separators that were shown the references.

    Raises:
        UsageError: scores lack a column.
    """
    cells = _in_order(_collect(scores))
    rows = []
    for task in dict.fromkeys(key.task for key, _ in cells):
        for statistic in ("worst", "spread"):
            for key, questions in (cell for cell in cells if cell[0].task == task):
                info = metrics.get(key.metric)
                if info is None and statistic == "worst":
                    continue
                unit, best = ("", True) if info is None else (info.unit, info.higher_is_better)
                items = _over_paraphrases(questions, unit, statistic, best)
                row = _row(key._replace(task=f"{task}:{statistic}"), items, info, oracles, cluster_interval)
                rows.append(replace(row, higher_is_better=False) if statistic == "spread" else row)
    return rows


def compute_line_scores(
    scores: pd.DataFrame, units: Mapping[str, str]
) -> dict[tuple[str, str, str | None, str], dict[str, ItemScore]]:
    """Item scores that `summarise` averages, by task, separator, picker and metric.

    Args:
        scores: columns as in `summarise`.
        units: by metric id; they determine which values are clipped.

    Raises:
        UsageError: scores lack a column.
    """
    found: dict[tuple[str, str, str | None, str], dict[str, ItemScore]] = {}
    for key, items in _in_order(_collect(scores)):
        unit = units.get(key.metric, "")
        found[key] = {
            item: ItemScore(
                mark.group, _mean(_cap(value, unit) for value in mark.values) if mark.values else None, key.picked_by
            )
            for item, mark in items.items()
        }
    return found


def compute_item_scores(
    scores: pd.DataFrame, units: Mapping[str, str], *, first: bool = False
) -> dict[tuple[str, str, str], dict[str, ItemScore]]:
    """Item scores by task, separator and metric, of the estimate that a user would get.

    If a picker chose among candidates, its choice is used; otherwise seeds and candidates are averaged.

    Args:
        scores: columns as in `summarise`.
        units: by metric id; they determine which values are clipped.
        first: use the first candidates, not the picked ones.

    Raises:
        UsageError: scores lack a column.
    """
    found: dict[tuple[str, str, str], dict[str, ItemScore]] = {}
    for (task, separator, picked_by, metric), items in compute_line_scores(scores, units).items():
        means = found.setdefault((task, separator, metric), {})
        for item, mean in items.items():
            if item not in means or (picked_by is None) is first:
                means[item] = mean
    return found


def _over_paraphrases(
    questions: Mapping[str, _ItemValues], unit: str, statistic: str, higher_is_better: bool
) -> dict[str, _ItemValues]:
    """One value per item: none if one of its paraphrases has none."""
    values: dict[str, list[float | None]] = {}
    items: dict[str, _ItemValues] = {}
    for question, mark in questions.items():
        item = asked_item(question)
        items.setdefault(item, _ItemValues(mark.group))
        mean = _mean(_cap(value, unit) for value in mark.values) if mark.values else None
        values.setdefault(item, []).append(mean)
    for item, found in values.items():
        known = [value for value in found if value is not None]
        if len(known) == len(found):
            worst = min(known) if higher_is_better else max(known)
            items[item].values.append(worst if statistic == "worst" else max(known) - min(known))
    return items


def _row(
    key: _Key,
    items: Mapping[str, _ItemValues],
    info: MetricInfo | None,
    oracles: Collection[str],
    interval: Callable[[Sequence[float], Sequence[str]], object],
) -> SummaryRow:
    unit = "" if info is None else info.unit
    marks = [mark for mark in items.values() if mark.values]
    means = [_mean(_cap(value, unit) for value in mark.values) for mark in marks]
    found = interval(means, [mark.group for mark in marks])
    low, high = found if isinstance(found, Interval) else (None, None)
    return SummaryRow(
        **key._asdict(),
        value=_mean(means) if means else None,
        ci_low=low,
        ci_high=high,
        n_ok=len(means),
        n=len(items),
        oracle=key.separator in oracles,
        capped=sum(any(_cap(value, unit) != value for value in mark.values) for mark in marks),
        unit=unit,
        higher_is_better=None if info is None else info.higher_is_better,
    )


def to_json(rows: Iterable[SummaryRow], runs: Iterable[str] = (), partial: bool = False) -> dict[str, object]:
    """The object that ``--json`` prints: every field of every row, the run folders, and whether items are missing."""
    return {"rows": [asdict(row) for row in rows], "runs": list(runs), "partial": partial}


def _collect(scores: pd.DataFrame) -> dict[_Key, dict[str, _ItemValues]]:
    missing = [name for name in _COLUMNS if name not in scores.columns]
    if missing:
        raise UsageError(f"expected scores with the columns {', '.join(_COLUMNS)}, found none of {', '.join(missing)}")
    texts = [scores[name].tolist() for name in _COLUMNS[:-1]]
    rows = list(zip(*texts, scores["value"].astype("float64").tolist(), strict=True))
    pickers: dict[tuple[str, str], dict[str | None, None]] = {}
    for task, separator, picked_by, _, _, _, _, value in rows:
        if not math.isnan(value):
            pickers.setdefault((task, separator), {})[_text(picked_by)] = None
    cells: dict[_Key, dict[str, _ItemValues]] = {}
    for task, separator, picked_by, metric, item, group, status, value in rows:
        # A failed answer does not say who would have picked it: it is missing from every one of its separator's lines.
        failed = status in _FAILURES and _text(picked_by) is None
        for picker in pickers.get((task, separator), {None: None}) if failed else [_text(picked_by)]:
            items = cells.setdefault(_Key(task, separator, picker, metric), {})
            marks = items.setdefault(item, _ItemValues(group))
            if not math.isnan(value):
                marks.values.append(value)
    return cells


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _in_order(cells: Mapping[_Key, dict[str, _ItemValues]]) -> list[tuple[_Key, dict[str, _ItemValues]]]:
    ranks = [{name: rank for rank, name in enumerate(dict.fromkeys(names))} for names in zip(*cells, strict=True)]
    return sorted(cells.items(), key=lambda cell: [rank[name] for rank, name in zip(ranks, cell[0], strict=True)])


def _cap(value: float, unit: str) -> float:
    if unit == "dB" or math.isinf(value):
        return min(max(value, -CAP_DB), CAP_DB)
    return value


def _mean(values: Iterable[float]) -> float:
    """Mean by an exactly rounded sum: bit-identical in any order."""
    numbers: Sequence[float] = list(values)
    return math.fsum(numbers) / len(numbers)
