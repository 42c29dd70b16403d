"""Appending to the journals of a run folder: each line is written at once, and forced to disk within a second.

A line that was written survives the process. What a power cut may cost is what a disk has not got: a thread forces the
audio, the scores and then the journal to it once a second, and notes in ``synced`` how far the journal's lines, with
all that they tell of, have come. Of the lines behind that mark the audio is compared with its digest when the folder is
opened, since a system may write a line before the sound that it names.
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

__all__ = ["ITEMS", "SCORES", "Journal", "force_folder", "read_mark", "sure_lines"]

ITEMS = "items.jsonl"
SCORES = "scores.jsonl"
_MARK = "synced"
_DIGITS = 20  # of a mark
_FEW = 2  # files that are forced to disk one by one
_INTERVAL = 1.0  # seconds between two times that the disk is asked


class Journal:
    """Open journals of a folder that one process writes; `close` forces everything to disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, int] = {}  # name -> descriptor
        self._audio: dict[str, None] = {}  # names of files that the disk may not have
        self._is_dirty = False
        self._failure: OSError | None = None
        self._appending, self._syncing, self._closing = Lock(), Lock(), Event()
        self._behind = Thread(target=self._sync_behind, name="journal", daemon=True)
        self._behind.start()

    def append(self, name: str, records: Iterable[Mapping[str, object]], audio: Iterable[str] = ()) -> None:
        """Writes lines, to survive this process from now on.

        Args:
            name: of the journal.
            records: one a line.
            audio: names of files in ``audio/`` that these lines tell of, and that no line told of before.

        Raises:
            OSError: the disk is full or gone, or could not be written behind; the journal ends as it did before.
        """
        lines = "".join(dump_json(record) + "\n" for record in records).encode()
        with self._appending:
            if self._failure is not None:
                raise self._failure
            self._audio.update(dict.fromkeys(audio))
            self._is_dirty = True
            _write(self._descriptor(name), lines)

    def sync(self) -> None:
        """Forces what was appended to disk, with the audio that it tells of, and then moves the mark behind it."""
        with self._syncing:
            with self._appending:
                if not self._is_dirty:
                    return
                self._is_dirty = False
                audio, self._audio = self._audio, {}
                files = {name: os.dup(self._open[name]) for name in (SCORES, ITEMS) if name in self._open}
                end = os.fstat(files[ITEMS]).st_size if ITEMS in files else None
            try:
                if len(audio) <= _FEW or not _force_everything(next(iter(files.values()))):
                    self._force_audio(audio)
                    for descriptor in files.values():
                        os.fsync(descriptor)
            finally:
                for descriptor in files.values():
                    os.close(descriptor)
            if end is not None:
                _write_mark(self._folder, end)

    def release(self) -> None:
        """Lets go of the files, which will be replaced: none of their lines counts as forced to disk any more."""
        with self._syncing, self._appending:
            self._close_files()
            self._is_dirty = False
            _write_mark(self._folder, 0, durable=(self._folder / _MARK).exists())

    def begin(self, sure: int, unsure: Iterable[str]) -> None:
        """Starts behind a journal that was written anew, of which the disk has everything but some audio.

        Args:
            sure: how many of its bytes tell of nothing that the disk may lack.
            unsure: names of the files that it may lack.
        """
        with self._syncing, self._appending:
            self._audio = dict.fromkeys(unsure)
            self._is_dirty = bool(self._audio)
            self._descriptor(ITEMS)
            _write_mark(self._folder, sure)

    def finish(self) -> None:
        """Removes the mark: the run has ended, and everything is on disk."""
        (self._folder / _MARK).unlink(missing_ok=True)

    def close(self) -> None:
        """Forces everything to disk and ends the thread; raises OSError."""
        self._closing.set()
        self._behind.join()
        try:
            self.sync()
            if self._failure is not None:
                raise self._failure
        finally:
            self._close_files()

    def _sync_behind(self) -> None:
        while not self._closing.wait(_INTERVAL):
            try:
                self.sync()
            except OSError as error:  # told by the next line that is written
                self._failure = error
                return

    def _descriptor(self, name: str) -> int:
        """Of a journal that still lies where it did: a line in a file that was removed would be lost without a word."""
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

    def _force_audio(self, names: Collection[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):  # replaced by a later answer, whose name follows
                _force(self._folder / "audio" / name)
        if names:
            force_folder(self._folder / "audio")


def read_mark(folder: Path) -> int | None:
    """How many bytes of the journal tell of nothing that a power cut may have cost; None: no run left off here."""
    try:
        text = (folder / _MARK).read_bytes()
    except FileNotFoundError:
        return None
    except OSError:
        return 0
    end = int(text) if text.isdigit() and len(text) <= _DIGITS else 0
    with suppress(OSError):
        return end if end <= (folder / ITEMS).stat().st_size else 0  # not of this journal: nothing is sure
    return 0


def sure_lines(folder: Path, lines: int, *, ended: bool) -> int:
    """How many of the lines of the journal tell of nothing that a power cut may have cost.

    Args:
        folder: of the run.
        lines: that the journal has.
        ended: whether the run says so of itself.
    """
    end = read_mark(folder)
    if end is None:
        return lines if ended else 0
    with suppress(FileNotFoundError), (folder / ITEMS).open("rb") as journal:
        return journal.read(end).count(b"\n")
    return lines


def force_folder(folder: Path) -> None:
    """Forces the names in a folder to disk, where the system can."""
    with suppress(OSError):
        _force(folder)


def _force_everything(descriptor: int) -> bool:
    """Forces all that the file system of a file has, which costs hardly more than one file; False: not on this system.

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


def _force(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_mark(folder: Path, end: int, *, durable: bool = False) -> None:
    """One short write in place: a mark that a power cut brings back is an earlier one, or none."""
    descriptor = os.open(folder / _MARK, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, b"%0*d" % (_DIGITS, end))
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, content: bytes) -> None:
    """All of it or nothing."""
    before = os.fstat(descriptor).st_size
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        os.ftruncate(descriptor, before)
        raise
