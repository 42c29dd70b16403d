"""What a column says of its separators: who is surely better than doing nothing.

The statistics are those of `sam_audio_bench.stats.verdict`. With many lines all pairs would take hours, and Holm over
as many would tell no two apart; then every line is compared with the mixture alone, and none can be told from the best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sam_audio_bench.stats.paired import holm
from sam_audio_bench.stats.ranking import Column, Values
from sam_audio_bench.stats.verdict import BASELINE, Gap, Verdict, decide

__all__ = ["against", "column_verdict"]

_MOST_PAIRED = 32  # separators of which all pairs are compared
_SWAPS_A_LINE = 40  # resamples for each hypothesis: the smallest p by Holm is half of 5 %


def column_verdict(column: Column, lines: Mapping[str, Values], *, higher_is_better: bool) -> Verdict:
    """The verdict of a column.

    Args:
        column: what is ranked.
        lines: of the separators that compete, and of the mixture, by name.
        higher_is_better: direction.
    """
    if len(lines) <= _MOST_PAIRED:
        return decide(column, lines, higher_is_better=higher_is_better)
    column = replace(column, resamples=max(column.resamples, _SWAPS_A_LINE * len(lines)))
    nothing = {BASELINE: lines[BASELINE]} if BASELINE in lines else {}
    found = [
        decide(column, {name: values, **nothing}, higher_is_better=higher_is_better, intervals=False)
        for name, values in lines.items()
    ]
    gaps = {name: gap for one in found for name, gap in one.over_baseline.items()}
    sign = -1 if higher_is_better else 1
    means = {name: float(column.samples(values)[0]) for name, values in lines.items()}
    order = sorted(lines, key=lambda name: (sign * means[name], name))
    leader, *behind = (name for name in order if name != BASELINE)
    gaps |= decide(column, {leader: lines[leader], **nothing}, higher_is_better=higher_is_better).over_baseline
    return Verdict(
        order=tuple(order),
        tasks=column.tasks,
        baseline=BASELINE if nothing else None,
        behind_best={name: Gap(items=0, recordings=0) for name in behind},
        over_baseline={
            name: replace(gap, p=p)
            for (name, gap), p in zip(gaps.items(), holm([gap.p for gap in gaps.values()]), strict=True)
        },
        rivals=frozenset(lines),
    )


def against(verdict: Verdict, name: str) -> str:
    """A line against the mixture: "better" and "worse" where that is sure, else "unsure"; "" without a mixture."""
    gap = verdict.over_baseline.get(name)
    return "" if gap is None else "better" if gap.ahead else "worse" if gap.behind else "unsure"
