"""The scores of a run, stored by column: a million rows take tens of MiB, and are filtered and sorted without loops."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow
from msgspec import structs
from numpy.typing import NDArray
from pyarrow import compute

from sam_audio_bench.digests import file_digest
from sam_audio_bench.errors import MediaError, StoreError
from sam_audio_bench.records import SCORE_COLUMNS, ScoreRow, read_records
from sam_audio_bench.run.journal import SCORES
from sam_audio_bench.types import Status

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DICTIONARY_COLUMNS",
    "SCORE_TYPES",
    "ExpectedScores",
    "ScoreKey",
    "ScoreTable",
    "parse_score_table",
    "read_scores",
]

_TYPES = {"seed": pyarrow.int64(), "candidate": pyarrow.int64(), "value": pyarrow.float64()}
SCORE_TYPES = pyarrow.schema([(name, _TYPES.get(name, pyarrow.string())) for name in SCORE_COLUMNS])
DICTIONARY_COLUMNS = [name for name in SCORE_COLUMNS if name not in _TYPES]  # texts with few distinct values
_MAX_ADDED = 50_000  # rows kept as objects before they are added to the table

EstimateKey = tuple[int, str]  # candidate, its picker or ""
ScoreKey = tuple[int, str, str]  # of a row of an item: candidate, picker, metric
Mask = NDArray[np.bool_]


class ExpectedScores(NamedTuple):
    """The rows that an item has according to the journal; items with equal rows share the two sets."""

    item: str
    required: frozenset[ScoreKey]
    allowed: frozenset[ScoreKey] | None  # None: any


class ScoreTable:
    """Rows of scores.parquet; a later row of the same item, candidate, picker and metric replaces an earlier one.

    Args:
        table: rows of `SCORE_TYPES`, no two of which have one key.
    """

    def __init__(self, table: pyarrow.Table | None = None) -> None:
        self._table = _dictionary_encoded(SCORE_TYPES.empty_table() if table is None else table)
        self._added: dict[tuple[str, int, str, str], ScoreRow] = {}

    def __len__(self) -> int:
        return int(self.table().num_rows)

    def add(self, rows: Iterable[ScoreRow]) -> None:
        """Adds rows, which replace rows with the same key."""
        self._added.update({row.key: row for row in rows})
        if len(self._added) > _MAX_ADDED:
            self.table()

    def table(self) -> pyarrow.Table:
        """Returns all rows; texts are dictionary-encoded."""
        if self._added:
            new = list(self._added.values())
            columns = [[getattr(row, name) for row in new] for name in SCORE_COLUMNS]
            arrays = [pyarrow.array(values, SCORE_TYPES.field(name).type)
                      for name, values in zip(SCORE_COLUMNS, columns, strict=True)]  # fmt: skip
            added = _dictionary_encoded(pyarrow.Table.from_arrays(arrays, schema=SCORE_TYPES))
            kept = self._table.filter(pyarrow.array(self._not_replaced())) if self._table.num_rows else self._table
            self._table = pyarrow.concat_tables([kept, added]).unify_dictionaries().combine_chunks()
            self._added = {}
        return self._table

    def _not_replaced(self) -> Mask:
        """Returns which rows of the table are not replaced by added ones."""
        items = pyarrow.array(sorted({row.item for row in self._added.values()}), pyarrow.string())
        left: Mask = ~compute.is_in(self._table["item"], items).to_numpy()
        places = np.flatnonzero(~left)
        keys = [self._table[name].take(places).to_pylist() for name in ("item", "candidate", "picked_by", "metric")]
        left[places] = [(item, candidate, picker or "", metric) not in self._added
                        for item, candidate, picker, metric in zip(*keys, strict=True)]  # fmt: skip
        return left

    def rows(self) -> Iterator[ScoreRow]:
        """Yields each row as a record."""
        for batch in self.table().to_batches(max_chunksize=10_000):
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                fields = dict(zip(SCORE_COLUMNS, values, strict=True))
                yield ScoreRow(**{**fields, "status": Status(fields["status"])})

    def keep_items(self, items: Collection[str]) -> None:
        """Removes the rows of all other items."""
        self._keep(compute.is_in(self.table()["item"], pyarrow.array(list(items), pyarrow.string())).to_numpy())

    def drop_columns(self, columns: Mapping[str, Collection[str]]) -> None:
        """Removes rows by item and metric; ``columns`` maps an item to metric ids."""
        if not any(columns.values()):
            return
        pairs = zip(*(self.table()[name].to_pylist() for name in ("item", "metric")), strict=True)
        self._keep(np.array([metric not in columns.get(item, ()) for item, metric in pairs], dtype=bool))

    def _keep(self, left: Mask) -> None:
        if not left.all():
            self._table = self.table().filter(pyarrow.array(left))

    def reconcile(self, expected: Iterable[ExpectedScores]) -> dict[str, set[str]]:
        """Removes rows that are not allowed, and returns item -> metrics of which required rows are missing."""
        table = self.table()
        codes, items = _codes_and_texts(table["item"])
        keys, known = self._keys(table)
        place = {item: code for code, item in enumerate(items)}
        there = np.zeros((len(items) + 1, len(known)), dtype=bool)
        there[codes, keys] = True
        allowed = np.zeros_like(there)
        missing: dict[str, set[str]] = {}
        for rows, names in _group_items(expected):
            at = np.array([place.get(name, len(items)) for name in names])
            is_allowed = [rows.allowed is None or key in rows.allowed for key in known]
            allowed[at] |= np.array(is_allowed, dtype=bool)
            for key in rows.required:
                lost = np.flatnonzero(~there[at, known[key]]) if key in known else np.arange(len(names))
                allowed[at[lost]] &= np.array([other[2] != key[2] for other in known], dtype=bool)
                for number in lost:
                    missing.setdefault(names[number], set()).add(key[2])
        self._keep(allowed[codes, keys])
        return missing

    @staticmethod
    def _keys(table: pyarrow.Table) -> tuple[NDArray[np.int64], dict[ScoreKey, int]]:
        """Returns the number of each row's key, and the number of each key."""
        pickers, picker_names = _codes_and_texts(table["picked_by"])
        metrics, metric_names = _codes_and_texts(table["metric"])
        candidates, places = np.unique(table["candidate"].to_numpy(), return_inverse=True)
        shape = len(candidates), len(picker_names), len(metric_names)
        found, keys = np.unique(np.ravel_multi_index((places, pickers, metrics), shape), return_inverse=True)
        names = [(int(candidates[place]), picker_names[picker] or "", str(metric_names[metric]))
                 for place, picker, metric in zip(*np.unravel_index(found, shape), strict=True)]  # fmt: skip
        return keys, {name: number for number, name in enumerate(names)}

    def sort(self, items: Sequence[str], metrics: Sequence[str]) -> None:
        """Sorts rows by item, candidate, picker and metric; names that are not among the given ones come after them."""
        table = self.table()
        order = np.lexsort([
            _ranks(table["metric"], metrics), _ranks(table["picked_by"], ()), table["candidate"].to_numpy(),
            _ranks(table["item"], items),
        ])  # fmt: skip
        self._table = table.take(order)

    def select(self, items: Sequence[str], metrics: Sequence[str]) -> ScoreTable:
        """Returns the rows of some items and metrics by metric, item (both as given), candidate and picker."""
        table = self.table()
        item, metric = _ranks(table["item"], items), _ranks(table["metric"], metrics)
        left = np.flatnonzero((item < len(items)) & (metric < len(metrics)))
        keys = [_ranks(table["picked_by"], ()), table["candidate"].to_numpy(), item, metric]
        found = ScoreTable()
        found._table = table.take(left[np.lexsort([key[left] for key in keys])])
        return found

    def to_arrow(self) -> pyarrow.Table:
        """Returns all rows as an Arrow table of `SCORE_TYPES`."""
        return self.table().cast(SCORE_TYPES).combine_chunks()

    def to_frame(self) -> pd.DataFrame:
        """Returns all rows as a data frame of `SCORE_COLUMNS`; an undefined value is missing, infinities are floats."""
        import pandas as pd  # takes 60 MiB, which a process that only separates does not need

        table = self.table()
        columns: dict[str, Any] = {name: table[name].to_numpy() for name in _TYPES}
        for name in DICTIONARY_COLUMNS:
            codes, names = _codes_and_texts(table[name])
            columns[name] = pd.Series(np.array([*names, None], dtype=object)[codes], dtype=object)
        return pd.DataFrame({name: columns[name] for name in SCORE_COLUMNS}, copy=False)


