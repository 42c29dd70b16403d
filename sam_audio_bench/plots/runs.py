"""The kinds of figures of runs, by name. Every kind draws one panel per task, and needs no torch.

Outliers beyond an axis are drawn as arrows at its end, never left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from sam_audio_bench.errors import UsageError, unknown_name
from sam_audio_bench.plots.base import Plot
from sam_audio_bench.plots.intervals import bars, box
from sam_audio_bench.plots.lines import RunData
from sam_audio_bench.plots.planes import pareto, scatter

__all__ = ["KINDS", "Kind", "draw"]


@dataclass(frozen=True)
class Kind:
    """Description and drawing function of a kind of figure, and how many metrics it can show."""

    summary: str
    draw: Callable[..., Plot]
    most_metrics: int = 1


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "bars": Kind("mean and interval of every separator", bars),
        "box": Kind("distribution over items, with the items as dots", box),
        "scatter": Kind("two separators, or two metrics, item by item", scatter, most_metrics=2),
        "pareto": Kind("quality against cost", pareto),
    }
)
"""Kinds by their name in ``--kind``."""


def draw(kind: str, data: RunData, metrics: Sequence[str], separators: Sequence[str] = ()) -> Plot:
    """Draws a figure of runs.

    Args:
        kind: a key of `KINDS`.
        data: data of the runs.
        metrics: ids of metrics: one, or for "scatter" one or two.
        separators: names of the separators to draw; empty: all.

    Raises:
        UsageError: a name that these runs do not have, more metrics than the kind draws, or nothing to draw.
    """
    if kind not in KINDS:
        raise unknown_name("kind of figure", kind, KINDS)
    most = KINDS[kind].most_metrics
    if not 1 <= len(metrics) <= most:
        raise UsageError(
            f"expected {'one metric' if most == 1 else f'1 to {most} metrics'} for {kind}, found {len(metrics)}"
        )
    return KINDS[kind].draw(data.only(separators), *metrics)
