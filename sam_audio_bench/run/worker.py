"""The inside of a worker: one separator and the metrics of one job, made there; items come in, outcomes go out.

A worker writes no run folder: it answers `Request`s, and the process that asks records what it says. Which process or
machine it runs in does not matter here.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from sam_audio_bench.columns import LoadedMetric, build_metrics
from sam_audio_bench.errors import BenchError, Precondition, describe_error
from sam_audio_bench.run import tracing
from sam_audio_bench.run.batching import Batching
from sam_audio_bench.run.contract import PreparedSeparator, prepare_separator
from sam_audio_bench.run.global_state import take_over
from sam_audio_bench.run.isolation import Isolation
from sam_audio_bench.run.memory_limit import limit_memory
from sam_audio_bench.run.scoring import Scorer, Scores, items_at_once
from sam_audio_bench.run.separation import CandidateSet, PickerPool, Reranking, separate_items
from sam_audio_bench.run.stages import Spent, take
from sam_audio_bench.run.travel import Told, dump, load
from sam_audio_bench.run.usage import MemoryWatch, Usage, count_parameters
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import Audio, Item, Separation

__all__ = ["Begin", "BeginScoring", "MetricsToLoad", "Reply", "Score", "ScoreStored", "Separate", "Worker"]


@dataclass(frozen=True)
class MetricsToLoad:
    """Metrics that are made by one call of `build_metrics`."""

    spellings: Sequence[str]
    options: Mapping[str, Any]
    fingerprints: Mapping[str, str | None]  # of each column, which the worker's must have

    @classmethod
    def of(cls, metrics: Iterable[LoadedMetric], options: Mapping[str, Any]) -> MetricsToLoad:
        """What makes the same metrics again, from the options that they were made with."""
        loaded = [*metrics]
        records = [record for one in loaded for record in one.records.values()]
        fingerprints = {name: text for one in loaded for name, text in one.fingerprints.items()}
        return cls(tuple(dict.fromkeys(record.specification for record in records)), options, fingerprints)

    def load(self) -> list[LoadedMetric]:
        """The metrics; raises Precondition where they are not those that the scores are to belong to."""
        found = build_metrics(self.spellings, policies=self.options) if self.spellings else []
        own = {name: text for one in found for name, text in one.fingerprints.items()}
        for column, expected in self.fingerprints.items():
            if own.get(column) != expected:
                raise Precondition(
                    f"expected the worker's {column} to be the one of the run, found another version of its code, "
                    "files or options; run the same command again, or use --executor local"
                )
        return found


@dataclass(frozen=True, kw_only=True)
class Begin:
    """What a worker is to hold from now on."""

    model: bytes  # of `dump_code`: spelling or object, its arguments, and what else `prepare_separator` takes
    model_whole: bytes | None  # the same with the code that is in memory, in case that files say something else
    model_fingerprint: str | None  # what the separator must be; None: it comes as a whole, and is what it is
    metrics: MetricsToLoad
    data: TaskData  # without its items
    picker: Mapping[str, Any] | None  # arguments of `PickerPool`
    policies: Mapping[str, Any]  # of `separate_items`: task, seed, align, stereo
    state: Mapping[int, Any]  # of `global_state.to_send`
    memory: float | None  # GiB
    profile: bool  # whether the first calls are traced


@dataclass(frozen=True)
class Separate:
    """Items to be separated at once."""

    items: Sequence[Item]


@dataclass(frozen=True)
class Score:
    """To score what waits for it, if the metrics' batch is full or this is the end."""

    is_end: bool


@dataclass(frozen=True, kw_only=True)
class BeginScoring:
    """To hold metrics alone from now on, without a separator."""

    metrics: Sequence[MetricsToLoad]
    state: Mapping[int, Any]  # of `global_state.to_send`


@dataclass(frozen=True)
class ScoreStored:
    """To score estimates that are sent, by some of the metrics."""

    pairs: Sequence[tuple[Item, Sequence[Separation]]]
    columns: frozenset[str]  # of the metrics
    lag: bool  # whether it is measured


Request = Begin | Separate | Score | BeginScoring | ScoreStored


@dataclass
class Reply:
    """What a worker says."""

    found: list[CandidateSet | Told] = field(default_factory=list)  # for each item
    usage: Usage | None = None  # since the beginning
    stages: dict[str, Spent] = field(default_factory=dict)  # since the last reply
    trace: tracing.Trace | None = None  # of a call since then
    scores: list[tuple[str, Scores]] = field(default_factory=list)  # item, its scores
    notes: list[str] = field(default_factory=list)
    printed: str = ""  # by the separator
    refused: str | None = None  # why nothing can be done at all
    interrupted: bool = False  # the separator raised KeyboardInterrupt
    broken: str = ""  # what kept the worker itself from answering: no memory for the request, say


