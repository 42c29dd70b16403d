"""Attributes of a submission's items: attributes.parquet, one row per item and attribute.

Attributes are part of neither ranks nor identities, and a submission may have none. The columns are the same for all
tasks, so that an untrusted table is checked against them as a table of scores is; the table of a run, `items.parquet`,
has one column per attribute.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import pyarrow
from pyarrow import parquet

from sam_audio_bench.errors import StoreError
from sam_audio_bench.leaderboard import safe_io
from sam_audio_bench.leaderboard.score_checks import format_examples
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.tasks.attributes import RESERVED, Attribute, Attributes, is_empty

__all__ = ["ATTRIBUTES", "check_attributes", "filter_attributes", "read", "run_attributes", "to_parquet"]

ATTRIBUTES = "attributes.parquet"
"""File name in a submission."""

_STRING = pyarrow.string()
_TYPES = pyarrow.schema(
    [("task", _STRING), ("item", _STRING), ("name", _STRING), ("number", pyarrow.float64()), ("text", _STRING)]
)
_LONGEST_NAME = 100  # letters
_MOST = 20  # attributes of a task


def run_attributes(folder: RunFolder, say: Callable[[str], None]) -> Attributes:
    """Reads the attributes of a run's items that a leaderboard accepts.

    Args:
        folder: the run.
        say: called with a sentence about each attribute that is left out.

    Raises:
        StoreError: attributes that cannot be read.
    """
    found = folder.attributes()
    if found is None:
        say(
            f"{folder.path} is submitted without attributes of its items, since it was made before they were stored; "
            f"`sabench score {folder.path} --changed` writes them"
        )
    kept, refused = filter_attributes(found or {})
    for name, fault in refused.items():
        say(f"{name!a} of {folder.path} is left out: {fault}")
    return kept


def to_parquet(tasks: Mapping[str, Attributes]) -> bytes:
    """Returns the content of the file; b"" if no item has an attribute.

    Args:
        tasks: label of a task -> attributes of its items.
    """
    rows = [
        {"task": task, "item": item, "name": name, "text" if isinstance(value, str) else "number": value}
        for task, items in tasks.items()
        for item, own in items.items()
        for name, value in own.items()
    ]
    if not rows:
        return b""
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=_TYPES), sink, compression="zstd")
    return bytes(sink.getvalue())


def read(path: Path) -> dict[str, dict[str, dict[str, Attribute]]]:
    """Reads task -> item -> name -> value from an untrusted file; raises StoreError."""
    frame = safe_io.read_table(path, _TYPES, "attributes", may_lack=("number", "text"))
    if twice := int(frame.duplicated(["task", "item", "name"]).sum()):
        raise StoreError(f"expected each attribute of an item once in {path}, found {twice} twice")
    found: dict[str, dict[str, dict[str, Attribute]]] = {}
    for task, item, name, number, text in frame.itertuples(index=False, name=None):
        if (text is None) is math.isnan(number):
            raise StoreError(f"expected a number or a text for {name!a} of {item!a} in {path}, found none or both")
        found.setdefault(task, {}).setdefault(item, {})[name] = float(number) if text is None else text
    return found


def check_attributes(items: Attributes, known: Collection[str]) -> Iterator[str]:
    """Yields what is wrong with the attributes of one task.

    Args:
        items: attributes by item.
        known: ids of the task's items.
    """
    if strange := sorted(set(items) - set(known)):
        yield f"expected attributes of items of the task, found some of {format_examples(strange)}"
    yield from filter_attributes(items)[1].values()


def filter_attributes(items: Attributes) -> tuple[dict[str, dict[str, Attribute]], dict[str, str]]:
    """Returns the attributes of a task that a leaderboard accepts, and why it refuses the others, by name."""
    columns: dict[str, list[Attribute]] = {}
    for own in items.values():
        for name, value in own.items():
            columns.setdefault(name, []).append(value)
    refused = {name: fault for name, values in columns.items() if (fault := _fault(name, values))}
    rest = [name for name in columns if name not in refused]
    refused |= {name: f"expected at most {_MOST} attributes, found {name!a} beside them" for name in rest[_MOST:]}
    kept = {item: {name: value for name, value in own.items() if name not in refused} for item, own in items.items()}
    return kept, refused


def _fault(name: str, values: Collection[Attribute]) -> str:
    """Returns why an attribute is refused; "" if it is accepted."""
    if is_empty(name) or len(name) > _LONGEST_NAME or safe_io.find_invisible(name) or name in RESERVED:
        return f"expected a name of 1 to {_LONGEST_NAME} visible letters for an attribute, found {name[:40]!a}"
    kinds = Counter(type(value) for value in values)
    if len(kinds) > 1:
        return f"expected numbers alone or texts alone for {name!a}, found both"
    for value in values:
        if isinstance(value, float) and not math.isfinite(value):
            return f"expected finite numbers for {name!a}, found {value}"
        if isinstance(value, str) and (
            is_empty(value) or safe_io.find_invisible(value) or len(value) > safe_io.LONGEST_TEXT
        ):
            return f"expected visible texts of 1 to {safe_io.LONGEST_TEXT} letters for {name!a}, found {value[:40]!a}"
    return ""
