"""Copying finished run folders to a URL, so that a copy there is whole, or can be seen not to be.

``run.json`` is copied last. Where a copy is there already, it is brought up to date if it is an earlier state of the
same run, and left alone if it is anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sam_audio_bench.errors import BenchError, StoreError
from sam_audio_bench.records import ESTIMATE_PARTS, ItemRecord
from sam_audio_bench.run.attributes import TABLE as ATTRIBUTES
from sam_audio_bench.run.journal import ITEMS
from sam_audio_bench.run.merge import run_differences
from sam_audio_bench.run.output_log import NAME as LOG
from sam_audio_bench.run.remote import HEADER, Store, fetch_runs
from sam_audio_bench.run.store import RunFolder, stored_files

__all__ = ["Copier", "copy_run"]

_TABLES = (ITEMS, "scores.parquet", ATTRIBUTES, "aside.jsonl", LOG)


class Copier:
    """Copies the run folders of an evaluation, each as it is finished; what fails is told at the end.

    Args:
        url: where the folder goes that holds them; None: nowhere.
        output: that folder.
        note: is told what was copied.

    Raises:
        UsageError: a URL that means nothing. Precondition: nothing can be written there.
    """

    def __init__(self, url: str | None, output: Path, note: Callable[[str], None]) -> None:
        self._store = None if url is None else Store(url)
        self._output, self._note = output.absolute(), note
        self._failed: list[tuple[Path, BenchError]] = []
        if self._store is not None:
            self._store.check_writable()

    def copy(self, folder: Path) -> None:
        """Copies one; a failure costs no evaluation."""
        if self._store is None:
            return
        place = self._store.below(*folder.relative_to(self._output).parts)
        try:
            if count := copy_run(folder, place):
                self._note(f"copied to {place.url}: {count} files")
        except BenchError as error:
            self._note(f"not copied to {place.url}: {error}")
            self._failed.append((folder, error))

    def check(self) -> None:
        """Raises the error of the first folder that could not be copied."""
        if self._failed:
            error = self._failed[0][1]
            names = ", ".join(str(path) for path, _ in self._failed)
            raise type(error)(
                f"{error}. What was run is whole in {names}, and not copied; the same command copies it again"
            ) from error


def copy_run(path: Path, store: Store) -> int:
    """Copies a finished run folder, and gives the number of files that were copied; none: all are there already.

    Raises:
        StoreError: the folder is not finished, or another run is there, or one with items that this one lacks.
        Precondition: the store cannot be read or written.
    """
    folder = RunFolder.open(path)
    if not folder.exists or folder.header.status not in ("success", "partial"):
        raise StoreError(f"expected a finished run in {path} to copy, found none; run it again")
    there = store.files()
    known: dict[str, str] = {}
    if HEADER in there:
        earlier = _earlier(store)
        if (earlier.path / HEADER).read_bytes() == (path / HEADER).read_bytes():
            return 0
        _check_same_run(folder, earlier, store)
        known = _digests(earlier.items.values())
    own = _digests(folder.items.values())
    names = [f"audio/{name}" for record in folder.items.values() if not record.failed for name in stored_files(record)]
    missing = [name for name in names if not _is_there(name, own, known, there, path)]
    tables = [name for name in _TABLES if (path / name).is_file()]
    if lost := next((name for name in missing if not (path / name).is_file()), None):
        raise StoreError(f"expected the stored estimate {path / lost}, found none; run the same evaluation again")
    if HEADER in there:
        store.remove(HEADER)  # from here on the copy is not whole
    if missing:
        store.put(missing, path)
    store.put(tables, path)
    store.put([HEADER], path)
    return len(missing) + len(tables) + 1


def _earlier(store: Store) -> RunFolder:
    """What the copy says that is there."""
    return RunFolder.open(fetch_runs(store.url, audio=False)[0])


def _check_same_run(folder: RunFolder, earlier: RunFolder, store: Store) -> None:
    """Refuses to write over what is not an earlier state of a run."""
    other = "give another URL, or remove it there"
    for change in run_differences(folder.header, earlier.header):
        raise StoreError(f"expected an earlier copy of {folder.path} at {store.url}, found a run of {change}; {other}")
    answered = {name for name, record in folder.items.items() if not record.failed}
    if lacking := [name for name, record in earlier.items.items() if not record.failed and name not in answered]:
        raise StoreError(
            f"expected an earlier copy of {folder.path} at {store.url}, found {len(lacking)} items there that it lacks "
            f"({', '.join(lacking[:3])} …); {other}"
        )


def _digests(records: Iterable[ItemRecord]) -> dict[str, str]:
    """Of each file of audio, by its name in the run folder."""
    return {
        f"audio/{name}": digest
        for record in records
        for stored in (record, *record.kept.values())
        for part in ESTIMATE_PARTS
        if (name := getattr(stored, part)) and (digest := getattr(stored.sha256, part))
    }


def _is_there(
    name: str, own: Mapping[str, str], known: Mapping[str, str], there: Mapping[str, Mapping[str, Any]], path: Path
) -> bool:
    """Whether a whole copy, which is there, has a file of audio as it is here."""
    if name not in own or known.get(name) != own[name] or name not in there:
        return False
    return there[name].get("size") == (path / name).stat().st_size if (path / name).is_file() else False
