"""Scoring of stored estimates: the rows of a run folder, and the journal lines that mark them as complete."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import structs

from sam_audio_bench import audio
from sam_audio_bench.columns import LoadedMetric
from sam_audio_bench.errors import BadSeparation, BenchError, Precondition, describe_error
from sam_audio_bench.identity import is_built_in
from sam_audio_bench.metrics.base import Metric, Row
from sam_audio_bench.records import ESTIMATE_PARTS, ItemRecord, MetricRecord, ScoreRow
from sam_audio_bench.run.defensive_copies import copy_estimate, copy_item
from sam_audio_bench.run.estimate_check import trim_item
from sam_audio_bench.run.interruption import allow_interruption
from sam_audio_bench.run.lag import measure_lag
from sam_audio_bench.run.loading import prefetch
from sam_audio_bench.run.stages import stage
from sam_audio_bench.run.store import RunFolder, ScoredEstimate, scored_estimates
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import Item, Score, Separation, Status

__all__ = [
    "EstimatedItems",
    "Scorer",
    "Scores",
    "ScoringPass",
    "ScoringWork",
    "merge_metric_records",
    "outdated_metrics",
    "preferred_batch_size",
    "score_estimate",
]


@dataclass
class Scores:
    """The scores of one item's estimates, and the errors of metrics that failed."""

    rows: list[dict[str, Score]] = field(default_factory=list)  # per estimate, by column
    complete: dict[str, str] = field(default_factory=dict)  # column -> fingerprint of the metric
    not_asked: set[str] = field(default_factory=set)
    errors: dict[str, str] = field(default_factory=dict)  # column -> message
    lag_ms: float | None = None  # of the chosen estimate; None: not measured, or similar to nothing


def outdated_metrics(folder: RunFolder, metrics: Iterable[LoadedMetric], item: str) -> list[LoadedMetric]:
    """Returns the metrics that have not scored an item yet, or only with another or an unknown identity."""
    record = folder.items.get(item)
    known = {} if record is None else record.scored
    return [one for one in metrics if not one.fingerprints.items() <= known.items()]


def preferred_batch_size(metrics: Iterable[LoadedMetric]) -> int:
    """Returns the largest batch size of some metrics."""
    return max((one.metric.batch_size for one in metrics), default=1)


def merge_metric_records(metrics: Iterable[LoadedMetric], known: Iterable[MetricRecord] = ()) -> list[MetricRecord]:
    """Returns the metrics for run.json: the known ones, replaced or extended by the given ones."""
    records = {record.id: record for record in known}
    for one in metrics:
        records |= {record.id: record for record in one.records.values()}
    return list(records.values())


EstimatedItems = Sequence[tuple[Item, Sequence[Separation]]]
"""Items with their estimates."""
ScoringWork = tuple[EstimatedItems, list[LoadedMetric], bool]
"""Items scored together, the metrics, and whether this pass also measures the lag."""


class ScoringPass(Protocol):
    """Scores stored estimates by some metrics, in this process or in workers."""

    @property
    def metrics(self) -> Sequence[LoadedMetric]:
        """The metrics of this pass."""
        ...

    def scores(self, work: Iterator[ScoringWork]) -> Generator[tuple[EstimatedItems, Sequence[Scores]], None, None]:
        """Yields the scores of each item; ``work`` is iterated in the main thread."""
        ...


@dataclass(frozen=True)
class _LocalPass:
    """A `ScoringPass` in this process."""

    metrics: Sequence[LoadedMetric]

    def scores(self, work: Iterator[ScoringWork]) -> Generator[tuple[EstimatedItems, Sequence[Scores]], None, None]:
        for pairs, metrics, lag in work:
            yield pairs, Scorer.score(pairs, metrics, lag=lag)


