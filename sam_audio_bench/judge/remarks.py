"""What makes a rating say nothing: clips that cannot be judged, and prompts that a judge does not understand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from sam_audio_bench.audio import to_mono
from sam_audio_bench.blocks import all_finite
from sam_audio_bench.judge.word_vectors import PromptRemark
from sam_audio_bench.metrics.functional import is_silent
from sam_audio_bench.types import Audio, Span, Status

if TYPE_CHECKING:
    from sam_audio_bench.judge.network import JudgeNetwork

__all__ = ["SHORTEST", "clip_fault", "prompt_remark"]

SHORTEST = 0.3
"""Seconds; of shorter clips a judge has no frame that is not mostly padding."""


def clip_fault(mixture: Audio, target: Audio) -> tuple[Status, str] | None:
    """Why an answer cannot be rated beside its mixture, as a status and as a sentence; None: it can.

    Judges hear the mean of the channels. A silent answer can be rated: what was asked for is missing. In a silent
    mixture nothing can be missing.
    """
    if (target.rate, target.length) != (mixture.rate, mixture.length):
        return Status.LENGTH_MISMATCH, (
            f"expected an answer as long as its mixture, {_size(mixture)}, found {_size(target)}; resample, cut or "
            "pad it"
        )
    if not all(all_finite(audio.samples) for audio in (mixture, target)):
        return Status.NON_FINITE, "expected finite samples in mixture and answer, found NaN or infinity"
    silent = [bool(is_silent(to_mono(audio).samples[0])) for audio in (mixture, target)]
    if silent[0]:
        status = Status.BOTH_SILENT if silent[1] else Status.SILENT_REFERENCE
        return status, "expected a mixture with sound, found silence, in which there is nothing to separate"
    if mixture.seconds < SHORTEST:
        return Status.TOO_SHORT, (
            f"expected clips of at least {SHORTEST} s, found {mixture.seconds:.3g} s: too short to be judged"
        )
    return None


def prompt_remark(judge: JudgeNetwork, text: str, spans: Sequence[Span] = ()) -> PromptRemark | None:
    """What a small judge does not understand of a prompt; None for others, whose text encoders read any words."""
    if judge.ear is None:
        return None
    if spans and not text.strip():
        return PromptRemark(
            "spans alone say when the sound is there and not what it is: the judge takes many wrong sounds for right "
            "ones; add a text",
            understood=True,
        )
    with torch.inference_mode():
        return judge.ear.words.remark(text, judge.processor.tokens, judge.ear.prototypes.texts)


def _size(audio: Audio) -> str:
    return f"{audio.seconds:.3f} s ({audio.length} samples at {audio.rate} Hz)"