class Worker:
    """Answers requests, one after the other.

    Args:
        log: a file of its own, for what the separator prints.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._work: _Work | None = None
        self._model = b""
        self._prepared: PreparedSeparator | None = None
        self._metrics: list[LoadedMetric] = []  # of a worker that scores alone
        self._held: Sequence[MetricsToLoad] = ()  # what they were made from

    def answer(self, content: bytes) -> bytes:
        """The reply to a request, both as bytes; whatever is raised becomes part of it."""
        reply = Reply()
        try:
            self._answer(load(content), reply)
        except KeyboardInterrupt:
            reply.interrupted = True
        except BenchError as error:
            reply.refused = str(error)
        except BaseException as error:
            reply = Reply(broken=describe_error(error))
        reply.printed = self.printed()
        reply.stages, reply.trace = take(), tracing.take()
        return dump(reply)

    def printed(self) -> str:
        """What was printed since this was asked last."""
        try:
            text = self._log.read_text(encoding="utf-8", errors="replace")
            self._log.unlink()
        except OSError:  # nothing was
            return ""
        return text

    def release(self) -> None:
        """Lets go of the separator; one with a method ``release_processes`` ends its processes."""
        separator = None if self._prepared is None else self._prepared.separator
        self._end_work()
        self._work = self._prepared = None
        self._model, self._metrics = b"", []
        if callable(release := getattr(separator, "release_processes", None)):
            release()

    def _end_work(self) -> None:
        if self._work is not None:
            self._work.close()
        self._work = None

    def _answer(self, request: Request, reply: Reply) -> None:
        if isinstance(request, Begin):
            self._end_work()
            self._begin(request)
        elif isinstance(request, BeginScoring):
            self._begin_scoring(request)
        elif isinstance(request, ScoreStored):
            chosen = [one for one in self._metrics if request.columns >= set(one.columns)]
            scores = Scorer.score(request.pairs, chosen, lag=request.lag)
            reply.scores = [(item.id, found) for (item, _), found in zip(request.pairs, scores, strict=True)]
        elif self._work is None:
            raise Precondition("expected a worker that has begun, found one without a separator")
        elif isinstance(request, Separate):
            self._work.separate(request.items, reply)
        else:
            self._work.score(reply, is_end=request.is_end)

    def _begin(self, begin: Begin) -> None:
        """Makes separator, metrics and picker; a separator that is there already stays."""
        if begin.model != self._model:
            self._empty()
            take_over(begin.state)
            limit_memory(begin.memory)
            self._prepared = _separator(begin)
            self._model = begin.model
        assert self._prepared is not None
        tracing.arm(begin.profile)
        self._work = _Work(self._prepared, begin.metrics.load(), begin, self._log)

    def _begin_scoring(self, begin: BeginScoring) -> None:
        """Makes metrics, unless they are there; others go first, so that two networks never need memory at once."""
        if self._metrics and begin.metrics == self._held:
            return
        self._empty()
        take_over(begin.state)
        self._metrics = [one for metrics in begin.metrics for one in metrics.load()]
        self._held = begin.metrics

    def _empty(self) -> None:
        """Lets go of everything, and of its memory."""
        self.release()
        gc.collect()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()


def _separator(begin: Begin) -> PreparedSeparator:
    """The separator, which must be the one that the estimates are to belong to."""
    prepared, expected = _prepared(begin.model), begin.model_fingerprint
    if expected is None or prepared.model.fingerprint() in (None, expected):
        return prepared
    if begin.model_whole is None:
        raise Precondition(
            f"expected the worker's {prepared.separator.name} to be the one of the run, found that its code, files or "
            "options differ; were they changed meanwhile? Run the same command again, or use --executor local"
        )
    return _prepared(begin.model_whole)


def _prepared(model: bytes) -> PreparedSeparator:
    spec, arguments, offered, timeout = load(model)
    return prepare_separator(spec, arguments, offered=offered, timeout=timeout)


class _Work:
    """One job."""

    def __init__(self, made: PreparedSeparator, metrics: list[LoadedMetric], begin: Begin, log: Path) -> None:
        self._separator, self._metrics, self._policies = made.separator, metrics, begin.policies
        self._reranking: Reranking | None = None
        if begin.picker is not None:
            self._reranking = PickerPool(**begin.picker).reranking(made.separator, begin.data)
        self._isolation = Isolation(made.own_state, log)
        self._batching = Batching(note=self._note)
        self._notes: list[str] = []
        self._watch = MemoryWatch()
        self._parameters: int | None = None
        self._waiting: list[tuple[Item, list[Separation]]] = []

    def _usage(self) -> Usage:
        if self._parameters is None:  # a network may be loaded as it is asked first
            self._parameters = count_parameters(self._separator)
        return self._watch.usage(self._parameters)

    def close(self) -> None:
        """Ends the watch over the memory."""
        self._watch.close()

    def _note(self, text: str) -> None:
        self._notes.append(text)

    def separate(self, items: Sequence[Item], reply: Reply) -> None:
        """Estimates of a batch; they wait for their scores."""

        def call(batch: Sequence[Item]) -> list[CandidateSet | BaseException]:
            return separate_items(self._separator, batch, self._reranking, isolation=self._isolation, **self._policies)

        for item, found in zip(items, self._batching.separate(items, call), strict=True):
            if isinstance(found, CandidateSet):
                self._waiting.append((item, found.scored))
                reply.found.append(_sendable(found))
            else:
                reply.found.append(Told.of(found))
        reply.notes, self._notes = self._notes, []
        reply.usage = self._usage()

    def score(self, reply: Reply, *, is_end: bool) -> None:
        """Scores of what waits."""
        if not self._waiting or (not is_end and len(self._waiting) < items_at_once(self._metrics)):
            return
        waiting, self._waiting = self._waiting, []
        scores = Scorer.score(waiting, self._metrics)
        reply.scores = [(item.id, found) for (item, _), found in zip(waiting, scores, strict=True)]


def _sendable(found: CandidateSet) -> CandidateSet:
    """The estimates in plain classes, and broken candidates as what is known of their errors."""
    candidates: list[Any] = [
        Told.of(one) if isinstance(one, BaseException) else Separation(
            target=_plain(one.target), residual=_plain(one.residual), seconds=one.seconds, picked_by=one.picked_by,
            moved_ms=one.moved_ms, outputs=one.outputs,
        )
        for one in found.candidates
    ]  # fmt: skip
    return replace(found, candidates=tuple(candidates))


def _plain(sound: Audio) -> Audio:
    return Audio(sound.samples, sound.rate)
