"""SAM Audio: codec, prompt encoders, and the transformer that predicts the flow, with official parameter names.

The network's input in each frame is the noisy state of target and residual, a slot that is zero at inference, and the
mixture's latents twice; features of spans and video are added to its projection, the text is used by cross-attention.

Letters: B batch, T frames, C width of a latent, D width of the transformer, S tokens, V width of the video features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from sam_audio_bench.devices import require_device
from sam_audio_bench.nn.checkpoint import check_strict, load_in_parts, open_weights, strip_prefix
from sam_audio_bench.nn.codec import DACVAE
from sam_audio_bench.nn.conditioning import AnchorEmbedding, VideoAlignment
from sam_audio_bench.nn.config import SAMAudioConfig
from sam_audio_bench.nn.dit import DiT, sinusoidal_embedding
from sam_audio_bench.nn.hub import Checkpoint, find_separator
from sam_audio_bench.nn.layers import Linear, linear
from sam_audio_bench.nn.text import TextEncoder
from sam_audio_bench.nn.vision import PerceptionEncoder

__all__ = ["Conditions", "SAMAudio"]

_ABSENT = ("text_encoder.", "visual_ranker.", "text_ranker.", "span_predictor.")
"""Prefixes of parameter names that official files omit, but other files may contain."""


@dataclass(frozen=True)
class Conditions:
    """Inputs that are the same for all evaluations and all candidates."""

    frames: Tensor  # [B, T, D], the projected input without the noisy state
    text: Tensor | None = None  # [B, S, D]
    text_mask: Tensor | None = None  # bool [B, S]
    audio_pad_mask: Tensor | None = None  # bool [B, T]

    def window(self, piece: slice) -> Conditions:
        """Returns the conditions of some frames."""
        mask = None if self.audio_pad_mask is None else self.audio_pad_mask[:, piece]
        return Conditions(self.frames[:, piece], self.text, self.text_mask, mask)

    def row(self, index: int) -> Conditions:
        """Returns the conditions of one item of the batch."""
        others = (self.text, self.text_mask, self.audio_pad_mask)
        only = slice(index, index + 1)
        return Conditions(self.frames[only], *(None if value is None else value[only] for value in others))

    @staticmethod
    def stacked(some: Sequence[Conditions]) -> Conditions:
        """Stacks conditions of equal length into one batch; texts of different lengths are padded and masked."""
        if len(some) == 1:
            return some[0]
        texts = [item.text[0] for item in some if item.text is not None]
        masks = [item.audio_pad_mask for item in some if item.audio_pad_mask is not None]
        known = [torch.ones(len(text), dtype=torch.bool, device=text.device) if item.text_mask is None
                 else item.text_mask[0] for text, item in zip(texts, some, strict=False)]  # fmt: skip
        pad = nn.utils.rnn.pad_sequence
        return Conditions(
            torch.cat([item.frames for item in some]),
            pad(texts, batch_first=True) if texts else None,
            pad(known, batch_first=True) if texts else None,
            torch.cat(masks) if masks else None,
        )


class SAMAudio(nn.Module):
    """The separator's networks. Create it with `from_pretrained`; the constructor leaves the weights random.

    The state dict has the official keys. The text encoder is not among them, as in official checkpoints, and the vision
    tower stays on the meta device until it is needed for a video.
    """

    checkpoint: Checkpoint
    text_encoder: TextEncoder
    _dtype: torch.dtype
    _device: torch.device

    def __init__(self, config: SAMAudioConfig) -> None:
        super().__init__()
        self.config = config
        width = config.transformer.dim
        self.audio_codec = DACVAE(config.audio_codec)
        self.vision_encoder = PerceptionEncoder(config.vision_encoder)
        self.transformer = DiT(config.transformer)
        self.proj = Linear(config.in_channels, width)
        self.memory_proj = Linear(config.text_encoder.dim, width)
        self.align_masked_video = VideoAlignment(config.vision_encoder.dim, width)
        self.embed_anchors = AnchorEmbedding(config.num_anchors, config.anchor_embedding_dim, width)

    @classmethod
    def from_pretrained(
        cls,
        place: str | Path | Checkpoint,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        revision: str | None = None,
        text_encoder: str = "",
    ) -> Self:
        """Loads a separator with its weights, in evaluation mode.

        Args:
            place: a folder with ``config.json`` and ``checkpoint.pt`` or ``model.safetensors``, a name of
                `hub.SEPARATORS`, or a result of `find_separator`.
            dtype: of the transformer and the vision tower; codec and text encoder stay in float32.
            device: where the networks run: "auto" (CUDA where there is one), "cpu", "cuda" ….
            revision: branch, tag or commit on the hub.
            text_encoder: a folder or hub id of the T5 encoder, instead of the one in the config.

        Raises:
            Precondition: the checkpoint is missing, damaged, or does not match its config.
        """
        device = require_device(device)
        checkpoint = place if isinstance(place, Checkpoint) else find_separator(place, revision)
        config = SAMAudioConfig.of_folder(checkpoint.folder)
        with torch.device("meta"):
            model = cls(config).eval().requires_grad_(False)
        tensors = open_weights(checkpoint.weights)
        named = {name: value for name, value in tensors.items() if not name.startswith(_ABSENT)}
        check_strict(model, named, source=checkpoint.weights)
        model.checkpoint = checkpoint
        model.text_encoder = TextEncoder(
            config.text_encoder, strip_prefix(tensors, "text_encoder."), checkpoint=checkpoint.folder,
            place=text_encoder, device=device,
        )  # fmt: skip
        model._dtype, model._device = dtype, device
        layers = [f"transformer.layers.{index}" for index in range(config.transformer.n_layers)]
        others = [name for name, _ in model.named_children() if name not in ("vision_encoder", "audio_codec")]
        for parts, kind in (([*layers, *others], dtype), (["audio_codec"], torch.float32)):
            load_in_parts(model, checkpoint.weights, parts, dtype=kind, device=model._device)
        model.audio_codec.fold_weight_norm()
        return model

    @property
    def codec(self) -> DACVAE:
        """The audio codec."""
        return self.audio_codec

    @property
    def frame_seconds(self) -> float:
        """Seconds per latent frame."""
        return self.codec.hop_length / self.codec.sample_rate

    def encode_video(self, videos: Sequence[Tensor], sizes: Sequence[int] | None = None) -> Tensor:
        """Encodes uint8 frames ``[N, 3, H, W]`` as features ``[B, V, T]``, as the reference does for videos in memory.

        Args:
            videos: masked frames of each item.
            sizes: latent frames of each item, over which its video is stretched; None: one per video frame.
        """
        found: Tensor = self._vision()(videos, sizes)
        return found.transpose(1, 2)

    def encode_frames(self, frames: Iterable[Tensor]) -> Tensor:
        """Encodes one uint8 frame ``[3, H, W]`` per latent frame as features ``[1, V, T]``, lazily."""
        return self._vision().encode(frames).T[None]

    def _vision(self) -> PerceptionEncoder:
        """Returns the video encoder; loads its image tower if needed. The text tower is never used."""
        if self.vision_encoder.model.visual.proj.is_meta:
            blocks = range(self.config.vision_encoder.vision.layers)
            parts = [*(f"model.visual.transformer.resblocks.{index}" for index in blocks), "model.visual"]
            load_in_parts(
                self.vision_encoder, self.checkpoint.weights, parts, prefix="vision_encoder.", dtype=self._dtype,
                device=self._device,
            )  # fmt: skip
        return self.vision_encoder

    def release_encoders(self) -> None:
        """Frees the text encoder and the vision tower; both are loaded again when needed."""
        self.text_encoder.release()
        self.vision_encoder.to("meta")

    def prepare(
        self,
        audio_features: Tensor,
        *,
        text_features: Tensor | None = None,
        text_mask: Tensor | None = None,
        audio_pad_mask: Tensor | None = None,
        anchor_ids: Tensor | None = None,
        anchor_alignment: Tensor | None = None,
        masked_video_features: Tensor | None = None,
    ) -> Conditions:
        """Computes everything that does not depend on state or time; arguments as in `velocity`."""
        weight, kind = self.proj.weight, self.proj.weight.dtype
        width = audio_features.shape[-1]
        frames = linear(audio_features.to(kind), weight[:, -width:], self.proj.bias)
        if anchor_ids is not None and anchor_alignment is not None:
            frames = frames + self.embed_anchors(anchor_ids, anchor_alignment)
        if masked_video_features is not None:
            frames = frames + self.align_masked_video(masked_video_features.to(kind))
        text = None if text_features is None else self.memory_proj(text_features.to(kind))
        return Conditions(frames, text, None if text is None else text_mask, audio_pad_mask)

    def evaluate(self, noisy_audio: Tensor, time: Tensor, given: Conditions) -> Tensor:
        """Returns the velocity ``[B, T, 2 C]`` of noisy latents ``[B, T, 2 C]`` at times ``[B]`` under conditions."""
        kind = self.proj.weight.dtype
        width = noisy_audio.shape[-1]
        x = linear(noisy_audio.to(kind), self.proj.weight[:, :width]) + given.frames
        memory = sinusoidal_embedding(time, self.config.transformer.dim).to(kind)[:, None]
        found: Tensor = self.transformer(
            x,
            time,
            padding_mask=given.audio_pad_mask,
            memory=memory if given.text is None else memory + given.text,
            memory_padding_mask=given.text_mask,
        )
        return found

    def velocity(
        self,
        *,
        noisy_audio: Tensor,
        audio_features: Tensor,
        text_features: Tensor | None,
        time: Tensor,
        text_mask: Tensor | None = None,
        audio_pad_mask: Tensor | None = None,
        anchor_ids: Tensor | None = None,
        anchor_alignment: Tensor | None = None,
        masked_video_features: Tensor | None = None,
    ) -> Tensor:
        """Evaluates the flow's velocity once.

        Args:
            noisy_audio: ``[B, T, 2 C]``, target and residual.
            audio_features: ``[B, T, 2 C]``, the mixture's latents twice.
            text_features: ``[B, S, text width]``; None: the memory holds the time only.
            time: ``[B]``, in [0, 1].
            text_mask: bool ``[B, S]``, true for real tokens.
            audio_pad_mask: bool ``[B, T]``, true for real frames.
            anchor_ids: ``[B, L]``, see `anchor_tables`.
            anchor_alignment: ``[B, T]``.
            masked_video_features: ``[B, V, T]``; None skips their layer, whereas the released separator uses zeros if
                there is no video.

        Returns:
            ``[B, T, 2 C]``.
        """
        given = self.prepare(
            audio_features,
            text_features=text_features,
            text_mask=text_mask,
            audio_pad_mask=audio_pad_mask,
            anchor_ids=anchor_ids,
            anchor_alignment=anchor_alignment,
            masked_video_features=masked_video_features,
        )
        return self.evaluate(noisy_audio, time, given)
