"""Sample size of the next listening test: power by simulation from the variance components of this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.matrices import NO_SYSTEM, slices
from sam_audio_bench.ratings.table import Ratings
from sam_audio_bench.stats.components import variance_components
from sam_audio_bench.stats.power import power_table

__all__ = ["power_rows", "smallest_designs"]

_FACTORS = ("item", "system", "rater")


def power_rows(
    ratings: Ratings, *, raters: Sequence[int], items: Sequence[int], systems: Sequence[int],
    differences: Sequence[float], axis: str | None = None, alpha: float = 0.05, simulations: int = 1000, seed: int = 0,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:  # fmt: skip
    """Power to detect a difference between two systems, for each design.

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
    components, rows, warnings = [], [], []
    for name, _, answers in slices(ratings, axis=axis):
        if answers["score"].nunique() < 2:
            raise UsageError(f"expected ratings of {name} that vary, found one score; choose another --axis")
        if alone := [what for what in _FACTORS if answers[what].nunique() < 2]:
            warnings.append(
                f"{name}: fewer than two {' and '.join(f'{what}s' for what in alone)}, whose variance counts as 0: "
                "the power may be too high"
            )
        known = variance_components(
            answers["score"].to_numpy(float),
            items=answers["item"].tolist(),
            systems=answers["system"].fillna(NO_SYSTEM).tolist(),
            raters=answers["rater"].tolist(),
        )
        components.append({"axis": name, **asdict(known)})
        table = power_table(
            known, raters=raters, items=items, systems=systems, difference=differences, alpha=alpha,
            simulations=simulations, seed=seed,
        )  # fmt: skip
        rows += [{"axis": name, **asdict(row)} for row in table]
    return components, rows, warnings


def smallest_designs(rows: Sequence[Mapping[str, Any]], power: float) -> list[dict[str, Any]]:
    """Of each axis, number of systems and difference, the design with the fewest ratings that reaches ``power``.

    Args:
        rows: of `power_rows`.
        power: the required power.

    Returns:
        ``{axis, systems, difference, raters, items, ratings, power}``; of designs with equally many ratings the one
        with more items; None if no design of the table reaches the power.
    """
    found = []
    for axis, systems, difference in dict.fromkeys((row["axis"], row["systems"], row["difference"]) for row in rows):
        what = {"axis": axis, "systems": systems, "difference": difference}
        enough = [row for row in rows if row["power"] >= power and what.items() <= row.items()]
        least = min(enough, key=lambda row: (row["raters"] * row["items"], row["raters"]), default=None)
        design: dict[str, Any] = dict.fromkeys(("raters", "items", "ratings", "power"))
        if least is not None:
            ratings = least["raters"] * least["items"] * systems
            design = {"raters": least["raters"], "items": least["items"], "ratings": ratings, "power": least["power"]}
        found.append({**what, **design})
    return found
