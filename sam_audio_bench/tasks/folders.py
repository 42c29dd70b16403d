"""Where data from outside the package lies on this machine."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder", "data_folder"]


def cache_folder() -> Path:
    """``SABENCH_CACHE``, else ``sam-audio-bench`` under ``XDG_CACHE_HOME``, else under ``~/.cache``; not created."""
    if chosen := os.environ.get("SABENCH_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sam-audio-bench"


def data_folder() -> Path:
    """``SABENCH_DATA``, where the media of the official data lie, else ``data`` in the cache folder; not created."""
    if chosen := os.environ.get("SABENCH_DATA"):
        return Path(chosen).expanduser()
    return cache_folder() / "data"
