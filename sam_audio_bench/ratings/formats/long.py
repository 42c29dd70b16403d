"""Long tables: one row per score, or one row per rated stimulus with one column per axis; also tables of means."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.catalogue import CARDS
from sam_audio_bench.ratings.formats.columns import (
    ROLE_NAMES,
    ROLES,
    ColumnChoice,
    ColumnRoles,
    ParsedFile,
    extra_columns,
)
from sam_audio_bench.ratings.formats.source import Source, as_table, parse_numbers

__all__ = ["AXES", "is_long", "parse_long"]

AXES = ("overall", "recall", "precision", "faithfulness")
"""Axes of the SAM Audio Judge (arXiv:2601.19702): columns with these names are separate scores."""

_CONTROLS = ("kind", "expected", "played", "n_raters")
_YES = {"1", "true", "yes", "1.0"}


def is_long(source: Source, choice: ColumnChoice) -> bool:
    """Whether a column is chosen as the score, or named like one."""
    return bool(choice.score) or bool(_score_columns(ColumnRoles(source, choice), source))


def parse_long(source: Source, choice: ColumnChoice) -> ParsedFile:
    """Reads one row per score and axis.

    Without a column of raters, repeated rows of a stimulus are from anonymous raters; single rows are means.

    Raises:
        UsageError: no score or item, a score that is no number, or a stated column that is missing.
    """
    frame = as_table(source)
    roles = ColumnRoles(source, choice)
    columns = list(choice.score) or _score_columns(roles, source) or [roles.need("score")]
    absent = [name for name in columns if name not in frame]
    if absent:
        raise UsageError(f"expected --score to name columns of {source.path}, found {', '.join(absent)}")
    roles.need("item")
    described = [role for role in ROLES if role not in ("score", *(["axis"] if len(columns) > 1 else []))]
    known = roles.texts(frame, described)
    if "time" in known:
        known["time"] = parse_numbers(known["time"], "the column of seconds", choice.missing)
    known = known.join(_controls(frame, roles))
    extras = extra_columns(frame, [*columns, *roles.found.values()], choice.missing)
    known = known.join(extras)
    parts = [
        known.assign(score=parse_numbers(frame[name], f"column {name}", choice.missing), **_axis(name, known, columns))
        for name in columns
    ]
    tidy = pd.concat(parts, ignore_index=True)
    anonymous, tidy, notes = _name_raters(tidy)
    metrics = choice.metrics if choice.metrics is not None else tuple(name for name in extras if name in CARDS)
    found = {**roles.found, "score": ", ".join(columns)}
    return ParsedFile(frame=tidy, columns=found, metrics=metrics, anonymous=anonymous, notes=notes)


def _score_columns(roles: ColumnRoles, source: Source) -> list[str]:
    """Returns all columns named like axes of the judge, or else the one named like a score."""
    axes = [name for name in source.columns if name.casefold() in AXES]
    if axes:
        return axes
    name = roles.column("score")
    return [] if name is None else [name]


def _axis(name: str, known: pd.DataFrame, columns: list[str]) -> dict[str, str]:
    if "axis" in known:
        return {}
    return {"axis": name if len(columns) > 1 or name.casefold() not in ROLE_NAMES["score"] else "score"}


def _controls(frame: pd.DataFrame, roles: ColumnRoles) -> pd.DataFrame:
    texts = roles.texts(frame, _CONTROLS)
    for role in ("expected", "n_raters"):
        if role in texts:
            texts[role] = parse_numbers(texts[role], f"the column {role}")
    if "played" in texts:
        texts["played"] = texts["played"].str.lower().isin(_YES)
    return texts


def _name_raters(tidy: pd.DataFrame) -> tuple[bool, pd.DataFrame, tuple[str, ...]]:
    """Adds a missing column of raters: "mean" for single rows, anonymous raters for repeated ones."""
    if "rater" in tidy:
        return False, tidy, ()
    keys = [name for name in ("item", "system", "axis") if name in tidy]
    repeats = tidy.groupby(keys, dropna=False).cumcount()
    if "n_raters" in tidy or not repeats.any():
        return True, tidy.assign(rater="mean"), ("no column of raters: every row is read as a mean over raters",)
    names = np.char.add("anonymous-", np.char.zfill((repeats.to_numpy() + 1).astype(str), 2))
    return True, tidy.assign(rater=names), ("no column of raters: scores of one stimulus come from unknown raters",)
