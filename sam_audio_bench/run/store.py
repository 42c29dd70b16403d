"""A run folder: the journal of finished items, the audio, the scores, and what resuming may keep.

    run.json        what was run, with which versions, and how it ended
    items.jsonl     one finished item a line, the last line of an item counts
    audio/          <item>.target.flac, <item>.residual.flac; of candidate k, <item>.target.k.flac
    scores.jsonl    while running; sealed as scores.parquet

Where both score files exist, a crash came between two steps of sealing or unsealing, and scores.jsonl is complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow
from filelock import FileLock, Timeout
from pyarrow import parquet

from sam_audio_bench.errors import Precondition, StoreError
from sam_audio_bench.files import append_lines, atomic_write, load_json, read_journal, safe_name, write_json
from sam_audio_bench.types import Result, Status

__all__ = [
    "COLUMNS",
    "PARTS",
    "SCHEMA_VERSION",
    "SCORE_TYPES",
    "RunFolder",
    "View",
    "candidate_files",
    "failed",
    "views",
]

SCHEMA_VERSION = 1
PARTS = ("target", "residual")
COLUMNS = tuple(column.name for column in fields(Result))
SCORE_TYPES = pyarrow.schema(
    [
        (
            name,
            {"seed": pyarrow.int64(), "candidate": pyarrow.int64(), "value": pyarrow.float64()}.get(
                name, pyarrow.string()
            ),
        )
        for name in COLUMNS
    ]
)

_STATED = ("status", "model", "task", "metrics")  # of run.json, from its first writing on

ScoreKey = tuple[str, int, str, str]  # item, candidate, who picked it or "", metric


class View(NamedTuple):
    """One scored answer of an item."""

    candidate: int
    picked_by: str | None
    files: Mapping[str, Any]  # part -> name of its file; none where the item failed


def views(record: Mapping[str, Any]) -> list[View]:
    """The scored answers that a journal line tells of: the only one, or the first candidate and the picked one."""
    answer = View(record.get("picked", 0), record.get("picked_by"), record)
    if "candidates" not in record:
        return [answer]
    first = record.get("kept", {}).get("0", {})
    return [View(0, first.get("picked_by"), first), answer]


@dataclass
class RunFolder:
    """One separator on one task. Open it with `open`; write to it only inside `writing`."""

    path: Path
    header: dict[str, Any] = field(default_factory=dict)  # run.json
    items: dict[str, dict[str, Any]] = field(default_factory=dict)  # item -> its last journal line
    scores: dict[ScoreKey, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Reads what is there; an absent folder is an empty run.

        Raises:
            StoreError: the folder has another schema version or a damaged file.
        """
        folder = cls(path)
        if not (path / "run.json").exists():
            return folder
        header = load_json(path / "run.json")
        version = header.get("schema_version") if isinstance(header, dict) else None
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"expected a run folder of schema version {SCHEMA_VERSION} at {path}, found version {version}; "
                "use another --output, or the version of sabench that wrote it"
            )
        if lacking := [name for name in _STATED if name not in header]:
            raise StoreError(
                f"expected a run's {', '.join(_STATED)} in {path / 'run.json'}, found no {' and no '.join(lacking)}; "
                "remove the folder, or restore the file"
            )
        folder.header = header
        folder.items = {record["item"]: record for record in read_journal(path / "items.jsonl")}
        rows = _read_rows(path)
        folder.scores = {_key(row): row for row in rows}
        return folder

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the folder for one process; raises Precondition when it cannot be written or another one holds it."""
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            (self.path / "audio").mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise Precondition(
                f"expected {self.path} for this run alone, found another process writing to it"
            ) from error
        except OSError as error:
            raise Precondition(f"expected a folder that can be written at {self.path}, found: {error}") from error
        try:
            now = RunFolder.open(self.path)  # another process may have written since this one looked
            self.header, self.items, self.scores = now.header, now.items, now.scores
            yield
        finally:
            lock.release()

    def scored(self, item: str) -> dict[str, str]:
        """Metric ids that the item has been asked for, with or without a row, and the signature of each."""
        return dict(self.items.get(item, {}).get("scored", {}))

    def forget(self, stale: Iterable[str]) -> None:
        """Drops items and their scores before they are redone, and unseals the scores."""
        dropped = set(stale)
        for item in dropped & set(self.items):
            for name in candidate_files(self.items[item]):
                (self.path / "audio" / name).unlink(missing_ok=True)
        self.items = {item: record for item, record in self.items.items() if item not in dropped}
        self.scores = {key: row for key, row in self.scores.items() if key[0] not in dropped}
        with atomic_write(self.path / "items.jsonl") as temporary:
            append_lines(temporary, self.items.values())
        with atomic_write(self.path / "scores.jsonl") as temporary:
            append_lines(temporary, self.scores.values())
        (self.path / "scores.parquet").unlink(missing_ok=True)

    def forget_scores(self, metrics: Iterable[str]) -> None:
        """Drops every score of some metrics, and unseals the scores."""
        dropped = set(metrics)
        for record in self.items.values():
            record["scored"] = {name: text for name, text in record.get("scored", {}).items() if name not in dropped}
        self.scores = {key: row for key, row in self.scores.items() if key[3] not in dropped}
        self.forget(())

    def add_item(self, record: dict[str, Any], *, durable: bool = True) -> None:
        """Journals an item whose audio is on disk, or whose failure is final for this run."""
        append_lines(self.path / "items.jsonl", [record], durable=durable)
        self.items[record["item"]] = record

    def add_scores(self, rows: Sequence[dict[str, Any]]) -> None:
        """Appends rows of `COLUMNS`; a later row of the same item, candidate, picker and metric replaces."""
        append_lines(self.path / "scores.jsonl", rows)
        self.scores.update({_key(row): row for row in rows})

    def audio_stem(self, item: str, part: str, candidate: int | None = None) -> Path:
        """Path without suffix of one part ("target" or "residual") of an item's answer, or of one candidate for it."""
        number = "" if candidate is None else f".{candidate}"
        return self.path / "audio" / f"{safe_name(item)}.{part}{number}"

    def audio_path(self, item: str, part: str) -> Path:
        """Where the journal says that a part of a finished item lies."""
        return self.path / "audio" / str(self.items[item][part])

    def write_header(self, **changes: Any) -> None:
        """Updates run.json."""
        self.header = {"schema_version": SCHEMA_VERSION, **self.header, **changes}
        write_json(self.path / "run.json", self.header)

    def seal(self, order: Sequence[str]) -> None:
        """Sorts the scores by item, candidate, picker and metric and writes them as scores.parquet."""
        metrics = [record["id"] for record in self.header["metrics"]]
        rank = {name: position for position, name in enumerate([*order, *metrics])}
        last = len(rank)
        rows = sorted(
            self.scores.values(),
            key=lambda row: (rank.get(row["item"], last), row["item"], row["candidate"], row["picked_by"] or "",
                             rank.get(row["metric"], last), row["metric"]),
        )  # fmt: skip
        self.scores = {_key(row): row for row in rows}
        with atomic_write(self.path / "scores.parquet") as temporary:
            table = pyarrow.Table.from_pandas(self.frame(), schema=SCORE_TYPES, preserve_index=False)
            parquet.write_table(table, temporary)
        (self.path / "scores.jsonl").unlink(missing_ok=True)

    def frame(self) -> pd.DataFrame:
        """Scores as a data frame of `COLUMNS`; an undefined value is missing, infinities are floats."""
        frame = pd.DataFrame(list(self.scores.values()), columns=list(COLUMNS), dtype="object")
        return frame.astype({"seed": "int64", "candidate": "int64", "value": "float64"})


def candidate_files(record: Mapping[str, Any]) -> list[str]:
    """Names of the files of single candidates that a journal line tells of."""
    return [str(kept[part]) for kept in record.get("kept", {}).values() for part in PARTS]


def _key(row: Mapping[str, Any]) -> ScoreKey:
    return row["item"], row["candidate"], row["picked_by"] or "", row["metric"]


def _read_rows(path: Path) -> list[dict[str, Any]]:
    if (path / "scores.jsonl").exists():
        return [{**row, "value": _number(row["value"])} for row in read_journal(path / "scores.jsonl")]
    sealed = path / "scores.parquet"
    if not sealed.exists():
        return []
    try:
        frame = pd.read_parquet(sealed, columns=list(COLUMNS))
    except (OSError, ValueError) as error:
        raise StoreError(f"expected scores at {sealed}, found a damaged file ({error}); remove it and rerun") from error
    plain = frame.astype("object").where(frame.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]


def _number(value: float | str | None) -> float | None:
    return None if value is None else float(value)


def failed(record: dict[str, Any]) -> bool:
    """Whether a journal line tells of an item without an answer, which a rerun tries again."""
    return bool(record["status"] != Status.OK)
