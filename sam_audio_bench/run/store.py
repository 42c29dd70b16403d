"""A run folder: the journal of finished items, the audio, the scores, and what resuming may keep.

    run.json        what was run, with which versions, and how it ended
    items.jsonl     one finished item a line, the last line of an item counts
    audio/          <item>.target.flac, <item>.residual.flac; of candidate k, <item>.target.k.flac
    scores.jsonl    while running; sealed as scores.parquet
    aside.jsonl     lines of items that the data do not have any more; they count nowhere

Where both score files exist, a crash came between two steps of sealing or unsealing, and scores.jsonl is complete.
When a folder is opened, the scores that the journal promises are compared with those that are there: what is missing is
not promised any more, and so computed again; what was not promised is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow
from filelock import FileLock, Timeout
from msgspec import structs

from sam_audio_bench.digests import file_digest
from sam_audio_bench.errors import MediaError, Precondition, StoreError
from sam_audio_bench.files import append_lines, atomic_write, sha256, temporary_files, write_json
from sam_audio_bench.records import (
    COLUMNS,
    PARTS,
    SCHEMA_VERSION,
    ItemRecord,
    MetricRecord,
    RunRecord,
    ScoreRow,
    StoredEstimate,
    read_records,
    read_run,
    to_plain,
)
from sam_audio_bench.types import Status

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMNS",
    "LOCK",
    "PARTS",
    "SCHEMA_VERSION",
    "SCORE_TYPES",
    "RunFolder",
    "ScoredEstimate",
    "candidate_files",
    "scored_estimates",
]

_TYPES = {"seed": pyarrow.int64(), "candidate": pyarrow.int64(), "value": pyarrow.float64()}
SCORE_TYPES = pyarrow.schema([(name, _TYPES.get(name, pyarrow.string())) for name in COLUMNS])

LOCK = ".lock"
"""File of a run folder that the process holds which writes there."""
_FILES = (".run.json", ".items.jsonl", ".scores.jsonl", ".scores.parquet", ".aside.jsonl")

ScoreKey = tuple[str, int, str, str]  # item, candidate, who picked it or "", metric


class ScoredEstimate(NamedTuple):
    """One estimate of an item that metrics score."""

    candidate: int
    picked_by: str | None
    files: StoredEstimate  # without names where the item failed


def scored_estimates(record: ItemRecord) -> list[ScoredEstimate]:
    """The estimates that a journal line tells of: the only one, or the first candidate and the picked one."""
    chosen = ScoredEstimate(record.picked or 0, record.picked_by, record)
    if not record.candidates:
        return [chosen]
    first = record.kept.get("0", StoredEstimate())
    return [ScoredEstimate(0, first.picked_by, first), chosen]


class RunFolder:
    """One separator on one task. Open it with `open`; write to it only inside `writing`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.items: dict[str, ItemRecord] = {}  # item -> its last journal line
        self.scores: dict[ScoreKey, ScoreRow] = {}
        self.lost: set[str] = set()  # items whose promised scores were not there when the folder was opened
        self._header: RunRecord | None = None

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Reads what is there; an absent folder is an empty run.

        Raises:
            StoreError: the folder has another schema version or a damaged file.
        """
        folder = cls(path)
        if (path / "run.json").exists():
            folder._header = read_run(path / "run.json")
            folder.items = {record.item: record for record in read_records(path / "items.jsonl", ItemRecord)}
            folder.scores = {row.key: row for row in _read_rows(path, folder.header.scores_sha256)}
            if folder.header.schema_version == SCHEMA_VERSION:
                folder._reconcile()
        return folder

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return self._header is not None

    @property
    def header(self) -> RunRecord:
        """``run.json`` of a run that was begun."""
        assert self._header is not None, f"no run in {self.path}"
        return self._header

    @property
    def metrics(self) -> list[MetricRecord]:
        """The metrics of the run; none of one that was not begun."""
        return [] if self._header is None else self._header.metrics

    def require_digests(self) -> None:
        """Raises StoreError for a run of schema version 1, which is read and not continued."""
        if self.header.schema_version != SCHEMA_VERSION:
            raise StoreError(
                f"expected a run folder of schema version {SCHEMA_VERSION} at {self.path}, found version "
                f"{self.header.schema_version}, which does not say what its estimates were made from; do it again with "
                "--overwrite always, or use another --output"
            )

    def _reconcile(self) -> None:
        """Holds the journal's promises against the scores."""
        allowed: set[ScoreKey] = set()
        for item, record in self.items.items():
            if record.failed:
                continue
            views = [(view.candidate, view.picked_by or "") for view in scored_estimates(record)]
            asked = set(record.scored) - set(record.not_asked)
            lost = {name for name in asked if any((item, *view, name) not in self.scores for view in views)}
            if lost:
                self.lost.add(item)
                record.scored = {name: text for name, text in record.scored.items() if name not in lost}
            known = set(record.scored) | set(record.score_errors)
            allowed |= {(item, *view, name) for view in views for name in known}
        failed = {item for item, record in self.items.items() if record.failed}
        self.scores = {key: row for key, row in self.scores.items() if key in allowed or key[0] in failed}

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the folder for one process; raises Precondition when it cannot be written or another one holds it."""
        lock = FileLock(self.path / LOCK, timeout=0)
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
            for left in self.leftovers():
                left.unlink(missing_ok=True)
            now = RunFolder.open(self.path)  # another process may have written since this one looked
            self._header, self.items, self.scores, self.lost = now._header, now.items, now.scores, now.lost
            yield
        finally:
            lock.release()

    def leftovers(self) -> list[Path]:
        """What a run that was killed has left half written, while nobody writes."""
        own = (one for one in temporary_files(self.path) if one.name.endswith(_FILES))  # pictures are others'
        return [*own, *temporary_files(self.path / "audio")]

    def damage(self, item: str, *, read: bool = False) -> str | None:
        """Why the stored estimates of an item are not those that the journal tells of; None: they are.

        Args:
            item: one that has an estimate.
            read: compare digests even where size and time of a file are as they were.
        """
        for view in scored_estimates(self.items[item]):
            for part in PARTS:
                name = getattr(view.files, part)
                path = self.path / "audio" / str(name)
                lost = f"expected the stored estimate {path}, found none"
                if not path.is_file():
                    return lost
                try:
                    found = path.stat()
                    if not read and view.files.stat.get(part) == (found.st_size, found.st_mtime_ns):
                        continue
                    digest = file_digest(path)
                except (OSError, MediaError):
                    return lost
                if digest != view.files.sha256.get(part):
                    return f"expected the estimate that was journalled at {path}, found another sound"
        return None

    def forget(self, stale: Iterable[str]) -> None:
        """Drops items and their scores before they are redone, and unseals the scores."""
        dropped = set(stale)
        for item in dropped & set(self.items):
            for name in candidate_files(self.items[item]):
                (self.path / "audio" / name).unlink(missing_ok=True)
        self._keep(set(self.items) - dropped)
        self.unseal()

    def set_aside(self, items: Iterable[str]) -> None:
        """Moves the lines of items that belong to other data or another identity to ``aside.jsonl``; audio stays.

        The journal has them until it is written next: a crash before that leaves them in both files, never in neither.
        """
        gone = set(items)
        lines = [to_plain(record) for item, record in self.items.items() if item in gone]
        if lines:
            append_lines(self.path / "aside.jsonl", lines)
        self._keep(set(self.items) - gone)

    def forget_scores(self, columns: Mapping[str, Collection[str]]) -> None:
        """Drops scores of some columns of each of some items from memory; what is written next says so."""
        for item, dropped in columns.items():
            record = self.items[item]
            record.scored = {name: text for name, text in record.scored.items() if name not in dropped}
        self.scores = {key: row for key, row in self.scores.items() if row.metric not in columns.get(row.item, ())}

    def unseal(self) -> None:
        """Writes the journal and the scores as they are in memory, to be added to."""
        with atomic_write(self.path / "items.jsonl") as temporary:
            append_lines(temporary, map(to_plain, self.items.values()))
        with atomic_write(self.path / "scores.jsonl") as temporary:
            append_lines(temporary, map(to_plain, self.scores.values()))
        (self.path / "scores.parquet").unlink(missing_ok=True)

    def _keep(self, items: set[str]) -> None:
        """Drops all other items and their scores from memory."""
        self.items = {item: record for item, record in self.items.items() if item in items}
        self.scores = {key: row for key, row in self.scores.items() if row.item in items}

    def add_item(self, record: ItemRecord, *, durable: bool = True) -> None:
        """Journals an item whose audio is on disk, or whose failure is final for this run."""
        append_lines(self.path / "items.jsonl", [to_plain(record)], durable=durable)
        self.items[record.item] = record

    def add_scores(self, rows: Sequence[ScoreRow]) -> None:
        """Appends rows; a later row of the same item, candidate, picker and metric replaces."""
        append_lines(self.path / "scores.jsonl", map(to_plain, rows))
        self.scores.update({row.key: row for row in rows})

    def audio_stem(self, name: str, part: str, candidate: int | None = None) -> Path:
        """Path without suffix of one part ("target" or "residual") of an estimate, or of one candidate.

        Args:
            name: of the item's files, as `files.safe_names` gives it.
            part: of the estimate.
            candidate: its number; None: the estimate that counts.
        """
        number = "" if candidate is None else f".{candidate}"
        return self.path / "audio" / f"{name}.{part}{number}"

    def audio_path(self, item: str, part: str) -> Path:
        """Where the journal says that a part of a finished item lies."""
        return self.path / "audio" / str(getattr(self.items[item], part))

    def write_header(self, header: RunRecord) -> None:
        """Writes run.json."""
        self._header = header
        write_json(self.path / "run.json", to_plain(header))

    def seal(self, order: Sequence[str]) -> None:
        """Sorts the scores by item, candidate, picker and metric and writes them as scores.parquet."""
        rank = {name: position for position, name in enumerate([*order, *(record.id for record in self.metrics)])}
        last = len(rank)
        rows = sorted(
            self.scores.values(),
            key=lambda row: (rank.get(row.item, last), row.item, row.candidate, row.picked_by or "",
                             rank.get(row.metric, last), row.metric),
        )  # fmt: skip
        self.scores = {row.key: row for row in rows}
        from pyarrow import parquet

        with atomic_write(self.path / "scores.parquet") as temporary:
            table = pyarrow.Table.from_pandas(self.frame(), schema=SCORE_TYPES, preserve_index=False)
            parquet.write_table(table, temporary)
            digest = sha256(temporary.read_bytes())
        self.write_header(structs.replace(self.header, scores_sha256=digest))
        (self.path / "scores.jsonl").unlink(missing_ok=True)

    def frame(self) -> pd.DataFrame:
        """Scores as a data frame of `COLUMNS`; an undefined value is missing, infinities are floats."""
        import pandas as pd  # 60 MiB that a process which only separates does without

        rows = [structs.astuple(row) for row in self.scores.values()]
        frame = pd.DataFrame(rows, columns=list(COLUMNS), dtype="object")
        return frame.astype({"seed": "int64", "candidate": "int64", "value": "float64"})


def candidate_files(record: ItemRecord) -> list[str]:
    """Names of the files of single candidates that a journal line tells of."""
    return [str(getattr(kept, part)) for kept in record.kept.values() for part in PARTS]


def _read_rows(path: Path, digest: str | None) -> list[ScoreRow]:
    """Rows while running, else the sealed ones; none where the table is not the one that was sealed."""
    if (path / "scores.jsonl").exists():
        return [_with_number(row) for row in read_records(path / "scores.jsonl", ScoreRow)]
    sealed = path / "scores.parquet"
    if not sealed.exists():
        return []
    from pyarrow import parquet

    try:
        if digest is not None and file_digest(sealed) != digest:
            parquet.read_schema(sealed)
            return []
        table = parquet.read_table(sealed, columns=list(COLUMNS))
    except (OSError, ValueError, KeyError, MediaError) as error:
        raise StoreError(
            f"expected scores at {sealed}, found a damaged file ({error}); remove it, and run the same command again"
        ) from error
    columns = (table.column(name).to_pylist() for name in COLUMNS)
    return [_row(dict(zip(COLUMNS, values, strict=True))) for values in zip(*columns, strict=True)]


def _row(values: Mapping[str, object]) -> ScoreRow:
    value = values["value"]
    return ScoreRow(
        **{**values, "value": None if value != value else value, "status": Status(str(values["status"]))}  # type: ignore[arg-type]
    )


def _with_number(row: ScoreRow) -> ScoreRow:
    """The row with infinities as numbers."""
    return structs.replace(row, value=float(row.value)) if isinstance(row.value, str) else row
