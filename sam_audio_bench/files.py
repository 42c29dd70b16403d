"""Names of files, JSON files and journals of JSON lines.

JSON has no infinity and results have no NaN: ``inf`` is stored as the string ``"inf"``, an undefined value as ``null``,
and NaN is refused. Bytes of a file name that are not UTF-8, which Python represents as lone surrogates, are stored as
JSON escapes, so that every file is valid UTF-8.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import math
import os
import re
import secrets
import string
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from sam_audio_bench.deprecated import deprecated_names
from sam_audio_bench.errors import Precondition, StoreError, UsageError

__all__ = [
    "append_lines",
    "atomic_write",
    "cache_folder",
    "case_sensitive_name",
    "dump_json",
    "escape_surrogates",
    "exists",
    "expand_home",
    "expand_homes",
    "find_file",
    "find_files",
    "find_folders",
    "folder_name",
    "is_url",
    "load_json",
    "read_journal",
    "require_local_path",
    "safe_name",
    "safe_names",
    "sha256",
    "temporary_files",
    "utc_now",
    "write_json",
]

__getattr__ = deprecated_names(__name__)

_Record = TypeVar("_Record")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_SAFE = frozenset(string.ascii_letters + string.digits + "._@+=-")
_TIMESTAMP_SETTLED_NS = 2_000_000_000  # age, ns, from which a folder's timestamp reflects every change
_TEMPORARY = re.compile(r"\.\d+(-[0-9a-f]{8})?\..+")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_URL_AS_PATH = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")  # a URL converted to a path; a single letter is a drive
_LONGEST = 120  # bytes; file systems allow 255, and suffixes are appended


def case_sensitive_name(identifier: str) -> str:
    """Converts any identifier to a file name without separators, ``..`` and reserved names.

    Distinct identifiers get distinct names on case-sensitive file systems; elsewhere, use `safe_name`.

    >>> case_sensitive_name("sfx-01"), case_sensitive_name("../etc/passwd"), case_sensitive_name("nul")
    ('sfx-01', '%2E.%2Fetc%2Fpasswd', '%6Eul')
    """
    if not identifier:
        raise ValueError("an identifier must not be empty")
    content = identifier.encode("utf-8", "surrogatepass")
    encoded = "".join(chr(byte) if chr(byte) in _SAFE else f"%{byte:02X}" for byte in content)
    if encoded[0] == "." or _RESERVED.fullmatch(encoded):
        encoded = f"%{ord(encoded[0]):02X}{encoded[1:]}"
    if encoded[-1] == ".":  # Windows drops it
        encoded = encoded[:-1] + "%2E"
    if len(encoded) > _LONGEST:
        encoded = f"{encoded[: _LONGEST - 20]}%{sha256(content)[:16]}"
    return encoded


def safe_name(identifier: str) -> str:
    """Returns a `case_sensitive_name` that is distinct on every file system: capital letters add a digest as suffix.

    >>> safe_name("dog"), safe_name("Dog")
    ('dog', 'Dog%-0eb129bf')
    """
    plain = set(identifier).isdisjoint(string.ascii_uppercase)
    return case_sensitive_name(identifier) if plain else _name_with_digest(identifier)


def _name_with_digest(identifier: str) -> str:
    name = case_sensitive_name(identifier)
    return f"{name}%-{sha256(name.encode())[:8]}"  # no other name contains "%-"


def safe_names(identifiers: Iterable[str]) -> dict[str, str]:
    """Returns the file names of identifiers in one folder: `safe_name` for those that differ in case alone.

    >>> safe_names(["Dog", "dog", "Cat"])
    {'Dog': 'Dog%-0eb129bf', 'dog': 'dog', 'Cat': 'Cat'}
    """
    names = {identifier: case_sensitive_name(identifier) for identifier in identifiers}
    count = Counter(name.casefold() for name in names.values())
    return {one: safe_name(one) if count[name.casefold()] > 1 else name for one, name in names.items()}


def folder_name(parent: Path, identifier: str, beside: Iterable[str] = ()) -> str:
    """Returns the name of an identifier's folder, with a digest if another folder differs in case alone.

    Args:
        parent: its parent folder; an existing folder keeps its name.
        identifier: of the folder.
        beside: identifiers of further folders that may be created in ``parent``.
    """
    name = case_sensitive_name(identifier)
    there: list[str] = []
    with suppress(OSError):  # created, or its error raised, when it is used
        there = os.listdir(parent)  # noqa: PTH208 - names, not paths
    if name in there:
        return name
    if any(other.casefold() == name.casefold() for other in there):
        return _name_with_digest(identifier)
    return safe_names({identifier, *beside})[identifier]


def escape_surrogates(text: str) -> str:
    r"""Replaces lone surrogates, which file names may contain, by escapes, so that the text can be written as UTF-8.

    >>> escape_surrogates("take \udcff"), escape_surrogates("été")
    ('take \\udcff', 'été')
    """
    return text.encode("utf-8", "backslashreplace").decode()


def exists(path: str | Path) -> bool:
    """Whether a path exists; False also for an invalid path, one that is too long or contains a null byte.

    >>> exists("."), exists("a" * 300)
    (True, False)
    """
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises OSError


def find_file(path: Path) -> Path:
    """Returns ``path`` if it exists, else the only path that differs in Unicode normalization (NFC or NFD, as on macOS)
    or in the case of its suffix; ``path`` itself if there is none, or several.
    """
    if exists(path) or not path.name:
        return path
    folder = find_file(path.parent)
    found = _folder_entries(folder).get(_normalized_name(path.name), ())
    return folder / (found[0] if len(found) == 1 else path.name)


def find_files(folder: Path, stem: str, suffixes: Sequence[str]) -> list[Path]:
    """Returns the files ``stem`` + suffix in a folder, in the order of ``suffixes`` (lower case).

    Names are compared as in `find_file`.
    """
    names = _folder_entries(folder)
    found = (folder / name for suffix in suffixes for name in names.get(_normalized_name(stem + suffix), ()))
    return [path for path in found if path.is_file()]


def _normalized_name(name: str) -> str:
    """Normalizes a file name to NFC and its suffix to lower case."""
    stem, dot, suffix = unicodedata.normalize("NFC", name).rpartition(".")
    return stem + dot + (suffix.lower() if dot else suffix)


def _folder_entries(folder: Path) -> Mapping[str, Sequence[str]]:
    """Returns a folder's entries by normalized name; empty if it cannot be read."""
    try:
        changed = folder.stat().st_mtime_ns
        if time.time_ns() - changed < _TIMESTAMP_SETTLED_NS:  # an entry may be added without a new timestamp
            return _list_folder.__wrapped__(folder, changed)
        return _list_folder(folder, changed)
    except OSError:
        return {}