def parse_score_table(table: pyarrow.Table) -> ScoreTable:
    """Validates the rows of a file and returns them.

    Raises:
        ValueError: a column or a cell is missing, or a status is unknown.
    """
    table.validate(full=True)  # for example, that texts are valid UTF-8
    table = table.select(list(SCORE_COLUMNS)).cast(SCORE_TYPES)
    for name in SCORE_COLUMNS:
        if name not in ("picked_by", "value") and table[name].null_count:
            raise ValueError(f"rows without {name}")
    found = ScoreTable(table)
    if unknown := set(_codes_and_texts(found.table()["status"])[1]) - set(Status):
        raise ValueError(f"status {', '.join(sorted(map(str, unknown)))}")
    return found


def _dictionary_encoded(table: pyarrow.Table) -> pyarrow.Table:
    """Returns the table with dictionary-encoded texts, and null instead of NaN."""
    for place, name in enumerate(SCORE_COLUMNS):
        column = table[name].combine_chunks() if table.num_rows else pyarrow.array([], table.schema.field(name).type)
        if name in DICTIONARY_COLUMNS and not pyarrow.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        if name == "value":
            column = compute.if_else(compute.is_nan(column), None, column)
        table = table.set_column(place, name, column)
    return table


def _codes_and_texts(column: pyarrow.ChunkedArray) -> tuple[NDArray[np.int64], list[str | None]]:
    """Returns the dictionary index of each cell, and the texts; null is the last of them."""
    array = column.combine_chunks()
    array = array if isinstance(array, pyarrow.DictionaryArray) else array.chunk(0)
    names: list[str | None] = array.dictionary.to_pylist()
    codes = array.indices.fill_null(len(names)).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, [*names, None] if array.null_count else names


