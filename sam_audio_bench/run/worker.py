"""The inside of a worker: it makes the separator and the metrics of a job, and turns items into estimates and scores.

A worker writes no run folder: it handles `Request`s, and the process that sent them stores the replies. This module
does not depend on the process or machine in which the worker runs.
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
from sam_audio_bench.identity import Options
from sam_audio_bench.run import tracing
from sam_audio_bench.run.batching import AdaptiveBatching
from sam_audio_bench.run.contract import PreparedSeparator, prepare_separator
from sam_audio_bench.run.global_state import apply_settings
from sam_audio_bench.run.isolation import Isolation
from sam_audio_bench.run.memory_limit import limit_memory
from sam_audio_bench.run.scoring import Scorer, Scores, preferred_batch_size
from sam_audio_bench.run.separation import (
    CandidateSet,
    PickerArguments,
    PickerPool,
    Reranking,
    SeparationPolicies,
    separate_items,
)
from sam_audio_bench.run.serialization import SerializedError, dump, load
from sam_audio_bench.run.stages import StageTime, pop_stage_times
from sam_audio_bench.run.usage import MemoryWatch, Usage, count_parameters
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import Audio, Item, Separation

__all__ = ["BeginJob", "BeginScoring", "MetricsToLoad", "Reply", "ScoreStored", "ScoreWaiting", "Separate", "Worker"]


@dataclass(frozen=True)
class MetricsToLoad:
    """Arguments of one call of `build_metrics`, with the expected identities."""

    spellings: Sequence[str]
    options: Options
    fingerprints: Mapping[str, str | None]  # column -> expected fingerprint

    @classmethod
    def of(cls, metrics: Iterable[LoadedMetric], options: Options) -> MetricsToLoad:
        """Describes loaded metrics, so that a worker can make the same ones from the same options."""
        loaded = [*metrics]
        records = [record for one in loaded for record in one.records.values()]
        fingerprints = {name: text for one in loaded for name, text in one.fingerprints.items()}
        return cls(tuple(dict.fromkeys(record.specification for record in records)), options, fingerprints)

    def load(self) -> list[LoadedMetric]:
        """Builds the metrics; raises Precondition if their fingerprints are not the expected ones."""
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
class BeginJob:
    """Request to load separator, metrics and picker of a job."""

    model: bytes  # by `dump_code`: spelling or object, and the other arguments of `prepare_separator`
    model_whole: bytes | None  # the same with its code from memory, in case that the files have changed
    model_fingerprint: str | None  # expected fingerprint; None: the separator is sent by value
    metrics: MetricsToLoad
    data: TaskData  # without its items
    picker: PickerArguments | None
    policies: SeparationPolicies
    state: Mapping[int, Any]  # of `global_state.capture_settings`
    memory: float | None  # limit in GiB
    profile: bool  # whether the first calls are traced


@dataclass(frozen=True)
class Separate:
    """Request to separate items as one batch."""

    items: Sequence[Item]


@dataclass(frozen=True)
class ScoreWaiting:
    """Request to score the waiting estimates if they fill a batch of the metrics, or if this is the end."""

    is_end: bool


@dataclass(frozen=True, kw_only=True)
class BeginScoring:
    """Request to load metrics without a separator."""

    metrics: Sequence[MetricsToLoad]
    state: Mapping[int, Any]  # of `global_state.capture_settings`


@dataclass(frozen=True)
class ScoreStored:
    """Request to score the given estimates by some of the metrics."""

    pairs: Sequence[tuple[Item, Sequence[Separation]]]
    columns: frozenset[str]  # of the metrics
    lag: bool  # whether to measure it


Request = BeginJob | Separate | ScoreWaiting | BeginScoring | ScoreStored


@dataclass
class Reply:
    """The reply of a worker to a request."""

    estimates: list[CandidateSet | SerializedError] = field(default_factory=list)  # one per item
    usage: Usage | None = None  # since the beginning of the job
    stages: dict[str, StageTime] = field(default_factory=dict)  # since the last reply
    trace: tracing.Trace | None = None  # since the last reply
    scores: list[tuple[str, Scores]] = field(default_factory=list)  # item, its scores
    notes: list[str] = field(default_factory=list)
    printed: str = ""  # by the separator
    refusal: str | None = None  # why the worker cannot work at all
    interrupted: bool = False  # the separator raised KeyboardInterrupt
    failure: str = ""  # error of the worker itself, for example no memory for the request


class Worker:
    """Handles requests, one after the other.

    Args:
        log: a file for the output of the separator, used by this worker only.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._work: _JobState | None = None
        self._model = b""
        self._prepared: PreparedSeparator | None = None
        self._metrics: list[LoadedMetric] = []  # of a worker without a separator
        self._held: Sequence[MetricsToLoad] = ()  # of `_metrics`

    def handle_request(self, content: bytes) -> bytes:
        """Returns the reply to a request, both as bytes; any exception becomes part of the reply."""
        reply = Reply()
        try:
            self._dispatch(load(content), reply)
        except KeyboardInterrupt:
            reply.interrupted = True
        except BenchError as error:
            reply.refusal = str(error)
        except BaseException as error:
            reply = Reply(failure=describe_error(error))
        reply.printed = self.printed()
        reply.stages, reply.trace = pop_stage_times(), tracing.pop_trace()
        return dump(reply)

    def printed(self) -> str:
        """Returns the output since the last call, and deletes it."""
        try:
            text = self._log.read_text(encoding="utf-8", errors="replace")
            self._log.unlink()
        except OSError:  # there is no output
            return ""
        return text

    def release(self) -> None:
        """Releases the separator; its method ``release_processes``, if it has one, ends its processes."""
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

    def _dispatch(self, request: Request, reply: Reply) -> None:
        if isinstance(request, BeginJob):
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

    def _begin(self, begin: BeginJob) -> None:
        """Makes separator, metrics and picker; a separator that is loaded already is kept."""
        if begin.model != self._model:
            self._release_all()
            apply_settings(begin.state)
            limit_memory(begin.memory)
            self._prepared = _make_separator(begin)
            self._model = begin.model
        assert self._prepared is not None
        tracing.trace_first_calls(begin.profile)
        self._work = _JobState(self._prepared, begin.metrics.load(), begin, self._log)

    def _begin_scoring(self, begin: BeginScoring) -> None:
        """Makes metrics unless they are loaded; others are released first, so that two networks never are in memory."""
        if self._metrics and begin.metrics == self._held:
            return
        self._release_all()
        apply_settings(begin.state)
        self._metrics = [one for metrics in begin.metrics for one in metrics.load()]
        self._held = begin.metrics

    def _release_all(self) -> None:
        """Releases separator and metrics and frees their memory."""
        self.release()
        gc.collect()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()


