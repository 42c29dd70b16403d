"""Run folders on this machine or at any URL that fsspec supports, such as ``s3://…``, from which they are fetched.

A folder is fetched to temporary files, which are removed when this process ends; unchanged files are not fetched again.
``run.json`` is uploaded last, so a remote folder without it is incomplete.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sam_audio_bench.errors import BenchError, Precondition, StoreError, UsageError, describe_error
from sam_audio_bench.files import exists, find_folders, is_url, require_local_path
from sam_audio_bench.run.attributes import ITEMS_TABLE
from sam_audio_bench.run.journal import ITEMS, SCORES

__all__ = ["HEADER", "RemoteFolder", "display_path", "fetch_runs", "find_runs", "show_urls_in_errors", "source_url"]

HEADER = "run.json"
_NEEDED = (ITEMS, SCORES, "scores.parquet", ITEMS_TABLE, "synced", HEADER)
_PROBE = ".sabench-writable"
_PASSWORD = re.compile(r"://[^/@]*:[^/@]*@")


@dataclass(frozen=True)
class RemoteFolder:
    """A folder at a URL.

    Raises:
        UsageError: an invalid URL. Precondition: the package for its protocol is missing, or it cannot be read or
            written, from every method.
    """

    url: str
    _system: Any = field(init=False, repr=False, compare=False)  # fsspec.AbstractFileSystem
    _root: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        system, root = _system_of(self.url)
        object.__setattr__(self, "_system", system)
        object.__setattr__(self, "_root", str(root).rstrip("/"))

    def below(self, *names: str) -> RemoteFolder:
        """Returns a subfolder; of chained URLs, the first one is extended."""
        first, chained, rest = self.url.partition("::")
        return RemoteFolder("/".join([first.rstrip("/"), *names]) + chained + rest)

    @property
    def parts(self) -> list[str]:
        """The components of its path."""
        return [part for part in re.split(r"[/\\]", self._root) if part not in ("", ".", "..") and ":" not in part]

    def files(self) -> dict[str, Mapping[str, Any]]:
        """Returns the relative path of each file below the folder, with fsspec's details of the file."""
        with self._errors_as_precondition("a folder that can be read at"):
            self._system.invalidate_cache()
            try:
                found = self._system.find(self._root, detail=True)
            except FileNotFoundError:
                return {}
        names = {self._relative(str(name)): dict(about) for name, about in found.items()}
        return {name: about for name, about in names.items() if name and about.get("type") != "directory"}

    def get(self, names: Sequence[str], folder: Path) -> None:
        """Fetches files to the same relative paths in a local folder."""
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with self._errors_as_precondition("files that can be read at"):
            self._system.get([self._path(name) for name in names], [str(folder / name) for name in names])

    def put(self, names: Sequence[str], folder: Path) -> None:
        """Copies files of a local folder to the same relative paths here."""
        with self._errors_as_precondition("a folder that can be written at"):
            self._make_folders({str(PurePosixPath(self._path(name)).parent) for name in names})
            self._system.put([str(folder / name) for name in names], [self._path(name) for name in names])

    def read_bytes(self) -> bytes:
        """Returns the content of the URL if it is that of a file."""
        with self._errors_as_precondition("a file that can be read at"):
            return bytes(self._system.cat_file(self._root))

    def remove(self, name: str) -> None:
        """Removes a file."""
        with self._errors_as_precondition("a folder that can be written at"):
            self._system.rm_file(self._path(name))

    def check_writable(self) -> None:
        """Writes an empty file and removes it, so that missing permissions are an error before any work."""
        with self._errors_as_precondition("a folder that can be written at"):
            self._make_folders({self._path("")})
            self._system.pipe_file(self._path(_PROBE), b"")
            self._system.rm_file(self._path(_PROBE))

    def _make_folders(self, folders: set[str]) -> None:
        if not self._system.async_impl:  # object stores have no folders, and would create a bucket
            for folder in folders:
                self._system.makedirs(folder, exist_ok=True)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _relative(self, name: str) -> str:
        """Converts a listed name to a relative path; raises StoreError for one outside the folder."""
        start = f"{self._root}/" if self._root else ""
        found = name.removeprefix(start).rstrip("/")
        if name.rstrip("/") == self._root:
            return ""
        path = PurePosixPath(found)
        if not name.startswith(start) or path.is_absolute() or {"..", "."} & {*path.parts} or "\\" in found:
            raise StoreError(f"expected names of files below {self.url}, found {name!r}")
        return found

    @contextmanager
    def _errors_as_precondition(self, expected: str) -> Iterator[None]:
        """Turns any exception of the store's library into a one-line Precondition."""
        try:
            yield
        except BenchError:
            raise
        except Exception as error:
            raise Precondition(
                f"expected {expected} {self.url}, found: {describe_error(error, named=True)}; check its spelling "
                "and your permissions"
            ) from error


def _system_of(url: str) -> tuple[Any, str]:
    if not is_url(url):
        raise UsageError(f"expected a URL such as s3://bucket/runs, found {url!r}")
    if _PASSWORD.search(url):
        raise UsageError(
            "expected a URL without a password, since run.json and error messages tell of it; give it by the variables "
            "or files of that store's library (https://filesystem-spec.readthedocs.io, Configuration)"
        )
    import fsspec

    protocol = url.partition("://")[0]
    try:
        system, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise Precondition(
            f"expected the package for {protocol}:// URLs, found none ({error}); install it, with pip, beside this one"
        ) from error
    except Exception as error:  # any, from the library of that store
        known = ", ".join(sorted(fsspec.available_protocols()))
        unknown = f"; known are {known}" if "protocol" in str(error).lower() else ""
        raise UsageError(f"expected a URL that fsspec reads, found {url}: {describe_error(error)}{unknown}") from error
    return system, root


