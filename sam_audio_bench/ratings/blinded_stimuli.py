"""The stimuli of a listening test under blind names, and their assignment to raters, in order of presentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sam_audio_bench.ratings.assignment import (
    Balance,
    Sizes,
    assign,
    balance,
    complete_sizes,
    presentation_order,
    with_checks,
)
from sam_audio_bench.ratings.axes import HIGHEST
from sam_audio_bench.ratings.controls import TRAP_ANSWERS
from sam_audio_bench.ratings.stimuli import ANCHOR, REFERENCE, RatedItem

__all__ = [
    "RaterAssignment",
    "Stimulus",
    "assign_blind_names",
    "assign_items",
    "assign_stimuli",
    "make_gold_stimuli",
    "make_system_stimuli",
    "make_trap_stimuli",
]

_POOL = 4  # minimal number of checks of a kind, so that raters cannot share the answers
_ORDER, _CHECKS, _NAMES = 101, 102, 103  # streams of random numbers beside those of assignment and choice


@dataclass(frozen=True, kw_only=True)
class Stimulus:
    """A sound to rate; ``sound`` is the index of the item that it is from, and its name among that item's sounds."""

    item: int  # whose recording and prompt are shown
    sound: tuple[int, str]
    system: str | None
    kind: str = "rating"  # or hidden_reference, anchor, trap, gold
    expected: Mapping[str, int] | None = None  # right answer by axis
    beeps: int = 0
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class RaterAssignment:
    """Stimuli, or items, of each rater in order of presentation."""

    sizes: Sizes
    balance: Balance
    blocks: tuple[tuple[str, ...], ...]


def make_system_stimuli(
    items: Sequence[RatedItem], systems: Sequence[str], *, hidden_reference: bool, anchors: bool
) -> dict[tuple[int, int], Stimulus]:
    """One stimulus per item and condition: the systems, the hidden reference if there is one, the anchor."""
    conditions = [("rating", name) for name in systems]
    conditions += [("hidden_reference", REFERENCE)] * hidden_reference + [("anchor", ANCHOR)] * anchors
    return {
        (index, column): Stimulus(item=index, sound=(index, name), system=name, kind=kind)
        for index, item in enumerate(items)
        for column, (kind, name) in enumerate(conditions)
        if kind != "hidden_reference" or item.has_reference
    }


def make_trap_stimuli(items: Sequence[RatedItem], count: int, axes: Sequence[str], seed: int) -> list[Stimulus]:
    """Trap stimuli that end in beeps to count: at least four, unless ``count`` per rater is 0."""
    generator = np.random.default_rng([seed, _CHECKS])
    indices = generator.integers(len(items), size=max(count, _POOL) if count else 0)
    stimuli = []
    for number, index in enumerate(indices.tolist()):
        answer = TRAP_ANSWERS[number % len(TRAP_ANSWERS)]
        expected = dict.fromkeys(axes, answer)
        stimuli.append(
            Stimulus(item=index, sound=(index, ""), system=None, kind="trap", expected=expected, beeps=answer)
        )
    return stimuli


