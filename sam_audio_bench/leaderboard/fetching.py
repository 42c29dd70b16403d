"""Leaderboards at URLs, of any kind that fsspec reads: ``hf://datasets/OWNER/NAME``, ``s3://bucket/board``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sam_audio_bench.errors import Precondition, StoreError
from sam_audio_bench.leaderboard.log import LOG
from sam_audio_bench.run.remote import RemoteFolder

__all__ = ["fetch_board"]

_FILES = (LOG, "boards.json")  # besides the submissions
_LARGEST = 1 << 33  # bytes of all files
_KEPT: list[tempfile.TemporaryDirectory[str]] = []  # deleted when the process ends


def fetch_board(url: str) -> Path:
    """Downloads submissions, log and rules of a leaderboard to a local folder, deleted when the process ends.

    Raises:
        Precondition: no leaderboard is there, or it cannot be read. StoreError: it is larger than 8 GiB.
        UsageError: an invalid URL.
    """
    store = RemoteFolder(url)
    files = {
        name: int(about.get("size") or 0) for name, about in store.files().items()
        if name in _FILES or name.startswith("results/")
    }  # fmt: skip
    if not any(name.startswith("results/") for name in files):
        raise Precondition(f"expected a leaderboard (with results/) at {url}, found none")
    if (size := sum(files.values())) > _LARGEST:
        raise StoreError(f"expected a leaderboard of at most {_LARGEST >> 30} GiB at {url}, found {size >> 30} GiB")
    _KEPT.append(tempfile.TemporaryDirectory(prefix="sabench-board-"))
    folder = Path(_KEPT[-1].name)
    store.get(sorted(files), folder)
    return folder
