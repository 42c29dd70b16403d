"""SHA-256 of what numbers depend on: files, folders, and the values that Python code holds.

A file is read once: its digest is remembered on this machine, together with its path, size, times and inode, and read
again when any of them has changed. Equal values have equal digests in every process; what has no digest that could be
trusted (an open socket, a running generator) raises `Unidentified` with the reason.
"""

from __future__ import annotations

import copyreg
import enum
import hashlib
import os
import pathlib
import sqlite3
import stat
import sys
import time
import types
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from sam_audio_bench.errors import MediaError, Precondition
from sam_audio_bench.files import cache_folder, escape_surrogates

__all__ = [
    "FileDigests",
    "Unidentified",
    "ValueDigester",
    "combined_digest",
    "file_digest",
    "flush_digests",
    "folder_digest",
]

_MOST_FILES = 20_000  # in a folder that is an argument
_LONGEST_NAME = 1024  # of a file, in characters
_TIMESTAMP_STEP_NS = 100_000_000
_KEY = ("path", "size", "mtime_ns", "ctime_ns", "inode")


class Unidentified(Exception):  # noqa: N818 - it names a fact about a value, not a failure
    """A value without a digest; the message says which, and why."""


def combined_digest(*parts: str) -> str:
    """Digest of several digests or texts, in their order."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass
class FileDigests:
    """Digests of files, remembered in a database below the cache folder, or in memory where that cannot be written."""

    database: Path | None
    _known: dict[tuple[str | int, ...], str] = field(default_factory=dict)
    _read: set[str] = field(default_factory=set)  # folders whose entries were read
    _new: list[tuple[str | int, ...]] = field(default_factory=list)

    def digest(self, path: str | Path) -> str:
        """SHA-256 of a file's content; raises MediaError where it cannot be read."""
        try:
            key = _file_key(path)
            if (known := self._find(key)) is not None:
                return known
            found = _hash_file(path)
            if _file_key(path) == key and not _is_just_changed(key):
                self._remember(key, found)
        except OSError as error:
            status = "missing_media" if isinstance(error, FileNotFoundError) else "error"
            raise MediaError(f"expected a file that can be read at {path}, found: {error}", status=status) from error
        return found

    def _remember(self, key: tuple[str | int, ...], digest: str) -> None:
        self._known[key] = digest
        self._new.append((str(Path(str(key[0])).parent), *key, digest))
        if len(self._new) >= 256:
            self.flush()

    def flush(self) -> None:
        """Writes new digests to the database; a machine without a cache folder does without."""
        new, self._new = self._new, []
        if self.database is None or not new:
            return
        try:
            self.database.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection, connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS files "
                    "(folder, path PRIMARY KEY, size, mtime_ns, ctime_ns, inode, sha256)"
                )
                connection.execute("CREATE INDEX IF NOT EXISTS folders ON files (folder)")
                connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", new)
        except (OSError, sqlite3.Error):
            self.database = None

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(str(self.database), timeout=10)

    def _find(self, key: tuple[str | int, ...]) -> str | None:
        if (known := self._known.get(key)) is not None:
            return known
        folder = os.path.dirname(str(key[0]))  # noqa: PTH120 - as above
        if folder in self._read:
            return None
        self._read.add(folder)
        self._load(folder)
        return self._known.get(key)

    def _load(self, folder: str) -> None:
        """What is known of a folder's files, in one query."""
        if self.database is None or not self.database.exists():
            return
        try:
            with closing(self._connect()) as connection:
                rows = connection.execute(f"SELECT {', '.join(_KEY)}, sha256 FROM files WHERE folder = ?", (folder,))
                self._known.update({tuple(row[:-1]): row[-1] for row in rows})
        except sqlite3.Error:
            return


def _file_key(path: str | Path) -> tuple[str | int, ...]:
    folder, name = os.path.split(path)  # called once a file, of which there may be 100,000
    real = _real_folder(folder)
    if real is not None:
        resolved = os.fspath(path) if real == folder else os.path.join(real, name)  # noqa: PTH118
        found = os.lstat(resolved)
    if real is None or stat.S_ISLNK(found.st_mode) or name in ("", "..", "."):
        resolved = os.path.realpath(path)
        found = os.stat(resolved)  # noqa: PTH116
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(f"{path} is a folder")
    return escape_surrogates(resolved), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


@lru_cache(maxsize=1024)
def _real_folder(folder: str) -> str | None:
    """A folder without links, None for one that the working directory counts for; where one is moved meanwhile, size,
    times and inode still tell its files from others.
    """
    return os.path.realpath(folder) if os.path.isabs(folder) else None  # noqa: PTH117


