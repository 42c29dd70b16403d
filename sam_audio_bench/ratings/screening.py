"""Screening of raters: optional rules, with a record of every exclusion.

Rules of ITU-T P.808 apply to a session (one assignment of a crowd worker), the others to a rater. Limits of BS.1534-3
are given on its scale from 0 to 100 and mapped to the scale of the test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.matrices import rater_matrix
from sam_audio_bench.ratings.table import Ratings
from sam_audio_bench.stats.reliability import leave_one_out

__all__ = ["PRESETS", "RULES", "Exclusion", "Rule", "ScreeningResult", "applicable_rules", "screen"]

_MIN_RATINGS = 5  # ratings that are needed to assess a rater
_HIDDEN_SHARE = 0.15  # BS.1534-3: in more than 15 % of the trials


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """Why a rater or one of their sessions was excluded."""

    rule: str
    rater: str
    session: str | None  # None: all of the rater's
    value: float
    limit: float
    why: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A screening rule.

    ``statistic`` returns the values to compare with ``limit``, by (rater, session) or by rater; NaN: not applicable.
    """

    summary: str
    limit: float  # the default
    needs: str  # required data of the table
    by_session: bool
    below: bool  # whether values below the limit are excluded, or those above it
    statistic: Callable[[Ratings], pd.Series]


@dataclass(frozen=True, kw_only=True)
class ScreeningResult:
    """The remaining ratings, the exclusions by rule, and notes about rules that could not be applied."""

    ratings: Ratings
    exclusions: tuple[Exclusion, ...]
    notes: tuple[str, ...]
    rows_before: int

    @property
    def rows_after(self) -> int:
        """Number of remaining rows."""
        return len(self.ratings.frame)


def screen(ratings: Ratings, limits: Mapping[str, float | None]) -> ScreeningResult:
    """Applies each rule to all ratings, regardless of exclusions by other rules.

    Args:
        ratings: a table of ratings with named raters.
        limits: by name of a rule of `RULES`; None: its default limit.

    Raises:
        UsageError: no rule, an unknown one, one without its required data, anonymous raters, or votes; or all
            ratings would be excluded.
    """
    _check(ratings, limits)
    exclusions: list[Exclusion] = []
    notes: list[str] = []
    for name, given in limits.items():
        rule = RULES[name]
        limit = rule.limit if given is None else given
        values = rule.statistic(ratings)
        unsure = int(values.isna().sum())
        if unsure:
            notes.append(f"{name}: {unsure} of {len(values)} could not be judged and stay")
        bad = values[(values < limit) if rule.below else (values > limit)]
        exclusions += [_exclude(name, rule, key, float(value), limit) for key, value in bad.sort_index().items()]
    frame = ratings.frame
    gone = _excluded_rows(frame, exclusions)
    kept = frame[~gone].reset_index(drop=True)
    if kept[kept["kind"].fillna("rating") == "rating"].empty if "kind" in kept else kept.empty:
        raise UsageError(
            f"expected rules that keep some answers, found that all would be dropped: {_count_by_rule(exclusions)}"
        )
    record = {
        "step": "screen",
        "rules": {name: RULES[name].limit if given is None else given for name, given in limits.items()},
        "dropped_rows": int(gone.sum()),
        "dropped": [f"{d.rater}{f' in {d.session}' if d.session else ''}: {d.rule}, {d.why}" for d in exclusions],
    }
    return ScreeningResult(
        ratings=ratings.with_frame(kept, record),
        exclusions=tuple(exclusions),
        notes=tuple(notes),
        rows_before=len(frame),
    )


def applicable_rules(ratings: Ratings, names: Sequence[str]) -> list[str]:
    """Returns the rules in ``names`` for which the table has the required data."""
    return [name for name in names if _has_required_data(ratings.frame, RULES[name].needs)]


def _check(ratings: Ratings, limits: Mapping[str, float | None]) -> None:
    if ratings.votes:
        raise UsageError("expected ratings to screen, found votes")
    if ratings.anonymous:
        raise UsageError("expected named raters, found anonymous ones, who cannot be assessed by their other ratings")
    if not limits:
        raise UsageError(f"expected at least one rule of {', '.join(RULES)}, found none")
    for name in limits:
        if name not in RULES:
            raise UsageError(f"expected rules among {', '.join(RULES)}, found {name!r}")
        if not _has_required_data(ratings.frame, RULES[name].needs):
            raise UsageError(
                f"expected {RULES[name].needs} in the ratings for the rule {name}, found none; leave it out"
            )


def _has_required_data(frame: pd.DataFrame, need: str) -> bool:
    kind = need.partition(" of kind ")[2]
    if kind:
        return "kind" in frame and bool((frame["kind"] == kind).any())
    column = need.removeprefix("the column ")
    return column == need or (column in frame and bool(frame[column].notna().any()))


def _exclude(name: str, rule: Rule, key: Any, value: float, limit: float) -> Exclusion:
    rater, session = key if isinstance(key, tuple) else (key, None)
    relation = "<" if rule.below else ">"
    why = f"{rule.summary}: {value:.3g} {relation} {limit:g}"
    return Exclusion(rule=name, rater=str(rater), session=session or None, value=value, limit=limit, why=why)


def _excluded_rows(frame: pd.DataFrame, exclusions: Sequence[Exclusion]) -> pd.Series:
    raters = {drop.rater for drop in exclusions if drop.session is None}
    sessions = {(drop.rater, drop.session) for drop in exclusions if drop.session is not None}
    pairs = pd.MultiIndex.from_arrays([frame["rater"], frame["session"].fillna("")])
    there = pairs.isin(sorted(sessions)) if sessions else np.zeros(len(frame), dtype=bool)
    return frame["rater"].isin(raters) | there


