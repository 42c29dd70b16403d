"""`speaker_similarity`: similarity of the voices in estimate and reference."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np

from sam_audio_bench.identity import Options
from sam_audio_bench.metrics.catalogue import metric_ids_of
from sam_audio_bench.metrics.speech import Signal, SpeechMetric
from sam_audio_bench.types import Score, Status

__all__ = ["SpeakerSimilarity"]

_LEVEL = 10 ** (-30 / 20)  # RMS to which the package amplifies quieter signals


class SpeakerSimilarity(SpeechMetric):
    """Cosine of the voices of estimate and reference in the space of Resemblyzer (GE2E), from 0 to 1, at 16 kHz.

    The reference serves as enrolment: the same words by the same person. As in the package, pauses are removed by
    WebRTC's detector and windows of 1.6 s are averaged. Unlike the package, which only amplifies quiet signals, every
    signal is scaled to -30 dBFS first, so that the level does not matter. A clip below 1.6 s is ``too_short``. A
    reference in which no voice is detected is ``silent_reference``, such an estimate ``silent_estimate``, 0.

    Source: Wan et al., "Generalized end-to-end loss for speaker verification", ICASSP 2018.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.speaker:SpeakerSimilarity")
    library = "Resemblyzer"
    imports = ("resemblyzer", "webrtcvad", "librosa")
    remedy: ClassVar[str] = "pip install 'sam-audio-bench[speaker]' && pip install --no-deps Resemblyzer==0.1.4"
    rate = 16_000
    shortest = 1.6  # the network's window
    lowest = 0.0  # of vectors without negative entries

    @property
    def options(self) -> Options:
        """Versions of the package, which contains the weights, and of the library that computes its spectrograms."""
        return super().options | ({} if self.missing() else {"librosa": version("librosa")})

    def measure(self, reference: Signal, estimate: Signal) -> Sequence[Score | None]:
        """Returns the cosine ``[1]``."""
        voices = [self._voiced_parts(signal) for signal in (reference, estimate)]
        if not len(voices[0]):
            return [Score(None, Status.SILENT_REFERENCE)]
        if not len(voices[1]):
            return [Score(self.lowest, Status.SILENT_ESTIMATE)]
        one, other = (self._encoder.embed_utterance(voice).astype(np.float64) for voice in voices)
        cosine = float(one @ other / np.sqrt((one @ one) * (other @ other)))
        return [Score(min(cosine, 1.0), Status.OK)]

    def _voiced_parts(self, signal: Signal) -> Any:
        """Returns the voiced parts, float32, clipped, since the detector's 16-bit samples would wrap around."""
        import resemblyzer

        levelled = signal * (_LEVEL / np.sqrt(np.mean(signal**2)))
        return resemblyzer.trim_long_silences(np.clip(levelled, -1, 1).astype(np.float32))

    @cached_property
    def _encoder(self) -> Any:
        import resemblyzer

        return resemblyzer.VoiceEncoder("cpu", verbose=False)
