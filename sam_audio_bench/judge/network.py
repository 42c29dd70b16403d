"""The judge's layers and forward pass; keys and dimensions are those of the released checkpoint.

Letters: B batch, T samples, F frames, h width of the audio features, b of the fusion, t of a text, V of video features,
S tokens. The attribute ``ear`` is the encoder of a small judge; the name is that of checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sam_audio_bench.errors import UsageError
from sam_audio_bench.judge.config import JudgeConfig
from sam_audio_bench.judge.processor import JudgeProcessor
from sam_audio_bench.judge.scores import AXES, JudgeScores
from sam_audio_bench.judge.small_encoder import SPAN_STATES, SmallEncoder
from sam_audio_bench.nn.codec import DACVAE
from sam_audio_bench.nn.conditioning import frame_count
from sam_audio_bench.nn.peav import PEAVTransformer, build_modern_bert, encode_first_token

__all__ = ["SPAN_STATES", "JudgeNetwork"]


class JudgeNetwork(nn.Module):
    """The network of `SAJ`, which operates on tensors.

    The released judge encodes audio with a codec and a large transformer and texts with ModernBERT, and fuses them
    frame by frame. A small judge, whose config has ``small``, has a `SmallEncoder` instead, which compares mixture and
    estimate and looks for the prompt in them; the last transformer and the head are the same.

    ``parity`` determines the treatment of padding and texts. With "upstream" the transformers attend to padding, as in
    the released code, so that scores depend on the batch. With "exact" every item is encoded without padding, and its
    scores do not depend on the batch.

    Spans and masked video, which the paper describes and the released judge ignores, are frame embeddings added to the
    fused features; the spread is a second head. They exist if a checkpoint has them or after `extend`, which
    initialises them with zeros; otherwise spans and video have no effect, and there is no spread. A calibration, if a
    checkpoint has one, maps scores monotonically, see `calibrate`.

    Args:
        config: dimensions.
        parity: one of `sam_audio_bench.judge.processor.PARITIES`.

    Raises:
        UsageError: unknown parity. Precondition: impossible dimensions.
    """

    ear: SmallEncoder | None
    span_proj: nn.Linear | None
    video_proj: nn.Linear | None
    spread_head: nn.Linear | None
    calibration: Tensor | None

    def __init__(self, config: JudgeConfig, *, parity: str = "exact") -> None:
        super().__init__()
        self.config, inner = config, config.bottleneck_dim
        last = config.finetune_transformer.hidden_size
        if config.small is None:
            self.ear, (hop, rate) = None, self._add_released_encoders(config)
        else:
            if parity != "exact":
                raise UsageError(f"expected parity exact, found {parity}: only released judges have a reference")
            self.ear = SmallEncoder(config.small, inner)
            hop, rate = self.ear.hop, self.ear.rate
        self.processor = JudgeProcessor(hop, rate, parity=parity)
        self.finetune_data_proj = nn.Linear(inner, last)
        self.finetune_transformer = PEAVTransformer(config.finetune_transformer)
        self.head = nn.Linear(last, len(AXES), bias=False)
        self.mean = nn.Parameter(torch.zeros(len(AXES)))
        self.std = nn.Parameter(torch.ones(len(AXES)))
        self.span_proj = self.video_proj = self.spread_head = None
        self.register_buffer("calibration", None)

    def _add_released_encoders(self, config: JudgeConfig) -> tuple[int, int]:
        """Adds codec, transformer, ModernBERT and fusion; returns the codec's samples per frame and sampling rate."""
        codec, width, inner = config.audio_codec, config.transformer.hidden_size, config.bottleneck_dim
        self.audio_codec = DACVAE(codec, decoder=False)
        self.data_proj = nn.Linear(codec.codebook_dim, width)
        self.transformer = PEAVTransformer(config.transformer)
        self.text_model = build_modern_bert(config.text_model, config.nth_text_layer)
        self.cat_audio_proj = nn.Linear(2 * width, inner)
        self.text_proj1 = nn.Linear(self.text_model.config.hidden_size, width, bias=False)
        self.text_proj2 = nn.Linear(width, inner)
        self.layer_norm = nn.LayerNorm(inner)
        self.proj_audio_and_text = nn.Linear(2 * inner, inner)
        return codec.hop_length, codec.sample_rate

    @property
    def parity(self) -> str:
        """Treatment of padding and texts, see the class."""
        return self.processor.parity

    @property
    def prompts(self) -> frozenset[str]:
        """The parts of a prompt that the judge uses: "text", "spans", "video"."""
        spans = self.ear is not None or self.span_proj is not None
        effects = {"text": True, "spans": spans, "video": self.video_proj is not None}
        return frozenset(name for name, effect in effects.items() if effect)

    @property
    def frame_seconds(self) -> float:
        """Seconds per frame."""
        return self.processor.hop / self.processor.rate

    def extend(self, *, spans: bool = False, video_width: int | None = None, spread: bool = False) -> None:
        """Adds inputs for spans and video features, and the spread head; their weights are initialised with zeros."""
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
        """Sets the calibration: linear interpolation of scores between knots, and a constant offset beyond them.

        Args:
            knots: ``[2, K, 4]``: raw scores, increasing along K, and calibrated scores, not decreasing; None: no
                calibration.
        """
        self.calibration = knots

    def encode_audio(self, values: Tensor, keep: Tensor | None = None) -> Tensor:
        """Returns features of mixtures or estimates per frame, for a released judge.

        Args:
            values: ``[B, 1, T]``; the codec is frozen, so no gradient flows into it.
            keep: bool ``[B, F]``, see `PEAVTransformer.forward`. The codec does not mask padding.

        Returns:
            ``[B, F, h]``.
        """
        with torch.no_grad():
            latents = self.audio_codec.encode(values.to(self.data_proj.weight.device, torch.float32)).transpose(1, 2)
        found: Tensor = self.transformer(self.data_proj(latents.to(self.data_proj.weight.dtype)), keep)
        return found

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Returns text embeddings, ``[B, S] -> [B, t]``."""
        place = self.head.weight.device
        mask = None if attention_mask is None else attention_mask.to(place)
        if self.ear is not None:
            return self.ear.encode_text(input_ids.to(place), mask)
        return encode_first_token(self.text_model, input_ids.to(place), mask, self.config.nth_text_layer)

    def rate_frames(
        self,
        estimates: Tensor,
        mixtures: Tensor,
        texts: Tensor,
        *,
        keep: Tensor | None = None,
        spans: Tensor | None = None,
        video: Tensor | None = None,
    ) -> Tensor:
        """Rates every frame, in units of the training data: zero mean, unit variance.

        Args:
            estimates: features of the estimates ``[B, F, h]``, from `encode_pair`.
            mixtures: features of the mixtures.
            texts: ``[B, t]``, from `encode_text`.
            keep: bool ``[B, F]``, see `PEAVTransformer.forward`.
            spans: ``[B, F, 3]``, one-hot: no span, sound present, sound absent.
            video: ``[B, F, V]``, features of the masked video; V as passed to `extend`.

        Returns:
            ``[B, F, 4]``, columns as `AXES`; followed by the logarithms of the four spreads if there is a spread head.
        """
        if self.ear is not None:
            return self.rate_frame_features(
                self.ear.frame_features(mixtures, estimates, texts, keep=keep, spans=spans), keep=keep
            )
        text = self.layer_norm(self.text_proj2(self.text_proj1(texts)))
        audio = self.cat_audio_proj(torch.cat([estimates, mixtures], dim=-1))
        fused = self.proj_audio_and_text(torch.cat([audio, text[:, None].expand_as(audio)], dim=-1))
        if spans is not None and self.span_proj is not None:
            fused = fused + self.span_proj(spans.to(fused))
        if video is not None and self.video_proj is not None:
            fused = fused + self.video_proj(video.to(fused))
        return self._rated(fused, keep)

    def rate_frame_features(
        self, features: Tensor, *, text_trust: Tensor | None = None, keep: Tensor | None = None
    ) -> Tensor:
        """Rates every frame by a small judge.

        Args:
            features: ``[B, F, NUM_INPUTS]``, from `SmallEncoder.frame_features`.
            text_trust: ``[B, 1]`` from 0 to 1, a factor of the features of the text's class; None: 1.
            keep: see `rate_frames`.

        Returns:
            See `rate_frames`.
        """
        assert self.ear is not None
        return self._rated(self.ear.project_features(features, text_trust=text_trust, keep=keep), keep)

    def _rated(self, fused: Tensor, keep: Tensor | None) -> Tensor:
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
        """Returns scores of a batch from `JudgeProcessor`.

        Args:
            input_ids: ``[B, S]``.
            input_values: mixtures ``[B, 1, T]``.
            separated_values: estimates ``[B, 1, T]``.
            attention_mask: ``[B, S]``, true for real tokens; None: all are.
            padding_mask: bool ``[B, T]``, true for real samples, which come first; None: all are.
            spans: see `rate_frames`.
            video: see `rate_frames`.

        Returns:
            Scores of B estimates.

        Raises:
            UsageError: inconsistent shapes, or an item without samples.
        """
        _check(input_ids, input_values, separated_values, padding_mask)
        texts = self.encode_text(input_ids, attention_mask)
        count = frame_count(input_values.shape[-1], self.processor.hop)
        columns = len(AXES) * (1 if self.spread_head is None else 2)
        frames = texts.new_zeros(len(texts), count, columns)
        for rows, samples in self._groups(input_values, padding_mask):
            size = frame_count(samples, self.processor.hop)
            extra = [None if given is None else given[rows, :size] for given in (spans, video)]
            clips = input_values[rows, :, :samples], separated_values[rows, :, :samples]
            mixtures, estimates = self.encode_pair(*clips)
            frames[rows, :size] = self.rate_frames(estimates, mixtures, texts[rows], spans=extra[0], video=extra[1])
        keep = torch.ones_like(frames[..., 0], dtype=torch.bool)
        return self.pool(frames, keep if padding_mask is None else padding_mask.bool()[:, :: self.processor.hop])

    def encode_pair(self, mixtures: Tensor, estimates: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features of mixtures ``[B, 1, T]`` and their estimates, or of one mixture and K estimates."""
        if self.ear is not None:
            return self.ear.encode_pair(mixtures, estimates)
        together = self.encode_audio(torch.cat([mixtures, estimates]))
        return together[: len(mixtures)], together[len(mixtures) :]

    def pool(self, rated: Tensor, keep: Tensor, *, bounded: bool = True) -> JudgeScores:
        """Averages ratings of frames, and maps them to the listeners' scale.

        Args:
            rated: ``[B, F, 4]`` or ``[B, F, 8]``, from `rate_frames`.
            keep: bool ``[B, F]``, true for real frames.
            bounded: whether to clip ratings of a small judge to 1…5.
        """
        keep = keep.to(rated.device)
        mean, std = self.mean.float(), self.std.float()
        counted = rated.float() * keep[..., None]
        pooled = counted.sum(dim=1) / keep.sum(dim=1, keepdim=True)
        frames, axes = counted[..., : len(AXES)], len(AXES)
        shown = self._calibrated(frames * std + mean) * keep[..., None]
        values = self._calibrated(pooled[:, :axes] * std + mean)
        if self.ear is not None and bounded:
            shown, values = shown.clamp(1, 5) * keep[..., None], values.clamp(1, 5)
        spread = None if self.spread_head is None else pooled[:, axes:].exp() * std
        return JudgeScores(values=values, frames=shown, keep=keep, spread=spread)

    def _calibrated(self, values: Tensor) -> Tensor:
        """Applies the calibration to values ``[..., 4]``, if there is one."""
        if self.calibration is None:
            return values
        raw, calibrated = self.calibration.float()
        columns = []
        for axis, value in enumerate(values.unbind(-1)):
            x, y = raw[:, axis].contiguous(), calibrated[:, axis]
            right = torch.searchsorted(x, value.contiguous()).clamp(1, len(x) - 1)
            share = ((value - x[right - 1]) / (x[right] - x[right - 1])).clamp(0, 1)
            outside = (value - x[0]).clamp(max=0) + (value - x[-1]).clamp(min=0)
            columns.append(torch.lerp(y[right - 1], y[right], share) + outside)
        return torch.stack(columns, dim=-1)

    def _groups(self, values: Tensor, padding_mask: Tensor | None) -> Iterator[tuple[Tensor, int]]:
        """Yields rows that are encoded together, and their number of samples."""
        everything = torch.arange(len(values)), values.shape[-1]
        if padding_mask is None or self.parity == "upstream":
            yield everything
            return
        lengths = padding_mask.sum(dim=1).tolist()
        for length in sorted(set(lengths)):
            yield torch.tensor([row for row, own in enumerate(lengths) if own == length]), length


def _check(ids: Tensor, mixtures: Tensor, estimates: Tensor, mask: Tensor | None) -> None:
    if mixtures.ndim != 3 or mixtures.shape[1] != 1 or mixtures.shape != estimates.shape or len(ids) != len(mixtures):
        found = f"{tuple(mixtures.shape)}, {tuple(estimates.shape)} and {len(ids)} texts"
        raise UsageError(f"expected mixtures and estimates [batch, 1, time] and a text for each, found {found}")
    if mask is None:
        return
    if mask.shape != (len(mixtures), mixtures.shape[-1]):
        raise UsageError(f"expected padding_mask {(len(mixtures), mixtures.shape[-1])}, found {tuple(mask.shape)}")
    if not bool(mask[:, :1].all()) or bool((mask.int().diff(dim=1) > 0).any()):
        raise UsageError("expected padding after the samples of every item, and a sample in each, found other masks")