def _count_by_rule(exclusions: Sequence[Exclusion]) -> str:
    rules = dict.fromkeys(drop.rule for drop in exclusions)
    return ", ".join(f"{sum(drop.rule == rule for drop in exclusions)} by {rule}" for rule in rules)


def _session_keys(frame: pd.DataFrame) -> list[pd.Series]:
    return [frame["rater"], frame["session"].fillna("")]


def _of_kind(ratings: Ratings, kind: str) -> pd.DataFrame:
    return ratings.frame[ratings.frame["kind"] == kind]


def _wrong_traps(ratings: Ratings) -> pd.Series:
    traps = _of_kind(ratings, "trap")
    wrong = (traps["score"] != traps["expected"]) & traps["expected"].notna()
    return wrong.astype("float64").groupby(_session_keys(traps)).sum()


def _gold_error(ratings: Ratings) -> pd.Series:
    golds = _of_kind(ratings, "gold")
    return (golds["score"] - golds["expected"]).abs().groupby(_session_keys(golds)).max()


def _variance(ratings: Ratings) -> pd.Series:
    """Population variance, as in the P.808 toolkit, of the axis that varies most."""
    rated = ratings.without_controls
    by_axis = rated.groupby([*_session_keys(rated), rated["axis"]])["score"]
    found = by_axis.var(ddof=0).where(by_axis.count() > 1)
    return found.groupby(level=[0, 1]).max()


def _unplayed(ratings: Ratings) -> pd.Series:
    frame = ratings.frame
    missed = frame["played"].map({True: 0.0, False: 1.0})
    return missed.groupby(_session_keys(frame)).sum()


def _map_to_scale(ratings: Ratings, score: float) -> float:
    """Maps a score from the scale of BS.1534 to that of the test, from its worse to its better end."""
    low, high = ratings.scale or (0.0, 100.0)
    if ratings.direction == "lower":
        low, high = high, low
    return low + (high - low) * score / 100


def _is_above(ratings: Ratings, scores: pd.Series) -> pd.Series:
    bound = _map_to_scale(ratings, 90)
    return scores > bound if ratings.direction == "higher" else scores < bound


def _is_below(ratings: Ratings, scores: pd.Series) -> pd.Series:
    bound = _map_to_scale(ratings, 90)
    return scores < bound if ratings.direction == "higher" else scores > bound


def _missed_references(ratings: Ratings) -> pd.Series:
    hidden = _of_kind(ratings, "hidden_reference")
    return _is_below(ratings, hidden["score"]).astype("float64").groupby(hidden["rater"]).mean()


def _praised_anchors(ratings: Ratings) -> pd.Series:
    """Uses the axis overall if there is one: the anchor of a planned test may have perfect recall."""
    anchors = _of_kind(ratings, "anchor")
    overall = anchors["axis"] == "overall"
    anchors = anchors[overall] if overall.any() else anchors
    return _is_above(ratings, anchors["score"]).astype("float64").groupby(anchors["rater"]).mean()


def _agreement(ratings: Ratings) -> pd.Series:
    """Pearson correlation with the mean of the other raters, averaged over axes; NaN: too few common stimuli."""
    found = []
    for axis in ratings.axes:
        known = rater_matrix(ratings.without_controls[ratings.without_controls["axis"] == axis])
        estimates = leave_one_out(known.scores, resamples=1).raters
        values = [np.nan if one.value is None or one.n < _MIN_RATINGS else one.value for one in estimates]
        found.append(pd.Series(values, index=list(known.raters)))
    return pd.concat(found, axis=1).mean(axis=1)


def _straight_lining(ratings: Ratings) -> pd.Series:
    """Share of a rater's most frequent score, on the axis where it is smallest."""
    rated = ratings.without_controls
    counts = rated.groupby(["rater", "axis", "score"]).size()
    totals = counts.groupby(level=[0, 1]).sum()
    share = (counts.groupby(level=[0, 1]).max() / totals).where(totals >= _MIN_RATINGS)
    return share.groupby(level=0).min()


def _speed(ratings: Ratings) -> pd.Series:
    rated = ratings.without_controls
    return rated["time"].groupby(rated["rater"]).median()


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "trap": Rule("wrong answers to traps", 0, "answers of kind trap", True, False, _wrong_traps),
        "gold": Rule("distance from the gold answer", 1, "answers of kind gold", True, False, _gold_error),
        "variance": Rule("variance of the scores", 0.1, "scores", True, True, _variance),
        "playback": Rule("clips that were not played", 0, "the column played", True, False, _unplayed),
        "hidden-reference": Rule("share of hidden references scored below 90 %", _HIDDEN_SHARE,
                                 "answers of kind hidden_reference", False, False, _missed_references),
        "anchor": Rule("share of anchors scored above 90 %", _HIDDEN_SHARE,
                       "answers of kind anchor", False, False, _praised_anchors),
        "agreement": Rule("correlation with the other raters", 0.25, "scores", False, True, _agreement),
        "straight-lining": Rule("share of the most frequent score", 0.95, "scores", False, False, _straight_lining),
        "speed": Rule("median seconds an answer", 2, "the column time", False, True, _speed),
    }
)  # fmt: skip
"""Rules by name."""

PRESETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"p808": ("trap", "gold", "variance", "playback"), "bs1534": ("hidden-reference", "anchor")}
)
"""Rules of the recommendations; rules of a preset without the required data are skipped and reported."""
