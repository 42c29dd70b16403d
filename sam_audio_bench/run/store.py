"""A run folder: the journal of finished items, the audio, the scores, and what resuming may keep.

    run.json        what was run, with which versions, and how it ended
    items.jsonl     one finished item a line, the last line of an item counts
    audio/          <item>.target.flac, <item>.residual.flac; of candidate k, <item>.target.k.flac
    scores.jsonl    while running; sealed as scores.parquet
    items.parquet   attributes of the items, of the journal and of the data
    aside.jsonl     lines of items that the data do not have any more; they count nowhere

Where both score files exist, a crash came between two steps of sealing or unsealing, and scores.jsonl is complete.
When a folder is opened, the scores that the journal promises are compared with those that are there: what is missing is
not promised any more, and so computed again; what was not promised is left out.
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
from sam_audio_bench.run.journal import ITEMS, SCORES, Journal, force_folder, sure_lines
from sam_audio_bench.run.score_table import SCORE_TYPES, Kind, Promise, ScoreTable, read_scores
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
    "answer_path",
    "candidate_files",
    "scored_estimates",
]

LOCK = ".lock"
"""File of a run folder that the process holds which writes there."""
_FILES = (".run.json", ".items.jsonl", ".scores.jsonl", ".scores.parquet", ".items.parquet", ".aside.jsonl", ".synced")


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
        self.lost: set[str] = set()  # items whose promised scores were not there when the folder was opened
        self._scores = ScoreTable()
        self._unsure: frozenset[str] = frozenset()  # items whose audio a power cut may have cost
        self._audio = str(path / "audio") + os.sep
        self._header: RunRecord | None = None
        self._journal: Journal | None = None  # while this process writes

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Reads what is there; an absent folder is an empty run.

        Raises:
            StoreError: the folder has another schema version or a damaged file.
        """
        folder = cls(path)
        if os.path.lexists(path / "run.json"):  # a link that leads nowhere is a damaged record, not none
            folder._header = read_run(path / "run.json")
            records = read_items(path / ITEMS)
            folder.items = {record.item: record for record in records}
            sure = sure_lines(path, len(records), ended=folder.header.status != "started")
            folder._unsure = frozenset(record.item for record in records[sure:])
            folder._scores = read_scores(path, folder.header.scores_sha256)
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
        lacking = self._scores.reconcile(_promises(self.items.values()))
        for item, names in lacking.items():
            record = self.items[item]
            record.scored = {name: text for name, text in record.scored.items() if name not in names}
        self.lost = set(lacking)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the folder for one process, and removes what another one that was killed has left half written.

        Raises:
            Precondition: the folder cannot be written, or another process holds it.
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
            now = RunFolder.open(self.path)  # another process may have written since this one looked
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
        """Removes what a process that was killed has left half written, unless another one is at work here."""
        if self._leftovers():
            with suppress(Timeout, OSError), FileLock(self.path / LOCK, timeout=0):
                self._unlink_leftovers()

    def _unlink_leftovers(self) -> None:
        for path in self._leftovers():
            path.unlink(missing_ok=True)

    def _leftovers(self) -> list[Path]:
        own = (one for one in temporary_files(self.path) if one.name.endswith(_FILES))  # pictures are others'
        return [*own, *temporary_files(self.path / "audio")]

    def damage(self, item: str, *, read: bool = False) -> str | None:
        """Why the stored estimates of an item are not those that the journal tells of; None: they are.

        Args:
            item: one that has an estimate.
            read: compare digests even where size and time of a file are as they were.
        """
        read = read or item in self._unsure
        for view in scored_estimates(self.items[item]):
            for part in ESTIMATE_PARTS:
                path = f"{self._audio}{getattr(view.files, part)}"
                try:
                    found = os.stat(path)  # noqa: PTH116 - called for each file of 100,000 items
                    if not stat.S_ISREG(found.st_mode):
                        return _lost(path)
                    if not read and getattr(view.files.stat, part) == (found.st_size, found.st_mtime_ns):
                        continue
                    digest = file_digest(Path(path))
                except (OSError, ValueError, MediaError):
                    return _lost(path)
                if digest != getattr(view.files.sha256, part):
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
        lines = [to_builtins(record) for item, record in self.items.items() if item in gone]
        if lines:
            append_lines(self.path / "aside.jsonl", lines)
        self._keep(set(self.items) - gone)

    def forget_scores(self, columns: Mapping[str, Collection[str]]) -> None:
        """Drops scores of some columns of each of some items from memory; what is written next says so."""
        for item, dropped in columns.items():
            if dropped:
                record = self.items[item]
                record.scored = {name: text for name, text in record.scored.items() if name not in dropped}
        self._scores.drop_columns(columns)

    def unseal(self) -> None:
        """Writes the journal and the scores as they are in memory, to be added to."""
        unsure = {item: record for item, record in self.items.items() if item in self._unsure}
        sure = [record for item, record in self.items.items() if item not in unsure]
        assert self._journal is not None, f"{self.path} is not held for writing"
        self._journal.release()
        holds = bool(self.items)  # nothing is lost with empty files
        with atomic_write(self.path / SCORES, durable=holds) as temporary:
            append_lines(temporary, map(to_builtins, self._scores.rows()), durable=False)
        with atomic_write(self.path / ITEMS, durable=holds) as temporary:
            append_lines(temporary, map(to_builtins, sure), durable=False)
            end = temporary.stat().st_size
            append_lines(temporary, map(to_builtins, unsure.values()), durable=False)
        if holds:
            force_folder(self.path)
        self._journal.begin(end, [name for record in unsure.values() for name in stored_files(record)])
        (self.path / "scores.parquet").unlink(missing_ok=True)

    def _keep(self, items: set[str]) -> None:
        """Drops all other items and their scores from memory."""
        if items != self.items.keys():
            self.items = {item: record for item, record in self.items.items() if item in items}
            self._scores.keep_items(items)

    def add_item(self, record: ItemRecord) -> None:
        """Journals an item whose audio is written, or whose failure is final for this run; survives this process."""
        known = self.items.get(record.item)
        is_new = known is None or known.sha256 != record.sha256
        self._append(ITEMS, [record], stored_files(record) if is_new else ())
        self.items[record.item] = record

    def add_scores(self, rows: Iterable[ScoreRow]) -> None:
        """Appends rows; a later row of the same item, candidate, picker and metric replaces."""
        added = list(rows)
        self._append(SCORES, added)
        self._scores.add(added)

    def score_rows(self) -> Iterator[ScoreRow]:
        """Every score."""
        return self._scores.rows()

    def _append(self, name: str, records: Iterable[ItemRecord | ScoreRow], audio: Iterable[str] = ()) -> None:
        assert self._journal is not None, f"{self.path} is not held for writing"
        lines = list(map(to_builtins, records))
        try:
            self._journal.append(name, lines, audio)
        except FileNotFoundError:
            if (self.path / name).exists() or not (self.path / LOCK).exists():
                raise
            self.unseal()  # somebody removed the journal: what it held is known here
            self._journal.append(name, lines, audio)

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

    def write_header(self, header: RunRecord, *, durable: bool = True) -> None:
        """Writes run.json."""
        self._header = header
        write_json(self.path / "run.json", to_builtins(header), durable=durable)

    def attributes(self) -> dict[str, dict[str, Attribute]] | None:
        """Attributes of each item as they were sealed; None: of a run from before there were any."""
        return read_attributes(self.path, self.header.items_sha256)

    def seal(self, order: Sequence[str], said: Callable[[str], Mapping[str, Attribute]] = lambda item: {}) -> None:
        """Sorts the scores by item, candidate, picker and metric and writes them, and attributes, as tables.

        Args:
            order: of the items.
            said: what the data say of an item.
        """
        from pyarrow import parquet

        assert self._journal is not None, f"{self.path} is not held for writing"
        self._journal.sync()
        self._scores.sort(order, [record.id for record in self.metrics])
        with atomic_write(self.path / "scores.parquet", durable=True) as temporary:
            parquet.write_table(self._scores.plain(), temporary)
            digest = sha256(temporary.read_bytes())
        items = write_attributes(self.path, self.items, order, said)
        sealed = structs.replace(self.header, scores_sha256=digest, items_sha256=items)
        self.write_header(sealed, durable=False)  # another one follows
        self._journal.release()
        (self.path / SCORES).unlink(missing_ok=True)
        self._journal.finish()
        self._unsure = frozenset()

    def frame(self) -> pd.DataFrame:
        """Scores as a data frame of `SCORE_COLUMNS`; an undefined value is missing, infinities are floats."""
        return self._scores.frame()

    def part(self, items: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
        """The same of some items and metrics, in their order, whatever order the folder was filled in."""
        return self._scores.part(items, metrics).frame()


def answer_path(folder: RunFolder, item: str, *, first: bool = False) -> Path | None:
    """The target of an item that was scored, or the first candidate's; None where the run keeps no audio of it."""
    if item not in folder.items:
        return None
    shown = scored_estimates(folder.items[item])
    name = (shown[0] if first else shown[-1]).files.target
    path = folder.path / "audio" / str(name)
    return path if name and path.is_file() else None


def candidate_files(record: ItemRecord) -> list[str]:
    """Names of the files of single candidates that a journal line tells of."""
    return [name for kept in record.kept.values() for part in ESTIMATE_PARTS if (name := getattr(kept, part))]


def stored_files(record: ItemRecord) -> list[str]:
    """Names of all files that a journal line tells of."""
    return [*(name for part in ESTIMATE_PARTS if (name := getattr(record, part))), *candidate_files(record)]


def _lost(path: str) -> str:
    return f"expected the stored estimate {path}, found none"


def _promises(records: Iterable[ItemRecord]) -> Iterator[Promise]:
    """Which rows the journal says that there are, and which there may be."""
    known: dict[tuple[object, ...], tuple[frozenset[Kind], frozenset[Kind]]] = {}
    for record in records:
        if record.failed:
            yield Promise(record.item, frozenset(), None)
            continue
        views = tuple((view.candidate, view.picked_by or "") for view in scored_estimates(record))
        shape = (*views, tuple(record.scored), tuple(record.not_asked), tuple(record.score_errors))
        if shape not in known:
            asked = set(record.scored) - set(record.not_asked)
            told = set(record.scored) | set(record.score_errors)
            known[shape] = (
                frozenset((*view, name) for view in views for name in asked),
                frozenset((*view, name) for view in views for name in told),
            )
        yield Promise(record.item, *known[shape])
