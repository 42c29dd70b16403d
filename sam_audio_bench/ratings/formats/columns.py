"""Roles of columns: guessed from their names, overridden by the user, and reported."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.formats.source import Source, parse_numbers
from sam_audio_bench.ratings.media import MEDIA_COLUMNS

__all__ = ["ROLE_NAMES", "ColumnChoice", "ColumnRoles", "ParsedFile", "extra_columns"]

_WORDS = {
    "rater": "rater raterid listener listenerid subject subjectid participant participantid worker workerid annotator "
    "annotatorid assessor evaluator judge userid user sessionuuid voter",
    "item": "item itemid fileid clipid stimulusid sampleid uttid utteranceid file filename clip stimulus sample "
    "utterance audio datapath fileurl filepath path url",
    "system": "system systemid model modelname modelid method separator algorithm condition codec",
    "first": "first a left systema modela stimulusa optiona system1 model1",
    "second": "second b right systemb modelb stimulusb optionb system2 model2",
    "choice": "choice winner vote preference preferred answer outcome",
    "score": "score rating ratingscore mos vote value grade opinion",
    "axis": "axis dimension criterion attribute aspect question",
    "group": "group groupid recording song track mixture",
    "domain": "domain category genre",
    "time": "seconds time ratingtime responsetime elapsed duration",
    "trial": "trial trialid trialnumber page",
    "session": "session sessionid assignmentid hitid hit batch submission",
    "kind": "kind",
    "expected": "expected",
    "played": "played allplayed audioplayed",
    "n_raters": "nraters nvotes votes n",
}
ROLE_NAMES: Mapping[str, tuple[str, ...]] = {role: tuple(words.split()) for role, words in _WORDS.items()}
"""Known column names for each role, ignoring case and punctuation, the likeliest first."""

ROLES = ("rater", "item", "group", "system", "domain", "axis", "score", "time", "trial", "session")


@dataclass(frozen=True, kw_only=True)
class ColumnChoice:
    """Columns that the user chose for a file; those that are None or empty are guessed.

    A role is the name of a column, or ``=TEXT`` for the same text in every row. ``score`` may name several columns or
    patterns: scores of several raters in the wide format, of several axes in the long one.
    """

    roles: Mapping[str, str] = field(default_factory=dict)  # role -> column or =TEXT, all roles but score
    score: tuple[str, ...] = ()
    metrics: tuple[str, ...] | None = None  # columns of objective metrics; (): none
    pattern: str | None = None  # regular expression on the item with named groups item, system, domain, group, axis
    missing: tuple[str, ...] = ()  # further texts that mean "no rating"
    key: Path | None = None  # key.json of a planned test


@dataclass(frozen=True, kw_only=True)
class ParsedFile:
    """One file as tidy rows, not yet completed: columns that the file does not have are missing."""

    frame: pd.DataFrame
    columns: Mapping[str, str]  # role -> source, for the user to confirm
    votes: bool = False
    metrics: tuple[str, ...] = ()
    anonymous: bool = False
    scale: tuple[float, float] | None = None  # what the format prescribes
    paths: tuple[str, ...] = ()  # columns of absolute paths
    notes: tuple[str, ...] = ()


class ColumnRoles:
    """Columns of one file by role; each column has at most one role."""

    def __init__(self, source: Source, choice: ColumnChoice) -> None:
        self._source = source
        self._by_normalised_name = {_normalise(name): name for name in reversed(source.columns)}
        self._chosen = dict(choice.roles)
        self.found: dict[str, str] = {}
        for role, name in self._chosen.items():
            if not name.startswith("="):
                self._check(role, name)

    def column(self, role: str) -> str | None:
        """Returns the column of a role, chosen or else guessed; None if there is none or a constant was chosen."""
        if role in self._chosen:
            name = self._chosen[role]
            self.found[role] = name
            return None if name.startswith("=") else name
        if role in self.found:
            return self.found[role]
        taken = {*self.found.values(), *self._chosen.values()}
        for plain in ROLE_NAMES[role]:
            name = self._by_normalised_name.get(plain, "")
            if name and name not in taken:
                self.found[role] = name
                return name
        return None

    def need(self, role: str) -> str:
        """Like `column`; raises UsageError if there is none."""
        name = self.column(role)
        if name is None:
            columns = ", ".join(self._source.columns[:12]) + (", …" if len(self._source.columns) > 12 else "")
            raise UsageError(
                f"expected a column of {role}s in {self._source.path}, found {columns}; name it with --{role} COLUMN"
            )
        return name

    def drop(self, role: str) -> None:
        """Discards a guess."""
        self.found.pop(role, None)

    def texts(self, frame: pd.DataFrame, roles: Sequence[str]) -> pd.DataFrame:
        """Returns the existing columns of ``roles``, renamed to their roles, with blanks as missing values."""
        found = {}
        for role in roles:
            name = self.column(role)
            if name is not None:
                found[role] = _as_text(frame[name])
            elif role in self.found:
                found[role] = pd.Series(self.found[role][1:], index=frame.index, dtype="str")
        return pd.DataFrame(found, index=frame.index)

    def _check(self, role: str, name: str) -> None:
        if name not in self._source.columns:
            raise UsageError(
                f"expected --{role} to name a column of {self._source.path}, found {name!r}; it has "
                + ", ".join(self._source.columns)
            )


def extra_columns(frame: pd.DataFrame, taken: Sequence[str], missing: Sequence[str] = ()) -> pd.DataFrame:
    """Returns columns without a role, as numbers if all their texts are; a reserved name gets the suffix ``_``.

    `MEDIA_COLUMNS` are kept as texts, with a role or without.
    """
    kept = {}
    for name in frame.columns:
        if name in MEDIA_COLUMNS:
            kept[str(name)] = _as_text(frame[name])
            continue
        if name in taken:
            continue
        try:
            values = _to_numbers(frame[name], str(name), missing)
        except UsageError:
            values = _as_text(frame[name])
        reserved = name in ROLE_NAMES or name in ("source",)
        kept[f"{name}_" if reserved else str(name)] = values
    return pd.DataFrame(kept, index=frame.index)


def _to_numbers(column: pd.Series, name: str, missing: Sequence[str]) -> pd.Series:
    """Converts a column to numbers; stored booleans become 1 and 0, infinite numbers become missing."""
    if pd.api.types.is_numeric_dtype(column):
        column = column.astype("float64")
        column = column.where(np.isfinite(column))
    return parse_numbers(column, name, missing)


def _as_text(column: pd.Series) -> pd.Series:
    text = column.map(_to_text, na_action="ignore") if column.dtype == object else column.astype("str").str.strip()
    return text.where(column.notna() & (text != ""), None)


def _to_text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else str(value)


def _normalise(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())
