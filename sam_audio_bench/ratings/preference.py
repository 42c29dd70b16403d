"""Ranks from pairwise votes: strengths, ranks and net win rates with intervals, and transitivity of the votes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.table import Ratings
from sam_audio_bench.render.numbers import number, with_interval
from sam_audio_bench.stats.estimate import Estimate
from sam_audio_bench.stats.preference import bradley_terry, elo, transitivity

__all__ = ["PreferenceResult", "prefer", "preference_texts"]

_OUTCOMES = {"first": 1, "second": -1, "tie": 0}


@dataclass(frozen=True, kw_only=True)
class PreferenceResult:
    """Rows as ``--json`` prints them, statistics over all systems, and warnings."""

    rows: list[dict[str, Any]]
    overall: list[dict[str, Any]]
    warnings: list[str]


def prefer(
    ratings: Ratings, *, by: str | None = None, order_effect: bool = True, prior: float = 3.0,
    resamples: int = 1000, seed: int = 0,
) -> PreferenceResult:  # fmt: skip
    """Fits the Bradley–Terry model with Davidson's ties to each axis, and to each value of ``by``.

    Args:
        ratings: a table of votes.
        by: a column; each of its values gets separate rows, after ``all``.
        order_effect: whether to estimate an effect of the order of presentation.
        prior: standard deviation of the strengths in logits; 0: none.
        resamples: of the intervals, which resample raters, or votes where raters are anonymous.
        seed: of the intervals.

    Returns:
        Rows ``{axis, by, system, strength, ci_low, ci_high, elo, rank, rank_low, rank_high, net_win_rate, net_low,
        net_high, wins, losses, ties, n, status, method}``, best first; overall ``{axis, by, votes, order, order_low,
        order_high, tie, components, circular, triads, transitivity, p}``.

    Raises:
        UsageError: a table of ratings, or an unknown column.
    """
    if not ratings.votes:
        raise UsageError("expected votes, found ratings; import pairwise votes with `sabench ratings import`")
    frame = ratings.frame
    if by is not None and by not in frame:
        raise UsageError(
            f"expected --by to name a column of the votes, found {by!r}; it has {', '.join(map(str, frame.columns))}"
        )
    found = PreferenceResult(rows=[], overall=[], warnings=[])
    for axis, votes in frame.groupby("axis", sort=False):
        parts = [("all", votes), *((str(v), part) for v, part in (votes.groupby(by, sort=True) if by else ()))]
        for value, part in parts:
            place = {"axis": str(axis), "by": value}
            _fit(part, place, found, anonymous=ratings.anonymous, order_effect=order_effect, prior=prior,
                 resamples=resamples, seed=seed)  # fmt: skip
    return found


def preference_texts(row: Mapping[str, Any]) -> dict[str, str]:
    """A row of `prefer` as formatted text, by column."""
    return {
        "system": row["system"],
        "strength": with_interval(row["strength"], row["ci_low"], row["ci_high"], 2),
        "rank": with_interval(row["rank"], row["rank_low"], row["rank_high"], 0),
        "net win rate": with_interval(row["net_win_rate"], row["net_low"], row["net_high"], 2),
        "wins-ties-losses": f"{row['wins']}-{row['ties']}-{row['losses']}",
        "elo": number(row["elo"], 0),
    }


def _fit(
    votes: Any, place: dict[str, str], found: PreferenceResult, *, anonymous: bool, seed: int, **options: Any
) -> None:
    systems = sorted({*votes["first"], *votes["second"]})
    index = {name: place for place, name in enumerate(systems)}
    first = votes["first"].map(index).to_numpy(np.int64)
    second = votes["second"].map(index).to_numpy(np.int64)
    outcome = votes["choice"].map(_OUTCOMES).to_numpy(np.int64)
    raters = None if anonymous else votes["rater"].tolist()
    fit = bradley_terry(first, second, outcome, systems=len(systems), raters=raters, seed=seed, **options)
    rows = []
    for at, name in enumerate(systems):
        strength = fit.strengths[at]
        row = {
            **place,
            "system": name,
            **_three("strength", "ci", strength),
            "elo": None if strength.value is None else elo(strength.value),
            **_three("rank", "rank", fit.ranks[at]),
            **_three("net_win_rate", "net", fit.net_win_rate[at]),
        }
        counts = {"wins": fit.wins[at], "losses": fit.losses[at], "ties": fit.ties[at]}
        row |= {**counts, "n": sum(counts.values()), "status": str(strength.status), "method": fit.method}
        rows.append(row)
    found.rows.extend(sorted(rows, key=lambda row: (row["strength"] is None, -(row["strength"] or 0.0))))
    triads = transitivity(first, second, outcome, systems=len(systems), seed=seed)
    found.overall.append(
        {
            **place,
            "votes": len(votes),
            **_three("order", "order", fit.order),
            "tie": fit.tie,
            "components": [[systems[at] for at in part] for part in fit.components],
            "circular": triads.circular,
            "triads": triads.triads,
            "transitivity": triads.coefficient,
            "p": triads.p,
        }
    )
    if len(fit.components) > 1:
        parts = "; ".join(", ".join(systems[at] for at in part) for part in fit.components)
        found.warnings.append(
            f"{place['axis']}, {place['by']}: systems of different groups were never compared, directly or through "
            f"others, so their order is unknown: {parts}"
        )


def _three(name: str, bounds: str, estimate: Estimate) -> dict[str, float | None]:
    return {name: estimate.value, f"{bounds}_low": estimate.low, f"{bounds}_high": estimate.high}
