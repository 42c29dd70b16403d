"""Calibrates the scale of ratings and the width of intervals on held-out data.

A network's ratings shrink towards the mean. They are mapped by a piecewise linear function with a few knots
(`JudgeNetwork.calibrate`), for the least error or to match the distribution of listeners' ratings. The order of
estimates does not change, since the function increases. Then the spread of each axis is scaled so that the 80 %
interval covers 80 % of cross-fitted errors (`fit_calibration`). A few held-out mixtures are not sufficient for either
(`fit_cautious_calibration`).
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
    "HALF_WIDTH",
    "MIN_MIXTURES",
    "NOMINAL_COVERAGE",
    "Calibration",
    "apply_knots",
    "assign_folds",
    "coverage",
    "fit_calibration",
    "fit_cautious_calibration",
    "fit_knots",
    "fit_scales",
]

MIN_MIXTURES = 20
"""Minimum number of held-out mixtures for fitting a scale."""

NOMINAL_COVERAGE = 0.8
"""Nominal coverage of the interval."""

HALF_WIDTH = 1.2815515655446004
"""Half width of that interval in units of the spread, for a normal distribution."""

_FOLDS = 5
_MAX_KNOTS = 9
_ROWS_PER_KNOT = 100
_ROWS_PER_STRATUM, _MIN_STRATA = 20, 4
_STRATA_QUANTILE = 0.75  # share of the strata whose interval has at least the nominal coverage
_CONFIDENCE = 0.9  # that training reduced errors at least as much as is assumed
_MIN_SLOPE = 0.3  # of the mapping; flatter ones would hardly distinguish estimates

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Mapping of a network's outputs to ratings and intervals.

    Attributes:
        knots: for `JudgeNetwork.calibrate`, or None.
        scales: factors of the spreads by axis; None if the judge predicts no spread.
        coverage: of the 80 % interval by axis, on recordings that it was not fitted on; empty if unknown.
        note: a sentence on how it was fitted.
    """

    knots: Tensor | None
    scales: Floats | None
    coverage: dict[str, float | None]
    note: str


def fit_calibration(
    values: Floats,
    spreads: Floats | None,
    scores: Floats,
    groups: Sequence[str],
    kind: str,
    strata: Sequence[str] | None = None,
    unfamiliar: tuple[Floats, Floats] | None = None,
) -> Calibration:
    """Fits scale and spread on held-out rows.

    The mapping is fitted on all rows. Spreads are scaled by errors under mappings that were fitted on other recordings,
    and coverage is measured with scales from other recordings.

    Args:
        values: ``[rows, 4]``, ratings without calibration.
        spreads: ``[rows, 4]``, or None.
        scores: ``[rows, 4]``, ratings by listeners; NaN where there are none.
        groups: the recording of each row; at least two.
        kind: one of `CALIBRATIONS`.
        strata: see `fit_scales`.
        unfamiliar: uncalibrated ratings and spreads ``[rows, 4]`` of the same rows, predicted without knowing their
            classes. Users ask for classes that a judge does not know, so these errors form strata of their own.
    """
    folds = assign_folds(groups)
    count, stratum = int(folds.max()) + 1, np.array([""] * len(groups) if strata is None else strata)
    knots = fit_knots(values, scores, kind)
    note = f"Scale and spread were fitted on held-out recordings, in {count} folds."
    if spreads is None:
        return Calibration(knots=knots, scales=None, coverage={}, note=note)
    lines = [fit_knots(values[folds != fold], scores[folds != fold], kind) for fold in range(count)]
    rated, rows = _cross_fitted(values, folds, lines), len(values)
    if unfamiliar is not None:
        rated = np.concatenate([rated, _cross_fitted(unfamiliar[0], folds, lines)])
        spreads, scores = np.concatenate([spreads, unfamiliar[1]]), np.concatenate([scores, scores])
        stratum = np.concatenate([stratum, np.char.add(stratum.astype(str), " of an unknown class")])
        folds = np.concatenate([folds, folds])
    wide = np.empty_like(spreads)
    for fold in range(count):
        here = folds == fold
        wide[here] = spreads[here] * fit_scales(rated[~here], spreads[~here], scores[~here], stratum[~here])
    held = dict(zip(AXES, coverage(rated[:rows], wide[:rows], scores[:rows]), strict=True))
    return Calibration(knots=knots, scales=fit_scales(rated, spreads, scores, stratum), coverage=held, note=note)


def _cross_fitted(values: Floats, folds: NDArray[np.int64], lines: Sequence[Tensor | None]) -> Floats:
    """Returns the ratings of each fold, mapped by the line that was fitted on the other folds."""
    found = np.empty_like(values)
    for fold, knots in enumerate(lines):
        found[folds == fold] = apply_knots(values[folds == fold], knots)
    return found


