"""PE-A-Frame, which predicts the frames that match a text by comparing embeddings of each frame and of the text.

A `PEAVTransformer` over the latents of DAC-VAE and a ModernBERT, trained as SAM Audio describes (Shi et al., 2025).
SAM Audio passes latents that it has already computed; the codec's encoder is for callers with a waveform.

Letters: B batch, T frames, C width of a latent, D width of the common space, S tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.identity import Options
from sam_audio_bench.nn.checkpoint import load_strict, open_weights
from sam_audio_bench.nn.codec import reflect_pad
from sam_audio_bench.nn.conditioning import frame_mask
from sam_audio_bench.nn.config import Config, read_config
from sam_audio_bench.nn.hub import Checkpoint, find_checkpoint
from sam_audio_bench.nn.peav import (
    PEAVConfig,
    PEAVTransformer,
    build_modern_bert,
    encode_first_token,
    load_tokenizer,
    restore_buffers,
    tokenize,
)

__all__ = [
    "REPOSITORIES",
    "REVISION",
    "THRESHOLD",
    "DACConfig",
    "SpanPredictor",
    "SpanPredictorConfig",
    "extract_spans",
    "find_span_predictor",
]

REPOSITORIES = {f"pe-a-frame-{size}": f"facebook/pe-a-frame-{size}" for size in ("small", "base", "large")}
"""The released span predictors on the Hugging Face hub, by their names here."""

REVISION = "perception_models"
"""Branch of those repositories that has the layout read here; ``main`` has that of transformers."""

THRESHOLD = 0.3
"""Probability above which a frame belongs to a span."""

_HEAD_EPS = 1e-6  # of the heads' layer norms; the transformer's is 1e-5


@dataclass(frozen=True, kw_only=True)
class DACConfig(Config):
    """The codec's encoder, with the names of transformers."""

    encoder_hidden_size: int = 64
    downsampling_ratios: tuple[int, ...] = (2, 8, 10, 12)
    codebook_dim: int = 128
    sampling_rate: int = 48_000

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.downsampling_ratios)

    @property
    def latent_dim(self) -> int:
        """Channels between encoder and bottleneck; ``codebook_size`` of the file is the same number."""
        return self.encoder_hidden_size << len(self.downsampling_ratios)


@dataclass(frozen=True, kw_only=True)
class SpanPredictorConfig(Config):
    """A checkpoint of PE-A-Frame; ``text_model`` holds the arguments of `transformers.ModernBertConfig`."""

    dac_vae_encoder: DACConfig = field(default_factory=DACConfig)
    audio_transformer: PEAVConfig = field(default_factory=PEAVConfig)
    text_model: Options = field(default_factory=dict)
    output_dim: int = 1024
    nth_text_layer: int | None = 22  # None: the last one, behind the final norm

    @classmethod
    def of_folder(cls, folder: Path) -> SpanPredictorConfig:
        """Reads ``config.json``; raises Precondition if there is none, or it is that of another model."""
        options = read_config(folder / "config.json")
        audio = options.get("audio_model")
        if not isinstance(audio, dict):
            raise Precondition(
                f"expected audio_model in {folder / 'config.json'}, found {', '.join(sorted(options)[:5])}: another "
                f"layout; the span predictors on the hub have the right one at revision {REVISION}"
            )
        return cls(
            dac_vae_encoder=DACConfig.of(audio.get("dac_vae_encoder")),
            audio_transformer=PEAVConfig.of(audio.get("audio_transformer")),
            text_model=options.get("text_model") or {},
            **{name: options[name] for name in ("output_dim", "nth_text_layer") if name in options},
        )


class _Codec(nn.Module):
    """Encoder of DAC-VAE, computed by transformers."""

    def __init__(self, config: DACConfig) -> None:
        super().__init__()
        import transformers
        from transformers.models.dac.modeling_dac import DacEncoder

        kind: Any = DacEncoder
        self.config = config
        self.encoder = kind(
            transformers.DacConfig(
                encoder_hidden_size=config.encoder_hidden_size, downsampling_ratios=list(config.downsampling_ratios)
            )
        )
        self.bottleneck = nn.ModuleDict(
            {
                "in_proj": nn.Conv1d(config.latent_dim, 2 * config.codebook_dim, 1),
                "out_proj": nn.Conv1d(config.codebook_dim, config.latent_dim, 1),
            }
        )

    def forward(self, waveform: Tensor) -> Tensor:
        both: Tensor = self.bottleneck["in_proj"](self.encoder(reflect_pad(waveform, self.config.hop_length)))
        return both[:, : self.config.codebook_dim]


class _AudioModel(nn.Module):
    def __init__(self, config: SpanPredictorConfig) -> None:
        super().__init__()
        self.dac_vae_encoder = _Codec(config.dac_vae_encoder)
        self.data_proj = nn.Linear(config.dac_vae_encoder.codebook_dim, config.audio_transformer.hidden_size)
        self.audio_transformer = PEAVTransformer(config.audio_transformer)


