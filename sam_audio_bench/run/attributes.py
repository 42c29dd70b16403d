"""Attributes of a run's items beside its scores: items.parquet, one row an item, a column an attribute.

What was measured (`run.measuring`) lies in the journal, with the item, and what the data say in the data; the table is
made of both whenever scores are sealed. Reading it needs no torch.
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
    "TABLE",
    "AttributeTable",
    "are_current",
    "attributes_of",
    "is_same",
    "joined_attributes",
    "read_attributes",
    "write_attributes",
]

TABLE = "items.parquet"
"""File of a run folder."""

_REMEDY = "`sabench score {} --changed` writes it, and computes no score again that is there"
"""What to do where there is no such table."""


def _attributes(record: ItemRecord, said: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Attributes of an item: what was measured, and what its data say, which counts where both name the same."""
    measured = {} if record.measured is None else to_builtins(record.measured)
    seconds = {"seconds": record.audio_seconds} if record.audio_seconds else {}
    return {**seconds, **{name: float(value) for name, value in measured.items() if value is not None}, **said}


def are_current(
    path: Path, digest: str | None, items: Mapping[str, ItemRecord], said: Callable[[str], Mapping[str, Attribute]]
) -> bool:
    """Whether a run folder's table is whole, and what `write_attributes` would write today."""
    try:
        sealed = read_attributes(path, digest)
    except StoreError:
        return False
    return sealed == {item: _attributes(record, said(item)) for item, record in items.items()}


def write_attributes(
    path: Path, items: Mapping[str, ItemRecord], order: Sequence[str], said: Callable[[str], Mapping[str, Attribute]]
) -> str:
    """Writes the table of a run folder, and gives its SHA-256.

    Args:
        path: the run folder.
        items: its journal.
        order: of the rows; items that are not in it follow by their names.
        said: what the data say of an item.
    """
    from pyarrow import parquet

    known = set(order)
    ordered = [*(item for item in order if item in items), *sorted(item for item in items if item not in known)]
    groups = {item: items[item].group for item in ordered}
    attributes = {item: _attributes(items[item], said(item)) for item in ordered}
    columns = {"item": pyarrow.array(list(groups), pyarrow.string()),
               "group": pyarrow.array(list(groups.values()), pyarrow.string())}  # fmt: skip
    for name in dict.fromkeys(name for item in groups for name in attributes[item]):
        cells = [attributes[item].get(name) for item in groups]
        if any(isinstance(cell, str) for cell in cells):
            columns[name] = pyarrow.array([None if cell is None else str(cell) for cell in cells], pyarrow.string())
        else:
            columns[name] = pyarrow.array(cells, pyarrow.float64())
    with atomic_write(path / TABLE, durable=True) as temporary:
        parquet.write_table(pyarrow.table(columns), temporary)
        return sha256(temporary.read_bytes())


class AttributeTable(NamedTuple):
    """Where the attributes of a run's items lie."""

    folder: Path
    task: str
    sha256: str | None  # as run.json has it; None: the run is older than these, or was not finished


def joined_attributes(tables: Iterable[AttributeTable]) -> dict[tuple[str, str], dict[str, Attribute]]:
    """Attributes of the items of several runs, by task and item; what one run does not know another one may.

    Raises:
        StoreError: as `read_attributes`. UsageError: two runs that know different values.
    """
    joined: dict[tuple[str, str], dict[str, Attribute]] = {}
    for table in tables:
        for item, own in (read_attributes(table.folder, table.sha256) or {}).items():
            known = joined.setdefault((table.task, item), {})
            for name, value in own.items():
                if not is_same(known.setdefault(name, value), value):
                    raise UsageError(
                        f"expected {name} of {item} of {table.task} to be {known[name]} as in the other runs, found "
                        f"{value}: the data have changed; {_REMEDY.format(table.folder)}, and so of the others"
                    )
    return joined


def attributes_of(
    tables: Collection[AttributeTable], asked: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], dict[str, Attribute]]:
    """Of the items that are asked for; raises as `joined_attributes`, and Precondition where a run has kept none."""
    known, wanted = joined_attributes(tables), dict.fromkeys(asked)
    if lost := next((key for key in wanted if key not in known), None):
        task, item = lost
        place = next((one.folder for one in tables if one.task == task and one.sha256 is None), task)
        raise Precondition(
            f"expected attributes of the items in {place}, found none of {item}: the run is from before they were "
            f"kept, or was not finished; {_REMEDY.format(place)}"
        )
    return {key: known[key] for key in wanted}


def is_same(one: Attribute, other: Attribute) -> bool:
    """Whether two runs mean the same; another machine may have rounded what it measured to the digit beside."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return math.isclose(one, other, rel_tol=1e-3, abs_tol=0.02)


def read_attributes(path: Path, digest: str | None) -> dict[str, dict[str, Attribute]] | None:
    """Attributes of the items of a run folder; None: it has no such table, being older than these.

    Args:
        path: the run folder.
        digest: of the table, as run.json has it.

    Raises:
        StoreError: a table that is damaged, or not the one that was sealed.
    """
    place = path / TABLE
    if digest is None:
        return None
    from pyarrow import parquet

    remedy = _REMEDY.format(path)
    try:
        if file_digest(place) != digest:
            raise StoreError(f"expected the attributes of the run at {place}, found another table; {remedy}")
        rows = parquet.read_table(place).to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException, MediaError) as error:
        raise StoreError(
            f"expected the attributes of the run at {place}, found none that can be read; {remedy}"
        ) from error
    return {
        str(row["item"]): {name: value for name, value in row.items() if value is not None and name not in RESERVED}
        for row in rows
    }
