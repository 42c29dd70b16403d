"""The metadata of the official data: finds it in a folder or in the hub's cache, reads it by column, checks each row.

SAM Audio-Bench has 819 rows, each a member of some of 36 sets; its masks, which are most of its bytes, are a column
that is read for visual tasks only. The rows of every set are counted and compared with the catalogue of tasks, so that
a partly downloaded or changed table is never taken for the benchmark.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.files import dump_json, sha256
from sam_audio_bench.tabular import has_lone_surrogates
from sam_audio_bench.tasks.attributes import Attribute, typed_columns
from sam_audio_bench.tasks.catalogue import BENCH, MUSDB, TASKS
from sam_audio_bench.tasks.folders import cache_folder, data_folder
from sam_audio_bench.tasks.lock import LockFile
from sam_audio_bench.tasks.manifest_tables import NOT_UTF8, Cells, plain_cells

__all__ = [
    "BENCH",
    "BENCH_ROWS",
    "MASKS",
    "MUSDB",
    "Annotation",
    "MetadataTable",
    "expected_counts",
    "find_table",
    "read_bench_attributes",
    "read_bench_table",
    "read_cells",
    "read_masks",
    "read_musdb_table",
]

BENCH_ROWS = 819
MASKS = "mask_bytes"
_BENCH_COLUMNS = (
    "video_id", "source_dataset", "start_offset", "end_offset", "description", "spans", "paper_eval_sets",
)  # fmt: skip
_ATTRIBUTES = {"source_dataset": "source_dataset", "target_node": "target_node", "task": "kind"}  # column -> attribute
_SAMPLE_INFO = "other_sample_info"
_SAMPLE_ATTRIBUTES = (  # keys of `_SAMPLE_INFO`
    "target_loudness", "target_onscreen_offscreen", "overlap_fraction", "n_males", "n_females", "n_children",
    "audio_aes_production_complexity", "num_augmented_annotations",
)  # fmt: skip
_MUSDB_COLUMNS = ("id", "start_time", "end_time", "description")
_BATCH = 1024  # rows in memory at once, without their masks


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One row: a part of a recording, and the prompt for it."""

    row: int  # index over all files, from 0
    source: str  # data set of the recording
    recording: str
    start: float  # seconds
    end: float
    text: str
    spans: tuple[tuple[float, float], ...] = ()  # seconds since ``start``
    sets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataTable:
    """The parquet files of a data set, and their commit if they come from the hub."""

    repository: str
    files: tuple[Path, ...]
    commit: str | None = None

    @property
    def stamps(self) -> tuple[tuple[int, int], ...]:
        """Size and modification time of every file."""
        return tuple((found.st_size, found.st_mtime_ns) for found in (path.stat() for path in self.files))

    @property
    def key(self) -> str:
        """A digest that distinguishes these files from others of the same name."""
        return sha256(dump_json([list(map(str, self.files)), self.stamps]).encode())[:16]

    @property
    def file_list(self) -> str:
        """The paths of the files, for messages."""
        return ", ".join(map(str, self.files))


def find_table(repository: str) -> MetadataTable:
    """Finds the metadata in ``<data>/<name of the repository>/`` or its ``data/``, in the hub's cache, or on the hub.

    From the hub, the commit that the lock file pins is used, or ``main``, which loading a task then pins
    (`official.load_official`).

    Raises:
        Precondition: the metadata are in none of these places.
    """
    from sam_audio_bench.nn.hub import find_dataset

    folder = data_folder() / repository.rpartition("/")[2].replace("-", "_")
    files = [path for place in (folder, folder / "data") for path in sorted(place.glob("*.parquet"))]
    if files:
        return MetadataTable(repository=repository, files=tuple(files))
    try:
        found, commit = find_dataset(repository, LockFile.read().pinned_commit(repository))
    except Precondition as error:
        raise Precondition(
            f"{error}; its parquet files are looked for in {folder} too; --split mini is part of the package"
        ) from error
    every = sorted(found.rglob("*.parquet"))
    files = [path for path in every if path.name.startswith("test")] or every
    if not files:
        raise Precondition(f"expected parquet files in {repository} at {commit}, found none; put a copy into {folder}")
    return MetadataTable(repository=repository, files=tuple(files), commit=commit)


