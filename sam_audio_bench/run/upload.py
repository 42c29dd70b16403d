"""Copies finished run folders to a URL, so that an incomplete copy can be recognised as such.

``run.json`` is copied last. An existing copy is updated if it is an earlier state of the same run; anything else is
left unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from sam_audio_bench.errors import BenchError, StoreError
from sam_audio_bench.records import ESTIMATE_PARTS, ItemRecord
from sam_audio_bench.run.attributes import ITEMS_TABLE
from sam_audio_bench.run.journal import ITEMS
from sam_audio_bench.run.merge import run_differences
from sam_audio_bench.run.output_log import LOG_NAME as LOG
from sam_audio_bench.run.remote import HEADER, RemoteFolder, fetch_runs
from sam_audio_bench.run.store import RunFolder, stored_files

__all__ = ["RunUploader", "upload_run"]

_TABLES = (ITEMS, "scores.parquet", ITEMS_TABLE, "aside.jsonl", LOG)


class RunUploader:
    """Copies the run folders of an evaluation as each is finished; failures are reported at the end.

    Args:
        url: destination of the output folder; None: nothing is copied.
        output: the folder that holds the run folders.
        note: called with a message for each folder.

    Raises:
        UsageError: the URL is invalid. Precondition: nothing can be written there.
    """

    def __init__(self, url: str | None, output: Path, note: Callable[[str], None]) -> None:
        self._store = None if url is None else RemoteFolder(url)
        self._output, self._note = output.absolute(), note
        self._failed: list[tuple[Path, BenchError]] = []
        if self._store is not None:
            self._store.check_writable()

    def copy(self, folder: Path) -> None:
        """Copies a run folder; a failure does not stop the evaluation."""
        if self._store is None:
            return
        place = self._store.below(*folder.relative_to(self._output).parts)
        try:
            if count := upload_run(folder, place):
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
                f"{error}. The complete runs are in {names}, and not copied; the same command copies them again"
            ) from error


def upload_run(path: Path, store: RemoteFolder) -> int:
    """Copies a finished run folder, and returns the number of files copied; 0 if all are there already.

    Raises:
        StoreError: the folder is not finished, or the destination has another run, or items that this one has not.
        Precondition: the store cannot be read or written.
    """
    folder = RunFolder.open(path)
    if not folder.exists or folder.header.status not in ("success", "partial"):
        raise StoreError(f"expected a finished run in {path} to copy, found none; run it again")
    there = store.files()
    known: dict[str, str] = {}
    if HEADER in there:
        earlier = _open_copy(store)
        if (earlier.path / HEADER).read_bytes() == (path / HEADER).read_bytes():
            return 0
        _check_same_run(folder, earlier, store)
        known = _digests(earlier.items.values())
    own = _digests(folder.items.values())
    names = [f"audio/{name}" for record in folder.items.values() if not record.failed for name in stored_files(record)]
    missing = [name for name in names if not _is_there(name, own, known, there, path)]
    tables = [name for name in _TABLES if (path / name).is_file()]
    if removed := next((name for name in missing if not (path / name).is_file()), None):
        raise StoreError(f"expected the stored estimate {path / removed}, found none; run the same evaluation again")
    if HEADER in there:
        store.remove(HEADER)  # from here on the copy is incomplete
    if missing:
        store.put(missing, path)
    store.put(tables, path)
    store.put([HEADER], path)
    return len(missing) + len(tables) + 1


def _open_copy(store: RemoteFolder) -> RunFolder:
    """Opens the existing copy, without its audio."""
    return RunFolder.open(fetch_runs(store.url, audio=False)[0])


def _check_same_run(folder: RunFolder, earlier: RunFolder, store: RemoteFolder) -> None:
    """Raises StoreError if the existing copy is not an earlier state of the run."""
    other = "give another URL, or remove it there"
    for change in run_differences(folder.header, earlier.header):
        raise StoreError(f"expected an earlier copy of {folder.path} at {store.url}, found a run of {change}; {other}")
    separated = {name for name, record in folder.items.items() if not record.failed}
    if missing := [name for name, record in earlier.items.items() if not record.failed and name not in separated]:
        raise StoreError(
            f"expected an earlier copy of {folder.path} at {store.url}, found {len(missing)} items there that it lacks "
            f"({', '.join(missing[:3])} …); {other}"
        )


def _digests(records: Iterable[ItemRecord]) -> dict[str, str]:
    """Returns the digest of each audio file, by its name in the run folder."""
    return {
        f"audio/{name}": digest
        for record in records
        for stored in (record, *record.kept.values())
        for part in ESTIMATE_PARTS
        if (name := getattr(stored, part)) and (digest := getattr(stored.sha256, part))
    }


def _is_there(
    name: str, own: Mapping[str, str], known: Mapping[str, str], there: Mapping[str, Mapping[str, object]], path: Path
) -> bool:
    """Whether an existing complete copy has an audio file as it is here."""
    if name not in own or known.get(name) != own[name] or name not in there:
        return False
    return there[name].get("size") == (path / name).stat().st_size if (path / name).is_file() else False
