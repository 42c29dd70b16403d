"""States the findings of a listening test: the best system with its significance, and metrics that follow listeners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TypedDict

import numpy as np

from sam_audio_bench.ratings.agreement import OpinionRow
from sam_audio_bench.ratings.correlation import CorrelationRow, metric_directions
from sam_audio_bench.ratings.matrices import item_system_matrices, slices
from sam_audio_bench.ratings.preference import PreferenceOverall, PreferenceResult, PreferenceRow
from sam_audio_bench.ratings.table import Direction, Ratings
from sam_audio_bench.render.numbers import number, with_interval
from sam_audio_bench.render.text import pluralize
from sam_audio_bench.stats.paired import holm, paired_difference, smallest_p

__all__ = [
    "SystemDifferenceRow",
    "differences_of_systems",
    "metric_findings",
    "other_system",
    "preference_findings",
    "ranked_systems",
    "system_findings",
]

_ALPHA = 0.05
_NEGLIGIBLE = 1e-6  # logits, as exact as the fit
_MOST_NAMES = 6  # in a sentence; tables hold all
_TOO_FEW_RECORDINGS = " No two could be, whatever raters say: that takes more recordings, or from 14 on more resamples."
_USES = {
    "utterance": "how good a single answer is",
    "within_item": "which system did better on an item",
    "system": "which system is better overall",
}


class SystemDifferenceRow(TypedDict):
    """Difference of two systems on their common items, as in report.json."""

    axis: str
    first: str
    second: str
    value: float | None  # mean opinion of the first minus that of the second, in steps of the scale
    ci_low: float | None
    ci_high: float | None
    p: float | None
    p_holm: float | None  # over all pairs of the axis
    n: int  # items
    recordings: int


def differences_of_systems(ratings: Ratings, *, resamples: int = 2000, seed: int = 0) -> list[SystemDifferenceRow]:
    """Compares all pairs of systems on every axis, by swapping them on whole recordings (`paired_difference`).

    Args:
        ratings: a table of ratings.
        resamples: random swaps, with more than 13 recordings.
        seed: of the swaps.
    """
    found: list[SystemDifferenceRow] = []
    for axis, _, rated in slices(ratings):
        known = item_system_matrices(rated)
        groups = np.array(known.groups)
        rows = []
        for one, other in combinations(range(len(known.systems)), 2):
            both = np.isfinite(known.human[:, one]) & np.isfinite(known.human[:, other])
            second, first = known.human[both, other].tolist(), known.human[both, one].tolist()
            pair = paired_difference(second, first, groups[both].tolist(), resamples=resamples, seed=seed)
            row = SystemDifferenceRow(
                axis=axis, first=known.systems[one], second=known.systems[other], value=pair.value, ci_low=pair.low,
                ci_high=pair.high, p=pair.p, p_holm=None, n=pair.n, recordings=len(set(groups[both])),
            )  # fmt: skip
            rows.append(row)
        for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
            row["p_holm"] = p
        found += rows
    return found


def ranked_systems(ratings: Ratings, opinions: Sequence[OpinionRow], axis: str) -> list[OpinionRow]:
    """Returns the raw mean opinions of an axis over all ratings, the best system first."""
    sign = -1.0 if ratings.direction == "higher" else 1.0
    part = [row for row in opinions if (row["axis"], row["by"], row["method"]) == (axis, "all", "raw")]
    return sorted(part, key=lambda row: (row["value"] is None, sign * (row["value"] or 0.0)))


def system_findings(
    ratings: Ratings, opinions: Sequence[OpinionRow], differences: Sequence[SystemDifferenceRow], resamples: int = 2000
) -> list[str]:
    """States the best system per axis, and those that it is not significantly better than (Holm, all pairs, 5 %).

    Args:
        ratings: a table of ratings.
        opinions: from `opinion_rows`.
        differences: from `differences_of_systems`.
        resamples: of these differences.
    """
    found = []
    for axis in ratings.axes:
        ranked = [row for row in ranked_systems(ratings, opinions, axis) if row["value"] is not None]
        if len(ranked) < 2:
            found.append(f"{axis}: ratings of {pluralize(len(ranked), 'system')}, so that there is no order.")
            continue
        best = ranked[0]
        pairs = [row for row in differences if row["axis"] == axis]
        against = {other_system(row, best["system"]): row for row in pairs if best["system"] in _pair(row)}
        scale = f" on a scale from {ratings.scale[0]:g} to {ratings.scale[1]:g}" if ratings.scale else ""
        value = with_interval(best["value"], best["ci_low"], best["ci_high"])
        recordings = max(row["recordings"] for row in against.values())
        lead = _describe_lead(ranked, against, ratings.direction)
        found.append(
            f"{axis}: {best['system']} is rated best, {value}{scale}, {lead} (paired over "
            f"{pluralize(recordings, 'recording')}; Holm over {pluralize(len(pairs), 'pair')}, 5 %)."
            + ("" if len(pairs) * smallest_p(recordings, resamples) < _ALPHA else _TOO_FEW_RECORDINGS)
        )
    return found


def _describe_lead(
    ranked: Sequence[OpinionRow], against: Mapping[str, SystemDifferenceRow], direction: Direction
) -> str:
    """Describes the first system's lead over all others."""
    best, *others = (row["system"] for row in ranked)
    close = [name for name in others if not _is_better(best, against[name], direction)]
    if not close:
        return "and is better than every other system"
    if len(close) == len(against):
        return "but was not shown to be better than any other system"
    return f"but was not shown to be better than {_join_names(close)}; it is better than all others"


