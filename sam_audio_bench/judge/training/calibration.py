"""The scale of ratings and the width of intervals, fitted on held-out data.

A network's ratings shrink towards the middle. They are mapped by a piecewise linear function with a few knots,
`JudgeNetwork.calibrate`: for the least error, or to match the distribution of listeners' ratings. The order of
estimates is kept, since the function increases. Then the spread of each axis is scaled so that the 80 % interval covers
80 %.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import lsq_linear
from torch import Tensor

from sam_audio_bench.judge.scores import AXES

__all__ = ["HALF_WIDTH", "INSIDE", "apply_knots", "coverage", "fit_knots", "fit_scales"]

INSIDE = 0.8
"""Nominal coverage of the interval."""

HALF_WIDTH = 1.2815515655446004
"""Half width of that interval in spreads, for a normal distribution."""

_MOST_KNOTS = 9
_ROWS_A_KNOT = 100
_FLATTEST = 0.1  # rise of the line, rating points a point

Floats = NDArray[np.float64]


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


def fit_scales(values: Floats, spreads: Floats, scores: Floats) -> Floats:
    """Factors ``[4]`` for spreads ``[rows, 4]`` with which the interval covers 80 % of the scores."""
    ratio = np.abs(values - scores) / spreads
    found = []
    for axis in range(len(AXES)):
        own = ratio[np.isfinite(ratio[:, axis]), axis]
        width = float(np.quantile(own, INSIDE)) / HALF_WIDTH if len(own) else 1.0
        found.append(max(width, 1e-3))
    return np.array(found)


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
