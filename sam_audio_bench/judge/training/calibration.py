"""The scale of ratings and the width of intervals, fitted on held-out data.

A network's ratings shrink towards the middle. They are mapped by a piecewise linear function with a few knots,
`JudgeNetwork.calibrate`: for the least error, or to match the distribution of listeners' ratings. The order of
estimates is kept, since the function increases. Then the spread of each axis is scaled so that the 80 % interval covers
80 %, of errors that are cross-fitted: `calibrated`. A few mixtures say too little for either: `widened`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import lsq_linear
from torch import Tensor

from sam_audio_bench.judge.scores import AXES

__all__ = [
    "FEWEST",
    "HALF_WIDTH",
    "INSIDE",
    "Calibration",
    "apply_knots",
    "calibrated",
    "coverage",
    "fit_knots",
    "fit_scales",
    "folds_of",
    "widened",
]

FEWEST = 20
"""Held-out mixtures below which no scale is fitted."""

INSIDE = 0.8
"""Nominal coverage of the interval."""

HALF_WIDTH = 1.2815515655446004
"""Half width of that interval in spreads, for a normal distribution."""

_FOLDS = 5
_MOST_KNOTS = 9
_ROWS_A_KNOT = 100
_ROWS_A_SORT, _FEWEST_SORTS = 20, 4
_SAFE = 0.75  # of the sorts of answers have an interval that holds
_SURE = 0.9  # that errors shrank by training at least as much as is believed
_FLATTEST = 0.3  # rise of the line, rating points a point: flatter ones tell answers apart no more

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How a network's output becomes ratings and intervals.

    Attributes:
        knots: for `JudgeNetwork.calibrate`, or None.
        scales: factors of the spreads by axis; None where the judge predicts none.
        coverage: of the 80 % interval by axis, counted on recordings that it was not fitted on; empty: not known.
        note: a sentence about how it was found.
    """

    knots: Tensor | None
    scales: Floats | None
    coverage: dict[str, float | None]
    note: str


def calibrated(
    values: Floats,
    spreads: Floats | None,
    scores: Floats,
    groups: Sequence[str],
    kind: str,
    sorts: Sequence[str] | None = None,
) -> Calibration:
    """Scale and spread from held-out rows.

    The line is fitted on all rows. Spreads are scaled by errors under lines that were fitted on other recordings, and
    the coverage is that of scales from other recordings.

    Args:
        values: ``[rows, 4]``, ratings without calibration.
        spreads: ``[rows, 4]``, or None.
        scores: ``[rows, 4]``, ratings by listeners; NaN where there are none.
        groups: the recording of each row; at least two.
        kind: of `CALIBRATIONS`.
        sorts: of `fit_scales`.
    """
    folds = folds_of(groups)
    count, sort = int(folds.max()) + 1, np.array([""] * len(groups) if sorts is None else sorts)
    knots = fit_knots(values, scores, kind)
    note = f"Scale and spread were fitted on held-out recordings, in {count} folds."
    if spreads is None:
        return Calibration(knots=knots, scales=None, coverage={}, note=note)
    outside, wide = np.empty_like(values), np.empty_like(spreads)
    for fold in range(count):
        here = folds == fold
        outside[here] = apply_knots(values[here], fit_knots(values[~here], scores[~here], kind))
    for fold in range(count):
        here = folds == fold
        wide[here] = spreads[here] * fit_scales(outside[~here], spreads[~here], scores[~here], sort[~here])
    held = dict(zip(AXES, coverage(outside, wide, scores), strict=True))
    return Calibration(knots=knots, scales=fit_scales(outside, spreads, scores, sort), coverage=held, note=note)


