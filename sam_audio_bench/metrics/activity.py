"""Agreement of the spans in which the estimate is active with the spans of the prompt."""

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
    """Compares the activity of the target estimate with the merged "+" spans of the prompt; needs no audio reference.

    Activity is determined by `functional.activity.active_spans` from the level relative to the estimate's own loudest
    250 ms, so that the estimate's gain does not matter. Windows cover all channels together, as in the reference
    implementation of SAM Audio; channels are never mixed down, whatever the run's stereo policy. "-" spans and the
    mixture are not used.

    An estimate without any activity scores 0 in every column, with status ``silent_estimate``: excluding it would
    reward silence. An item without "+" spans is not scored.

    Args:
        threshold: level in dB, relative to the loudest window, at or below which a window is silent.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.activity:SpanOverlap")
    in_blocks = True

    def __init__(self, threshold: float = -40.0) -> None:
        super().__init__()
        self.threshold = float(threshold)

    @property
    def options(self) -> Options:
        """Options that change the values, for ``run.json``."""
        return {"threshold": self.threshold}

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Returns merged IoU, recall and precision, and the IoU by the reference implementation's formula, per item."""
        return [self._row(item, separation) for item, separation in zip(items, separations, strict=True)]

    def _row(self, item: Item, separation: Separation) -> Row:
        prompted = [(start, end) for sign, start, end in item.query.prompt.spans if sign == "+"]
        if not prompted:
            return self._uniform_row(None)
        if not all_finite(separation.target.samples):
            return self._uniform_row(Status.NON_FINITE)
        silent = not has_sound(separation.target.samples)  # a silent clip below one window would count as active
        active = (
            [] if silent else active_spans(separation.target.samples, separation.target.rate, threshold=self.threshold)
        )
        status = Status.OK if active else Status.SILENT_ESTIMATE
        merged = span_overlap(reference=prompted, estimate=active)
        upstream = span_overlap(reference=prompted, estimate=active, merge=False)
        return tuple(Score(value, status) for value in (*merged, upstream.iou))