@dataclass
class _Fetched:
    """The local copy of a remote folder."""

    folder: Path
    known: dict[str, tuple[str, tuple[int, int]]] = field(default_factory=dict)  # fingerprint, size and time by name


_FETCHED: dict[str, _Fetched] = {}
_ORIGINS: dict[Path, str] = {}  # fetched run folder -> its URL
_TEMPORARY_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []


def fetch_runs(url: str, *, audio: bool) -> list[Path]:
    """Fetches run folders at or below a URL and returns their local paths, sorted.

    Args:
        url: a run folder, or a folder that contains some.
        audio: also fetch the estimates' audio.

    Raises:
        Precondition: there is no run folder, one is incomplete, or it cannot be read. UsageError: as `RemoteFolder`.
    """
    store = RemoteFolder(url)
    files = store.files()
    runs = sorted({_folder_of(name) for name in files if PurePosixPath(name).name == HEADER})
    partly = sorted({_folder_of(name) for name in files if PurePosixPath(name).name == ITEMS} - {*runs})
    if partly:
        raise Precondition(
            f"expected whole run folders in {url}, found {store.below(*partly[0].split('/')).url if partly[0] else url}"
            f" without {HEADER}, which is copied last; copy it again, by the command that copied it"
        )
    if not runs:
        raise Precondition(f"expected a run folder (with {HEADER}) in {url}, found none")
    if url not in _FETCHED:
        _TEMPORARY_FOLDERS.append(tempfile.TemporaryDirectory(prefix="sabench-fetched-"))
        _FETCHED[url] = _Fetched(Path(_TEMPORARY_FOLDERS[-1].name, *store.parts))
    fetched = _FETCHED[url]
    needed = [name for name in files if _is_needed(name, {*runs}, audio=audio)]
    needed.sort(key=lambda name: PurePosixPath(name).name == HEADER)
    _update(
        fetched, store, {name: _fingerprint(files[name]) for name in needed}, {str(PurePosixPath(run)) for run in runs}
    )
    folders = [fetched.folder / run for run in runs]
    _ORIGINS.update({folder: store.below(*run.split("/")).url if run else url
                     for folder, run in zip(folders, runs, strict=True)})  # fmt: skip
    return folders


def find_runs(paths: Path | str | Iterable[Path | str], *, audio: bool = True) -> list[Path]:
    """Returns the run folders at and below ``paths``, sorted within each; links are followed, duplicates removed.

    Args:
        paths: one folder or several; a text may be a URL that fsspec supports, from which they are fetched to temporary
            files.
        audio: whether the estimates' audio is needed and therefore fetched too.

    Raises:
        Precondition: a path without run folders, or that cannot be read. UsageError: an invalid URL.
    """
    found: dict[Path, Path] = {}
    for place in [paths] if isinstance(paths, str | Path) else paths:
        if is_url(place):
            here = fetch_runs(str(place), audio=audio)
        else:
            path = require_local_path("run folders", place, "give it as a text, not as a path")
            here = [path] if exists(path / "run.json") else sorted(find_folders(path, "run.json"))
        if not here:
            raise Precondition(f"expected a run folder (with run.json) in {place}, found none")
        for folder in here:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _update(fetched: _Fetched, store: RemoteFolder, needed: Mapping[str, str], runs: set[str]) -> None:
    """Fetches files that changed here or there, and removes local files that do not exist there any more."""
    for name in {*fetched.known, *(str(PurePosixPath(run, own)) for run in runs for own in _NEEDED)} - needed.keys():
        if PurePosixPath(name).parent.name != "audio":
            fetched.known.pop(name, None)
            (fetched.folder / name).unlink(missing_ok=True)
    changed = [
        name
        for name, fingerprint in needed.items()
        if fetched.known.get(name) != (fingerprint, _size_and_time(fetched.folder / name))
    ]
    store.get(changed, fetched.folder)
    fetched.known |= {name: (needed[name], _size_and_time(fetched.folder / name)) for name in changed}


def _fingerprint(about: Mapping[str, Any]) -> str:
    """Returns a text of fsspec's details of a file, such as time and digest, which changes if the file does."""
    return str(sorted(about.items(), key=str))


def _size_and_time(path: Path) -> tuple[int, int]:
    """Returns size and modification time of a file; negative numbers if there is none."""
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _folder_of(name: str) -> str:
    parent = str(PurePosixPath(name).parent)
    return "" if parent == "." else parent


def _is_needed(name: str, runs: set[str], *, audio: bool) -> bool:
    path, folder = PurePosixPath(name), _folder_of(name)
    if folder in runs:
        return path.name in _NEEDED
    return audio and path.parent.name == "audio" and _folder_of(folder) in runs


def source_url(folder: Path) -> str | None:
    """Returns the URL from which a local run folder was fetched; None if it was not fetched."""
    return _ORIGINS.get(folder)


def display_path(folder: Path) -> Path | str:
    """Returns the path of a run folder for messages: its URL if it was fetched."""
    return source_url(folder) or folder


@contextmanager
def show_urls_in_errors() -> Iterator[None]:
    """Replaces paths of temporary files by URLs in errors about fetched run folders; also usable as a decorator."""
    try:
        yield
    except BenchError as error:
        text = str(error)
        for folder, url in sorted(_ORIGINS.items(), key=lambda pair: -len(str(pair[0]))):
            text = text.replace(str(folder), url)
        error.args = (text,)
        raise
