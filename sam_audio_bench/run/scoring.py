"""Scores of stored answers: the rows of a run folder, and the journal lines that say they are complete."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sam_audio_bench import audio
from sam_audio_bench.errors import BenchError, Precondition
from sam_audio_bench.files import dump_json
from sam_audio_bench.metrics.base import Metric
from sam_audio_bench.run.check import cut
from sam_audio_bench.run.store import PARTS, RunFolder, View, failed, views
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import Item, Result, Score, Separation, Status

__all__ = ["PARTS", "Batch", "Scorer", "Scores", "loaded", "metric_records", "outdated", "scored", "signatures"]


@dataclass
class Scores:
    """What the metrics said about the answers of one item, and why some of them could not say anything."""

    found: dict[Metric, list[Mapping[str, Score]]] = field(default_factory=dict)  # one an answer
    errors: dict[str, str] = field(default_factory=dict)  # metric id -> message


def signatures(metric: Metric) -> dict[str, str]:
    """For each wanted column, its version, parameters and weights: what makes two scores comparable."""
    versions = {card.id: card.version for card in metric.cards()}
    common = {**metric.options, "weights": getattr(metric, "weights_sha256", None)}
    return {column: dump_json({"version": versions[column], **common}) for column in metric.requested}


def outdated(folder: RunFolder, metrics: Iterable[Metric], item: str) -> list[Metric]:
    """Metrics that an item was not asked for yet, or in another version or with other parameters or weights."""
    known = folder.scored(item)
    return [metric for metric in metrics if not signatures(metric).items() <= known.items()]


def metric_records(metrics: Iterable[Metric], known: Iterable[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """run.json's list of metrics: those known already, and the given ones in their place."""
    records = {record["id"]: dict(record) for record in known}
    for metric in metrics:
        for card in metric.cards():
            if card.id in metric.requested:
                records[card.id] = {
                    "id": card.id,
                    "version": card.version,
                    "unit": card.unit,
                    "higher_is_better": card.higher_is_better,
                    "parameters": metric.options,
                    "weights_sha256": getattr(metric, "weights_sha256", None),
                }
    return list(records.values())


