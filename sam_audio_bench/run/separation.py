"""Separating items: seeds, the three protocols, batches that fail, the check of every estimate, and candidates.

A separator gets its own copy of every sound, so that one that changes it in place changes nothing else, and is called
in `isolation`. Whatever it raises, SystemExit included, costs an item, but for an interruption. Oracles,
estimates that exist already and separators with ``deterministic = True`` have one estimate per item. A
`CandidateSeparator` makes all candidates in one call; any other separator is called once per candidate, each time with
other seeds. The first candidate is the estimate that the separator gives alone: the k = 1 of every table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sam_audio_bench import audio, registry
from sam_audio_bench.devices import seconds_now
from sam_audio_bench.errors import BadSeparation, Precondition, UsageError, describe_error
from sam_audio_bench.identity import Identity, Options
from sam_audio_bench.options import parse_spelling
from sam_audio_bench.registry import Built
from sam_audio_bench.run.batching import is_out_of_memory
from sam_audio_bench.run.check import check
from sam_audio_bench.run.copies import own_item, own_query
from sam_audio_bench.run.isolation import Isolation
from sam_audio_bench.run.provenance import item_seed
from sam_audio_bench.run.stages import stage
from sam_audio_bench.run.tracing import traced
from sam_audio_bench.separators.pickers import AUTO, PICKERS, default_picker
from sam_audio_bench.separators.rerank import Picker, best_candidate
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import (
    AnySeparator,
    CandidateSeparator,
    Item,
    NamedSeparator,
    OracleSeparator,
    Separation,
)

__all__ = ["CandidateSet", "PickerPool", "Reranking", "separate_batch", "separate_items"]

Candidates = list[Separation | BaseException]


_BARE = Isolation()


@dataclass(frozen=True, kw_only=True)
class Reranking:
    """Best of ``candidates`` by ``picker``; ``keep``: the audio of all of them stays."""

    candidates: int
    picker: Picker
    identity: Identity
    keep: bool = False

    def asks(self, item: Item) -> bool:
        """Whether there is something to pick by; an item without it is answered once."""
        return self.picker.applies_to(item.query.prompt)


@dataclass(frozen=True, kw_only=True)
class CandidateSet:
    """The estimates of one item, in the samples that the disk will give back.

    Without a ``picker`` there is one candidate. A broken candidate is the error that took its place: it has the score
    NaN and is never picked, and candidate 0 is never broken.
    """

    candidates: tuple[Separation | BaseException, ...]
    picker: str | None = None
    scores: tuple[float, ...] = ()

    @property
    def picked(self) -> int:
        """Index of the answer that counts."""
        return best_candidate(self.scores) if self.picker else 0

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


@dataclass(kw_only=True)
class PickerPool:
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
    arguments: Options
    device: str = "auto"
    keep: bool = False
    notes: dict[str, None] = field(default_factory=dict)
    _loaded: dict[str, Built] = field(default_factory=dict)

    def __post_init__(self) -> None:
        spelt = parse_spelling(self.name)
        self.name, self.arguments = spelt.name, {**spelt.options, **self.arguments}
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
        picker, identity, _ = self._load(name)
        if reason := picker.missing():
            raise Precondition(
                f"expected picker {name} to work on {data.task}, found an obstacle: {reason}; "
                "or choose another --picker"
            )
        self.notes[f"best of {self.candidates} by {picker.name} on {data.task} for {separator.name}"] = None
        return Reranking(candidates=self.candidates, picker=picker, identity=identity, keep=self.keep)

    def _load(self, name: str) -> Built:
        if name not in self._loaded:
            options = registry.picker_options(name)
            place = {"device": self.device} if "device" in options and self.device != "auto" else {}
            own = {key: value for key, value in self.arguments.items() if self.name != AUTO or key in options}
            self._loaded[name] = registry.build("picker", name, {**place, **own})
        return self._loaded[name]


def _single(separator: AnySeparator) -> str | None:
    """Why a separator has one answer an item; None: it has as many as are asked for."""
    if isinstance(separator, OracleSeparator):
        return "is shown the references"
    if isinstance(separator, NamedSeparator):
        return "has answers that exist already"
    return "is deterministic" if getattr(separator, "deterministic", False) else None


def separate_batch(
    separator: AnySeparator,
    items: Sequence[Item],
    *,
    task: str,
    seed: int,
    align: str | None,
    stereo: str,
    isolation: Isolation = _BARE,
    candidate: int = 0,
) -> Candidates:
    """One checked answer an item, or the error that took its place; a bad item costs its own answer only.

    Args:
        separator: of any of the three protocols.
        items: the batch.
        task: label of the task, part of each item's seed.
        seed: of the run.
        align: see `check`.
        stereo: see `check`.
        isolation: in which the separator is called.
        candidate: which of several answers to the same item; part of its seed.

    Raises:
        Precondition: the separator cannot work at all. Whatever says that memory is used up, of more than one item.
    """
    policies: dict[str, Any] = {"task": task, "seed": seed, "align": align, "stereo": stereo, "isolation": isolation}
    try:
        with traced():
            begun = seconds_now()
            seeds = [item_seed(task, item.id, seed, candidate) for item in items]
            answers = _estimates(separator, items, seeds, isolation)
            share = (seconds_now() - begun) / max(len(items), 1)
    except (Precondition, KeyboardInterrupt):
        raise
    except BaseException as error:
        if len(items) == 1:
            return [error]
        if is_out_of_memory(error):
            raise
        alone = (separate_batch(separator, [item], **policies, candidate=candidate) for item in items)
        return [answer for answers in alone for answer in answers]
    return [_checked(answer, item, share, align, stereo) for answer, item in zip(answers, items, strict=True)]


def _estimates(
    separator: AnySeparator, items: Sequence[Item], seeds: Sequence[int], isolation: Isolation
) -> list[Separation]:
    queries = [own_query(item.query) for item in items]
    with stage("separate"), isolation.entered(", ".join(item.id for item in items), seeds[0]):
        if isinstance(separator, OracleSeparator):
            answers = separator.separate_oracle(list(map(own_item, items)), seeds)
        elif isinstance(separator, NamedSeparator):
            answers = separator.separate_named([item.id for item in items], queries)
        else:
            answers = separator.separate(queries, seeds)
        answers = _listed(answers)
    if len(answers) != len(items):
        raise BadSeparation(f"expected {len(items)} answer(s) from {separator.name}, found {len(answers)}")
    return answers


def _listed(answers: Any) -> list[Any]:
    """The answers of a separator, which may make them one by one."""
    if isinstance(answers, Separation) or not isinstance(answers, Iterable):
        raise BadSeparation(f"expected a list of Separations, one for each query, found {type(answers).__name__}")
    return list(answers)


def _checked(
    answer: Separation, item: Item, seconds: float, align: str | None, stereo: str
) -> Separation | BadSeparation:
    """The answer as `check` gives it back, or its error; ``seconds`` where the separator did not measure its own."""
    try:
        with stage("check"):
            answer = check(answer, item.query, align=align, stereo=stereo)
    except BadSeparation as error:
        return error
    except Exception as error:  # of a tensor or class that cannot do what others can
        return BadSeparation(
            f"expected a Separation of dense float tensors, found one that raised {describe_error(error)}"
        )
    return replace(answer, seconds=answer.seconds or seconds)


def separate_items(
    separator: AnySeparator,
    items: Sequence[Item],
    reranking: Reranking | None,
    *,
    task: str,
    seed: int,
    align: str | None,
    stereo: str,
    isolation: Isolation = _BARE,
) -> list[CandidateSet | BaseException]:
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
        isolation: in which the separator and the picker are called.

    Raises:
        Precondition: the separator or the picker cannot work at all. Whatever says that memory is used up, of more than
            one item; see `sam_audio_bench.run.batching.Batching`.
    """
    policies: dict[str, Any] = {"task": task, "seed": seed, "align": align, "stereo": stereo, "isolation": isolation}
    picked_from = [item for item in items if reranking is not None and reranking.asks(item)]
    many = {item.id for item in picked_from}
    alone = [item for item in items if item.id not in many]
    found: dict[str, CandidateSet | BaseException] = {}
    for item, single in zip(alone, separate_batch(separator, alone, **policies) if alone else [], strict=True):
        found[item.id] = single if isinstance(single, BaseException) else CandidateSet(candidates=(_as_stored(single),))
    if reranking is not None and picked_from:
        count = reranking.candidates
        if isinstance(separator, CandidateSeparator):
            asked = _at_once(separator, picked_from, count, **policies)
        else:
            asked = _in_turn(separator, picked_from, count, **policies)
        for item, candidates in zip(picked_from, asked, strict=True):
            found[item.id] = _picked(item, candidates, reranking.picker, isolation)
    return [found[item.id] for item in items]


