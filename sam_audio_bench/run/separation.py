"""Separation of items: seeds, the separator protocols, failed batches, checks of every estimate, and candidates.

A separator gets its own copy of every sound, so that in-place changes affect nothing else, and is called in
`isolation`. Any exception, SystemExit included, is the failure of an item, except an interruption. Oracles, existing
estimates and separators with ``deterministic = True`` have one estimate per item. A `CandidateSeparator` makes all
candidates in one call; any other separator is called once per candidate, each time with other seeds. The first
candidate is the estimate without reranking: the k = 1 of every table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict, Unpack

from sam_audio_bench import audio, registry
from sam_audio_bench.devices import synchronized_seconds
from sam_audio_bench.errors import BadSeparation, Precondition, UsageError, describe_error
from sam_audio_bench.identity import Identity, Options
from sam_audio_bench.options import parse_specification
from sam_audio_bench.registry import LoadedComponent
from sam_audio_bench.run.batching import is_out_of_memory
from sam_audio_bench.run.defensive_copies import copy_item, copy_query
from sam_audio_bench.run.estimate_check import check_estimate
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

__all__ = ["CandidateSet", "PickerArguments", "PickerPool", "Reranking", "SeparationPolicies", "separate_batch",
           "separate_items"]  # fmt: skip

Candidates = list[Separation | BaseException]

_NO_ISOLATION = Isolation()


class SeparationPolicies(TypedDict):
    """Arguments of `separate_items` that are the same for all items of a job."""

    task: str
    seed: int
    align: str | None
    stereo: str


class _Policies(SeparationPolicies):
    isolation: Isolation


class PickerArguments(TypedDict):
    """Arguments of `PickerPool`."""

    candidates: int
    name: str
    arguments: Options
    device: str
    keep: bool


@dataclass(frozen=True, kw_only=True)
class Reranking:
    """The best of ``candidates`` by ``picker``; ``keep``: the audio of all of them is stored."""

    candidates: int
    picker: Picker
    identity: Identity
    keep: bool = False

    def applies_to(self, item: Item) -> bool:
        """Returns whether the picker can use the item's prompt; otherwise the item has a single estimate."""
        return self.picker.applies_to(item.query.prompt)


@dataclass(frozen=True, kw_only=True)
class CandidateSet:
    """The estimates of one item, quantized as in stored files.

    Without a ``picker`` there is one candidate. A failed candidate is represented by its error: it has the score NaN
    and is never picked. Candidate 0 never is a failed one.
    """

    candidates: tuple[Separation | BaseException, ...]
    picker: str | None = None
    scores: tuple[float, ...] = ()

    @property
    def picked(self) -> int:
        """Index of the chosen candidate."""
        return best_candidate(self.scores) if self.picker else 0

    def separation(self, index: int) -> Separation:
        """Returns the candidate ``index``, which must not be a failed one."""
        found = self.candidates[index]
        assert isinstance(found, Separation), found
        return found

    @property
    def valid(self) -> list[int]:
        """Indices of the candidates that did not fail."""
        return [index for index, found in enumerate(self.candidates) if isinstance(found, Separation)]

    @property
    def scored(self) -> list[Separation]:
        """The estimates for metrics: candidate 0, then the picked one if there is a picker."""
        return [self.separation(0), *([self.separation(self.picked)] if self.picker else [])]

    @property
    def seconds(self) -> float:
        """Total time of all candidates."""
        return math.fsum(self.separation(index).seconds for index in self.valid)


