"""One submission on disk: ``submission.json``, ``scores.parquet`` and, where there are some, attributes and audio.

results/<separator>/<revision>/submission.json
                               scores.parquet          the columns of a run's, ``task`` with version and split
                               attributes.parquet      what is known of the items, see `attributes`
                               audio/<task>/<file>     as in the run folders
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from msgspec import UNSET

from sam_audio_bench.files import cased_name, safe_name
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
"""Folder of the numbers of papers, beside the separators' folders."""

_SUFFIXES = (".flac", ".wav")  # of stored answers


@dataclass(frozen=True)
class Submission:
    """A separator's revision with its scores."""

    path: Path
    header: SubmissionRecord

    @classmethod
    def read(cls, path: Path) -> Submission:
        """Reads the header; raises StoreError, which is SchemaError where it breaks its schema."""
        return cls(path, read_record(path / HEADER, SubmissionRecord, "a submission"))

    @property
    def separator(self) -> str:
        """Its name."""
        return self.header.separator.name

    @property
    def revision(self) -> str:
        """Its revision."""
        return self.header.separator.revision

    @property
    def oracle(self) -> bool:
        """Whether it was shown the references."""
        return self.kind == "oracle"

    @property
    def kind(self) -> str:
        """One of "separator", "baseline" and "oracle"."""
        return separator_kind(self.separator, self.header.separator.oracle)

    @cached_property
    def tasks(self) -> dict[str, SubmittedTask]:
        """Task records by label."""
        return {task.label: task for task in self.header.tasks}

    @cached_property
    def metrics(self) -> dict[str, MetricRecord]:
        """The identity of each of its metrics."""
        return metric_records(self.header.metrics)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per score, as in scores.parquet."""
        return safe_io.read_scores(self.path / SCORES)

    @cached_property
    def attributes(self) -> Mapping[str, Attributes]:
        """Of the items, by the label of their task; empty where it was submitted without any; raises StoreError."""
        return {} if self.header.attributes_sha256 is UNSET else attributes.read(self.path / attributes.ATTRIBUTES)


def submission_folder(results: Path, separator: str, revision: str) -> Path:
    """Returns the folder of a submission."""
    return results / cased_name(separator) / cased_name(revision)


def separator_kind(separator: str, oracle: bool) -> str:
    """Returns the kind of a separator: "oracle", "baseline" or "separator"."""
    built_in = CARDS.get(separator)
    if oracle or (built_in is not None and built_in.oracle):
        return "oracle"
    return "baseline" if separator in BASELINES else "separator"


def metric_records(metrics: Iterable[SubmittedMetric]) -> dict[str, MetricRecord]:
    """Records of metrics by id."""
    return {metric.id: metric.record for metric in metrics}


def compute_aggregates(scores: pd.DataFrame, metrics: Mapping[str, MetricRecord]) -> list[Aggregate]:
    """Aggregates of a submission: one record per task, picker and metric, sorted, computed from its rows alone."""
    rows: Sequence[SummaryRow] = summarise(scores, metrics)
    found = [Aggregate(**{name: getattr(row, name) for name in Aggregate.__struct_fields__}) for row in rows]
    return sorted(found, key=lambda aggregate: aggregate.key)


def estimate_file(answers: Mapping[str, str], item: str, part: str, picked_by: str | None) -> str | None:
    """Name of the file with an estimate of an item; None where the submission states none.

    Args:
        answers: of the task, by file name.
        item: its id.
        part: "target" or "residual".
        picked_by: the picker that chose the estimate; None or "": the first candidate.
    """

    def named(ending: str) -> str | None:
        stems = (f"{name}.{ending}" for name in (cased_name(item), safe_name(item)))
        return next((stem + suffix for stem in stems for suffix in _SUFFIXES if stem + suffix in answers), None)

    first = not picked_by and named("target.0") is not None
    return named(f"{part}{'.0' if first else ''}")


def find_submissions(results: Path) -> list[Path]:
    """Folders of submissions below a results folder, sorted by separator and revision; links are not followed."""
    found = (path.parent for path in results.glob(f"*/*/{HEADER}"))
    return sorted(
        path for path in found if path.parent.name != REPORTED and not path.is_symlink() | path.parent.is_symlink()
    )
