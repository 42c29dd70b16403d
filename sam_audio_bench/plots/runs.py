"""The kinds of figures of runs, by name. Every kind draws a panel a task, and needs no torch.

What lies too far off for an axis is drawn at its end as an arrow, never left out.
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
    """What a figure shows, and how it is drawn from runs and one metric, or as many as it takes."""

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
"""By the name that ``--kind`` takes."""


def draw(kind: str, data: RunData, metrics: Sequence[str], separators: Sequence[str] = ()) -> Plot:
    """A figure of runs.

    Args:
        kind: of `KINDS`.
        data: of the runs.
        metrics: ids, one, or for "scatter" one or two.
        separators: names of those to draw; none: all.

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
