"""What the classes and stems of a layout are asked by: a table here, and the user's own beside the data.

``prompts.toml`` or ``prompts.csv`` in the folder of the data changes the words, class by class:

    vocals = "singing"              class,text
    other = "all other instruments"      vocals,singing

A text is part of its question, so that answers to other words are never taken for these.
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

__all__ = ["TABLES", "TEXTS", "spoken", "texts_of"]

TABLES = ("prompts.toml", "prompts.csv")
"""Names of the user's table."""

TEXTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
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
"""Layout -> class -> text. These are ours: the data sets have none. A class whose text is empty is not asked for."""


def spoken(name: str) -> str:
    """The name of a file or folder as a text.

    >>> spoken("lead_vocals")
    'lead vocals'
    """
    return re.sub(r"[\s_-]+", " ", name).strip()


def texts_of(layout: str, path: Path) -> dict[str, str]:
    """The texts of a layout, with those of the user's table in their place; of ``stems``, the user's alone.

    Args:
        layout: name of the layout.
        path: what the user named: the folder of the data, or a file in it.

    Raises:
        UsageError: two tables, one that cannot be read, or a class that the layout does not have.
    """
    known = TEXTS.get(layout, {})
    folder = path if path.is_dir() else path.parent
    tables = [table for name in TABLES if (table := find_file(folder / name)).is_file()]
    if len(tables) > 1:
        raise UsageError(f"expected one table of prompts in {folder}, found {' and '.join(TABLES)}: remove one")
    own = _read(tables[0]) if tables else {}
    if layout in TEXTS and (strange := next((name for name in own if name not in known), None)):
        raise UsageError(f"{tables[0]}: {unknown_name('class', strange, known)}")
    return {**known, **{name: text.strip() for name, text in own.items()}}


def _read(table: Path) -> dict[str, str]:
    return _toml(table) if table.suffix.lower() == ".toml" else _csv(table)


def _toml(table: Path) -> dict[str, str]:
    text = read_text(table)
    expected = f'expected lines such as vocals = "singing" in {table}, found'
    try:
        found = tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"{expected}: {describe_error(error)}") from error
    if strange := next((name for name, value in found.items() if not isinstance(value, str)), None):
        raise UsageError(f"{expected} {strange} = {found[strange]!r}")
    return found


def _csv(table: Path) -> dict[str, str]:
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