def _is_just_changed(key: tuple[str | int, ...]) -> bool:
    """Whether a file may change once more without another time of change: file systems count time in steps."""
    return abs(time.time_ns() - int(key[3])) < _TIMESTAMP_STEP_NS


def _hash_file(path: str | Path) -> str:
    with open(path, "rb") as stream:  # noqa: PTH123
        return hashlib.file_digest(stream, "sha256").hexdigest()


_files: dict[Path | None, FileDigests] = {}


def _current_digests() -> FileDigests:
    if chosen := os.environ.get("SABENCH_CACHE"):
        return _digests_at(chosen)
    return _digests_at(None, *map(os.environ.get, ("XDG_CACHE_HOME", "HOME", "USERPROFILE")))


@lru_cache(maxsize=16)
def _digests_at(*environment: str | None) -> FileDigests:
    """The digests that are remembered where these variables say."""
    try:
        place = cache_folder() / "digests.sqlite"
    except Precondition:  # no home folder
        place = None
    return _files.setdefault(place, FileDigests(place))


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content, from memory where the file has not changed; raises MediaError."""
    return _current_digests().digest(path)


def flush_digests() -> None:
    """Writes what was learnt about files to the cache folder."""
    for known in _files.values():
        known.flush()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the relative paths and contents of all files below a folder, hidden ones left out.

    Links to folders are followed, but for those that lead back to where they lie in.

    Raises:
        Unidentified: it holds too many files to be an argument, or one that cannot be read.
    """
    found: list[str] = []
    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place)
        around = {path.resolve() for path in (here, *here.parents[: len(here.relative_to(folder).parts)])}
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name != "__pycache__" and (here / name).resolve() not in around
        )
        for name in sorted(name for name in names if not name.startswith(".")):
            path = here / name
            if len(found) >= _MOST_FILES:
                raise Unidentified(f"the folder {folder} holds more than {_MOST_FILES} files")
            try:
                found.append(f"{path.relative_to(folder).as_posix()} {file_digest(path)}")
            except MediaError as error:
                raise Unidentified(str(error)) from error
    return combined_digest(*sorted(found))


def _named_file(text: str) -> Path | None:
    """The file that a text names."""
    if not text or len(text) > _LONGEST_NAME or "\n" in text:
        return None
    try:
        path = Path(os.path.expanduser(text))  # noqa: PTH111 - leaves the home of an unknown user as it is
        return path if path.is_file() else None
    except (OSError, ValueError):  # no name that a file could have
        return None


_SIMPLE_TYPES = (type(None), bool, int, float, complex, bytes, bytearray, range, type(Ellipsis), type(NotImplemented))
_CODE_TYPES = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.MethodType)
_STATE_METHODS = ("__getstate__", "__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__")


