"""The scores of a run by column: a million rows take tens of MiB, and are filtered and sorted without a loop."""

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

__all__ = ["CODED", "SCORE_TYPES", "Kind", "Promise", "ScoreTable", "read_scores", "sealed_scores"]

_TYPES = {"seed": pyarrow.int64(), "candidate": pyarrow.int64(), "value": pyarrow.float64()}
SCORE_TYPES = pyarrow.schema([(name, _TYPES.get(name, pyarrow.string())) for name in SCORE_COLUMNS])
CODED = [name for name in SCORE_COLUMNS if name not in _TYPES]  # texts, of which few differ
_MOST_ADDED = 50_000  # rows that are kept as objects

View = tuple[int, str]  # candidate, who picked it or ""
Kind = tuple[int, str, str]  # of a row of an item: its view, and the metric
Mask = NDArray[np.bool_]


class Promise(NamedTuple):
    """What the journal says of an item's rows; items of equal promises share the two sets."""

    item: str
    must_have: frozenset[Kind]
    may_have: frozenset[Kind] | None  # None: any


class ScoreTable:
    """Rows of scores.parquet; a later row of the same item, candidate, picker and metric replaces an earlier one.

    Args:
        table: rows of `SCORE_TYPES`, no two of which have one key.
    """

    def __init__(self, table: pyarrow.Table | None = None) -> None:
        self._table = _coded(SCORE_TYPES.empty_table() if table is None else table)
        self._added: dict[tuple[str, int, str, str], ScoreRow] = {}

    def __len__(self) -> int:
        return int(self.table().num_rows)

    def add(self, rows: Iterable[ScoreRow]) -> None:
        """Adds rows."""
        self._added.update({row.key: row for row in rows})
        if len(self._added) > _MOST_ADDED:
            self.table()

    def table(self) -> pyarrow.Table:
        """All rows; texts are coded by dictionaries."""
        if self._added:
            new = list(self._added.values())
            columns = [[getattr(row, name) for row in new] for name in SCORE_COLUMNS]
            arrays = [pyarrow.array(values, SCORE_TYPES.field(name).type)
                      for name, values in zip(SCORE_COLUMNS, columns, strict=True)]  # fmt: skip
            added = _coded(pyarrow.Table.from_arrays(arrays, schema=SCORE_TYPES))
            kept = self._table.filter(pyarrow.array(self._is_left())) if self._table.num_rows else self._table
            self._table = pyarrow.concat_tables([kept, added]).unify_dictionaries().combine_chunks()
            self._added = {}
        return self._table

    def _is_left(self) -> Mask:
        """Which rows of the table none of the added ones replaces."""
        items = pyarrow.array(sorted({row.item for row in self._added.values()}), pyarrow.string())
        left: Mask = ~compute.is_in(self._table["item"], items).to_numpy()
        places = np.flatnonzero(~left)
        keys = [self._table[name].take(places).to_pylist() for name in ("item", "candidate", "picked_by", "metric")]
        left[places] = [(item, candidate, picker or "", metric) not in self._added
                        for item, candidate, picker, metric in zip(*keys, strict=True)]  # fmt: skip
        return left

    def rows(self) -> Iterator[ScoreRow]:
        """Each row as a record."""
        for batch in self.table().to_batches(max_chunksize=10_000):
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                fields = dict(zip(SCORE_COLUMNS, values, strict=True))
                yield ScoreRow(**{**fields, "status": Status(fields["status"])})

    def keep_items(self, items: Collection[str]) -> None:
        """Drops the rows of all other items."""
        self._keep(compute.is_in(self.table()["item"], pyarrow.array(list(items), pyarrow.string())).to_numpy())

    def drop_columns(self, columns: Mapping[str, Collection[str]]) -> None:
        """Drops some metrics of each of some items."""
        if not any(columns.values()):
            return
        pairs = zip(*(self.table()[name].to_pylist() for name in ("item", "metric")), strict=True)
        self._keep(np.array([metric not in columns.get(item, ()) for item, metric in pairs], dtype=bool))

    def _keep(self, left: Mask) -> None:
        if not left.all():
            self._table = self.table().filter(pyarrow.array(left))

    def reconcile(self, promises: Iterable[Promise]) -> dict[str, set[str]]:
        """Drops rows that nobody promised, and tells which items lack rows of which metrics that were promised."""
        table = self.table()
        codes, items = _codes(table["item"])
        kinds, known = self._kinds(table)
        place = {item: code for code, item in enumerate(items)}
        there = np.zeros((len(items) + 1, len(known)), dtype=bool)
        there[codes, kinds] = True
        allowed = np.zeros_like(there)
        lacking: dict[str, set[str]] = {}
        for promise, names in _alike(promises):
            at = np.array([place.get(name, len(items)) for name in names])
            may = [promise.may_have is None or kind in promise.may_have for kind in known]
            allowed[at] |= np.array(may, dtype=bool)
            for kind in promise.must_have:
                lost = np.flatnonzero(~there[at, known[kind]]) if kind in known else np.arange(len(names))
                allowed[at[lost]] &= np.array([other[2] != kind[2] for other in known], dtype=bool)
                for number in lost:
                    lacking.setdefault(names[number], set()).add(kind[2])
        self._keep(allowed[codes, kinds])
        return lacking

    @staticmethod
    def _kinds(table: pyarrow.Table) -> tuple[NDArray[np.int64], dict[Kind, int]]:
        """The kind of each row, and the numbers of kinds."""
        pickers, picker_names = _codes(table["picked_by"])
        metrics, metric_names = _codes(table["metric"])
        candidates, places = np.unique(table["candidate"].to_numpy(), return_inverse=True)
        shape = len(candidates), len(picker_names), len(metric_names)
        found, kinds = np.unique(np.ravel_multi_index((places, pickers, metrics), shape), return_inverse=True)
        names = [(int(candidates[place]), picker_names[picker] or "", str(metric_names[metric]))
                 for place, picker, metric in zip(*np.unravel_index(found, shape), strict=True)]  # fmt: skip
        return kinds, {name: number for number, name in enumerate(names)}

    def sort(self, items: Sequence[str], metrics: Sequence[str]) -> None:
        """Orders rows by item, candidate, picker and metric; names that are not among the given ones follow these."""
        table = self.table()
        order = np.lexsort([
            _ranks(table["metric"], metrics), _ranks(table["picked_by"], ()), table["candidate"].to_numpy(),
            _ranks(table["item"], items),
        ])  # fmt: skip
        self._table = table.take(order)

    def part(self, items: Sequence[str], metrics: Sequence[str]) -> ScoreTable:
        """The rows of some items and metrics by metric, item, candidate and picker, in the given orders."""
        table = self.table()
        item, metric = _ranks(table["item"], items), _ranks(table["metric"], metrics)
        left = np.flatnonzero((item < len(items)) & (metric < len(metrics)))
        keys = [_ranks(table["picked_by"], ()), table["candidate"].to_numpy(), item, metric]
        found = ScoreTable()
        found._table = table.take(left[np.lexsort([key[left] for key in keys])])
        return found

    def plain(self) -> pyarrow.Table:
        """All rows as `SCORE_TYPES`."""
        return self.table().cast(SCORE_TYPES).combine_chunks()

    def frame(self) -> pd.DataFrame:
        """All rows as a data frame of `SCORE_COLUMNS`; an undefined value is missing, infinities are floats."""
        import pandas as pd  # 60 MiB that a process which only separates does without

        table = self.table()
        columns: dict[str, Any] = {name: table[name].to_numpy() for name in _TYPES}
        for name in CODED:
            codes, names = _codes(table[name])
            columns[name] = pd.Series(np.array([*names, None], dtype=object)[codes], dtype=object)
        return pd.DataFrame({name: columns[name] for name in SCORE_COLUMNS}, copy=False)


