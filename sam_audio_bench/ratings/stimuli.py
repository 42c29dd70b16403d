"""The sounds of a listening test: selection of items from runs, and loudness-matched audio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.errors import MediaError, UsageError
from sam_audio_bench.ratings.controls import low_anchor
from sam_audio_bench.ratings.loudness import matching_gains
from sam_audio_bench.run.recorded_data import load_recorded_data
from sam_audio_bench.run.remote import find_runs
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import Item, Prompt

__all__ = [
    "ANCHOR",
    "REFERENCE",
    "RatedItem",
    "Sound",
    "TaskRuns",
    "choose_items",
    "loudness_matched_sounds",
    "open_task_runs",
]

REFERENCE = "reference"
ANCHOR = "anchor"
_DOMAINS = {"sfx": "sound", "speech": "speech", "speaker": "speech", "music": "music", "instr": "music"}


class Sound(NamedTuple):
    """Samples [channels, time] and their rate in Hz."""

    samples: NDArray[np.float64]
    rate: int


@dataclass(frozen=True, kw_only=True)
class TaskRuns:
    """One task and every run on it."""

    data: TaskData
    folders: Mapping[str, RunFolder]  # by system

    @property
    def domain(self) -> str:
        """Speech, music or sound, as in SAM Audio Judge; for user data the name of the task."""
        return _DOMAINS.get(self.data.task.partition("-")[0], self.data.task)


@dataclass(frozen=True, kw_only=True)
class RatedItem:
    """An item of a listening test."""

    source: TaskRuns
    id: str
    prompt: Prompt
    length: int  # samples of its mixture
    rate: int  # Hz
    has_reference: bool  # whether a clean recording exists

    @property
    def group(self) -> str:
        """Recording that it was cut from."""
        return self.source.data.groups[self.id]

    @property
    def task(self) -> str:
        """Name of its task."""
        return self.source.data.task

    @property
    def seconds(self) -> float:
        """Duration of its mixture."""
        return self.length / self.rate


def open_task_runs(paths: Iterable[Path | str]) -> list[TaskRuns]:
    """Opens runs, and loads their tasks.

    Args:
        paths: run folders, or folders that hold them.

    Raises:
        Precondition: there is no run, or the task's data are missing.
        UsageError: a system has two runs on one task or none on another, or data differ from those of a run.
    """
    tasks: dict[str, dict[str, RunFolder]] = {}
    for folder in map(RunFolder.open, find_runs(paths)):
        systems = tasks.setdefault(folder.header.task.id, {})
        name = folder.header.model.name
        if name in (REFERENCE, ANCHOR):
            raise UsageError(
                f"expected a system that is not called {name}, which the test adds itself, found {folder.path}"
            )
        if name in systems:
            raise UsageError(
                f"expected each system once, found {name} in {systems[name].path} and {folder.path}; name one"
            )
        systems[name] = folder
    everyone = sorted({name for systems in tasks.values() for name in systems})
    sources = []
    for task, systems in tasks.items():
        if missing := [name for name in everyone if name not in systems]:
            raise UsageError(f"expected every system on every task, found no run of {', '.join(missing)} on {task}")
        sources.append(
            TaskRuns(data=load_recorded_data([*systems.values()]), folders={name: systems[name] for name in everyone})
        )
    return sources


def choose_items(sources: Iterable[TaskRuns], limit: int | None, seed: int) -> tuple[list[RatedItem], dict[str, int]]:
    """Chooses items with estimates of every system that can be rated, balanced over tasks, then over recordings.

    Args:
        sources: from `open_task_runs`.
        limit: number of items; None: all that can be rated.
        seed: of the random choice.

    Returns:
        The items, and the number left out by reason.

    Raises:
        UsageError: a limit below 1, one name for items of two tasks, or no item that can be rated.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"expected --items to be at least 1, found {limit}")
    left_out: Counter[str] = Counter()
    queues = [
        _select_rateable(source, np.random.default_rng([seed, place]), left_out) for place, source in enumerate(sources)
    ]
    chosen: list[RatedItem] = []
    while queues and (limit is None or len(chosen) < limit):
        queue = queues.pop(0)
        if found := next(queue, None):
            chosen.append(found)
            queues.append(queue)
    if not chosen:
        reasons = "; ".join(f"{count} {reason}" for reason, count in left_out.items()) or "none was separated"
        raise UsageError(f"expected items that every system separated and that can be rated, found none: {reasons}")
    if twice := [name for name, count in Counter(item.id for item in chosen).items() if count > 1]:
        raise UsageError(f"expected a name for one item only, found {twice[0]} in two tasks; plan a test for each task")
    return chosen, dict(left_out)


def _select_rateable(source: TaskRuns, generator: np.random.Generator, left_out: Counter[str]) -> Iterator[RatedItem]:
    """Yields items of one task that can be rated, in random order, from new recordings first."""
    data = source.data
    records = [folder.items for folder in source.folders.values()]
    attempted = [name for name in data.ids if any(name in items for items in records)]
    seen: Counter[str] = Counter()
    rounds: list[tuple[int, int, str]] = []
    for place in generator.permutation(len(attempted)):
        group = data.groups[attempted[place]]
        rounds.append((seen[group], len(rounds), attempted[place]))
        seen[group] += 1
    for _, _, name in sorted(rounds):
        if any(name not in items or items[name].failed for items in records):
            left_out["without an estimate of every system"] += 1
            continue
        try:
            item = data[name]
        except MediaError:
            left_out["whose media are missing"] += 1
            continue
        if reason := _reason_unrateable(item):
            left_out[reason] += 1
            continue
        mixture = item.query.mixture
        yield RatedItem(
            source=source,
            id=name,
            prompt=item.query.prompt,
            length=mixture.length,
            rate=mixture.rate,
            has_reference=item.reference is not None,
        )


def _reason_unrateable(item: Item) -> str | None:
    """Returns why estimates of an item cannot be rated, or None."""
    if item.reference is not None and not item.reference.samples.any():
        return "whose target is absent, so that there is nothing to rate"
    if not (item.query.prompt.text or item.query.prompt.spans):
        return "prompted by video alone, which the test cannot show"
    return None


def loudness_matched_sounds(item: RatedItem, target: float, *, anchor: bool) -> dict[str, Sound]:
    """Returns the loudness-matched mixture of an item under "", and its estimates by system.

    The clean recording, if there is one, is under `REFERENCE`, the low anchor, if requested, under `ANCHOR`.

    Args:
        item: from `choose_items`.
        target: LUFS.
        anchor: whether to add the low anchor.

    Raises:
        MediaError: the audio of an estimate is missing or damaged.
    """
    from sam_audio_bench import audio

    loaded = item.source.data[item.id]
    rate = loaded.query.mixture.rate
    mixture = loaded.query.mixture.samples.double().numpy()
    sounds = {}
    for system, folder in item.source.folders.items():
        estimate = audio.resample(audio.read(folder.audio_path(item.id, "target")), rate)
        sounds[system] = estimate.samples.double().numpy()
    if loaded.reference is not None:
        sounds[REFERENCE] = loaded.reference.samples.double().numpy()
    if anchor:
        sounds[ANCHOR] = low_anchor(mixture, rate)
    gains = matching_gains(mixture, sounds, rate, target)
    return {name: Sound(samples * gains[name], rate) for name, samples in {"": mixture, **sounds}.items()}
