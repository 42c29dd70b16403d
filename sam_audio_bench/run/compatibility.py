"""Checks that runs can share a table: equal names of tasks, metrics, separators, pickers and items mean the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sam_audio_bench.errors import StoreError, UsageError
from sam_audio_bench.identity import Difference, Identity, differences
from sam_audio_bench.records import SCHEMA_VERSION, ItemRecord, MetricRecord, RunRecord, TaskRecord
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.tasks.adapters import find_adapter
from sam_audio_bench.tasks.load import split_label

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CompatibleRuns", "check_has_scores", "check_item_content", "check_unique_scores"]

_KEY = ("task", "item", "separator", "seed", "candidate", "picked_by", "metric")  # of a score
_SHOWN_DIGITS = 8  # of a revision


@dataclass
class CompatibleRuns:
    """The tasks, metrics, separators and pickers of the runs in a table; a run that conflicts with them is refused."""

    metrics: dict[str, MetricRecord] = field(default_factory=dict)
    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    candidates: dict[tuple[str, str, str], int] = field(default_factory=dict)
    _runs: dict[str, RunRecord] = field(default_factory=dict)  # first run of each separator
    _pickers: dict[str, Identity] = field(default_factory=dict)
    _contents: dict[tuple[str, str], tuple[str, Path]] = field(default_factory=dict)  # task, item -> digest, folder

    def add(self, folder: RunFolder, *, alone: bool = False) -> None:
        """Adds a run; raises UsageError if it conflicts with those added before. ``alone``: there are no others."""
        header, task, path = folder.header, folder.header.task, folder.path
        _check_same(task.id, self.tasks.setdefault(task.id, task).differences(task), path)
        for item in () if alone else folder.items.values():
            check_item_content(self._contents, task.id, item, path)
        for record in header.metrics:
            _check_same(record.id, self.metrics.setdefault(record.id, record).differences(record), path)
        first = self._runs.setdefault(header.model.name, header)
        _check_same(header.model.name, _model_differences(first, header), path, "do")
        if header.picker is not None:
            name = header.picker.name
            known = self._pickers.setdefault(name, header.picker)
            _check_same(f"picker {name}", differences(known, header.picker, ("settings", "weights_sha256")), path, "do")
            line = task.id, header.model.name, name
            count = self.candidates.setdefault(line, header.candidates)
            changed = (
                [] if count == header.candidates else [Difference("candidates", str(count), str(header.candidates))]
            )
            _check_same(header.model.name, changed, path, "do")

    @property
    def task_labels(self) -> dict[str, str]:
        """Label of each task, with the revision of official data, which appears nowhere else in a table."""
        return {
            name: f"{task.label}, data {task.data_revision[:_SHOWN_DIGITS]}" if task.split == "test" else task.label
            for name, task in self.tasks.items()
        }

    @property
    def tasks_with_song_median(self) -> frozenset[str]:
        """Tasks for which published tables report the median over songs."""
        layouts = {name: find_adapter(split_label(task.source)[1]) for name, task in self.tasks.items()}
        return frozenset(name for name, layout in layouts.items() if layout is not None and layout[0].median)


def check_has_scores(folder: RunFolder) -> None:
    """Raises StoreError for a run without metrics, or with fewer scores than its journal records."""
    if not folder.metrics:
        raise StoreError(
            f"expected metrics in {folder.path / 'run.json'}, found none, so that there is nothing to show; "
            "`sabench score` adds some"
        )
    if folder.lost:
        raise StoreError(
            f"expected scores of {len(folder.items)} items in {folder.path}, found none or too few of "
            f"{len(folder.lost)}; run the same evaluation again, which computes them from the stored estimates"
        )


def check_item_content(known: dict[tuple[str, str], tuple[str, Path]], task: str, item: ItemRecord, path: Path) -> None:
    """Raises UsageError for an item whose recordings or prompt differ from those in another run.

    Args:
        known: per task and item, the digest of its content and the folder that recorded it; updated in place.
        task: name of the task.
        item: the record in the run folder; records of schema version 1 have no digest and are not checked.
        path: the run folder.
    """
    if item.data_sha256:
        digest, first = known.setdefault((task, item.item), (item.data_sha256, path))
        if digest != item.data_sha256:
            raise UsageError(
                f"expected {item.item} of {task} with the recordings and prompt that it has in {first}, found others "
                f"in {path}; run the evaluation again for both"
            )


def check_unique_scores(frame: pd.DataFrame, folders: Iterable[RunFolder]) -> None:
    """Raises UsageError if two folders have scores of the same item of a separator."""
    lines = Counter((folder.header.task.id, folder.header.model.name) for folder in folders)
    if max(lines.values()) > 1 and frame.duplicated(list(_KEY)).any():
        twice = frame[frame.duplicated(list(_KEY))].iloc[0]
        raise UsageError(
            f"expected each item of {twice['separator']} on {twice['task']} in one run folder, "
            f"found {twice['item']} in two; table them apart"
        )


def _model_differences(first: RunRecord, other: RunRecord) -> list[Difference]:
    """Returns how two models of one name differ; records of schema version 1 have no options and no code."""
    fields = ["target", "settings", "weights_sha256", "revision", "oracle"]
    if SCHEMA_VERSION == first.schema_version == other.schema_version:
        fields += ["version", "options", "code_sha256"]
    return differences(first.model, other.model, fields)


def _check_same(name: str, changes: Iterable[Difference], path: Path, remedy: str = "score") -> None:
    """Raises UsageError for the first difference; ``remedy``: whether to "score" or to "do" the run again."""
    for change in changes:
        raise UsageError(
            f"expected {name} with {change.field} {change.one} as in the other runs, found {change.other} in {path}; "
            f"table them apart, or {remedy} that run again"
        )