@dataclass(kw_only=True)
class PickerPool:
    """The pickers of a run, each loaded once; ``notes``, for the plan, says why some jobs have none.

    Args:
        candidates: number of candidates per item.
        name: a name in `PICKERS`, or `AUTO`.
        arguments: options of the picker's constructor; with `AUTO`, of every constructor that has them.
        device: for constructors that have it, unless it is among the arguments; "auto": their own default.
        keep: store the audio of all candidates.

    Raises:
        UsageError: an argument that no possible picker has.
    """

    candidates: int
    name: str
    arguments: Options
    device: str = "auto"
    keep: bool = False
    notes: dict[str, None] = field(default_factory=dict)
    _loaded: dict[str, LoadedComponent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        spelt = parse_specification(self.name)
        self.name, self.arguments = spelt.name, {**spelt.options, **self.arguments}
        if self.name == AUTO and self.arguments:
            known = set().union(*map(registry.picker_options, PICKERS))
            if unknown := sorted(set(self.arguments) - known):
                raise UsageError(f"expected picker arguments among {', '.join(sorted(known))}, found {unknown}")

    def reranking(self, separator: AnySeparator, data: TaskData) -> Reranking | None:
        """Returns how a separator's estimates on a task are picked; None: one estimate per item.

        Raises:
            Precondition: weights or packages of the picker are missing.
        """
        if self.candidates == 1:
            return None
        if reason := _single_estimate_reason(separator):
            self.notes[f"{separator.name} {reason}: k = 1 only"] = None
            return None
        name = default_picker(data.provides) if self.name == AUTO else self.name
        missing = sorted(PICKERS[name].needs - data.provides) if name else ["text, spans or video"]
        if name is None or missing:
            self.notes[f"picker {name or AUTO} has no {' and no '.join(missing)} on {data.task}: k = 1 only"] = None
            return None
        picker, identity, _ = self._load(name)
        if reason := picker.missing():
            raise Precondition(
                f"expected picker {name} to work on {data.task}, found that it cannot: {reason}; "
                "or choose another --picker"
            )
        self.notes[f"best of {self.candidates} by {picker.name} on {data.task} for {separator.name}"] = None
        return Reranking(candidates=self.candidates, picker=picker, identity=identity, keep=self.keep)

    def _load(self, name: str) -> LoadedComponent:
        if name not in self._loaded:
            options = registry.picker_options(name)
            device = {"device": self.device} if "device" in options and self.device != "auto" else {}
            own = {key: value for key, value in self.arguments.items() if self.name != AUTO or key in options}
            self._loaded[name] = registry.build("picker", name, {**device, **own})
        return self._loaded[name]


def _single_estimate_reason(separator: AnySeparator) -> str | None:
    """Returns why a separator has only one estimate per item; None: it can make several."""
    if isinstance(separator, OracleSeparator):
        return "is shown the references"
    if isinstance(separator, NamedSeparator):
        return "has estimates that exist already"
    return "is deterministic" if getattr(separator, "deterministic", False) else None


def separate_batch(
    separator: AnySeparator,
    items: Sequence[Item],
    *,
    task: str,
    seed: int,
    align: str | None,
    stereo: str,
    isolation: Isolation = _NO_ISOLATION,
    candidate: int = 0,
) -> Candidates:
    """Returns one checked estimate per item, or its error; a failing item does not affect the others.

    Args:
        separator: any of the three protocols.
        items: the batch.
        task: label of the task, part of each item's seed.
        seed: of the run.
        align: see `check_estimate`.
        stereo: see `check_estimate`.
        isolation: context in which the separator is called.
        candidate: number of the estimate of the same item; part of its seed.

    Raises:
        Precondition: the separator cannot work at all. Any out-of-memory error, for more than one item.
    """
    policies: _Policies = {"task": task, "seed": seed, "align": align, "stereo": stereo, "isolation": isolation}
    try:
        with traced():
            begun = synchronized_seconds()
            seeds = [item_seed(task, item.id, seed, candidate) for item in items]
            estimates = _estimates(separator, items, seeds, isolation)
            share = (synchronized_seconds() - begun) / max(len(items), 1)
    except (Precondition, KeyboardInterrupt):
        raise
    except BaseException as error:
        if len(items) == 1:
            return [error]
        if is_out_of_memory(error):
            raise
        alone = (separate_batch(separator, [item], **policies, candidate=candidate) for item in items)
        return [estimate for estimates in alone for estimate in estimates]
    return [_checked(estimate, item, share, align, stereo) for estimate, item in zip(estimates, items, strict=True)]


def _estimates(
    separator: AnySeparator, items: Sequence[Item], seeds: Sequence[int], isolation: Isolation
) -> list[Separation]:
    queries = [copy_query(item.query) for item in items]
    with stage("separate"), isolation.around_call(", ".join(item.id for item in items), seeds[0]):
        if isinstance(separator, OracleSeparator):
            estimates = separator.separate_oracle(list(map(copy_item, items)), seeds)
        elif isinstance(separator, NamedSeparator):
            estimates = separator.separate_named([item.id for item in items], queries)
        else:
            estimates = separator.separate(queries, seeds)
        estimates = _listed(estimates)
    if len(estimates) != len(items):
        raise BadSeparation(f"expected {len(items)} estimate(s) from {separator.name}, found {len(estimates)}")
    return estimates


def _listed(estimates: Any) -> list[Any]:
    """Returns the estimates of a separator, which may be a generator, as a list."""
    if isinstance(estimates, Separation) or not isinstance(estimates, Iterable):
        raise BadSeparation(f"expected a list of Separations, one for each query, found {type(estimates).__name__}")
    return list(estimates)


def _checked(
    estimate: Separation, item: Item, seconds: float, align: str | None, stereo: str
) -> Separation | BadSeparation:
    """Returns the checked estimate, or its error; ``seconds`` is used if the separator did not measure any."""
    try:
        with stage("check"):
            estimate = check_estimate(estimate, item.query, align=align, stereo=stereo)
    except BadSeparation as error:
        return error
    except Exception as error:  # of an unusual tensor or class
        return BadSeparation(
            f"expected a Separation of dense float tensors, found one that raised {describe_error(error)}"
        )
    return replace(estimate, seconds=estimate.seconds or seconds)


def separate_items(
    separator: AnySeparator,
    items: Sequence[Item],
    reranking: Reranking | None,
    *,
    task: str,
    seed: int,
    align: str | None,
    stereo: str,
    isolation: Isolation = _NO_ISOLATION,
) -> list[CandidateSet | BaseException]:
    """Returns one set of candidates per item, reranked if ``reranking`` applies, or the item's error.

    A failing item does not affect the others; a failing candidate, except the first, does not affect its item.

    Args:
        separator: any of the protocols; with ``reranking``, one that takes seeds.
        items: the batch.
        reranking: None: one candidate per item.
        task: label of the task, part of each seed.
        seed: of the run.
        align: see `sam_audio_bench.run.estimate_check.check_estimate`.
        stereo: as ``align``.
        isolation: context in which the separator and the picker are called.

    Raises:
        Precondition: the separator or the picker cannot work at all. Any out-of-memory error, for more than one item;
            see `sam_audio_bench.run.batching.AdaptiveBatching`.
    """
    policies: _Policies = {"task": task, "seed": seed, "align": align, "stereo": stereo, "isolation": isolation}
    picked_from = [item for item in items if reranking is not None and reranking.applies_to(item)]
    many = {item.id for item in picked_from}
    alone = [item for item in items if item.id not in many]
    found: dict[str, CandidateSet | BaseException] = {}
    for item, single in zip(alone, separate_batch(separator, alone, **policies) if alone else [], strict=True):
        found[item.id] = single if isinstance(single, BaseException) else CandidateSet(candidates=(_as_stored(single),))
    if reranking is not None and picked_from:
        count = reranking.candidates
        if isinstance(separator, CandidateSeparator):
            sets = _candidates_at_once(separator, picked_from, count, **policies)
        else:
            sets = _candidates_in_turn(separator, picked_from, count, **policies)
        for item, candidates in zip(picked_from, sets, strict=True):
            found[item.id] = _picked(item, candidates, reranking.picker, isolation)
    return [found[item.id] for item in items]


def _candidates_in_turn(
    separator: AnySeparator, items: Sequence[Item], count: int, **policies: Unpack[_Policies]
) -> list[Candidates]:
    """Returns candidates ``[item][candidate]`` of a separator that makes one at a time."""
    rounds = [separate_batch(separator, items, **policies, candidate=candidate) for candidate in range(count)]
    return [list(column) for column in zip(*rounds, strict=True)]


def _candidates_at_once(
    separator: CandidateSeparator, items: Sequence[Item], count: int, **policies: Unpack[_Policies]
) -> list[Candidates]:
    """Returns candidates ``[item][candidate]`` of a separator that makes all of an item together."""
    task, seed, isolation = policies["task"], policies["seed"], policies["isolation"]
    seeds = [[item_seed(task, item.id, seed, candidate) for candidate in range(count)] for item in items]
    try:
        with traced():
            begun = synchronized_seconds()
            queries = [copy_query(item.query) for item in items]
            with stage("separate"), isolation.around_call(", ".join(item.id for item in items), seeds[0][0]):
                estimates = [_listed(own) for own in _listed(separator.separate_candidates(queries, seeds))]
            taken = synchronized_seconds() - begun
        if [len(candidates) for candidates in estimates] != [count] * len(items):
            found = [len(candidates) for candidates in estimates]
            raise BadSeparation(f"expected {count} candidate(s) for each of {len(items)} item(s), found {found}")
        share = taken / (len(items) * count)
    except (Precondition, KeyboardInterrupt):
        raise
    except BaseException as error:
        if len(items) == 1:
            return [[error]]
        if is_out_of_memory(error):
            raise
        alone = (_candidates_at_once(separator, [item], count, **policies) for item in items)
        return [candidates for found in alone for candidates in found]
    return [
        [
            _with_seconds(_checked(candidate, item, share, policies["align"], policies["stereo"]), share)
            for candidate in candidates
        ]
        for candidates, item in zip(estimates, items, strict=True)
    ]


def _with_seconds(candidate: Separation | BadSeparation, seconds: float) -> Separation | BadSeparation:
    """Returns the candidate with its share of the time, since its own value may be that of all candidates together."""
    return replace(candidate, seconds=seconds) if isinstance(candidate, Separation) else candidate


def _picked(item: Item, candidates: Candidates, picker: Picker, isolation: Isolation) -> CandidateSet | BaseException:
    """Returns the candidates with the picker's scores; an error of the first one, or of the picker, is the item's."""
    if isinstance(candidates[0], BaseException):
        return candidates[0]
    stored = tuple(_as_stored(found) if isinstance(found, Separation) else found for found in candidates)
    valid = {index: found for index, found in enumerate(stored) if isinstance(found, Separation)}
    try:
        with stage("pick"), replace(isolation, own=None).around_call(f"{item.id}, {picker.name}", 0):
            values = picker.scores(item.query, list(valid.values()))
        scores = dict(zip(valid, values, strict=True))
    except (Precondition, KeyboardInterrupt):
        raise
    except BaseException as error:
        return BadSeparation(f"picker {picker.name} failed: {describe_error(error, named=True)}")
    all_scores = tuple(scores.get(index, math.nan) for index in range(len(stored)))
    return CandidateSet(candidates=stored, picker=picker.name, scores=all_scores)


def _as_stored(found: Separation) -> Separation:
    """Returns the estimate quantized as in a stored file, so that rescoring gives the same bits."""
    return replace(found, target=audio.round_trip(found.target), residual=audio.round_trip(found.residual))
