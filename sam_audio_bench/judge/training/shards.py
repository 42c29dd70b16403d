"""Reads examples from tar archives of mixtures, estimates and ratings, named as in WebDataset.

    KEY.mixture.flac    the mixture
    KEY.K.target.flac   its K-th estimate
    KEY.json            {"key", "domain", "group", "classes", "seconds", "rows": [ROW, …]}

The group is a name or a list of the recordings in the mixture. A ROW is ``{"target": K, "text", "label",
"kind", "query", "system", "scores": {axis: 1…5}, "raters"}``. Members are indexed once and read by offset, so that
any order is equally fast. Nothing is unpacked, so that a member's name never becomes a path.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import jsonschema
import pandas as pd

from sam_audio_bench.errors import Precondition, StoreError
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.judge.training.examples import COLUMNS, Clip, Examples, join_recordings

__all__ = ["SCHEMA", "is_shards", "read_shards"]

_MEMBER = re.compile(r"(?P<key>[^/\\]+?)\.(?:(?P<what>json|mixture\.flac)|(?P<answer>\d{1,4})\.target\.flac)")
_LONGEST_NAME = 200
_MOST_MEMBERS = 1_000_000
_MOST_JSON = 8 * 2**20  # bytes
_MOST_AUDIO = 64 * 2**20  # bytes

_TEXT = {"type": "string", "maxLength": 1000}
_NAME = {**_TEXT, "minLength": 1}
_ROW = {
    "type": "object",
    "required": ["target", "text", "system", "scores"],
    "properties": {
        "target": {"type": "integer", "minimum": 0},
        "text": _TEXT,
        "label": _TEXT,
        "kind": {"enum": ["intended", "wrong", "absent"]},
        "query": _TEXT,
        "system": {**_TEXT, "minLength": 1},
        "spans": _TEXT,
        "scores": {
            "type": "object",
            "minProperties": 1,
            "properties": {axis: {"type": "number", "minimum": 1, "maximum": 5} for axis in AXES},
            "additionalProperties": False,
        },
        "raters": {"type": "number", "exclusiveMinimum": 0},
    },
}
SCHEMA: Mapping[str, object] = {
    "type": "object",
    "required": ["key", "domain", "group", "rows"],
    "properties": {
        "key": {**_TEXT, "minLength": 1},
        "domain": {**_TEXT, "minLength": 1},
        "group": {"anyOf": [_NAME, {"type": "array", "items": _NAME, "minItems": 1, "maxItems": 100}]},
        "classes": {"type": "array", "items": _TEXT},
        "seconds": {"type": "number", "exclusiveMinimum": 0},
        "rows": {"type": "array", "maxItems": 10_000, "items": _ROW},
    },
}
"""JSON Schema of ``KEY.json``; further keys are ignored."""


class _RatedEstimate(TypedDict):
    target: int
    text: str
    label: NotRequired[str]
    kind: NotRequired[str]
    query: NotRequired[str]
    system: str
    spans: NotRequired[str]
    scores: dict[str, float]
    raters: NotRequired[float]


class _Facts(TypedDict):
    """The part of an object valid under `SCHEMA` that is read."""

    key: str
    domain: str
    group: str | list[str]
    simulated: NotRequired[bool]
    rows: list[_RatedEstimate]


def is_shards(place: Path) -> bool:
    """Returns whether a path is an archive or a folder of archives."""
    return place.suffix == ".tar" or (place.is_dir() and any(place.glob("*.tar")))


def read_shards(place: Path) -> Examples:
    """Reads the examples in a tar file, or in all tar files of a folder in the order of their names.

    Scores are regarded as simulated unless a JSON has ``"simulated": false``.

    Raises:
        Precondition: there is no archive. StoreError: an archive is damaged or violates the format above.
    """
    files = [place] if place.suffix == ".tar" else sorted(place.glob("[!.]*.tar"))  # none that is being written
    if not files or not all(file.is_file() for file in files):
        raise Precondition(
            f"expected tar files of estimates at {place}, found none; make them with `python -m judge.simulate`"
        )
    records: list[dict[str, object]] = []
    clips: list[Clip] = []
    simulated = False
    for file in files:
        for facts, mixture, estimates in _mixtures(file):
            simulated |= bool(facts.get("simulated", True))
            first = len(clips)
            clips += [mixture, *estimates.values()]
            places = {number: first + 1 + at for at, number in enumerate(estimates)}
            records += _records(facts, first, places, file)
    if not records:
        raise StoreError(f"expected rated estimates in the archives at {place}, found no row")
    return Examples(pd.DataFrame(records, columns=list(COLUMNS)), tuple(clips), simulated)


def _records(facts: _Facts, mixture: int, estimates: Mapping[int, int], file: Path) -> Iterator[dict[str, object]]:
    key = facts["key"]
    for row in facts["rows"]:
        if row["target"] not in estimates:
            raise StoreError(f"expected {key}.{row['target']}.target.flac in {file}, which a row rates, found none")
        yield {
            "query": row.get("query") or f"{key}/{row['text']}",
            "item": key,
            "group": join_recordings(facts["group"]),
            "system": row["system"],
            "domain": facts["domain"],
            "text": row["text"],
            "label": row.get("label", ""),
            "kind": row.get("kind", ""),
            "spans": row.get("spans", ""),
            "video": "",
            "mixture": mixture,
            "answer": estimates[row["target"]],
            **{axis: row["scores"].get(axis, float("nan")) for axis in AXES},
            "raters": float(row.get("raters", 1)),
        }


def _mixtures(file: Path) -> Iterator[tuple[_Facts, Clip, dict[int, Clip]]]:
    """Yields metadata, mixture and estimates by number, for each key in the order of the archive."""
    for key, members in _members(file).items():
        if "json" not in members or "mixture.flac" not in members:
            raise StoreError(
                f"expected {key}.json and {key}.mixture.flac in {file}, found {', '.join(map(str, members))}"
            )
        facts = _facts(members["json"], key)
        estimates = {number: members[number] for number in sorted(name for name in members if isinstance(name, int))}
        yield facts, members["mixture.flac"], estimates


def _members(file: Path) -> dict[str, dict[str | int, Clip]]:
    """Returns members by key and kind; reads only headers."""
    found: dict[str, dict[str | int, Clip]] = {}
    try:
        with tarfile.open(file, "r:") as archive:
            for count, member in enumerate(archive):
                match = _MEMBER.fullmatch(member.name) if len(member.name) <= _LONGEST_NAME else None
                most = _MOST_JSON if member.name.endswith(".json") else _MOST_AUDIO
                if match is None or not member.isreg() or member.size > most or count >= _MOST_MEMBERS:
                    raise StoreError(
                        f"expected members KEY.json, KEY.mixture.flac and KEY.K.target.flac of at most {most} bytes in "
                        f"{file}, found {member.name[:80]!r} of {member.size}"
                    )
                what = match["what"] or int(match["answer"])
                own = found.setdefault(match["key"], {})
                if what in own:
                    raise StoreError(f"expected every member of {file} once, found {member.name!r} twice")
                own[what] = Clip(file, member.name, member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise StoreError(f"expected a whole tar file at {file}, found: {error}; make it again") from error
    return found


def _facts(clip: Clip, key: str) -> _Facts:
    try:
        facts: _Facts = json.loads(clip.read_bytes())
        _validator().validate(facts)
    except (ValueError, jsonschema.ValidationError) as error:
        reason = error.message if isinstance(error, jsonschema.ValidationError) else str(error)
        raise StoreError(f"expected {clip} to describe ratings, found: {reason[:160]}") from error
    if facts["key"] != key:
        raise StoreError(f"expected key {key!r} in {clip}, found {facts['key']!r}")
    return facts


@cache
def _validator() -> Any:
    return jsonschema.Draft202012Validator(SCHEMA)