def read_bench_table(table: MetadataTable) -> tuple[tuple[Annotation, ...], str]:
    """Reads the rows of SAM Audio-Bench, and computes their digest.

    Raises:
        UsageError: a row is invalid, or a set does not have as many rows as the catalogue states.
    """
    return _bench_table(table, table.stamps)


def read_musdb_table(table: MetadataTable) -> tuple[tuple[Annotation, ...], str]:
    """Reads SAM Audio-Bench's excerpts of MUSDB18-HQ, and computes their digest; errors as in `read_bench_table`."""
    return _musdb_table(table, table.stamps)


@lru_cache(maxsize=4)  # eighteen tasks share one table
def _bench_table(table: MetadataTable, stamps: tuple[tuple[int, int], ...]) -> tuple[tuple[Annotation, ...], str]:
    rows = tuple(_checked(table, _BENCH_COLUMNS, _bench_row))
    _check_counts(table, rows)
    return rows, _digest(rows)


@lru_cache(maxsize=4)
def _musdb_table(table: MetadataTable, stamps: tuple[tuple[int, int], ...]) -> tuple[tuple[Annotation, ...], str]:
    rows = tuple(_checked(table, _MUSDB_COLUMNS, _musdb_row))
    repeats = Counter((row.recording, row.start, row.end, row.text) for row in rows)
    for (recording, start, _, text), times in repeats.items():
        if times > 1:
            raise UsageError(
                f"expected each excerpt once in {table.file_list}, found {text!r} of {recording} at {start:g} s "
                f"{times} times"
            )
    if not rows:
        raise UsageError(f"expected excerpts in {table.file_list}, found no row")
    return rows, _digest(rows)


def _digest(rows: Sequence[Annotation]) -> str:
    return sha256(dump_json([asdict(row) for row in rows]).encode())


def read_bench_attributes(table: MetadataTable) -> dict[int, dict[str, Attribute]]:
    """Reads the attributes of the rows of SAM Audio-Bench: row -> name -> value.

    Separators do not get them, and no digest includes them. A column that is missing from this copy or has another
    type is left out, since no score depends on it.

    Raises:
        UsageError: a file is damaged.
    """
    return _bench_attributes(table, table.stamps)


@lru_cache(maxsize=2)
def _bench_attributes(table: MetadataTable, stamps: tuple[tuple[int, int], ...]) -> dict[int, dict[str, Attribute]]:
    from pyarrow import parquet

    rows: dict[str, dict[str, object]] = {}
    with _readable(table):
        for path in table.files:
            present = [name for name in (*_ATTRIBUTES, _SAMPLE_INFO) if name in parquet.read_schema(path).names]
            for cells in parquet.read_table(path, columns=present).to_pylist():
                sample = cells.get(_SAMPLE_INFO)
                attributes = {attribute: cells.get(column) for column, attribute in _ATTRIBUTES.items()}
                rows[str(len(rows))] = attributes | {
                    name: sample.get(name) if isinstance(sample, dict) else None for name in _SAMPLE_ATTRIBUTES
                }
    found, _ = typed_columns(rows)
    return {int(row): typed for row, typed in found.items()}


def expected_counts() -> dict[str, int]:
    """Returns the number of rows of each of the 36 sets of SAM Audio-Bench."""
    counts: dict[str, int] = {}
    for task in TASKS.values():
        if task.items is not None and task.full_items is not None:
            counts |= {task.subset: task.items, task.full_subset: task.full_items}
    return counts


def _check_counts(table: MetadataTable, rows: Sequence[Annotation]) -> None:
    if len(rows) != BENCH_ROWS:
        raise UsageError(f"expected {BENCH_ROWS} rows in {table.file_list}, found {len(rows)}; get the data again")
    found = Counter(name for row in rows for name in row.sets)
    expected = expected_counts()
    for name in (*expected, *found):
        if found[name] != expected.get(name, 0):
            raise UsageError(
                f"expected {expected.get(name, 0)} rows of the set {name!r} in {table.file_list}, found {found[name]}; "
                "get the data again"
            )