@lru_cache(maxsize=64)
def _list_folder(folder: Path, changed: int) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names, not paths
        found.setdefault(_normalized_name(name), []).append(name)
    return found


def find_folders(path: Path, name: str) -> Iterator[Path]:
    """Yields the folders at and below ``path`` that contain a file ``name``, in order, each once; follows links."""
    seen: set[str] = set()
    for place, folders, files in os.walk(path, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a second link to it, or a cycle
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        if name in files:
            yield Path(place)


def is_url(place: object) -> bool:
    """Whether ``place`` is a URL; a `Path` never is.

    >>> is_url("s3://bucket/runs"), is_url("runs/a"), is_url("C:/runs"), is_url(Path("s3://bucket"))
    (True, False, False, False)
    """
    return isinstance(place, str) and _URL.match(place) is not None


def require_local_path(what: str, place: str | Path, instead: str) -> Path:
    """Returns a local path; raises UsageError for a URL, including one that was converted to a path.

    Args:
        what: what the path is, for the message.
        place: the path.
        instead: for the message, what to do with a URL.
    """
    path = Path(place)
    if _URL_AS_PATH.match(str(place)) and not Path(path.parts[0]).exists():
        raise UsageError(f"expected {what} on this machine, found the URL {place}; {instead}")
    return path


def expand_home(path: str | Path) -> Path:
    """Expands a leading ``~`` or ``~user`` to the home folder; ``~user`` of an unknown user is left as it is.

    Raises:
        Precondition: there is no home folder.
    """
    found = os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser fails for an unknown user
    if found == "~" or found.startswith("~/"):
        raise Precondition(f"expected a home folder for {path}, found none; set HOME, or give a path without ~")
    return Path(found)


def expand_homes(text: str) -> str:
    """Expands each ``~`` that begins a path in a specification: at its start, or after ``:`` or ``=``.

    >>> expand_homes("stems:a~/b"), expand_homes("songs=~/songs") == f"songs={expand_home('~/songs')}"
    ('stems:a~/b', True)
    """
    return re.sub(r"(?:(?<=^)|(?<=[:=]))~(?=/|$)", lambda _: str(expand_home("~")), text)


def cache_folder() -> Path:
    """Returns ``SABENCH_CACHE``, else ``sam-audio-bench`` in ``XDG_CACHE_HOME`` or ``~/.cache``; does not create it.

    Raises:
        Precondition: neither variable is set, and there is no home folder.
    """
    if chosen := os.environ.get("SABENCH_CACHE"):
        return expand_home(chosen)
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return expand_home(chosen) / "sam-audio-bench"
    try:
        return expand_home("~/.cache") / "sam-audio-bench"
    except Precondition as error:
        raise Precondition("expected a home folder for the cache, found none; set SABENCH_CACHE to a folder") from error


def sha256(data: bytes) -> str:
    """Returns the hex digest of ``data``."""
    return hashlib.sha256(data).hexdigest()


def utc_now() -> str:
    """Returns the current date and time in UTC as ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def atomic_write(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yields a temporary path that replaces ``path`` if the block succeeds and is removed if it fails.

    Its name is random, since processes in different containers or on different machines may have the same id.

    Args:
        path: the file.
        durable: whether to flush its content to disk first, so that a power cut leaves either the new or the old file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.{path.name}")
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # missing from the error of a full disk
        raise
    finally:
        temporary.unlink(missing_ok=True)


def temporary_files(folder: Path) -> list[Path]:
    """Returns the temporary files of `atomic_write` in a folder, of killed writers and of active ones."""
    with suppress(OSError), os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if _TEMPORARY.fullmatch(entry.name) and entry.is_file()]
    return []


def _json_compatible(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            raise ValueError("NaN cannot be stored: an undefined value is None")
        return "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return {str(key): _json_compatible(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_json_compatible(entry) for entry in value]
    return value


def dump_json(value: Any, *, indent: int | None = None) -> str:
    """Returns ``value`` as JSON; infinities become strings, lone surrogates escapes; NaN raises ValueError."""
    return escape_surrogates(json.dumps(_json_compatible(value), indent=indent, ensure_ascii=False, allow_nan=False))


def write_json(path: Path, value: Any, *, durable: bool = False) -> None:
    """Writes indented JSON atomically; ``durable`` as in `atomic_write`."""
    with atomic_write(path, durable=durable) as temporary:
        temporary.write_text(dump_json(value, indent=1) + "\n", encoding="utf-8")


def load_json(path: Path) -> Any:
    """Reads a JSON file; raises StoreError with the path if it is absent or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"expected a JSON file at {path}, found none that can be read ({error})") from error


