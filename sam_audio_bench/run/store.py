"""A run folder: the journal of finished items, the audio, the scores, and resuming.

    run.json        what was run, with which versions, and how it ended
    items.jsonl     one finished item per line; the last line of an item is valid
    audio/          <item>.target.flac, <item>.residual.flac; of candidate k, <item>.target.k.flac
    scores.jsonl    while running; sealed as scores.parquet
    items.parquet   attributes of the items, of the journal and of the data
    aside.jsonl     lines of items that are not in the data any more; they are ignored

If both score files exist, a crash occurred between two steps of sealing or unsealing, and scores.jsonl is complete.
When a folder is opened, the scores expected by the journal are compared with the existing ones: those that are missing
are marked as not computed, so that they are computed again; unexpected ones are removed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from filelock import FileLock, Timeout
from msgspec import structs

from sam_audio_bench.digests import file_digest
from sam_audio_bench.errors import MediaError, Precondition, StoreError
from sam_audio_bench.files import append_lines, atomic_write, sha256, temporary_files, write_json
from sam_audio_bench.records import (
    ESTIMATE_PARTS,
    SCHEMA_VERSION,
    SCORE_COLUMNS,
    ItemRecord,
    MetricRecord,
    RunRecord,
    ScoreRow,
    StoredEstimate,
    read_items,
    read_run,
    to_builtins,
)
from sam_audio_bench.run.attributes import read_attributes, write_attributes
from sam_audio_bench.run.journal import ITEMS, SCORES, Journal, count_synced_lines, sync_folder
from sam_audio_bench.run.score_table import SCORE_TYPES, ExpectedScores, ScoreKey, ScoreTable, read_scores
from sam_audio_bench.tasks.attributes import Attribute

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ESTIMATE_PARTS",
    "LOCK",
    "SCHEMA_VERSION",
    "SCORE_COLUMNS",
    "SCORE_TYPES",
    "RunFolder",
    "ScoredEstimate",
    "candidate_files",
    "estimate_path",
    "scored_estimates",
]

LOCK = ".lock"
"""Lock file of a run folder, held by the process that writes to it."""
_FILES = (".run.json", ".items.jsonl", ".scores.jsonl", ".scores.parquet", ".items.parquet", ".aside.jsonl", ".synced")


class ScoredEstimate(NamedTuple):
    """An estimate of an item that is scored by metrics."""

    candidate: int
    picked_by: str | None
    files: StoredEstimate  # without names if the item failed


def scored_estimates(record: ItemRecord) -> list[ScoredEstimate]:
    """Returns the scored estimates of a journal line: the only one, or the first candidate and the picked one."""
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
        self.lost: set[str] = set()  # items whose expected scores were missing when the folder was opened
        self._scores = ScoreTable()
        self._unsure: frozenset[str] = frozenset()  # items whose audio may have been lost in a power failure
        self._audio = str(path / "audio") + os.sep
        self._header: RunRecord | None = None
        self._journal: Journal | None = None  # while this process writes

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Reads a run folder; a folder that does not exist is an empty run.

        Raises:
            StoreError: the folder has another schema version or a damaged file.
        """
        folder = cls(path)
        if os.path.lexists(path / "run.json"):  # a broken link is a damaged record, not a missing one
            folder._header = read_run(path / "run.json")
            records = read_items(path / ITEMS)
            folder.items = {record.item: record for record in records}
            sure = count_synced_lines(path, len(records), ended=folder.header.status != "started")
            folder._unsure = frozenset(record.item for record in records[sure:])
            folder._scores = read_scores(path, folder.header.scores_sha256)
            if folder.header.schema_version == SCHEMA_VERSION:
                folder._reconcile()
        return folder

    @property
    def exists(self) -> bool:
        """Whether the folder contains a run."""
        return self._header is not None

    @property
    def header(self) -> RunRecord:
        """``run.json``; the folder must contain a run."""
        assert self._header is not None, f"no run in {self.path}"
        return self._header

    @property
    def metrics(self) -> list[MetricRecord]:
        """The metrics of the run; empty if there is no run."""
        return [] if self._header is None else self._header.metrics

    def require_digests(self) -> None:
        """Raises StoreError for a run of schema version 1, which can be read but not continued."""
        if self.header.schema_version != SCHEMA_VERSION:
            raise StoreError(
                f"expected a run folder of schema version {SCHEMA_VERSION} at {self.path}, found version "
                f"{self.header.schema_version}, which does not say what its estimates were made from; do it again with "
                "--overwrite always, or use another --output"
            )

    def _reconcile(self) -> None:
        """Compares the scores expected by the journal with the existing ones."""
        missing = self._scores.reconcile(_expected_scores(self.items.values()))
        for item, names in missing.items():
            record = self.items[item]
            record.scored = {name: text for name, text in record.scored.items() if name not in names}
        self.lost = set(missing)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Locks the folder for this process, and removes temporary files of a process that was killed.

        Raises:
            Precondition: the folder cannot be written, or another process has locked it.
        """
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
            self._unlink_leftovers()
            now = RunFolder.open(self.path)  # another process may have written to it since it was opened
            self._header, self.items, self._scores = now._header, now.items, now._scores
            self.lost, self._unsure = now.lost, now._unsure
            self._journal = Journal(self.path)
            try:
                yield
            finally:
                journal, self._journal = self._journal, None
                journal.close()
        finally:
            lock.release()

    def remove_leftovers(self) -> None:
        """Removes temporary files of a process that was killed, unless another process is writing here."""
        if self._leftovers():
            with suppress(Timeout, OSError), FileLock(self.path / LOCK, timeout=0):
                self._unlink_leftovers()

    def _unlink_leftovers(self) -> None:
        for path in self._leftovers():
            path.unlink(missing_ok=True)

    def _leftovers(self) -> list[Path]:
        own = (one for one in temporary_files(self.path) if one.name.endswith(_FILES))  # not those of figures
        return [*own, *temporary_files(self.path / "audio")]

    def damage(self, item: str, *, read: bool = False) -> str | None:
        """Returns why the stored estimates of an item are not those of the journal; None: they are.

        Args:
            item: id of an item with an estimate.
            read: compare digests even if size and time of a file are unchanged.
        """
        read = read or item in self._unsure
        for view in scored_estimates(self.items[item]):
            for part in ESTIMATE_PARTS:
                path = f"{self._audio}{getattr(view.files, part)}"
                try:
                    found = os.stat(path)  # noqa: PTH116 - called for each file of 100,000 items
                    if not stat.S_ISREG(found.st_mode):
                        return _missing_file(path)
                    if not read and getattr(view.files.stat, part) == (found.st_size, found.st_mtime_ns):
                        continue
                    digest = file_digest(Path(path))
                except (OSError, ValueError, MediaError):
                    return _missing_file(path)
                if digest != getattr(view.files.sha256, part):
                    return f"expected the estimate that was journalled at {path}, found another sound"
        return None

    def forget(self, stale: Iterable[str]) -> None:
        """Removes items and their scores before they are computed again, and unseals the scores."""
        dropped = set(stale)
        for item in dropped & set(self.items):
            for name in candidate_files(self.items[item]):
                (self.path / "audio" / name).unlink(missing_ok=True)
        self._keep(set(self.items) - dropped)
        self.unseal()

    def set_aside(self, items: Iterable[str]) -> None:
        """Moves the lines of items that belong to other data or another identity to ``aside.jsonl``; audio stays.

        The journal keeps them until it is written next: after a crash they are in both files, but never in none.
        """
        gone = set(items)
        lines = [to_builtins(record) for item, record in self.items.items() if item in gone]
        if lines:
            append_lines(self.path / "aside.jsonl", lines)
        self._keep(set(self.items) - gone)

    def forget_scores(self, columns: Mapping[str, Collection[str]]) -> None:
        """Removes scores by item and column in memory; the next write updates the files."""
        for item, dropped in columns.items():
            if dropped:
                record = self.items[item]
                record.scored = {name: text for name, text in record.scored.items() if name not in dropped}
        self._scores.drop_columns(columns)

    def unseal(self) -> None:
        """Writes the journal and the scores from memory to files that can be appended to."""
        unsure = {item: record for item, record in self.items.items() if item in self._unsure}
        sure = [record for item, record in self.items.items() if item not in unsure]
        assert self._journal is not None, f"{self.path} is not held for writing"
        self._journal.prepare_rewrite()
        holds = bool(self.items)  # empty files need not be durable
        with atomic_write(self.path / SCORES, durable=holds) as temporary:
            append_lines(temporary, map(to_builtins, self._scores.rows()), durable=False)
        with atomic_write(self.path / ITEMS, durable=holds) as temporary:
            append_lines(temporary, map(to_builtins, sure), durable=False)
            end = temporary.stat().st_size
            append_lines(temporary, map(to_builtins, unsure.values()), durable=False)
        if holds:
            sync_folder(self.path)
        self._journal.resume(end, [name for record in unsure.values() for name in stored_files(record)])
        (self.path / "scores.parquet").unlink(missing_ok=True)

    def _keep(self, items: set[str]) -> None:
        """Removes all other items and their scores from memory."""
        if items != self.items.keys():
            self.items = {item: record for item, record in self.items.items() if item in items}
            self._scores.keep_items(items)

    def add_item(self, record: ItemRecord) -> None:
        """Appends an item to the journal once its audio is written or it has failed; survives a kill of the process."""
        known = self.items.get(record.item)
        is_new = known is None or known.sha256 != record.sha256
        self._append(ITEMS, [record], stored_files(record) if is_new else ())
        self.items[record.item] = record

    def add_scores(self, rows: Iterable[ScoreRow]) -> None:
        """Appends rows; each replaces an earlier row of the same item, candidate, picker and metric."""
        added = list(rows)
        self._append(SCORES, added)
        self._scores.add(added)

    def score_rows(self) -> Iterator[ScoreRow]:
        """Returns an iterator over all scores."""
        return self._scores.rows()

    def _append(self, name: str, records: Iterable[ItemRecord | ScoreRow], audio: Iterable[str] = ()) -> None:
        assert self._journal is not None, f"{self.path} is not held for writing"
        lines = list(map(to_builtins, records))
        try:
            self._journal.append(name, lines, audio)
        except FileNotFoundError:
            if (self.path / name).exists() or not (self.path / LOCK).exists():
                raise
            self.unseal()  # the journal was deleted; its contents are in memory
            self._journal.append(name, lines, audio)

    def audio_stem(self, name: str, part: str, candidate: int | None = None) -> Path:
        """Returns the path without suffix of a part ("target" or "residual") of an estimate or candidate.

        Args:
            name: base name of the item's files, of `files.safe_names`.
            part: "target" or "residual".
            candidate: its number; None: the chosen estimate.
        """
        number = "" if candidate is None else f".{candidate}"
        return self.path / "audio" / f"{name}.{part}{number}"

    def audio_path(self, item: str, part: str) -> Path:
        """Returns the path of a part of a finished item, from the journal."""
        return self.path / "audio" / str(getattr(self.items[item], part))

    def write_header(self, header: RunRecord, *, durable: bool = True) -> None:
        """Writes run.json."""
        self._header = header
        write_json(self.path / "run.json", to_builtins(header), durable=durable)

    def attributes(self) -> dict[str, dict[str, Attribute]] | None:
        """Returns the sealed attributes of each item; None: the run is of a version without attributes."""
        return read_attributes(self.path, self.header.items_sha256)

    def seal(
        self, order: Sequence[str], attributes_of: Callable[[str], Mapping[str, Attribute]] = lambda item: {}
    ) -> None:
        """Writes the scores, sorted by item, candidate, picker and metric, and the attributes as tables.

        Args:
            order: item ids in the order of the tables.
            attributes_of: returns the attributes of an item that come from its data.
        """
        from pyarrow import parquet

        assert self._journal is not None, f"{self.path} is not held for writing"
        self._journal.sync()
        self._scores.sort(order, [record.id for record in self.metrics])
        with atomic_write(self.path / "scores.parquet", durable=True) as temporary:
            parquet.write_table(self._scores.to_arrow(), temporary)
            digest = sha256(temporary.read_bytes())
        items = write_attributes(self.path, self.items, order, attributes_of)
        sealed = structs.replace(self.header, scores_sha256=digest, items_sha256=items)
        self.write_header(sealed, durable=False)  # the header is written once more at the end
        self._journal.prepare_rewrite()
        (self.path / SCORES).unlink(missing_ok=True)
        self._journal.remove_mark()
        self._unsure = frozenset()

    def frame(self) -> pd.DataFrame:
        """Returns a data frame of `SCORE_COLUMNS`; an undefined value is missing, infinities are floats."""
        return self._scores.to_frame()

    def select(self, items: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
        """Returns the scores of some items and metrics as a data frame in the given order."""
        return self._scores.select(items, metrics).to_frame()


def estimate_path(folder: RunFolder, item: str, *, first: bool = False) -> Path | None:
    """Returns the file of the scored target or of the first candidate's; None if the run has no audio of the item."""
    if item not in folder.items:
        return None
    shown = scored_estimates(folder.items[item])
    name = (shown[0] if first else shown[-1]).files.target
    path = folder.path / "audio" / str(name)
    return path if name and path.is_file() else None