def _in_turn(separator: AnySeparator, items: Sequence[Item], count: int, **policies: Any) -> list[Candidates]:
    """Candidates ``[item][candidate]`` of a separator that gives one at a time."""
    rounds = [separate_batch(separator, items, **policies, candidate=candidate) for candidate in range(count)]
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
    isolation: Isolation,
) -> list[Candidates]:
    """Candidates ``[item][candidate]`` of a separator that gives all of an item together."""
    policies: dict[str, Any] = {"task": task, "seed": seed, "align": align, "stereo": stereo, "isolation": isolation}
    seeds = [[item_seed(task, item.id, seed, candidate) for candidate in range(count)] for item in items]
    try:
        with traced():
            begun = seconds_now()
            queries = [own_query(item.query) for item in items]
            with stage("separate"), isolation.entered(", ".join(item.id for item in items), seeds[0][0]):
                answers = [_listed(own) for own in _listed(separator.separate_candidates(queries, seeds))]
            taken = seconds_now() - begun
        if [len(candidates) for candidates in answers] != [count] * len(items):
            found = [len(candidates) for candidates in answers]
            raise BadSeparation(f"expected {count} candidate(s) for each of {len(items)} item(s), found {found}")
        share = taken / (len(items) * count)
    except (Precondition, KeyboardInterrupt):
        raise
    except BaseException as error:
        if len(items) == 1:
            return [[error]]
        if is_out_of_memory(error):
            raise
        return [candidates for item in items for candidates in _at_once(separator, [item], count, **policies)]
    return [
        [_timed(_checked(candidate, item, share, align, stereo), share) for candidate in candidates]
        for candidates, item in zip(answers, items, strict=True)
    ]


