"""Turns tidy rows into matrices. Repeated ratings are averaged; the order of rows has no effect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.table import Ratings

__all__ = ["NO_SYSTEM", "ItemSystemMatrices", "RaterMatrix", "item_system_matrices", "rater_matrix", "slices"]

NO_SYSTEM = "all"
"""Name of the system in a test that names none."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RaterMatrix:
    """Ratings by stimulus and rater: ``scores`` [stimuli, raters], NaN where missing."""

    scores: Floats
    stimuli: pd.DataFrame  # item, system, group, domain; one row per stimulus, sorted
    raters: tuple[str, ...]


@dataclass(frozen=True)
class ItemSystemMatrices:
    """Mean opinion by item and system: ``human`` and each of ``metrics`` [items, systems], NaN where missing."""

    human: Floats
    metrics: dict[str, Floats]
    items: tuple[str, ...]
    systems: tuple[str, ...]
    groups: tuple[str, ...]  # of the items


def slices(ratings: Ratings, by: str | None = None, axis: str | None = None) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yields axis, value of the column ``by`` and the ratings there; first "all", then each value, sorted.

    Raises:
        UsageError: votes, or an axis or a column that the table does not have.
    """
    if ratings.votes:
        raise UsageError("expected ratings, found votes; rank their systems with `sabench ratings prefer`")
    frame = ratings.without_controls
    if by is not None and by not in frame:
        raise UsageError(
            f"expected --by to name a column of the ratings, found {by!r}; it has {', '.join(map(str, frame.columns))}"
        )
    if axis is not None and axis not in ratings.axes:
        raise UsageError(f"expected an axis among {', '.join(ratings.axes)}, found {axis!r}")
    for name in ratings.axes if axis is None else [axis]:
        rated = frame[frame["axis"] == name]
        yield name, "all", rated
        if by is not None:
            for value, part in rated.groupby(by, sort=True):
                yield name, str(value), part


def rater_matrix(rated: pd.DataFrame) -> RaterMatrix:
    """Builds the matrix of stimuli and raters of one axis."""
    items, item_names = pd.factorize(rated["item"], sort=True)
    systems, system_names = pd.factorize(rated["system"].fillna(NO_SYSTEM), sort=True)
    stimuli, rows = np.unique(items * len(system_names) + systems, return_inverse=True)
    columns, raters = pd.factorize(rated["rater"], sort=True)
    scores = _means(rows, columns, rated["score"].to_numpy(float), (len(stimuli), len(raters)))
    first = rated[["group", "domain"]].assign(row=rows).groupby("row").min()
    names = {
        "item": item_names.take(stimuli // len(system_names)),
        "system": system_names.take(stimuli % len(system_names)),
    }
    described = pd.DataFrame(names).join(first)
    return RaterMatrix(scores, described, tuple(map(str, raters)))


def item_system_matrices(rated: pd.DataFrame, metrics: tuple[str, ...] = ()) -> ItemSystemMatrices:
    """Builds matrices of items and systems of one axis; repeated ratings of a rater are averaged first."""
    known = rater_matrix(rated)
    counts = (~np.isnan(known.scores)).sum(axis=1)
    means = np.nansum(known.scores, axis=1) / np.maximum(counts, 1)
    items, item_names = pd.factorize(known.stimuli["item"], sort=True)
    systems, system_names = pd.factorize(known.stimuli["system"], sort=True)
    shape = len(item_names), len(system_names)
    values = _metric_values(rated, list(metrics))
    group = known.stimuli.groupby("item")["group"].min()
    return ItemSystemMatrices(
        human=_means(items, systems, means, shape),
        metrics={name: values[name].unstack("system").to_numpy(float) for name in metrics},
        items=tuple(map(str, item_names)),
        systems=tuple(map(str, system_names)),
        groups=tuple(str(group[name]) for name in item_names),
    )


def _metric_values(rated: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Returns metrics by item and system; averages only rows that differ, as a mean of equal values may round."""
    keyed = rated.assign(system=rated["system"].fillna(NO_SYSTEM)).groupby(["item", "system"])[metrics]
    least, most = keyed.min(), keyed.max()
    return least if least.equals(most) else least.where(least == most, keyed.mean())


def _means(rows: NDArray[np.intp], columns: NDArray[np.intp], values: Floats, shape: tuple[int, int]) -> Floats:
    """Returns means by cell, summed in the order of their values, so that the order of rows has no effect."""
    cell = rows * shape[1] + columns
    order = np.lexsort((values, cell))
    size = shape[0] * shape[1]
    counts = np.bincount(cell, minlength=size)
    sums = np.bincount(cell[order], weights=values[order], minlength=size)
    means = np.full(size, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means.reshape(shape)
