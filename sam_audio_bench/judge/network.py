"""The judge's layers, and one pass through them; keys and dimensions are those of the released checkpoint.

Letters: B batch, T samples, F frames, h width of what is heard, b of the fusion, t of a text, V of video features,
S tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sam_audio_bench.errors import UsageError
from sam_audio_bench.judge.config import JudgeConfig
from sam_audio_bench.judge.processor import JudgeProcessor
from sam_audio_bench.judge.scores import AXES, JudgeScores
from sam_audio_bench.judge.small import SmallEar
from sam_audio_bench.nn.codec import DACVAE
from sam_audio_bench.nn.conditioning import frame_count
from sam_audio_bench.nn.peav import PEAVTransformer, first_state, modern_bert

__all__ = ["SPAN_STATES", "JudgeNetwork"]

SPAN_STATES = 3
"""Nothing said, sound present, sound absent: `sam_audio_bench.nn.conditioning.ANCHORS` without padding."""


class JudgeNetwork(nn.Module):
    """What `SAJ` computes with, on tensors.

    A released judge hears latents of a codec through a large transformer and reads with ModernBERT. A small one, whose
    config has ``small``, hears and reads with a `SmallEar` instead, which also hears the residual and finds evidence of
    the prompt; fusion, last transformer and head are the same.

    ``parity`` says how padding and texts are treated. With "upstream" the transformers attend to padding, as the
    released code does, so that a score depends on the batch. With "exact" every item is heard without padding: its
    scores are those that it gets alone.

    Spans and masked video, which the paper names and the released judge does not hear, are embeddings of the frames
    that are added to the fused features; the spread is a second head. They exist where a checkpoint has them or after
    `extend`, which starts them at zero; elsewhere spans and video change nothing, and there is no spread. A
    calibration, where a checkpoint has one, maps scores monotonically, see `calibrate`.

    Args:
        config: dimensions.
        parity: one of `sam_audio_bench.judge.processor.PARITIES`.

    Raises:
        UsageError: another parity. Precondition: dimensions that make no network.
    """

    ear: SmallEar | None
    span_proj: nn.Linear | None
    video_proj: nn.Linear | None
    spread_head: nn.Linear | None
    calibration: Tensor | None

    def __init__(self, config: JudgeConfig, *, parity: str = "exact") -> None:
        super().__init__()
        self.config, inner = config, config.bottleneck_dim
        last = config.finetune_transformer.hidden_size
        if config.small is None:
            codec, width = config.audio_codec, config.transformer.hidden_size
            self.ear = None
            self.audio_codec = DACVAE(codec, decoder=False)
            self.data_proj = nn.Linear(codec.codebook_dim, width)
            self.transformer = PEAVTransformer(config.transformer)
            self.text_model = modern_bert(config.text_model, config.nth_text_layer)
            sides, text, hop, rate = 2, self.text_model.config.hidden_size, codec.hop_length, codec.sample_rate
        else:
            if parity != "exact":
                raise UsageError(f"expected parity exact, found {parity}: only released judges have a reference")
            self.ear = SmallEar(config.small, inner)
            sides, width, text, hop, rate = 3, self.ear.width, self.ear.text, self.ear.hop, self.ear.rate
        self.processor = JudgeProcessor(hop, rate, parity=parity)
        self.cat_audio_proj = nn.Linear(sides * width, inner)
        self.text_proj1 = nn.Linear(text, width, bias=False)
        self.text_proj2 = nn.Linear(width, inner)
        self.layer_norm = nn.LayerNorm(inner)
        self.proj_audio_and_text = nn.Linear(2 * inner, inner)
        self.finetune_data_proj = nn.Linear(inner, last)
        self.finetune_transformer = PEAVTransformer(config.finetune_transformer)
        self.head = nn.Linear(last, len(AXES), bias=False)
        self.mean = nn.Parameter(torch.zeros(len(AXES)))
        self.std = nn.Parameter(torch.ones(len(AXES)))
        self.span_proj = self.video_proj = self.spread_head = None
        self.register_buffer("calibration", None)

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

    def extend(self, *, spans: bool = False, video_width: int | None = None, spread: bool = False) -> None:
        """Adds what is asked for of spans, video features of a width, and spread: zero, to be trained."""
        inner = self.config.bottleneck_dim
        if spans:
            self.span_proj = nn.Linear(SPAN_STATES, inner, bias=False)
            nn.init.zeros_(self.span_proj.weight)
        if video_width is not None:
            self.video_proj = nn.Linear(video_width, inner, bias=False)
            nn.init.zeros_(self.video_proj.weight)
        if spread:
            self.spread_head = nn.Linear(self.config.finetune_transformer.hidden_size, len(AXES))
            nn.init.zeros_(self.spread_head.weight)
            nn.init.zeros_(self.spread_head.bias)

    def calibrate(self, knots: Tensor | None) -> None:
        """Sets the calibration: a score is interpolated linearly between knots, and moves with the outermost ones.

        Args:
            knots: ``[2, K, 4]``: scores as rated, increasing along K, and what they become, not decreasing; None: none.
        """
        self.calibration = knots

    def level(self, mixtures: Tensor) -> Tensor:
        """Gain of mixtures and their answers before they are heard, ``[B, 1, T] -> [B, 1, 1]``."""
        return torch.ones_like(mixtures[..., :1]) if self.ear is None else self.ear.level(mixtures)

    def residual(self, mixtures: Tensor, answers: Tensor) -> Tensor | None:
        """What answers leave of their mixtures, ``[B, 1, T]``, where the judge hears it."""
        return None if self.ear is None else self.ear.residual(mixtures, answers)

    def hear(self, values: Tensor, keep: Tensor | None = None) -> Tensor:
        """What a mixture, an answer or a residual sounds like, frame by frame.

        Args:
            values: ``[B, 1, T]``, at their `level`; codec and listener are not trained, so no gradient flows into them.
            keep: bool ``[B, F]``, see `PEAVTransformer.forward`. The codec hears padding all the same.

        Returns:
            ``[B, F, h]``; of a small judge, what `SmallEar.forward` says.
        """
        if self.ear is not None:
            states: Tensor = self.ear(values)
            return states
        with torch.no_grad():
            latents = self.audio_codec.encode(values.to(self.data_proj.weight.device, torch.float32)).transpose(1, 2)
        found: Tensor = self.transformer(self.data_proj(latents.to(self.data_proj.weight.dtype)), keep)
        return found

    def read(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """What texts say: ``[B, S] -> [B, t]``."""
        place = self.head.weight.device
        mask = None if attention_mask is None else attention_mask.to(place)
        if self.ear is not None:
            return self.ear.read(input_ids.to(place), mask)
        return first_state(self.text_model, input_ids.to(place), mask, self.config.nth_text_layer)

    def rate(
        self,
        answers: Tensor,
        mixtures: Tensor,
        texts: Tensor,
        *,
        residuals: Tensor | None = None,
        known: Tensor | None = None,
        keep: Tensor | None = None,
        spans: Tensor | None = None,
        video: Tensor | None = None,
    ) -> Tensor:
        """Ratings of every frame, in units of the training data: zero mean, unit variance.

        Args:
            answers: ``[B, F, h]``, what `hear` found.
            mixtures: the same of the mixtures.
            texts: ``[B, t]``, what `read` found.
            residuals: as answers, where `residual` gives one.
            known: ``[B, 1]`` in 0…1, how far a small judge trusts the words themselves rather than the events that
                they name; None: as near as they are to texts that it was trained on. Others pass it over.
            keep: bool ``[B, F]``, see `PEAVTransformer.forward`.
            spans: ``[B, F, 3]``, one-hot: nothing said, sound present, sound absent.
            video: ``[B, F, V]``, features of the masked video; V is that of `extend`.

        Returns:
            ``[B, F, 4]``, columns as `AXES`; behind them, where there is a spread, the logarithms of the four spreads.
        """
        asked = self.layer_norm(self.text_proj2(self.text_proj1(texts)))
        evidence = None
        if self.ear is None:
            audio = self.cat_audio_proj(torch.cat([answers, mixtures], dim=-1))
        else:
            assert residuals is not None
            known = self.ear.known(texts) if known is None else known
            sides = self.ear.sides(mixtures, answers, residuals)
            audio = self.cat_audio_proj(torch.cat(sides.embeddings.all(), dim=-1))
            asked = asked * known
            evidence = self.ear.evidence_of(sides, texts, known, keep)
        fused = self.proj_audio_and_text(torch.cat([audio, asked[:, None].expand_as(audio)], dim=-1))
        if evidence is not None:
            fused = fused + evidence
        if spans is not None and self.span_proj is not None:
            fused = fused + self.span_proj(spans.to(fused))
        if video is not None and self.video_proj is not None:
            fused = fused + self.video_proj(video.to(fused))
        states = self.finetune_transformer(self.finetune_data_proj(fused), keep)
        found: Tensor = self.head(states)
        return found if self.spread_head is None else torch.cat([found, self.spread_head(states)], dim=-1)

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
        columns = len(AXES) * (1 if self.spread_head is None else 2)
        frames = texts.new_zeros(len(texts), count, columns)
        for rows, samples in self._groups(input_values, padding_mask):
            size = frame_count(samples, self.processor.hop)
            told = [None if given is None else given[rows, :size] for given in (spans, video)]
            clips = input_values[rows, :, :samples], separated_values[rows, :, :samples]
            mixtures, answers, residuals = self.hear_pair(*clips)
            frames[rows, :size] = self.rate(
                answers, mixtures, texts[rows], residuals=residuals, spans=told[0], video=told[1]
            )
        keep = torch.ones_like(frames[..., 0], dtype=torch.bool)
        return self.pool(frames, keep if padding_mask is None else padding_mask.bool()[:, :: self.processor.hop])

    def hear_pair(self, mixtures: Tensor, answers: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """What mixtures, their answers and, where the judge hears it, residuals sound like: ``[B, 1, T]`` each."""
        gain = self.level(mixtures)
        clips = [mixtures * gain, answers * gain]
        residual = self.residual(*clips)
        together = self.hear(torch.cat([*clips, *([] if residual is None else [residual])]))
        heard = torch.split(together, len(mixtures))
        return heard[0], heard[1], None if residual is None else heard[2]

    def pool(self, rated: Tensor, keep: Tensor) -> JudgeScores:
        """Scores from ratings of frames: means in the units of listeners.

        Args:
            rated: ``[B, F, 4]`` or ``[B, F, 8]``, what `rate` found.
            keep: bool ``[B, F]``, true for the frames that count.
        """
        keep = keep.to(rated.device)
        mean, std = self.mean.float(), self.std.float()
        counted = rated.float() * keep[..., None]
        pooled = counted.sum(dim=1) / keep.sum(dim=1, keepdim=True)
        frames, axes = counted[..., : len(AXES)], len(AXES)
        shown = self._calibrated(frames * std + mean) * keep[..., None]
        values = self._calibrated(pooled[:, :axes] * std + mean)
        spread = None if self.spread_head is None else pooled[:, axes:].exp() * std
        return JudgeScores(values=values, frames=shown, keep=keep, spread=spread)

    def _calibrated(self, values: Tensor) -> Tensor:
        """Values ``[..., 4]`` through the calibration, if there is one."""
        if self.calibration is None:
            return values
        rated, wanted = self.calibration.float()
        columns = []
        for axis, value in enumerate(values.unbind(-1)):
            x, y = rated[:, axis].contiguous(), wanted[:, axis]
            right = torch.searchsorted(x, value.contiguous()).clamp(1, len(x) - 1)
            share = ((value - x[right - 1]) / (x[right] - x[right - 1])).clamp(0, 1)
            outside = (value - x[0]).clamp(max=0) + (value - x[-1]).clamp(min=0)
            columns.append(torch.lerp(y[right - 1], y[right], share) + outside)
        return torch.stack(columns, dim=-1)

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
