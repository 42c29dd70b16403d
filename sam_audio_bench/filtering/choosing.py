"""Chooses which labels are kept: those that meet a condition, without duplicates, the best of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sam_audio_bench.errors import UsageError
from sam_audio_bench.filtering.expression import Column, Condition, Decision, check_columns
from sam_audio_bench.filtering.fingerprint import Sketches
from sam_audio_bench.filtering.measuring import MEASURED, Measurement
from sam_audio_bench.filtering.pool import Pool, column_values

__all__ = [
    "OUTCOMES",
    "QUANTILES",
    "Choice",
    "FilterRequest",
    "check_request",
    "choose_labels",
    "compute_quantiles",
    "count_by_condition",
    "known_columns",
    "rows_to_measure",
]  # fmt: skip

OUTCOMES = {
    "kept": "kept",
    "rejected": "a condition is not met",
    "undefined": "a score is undefined, and no other condition decides",
    "unreadable": "the target cannot be read, or is not the one that was scored",
    "duplicate": "the target is one that is kept already, under another name",
    "quota": "enough of this class are better",
}
"""Outcome of a label -> its meaning, in the order in which they are decided."""

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Quantiles that are reported of each column of the condition."""

Ints = NDArray[np.int64]
_Measure = Callable[[Sequence[int]], Mapping[int, Measurement]]


