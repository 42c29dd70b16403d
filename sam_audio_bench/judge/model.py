"""SAJ, the SAM Audio Judge: predicts ratings from mixture, estimate and prompt, without a reference.

A shared PE-AV transformer encodes the codec latents of mixture and estimate; both are fused, frame by frame, with the
text embedding of ModernBERT; a small transformer and a linear head rate every frame, and the rating of an estimate is
the mean over its frames ("SAM Audio Judge", arXiv 2601.19702; names and dimensions are those of the released
checkpoint).

Letters: K estimates, F frames, T samples, h width of the transformer, b of the fusion, V of video features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_audio_bench.audio import resample, to_mono
from sam_audio_bench.devices import deterministic_fp32, require_device
from sam_audio_bench.errors import UsageError
from sam_audio_bench.judge.checkpoints import find_judge
from sam_audio_bench.judge.config import JudgeConfig
from sam_audio_bench.judge.network import SPAN_STATES, JudgeNetwork
from sam_audio_bench.judge.processor import JudgeProcessor
from sam_audio_bench.judge.scores import JudgeScores
from sam_audio_bench.judge.word_vectors import WordTokenizer
from sam_audio_bench.nn.checkpoint import load_strict, open_weights
from sam_audio_bench.nn.conditioning import anchor_tables, frame_count
from sam_audio_bench.nn.hub import Checkpoint
from sam_audio_bench.nn.peav import restore_buffers
from sam_audio_bench.types import Audio, Span

__all__ = ["SAJ", "PreparedQuery"]


class SAJ(JudgeNetwork):
    """The judge, with its weights; `JudgeNetwork` describes ``parity`` and the use of spans and video.

    Create it with `from_pretrained`; the constructor leaves the weights random.
    """

    @classmethod
    def from_pretrained(
        cls,
        place: str | Path | Checkpoint,
        *,
        parity: str = "exact",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        revision: str | None = None,
        tokenizer: Any = "",
    ) -> Self:
        """Loads a judge with its weights, in evaluation mode; the weight file is memory-mapped.

        Args:
            place: as in `find_judge`, or its result.
            parity: see the class.
            dtype: of the networks after the codec, which stays in float32.
            device: "auto" (CUDA if available), "cpu", "cuda" ….
            revision: see `find_judge`.
            tokenizer: see `JudgeProcessor`.

        Raises:
            Precondition: the checkpoint is missing or damaged, or has the layout of another model.
            UsageError: unknown parity or device.
        """
        device = require_device(device)
        checkpoint = place if isinstance(place, Checkpoint) else find_judge(place, revision)
        config = JudgeConfig.of_folder(checkpoint.folder)
        tensors = open_weights(checkpoint.weights)
        with torch.device("cpu" if config.small else "meta"):
            model = cls(config, parity=parity)
            video = tensors.get("video_proj.weight")
            model.extend(
                spans="span_proj.weight" in tensors,
                video_width=None if video is None else video.shape[-1],
                spread="spread_head.weight" in tensors,
            )
            knots = tensors.get("calibration")
            model.calibrate(None if knots is None else torch.empty_like(knots))
        if model.ear is not None:
            model.ear.check_inputs(tensors, checkpoint.weights)
        load_strict(model, tensors, source=checkpoint.weights)
        model.eval().requires_grad_(False)
        model.processor = JudgeProcessor(
            model.processor.hop,
            model.processor.rate,
            parity=parity,
            folder=checkpoint.folder,
            tokenizer=tokenizer,
            reader=None if config.small is None else WordTokenizer(checkpoint.folder),
        )
        for name, part in model.named_children():
            part.to(torch.float32 if name == "audio_codec" else dtype)
        if model.ear is None:
            model.audio_codec.fold_weight_norm()
            restore_buffers(model.text_model)
        return model.to(device)

    def prepare_query(
        self, mixture: Audio, text: str, *, spans: Sequence[Span] = (), video: Tensor | None = None
    ) -> PreparedQuery:
        """Encodes a query once, for any number of estimates; arguments as in `score`."""
        with torch.inference_mode(), deterministic_fp32():
            values, mask = self.batch([mixture])
            states = self.encode_audio(values) if self.ear is None else self.ear.encode_mixtures(values)
            prompt = self._encode_prompt(spans, video, mask.shape[1] // self.processor.hop)
            return PreparedQuery(self, values, states, self.encode_text(*self.processor.tokens([text])), *prompt)

    def score(
        self,
        mixture: Audio,
        targets: Sequence[Audio],
        text: str,
        *,
        spans: Sequence[Span] = (),
        video: Tensor | None = None,
    ) -> JudgeScores:
        """Scores K estimates for one query; the mixture is encoded once.

        The scores of an estimate do not depend on the other estimates, down to the last bit.

        Args:
            mixture: any rate and channels; converted to mono at the judge's rate.
            targets: estimates of the mixture's length.
            text: text of the prompt; empty if it has none.
            spans: spans of the prompt.
            video: features ``[F, V]`` of the masked video, one row per frame.

        Raises:
            UsageError: there is no estimate, or a clip is empty, not finite, or not as long as the mixture.
            Precondition: there is no tokenizer.
        """
        if not targets:
            raise UsageError("expected at least one estimate for a mixture, found none")
        query = self.prepare_query(mixture, text, spans=spans, video=video)
        return JudgeScores.joined([query.score(target) for target in targets])

    def score_batch(
        self, mixtures: Sequence[Audio], targets: Sequence[Sequence[Audio]], texts: Sequence[str]
    ) -> list[JudgeScores]:
        """Scores the estimates for several queries.

        With ``parity="upstream"`` they form one batch, as in SAM Audio's reranker: mixtures are rows of the separator's
        zero-padded batch, cut to whole frames, so that only the longest is reflected.

        Args:
            mixtures: one per query.
            targets: the estimates for each query.
            texts: the texts of the prompts.

        Returns:
            The scores of the estimates, per query.

        Raises:
            UsageError: see `score`, or the numbers of queries differ. Precondition: there is no tokenizer.
        """
        if not len(mixtures) == len(targets) == len(texts) or not all(targets):
            found = f"{len(mixtures)} mixtures, {len(texts)} texts and {[len(some) for some in targets]} estimates"
            raise UsageError(f"expected a text and at least one estimate for each mixture, found {found}")
        if self.parity == "exact":
            return [self.score(*query) for query in zip(mixtures, targets, texts, strict=True)]
        with torch.inference_mode(), deterministic_fp32():
            waves = [self._wave(mixture) for mixture in mixtures]
            hop, padded = self.processor.hop, nn.utils.rnn.pad_sequence(waves, batch_first=True)
            rows = [row[: frame_count(len(wave), hop) * hop] for row, wave in zip(padded, waves, strict=True)]
            values, mask = self.processor.audio(rows, self.processor.rate)
            estimates, own = self.batch([target for some in targets for target in some])
            counts = torch.tensor([len(some) for some in targets])
            copies = torch.arange(len(counts)).repeat_interleave(counts)
            _check_frames(mask[copies], own, hop)
            text_features = self.encode_text(*self.processor.tokens(texts))
            states = self.encode_audio(values)
            frames = self.rate_frames(self.encode_audio(estimates), states[copies], text_features[copies])
            keep = mask[copies, ::hop]
            return [self.pool(frames[copies == query], keep[copies == query]) for query in range(len(counts))]

    def score_pairs(
        self,
        mixtures: Sequence[Audio],
        targets: Sequence[Audio],
        texts: Sequence[str],
        spans: Sequence[Sequence[Span]],
    ) -> JudgeScores:
        """Scores one estimate for each of B queries in one call of the network; arguments as in `score`.

        With ``parity="exact"`` the scores equal those of `score` up to rounding.

        Raises:
            UsageError: see `score`. Precondition: there is no tokenizer.
        """
        with torch.inference_mode(), deterministic_fp32():
            values, mask = self.batch(mixtures)
            estimates, own = self.batch(targets)
            _check_frames(mask, own, self.processor.hop)
            ids, attention = self.processor.tokens(texts)
            states = torch.zeros(len(mask), mask.shape[1] // self.processor.hop, SPAN_STATES)
            for row, (some, frames) in enumerate(zip(spans, _frames(mask, self.processor.hop), strict=True)):
                if some:
                    states[row, :frames] = self._span_states(some, frames)
            scores: JudgeScores = self(
                input_ids=ids,
                input_values=values,
                separated_values=estimates,
                attention_mask=attention,
                padding_mask=mask,
                spans=states if any(spans) else None,
            )
            return scores

    def batch(self, clips: Sequence[Audio]) -> tuple[Tensor, Tensor]:
        """Returns input and padding mask for clips of any rate and channels; see `JudgeProcessor.audio`."""
        return self.processor.audio([self._wave(clip) for clip in clips], self.processor.rate)

    def _wave(self, audio: Audio) -> Tensor:
        """Returns a clip as mono at the judge's rate, ``[samples]``."""
        if audio.length == 0 or not bool(torch.isfinite(audio.samples).all()):
            reason = "none" if audio.length == 0 else "NaN or infinity"
            raise UsageError(f"expected finite samples to rate, found {reason}")
        mono = to_mono(audio)
        found = resample(mono, self.processor.rate).samples[0].float()
        return found if len(found) else mono.samples[0, :1].float()  # shorter than one sample at the judge's rate

    def _encode_prompt(
        self, spans: Sequence[Span], video: Tensor | None, size: int
    ) -> tuple[Tensor | None, Tensor | None]:
        """Returns spans and video of one query in the form that `rate_frames` expects."""
        states = self._span_states(spans, size)[None] if spans else None
        if video is not None and (video.ndim != 2 or len(video) != size):
            raise UsageError(f"expected video features [{size}, width], found {tuple(video.shape)}")
        return states, None if video is None else video[None]

    def _span_states(self, spans: Sequence[Span], size: int) -> Tensor:
        """Returns the state that spans give to each of ``size`` frames, one-hot ``[size, SPAN_STATES]``."""
        ids, alignment = anchor_tables([spans], [size], hop=self.processor.hop, rate=self.processor.rate)
        return F.one_hot(ids.gather(1, alignment)[0], SPAN_STATES)


