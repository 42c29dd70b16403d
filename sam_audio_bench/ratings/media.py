"""What was heard, beside what was said of it: the recording, the answer and the prompt, as a judge is trained on them.

Paths are absolute in memory. In a file they are relative to its folder, so that ratings and sounds move together.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

__all__ = ["MEDIA_COLUMNS", "PATH_COLUMNS", "absent_files", "located", "moved_in", "moved_out"]

MEDIA_COLUMNS = ("mixture", "target", "text", "spans", "video")
"""Optional: the recording, the answer that was rated, and the prompt; spans as of a task's table, ``+1.0:2.5 -3:4``."""
PATH_COLUMNS = ("mixture", "target", "video")


def located(frame: pd.DataFrame, folder: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Makes columns of paths absolute; a column of which no value is a file in ``folder`` holds names, and stays.

    Args:
        frame: perhaps with `PATH_COLUMNS`.
        folder: of the file that the frame was read from.

    Returns:
        The frame, and which of its columns are paths.
    """
    found = tuple(
        name
        for name in PATH_COLUMNS
        if name in frame and any(isinstance(one, str) and (folder / one).is_file() for one in frame[name].unique())
    )
    return moved_in(frame, found, folder), found


def moved_in(frame: pd.DataFrame, columns: Iterable[str], folder: Path) -> pd.DataFrame:
    """Paths relative to ``folder`` as absolute ones."""
    base = folder.resolve()
    return _mapped(frame, columns, lambda path: os.path.normpath(base / path))


def moved_out(frame: pd.DataFrame, columns: Iterable[str], folder: Path) -> pd.DataFrame:
    """Absolute paths as relative to ``folder``, with slashes; one on another drive stays as it is."""
    base = folder.resolve()

    def relative(path: str) -> str:
        try:
            return Path(os.path.relpath(path, base)).as_posix()
        except ValueError:
            return path

    return _mapped(frame, columns, relative)


def absent_files(frame: pd.DataFrame, columns: Iterable[str]) -> list[str]:
    """A sentence for each column of paths whose files are not all there."""
    sentences = []
    for name in columns:
        paths = frame[name].dropna().unique()
        lost = [path for path in paths if not Path(path).is_file()]
        if lost:
            sentences.append(f"{len(lost)} of {len(paths)} files of {name} are not there, the first {lost[0]}")
    return sentences


def _mapped(frame: pd.DataFrame, columns: Iterable[str], change: Callable[[str], str]) -> pd.DataFrame:
    """The frame with every text of some columns changed; each distinct one is looked at once."""
    changed = {}
    for name in columns:
        known = {one: change(one) for one in frame[name].unique() if isinstance(one, str)}
        changed[name] = frame[name].map(known).astype(frame[name].dtype)  # of texts, even where none is there
    return frame.assign(**changed)
