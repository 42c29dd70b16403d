"""The judge's layers, and one pass through them; keys and dimensions are those of the released checkpoint.

Letters: B batch, T samples, F frames, C width of a latent, h width of the transformer, b of the fusion, V of video
features, S tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sam_audio_bench.errors import UsageError
from sam_audio_bench.judge.config import JudgeConfig
from sam_audio_bench.judge.processor import JudgeProcessor
from sam_audio_bench.judge.scores import AXES, JudgeScores
from sam_audio_bench.nn.codec import DACVAE
from sam_audio_bench.nn.conditioning import frame_count
from sam_audio_bench.nn.peav import PEAVTransformer, first_state, modern_bert

__all__ = ["SPAN_STATES", "JudgeNetwork"]

SPAN_STATES = 3
"""Nothing said, sound present, sound absent: `sam_audio_bench.nn.conditioning.ANCHORS` without padding."""


class JudgeNetwork(nn.Module):
    """What `SAJ` computes with, on tensors.

    ``parity`` says how padding and texts are treated. With "upstream" the transformers attend to padding, as the
    released code does, so that a score depends on the batch. With "exact" every item is heard without padding: its
    scores are those that it gets alone.

    Spans and masked video, which the paper names and the released judge does not hear, are embeddings of the frames
    that are added to the fused features. Their projections exist where a checkpoint has them or after `extend`, which
    starts them at zero; elsewhere spans and video change nothing.

    Args:
        config: dimensions.
        parity: one of `sam_audio_bench.judge.processor.PARITIES`.

    Raises:
        UsageError: another parity. Precondition: dimensions that make no network.
    """

    span_proj: nn.Linear | None
    video_proj: nn.Linear | None

    def __init__(self, config: JudgeConfig, *, parity: str = "exact") -> None:
        super().__init__()
        self.config, codec = config, config.audio_codec
        self.processor = JudgeProcessor(codec.hop_length, codec.sample_rate, parity=parity)
        width, inner = config.transformer.hidden_size, config.bottleneck_dim
        last = config.finetune_transformer.hidden_size
        self.audio_codec = DACVAE(codec, decoder=False)
        self.data_proj = nn.Linear(codec.codebook_dim, width)
        self.transformer = PEAVTransformer(config.transformer)
        self.text_model = modern_bert(config.text_model, config.nth_text_layer)
        self.cat_audio_proj = nn.Linear(2 * width, inner)
        self.text_proj1 = nn.Linear(self.text_model.config.hidden_size, width, bias=False)
        self.text_proj2 = nn.Linear(width, inner)
        self.layer_norm = nn.LayerNorm(inner)
        self.proj_audio_and_text = nn.Linear(2 * inner, inner)
        self.finetune_data_proj = nn.Linear(inner, last)
        self.finetune_transformer = PEAVTransformer(config.finetune_transformer)
        self.head = nn.Linear(last, len(AXES), bias=False)
        self.mean = nn.Parameter(torch.zeros(len(AXES)))
        self.std = nn.Parameter(torch.ones(len(AXES)))
        self.span_proj = self.video_proj = None

    @property
    def parity(self) -> str:
        """How padding and texts are treated."""
        return self.processor.parity

    @property
    def prompts(self) -> frozenset[str]:
        """What of a prompt has an effect: "text", "spans", "video"."""
        heard = {"text": True, "spans": self.span_proj is not None, "video": self.video_proj is not None}
        return frozenset(name for name, effect in heard.items() if effect)

    @property
    def frame_seconds(self) -> float:
        """Seconds a frame."""
        return self.processor.hop / self.processor.rate

    def extend(self, *, spans: bool = False, video_width: int | None = None) -> None:
        """Adds the projections of spans, and of video features of a width, that are asked for: zero, to be trained."""
        inner = self.config.bottleneck_dim
        if spans:
            self.span_proj = nn.Linear(SPAN_STATES, inner, bias=False)
            nn.init.zeros_(self.span_proj.weight)
        if video_width is not None:
            self.video_proj = nn.Linear(video_width, inner, bias=False)
            nn.init.zeros_(self.video_proj.weight)

    def hear(self, values: Tensor, keep: Tensor | None = None) -> Tensor:
        """What a mixture or an answer sounds like, frame by frame.

        Args:
            values: ``[B, 1, T]``; the codec is never trained, so no gradient flows into it.
            keep: bool ``[B, F]``, see `PEAVTransformer.forward`. The codec hears padding all the same.

        Returns:
            ``[B, F, h]``.
        """
        with torch.no_grad():
            latents = self.audio_codec.encode(values.to(self.data_proj.weight.device, torch.float32)).transpose(1, 2)
        found: Tensor = self.transformer(self.data_proj(latents.to(self.data_proj.weight.dtype)), keep)
        return found

    def read(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """What texts ask for: ``[B, S] -> [B, b]``."""
        place = self.data_proj.weight.device
        mask = None if attention_mask is None else attention_mask.to(place)
        state = first_state(self.text_model, input_ids.to(place), mask, self.config.nth_text_layer)
        found: Tensor = self.layer_norm(self.text_proj2(self.text_proj1(state)))
        return found

    def rate(
        self,
        answers: Tensor,
        mixtures: Tensor,
        texts: Tensor,
        *,
        keep: Tensor | None = None,
        spans: Tensor | None = None,
        video: Tensor | None = None,
    ) -> Tensor:
        """Ratings of every frame, in units of the training data: zero mean, unit variance.

        Args:
            answers: ``[B, F, h]``, what `hear` found.
            mixtures: the same of the mixtures.
            texts: ``[B, b]``, what `read` found.
            keep: bool ``[B, F]``, see `PEAVTransformer.forward`.
            spans: ``[B, F, 3]``, one-hot: nothing said, sound present, sound absent.
            video: ``[B, F, V]``, features of the masked video; V is that of `extend`.

        Returns:
            ``[B, F, 4]``, columns as `AXES`.
        """
        audio = self.cat_audio_proj(torch.cat([answers, mixtures], dim=-1))
        fused = self.proj_audio_and_text(torch.cat([audio, texts[:, None].expand_as(audio)], dim=-1))
        if spans is not None and self.span_proj is not None:
            fused = fused + self.span_proj(spans.to(fused))
        if video is not None and self.video_proj is not None:
            fused = fused + self.video_proj(video.to(fused))
        found: Tensor = self.head(self.finetune_transformer(self.finetune_data_proj(fused), keep))
        return found

    def forward(
        self,
        *,
        input_ids: Tensor,
        input_values: Tensor,
        separated_values: Tensor,
        attention_mask: Tensor | None = None,
        padding_mask: Tensor | None = None,
        spans: Tensor | None = None,
        video: Tensor | None = None,
    ) -> JudgeScores:
        """Scores of a batch, as `JudgeProcessor` makes it.

        Args:
            input_ids: ``[B, S]``.
            input_values: mixtures ``[B, 1, T]``.
            separated_values: answers ``[B, 1, T]``.
            attention_mask: ``[B, S]``, true for real tokens; None: all are.
            padding_mask: bool ``[B, T]``, true for real samples, which come first; None: all are.
            spans: see `rate`.
            video: see `rate`.

        Returns:
            Scores of B answers.

        Raises:
            UsageError: shapes that do not belong together, or an item without a sample.
        """
        _check(input_ids, input_values, separated_values, padding_mask)
        texts = self.read(input_ids, attention_mask)
        count = frame_count(input_values.shape[-1], self.processor.hop)
        frames = texts.new_zeros(len(texts), count, len(AXES))
        for rows, samples in self._groups(input_values, padding_mask):
            size = frame_count(samples, self.processor.hop)
            both = torch.cat([input_values[rows, :, :samples], separated_values[rows, :, :samples]])
            mixtures, answers = self.hear(both).chunk(2)
            told = [None if given is None else given[rows, :size] for given in (spans, video)]
            frames[rows, :size] = self.rate(answers, mixtures, texts[rows], spans=told[0], video=told[1])
        keep = torch.ones_like(frames[..., 0], dtype=torch.bool)
        return self.pool(frames, keep if padding_mask is None else padding_mask.bool()[:, :: self.processor.hop])

    def pool(self, frames: Tensor, keep: Tensor) -> JudgeScores:
        """Scores from ratings of frames: means in the units of listeners.

        Args:
            frames: ``[B, F, 4]``, what `rate` found.
            keep: bool ``[B, F]``, true for the frames that count.
        """
        keep = keep.to(frames.device)
        mean, std = self.mean.float(), self.std.float()
        rated = frames.float() * keep[..., None]
        pooled = rated.sum(dim=1) / keep.sum(dim=1, keepdim=True)
        shown = (rated * std + mean) * keep[..., None]
        return JudgeScores(values=pooled * std + mean, frames=shown, keep=keep)

    def _groups(self, values: Tensor, padding_mask: Tensor | None) -> Iterator[tuple[Tensor, int]]:
        """Rows that are heard together, and how many of their samples."""
        everything = torch.arange(len(values)), values.shape[-1]
        if padding_mask is None or self.parity == "upstream":
            yield everything
            return
        lengths = padding_mask.sum(dim=1).tolist()
        for length in sorted(set(lengths)):
            yield torch.tensor([row for row, own in enumerate(lengths) if own == length]), length


def _check(ids: Tensor, mixtures: Tensor, answers: Tensor, mask: Tensor | None) -> None:
    if mixtures.ndim != 3 or mixtures.shape[1] != 1 or mixtures.shape != answers.shape or len(ids) != len(mixtures):
        found = f"{tuple(mixtures.shape)}, {tuple(answers.shape)} and {len(ids)} texts"
        raise UsageError(f"expected mixtures and answers [batch, 1, time] and a text for each, found {found}")
    if mask is None:
        return
    if mask.shape != (len(mixtures), mixtures.shape[-1]):
        raise UsageError(f"expected padding_mask {(len(mixtures), mixtures.shape[-1])}, found {tuple(mask.shape)}")
    if not bool(mask[:, :1].all()) or bool((mask.int().diff(dim=1) > 0).any()):
        raise UsageError("expected padding after the samples of every item, and a sample in each, found other masks")
