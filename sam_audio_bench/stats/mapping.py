"""Prediction error after mapping a metric to the scale of the raters (ITU-T P.1401).

The mapping is a straight line, or a polynomial of third order that is monotonic over the range of the metric. The
latter is the exact constrained least-squares fit: the derivative is a quadratic that may touch zero at an end, at both
ends, or with a double root inside, and the best of these cases is the optimum, since the problem is convex.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.stats.estimate import Floats

__all__ = ["MAPPING_ORDERS", "mapped_rmse"]

MAPPING_ORDERS = {"rmse_linear": 1, "rmse_cubic": 3}
_GRID = 33  # positions of the double root: first a coarse grid, then one between the neighbours of the best
_RIDGE = 1e-11  # resamples with fewer than four distinct values are singular
_SLACK = 1e-9
_BASES = (
    np.eye(3),
    np.array([[2.0, 1, 0], [3, 3, 1]]),  # flat at -1: powers of x + 1
    np.array([[-2.0, 1, 0], [3, -3, 1]]),  # flat at +1: powers of x - 1
    np.array([[-3.0, 0, 1]]),  # flat at both
)


def mapped_rmse(x: Floats, y: Floats, weights: Floats, *, order: int, direction: float) -> Floats:
    """Root mean square error of ``y`` after the best mapping of ``x``, with the degrees of freedom of P.1401.

    Args:
        x: [observations] or [observations, resamples], the metric, scaled to ±1 over the range to be monotonic on.
        y: as ``x``, in the unit of the result.
        weights: [observations, resamples], how often each was drawn.
        order: 1 or 3.
        direction: positive for an increasing mapping of third order, negative for a decreasing one.

    Returns:
        [resamples], ``sqrt(SSE / (n - order - 1))``; NaN without a degree of freedom.
    """
    columns = "nb,n->b" if x.ndim == 1 else "nb,nb->b"
    total = weights.sum(axis=0)
    freedom = total - order - 1
    count = np.where(total > 0, total, 1.0)
    powers = np.stack([np.einsum(columns, weights, x**degree) / count for degree in range(2 * order + 1)], axis=-1)
    crossed = np.stack([np.einsum(columns, weights, y * x**degree) / count for degree in range(order + 1)], axis=-1)
    square = np.einsum(columns, weights, y * y) / count - crossed[:, 0] ** 2
    degrees = np.arange(1, order + 1)
    covariance = powers[:, np.add.outer(degrees, degrees)] - powers[:, degrees, None] * powers[:, None, degrees]
    moments = covariance, crossed[:, 1:] - crossed[:, :1] * powers[:, degrees]
    gain = _gain(*moments, np.eye(1))[0] if order == 1 else _monotonic_gain(*moments, np.sign(direction))
    valid = freedom > 0
    return np.where(valid, np.sqrt(np.maximum(square - gain, 0.0) * total / np.where(valid, freedom, 1.0)), np.nan)


def _gain(covariance: Floats, crossed: Floats, basis: Floats) -> tuple[Floats, Floats]:
    """Variance that a least-squares fit explains, [resamples], and its coefficients of x, x², x³.

    Args:
        covariance: of the powers with each other, [resamples, powers, powers].
        crossed: of the powers with the ratings, [resamples, powers].
        basis: [functions, powers], basis functions of the fit, besides a constant.
    """
    small = basis @ covariance @ basis.T
    right = (crossed @ basis.T)[..., None]
    scale = np.trace(small, axis1=-2, axis2=-1)[..., None, None]
    scale = np.where(scale > 0, scale, 1.0)
    fitted = np.linalg.solve(small + _RIDGE * scale * np.eye(len(basis)), right)[..., 0]
    coefficients = fitted @ basis
    quadratic = np.einsum("bi,bij,bj->b", coefficients, covariance, coefficients)
    return 2 * (coefficients * crossed).sum(axis=-1) - quadratic, coefficients


def _monotonic_gain(covariance: Floats, crossed: Floats, direction: float) -> Floats:
    """Variance that the best cubic explains whose derivative does not change its sign within ±1; 0: a constant."""
    best = np.zeros(len(crossed))
    for basis in _BASES:
        gain, coefficients = _gain(covariance, crossed, basis)
        best = np.maximum(best, np.where(_monotonic(coefficients, direction), gain, 0.0))
    coarse = np.linspace(-1, 1, _GRID)[:, None]
    gains = _double_root_gain(covariance, crossed, coarse, direction)
    nearest = coarse[np.argmax(gains, axis=0), 0]
    fine = np.clip(nearest + np.linspace(-1, 1, _GRID)[:, None] * 2 / (_GRID - 1), -1, 1)
    refined: Floats = np.maximum(best, _double_root_gain(covariance, crossed, fine, direction).max(axis=0))
    return refined


def _double_root_gain(covariance: Floats, crossed: Floats, place: Floats, direction: float) -> Floats:
    """As `_gain` for ``a + b (x - place)³``, [places, resamples]; 0 where it runs in the other direction."""
    parts = (3 * place**2, -3 * place, np.ones_like(place))
    common = sum(part * crossed[:, k] for k, part in enumerate(parts))
    variance = sum(one * other * covariance[:, j, k] for j, one in enumerate(parts) for k, other in enumerate(parts))
    usable = (common * direction > 0) & (variance > _RIDGE)
    return np.where(usable, common**2 / np.where(usable, variance, 1.0), 0.0)


def _monotonic(coefficients: Floats, direction: float) -> NDArray[np.bool_]:
    """Whether the cubic runs in ``direction``, or is flat, everywhere within ±1."""
    constant, linear, curve = (coefficients * direction * np.array([1.0, 2.0, 3.0])).T
    lowest = np.clip(-linear / np.where(curve == 0, np.inf, 2 * curve), -1, 1)
    least = np.min([constant + at * (linear + at * curve) for at in (-1.0, 1.0, lowest)], axis=0)
    found: NDArray[np.bool_] = least >= -_SLACK * np.abs(coefficients).max(axis=-1)
    return found
