"""Pairwise votes: the first system, the second system, or a tie."""

from __future__ import annotations

import pandas as pd

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.formats.columns import ColumnChoice, ColumnRoles, ParsedFile, extra_columns
from sam_audio_bench.ratings.formats.source import Source, as_table, name_row, parse_numbers

__all__ = ["is_votes", "parse_votes", "read_choices"]

_ROLES = ("rater", "item", "group", "domain", "axis", "trial", "session", "time")
_WORDS = {
    "first": "first a left 1 model_a system_a option_a",
    "second": "second b right 2 model_b system_b option_b",
    "tie": "tie 0 equal same both neither none draw no_preference undecided both_bad tie_(bothbad)",
}
_MEANING = {word: choice for choice, words in _WORDS.items() for word in words.split()}


def is_votes(source: Source, choice: ColumnChoice) -> bool:
    """Whether each row has two systems and a choice."""
    roles = ColumnRoles(source, choice)
    return all(roles.column(role) is not None for role in ("first", "second", "choice"))


def parse_votes(source: Source, choice: ColumnChoice) -> ParsedFile:
    """One row per comparison; a choice may be a side, a number (1, 2, 0: tie) or the name of the preferred system.

    Raises:
        UsageError: a column is missing, a choice is unknown, or a system is compared with itself.
    """
    frame = as_table(source)
    roles = ColumnRoles(source, choice)
    names = {role: roles.need(role) for role in ("first", "second", "choice")}
    tidy = roles.texts(frame, (*names, *_ROLES))
    if "time" in tidy:
        tidy["time"] = parse_numbers(tidy["time"], "the column of seconds")
    for role in ("first", "second"):
        if tidy[role].isna().any():
            raise UsageError(
                f"expected two systems in every vote of {source.path}, found none in {_row(tidy[role].isna())}"
            )
    itself = tidy["first"] == tidy["second"]
    if itself.any():
        raise UsageError(f"expected two different systems in every vote of {source.path}, found one in {_row(itself)}")
    tidy["choice"] = read_choices(tidy, source)
    if "rater" not in tidy:
        tidy["rater"] = [f"anonymous-{row + 1}" for row in range(len(tidy))]
    if "item" not in tidy:
        tidy["item"] = "unnamed"
    if "axis" not in tidy:
        tidy["axis"] = "preference"
    return ParsedFile(
        frame=tidy.join(extra_columns(frame, list(roles.found.values()))), columns=roles.found, votes=True,
        anonymous="rater" not in roles.found,
    )  # fmt: skip


def read_choices(tidy: pd.DataFrame, source: Source) -> pd.Series:
    """Converts choices to first, second or tie.

    Args:
        tidy: columns first, second and choice, whose choices are sides, numbers or names of systems.
        source: the file, for an error.

    Raises:
        UsageError: an unknown choice.
    """
    plain = tidy["choice"].fillna("").str.casefold().str.replace(" ", "_").str.removesuffix(".0")
    found = plain.map(_MEANING)
    found = found.mask(tidy["choice"] == tidy["first"], "first").mask(tidy["choice"] == tidy["second"], "second")
    if found.isna().any():
        raise UsageError(
            f"expected a choice of first, second, tie or a system's name in {source.path}, "
            f"found {tidy['choice'][found.isna()].iloc[0]!r} in {_row(found.isna())}"
        )
    return found


def _row(marks: pd.Series) -> str:
    """Returns the name of the first marked row, for messages."""
    return name_row(marks, int(marks.to_numpy().argmax()))