@dataclass
class Scorer:
    """Computes and stores the scores of one run folder."""

    folder: RunFolder
    data: TaskData
    metrics: Sequence[LoadedMetric]
    advance: Callable[[str | None], None]
    note: Callable[[str], None]
    _persisted: set[tuple[str, str]] = field(default_factory=set)  # item and column, by this scorer

    @property
    def columns(self) -> list[str]:
        """Metric ids of the rows."""
        return [column for one in self.metrics for column in one.columns]

    @property
    def batch_size(self) -> int:
        """The largest batch size of the metrics."""
        return preferred_batch_size(self.metrics)

    def has_estimate(self, identifier: str) -> bool:
        """Returns whether an item has a stored estimate."""
        record = self.folder.items.get(identifier)
        return record is not None and not record.failed

    def score_missing(
        self, identifiers: Iterable[str], *, everything: bool = False, passes: Sequence[ScoringPass] = ()
    ) -> None:
        """Scores stored estimates by the metrics whose scores are missing; an item that cannot be loaded is a failure.

        If an estimate or a recording is not the one of the journal, the missing scores of its item become errors.

        Args:
            identifiers: ids of the items.
            everything: score by all metrics; an existing score is kept until it is replaced.
            passes: run one after the other, each with its own metrics; empty: one pass in this process.
        """
        missing = {name: self._missing_metrics(name, everything) for name in identifiers if self.has_estimate(name)}
        waiting = [name for name, metrics in missing.items() if metrics]
        scoring = passes or [_LocalPass(self.metrics)]
        left = {name: sum(any(one in own.metrics for one in missing[name]) for own in scoring) for name in waiting}
        for number, own in enumerate(scoring):
            earlier = [one for other in scoring[:number] for one in other.metrics]
            with closing(own.scores(self._work(waiting, missing, own.metrics, earlier, left))) as found:
                for pairs, scored in found:
                    for (item, _), scores in zip(pairs, scored, strict=True):
                        self.persist(item.id, scores)
                        left[item.id] -= 1
                        if not left[item.id]:
                            self.advance(None)

    def _work(
        self,
        waiting: Sequence[str],
        missing: Mapping[str, list[LoadedMetric]],
        requested: Sequence[LoadedMetric],
        earlier: Sequence[LoadedMetric],
        left: dict[str, int],
    ) -> Iterator[ScoringWork]:
        """Yields stored estimates in the batches of a single pass over all metrics, whichever are ``requested``,
        since scores in a batch of another size may differ in their last bits. ``left`` counts for each item the passes
        that still have to score it.
        """
        for batch in prefetch(self.data, waiting, self.batch_size):
            for items, everything in _by_metrics(batch.items, missing):
                metrics, pairs = [one for one in everything if one in requested], []
                if not metrics:
                    continue
                for item in (item for item in items if left[item.id]):
                    try:
                        pairs.append((item, self._stored(item)))
                    except BenchError as error:
                        lost = outdated_metrics(self.folder, everything, item.id)  # existing scores are kept
                        self.persist(item.id, self._failure(item.id, lost, str(error)))
                        left[item.id] = 0
                        self.advance(f"{item.id}: {error}")
                if pairs:
                    yield pairs, metrics, not any(one in earlier for one in everything)
            for identifier, failure in batch.failures.items():
                if left[identifier]:
                    self.advance(f"{identifier}: {failure}")
                left[identifier] = 0

    def forget_other_scores(self) -> None:
        """Removes scores of these columns by another identity of a metric, also of items outside this run."""
        current = {name: text for one in self.metrics for name, text in one.fingerprints.items()}
        other = {
            item: {name for name, text in record.scored.items() if current.get(name, text) not in (text, None)}
            for item, record in self.folder.items.items()
        }
        self.folder.forget_scores(other)

    def _missing_metrics(self, item: str, everything: bool) -> list[LoadedMetric]:
        """Returns the metrics whose scores an item lacks; metrics without an identity are computed once per scorer."""
        found = self.metrics if everything else outdated_metrics(self.folder, self.metrics, item)
        return [one for one in found if not all((item, name) in self._persisted for name in one.columns)]

    @staticmethod
    def score(pairs: EstimatedItems, metrics: Sequence[LoadedMetric], *, lag: bool = True) -> list[Scores]:
        """Scores each item's estimates, without columns that do not apply to the item, and measures its ``lag``.

        A metric that fails loses its own scores of that item only; one that cannot work at all raises Precondition.
        """
        if not pairs:
            return []
        found = [Scores(rows=[{} for _ in estimates]) for _, estimates in pairs]
        for scores, (item, estimates) in zip(found, pairs if lag else (), strict=lag):
            chosen = estimates[-1]
            with allow_interruption(), stage("lag"), suppress(BenchError, MemoryError):  # out of memory: unknown lag
                scores.lag_ms = measure_lag(trim_item(item, chosen.target.length), chosen.target)
        for one in metrics:
            # the first candidate may also be the picked one, and is then scored once
            different = {id(estimate): (item, estimate) for item, estimates in pairs for estimate in estimates}
            with allow_interruption(), stage(f"metric {', '.join(one.columns)}"):
                rows = dict(zip(different, _score_batches(one.metric, list(different.values())), strict=True))
            for scores, (_, estimates) in zip(found, pairs, strict=True):
                _collect(scores, one, [rows[id(estimate)] for estimate in estimates])
        return found

    def persist(self, identifier: str, scores: Scores) -> None:
        """Writes scores, then the journal line that marks them as complete: a crash in between repeats the scoring.

        A failed score is not marked as complete, so that the next run computes it again.
        """
        record = self.folder.items[identifier]
        estimates = scored_estimates(record)
        rows = [
            self._row(record, estimate, column, score)
            for estimate, columns in zip(estimates, scores.rows, strict=True)
            for column, score in columns.items()
        ]
        redone = {*scores.complete, *scores.errors}
        self._persisted |= {(identifier, name) for name in redone}
        kept = {name: text for name, text in record.scored.items() if name not in redone}
        earlier = {name: text for name, text in record.score_errors.items() if name not in redone}
        not_asked = {*(name for name in record.not_asked if name not in redone), *scores.not_asked}
        self.folder.add_scores(rows)
        self.folder.add_item(
            structs.replace(
                record,
                scored={**kept, **scores.complete},
                not_asked=sorted(not_asked),
                score_errors={**earlier, **scores.errors},
                lag_ms=record.lag_ms if scores.lag_ms is None else scores.lag_ms,
            )
        )
        for column, message in scores.errors.items():
            self.note(f"{identifier}: {column} failed: {message}")

    def record_failure(self, identifier: str) -> None:
        """Writes rows without a value for an item that has no estimate."""
        record = self.folder.items[identifier]
        score = Score(None, record.status)
        views = scored_estimates(record)
        self.folder.add_scores([self._row(record, view, column, score) for view in views for column in self.columns])

    def _failure(self, item: str, metrics: Iterable[LoadedMetric], message: str) -> Scores:
        """Returns error scores for an item whose estimate is missing or damaged."""
        columns = [column for one in metrics for column in one.columns]
        rows = [dict.fromkeys(columns, Score(None, Status.ERROR)) for _ in scored_estimates(self.folder.items[item])]
        return Scores(rows=rows, errors=dict.fromkeys(columns, message))

    def _stored(self, item: Item) -> list[Separation]:
        """Reads the estimates in the order of `scored_estimates`; a picked first candidate is read only once."""
        record = self.folder.items[item.id]
        if record.data_sha256 != self.data.content_sha256(item.id):
            raise BadSeparation(
                f"expected the recordings that {item.id} was separated from, found others; run the evaluation again"
            )
        if reason := self.folder.damage(item.id, read=True):
            raise BadSeparation(f"{reason}; run the evaluation again")
        views = scored_estimates(record)
        found = {}
        for view in {view.candidate: view for view in views}.values():
            target, residual = (
                audio.read(self.folder.path / "audio" / str(getattr(view.files, part))) for part in ESTIMATE_PARTS
            )
            found[view.candidate] = Separation(
                target=target, residual=residual, seconds=record.seconds, picked_by=view.picked_by
            )
        return [found[view.candidate] for view in views]

    def _row(self, record: ItemRecord, estimate: ScoredEstimate, column: str, score: Score) -> ScoreRow:
        return ScoreRow(
            task=self.data.task,
            item=record.item,
            group=record.group,
            separator=self.folder.header.model.name,
            seed=record.seed,
            candidate=estimate.candidate,
            picked_by=estimate.picked_by,
            metric=column,
            value=score.value,
            status=score.status,
        )


