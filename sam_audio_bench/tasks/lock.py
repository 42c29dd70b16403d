"""The lock file of the official data on this machine: ``lock.json`` in the folder of the data.

    licences   repository -> {"licence", "shown", "accepted"}, dates
    metadata   repository -> {"commit", "sha256"}: the verified revision, and the digest of its rows
    files      path below the folder -> {"size", "mtime_ns", "sha256", "checked"}
    clips      part of a recording -> {"files", "state", "what"}: the result of decoding it

A state or digest is valid as long as its files keep their size and modification time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import msgspec

from sam_audio_bench.errors import Precondition, StoreError
from sam_audio_bench.files import write_json
from sam_audio_bench.tabular import read_json
from sam_audio_bench.tasks.folders import data_folder

__all__ = ["ClipEntry", "FileEntry", "LicenceEntry", "LockFile", "MetadataEntry"]

_SCHEMA_VERSION = 1
_PARTS = ("licences", "metadata", "files", "clips")


class LicenceEntry(TypedDict):
    """The dates on which the terms of a repository were shown and accepted."""

    licence: str
    shown: str
    accepted: str | None


class MetadataEntry(TypedDict):
    """The verified revision of a repository, and the digest of its rows."""

    commit: str | None
    sha256: str


class FileEntry(TypedDict, total=False):
    """The state of a file when it was read last."""

    size: int
    mtime_ns: int
    sha256: str
    checked: bool


class ClipEntry(TypedDict):
    """The result of decoding a part of a recording."""

    files: list[str]
    state: str
    what: str


class _Content(msgspec.Struct):
    """The sections of the file."""

    licences: dict[str, LicenceEntry] = {}
    metadata: dict[str, MetadataEntry] = {}
    files: dict[str, FileEntry] = {}
    clips: dict[str, ClipEntry] = {}


@dataclass
class LockFile:
    """The content of ``lock.json``; `read` it, change it, `write` it."""

    folder: Path
    licences: dict[str, LicenceEntry] = field(default_factory=dict)
    metadata: dict[str, MetadataEntry] = field(default_factory=dict)
    files: dict[str, FileEntry] = field(default_factory=dict)
    clips: dict[str, ClipEntry] = field(default_factory=dict)

    @classmethod
    def read(cls) -> LockFile:
        """Reads the lock file, or returns an empty one if there is none; raises StoreError if it is damaged."""
        lock = cls(data_folder())
        if not lock.path.exists():
            return lock
        content = read_json(lock.path)
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != _SCHEMA_VERSION:
            raise StoreError(
                f"expected schema version {_SCHEMA_VERSION} in {lock.path}, found {version}; "
                "remove it and run `sabench data verify`"
            )
        try:
            parts = msgspec.convert(content, _Content)
        except msgspec.ValidationError as error:
            raise StoreError(
                f"expected what is known of files in {lock.path}, found damage ({error}); remove it and run `sabench "
                "data verify`"
            ) from error
        return cls(lock.folder, **{name: getattr(parts, name) for name in _PARTS})

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self.folder / "lock.json"

    def write(self) -> None:
        """Writes the file atomically; raises Precondition if the folder cannot be written."""
        try:
            parts = {name: dict(sorted(getattr(self, name).items())) for name in _PARTS}
            write_json(self.path, {"schema_version": _SCHEMA_VERSION, **parts})
        except OSError as error:
            raise Precondition(f"expected a folder that can be written at {self.folder}, found: {error}") from error

    def pinned_commit(self, repository: str) -> str | None:
        """Returns the verified commit of a repository, which later downloads use; None if there is none."""
        known = self.metadata.get(repository)
        return known.get("commit") if known else None

    def file_entry(self, path: Path) -> FileEntry:
        """Returns the recorded state of a file; empty if there is none."""
        return self.files.get(self._name(path), {})

    def is_unchanged(self, path: Path) -> bool:
        """Returns whether a file still has the recorded size and modification time."""
        return self.file_entry(path).items() >= _stamp(path).items()

    def hash_file(self, path: Path) -> str:
        """Computes a file's SHA-256, and records it."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.files[self._name(path)] = {**_stamp(path), "sha256": digest}
        return digest

    def known_state(self, clip: str, paths: Sequence[Path]) -> tuple[str, str] | None:
        """Returns the recorded state and explanation of a clip, if its files are these and have not changed."""
        known = self.clips.get(clip)
        if known is None or known["files"] != [self._name(path) for path in paths]:
            return None
        return (known["state"], known["what"]) if all(map(self.is_unchanged, paths)) else None

    def record_state(self, clip: str, paths: Sequence[Path], state: str, what: str) -> None:
        """Records the result of decoding a clip."""
        for path in paths:
            if not self.is_unchanged(path):
                self.files[self._name(path)] = _stamp(path)
        self.clips[clip] = {"files": [self._name(path) for path in paths], "state": state, "what": what}

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _stamp(path: Path) -> FileEntry:
    found = path.stat()
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}
