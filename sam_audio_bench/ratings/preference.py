"""Ranks from pairwise votes: strengths, ranks and net win rates with intervals, and transitivity of the votes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.table import Ratings
from sam_audio_bench.render.numbers import number, with_interval
from sam_audio_bench.stats.preference import BradleyTerry, bradley_terry, elo, transitivity

__all__ = ["PreferenceOverall", "PreferenceResult", "PreferenceRow", "prefer", "preference_texts"]

_OUTCOMES = {"first": 1, "second": -1, "tie": 0}


class PreferenceRow(TypedDict):
    """One system, as ``--json`` prints it."""

    axis: str
    by: str  # "all", or a value of the column ``by``
    system: str
    strength: float | None  # logits, mean 0
    ci_low: float | None
    ci_high: float | None
    elo: float | None
    rank: float | None
    rank_low: float | None
    rank_high: float | None
    net_win_rate: float | None
    net_low: float | None
    net_high: float | None
    wins: int
    losses: int
    ties: int
    n: int  # votes
    status: str
    method: str


class PreferenceOverall(TypedDict):
    """Statistics over all systems of one axis, as ``--json`` prints them."""

    axis: str
    by: str
    votes: int
    order: float | None  # advantage of the first position, logits
    order_low: float | None
    order_high: float | None
    tie: float | None
    components: list[list[str]]  # systems that chains of comparisons link
    circular: int
    triads: int
    transitivity: float | None
    p: float | None


@dataclass(frozen=True, kw_only=True)
class PreferenceResult:
    """Rows as ``--json`` prints them, statistics over all systems, and warnings."""

    rows: list[PreferenceRow]
    overall: list[PreferenceOverall]
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
            _fit(part, (str(axis), value), found, anonymous=ratings.anonymous, order_effect=order_effect, prior=prior,
                 resamples=resamples, seed=seed)  # fmt: skip
    return found


def preference_texts(row: PreferenceRow) -> dict[str, str]:
    """Formats a row of `prefer` as texts, by column."""
    return {
        "system": row["system"],
        "strength": with_interval(row["strength"], row["ci_low"], row["ci_high"], 2),
        "rank": with_interval(row["rank"], row["rank_low"], row["rank_high"], 0),
        "net win rate": with_interval(row["net_win_rate"], row["net_low"], row["net_high"], 2),
        "wins-ties-losses": f"{row['wins']}-{row['ties']}-{row['losses']}",
        "elo": number(row["elo"], 0),
    }


def _fit(
    votes: Any, place: tuple[str, str], found: PreferenceResult, *, anonymous: bool, seed: int, **options: Any
) -> None:
    systems = sorted({*votes["first"], *votes["second"]})
    index = {name: place for place, name in enumerate(systems)}
    first = votes["first"].map(index).to_numpy(np.int64)
    second = votes["second"].map(index).to_numpy(np.int64)
    outcome = votes["choice"].map(_OUTCOMES).to_numpy(np.int64)
    raters = None if anonymous else votes["rater"].tolist()
    fit = bradley_terry(first, second, outcome, systems=len(systems), raters=raters, seed=seed, **options)
    rows = [_row(place, name, fit, at) for at, name in enumerate(systems)]
    found.rows.extend(sorted(rows, key=lambda row: (row["strength"] is None, -(row["strength"] or 0.0))))
    triads = transitivity(first, second, outcome, systems=len(systems), seed=seed)
    found.overall.append(
        {
            "axis": place[0],
            "by": place[1],
            "votes": len(votes),
            "order": fit.order.value,
            "order_low": fit.order.low,
            "order_high": fit.order.high,
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
            f"{', '.join(place)}: systems of different groups were never compared, directly or through "
            f"others, so their order is unknown: {parts}"
        )


def _row(place: tuple[str, str], name: str, fit: BradleyTerry, at: int) -> PreferenceRow:
    strength, rank, net = fit.strengths[at], fit.ranks[at], fit.net_win_rate[at]
    return {
        "axis": place[0],
        "by": place[1],
        "system": name,
        "strength": strength.value,
        "ci_low": strength.low,
        "ci_high": strength.high,
        "elo": None if strength.value is None else elo(strength.value),
        "rank": rank.value,
        "rank_low": rank.low,
        "rank_high": rank.high,
        "net_win_rate": net.value,
        "net_low": net.low,
        "net_high": net.high,
        "wins": fit.wins[at],
        "losses": fit.losses[at],
        "ties": fit.ties[at],
        "n": fit.wins[at] + fit.losses[at] + fit.ties[at],
        "status": str(strength.status),
        "method": fit.method,
    }
