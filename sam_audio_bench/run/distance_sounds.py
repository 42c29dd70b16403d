"""The sounds that `sabench distance` compares: estimates of runs, and reference sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sam_audio_bench import audio
from sam_audio_bench.digests import combined_digest, file_digest
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.files import is_url
from sam_audio_bench.render.text import pluralize
from sam_audio_bench.run.compatibility import CompatibleRuns
from sam_audio_bench.run.distance_reference import ITEM_REFERENCES
from sam_audio_bench.run.recorded_data import load_recorded_data
from sam_audio_bench.run.remote import find_runs
from sam_audio_bench.run.store import RunFolder, estimate_path
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import Audio

__all__ = ["SeparatorRuns", "Sound", "find_common_items", "group_runs", "list_reference_sounds"]


class Sound(NamedTuple):
    """A sound to be embedded."""

    name: str
    group: str
    content: str  # digest of its content
    read: Callable[[], Audio]


@dataclass
class SeparatorRuns:
    """The runs of one separator on one task."""

    task: str
    separator: str
    folders: list[RunFolder] = field(default_factory=list)

    def estimates(self) -> dict[str, Sound]:
        """Returns the estimate of each item.

        Raises:
            UsageError: an item is in two run folders. Precondition: audio is missing.
        """
        found: dict[str, Sound] = {}
        for folder in self.folders:
            for item, record in folder.items.items():
                if record.failed:
                    continue
                path = estimate_path(folder, item)
                if path is None:
                    raise Precondition(
                        f"expected the audio of {item} in {folder.path}, found none; run the evaluation again"
                    )
                if item in found:
                    raise UsageError(
                        f"expected each item of {self.separator} on {self.task} in one run folder, found {item} in two"
                    )
                found[item] = Sound(
                    item, record.group, combined_digest("file", file_digest(path)), partial(audio.read, path)
                )
        return found

    def absent_items(self) -> set[str]:
        """Returns the items whose target is silent, according to the journal."""
        return {
            item
            for folder in self.folders
            for item, record in folder.items.items()
            if record.measured is not None and record.measured.target_share == 0
        }


def group_runs(paths: Sequence[Path | str]) -> tuple[list[SeparatorRuns], Mapping[str, str]]:
    """Groups runs by task and separator; also returns the labels of the tasks.

    Raises:
        UsageError: the runs cannot share a table.
    """
    known, lines = CompatibleRuns(), dict[tuple[str, str], SeparatorRuns]()
    folders = [RunFolder.open(path) for path in find_runs(paths)]
    for folder in folders:
        known.add(folder, alone=len(folders) == 1)
        key = folder.header.task.id, folder.header.model.name
        lines.setdefault(key, SeparatorRuns(*key)).folders.append(folder)
    return list(lines.values()), known.task_labels


def find_common_items(
    lines: Sequence[SeparatorRuns], given: Sequence[Mapping[str, Sound]], notes: list[str]
) -> list[str]:
    """Returns the items of a task that every separator has an estimate of and whose target is not silent, sorted.

    Args:
        lines: the separators on the task.
        given: the estimates of each.
        notes: receives a note on the items that are left out.

    Raises:
        UsageError: there are fewer than two.
    """
    task, every = lines[0].task, set[str]().union(*given)
    absent = every & set[str]().union(*(line.absent_items() for line in lines))
    if absent:
        notes.append(f"{task}: {pluralize(len(absent), 'item')} left out, whose target is silent; see leak_db")
    every -= absent
    items = sorted(every.intersection(*given))
    if len(items) < len(every):
        incomplete = ", ".join(
            line.separator for line, own in zip(lines, given, strict=True) if not every <= own.keys()
        )
        left = f"{len(every) - len(items)} of {len(every)} items left out"
        notes.append(f"{task}: {left}, as {incomplete} did not separate all")
    if len(items) < 2:
        names = " and ".join(line.separator for line in lines)
        raise UsageError(
            f"expected at least two items of {task} that {names} separated, found {len(items)}; evaluate more, or "
            "name the runs of other tasks alone"
        )
    return items


def list_reference_sounds(
    kind: str, reference: str, lines: Sequence[SeparatorRuns], items: Sequence[str]
) -> list[Sound]:
    """Returns the sounds of the reference set of a task.

    Args:
        kind: result of `reference_kind`.
        reference: value of ``--reference``.
        lines: the separators on the task.
        items: ids of the items that are compared.

    Raises:
        Precondition: data, references or sounds are missing. UsageError: the data have changed, or the reference runs
            are of several separators.
    """
    if kind in ITEM_REFERENCES:
        data = load_recorded_data([folder for line in lines for folder in line.folders])
        if kind == "references" and "reference" not in data.provides:
            raise Precondition(
                f"expected clean references in {data.label}, found none; write --reference mixtures, a folder of "
                "sounds, or a run"
            )
        return [
            Sound(
                item,
                data.groups[item],
                combined_digest(kind, data.content_sha256(item)),
                partial(_load_part, data, item, kind),
            )
            for item in items
        ]
    if kind == "run":
        return _list_estimates(lines[0].task, reference, items)
    folder = Path(reference)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in audio.SUFFIXES and path.is_file())
    if len(paths) < 2:
        raise Precondition(f"expected a run folder, or at least two sound files, in {folder}, found {len(paths)} files")
    names = [f"file:{path.relative_to(folder).as_posix()}" for path in paths]
    return [
        Sound(name, name, combined_digest("file", file_digest(path)), partial(audio.read, path))
        for name, path in zip(names, paths, strict=True)
    ]


def _list_estimates(task: str, reference: str, items: Sequence[str]) -> list[Sound]:
    """Returns the estimates of one separator for items of a task."""
    lines, _ = group_runs([reference if is_url(reference) else Path(reference)])
    own = [line for line in lines if line.task == task]
    if len(own) != 1:
        others = ", ".join(sorted({line.task for line in lines}))
        found = ", ".join(line.separator for line in own) or f"runs on {others}"
        raise UsageError(f"expected the runs of one separator on {task} in {reference}, found {found}")
    estimates = own[0].estimates()
    return [estimates[item] for item in items if item in estimates]


def _load_part(data: TaskData, item: str, kind: str) -> Audio:
    loaded = data.load(item)
    if kind == "mixtures":
        return audio.round_trip(loaded.query.mixture, copy=False)
    if loaded.reference is None:
        raise UsageError(f"expected a reference of {item}, found none")
    return loaded.reference
