"""Reads files of listening tests into one tidy table: guesses and reports the roles of columns, completes, checks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.blind_key import unblind_table
from sam_audio_bench.ratings.formats import FORMATS, ColumnChoice, ParsedFile, detect_format
from sam_audio_bench.ratings.formats.columns import ROLE_NAMES
from sam_audio_bench.ratings.formats.source import parse_numbers, read_source
from sam_audio_bench.ratings.media import MEDIA_COLUMNS, PATH_COLUMNS, find_missing_files, resolve_paths
from sam_audio_bench.ratings.table import (
    COLUMNS,
    CONTROL_COLUMNS,
    VOTE_COLUMNS,
    Direction,
    Ratings,
    Scale,
    guess_scale,
)
from sam_audio_bench.tabular import read_json

__all__ = ["FileReading", "ImportResult", "import_ratings"]

_NUMERIC = ("score", "time", "expected", "n_raters")
_LARGEST_SCORE = 1e12
_STAMP = re.compile(r"(^|[^a-z])(id|uuid|guid)$|time|stamp|date")  # columns that are unique per rating
_PATTERN_ROLES = ("item", "system", "domain", "group", "axis", "rater")


@dataclass(frozen=True, kw_only=True)
class FileReading:
    """How one file was interpreted."""

    path: Path
    format: str
    columns: Mapping[str, str]  # role -> column
    rows: int


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """The table, and interpretations that a user should confirm."""

    ratings: Ratings
    readings: tuple[FileReading, ...]
    notes: tuple[str, ...]


def import_ratings(
    paths: Sequence[Path],
    choice: ColumnChoice | None = None,
    *,
    format: str | None = None,
    scale: Scale | None = None,
    direction: Direction = "higher",
) -> ImportResult:
    """Reads files of one test as one table.

    Without a column of recordings an item is its own group; without domains in several files of lists the file name
    is the domain. Duplicate rows count once if the file identifies the rater, and item, trial or time; otherwise each
    row is a rating.

    Args:
        paths: the files, all of ratings or all of votes.
        choice: columns that the user named; None: guess all.
        format: a name of `FORMATS`; None: detect it for each file.
        scale: lowest and highest score; None: the smallest usual scale that covers the scores.
        direction: which end of the scale is better.

    Raises:
        Precondition: a file is missing.
        UsageError: a file of unknown format, files of different scales, a row without rater or item, or a
            score outside ``scale``.

    Returns:
        The table, one `FileReading` per file, and notes.
    """
    choice = choice or ColumnChoice()
    parts, readings = [], []
    for path in paths:
        name, parsed = _read(path, choice, format)
        if name == "lists" and len(paths) > 1 and parsed.frame["domain"].isna().all():
            parsed = replace(parsed, frame=parsed.frame.assign(domain=path.stem))
        parts.append(parsed)
        readings.append(FileReading(path=path, format=name, columns=dict(parsed.columns), rows=len(parsed.frame)))
    notes = list(dict.fromkeys(note for parsed in parts for note in parsed.notes))
    votes = parts[0].votes
    if any(parsed.votes != votes for parsed in parts):
        raise UsageError("expected files of ratings or files of votes, found both; import them apart")
    frame = _concatenate(parts, notes)
    metrics = _metrics(parts, frame)
    located_in = tuple(name for name in PATH_COLUMNS if name in frame and all(name in p.paths for p in parts))
    notes += find_missing_files(frame, located_in)
    if not votes:
        scale = _check_scale(frame, scale or _common_scale(parts), notes)
    ratings = Ratings(
        frame=frame, votes=votes, scale=scale, direction=direction, metrics=metrics,
        anonymous=any(parsed.anonymous for parsed in parts), paths=located_in,
    )  # fmt: skip
    return ImportResult(ratings=ratings, readings=tuple(readings), notes=tuple(notes))


def _read(path: Path, choice: ColumnChoice, format: str | None) -> tuple[str, ParsedFile]:
    """Returns the format of a file, and its rows with every column of the tidy table."""
    source = read_source(path)
    name = detect_format(source, choice, format)
    parsed = FORMATS[name].parse(source, choice)
    if choice.key is None:
        frame, places = resolve_paths(parsed.frame, path.parent)
    else:
        frame, places = parsed.frame if name == "page" else _unblind(parsed, name, choice.key), PATH_COLUMNS
    notes = (*source.notes, *parsed.notes)
    if silent := 0 if parsed.votes else int(frame["score"].isna().sum()):
        notes = (*notes, f"{silent} rows of {path} have no score: left out")
    parsed = replace(parsed, frame=frame, paths=places, notes=notes)
    return name, replace(parsed, frame=_complete_columns(parsed, choice, path))


def _unblind(parsed: ParsedFile, format: str, key: Path) -> pd.DataFrame:
    """Resolves the blind names of a planned test to items and systems."""
    if format not in ("webmushra", "p808") or parsed.votes:
        found = f"pairwise votes of {format}" if parsed.votes else format
        raise UsageError(f"expected --key with ratings of page, webmushra or p808, found {found}; leave it out")
    return unblind_table(parsed.frame, read_json(key), key.parent)


def _complete_columns(parsed: ParsedFile, choice: ColumnChoice, path: Path) -> pd.DataFrame:
    """Adds every column of the tidy table, in order; drops rows without a score."""
    frame = parsed.frame.reset_index(drop=True)
    if not parsed.votes:
        frame = frame[frame["score"].notna()].reset_index(drop=True)
        if frame.empty:
            raise UsageError(f"expected scores in {path}, found none in any row")
    if choice.pattern:
        frame = _split_by_pattern(frame, choice.pattern, path)
    fixed = {role: name[1:] for role, name in choice.roles.items() if name.startswith("=")}
    if "axis" in fixed and "axis" in frame and frame["axis"].nunique() > 1:
        raise UsageError(
            f"expected one axis in {path} to call {fixed['axis']}, found {', '.join(frame['axis'].unique())}"
        )
    frame = frame.assign(**fixed)
    _check_role(frame, "an item", "item", "rater", path)
    _check_role(frame, "a rater", "rater", "item", path)
    required = VOTE_COLUMNS if parsed.votes else COLUMNS
    for name in required:
        if name not in frame:
            frame[name] = frame["item"] if name == "group" else float("nan") if name in _NUMERIC else None
    frame["group"] = frame["group"].where(frame["group"].notna(), frame["item"])
    for column in frame:
        frame[column] = _convert_column(frame[column], str(column), path)
    known = [name for name in (*CONTROL_COLUMNS, *MEDIA_COLUMNS) if name in frame]
    others = [name for name in frame if name not in required and name not in known]
    return frame[[*required, *known, *others]]


def _check_role(frame: pd.DataFrame, what: str, role: str, other: str, path: Path) -> None:
    if role in frame and not frame[role].isna().any():
        return
    lost = frame[frame[role].isna()] if role in frame else frame
    where = f" for {other} {lost[other].iloc[0]}" if other in lost else ""
    raise UsageError(
        f"expected {what} for every score in {path}, found none{where}; name the column with --{role}, or complete it"
    )


def _convert_column(column: pd.Series, name: str, path: Path) -> pd.Series:
    """Converts a column to its type in the tidy table: numbers, booleans, or texts of any other values."""
    if name in _NUMERIC:
        counted = column.set_axis(pd.RangeIndex(1, len(column) + 1, name="answer"))
        return parse_numbers(counted, f"{name} of {path}").set_axis(column.index)
    if pd.api.types.is_numeric_dtype(column) and name not in (*COLUMNS, *VOTE_COLUMNS):
        return column
    if name == "played":
        return column.map(lambda value: str(value).lower() in ("true", "1"), na_action="ignore")
    return _text(column)


def _text(column: pd.Series) -> pd.Series:
    return column.astype("object").where(column.notna(), None).map(str, na_action="ignore")


def _split_by_pattern(frame: pd.DataFrame, pattern: str, path: Path) -> pd.DataFrame:
    """Extracts names from the item, such as ``…/SYSTEM/CLIP.wav``, by a regular expression with named groups."""
    try:
        known = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"expected --pattern to be a regular expression, found {pattern!r} ({error})") from error
    unknown = set(known.groupindex) - set(_PATTERN_ROLES)
    if unknown or not known.groupindex:
        raise UsageError(
            f"expected --pattern with groups (?P<NAME>…) among {', '.join(_PATTERN_ROLES)}, found {pattern!r}"
        )
    parts = frame["item"].str.extract(known)
    lost = parts.isna().all(axis=1)
    if lost.any():
        raise UsageError(
            f"expected --pattern to match every item of {path}, found {frame['item'][lost].iloc[0]!r} without a match"
        )
    return frame.drop(columns=[name for name in parts if name in frame]).join(parts)


def _concatenate(parts: Sequence[ParsedFile], notes: list[str]) -> pd.DataFrame:
    """Concatenates all rows; drops duplicates if their file identifies ratings."""
    frame = pd.concat([parsed.frame for parsed in parts], ignore_index=True) if len(parts) > 1 else parts[0].frame
    repeats = frame.duplicated()
    known = np.repeat([_identifies_ratings(parsed) for parsed in parts], [len(parsed.frame) for parsed in parts])
    twice = repeats & known
    if kept := int((repeats & ~known).sum()):
        notes.append(
            f"{kept} rows repeat another one in every column: all are kept, since no column of rater, item, trial or "
            "time says which answer a row is"
        )
    if twice.any():
        notes.append(f"{int(twice.sum())} rows repeat another one in every column: each counts once")
        frame = frame[~twice].reset_index(drop=True)
    key = [n for n in ("rater", "item", "system", "first", "second", "axis", "kind") if n in frame]
    again = frame.duplicated(key)
    if again.any() and "rater" in key:
        what = "comparison" if "choice" in frame else "stimulus and axis"
        notes.append(f"{int(again.sum())} rows are a rater's further answer to the same {what}: all are kept")
    return frame


def _identifies_ratings(parsed: ParsedFile) -> bool:
    """Whether duplicate rows are copies: the file identifies the rater, and the item, trial or time."""
    named = {role for role, column in parsed.columns.items() if not column.startswith("=")}
    if parsed.anonymous:
        return bool((parsed.frame["rater"] == "mean").all())
    stamped = any(_STAMP.search(str(name).casefold()) for name in parsed.frame if name not in ROLE_NAMES)
    return "rater" in named and (stamped or not named.isdisjoint({"item", "trial", "time"}))


def _metrics(parts: Sequence[ParsedFile], frame: pd.DataFrame) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name for parsed in parts for name in parsed.metrics))
    for name in names:
        if name not in frame or not pd.api.types.is_numeric_dtype(frame[name]):
            raise UsageError(f"expected --metric-columns to name columns of numbers, found {name!r}")
    return names


def _common_scale(parts: Sequence[ParsedFile]) -> Scale | None:
    """Returns the scale that all formats prescribe; None if one does not."""
    scales = {parsed.scale for parsed in parts}
    known = sorted(scale for scale in scales if scale is not None)
    if len(known) > 1:
        shown = " and ".join(f"{low:g}:{high:g}" for low, high in known)
        raise UsageError(f"expected files of one scale, found {shown}; import them apart, or say --scale LOW:HIGH")
    return scales.pop() if len(scales) == 1 else None


def _check_scale(frame: pd.DataFrame, scale: Scale | None, notes: list[str]) -> Scale:
    lowest, highest = float(frame["score"].min()), float(frame["score"].max())
    if scale is None:
        scale = guess_scale(lowest, highest)
        notes.append(f"scale guessed from scores between {lowest:g} and {highest:g}; set it with --scale LOW:HIGH")
    low, high = scale
    if max(abs(low), abs(high)) > _LARGEST_SCORE:
        raise UsageError(
            f"expected scores that a person gives, found {max(abs(low), abs(high)):g}; say --missing VALUE"
        )
    outside = (frame["score"] < low) | (frame["score"] > high)
    if outside.any():
        row = frame[outside].iloc[0]
        raise UsageError(
            f"expected scores between {low:g} and {high:g}, found {int(outside.sum())} outside, the first "
            f"{row['score']:g} by {row['rater']} for {row['item']}; correct them, widen --scale, or say --missing VALUE"
        )
    return (low, high)
