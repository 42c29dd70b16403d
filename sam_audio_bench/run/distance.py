"""How far the answers of runs, taken together, are from a reference set: one number a separator and task.

Separators are compared on the items that all of them have answered, against one reference set. Where a run's journal
says that the target of an item is absent, or its reference is silent, the item is left out on both sides.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.digests import flush_digests, joined
from sam_audio_bench.errors import BenchError, Precondition, UsageError, describe_error
from sam_audio_bench.metrics.distance_catalogue import (
    BUILTIN_EMBEDDING,
    DISTANCES,
    EmbeddingIdentity,
    check_distances,
    embedding_source,
)
from sam_audio_bench.metrics.distributions import Distance, Embeddings, fad, kad
from sam_audio_bench.metrics.embedding import Embedder, EmbeddingResult, TransformersEmbedder
from sam_audio_bench.render.tables import csv_cell
from sam_audio_bench.render.text import pluralize
from sam_audio_bench.run import interruption
from sam_audio_bench.run.distance_sounds import Line, Sound, common_items, lines_of, reference_sounds
from sam_audio_bench.run.embedding_cache import EmbeddingCache
from sam_audio_bench.run.progress import Progress
from sam_audio_bench.run.reference_place import OF_ITEMS, reference_kind
from sam_audio_bench.run.remote import naming_origins
from sam_audio_bench.types import Status

__all__ = ["DistanceReport", "DistanceRow", "ReferenceSet", "find_embedder", "measure_distances"]

_MEASURES: Mapping[str, Callable[..., Distance]] = {"fad": fad, "kad": kad}
_SHOWN_DIGITS = 8  # of a digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSet:
    """What answers to a task are held against; its digest is that of the content of its sounds."""

    name: str  # "references", "mixtures", or a place
    sounds: int
    windows: int
    recordings: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DistanceRow(Distance):
    """A `Distance` of the answers of one separator to one task."""

    task: str
    separator: str
    oracle: bool
    id: str  # metric, embedding and reference set: what makes numbers comparable
    rank: int | None = None  # None: not ranked, `not_ranked` says why
    sounds: int  # answers that have embeddings
    asked: int  # answers that were looked at
    without: str  # statuses of the others, with their counts


@dataclass(frozen=True, kw_only=True)
class DistanceReport:
    """Rows in the order of tasks and metrics, the best of those that are ranked first."""

    model: EmbeddingIdentity  # of the embedding
    labels: Mapping[str, str]  # task -> the task with its version and split
    references: Mapping[str, ReferenceSet]  # of each task
    rows: tuple[DistanceRow, ...]
    notes: tuple[str, ...]  # what was left out, and why

    @property
    def model_label(self) -> str:
        """Name, abbreviated digest, layer and window of the embedding."""
        return _model_label(self.model)

    def to_json(self) -> dict[str, Any]:
        """As ``--format json`` prints it."""
        return {
            "model": dict(self.model),
            "references": {task: asdict(one) for task, one in self.references.items()},
            "rows": [asdict(row) for row in self.rows],
            "notes": list(self.notes),
        }

    def to_csv(self) -> str:
        """A line a row, every field."""
        stream = io.StringIO()
        writer = csv.DictWriter(stream, [one.name for one in fields(DistanceRow)], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: csv_cell(value) for name, value in asdict(row).items()} for row in self.rows)
        return stream.getvalue()


def find_embedder(spelling: str = BUILTIN_EMBEDDING, window: float | None = None, device: str = "auto") -> Embedder:
    """The embedding of a name, see `embedding_source`; raises UsageError and Precondition."""
    source = embedding_source(spelling)
    if source is not None:
        return TransformersEmbedder(source, window, device)
    from sam_audio_bench.judge.embedding import JudgeEmbedder

    return JudgeEmbedder(spelling, window, device)


@naming_origins()
def measure_distances(
    paths: Sequence[Path | str],
    *,
    metrics: Iterable[str] = tuple(DISTANCES),
    reference: str = OF_ITEMS[0],
    embedding: str = BUILTIN_EMBEDDING,
    window: float | None = None,
    device: str = "auto",
    draws: int = 200,
    seed: int = 0,
    progress: bool | None = None,
) -> DistanceReport:
    """Distances of the answers that run folders hold from a reference set.

    Args:
        paths: run folders, or folders that hold them; texts may be URLs.
        metrics: of `DISTANCES`.
        reference: "references", the clean targets of the items; "mixtures"; a folder of sounds; or runs of one
            separator.
        embedding: "saj-mini", the folder of a transformers model, or its id on the hub, ``owner/name@revision``.
        window: seconds of sound that a vector is of; None: 0.96 for saj-mini, 10 for others.
        device: where the network runs.
        draws: halves of the recordings that intervals rest on.
        seed: of the draws.
        progress: show a bar; None: where standard error is a terminal.

    Raises:
        UsageError: an unknown name, runs that cannot stand in one table, or fewer than two sounds to compare.
        Precondition: missing runs, audio, data or weights.
    """
    chosen = check_distances(metrics)
    kind = reference_kind(reference)
    embedder = find_embedder(embedding, window, device)
    lines, labels = lines_of(paths)
    with interruption.handled(), Progress(0, show=progress) as bar:
        work = _Work(embedder, EmbeddingCache(embedder.identity, bar.note), bar)
        rows: list[DistanceRow] = []
        references: dict[str, ReferenceSet] = {}
        for task, label in labels.items():
            own = [line for line in lines if line.task == task]
            answers, held, about = _embedded(own, label, kind, reference, work)
            references[task] = about
            there = work.gathered(held)
            for metric in chosen:
                measure = partial(_MEASURES[metric], reference=there, draws=draws, seed=seed)
                name = f"{metric}({_model_label(work.model)}; {about.name} {about.sha256[:_SHOWN_DIGITS]})"
                rows += _ranked([_row(line, answers[line.separator], measure, name, work) for line in own])
    flush_digests()
    return DistanceReport(
        model=work.model, labels=labels, references=references, rows=tuple(rows), notes=tuple(work.notes)
    )


class _Heard(NamedTuple):
    """A sound and its embeddings."""

    sound: Sound
    found: EmbeddingResult


def _embedded(
    lines: Sequence[Line], label: str, kind: str, reference: str, work: _Work
) -> tuple[dict[str, list[_Heard]], list[_Heard], ReferenceSet]:
    """Of one task: each separator's answers, and the reference set; raises UsageError for one of less than two."""
    given = [line.answers() for line in lines]
    items = common_items(lines, given, work.notes)
    sounds = reference_sounds(kind, reference, lines, items)
    work.expect(len(sounds) + len(items) * len(lines), f"{label}: embedding")
    held = work.embed(sounds)
    if kind == "references":  # a silent one is an absent target, whatever the journal says
        held = [one for one in held if one.found.status != Status.SILENT_ESTIMATE]
        items = [one.sound.name for one in held]
    answers = {
        line.separator: work.embed([own[item] for item in items]) for line, own in zip(lines, given, strict=True)
    }
    used = _with_vectors(held)
    if len(used) < 2:
        raise UsageError(
            f"expected at least two sounds that have embeddings in the reference set {reference}, found {len(used)} of "
            f"{len(held)}{': ' * (len(used) < len(held))}{_statuses(held)}"
        )
    about = ReferenceSet(
        name=reference,
        sounds=len(used),
        windows=sum(len(vectors) for _, vectors in used),
        recordings=len({sound.group for sound, _ in used}),
        sha256=joined(*sorted(sound.content for sound, _ in used)),
    )
    return answers, held, about


