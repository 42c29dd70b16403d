"""Attributes of items: numbers and texts, beside sound and prompt, by which results can be sliced.

An attribute is part of no identity: a site, a recording device or a loudness changes no estimate and no score, so that
columns can be added to a table after runs are finished.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sam_audio_bench.tabular import has_lone_surrogates

__all__ = ["RESERVED", "Attribute", "Attributes", "is_empty", "typed_columns"]

Attribute = float | str
"""A finite number, or a text that is not empty."""
Attributes = Mapping[str, Mapping[str, Attribute]]
"""Item -> name -> value; unknown values are left out."""

RESERVED = ("item", "group")
"""Columns of ``items.parquet`` that are not attributes."""

_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)  # "007" is a name


def is_empty(value: object) -> bool:
    """Returns whether a cell has no value: null, NaN, or a text of white space."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or value == "" or _is_blank(value)


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def typed_columns(rows: Mapping[str, Mapping[str, object]]) -> tuple[dict[str, dict[str, Attribute]], dict[str, str]]:
    """Converts the additional columns of a table to attributes of one type per column.

    A column holds numbers if all its cells are finite numbers, and texts otherwise. Booleans become "true" and
    "false", and a text that only resembles a number, such as "007" or "1_000", stays a text.

    Args:
        rows: item -> column -> cell, as it was read.

    Returns:
        The attributes of the items, and the columns that cannot be attributes, each with the reason.

    >>> typed_columns({"a": {"snr": "-5", "site": "07"}, "b": {"snr": "1e1", "site": ""}})
    ({'a': {'snr': -5.0, 'site': '07'}, 'b': {'snr': 10.0}}, {})
    """
    cells: dict[str, dict[str, Any]] = {}
    for item, row in rows.items():
        for name, value in row.items():
            if not is_empty(value):
                cells.setdefault(name, {})[item] = value
    found: dict[str, dict[str, Attribute]] = {item: {} for item in rows}
    refused: dict[str, str] = {}
    for name, column in cells.items():
        if reason := _refusal_reason(name, column):
            refused[name] = reason
            continue
        numbers = _numbers(column.values())
        values = [_text(value) for value in column.values()] if numbers is None else numbers
        for item, value in zip(column, values, strict=True):
            found[item][name] = value
    return found, refused


def _refusal_reason(name: str, column: Mapping[str, object]) -> str:
    """Returns why a column cannot be an attribute; "" if it can."""
    if name in RESERVED:
        return f"items.parquet has a column {name!r} already: rename it"
    for item, value in column.items():
        if isinstance(value, list | tuple | dict | bytes | set):
            return f"expected a number or a text in each cell, found {type(value).__name__} in that of {item}"
        if isinstance(value, str) and has_lone_surrogates(value):
            return f"expected UTF-8, found something else in the cell of {item}"
    return ""


def _numbers(values: Iterable[object]) -> Sequence[Attribute] | None:
    """Returns the cells as numbers, or None unless all of them are finite numbers."""
    found: list[float] = []
    for value in values:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number and not (isinstance(value, str) and _NUMBER.fullmatch(value.strip())):
            return None
        try:
            number = float(value)  # type: ignore[arg-type]
        except OverflowError:
            return None
        if not math.isfinite(number):
            return None
        found.append(number)
    return found


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).strip()
