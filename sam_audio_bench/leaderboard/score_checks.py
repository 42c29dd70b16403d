"""Checks the rows of a score table: items, metrics and values.

Every check yields ``(where, what)`` at most once, with a count, since an invalid file may have many invalid rows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sam_audio_bench.cards import MetricCard
from sam_audio_bench.leaderboard.item_lists import ItemList
from sam_audio_bench.leaderboard.records import SubmittedTask
from sam_audio_bench.types import Status

__all__ = ["FAILURES", "check_task", "format_examples", "implied_mixture_scores", "items_without_estimate"]

FAILURES = frozenset(
    {Status.ERROR, Status.MISSING_MEDIA, Status.LENGTH_MISMATCH, Status.NON_FINITE, Status.UNSUPPORTED}
)
_ESTIMATE_FAILURES = FAILURES - {Status.ERROR}  # an error may also come from a metric
_SILENT = frozenset({Status.SILENT_REFERENCE, Status.BOTH_SILENT})
_CLOSE = 1e-5
_SHOWN = 3  # examples in a message

Finding = tuple[str, str]
Cards = Mapping[str, MetricCard]


def check_task(
    label: str, task: SubmittedTask, rows: pd.DataFrame, items: ItemList | None, cards: Cards
) -> Iterator[Finding]:
    """Yields everything that is wrong with the rows of one task.

    Args:
        label: label of the task in the rows.
        task: its record in submission.json.
        rows: rows of this task.
        items: items of the task; None: unknown here, so that rows are only checked against each other.
        cards: cards of the submission's metrics, as far as they are known here.
    """
    if items is None:
        groups = dict(zip(rows["item"].tolist(), rows["group"].tolist(), strict=True))
        items = ItemList(groups=groups, data_revision=task.data_revision, prompts={}, absent=None)
    yield from _identity(label, task, items)
    most = len(items.groups) * len(task.metrics) * (2 if task.picker else 1)
    if len(rows) > 2 * most:  # the checks below would take long and report the same for many rows
        yield label, f"expected at most {most} rows, found {len(rows)}"
        return
    yield from _unknown(label, task, rows, items)
    yield from _duplicates(label, rows)
    yield from _coverage(label, task, rows, items, cards)
    yield from _values(label, rows, cards)
    yield from _statuses(label, rows, items, cards)


def _identity(label: str, task: SubmittedTask, items: ItemList) -> Iterator[Finding]:
    pinned = {
        "data_revision": items.data_revision, "items": len(items.groups), "ids_sha256": items.ids_sha256,
    }  # fmt: skip
    for name, expected in pinned.items():
        if (found := getattr(task, name)) != expected:
            yield f"{label}: {name}", f"expected {expected}, as in the task, found {found}"


def _unknown(label: str, task: SubmittedTask, rows: pd.DataFrame, items: ItemList) -> Iterator[Finding]:
    strange = rows[~rows["item"].isin(list(items.groups))]
    if len(strange):
        yield label, f"expected items of the task, found {format_examples(strange['item'])}"
    known = rows[rows["item"].isin(list(items.groups))]
    moved = known[known["item"].map(items.groups) != known["group"]]
    if len(moved):
        yield label, f"expected the groups of the task, found others for {format_examples(moved['item'])}"
    allowed: dict[str, Collection[Any]] = {
        "seed": {task.seed}, "metric": task.metrics, "candidate": range(task.candidates),
    }  # fmt: skip
    for column, expected in allowed.items():
        other = rows[~rows[column].isin(list(expected))]
        if len(other):
            yield (
                label,
                (
                    f"expected the {column} stated in submission.json, found {format_examples(other[column])} "
                    f"in {len(other)} rows, such as {other['item'].iloc[0]}"
                ),
            )
    pickers = {None, task.picker}
    other = rows[~rows["picked_by"].map(lambda name: (name if isinstance(name, str) else None) in pickers)]
    if len(other):
        yield label, f"expected estimates picked by {task.picker}, found {format_examples(other['picked_by'])}"


def _duplicates(label: str, rows: pd.DataFrame) -> Iterator[Finding]:
    """Checks that there is one estimate per item, or two with a picker: the first candidate, and the picked one."""
    twice = rows[rows.duplicated(["item", "picked_by", "metric"])]
    if len(twice):
        yield label, f"expected each score once, found {len(twice)} twice, such as {format_examples(twice['item'])}"
    later = rows[rows["picked_by"].isna() & (rows["candidate"] != 0)]
    if len(later):
        yield (
            label,
            f"expected the first candidate without a picker, found another for {format_examples(later['item'])}",
        )
    different = rows.groupby(["item", rows["picked_by"].fillna("")], sort=True)["candidate"].nunique()
    mixed = different[different > 1]
    if len(mixed):
        names = [key[0] for key in mixed.index]
        yield label, f"expected scores of an estimate from one candidate, found several for {format_examples(names)}"


def _coverage(label: str, task: SubmittedTask, rows: pd.DataFrame, items: ItemList, cards: Cards) -> Iterator[Finding]:
    """Checks that there is a row for every item that a metric applies to, so no item with a bad score was left out."""
    first = rows[rows["picked_by"].isna()]
    lost = first[first["status"].isin(list(FAILURES))]
    if task.picker is None or task.candidates > 1 or len(lost) < len(first):
        yield from _covered(label, task, first, items, cards)
    if task.picker is not None:  # an item without an estimate is missing from both lines
        picked = pd.concat([rows[rows["picked_by"] == task.picker], lost])
        yield from _covered(f"{label} picked by {task.picker}", task, picked, items, cards)
    answered = len(items.groups) - len(items_without_estimate(rows))
    if task.answered != answered:
        yield f"{label}: answered", f"expected {answered}, counted from the rows, found {task.answered}"


def _covered(label: str, task: SubmittedTask, rows: pd.DataFrame, items: ItemList, cards: Cards) -> Iterator[Finding]:
    failed = set(rows[rows["status"].isin(list(FAILURES))]["item"])
    for metric in task.metrics:
        found = set(rows[rows["metric"] == metric]["item"])
        expected = set(items.groups)
        if metric not in cards:
            expected = found
        elif cards[metric].absent == "only":
            absent = items.absent if items.absent is not None else _silent(rows, cards)
            expected = (set(absent) | (failed & found)) if absent is not None else found
        if found != expected:
            yield f"{label}: {metric}", _difference(expected, found)


def _silent(rows: pd.DataFrame, cards: Cards) -> set[str] | None:
    """Returns items with a silent target, by the statuses of metrics undefined there; None without such metrics."""
    own = rows[rows["metric"].isin(_undefined(cards))]
    return set(own[own["status"].isin(list(_SILENT))]["item"]) if len(own) else None


def _undefined(cards: Cards) -> list[str]:
    """Returns the metrics that are undefined for absent targets, and for these only."""
    return [name for name, card in cards.items() if card.absent == "undefined"]


def items_without_estimate(rows: pd.DataFrame) -> set[str]:
    """Returns the items without an estimate, by their statuses."""
    return set(rows[rows["status"].isin(list(_ESTIMATE_FAILURES))]["item"]) | {
        str(item) for item, own in rows.groupby("item")["status"] if (own == Status.ERROR).all()
    }


def _difference(expected: Collection[str], found: Collection[str]) -> str:
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    what = f"expected {len(expected)} items, found {len(found)}"
    what += f"; without {format_examples(missing)}" if missing else ""
    return what + (f"; not applicable to {format_examples(extra)}" if extra else "")


def _values(label: str, rows: pd.DataFrame, cards: Cards) -> Iterator[Finding]:
    for metric, own in rows.groupby("metric", sort=True):
        if metric not in cards:
            continue
        values, card = own["value"].to_numpy(dtype="float64"), cards[str(metric)]
        low, high = card.limits
        outside = np.isfinite(values) & ((values < low - card.tolerance) | (values > high + card.tolerance))
        if outside.any():
            worst = own["item"][outside]
            yield (
                f"{label}: {metric}",
                f"expected values from {low:g} to {high:g}, found others for {format_examples(worst)}",
            )


def _statuses(label: str, rows: pd.DataFrame, items: ItemList, cards: Cards) -> Iterator[Finding]:
    values, statuses = rows["value"].to_numpy(dtype="float64"), rows["status"]
    known = statuses.isin([status.value for status in Status]).to_numpy()
    is_ok, perfect = (statuses == Status.OK).to_numpy(), (statuses == Status.PERFECT).to_numpy()
    valued = statuses.isin([Status.OK, Status.PERFECT, Status.SILENT_ESTIMATE, Status.BOTH_SILENT]).to_numpy()
    rules = {
        "a status that exists": ~known,
        "a finite value where the status is ok": is_ok & ~np.isfinite(values),
        "the best possible value where the status is perfect": perfect & ~_best(rows["metric"], values, cards),
        "no value where the status says there is none": known & ~valued & ~np.isnan(values),
    }
    for expected, broken in rules.items():
        if broken.any():
            found = [f"{item} ({status})" for item, status in zip(rows["item"][broken], statuses[broken], strict=True)]
            yield label, f"expected {expected}, found otherwise for {format_examples(found)}"
    yield from _consistent(label, rows, items, cards)


def _best(metrics: pd.Series[Any], values: np.ndarray[Any, Any], cards: Cards) -> np.ndarray[Any, Any]:
    """Returns whether each value may have the status perfect; the improvement over a perfect mixture is undefined."""
    ends = {name: math.inf if card.best is None else card.best for name, card in cards.items()}
    best = metrics.map(ends).to_numpy(dtype="float64")  # NaN where there is no card
    nothing = metrics.map(lambda name: improved_metric(name) is not None).to_numpy(dtype=bool) & np.isnan(values)
    finite = np.isfinite(best) & (np.abs(values - np.where(np.isfinite(best), best, 0.0)) < _CLOSE)
    found: np.ndarray[Any, Any] = (values == best) | finite | nothing | np.isnan(best)
    return found


def _consistent(label: str, rows: pd.DataFrame, items: ItemList, cards: Cards) -> Iterator[Finding]:
    """Checks that an invalid estimate is invalid for every metric, and a target absent for all metrics or for none."""
    views = rows.groupby(["item", "candidate", rows["picked_by"].fillna("")], sort=True)["status"]
    broken = views.apply(lambda own: own.isin(list(_ESTIMATE_FAILURES)).mean())
    half = broken[(broken > 0) & (broken < 1)]
    if len(half):
        names = [key[0] for key in half.index]
        yield (
            label,
            f"expected an estimate that cannot be scored to have no score, found some for {format_examples(names)}",
        )
    valid = rows[rows["metric"].isin(_undefined(cards)) & ~rows["status"].isin(list(FAILURES))]
    if items.absent is not None and len(valid):
        silent = valid["status"].isin(list(_SILENT)).to_numpy()
        wrong = valid[silent != valid["item"].isin(list(items.absent)).to_numpy()]
        if len(wrong):
            yield (
                label,
                f"expected silent references for absent targets, found others: {format_examples(wrong['item'])}",
            )


def implied_mixture_scores(rows: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """Returns the mixture's score implied by each improvement: (task, metric, item) -> score minus improvement.

    It must be the same for every separator, so that a manipulated score is noticed. Only finite values are returned.
    """
    plain = rows[rows["picked_by"].isna() & (rows["candidate"] == 0) & (rows["status"] == Status.OK)]
    columns = plain["task"].tolist(), plain["metric"].tolist(), plain["item"].tolist(), plain["value"].tolist()
    values = {(task, metric, item): value for task, metric, item, value in zip(*columns, strict=True)}
    found = {}
    for (task, metric, item), value in values.items():
        base = improved_metric(metric)
        if base is not None and (task, base, item) in values:
            found[task, base, item] = values[task, base, item] - value
    return found


def improved_metric(metric: str) -> str | None:
    """Returns the metric that an improvement refers to: ``si_sdr`` for ``si_sdr_i``; None for any other metric."""
    return metric[:-2] if metric.endswith("_i") else None


def format_examples(values: pd.Series[Any] | Sequence[Any]) -> str:
    """Lists the first few distinct values, and how many more there are."""
    different = sorted({str(value) for value in values})
    more = len(different) - _SHOWN
    return ", ".join(different[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