class _Work:
    """Embeds sounds, each once, and counts them."""

    def __init__(self, embedder: Embedder, cache: EmbeddingCache, bar: Progress) -> None:
        self._embedder, self._cache, self._bar = embedder, cache, bar
        self._done = self._total = 0
        self._follow = bar.following("embedding")
        self.notes: list[str] = []
        self.model = embedder.identity

    def expect(self, count: int, label: str) -> None:
        """So many sounds more."""
        self._total += count
        self._follow = self._bar.following(label)

    def embed(self, sounds: Sequence[Sound]) -> list[_Heard]:
        """In their order; one that cannot be read has the status of its error, and is noted."""
        found: list[_Heard] = []
        for sound in sounds:
            known = self._cache.get(sound.content)
            if known is None:
                known = self._computed(sound)
            found.append(_Heard(sound, known))
            self._done += 1
            self._follow(self._done, self._total)
        return found

    def _computed(self, sound: Sound) -> EmbeddingResult:
        try:
            known = self._embedder.embed(sound.read())
        except Precondition:
            raise
        except BenchError as error:
            self.notes.append(f"{sound.name}: {describe_error(error)}")
            return EmbeddingResult(None, Status(error.status))
        self._cache.put(sound.content, known)
        return known

    def gathered(self, heard: Sequence[_Heard]) -> Embeddings:
        """The vectors of those that have some."""
        used = _with_vectors(heard)
        return Embeddings(
            vectors=np.concatenate([vectors for _, vectors in used]),
            groups=[sound.group for sound, vectors in used for _ in vectors],
            model=self.model,
        )


def _with_vectors(heard: Iterable[_Heard]) -> list[tuple[Sound, NDArray[np.float32]]]:
    return [(sound, found.vectors) for sound, found in heard if found.vectors is not None]


def _row(
    line: Line, heard: Sequence[_Heard], measure: Callable[[Embeddings], Distance], name: str, work: _Work
) -> DistanceRow:
    used = _with_vectors(heard)
    recordings = len({sound.group for sound, _ in used})
    if recordings < 2:
        found = Distance(
            metric=name.partition("(")[0], windows=sum(len(vectors) for _, vectors in used),
            recordings=recordings,
            not_ranked=f"answers of {pluralize(recordings, 'recording')} have embeddings, of at least 2",
        )  # fmt: skip
    else:
        found = measure(work.gathered(heard))
    return DistanceRow(
        **asdict(found),
        task=line.task,
        separator=line.separator,
        oracle=any(folder.header.model.oracle for folder in line.folders),
        id=name,
        sounds=len(used),
        asked=len(heard),
        without=_statuses(heard),
    )


def _ranked(rows: Sequence[DistanceRow]) -> Iterator[DistanceRow]:
    """Rows of one metric: those that may be ranked, the nearest first, then the others in their order."""
    values = sorted(row.value for row in rows if row.value is not None and not row.not_ranked)
    fit = [
        replace(row, rank=1 + values.index(row.value)) for row in rows if row.value is not None and not row.not_ranked
    ]
    yield from sorted(fit, key=lambda row: row.rank or 0)
    yield from (row for row in rows if row.value is None or row.not_ranked)


def _statuses(heard: Sequence[_Heard]) -> str:
    """Why some have no embeddings; empty where all have."""
    counts = Counter(str(found.status) for _, found in heard if found.vectors is None)
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


def _model_label(model: EmbeddingIdentity) -> str:
    name, weights = str(model["model"]).rpartition("/")[2], str(model["weights_sha256"])[:_SHOWN_DIGITS]
    return f"{name} {weights}, {model['layer']}, windows of {model['window_seconds']:g} s"