def _by_metrics(
    items: Sequence[Item], missing: Mapping[str, list[LoadedMetric]]
) -> list[tuple[list[Item], list[LoadedMetric]]]:
    """Groups items by the metrics whose scores they lack."""
    found: dict[tuple[int, ...], tuple[list[Item], list[LoadedMetric]]] = {}
    for item in items:
        metrics = missing[item.id]
        found.setdefault(tuple(map(id, metrics)), ([], metrics))[0].append(item)
    return list(found.values())


def _collect(scores: Scores, one: LoadedMetric, results: Sequence[Row | BaseException]) -> None:
    """Adds the scores of a metric for the estimates of an item."""
    for rows, result in zip(scores.rows, results, strict=True):
        if isinstance(result, BaseException):
            rows |= dict.fromkeys(one.columns, Score(None, Status.ERROR))
            scores.errors |= dict.fromkeys(one.columns, describe_error(result, named=True))
            continue
        row = dict(zip(one.metric.columns, result, strict=True))
        applicable = {record.id: score for column, record in one.records.items() if (score := row[column]) is not None}
        rows |= applicable
        scores.not_asked |= set(one.columns) - set(applicable)
    scores.complete |= {name: text or "" for name, text in one.fingerprints.items() if name not in scores.errors}
    scores.not_asked -= set(scores.errors)


