"""Ratings from our listening page: one JSON file per rater and session."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.blind_key import KEY_FIELDS, unblind_ratings
from sam_audio_bench.ratings.formats.columns import ColumnChoice, ParsedFile
from sam_audio_bench.ratings.formats.source import Source
from sam_audio_bench.ratings.media import MEDIA_COLUMNS
from sam_audio_bench.tabular import read_json

__all__ = ["SCHEMA", "is_page", "parse_page"]

SCHEMA = "sabench-listening-test"
_VERSION = 1
_FIELDS = ("trial", "played", *KEY_FIELDS)
_OPTIONAL = {"task", *MEDIA_COLUMNS}  # columns that are filled from a key


def is_page(source: Source, choice: ColumnChoice) -> bool:
    """Whether the file states our schema."""
    return bool(source.records) and all(record.get("schema") == SCHEMA for record in source.records)


def parse_page(source: Source, choice: ColumnChoice) -> ParsedFile:
    """Reads one row per trial and axis; ``choice.key`` maps trials to items and systems.

    Raises:
        UsageError: another schema or version, a document without rater or answers, or blind trials without a key.
    """
    rows = [row for document in source.records for row in _rows(document, source, choice)]
    if not rows:
        raise UsageError(f"expected answers in {source.path}, found none; the rater stopped before the first trial")
    found = {
        "rater": "rater",
        "session": "session",
        "item": "item",
        "system": "system",
        "score": "axes",
        "time": "seconds",
    }
    return ParsedFile(frame=pd.DataFrame(rows), columns=found, scale=(1.0, 5.0))


def _rows(document: Mapping[str, object], source: Source, choice: ColumnChoice) -> list[dict[str, object]]:
    if document.get("schema") != SCHEMA or document.get("version") != _VERSION:
        what = f"{document.get('schema')} {document.get('version')}"
        raise UsageError(f"expected {SCHEMA} {_VERSION} in {source.path}, found {what}; upgrade")
    answers = document.get("answers")
    rater = str(document.get("rater") or "").strip()
    if not rater or not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
        raise UsageError(f"expected a rater and a list of answers in {source.path}, found {', '.join(document)}")
    if choice.key is not None:
        answers = unblind_ratings(answers, read_json(choice.key), choice.key.parent)
    fixed = {"rater": rater, "session": str(document.get("session") or rater), "test": document.get("test")}
    return [row for answer in answers for row in _answer(answer, fixed, source)]


def _answer(answer: Mapping[str, object], fixed: Mapping[str, object], source: Source) -> list[dict[str, object]]:
    axes = answer.get("axes")
    if not isinstance(axes, dict) or not isinstance(answer.get("item"), str | int) or not answer["item"]:
        raise UsageError(
            f"expected an item and its axes in every answer of {source.path}, found {', '.join(answer)}; "
            "give the key of the test with --key key.json"
        )
    known = {name: answer.get(name) for name in _FIELDS if name in answer or name not in _OPTIONAL}
    known["trial"] = None if known["trial"] is None else str(known["trial"])
    expected = known.pop("expected")
    rows = []
    for axis, score in axes.items():
        right = expected.get(axis) if isinstance(expected, dict) else expected
        row = {**fixed, **known, "axis": axis, "score": score, "time": answer.get("seconds"), "expected": right}
        rows.append({**row, "kind": known["kind"] or "rating"})
    return rows
