"""Appending to the journals of a run folder: each line is written at once, and synced to disk within a second.

A written line survives the process. A power failure may lose what is not on disk: a thread syncs the audio, the scores
and then the journal once a second, and records in ``synced`` how many bytes of the journal are on disk together with
all files that they refer to. For lines after that mark, the audio is compared with its digest when the folder is
opened, since a system may write a line before the file that it names.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread

from sam_audio_bench.files import dump_json
from sam_audio_bench.platforms import O_BINARY

__all__ = ["ITEMS", "SCORES", "Journal", "count_synced_lines", "read_synced_bytes", "sync_folder"]

ITEMS = "items.jsonl"
SCORES = "scores.jsonl"
_MARK = "synced"
_DIGITS = 20  # of the mark
_FEW = 2  # audio files, up to which each is synced on its own
_INTERVAL = 1.0  # seconds between syncs


class Journal:
    """Open journals of a folder, which one process writes; `close` syncs everything to disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, int] = {}  # name -> descriptor
        self._audio: dict[str, None] = {}  # names of files that may not be on disk
        self._is_dirty = False
        self._failure: OSError | None = None
        self._appending, self._syncing, self._closing = Lock(), Lock(), Event()
        self._thread = Thread(target=self._sync_repeatedly, name="journal", daemon=True)
        self._thread.start()

    def append(self, name: str, records: Iterable[Mapping[str, object]], audio: Iterable[str] = ()) -> None:
        """Appends lines, which survive this process from now on.

        Args:
            name: file name of the journal.
            records: one per line.
            audio: names of files in ``audio/`` that these lines are the first to refer to.

        Raises:
            OSError: the disk is full or gone, or the thread could not sync; the journal is unchanged.
        """
        lines = "".join(dump_json(record) + "\n" for record in records).encode()
        with self._appending:
            if self._failure is not None:
                raise self._failure
            self._audio.update(dict.fromkeys(audio))
            self._is_dirty = True
            _write(self._open_journal(name), lines)

    def sync(self) -> None:
        """Syncs the appended lines to disk, with the audio that they refer to, and then advances the mark."""
        with self._syncing:
            with self._appending:
                if not self._is_dirty:
                    return
                self._is_dirty = False
                audio, self._audio = self._audio, {}
                files = {name: os.dup(self._open[name]) for name in (SCORES, ITEMS) if name in self._open}
                end = os.fstat(files[ITEMS]).st_size if ITEMS in files else None
            try:
                if len(audio) <= _FEW or not _sync_file_system(next(iter(files.values()))):
                    self._sync_audio(audio)
                    for descriptor in files.values():
                        os.fsync(descriptor)
            finally:
                for descriptor in files.values():
                    os.close(descriptor)
            if end is not None:
                _write_mark(self._folder, end)

    def prepare_rewrite(self) -> None:
        """Closes the files, which will be replaced, and resets the mark: none of their lines counts as synced."""
        with self._syncing, self._appending:
            self._close_files()
            self._is_dirty = False
            _write_mark(self._folder, 0, durable=(self._folder / _MARK).exists())

    def resume(self, synced: int, unsynced: Iterable[str]) -> None:
        """Continues a journal that was rewritten, and is on disk except for some audio.

        Args:
            synced: number of its bytes whose files are all on disk.
            unsynced: names of the files that may not be on disk.
        """
        with self._syncing, self._appending:
            self._audio = dict.fromkeys(unsynced)
            self._is_dirty = bool(self._audio)
            self._open_journal(ITEMS)
            _write_mark(self._folder, synced)

    def remove_mark(self) -> None:
        """Removes the mark: the run has ended, and everything is on disk."""
        (self._folder / _MARK).unlink(missing_ok=True)

    def close(self) -> None:
        """Syncs everything to disk and ends the thread; raises OSError."""
        self._closing.set()
        self._thread.join()
        try:
            self.sync()
            if self._failure is not None:
                raise self._failure
        finally:
            self._close_files()

    def _sync_repeatedly(self) -> None:
        while not self._closing.wait(_INTERVAL):
            try:
                self.sync()
            except OSError as error:  # raised by the next `append`
                self._failure = error
                return

    def _open_journal(self, name: str) -> int:
        """Returns the descriptor of a journal; raises if its file was removed, since lines would be lost silently."""
        path = self._folder / name
        if (known := self._open.get(name)) is not None:
            found, own = path.stat(), os.fstat(known)
            if (found.st_ino, found.st_dev) == (own.st_ino, own.st_dev):
                return known
            raise FileNotFoundError(2, "expected the file that this run writes, found another one", str(path))
        self._open[name] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | O_BINARY, 0o666)
        return self._open[name]

    def _close_files(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _sync_audio(self, names: Collection[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):  # replaced by a later estimate, whose name follows
                _sync_path(self._folder / "audio" / name)
        if names:
            sync_folder(self._folder / "audio")


def read_synced_bytes(folder: Path) -> int | None:
    """Returns how many bytes of the journal are on disk with their audio; None: no run was interrupted here."""
    try:
        text = (folder / _MARK).read_bytes()
    except FileNotFoundError:
        return None
    except OSError:
        return 0
    end = int(text) if text.isdigit() and len(text) <= _DIGITS else 0
    with suppress(OSError):
        return end if end <= (folder / ITEMS).stat().st_size else 0  # of another journal: nothing is certain
    return 0


def count_synced_lines(folder: Path, lines: int, *, ended: bool) -> int:
    """Returns how many lines of the journal are on disk with their audio, so that a power failure cannot have lost it.

    Args:
        folder: the run folder.
        lines: number of lines in the journal.
        ended: whether the run has ended, according to run.json.
    """
    end = read_synced_bytes(folder)
    if end is None:
        return lines if ended else 0
    with suppress(FileNotFoundError), (folder / ITEMS).open("rb") as journal:
        return journal.read(end).count(b"\n")
    return lines


def sync_folder(folder: Path) -> None:
    """Syncs the directory entries of a folder to disk, if the system can."""
    with suppress(OSError):
        _sync_path(folder)


def _sync_file_system(descriptor: int) -> bool:
    """Syncs the whole file system of a file, which takes hardly longer than one file; False: not on this system.

    Raises:
        OSError: something could not be written.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs"):
        return False
    if library.syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return True


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_mark(folder: Path, end: int, *, durable: bool = False) -> None:
    """Writes the mark in place, in one short write: after a power failure it is an earlier one, or none."""
    descriptor = os.open(folder / _MARK, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, b"%0*d" % (_DIGITS, end))
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, content: bytes) -> None:
    """Writes all of the content, or nothing."""
    before = os.fstat(descriptor).st_size
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        os.ftruncate(descriptor, before)
        raise