def _is_ours(metric: Metric) -> bool:
    """Returns whether all code of a metric is part of this package; the bridge calls code of others."""
    kind = type(metric)
    return is_built_in(kind) and not kind.__module__.endswith(".bridge")


def _checked(rows: object, items: int, columns: int) -> list[Row]:
    """Returns a metric's result after checking that it has a row per item and a score per column."""
    expected = f"expected {items} row(s), each a tuple of {columns} Score(s) or None"
    if not isinstance(rows, Iterable):
        raise TypeError(f"{expected}, found {type(rows).__name__}")
    found = list(rows)
    if (
        any(not isinstance(row, Sequence) or any(not _is_score(one) for one in row) for row in found)
        or [len(row) for row in found] != [columns] * items
    ):
        raise ValueError(f"{expected}, found {found!r:.500}")
    return [tuple(map(_defined, row)) for row in found]


def _is_score(one: object) -> bool:
    return one is None or isinstance(one, Score)


def _defined(score: Score | None) -> Score | None:
    """Returns the score with a plain float; NaN becomes None with the status non_finite."""
    if score is None:
        return None
    if score.value is None:
        if Status(score.status) is Status.OK:
            raise ValueError("expected a value with the status ok, found None; give the status that says why")
        return score
    value = float(score.value)
    return Score(None, Status.NON_FINITE) if math.isnan(value) else Score(value, Status(score.status))


def _score_batches(metric: Metric, pairs: Sequence[tuple[Item, Separation]]) -> list[Row | BaseException]:
    """Returns rows in the order of the pairs; items of a batch have equal length, rate and number of channels."""
    found: dict[int, Row | BaseException] = {}
    by_shape: dict[tuple[int, ...], list[int]] = {}
    cut_items = [trim_item(item, estimate.target.length) for item, estimate in pairs]
    for index, (item, (_, estimate)) in enumerate(zip(cut_items, pairs, strict=True)):
        sound, target = item.query.mixture, estimate.target
        by_shape.setdefault((sound.rate, sound.channels, sound.length, target.channels), []).append(index)
    for indices in by_shape.values():
        for start in range(0, len(indices), metric.batch_size):
            batch = indices[start : start + metric.batch_size]
            rows = _rows(metric, [cut_items[index] for index in batch], [pairs[index][1] for index in batch])
            found |= dict(zip(batch, rows, strict=True))
    return [found[index] for index in range(len(pairs))]


def _rows(metric: Metric, items: Sequence[Item], estimates: Sequence[Separation]) -> Sequence[Row | BaseException]:
    """Calls a metric; if a batch fails, each item is scored alone, so that a bad item does not affect others."""
    try:
        if not _is_ours(metric):  # changes that other code makes in place must not reach other metrics or files
            own = [copy_item(item) for item in items], [copy_estimate(one) for one in estimates]
            return _checked(metric.score(*own), len(items), len(metric.columns))
        return _checked(metric.score(items, estimates), len(items), len(metric.columns))
    except (Precondition, KeyboardInterrupt):
        raise
    except BaseException as error:
        if len(items) == 1:
            return [error]
        return [_rows(metric, [item], [one])[0] for item, one in zip(items, estimates, strict=True)]


def score_estimate(metric: Metric, item: Item, estimate: Separation) -> dict[str, Score]:
    """Returns the scores of one estimate by one metric, without columns that do not apply to the item."""
    result = _score_batches(metric, [(item, estimate)])[0]
    if isinstance(result, BaseException):
        return dict.fromkeys(metric.requested, Score(None, Status.ERROR))
    row = dict(zip(metric.columns, result, strict=True))
    return {column: score for column in metric.requested if (score := row[column]) is not None}
