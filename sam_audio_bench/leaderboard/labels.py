"""Names on a leaderboard: of tasks, of lines in its tables, and of folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sam_audio_bench.files import safe_name
from sam_audio_bench.separators import CARDS

__all__ = ["BASELINES", "REPORTED", "base_metric", "folder_of", "kind_of", "line_name", "number", "task_label"]

BASELINES = frozenset({"mixture", "silence"})
"""Separators that do nothing: the lower reference of every table."""

REPORTED = "reported"
"""Folder of the numbers of papers, beside the separators' folders."""


def task_label(task: Mapping[str, Any]) -> str:
    """Task with version, split and, where it is not the paper's, subset.

    >>> task_label({"id": "sfx", "version": "1", "split": "test", "subset": "full"})
    'sfx@1-test-full'
    """
    subset = "" if task["subset"] == "paper" else f"-{task['subset']}"
    return f"{task['id']}@{task['version']}-{task['split']}{subset}"


def folder_of(results: Path, separator: str, revision: str) -> Path:
    """The folder of a submission."""
    return results / safe_name(separator) / safe_name(revision)


def kind_of(separator: str, oracle: bool) -> str:
    """The kind of a separator: "oracle", "baseline" or "separator"."""
    built_in = CARDS.get(separator)
    if oracle or (built_in is not None and built_in.oracle):
        return "oracle"
    return "baseline" if separator in BASELINES else "separator"


def line_name(separator: str, picked_by: str | None = None, candidates: int = 1) -> str:
    """A line of a table: a separator, or the best of its candidates by some picker.

    >>> line_name("sam-audio-small", "clap", 8)
    'sam-audio-small (best of 8 by clap)'
    """
    return separator if picked_by is None else f"{separator} (best of {candidates} by {picked_by})"


def base_metric(metric: str) -> str | None:
    """What an improvement improves on: ``si_sdr`` of ``si_sdr_i``; None for any other score."""
    return metric[:-2] if metric.endswith("_i") else None


def number(value: float | None, digits: int = 2) -> str:
    """Formats a number: a typographic minus, no negative zero, and a dash for an unknown value.

    >>> number(-0.25, 1), number(None), number(-0.0001)
    ('−0.2', '—', '0.00')
    """
    if value is None:
        return "—"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")
