"""The SAM Audio Judge: predicts listeners' ratings of an estimate from mixture, estimate and prompt.

    config          config.json
    processor       turns clips and texts into batches
    network         the layers, on tensors
    small_encoder   encoder of a small judge, made of the four modules below
    front_end       aligns, levels and compares spectra of mixture, estimate and residual
    audio_encoder   log-mel spectrogram, audio embedding and sound-event tagger
    word_vectors    text embedding by static word vectors
    prompt_marks    events and known recordings of a prompt's class in a sound
    model           SAJ: weights, audio in, scores out
    checkpoints     finds a judge's checkpoint; weights/ holds the shipped one
    scores          the predicted ratings
    metric          SAJ as a metric
    remarks         clips that cannot be judged, prompts that are not understood
    trained_on      the mixtures that a judge was trained on
    heard           events of the prompt in mixture, answer and residual, and the reason for a rating
    explain         figure of a judge's ratings over time
    listeners       agreement of a judge with listening tests
    training        trains a judge from ratings
    tiny            small random judges in the official format

Importing this package does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from sam_audio_bench.judge.model import SAJ
    from sam_audio_bench.judge.scores import JudgeScores
    from sam_audio_bench.nn.hub import Checkpoint

__all__ = ["SAJ", "JudgeScores", "load"]


def load(place: str | Path | Checkpoint = "saj-mini", **options: Any) -> SAJ:
    """A judge by name, "saj-mini" or "sam-audio-judge", or from a folder; options of `SAJ.from_pretrained`."""
    from sam_audio_bench.judge.model import SAJ

    return SAJ.from_pretrained(place, **options)


def __getattr__(name: str) -> Any:
    """Imports torch when a judge is asked for, and not before."""
    if name == "SAJ":
        from sam_audio_bench.judge.model import SAJ

        return SAJ
    if name == "JudgeScores":
        from sam_audio_bench.judge.scores import JudgeScores

        return JudgeScores
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
