"""The sounds that `sabench distance` compares: answers of runs, and reference sets."""

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
from sam_audio_bench.run.alike import Alike
from sam_audio_bench.run.data import recorded_data
from sam_audio_bench.run.reference_place import OF_ITEMS
from sam_audio_bench.run.remote import find_runs
from sam_audio_bench.run.store import RunFolder, answer_path
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import Audio

__all__ = ["Line", "Sound", "common_items", "lines_of", "reference_sounds"]


class Sound(NamedTuple):
    """A sound that can be embedded."""

    name: str
    group: str
    content: str  # digest
    read: Callable[[], Audio]


@dataclass
class Line:
    """The runs of one separator on one task."""

    task: str
    separator: str
    folders: list[RunFolder] = field(default_factory=list)

    def answers(self) -> dict[str, Sound]:
        """Item -> its answer; raises UsageError for an item twice, Precondition for answers that were not kept."""
        found: dict[str, Sound] = {}
        for folder in self.folders:
            for item, record in folder.items.items():
                if record.failed:
                    continue
                path = answer_path(folder, item)
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

    def absent(self) -> set[str]:
        """Items whose target does not sound, as far as the journal tells."""
        return {
            item
            for folder in self.folders
            for item, record in folder.items.items()
            if record.measured is not None and record.measured.target_share == 0
        }


def lines_of(paths: Sequence[Path | str]) -> tuple[list[Line], Mapping[str, str]]:
    """Runs by task and separator, and labels of the tasks; raises UsageError for runs that differ."""
    known, lines = Alike(), dict[tuple[str, str], Line]()
    folders = [RunFolder.open(path) for path in find_runs(paths)]
    for folder in folders:
        known.add(folder, alone=len(folders) == 1)
        key = folder.header.task.id, folder.header.model.name
        lines.setdefault(key, Line(*key)).folders.append(folder)
    return list(lines.values()), known.labels


def common_items(lines: Sequence[Line], given: Sequence[Mapping[str, Sound]], notes: list[str]) -> list[str]:
    """Items of a task that every separator has answered and whose target sounds, sorted.

    Args:
        lines: of the task.
        given: the answers of each.
        notes: to which is added what is left out, and why.

    Raises:
        UsageError: fewer than two.
    """
    task, every = lines[0].task, set[str]().union(*given)
    absent = every & set[str]().union(*(line.absent() for line in lines))
    if absent:
        notes.append(f"{task}: {pluralize(len(absent), 'item')} left out, whose target does not sound; see leak_db")
    every -= absent
    items = sorted(every.intersection(*given))
    if len(items) < len(every):
        lacking = ", ".join(line.separator for line, own in zip(lines, given, strict=True) if not every <= own.keys())
        left = f"{len(every) - len(items)} of {len(every)} items left out"
        notes.append(f"{task}: {left}, as {lacking} did not answer all")
    if len(items) < 2:
        names = " and ".join(line.separator for line in lines)
        raise UsageError(
            f"expected at least two items of {task} that {names} answered, found {len(items)}; evaluate more, or "
            "name the runs of other tasks alone"
        )
    return items


def reference_sounds(kind: str, reference: str, lines: Sequence[Line], items: Sequence[str]) -> list[Sound]:
    """The sounds of the reference set of a task.

    Args:
        kind: as `reference_kind` says.
        reference: what ``--reference`` said.
        lines: of the task.
        items: that are compared.

    Raises:
        Precondition: missing data, references or sounds. UsageError: other data, or runs of several separators.
    """
    if kind in OF_ITEMS:
        data = recorded_data([folder for line in lines for folder in line.folders])
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
                partial(_part, data, item, kind),
            )
            for item in items
        ]
    if kind == "run":
        return _of_runs(lines[0].task, reference, items)
    folder = Path(reference)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in audio.SUFFIXES and path.is_file())
    if len(paths) < 2:
        raise Precondition(f"expected a run folder, or at least two sound files, in {folder}, found {len(paths)} files")
    names = [f"file:{path.relative_to(folder).as_posix()}" for path in paths]
    return [
        Sound(name, name, combined_digest("file", file_digest(path)), partial(audio.read, path))
        for name, path in zip(names, paths, strict=True)
    ]


def _of_runs(task: str, reference: str, items: Sequence[str]) -> list[Sound]:
    """Answers of one separator to items of a task."""
    lines, _ = lines_of([reference if is_url(reference) else Path(reference)])
    own = [line for line in lines if line.task == task]
    if len(own) != 1:
        others = ", ".join(sorted({line.task for line in lines}))
        found = ", ".join(line.separator for line in own) or f"runs on {others}"
        raise UsageError(f"expected the runs of one separator on {task} in {reference}, found {found}")
    answers = own[0].answers()
    return [answers[item] for item in items if item in answers]


def _part(data: TaskData, item: str, kind: str) -> Audio:
    loaded = data.load(item)
    if kind == "mixtures":
        return audio.round_trip(loaded.query.mixture, copy=False)
    if loaded.reference is None:
        raise UsageError(f"expected a reference of {item}, found none")
    return loaded.reference
