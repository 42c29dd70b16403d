"""A task as Croissant metadata (MLCommons, version 1.0): JSON-LD that search engines and dataset tools read.

The questions are a record set with inline data; the sound files are the distribution, with their SHA-256. What only
the owner of the data knows (URL, licence, citation, date) comes from `DatasetInfo`; fields that are empty are left out.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from sam_audio_bench.digests import file_digest
from sam_audio_bench.errors import MediaError, UsageError
from sam_audio_bench.files import find_file
from sam_audio_bench.tasks.attribution import LICENCES
from sam_audio_bench.tasks.catalogue import TASKS
from sam_audio_bench.tasks.data import TaskData
from sam_audio_bench.tasks.manifest_rows import Questions, questions_to_task
from sam_audio_bench.tasks.manifest_tables import format_spans
from sam_audio_bench.tasks.recipes import FOLDER, find_target_spans, list_task_recipes, load_stems
from sam_audio_bench.types import Span

__all__ = ["Croissant", "DatasetInfo", "mini_task_to_croissant", "questions_to_croissant"]

FileObject = TypedDict("FileObject", {
    "@type": str, "@id": str, "name": str, "description": NotRequired[str], "contentUrl": str, "contentSize": str,
    "encodingFormat": str, "sha256": str,
})  # fmt: skip
"""A file of the distribution."""

Field = TypedDict("Field", {
    "@type": str, "@id": str, "name": str, "description": str, "dataType": str, "repeated": NotRequired[bool],
})  # fmt: skip
"""A field of a record set."""

Record = Mapping[str, str | list[str]]
"""One question: name of the record set and field -> value."""

RecordSet = TypedDict("RecordSet", {
    "@type": str, "@id": str, "name": str, "description": str, "key": dict[str, str], "field": list[Field],
    "data": list[Record],
})  # fmt: skip
"""The questions."""


class _Description(TypedDict, total=False):
    """The optional description of a file."""

    description: str


class _OwnerFields(TypedDict, total=False):
    """The fields that only the owner of the data can fill."""

    url: str
    license: str | list[str]
    citeAs: str
    datePublished: str


Croissant = TypedDict("Croissant", {
    "@context": Mapping[str, object], "@type": str, "name": str, "description": str, "conformsTo": str,
    "url": NotRequired[str], "license": NotRequired[str | list[str]], "citeAs": NotRequired[str],
    "datePublished": NotRequired[str], "version": str, "keywords": list[str], "distribution": list[FileObject],
    "recordSet": list[RecordSet],
})  # fmt: skip
"""Croissant metadata of a data set."""

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataBiases": "cr:dataBiases",
    "dataCollection": "cr:dataCollection",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "personalSensitiveInformation": "cr:personalSensitiveInformation",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context of the specification."""

_FIELDS = {
    "id": "name of the question, never used twice",
    "group": "the recording that the mixture was cut from: what statistics resample",
    "text": "what to extract; empty where the question is asked otherwise",
    "spans": "seconds in which the sound is present (+) or absent (-)",
    "mixture": "file of the mixture; empty where it is the sum of target and residual",
    "target": "files that the sound asked for is the sum of; none: it is absent, or there is no clean recording",
    "residual": "files that everything else is the sum of; none: mixture minus target",
}
_REPEATED = ("target", "residual")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """Information from the owner of the data; empty fields are left out."""

    description: str = ""
    url: str = ""
    licence: str = ""
    cite: str = ""
    published: str = ""  # ISO 8601

    def __post_init__(self) -> None:
        if self.published and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", self.published):
            raise UsageError(f"expected the date of publication as 2025-01-31, found {self.published!r}")


