"""Narrowband PESQ; the wideband score is in `speech`."""

from __future__ import annotations

from sam_audio_bench.metrics.catalogue import metric_ids_of
from sam_audio_bench.metrics.speech import PESQ, Signal
from sam_audio_bench.types import Score, Status

__all__ = ["NarrowbandPESQ"]


class NarrowbandPESQ(PESQ):
    """PESQ, narrowband (ITU-T P.862 with the mapping of P.862.1), MOS-LQO above 0.999 and up to 4.55, at 16 kHz.

    Statuses, lengths and the library are those of `speech.PESQ`.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.narrowband:NarrowbandPESQ")
    lowest = 0.999  # the limit of the mapping of P.862.1

    def _score_segment(self, reference: Signal, estimate: Signal) -> Score:
        value = self._pesq(reference, estimate)
        if value is not None:
            return Score(value, Status.OK)
        voiced = self._pesq(reference, reference) is not None
        return Score(self.lowest, Status.SILENT_ESTIMATE) if voiced else Score(None, Status.SILENT_REFERENCE)

    def _pesq(self, reference: Signal, estimate: Signal) -> float | None:
        """Returns the score; None if PESQ finds no utterance in one of the signals."""
        import pesq

        if not reference.any() or not estimate.any():
            return None
        try:
            return float(pesq.pesq(self.rate, reference, estimate, "nb"))
        except pesq.NoUtterancesError:
            return None
