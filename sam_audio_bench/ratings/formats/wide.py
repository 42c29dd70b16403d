"""Wide tables: one row per stimulus, one column per rater, and objective metrics.

The raters' columns end in a number (``rating_0``, ``rating_1``, …). A second family of columns with the same numbers
and texts in it (``subject_rating_0``, …) names the raters; without one, each column is one rater.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.formats.columns import ROLES, ColumnChoice, ColumnRoles, ParsedFile, extra_columns
from sam_audio_bench.ratings.formats.source import MISSING, Source, as_texts, parse_numbers

__all__ = ["is_wide", "parse_wide"]

_NUMBERED = re.compile(r"(.*?)[_\-. ]?(\d+)")
_SCORE_WORDS = (
    "rating",
    "rater",
    "score",
    "vote",
    "listener",
    "subject",
    "participant",
    "annotator",
    "judge",
    "worker",
)
_OF_RATERS = ("score", "axis", "rater")
_Family = dict[str, str]  # number -> column


def is_wide(source: Source, choice: ColumnChoice) -> bool:
    """Whether the table has a family of numbered columns with scores of several raters."""
    if source.table is None:
        return False
    return any(_is_score(stem) for stem in _families(source.table)[0])


def parse_wide(source: Source, choice: ColumnChoice) -> ParsedFile:
    """Reads one row per rater and stimulus with a score.

    Raises:
        UsageError: no family of columns, a score that is no number, or a score without a rater.
    """
    frame = source.table if source.table is not None else as_texts(source)
    scores, names = _choose_families(source, choice) if choice.score else _guess_families(source)
    used = [column for family in (*scores.values(), names) for column in family.values()]
    roles = ColumnRoles(Source(path=source.path, table=frame.drop(columns=used)), _without_rater(choice))
    roles.need("item")
    stimuli = roles.texts(
        frame, [role for role in ROLES if role not in _OF_RATERS or (role == "axis" and role in choice.roles)]
    )
    values = {axis: _matrix(frame, family, choice) for axis, family in scores.items()}
    extras = extra_columns(frame, [*used, *roles.found.values()], choice.missing)
    means = _find_mean_columns(extras, values)
    stimuli, notes = _sessions(stimuli, frame, names, roles)
    parts = [
        _to_long(stimuli.join(extras), matrix, means.get(axis, axis), _raters(frame, scores[axis], names, source))
        for axis, matrix in values.items()
    ]
    numeric = [
        str(name) for name in extras if pd.api.types.is_numeric_dtype(extras[name]) and name not in means.values()
    ]
    found = {
        "score": _describe_families(scores),
        "rater": _describe_families({"": names}) if names else "the columns of scores",
    }
    axis = {"axis": roles.found.get("axis") or ", ".join(means.get(name, name) for name in values)}
    return ParsedFile(
        frame=pd.concat(parts, ignore_index=True),
        columns={**roles.found, **found, **axis},
        metrics=tuple(numeric if choice.metrics is None else choice.metrics),
        notes=notes,
    )


def _without_rater(choice: ColumnChoice) -> ColumnChoice:
    """Returns the choice without the column of raters."""
    roles = {role: name for role, name in choice.roles.items() if role != "rater"}
    return ColumnChoice(roles=roles, metrics=choice.metrics, pattern=choice.pattern, missing=choice.missing)


def _families(frame: pd.DataFrame) -> tuple[dict[str, _Family], dict[str, _Family]]:
    """Returns families of numbered columns with numbers, and those with texts, by stem."""
    families: dict[str, _Family] = {}
    for name in map(str, frame.columns):
        match = _NUMBERED.fullmatch(name)
        if match:
            families.setdefault(match[1], {})[match[2]] = name
    large = {stem: family for stem, family in families.items() if len(family) > 1}
    numeric = {stem: family for stem, family in large.items() if _numeric(frame, family)}
    return numeric, {stem: family for stem, family in large.items() if stem not in numeric}


def _numeric(frame: pd.DataFrame, family: _Family) -> bool:
    """Whether nearly all texts are numbers; other texts are errors that `numbers` reports."""
    texts = frame[list(family.values())].to_numpy().astype(str).ravel()
    present = [text.strip().replace(",", ".") for text in texts[:2000] if text.strip().lower() not in MISSING]
    right = sum(re.fullmatch(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?", text) is not None for text in present)
    return bool(present) and right > 0.5 * len(present)


def _is_score(stem: str) -> bool:
    return any(word in stem.casefold() for word in _SCORE_WORDS)


def _guess_families(source: Source) -> tuple[dict[str, _Family], _Family]:
    assert source.table is not None
    numeric, texts = _families(source.table)
    scores = {stem: family for stem, family in numeric.items() if _is_score(stem)} or numeric
    if not scores:
        raise UsageError(
            f"expected a column per rater in {source.path}, such as rating_1, rating_2, found none; "
            "name them with --score 'PATTERN*', or choose another --format"
        )
    numbers_of = set(next(iter(scores.values())))
    names = next((family for family in texts.values() if set(family) == numbers_of), {})
    return scores, names


def _choose_families(source: Source, choice: ColumnChoice) -> tuple[dict[str, _Family], _Family]:
    families: dict[str, _Family] = {}
    for pattern in choice.score:
        family = _match_columns(source, "--score", pattern)
        families[_axis_of(pattern)] = {**families.get(_axis_of(pattern), {}), **family}
    rater = choice.roles.get("rater", "")
    return families, _match_columns(source, "--rater", rater) if rater else {}


def _axis_of(pattern: str) -> str:
    """Returns the axis of a pattern: ``clarity_*`` has the axis clarity; single columns share the axis score."""
    return pattern.rstrip("*?[]0-9").rstrip("_-. ") if set("*?[") & set(pattern) else "score"


def _match_columns(source: Source, option: str, pattern: str) -> _Family:
    columns = [name for name in source.columns if fnmatch.fnmatchcase(name, pattern)]
    if not columns:
        raise UsageError(
            f"expected {option} to match columns of {source.path}, found none that match {pattern!r}; "
            f"it has {', '.join(source.columns)}"
        )
    matches = [_NUMBERED.fullmatch(name) for name in columns]
    return {match[2] if match else name: name for match, name in zip(matches, columns, strict=True)}


def _matrix(frame: pd.DataFrame, family: _Family, choice: ColumnChoice) -> np.ndarray:
    """Returns scores [rows, raters]; NaN if missing."""
    columns = [parse_numbers(frame[name], f"column {name}", choice.missing) for name in family.values()]
    return np.stack([column.to_numpy() for column in columns], axis=1)


def _raters(frame: pd.DataFrame, family: _Family, names: _Family, source: Source) -> np.ndarray:
    """Returns the rater of each score: [rows, raters] of texts."""
    if not names:
        return np.tile(np.array(list(family.values()), dtype=object), (len(frame), 1))
    missing = sorted(set(family) - set(names))
    if missing:
        raise UsageError(
            f"expected a rater for each column of scores in {source.path}, found none for {family[missing[0]]!r}"
        )
    return np.stack([frame[names[number]].astype("str").str.strip().to_numpy(object) for number in family], axis=1)


def _to_long(stimuli: pd.DataFrame, scores: np.ndarray, axis: str, raters: np.ndarray) -> pd.DataFrame:
    rows, columns = np.nonzero(~np.isnan(scores))
    long = stimuli.iloc[rows].reset_index(drop=True)
    chosen = raters[rows, columns]
    named = {} if "axis" in long else {"axis": axis}
    return long.assign(rater=pd.Series(chosen, dtype="object").replace("", None), score=scores[rows, columns], **named)


def _find_mean_columns(extras: pd.DataFrame, values: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Returns columns that hold the mean over raters, by axis: they name the axis and are not metrics."""
    found = {}
    for axis, matrix in values.items():
        counts = (~np.isnan(matrix)).sum(axis=1)
        mean = np.nansum(matrix, axis=1) / np.where(counts, counts, 1)
        for name in extras:
            if pd.api.types.is_numeric_dtype(extras[name]) and np.allclose(extras[name], mean, atol=1e-6):
                found[axis] = str(name)
                break
    return found


def _sessions(
    stimuli: pd.DataFrame, frame: pd.DataFrame, names: _Family, roles: ColumnRoles
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Turns a guessed group that determines the raters into a session of the test: it is no recording."""
    column = roles.found.get("group")
    if column is None or not names or "session" in roles.found:
        return stimuli, ()
    panels = frame[list(names.values())].agg("\x1f".join, axis=1)
    if panels.groupby(frame[column]).nunique().max() > 1 or frame[column].nunique() < 2:
        return stimuli, ()
    roles.drop("group")
    roles.found["session"] = column
    note = f"{column} decides who rates: read as session, not as the recording that statistics resample"
    return stimuli.rename(columns={"group": "session"}), (note,)


def _describe_families(families: Mapping[str, _Family]) -> str:
    parts: Sequence[str] = [
        f"{columns[0]} … {columns[-1]}" for columns in map(list, (f.values() for f in families.values()))
    ]
    return ", ".join(parts)
