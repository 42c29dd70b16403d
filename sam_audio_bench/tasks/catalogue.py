"""One record per task. A record is never edited, only superseded by a new version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sam_audio_bench.errors import unknown_name

__all__ = ["GROUPS", "TASKS", "Task", "expand"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a task asks, of which data, and how its answers are summarised."""

    name: str
    prompt: str  # "text", "text+span", "span" or "visual"
    description: str
    subset: str  # value of `paper_eval_sets`; --subset full drops the "-50"
    items: int | None  # in the official subset; None: known from the data only
    full_items: int | None
    repository: str = "facebook/sam-audio-bench"
    revision: str = "main"  # of the repository
    licence: str = "CC-BY-NC-4.0"
    cites: tuple[str, ...] = ("shi2025samaudio",)  # keys of bibliography.bib
    main_metric: str = "si_sdr_i"
    aggregation: str = "mean over items, interval by resampling groups"
    version: str = "1"

    @property
    def full_subset(self) -> str:
        """Name of the complete set that the paper's 50 items were drawn from."""
        return self.subset.replace("-50:", ":")


_KINDS = {
    "sfx": ("others", "a general sound effect", 50, 117),
    "speech": ("speech-clean", "speech from music and noise", 49, 88),
    "speaker": ("spk", "one speaker from another", 50, 136),
    "music": ("music-clean", "music from speech and noise", 50, 116),
    "instr-wild": ("instr", "an instrument in the wild", 50, 284),
}
_VISUAL = {"sfx": (50, 117), "speaker": (50, 185), "instr-wild": (49, 284)}


def _records() -> Iterable[Task]:
    for kind, (prefix, what, items, full) in _KINDS.items():
        yield Task(
            name=kind,
            prompt="text",
            description=f"{what}, by text",
            subset=f"{prefix}-50:text-only",
            items=items,
            full_items=full,
        )
    yield Task(
        name="instr-pro",
        prompt="text",
        description="an instrument of a studio recording, by text",
        subset="musdb18hq-test",
        items=None,
        full_items=None,
        repository="facebook/sam-audio-musdb18hq-test",
        licence="MUSDB18-HQ: educational use",
        cites=("shi2025samaudio", "rafii2019musdb"),
    )
    for ending, prompt, how in (("span", "text+span", "text and spans"), ("span-only", "span", "spans")):
        for kind, (prefix, what, items, full) in _KINDS.items():
            subset = f"{prefix}-50:{'text+span' if ending == 'span' else 'span-only'}"
            yield Task(
                name=f"{kind}-{ending}",
                prompt=prompt,
                description=f"{what}, by {how}",
                subset=subset,
                items=items,
                full_items=full,
            )
    for kind, (items, full) in _VISUAL.items():
        prefix, what, _, _ = _KINDS[kind]
        yield Task(
            name=f"{kind}-visual",
            prompt="visual",
            description=f"{what}, by a masked video",
            subset=f"{prefix}-onscreen-50:visual-only",
            items=items,
            full_items=full,
        )


TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in _records()})

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
    """Tasks behind names of tasks and groups, in order, each once; an unknown name raises UsageError.

    >>> expand(["instrument", "sfx", "instr-pro"])
    ('instr-wild', 'instr-pro', 'sfx')
    """
    found: dict[str, None] = {}
    for name in names:
        if name not in TASKS and name not in GROUPS:
            raise unknown_name("task", name, [*TASKS, *GROUPS])
        found.update(dict.fromkeys(GROUPS.get(name, (name,))))
    return tuple(found)