@dataclass
class ValueDigester:
    """Digests values by content.

    Args:
        code: digests functions, classes and modules, which `code_digests` knows how to read.
        is_own: whether a class, or a module by its name, is not of the standard library or an installed package.
    """

    code: Callable[[Any, ValueDigester], str]
    is_own: Callable[[str | type], bool]
    changes: dict[int, list[str]] = field(default_factory=dict)  # by id of a namespace: what ``code`` found in it
    _under_way: dict[int, int] = field(default_factory=dict)  # id -> depth: values that hold themselves
    _kept: list[Any] = field(default_factory=list)  # temporary values, so that no id is used twice

    def digest(self, value: Any) -> str:
        """Hex digest; raises Unidentified."""
        kind = type(value)
        if kind is str:
            return self._file(path) if (path := _named_file(value)) else combined_digest("str", repr(value))
        if kind in _SIMPLE_TYPES:
            return combined_digest(kind.__name__, repr(value))
        if id(value) in self._under_way:
            return combined_digest("cycle", str(len(self._under_way) - self._under_way[id(value)]))
        self._under_way[id(value)] = len(self._under_way)
        self._kept.append(value)
        try:
            return self._compound(value)
        finally:
            del self._under_way[id(value)]

    def _compound(self, value: Any) -> str:
        kind = type(value)
        if isinstance(value, _CODE_TYPES):
            return self.code(value, self)
        if isinstance(value, pathlib.PurePath):
            return self._path(value)
        if isinstance(value, enum.Enum):
            return combined_digest("enum", self.digest(kind), value.name or "", self.digest(value.value))
        if kind is partial:
            return combined_digest("partial", *map(self.digest, (value.func, value.args, value.keywords, vars(value))))
        if kind in (list, tuple):
            return combined_digest(kind.__name__, *map(self.digest, value))
        if kind in (set, frozenset):
            return combined_digest(kind.__name__, *sorted(map(self.digest, value)))
        if kind in (dict, OrderedDict, Counter, types.MappingProxyType):
            return combined_digest(kind.__name__, *self._pairs(value))
        if (array := _array_content(value)) is not None:
            return array if isinstance(array, str) else combined_digest("objects", *map(self.digest, array))
        return self._object(value)

    def _pairs(self, mapping: Mapping[Any, Any]) -> list[str]:
        return [combined_digest(self.digest(key), self.digest(entry)) for key, entry in mapping.items()]

    def _path(self, path: pathlib.PurePath) -> str:
        if isinstance(path, Path) and (file := _named_file(str(path))):
            return self._file(file)
        if isinstance(path, Path) and path.is_dir():
            return combined_digest("folder", folder_digest(path))
        return combined_digest("path", str(path))

    def _file(self, path: Path) -> str:
        try:
            return combined_digest("file", file_digest(path))
        except MediaError as error:
            raise Unidentified(str(error)) from error

    def _object(self, value: Any) -> str:
        """An object by its class and its state, as copying it would tell."""
        kind = type(value)
        try:
            reducer = copyreg.dispatch_table.get(kind)
            reduced = reducer(value) if reducer is not None else value.__reduce_ex__(2)
        except Exception as error:
            raise Unidentified(f"a {kind.__module__}.{kind.__qualname__} cannot be digested ({error})") from error
        held = [state] if self._has_own_state(kind) and (state := _attributes(value)) else []
        if isinstance(reduced, str):
            if isinstance(wrapped := getattr(value, "__wrapped__", None), _CODE_TYPES):
                return combined_digest("wrapped", self.digest(kind), self.digest(wrapped))
            if not held and not self._is_global(value, reduced):
                raise Unidentified(f"a {kind.__module__}.{kind.__qualname__} cannot be digested (it is only a name)")
            home = sys.modules.get(str(getattr(value, "__module__", None)))
            home = home if isinstance(home, types.ModuleType) and _module_attribute(home, reduced) is value else None
            return combined_digest("global", self.digest(home or kind), reduced, *map(self.digest, held))
        parts = [list(part) if index > 2 and part is not None else part for index, part in enumerate(reduced)]
        return combined_digest("object", *map(self.digest, [*parts, *held]))

    def _has_own_state(self, kind: type) -> bool:
        """Whether a class of one's own says what copying tells."""
        if self.is_own(kind) and kind in copyreg.dispatch_table:
            return True
        return any(self.is_own(base) and any(name in vars(base) for name in _STATE_METHODS) for base in kind.__mro__)

    def _is_global(self, value: Any, name: str) -> bool:
        """Whether a name means the same to everybody: that of a type variable, or one in a module of others."""
        if type(value).__module__ == "typing":
            return True
        holders = [known for known, module in list(sys.modules.items()) if _module_attribute(module, name) is value]
        return any(not self.is_own(known) for known in holders)


def _attributes(value: Any) -> dict[str, Any]:
    """Everything that an object holds, in its dictionary and its slots."""
    slots = (getattr(base, "__slots__", ()) for base in type(value).__mro__)
    names = [name for one in slots for name in ([one] if isinstance(one, str) else one)]
    return {name: getattr(value, name) for name in names if hasattr(value, name)} | dict(getattr(value, "__dict__", {}))


def _module_attribute(module: Any, name: str) -> Any:
    return getattr(module, "__dict__", {}).get(name)


def _array_content(value: Any) -> str | list[Any] | None:
    """Digest of an array or tensor by kind, shape and bytes; its elements where they are objects; None: neither."""
    root = type(value).__module__.partition(".")[0]
    if root == "torch" and hasattr(value, "untyped_storage"):
        import torch

        tensor = value.detach().to("cpu").contiguous()
        content = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        return combined_digest(
            "tensor", str(tensor.dtype), str(tuple(tensor.shape)), hashlib.sha256(content).hexdigest()
        )
    if root == "numpy" and hasattr(value, "dtype") and hasattr(value, "tobytes"):
        if value.dtype.hasobject:
            return list(value.ravel())
        return combined_digest("array", str(value.dtype), str(value.shape), hashlib.sha256(value.tobytes()).hexdigest())
    return None