def widened(
    before: Floats,
    after: Floats,
    spreads: Floats | None,
    scores: Floats,
    held: NDArray[np.bool_],
    *,
    mixtures: int,
    knots: Tensor | None,
) -> Calibration:
    """Scale and spread where few mixtures are held out: the initial judge's scale, a spread that is rather too wide.

    The errors of a judge before its training are those of one that heard none of these rows, so they may be taken from
    all of them. By how much training shrank them is seen on the held-out rows alone, and believed the more the more of
    them there are. The interval is as wide as the shrunk errors demand, and at least as the held-out errors do.

    Args:
        before: ``[rows, 4]``, ratings before training, of rows that were trained on and of those held out.
        after: the same, after training, without calibration.
        spreads: ``[rows, 4]``, after training, or None.
        scores: ``[rows, 4]``, ratings by listeners; NaN where there are none.
        held: the rows that were held out.
        mixtures: that those are of.
        knots: of the initial judge; are left out where ratings come closer without them.
    """
    if knots is not None and _squared(after, scores) <= _squared(apply_knots(after, knots), scores):
        knots = None
    scale = "the scale is left as it was trained" if knots is None else "the scale is the initial judge's"
    note = (
        f"Fewer than {FEWEST} mixtures were held out, too few to fit a scale: {scale}, and intervals are as "
        "wide as the errors before training, shrunk as far as is sure, so rather too wide."
    )
    if spreads is None:
        return Calibration(knots=knots, scales=None, coverage={}, note=note)
    typical = np.sqrt(np.mean(spreads[held] ** 2, axis=0))
    earlier = fit_scales(before, np.broadcast_to(typical, before.shape), scores)
    final = apply_knots(after[held], knots)
    earlier *= _shrunk(before[held], final, scores[held], mixtures)
    later = fit_scales(final, spreads[held], scores[held])
    rated = np.isfinite(scores).any(axis=0)
    scales = np.where(rated, np.maximum(earlier, np.where(np.isfinite(scores[held]).any(axis=0), later, 0)), 1.0)
    return Calibration(knots=knots, scales=scales, coverage={}, note=note)


def folds_of(groups: Sequence[str]) -> NDArray[np.int64]:
    """Fold of each row; all rows of a recording are in one, chosen by hashes of the names.

    >>> folds_of(["a", "b", "a", "c"]).tolist()
    [2, 1, 2, 0]
    """
    names = sorted(set(map(str, groups)), key=lambda name: hashlib.sha256(name.encode()).digest())
    fold = {name: place % _FOLDS for place, name in enumerate(names)}
    return np.array([fold[str(group)] for group in groups], np.int64)


def _shrunk(before: Floats, after: Floats, scores: Floats, mixtures: int) -> Floats:
    """By what factor errors shrank, as far as so many mixtures can tell: ``[4]``, at most 1; 1 without scores.

    The ratio of two sums of squares over as many independent errors follows an F distribution.
    """
    from scipy.stats import f

    rated = np.isfinite(scores)
    sums = [
        (np.square(values - scores, where=rated, out=np.zeros_like(scores))).sum(axis=0) for values in (after, before)
    ]
    ratio = np.divide(sums[0], sums[1], where=sums[1] > 0, out=np.ones(len(AXES)))
    found: Floats = np.sqrt(np.minimum(ratio * f.ppf(_SURE, mixtures, mixtures), 1))
    return found


def _squared(values: Floats, scores: Floats) -> float:
    return float(np.nanmean((values - scores) ** 2)) if np.isfinite(scores).any() else 0.0


