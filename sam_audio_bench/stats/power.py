"""Power of a listening test for numbers of raters, items and systems, by simulation.

A simulated test draws ratings from fitted variance components, averages them over raters, and compares two systems by a
paired t-test over items, at the level that Holm's first step leaves with all pairs of systems.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import NormalDist

import numpy as np
import scipy.stats

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.components import VarianceComponents
from sam_audio_bench.stats.estimate import Floats

__all__ = ["PowerRow", "power_table", "simulate_power"]

_CHUNK = 2**21  # ratings simulated at a time
_LARGEST = 10_000_000  # ratings of one simulated system, which are in memory at once


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerRow:
    """Power of a design to detect a difference."""

    raters: int  # per item and system
    items: int
    systems: int
    difference: float  # between the means of two systems, in the unit of the ratings
    power: float
    low: float  # 95 % interval of the simulation alone (Wilson)
    high: float
    simulations: int


def simulate_power(
    components: VarianceComponents,
    *,
    raters: int,
    items: int,
    systems: int,
    difference: float,
    alpha: float = 0.05,
    same_raters: bool = True,
    scale: tuple[float, float, float] | None = None,
    simulations: int = 1000,
    seed: int = 0,
) -> PowerRow:
    """Simulates the power of one design.

    Args:
        components: of `variance_components`.
        raters: ratings of each item and system.
        items: number of items, at least two.
        systems: number of systems, at least two; more of them lower the significance level, not the amount of data.
        difference: of the two systems' true means.
        alpha: family-wise error rate over all pairs of systems.
        same_raters: the raters of an item are the same for both systems, so that their biases cancel.
        scale: lowest and highest rating and the step between ratings; None: unbounded. Bounds shrink differences.
        simulations: number of simulated tests.
        seed: of the simulation.

    Raises:
        UsageError: a number out of range.
    """
    if min(raters, simulations) < 1 or min(items, systems) < 2 or not 0 < alpha < 1:
        raise UsageError(
            f"expected raters >= 1, items >= 2, systems >= 2 and 0 < alpha < 1, "
            f"found {raters}, {items}, {systems} and {alpha}"
        )
    if raters * items > _LARGEST:
        raise UsageError(f"expected at most {_LARGEST:,} ratings of a system, found {raters} raters of {items} items")
    if scale is not None and not (scale[0] < scale[1] and scale[2] > 0):
        raise UsageError(f"expected a scale (lowest, highest, step), found {scale}")
    generator = np.random.Generator(np.random.PCG64(seed))
    critical = scipy.stats.t.isf(alpha / (systems * (systems - 1)), items - 1)
    step = max(1, _CHUNK // (2 * raters * items))
    found = 0
    for start in range(0, simulations, step):
        count = min(step, simulations - start)
        differences = _differences(components, (count, items, raters), difference, same_raters, scale, generator)
        error = differences.std(axis=1, ddof=1) / math.sqrt(items)
        found += int((np.abs(differences.mean(axis=1)) > critical * error).sum())
    low, high = _wilson(found, simulations)
    return PowerRow(
        raters=raters,
        items=items,
        systems=systems,
        difference=difference,
        power=found / simulations,
        low=low,
        high=high,
        simulations=simulations,
    )


def power_table(
    components: VarianceComponents,
    *,
    raters: Sequence[int],
    items: Sequence[int],
    systems: Sequence[int],
    difference: Sequence[float],
    alpha: float = 0.05,
    same_raters: bool = True,
    scale: tuple[float, float, float] | None = None,
    simulations: int = 1000,
    seed: int = 0,
) -> list[PowerRow]:
    """Computes `simulate_power` for every combination, in the order of the arguments, with the same seed."""
    return [
        simulate_power(
            components,
            raters=r,
            items=i,
            systems=s,
            difference=d,
            alpha=alpha,
            same_raters=same_raters,
            scale=scale,
            simulations=simulations,
            seed=seed,
        )
        for r, i, s, d in product(raters, items, systems, difference)
    ]


def _differences(
    components: VarianceComponents,
    shape: tuple[int, int, int],
    difference: float,
    same_raters: bool,
    scale: tuple[float, float, float] | None,
    generator: np.random.Generator,
) -> Floats:
    """Difference of two systems' mean ratings of each item: [simulations, items]."""
    simulations, items, raters = shape

    def noise(variance: float, *size: int) -> Floats:
        return math.sqrt(variance) * generator.standard_normal(size)

    quality = components.mean + noise(components.item, simulations, items, 1)
    bias = noise(components.rater, simulations, items, raters)
    means = []
    for offset in (difference / 2, -difference / 2):
        own = bias if same_raters else noise(components.rater, simulations, items, raters)
        cell = noise(components.cell, simulations, items, 1)
        ratings = quality + offset + own + cell + noise(components.residual, simulations, items, raters)
        if scale is not None:
            low, high, step = scale
            ratings = np.clip(low + step * np.round((ratings - low) / step), low, high)
        means.append(ratings.mean(axis=2))
    found: Floats = means[0] - means[1]
    return found


def _wilson(found: int, count: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson, JASA 1927)."""
    z = NormalDist().inv_cdf(0.975)
    share, whole = found / count, 1 + z * z / count
    centre = (share + z * z / (2 * count)) / whole
    width = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / whole
    return max(0.0, centre - width), min(1.0, centre + width)
