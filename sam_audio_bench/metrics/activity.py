"""Spans of activity: does the answer sound when the prompt says that it should?"""

from __future__ import annotations

from collections.abc import Sequence

from sam_audio_bench.blocks import all_finite, has_sound
from sam_audio_bench.identity import Options
from sam_audio_bench.metrics.base import Metric, Row
from sam_audio_bench.metrics.catalogue import metric_ids_of
from sam_audio_bench.metrics.functional.activity import active_spans, span_overlap
from sam_audio_bench.types import Item, Score, Separation, Status

__all__ = ["SpanOverlap"]


class SpanOverlap(Metric):
    """Activity of the answer's target against the "+" spans of the prompt, both merged; no audio reference is needed.

    Activity is `functional.activity.active_spans`: a level relative to the answer's own loudest 250 ms, so that the
    answer's gain does not matter. Windows go over all channels together, as in the reference implementation of SAM
    Audio; channels are never mixed down, whatever the run's stereo policy. "-" spans and the mixture are not used.

    An answer in which nothing is active has 0 everywhere, with status ``silent_estimate``: 0 is what it deserves, and
    leaving it out would reward silence. An item without "+" spans is not asked.

    Args:
        threshold: dB below the loudest window from which on a window is silent.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.activity:SpanOverlap")
    in_blocks = True

    def __init__(self, threshold: float = -40.0) -> None:
        super().__init__()
        self.threshold = float(threshold)

    @property
    def options(self) -> Options:
        """What changes the values, for ``run.json``."""
        return {"threshold": self.threshold}

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Merged IoU, recall and precision, and the IoU by the reference implementation's formula, for each item."""
        return [self._row(item, answer) for item, answer in zip(items, separations, strict=True)]

    def _row(self, item: Item, answer: Separation) -> Row:
        wanted = [(start, end) for sign, start, end in item.query.prompt.spans if sign == "+"]
        if not wanted:
            return self._all(None)
        if not all_finite(answer.target.samples):
            return self._all(Status.NON_FINITE)
        silent = not has_sound(answer.target.samples)  # a silent clip below one window would count as active
        found = [] if silent else active_spans(answer.target.samples, answer.target.rate, threshold=self.threshold)
        status = Status.OK if found else Status.SILENT_ESTIMATE
        merged = span_overlap(reference=wanted, estimate=found)
        upstream = span_overlap(reference=wanted, estimate=found, merge=False)
        return tuple(Score(value, status) for value in (*merged, upstream.iou))
