"""From queries to what SAM Audio's transformer is given: latents, text, anchors, video."""

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

__all__ = ["Clip", "Reader"]


@dataclass(frozen=True)
class Clip:
    """One query, ready for the transformer."""

    mixture: Audio
    samples: int  # of the answer, at the codec's rate
    conditions: Conditions


@dataclass(frozen=True)
class Reader:
    """Turns queries into conditions, each alone, or ``together`` and padded to the longest as the reference does."""

    model: SAMAudio
    device: torch.device
    predictor: SpanPredictor | None
    threshold: float
    together: bool = False

    def read(self, queries: Sequence[Query]) -> list[Clip]:
        """One clip a query, in order."""
        waves = [self._wave(query.mixture) for query in queries]
        if self.together:
            return self._read_together(queries, waves)
        return [self._read(query, wave) for query, wave in zip(queries, waves, strict=True)]

    def _wave(self, mixture: Audio) -> Tensor:
        """Mono at the codec's rate, ``[samples]``."""
        if mixture.length == 0:
            raise UsageError("expected a mixture with samples, found none")
        if not bool(torch.isfinite(mixture.samples).all()):
            raise UsageError("expected finite samples in the mixture, found NaN or infinity")
        mono, rate = to_mono(mixture), self.model.codec.sample_rate
        if self.together:
            return upstream.resample(mono.samples.float(), mono.rate, rate)[0]
        found = resample(mono, rate).samples[0].float()
        return found if len(found) else mono.samples[0, :1].float()  # a clip shorter than a sample of the codec

    def _read(self, query: Query, wave: Tensor) -> Clip:
        latents = self._latents(wave[None])
        frames = latents.shape[1]
        prompt = query.prompt
        ids, alignment = self._anchors([self._spans(prompt, latents, query.mixture.seconds)], [frames])
        conditions = self.model.prepare(
            latents,
            text_features=self.model.text_encoder(prompt.text or ""),
            anchor_ids=ids,
            anchor_alignment=alignment,
            masked_video_features=self._video([prompt], [frames]),
        )
        return Clip(query.mixture, len(wave), conditions)

    def _read_together(self, queries: Sequence[Query], waves: Sequence[Tensor]) -> list[Clip]:
        """The reference's batch: clips padded with zeros, one mask; predicted spans would have no effect."""
        hop = self.model.codec.hop_length
        sizes = [frame_count(len(wave), hop) for wave in waves]
        prompts = [query.prompt for query in queries]
        latents = self._latents(torch.nn.utils.rnn.pad_sequence(list(waves), batch_first=True))
        features, mask = self.model.text_encoder.batch([prompt.text or "" for prompt in prompts])
        ids, alignment = self._anchors([prompt.spans for prompt in prompts], sizes)
        conditions = self.model.prepare(
            latents,
            text_features=features,
            text_mask=mask,
            audio_pad_mask=frame_mask(sizes).to(self.device),
            anchor_ids=ids,
            anchor_alignment=alignment,
            masked_video_features=self._video(prompts, sizes),
        )
        return [
            Clip(query.mixture, size * hop, conditions.row(index))
            for index, (query, size) in enumerate(zip(queries, sizes, strict=True))
        ]

    def _latents(self, waves: Tensor) -> Tensor:
        """The mixture's latents twice, ``[B, T, 2 C]``."""
        mean = self.model.codec.encode(waves[:, None].to(self.device)).transpose(1, 2)
        return torch.cat([mean, mean], dim=-1)

    def _spans(self, prompt: Prompt, latents: Tensor, seconds: float) -> Sequence[Span]:
        """The prompt's own spans, all of which begin inside the clip, or predicted ones where it has a text alone."""
        for span in prompt.spans:
            if span[1] >= seconds:
                raise UsageError(f"expected spans inside the clip of {seconds:.3f} s, found {span}; leave it out")
        if self.predictor is None or not prompt.text or prompt.spans or prompt.video:
            return prompt.spans
        width = latents.shape[-1] // 2
        found = self.predictor.predict(latents[..., :width].float(), [prompt.text], threshold=self.threshold)[0]
        return [("+", self._before(start), self._before(end)) for start, end in found]

    def _before(self, seconds: float) -> float:
        """Half a frame before a border between frames: anchors round up, and 0.28 s would be frame 8, not 7."""
        frame = self.model.frame_seconds
        return (round(seconds / frame) - 0.5) * frame

    def _anchors(self, spans: Sequence[Sequence[Span]], sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
        codec = self.model.codec
        ids, alignment = anchor_tables(spans, sizes, hop=codec.hop_length, rate=codec.sample_rate)
        return ids.to(self.device), alignment.to(self.device)

    def _video(self, prompts: Sequence[Prompt], sizes: Sequence[int]) -> Tensor:
        """Features ``[B, V, T]`` of the masked videos; zeros, which is what the network takes for none, elsewhere."""
        codec, config = self.model.codec, self.model.config.vision_encoder
        features = torch.zeros(len(prompts), config.dim, max(sizes), device=self.device)
        for index, (prompt, size) in enumerate(zip(prompts, sizes, strict=True)):
            if prompt.video is not None:
                times = [frame * codec.hop_length / codec.sample_rate for frame in range(size)]
                frames = masked_frames(prompt.video, prompt.mask, times)
                features[index, :, :size] = self.model.encode_frames(frames)[0]
        return features
