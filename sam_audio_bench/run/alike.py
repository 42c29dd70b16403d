"""Which runs can stand in one table: they mean the same by the name of a task, metric, separator, picker or item."""

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

__all__ = ["Alike", "check_content", "check_once", "check_scores"]

_KEY = ("task", "item", "separator", "seed", "candidate", "picked_by", "metric")  # of a score
_SHOWN_DIGITS = 8  # of a revision


@dataclass
class Alike:
    """What the runs of a table are of; a run of something else under the same name is refused."""

    metrics: dict[str, MetricRecord] = field(default_factory=dict)
    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    candidates: dict[tuple[str, str, str], int] = field(default_factory=dict)
    _runs: dict[str, RunRecord] = field(default_factory=dict)  # first run of each separator
    _pickers: dict[str, Identity] = field(default_factory=dict)
    _contents: dict[tuple[str, str], tuple[str, Path]] = field(default_factory=dict)  # task, item -> digest, folder

    def add(self, folder: RunFolder, *, alone: bool = False) -> None:
        """Raises UsageError for a run that cannot stand beside the others; ``alone``: there are no others."""
        header, task, path = folder.header, folder.header.task, folder.path
        _same(task.id, self.tasks.setdefault(task.id, task).differences(task), path)
        for item in () if alone else folder.items.values():
            check_content(self._contents, task.id, item, path)
        for record in header.metrics:
            _same(record.id, self.metrics.setdefault(record.id, record).differences(record), path)
        first = self._runs.setdefault(header.model.name, header)
        _same(header.model.name, _model_differences(first, header), path, "do")
        if header.picker is not None:
            name = header.picker.name
            known = self._pickers.setdefault(name, header.picker)
            _same(f"picker {name}", differences(known, header.picker, ("settings", "weights_sha256")), path, "do")
            line = task.id, header.model.name, name
            count = self.candidates.setdefault(line, header.candidates)
            changed = (
                [] if count == header.candidates else [Difference("candidates", str(count), str(header.candidates))]
            )
            _same(header.model.name, changed, path, "do")

    @property
    def labels(self) -> dict[str, str]:
        """Task -> its label, and the revision of official data, which nothing else on a table tells."""
        return {
            name: f"{task.label}, data {task.data_revision[:_SHOWN_DIGITS]}" if task.split == "test" else task.label
            for name, task in self.tasks.items()
        }

    @property
    def songs(self) -> frozenset[str]:
        """Tasks of which published tables give the median over songs."""
        layouts = {name: find_adapter(split_label(task.source)[1]) for name, task in self.tasks.items()}
        return frozenset(name for name, layout in layouts.items() if layout is not None and layout[0].median)


def check_scores(folder: RunFolder) -> None:
    """Refuses a run without metrics, and one whose journal promises scores that are not there."""
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


def check_content(known: dict[tuple[str, str], tuple[str, Path]], task: str, item: ItemRecord, path: Path) -> None:
    """Refuses an item that another run has separated from other recordings, or asked by another prompt.

    Args:
        known: for each task and item a digest of what it is made of, and the folder that said so; is added to.
        task: its name.
        item: as a folder tells of it; one of schema version 1 tells nothing.
        path: of that folder.
    """
    if item.data_sha256:
        digest, first = known.setdefault((task, item.item), (item.data_sha256, path))
        if digest != item.data_sha256:
            raise UsageError(
                f"expected {item.item} of {task} with the recordings and prompt that it has in {first}, found others "
                f"in {path}; run the evaluation again for both"
            )


def check_once(frame: pd.DataFrame, folders: Iterable[RunFolder]) -> None:
    """Refuses scores of one item of a separator from two folders."""
    lines = Counter((folder.header.task.id, folder.header.model.name) for folder in folders)
    if max(lines.values()) > 1 and frame.duplicated(list(_KEY)).any():
        twice = frame[frame.duplicated(list(_KEY))].iloc[0]
        raise UsageError(
            f"expected each item of {twice['separator']} on {twice['task']} in one run folder, "
            f"found {twice['item']} in two; table them apart"
        )


def _model_differences(first: RunRecord, other: RunRecord) -> list[Difference]:
    """In what two runs of one name differ; a record of schema version 1 knows no options and no code."""
    fields = ["target", "settings", "weights_sha256", "revision", "oracle"]
    if SCHEMA_VERSION == first.schema_version == other.schema_version:
        fields += ["version", "options", "code_sha256"]
    return differences(first.model, other.model, fields)


def _same(name: str, changes: Iterable[Difference], path: Path, remedy: str = "score") -> None:
    """Refuses to mix runs that differ; ``remedy`` is what would make them alike: to "score" or to "do" one again."""
    for change in changes:
        raise UsageError(
            f"expected {name} with {change.field} {change.one} as in the other runs, found {change.other} in {path}; "
            f"table them apart, or {remedy} that run again"
        )
