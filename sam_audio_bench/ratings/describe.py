"""Summary of a listening test: counts, raters per stimulus, use of the scale, processing history."""

from __future__ import annotations

from typing import NotRequired, TypedDict

import numpy as np
import pandas as pd

from sam_audio_bench.ratings.matrices import NO_SYSTEM
from sam_audio_bench.ratings.table import Direction, Ratings

__all__ = ["HISTOGRAM_BINS", "AxisDescription", "Bin", "Description", "describe", "scale_use"]

HISTOGRAM_BINS = 10
"""Number of bins for scales with more steps than that."""


class Bin(TypedDict):
    """Number of ratings from ``low`` to ``high``."""

    low: float
    high: float
    count: int


class AxisDescription(TypedDict):
    """Summary of the ratings on one axis."""

    axis: str
    n: int
    mean: float
    sd: float | None  # None: one rating
    stimuli: int
    raters_min: float  # per stimulus
    raters_median: float
    raters_max: float
    repeated: int
    histogram: list[Bin]


class Description(TypedDict):
    """Summary of a test, as ``--json`` prints it."""

    counts: dict[str, int]
    scale: list[float] | None
    direction: Direction
    anonymous: bool
    metrics: list[str]
    history: list[dict[str, object]]
    controls: dict[str, int]  # rows by kind
    choices: NotRequired[dict[str, int]]  # of votes
    axes: NotRequired[list[AxisDescription]]  # of ratings


def describe(ratings: Ratings) -> Description:
    """Summarises a test as JSON values.

    Returns:
        ``counts`` of rows, raters, items, groups, systems, domains and sessions; ``scale``, ``direction``,
        ``anonymous``, ``metrics``; for ratings ``axes``, one record per axis with ``n, mean, sd, stimuli, raters_min,
        raters_median, raters_max, repeated, histogram``, for votes ``choices``; ``controls``, rows by kind;
        ``history``.
    """
    frame = ratings.frame
    names = ("rater", "item", "group", "domain", "session", *(("first",) if ratings.votes else ("system",)))
    counts = {"rows": len(frame), **{f"{name}s": int(frame[name].nunique()) for name in names}}
    if ratings.votes:
        counts["systems"] = len(set(frame["first"]) | set(frame["second"]))
        del counts["firsts"]
    found: Description = {
        "counts": counts,
        "scale": list(ratings.scale) if ratings.scale else None,
        "direction": ratings.direction,
        "anonymous": ratings.anonymous,
        "metrics": list(ratings.metrics),
        "history": [dict(entry) for entry in ratings.history],
        "controls": _count_kinds(frame),
    }
    if ratings.votes:
        found["choices"] = {str(name): int(count) for name, count in frame["choice"].value_counts().items()}
    else:
        rated = ratings.without_controls
        found["axes"] = [_describe_axis(name, rated[rated["axis"] == name], ratings) for name in ratings.axes]
    return found


def scale_use(scores: pd.Series, scale: tuple[float, float]) -> list[Bin]:
    """Counts ratings at each step of the scale, or in ten bins if there are more steps.

    Returns:
        ``{low, high, count}``; a step has low = high; the last bin includes its upper end.
    """
    values = scores.to_numpy(float)
    low, high = scale
    whole = bool((values == np.round(values)).all()) and float(low).is_integer() and float(high).is_integer()
    if whole and high - low <= HISTOGRAM_BINS:
        steps = np.arange(low, high + 1)
        return [{"low": float(step), "high": float(step), "count": int((values == step).sum())} for step in steps]
    edges = np.linspace(low, high, HISTOGRAM_BINS + 1) if high > low else np.array([low, low])
    counts, _ = np.histogram(values, bins=edges) if high > low else (np.array([len(values)]), edges)
    ends = zip(edges[:-1], edges[1:], counts, strict=True)
    return [{"low": float(a), "high": float(b), "count": int(count)} for a, b, count in ends]


def _describe_axis(name: str, rated: pd.DataFrame, ratings: Ratings) -> AxisDescription:
    scores = np.sort(rated["score"].to_numpy(float))
    keys = [rated["item"], rated["system"].fillna(NO_SYSTEM)]
    raters = rated.groupby(keys)["rater"].nunique()
    if "n_raters" in rated:
        raters = rated.groupby(keys)["n_raters"].sum()
    scale = ratings.scale or (float(scores[0]), float(scores[-1]))
    return {
        "axis": name,
        "n": len(scores),
        "mean": float(scores.mean()),
        "sd": float(scores.std(ddof=1)) if len(scores) > 1 else None,
        "stimuli": len(raters),
        "raters_min": float(raters.min()),
        "raters_median": float(raters.median()),
        "raters_max": float(raters.max()),
        "repeated": int(rated.duplicated(["rater", "item", "system"]).sum()),
        "histogram": scale_use(rated["score"], scale),
    }


def _count_kinds(frame: pd.DataFrame) -> dict[str, int]:
    if "kind" not in frame:
        return {}
    return {str(kind): int(count) for kind, count in frame["kind"].value_counts().items() if kind != "rating"}
