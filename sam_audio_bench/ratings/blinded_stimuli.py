"""The trials of a listening test under opaque names, and who gets which of them in which order."""

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

__all__ = ["Design", "Trial", "cell_trials", "design_items", "design_trials", "gold_trials", "named", "trap_trials"]

_POOL = 4  # checks of a kind at least, so that raters who talk to each other hear different ones
_ORDER, _CHECKS, _NAMES = 101, 102, 103  # streams of random numbers beside those of assignment and choice


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One sound that a rater judges. ``sound`` is the item that it comes from and its name in that item's set."""

    item: int  # whose recording and prompt are shown
    sound: tuple[int, str]
    system: str | None
    kind: str = "rating"  # or hidden_reference, anchor, trap, gold
    expected: Mapping[str, int] | None = None  # right answer by axis
    beeps: int = 0
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Trials, or items, of each rater in order of presentation."""

    sizes: Sizes
    balance: Balance
    blocks: tuple[tuple[str, ...], ...]


def cell_trials(
    items: Sequence[RatedItem], systems: Sequence[str], *, hidden_reference: bool, anchors: bool
) -> dict[tuple[int, int], Trial]:
    """One trial for each item and condition: the systems, the hidden reference where one exists, the anchor."""
    conditions = [("rating", name) for name in systems]
    conditions += [("hidden_reference", REFERENCE)] * hidden_reference + [("anchor", ANCHOR)] * anchors
    return {
        (place, column): Trial(item=place, sound=(place, name), system=name, kind=kind)
        for place, item in enumerate(items)
        for column, (kind, name) in enumerate(conditions)
        if kind != "hidden_reference" or item.referenced
    }


def trap_trials(items: Sequence[RatedItem], count: int, axes: Sequence[str], seed: int) -> list[Trial]:
    """Results that end in beeps, to be counted: at least four where ``count`` a rater is not 0."""
    generator = np.random.default_rng([seed, _CHECKS])
    places = generator.integers(len(items), size=max(count, _POOL) if count else 0)
    trials = []
    for number, place in enumerate(places.tolist()):
        answer = TRAP_ANSWERS[number % len(TRAP_ANSWERS)]
        expected = dict.fromkeys(axes, answer)
        trials.append(Trial(item=place, sound=(place, ""), system=None, kind="trap", expected=expected, beeps=answer))
    return trials


def gold_trials(items: Sequence[RatedItem], count: int, axes: Sequence[str], seed: int) -> list[Trial]:
    """Answers beyond doubt: in turn the clean recording itself, and that of an item unrelated to the prompt.

    The unrelated one is of another recording and prompt, and of another domain where there is one; how faithful it is,
    nobody can say. Without clean recordings there are no golds.

    Args:
        items: of the test.
        count: golds a rater; at least four are made where it is not 0.
        axes: names of the axes asked.
        seed: decides which.
    """
    generator = np.random.default_rng([seed, _CHECKS + 1])
    order = generator.permutation(len(items)).tolist()
    perfect = [(place, place) for place in order if items[place].referenced]
    wrong = [(place, other) for place in order if (other := _unrelated(items, place, order)) is not None]
    wrong_axes = [axis for axis in axes if axis != "faithfulness"]
    kinds = [(perfect, dict.fromkeys(axes, HIGHEST))]
    if wrong and wrong_axes:
        kinds.append((wrong, dict.fromkeys(wrong_axes, 1)))
    if not perfect or not count:
        return []
    trials = []
    for number in range(max(count, _POOL)):
        pairs, expected = kinds[number % len(kinds)]
        place, other = pairs[number // len(kinds) % len(pairs)]
        trials.append(Trial(item=place, sound=(other, REFERENCE), system=None, kind="gold", expected=expected))
    return trials


def _unrelated(items: Sequence[RatedItem], place: int, order: Sequence[int]) -> int | None:
    """An item with a clean recording that has nothing to do with what another one asks for."""
    here = items[place]
    text = (here.prompt.text or "").casefold()
    fit = [
        other
        for other in order
        if items[other].referenced
        and items[other].group != here.group
        and (items[other].prompt.text or "").casefold() != text
    ]
    elsewhere = [other for other in fit if items[other].source.domain != here.source.domain]
    return next(iter(elsewhere or fit), None)


def named(trials: Sequence[Trial], test: str, seed: int) -> list[Trial]:
    """The trials with opaque names, numbered in random order; the test's digest in them tells tests apart."""
    numbers = np.random.default_rng([seed, _NAMES]).permutation(len(trials)).tolist()
    return [replace(trial, name=f"t{test[:4]}{number + 1:04d}") for trial, number in zip(trials, numbers, strict=True)]


def design_trials(
    cells: Mapping[tuple[int, int], Trial],
    traps: tuple[Sequence[Trial], int],
    golds: tuple[Sequence[Trial], int],
    items: Sequence[RatedItem],
    asked: Mapping[str, int | None],
    seed: int,
) -> Design:
    """Assigns named trials to raters, with the checks among them.

    Args:
        cells: from `cell_trials`, named.
        traps: pool, and how many a rater gets.
        golds: the same.
        items: of the test.
        asked: ``raters``, ``per_rater`` and ``raters_per_cell`` as far as they are given.
        seed: decides the rest.
    """
    present = np.zeros((len(items), 1 + max(column for _, column in cells)), bool)
    for cell in cells:
        present[cell] = True
    sizes = complete_sizes(len(cells), **asked)
    tasks = sorted({item.task for item in items})
    assigned = assign(present, sizes, blocks=[tasks.index(item.task) for item in items], seed=seed)
    blocks = []
    for rater, own in enumerate(assigned):
        generator = np.random.default_rng([seed, _ORDER, rater])
        ordered = [cells[cell].name for cell in presentation_order(own, generator)]
        checks = [trial.name for pool, count in (traps, golds) for trial in _turn(pool, count, rater)]
        blocks.append(tuple(with_checks(ordered, checks, generator)))
    return Design(sizes=sizes, balance=balance(assigned, present), blocks=tuple(blocks))


def _turn(pool: Sequence[Trial], count: int, rater: int) -> Iterator[Trial]:
    """The checks whose turn it is for a rater."""
    return (pool[(rater * count + number) % len(pool)] for number in range(count if pool else 0))


def design_items(names: Sequence[str], asked: Mapping[str, int | None], seed: int) -> Design:
    """Assigns whole items to raters, for tests that show all systems of an item at once.

    Args:
        names: opaque names of the items.
        asked: as in `design_trials`; ``per_rater`` counts items.
        seed: decides the rest.
    """
    present = np.ones((len(names), 1), bool)
    sizes = complete_sizes(len(names), **asked)
    assigned = assign(present, sizes, seed=seed)
    blocks = []
    for rater, own in enumerate(assigned):
        order = np.random.default_rng([seed, _ORDER, rater]).permutation(len(own))
        blocks.append(tuple(names[own[place][0]] for place in order))
    return Design(sizes=sizes, balance=balance(assigned, present), blocks=tuple(blocks))
