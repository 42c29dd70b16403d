"""`Adapted`: a separator around a model with a fixed input format, given by arguments or class attributes."""

from __future__ import annotations

import inspect
import types
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from sam_audio_bench.errors import BadSeparation, UsageError
from sam_audio_bench.separators.adaptation import OPTION_NAMES, Adaptation, ModelInput, read_adaptation
from sam_audio_bench.separators.external import FunctionSeparator
from sam_audio_bench.types import Audio, Prompt, Query, Separation, Span

__all__ = ["Adapted", "adapt", "unwrap_adapted"]

_CHECKED_FOR_LAG = 8  # number of estimates whose lag is measured
_SHORTEST_LAG = 0.001  # seconds; shorter lags are not reported
_LONGEST_LAG = 0.25  # seconds


class Adapted:
    """A separator around a model with a fixed rate, channel count, delay or maximal input length.

    The class attributes ``rate``, ``channels``, ``delay``, ``chunk_seconds`` and ``chunk_overlap`` of a separator have
    the same effect wherever it is named or evaluated; arguments take precedence. The adaptation is part of the
    identity. For a function the residual is mixture - target; the residual of any other separator is converted like
    its target.

    With several chunks, each is separated with the item's seed and with spans shifted to it: if none of the ``+`` spans
    lies in a chunk, the sound is marked as absent there; a prompt of ``-`` spans alone, none of which lies in a chunk,
    becomes a ``+`` span over it. A prompt with a video cannot be cut, and gets the status ``unsupported``.

    Warns once about a model whose estimates lag by 1 ms or more against its stated delay, if they are similar enough
    to the mixture to tell.

    Args:
        model: a separator, its class, or a function ``(mixture, rate, prompt) -> target``; or an object with a method
            ``separate_stems(mixture)``, see `sam_audio_bench.separators.stems`.
        rate: see `Adaptation`, also for the following.
        channels: see there.
        delay: see there.
        chunk_seconds: see there.
        chunk_overlap: see there.
        name: of the separator; "": that of the model, with the arguments given here.

    Raises:
        UsageError: an unsuitable model, or an invalid value.
    """

    def __new__(cls, model: Any = None, *_: Any, **__: Any) -> Adapted:
        """Creates an instance of the class that matches the methods of the model."""
        if cls is Adapted and has_stems(model):
            from sam_audio_bench.separators.stems import choose_stems_class

            return object.__new__(choose_stems_class(model))
        return object.__new__(cls)

    def __init__(
        self,
        model: Any,
        rate: int | None = None,
        channels: int | None = None,
        delay: int | None = None,
        chunk_seconds: float | None = None,
        chunk_overlap: float | None = None,
        *,
        name: str = "",
    ) -> None:
        self.model = _as_separator(model)
        known = getattr(self.model, "name", None) or type(self.model).__name__
        values = (rate, channels, delay, chunk_seconds, chunk_overlap)
        given = {key: value for key, value in zip(OPTION_NAMES, values, strict=True) if value is not None}
        self.adaptation: Adaptation = read_adaptation(str(known), given, declared_options(self.model))
        self.name = name or "+".join([str(known), *(f"{key}={value}" for key, value in given.items())])
        if callable(getattr(self.model, "separate_candidates", None)):
            self.separate_candidates = self._separate_candidates
        self.reset()

    def reset(self) -> None:
        """Forgets measured lags, since the model may have changed."""
        self._checked_for_lag = 0
        if isinstance(self.model, Adapted):
            self.model.reset()

    def __getattr__(self, name: str) -> Any:
        """Forwards further attributes to the model: ``batch_size``, ``deterministic``, ``weights_sha256`` and so on."""
        if name.startswith(("_", "separate")) or name in ("model", "fingerprint", "on_evaluation"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.model, name)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the model, and the adaptation."""
        own = getattr(self.model, "settings", None) or {}
        if not isinstance(own, Mapping):
            raise UsageError(f"expected settings of {self.name} by name, found {type(own).__name__}: make them a dict")
        kept = {"model": dict(own)} if "adapted" in own else own  # the model is itself an `Adapted`
        return {**kept, "adapted": self._adaptation_options()}

    def _adaptation_options(self) -> dict[str, Any]:
        """Returns all options of the adaptation as plain values."""
        return {key: getattr(self.adaptation, key) for key in OPTION_NAMES}

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Returns one estimate per query, in order.

        Raises:
            BadSeparation: an output does not have the stated format, or (``unsupported``) a mixture or prompt cannot be
                converted.
        """

        def separate_batch(queries: list[Query], seeds: list[int]) -> list[list[Any]]:
            return [[one] for one in _check_count(self.model.separate(queries, seeds), len(queries), self.name)]

        return [estimates[0] for estimates in self._separate_in_batches(queries, seeds, separate_batch)]

    def _separate_candidates(self, queries: Sequence[Query], seeds: Sequence[Sequence[int]]) -> list[list[Separation]]:
        """Returns one estimate per seed for each query, see `CandidateSeparator`."""

        def separate_batch(queries: list[Query], seeds: list[Sequence[int]]) -> list[list[Any]]:
            found = _check_count(self.model.separate_candidates(queries, seeds), len(queries), self.name)
            return [_check_count(one, len(own), self.name) for one, own in zip(found, seeds, strict=True)]

        return self._separate_in_batches(queries, seeds, separate_batch)

    def _separate_in_batches(
        self,
        queries: Sequence[Query],
        seeds: Sequence[Any],
        separate_batch: Callable[[list[Any], list[Any]], list[list[Any]]],
    ) -> list[list[Separation]]:
        """Returns estimates ``[query][candidate]``; batches have as many chunks as queries, or the model's size."""
        inputs = [self.adaptation.prepare(query.mixture, self.name) for query in queries]
        chunk_queries = [
            (Query(mixture=chunk, prompt=self._chunk_prompt(query.prompt, model_input, index)), seed)
            for query, model_input, seed in zip(queries, inputs, seeds, strict=True)
            for index, chunk in enumerate(model_input.chunks)
        ]
        size = max(len(queries), int(getattr(self.model, "batch_size", 1)))
        found: list[list[Any]] = []
        for start in range(0, len(chunk_queries), size):
            batch = chunk_queries[start : start + size]
            copies = [replace(query, mixture=_copy(query.mixture)) for query, _ in batch]
            found += separate_batch(copies, [seed for _, seed in batch])
        estimates = iter(found)
        return [self._join_chunks(model_input, [next(estimates) for _ in model_input.chunks]) for model_input in inputs]

    def _join_chunks(self, model_input: ModelInput, estimates: Sequence[Sequence[Any]]) -> list[Separation]:
        """Joins the estimates ``[chunk][candidate]`` of one query into estimates ``[candidate]``."""
        joined = []
        for parts in zip(*estimates, strict=True):
            for part in parts:
                sounds = (part.target, part.residual) if isinstance(part, Separation) else (part,)
                if strange := [type(sound).__name__ for sound in sounds if not isinstance(sound, Audio)]:
                    raise BadSeparation(f"expected Separations of Audio from {self.name}, found {strange[0]}")
            target = self.adaptation.join(model_input, [part.target for part in parts], self.name, "target")
            self._warn_about_lag(model_input, parts[0].target)
            if isinstance(self.model, FunctionSeparator):
                residual = subtract_target(model_input.mixture, target)
            else:
                residual = self.adaptation.join(model_input, [part.residual for part in parts], self.name, "residual")
            seconds = [part.seconds for part in parts]
            total = seconds[0] if len(parts) == 1 else sum(seconds)
            joined.append(Separation(target=target, residual=residual, seconds=total, picked_by=parts[0].picked_by))
        return joined

    def _chunk_prompt(self, prompt: Prompt, model_input: ModelInput, index: int) -> Prompt:
        """Returns the prompt of one chunk."""
        if len(model_input.chunks) == 1:
            return prompt
        if prompt.video:
            raise BadSeparation(
                f"{self.name} is given chunks of {self.adaptation.chunk_seconds:g} s, and the video of a prompt cannot "
                "be cut; state no chunk_seconds for prompts with videos",
                status="unsupported",
            )
        start = model_input.starts[index] / model_input.rate
        length = (model_input.chunks[index].length - self.adaptation.delay) / model_input.rate
        return replace(prompt, spans=shift_spans(prompt, start, length))

    def _warn_about_lag(self, model_input: ModelInput, estimate: Audio) -> None:
        """Warns if an estimate is late or early against the stated delay."""
        if self._checked_for_lag >= _CHECKED_FOR_LAG:
            return
        self._checked_for_lag += 1
        given = model_input.chunks[0].samples
        delay, length = self.adaptation.delay, given.shape[1] - self.adaptation.delay
        lag = _find_clear_lag(
            given[:, :length].mean(dim=0), estimate.samples[:, delay:].detach().mean(dim=0).cpu(), model_input.rate
        )
        if lag is None or abs(lag) < _SHORTEST_LAG * model_input.rate:
            return
        self._checked_for_lag = _CHECKED_FOR_LAG
        moment = f"{abs(lag) / model_input.rate * 1000:.1f} ms {'late' if lag > 0 else 'early'}"
        advice = f"state delay={delay + lag}" if delay + lag >= 0 else "no value of delay makes up for that"
        warnings.warn(
            f"{self.name} states a delay of {delay} samples at {model_input.rate} Hz, and its estimate is {moment} "
            f"against that; {advice}",
            stacklevel=2,
        )


