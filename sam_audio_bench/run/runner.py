"""One job: separate, persist, score, seal. A thread loads ahead and another one writes behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from sam_audio_bench import audio
from sam_audio_bench.errors import BenchError
from sam_audio_bench.files import sha256
from sam_audio_bench.metrics.base import Metric
from sam_audio_bench.run.answers import ask
from sam_audio_bench.run.check import cut
from sam_audio_bench.run.header import closing, opening
from sam_audio_bench.run.plan import Job, Plan, signatures
from sam_audio_bench.run.store import failed
from sam_audio_bench.types import Item, Score, Separation, Status

__all__ = ["Runner"]

PARTS = ("target", "residual")


@dataclass
class Runner:
    """Does what a job has left to do; ``advance`` is called after every item, with its error if it has one."""

    plan: Plan
    job: Job
    advance: Callable[[str | None], None]

    def run(self) -> None:
        """Leaves a sealed run folder, or after an interruption one that a rerun takes up."""
        job, folder = self.job, self.job.folder
        begun, status = time.perf_counter(), "error"
        with folder.writing():
            folder.forget(job.chosen.ids if self.plan.settings.overwrite == "always" else job.stale)
            folder.write_header(**opening(self.plan, job))
            try:
                self._separate_missing()
                self._score_missing()
                folder.seal(job.data.ids, [record["id"] for record in folder.header["metrics"]])
                status = "success" if all(map(self._answered, job.data.ids)) else "partial"
            except KeyboardInterrupt:
                status = "cancelled"
                raise
            finally:
                folder.write_header(**closing(folder, status, time.perf_counter() - begun))

    def _answered(self, identifier: str) -> bool:
        record = self.job.folder.items.get(identifier)
        return record is not None and not failed(record)

    def _separate_missing(self) -> None:
        size = self.plan.settings.batch_size or int(getattr(self.job.separator, "batch_size", 1))
        with ThreadPoolExecutor(1) as writer:
            for batch in self._loaded(self.job.to_separate(), size):
                self._separate(batch, writer)

    def _score_missing(self) -> None:
        waiting = [item for item in self.job.chosen.ids if self._answered(item) and self.job.to_score(item)]
        for batch in self._loaded(waiting, 1):
            for item in batch.items:
                answer = self._stored_answer(item)
                self._keep_scores(item, self._score(item, answer, self.job.to_score(item.id)))
                self.advance(None)
            for identifier, error in batch.failures.items():
                self.job.folder.forget([identifier])
                self._fail(identifier, error)

    def _loaded(self, identifiers: Sequence[str], size: int) -> Iterator[_Batch]:
        chunks = [identifiers[start : start + size] for start in range(0, len(identifiers), size)]
        with ThreadPoolExecutor(1) as loader:
            yield from _ahead(loader, self._load, chunks)

    def _load(self, identifiers: Sequence[str]) -> _Batch:
        batch = _Batch()
        for identifier in identifiers:
            try:
                batch.items.append(_on_grid(self.job.data[identifier]))
            except BenchError as error:
                batch.failures[identifier] = error
        return batch

    def _separate(self, batch: _Batch, writer: ThreadPoolExecutor) -> None:
        for identifier, error in batch.failures.items():
            self._fail(identifier, error)
        settings = self.plan.settings
        answers = ask(
            self.job.separator, batch.items, task=self.job.data.label,
            seed=settings.seed, align=settings.align, stereo=settings.stereo,
        )  # fmt: skip
        for item, answer in zip(batch.items, answers, strict=True):
            if isinstance(answer, Separation):
                stored = _as_stored(answer)
                persisted = writer.submit(self._persist, item, stored)
                rows = self._score(item, stored, self.job.metrics)
                persisted.result()
                self._keep_scores(item, rows)
                self.advance(None)
            else:
                self._fail(item.id, answer)

    def _persist(self, item: Item, answer: Separation) -> None:
        stems = {part: self.job.folder.audio_stem(item.id, part) for part in PARTS}
        paths = {part: audio.write(stem, getattr(answer, part)) for part, stem in stems.items()}
        record = {
            **self._identity(item.id, Status.OK),
            "seconds": answer.seconds,
            "audio_seconds": item.query.mixture.seconds,
            "picked_by": answer.picked_by,
            **{part: path.name for part, path in paths.items()},
            "sha256": {part: sha256(path.read_bytes()) for part, path in paths.items()},
        }
        self.job.folder.add_item(record)

    def _stored_answer(self, item: Item) -> Separation:
        parts = {part: audio.read(self.job.folder.audio_path(item.id, part)) for part in PARTS}
        record = self.job.folder.items[item.id]
        return Separation(**parts, seconds=record["seconds"], picked_by=record["picked_by"])

    def _score(self, item: Item, answer: Separation, metrics: Iterable[Metric]) -> _Scores:
        item = cut(item, answer.target.length)
        found: _Scores = {}
        for metric in metrics:
            row = dict(zip(metric.columns, metric.score([item], [answer])[0], strict=True))
            found[metric] = {column: score for column in metric.wanted if (score := row[column]) is not None}
        return found

    def _keep_scores(self, item: Item, found: _Scores) -> None:
        """Scores first, then the journal line that says they are complete: a crash in between scores once more."""
        folder = self.job.folder
        record = folder.items[item.id]
        folder.add_scores(
            [self._row(item.id, column, score) for row in found.values() for column, score in row.items()]
        )
        signed = {column: text for metric in found for column, text in signatures(metric).items()}
        folder.add_item({**record, "scored": {**record.get("scored", {}), **signed}})

    def _fail(self, identifier: str, error: Exception) -> None:
        """An item without an answer: its message in the journal, its status in every row, and the run goes on."""
        status = Status(error.status) if isinstance(error, BenchError) else Status.ERROR
        message = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
        self.job.folder.add_item({**self._identity(identifier, status), "message": message})
        self.job.folder.add_scores([self._row(identifier, column, Score(None, status)) for column in self.job.columns])
        self.advance(f"{identifier}: {message}")

    def _identity(self, identifier: str, status: Status) -> dict[str, Any]:
        return {
            "item": identifier,
            "group": self.job.data.groups[identifier],
            "fingerprint": self.job.fingerprints[identifier],
            "seed": self.plan.settings.seed,
            "status": status,
        }

    def _row(self, identifier: str, column: str, score: Score) -> dict[str, Any]:
        record = self.job.folder.items[identifier]
        return {
            "task": self.job.data.task,
            "item": identifier,
            "group": record["group"],
            "separator": self.job.separator.name,
            "seed": record["seed"],
            "candidate": 0,
            "picked_by": record.get("picked_by"),
            "metric": column,
            "value": score.value,
            "status": score.status,
        }


_Scores = dict[Metric, Mapping[str, Score]]


@dataclass
class _Batch:
    items: list[Item] = field(default_factory=list)
    failures: dict[str, BenchError] = field(default_factory=dict)


def _on_grid(item: Item) -> Item:
    """The item with its mixture as the disk would give it back, so that the mixture as an answer improves by 0 dB."""
    return replace(item, query=replace(item.query, mixture=audio.as_stored(item.query.mixture)))


def _as_stored(answer: Separation) -> Separation:
    """The answer with the samples that the disk will give back, so that scoring again gives the same bits."""
    parts = {part: audio.as_stored(getattr(answer, part)) for part in PARTS}
    return Separation(**parts, seconds=answer.seconds, picked_by=answer.picked_by)


def _ahead(
    loader: ThreadPoolExecutor, load: Callable[[Sequence[str]], _Batch], chunks: Iterable[Sequence[str]]
) -> Iterator[_Batch]:
    """Loaded chunks in order, the next one under way while one is worked on."""
    under_way: Future[_Batch] | None = None
    for chunk in chunks:
        following = loader.submit(load, chunk)
        if under_way is not None:
            yield under_way.result()
        under_way = following
    if under_way is not None:
        yield under_way.result()
