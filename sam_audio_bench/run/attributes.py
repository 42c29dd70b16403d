"""Attributes of a run's items besides their scores: items.parquet, with one row per item and one column per attribute.

Measured attributes (`run.measuring`) are in the journal, attributes of the data set in the task data; the table joins
both whenever scores are sealed. Reading it does not need torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow

from sam_audio_bench.digests import file_digest
from sam_audio_bench.errors import MediaError, Precondition, StoreError, UsageError
from sam_audio_bench.files import atomic_write, sha256
from sam_audio_bench.records import ItemRecord, to_builtins
from sam_audio_bench.tasks.attributes import RESERVED, Attribute

__all__ = [
    "ITEMS_TABLE",
    "AttributeTable",
    "is_close_value",
    "is_table_current",
    "join_attributes",
    "read_attributes",
    "select_attributes",
    "write_attributes",
]

ITEMS_TABLE = "items.parquet"
"""File name in a run folder."""

_REMEDY = "`sabench score {} --changed` writes it, and computes no score again that is there"
"""What to do if there is no such table."""


def _join_item(record: ItemRecord, given: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Returns the attributes of an item; those of the data set override measured ones of the same name."""
    measured = {} if record.measured is None else to_builtins(record.measured)
    seconds = {"seconds": record.audio_seconds} if record.audio_seconds else {}
    return {**seconds, **{name: float(value) for name, value in measured.items() if value is not None}, **given}


def is_table_current(
    path: Path, digest: str | None, items: Mapping[str, ItemRecord], given: Callable[[str], Mapping[str, Attribute]]
) -> bool:
    """Whether a run folder's table is intact and equals what `write_attributes` would write now."""
    try:
        sealed = read_attributes(path, digest)
    except StoreError:
        return False
    return sealed == {item: _join_item(record, given(item)) for item, record in items.items()}


def write_attributes(
    path: Path, items: Mapping[str, ItemRecord], order: Sequence[str], given: Callable[[str], Mapping[str, Attribute]]
) -> str:
    """Writes the table of a run folder and returns its SHA-256.

    Args:
        path: the run folder.
        items: records of its journal, by item.
        order: ids in the order of the rows; items that are not among them follow, sorted.
        given: returns the attributes that the data set gives to an item.
    """
    from pyarrow import parquet

    known = set(order)
    ordered = [*(item for item in order if item in items), *sorted(item for item in items if item not in known)]
    groups = {item: items[item].group for item in ordered}
    attributes = {item: _join_item(items[item], given(item)) for item in ordered}
    columns = {"item": pyarrow.array(list(groups), pyarrow.string()),
               "group": pyarrow.array(list(groups.values()), pyarrow.string())}  # fmt: skip
    for name in dict.fromkeys(name for item in groups for name in attributes[item]):
        cells = [attributes[item].get(name) for item in groups]
        if any(isinstance(cell, str) for cell in cells):
            columns[name] = pyarrow.array([None if cell is None else str(cell) for cell in cells], pyarrow.string())
        else:
            columns[name] = pyarrow.array(cells, pyarrow.float64())
    with atomic_write(path / ITEMS_TABLE, durable=True) as temporary:
        parquet.write_table(pyarrow.table(columns), temporary)
        return sha256(temporary.read_bytes())


class AttributeTable(NamedTuple):
    """Where the attributes of a run's items are stored."""

    folder: Path
    task: str
    sha256: str | None  # from run.json; None: the run predates attributes, or was not finished


def join_attributes(tables: Iterable[AttributeTable]) -> dict[tuple[str, str], dict[str, Attribute]]:
    """Returns the attributes of the items of several runs, by task and item; runs may have different attributes.

    Raises:
        StoreError: see `read_attributes`. UsageError: two runs have different values of an attribute.
    """
    joined: dict[tuple[str, str], dict[str, Attribute]] = {}
    for table in tables:
        for item, own in (read_attributes(table.folder, table.sha256) or {}).items():
            known = joined.setdefault((table.task, item), {})
            for name, value in own.items():
                if not is_close_value(known.setdefault(name, value), value):
                    raise UsageError(
                        f"expected {name} of {item} of {table.task} to be {known[name]} as in the other runs, found "
                        f"{value}: the data have changed; {_REMEDY.format(table.folder)}, and so of the others"
                    )
    return joined


def select_attributes(
    tables: Collection[AttributeTable], items: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], dict[str, Attribute]]:
    """Returns the attributes of the given (task, item) pairs.

    Raises:
        Precondition: a run has stored none. StoreError, UsageError: see `join_attributes`.
    """
    known, requested = join_attributes(tables), dict.fromkeys(items)
    if missing := next((key for key in requested if key not in known), None):
        task, item = missing
        place = next((one.folder for one in tables if one.task == task and one.sha256 is None), task)
        raise Precondition(
            f"expected attributes of the items in {place}, found none of {item}: the run is from before they were "
            f"kept, or was not finished; {_REMEDY.format(place)}"
        )
    return {key: known[key] for key in requested}


def is_close_value(one: Attribute, other: Attribute) -> bool:
    """Whether two runs agree on a value; measurements on different machines may differ in the last digit."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return math.isclose(one, other, rel_tol=1e-3, abs_tol=0.02)


def read_attributes(path: Path, digest: str | None) -> dict[str, dict[str, Attribute]] | None:
    """Returns the attributes of the items of a run folder; None if it predates attributes and has no table.

    Args:
        path: the run folder.
        digest: SHA-256 of the table, from run.json.

    Raises:
        StoreError: the table is damaged, or is not the one that was sealed.
    """
    file = path / ITEMS_TABLE
    if digest is None:
        return None
    from pyarrow import parquet

    remedy = _REMEDY.format(path)
    try:
        if file_digest(file) != digest:
            raise StoreError(f"expected the attributes of the run at {file}, found another table; {remedy}")
        rows = parquet.read_table(file).to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException, MediaError) as error:
        raise StoreError(
            f"expected the attributes of the run at {file}, found none that can be read; {remedy}"
        ) from error
    return {
        str(row["item"]): {name: value for name, value in row.items() if value is not None and name not in RESERVED}
        for row in rows
    }
