"""One submission as it lies on disk: ``submission.json``, ``scores.parquet`` and, if it was handed in, the audio.

results/<separator>/<revision>/submission.json
                               scores.parquet          the columns of a run's, ``task`` with version and split
                               audio/<task>/<file>     as in the run folders
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from sam_audio_bench.files import safe_name
from sam_audio_bench.leaderboard import reading
from sam_audio_bench.leaderboard.labels import REPORTED, kind_of, task_label
from sam_audio_bench.records import MetricRecord
from sam_audio_bench.stats.summary import Row, summarise

__all__ = [
    "HEADER",
    "SCORES",
    "Submission",
    "aggregates",
    "answer_file",
    "find_submissions",
    "metric_records",
]

HEADER = "submission.json"
SCORES = "scores.parquet"
_SUFFIXES = (".flac", ".wav")  # of stored answers
_AGGREGATE = ("task", "picked_by", "metric", "value", "ci_low", "ci_high", "n_ok", "n", "capped")


@dataclass(frozen=True)
class Submission:
    """A separator's revision with its scores."""

    path: Path
    header: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Submission:
        """Reads the header; raises StoreError. Nothing is checked: `validate` does."""
        return cls(path, reading.load(path / HEADER))

    @property
    def separator(self) -> str:
        """Its name."""
        return str(self.header["separator"]["name"])

    @property
    def revision(self) -> str:
        """Which of its versions."""
        return str(self.header["separator"]["revision"])

    @property
    def oracle(self) -> bool:
        """Whether it was shown the references."""
        return self.kind == "oracle"

    @property
    def kind(self) -> str:
        """One of "separator", "baseline" and "oracle"."""
        return kind_of(self.separator, bool(self.header["separator"]["oracle"]))

    @cached_property
    def tasks(self) -> dict[str, Mapping[str, Any]]:
        """Task records by label."""
        return {task_label(task): task for task in self.header["tasks"]}

    @cached_property
    def metrics(self) -> dict[str, MetricRecord]:
        """What identifies each of its columns."""
        return metric_records(self.header["metrics"])

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row a score, as in scores.parquet."""
        return reading.scores(self.path / SCORES)


def metric_records(records: Iterable[Mapping[str, Any]]) -> dict[str, MetricRecord]:
    """Records of metrics by id."""
    names = ("id", "version", "unit", "higher_is_better", "parameters", "weights_sha256")
    return {record["id"]: MetricRecord(**{name: record[name] for name in names}) for record in records}


def aggregates(scores: pd.DataFrame, metrics: Mapping[str, MetricRecord]) -> list[dict[str, Any]]:
    """What a submission says in sum: one record a task, picker and metric, sorted, from its rows alone."""
    rows: Sequence[Row] = summarise(scores, metrics)
    found = [{name: getattr(row, name) for name in _AGGREGATE} for row in rows]
    return sorted(found, key=lambda record: (record["task"], record["picked_by"] or "", record["metric"]))


def answer_file(answers: Mapping[str, str], item: str, part: str, picked_by: str | None) -> str | None:
    """Name of the file of an answer to an item; None where nobody claims that there is one.

    Args:
        answers: of the task, by file name.
        item: its id.
        part: "target" or "residual".
        picked_by: who chose the answer; None or "": nobody, so beside a chosen one it is the first candidate.
    """

    def named(stem: str) -> str | None:
        return next((stem + suffix for suffix in _SUFFIXES if stem + suffix in answers), None)

    stem = safe_name(item)
    first = not picked_by and named(f"{stem}.target.0") is not None
    return named(f"{stem}.{part}{'.0' if first else ''}")


def find_submissions(results: Path) -> list[Path]:
    """Folders of submissions below a results folder, sorted by separator and revision; links are not followed."""
    found = (path.parent for path in results.glob(f"*/*/{HEADER}"))
    return sorted(
        path for path in found if path.parent.name != REPORTED and not path.is_symlink() | path.parent.is_symlink()
    )
