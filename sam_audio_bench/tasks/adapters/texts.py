"""The text prompts of the classes and stems of layouts: defaults, and the user's table in the folder of the data.

``prompts.toml`` or ``prompts.csv`` in the folder of the data changes the texts of classes:

    vocals = "singing"              class,text
    other = "all other instruments"      vocals,singing

A text is part of its question, so that estimates for another text are never reused.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from sam_audio_bench.errors import UsageError, describe_error, unknown_name
from sam_audio_bench.files import find_file
from sam_audio_bench.tabular import parse_table, read_text

__all__ = ["DEFAULT_TEXTS", "TEXT_TABLES", "name_to_text", "read_class_texts"]

TEXT_TABLES = ("prompts.toml", "prompts.csv")
"""File names of the user's table."""

DEFAULT_TEXTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "musdb": {"vocals": "vocals", "drums": "drums", "bass": "bass", "other": "other instruments"},
        "moisesdb": {
            "vocals": "vocals",
            "bass": "bass",
            "drums": "drums",
            "percussion": "percussion",
            "guitar": "guitar",
            "piano": "piano",
            "other_keys": "keyboard",
            "bowed_strings": "bowed strings",
            "wind": "wind instruments",
            "other_plucked": "plucked strings",
            "other": "",
        },
        "dnr": {"speech": "speech", "music": "music", "sfx": "sound effects"},
        "voicebank": {"speech": "person speaking"},
        "librimix": {"man": "man speaking", "woman": "woman speaking", "person": "person speaking"},
    }
)
"""Layout -> class -> text, chosen by this project, since the data sets have none. An empty text: never a target."""


def name_to_text(name: str) -> str:
    """Converts the name of a file or folder to a text.

    >>> name_to_text("lead_vocals")
    'lead vocals'
    """
    return re.sub(r"[\s_-]+", " ", name).strip()


def read_class_texts(layout: str, path: Path) -> dict[str, str]:
    """Returns the texts of a layout, overridden by those of the user's table; for ``stems``, the user's only.

    Args:
        layout: name of the layout.
        path: the path that the user named: the folder of the data, or a file in it.

    Raises:
        UsageError: there are two tables, one cannot be read, or it has a class that the layout does not have.
    """
    known = DEFAULT_TEXTS.get(layout, {})
    folder = path if path.is_dir() else path.parent
    tables = [table for name in TEXT_TABLES if (table := find_file(folder / name)).is_file()]
    if len(tables) > 1:
        raise UsageError(f"expected one table of prompts in {folder}, found {' and '.join(TEXT_TABLES)}: remove one")
    own = _read_table(tables[0]) if tables else {}
    if layout in DEFAULT_TEXTS and (strange := next((name for name in own if name not in known), None)):
        raise UsageError(f"{tables[0]}: {unknown_name('class', strange, known)}")
    return {**known, **{name: text.strip() for name, text in own.items()}}


def _read_table(table: Path) -> dict[str, str]:
    return _read_toml(table) if table.suffix.lower() == ".toml" else _read_csv(table)


def _read_toml(table: Path) -> dict[str, str]:
    text = read_text(table)
    expected = f'expected lines such as vocals = "singing" in {table}, found'
    try:
        found = tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"{expected}: {describe_error(error)}") from error
    if strange := next((name for name, value in found.items() if not isinstance(value, str)), None):
        raise UsageError(f"{expected} {strange} = {found[strange]!r}")
    return found


def _read_csv(table: Path) -> dict[str, str]:
    rows = parse_table(read_text(table))
    faults = [f"row {number}: {what}" for number, what in rows.errors]
    if faults or rows.names != ["class", "text"]:
        found = (*faults, f"columns {', '.join(rows.names) or 'none'}")[0]
        raise UsageError(f"expected the columns class,text in {table}, found {found}")
    own: dict[str, str] = {}
    for number, (name, text) in rows.rows:
        if name.strip() in own:
            raise UsageError(f"expected each class once in {table}, found {name.strip()!r} again in row {number}")
        own[name.strip()] = text
    return own
