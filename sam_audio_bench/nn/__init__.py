"""The networks of SAM Audio, written from papers, key names and measured tensors; no official code is used.

    config          config.json
    hub             finds checkpoints, in folders or on the Hugging Face Hub
    checkpoint      loads weights from a file into a network
    layers          norms, rotary embeddings and residual blocks shared by the transformers
    codec           DAC-VAE
    watermark       the watermark that the codec's decoder embeds
    streaming       layers that process a signal in chunks
    dit             the diffusion transformer
    conditioning    conditioning on spans and video, per frame
    text, vision    encoders of text and masked video
    peav            the transformer of the judge and the span predictor
    span_predictor  PE-A-Frame
    flow            flow-matching solver, in one piece or in windows (multi-diffusion)
    model           SAMAudio, the complete separator
    upstream        resampler of the reference implementation, for comparisons
    tiny            small random checkpoints in the official format

Importing this package does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam_audio_bench.nn.model import SAMAudio

__all__ = ["SAMAudio"]


def __getattr__(name: str) -> Any:
    """Imports `SAMAudio`, and with it torch, on first access."""
    if name == "SAMAudio":
        from sam_audio_bench.nn.model import SAMAudio

        return SAMAudio
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