def read_cells(table: MetadataTable, columns: Sequence[str]) -> Iterator[Cells]:
    """Reads the given columns only, row by row; errors as in `read_bench_table`."""
    import datasets

    with _readable(table):
        _check_columns(table, columns)
        streamed = datasets.load_dataset(
            "parquet",
            data_files={"test": [str(path) for path in table.files]},
            split="test",
            columns=list(columns),
            batch_size=_BATCH,
            streaming=True,
            cache_dir=str(cache_folder() / "datasets"),  # for lock files; streamed tables are not copied
        )
        for batch in streamed.with_format("arrow").iter(batch_size=_BATCH):
            yield from plain_cells(batch)


@contextmanager
def _readable(table: MetadataTable) -> Iterator[None]:
    import pyarrow
    from datasets.exceptions import DatasetsError

    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, DatasetsError) as error:
        raise UsageError(
            f"expected parquet files that can be read, found {table.file_list} damaged ({error})"
        ) from error


def _check_columns(table: MetadataTable, columns: Sequence[str]) -> None:
    from pyarrow import parquet

    for path in table.files:
        missing = [name for name in columns if name not in parquet.read_schema(path).names]
        if missing:
            raise UsageError(f"expected the columns {', '.join(columns)} in {path}, found no {', '.join(missing)}")


def _checked(
    table: MetadataTable, columns: Sequence[str], read: Callable[[int, Cells], Annotation]
) -> Iterator[Annotation]:
    for number, cells in enumerate(read_cells(table, columns)):
        try:
            yield read(number, cells)
        except UsageError as error:
            raise UsageError(f"row {number + 1} of {table.file_list}: {error}") from error


def _bench_row(number: int, cells: Cells) -> Annotation:
    start, end = _part(cells, "start_offset", "end_offset")
    return Annotation(
        row=number,
        source=_name(cells, "source_dataset"),
        recording=_name(cells, "video_id"),
        start=start,
        end=end,
        text=_text(cells, "description"),
        spans=tuple(_span(span) for span in _list(cells, "spans")),
        sets=tuple(sorted(map(str, _list(cells, "paper_eval_sets")))),
    )


def _musdb_row(number: int, cells: Cells) -> Annotation:
    start, end = _part(cells, "start_time", "end_time")
    return Annotation(
        row=number,
        source="musdb18hq",
        recording=_name(cells, "id"),
        start=start,
        end=end,
        text=_text(cells, "description"),
    )


def _text(cells: Cells, column: str) -> str:
    value = cells[column]
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"expected a text in {column!r}, found {value!r}")
    if has_lone_surrogates(value):
        raise UsageError(f"column {column!r}: {NOT_UTF8}")
    return value.strip()


def _name(cells: Cells, column: str) -> str:
    """Reads a text that becomes part of a path, so it must not lead out of its folder."""
    value = _text(cells, column)
    if value in (".", "..") or any(letter in "/\\\0" for letter in value):
        raise UsageError(f"expected the name of a file in {column!r}, found {value!r}")
    return value


def _part(cells: Cells, first: str, last: str) -> tuple[float, float]:
    start, end = (_seconds(cells[column]) for column in (first, last))
    if not 0 <= start < end < math.inf:
        raise UsageError(f"expected seconds with 0 <= {first} < {last}, found {cells[first]} and {cells[last]}")
    return start, end


def _list(cells: Cells, column: str) -> list[object]:
    value = cells[column] or []
    if not isinstance(value, list):
        raise UsageError(f"expected a list in {column!r}, found {value!r}")
    return value


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _span(value: Any) -> tuple[float, float]:
    start, end = map(_seconds, value) if isinstance(value, list) and len(value) == 2 else (math.nan, math.nan)
    if not (start < end < math.inf and math.isfinite(start)):
        raise UsageError(f"expected spans [start, end] in seconds, found {value!r}")
    return start, end


def read_masks(table: MetadataTable, rows: Set[int]) -> Iterator[tuple[int, bytes]]:
    """Reads the masks of those ``rows`` that have one, as pairs of row and bytes; the column is read once.

    PyArrow reads it, since ``datasets`` takes two gigabytes of memory for a third of a gigabyte of masks.
    """
    from pyarrow import parquet

    number = 0
    with _readable(table):
        _check_columns(table, (MASKS,))
        for path in table.files:
            with parquet.ParquetFile(path, buffer_size=2**20) as file:
                for batch in file.iter_batches(batch_size=16, columns=[MASKS]):
                    for mask in batch.column(0):
                        if number in rows and mask.is_valid and len(mask.as_buffer()):
                            yield number, mask.as_py()
                        number += 1
