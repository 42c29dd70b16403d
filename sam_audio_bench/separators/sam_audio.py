"""SAM Audio as a separator: a query becomes conditions, noise becomes latents, latents become target and residual.

Every query is conditioned by itself, without padding, and every candidate has noise and a watermark of its own seed, so
an answer depends neither on its batch nor on its neighbours. ``parity="upstream"`` pads batches as the reference does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sam_audio_bench.audio import resample
from sam_audio_bench.devices import deterministic_fp32, require_device
from sam_audio_bench.errors import UsageError
from sam_audio_bench.identity import Options
from sam_audio_bench.nn import flow
from sam_audio_bench.nn.hub import find_separator
from sam_audio_bench.nn.model import Conditions, SAMAudio
from sam_audio_bench.nn.span_predictor import SpanPredictor, find_span_predictor
from sam_audio_bench.nn.watermark import BITS
from sam_audio_bench.separators.sam_audio_query import Clip, Reader
from sam_audio_bench.types import Audio, Query, Separation

__all__ = ["LONG_FORMS", "SAMAudioSeparator"]

LONG_FORMS = ("auto", "one-shot", "multi-diffusion", "cross-fade")
_ONE_SHOT_SECONDS = 30.0  # what the network was pre-trained on
_DTYPES = {"auto": torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16}
_PARITIES = ("exact", "upstream")


class SAMAudioSeparator:
    """A SAM Audio checkpoint (Shi et al., 2025), loaded when the first query comes.

    The networks hear mono at the codec's rate; the answer is brought back to the mixture's rate, length and channels.
    The codec's decoder watermarks what it decodes, target and residual with 16 bits each, as the released one does.

    Args:
        place: a folder with a checkpoint, or the name of a released one.
        revision: branch, tag or commit on the hub; empty: ``main``.
        text_encoder: folder or hub id of the T5 encoder; empty: what the checkpoint has or names.
        solver: of the differential equation, see `flow.EVALUATIONS`.
        step: of the solver, between 0 and 1.
        long_form: "one-shot"; "multi-diffusion", windows solved jointly; "cross-fade", windows solved apart and faded;
            "auto", one-shot up to 30 s and multi-diffusion above.
        window: seconds of a window.
        overlap: seconds that neighbouring windows share at least.
        predict_spans: whether a prompt with a text and no span gets the spans that PE-A-Frame predicts.
        span_predictor: folder or name of the PE-A-Frame checkpoint.
        span_threshold: probability above which a frame belongs to a span.
        message: 16 bits of the watermark as a number; negative: drawn from the seed.
        parity: "exact", or "upstream": batches padded to the longest item, predicted spans without effect, no long form
            unless it is asked for, answers as long as their frames.
        dtype: "float32" ("auto"), or "bfloat16" for the transformer and the vision tower.
        device: "auto" (CUDA where there is one), "cpu", "cuda" ….
        rows: candidates that are solved at once; 0: one on a CPU, eight elsewhere.
        offload: whether the encoders of text and video, and the span predictor, are freed after each batch.
        compile: whether the transformer goes through `torch.compile`.

    Raises:
        UsageError: an option that cannot be meant. Precondition: no checkpoint, text encoder or span predictor.
    """

    where = frozenset({"rows"})  # how many rows of a batch are solved at once

    def __init__(
        self,
        place: str,
        *,
        revision: str = "",
        text_encoder: str = "",
        solver: str = "midpoint",
        step: float = 2 / 32,
        long_form: str = "auto",
        window: float = 20.0,
        overlap: float = 5.0,
        predict_spans: bool = False,
        span_predictor: str = "pe-a-frame-large",
        span_threshold: float = 0.3,
        message: int = -1,
        parity: str = "exact",
        dtype: str = "auto",
        device: str = "auto",
        rows: int = 0,
        offload: bool = False,
        compile: bool = False,
    ) -> None:
        _one_of("long_form", long_form, LONG_FORMS)
        _one_of("parity", parity, _PARITIES)
        _one_of("dtype", dtype, tuple(_DTYPES))
        flow.count_evaluations(solver, step)
        if not (0 <= overlap < window and 0 < span_threshold < 1 and message < 2**BITS and rows >= 0):
            raise UsageError(
                f"expected 0 <= overlap < window, 0 < span_threshold < 1, message < {2**BITS} and rows >= 0, "
                f"found {overlap}, {window}, {span_threshold}, {message}, {rows}"
            )
        self.checkpoint = find_separator(place, revision or None, text_encoder=text_encoder)
        self.revision = self.checkpoint.revision
        self.name = f"{place}@{self.revision[:7]}" if self.revision else f"sam-audio:{self.checkpoint.folder.name}"
        self.solver, self.step, self.parity = solver, float(step), parity
        self.long_form, self.window, self.overlap = long_form, float(window), float(overlap)
        self.message, self.offload, self.compile = message, offload, compile
        self.span_threshold = float(span_threshold)
        self.device = require_device(device)
        self.dtype = _DTYPES[dtype]
        self.rows = rows or (1 if self.device.type == "cpu" else 8)
        self.on_evaluation: Callable[[int, int], None] | None = None  # told how many of how many are done
        self._text_encoder = str(text_encoder)
        asked = predict_spans and parity == "exact"
        self._span_checkpoint = find_span_predictor(str(span_predictor)) if asked else None
        self._span_name = str(span_predictor)
        self._span_predictor: SpanPredictor | None = None
        self._model: SAMAudio | None = None
        self._sha256: str | None = None

    @property
    def settings(self) -> Options:
        """The options that change an answer."""
        spans = {"span_predictor": self._span_name, "span_threshold": self.span_threshold}
        return {
            **{name: getattr(self, name) for name in ("solver", "step", "long_form", "window", "overlap", "message")},
            **(spans if self._span_checkpoint else {}),
            "parity": self.parity,
            "dtype": str(self.dtype).removeprefix("torch."),
            "text_encoder": self._text_encoder,
        }

    @property
    def weights_sha256(self) -> str:
        """Digest of the weight file."""
        if self._sha256 is None:
            self._sha256 = self.checkpoint.sha256()
        return self._sha256

    @property
    def batch_size(self) -> int:
        """Queries that it likes to get at once."""
        return self.rows

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """One answer a query."""
        return [answers[0] for answers in self.separate_candidates(queries, [[seed] for seed in seeds])]

    def separate_candidates(self, queries: Sequence[Query], seeds: Sequence[Sequence[int]]) -> list[list[Separation]]:
        """An answer for each seed of each query; latents, text and video of a query are computed once.

        Raises:
            UsageError: a mixture or a span that cannot be answered. Precondition: weights that cannot be loaded.
        """
        begun = time.perf_counter()
        model = self._loaded()
        with torch.inference_mode(), deterministic_fp32():
            clips = self._reader(model).read(queries)
            if self.offload:
                model.release_encoders()
                self._span_predictor = None
            found = dict(self._solved(model, clips, seeds))
        share = (time.perf_counter() - begun) / max(len(queries), 1)
        return [
            [replace(found[query, candidate], seconds=share) for candidate in range(len(seeds[query]))]
            for query in range(len(queries))
        ]

    def _loaded(self) -> SAMAudio:
        if self._model is None:
            self._model = SAMAudio.from_pretrained(
                self.checkpoint, dtype=self.dtype, device=self.device, text_encoder=self._text_encoder
            )
            if self.compile:
                self._model.transformer.compile()
        return self._model

    def _reader(self, model: SAMAudio) -> Reader:
        if self._span_checkpoint is not None and self._span_predictor is None:
            self._span_predictor = SpanPredictor.from_pretrained(self._span_checkpoint).to(self.device)
        return Reader(model, self.device, self._span_predictor, self.span_threshold, together=self.parity == "upstream")

    def _solved(
        self, model: SAMAudio, clips: Sequence[Clip], seeds: Sequence[Sequence[int]]
    ) -> Iterator[tuple[tuple[int, int], Separation]]:
        """Answers by (query, candidate); only rows of the same number of frames share a batch."""
        rows = [(query, candidate) for query, some in enumerate(seeds) for candidate in range(len(some))]
        groups: dict[int, list[tuple[int, int]]] = {}
        for row in rows:
            groups.setdefault(clips[row[0]].conditions.frames.shape[1], []).append(row)
        batches = [group[i : i + self.rows] for group in groups.values() for i in range(0, len(group), self.rows)]
        steps = _Steps(self.on_evaluation, sum(self._evaluations(model, clips[batch[0][0]]) for batch in batches))
        for batch in batches:
            given = Conditions.stacked([clips[query].conditions for query, _ in batch])
            drawn = [self._draw(model, given, seeds[query][candidate]) for query, candidate in batch]
            noise, message = (torch.cat(parts) for parts in zip(*drawn, strict=True))
            waveforms = self._waveforms(model, given, noise.to(self.device), message.to(self.device), steps)
            for row, pair in zip(batch, torch.split(waveforms.float().cpu(), 2), strict=True):
                yield row, self._answer(clips[row[0]], pair, model.codec.sample_rate)

    def _draw(self, model: SAMAudio, given: Conditions, seed: int) -> tuple[Tensor, Tensor]:
        """Noise ``[1, T, 2 C]`` and messages ``[2, 16]`` of one row, drawn on the CPU: the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        shape = (1, given.frames.shape[1], 2 * model.config.audio_codec.codebook_dim)
        noise = torch.randn(shape, generator=generator)
        if self.message < 0:
            return noise, torch.randint(0, 2, (2, BITS), generator=generator).float()
        bits = torch.tensor([self.message >> bit & 1 for bit in range(BITS)]).float()
        return noise, bits.expand(2, -1)

    def _pieces(self, model: SAMAudio, frames: int) -> list[slice]:
        short = frames * model.frame_seconds <= _ONE_SHOT_SECONDS or self.parity == "upstream"
        if self.long_form == "one-shot" or (self.long_form == "auto" and short):
            return [slice(0, frames)]
        length, overlap = (max(1, round(s / model.frame_seconds)) for s in (self.window, self.overlap))
        return flow.split_windows(frames, length, min(overlap, length - 1))

    def _evaluations(self, model: SAMAudio, clip: Clip) -> int:
        pieces = self._pieces(model, clip.conditions.frames.shape[1])
        return len(pieces) * flow.count_evaluations(self.solver, self.step)

    def _waveforms(
        self, model: SAMAudio, given: Conditions, noise: Tensor, message: Tensor, steps: Callable[[], None]
    ) -> Tensor:
        """``[2 B, samples]``, target and residual of each row in turn."""
        pieces = self._pieces(model, noise.shape[1])
        velocities = [_velocity(model, given.window(piece), steps) for piece in pieces]
        if self.long_form == "cross-fade" and len(pieces) > 1:
            parts = [self._decoded(model, self._flow(one, noise[:, piece]), message)
                     for one, piece in zip(velocities, pieces, strict=True)]  # fmt: skip
            return _faded(parts, pieces, model.codec.hop_length)
        return self._decoded(model, self._flow(flow.multi_diffusion(velocities, pieces), noise), message)

    def _flow(self, velocity: flow.Velocity, noise: Tensor) -> Tensor:
        return flow.integrate(velocity, noise, solver=self.solver, step=self.step)

    @staticmethod
    def _decoded(model: SAMAudio, state: Tensor, message: Tensor) -> Tensor:
        """``[B, T, 2 C] -> [2 B, samples]``, one row at a time, which bounds the memory."""
        latents = state.transpose(1, 2).reshape(2 * len(state), -1, state.shape[1])
        rows = zip(torch.split(latents, 1), torch.split(message, 1), strict=True)
        return torch.cat([model.codec.decode(latent, message=bits)[:, 0] for latent, bits in rows])

    def _answer(self, clip: Clip, pair: Tensor, rate: int) -> Separation:
        target, residual = (self._as_asked(clip, samples, rate) for samples in pair)
        return Separation(target=target, residual=residual)

    def _as_asked(self, clip: Clip, samples: Tensor, rate: int) -> Audio:
        """At the mixture's rate, length and channels."""
        mixture = clip.mixture
        found = resample(Audio(samples[None, : clip.samples], rate), mixture.rate).samples
        if self.parity == "exact":
            missing = mixture.length - found.shape[1]  # a sample of rounding, where rates differ
            found = torch.nn.functional.pad(found, (0, max(missing, 0)))[:, : mixture.length]
        return Audio(found.expand(mixture.channels, -1).contiguous(), mixture.rate)


class _Steps:
    """Counts evaluations for a progress bar."""

    def __init__(self, tell: Callable[[int, int], None] | None, total: int) -> None:
        self.tell, self.total, self.done = tell, total, 0

    def __call__(self) -> None:
        self.done += 1
        if self.tell is not None:
            self.tell(self.done, self.total)


def _velocity(model: SAMAudio, given: Conditions, steps: Callable[[], None]) -> flow.Velocity:
    def velocity(time: Tensor, state: Tensor) -> Tensor:
        found = model.evaluate(state, time.expand(len(state)), given)
        steps()
        return found

    return velocity


def _faded(parts: Sequence[Tensor], pieces: Sequence[slice], hop: int) -> Tensor:
    """Waveforms of windows, faded into one another."""
    spans = [slice(piece.start * hop, piece.stop * hop) for piece in pieces]
    found = parts[0].new_zeros(len(parts[0]), spans[-1].stop)
    for part, span, weight in zip(parts, spans, flow.overlap_weights(spans, spans[-1].stop), strict=True):
        found[:, span] += part * weight.to(part.device)
    return found


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(f"expected {name} to be one of {', '.join(known)}, found {value!r}")