def fit_knots(values: Floats, scores: Floats, kind: str) -> Tensor | None:
    """Knots ``[2, K, 4]`` for `JudgeNetwork.calibrate`; None where ``kind`` is "none".

    Args:
        values: ``[rows, 4]``, ratings without calibration.
        scores: ``[rows, 4]``, ratings by listeners; NaN where there are none.
        kind: of `CALIBRATIONS`.
    """
    if kind == "none":
        return None
    rated = np.isfinite(scores)
    count = int(np.clip(rated.sum(axis=0).min() // _ROWS_A_KNOT + 1, 2, _MOST_KNOTS))
    columns = []
    for axis in range(len(AXES)):
        there = rated[:, axis]
        x = _knot_positions(values[there, axis], count)
        fit = _quantiles if kind == "quantiles" else _least_squares
        y = fit(values[there, axis], scores[there, axis], x) if there.sum() >= 2 else x
        columns.append((x, y))
    return torch.tensor(np.stack([np.stack(pair) for pair in columns], axis=-1), dtype=torch.float32)


def apply_knots(values: Floats, knots: Tensor | None) -> Floats:
    """Ratings ``[rows, 4]`` through knots, as `JudgeNetwork` maps them."""
    if knots is None:
        return values
    found = np.empty_like(values)
    for axis in range(values.shape[1]):
        x, y = knots[:, :, axis].double().numpy()
        outside = np.minimum(values[:, axis] - x[0], 0) + np.maximum(values[:, axis] - x[-1], 0)
        found[:, axis] = np.interp(values[:, axis], x, y) + outside
    return found


def fit_scales(
    values: Floats, spreads: Floats, scores: Floats, sorts: Sequence[str] | NDArray[np.str_] | None = None
) -> Floats:
    """Factors ``[4]`` for spreads ``[rows, 4]`` with which the interval covers 80 % of the scores.

    Args:
        values: ``[rows, 4]``, ratings.
        spreads: ``[rows, 4]``.
        scores: ``[rows, 4]``, ratings by listeners; NaN where there are none.
        sorts: of each row, as domain and separator. An interval that holds on average fails for some of them, and
            others are met in use; so it is as wide as three sorts of four need. None, or few sorts: as all together do.
    """
    ratio = np.abs(values - scores) / spreads
    known = None if sorts is None else np.asarray(sorts)
    found = []
    for axis in range(len(AXES)):
        there = np.isfinite(ratio[:, axis])
        own = ratio[there, axis]
        parts = [own] if known is None else _parts(own, known[there])
        needed = [float(np.quantile(part, INSIDE)) / HALF_WIDTH for part in parts if len(part)]
        found.append(max(float(np.quantile(needed, _SAFE)) if needed else 1.0, 1e-3))
    return np.array(found)


def _parts(values: Floats, sorts: NDArray[np.str_]) -> list[Floats]:
    """Values of each sort that has enough; all together where fewer than four sorts have."""
    names, counts = np.unique(sorts, return_counts=True)
    enough = names[counts >= _ROWS_A_SORT]
    return [values[sorts == name] for name in enough] if len(enough) >= _FEWEST_SORTS else [values]


def coverage(values: Floats, spreads: Floats, scores: Floats, inside: float = INSIDE) -> list[float | None]:
    """Empirical coverage per axis of the interval with nominal coverage ``inside``; None: no scores."""
    from scipy.stats import norm

    ratio = np.abs(values - scores) / spreads
    half = norm.ppf(0.5 + inside / 2)
    columns = [ratio[np.isfinite(ratio[:, axis]), axis] for axis in range(len(AXES))]
    return [float((own <= half).mean()) if len(own) else None for own in columns]


def _knot_positions(values: Floats, count: int) -> Floats:
    """Positions of knots, increasing: quantiles, or equidistant where those coincide."""
    if not len(values):
        return np.linspace(1.0, 5.0, count)
    found: Floats = np.quantile(values, np.linspace(0, 1, count))
    if np.diff(found).min() > 1e-3:
        return found
    low, high = float(values.min()), float(values.max())
    return np.linspace(low, max(high, low + 1e-2), count)


def _least_squares(values: Floats, scores: Floats, x: Floats) -> Floats:
    """Values at the knots with the least squared error, under the convex constraint that they do not decrease."""
    right = np.clip(np.searchsorted(x, values), 1, len(x) - 1)
    share = np.clip((values - x[right - 1]) / (x[right] - x[right - 1]), 0, 1)
    steps = np.arange(1, len(x))
    climbed = (steps < right[:, None]) + (steps == right[:, None]) * share[:, None]
    design = np.column_stack([np.ones(len(values)), climbed])
    least = np.concatenate([[-np.inf], _FLATTEST * np.diff(x)])
    found = lsq_linear(design, scores, bounds=(least, np.inf), method="bvls").x
    heights: Floats = np.cumsum(found)
    return heights


def _quantiles(values: Floats, scores: Floats, x: Floats) -> Floats:
    """Values at the knots that give ratings the distribution of the scores."""
    ranks = np.searchsorted(np.sort(values), x, side="right") / len(values)
    heights = np.quantile(scores, np.clip(ranks, 0, 1))
    heights[0] = np.quantile(scores, 0.5 / len(scores))
    rises = np.maximum(np.diff(heights), _FLATTEST * np.diff(x))
    found: Floats = heights[0] + np.concatenate([[0.0], np.cumsum(rises)])
    return found