def fit_cautious_calibration(
    before: Floats,
    after: Floats,
    spreads: Floats | None,
    scores: Floats,
    held: NDArray[np.bool_],
    *,
    mixtures: int,
    knots: Tensor | None,
) -> Calibration:
    """Sets scale and spread if few mixtures are held out: the initial judge's scale, and a conservative spread.

    Before training, a judge has not seen any of these rows, so its errors may be taken from all of them. Only the
    held-out rows show how much training reduced them, and the reduction is trusted the more, the more of them there
    are. The interval is as wide as the reduced errors require, and at least as wide as the held-out errors require.

    Args:
        before: ``[rows, 4]``, ratings before training, of training rows and held-out rows.
        after: ratings of the same rows after training, without calibration.
        spreads: ``[rows, 4]``, after training, or None.
        scores: ``[rows, 4]``, ratings by listeners; NaN where there are none.
        held: marks the held-out rows.
        mixtures: number of held-out mixtures.
        knots: of the initial judge; not used if ratings are closer without them.
    """
    if knots is not None and _mean_squared_error(after, scores) <= _mean_squared_error(
        apply_knots(after, knots), scores
    ):
        knots = None
    scale = "the scale is left as it was trained" if knots is None else "the scale is the initial judge's"
    note = (
        f"Fewer than {MIN_MIXTURES} mixtures were held out, too few to fit a scale: {scale}, and intervals are as "
        "wide as the errors before training, shrunk as far as is sure, so rather too wide."
    )
    if spreads is None:
        return Calibration(knots=knots, scales=None, coverage={}, note=note)
    typical = np.sqrt(np.mean(spreads[held] ** 2, axis=0))
    earlier = fit_scales(before, np.broadcast_to(typical, before.shape), scores)
    final = apply_knots(after[held], knots)
    earlier *= _error_reduction(before[held], final, scores[held], mixtures)
    later = fit_scales(final, spreads[held], scores[held])
    rated = np.isfinite(scores).any(axis=0)
    scales = np.where(rated, np.maximum(earlier, np.where(np.isfinite(scores[held]).any(axis=0), later, 0)), 1.0)
    return Calibration(knots=knots, scales=scales, coverage={}, note=note)


def assign_folds(groups: Sequence[str]) -> NDArray[np.int64]:
    """Returns the fold of each row; all rows of a recording are in one, chosen by a hash of its name.

    >>> assign_folds(["a", "b", "a", "c"]).tolist()
    [2, 1, 2, 0]
    """
    names = sorted(set(map(str, groups)), key=lambda name: hashlib.sha256(name.encode()).digest())
    fold = {name: place % _FOLDS for place, name in enumerate(names)}
    return np.array([fold[str(group)] for group in groups], np.int64)


def _error_reduction(before: Floats, after: Floats, scores: Floats, mixtures: int) -> Floats:
    """Returns the factor by which errors shrank, ``[4]``, as an upper confidence bound, at most 1; 1 without scores.

    The ratio of two sums of squares over as many independent errors follows an F distribution.
    """
    from scipy.stats import f

    rated = np.isfinite(scores)
    sums = [
        (np.square(values - scores, where=rated, out=np.zeros_like(scores))).sum(axis=0) for values in (after, before)
    ]
    ratio = np.divide(sums[0], sums[1], where=sums[1] > 0, out=np.ones(len(AXES)))
    found: Floats = np.sqrt(np.minimum(ratio * f.ppf(_CONFIDENCE, mixtures, mixtures), 1))
    return found


def _mean_squared_error(values: Floats, scores: Floats) -> float:
    return float(np.nanmean((values - scores) ** 2)) if np.isfinite(scores).any() else 0.0


