"""Where data from outside the package lies on this machine, and whether files lie inside their folder."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from sam_audio_bench.files import cache_folder, expand_home, find_file

__all__ = ["LinkCheck", "bench_folder", "cache_folder", "data_folder", "songs_folder"]


def data_folder() -> Path:
    """``SABENCH_DATA``, where the media of the official data lie, else ``data`` in the cache folder; not created."""
    if chosen := os.environ.get("SABENCH_DATA"):
        return expand_home(chosen).absolute()  # wherever a separator goes
    return cache_folder() / "data"


def bench_folder() -> Path:
    """Where the recordings of SAM Audio-Bench lie, a folder a source."""
    return data_folder() / "sam_audio_bench"


def songs_folder() -> Path:
    """Where MUSDB18-HQ lies, as a folder or, with ``.zip``, as Zenodo has it."""
    return data_folder() / "musdb18hq"


@dataclass(slots=True)
class LinkCheck:
    """Asks of files whether they lie inside a folder when links are followed; each file and folder is asked once."""

    root: Path  # without links
    folders: dict[str, bool] = field(default_factory=dict)  # whether a folder is inside
    plain: set[str] = field(default_factory=set)  # names of files that are, and are no links

    def resolve_outside(self, name: str) -> Path | None:
        """Where a file below the folder is in truth, if that is outside."""
        if name in self.plain:
            return None
        as_named = os.path.join(self.root, name)  # noqa: PTH118 - called for each file of 100,000 rows
        if self._is_plain(as_named):
            self.plain.add(name)
            return None
        path = find_file(Path(as_named))
        if self._is_plain(str(path)):
            return None
        found = Path(os.path.realpath(path))  # of links in a circle too
        return None if found.is_relative_to(self.root) else found

    def _is_plain(self, path: str) -> bool:
        """Whether there is a file, and no link, in a folder that is inside."""
        folder = os.path.dirname(path)  # noqa: PTH120
        if folder not in self.folders:
            self.folders[folder] = Path(os.path.realpath(folder)).is_relative_to(self.root)
        try:
            return self.folders[folder] and not stat.S_ISLNK(os.lstat(path).st_mode)
        except OSError:
            return False