def _ranks(column: pyarrow.ChunkedArray, order: Sequence[str]) -> NDArray[np.int64]:
    """Returns each cell's position in ``order``, with other texts after it alphabetically, and null first."""
    codes, names = _codes_and_texts(column)
    rank: dict[str | None, int] = {None: -1, **{name: number for number, name in enumerate(order)}}
    others = sorted(name for name in names if name not in rank and name is not None)
    rank |= {name: len(rank) + number for number, name in enumerate(others)}
    return np.array([rank[name] for name in names], dtype=np.int64)[codes]


def _group_items(expected: Iterable[ExpectedScores]) -> list[tuple[ExpectedScores, list[str]]]:
    """Groups items with the same expected rows."""
    found: dict[tuple[int, int], tuple[ExpectedScores, list[str]]] = {}
    for one in expected:
        key = id(one.required), id(one.allowed)
        found.setdefault(key, (one, []))[1].append(one.item)
    return list(found.values())


def read_scores(path: Path, digest: str | None) -> ScoreTable:
    """Reads the rows of a run in progress, otherwise the sealed table; empty if that does not have the given digest."""
    found = ScoreTable()
    if (path / SCORES).exists():
        found.add(_with_float_value(row) for row in read_records(path / SCORES, ScoreRow))
        return found
    sealed = path / "scores.parquet"
    if not sealed.exists():
        return found
    from pyarrow import parquet

    try:
        if digest is not None and file_digest(sealed) != digest:
            parquet.read_schema(sealed)
            return found
        return parse_score_table(
            parquet.read_table(sealed, columns=list(SCORE_COLUMNS), read_dictionary=DICTIONARY_COLUMNS)
        )
    except (OSError, ValueError, KeyError, pyarrow.ArrowException, MediaError) as error:
        raise StoreError(
            f"expected scores at {sealed}, found a damaged file ({error}); remove it, and run the same command again"
        ) from error


def _with_float_value(row: ScoreRow) -> ScoreRow:
    """Returns the row with infinities as floats."""
    return structs.replace(row, value=float(row.value)) if isinstance(row.value, str) else row
