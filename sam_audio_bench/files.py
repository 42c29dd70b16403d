"""The one place that names files, writes JSON and appends to journals.

JSON has no infinity and results have no NaN: ``inf`` is stored as the string ``"inf"``, an undefined value as ``null``,
and NaN is refused. Bytes of a file name that are no UTF-8, which Python holds as halves of letters, are stored as JSON
escapes, so that every file is valid UTF-8.
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
_TIMESTAMP_SETTLED_NS = 2_000_000_000  # nanoseconds after which a folder's time tells every change
_TEMPORARY = re.compile(r"\.\d+(-[0-9a-f]{8})?\..+")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_URL_AS_PATH = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")  # a URL that was made a path; a letter alone is a drive
_LONGEST = 120  # bytes; file systems allow 255, and suffixes are still to come


def case_sensitive_name(identifier: str) -> str:
    """Turns any identifier into a file name: no separator, no dot-dot, no reserved name.

    Distinct stays distinct on file systems that tell upper from lower case; elsewhere `safe_name` is needed.

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
    """`case_sensitive_name` that stays distinct on every file system: one with capital letters says so by a suffix.

    >>> safe_name("dog"), safe_name("Dog")
    ('dog', 'Dog%-0eb129bf')
    """
    plain = set(identifier).isdisjoint(string.ascii_uppercase)
    return case_sensitive_name(identifier) if plain else _name_with_digest(identifier)


def _name_with_digest(identifier: str) -> str:
    name = case_sensitive_name(identifier)
    return f"{name}%-{sha256(name.encode())[:8]}"  # "%-" is part of no other name


def safe_names(identifiers: Iterable[str]) -> dict[str, str]:
    """File names of identifiers that lie in one folder: of `safe_name` where only case tells two of them apart.

    >>> safe_names(["Dog", "dog", "Cat"])
    {'Dog': 'Dog%-0eb129bf', 'dog': 'dog', 'Cat': 'Cat'}
    """
    names = {identifier: case_sensitive_name(identifier) for identifier in identifiers}
    count = Counter(name.casefold() for name in names.values())
    return {one: safe_name(one) if count[name.casefold()] > 1 else name for one, name in names.items()}


def folder_name(parent: Path, identifier: str, beside: Iterable[str] = ()) -> str:
    """The name of an identifier's folder, marked where the folder of another one differs by case alone.

    Args:
        parent: where it lies; a folder that is there keeps its name.
        identifier: of the folder.
        beside: identifiers of folders that may be made at the same time.
    """
    name = case_sensitive_name(identifier)
    there: list[str] = []
    with suppress(OSError):  # it will be made, or the error told, when it is used
        there = os.listdir(parent)  # noqa: PTH208 - names, not paths
    if name in there:
        return name
    if any(other.casefold() == name.casefold() for other in there):
        return _name_with_digest(identifier)
    return safe_names({identifier, *beside})[identifier]


def escape_surrogates(text: str) -> str:
    r"""A text that can be written as UTF-8: halves of letters, which names of files may hold, as escapes.

    >>> escape_surrogates("take \udcff"), escape_surrogates("été")
    ('take \\udcff', 'été')
    """
    return text.encode("utf-8", "backslashreplace").decode()


def exists(path: str | Path) -> bool:
    """Whether something is at a path; at one that no system takes, for it is too long or has a zero byte, is nothing.

    >>> exists("."), exists("a" * 300)
    (True, False)
    """
    return os.path.exists(path)  # noqa: PTH110 - that of Path raises OSError


def find_file(path: Path) -> Path:
    """The file or folder at ``path``, else the only one whose name is the same text: written with other code points, as
    macOS does (NFC and NFD), or with a suffix in upper case. ``path`` itself where there is none, or several.
    """
    if exists(path) or not path.name:
        return path
    folder = find_file(path.parent)
    found = _folder_entries(folder).get(_normalized_name(path.name), ())
    return folder / (found[0] if len(found) == 1 else path.name)


def find_files(folder: Path, stem: str, suffixes: Sequence[str]) -> list[Path]:
    """The files in a folder that are called ``stem`` and one of ``suffixes`` (lower case), in the order of these.

    Names are compared as in `find_file`.
    """
    names = _folder_entries(folder)
    found = (folder / name for suffix in suffixes for name in names.get(_normalized_name(stem + suffix), ()))
    return [path for path in found if path.is_file()]


def _normalized_name(name: str) -> str:
    """Equal for names that are the same text, whatever the case of their suffix."""
    stem, dot, suffix = unicodedata.normalize("NFC", name).rpartition(".")
    return stem + dot + (suffix.lower() if dot else suffix)