def other_system(row: SystemDifferenceRow, system: str) -> str:
    """Returns the other system of a pair."""
    return row["second"] if row["first"] == system else row["first"]


def _pair(row: SystemDifferenceRow) -> tuple[str, str]:
    return row["first"], row["second"]


def _is_better(system: str, row: SystemDifferenceRow, direction: Direction) -> bool:
    """Whether a system is significantly better on the common items of a pair."""
    if row["value"] is None or row["p_holm"] is None or row["p_holm"] >= _ALPHA:
        return False
    return (row["value"] > 0) is ((row["first"] == system) is (direction == "higher"))


def metric_findings(ratings: Ratings, rows: Sequence[CorrelationRow]) -> list[str]:
    """States which metrics follow listeners at each level, by Spearman's coefficient and its interval.

    A metric follows listeners if its interval excludes 0 on the side of its direction.
    """
    directions = metric_directions(ratings.metrics, ratings.direction)
    spearman = [row for row in rows if row["coefficient"] == "spearman"]
    found = []
    for axis in ratings.axes:
        for level, use in _USES.items():
            part = [row for row in spearman if (row["axis"], row["by"], row["level"]) == (axis, "all", level)]
            if part:
                found.append(f"{axis}, to tell {use}: {_describe_metrics(part, directions)}")
        values = dict.fromkeys(row["by"] for row in spearman if row["axis"] == axis and row["by"] != "all")
        for value in values:
            part = [row for row in spearman if (row["axis"], row["by"], row["level"]) == (axis, value, "utterance")]
            if part:
                found.append(
                    f"{axis}, {value} alone, to tell {_USES['utterance']}: {_describe_metrics(part, directions)}"
                )
    return found


