"""`srmr`: reverberation of the voice in the estimate, without a reference."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sam_audio_bench.identity import Options
from sam_audio_bench.metrics.catalogue import metric_ids_of
from sam_audio_bench.metrics.functional.modulation import srmr
from sam_audio_bench.metrics.speech import Signal, SpeechMetric
from sam_audio_bench.types import Score, Status

__all__ = ["SRMR"]


class SRMR(SpeechMetric):
    """`functional.modulation.srmr` of the estimate at 16 kHz; a reference only shows whether a voice is present.

    It needs no library of the extra: torchmetrics' implementation has the same values, but requires torchaudio, whose
    builds are tied to those of torch.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.reverberation:SRMR")
    imports = ()
    rate = 16_000
    shortest = 0.256  # one window
    lowest = 0.0
    intrusive = False

    @property
    def options(self) -> Options:
        """Empty: the values do not depend on a library."""
        return {}

    def measure(self, reference: Signal, estimate: Signal) -> Sequence[Score | None]:
        """Returns the ratio ``[1]``."""
        return [Score(float(srmr(estimate=torch.from_numpy(estimate), rate=self.rate)), Status.OK)]
