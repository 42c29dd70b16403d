"""Where data from outside the package lies on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from sam_audio_bench.files import cache_folder, expand_home

__all__ = ["cache_folder", "data_folder"]


def data_folder() -> Path:
    """``SABENCH_DATA``, where the media of the official data lie, else ``data`` in the cache folder; not created."""
    if chosen := os.environ.get("SABENCH_DATA"):
        return expand_home(chosen).absolute()  # wherever a separator goes
    return cache_folder() / "data"
