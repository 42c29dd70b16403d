"""Paths of the recording and the estimate that were rated, and the prompt, for the training of judges.

Paths are absolute in memory. In a file they are relative to its folder, so that ratings and sounds can be moved
together.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

__all__ = [
    "MEDIA_COLUMNS",
    "PATH_COLUMNS",
    "find_missing_files",
    "make_paths_absolute",
    "make_paths_relative",
    "resolve_paths",
]

MEDIA_COLUMNS = ("mixture", "target", "text", "spans", "video")
"""Optional columns: recording, rated estimate, and prompt; spans as in tables of tasks, ``+1.0:2.5 -3:4``."""
PATH_COLUMNS = ("mixture", "target", "video")


def resolve_paths(frame: pd.DataFrame, folder: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Makes columns of paths absolute; a column without existing files in ``folder`` holds names and is unchanged.

    Args:
        frame: with or without `PATH_COLUMNS`.
        folder: of the file that the frame was read from.

    Returns:
        The frame, and which of its columns are paths.
    """
    found = tuple(
        name
        for name in PATH_COLUMNS
        if name in frame and any(isinstance(one, str) and (folder / one).is_file() for one in frame[name].unique())
    )
    return make_paths_absolute(frame, found, folder), found


def make_paths_absolute(frame: pd.DataFrame, columns: Iterable[str], folder: Path) -> pd.DataFrame:
    """Makes paths relative to ``folder`` absolute."""
    base = folder.resolve()
    return _mapped(frame, columns, lambda path: os.path.normpath(base / path))


def make_paths_relative(frame: pd.DataFrame, columns: Iterable[str], folder: Path) -> pd.DataFrame:
    """Makes absolute paths relative to ``folder``, with slashes; paths on another drive are left unchanged."""
    base = folder.resolve()

    def relative(path: str) -> str:
        try:
            return Path(os.path.relpath(path, base)).as_posix()
        except ValueError:
            return path

    return _mapped(frame, columns, relative)


def find_missing_files(frame: pd.DataFrame, columns: Iterable[str]) -> list[str]:
    """Returns a sentence for each column of paths with missing files."""
    sentences = []
    for name in columns:
        paths = frame[name].dropna().unique()
        lost = [path for path in paths if not Path(path).is_file()]
        if lost:
            sentences.append(f"{len(lost)} of {len(paths)} files of {name} are not there, the first {lost[0]}")
    return sentences


def _mapped(frame: pd.DataFrame, columns: Iterable[str], change: Callable[[str], str]) -> pd.DataFrame:
    """Applies a function to every text of some columns, once per distinct text."""
    changed = {}
    for name in columns:
        known = {one: change(one) for one in frame[name].unique() if isinstance(one, str)}
        changed[name] = frame[name].map(known).astype(frame[name].dtype)  # of texts, even where none is there
    return frame.assign(**changed)