class _Head(nn.Module):
    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(width, eps=_HEAD_EPS)
        self.proj = nn.Linear(width, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.proj(self.layer_norm(x))
        return found


def find_span_predictor(place: str | Path, revision: str | None = None) -> Checkpoint:
    """Finds the checkpoint in a folder or on the hub; raises Precondition if there is none.

    Args:
        place: a folder, or a name of `REPOSITORIES`, with or without its owner.
        revision: branch, tag or commit on the hub; None: `REVISION`.
    """
    repository = REPOSITORIES.get(str(place).removeprefix("facebook/"))
    return find_checkpoint(place, repository=repository, revision=revision or REVISION)


class SpanPredictor(nn.Module):
    """PE-A-Frame. Create it with `from_pretrained`; the constructor leaves the weights random."""

    def __init__(self, config: SpanPredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.audio_model = _AudioModel(config)
        self.text_model = build_modern_bert(config.text_model, config.nth_text_layer)
        self.audio_head = _Head(config.audio_transformer.hidden_size, config.output_dim)
        self.text_head = _Head(self.text_model.config.hidden_size, config.output_dim)
        self.logit_scale = nn.Parameter(torch.ones(1))
        self.logit_bias = nn.Parameter(torch.zeros(1))
        self.tokenizer: Any = None
        self._folder: Path | None = None
        self._tokenizer_place = ""

    @classmethod
    def from_pretrained(
        cls, place: str | Path | Checkpoint, *, revision: str | None = None, tokenizer: str = ""
    ) -> Self:
        """Loads a span predictor with its weights, in float32 and evaluation mode.

        Args:
            place: as in `find_span_predictor`, or its result.
            revision: see `find_span_predictor`.
            tokenizer: a folder or hub id, if the checkpoint's folder has none.

        Raises:
            Precondition: the checkpoint is missing, damaged, or does not match its config.
        """
        checkpoint = place if isinstance(place, Checkpoint) else find_span_predictor(place, revision)
        config = SpanPredictorConfig.of_folder(checkpoint.folder)
        with torch.device("meta"):
            model = cls(config).eval().requires_grad_(False)
        load_strict(model, open_weights(checkpoint.weights), source=checkpoint.weights)
        restore_buffers(model.text_model)
        model._folder, model._tokenizer_place = checkpoint.folder, tokenizer
        return model.float()

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return self.config.dac_vae_encoder.hop_length

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms behind the latents."""
        return self.config.dac_vae_encoder.sampling_rate

    def encode(self, waveform: Tensor) -> Tensor:
        """Encodes a waveform ``[B, 1, samples]``, padded to whole frames by reflection, as latents ``[B, C, T]``."""
        found: Tensor = self.audio_model.dac_vae_encoder(waveform)
        return found

    def embed_audio(self, latents: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Embeds frames of latents: ``[B, T, C] -> [B, T, D]``; the mask, bool ``[B, T]``, is true for real frames."""
        model = self.audio_model
        found: Tensor = self.audio_head(model.audio_transformer(model.data_proj(latents), padding_mask))
        return found

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Embeds token ids ``[B, S]`` -> ``[B, D]``."""
        state = encode_first_token(self.text_model, input_ids, attention_mask, self.config.nth_text_layer)
        found: Tensor = self.text_head(state)
        return found

    def logits(
        self,
        latents: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Computes the similarity of each frame to the text, before the sigmoid.

        Args:
            latents: ``[B, T, C]``, means of DAC-VAE.
            input_ids: ``[B, S]``.
            attention_mask: ``[B, S]``, true for real tokens.
            padding_mask: bool ``[B, T]``, true for real frames.

        Returns:
            ``[B, T]``.
        """
        audio, text = self.embed_audio(latents, padding_mask), self.embed_text(input_ids, attention_mask)
        return torch.einsum("btd,bd->bt", audio, text) * self.logit_scale + self.logit_bias

    def predict(
        self,
        latents: Tensor,
        texts: Sequence[str],
        lengths: Sequence[int] | None = None,
        *,
        threshold: float = THRESHOLD,
        clip: bool = True,
    ) -> list[list[tuple[float, float]]]:
        """Predicts the spans that match each text.

        Args:
            latents: ``[B, T, C]``.
            texts: one per item.
            lengths: frames of each item; None: all have T.
            threshold: probability above which a frame belongs to a span.
            clip: whether spans end with the item; in the reference they may extend into its padding.

        Returns:
            For each item (start, end) in seconds, in order.

        Raises:
            UsageError: there is not one text and one length of 1 … T per item.
            Precondition: there is no tokenizer.
        """
        sizes = [latents.shape[1]] * len(latents) if lengths is None else list(lengths)
        if not len(latents) == len(texts) == len(sizes) or not all(1 <= size <= latents.shape[1] for size in sizes):
            raise UsageError(
                f"expected a text and a length of 1 to {latents.shape[1]} frames for each of {len(latents)} items, "
                f"found {len(texts)} texts and lengths {sizes}"
            )
        if self.tokenizer is None:
            self.tokenizer = load_tokenizer(self._folder, self._tokenizer_place)
        keep = frame_mask([*sizes, latents.shape[1]])[:-1].to(latents.device)
        ids, mask = (part.to(latents.device) for part in tokenize(self.tokenizer, texts))
        with torch.inference_mode():
            probabilities = self.logits(latents, ids, mask, keep).sigmoid()
        if clip:
            probabilities = probabilities * keep
        return extract_spans(probabilities, threshold, hop=self.hop_length, rate=self.sample_rate)


def extract_spans(
    probabilities: Tensor, threshold: float = THRESHOLD, *, hop: int, rate: int
) -> list[list[tuple[float, float]]]:
    """Extracts runs of frames above a threshold.

    Args:
        probabilities: ``[B, T]``.
        threshold: frames strictly above it belong to a span.
        hop: samples per frame.
        rate: Hz.

    Returns:
        For each row (start, end) in seconds, computed in float32 as the reference does, in order.

    >>> extract_spans(torch.tensor([[0.9, 0.3, 0.5, 0.6]]), 0.3, hop=1, rate=2)
    [[(0.0, 0.5), (1.0, 2.0)]]
    """
    active = nn.functional.pad((probabilities > threshold).int(), (1, 1))
    edges = active.diff(dim=1)
    spans = []
    for row in edges.cpu():
        starts, ends = ((row == sign).nonzero()[:, 0] * hop / rate for sign in (1, -1))
        spans.append(list(zip(starts.tolist(), ends.tolist(), strict=True)))
    return spans