@dataclass
class Scorer:
    """Computes, keeps and completes the scores of one run folder."""

    folder: RunFolder
    data: TaskData
    metrics: Sequence[Metric]
    advance: Callable[[str | None], None]
    note: Callable[[str], None]

    @property
    def columns(self) -> list[str]:
        """Metric ids of the rows."""
        return [column for metric in self.metrics for column in metric.requested]

    def answered(self, identifier: str) -> bool:
        """Whether an item has a stored answer."""
        record = self.folder.items.get(identifier)
        return record is not None and not failed(record)

    def complete(self, identifiers: Iterable[str]) -> None:
        """Scores stored answers by the metrics that they lack; an item that cannot be loaded any more is a failure."""
        waiting = [name for name in identifiers if self.answered(name) and outdated(self.folder, self.metrics, name)]
        for batch in loaded(self.data, waiting, 1):
            for item in batch.items:
                self.keep(item.id, self.score(item, self._stored(item), outdated(self.folder, self.metrics, item.id)))
                self.advance(None)
            for identifier, error in batch.failures.items():
                self.advance(f"{identifier}: {error}")

    def score(self, item: Item, answers: Sequence[Separation], metrics: Iterable[Metric]) -> Scores:
        """Scores of an item's answers, without the columns that ask nothing of the item.

        A metric that fails costs its own scores of this item; one that cannot work at all raises Precondition.
        """
        scores = Scores()
        different = {id(answer): answer for answer in answers}  # the first candidate may be the picked one too
        for metric in metrics:
            rows = {name: scored(metric, item, answer, scores.errors) for name, answer in different.items()}
            scores.found[metric] = [rows[id(answer)] for answer in answers]
        return scores

    def keep(self, identifier: str, scores: Scores) -> None:
        """Scores first, then the journal line that says they are complete: a crash in between scores once more.

        A score that failed is not among the complete ones, so that a rerun tries it again.
        """
        record = self.folder.items[identifier]
        rows = [
            self._row(identifier, view, column, score)
            for answers in scores.found.values()
            for view, row in zip(views(record), answers, strict=True)
            for column, score in row.items()
        ]
        signed = {column: text for metric in scores.found for column, text in signatures(metric).items()}
        complete = {**record.get("scored", {}), **signed}
        earlier = {name: text for name, text in record.get("score_errors", {}).items() if name not in signed}
        self.folder.add_scores(rows)
        self.folder.add_item(
            {
                **record,
                "scored": {column: text for column, text in complete.items() if column not in scores.errors},
                "score_errors": {**earlier, **scores.errors},
            }
        )
        for column, message in scores.errors.items():
            self.note(f"{identifier}: {column} failed: {message}")

    def fail(self, identifier: str) -> None:
        """Rows without a value for an item that has no answer."""
        record = self.folder.items[identifier]
        score = Score(None, Status(record["status"]))
        rows = [self._row(identifier, view, column, score) for view in views(record) for column in self.columns]
        self.folder.add_scores(rows)

    def _stored(self, item: Item) -> list[Separation]:
        """The answers in the order of their views; a picked first candidate is read once."""
        record = self.folder.items[item.id]
        found = {
            view.candidate: Separation(
                **{part: audio.read(self.folder.path / "audio" / str(view.files[part])) for part in PARTS},
                seconds=record["seconds"],
                picked_by=view.picked_by,
            )
            for view in {view.candidate: view for view in views(record)}.values()
        }
        return [found[view.candidate] for view in views(record)]

    def _row(self, identifier: str, view: View, column: str, score: Score) -> dict[str, Any]:
        record = self.folder.items[identifier]
        row = Result(
            task=self.data.task,
            item=identifier,
            group=record["group"],
            separator=self.folder.header["model"]["name"],
            seed=record["seed"],
            candidate=view.candidate,
            picked_by=view.picked_by,
            metric=column,
            value=score.value,
            status=score.status,
        )
        return asdict(row)


def scored(metric: Metric, item: Item, answer: Separation, errors: dict[str, str]) -> dict[str, Score]:
    """One answer's scores by one metric, without what it does not ask; what went wrong is added to ``errors``."""
    try:
        row = dict(zip(metric.columns, metric.score([cut(item, answer.target.length)], [answer])[0], strict=True))
    except Precondition:
        raise
    except Exception as error:
        row = dict.fromkeys(metric.columns, Score(None, Status.ERROR))
        errors |= dict.fromkeys(metric.requested, f"{type(error).__name__}: {error}")
    return {column: score for column in metric.requested if (score := row[column]) is not None}


@dataclass
class Batch:
    """Items that could be loaded, and why others could not."""

    items: list[Item] = field(default_factory=list)
    failures: dict[str, BenchError] = field(default_factory=dict)


def loaded(data: TaskData, identifiers: Sequence[str], size: int) -> Iterator[Batch]:
    """Batches of items in order, the next one being loaded while one is worked on."""
    under_way: Future[Batch] | None = None
    with ThreadPoolExecutor(1) as loader:
        for start in range(0, len(identifiers), size):
            following = loader.submit(_load, data, identifiers[start : start + size])
            if under_way is not None:
                yield under_way.result()
            under_way = following
        if under_way is not None:
            yield under_way.result()


def _load(data: TaskData, identifiers: Sequence[str]) -> Batch:
    batch = Batch()
    for identifier in identifiers:
        try:
            batch.items.append(_on_grid(data[identifier]))
        except BenchError as error:
            batch.failures[identifier] = error
    return batch


def _on_grid(item: Item) -> Item:
    """The item with its mixture as the disk would give it back, so that the mixture as an answer improves by 0 dB."""
    return replace(item, query=replace(item.query, mixture=audio.as_stored(item.query.mixture)))
