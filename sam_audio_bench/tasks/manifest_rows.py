"""The questions of the user's own data: one row each, how rows are checked, and how they are loaded as items.

Rows come from tables (`manifest_tables`) and layouts (`adapters`); files lie in one folder, unless others are allowed.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path, PurePath

import torch

from sam_audio_bench.blocks import apply_blockwise
from sam_audio_bench.decoding import READER_VERSION, declared_size
from sam_audio_bench.digests import combined_digest, file_digest
from sam_audio_bench.errors import MediaError, UsageError
from sam_audio_bench.files import dump_json, escape_surrogates, find_file, sha256
from sam_audio_bench.metrics.functional.activity import active_spans
from sam_audio_bench.tabular import has_lone_surrogates
from sam_audio_bench.tasks.attributes import Attributes, typed_columns
from sam_audio_bench.tasks.data import TaskData
from sam_audio_bench.tasks.folders import LinkCheck
from sam_audio_bench.tasks.manifest_sounds import (
    Sound,
    SoundReader,
    describe_resampling,
    describe_sum_error,
    match_to_mixture,
    sound_name,
    sum_sounds,
)
from sam_audio_bench.types import Audio, Item, Prompt, Query, Span

__all__ = ["ManifestProblem", "ManifestRow", "Questions", "collect_questions", "questions_to_task"]

_SHOWN = 200  # characters of a path in a message
_LONGEST_NAME, _LONGEST_PATH = 255, 4096  # bytes
_PLAIN = re.compile(r"[^/.\\:\0][^\\:\0]{,62}")  # a short relative path, in any encoding
_PEAK = 0.9  # of a mixture that a level ratio would drive beyond full scale


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One question, before its files are read."""

    where: int | str  # number of the row in its table, the header being row 1, or name of an example
    mixture: Sound | None = None  # None: the sum of target and residual
    text: str = ""
    spans: tuple[Span, ...] = ()
    video: str = ""
    mask: str = ""
    target: tuple[Sound, ...] = ()  # the target is their sum
    residual: tuple[Sound, ...] = ()  # the residual is their sum; none: mixture minus target
    group: str = ""
    id: str = ""
    paraphrases: tuple[str, ...] = ()
    target_to_rest_db: float | None = None  # scales the residual if the mixture is the sum
    spans_of_target: bool = False  # the prompt's spans are those in which the target is active
    all_sources: bool = False  # the residual's files are all other sources, for metrics that need each of them
    part: tuple[float, float] | None = None  # start and end of the excerpt in seconds; None: whole files
    attributes: Mapping[str, object] = field(default_factory=dict)  # cells of additional columns; in no digest

    @property
    def place(self) -> str:
        """How a message calls the row."""
        return f"row {self.where}" if isinstance(self.where, int) else self.where

    @property
    def files(self) -> list[tuple[str, Sound]]:
        """All files, each with the column that names it."""
        single = [("mixture", self.mixture), ("video", self.video), ("mask", self.mask)]
        several = [("target", self.target), ("residual", self.residual)]
        return [(name, sound) for name, sound in single if sound] + [
            (name, sound) for name, sounds in several for sound in sounds
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestProblem:
    """A problem of a row: an error, or a warning about something that will be worked around."""

    where: int | str
    what: str  # one sentence
    column: str = ""
    item: str = ""
    severity: str = "error"

    @property
    def place(self) -> str:
        """How a message calls the row."""
        return f"row {self.where}" if isinstance(self.where, int) else self.where


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The valid rows of a table or layout by item id, and the problems of all rows."""

    task: str
    path: Path  # as the user named it
    root: Path  # folder that the rows' files are relative to
    rows: Mapping[str, ManifestRow]
    problems: tuple[ManifestProblem, ...]
    revision: str
    voices: bool  # whether the targets are, or may be, speech
    allow_outside: bool
    attributes: Attributes


def collect_questions(
    task: str,
    path: Path,
    found: Iterable[ManifestRow | ManifestProblem],
    *,
    root: Path | None = None,
    revision: str | None = None,
    voices: bool = False,
    allow_outside: bool = False,
) -> Questions:
    """Checks rows, gives them ids, and collects their problems; of files, only links are checked.

    Args:
        task: name of the task.
        path: the path that the user named.
        found: rows and problems, in order.
        root: folder of the files; None: ``path`` itself.
        revision: revision of the data; None: a digest of the rows.
        voices: whether metrics of speech are allowed.
        allow_outside: accept absolute paths, ``..`` and links that lead out of the folder.

    Raises:
        UsageError: the path, or that of a folder above it, is not UTF-8, so that no record can name it.
    """
    if has_lone_surrogates(str(path.resolve())):
        raise UsageError(f"expected a path in UTF-8, found {str(path.resolve())!r}: rename it")
    inside = LinkCheck((path if root is None else root).resolve())
    rows: list[ManifestRow] = []
    problems: list[ManifestProblem] = []
    for entry in found:
        fault = entry if isinstance(entry, ManifestProblem) else _fault(entry, None if allow_outside else inside)
        if fault is not None:
            problems.append(fault)
        elif isinstance(entry, ManifestRow):
            rows.append(entry)
    by_id, repeated = _by_id(rows)
    attributes, refused = typed_columns({item: row.attributes for item, row in by_id.items() if row.attributes})
    problems += [
        ManifestProblem(
            where=str(path), what=f"column {name!r} is no attribute: {why}", column=name, severity="warning"
        )
        for name, why in refused.items()
    ]
    if not by_id and not any(problem.severity == "error" for problem in problems):
        problems.append(ManifestProblem(where=str(path), what="expected at least one question, found none"))
    return Questions(
        task=escape_surrogates(task),
        path=path,
        root=path if root is None else root,
        rows=by_id,
        problems=(*problems, *repeated),
        revision=sha256(dump_json([_plain(row) for row in by_id.values()]).encode()) if revision is None else revision,
        voices=voices,
        allow_outside=allow_outside,
        attributes=attributes,
    )


def _plain(row: ManifestRow) -> dict[str, object]:
    return {name: value for name, value in _non_empty(asdict(row)).items() if name != "attributes"}


def _non_empty(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value not in (None, "", (), False)}


def _fault(row: ManifestRow, inside: LinkCheck | None) -> ManifestProblem | None:
    """Returns what makes a row invalid, or None; ``inside`` is None if files may lie anywhere."""
    files = row.files
    texts = (str(row.where), row.id, row.group, row.text, *(sound_name(sound) for _, sound in files))
    if bad := next(filter(has_lone_surrogates, texts), None):
        where = repr(row.where)[1:-1] if isinstance(row.where, str) else row.where
        what = f"expected names in UTF-8, found {bad!r}: rename the file or folder"
        return ManifestProblem(where=where, what=what)
    fault = partial(ManifestProblem, where=row.where, item=row.id)
    if row.mixture is None and not (row.target and row.residual):
        return fault(what="expected the path of a mixture, found an empty cell", column="mixture")
    if not (row.text or row.spans or row.video or row.spans_of_target):
        return fault(what="expected a prompt, found neither a text nor a span nor a video", column="text")
    if row.mask and not row.video:
        return fault(what=f"expected the video that the mask {row.mask} belongs to, found none", column="video")
    what = "a path" if inside is None else "a file inside the folder of the data, given relative to it"
    remedy = "" if inside is None else ": move it there, or use --allow-outside"
    for column, sound in files:
        if not isinstance(sound, str):
            continue
        if not _allowed(sound, inside is None):
            return fault(what=f"expected {what}, found {repr(sound)[:_SHOWN]}{remedy}", column=column)
        if inside is not None and (place := inside.resolve_outside(sound)):
            linked = f"{sound!r}, which is linked to {str(place)!r}"
            return fault(what=f"expected {what}, found {linked}{remedy}", column=column)
    return None


def _allowed(name: str, allow_outside: bool) -> bool:
    if _PLAIN.fullmatch(name) and ".." not in name:  # true of nearly all rows of large tables
        return True
    path = Path(name)
    if not path.name or "\0" in name or len(name) > _LONGEST_PATH or any(map(_too_long, path.parts)):
        return False
    return allow_outside or not (path.is_absolute() or path.drive or ".." in path.parts)


def _too_long(part: str) -> bool:
    """Returns whether a name is too long for every file system."""
    return len(part.encode()) > _LONGEST_NAME


def _by_id(rows: Sequence[ManifestRow]) -> tuple[dict[str, ManifestRow], list[ManifestProblem]]:
    """Gives rows ids and groups; returns them by id, and a problem for each row whose id is taken."""
    uses = Counter(_stem(row) for row in rows if not row.id)
    found: dict[str, ManifestRow] = {}
    repeated = []
    for row in rows:
        identifier = escape_surrogates(row.id or _id_from_sound(row, uses))
        if identifier in found:
            known = found[identifier].place
            what = f"expected an id of its own, found {identifier!r}, which {known} has: name them in a column 'id'"
            repeated.append(ManifestProblem(where=row.where, what=what, column="id", item=identifier))
            continue
        group = escape_surrogates(row.group or PurePath(sound_name(_first(row))).as_posix())
        text = escape_surrogates(row.text)
        if (row.id, row.group, row.text) != (identifier, group, text):
            row = replace(row, id=identifier, group=group, text=text)
        found[identifier] = row
    return found, repeated


def _id_from_sound(row: ManifestRow, uses: Mapping[str, int]) -> str:
    stem = _stem(row)
    return stem if uses[stem] == 1 else f"{stem}-{_slug(row)}"


def _first(row: ManifestRow) -> Sound:
    return row.mixture if row.mixture is not None else row.target[0]


def _stem(row: ManifestRow) -> str:
    return PurePath(sound_name(_first(row))).with_suffix("").as_posix()


def _slug(row: ManifestRow) -> str:
    spans = " ".join(f"{sign}{start:g}:{end:g}" for sign, start, end in row.spans)
    return re.sub(r"[^\w.]+", "-", row.text or spans or PurePath(row.video).stem).strip("-")


def questions_to_task(questions: Questions) -> TaskData:
    """Makes a task of questions; the first error raises UsageError, warnings become notes."""
    errors = [problem for problem in questions.problems if problem.severity == "error"]
    if errors:
        first = errors[0]
        more = len(errors) - 1
        hint = f" ({more} more: `sabench data validate`)" if more else ""
        raise UsageError(f"{first.place} of {questions.path}: {first.what}{hint}")
    rows, root = questions.rows, questions.root.absolute()  # a separator may change the working directory
    offers: dict[str, list[object]] = {
        "reference": [row.target for row in rows.values()],
        "residual_reference": [row.residual or row.target for row in rows.values()],
        "residual_sources": [row.all_sources for row in rows.values()],
        "text": [row.text for row in rows.values()],
        "spans": [row.spans or row.spans_of_target for row in rows.values()],
        "video": [row.video for row in rows.values()],
        "speech": [questions.voices],
    }
    return TaskData(
        task=questions.task,
        version="1",
        split="file",
        revision=questions.revision,
        groups={identifier: row.group for identifier, row in rows.items()},
        provides=frozenset(name for name, values in offers.items() if all(values)),
        load=partial(_load, root, rows),
        content=partial(_content, root, rows),
        size=partial(_size, root, rows),
        place=str(questions.path.resolve()),
        texts={identifier: row.text for identifier, row in rows.items() if row.text},
        paraphrases={identifier: row.paraphrases for identifier, row in rows.items() if row.paraphrases},
        attributes=questions.attributes,
        notes=tuple(problem.what for problem in questions.problems),
        allow_outside=questions.allow_outside,
    )


def _content(root: Path, rows: Mapping[str, ManifestRow], identifier: str) -> str:
    """Returns a digest of a question and the content of its files; a file that cannot be read counts as missing."""
    row = rows[identifier]
    plain = dump_json(_non_empty({name: getattr(row, name) for name in _ITEM_FIELDS}))
    files = (f"{column} {_file_content(root, sound)}" for column, sound in row.files)
    return combined_digest(READER_VERSION, plain, *files)


_ITEM_FIELDS = ("text", "spans", "group", "id", "target_to_rest_db", "spans_of_target", "all_sources", "part")
"""Fields that an item depends on, beside its files."""


def _size(root: Path, rows: Mapping[str, ManifestRow], identifier: str) -> int | None:
    """Returns samples x channels that a mixture's file states; None if it is short, in a table, or unreadable."""
    sound = _first(rows[identifier])
    return declared_size(find_file(root / sound)) if isinstance(sound, str) else None


def _file_content(root: Path, sound: Sound) -> str:
    if not isinstance(sound, str):
        return sha256(sound.read())
    with suppress(MediaError):
        return file_digest(os.path.join(str(root), sound))  # noqa: PTH118 - called for each file of 100,000 rows
    with suppress(MediaError):
        return file_digest(find_file(root / sound))
    return "missing"


def _load(root: Path, rows: Mapping[str, ManifestRow], identifier: str) -> Item:
    row = rows[identifier]
    read = SoundReader(root, row.part)
    mixture, target, residual, sources = _sounds(read, row)
    spans = row.spans
    if row.spans_of_target and target is not None:
        spans = tuple(("+", start, end) for start, end in active_spans(target.samples, target.rate))
        if not spans:
            raise MediaError(
                f"expected a sound in {sound_name(row.target[0])}, whose spans are the prompt, found silence"
            )
    prompt = Prompt(
        text=row.text or None,
        spans=spans,
        video=str(find_file(root / row.video)) if row.video else None,
        mask=str(find_file(root / row.mask)) if row.mask else None,
    )
    return Item(
        id=identifier,
        group=row.group,
        query=Query(mixture=mixture, prompt=prompt),
        reference=target,
        residual_reference=residual,
        residual_sources=sources,
        remarks=tuple(read.remarks),
    )


def _sounds(read: SoundReader, row: ManifestRow) -> tuple[Audio, Audio | None, Audio | None, tuple[Audio, ...]]:
    """Reads mixture, target and residual, and the residual's sources if all are known."""
    if row.mixture is None:
        return *_mix(read, row), ()
    mixture = read(row.mixture)
    target = _read_sum(read, mixture, row.mixture, row.target) if row.target else None
    sources = _read_parts(read, mixture, row.mixture, row.residual)
    residual = sum_sounds(sources) if sources else None
    if target is not None and residual is None:
        residual = Audio(apply_blockwise(torch.sub, mixture.samples, target.samples), mixture.rate)
    elif target is not None and residual is not None and (remark := describe_sum_error(mixture, target, residual)):
        read.remarks.append(remark)
    return mixture, target, residual, tuple(sources) if row.all_sources else ()


def _mix(read: SoundReader, row: ManifestRow) -> tuple[Audio, Audio, Audio]:
    """Adds target and residual; a level ratio scales the residual, and both if the sum exceeds full scale."""
    first = row.target[0]
    like = read(first)
    target = _read_sum(read, like, first, row.target).samples.double()
    residual = _read_sum(read, like, first, row.residual).samples.double()
    if row.target_to_rest_db is not None:
        power, other = float(target.square().mean()), float(residual.square().mean())
        if not power or not other:
            raise MediaError(f"expected two sounds to mix in {row.place}, found silence")
        residual = residual * math.sqrt(power / other * 10 ** (-row.target_to_rest_db / 10))
        peak = float((target + residual).abs().max())
        if peak > 1:
            target, residual = target * (_PEAK / peak), residual * (_PEAK / peak)
    rate = like.rate
    return Audio((target + residual).float(), rate), Audio(target.float(), rate), Audio(residual.float(), rate)


def _read_sum(read: SoundReader, mixture: Audio, name: Sound, sounds: Sequence[Sound]) -> Audio:
    return sum_sounds(_read_parts(read, mixture, name, sounds))


def _read_parts(read: SoundReader, mixture: Audio, name: Sound, sounds: Sequence[Sound]) -> list[Audio]:
    """Reads sounds at the rate of the mixture; resampling adds a remark."""
    found = []
    for sound in sounds:
        part = read(sound)
        found.append(match_to_mixture(mixture, name, part, sound))
        if (remark := describe_resampling(mixture, part, sound)) and remark not in read.remarks:
            read.remarks.append(remark)
    return found