def _timed(candidate: Separation | BadSeparation, seconds: float) -> Separation | BadSeparation:
    """The candidate with its share of the time: what it says itself may stand for all that were made together."""
    return replace(candidate, seconds=seconds) if isinstance(candidate, Separation) else candidate


def _picked(item: Item, candidates: Candidates, picker: Picker, isolation: Isolation) -> CandidateSet | BaseException:
    """The answer with the picker's scores; an error of the first candidate, or of the picker, is the item's."""
    if isinstance(candidates[0], BaseException):
        return candidates[0]
    stored = tuple(_as_stored(found) if isinstance(found, Separation) else found for found in candidates)
    sound = {index: found for index, found in enumerate(stored) if isinstance(found, Separation)}
    try:
        with stage("pick"), replace(isolation, own=None).entered(f"{item.id}, {picker.name}", 0):
            marks = picker.scores(item.query, list(sound.values()))
        scores = dict(zip(sound, marks, strict=True))
    except (Precondition, KeyboardInterrupt):
        raise
    except BaseException as error:
        return BadSeparation(f"picker {picker.name} failed: {describe_error(error, named=True)}")
    everyone = tuple(scores.get(index, math.nan) for index in range(len(stored)))
    return CandidateSet(candidates=stored, picker=picker.name, scores=everyone)


def _as_stored(found: Separation) -> Separation:
    """The answer with the samples that the disk will give back, so that scoring again gives the same bits."""
    return replace(found, target=audio.as_stored(found.target), residual=audio.as_stored(found.residual))
