"""Checks of a judge's input: detects clips that cannot be rated and prompts that the judge does not understand."""

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

__all__ = ["SHORTEST", "check_prompt", "find_clip_fault"]

SHORTEST = 0.3
"""Shortest clip in seconds; in shorter ones every frame of a judge is mostly padding."""


def find_clip_fault(mixture: Audio, target: Audio) -> tuple[Status, str] | None:
    """Returns why an estimate of a mixture cannot be rated, as a status and a sentence; None if it can.

    Judges use the mean of the channels. A silent estimate can be rated, since the target is missing from it. From a
    silent mixture nothing can be missing.
    """
    if (target.rate, target.length) != (mixture.rate, mixture.length):
        return Status.LENGTH_MISMATCH, (
            f"expected an estimate as long as its mixture, {_size(mixture)}, found {_size(target)}; resample, cut or "
            "pad it"
        )
    if not all(all_finite(audio.samples) for audio in (mixture, target)):
        return Status.NON_FINITE, "expected finite samples in mixture and estimate, found NaN or infinity"
    silent = [bool(is_silent(to_mono(audio).samples[0])) for audio in (mixture, target)]
    if silent[0]:
        status = Status.BOTH_SILENT if silent[1] else Status.SILENT_REFERENCE
        return status, "expected a mixture with sound, found silence, in which there is nothing to separate"
    if mixture.seconds < SHORTEST:
        return Status.TOO_SHORT, (
            f"expected clips of at least {SHORTEST} s, found {mixture.seconds:.3g} s: too short to be judged"
        )
    return None


def check_prompt(judge: JudgeNetwork, text: str, spans: Sequence[Span] = ()) -> PromptRemark | None:
    """Returns what a small judge does not understand in a prompt; None for others, which encode any words."""
    if judge.ear is None:
        return None
    if spans and not text.strip():
        return PromptRemark(
            "spans alone state when the target sounds but not what it is, so the judge mistakes many other sounds for "
            "it; add a text",
            understood=True,
        )
    with torch.inference_mode():
        return judge.ear.words.check_prompt(text, judge.processor.tokens, judge.ear.prototypes.texts)


def _size(audio: Audio) -> str:
    return f"{audio.seconds:.3f} s ({audio.length} samples at {audio.rate} Hz)"
