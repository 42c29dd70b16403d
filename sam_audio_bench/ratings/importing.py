"""Reads files of listening tests into one tidy table: guesses roles of columns, reports them, completes and checks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.answers import join_table
from sam_audio_bench.ratings.formats import FORMATS, Choice, Parsed, recognise
from sam_audio_bench.ratings.formats.columns import NAMES
from sam_audio_bench.ratings.formats.source import numbers, read_source
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
_STAMP = re.compile(r"(^|[^a-z])(id|uuid|guid)$|time|stamp|date")  # columns that no two answers share
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
    choice: Choice | None = None,
    *,
    format: str | None = None,
    scale: Scale | None = None,
    direction: Direction = "higher",
) -> ImportResult:
    """Reads files of one test as one table.

    Without a named recording an item is its own group, and without domains in several files of lists the name of the
    file is the domain. Equal rows count once where a file says who answered, and what or when; elsewhere each is an
    answer.

    Args:
        paths: the files, all of ratings or all of votes.
        choice: columns that the user named; None: guess all.
        format: a name of `FORMATS`; None: detect it for each file.
        scale: lowest and highest answer; None: the smallest usual scale that covers the scores.
        direction: which end of the scale is better.

    Raises:
        Precondition: a file is missing.
        UsageError: a file of unknown format, files of different scales, a row without rater or item, or a
            score outside ``scale``.

    Returns:
        The table, one `FileReading` per file, and notes.
    """
    choice = choice or Choice()
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
    frame = _together(parts, notes)
    metrics = _metrics(parts, frame)
    located_in = tuple(name for name in PATH_COLUMNS if name in frame and all(name in p.paths for p in parts))
    notes += find_missing_files(frame, located_in)
    if not votes:
        scale = _checked_scale(frame, scale or _common(parts), notes)
    ratings = Ratings(
        frame=frame, votes=votes, scale=scale, direction=direction, metrics=metrics,
        anonymous=any(parsed.anonymous for parsed in parts), paths=located_in,
    )  # fmt: skip
    return ImportResult(ratings=ratings, readings=tuple(readings), notes=tuple(notes))


def _read(path: Path, choice: Choice, format: str | None) -> tuple[str, Parsed]:
    """The format of a file, and its rows with every column of the tidy table."""
    source = read_source(path)
    name = recognise(source, choice, format)
    parsed = FORMATS[name].parse(source, choice)
    if choice.key is None:
        frame, places = resolve_paths(parsed.frame, path.parent)
    else:
        frame, places = parsed.frame if name == "page" else _unveiled(parsed, name, choice.key), PATH_COLUMNS
    notes = (*source.notes, *parsed.notes)
    if silent := 0 if parsed.votes else int(frame["score"].isna().sum()):
        notes = (*notes, f"{silent} rows of {path} have no score: left out")
    parsed = replace(parsed, frame=frame, paths=places, notes=notes)
    return name, replace(parsed, frame=_completed(parsed, choice, path))


def _unveiled(parsed: Parsed, format: str, key: Path) -> pd.DataFrame:
    """Resolves the blind names of a planned test to items and systems."""
    if format not in ("webmushra", "p808") or parsed.votes:
        found = f"pairwise votes of {format}" if parsed.votes else format
        raise UsageError(f"expected --key with ratings of page, webmushra or p808, found {found}; leave it out")
    return join_table(parsed.frame, read_json(key), key.parent)


def _completed(parsed: Parsed, choice: Choice, path: Path) -> pd.DataFrame:
    """Every column of the tidy table, in order; rows without a score are left out."""
    frame = parsed.frame.reset_index(drop=True)
    if not parsed.votes:
        frame = frame[frame["score"].notna()].reset_index(drop=True)
        if frame.empty:
            raise UsageError(f"expected scores in {path}, found none in any row")
    if choice.pattern:
        frame = _taken_apart(frame, choice.pattern, path)
    fixed = {role: name[1:] for role, name in choice.roles.items() if name.startswith("=")}
    if "axis" in fixed and "axis" in frame and frame["axis"].nunique() > 1:
        raise UsageError(
            f"expected one axis in {path} to call {fixed['axis']}, found {', '.join(frame['axis'].unique())}"
        )
    frame = frame.assign(**fixed)
    _check_named(frame, "an item", "item", "rater", path)
    _check_named(frame, "a rater", "rater", "item", path)
    wanted = VOTE_COLUMNS if parsed.votes else COLUMNS
    for name in wanted:
        if name not in frame:
            frame[name] = frame["item"] if name == "group" else float("nan") if name in _NUMERIC else None
    frame["group"] = frame["group"].where(frame["group"].notna(), frame["item"])
    for column in frame:
        frame[column] = _typed(frame[column], str(column), path)
    known = [name for name in (*CONTROL_COLUMNS, *MEDIA_COLUMNS) if name in frame]
    others = [name for name in frame if name not in wanted and name not in known]
    return frame[[*wanted, *known, *others]]


def _check_named(frame: pd.DataFrame, what: str, role: str, other: str, path: Path) -> None:
    if role in frame and not frame[role].isna().any():
        return
    lost = frame[frame[role].isna()] if role in frame else frame
    where = f" for {other} {lost[other].iloc[0]}" if other in lost else ""
    raise UsageError(
        f"expected {what} for every score in {path}, found none{where}; name the column with --{role}, or complete it"
    )


def _typed(column: pd.Series, name: str, path: Path) -> pd.Series:
    """A column as the tidy table holds it: numbers, truth values, or texts of whatever a file of JSON may hold."""
    if name in _NUMERIC:
        counted = column.set_axis(pd.RangeIndex(1, len(column) + 1, name="answer"))
        return numbers(counted, f"{name} of {path}").set_axis(column.index)
    if pd.api.types.is_numeric_dtype(column) and name not in (*COLUMNS, *VOTE_COLUMNS):
        return column
    if name == "played":
        return column.map(lambda value: str(value).lower() in ("true", "1"), na_action="ignore")
    return _text(column)


def _text(column: pd.Series) -> pd.Series:
    return column.astype("object").where(column.notna(), None).map(str, na_action="ignore")


def _taken_apart(frame: pd.DataFrame, pattern: str, path: Path) -> pd.DataFrame:
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


def _together(parts: Sequence[Parsed], notes: list[str]) -> pd.DataFrame:
    """All rows; a row that repeats another one is a copy where the file says which answer it is."""
    frame = pd.concat([parsed.frame for parsed in parts], ignore_index=True) if len(parts) > 1 else parts[0].frame
    repeats = frame.duplicated()
    known = np.repeat([_tells_answers_apart(parsed) for parsed in parts], [len(parsed.frame) for parsed in parts])
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


def _tells_answers_apart(parsed: Parsed) -> bool:
    """Whether equal rows of a file are copies of one answer: it says who answered, and what or when."""
    named = {role for role, column in parsed.columns.items() if not column.startswith("=")}
    if parsed.anonymous:
        return bool((parsed.frame["rater"] == "mean").all())
    stamped = any(_STAMP.search(str(name).casefold()) for name in parsed.frame if name not in NAMES)
    return "rater" in named and (stamped or not named.isdisjoint({"item", "trial", "time"}))


def _metrics(parts: Sequence[Parsed], frame: pd.DataFrame) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name for parsed in parts for name in parsed.metrics))
    for name in names:
        if name not in frame or not pd.api.types.is_numeric_dtype(frame[name]):
            raise UsageError(f"expected --metric-columns to name columns of numbers, found {name!r}")
    return names


def _common(parts: Sequence[Parsed]) -> Scale | None:
    """The scale that formats prescribe, if they all do."""
    scales = {parsed.scale for parsed in parts}
    known = sorted(scale for scale in scales if scale is not None)
    if len(known) > 1:
        shown = " and ".join(f"{low:g}:{high:g}" for low, high in known)
        raise UsageError(f"expected files of one scale, found {shown}; import them apart, or say --scale LOW:HIGH")
    return scales.pop() if len(scales) == 1 else None


def _checked_scale(frame: pd.DataFrame, scale: Scale | None, notes: list[str]) -> Scale:
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