@dataclass(frozen=True, kw_only=True)
class FilterRequest:
    """The criteria by which labels are kept; raises UsageError for an invalid quota."""

    condition: Condition
    best: str | None = None  # the column by which labels are ranked, "COLUMN:lowest" or "COLUMN:highest"
    quota: int | None = None  # labels per class
    by: str = "text"  # the column with the class
    duplicates: bool = False  # whether duplicates are kept

    def __post_init__(self) -> None:
        if self.quota is not None and self.quota < 1:
            raise UsageError(f"expected --quota to be at least 1, found {self.quota}")
        if self.quota is not None and self.best is None:
            raise UsageError("expected --best COLUMN with --quota, by which the best of a class are chosen, found none")

    def ranking(self, pool: Pool) -> tuple[str, bool] | None:
        """Returns the column of ``best`` and whether lower is better, by default as its metric states; or None."""
        if self.best is None:
            return None
        column, colon, end = self.best.rpartition(":")
        if not colon or end not in ("lowest", "highest"):
            return self.best, self.best in pool.lowest_first
        return column, end == "lowest"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The outcome of every label."""

    frame: pd.DataFrame  # that of the pool, with the measured columns
    outcomes: NDArray[np.object_]  # one of `OUTCOMES` per label
    why: Sequence[str]  # the reason per label: the condition that it fails, the label that it duplicates …
    parts: Sequence[tuple[Condition, Decision]]  # each part of the condition on its own
    measured: Mapping[int, Measurement]  # row -> measurement
    kept: Sequence[int]  # rows, in the order of the pool
    added: frozenset[str]  # columns that were measured, since the pool does not have them

    @property
    def counts(self) -> dict[str, int]:
        """The number of labels by outcome."""
        found = Counter(self.outcomes.tolist())
        return {name: found.get(name, 0) for name in OUTCOMES}


def known_columns(pool: Pool) -> list[str]:
    """Returns every column that a condition may name."""
    return list(dict.fromkeys([*pool.frame.columns, *MEASURED]))


def rows_to_measure(pool: Pool, request: FilterRequest) -> Ints:
    """Returns the rows whose targets are measured: those that the known columns do not reject."""
    names = [name for name in request.condition.columns if name in MEASURED and name not in pool.frame]
    frame = pool.frame.assign(**dict.fromkeys(names, np.nan))
    decision = request.condition.decide(_columns(frame, request.condition))
    return np.flatnonzero(~decision.false if names else decision.true)


def _columns(frame: pd.DataFrame, condition: Condition) -> Mapping[str, Column]:
    """Returns the columns of a condition; if it names none, any column, for the number of rows."""
    return {name: column_values(frame[name]) for name in condition.columns or ("text",)}


def check_request(pool: Pool, request: FilterRequest) -> None:
    """Raises UsageError if any option names an unknown column."""
    known = known_columns(pool)
    check_columns(request.condition.columns, known)
    if (ranking := request.ranking(pool)) is not None:
        check_columns([ranking[0]], known, "--best")
        if ranking[0] in pool.frame and not pd.api.types.is_numeric_dtype(pool.frame[ranking[0]]):
            raise UsageError(f"expected a column of numbers in --best, found {ranking[0]}, which holds texts")
    check_columns([request.by], list(pool.frame.columns), "--by")


def choose_labels(pool: Pool, request: FilterRequest, measure: _Measure) -> Choice:
    """Decides which labels are kept.

    Args:
        pool: the labels.
        request: the criteria.
        measure: measures the targets of rows.

    Raises:
        UsageError: a column is unknown, or of the wrong type.
    """
    check_request(pool, request)
    measured = measure(rows_to_measure(pool, request).tolist())
    frame = _with_measured(pool, request, measured)
    decision = request.condition.decide(_columns(frame, request.condition))
    parts = [(part, part.decide(_columns(frame, part))) for part in request.condition.parts]
    outcomes = np.where(decision.true, "kept", np.where(decision.false, "rejected", "undefined")).astype(object)
    why = _reasons(parts, outcomes)
    for row, one in measured.items():
        if one.problem and outcomes[row] != "rejected":
            outcomes[row], why[row] = "unreadable", one.problem
    order = _ranked(pool, frame, request, np.flatnonzero(outcomes == "kept"))
    if not request.duplicates:
        _drop_duplicates(pool, measured, order, outcomes, why)
    if request.quota is not None:
        _apply_quota(frame[request.by], request, [row for row in order if outcomes[row] == "kept"], outcomes, why)
    kept = np.flatnonzero(outcomes == "kept").tolist()
    return Choice(
        frame=frame, outcomes=outcomes, why=why, parts=parts, measured=measured, kept=kept,
        added=frozenset(MEASURED) - frozenset(pool.frame.columns),
    )  # fmt: skip


def _with_measured(pool: Pool, request: FilterRequest, measured: Mapping[int, Measurement]) -> pd.DataFrame:
    """Returns the frame of the pool with those columns of `MEASURED` that it does not have."""
    found = {}
    for name in MEASURED:
        if name not in pool.frame:
            values = np.full(len(pool.labels), np.nan)
            for row, one in measured.items():
                value = None if one.problem else getattr(one, name)
                values[row] = np.nan if value is None else value
            found[name] = values
    return pool.frame.assign(**found)


def _reasons(parts: Sequence[tuple[Condition, Decision]], outcomes: NDArray[np.object_]) -> list[str]:
    """Returns, per rejected or undefined label, the first part of the condition that it fails or that is undefined."""
    why = [""] * len(outcomes)
    for name, mask in (("rejected", "false"), ("undefined", "undefined")):
        for row in np.flatnonzero(outcomes == name):
            why[row] = next((part.text for part, one in parts if getattr(one, mask)[row]), "")
    return why


def _ranked(pool: Pool, frame: pd.DataFrame, request: FilterRequest, rows: Ints) -> list[int]:
    """Returns rows from the best to the worst; undefined ones last, ties by id."""
    ids = np.array([pool.labels[row].id for row in rows], dtype=object)
    ranking = request.ranking(pool)
    if ranking is None:
        return [int(rows[at]) for at in np.argsort(ids, kind="stable")]
    values = frame[ranking[0]].to_numpy(dtype=float)[rows]
    values = values if ranking[1] else -values
    places = sorted(range(len(rows)), key=lambda at: (np.isnan(values[at]), values[at], ids[at]))
    return [int(rows[at]) for at in places]


def _drop_duplicates(
    pool: Pool, measured: Mapping[int, Measurement], order: Sequence[int], outcomes: NDArray[np.object_], why: list[str]
) -> None:
    """Marks all but the best of labels with the same sound as duplicates."""
    by_content: dict[str, str] = {}
    sketches = Sketches()
    for row in order:
        one, name = measured[row], pool.labels[row].id
        known = by_content.get(one.content) or sketches.find(one.sketch)
        if known is not None:
            outcomes[row], why[row] = "duplicate", known
        else:
            by_content[one.content] = name
            sketches.add(name, one.sketch)


def _apply_quota(
    classes: pd.Series, request: FilterRequest, order: Sequence[int], outcomes: NDArray[np.object_], why: list[str]
) -> None:
    """Marks all but the best labels of each class; labels without a class form one class."""
    count: Counter[str] = Counter()
    for row in order:
        name = "" if pd.isna(classes.iloc[row]) else str(classes.iloc[row])
        count[name] += 1
        if request.quota is not None and count[name] > request.quota:
            outcomes[row], why[row] = "quota", f"number {count[name]} of {name or 'no class'}"


def count_by_condition(choice: Choice) -> pd.DataFrame:
    """Counts the labels that meet or fail each part of the condition.

    Returns:
        Columns condition, met, failed, undefined, unseen (not measured, since another part rejects them), and only
        (they fail this part and no other).
    """
    seen = np.isin(np.arange(len(choice.outcomes)), [*choice.measured])
    rows = []
    for at, (part, one) in enumerate(choice.parts):
        others = [~other.false for place, (_, other) in enumerate(choice.parts) if place != at]
        alone = np.logical_and.reduce([one.false, *others])
        unseen = one.undefined & ~seen if choice.added.intersection(part.columns) else np.zeros_like(seen)
        sums = (one.true, one.false, one.undefined & ~unseen, unseen, alone)
        rows.append((part.text, *(int(mask.sum()) for mask in sums)))
    return pd.DataFrame(rows, columns=["condition", "met", "failed", "undefined", "unseen", "only"])


def compute_quantiles(choice: Choice, columns: Sequence[str]) -> pd.DataFrame:
    """Computes n and `QUANTILES` of the numeric columns; of measured columns, over the measured rows."""
    found = {}
    for name in columns:
        values = column_values(choice.frame[name])
        if values.dtype != object:
            known = values[np.isfinite(values)]
            cells = np.quantile(known, QUANTILES) if len(known) else [np.nan] * len(QUANTILES)
            found[name] = [len(known), *cells]
    index = ["n", *(f"{share:.0%}" for share in QUANTILES)]
    return pd.DataFrame.from_dict(found, orient="index", columns=index)
