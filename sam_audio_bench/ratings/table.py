"""The tidy table of a listening test: one row per rating, in a parquet file with metadata about the scale."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import pandas as pd
import pyarrow
import pyarrow.parquet

from sam_audio_bench.errors import StoreError, UsageError
from sam_audio_bench.files import atomic_write, dump_json
from sam_audio_bench.ratings.media import MEDIA_COLUMNS, make_paths_absolute, make_paths_relative

__all__ = [
    "COLUMNS",
    "CONTROL_COLUMNS",
    "VOTE_COLUMNS",
    "Direction",
    "Ratings",
    "Scale",
    "guess_scale",
    "parse_scale",
]

COLUMNS = ("rater", "item", "group", "system", "domain", "axis", "score", "time", "trial", "session")
"""Columns of ratings, one row per score; ``time`` in seconds, ``group`` is the recording; unknown columns follow."""
VOTE_COLUMNS = ("rater", "item", "group", "first", "second", "choice", "domain", "axis", "time", "trial", "session")
"""Columns of votes, one row per comparison of two systems on one item; ``choice`` is first, second or tie."""
CONTROL_COLUMNS = ("kind", "expected", "played", "n_raters")
"""Optional: rating, hidden_reference, anchor, trap or gold; the right answer; played to the end; raters of a mean."""

Direction = Literal["higher", "lower"]
Scale = tuple[float, float]

_KEY = b"sam_audio_bench.ratings"
_VERSION = 1
_UNREADABLE = (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError, MemoryError)
_NUMBERS = {"score", "time", "expected", "n_raters"}
_KNOWN_SCALES: tuple[Scale, ...] = ((1, 5), (1, 7), (1, 9), (0, 10), (0, 100), (-3, 3), (-100, 100))


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """Ratings or votes of a listening test, with the metadata needed to interpret them.

    ``frame`` has `COLUMNS` (or `VOTE_COLUMNS` for ``votes``), then those of `CONTROL_COLUMNS` and `MEDIA_COLUMNS` that
    apply, then others.
    """

    frame: pd.DataFrame
    votes: bool = False
    scale: Scale | None = None  # lowest and highest possible score
    direction: Direction = "higher"  # which end of the scale is better
    metrics: tuple[str, ...] = ()  # columns that hold objective metrics of the stimulus
    anonymous: bool = False  # who gave which score is unknown: rater names mean nothing across stimuli
    paths: tuple[str, ...] = ()  # columns that hold paths, absolute here and relative to its folder in a file
    history: tuple[Mapping[str, object], ...] = ()  # processing steps since the import

    def with_frame(self, frame: pd.DataFrame, *done: Mapping[str, object]) -> Ratings:
        """Returns the same test with other rows; ``done`` is appended to the history."""
        return replace(self, frame=frame, history=(*self.history, *done))

    @property
    def without_controls(self) -> pd.DataFrame:
        """Rows that rate a system, without traps, golds, anchors and hidden references."""
        if "kind" not in self.frame:
            return self.frame
        return self.frame[self.frame["kind"].fillna("rating") == "rating"]

    @property
    def answers(self) -> pd.DataFrame:
        """Deprecated name of `without_controls`."""
        message = "Ratings.answers is now Ratings.without_controls; the old name goes with the next release"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.without_controls

    @property
    def axes(self) -> list[str]:
        """Axes in order of appearance."""
        return [str(axis) for axis in self.without_controls["axis"].unique()]

    def write(self, path: Path) -> None:
        """Writes parquet atomically; scale, direction, metrics and history go into its metadata."""
        frame = make_paths_relative(self.frame, self.paths, path.parent)
        table = pyarrow.Table.from_pandas(frame, preserve_index=False)
        for position, name in enumerate(table.column_names):
            kind = _storage(name)
            if kind is not None:
                table = table.set_column(position, name, table[name].cast(kind))
        facts = {
            "version": _VERSION,
            "votes": self.votes,
            "scale": self.scale,
            "direction": self.direction,
            "metrics": list(self.metrics),
            "anonymous": self.anonymous,
            "paths": list(self.paths),
            "history": [dict(entry) for entry in self.history],
        }
        table = table.replace_schema_metadata({_KEY: dump_json(facts).encode()})
        with atomic_write(path) as temporary:
            pyarrow.parquet.write_table(table, temporary)

    @classmethod
    def read(cls, path: Path) -> Ratings:
        """Reads a file of `write`, or any parquet file with the same columns.

        Raises:
            StoreError: no parquet file there, or a column is missing.
            UsageError: written by a later version.
        """
        if path.is_dir():
            raise StoreError(f"expected ratings at {path}, found a folder; name the parquet file")
        try:
            table = pyarrow.parquet.read_table(path)
        except _UNREADABLE as error:
            raise StoreError(
                f"expected ratings at {path}, found no parquet file that can be read ({error}); "
                "make one with `sabench ratings import`"
            ) from error
        facts = _read_facts((table.schema.metadata or {}).get(_KEY, b"{}"), path)
        frame = _read_frame(table, path)
        votes = "choice" in frame if facts.votes is None else facts.votes
        missing = [name for name in (VOTE_COLUMNS if votes else COLUMNS) if name not in frame]
        if missing or frame.empty:
            found = f"no column {', '.join(missing)}" if missing else "no rows"
            raise StoreError(f"expected tidy ratings at {path}, found {found}; use `sabench ratings import`")
        return cls(
            frame=make_paths_absolute(frame, facts.paths, path.parent),
            votes=votes,
            scale=facts.scale,
            direction=facts.direction,
            metrics=facts.metrics,
            anonymous=facts.anonymous,
            paths=facts.paths,
            history=facts.history,
        )


class _Facts(msgspec.Struct, frozen=True):
    """Metadata in a file of `Ratings.write`."""

    version: int = _VERSION
    votes: bool | None = None  # None: inferred from the columns
    scale: tuple[int | float, int | float] | None = None  # as it was written
    direction: Direction = "higher"
    metrics: tuple[str, ...] = ()
    anonymous: bool = False
    paths: tuple[str, ...] = ()
    history: tuple[dict[str, object], ...] = ()


def _read_facts(content: bytes, path: Path) -> _Facts:
    try:
        found = msgspec.json.decode(content, type=_Facts)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(
            f"expected ratings at {path}, found damaged metadata ({error}); use `sabench ratings import` again"
        ) from error
    if found.version > _VERSION:
        raise UsageError(f"expected ratings of version {_VERSION}, found {found.version} in {path}; upgrade")
    return found


def _read_frame(table: pyarrow.Table, path: Path) -> pd.DataFrame:
    """Converts a table to a frame; casts known columns to their types."""
    try:
        for position, name in enumerate(table.column_names):
            kind = _storage(name)
            if kind is not None and not table.schema.field(position).type.equals(kind):
                table = table.set_column(position, name, table.column(position).cast(kind))
        frame: pd.DataFrame = table.to_pandas()
    except _UNREADABLE as error:
        what = f"numbers in column {name}" if name in _NUMBERS else "columns of texts and numbers"
        raise StoreError(f"expected {what} at {path}, found something else ({error})") from error
    if not frame.columns.is_unique:
        raise StoreError(f"expected each column once at {path}, found one twice; use `sabench ratings import` again")
    return frame


def parse_scale(text: str) -> Scale:
    """Reads ``LOW:HIGH``.

    >>> parse_scale("1:5")
    (1.0, 5.0)
    """
    low, colon, high = text.partition(":")
    try:
        scale = float(low), float(high)
    except ValueError:
        colon = ""
    if not colon or not -math.inf < scale[0] < scale[1] < math.inf:
        raise UsageError(f"expected a scale LOW:HIGH such as 1:5, found {text!r}")
    return scale


def guess_scale(lowest: float, highest: float) -> Scale:
    """Returns the smallest usual scale that contains both scores; if there is none, the scores themselves.

    >>> guess_scale(1, 4), guess_scale(0, 10), guess_scale(3, 88)
    ((1, 5), (0, 10), (0, 100))
    """
    for scale in _KNOWN_SCALES:
        if scale[0] <= lowest and highest <= scale[1]:
            return scale
    return lowest, highest


def _storage(name: str) -> Any:
    if name in _NUMBERS:
        return pyarrow.float64()
    if name == "played":
        return pyarrow.bool_()
    return pyarrow.string() if name in {*COLUMNS, *VOTE_COLUMNS, *MEDIA_COLUMNS, "kind"} else None
