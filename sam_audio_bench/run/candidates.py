"""Several candidates an item, and the one that a picker chooses: which separators have them, how they are asked for.

Oracles, answers that exist already and separators with ``deterministic = True`` have one answer an item. A
`CandidateSeparator` makes all candidates in one call; any other separator is called once a candidate, each time with
other seeds. The first candidate is the answer that the separator gives alone: the k = 1 of every table.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sam_audio_bench import audio, registry
from sam_audio_bench.errors import BadSeparation, Precondition, UsageError
from sam_audio_bench.run.answers import ask, checked
from sam_audio_bench.run.provenance import item_seed
from sam_audio_bench.separators.pickers import AUTO, PICKERS, default_picker
from sam_audio_bench.separators.rerank import Picker, best
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import AnySeparator, CandidateSeparator, Item, NamedSeparator, OracleSeparator, Separation

__all__ = ["Answer", "Pickers", "Reranking", "answer", "check_candidates"]

Candidates = list[Separation | Exception]


@dataclass(frozen=True, kw_only=True)
class Reranking:
    """Best of ``candidates`` by ``picker``; ``keep``: the audio of all of them stays."""

    candidates: int
    picker: Picker
    keep: bool = False

    def asks(self, item: Item) -> bool:
        """Whether there is something to pick by; an item without it is answered once."""
        return self.picker.asks(item.query.prompt)

    def describe(self) -> dict[str, Any]:
        """What identifies the picker, for fingerprints and run.json."""
        return {
            "name": self.picker.name,
            "settings": dict(self.picker.settings),
            "weights_sha256": dict(self.picker.weights_sha256),
        }


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one item is answered with, in the samples that the disk will give back.

    Without a ``picker`` there is one candidate. A broken candidate is the error that took its place: it has the score
    NaN and is never picked, and candidate 0 is never broken.
    """

    candidates: tuple[Separation | Exception, ...]
    picker: str | None = None
    scores: tuple[float, ...] = ()

    @property
    def picked(self) -> int:
        """Index of the answer that counts."""
        return best(self.scores) if self.picker else 0

    def separation(self, index: int) -> Separation:
        """The candidate ``index``, which must not be broken."""
        found = self.candidates[index]
        assert isinstance(found, Separation), found
        return found

    @property
    def sound(self) -> list[int]:
        """Indices of the candidates that are not broken."""
        return [index for index, found in enumerate(self.candidates) if isinstance(found, Separation)]

    @property
    def scored(self) -> list[Separation]:
        """What metrics score: candidate 0, and then the picked one where somebody picked."""
        return [self.separation(0), *([self.separation(self.picked)] if self.picker else [])]

    @property
    def seconds(self) -> float:
        """Time that all candidates took together."""
        return math.fsum(self.separation(index).seconds for index in self.sound)


def check_candidates(candidates: int, picker: str, keep: bool) -> None:
    """Raises UsageError for options that cannot be meant."""
    if candidates < 1:
        raise UsageError(f"expected --candidates to be at least 1, found {candidates}")
    if picker not in (AUTO, *PICKERS):
        raise UsageError(f"expected --picker to be one of {', '.join((AUTO, *PICKERS))}, found {picker!r}")
    if keep and candidates == 1:
        raise UsageError("expected --candidates above 1 with --keep-candidates, found 1")


@dataclass(kw_only=True)
class Pickers:
    """The pickers of a run, each loaded once, and why some jobs do without; ``notes`` is for the plan.

    Args:
        candidates: K.
        name: a name of `PICKERS`, or `AUTO`.
        arguments: options of the picker's constructor; for `AUTO`, of those constructors that name them.
        device: for constructors that name it, unless it is among the arguments; "auto" is left to them.
        keep: store the audio of all candidates.

    Raises:
        UsageError: an argument that no picker in question names.
    """

    candidates: int
    name: str
    arguments: Mapping[str, Any]
    device: str = "auto"
    keep: bool = False
    notes: dict[str, None] = field(default_factory=dict)
    _loaded: dict[str, Picker] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name == AUTO and self.arguments:
            known = set().union(*map(registry.picker_options, PICKERS))
            if unknown := sorted(set(self.arguments) - known):
                raise UsageError(f"expected picker arguments among {', '.join(sorted(known))}, found {unknown}")

    def reranking(self, separator: AnySeparator, data: TaskData) -> Reranking | None:
        """How a separator's answers to a task are picked; None: one answer an item.

        Raises:
            Precondition: weights or packages of the picker are missing.
        """
        if self.candidates == 1:
            return None
        if reason := _single(separator):
            self.notes[f"{separator.name} {reason}: k = 1 only"] = None
            return None
        name = default_picker(data.provides) if self.name == AUTO else self.name
        lacking = sorted(PICKERS[name].needs - data.provides) if name else ["text, spans or video"]
        if name is None or lacking:
            self.notes[f"picker {name or AUTO} has no {' and no '.join(lacking)} on {data.task}: k = 1 only"] = None
            return None
        picker = self._load(name)
        if reason := picker.missing():
            raise Precondition(
                f"expected picker {name} to work on {data.task}, found an obstacle: {reason}; "
                "or choose another --picker"
            )
        self.notes[f"best of {self.candidates} by {picker.name} on {data.task} for {separator.name}"] = None
        return Reranking(candidates=self.candidates, picker=picker, keep=self.keep)

    def _load(self, name: str) -> Picker:
        if name not in self._loaded:
            options = registry.picker_options(name)
            place = {"device": self.device} if "device" in options and self.device != "auto" else {}
            own = {key: value for key, value in self.arguments.items() if self.name != AUTO or key in options}
            self._loaded[name] = registry.load_picker(name, {**place, **own})
        return self._loaded[name]


