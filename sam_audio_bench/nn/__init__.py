"""The networks of SAM Audio, from papers, key names and measured tensors; no code of the official repository.

    config          config.json
    hub             where a checkpoint lies
    checkpoint      weights from a file into a network
    layers          norms, rotations and residual blocks that the transformers share
    codec           DAC-VAE
    watermark       the mark that its decoder leaves
    streaming       its layers, piece by piece
    dit             the diffusion transformer
    conditioning    spans and video, frame by frame
    text, vision    the encoders of text and masked video
    peav            the transformer of the judge and the span predictor
    span_predictor  PE-A-Frame
    flow            the differential equation, whole or in windows
    model           all of it: SAMAudio
    upstream        the reference's resampler, for comparisons
    tiny            small random checkpoints in the official format

Importing this package does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam_audio_bench.nn.model import SAMAudio

__all__ = ["SAMAudio"]


def __getattr__(name: str) -> Any:
    """Imports torch when a network is asked for, and not before."""
    if name == "SAMAudio":
        from sam_audio_bench.nn.model import SAMAudio

        return SAMAudio
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
