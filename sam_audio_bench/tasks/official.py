"""The test split: SAM Audio-Bench and its excerpts of MUSDB18-HQ, from metadata and the user's recordings.

An item is called ``<task>-<row>``, by its row in the metadata, from 0; its group is the recording. An item whose
recording is missing or damaged fails when it is loaded: since videos vanish from the web, 41 of 50 items are normal.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch

from sam_audio_bench.decoding import READER_VERSION
from sam_audio_bench.digests import combined_digest, file_digest
from sam_audio_bench.errors import MediaError, Precondition, UsageError
from sam_audio_bench.files import atomic_write, dump_json
from sam_audio_bench.metrics.functional.activity import merge_spans
from sam_audio_bench.tasks.annotations import (
    MUSDB,
    Annotation,
    MetadataTable,
    find_table,
    read_bench_attributes,
    read_bench_table,
    read_masks,
    read_musdb_table,
)
from sam_audio_bench.tasks.attributes import Attribute
from sam_audio_bench.tasks.catalogue import TASKS, Task
from sam_audio_bench.tasks.data import TaskData
from sam_audio_bench.tasks.folders import cache_folder
from sam_audio_bench.tasks.lock import LockFile
from sam_audio_bench.tasks.media import STEMS, BenchMedia, Media, StemMedia
from sam_audio_bench.tasks.vocabulary import find_audible_texts, find_paraphrases, read_sound_metadata
from sam_audio_bench.types import Audio, Item, Prompt, Query, Span
from sam_audio_bench.video import read_mask

__all__ = ["OfficialTask", "clamp_spans", "load_official", "mask_file", "read_official"]

_SPEECH = ("speech", "speaker")
_OFFERS = {"text": {"text"}, "text+span": {"text", "spans"}, "span": {"spans"}, "visual": {"video"}}
_extracting = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class OfficialTask:
    """A task of the test split: its rows by item id, and where their recordings are."""

    task: Task
    subset: str  # "paper" or "full"
    table: MetadataTable
    digest: str  # digest of all rows of the table
    rows: Mapping[str, Annotation]
    media: Media

    @property
    def visual(self) -> bool:
        """Whether the task needs video."""
        return self.task.prompt == "visual"

    @property
    def groups(self) -> dict[str, str]:
        """Item -> the recording that it was cut from."""
        return {name: f"{row.source}/{row.recording}" for name, row in self.rows.items()}

    def missing(self) -> list[str]:
        """Returns the items without a recording, judged by file names only."""
        return [name for name, row in self.rows.items() if not self.media.locate_files(row, visual=self.visual)]


def read_official(name: str, subset: str = "paper") -> OfficialTask:
    """Reads the metadata of a task of the catalogue; recordings are not looked for.

    Raises:
        Precondition: the metadata are not on this machine and cannot be downloaded.
        UsageError: they are not those of the benchmark.
    """
    task = TASKS[name]
    table = find_table(task.repository)
    media: Media
    if task.repository == MUSDB:
        (rows, digest), media = read_musdb_table(table), StemMedia.from_data_folder()
    else:
        (every, digest), media = read_bench_table(table), BenchMedia.from_data_folder()
        members = task.subset if subset == "paper" else task.full_subset
        rows = tuple(row for row in every if members in row.sets)
    if "spans" in _OFFERS[task.prompt]:
        for row in rows:
            if not row.spans:
                raise UsageError(f"expected spans in row {row.row + 1} of {table.files[0]}, found none")
    return OfficialTask(
        task=task,
        subset=subset,
        table=table,
        digest=digest,
        rows={f"{name}-{row.row:04d}": row for row in rows},
        media=media,
    )


def load_official(name: str, subset: str = "paper") -> TaskData:
    """Loads the test split of a task.

    Raises:
        Precondition, UsageError: as `read_official`; or no item has a recording, or the archive is unverified.
    """
    found = read_official(name, subset)
    found.media.check_verified()
    missing = found.missing()
    total = len(found.rows)
    if len(missing) == total:
        first = next(iter(found.rows.values()))
        raise Precondition(
            f"expected recordings of {name}, such as {found.media.expected_paths(first)[0]}, found none; `sabench data "
            f"missing {name} --format csv` lists what to get"
        )
    notes = [*_pin(found)]
    if missing:
        notes.append(f"recordings of {len(missing)} of {total} items are missing: `sabench data missing {name}`")
    if past := sum(_too_long(row) for row in found.rows.values() if "spans" in _OFFERS[found.task.prompt]):
        notes.append(f"spans of {past} of {total} items end after their clip, and are clamped")
    return replace(_data(found), notes=tuple(notes), missing=frozenset(missing))


def _pin(found: OfficialTask) -> Iterator[str]:
    """Records the commit of metadata from the hub at their first use, so that later downloads use the same commit."""
    table = found.table
    lock = LockFile.read()
    if table.commit is None or lock.pinned_commit(table.repository) is not None:
        return
    lock.metadata[table.repository] = {"commit": table.commit, "sha256": found.digest}
    try:
        lock.write()
    except Precondition as error:
        yield f"the metadata of {table.repository} are those of commit {table.commit}, which is not pinned: {error}"
    else:
        yield f"the metadata of {table.repository} are those of commit {table.commit}: pinned in {lock.path}"


def _data(found: OfficialTask) -> TaskData:
    task, offers = found.task, set(_OFFERS[found.task.prompt])
    kind = task.id.partition("-")[0]
    if kind in _SPEECH:
        offers.add("speech")
    if isinstance(found.media, StemMedia) and all(_stem(row) for row in found.rows.values()):
        offers |= {"reference", "residual_reference"}
    has_text = "text" in offers
    described = read_sound_metadata(found.table) if has_text and isinstance(found.media, BenchMedia) else ()
    return TaskData(
        task=task.id,
        version=task.version,
        split="test",
        revision=found.digest,
        groups=found.groups,
        provides=frozenset(offers),
        load=partial(_load, found),
        content=partial(_content, found),
        subset=found.subset,
        texts={name: row.text for name, row in found.rows.items()} if has_text else {},
        paraphrases=find_paraphrases(found.rows, described),
        heard=find_audible_texts(found.rows, described),
        attributes=_attributes(found),
    )


def _attributes(found: OfficialTask) -> dict[str, dict[str, Attribute]]:
    """Returns the attributes of each item: those of the metadata, and the share of time that the spans cover."""
    if isinstance(found.media, StemMedia):
        return {name: {"stem": stem} for name, row in found.rows.items() if (stem := _stem(row))}
    known = read_bench_attributes(found.table)
    return {name: {**known.get(row.row, {}), **_target_share(row)} for name, row in found.rows.items()}


def _target_share(row: Annotation) -> dict[str, Attribute]:
    """Returns the share of a clip that its spans cover, whether or not the task's prompts have spans."""
    seconds = row.end - row.start
    parts = [(max(0.0, start), min(end, seconds)) for start, end in row.spans if end > 0 and start < seconds]
    return {"target_share": round(sum(end - start for start, end in merge_spans(parts)) / seconds, 4)} if parts else {}


