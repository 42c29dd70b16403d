"""SAM Audio as a separator: queries are encoded to conditions, and noise is solved to target and residual latents.

Each query is encoded separately, without padding, and noise and watermark of each candidate depend on its own seed, so
that an estimate does not depend on its batch. ``parity="upstream"`` pads batches like the reference implementation.
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
from sam_audio_bench.separators.sam_audio_query import EncodedQuery, QueryEncoder
from sam_audio_bench.types import Audio, Query, Separation

__all__ = ["LONG_FORMS", "SAMAudioSeparator"]

LONG_FORMS = ("auto", "one-shot", "multi-diffusion", "cross-fade")
_ONE_SHOT_SECONDS = 30.0  # length of clips in pre-training
_DTYPES = {"auto": torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16}
_PARITIES = ("exact", "upstream")


class SAMAudioSeparator:
    """A SAM Audio checkpoint (Shi et al., 2025), loaded at the first query.

    The networks process mono at the rate of the codec; estimates are converted to the rate, length and channels of the
    mixture. The decoder of the codec watermarks target and residual with 16 bits each, like the released one.

    Args:
        place: a folder with a checkpoint, or the name of a released one.
        revision: branch, tag or commit on the hub; empty: ``main``.
        text_encoder: folder or hub id of the T5 encoder; empty: as in the checkpoint.
        solver: of the differential equation, see `flow.EVALUATIONS`.
        step: of the solver, between 0 and 1.
        long_form: "one-shot"; "multi-diffusion", windows solved jointly; "cross-fade", windows solved separately and
            cross-faded; "auto", one-shot up to 30 s and multi-diffusion above.
        window: length of a window in seconds.
        overlap: minimal overlap of neighbouring windows in seconds.
        predict_spans: whether PE-A-Frame predicts spans for prompts with a text and no spans.
        span_predictor: folder or name of the PE-A-Frame checkpoint.
        span_threshold: probability above which a frame belongs to a span.
        message: 16 bits of the watermark as a number; negative: drawn from the seed.
        parity: "exact", or "upstream": batches padded to the longest item, predicted spans without effect, no automatic
            long form, estimates as long as their frames.
        dtype: "float32" ("auto"), or "bfloat16" for the transformer and the vision tower.
        device: "auto" (CUDA if available), "cpu", "cuda" ….
        rows: candidates per batch; 0: one on a CPU, eight elsewhere.
        offload: whether text encoder, video encoder and span predictor are freed after each batch.
        compile: whether the transformer is compiled by `torch.compile`.

    Raises:
        UsageError: an invalid option. Precondition: checkpoint, text encoder or span predictor are missing.
    """

    where = frozenset({"rows"})  # does not change an estimate

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
        _check_choice("long_form", long_form, LONG_FORMS)
        _check_choice("parity", parity, _PARITIES)
        _check_choice("dtype", dtype, tuple(_DTYPES))
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
        self.on_evaluation: Callable[[int, int], None] | None = None  # called with evaluations done, and in total
        self._text_encoder = str(text_encoder)
        needs_spans = predict_spans and parity == "exact"
        self._span_checkpoint = find_span_predictor(str(span_predictor)) if needs_spans else None
        self._span_name = str(span_predictor)
        self._span_predictor: SpanPredictor | None = None
        self._model: SAMAudio | None = None
        self._sha256: str | None = None

    @property
    def settings(self) -> Options:
        """The options that change an estimate."""
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
        """Preferred number of queries per call."""
        return self.rows

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Returns one estimate per query, in order."""
        return [candidates[0] for candidates in self.separate_candidates(queries, [[seed] for seed in seeds])]

    def separate_candidates(self, queries: Sequence[Query], seeds: Sequence[Sequence[int]]) -> list[list[Separation]]:
        """Returns one estimate per seed of each query; latents, text and video of a query are encoded once.

        Raises:
            UsageError: an invalid mixture or span. Precondition: the weights cannot be loaded.
        """
        begun = time.perf_counter()
        model = self._loaded()
        with torch.inference_mode(), deterministic_fp32():
            encoded = self._query_encoder(model).encode(queries)
            if self.offload:
                model.release_encoders()
                self._span_predictor = None
            found = dict(self._solve(model, encoded, seeds))
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

    def _query_encoder(self, model: SAMAudio) -> QueryEncoder:
        if self._span_checkpoint is not None and self._span_predictor is None:
            self._span_predictor = SpanPredictor.from_pretrained(self._span_checkpoint).to(self.device)
        return QueryEncoder(
            model, self.device, self._span_predictor, self.span_threshold, batched=self.parity == "upstream"
        )

    def _solve(
        self, model: SAMAudio, encoded: Sequence[EncodedQuery], seeds: Sequence[Sequence[int]]
    ) -> Iterator[tuple[tuple[int, int], Separation]]:
        """Yields estimates by (query, candidate); only rows with equally many frames share a batch."""
        rows = [(query, candidate) for query, some in enumerate(seeds) for candidate in range(len(some))]
        groups: dict[int, list[tuple[int, int]]] = {}
        for row in rows:
            groups.setdefault(encoded[row[0]].conditions.frames.shape[1], []).append(row)
        batches = [group[i : i + self.rows] for group in groups.values() for i in range(0, len(group), self.rows)]
        steps = _EvaluationCounter(
            self.on_evaluation, sum(self._count_evaluations(model, encoded[batch[0][0]]) for batch in batches)
        )
        for batch in batches:
            given = Conditions.stacked([encoded[query].conditions for query, _ in batch])
            drawn = [self._draw(model, given, seeds[query][candidate]) for query, candidate in batch]
            noise, message = (torch.cat(parts) for parts in zip(*drawn, strict=True))
            waveforms = self._solve_batch(model, given, noise.to(self.device), message.to(self.device), steps)
            for row, pair in zip(batch, torch.split(waveforms.float().cpu(), 2), strict=True):
                yield row, self._to_separation(encoded[row[0]], pair, model.codec.sample_rate)

    def _draw(self, model: SAMAudio, given: Conditions, seed: int) -> tuple[Tensor, Tensor]:
        """Draws noise ``[1, T, 2 C]`` and messages ``[2, 16]`` of one row, on the CPU: identical for every device."""
        generator = torch.Generator().manual_seed(seed)
        shape = (1, given.frames.shape[1], 2 * model.config.audio_codec.codebook_dim)
        noise = torch.randn(shape, generator=generator)
        if self.message < 0:
            return noise, torch.randint(0, 2, (2, BITS), generator=generator).float()
        bits = torch.tensor([self.message >> bit & 1 for bit in range(BITS)]).float()
        return noise, bits.expand(2, -1)

    def _split_windows(self, model: SAMAudio, frames: int) -> list[slice]:
        short = frames * model.frame_seconds <= _ONE_SHOT_SECONDS or self.parity == "upstream"
        if self.long_form == "one-shot" or (self.long_form == "auto" and short):
            return [slice(0, frames)]
        length, overlap = (max(1, round(s / model.frame_seconds)) for s in (self.window, self.overlap))
        return flow.split_windows(frames, length, min(overlap, length - 1))

    def _count_evaluations(self, model: SAMAudio, clip: EncodedQuery) -> int:
        windows = self._split_windows(model, clip.conditions.frames.shape[1])
        return len(windows) * flow.count_evaluations(self.solver, self.step)

    def _solve_batch(
        self, model: SAMAudio, given: Conditions, noise: Tensor, message: Tensor, steps: Callable[[], None]
    ) -> Tensor:
        """Returns ``[2 B, samples]``, target and residual of each row in turn."""
        windows = self._split_windows(model, noise.shape[1])
        velocities = [_velocity(model, given.window(window), steps) for window in windows]
        if self.long_form == "cross-fade" and len(windows) > 1:
            parts = [self._decode(model, self._flow(one, noise[:, window]), message)
                     for one, window in zip(velocities, windows, strict=True)]  # fmt: skip
            return _cross_fade(parts, windows, model.codec.hop_length)
        return self._decode(model, self._flow(flow.multi_diffusion(velocities, windows), noise), message)

    def _flow(self, velocity: flow.Velocity, noise: Tensor) -> Tensor:
        return flow.integrate(velocity, noise, solver=self.solver, step=self.step)

    @staticmethod
    def _decode(model: SAMAudio, state: Tensor, message: Tensor) -> Tensor:
        """Decodes ``[B, T, 2 C]`` to ``[2 B, samples]``, one row at a time to bound the memory."""
        latents = state.transpose(1, 2).reshape(2 * len(state), -1, state.shape[1])
        rows = zip(torch.split(latents, 1), torch.split(message, 1), strict=True)
        return torch.cat([model.codec.decode(latent, message=bits)[:, 0] for latent, bits in rows])

    def _to_separation(self, clip: EncodedQuery, pair: Tensor, rate: int) -> Separation:
        target, residual = (self._match_mixture(clip, samples, rate) for samples in pair)
        return Separation(target=target, residual=residual)

    def _match_mixture(self, clip: EncodedQuery, samples: Tensor, rate: int) -> Audio:
        """Converts samples to the rate, length and channels of the mixture."""
        mixture = clip.mixture
        found = resample(Audio(samples[None, : clip.samples], rate), mixture.rate).samples
        if self.parity == "exact":
            missing = mixture.length - found.shape[1]  # up to one sample, by rounding, if rates differ
            found = torch.nn.functional.pad(found, (0, max(missing, 0)))[:, : mixture.length]
        return Audio(found.expand(mixture.channels, -1).contiguous(), mixture.rate)


class _EvaluationCounter:
    """Counts evaluations for a progress bar."""

    def __init__(self, report: Callable[[int, int], None] | None, total: int) -> None:
        self.report, self.total, self.done = report, total, 0

    def __call__(self) -> None:
        self.done += 1
        if self.report is not None:
            self.report(self.done, self.total)


def _velocity(model: SAMAudio, given: Conditions, steps: Callable[[], None]) -> flow.Velocity:
    def velocity(time: Tensor, state: Tensor) -> Tensor:
        found = model.evaluate(state, time.expand(len(state)), given)
        steps()
        return found

    return velocity


def _cross_fade(parts: Sequence[Tensor], windows: Sequence[slice], hop: int) -> Tensor:
    """Cross-fades the waveforms of windows."""
    spans = [slice(window.start * hop, window.stop * hop) for window in windows]
    found = parts[0].new_zeros(len(parts[0]), spans[-1].stop)
    for part, span, weight in zip(parts, spans, flow.overlap_weights(spans, spans[-1].stop), strict=True):
        found[:, span] += part * weight.to(part.device)
    return found


def _check_choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(f"expected {name} to be one of {', '.join(known)}, found {value!r}")
