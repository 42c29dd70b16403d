"""PESQ as telephones heard it: narrowband, beside the wideband score of `speech`."""

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
    lowest = 0.999  # what the mapping of P.862.1 tends to

    def _part(self, reference: Signal, estimate: Signal) -> Score:
        value = self._rated(reference, estimate)
        if value is not None:
            return Score(value, Status.OK)
        voiced = self._rated(reference, reference) is not None
        return Score(self.lowest, Status.SILENT_ESTIMATE) if voiced else Score(None, Status.SILENT_REFERENCE)

    def _rated(self, reference: Signal, estimate: Signal) -> float | None:
        """None where one of both has no utterance."""
        import pesq

        if not reference.any() or not estimate.any():
            return None
        try:
            return float(pesq.pesq(self.rate, reference, estimate, "nb"))
        except pesq.NoUtterancesError:
            return None