def _content(found: OfficialTask, identifier: str) -> str:
    """Returns a digest of a row and its files; the masks of a task are part of its table."""
    row = found.rows[identifier]
    files = [file_digest(path) for path in found.media.locate_files(row, visual=found.visual)]
    return combined_digest(
        READER_VERSION, found.task.version, dump_json(asdict(row)), found.digest if found.visual else "", *files
    )


def _load(found: OfficialTask, identifier: str) -> Item:
    row = found.rows[identifier]
    item = partial(Item, id=identifier, group=f"{row.source}/{row.recording}")
    if isinstance(found.media, StemMedia):
        mixture = found.media.read_sound(row)
        target, residual = _references(found.media, row)
        return item(
            query=Query(mixture=mixture, prompt=Prompt(text=row.text)), reference=target, residual_reference=residual
        )
    assert isinstance(found.media, BenchMedia)
    mixture, noted = found.media.read_sound_remarked(row, visual=found.visual)
    offers = _OFFERS[found.task.prompt]
    spans, remarks = clamp_spans(row.spans, mixture.seconds) if "spans" in offers else ((), ())
    video = str(found.media.extract_video(row)) if found.visual else None
    prompt = Prompt(
        text=row.text if "text" in offers else None,
        spans=spans,
        video=video,
        mask=str(mask_file(found, row)) if found.visual else None,
    )
    return item(query=Query(mixture=mixture, prompt=prompt), remarks=(*noted, *remarks))


