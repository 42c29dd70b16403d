"""Cache of embeddings by the content of their sound: one file per model in the cache folder."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from sam_audio_bench.errors import Precondition, StoreError
from sam_audio_bench.files import cache_folder, dump_json, sha256
from sam_audio_bench.metrics.distance_catalogue import EmbeddingIdentity
from sam_audio_bench.metrics.embedding import EmbeddingResult
from sam_audio_bench.types import Status

__all__ = ["EmbeddingCache"]

_TABLES = (
    "CREATE TABLE IF NOT EXISTS sounds (content TEXT PRIMARY KEY, status TEXT, width INTEGER, vectors BLOB)",
    "CREATE TABLE IF NOT EXISTS model (identity TEXT PRIMARY KEY)",
)


class EmbeddingCache:
    """Stores embeddings as soon as they are computed, so that an interrupted run can continue.

    Args:
        identity: what the vectors depend on besides the sound.
        note: called with a message if nothing can be stored on this machine.

    Raises:
        StoreError: the file has embeddings of another model.
    """

    def __init__(self, identity: EmbeddingIdentity, note: Callable[[str], None]) -> None:
        self._note, self._in_memory = note, dict[str, EmbeddingResult]()
        self._path: Path | None = None
        text = dump_json(dict(sorted(identity.items())))
        try:
            path = cache_folder() / "embeddings" / f"{sha256(text.encode())[:16]}.sqlite"
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(path, timeout=10)) as connection, connection:
                for table in _TABLES:
                    connection.execute(table)
                known = connection.execute("SELECT identity FROM model").fetchone()
                if known is None:
                    connection.execute("INSERT OR IGNORE INTO model VALUES (?)", (text,))
        except (OSError, sqlite3.Error, Precondition) as error:
            self._disable(error)
            return
        if known is not None and known[0] != text:
            raise StoreError(f"expected embeddings of {text} in {path}, found those of {known[0]}; remove the file")
        self._path = path

    def get(self, content: str) -> EmbeddingResult | None:
        """Returns the stored embeddings of a sound, or None."""
        if content in self._in_memory or self._path is None:
            return self._in_memory.get(content)
        try:
            with closing(sqlite3.connect(self._path, timeout=10)) as connection:
                row = connection.execute(
                    "SELECT status, width, vectors FROM sounds WHERE content = ?", (content,)
                ).fetchone()
        except sqlite3.Error as error:
            self._disable(error)
            return None
        if row is None:
            return None
        status, width, blob = row
        vectors = None if blob is None else np.frombuffer(blob, "<f4").reshape(-1, width)
        return EmbeddingResult(vectors, Status(status))

    def put(self, content: str, found: EmbeddingResult) -> None:
        """Stores the embeddings of a sound."""
        if self._path is None:
            self._in_memory[content] = found
            return
        width = 0 if found.vectors is None else found.vectors.shape[1]
        blob = None if found.vectors is None else found.vectors.astype("<f4").tobytes()
        try:
            with closing(sqlite3.connect(self._path, timeout=10)) as connection, connection:
                row = content, str(found.status), width, blob
                connection.execute("INSERT OR REPLACE INTO sounds VALUES (?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            self._in_memory[content] = found
            self._disable(error)

    def _disable(self, error: Exception) -> None:
        self._path = None
        self._note(f"embeddings are not kept for the next time, as the cache cannot be used: {error}")