def _describe_metrics(rows: Sequence[CorrelationRow], directions: Mapping[str, int]) -> str:
    """Describes all metrics at one level."""
    follow: list[tuple[float, CorrelationRow]] = []
    against: list[str] = []
    unsure: list[str] = []
    undefined: list[str] = []
    for row in rows:
        if row["value"] is None or row["ci_low"] is None or row["ci_high"] is None:
            undefined.append(row["metric"])
            continue
        sign = directions.get(row["metric"], 1 if row["value"] >= 0 else -1)
        low, high = sorted((sign * row["ci_low"], sign * row["ci_high"]))
        if low > 0:
            follow.append((-abs(row["value"]), row))
        else:
            (against if high < 0 else unsure).append(row["metric"])
    parts = []
    if follow:
        first, *others = (row for _, row in sorted(follow, key=lambda entry: entry[0]))
        value = with_interval(first["value"], first["ci_low"], first["ci_high"])
        ceiling = f", where √ICC allows {number(first['ceiling'])}" if first["ceiling"] is not None else ""
        parts.append(f"{first['metric']} follows listeners most closely, ρ = {value}{ceiling}")
        parts += _close_and_weaker(first, others)
    else:
        parts.append("no metric was shown to follow listeners" if against or unsure else "nothing can be said")
    rest = {"not shown for": unsure, "against their direction": against, "no interval for": undefined}
    for what, names in rest.items():
        if names:
            parts.append(f"{what}: {_join_names(names)}")
    return "; ".join(parts) + "."


def _close_and_weaker(first: CorrelationRow, others: Sequence[CorrelationRow]) -> list[str]:
    """Describes further metrics that follow listeners, and those that do so less closely, if that was tested."""
    letters = set(first["group"])
    close = [row["metric"] for row in others if letters & set(row["group"])]
    rest = [row["metric"] for row in others if row["metric"] not in close]
    what = (("not told apart from it", close), ("follow less closely" if letters else "also shown for", rest))
    return [f"{title}: {_join_names(names)}" for title, names in what if names]


def preference_findings(found: PreferenceResult) -> list[str]:
    """States the preferred system per axis, possible rivals, and a significant effect of the order of presentation."""
    texts = []
    for overall in found.overall:
        place = overall["axis"], overall["by"]
        rows = [row for row in found.rows if (row["axis"], row["by"]) == place]
        label = overall["axis"] if overall["by"] == "all" else f"{overall['axis']}, {overall['by']} alone"
        texts.append(f"{label}: {_describe_preferred(rows)}" + _describe_order_effect(overall))
    return texts


def _describe_preferred(rows: Sequence[PreferenceRow]) -> str:
    best = rows[0]
    if best["strength"] is None:
        return f"the votes give no order ({best['status']})."
    strength = with_interval(best["strength"], best["ci_low"], best["ci_high"])
    votes = f"{best['wins']} wins, {best['ties']} ties and {best['losses']} losses"
    text = f"{best['system']} is preferred most, strength {strength} logits ({votes}), "
    if best["rank_high"] is None:
        return text + "with no interval of its rank."
    if best["rank_high"] <= 1:
        return text + "and is first in 97.5 % of the resamples or more."
    rivals = [row["system"] for row in rows[1:] if row["rank_low"] is not None and row["rank_low"] <= 1]
    rank = f"but its rank may be anything from 1 to {number(best['rank_high'], 0)}"
    return text + rank + (f"; {_join_names(rivals)} may be first as well." if rivals else ".")


def _describe_order_effect(overall: PreferenceOverall) -> str:
    """Describes a significant effect of the order of presentation; "" if there is none."""
    low, high = overall["order_low"], overall["order_high"]
    if low is None or high is None or (low <= _NEGLIGIBLE and high >= -_NEGLIGIBLE):
        return ""
    effect = with_interval(overall["order"], low, high)
    place = "first" if low > 0 else "second"
    return f" What is heard {place} has an advantage, {effect} logits, which the strengths allow for."


def _join_names(names: Sequence[str]) -> str:
    """Joins names for a sentence.

    >>> _join_names(["a"]), _join_names(["a", "b", "c"]), _join_names(list("abcdefgh"))
    ('a', 'a, b and c', 'a, b, c, d, e, f and 2 more')
    """
    if len(names) > _MOST_NAMES:
        return f"{', '.join(names[:_MOST_NAMES])} and {len(names) - _MOST_NAMES} more"
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last