def append_lines(path: Path, records: Iterable[Mapping[str, object]], *, durable: bool = True) -> None:
    """Appends JSON lines; if the process is killed, at most these records are lost.

    Args:
        path: the journal.
        records: one per line.
        durable: whether to flush the lines to disk, so that the same holds for a power cut.
    """
    with path.open("a+b") as journal:
        journal.truncate(_last_line_end(journal))
        journal.writelines(f"{dump_json(record)}\n".encode() for record in records)
        journal.flush()
        if durable:
            os.fsync(journal.fileno())


def _last_line_end(journal: BinaryIO) -> int:
    """Returns the end of the last complete line: a truncated one after it must not become part of the next line."""
    place, end = journal.seek(0, os.SEEK_END), -1
    while place and end < 0:
        place = journal.seek(max(0, place - 65536))
        end = journal.read(65536).rfind(b"\n")
    return place + end + 1


def read_journal(path: Path, decode: Callable[[bytes], _Record]) -> list[_Record]:
    """Reads JSON lines; a truncated last line, as left by a crash, is skipped.

    Args:
        path: the journal; an absent one is empty.
        decode: converts a line to a record; raises ValueError.

    Raises:
        StoreError: an invalid line, or a file that cannot be read.
    """
    records: list[_Record] = []
    number, line = 0, b""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if number == 1 and line.startswith(codecs.BOM_UTF8):
                    raise ValueError("a byte order mark; save the file without it")
                if line.endswith(b"\n"):
                    records.append(decode(line))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"expected a journal that can be read at {path}, found: {error}") from error
    except (ValueError, RecursionError) as error:
        problem = f"a damaged one ({error})" if line.strip() else "an empty one"
        raise StoreError(
            f"expected a record in line {number} of {path}, found {problem}; remove that line, and run the same "
            "command again, which recomputes what it recorded"
        ) from error
    return records
