"""SHA-256 digests of everything that results depend on: files, folders and Python values.

Digests of files are cached on this machine together with path, size, times and inode; a file is read again only if any
of these has changed. Equal values have equal digests in every process. A value without a reliable digest (an open
socket, a running generator) raises `Unidentified` with the reason.
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

_MOST_FILES = 20_000  # per folder that is passed as an argument
_LONGEST_NAME = 1024  # of a file, characters
_TIMESTAMP_STEP_NS = 100_000_000  # the coarsest resolution of a file system's timestamps
_KEY = ("path", "size", "mtime_ns", "ctime_ns", "inode")


class Unidentified(Exception):  # noqa: N818 - it names a fact about a value, not a failure
    """A value cannot be digested; the message states which, and why."""


def combined_digest(*parts: str) -> str:
    """Returns the digest of a sequence of digests or other texts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass
class FileDigests:
    """Cache of file digests: a database in the cache folder, or memory alone if that is not writable."""

    database: Path | None
    _known: dict[tuple[str | int, ...], str] = field(default_factory=dict)
    _read: set[str] = field(default_factory=set)  # folders whose entries were loaded from the database
    _new: list[tuple[str | int, ...]] = field(default_factory=list)

    def digest(self, path: str | Path) -> str:
        """Returns the SHA-256 of a file's content; raises MediaError if it cannot be read."""
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
        """Writes new digests to the database, if there is one that can be written."""
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
        """Loads the known digests of a folder's files in one query."""
        if self.database is None or not self.database.exists():
            return
        try:
            with closing(self._connect()) as connection:
                rows = connection.execute(f"SELECT {', '.join(_KEY)}, sha256 FROM files WHERE folder = ?", (folder,))
                self._known.update({tuple(row[:-1]): row[-1] for row in rows})
        except sqlite3.Error:
            return


def _file_key(path: str | Path) -> tuple[str | int, ...]:
    folder, name = os.path.split(path)  # called once per file, of which there may be 100,000
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
    """Returns the real path of an absolute folder, cached; None for a relative one.

    If the folder is moved meanwhile, size, times and inode still distinguish its files from others.
    """
    return os.path.realpath(folder) if os.path.isabs(folder) else None  # noqa: PTH117


def _is_just_changed(key: tuple[str | int, ...]) -> bool:
    """Whether another change of the file could leave its timestamp the same, since these have a limited resolution."""
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
    """Returns the cache for these values of the environment variables that choose the cache folder."""
    try:
        place = cache_folder() / "digests.sqlite"
    except Precondition:  # no home folder
        place = None
    return _files.setdefault(place, FileDigests(place))


def file_digest(path: str | Path) -> str:
    """Returns the SHA-256 of a file's content, cached until the file changes; raises MediaError."""
    return _current_digests().digest(path)


def flush_digests() -> None:
    """Writes all new digests of files to the cache folder."""
    for known in _files.values():
        known.flush()


def folder_digest(folder: Path) -> str:
    """Returns the SHA-256 over relative paths and contents of all files below a folder, except hidden ones.

    Links to folders are followed, except those to a folder that contains them.

    Raises:
        Unidentified: the folder holds too many files, or one that cannot be read.
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
    """Returns the path of an existing file whose name the text is, else None."""
    if not text or len(text) > _LONGEST_NAME or "\n" in text:
        return None
    try:
        path = Path(os.path.expanduser(text))  # noqa: PTH111 - leaves ~user of an unknown user unchanged
        return path if path.is_file() else None
    except (OSError, ValueError):  # not a valid file name
        return None


_SIMPLE_TYPES = (type(None), bool, int, float, complex, bytes, bytearray, range, type(Ellipsis), type(NotImplemented))
_CODE_TYPES = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.MethodType)
_STATE_METHODS = ("__getstate__", "__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__")


@dataclass
class ValueDigester:
    """Digests values by content.

    Args:
        code: digests functions, classes and modules, as `code_digests` does.
        is_own: whether a class or a module, given by name, is the user's own: neither of the standard library nor of an
            installed package.
    """

    code: Callable[[Any, ValueDigester], str]
    is_own: Callable[[str | type], bool]
    changes: dict[int, list[str]] = field(default_factory=dict)  # id of a namespace -> differences from its file
    _under_way: dict[int, int] = field(default_factory=dict)  # id -> depth, to detect values that contain themselves
    _kept: list[Any] = field(default_factory=list)  # keeps temporary values alive, so that no id is reused

    def digest(self, value: Any) -> str:
        """Returns a value's hex digest; raises Unidentified."""
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
        """Digests an object by its class and the state that `copy` would transfer."""
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
        """Whether a class of the user's own customizes how its instances are copied."""
        if self.is_own(kind) and kind in copyreg.dispatch_table:
            return True
        return any(self.is_own(base) and any(name in vars(base) for name in _STATE_METHODS) for base in kind.__mro__)

    def _is_global(self, value: Any, name: str) -> bool:
        """Whether a value is identified by name: a type variable, or a global of an installed module."""
        if type(value).__module__ == "typing":
            return True
        holders = [known for known, module in list(sys.modules.items()) if _module_attribute(module, name) is value]
        return any(not self.is_own(known) for known in holders)


def _attributes(value: Any) -> dict[str, object]:
    """Returns all attributes of an object, from its ``__dict__`` and its slots."""
    slots = (getattr(base, "__slots__", ()) for base in type(value).__mro__)
    names = [name for one in slots for name in ([one] if isinstance(one, str) else one)]
    return {name: getattr(value, name) for name in names if hasattr(value, name)} | dict(getattr(value, "__dict__", {}))


def _module_attribute(module: Any, name: str) -> Any:
    return getattr(module, "__dict__", {}).get(name)


def _array_content(value: Any) -> str | list[Any] | None:
    """Returns the digest of an array or tensor (dtype, shape, bytes), the elements of an object array, or None."""
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
