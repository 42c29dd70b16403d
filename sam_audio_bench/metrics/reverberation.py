"""`srmr`: does a voice move as voices do, or as in a large room? From the answer alone."""

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
    """`functional.modulation.srmr` of the answer at 16 kHz; a reference is only asked whether there is a voice.

    It needs no library of the extra: torchmetrics has it too, but asks for torchaudio, whose builds are bound to those
    of torch. The values are the same.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.reverberation:SRMR")
    imports = ()
    rate = 16_000
    shortest = 0.256  # one window
    lowest = 0.0
    intrusive = False

    @property
    def options(self) -> Options:
        """None: no library decides the values."""
        return {}

    def measure(self, reference: Signal, estimate: Signal) -> Sequence[Score | None]:
        """The ratio ``[1]``."""
        return [Score(float(srmr(estimate=torch.from_numpy(estimate), rate=self.rate)), Status.OK)]
