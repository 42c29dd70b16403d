"""The catalogue of tasks: one card per task. A card is never edited, only superseded by a new version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from sam_audio_bench.cards import TaskCard
from sam_audio_bench.errors import unknown_name

__all__ = ["BENCH", "GROUPS", "MUSDB", "TASKS", "Task", "expand"]


Task = TaskCard

BENCH = "facebook/sam-audio-bench"
MUSDB = "facebook/sam-audio-musdb18hq-test"

_KINDS = {
    "sfx": ("others", "a general sound effect", 50, 117),
    "speech": ("speech-clean", "speech from music and noise", 49, 88),
    "speaker": ("spk", "one speaker from another", 50, 136),
    "music": ("music-clean", "music from speech and noise", 50, 116),
    "instr-wild": ("instr", "an instrument in the wild", 50, 284),
}
_VISUAL = {"sfx": (50, 117), "speaker": (50, 185), "instr-wild": (49, 284)}

_ACCESS = "hub, perhaps on request"


def _official(name: str, prompt: str, summary: str, subset: str, **fields: Any) -> Task:
    """Returns the card of a task of SAM Audio-Bench."""
    known = {
        "repository": BENCH,
        "revision": "main",
        "licence": "CC-BY-NC-4.0",
        "access": f"{_ACCESS}, and own recordings",
        "cites": ("shi2025samaudio",),
        "recordings": ("AudioSet", "VGGSound", "MUSIC", "MUSIC-AVQA", "AVSpeech", "CondensedMovies"),
    }
    target = "sam_audio_bench.tasks.load:load_task"
    return Task(id=name, target=target, prompt=prompt, summary=summary, subset=subset, **{**known, **fields})


def _cards() -> Iterable[Task]:
    for kind, (prefix, what, items, full) in _KINDS.items():
        yield _official(kind, "text", f"{what}, by text", f"{prefix}-50:text-only", items=items, full_items=full)
    yield _official(
        "instr-pro",
        "text",
        "an instrument of a studio recording, by text",
        "musdb18hq-test",
        repository=MUSDB,
        licence="MUSDB18-HQ: educational use",
        access=f"{_ACCESS}, and Zenodo 3338373",
        cites=("shi2025samaudio", "rafii2019musdb"),
        recordings=("MUSDB18-HQ",),
    )
    for ending, prompt, how in (("span", "text+span", "text and spans"), ("span-only", "span", "spans")):
        for kind, (prefix, what, items, full) in _KINDS.items():
            subset = f"{prefix}-50:{'text+span' if ending == 'span' else 'span-only'}"
            yield _official(f"{kind}-{ending}", prompt, f"{what}, by {how}", subset, items=items, full_items=full)
    for kind, (items, full) in _VISUAL.items():
        prefix, what, _, _ = _KINDS[kind]
        subset = f"{prefix}-onscreen-50:visual-only"
        yield _official(f"{kind}-visual", "visual", f"{what}, by a masked video", subset, items=items, full_items=full)


TASKS: Mapping[str, Task] = MappingProxyType({task.id: task for task in _cards()})

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "instrument": ("instr-wild", "instr-pro"),
        "text": tuple(name for name, task in TASKS.items() if task.prompt == "text"),
        "span": tuple(name for name, task in TASKS.items() if task.prompt in ("text+span", "span")),
        "visual": tuple(name for name, task in TASKS.items() if task.prompt == "visual"),
        "all": tuple(TASKS),
    }
)


def expand(names: Iterable[str]) -> tuple[str, ...]:
    """Expands names of tasks and groups to tasks, in order and without repeats; raises UsageError if one is unknown.

    >>> expand(["instrument", "sfx", "instr-pro"])
    ('instr-wild', 'instr-pro', 'sfx')
    """
    found: dict[str, None] = {}
    for name in names:
        if name not in TASKS and name not in GROUPS:
            raise unknown_name("task", name, [*TASKS, *GROUPS])
        found.update(dict.fromkeys(GROUPS.get(name, (name,))))
    return tuple(found)