def questions_to_croissant(questions: Questions, info: DatasetInfo = DatasetInfo()) -> Croissant:
    """Returns the Croissant metadata of the user's own data.

    Raises:
        UsageError: a row is invalid, or its sounds are inside a table.
        MediaError: a file is missing or cannot be read.
    """
    data = questions_to_task(questions)
    names: dict[str, None] = {}
    records = []
    for item, row in questions.rows.items():
        for column, sound in row.files:
            if not isinstance(sound, str):
                raise UsageError(f"expected the {column} of {item} as a file, found a sound inside a table")
            names[sound] = None
        records.append(_record(item, row.group, row.text, row.spans, row.mixture, row.target, row.residual))
    files = [_file(name, find_file(questions.root / name), "") for name in names]
    return _dataset(data, info, files, records, [info.licence] if info.licence else [])


def mini_task_to_croissant(data: TaskData, info: DatasetInfo = DatasetInfo()) -> Croissant:
    """Returns the Croissant metadata of a task of the mini split: its stems, with author and licence, and its items."""
    task = TASKS[data.task]
    records: list[Record] = []
    used: set[str] = set()
    for item, (recipe, _) in list_task_recipes(task.id, task.prompt).items():
        spans = find_target_spans(recipe) if "spans" in data.provides else ()
        target, others = sorted(recipe.target), sorted(recipe.others)
        used.update(target, others)
        text = data.texts.get(item, "")
        records.append(
            _record(item, data.groups[item], text, spans, None, map(_stem_path, target), map(_stem_path, others))
        )
    stems = [load_stems()[stem] for stem in sorted(used)]
    files = [_file(_stem_path(stem.id), stem.path, f"{stem.label}; {stem.credit}; {stem.licence}") for stem in stems]
    licences = [LICENCES.get(name, name) for name in dict.fromkeys(stem.licence for stem in stems)]
    made = "Loading the task places the stems in time, scales target against residual, and adds them up."
    return _dataset(data, info, files, records, [info.licence] if info.licence else licences, made)


def _stem_path(stem: str) -> str:
    return load_stems()[stem].path.relative_to(FOLDER).as_posix()


def _dataset(
    data: TaskData, info: DatasetInfo, files: Sequence[FileObject], records: Sequence[Record], licences: Sequence[str],
    made: str = "",
) -> Croissant:  # fmt: skip
    default = f"{len(records)} questions of audio source separation by prompts: {data.label}, data {data.revision}."
    owner: _OwnerFields = {}
    if info.url:
        owner["url"] = info.url
    if licences:
        owner["license"] = licences[0] if len(licences) == 1 else list(licences)
    if info.cite:
        owner["citeAs"] = info.cite
    if info.published:
        owner["datePublished"] = info.published
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": data.label,
        "description": info.description or default,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        **owner,
        "version": f"{data.version}.0.0",
        "keywords": ["audio source separation", *sorted(data.provides)],
        "distribution": list(files),
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "questions",
                "name": "questions",
                "description": f"One question a record. {made}".strip(),
                "key": {"@id": "questions/id"},
                "field": [_field(name, what) for name, what in _FIELDS.items()],
                "data": list(records),
            }
        ],
    }


def _field(name: str, description: str) -> Field:
    field: Field = {"@type": "cr:Field", "@id": f"questions/{name}", "name": name, "description": description,
                    "dataType": "sc:Text"}  # fmt: skip
    if name in _REPEATED:
        field["repeated"] = True
    return field


def _record(
    item: str, group: str, text: str, spans: Iterable[Span], mixture: object, target: Iterable[object],
    residual: Iterable[object],
) -> Record:  # fmt: skip
    values: dict[str, str | list[str]] = {
        "id": item, "group": group, "text": text, "spans": format_spans(spans), "mixture": str(mixture or ""),
        "target": list(map(str, target)), "residual": list(map(str, residual)),
    }  # fmt: skip
    return {f"questions/{name}": value for name, value in values.items()}


def _file(name: str, path: Path, description: str) -> FileObject:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise MediaError(f"expected a file at {path}, found none") from error
    optional: _Description = {"description": description} if description else {}
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        **optional,
        "contentUrl": name,
        "contentSize": f"{size} B",
        "encodingFormat": mimetypes.guess_type(name)[0] or "application/octet-stream",
        "sha256": file_digest(path),
    }
