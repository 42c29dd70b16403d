"""The SAM Audio Judge: predicts listeners' ratings of an estimate from mixture, estimate and prompt.

    config          config.json
    processor       turns clips and texts into batches
    network         the layers, on tensors
    small_encoder   encoder of a small judge, made of the five modules below
    front_end       aligns, levels and compares spectra of mixture, estimate and residual
    spectral_features  similarity of spectral patterns, flatness, periodicity and pitch
    audio_encoder   log-mel spectrogram, audio embedding and sound-event tagger
    word_vectors    text embedding by static word vectors
    prompt_features  evidence of the prompt's sound: events and known recordings of its class
    model           SAJ: weights, audio in, scores out
    checkpoints     finds a judge's checkpoint; weights/ holds the shipped one
    scores          the predicted ratings
    metric          SAJ as a metric
    input_checks    detects clips that cannot be rated and prompts that are not understood
    training_mixtures  the mixtures that a judge was trained on
    embedding       embeddings of a small judge's audio encoder, for distances
    rationale       events of the prompt in mixture, estimate and residual, and the reason for a rating
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
    """Loads a judge by name ("saj-mini", "sam-audio-judge") or from a folder; options: see `SAJ.from_pretrained`."""
    from sam_audio_bench.judge.model import SAJ

    return SAJ.from_pretrained(place, **options)


def __getattr__(name: str) -> Any:
    """Imports torch only when a judge is used."""
    if name == "SAJ":
        from sam_audio_bench.judge.model import SAJ

        return SAJ
    if name == "JudgeScores":
        from sam_audio_bench.judge.scores import JudgeScores

        return JudgeScores
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