def make_gold_stimuli(items: Sequence[RatedItem], count: int, axes: Sequence[str], seed: int) -> list[Stimulus]:
    """Gold stimuli with an obvious rating: alternately the clean recording, and that of an unrelated item.

    The unrelated one has another recording and prompt, and another domain if possible; its faithfulness has no right
    answer. Without clean recordings there are no golds.

    Args:
        items: of the test.
        count: golds per rater; at least four are made unless it is 0.
        axes: names of the axes.
        seed: of the random choice.
    """
    generator = np.random.default_rng([seed, _CHECKS + 1])
    order = generator.permutation(len(items)).tolist()
    perfect = [(index, index) for index in order if items[index].has_reference]
    wrong = [(index, other) for index in order if (other := _unrelated(items, index, order)) is not None]
    wrong_axes = [axis for axis in axes if axis != "faithfulness"]
    kinds = [(perfect, dict.fromkeys(axes, HIGHEST))]
    if wrong and wrong_axes:
        kinds.append((wrong, dict.fromkeys(wrong_axes, 1)))
    if not perfect or not count:
        return []
    stimuli = []
    for number in range(max(count, _POOL)):
        pairs, expected = kinds[number % len(kinds)]
        index, other = pairs[number // len(kinds) % len(pairs)]
        stimuli.append(Stimulus(item=index, sound=(other, REFERENCE), system=None, kind="gold", expected=expected))
    return stimuli


def _unrelated(items: Sequence[RatedItem], index: int, order: Sequence[int]) -> int | None:
    """An item with a clean recording that is unrelated to the prompt of another item."""
    here = items[index]
    text = (here.prompt.text or "").casefold()
    fit = [
        other
        for other in order
        if items[other].has_reference
        and items[other].group != here.group
        and (items[other].prompt.text or "").casefold() != text
    ]
    elsewhere = [other for other in fit if items[other].source.domain != here.source.domain]
    return next(iter(elsewhere or fit), None)


def assign_blind_names(stimuli: Sequence[Stimulus], test: str, seed: int) -> list[Stimulus]:
    """Gives stimuli blind names, numbered in random order; the test's digest in them distinguishes tests."""
    numbers = np.random.default_rng([seed, _NAMES]).permutation(len(stimuli)).tolist()
    return [
        replace(stimulus, name=f"t{test[:4]}{number + 1:04d}")
        for stimulus, number in zip(stimuli, numbers, strict=True)
    ]


def assign_stimuli(
    cells: Mapping[tuple[int, int], Stimulus],
    traps: tuple[Sequence[Stimulus], int],
    golds: tuple[Sequence[Stimulus], int],
    items: Sequence[RatedItem],
    requested_sizes: Mapping[str, int | None],
    seed: int,
) -> RaterAssignment:
    """Assigns named stimuli to raters, checks included.

    Args:
        cells: from `make_system_stimuli`, named.
        traps: pool, and number per rater.
        golds: the same.
        items: of the test.
        requested_sizes: ``raters``, ``per_rater`` and ``raters_per_cell`` if given.
        seed: of all random choices.
    """
    present = np.zeros((len(items), 1 + max(column for _, column in cells)), bool)
    for cell in cells:
        present[cell] = True
    sizes = complete_sizes(len(cells), **requested_sizes)
    tasks = sorted({item.task for item in items})
    assigned = assign(present, sizes, blocks=[tasks.index(item.task) for item in items], seed=seed)
    blocks = []
    for rater, own in enumerate(assigned):
        generator = np.random.default_rng([seed, _ORDER, rater])
        ordered = [cells[cell].name for cell in presentation_order(own, generator)]
        checks = [stimulus.name for pool, count in (traps, golds) for stimulus in _turn(pool, count, rater)]
        blocks.append(tuple(with_checks(ordered, checks, generator)))
    return RaterAssignment(sizes=sizes, balance=balance(assigned, present), blocks=tuple(blocks))


def _turn(pool: Sequence[Stimulus], count: int, rater: int) -> Iterator[Stimulus]:
    """The checks of a rater, taken from the pool in turn."""
    return (pool[(rater * count + number) % len(pool)] for number in range(count if pool else 0))


def assign_items(names: Sequence[str], requested_sizes: Mapping[str, int | None], seed: int) -> RaterAssignment:
    """Assigns whole items to raters, for tests that show all systems of an item at once.

    Args:
        names: blind names of the items.
        requested_sizes: as in `assign_stimuli`; ``per_rater`` counts items.
        seed: of all random choices.
    """
    present = np.ones((len(names), 1), bool)
    sizes = complete_sizes(len(names), **requested_sizes)
    assigned = assign(present, sizes, seed=seed)
    blocks = []
    for rater, own in enumerate(assigned):
        order = np.random.default_rng([seed, _ORDER, rater]).permutation(len(own))
        blocks.append(tuple(names[own[index][0]] for index in order))
    return RaterAssignment(sizes=sizes, balance=balance(assigned, present), blocks=tuple(blocks))