def candidate_files(record: ItemRecord) -> list[str]:
    """Returns the names of the files of single candidates in a journal line."""
    return [name for kept in record.kept.values() for part in ESTIMATE_PARTS if (name := getattr(kept, part))]


def stored_files(record: ItemRecord) -> list[str]:
    """Returns the names of all files in a journal line."""
    return [*(name for part in ESTIMATE_PARTS if (name := getattr(record, part))), *candidate_files(record)]


def _missing_file(path: str) -> str:
    return f"expected the stored estimate {path}, found none"


def _expected_scores(records: Iterable[ItemRecord]) -> Iterator[ExpectedScores]:
    """Yields the rows that each item must or may have according to the journal."""
    known: dict[tuple[object, ...], tuple[frozenset[ScoreKey], frozenset[ScoreKey]]] = {}
    for record in records:
        if record.failed:
            yield ExpectedScores(record.item, frozenset(), None)
            continue
        views = tuple((view.candidate, view.picked_by or "") for view in scored_estimates(record))
        shape = (*views, tuple(record.scored), tuple(record.not_asked), tuple(record.score_errors))
        if shape not in known:
            required = set(record.scored) - set(record.not_asked)
            allowed = set(record.scored) | set(record.score_errors)
            known[shape] = (
                frozenset((*view, name) for view in views for name in required),
                frozenset((*view, name) for view in views for name in allowed),
            )
        yield ExpectedScores(record.item, *known[shape])
