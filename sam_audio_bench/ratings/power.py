"""Sample size of the next listening test: power by simulation from the variance components of this one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.matrices import NO_SYSTEM, slices
from sam_audio_bench.ratings.table import Ratings
from sam_audio_bench.stats.components import VarianceComponents, variance_components
from sam_audio_bench.stats.power import PowerRow, power_table

__all__ = ["DesignPower", "SmallestDesign", "Variances", "power_rows", "smallest_designs"]

_FACTORS = ("item", "system", "rater")


class Variances(TypedDict):
    """Variance components of one axis, as ``--json`` prints them; see `VarianceComponents`."""

    axis: str
    item: float
    system: float
    rater: float
    cell: float
    residual: float
    mean: float
    n: int
    method: str


class DesignPower(TypedDict):
    """Power of one design, as ``--json`` prints it; see `PowerRow`."""

    axis: str
    raters: int
    items: int
    systems: int
    difference: float
    power: float
    low: float
    high: float
    simulations: int


class SmallestDesign(TypedDict):
    """The smallest design that reaches a power, as ``--json`` prints it; None: no simulated design does."""

    axis: str
    systems: int
    difference: float
    raters: int | None
    items: int | None
    ratings: int | None
    power: float | None


def power_rows(
    ratings: Ratings, *, raters: Sequence[int], items: Sequence[int], systems: Sequence[int],
    differences: Sequence[float], axis: str | None = None, alpha: float = 0.05, simulations: int = 1000, seed: int = 0,
) -> tuple[list[Variances], list[DesignPower], list[str]]:  # fmt: skip
    """Simulates the power to detect a difference between two systems, for each design.

    Args:
        ratings: a finished test with named raters.
        raters: raters per stimulus.
        items: items of the test.
        systems: systems of the test.
        differences: between two systems' means, in units of the scale.
        axis: one axis; None: all.
        alpha: level of the test.
        simulations: of each design.
        seed: of the simulations.

    Returns:
        Variance components, one row per axis; power, one row per axis and design; and warnings about limits of the
        test.

    Raises:
        UsageError: votes, anonymous raters, constant ratings, an unknown axis, or a design out of range.
    """
    if ratings.votes or ratings.anonymous:
        found = "votes" if ratings.votes else "anonymous ones"
        raise UsageError(f"expected ratings by named raters, whose variance can be told apart, found {found}")
    components: list[Variances] = []
    rows: list[DesignPower] = []
    warnings = []
    for name, _, rated in slices(ratings, axis=axis):
        if rated["score"].nunique() < 2:
            raise UsageError(f"expected ratings of {name} that vary, found one score; choose another --axis")
        if alone := [what for what in _FACTORS if rated[what].nunique() < 2]:
            warnings.append(
                f"{name}: fewer than two {' and '.join(f'{what}s' for what in alone)}, whose variance counts as 0: "
                "the power may be too high"
            )
        known = variance_components(
            rated["score"].to_numpy(float),
            items=rated["item"].tolist(),
            systems=rated["system"].fillna(NO_SYSTEM).tolist(),
            raters=rated["rater"].tolist(),
        )
        components.append(_variances(name, known))
        table = power_table(
            known, raters=raters, items=items, systems=systems, difference=differences, alpha=alpha,
            simulations=simulations, seed=seed,
        )  # fmt: skip
        rows += [_power(name, row) for row in table]
    return components, rows, warnings


def smallest_designs(rows: Sequence[DesignPower], power: float) -> list[SmallestDesign]:
    """Returns, per axis, number of systems and difference, the design with the fewest ratings that reaches ``power``.

    Args:
        rows: from `power_rows`.
        power: the required power.

    Returns:
        ``{axis, systems, difference, raters, items, ratings, power}``; of designs with equally many ratings the one
        with more items; None if no design of the table reaches the power.
    """
    found: list[SmallestDesign] = []
    for place in dict.fromkeys(map(_place, rows)):
        enough = [row for row in rows if row["power"] >= power and _place(row) == place]
        least = min(enough, key=lambda row: (row["raters"] * row["items"], row["raters"]), default=None)
        axis, systems, difference = place
        found.append(
            {
                "axis": axis,
                "systems": systems,
                "difference": difference,
                "raters": least["raters"] if least else None,
                "items": least["items"] if least else None,
                "ratings": least["raters"] * least["items"] * systems if least else None,
                "power": least["power"] if least else None,
            }
        )
    return found


def _place(row: DesignPower) -> tuple[str, int, float]:
    return row["axis"], row["systems"], row["difference"]


def _variances(axis: str, known: VarianceComponents) -> Variances:
    return {
        "axis": axis,
        "item": known.item,
        "system": known.system,
        "rater": known.rater,
        "cell": known.cell,
        "residual": known.residual,
        "mean": known.mean,
        "n": known.n,
        "method": known.method,
    }


def _power(axis: str, row: PowerRow) -> DesignPower:
    return {
        "axis": axis,
        "raters": row.raters,
        "items": row.items,
        "systems": row.systems,
        "difference": row.difference,
        "power": row.power,
        "low": row.low,
        "high": row.high,
        "simulations": row.simulations,
    }