def _single(separator: AnySeparator) -> str | None:
    """Why a separator has one answer an item; None: it has as many as are asked for."""
    if isinstance(separator, OracleSeparator):
        return "is shown the references"
    if isinstance(separator, NamedSeparator):
        return "has answers that exist already"
    return "is deterministic" if getattr(separator, "deterministic", False) else None


def answer(
    separator: AnySeparator,
    items: Sequence[Item],
    reranking: Reranking | None,
    *,
    task: str,
    seed: int,
    align: str | None,
    stereo: str,
) -> list[Answer | Exception]:
    """One answer an item, picked where ``reranking`` asks, or the error that took its place.

    A bad item costs its own answer only; a bad candidate, but for the first, only itself.

    Args:
        separator: of any of the protocols; with ``reranking``, one that is given seeds.
        items: the batch.
        reranking: None: one candidate an item.
        task: label of the task, part of each seed.
        seed: of the run.
        align: see `sam_audio_bench.run.check.check`.
        stereo: see there.

    Raises:
        Precondition: the separator or the picker cannot work at all.
    """
    policies: dict[str, Any] = {"task": task, "seed": seed, "align": align, "stereo": stereo}
    picked_from = [item for item in items if reranking is not None and reranking.asks(item)]
    many = {item.id for item in picked_from}
    alone = [item for item in items if item.id not in many]
    found: dict[str, Answer | Exception] = {}
    for item, single in zip(alone, ask(separator, alone, **policies) if alone else [], strict=True):
        found[item.id] = single if isinstance(single, Exception) else Answer(candidates=(_as_stored(single),))
    if reranking is not None and picked_from:
        count = reranking.candidates
        if isinstance(separator, CandidateSeparator):
            asked = _at_once(separator, picked_from, count, **policies)
        else:
            asked = _in_turn(separator, picked_from, count, **policies)
        for item, candidates in zip(picked_from, asked, strict=True):
            found[item.id] = _picked(item, candidates, reranking.picker)
    return [found[item.id] for item in items]


def _in_turn(separator: AnySeparator, items: Sequence[Item], count: int, **policies: Any) -> list[Candidates]:
    """Candidates ``[item][candidate]`` of a separator that gives one at a time."""
    rounds = [ask(separator, items, **policies, candidate=candidate) for candidate in range(count)]
    return [list(column) for column in zip(*rounds, strict=True)]


def _at_once(
    separator: CandidateSeparator,
    items: Sequence[Item],
    count: int,
    *,
    task: str,
    seed: int,
    align: str | None,
    stereo: str,
) -> list[Candidates]:
    """Candidates ``[item][candidate]`` of a separator that gives all of an item together."""
    seeds = [[item_seed(task, item.id, seed, candidate) for candidate in range(count)] for item in items]
    begun = time.perf_counter()
    try:
        answers = separator.separate_candidates([item.query for item in items], seeds)
        if [len(candidates) for candidates in answers] != [count] * len(items):
            found = [len(candidates) for candidates in answers]
            raise BadSeparation(f"expected {count} candidate(s) for each of {len(items)} item(s), found {found}")
    except Precondition:
        raise
    except Exception as error:
        if len(items) == 1:
            return [[error]]
        parts = [_at_once(separator, [item], count, task=task, seed=seed, align=align, stereo=stereo) for item in items]
        return [candidates for part in parts for candidates in part]
    share = (time.perf_counter() - begun) / (len(items) * count)
    return [
        [_timed(checked(candidate, item, share, align, stereo), share) for candidate in candidates]
        for candidates, item in zip(answers, items, strict=True)
    ]


def _timed(candidate: Separation | BadSeparation, seconds: float) -> Separation | BadSeparation:
    """The candidate with its share of the time: what it says itself may stand for all that were made together."""
    return replace(candidate, seconds=seconds) if isinstance(candidate, Separation) else candidate


def _picked(item: Item, candidates: Candidates, picker: Picker) -> Answer | Exception:
    """The answer with the picker's scores; an error of the first candidate, or of the picker, is the item's."""
    if isinstance(candidates[0], Exception):
        return candidates[0]
    stored = tuple(_as_stored(found) if isinstance(found, Separation) else found for found in candidates)
    sound = {index: found for index, found in enumerate(stored) if isinstance(found, Separation)}
    try:
        marks = picker.scores(item.query, list(sound.values()))
        scores = dict(zip(sound, marks, strict=True))
    except Precondition:
        raise
    except Exception as error:
        return BadSeparation(f"picker {picker.name} failed: {type(error).__name__}: {error}")
    everyone = tuple(scores.get(index, math.nan) for index in range(len(stored)))
    return Answer(candidates=stored, picker=picker.name, scores=everyone)


def _as_stored(found: Separation) -> Separation:
    """The answer with the samples that the disk will give back, so that scoring again gives the same bits."""
    return replace(found, target=audio.as_stored(found.target), residual=audio.as_stored(found.residual))