def sealed_scores(table: pyarrow.Table) -> ScoreTable:
    """Rows of a file, checked.

    Raises:
        ValueError: it lacks a column or a cell, or holds a status that there is not.
    """
    table.validate(full=True)  # texts that are no UTF-8, for one
    table = table.select(list(SCORE_COLUMNS)).cast(SCORE_TYPES)
    for name in SCORE_COLUMNS:
        if name not in ("picked_by", "value") and table[name].null_count:
            raise ValueError(f"rows without {name}")
    found = ScoreTable(table)
    if unknown := set(_codes(found.table()["status"])[1]) - set(Status):
        raise ValueError(f"status {', '.join(sorted(map(str, unknown)))}")
    return found


def _coded(table: pyarrow.Table) -> pyarrow.Table:
    """The table with texts as numbers in dictionaries; NaN as no value."""
    for place, name in enumerate(SCORE_COLUMNS):
        column = table[name].combine_chunks() if table.num_rows else pyarrow.array([], table.schema.field(name).type)
        if name in CODED and not pyarrow.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        if name == "value":
            column = compute.if_else(compute.is_nan(column), None, column)
        table = table.set_column(place, name, column)
    return table


def _codes(column: pyarrow.ChunkedArray) -> tuple[NDArray[np.int64], list[str | None]]:
    """The number of each cell's text, and the texts; no text is the last of them."""
    array = column.combine_chunks()
    array = array if isinstance(array, pyarrow.DictionaryArray) else array.chunk(0)
    names: list[str | None] = array.dictionary.to_pylist()
    codes = array.indices.fill_null(len(names)).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, [*names, None] if array.null_count else names


def _ranks(column: pyarrow.ChunkedArray, order: Sequence[str]) -> NDArray[np.int64]:
    """Where each cell's text stands in ``order``, or behind it by the alphabet; no text comes first."""
    codes, names = _codes(column)
    rank: dict[str | None, int] = {None: -1, **{name: number for number, name in enumerate(order)}}
    others = sorted(name for name in names if name not in rank and name is not None)
    rank |= {name: len(rank) + number for number, name in enumerate(others)}
    return np.array([rank[name] for name in names], dtype=np.int64)[codes]


def _alike(promises: Iterable[Promise]) -> list[tuple[Promise, list[str]]]:
    """Items of the same promises together."""
    found: dict[tuple[int, int], tuple[Promise, list[str]]] = {}
    for promise in promises:
        key = id(promise.must_have), id(promise.may_have)
        found.setdefault(key, (promise, []))[1].append(promise.item)
    return list(found.values())


def read_scores(path: Path, digest: str | None) -> ScoreTable:
    """Rows of a run folder while running, else the sealed ones; none where the table is not the one that was sealed."""
    found = ScoreTable()
    if (path / SCORES).exists():
        found.add(_with_number(row) for row in read_records(path / SCORES, ScoreRow))
        return found
    sealed = path / "scores.parquet"
    if not sealed.exists():
        return found
    from pyarrow import parquet

    try:
        if digest is not None and file_digest(sealed) != digest:
            parquet.read_schema(sealed)
            return found
        return sealed_scores(parquet.read_table(sealed, columns=list(SCORE_COLUMNS), read_dictionary=CODED))
    except (OSError, ValueError, KeyError, pyarrow.ArrowException, MediaError) as error:
        raise StoreError(
            f"expected scores at {sealed}, found a damaged file ({error}); remove it, and run the same command again"
        ) from error


def _with_number(row: ScoreRow) -> ScoreRow:
    """The row with infinities as numbers."""
    return structs.replace(row, value=float(row.value)) if isinstance(row.value, str) else row