def fit_knots(values: Floats, scores: Floats, kind: str) -> Tensor | None:
    """Fits knots ``[2, K, 4]`` for `JudgeNetwork.calibrate`; returns None if ``kind`` is "none".

    Args:
        values: ``[rows, 4]``, ratings without calibration.
        scores: ``[rows, 4]``, ratings by listeners; NaN where there are none.
        kind: one of `CALIBRATIONS`.
    """
    if kind == "none":
        return None
    rated = np.isfinite(scores)
    count = int(np.clip(rated.sum(axis=0).min() // _ROWS_PER_KNOT + 1, 2, _MAX_KNOTS))
    columns = []
    for axis in range(len(AXES)):
        there = rated[:, axis]
        x = _knot_positions(values[there, axis], count)
        fit = _quantiles if kind == "quantiles" else _least_squares
        y = fit(values[there, axis], scores[there, axis], x) if there.sum() >= 2 else x
        columns.append((x, y))
    return torch.tensor(np.stack([np.stack(pair) for pair in columns], axis=-1), dtype=torch.float32)


def apply_knots(values: Floats, knots: Tensor | None) -> Floats:
    """Maps ratings ``[rows, 4]`` by knots, as `JudgeNetwork` does."""
    if knots is None:
        return values
    found = np.empty_like(values)
    for axis in range(values.shape[1]):
        x, y = knots[:, :, axis].double().numpy()
        outside = np.minimum(values[:, axis] - x[0], 0) + np.maximum(values[:, axis] - x[-1], 0)
        found[:, axis] = np.interp(values[:, axis], x, y) + outside
    return found


def fit_scales(
    values: Floats, spreads: Floats, scores: Floats, strata: Sequence[str] | NDArray[np.str_] | None = None
) -> Floats:
    """Returns factors ``[4]`` of spreads ``[rows, 4]`` with which the interval covers 80 % of the scores.

    Args:
        values: ``[rows, 4]``, ratings.
        spreads: ``[rows, 4]``.
        scores: ``[rows, 4]``, ratings by listeners; NaN where there are none.
        strata: stratum of each row, such as domain and separator. An interval that is right on average is too narrow
            for some strata, and others occur in use, so it is as wide as three of four strata require. None, or few
            strata: as wide as all rows together require.
    """
    ratio = np.abs(values - scores) / spreads
    known = None if strata is None else np.asarray(strata)
    found = []
    for axis in range(len(AXES)):
        there = np.isfinite(ratio[:, axis])
        own = ratio[there, axis]
        parts = [own] if known is None else _parts(own, known[there])
        needed = [float(np.quantile(part, NOMINAL_COVERAGE)) / HALF_WIDTH for part in parts if len(part)]
        found.append(max(float(np.quantile(needed, _STRATA_QUANTILE)) if needed else 1.0, 1e-3))
    return np.array(found)


def _parts(values: Floats, strata: NDArray[np.str_]) -> list[Floats]:
    """Returns the values of each stratum with enough rows; all values if fewer than four strata have enough."""
    names, counts = np.unique(strata, return_counts=True)
    enough = names[counts >= _ROWS_PER_STRATUM]
    return [values[strata == name] for name in enough] if len(enough) >= _MIN_STRATA else [values]


def coverage(values: Floats, spreads: Floats, scores: Floats, inside: float = NOMINAL_COVERAGE) -> list[float | None]:
    """Returns the empirical coverage per axis of the interval with nominal coverage ``inside``; None without scores."""
    from scipy.stats import norm

    ratio = np.abs(values - scores) / spreads
    half = norm.ppf(0.5 + inside / 2)
    columns = [ratio[np.isfinite(ratio[:, axis]), axis] for axis in range(len(AXES))]
    return [float((own <= half).mean()) if len(own) else None for own in columns]


def _knot_positions(values: Floats, count: int) -> Floats:
    """Returns increasing positions of knots: quantiles, or equidistant ones if those coincide."""
    if not len(values):
        return np.linspace(1.0, 5.0, count)
    found: Floats = np.quantile(values, np.linspace(0, 1, count))
    if np.diff(found).min() > 1e-3:
        return found
    low, high = float(values.min()), float(values.max())
    return np.linspace(low, max(high, low + 1e-2), count)


def _least_squares(values: Floats, scores: Floats, x: Floats) -> Floats:
    """Returns the values at the knots with the least squared error, under the convex constraint of a minimum slope."""
    right = np.clip(np.searchsorted(x, values), 1, len(x) - 1)
    share = np.clip((values - x[right - 1]) / (x[right] - x[right - 1]), 0, 1)
    steps = np.arange(1, len(x))
    climbed = (steps < right[:, None]) + (steps == right[:, None]) * share[:, None]
    design = np.column_stack([np.ones(len(values)), climbed])
    least = np.concatenate([[-np.inf], _MIN_SLOPE * np.diff(x)])
    found = lsq_linear(design, scores, bounds=(least, np.inf), method="bvls").x
    heights: Floats = np.cumsum(found)
    return heights


def _quantiles(values: Floats, scores: Floats, x: Floats) -> Floats:
    """Returns the values at the knots that give ratings the distribution of the scores."""
    ranks = np.searchsorted(np.sort(values), x, side="right") / len(values)
    heights = np.quantile(scores, np.clip(ranks, 0, 1))
    heights[0] = np.quantile(scores, 0.5 / len(scores))
    rises = np.maximum(np.diff(heights), _MIN_SLOPE * np.diff(x))
    found: Floats = heights[0] + np.concatenate([[0.0], np.cumsum(rises)])
    return found