def _make_separator(begin: BeginJob) -> PreparedSeparator:
    """Makes the separator and checks that it has the expected fingerprint."""
    prepared, expected = _prepare(begin.model), begin.model_fingerprint
    if expected is None or prepared.model.fingerprint() in (None, expected):
        return prepared
    if begin.model_whole is None:
        raise Precondition(
            f"expected the worker's {prepared.separator.name} to be the one of the run, found that its code, files or "
            "options differ; were they changed meanwhile? Run the same command again, or use --executor local"
        )
    return _prepare(begin.model_whole)


def _prepare(model: bytes) -> PreparedSeparator:
    spec, arguments, offered, timeout = load(model)
    return prepare_separator(spec, arguments, offered=offered, timeout=timeout)


class _JobState:
    """Separator, metrics and waiting estimates of one job."""

    def __init__(self, made: PreparedSeparator, metrics: list[LoadedMetric], begin: BeginJob, log: Path) -> None:
        self._separator, self._metrics, self._policies = made.separator, metrics, begin.policies
        self._reranking: Reranking | None = None
        if begin.picker is not None:
            self._reranking = PickerPool(**begin.picker).reranking(made.separator, begin.data)
        self._isolation = Isolation(made.constructor_state, log)
        self._batching = AdaptiveBatching(note=self._note)
        self._notes: list[str] = []
        self._watch = MemoryWatch()
        self._parameters: int | None = None
        self._waiting: list[tuple[Item, list[Separation]]] = []

    def _usage(self) -> Usage:
        if self._parameters is None:  # a network may be loaded with the first call
            self._parameters = count_parameters(self._separator)
        return self._watch.usage(self._parameters)

    def close(self) -> None:
        """Stops measuring the memory."""
        self._watch.close()

    def _note(self, text: str) -> None:
        self._notes.append(text)

    def separate(self, items: Sequence[Item], reply: Reply) -> None:
        """Separates a batch and keeps the estimates for scoring."""

        def call(batch: Sequence[Item]) -> list[CandidateSet | BaseException]:
            return separate_items(self._separator, batch, self._reranking, isolation=self._isolation, **self._policies)

        for item, found in zip(items, self._batching.run(items, call), strict=True):
            if isinstance(found, CandidateSet):
                self._waiting.append((item, found.scored))
                reply.estimates.append(_to_sendable(found))
            else:
                reply.estimates.append(SerializedError.of(found))
        reply.notes, self._notes = self._notes, []
        reply.usage = self._usage()

    def score(self, reply: Reply, *, is_end: bool) -> None:
        """Scores the waiting estimates."""
        if not self._waiting or (not is_end and len(self._waiting) < preferred_batch_size(self._metrics)):
            return
        waiting, self._waiting = self._waiting, []
        scores = Scorer.score(waiting, self._metrics)
        reply.scores = [(item.id, found) for (item, _), found in zip(waiting, scores, strict=True)]


def _to_sendable(found: CandidateSet) -> CandidateSet:
    """Returns the estimates in plain classes, with serialized errors of failed candidates."""
    candidates: list[Any] = [
        SerializedError.of(one) if isinstance(one, BaseException) else Separation(
            target=_plain_audio(one.target), residual=_plain_audio(one.residual), seconds=one.seconds,
            picked_by=one.picked_by, moved_ms=one.moved_ms, outputs=one.outputs,
        )
        for one in found.candidates
    ]  # fmt: skip
    return replace(found, candidates=tuple(candidates))


def _plain_audio(sound: Audio) -> Audio:
    return Audio(sound.samples, sound.rate)