def adapt(found: Any) -> Any:
    """Wraps a separator in `Adapted` if its class states an input format, or if it returns stems.

    Raises:
        UsageError: an invalid value, or one that does not apply to a separator of this kind.
    """
    if isinstance(found, Adapted):
        found.reset()
        return found
    if not (declared_options(found) or has_stems(found)):
        return found
    return Adapted(found, name=found.name)


def unwrap_adapted(separator: Any) -> Any:
    """Returns the separator inside any number of `Adapted`."""
    while isinstance(separator, Adapted):
        separator = separator.model
    return separator


def has_stems(model: Any) -> bool:
    """Whether a model returns all stems of a mixture at once, and takes no prompts."""
    return callable(getattr(model, "separate_stems", None)) and not any(
        hasattr(model, name) for name in _PROMPTED_METHODS
    )


_PROMPTED_METHODS = ("separate", "separate_oracle", "separate_named")


def declared_options(model: Any) -> dict[str, Any]:
    """Returns the adaptation options that the class of a separator, or a function, declares as attributes.

    Methods and None are ignored. An attribute that ``__init__`` sets needs an annotation in the class: ``rate: int``.
    """
    holder = model.function if isinstance(model, FunctionSeparator) else model
    if isinstance(holder, types.FunctionType):
        spaces: Iterable[Mapping[str, Any]] = [vars(holder)]
    else:
        bases = type(holder).__mro__[:-1]
        spaces = [{**inspect.get_annotations(base), **vars(base)} for base in bases if base is not Adapted]
    named = {name: getattr(holder, name, None) for name in OPTION_NAMES if any(name in space for space in spaces)}
    return {name: value for name, value in named.items() if value is not None and not callable(value)}


