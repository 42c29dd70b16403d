"""Where data from outside the package lies on this machine, and whether files lie inside their folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from sam_audio_bench.files import cache_folder, expand_home, find_file

__all__ = ["LinkCheck", "cache_folder", "data_folder"]


def data_folder() -> Path:
    """``SABENCH_DATA``, where the media of the official data lie, else ``data`` in the cache folder; not created."""
    if chosen := os.environ.get("SABENCH_DATA"):
        return expand_home(chosen).absolute()  # wherever a separator goes
    return cache_folder() / "data"


@dataclass(slots=True)
class LinkCheck:
    """Asks of files whether they lie inside a folder when links are followed; folders are asked once."""

    root: Path  # without links
    folders: dict[Path, bool] = field(default_factory=dict)

    def leads_out(self, name: str) -> Path | None:
        """Where a file below the folder is in truth, if that is outside."""
        path = find_file(self.root / name)
        if path.parent not in self.folders:
            self.folders[path.parent] = Path(os.path.realpath(path.parent)).is_relative_to(self.root)
        if self.folders[path.parent] and not path.is_symlink():
            return None
        found = Path(os.path.realpath(path))  # of links in a circle too
        return None if found.is_relative_to(self.root) else found
