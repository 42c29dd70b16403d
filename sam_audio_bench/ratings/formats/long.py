"""Long tables: one row per score, or one row per rated stimulus with one column per axis; also tables of means."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.catalogue import CARDS
from sam_audio_bench.ratings.formats.columns import NAMES, ROLES, Choice, Parsed, Roles, extra_columns
from sam_audio_bench.ratings.formats.source import Source, numbers, table_of

__all__ = ["AXES", "is_long", "parse_long"]

AXES = ("overall", "recall", "precision", "faithfulness")
"""Axes of the SAM Audio Judge (arXiv:2601.19702): columns with these names are separate scores."""

_CONTROLS = ("kind", "expected", "played", "n_raters")
_YES = {"1", "true", "yes", "1.0"}


def is_long(source: Source, choice: Choice) -> bool:
    """Whether a column is chosen as the score, or named like one."""
    return bool(choice.score) or bool(_score_columns(Roles(source, choice), source))


def parse_long(source: Source, choice: Choice) -> Parsed:
    """One row per score and axis.

    Without a column of raters, repeated rows of a stimulus are from anonymous raters; single rows are means.

    Raises:
        UsageError: no score or item, a score that is no number, or a stated column that is missing.
    """
    frame = table_of(source)
    roles = Roles(source, choice)
    columns = list(choice.score) or _score_columns(roles, source) or [roles.need("score")]
    absent = [name for name in columns if name not in frame]
    if absent:
        raise UsageError(f"expected --score to name columns of {source.path}, found {', '.join(absent)}")
    roles.need("item")
    wanted = [role for role in ROLES if role not in ("score", *(["axis"] if len(columns) > 1 else []))]
    known = roles.texts(frame, wanted)
    if "time" in known:
        known["time"] = numbers(known["time"], "the column of seconds", choice.missing)
    known = known.join(_controls(frame, roles))
    extras = extra_columns(frame, [*columns, *roles.found.values()], choice.missing)
    known = known.join(extras)
    parts = [
        known.assign(score=numbers(frame[name], f"column {name}", choice.missing), **_axis(name, known, columns))
        for name in columns
    ]
    tidy = pd.concat(parts, ignore_index=True)
    anonymous, tidy, notes = _named(tidy)
    metrics = choice.metrics if choice.metrics is not None else tuple(name for name in extras if name in CARDS)
    found = {**roles.found, "score": ", ".join(columns)}
    return Parsed(frame=tidy, columns=found, metrics=metrics, anonymous=anonymous, notes=notes)


def _score_columns(roles: Roles, source: Source) -> list[str]:
    """Columns named as the judge's axes, all of which score, or else the one named as a score."""
    axes = [name for name in source.columns if name.casefold() in AXES]
    if axes:
        return axes
    name = roles.column("score")
    return [] if name is None else [name]


def _axis(name: str, known: pd.DataFrame, columns: list[str]) -> dict[str, str]:
    if "axis" in known:
        return {}
    return {"axis": name if len(columns) > 1 or name.casefold() not in NAMES["score"] else "score"}


def _controls(frame: pd.DataFrame, roles: Roles) -> pd.DataFrame:
    texts = roles.texts(frame, _CONTROLS)
    for role in ("expected", "n_raters"):
        if role in texts:
            texts[role] = numbers(texts[role], f"the column {role}")
    if "played" in texts:
        texts["played"] = texts["played"].str.lower().isin(_YES)
    return texts


def _named(tidy: pd.DataFrame) -> tuple[bool, pd.DataFrame, tuple[str, ...]]:
    """Gives rows without a column of raters the rater "mean", or anonymous ones."""
    if "rater" in tidy:
        return False, tidy, ()
    keys = [name for name in ("item", "system", "axis") if name in tidy]
    repeats = tidy.groupby(keys, dropna=False).cumcount()
    if "n_raters" in tidy or not repeats.any():
        return True, tidy.assign(rater="mean"), ("no column of raters: every row is read as a mean over raters",)
    names = np.char.add("anonymous-", np.char.zfill((repeats.to_numpy() + 1).astype(str), 2))
    return True, tidy.assign(rater=names), ("no column of raters: scores of one stimulus come from unknown raters",)