@dataclass(frozen=True)
class PreparedQuery:
    """An encoded query: features of the mixture and the prompt."""

    judge: SAJ
    mixture: Tensor  # [1, 1, T]
    features: Tensor  # [1, F, h]
    text: Tensor  # [1, t]
    spans: Tensor | None  # [1, F, 3]
    video: Tensor | None  # [1, F, V]

    def score(self, target: Audio) -> JudgeScores:
        """Scores one estimate; raises UsageError as `SAJ.score`."""
        judge = self.judge
        with torch.inference_mode(), deterministic_fp32():
            values, mask = judge.batch([target])
            hop = judge.processor.hop
            expected, found = (frame_count(one.shape[-1], hop) for one in (self.mixture, values))
            if found != expected:
                raise UsageError(f"expected an estimate as long as its mixture, {expected} frames, found {found}")
            small = judge.ear
            estimate = judge.encode_audio(values) if small is None else small.encode_estimates(self.mixture, values)
            rated = judge.rate_frames(estimate, self.features, self.text, spans=self.spans, video=self.video)
            return judge.pool(rated, mask[:, ::hop])


def _check_frames(mixtures: Tensor, estimates: Tensor, hop: int) -> None:
    """Raises UsageError if estimates and mixtures differ in their number of frames, given masks ``[B, T]``."""
    found = [_frames(mask, hop) for mask in (mixtures, estimates)]
    if found[0] != found[1]:
        raise UsageError(f"expected estimates as long as their mixtures, found {found[1]} frames for {found[0]}")


def _frames(mask: Tensor, hop: int) -> list[int]:
    """Returns the number of frames of each clip, given the mask ``[B, T]``."""
    found: list[int] = (mask.sum(dim=1) // hop).tolist()
    return found
