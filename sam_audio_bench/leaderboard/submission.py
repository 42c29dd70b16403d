"""One submission on disk: ``submission.json``, ``scores.parquet`` and, if present, attributes and audio.

results/<separator>/<revision>/submission.json
                               scores.parquet          the columns of a run's scores, ``task`` with version and split
                               attributes.parquet      attributes of the items, see `attributes`
                               audio/<task>/<file>     as in the run folders
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from msgspec import UNSET

from sam_audio_bench.files import case_sensitive_name, safe_name
from sam_audio_bench.leaderboard import attributes, safe_io
from sam_audio_bench.leaderboard.records import (
    Aggregate,
    SubmissionRecord,
    SubmittedMetric,
    SubmittedTask,
    read_record,
)
from sam_audio_bench.records import MetricRecord
from sam_audio_bench.separators.catalogue import BASELINES, CARDS
from sam_audio_bench.stats.summary import SummaryRow, summarise
from sam_audio_bench.tasks.attributes import Attributes

__all__ = [
    "HEADER",
    "REPORTED",
    "SCORES",
    "Submission",
    "compute_aggregates",
    "estimate_file",
    "find_submissions",
    "metric_records",
    "separator_kind",
    "submission_folder",
]

HEADER = "submission.json"
SCORES = "scores.parquet"
REPORTED = "reported"
"""Folder of the numbers reported in papers, beside the separators' folders."""

_SUFFIXES = (".flac", ".wav")  # of stored estimates


@dataclass(frozen=True)
class Submission:
    """One revision of a separator with its scores."""

    path: Path
    header: SubmissionRecord

    @classmethod
    def read(cls, path: Path) -> Submission:
        """Reads the header; raises StoreError, or SchemaError if it violates its schema."""
        return cls(path, read_record(path / HEADER, SubmissionRecord, "a submission"))

    @property
    def separator(self) -> str:
        """Name of the separator."""
        return self.header.separator.name

    @property
    def revision(self) -> str:
        """Revision of the separator."""
        return self.header.separator.revision

    @property
    def oracle(self) -> bool:
        """Whether the separator was given the references."""
        return self.kind == "oracle"

    @property
    def kind(self) -> str:
        """Kind of the separator: "separator", "baseline" or "oracle"."""
        return separator_kind(self.separator, self.header.separator.oracle)

    @cached_property
    def tasks(self) -> dict[str, SubmittedTask]:
        """Label -> task record."""
        return {task.label: task for task in self.header.tasks}

    @cached_property
    def metrics(self) -> dict[str, MetricRecord]:
        """Id -> record of each metric."""
        return metric_records(self.header.metrics)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The table of scores.parquet, one row per score."""
        return safe_io.read_scores(self.path / SCORES)

    @cached_property
    def attributes(self) -> Mapping[str, Attributes]:
        """Label of a task -> attributes of its items; empty if none were submitted; raises StoreError."""
        return {} if self.header.attributes_sha256 is UNSET else attributes.read(self.path / attributes.ATTRIBUTES)


def submission_folder(results: Path, separator: str, revision: str) -> Path:
    """Returns the folder of a submission."""
    return results / case_sensitive_name(separator) / case_sensitive_name(revision)


def separator_kind(separator: str, oracle: bool) -> str:
    """Returns the kind of a separator: "oracle", "baseline" or "separator"."""
    built_in = CARDS.get(separator)
    if oracle or (built_in is not None and built_in.oracle):
        return "oracle"
    return "baseline" if separator in BASELINES else "separator"


def metric_records(metrics: Iterable[SubmittedMetric]) -> dict[str, MetricRecord]:
    """Returns id -> record of metrics."""
    return {metric.id: metric.record for metric in metrics}


def compute_aggregates(scores: pd.DataFrame, metrics: Mapping[str, MetricRecord]) -> list[Aggregate]:
    """Computes the aggregates of a submission from its rows: one record per task, picker and metric, sorted."""
    rows: Sequence[SummaryRow] = summarise(scores, metrics)
    found = [Aggregate(**{name: getattr(row, name) for name in Aggregate.__struct_fields__}) for row in rows]
    return sorted(found, key=lambda aggregate: aggregate.key)


def estimate_file(answers: Mapping[str, str], item: str, part: str, picked_by: str | None) -> str | None:
    """Finds the name of the file with an estimate of an item; None if the submission states none.

    Args:
        answers: file name -> digest, of the task.
        item: id of the item.
        part: "target" or "residual".
        picked_by: the picker that chose the estimate; None or "": the first candidate.
    """

    def named(ending: str) -> str | None:
        stems = (f"{name}.{ending}" for name in (case_sensitive_name(item), safe_name(item)))
        return next((stem + suffix for stem in stems for suffix in _SUFFIXES if stem + suffix in answers), None)

    first = not picked_by and named("target.0") is not None
    return named(f"{part}{'.0' if first else ''}")


def find_submissions(results: Path) -> list[Path]:
    """Finds the folders of submissions in a results folder, sorted; links are not followed."""
    found = (path.parent for path in results.glob(f"*/*/{HEADER}"))
    return sorted(
        path for path in found if path.parent.name != REPORTED and not path.is_symlink() | path.parent.is_symlink()
    )
