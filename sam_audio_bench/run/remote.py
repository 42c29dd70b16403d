"""Where run folders are: here, or at any URL that fsspec reads, such as ``s3://…``, from which they are fetched.

A folder is fetched to temporary files that go when this process ends; what has not changed since it was last fetched is
not fetched again. ``run.json`` is copied there last, so that a folder without it was copied in part.
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
from sam_audio_bench.run.attributes import TABLE as ATTRIBUTES
from sam_audio_bench.run.journal import ITEMS, SCORES

__all__ = ["HEADER", "Store", "fetch_runs", "find_runs", "naming_origins", "origin", "shown_place"]

HEADER = "run.json"
_NEEDED = (ITEMS, SCORES, "scores.parquet", ATTRIBUTES, "synced", HEADER)
_PROBE = ".sabench-writable"
_PASSWORD = re.compile(r"://[^/@]*:[^/@]*@")


@dataclass(frozen=True)
class Store:
    """A folder at a URL.

    Raises:
        UsageError: a URL that means nothing. Precondition: the package for its kind is missing, or it cannot be read or
            written, from every method.
    """

    url: str
    _system: Any = field(init=False, repr=False, compare=False)  # fsspec.AbstractFileSystem
    _root: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        system, root = _system_of(self.url)
        object.__setattr__(self, "_system", system)
        object.__setattr__(self, "_root", str(root).rstrip("/"))

    def below(self, *names: str) -> Store:
        """A folder in it; where URLs are chained, the first one names it."""
        first, chained, rest = self.url.partition("::")
        return Store("/".join([first.rstrip("/"), *names]) + chained + rest)

    @property
    def parts(self) -> list[str]:
        """The names that lead to it."""
        return [part for part in re.split(r"[/\\]", self._root) if part not in ("", ".", "..") and ":" not in part]

    def files(self) -> dict[str, Mapping[str, Any]]:
        """Name of each file at or below it, as a path from here, and what the store says of the file."""
        with self._answers("a folder that can be read at"):
            self._system.invalidate_cache()
            try:
                found = self._system.find(self._root, detail=True)
            except FileNotFoundError:
                return {}
        names = {self._relative(str(name)): dict(about) for name, about in found.items()}
        return {name: about for name, about in names.items() if name and about.get("type") != "directory"}

    def get(self, names: Sequence[str], folder: Path) -> None:
        """Fetches files to their places in a local folder."""
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with self._answers("files that can be read at"):
            self._system.get([self._path(name) for name in names], [str(folder / name) for name in names])

    def put(self, names: Sequence[str], folder: Path) -> None:
        """Copies files of a local folder to their places here."""
        with self._answers("a folder that can be written at"):
            self._make_folders({str(PurePosixPath(self._path(name)).parent) for name in names})
            self._system.put([str(folder / name) for name in names], [self._path(name) for name in names])

    def content(self) -> bytes:
        """What the URL itself gives, where it is that of a file."""
        with self._answers("a file that can be read at"):
            return bytes(self._system.cat_file(self._root))

    def remove(self, name: str) -> None:
        """Removes a file."""
        with self._answers("a folder that can be written at"):
            self._system.rm_file(self._path(name))

    def check_writable(self) -> None:
        """Writes a small file and removes it, so that missing rights are told before any work."""
        with self._answers("a folder that can be written at"):
            self._make_folders({self._path("")})
            self._system.pipe_file(self._path(_PROBE), b"")
            self._system.rm_file(self._path(_PROBE))

    def _make_folders(self, folders: set[str]) -> None:
        if not self._system.async_impl:  # stores of objects have no folders, and would make a bucket
            for folder in folders:
                self._system.makedirs(folder, exist_ok=True)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _relative(self, name: str) -> str:
        """A name that the store tells as a path from here; one that leads elsewhere is refused."""
        start = f"{self._root}/" if self._root else ""
        found = name.removeprefix(start).rstrip("/")
        if name.rstrip("/") == self._root:
            return ""
        path = PurePosixPath(found)
        if not name.startswith(start) or path.is_absolute() or {"..", "."} & {*path.parts} or "\\" in found:
            raise StoreError(f"expected names of files below {self.url}, found {name!r}")
        return found

    @contextmanager
    def _answers(self, expected: str) -> Iterator[None]:
        """Within it, whatever a store's library raises is told as one sentence."""
        try:
            yield
        except BenchError:
            raise
        except Exception as error:
            raise Precondition(
                f"expected {expected} {self.url}, found: {describe_error(error, named=True)}; is it spelt right, and "
                "may you use it?"
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
    except Exception as error:  # whatever the library of that store raises
        known = ", ".join(sorted(fsspec.available_protocols()))
        unknown = f"; known are {known}" if "protocol" in str(error).lower() else ""
        raise UsageError(f"expected a URL that fsspec reads, found {url}: {describe_error(error)}{unknown}") from error
    return system, root


@dataclass
class _Fetched:
    """What was fetched of a folder."""

    folder: Path
    known: dict[str, tuple[str, tuple[int, int]]] = field(default_factory=dict)  # name -> `_told`, `_size_and_time`


_FETCHED: dict[str, _Fetched] = {}
_ORIGINS: dict[Path, str] = {}  # run folder among temporary files -> where it comes from
_TEMPORARY: list[tempfile.TemporaryDirectory[str]] = []


def fetch_runs(url: str, *, audio: bool) -> list[Path]:
    """Run folders at or below a URL, as local folders, sorted.

    Args:
        url: of a run folder, or of a folder that holds some.
        audio: fetch the estimates' audio too.

    Raises:
        Precondition: no run folder is there, one was copied in part, or it cannot be read. UsageError: as `Store`.
    """
    store = Store(url)
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
        _TEMPORARY.append(tempfile.TemporaryDirectory(prefix="sabench-fetched-"))
        _FETCHED[url] = _Fetched(Path(_TEMPORARY[-1].name, *store.parts))
    fetched = _FETCHED[url]
    wanted = [name for name in files if _is_needed(name, {*runs}, audio=audio)]
    wanted.sort(key=lambda name: PurePosixPath(name).name == HEADER)
    _update(fetched, store, {name: _told(files[name]) for name in wanted}, {str(PurePosixPath(run)) for run in runs})
    folders = [fetched.folder / run for run in runs]
    _ORIGINS.update({folder: store.below(*run.split("/")).url if run else url
                     for folder, run in zip(folders, runs, strict=True)})  # fmt: skip
    return folders


def find_runs(paths: Path | str | Iterable[Path | str], *, audio: bool = True) -> list[Path]:
    """Run folders among and below ``paths``, sorted within each; links are followed, and each folder counts once.

    Args:
        paths: one folder or several; a text may be a URL that fsspec reads, from which they are fetched to temporary
            files.
        audio: whether the estimates' audio is needed, and so is fetched too.

    Raises:
        Precondition: a place without run folders, or that cannot be read. UsageError: a URL that means nothing.
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


def _update(fetched: _Fetched, store: Store, wanted: Mapping[str, str], runs: set[str]) -> None:
    """Fetches what is not as it was, here and there, and removes what is not there any more."""
    for name in {*fetched.known, *(str(PurePosixPath(run, own)) for run in runs for own in _NEEDED)} - wanted.keys():
        if PurePosixPath(name).parent.name != "audio":
            fetched.known.pop(name, None)
            (fetched.folder / name).unlink(missing_ok=True)
    changed = [
        name
        for name, told in wanted.items()
        if fetched.known.get(name) != (told, _size_and_time(fetched.folder / name))
    ]
    store.get(changed, fetched.folder)
    fetched.known |= {name: (wanted[name], _size_and_time(fetched.folder / name)) for name in changed}


def _told(about: Mapping[str, Any]) -> str:
    """What a store says of a file, as a text that is another one when the file is: its time, digest and so on."""
    return str(sorted(about.items(), key=str))


def _size_and_time(path: Path) -> tuple[int, int]:
    """Of a file; of none, what no file has."""
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


def origin(folder: Path) -> str | None:
    """The URL that a local run folder was fetched from; None: it was not."""
    return _ORIGINS.get(folder)


def shown_place(folder: Path) -> Path | str:
    """A run folder as people know it: where it was fetched from, else where it lies."""
    return origin(folder) or folder


@contextmanager
def naming_origins() -> Iterator[None]:
    """Within it, errors about fetched run folders name their URLs, and not temporary files; also a decorator."""
    try:
        yield
    except BenchError as error:
        text = str(error)
        for folder, url in sorted(_ORIGINS.items(), key=lambda pair: -len(str(pair[0]))):
            text = text.replace(str(folder), url)
        error.args = (text,)
        raise
