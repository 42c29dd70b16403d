"""Which labels are kept: by a condition, without duplicates, the best of each class; and what became of the others."""

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
"""What becomes of a label, in the order in which it is decided."""

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Of each column that a condition names."""

Ints = NDArray[np.int64]
_Measure = Callable[[Sequence[int]], Mapping[int, Measurement]]


@dataclass(frozen=True, kw_only=True)
class FilterRequest:
    """What is asked for; raises UsageError for a quota that cannot be meant."""

    condition: Condition
    best: str | None = None  # the column by which labels are put in order, "COLUMN:lowest" or "COLUMN:highest"
    quota: int | None = None  # labels of a class
    by: str = "text"  # the column that says the class
    duplicates: bool = False  # whether they are kept

    def __post_init__(self) -> None:
        if self.quota is not None and self.quota < 1:
            raise UsageError(f"expected --quota to be at least 1, found {self.quota}")
        if self.quota is not None and self.best is None:
            raise UsageError("expected --best COLUMN with --quota, by which the best of a class are chosen, found none")

    def order(self, pool: Pool) -> tuple[str, bool] | None:
        """The column of ``best``, and whether less is better; as the metric has it where nothing is said."""
        if self.best is None:
            return None
        column, colon, end = self.best.rpartition(":")
        if not colon or end not in ("lowest", "highest"):
            return self.best, self.best in pool.lowest_first
        return column, end == "lowest"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was decided."""

    frame: pd.DataFrame  # that of the pool, with what was measured
    outcomes: NDArray[np.object_]  # of `OUTCOMES`, a label
    why: Sequence[str]  # of a label: the condition it fails, what it is a duplicate of …
    parts: Sequence[tuple[Condition, Decision]]  # each condition alone
    measured: Mapping[int, Measurement]
    kept: Sequence[int]  # rows, in the order of the pool
    added: frozenset[str]  # columns that were measured, as the pool lacks them

    @property
    def counts(self) -> dict[str, int]:
        """Labels by outcome."""
        found = Counter(self.outcomes.tolist())
        return {name: found.get(name, 0) for name in OUTCOMES}


def known_columns(pool: Pool) -> list[str]:
    """Every column that a condition may name."""
    return list(dict.fromkeys([*pool.frame.columns, *MEASURED]))


def rows_to_measure(pool: Pool, request: FilterRequest) -> Ints:
    """Rows whose targets are looked at: those that what is known already does not reject."""
    names = [name for name in request.condition.columns if name in MEASURED and name not in pool.frame]
    frame = pool.frame.assign(**dict.fromkeys(names, np.nan))
    decision = request.condition.decide(_columns(frame, request.condition))
    return np.flatnonzero(~decision.false if names else decision.true)


def _columns(frame: pd.DataFrame, condition: Condition) -> Mapping[str, Column]:
    """The columns of a condition; of one that names none, any, for the number of rows."""
    return {name: column_values(frame[name]) for name in condition.columns or ("text",)}


def check_request(pool: Pool, request: FilterRequest) -> None:
    """Raises UsageError for a column that there is not, in any option."""
    known = known_columns(pool)
    check_columns(request.condition.columns, known)
    if (order := request.order(pool)) is not None:
        check_columns([order[0]], known, "--best")
        if order[0] in pool.frame and not pd.api.types.is_numeric_dtype(pool.frame[order[0]]):
            raise UsageError(f"expected a column of numbers in --best, found {order[0]}, which holds texts")
    check_columns([request.by], list(pool.frame.columns), "--by")


def choose_labels(pool: Pool, request: FilterRequest, measure: _Measure) -> Choice:
    """Decides about every label.

    Args:
        pool: the labels.
        request: what is asked for.
        measure: measures the targets of rows.

    Raises:
        UsageError: a column that there is not, or of the wrong kind.
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
    order = _in_order(pool, frame, request, np.flatnonzero(outcomes == "kept"))
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
    """The columns of the pool, and of `MEASURED` those that it lacks."""
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
    """For each label that is not kept the first condition that it fails, or that is undefined for it."""
    why = [""] * len(outcomes)
    for name, of in (("rejected", "false"), ("undefined", "undefined")):
        for row in np.flatnonzero(outcomes == name):
            why[row] = next((part.text for part, one in parts if getattr(one, of)[row]), "")
    return why


def _in_order(pool: Pool, frame: pd.DataFrame, request: FilterRequest, rows: Ints) -> list[int]:
    """Rows from the best to the worst; undefined ones last, ties by the name."""
    ids = np.array([pool.labels[row].id for row in rows], dtype=object)
    order = request.order(pool)
    if order is None:
        return [int(rows[at]) for at in np.argsort(ids, kind="stable")]
    values = frame[order[0]].to_numpy(dtype=float)[rows]
    values = values if order[1] else -values
    places = sorted(range(len(rows)), key=lambda at: (np.isnan(values[at]), values[at], ids[at]))
    return [int(rows[at]) for at in places]


def _drop_duplicates(
    pool: Pool, measured: Mapping[int, Measurement], order: Sequence[int], outcomes: NDArray[np.object_], why: list[str]
) -> None:
    """Of labels with one sound the best stays."""
    same: dict[str, str] = {}
    alike = Sketches()
    for row in order:
        one, name = measured[row], pool.labels[row].id
        known = same.get(one.content) or alike.find(one.sketch)
        if known is not None:
            outcomes[row], why[row] = "duplicate", known
        else:
            same[one.content] = name
            alike.add(name, one.sketch)


def _apply_quota(
    classes: pd.Series, request: FilterRequest, order: Sequence[int], outcomes: NDArray[np.object_], why: list[str]
) -> None:
    """Of each class the best stay; what has no class is one of its own."""
    count: Counter[str] = Counter()
    for row in order:
        name = "" if pd.isna(classes.iloc[row]) else str(classes.iloc[row])
        count[name] += 1
        if request.quota is not None and count[name] > request.quota:
            outcomes[row], why[row] = "quota", f"number {count[name]} of {name or 'no class'}"


def count_by_condition(choice: Choice) -> pd.DataFrame:
    """How many labels meet each condition, and how many fail it alone.

    Returns:
        Columns condition, met, failed, undefined, unseen (another condition rejects them, so that their sound was not
        looked at), and only (they surely fail this one and no other).
    """
    looked = np.isin(np.arange(len(choice.outcomes)), [*choice.measured])
    rows = []
    for at, (part, one) in enumerate(choice.parts):
        others = [~other.false for place, (_, other) in enumerate(choice.parts) if place != at]
        alone = np.logical_and.reduce([one.false, *others])
        unseen = one.undefined & ~looked if choice.added.intersection(part.columns) else np.zeros_like(looked)
        sums = (one.true, one.false, one.undefined & ~unseen, unseen, alone)
        rows.append((part.text, *(int(mask.sum()) for mask in sums)))
    return pd.DataFrame(rows, columns=["condition", "met", "failed", "undefined", "unseen", "only"])


def compute_quantiles(choice: Choice, columns: Sequence[str]) -> pd.DataFrame:
    """How the columns of numbers are distributed: n, and `QUANTILES`; of those measured, over what was measured."""
    found = {}
    for name in columns:
        values = column_values(choice.frame[name])
        if values.dtype != object:
            known = values[np.isfinite(values)]
            cells = np.quantile(known, QUANTILES) if len(known) else [np.nan] * len(QUANTILES)
            found[name] = [len(known), *cells]
    index = ["n", *(f"{share:.0%}" for share in QUANTILES)]
    return pd.DataFrame.from_dict(found, orient="index", columns=index)
