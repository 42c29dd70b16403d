"""Variance components of ratings: items, systems, raters, cells, and residual."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.estimate import Floats

__all__ = ["VarianceComponents", "variance_components"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceComponents:
    """Variances in the squared unit of the ratings."""

    item: float
    system: float
    rater: float
    cell: float  # interaction of item and system; 0 if no cell has two ratings
    residual: float
    mean: float  # of all ratings
    n: int  # ratings
    method: str = "henderson_1"


def variance_components(
    scores: ArrayLike, *, items: Sequence[Hashable], systems: Sequence[Hashable], raters: Sequence[Hashable]
) -> VarianceComponents:
    """Components of a crossed design by Henderson's method I (Biometrics 1953); negative estimates are set to 0.

    The expected sum of squares of each factor is linear in the components, balanced or not. A factor with one level,
    or one that the others determine, has the component 0.

    Args:
        scores: [ratings], NaN is left out.
        items: [ratings], labels.
        systems: [ratings], labels.
        raters: [ratings], labels.

    Raises:
        UsageError: lengths that differ, infinite scores, or fewer than two scores.
    """
    values = np.array(scores, dtype=np.float64)
    labels = {"item": items, "system": systems, "rater": raters}
    if values.ndim != 1 or any(len(names) != len(values) for names in labels.values()):
        raise UsageError("expected one item, system and rater per score, found lists of other lengths")
    present = np.isfinite(values)
    if np.isinf(values).any() or present.sum() < 2:
        raise UsageError(f"expected two finite scores or more, found {int(present.sum())}; leave out infinite ones")
    factors = {name: _codes([str(one) for one in names], present) for name, names in labels.items()}
    cells = factors["item"] * (factors["system"].max() + 1) + factors["system"]
    factors["cell"] = np.unique(cells, return_inverse=True)[1]
    values = values[present]
    order = np.lexsort((values, *reversed(factors.values())))
    values, factors = values[order], {name: codes[order] for name, codes in factors.items()}
    solved = _henderson(values - values.mean(), factors)
    item, system, rater, cell, residual = (max(0.0, solved.get(name, 0.0)) for name in (*factors, "residual"))
    return VarianceComponents(
        item=item,
        system=system,
        rater=rater,
        cell=cell,
        residual=residual,
        mean=float(values.mean()),
        n=len(values),
    )


def _codes(names: Sequence[str], present: NDArray[np.bool_]) -> NDArray[np.intp]:
    return np.unique(np.array(names)[present], return_inverse=True)[1]


def _henderson(values: Floats, factors: dict[str, NDArray[np.intp]]) -> dict[str, float]:
    """Solves for the identifiable components, dropping the last factor until the system is solvable."""
    known = {name: codes for name, codes in factors.items() if 1 < len(np.unique(codes)) < len(values)}
    total = len(values)
    while True:
        units = {"mean": np.zeros(total, np.intp), **known, "residual": np.arange(total)}
        squares = {name: (np.bincount(codes, values) ** 2 / np.bincount(codes)).sum() for name, codes in units.items()}
        names = [*known, "residual"]
        expected = np.array([[_coefficient(units[one], units[other]) for other in names] for one in names])
        expected -= np.array([_coefficient(units["mean"], units[other]) for other in names])
        right = np.array([squares[name] - squares["mean"] for name in names])
        scale = np.abs(expected).max(axis=0, initial=0.0)
        scale = np.where(scale > 0, scale, 1.0)
        if np.linalg.matrix_rank(expected / scale, tol=1e-9) == len(names):
            found = np.linalg.solve(expected / scale, right) / scale
            return dict(zip(names, map(float, found), strict=True))
        if not known:
            return {"residual": float(right[0]) / max(1, total - 1)}
        known.popitem()


def _coefficient(one: NDArray[np.intp], other: NDArray[np.intp]) -> float:
    """Coefficient of the variance of ``other`` in the expected uncorrected sum of squares of ``one``."""
    width = int(other.max()) + 1
    pairs, counts = np.unique(one * width + other, return_counts=True)
    return float((counts.astype(np.float64) ** 2 / np.bincount(one)[pairs // width]).sum())