def _as_separator(model: Any) -> Any:
    """Returns the model as an object with a method for separation."""
    expected = "expected a separator, its class or a function (mixture, rate, prompt) -> target to adapt"
    if isinstance(model, str):
        raise UsageError(f"{expected}, found the text {model!r}; load_separator({model!r}) makes a separator of a name")
    found = model() if isinstance(model, type) else model
    if any(hasattr(found, name) for name in ("separate_oracle", "separate_named")):
        raise UsageError(
            f"expected rate, channels, delay and chunk_seconds of a separator that is given the mixture alone, found "
            f"them for {getattr(found, 'name', type(found).__name__)}, which has another protocol; leave them out"
        )
    if hasattr(found, "separate") or has_stems(found):
        return found
    if callable(found):
        return FunctionSeparator(found, getattr(found, "__name__", type(found).__name__))
    raise UsageError(f"{expected}, found {found!r}")


def _check_count(estimates: Any, count: int, name: str) -> list[Any]:
    if isinstance(estimates, Separation) or not isinstance(estimates, Iterable):
        raise BadSeparation(f"expected a list of estimates from {name}, found {type(estimates).__name__}")
    found = list(estimates)
    if len(found) != count:
        raise BadSeparation(f"expected {count} estimate(s) from {name}, found {len(found)}")
    return found


def _copy(sound: Audio) -> Audio:
    return Audio(sound.samples.clone(), sound.rate)


def subtract_target(mixture: Audio, target: Audio) -> Audio:
    """Returns mixture - target; just the mixture if the channels do not match, which is reported elsewhere."""
    fits = target.channels in (1, mixture.channels)
    return Audio(mixture.samples - target.samples, mixture.rate) if fits else mixture


def shift_spans(prompt: Prompt, start: float, length: float) -> tuple[Span, ...]:
    """Returns the spans of a prompt for a chunk of ``length`` seconds from ``start`` on, see `Adapted`.

    >>> shift_spans(Prompt(spans=(("+", 1.0, 3.0), ("-", 3.5, 9.0))), 2.0, 4.0)
    (('+', 0.0, 1.0), ('-', 1.5, 4.0))
    >>> shift_spans(Prompt(spans=(("+", 1.0, 3.0),)), 5.0, 4.0)
    (('-', 0.0, 4.0),)
    """
    moved = [(sign, max(0.0, begin - start), min(length, end - start)) for sign, begin, end in prompt.spans]
    found = tuple((sign, begin, end) for sign, begin, end in moved if begin < end)
    signs = {sign for sign, _, _ in prompt.spans}
    if "+" in signs and not any(sign == "+" for sign, _, _ in found):
        return (("-", 0.0, length),)
    return (("+", 0.0, length),) if signs and not found and not prompt.text else found


def _find_clear_lag(given: Tensor, estimate: Tensor, rate: int) -> int | None:
    """Returns the lag in samples of an estimate behind the mixture ``[time]``, if it is unambiguous.

    The similarity without lag must be at most half of that: periodic sounds are similar at many lags.
    """
    from sam_audio_bench.metrics.functional.lag import (  # imported late: few separators need it
        MIN_LAG_CORRELATION,
        find_lag,
    )

    if given.shape != estimate.shape:
        return None
    lag = find_lag(reference=given, estimate=estimate, rate=rate, longest=_LONGEST_LAG)
    if (
        lag is None
        or not lag.samples
        or lag.correlation < MIN_LAG_CORRELATION
        or lag.correlation_without_lag > lag.correlation / 2
    ):
        return None
    return lag.samples
