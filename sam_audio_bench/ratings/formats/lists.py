"""JSON lines with one list of scores per axis, as AES-natural: ``{"data_path": …, "Production_Quality": [8, 7, …]}``.

Scores at the same position of two lists need not be from the same person, so raters are anonymous.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.formats.columns import ColumnChoice, ColumnRoles, ParsedFile
from sam_audio_bench.ratings.formats.source import Source, parse_numbers
from sam_audio_bench.ratings.media import MEDIA_COLUMNS

__all__ = ["is_lists", "parse_lists"]

_ROLES = ("item", "group", "system", "domain", "trial", "session")


def is_lists(source: Source, choice: ColumnChoice) -> bool:
    """Whether records hold lists of numbers."""
    return any(_is_scores(value) for value in (source.records[0].values() if source.records else ()))


def parse_lists(source: Source, choice: ColumnChoice) -> ParsedFile:
    """Reads one row per score; lists may differ in length.

    Raises:
        UsageError: no list of numbers, or a chosen axis that is missing.
    """
    axes = list(choice.score) or [key for key in source.columns if any(_is_scores(r.get(key)) for r in source.records)]
    if not axes or not set(axes) <= set(source.columns):
        raise UsageError(
            f"expected lists of scores in {source.path} under {', '.join(axes) or 'any key'}, "
            f"found {', '.join(source.columns)}; name them with --score"
        )
    others = [{key: value for key, value in r.items() if key not in axes} for r in source.records]
    plain = pd.DataFrame(others, index=source.places)
    roles = ColumnRoles(Source(path=source.path, table=plain), choice)
    roles.need("item")
    stimuli = roles.texts(plain, _ROLES)
    kept = plain.drop(columns=[name for name in roles.found.values() if name in plain and name not in MEDIA_COLUMNS])
    parts = [_axis(stimuli.join(kept), axis, source, choice) for axis in axes]
    found = {**roles.found, "score": "lists of numbers", "axis": ", ".join(axes), "rater": "anonymous, by place"}
    return ParsedFile(
        frame=pd.concat(parts, ignore_index=True), columns=found, anonymous=True, metrics=choice.metrics or ()
    )


def _axis(stimuli: pd.DataFrame, axis: str, source: Source, choice: ColumnChoice) -> pd.DataFrame:
    lists = [entry for record in source.records if isinstance(entry := record.get(axis) or [], list)]
    if len(lists) < len(source.records):
        raise UsageError(
            f"expected a list of scores under {axis} in every record of {source.path}, found another value"
        )
    lengths = [len(entry) for entry in lists]
    places = source.places.repeat(lengths)
    flat = pd.Series([score for entry in lists for score in entry], index=places, dtype="object")
    long = stimuli.iloc[np.repeat(np.arange(len(lists)), lengths)].reset_index(drop=True)
    rater = [f"anonymous-{place:02}" for length in lengths for place in range(1, length + 1)]
    scores = parse_numbers(flat, f"{axis} of {source.path}", choice.missing).to_numpy()
    return long.assign(rater=rater, axis=axis, score=scores)


def _is_scores(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(x, int | float | None) for x in value)
