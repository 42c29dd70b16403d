"""The folders of data from outside the package, and a check that files lie inside their folder."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from sam_audio_bench.files import cache_folder, expand_home, find_file

__all__ = ["LinkCheck", "bench_folder", "cache_folder", "data_folder", "songs_folder"]


def data_folder() -> Path:
    """Returns the folder of the official data, ``SABENCH_DATA`` or ``data`` in the cache folder; does not create it."""
    if chosen := os.environ.get("SABENCH_DATA"):
        return expand_home(chosen).absolute()  # a separator may change the working directory
    return cache_folder() / "data"


def bench_folder() -> Path:
    """Returns the folder of the recordings of SAM Audio-Bench, which has one folder per source."""
    return data_folder() / "sam_audio_bench"


def songs_folder() -> Path:
    """Returns the folder of MUSDB18-HQ; with ``.zip`` appended, the path of Zenodo's archive."""
    return data_folder() / "musdb18hq"


@dataclass(slots=True)
class LinkCheck:
    """Checks whether files lie inside a folder once links are resolved; each file and folder is checked once."""

    root: Path  # resolved
    folders: dict[str, bool] = field(default_factory=dict)  # folder -> whether it is inside
    plain: set[str] = field(default_factory=set)  # names of files that are inside and are not links

    def resolve_outside(self, name: str) -> Path | None:
        """Returns the resolved path of a file below the folder if it lies outside, else None."""
        if name in self.plain:
            return None
        as_named = os.path.join(self.root, name)  # noqa: PTH118 - called for each file of 100,000 rows
        if self._is_plain(as_named):
            self.plain.add(name)
            return None
        path = find_file(Path(as_named))
        if self._is_plain(str(path)):
            return None
        found = Path(os.path.realpath(path))  # of circular links too
        return None if found.is_relative_to(self.root) else found

    def _is_plain(self, path: str) -> bool:
        """Returns whether a path is a file, not a link, in a folder that is inside."""
        folder = os.path.dirname(path)  # noqa: PTH120
        if folder not in self.folders:
            self.folders[folder] = Path(os.path.realpath(folder)).is_relative_to(self.root)
        try:
            return self.folders[folder] and not stat.S_ISLNK(os.lstat(path).st_mode)
        except OSError:
            return False
