"""Distances between the distributions of estimates and of a reference set: one number per separator and task.

Separators are compared on the items that all of them have separated, against one reference set. An item whose target is
absent according to a journal, or whose reference is silent, is left out on both sides.
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

from sam_audio_bench.digests import combined_digest, flush_digests
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
from sam_audio_bench.run.distance_reference import ITEM_REFERENCES, reference_kind
from sam_audio_bench.run.distance_sounds import (
    SeparatorRuns,
    Sound,
    find_common_items,
    group_runs,
    list_reference_sounds,
)
from sam_audio_bench.run.embedding_cache import EmbeddingCache
from sam_audio_bench.run.progress import Progress
from sam_audio_bench.run.remote import show_urls_in_errors
from sam_audio_bench.types import Status

__all__ = ["DistanceReport", "DistanceRow", "ReferenceSet", "load_embedder", "measure_distances"]

_MEASURES: Mapping[str, Callable[..., Distance]] = {"fad": fad, "kad": kad}
_SHOWN_DIGITS = 8  # of a digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSet:
    """The sounds that estimates of a task are compared with; ``sha256`` is a digest of their content."""

    name: str  # "references", "mixtures", or a path or URL
    sounds: int
    windows: int
    recordings: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DistanceRow(Distance):
    """A `Distance` of the estimates of one separator on one task."""

    task: str
    separator: str
    oracle: bool
    id: str  # metric, embedding and reference set: rows with equal ids are comparable
    rank: int | None = None  # None: not ranked, see `not_ranked`
    sounds: int  # estimates that have embeddings
    asked: int  # estimates that were read
    without: str  # statuses of those without embeddings, with counts


@dataclass(frozen=True, kw_only=True)
class DistanceReport:
    """Rows by task and metric; within these, ranked rows first, the best at the top."""

    model: EmbeddingIdentity  # of the embedding
    labels: Mapping[str, str]  # task -> name with version and split
    references: Mapping[str, ReferenceSet]  # by task
    rows: tuple[DistanceRow, ...]
    notes: tuple[str, ...]  # what was left out, and why

    @property
    def model_label(self) -> str:
        """Name, abbreviated digest, layer and window of the embedding."""
        return _model_label(self.model)

    def to_json(self) -> dict[str, Any]:
        """Returns the content of ``--format json``."""
        return {
            "model": dict(self.model),
            "references": {task: asdict(one) for task, one in self.references.items()},
            "rows": [asdict(row) for row in self.rows],
            "notes": list(self.notes),
        }

    def to_csv(self) -> str:
        """Returns one line per row, with every field."""
        stream = io.StringIO()
        writer = csv.DictWriter(stream, [one.name for one in fields(DistanceRow)], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: csv_cell(value) for name, value in asdict(row).items()} for row in self.rows)
        return stream.getvalue()


def load_embedder(spelling: str = BUILTIN_EMBEDDING, window: float | None = None, device: str = "auto") -> Embedder:
    """Returns the embedder for a name, see `embedding_source`; raises UsageError and Precondition."""
    source = embedding_source(spelling)
    if source is not None:
        return TransformersEmbedder(source, window, device)
    from sam_audio_bench.judge.embedding import JudgeEmbedder

    return JudgeEmbedder(spelling, window, device)


@show_urls_in_errors()
def measure_distances(
    paths: Sequence[Path | str],
    *,
    metrics: Iterable[str] = tuple(DISTANCES),
    reference: str = ITEM_REFERENCES[0],
    embedding: str = BUILTIN_EMBEDDING,
    window: float | None = None,
    device: str = "auto",
    draws: int = 200,
    seed: int = 0,
    progress: bool | None = None,
) -> DistanceReport:
    """Computes distances between the estimates in run folders and a reference set.

    Args:
        paths: run folders, or folders that hold them; strings may be URLs.
        metrics: ids from `DISTANCES`.
        reference: "references", the clean targets of the items; "mixtures"; a folder of sounds; or runs of one
            separator.
        embedding: "saj-mini", the folder of a transformers model, or its id on the hub, ``owner/name@revision``.
        window: seconds of sound per embedding vector; None: 0.96 for saj-mini, 10 for others.
        device: device of the network.
        draws: number of random halves of the recordings for intervals.
        seed: seed of the draws.
        progress: show a bar; None: if standard error is a terminal.

    Raises:
        UsageError: an unknown name, runs that cannot share a table, or fewer than two sounds to compare.
        Precondition: missing runs, audio, data or weights.
    """
    chosen = check_distances(metrics)
    kind = reference_kind(reference)
    embedder = load_embedder(embedding, window, device)
    lines, labels = group_runs(paths)
    with interruption.handle_signals(), Progress(0, show=progress) as bar:
        work = _EmbeddingWork(embedder, EmbeddingCache(embedder.identity, bar.note), bar)
        rows: list[DistanceRow] = []
        references: dict[str, ReferenceSet] = {}
        for task, label in labels.items():
            own = [line for line in lines if line.task == task]
            estimates, reference_set, about = _embed_task(own, label, kind, reference, work)
            references[task] = about
            reference_vectors = work.stack_vectors(reference_set)
            for metric in chosen:
                measure = partial(_MEASURES[metric], reference=reference_vectors, draws=draws, seed=seed)
                name = f"{metric}({_model_label(work.model)}; {about.name} {about.sha256[:_SHOWN_DIGITS]})"
                rows += _rank_rows([_make_row(line, estimates[line.separator], measure, name, work) for line in own])
    flush_digests()
    return DistanceReport(
        model=work.model, labels=labels, references=references, rows=tuple(rows), notes=tuple(work.notes)
    )


class _EmbeddedSound(NamedTuple):
    """A sound and its embeddings."""

    sound: Sound
    found: EmbeddingResult


def _embed_task(
    lines: Sequence[SeparatorRuns], label: str, kind: str, reference: str, work: _EmbeddingWork
) -> tuple[dict[str, list[_EmbeddedSound]], list[_EmbeddedSound], ReferenceSet]:
    """Embeds each separator's estimates of a task, and the reference set.

    Raises:
        UsageError: the reference set has fewer than two sounds with embeddings.
    """
    given = [line.estimates() for line in lines]
    items = find_common_items(lines, given, work.notes)
    sounds = list_reference_sounds(kind, reference, lines, items)
    work.expect(len(sounds) + len(items) * len(lines), f"{label}: embedding")
    embedded = work.embed(sounds)
    if kind == "references":  # a silent reference is an absent target, whatever the journal records
        embedded = [one for one in embedded if one.found.status != Status.SILENT_ESTIMATE]
        items = [one.sound.name for one in embedded]
    estimates = {
        line.separator: work.embed([own[item] for item in items]) for line, own in zip(lines, given, strict=True)
    }
    used = _select_embedded(embedded)
    if len(used) < 2:
        raise UsageError(
            f"expected at least two sounds that have embeddings in the reference set {reference}, found {len(used)} of "
            f"{len(embedded)}{': ' * (len(used) < len(embedded))}{_count_statuses(embedded)}"
        )
    about = ReferenceSet(
        name=reference,
        sounds=len(used),
        windows=sum(len(vectors) for _, vectors in used),
        recordings=len({sound.group for sound, _ in used}),
        sha256=combined_digest(*sorted(sound.content for sound, _ in used)),
    )
    return estimates, embedded, about


class _EmbeddingWork:
    """Embeds sounds, each once, and reports progress."""

    def __init__(self, embedder: Embedder, cache: EmbeddingCache, bar: Progress) -> None:
        self._embedder, self._cache, self._bar = embedder, cache, bar
        self._done = self._total = 0
        self._report = bar.step_callback("embedding")
        self.notes: list[str] = []
        self.model = embedder.identity

    def expect(self, count: int, label: str) -> None:
        """Announces that many more sounds."""
        self._total += count
        self._report = self._bar.step_callback(label)

    def embed(self, sounds: Sequence[Sound]) -> list[_EmbeddedSound]:
        """Returns sounds with embeddings, in order; if one cannot be read, the status of its error, with a note."""
        found: list[_EmbeddedSound] = []
        for sound in sounds:
            known = self._cache.get(sound.content)
            if known is None:
                known = self._compute(sound)
            found.append(_EmbeddedSound(sound, known))
            self._done += 1
            self._report(self._done, self._total)
        return found

    def _compute(self, sound: Sound) -> EmbeddingResult:
        try:
            known = self._embedder.embed(sound.read())
        except Precondition:
            raise
        except BenchError as error:
            self.notes.append(f"{sound.name}: {describe_error(error)}")
            return EmbeddingResult(None, Status(error.status))
        self._cache.put(sound.content, known)
        return known

    def stack_vectors(self, sounds: Sequence[_EmbeddedSound]) -> Embeddings:
        """Returns the vectors of all sounds that have embeddings."""
        used = _select_embedded(sounds)
        return Embeddings(
            vectors=np.concatenate([vectors for _, vectors in used]),
            groups=[sound.group for sound, vectors in used for _ in vectors],
            model=self.model,
        )


def _select_embedded(sounds: Iterable[_EmbeddedSound]) -> list[tuple[Sound, NDArray[np.float32]]]:
    return [(sound, found.vectors) for sound, found in sounds if found.vectors is not None]


def _make_row(
    line: SeparatorRuns,
    sounds: Sequence[_EmbeddedSound],
    measure: Callable[[Embeddings], Distance],
    name: str,
    work: _EmbeddingWork,
) -> DistanceRow:
    used = _select_embedded(sounds)
    recordings = len({sound.group for sound, _ in used})
    if recordings < 2:
        found = Distance(
            metric=name.partition("(")[0], windows=sum(len(vectors) for _, vectors in used),
            recordings=recordings,
            not_ranked=f"estimates of {pluralize(recordings, 'recording')} have embeddings, of at least 2",
        )  # fmt: skip
    else:
        found = measure(work.stack_vectors(sounds))
    return DistanceRow(
        **asdict(found),
        task=line.task,
        separator=line.separator,
        oracle=any(folder.header.model.oracle for folder in line.folders),
        id=name,
        sounds=len(used),
        asked=len(sounds),
        without=_count_statuses(sounds),
    )


def _rank_rows(rows: Sequence[DistanceRow]) -> Iterator[DistanceRow]:
    """Yields the rows of one metric: ranked rows by increasing distance, then the others in their order."""
    values = sorted(row.value for row in rows if row.value is not None and not row.not_ranked)
    ranked = [
        replace(row, rank=1 + values.index(row.value)) for row in rows if row.value is not None and not row.not_ranked
    ]
    yield from sorted(ranked, key=lambda row: row.rank or 0)
    yield from (row for row in rows if row.value is None or row.not_ranked)


def _count_statuses(sounds: Sequence[_EmbeddedSound]) -> str:
    """Returns the statuses of sounds without embeddings, with counts; "" if all have some."""
    counts = Counter(str(found.status) for _, found in sounds if found.vectors is None)
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


def _model_label(model: EmbeddingIdentity) -> str:
    name, weights = str(model["model"]).rpartition("/")[2], str(model["weights_sha256"])[:_SHOWN_DIGITS]
    return f"{name} {weights}, {model['layer']}, windows of {model['window_seconds']:g} s"
