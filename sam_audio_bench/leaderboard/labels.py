"""Names on a leaderboard: of kinds of separators, and of folders."""

from __future__ import annotations

from pathlib import Path

from sam_audio_bench.files import case_sensitive_name
from sam_audio_bench.separators.catalogue import BASELINES, CARDS

__all__ = ["BASELINES", "REPORTED", "base_metric", "folder_of", "kind_of"]

REPORTED = "reported"
"""Folder of the numbers of papers, beside the separators' folders."""


def folder_of(results: Path, separator: str, revision: str) -> Path:
    """The folder of a submission."""
    return results / case_sensitive_name(separator) / case_sensitive_name(revision)


def kind_of(separator: str, oracle: bool) -> str:
    """The kind of a separator: "oracle", "baseline" or "separator"."""
    built_in = CARDS.get(separator)
    if oracle or (built_in is not None and built_in.oracle):
        return "oracle"
    return "baseline" if separator in BASELINES else "separator"


def base_metric(metric: str) -> str | None:
    """What an improvement improves on: ``si_sdr`` of ``si_sdr_i``; None for any other score."""
    return metric[:-2] if metric.endswith("_i") else None
