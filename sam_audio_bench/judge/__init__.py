"""The SAM Audio Judge: what listeners would say of a separation, from mixture, answer and prompt.

    config      config.json
    processor   clips and texts to batches
    network     the layers, on tensors
    small       how a small judge hears and reads, with listener, words and evidence
    model       SAJ: weights, audio in, scores out
    places      where judges are; weights/ holds the shipped one
    scores      what it says
    metric      SAJ as a metric
    explain     why it says so, as a picture
    training    from ratings to a judge
    tiny        small random judges in the official format

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