def _folder_entries(folder: Path) -> Mapping[str, Sequence[str]]:
    """Entries of a folder by `_normalized_name`; nothing where there is no folder that can be read."""
    try:
        changed = folder.stat().st_mtime_ns
        if time.time_ns() - changed < _TIMESTAMP_SETTLED_NS:  # another entry may come without another time
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
    """Folders at and below ``path`` that hold a file ``name``, in order; links are followed, and each is told once."""
    seen: set[str] = set()
    for place, folders, files in os.walk(path, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # two links to it, or one that leads back
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        if name in files:
            yield Path(place)


def is_url(place: object) -> bool:
    """Whether a text names a place by a URL; a path never does.

    >>> is_url("s3://bucket/runs"), is_url("runs/a"), is_url("C:/runs"), is_url(Path("s3://bucket"))
    (True, False, False, False)
    """
    return isinstance(place, str) and _URL.match(place) is not None


def require_local_path(what: str, place: str | Path, instead: str) -> Path:
    """The path of a folder on this machine; raises UsageError for a URL, also one that a path was made of.

    Args:
        what: is told of it.
        place: its path.
        instead: what to do with a URL.
    """
    path = Path(place)
    if _URL_AS_PATH.match(str(place)) and not Path(path.parts[0]).exists():
        raise UsageError(f"expected {what} on this machine, found the URL {place}; {instead}")
    return path


def expand_home(path: str | Path) -> Path:
    """A path with a leading ``~`` or ``~user`` as the home folder; that of an unknown user is a name as any other.

    Raises:
        Precondition: there is no home folder.
    """
    found = os.path.expanduser(path)  # noqa: PTH111 - which fails for an unknown user
    if found == "~" or found.startswith("~/"):
        raise Precondition(f"expected a home folder for {path}, found none; set HOME, or give a path without ~")
    return Path(found)


def expand_homes(text: str) -> str:
    """A spelling with the home folder for each ``~`` that begins a path: at its start, or behind ``:`` or ``=``.

    >>> expand_homes("stems:a~/b"), expand_homes("songs=~/songs") == f"songs={expand_home('~/songs')}"
    ('stems:a~/b', True)
    """
    return re.sub(r"(?:(?<=^)|(?<=[:=]))~(?=/|$)", lambda _: str(expand_home("~")), text)


def cache_folder() -> Path:
    """``SABENCH_CACHE``, else ``sam-audio-bench`` under ``XDG_CACHE_HOME``, else under ``~/.cache``; not created.

    Raises:
        Precondition: there is neither of them, nor a home folder.
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
    """Hex digest of ``data``."""
    return hashlib.sha256(data).hexdigest()


def utc_now() -> str:
    """Date and time of day, UTC, for records."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def atomic_write(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yields a temporary path that takes the place of ``path`` when the block succeeds and vanishes when it fails.

    No other writer has it: processes of two containers or machines may have one number.

    Args:
        path: the file.
        durable: force its content to disk before it takes the place, so that a power cut leaves it or its predecessor.
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
        error.filename = error.filename or str(path)  # of a disk that is full the system names no file
        raise
    finally:
        temporary.unlink(missing_ok=True)


def temporary_files(folder: Path) -> list[Path]:
    """What writers that were killed have left in a folder; those of writers at work look the same."""
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
    """JSON text of ``value``; infinities become strings, halves of letters escapes, NaN raises ValueError."""
    return escape_surrogates(json.dumps(_json_compatible(value), indent=indent, ensure_ascii=False, allow_nan=False))


def write_json(path: Path, value: Any, *, durable: bool = False) -> None:
    """Writes indented JSON atomically, ``durable`` as in `atomic_write`."""
    with atomic_write(path, durable=durable) as temporary:
        temporary.write_text(dump_json(value, indent=1) + "\n", encoding="utf-8")


def load_json(path: Path) -> Any:
    """Reads JSON; raises StoreError with the path when it is absent or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"expected a JSON file at {path}, found none that can be read ({error})") from error


def append_lines(path: Path, records: Iterable[Mapping[str, object]], *, durable: bool = True) -> None:
    """Appends JSON lines; a killed process costs at most what is being written.

    Args:
        path: the journal.
        records: one a line.
        durable: force the lines to disk, so that a power cut costs no more.
    """
    with path.open("a+b") as journal:
        journal.truncate(_last_line_end(journal))
        journal.writelines(f"{dump_json(record)}\n".encode() for record in records)
        journal.flush()
        if durable:
            os.fsync(journal.fileno())


def _last_line_end(journal: BinaryIO) -> int:
    """Where the last whole line ends: what breaks off behind it must not become part of the next one."""
    place, end = journal.seek(0, os.SEEK_END), -1
    while place and end < 0:
        place = journal.seek(max(0, place - 65536))
        end = journal.read(65536).rfind(b"\n")
    return place + end + 1


def read_journal(path: Path, decode: Callable[[bytes], _Record]) -> list[_Record]:
    """Reads JSON lines; a last line that breaks off, as a crash leaves it, is left out.

    Args:
        path: the journal; an absent one is empty.
        decode: makes a record of a line; raises ValueError.

    Raises:
        StoreError: a line that is no record, or a file that cannot be read.
    """
    records: list[_Record] = []
    number, line = 0, b""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if number == 1 and line.startswith(codecs.BOM_UTF8):
                    raise ValueError("a byte order mark, without which the file has to be saved")
                if line.endswith(b"\n"):
                    records.append(decode(line))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"expected a journal that can be read at {path}, found: {error}") from error
    except (ValueError, RecursionError) as error:
        told = f"a damaged one ({error})" if line.strip() else "an empty one"
        raise StoreError(
            f"expected a record in line {number} of {path}, found {told}; remove that line, and run the same command "
            "again, which does again what it told of"
        ) from error
    return records
