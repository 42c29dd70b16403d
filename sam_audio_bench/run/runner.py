"""One job: separate, persist, score, seal. A thread loads ahead and another one writes behind."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from sam_audio_bench import audio
from sam_audio_bench.errors import BenchError
from sam_audio_bench.files import sha256
from sam_audio_bench.run.candidates import Answer, answer
from sam_audio_bench.run.header import closing, opening
from sam_audio_bench.run.plan import Job, Plan
from sam_audio_bench.run.provenance import peak_memory_mib
from sam_audio_bench.run.scoring import Batch, Scorer, Scores, loaded
from sam_audio_bench.run.store import PARTS
from sam_audio_bench.types import Item, Separation, Status

__all__ = ["Runner"]


@dataclass
class Runner:
    """Does what a job has left to do; ``advance`` is called after every item, with its error if it has one."""

    plan: Plan
    job: Job
    advance: Callable[[str | None], None]
    note: Callable[[str], None]

    def __post_init__(self) -> None:
        self._scorer = Scorer(self.job.folder, self.job.data, self.job.metrics, self.advance, self.note)

    def run(self) -> None:
        """Leaves a sealed run folder, or after an interruption one that a rerun takes up."""
        job, folder = self.job, self.job.folder
        begun, status = time.perf_counter(), "error"
        with folder.writing():
            folder.forget(job.chosen.ids if self.plan.settings.overwrite == "always" else job.stale)
            folder.write_header(**opening(self.plan, job))
            try:
                self._separate_missing()
                self._scorer.complete(job.chosen.ids)
                folder.seal(job.data.ids)
                status = "success" if all(map(self._scorer.answered, job.data.ids)) else "partial"
            except KeyboardInterrupt:
                status = "cancelled"
                raise
            finally:
                folder.write_header(**closing(folder, status, time.perf_counter() - begun, peak_memory_mib()))

    def _separate_missing(self) -> None:
        size = self.plan.settings.batch_size or int(getattr(self.job.separator, "batch_size", 1))
        behind: deque[Future[None]] = deque()
        with ThreadPoolExecutor(1) as writer:
            for batch in loaded(self.job.data, self.job.to_separate(), size):
                for step in self._steps(batch):
                    behind.append(writer.submit(step))
                    while len(behind) > _BEHIND:
                        behind.popleft().result()
            for waiting in behind:
                waiting.result()

    def _steps(self, batch: Batch) -> Iterator[Callable[[], None]]:
        """What is to be written about a batch, in order; the answer can be stored while its scores are computed."""
        reranking, settings = self.job.reranking, self.plan.settings
        for identifier, error in batch.failures.items():
            yield partial(self._fail, identifier, error, reranked=reranking is not None)
        answers = answer(
            self.job.separator, batch.items, reranking, task=self.job.data.label,
            seed=settings.seed, align=settings.align, stereo=settings.stereo,
        )  # fmt: skip
        for item, found in zip(batch.items, answers, strict=True):
            if isinstance(found, Answer):
                yield partial(self._store, item, found)
                yield partial(self._keep, item.id, self._scorer.score(item, found.scored, self.job.metrics))
            else:
                reranked = reranking is not None and reranking.asks(item)
                yield partial(self._fail, item.id, found, reranked=reranked)

    def _keep(self, identifier: str, scores: Scores) -> None:
        self._scorer.keep(identifier, scores)
        self.advance(None)

    def _store(self, item: Item, found: Answer) -> None:
        """Writes the audio, then the item's line of the journal: from there on a crash costs no separation."""
        chosen = found.separation(found.picked)
        record = {
            **self._identity(item.id, Status.OK),
            "seconds": found.seconds,
            "audio_seconds": item.query.mixture.seconds,
            **({"remarks": list(item.remarks)} if item.remarks else {}),
            "picked_by": found.picker or chosen.picked_by,
            **self._write(item.id, chosen),
            **(self._choice(item.id, found) if found.picker else {}),
        }
        self.job.folder.add_item(record, durable=False)  # the line with the scores follows

    def _choice(self, identifier: str, found: Answer) -> dict[str, Any]:
        """What the journal says about candidates, after writing those that stay: the first one, or all."""
        keep = self.job.reranking is not None and self.job.reranking.keep
        staying = found.sound if keep else [0]
        errors = {index: error for index, error in enumerate(found.candidates) if isinstance(error, Exception)}
        return {
            "candidates": len(found.candidates),
            "picked": found.picked,
            "picker_scores": [None if math.isnan(score) else score for score in found.scores],
            "kept": {
                str(index): {
                    "picked_by": found.separation(index).picked_by,
                    **self._write(identifier, found.separation(index), index),
                }
                for index in staying
            },
            "candidate_errors": {str(index): _message(error) for index, error in errors.items()},
        }

    def _write(self, identifier: str, separation: Separation, candidate: int | None = None) -> dict[str, Any]:
        """Writes both parts and says where they are."""
        stems = {part: self.job.folder.audio_stem(identifier, part, candidate) for part in PARTS}
        paths = {part: audio.write(stem, getattr(separation, part)) for part, stem in stems.items()}
        return {
            **{part: path.name for part, path in paths.items()},
            "sha256": {part: sha256(path.read_bytes()) for part, path in paths.items()},
        }

    def _fail(self, identifier: str, error: Exception, *, reranked: bool) -> None:
        """An item without an answer: its message in the journal, its status in every row, and the run goes on.

        An item that would have been picked from candidates is missing from both of its separator's lines.
        """
        status = Status(error.status) if isinstance(error, BenchError) else Status.ERROR
        message = _message(error)
        reranking = self.job.reranking if reranked else None
        lost = {} if reranking is None else {"candidates": reranking.candidates, "picked_by": reranking.picker.name}
        self.job.folder.add_item({**self._identity(identifier, status), "message": message, **lost})
        self._scorer.fail(identifier)
        told = identifier in self.job.data.missing and status == Status.MISSING_MEDIA  # by the plan already
        self.advance(None if told else f"{identifier}: {message}")

    def _identity(self, identifier: str, status: Status) -> dict[str, Any]:
        return {
            "item": identifier,
            "group": self.job.data.groups[identifier],
            "fingerprint": self.job.fingerprints[identifier],
            "seed": self.plan.settings.seed,
            "status": status,
        }


_BEHIND = 8
"""Steps that may wait for the writer: enough to keep it busy, few enough to hold their answers in memory."""


def _message(error: Exception) -> str:
    """What the journal says about an error: a sentence of ours, or the class and text of anyone else's."""
    return str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
