"""Separators as their models are: `Adapted`, and the attributes of a class that ask for the same."""

from __future__ import annotations

import inspect
import types
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from sam_audio_bench.errors import BadSeparation, UsageError
from sam_audio_bench.separators.adaptation import NAMES, Adaptation, Feed, read_adaptation
from sam_audio_bench.separators.external import FunctionSeparator
from sam_audio_bench.types import Audio, Prompt, Query, Separation, Span

__all__ = ["Adapted", "adapt", "core_of"]

_LOOKED_AT = 8  # answers, for their lag
_LATE = 0.001  # seconds; a shorter lag is not told
_LONGEST = 0.25  # seconds


class Adapted:
    """A separator around a model that has a rate, channels, a delay or a longest input of its own.

    The attributes ``rate``, ``channels``, ``delay``, ``chunk_seconds`` and ``chunk_overlap`` of a separator's class do
    the same wherever a separator is named or evaluated; arguments stand above them. What is done is part of the
    identity. Of a function the residual is mixture - target; any other separator's residual is converted as its target
    is.

    With several chunks each one is asked with the item's seed, and spans are moved with it: where none of the ``+``
    spans lies in a chunk, the sound is said to be absent there; a prompt of ``-`` spans alone, none of which lies in a
    chunk, becomes a ``+`` span over it. A prompt with a video cannot be cut, and gets the status ``unsupported``.

    A model whose answers are late by 1 ms or more against what it says is told so once, by a warning, where they
    resemble the mixture.

    Args:
        model: a separator, its class, or a function ``(mixture, rate, prompt) -> target``; or what has a method
            ``separate_stems(mixture)``, see `sam_audio_bench.separators.stems`.
        rate: as `Adaptation` has it; so are the following.
        channels: see there.
        delay: see there.
        chunk_seconds: see there.
        chunk_overlap: see there.
        name: of the separator; "": the model's, and what is stated here.

    Raises:
        UsageError: what is no such model, or a value that cannot be meant.
    """

    def __new__(cls, model: Any = None, *_: Any, **__: Any) -> Adapted:
        """The class that suits what the model can do."""
        if cls is Adapted and has_stems(model):
            from sam_audio_bench.separators.stems import stems_class

            return object.__new__(stems_class(model))
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
        self.model = _usable(model)
        known = getattr(self.model, "name", None) or type(self.model).__name__
        values = (rate, channels, delay, chunk_seconds, chunk_overlap)
        given = {key: value for key, value in zip(NAMES, values, strict=True) if value is not None}
        self.adaptation: Adaptation = read_adaptation(str(known), given, stated(self.model))
        self.name = name or "+".join([str(known), *(f"{key}={value}" for key, value in given.items())])
        if callable(getattr(self.model, "separate_candidates", None)):
            self.separate_candidates = self._candidates
        self.reset()

    def reset(self) -> None:
        """Forgets what was found out about answers, for the model may be another one by now."""
        self._looked_at = 0
        if isinstance(self.model, Adapted):
            self.model.reset()

    def __getattr__(self, name: str) -> Any:
        """Whatever else the model has: ``batch_size``, ``deterministic``, ``weights_sha256`` and their kind."""
        if name.startswith(("_", "separate")) or name in ("model", "fingerprint", "on_evaluation"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.model, name)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The model's, and all that stands between it and a mixture."""
        own = getattr(self.model, "settings", None) or {}
        if not isinstance(own, Mapping):
            raise UsageError(f"expected settings of {self.name} by name, found {type(own).__name__}: make them a dict")
        kept = {"model": dict(own)} if "adapted" in own else own  # it is adapted itself
        return {**kept, "adapted": self._between()}

    def _between(self) -> dict[str, Any]:
        """What stands between the model and a mixture, as plain values."""
        return {key: getattr(self.adaptation, key) for key in NAMES}

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Answers in the order of the queries.

        Raises:
            BadSeparation: an output that is not what the model says it gives, or (``unsupported``) a mixture or prompt
                that cannot be made to fit.
        """

        def ask(queries: list[Query], seeds: list[int]) -> list[list[Any]]:
            return [[one] for one in _listed(self.model.separate(queries, seeds), len(queries), self.name)]

        return [answers[0] for answers in self._answers(queries, seeds, ask)]

    def _candidates(self, queries: Sequence[Query], seeds: Sequence[Sequence[int]]) -> list[list[Separation]]:
        """For each query one answer a seed, as `CandidateSeparator` has it."""

        def ask(queries: list[Query], seeds: list[Sequence[int]]) -> list[list[Any]]:
            found = _listed(self.model.separate_candidates(queries, seeds), len(queries), self.name)
            return [_listed(one, len(own), self.name) for one, own in zip(found, seeds, strict=True)]

        return self._answers(queries, seeds, ask)

    def _answers(
        self, queries: Sequence[Query], seeds: Sequence[Any], ask: Callable[[list[Any], list[Any]], list[list[Any]]]
    ) -> list[list[Separation]]:
        """Answers ``[query][candidate]``: all chunks are asked, as many at once as there are queries or fit a batch."""
        feeds = [self.adaptation.feed(query.mixture, self.name) for query in queries]
        asked = [
            (Query(mixture=chunk, prompt=self._prompt(query.prompt, feed, index)), seed)
            for query, feed, seed in zip(queries, feeds, seeds, strict=True)
            for index, chunk in enumerate(feed.chunks)
        ]
        size = max(len(queries), int(getattr(self.model, "batch_size", 1)))
        found: list[list[Any]] = []
        for start in range(0, len(asked), size):
            batch = asked[start : start + size]
            copies = [replace(query, mixture=_copy(query.mixture)) for query, _ in batch]
            found += ask(copies, [seed for _, seed in batch])
        answers = iter(found)
        return [self._joined(feed, [next(answers) for _ in feed.chunks]) for feed in feeds]

    def _joined(self, feed: Feed, answers: Sequence[Sequence[Any]]) -> list[Separation]:
        """The answers ``[candidate]`` of one query from those ``[chunk][candidate]`` to its chunks."""
        joined = []
        for parts in zip(*answers, strict=True):
            for part in parts:
                sounds = (part.target, part.residual) if isinstance(part, Separation) else (part,)
                if strange := [type(sound).__name__ for sound in sounds if not isinstance(sound, Audio)]:
                    raise BadSeparation(f"expected Separations of Audio from {self.name}, found {strange[0]}")
            target = self.adaptation.join(feed, [part.target for part in parts], self.name, "target")
            self._tell_lag(feed, parts[0].target)
            if isinstance(self.model, FunctionSeparator):
                residual = difference(feed.mixture, target)
            else:
                residual = self.adaptation.join(feed, [part.residual for part in parts], self.name, "residual")
            seconds = [part.seconds for part in parts]
            total = seconds[0] if len(parts) == 1 else sum(seconds)
            joined.append(Separation(target=target, residual=residual, seconds=total, picked_by=parts[0].picked_by))
        return joined

    def _prompt(self, prompt: Prompt, feed: Feed, index: int) -> Prompt:
        """The prompt as it is meant for one chunk."""
        if len(feed.chunks) == 1:
            return prompt
        if prompt.video:
            raise BadSeparation(
                f"{self.name} is given chunks of {self.adaptation.chunk_seconds:g} s, and the video of a prompt cannot "
                "be cut; state no chunk_seconds for prompts with videos",
                status="unsupported",
            )
        start = feed.starts[index] / feed.rate
        length = (feed.chunks[index].length - self.adaptation.delay) / feed.rate
        return replace(prompt, spans=moved_spans(prompt, start, length))

    def _tell_lag(self, feed: Feed, answer: Audio) -> None:
        """Warns where an answer is late, or early, against what the model says."""
        if self._looked_at >= _LOOKED_AT:
            return
        self._looked_at += 1
        given = feed.chunks[0].samples
        delay, length = self.adaptation.delay, given.shape[1] - self.adaptation.delay
        lag = _clear_lag(given[:, :length].mean(dim=0), answer.samples[:, delay:].detach().mean(dim=0).cpu(), feed.rate)
        if lag is None or abs(lag) < _LATE * feed.rate:
            return
        self._looked_at = _LOOKED_AT
        moment = f"{abs(lag) / feed.rate * 1000:.1f} ms {'late' if lag > 0 else 'early'}"
        advice = f"state delay={delay + lag}" if delay + lag >= 0 else "nothing that is stated here makes up for that"
        warnings.warn(
            f"{self.name} says that its delay is {delay} samples at {feed.rate} Hz, and it answered {moment} against "
            f"that; {advice}",
            stacklevel=2,
        )


def adapt(found: Any) -> Any:
    """A separator as it is to be asked: inside of `Adapted` where its class states something, or gives stems.

    Raises:
        UsageError: a value that cannot be meant, or one that a separator of this kind cannot state.
    """
    if isinstance(found, Adapted):
        found.reset()
        return found
    if not (stated(found) or has_stems(found)):
        return found
    return Adapted(found, name=found.name)


def core_of(separator: Any) -> Any:
    """The separator inside of any number of `Adapted`."""
    while isinstance(separator, Adapted):
        separator = separator.model
    return separator


def has_stems(model: Any) -> bool:
    """Whether something gives all stems of a mixture at once, and no answers to prompts."""
    return callable(getattr(model, "separate_stems", None)) and not any(hasattr(model, name) for name in _ASKED_BY)


_ASKED_BY = ("separate", "separate_oracle", "separate_named")


def stated(model: Any) -> dict[str, Any]:
    """What the class of a separator says of its model, or a function of itself; methods and None say nothing.

    What an ``__init__`` alone sets is the object's own affair, unless the class names it: ``rate: int`` will do.
    """
    holder = model.function if isinstance(model, FunctionSeparator) else model
    if isinstance(holder, types.FunctionType):
        spaces: Iterable[Mapping[str, Any]] = [vars(holder)]
    else:
        bases = type(holder).__mro__[:-1]
        spaces = [{**inspect.get_annotations(base), **vars(base)} for base in bases if base is not Adapted]
    named = {name: getattr(holder, name, None) for name in NAMES if any(name in space for space in spaces)}
    return {name: value for name, value in named.items() if value is not None and not callable(value)}


def _usable(model: Any) -> Any:
    """The model as an object that is asked."""
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


def _listed(answers: Any, count: int, name: str) -> list[Any]:
    if isinstance(answers, Separation) or not isinstance(answers, Iterable):
        raise BadSeparation(f"expected a list of answers from {name}, found {type(answers).__name__}")
    found = list(answers)
    if len(found) != count:
        raise BadSeparation(f"expected {count} answer(s) from {name}, found {len(found)}")
    return found


def _copy(sound: Audio) -> Audio:
    return Audio(sound.samples.clone(), sound.rate)


def difference(mixture: Audio, target: Audio) -> Audio:
    """Mixture - target; the mixture where the target has channels that do not fit, which is its own fault."""
    fits = target.channels in (1, mixture.channels)
    return Audio(mixture.samples - target.samples, mixture.rate) if fits else mixture


def moved_spans(prompt: Prompt, start: float, length: float) -> tuple[Span, ...]:
    """The spans of a prompt as they are meant for ``length`` seconds from ``start`` on; see `Adapted`.

    >>> moved_spans(Prompt(spans=(("+", 1.0, 3.0), ("-", 3.5, 9.0))), 2.0, 4.0)
    (('+', 0.0, 1.0), ('-', 1.5, 4.0))
    >>> moved_spans(Prompt(spans=(("+", 1.0, 3.0),)), 5.0, 4.0)
    (('-', 0.0, 4.0),)
    """
    moved = [(sign, max(0.0, begin - start), min(length, end - start)) for sign, begin, end in prompt.spans]
    found = tuple((sign, begin, end) for sign, begin, end in moved if begin < end)
    signs = {sign for sign, _, _ in prompt.spans}
    if "+" in signs and not any(sign == "+" for sign, _, _ in found):
        return (("-", 0.0, length),)
    return (("+", 0.0, length),) if signs and not found and not prompt.text else found


def _clear_lag(given: Tensor, answer: Tensor, rate: int) -> int | None:
    """Samples by which an answer lags behind the mixture ``[time]``, where it is much more like it there than in place.

    Half the resemblance or less in place: periodic sounds are alike at many lags.
    """
    from sam_audio_bench.metrics.functional.lag import MIN_LAG_CORRELATION, find_lag  # which few separators need

    if given.shape != answer.shape:
        return None
    lag = find_lag(reference=given, estimate=answer, rate=rate, longest=_LONGEST)
    if (
        lag is None
        or not lag.samples
        or lag.correlation < MIN_LAG_CORRELATION
        or lag.correlation_without_lag > lag.correlation / 2
    ):
        return None
    return lag.samples