def clamp_spans(spans: tuple[tuple[float, float], ...], seconds: float) -> tuple[tuple[Span, ...], tuple[str, ...]]:
    """Clamps spans to a clip of ``seconds``; returns them as prompt spans, with a remark per change.

    >>> clamp_spans(((0.0, 1.5), (8.0, 10.0078)), 10.0)
    ((('+', 0.0, 1.5), ('+', 8.0, 10.0)), ('span 8:10.0078 clamped to 8:10',))

    Raises:
        MediaError: a span is outside the clip.
    """
    kept, remarks = [], []
    for start, end in spans:
        first, last = max(start, 0.0), min(end, seconds)
        if first >= last:
            raise MediaError(f"expected spans within {seconds:.3f} s of sound, found {start:g}:{end:g}")
        if (first, last) != (start, end):
            remarks.append(f"span {start:g}:{end:g} clamped to {first:g}:{last:g}")
        kept.append(("+", first, last))
    return tuple(kept), tuple(remarks)


def _too_long(row: Annotation) -> bool:
    return any(start < 0 or end > row.end - row.start for start, end in row.spans)


def _stem(row: Annotation) -> str | None:
    """Returns the stem that a description of MUSDB18-HQ names, or None."""
    name = row.text.casefold()
    return name if name in STEMS else None


def _references(media: StemMedia, row: Annotation) -> tuple[Audio | None, Audio | None]:
    """Returns the target stem and the sum of the other stems; None for both if the text names no stem."""
    stem = _stem(row)
    if stem is None:
        return None, None
    parts = {part: media.read_sound(row, part) for part in STEMS}
    target = parts.pop(stem)
    others = [part.samples for part in parts.values()]
    if any(part.shape != target.samples.shape for part in others):
        raise MediaError(f"expected stems of {row.recording} that are equally long", status="length_mismatch")
    return target, Audio(torch.stack(others).sum(dim=0), target.rate)


def mask_file(found: OfficialTask, row: Annotation) -> Path:
    """Returns the path of a row's mask in the cache, which is filled for the whole task at once.

    Raises:
        MediaError: the mask is missing, cannot be read, or is zero everywhere.
    """
    folder = cache_folder() / "masks" / found.table.key
    path = folder / f"{row.row:04d}.npz"
    with _extracting:
        if not path.is_file():
            missing = {other.row for other in found.rows.values() if not _is_cached(folder, other)}
            for number, content in read_masks(found.table, missing):
                with atomic_write(folder / f"{number:04d}.npz") as temporary:
                    temporary.write_bytes(content)
    if not path.is_file():
        raise MediaError(f"expected a mask in row {row.row + 1} of {found.table.files[0]}, found none")
    _check_mask(path)
    return path


def _is_cached(folder: Path, row: Annotation) -> bool:
    return (folder / f"{row.row:04d}.npz").is_file()


@lru_cache(maxsize=1024)  # each mask is decompressed once
def _check_mask(path: Path) -> None:
    """Raises MediaError if a mask cannot be read, or is zero everywhere."""
    if not bool(read_mask(path).any()):
        raise MediaError(f"expected an object in the mask {path}, found one that is zero everywhere")
