"""Encodes queries as inputs of SAM Audio's transformer: latents, text, anchors, video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sam_audio_bench.audio import resample, to_mono
from sam_audio_bench.errors import UsageError
from sam_audio_bench.nn import upstream
from sam_audio_bench.nn.conditioning import anchor_tables, frame_count, frame_mask
from sam_audio_bench.nn.model import Conditions, SAMAudio
from sam_audio_bench.nn.span_predictor import SpanPredictor
from sam_audio_bench.types import Audio, Prompt, Query, Span
from sam_audio_bench.video import masked_frames

__all__ = ["EncodedQuery", "QueryEncoder"]


@dataclass(frozen=True)
class EncodedQuery:
    """One query as input of the transformer."""

    mixture: Audio
    samples: int  # of the estimate, at the codec's rate
    conditions: Conditions


@dataclass(frozen=True)
class QueryEncoder:
    """Encodes queries as conditions, separately, or ``batched`` and padded like the reference implementation."""

    model: SAMAudio
    device: torch.device
    predictor: SpanPredictor | None
    threshold: float
    batched: bool = False

    def encode(self, queries: Sequence[Query]) -> list[EncodedQuery]:
        """Encodes queries, in order."""
        waves = [self._prepare_waveform(query.mixture) for query in queries]
        if self.batched:
            return self._encode_batch(queries, waves)
        return [self._encode_one(query, wave) for query, wave in zip(queries, waves, strict=True)]

    def _prepare_waveform(self, mixture: Audio) -> Tensor:
        """Converts a mixture to mono at the codec's rate, ``[samples]``."""
        if mixture.length == 0:
            raise UsageError("expected a mixture with samples, found none")
        if not bool(torch.isfinite(mixture.samples).all()):
            raise UsageError("expected finite samples in the mixture, found NaN or infinity")
        mono, rate = to_mono(mixture), self.model.codec.sample_rate
        if self.batched:
            return upstream.resample(mono.samples.float(), mono.rate, rate)[0]
        found = resample(mono, rate).samples[0].float()
        return found if len(found) else mono.samples[0, :1].float()  # a clip shorter than a sample of the codec

    def _encode_one(self, query: Query, wave: Tensor) -> EncodedQuery:
        latents = self._encode_latents(wave[None])
        frames = latents.shape[1]
        prompt = query.prompt
        ids, alignment = self._anchors([self._find_spans(prompt, latents, query.mixture.seconds)], [frames])
        conditions = self.model.prepare(
            latents,
            text_features=self.model.text_encoder(prompt.text or ""),
            anchor_ids=ids,
            anchor_alignment=alignment,
            masked_video_features=self._encode_video([prompt], [frames]),
        )
        return EncodedQuery(query.mixture, len(wave), conditions)

    def _encode_batch(self, queries: Sequence[Query], waves: Sequence[Tensor]) -> list[EncodedQuery]:
        """Encodes like the reference implementation: zero-padded, with a mask; predicted spans have no effect."""
        hop = self.model.codec.hop_length
        sizes = [frame_count(len(wave), hop) for wave in waves]
        prompts = [query.prompt for query in queries]
        latents = self._encode_latents(torch.nn.utils.rnn.pad_sequence(list(waves), batch_first=True))
        features, mask = self.model.text_encoder.batch([prompt.text or "" for prompt in prompts])
        ids, alignment = self._anchors([prompt.spans for prompt in prompts], sizes)
        conditions = self.model.prepare(
            latents,
            text_features=features,
            text_mask=mask,
            audio_pad_mask=frame_mask(sizes).to(self.device),
            anchor_ids=ids,
            anchor_alignment=alignment,
            masked_video_features=self._encode_video(prompts, sizes),
        )
        return [
            EncodedQuery(query.mixture, size * hop, conditions.row(index))
            for index, (query, size) in enumerate(zip(queries, sizes, strict=True))
        ]

    def _encode_latents(self, waves: Tensor) -> Tensor:
        """Returns the latents of the mixture twice, ``[B, T, 2 C]``."""
        mean = self.model.codec.encode(waves[:, None].to(self.device)).transpose(1, 2)
        return torch.cat([mean, mean], dim=-1)

    def _find_spans(self, prompt: Prompt, latents: Tensor, seconds: float) -> Sequence[Span]:
        """Returns the spans of a prompt, which must begin inside the clip, or predicted ones if it only has a text."""
        for span in prompt.spans:
            if span[1] >= seconds:
                raise UsageError(f"expected spans inside the clip of {seconds:.3f} s, found {span}; leave it out")
        if self.predictor is None or not prompt.text or prompt.spans or prompt.video:
            return prompt.spans
        width = latents.shape[-1] // 2
        found = self.predictor.predict(latents[..., :width].float(), [prompt.text], threshold=self.threshold)[0]
        return [("+", self._half_frame_before(start), self._half_frame_before(end)) for start, end in found]

    def _half_frame_before(self, seconds: float) -> float:
        """Returns the time half a frame before a boundary: anchors round up, and 0.28 s would be frame 8, not 7."""
        frame = self.model.frame_seconds
        return (round(seconds / frame) - 0.5) * frame

    def _anchors(self, spans: Sequence[Sequence[Span]], sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
        codec = self.model.codec
        ids, alignment = anchor_tables(spans, sizes, hop=codec.hop_length, rate=codec.sample_rate)
        return ids.to(self.device), alignment.to(self.device)

    def _encode_video(self, prompts: Sequence[Prompt], sizes: Sequence[int]) -> Tensor:
        """Returns features ``[B, V, T]`` of the masked videos; zeros, which mean no video, for other prompts."""
        codec, config = self.model.codec, self.model.config.vision_encoder
        features = torch.zeros(len(prompts), config.dim, max(sizes), device=self.device)
        for index, (prompt, size) in enumerate(zip(prompts, sizes, strict=True)):
            if prompt.video is not None:
                times = [frame * codec.hop_length / codec.sample_rate for frame in range(size)]
                frames = masked_frames(prompt.video, prompt.mask, times)
                features[index, :, :size] = self.model.encode_frames(frames)[0]
        return features
