"""Designs are balanced whatever is asked, and the order of trials is fair."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.assignment import (
    Sizes,
    assign,
    balance,
    complete_sizes,
    presentation_order,
    with_checks,
)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[np.ndarray, Sizes, list[int]]:
    """Items under conditions, some of which are missing, and raters enough."""
    items, conditions = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    present = np.ones((items, conditions), bool)
    if conditions > 1:
        present[:, -1] = draw(st.lists(st.booleans(), min_size=items, max_size=items))
    raters = draw(st.integers(1, 12))
    sizes = complete_sizes(int(present.sum()), raters=raters, raters_per_cell=draw(st.integers(1, raters)))
    return present, sizes, draw(st.lists(st.integers(0, 2), min_size=items, max_size=items))


@settings(max_examples=60)
@given(layouts(), st.integers(0, 2**32 - 1))
def test_every_margin_is_even(test: tuple[np.ndarray, Sizes, list[int]], seed: int) -> None:
    present, sizes, blocks = test
    design = assign(present, sizes, blocks=blocks, seed=seed)
    assert len(design) == sizes.raters
    everything = Counter(cell for cells in design for cell in cells)
    assert everything == {tuple(map(int, cell)): sizes.raters_per_cell for cell in np.argwhere(present)}
    assert all(len(set(cells)) == len(cells) <= sizes.per_rater for cells in design)

    def uneven(margin: object) -> bool:
        counts = [Counter(margin(cell) for cell in cells) for cells in design]  # type: ignore[operator]
        return any(max(c[k] for c in counts) - min(c[k] for c in counts) > 1 for k in set().union(*counts))

    assert not uneven(lambda cell: None)
    assert not uneven(lambda cell: cell[0])
    assert not uneven(lambda cell: cell[1])
    assert not uneven(lambda cell: blocks[cell[0]])


def test_a_seed_decides_the_design() -> None:
    sizes = complete_sizes(40, raters=10, raters_per_cell=3)
    present = np.ones((10, 4), bool)
    assert assign(present, sizes, seed=1) == assign(present, sizes, seed=1) != assign(present, sizes, seed=2)


def test_balance_measures() -> None:
    present = np.array([[True, True], [True, False]])
    found = balance([[(0, 0), (1, 0)], [(0, 0)], [(0, 1)]], present)
    assert found.raters_per_cell == (1, 2)
    assert found.cells_per_rater == (1, 2)
    assert found.condition_per_rater == (0, 2)
    assert found.item_per_rater == (0, 1)
    assert found.components == 2  # the third rater shares no stimulus with the others


def test_usual_designs_are_connected() -> None:
    sizes = complete_sizes(300, raters_per_cell=3)
    present = np.ones((50, 6), bool)
    assert balance(assign(present, sizes), present).components == 1


def test_one_rater_a_cell_cannot_be_connected() -> None:
    present = np.ones((4, 2), bool)
    design = assign(present, complete_sizes(8, raters=4, raters_per_cell=1))
    assert balance(design, present).components == 4


@pytest.mark.parametrize(
    ("given_sizes", "expected"),
    [
        ({}, (15, 40, 5)),
        ({"raters": 10}, (10, 60, 5)),
        ({"raters": 3}, (3, 120, 3)),
        ({"per_rater": 20}, (30, 20, 5)),
        ({"raters": 12, "per_rater": 25}, (12, 20, 2)),
        ({"raters": 2, "per_rater": 500}, (2, 120, 2)),
        ({"raters": 8, "per_rater": 50, "raters_per_cell": 3}, (8, 45, 3)),
    ],
)
def test_sizes_are_completed(given_sizes: dict[str, int], expected: tuple[int, int, int]) -> None:
    raters, per_rater, raters_per_cell = expected
    found = complete_sizes(120, **given_sizes)
    assert found == Sizes(raters=raters, per_rater=per_rater, raters_per_cell=raters_per_cell)


@pytest.mark.parametrize(
    ("given_sizes", "message"),
    [
        ({"raters": 0}, "--raters to be at least 1, found 0"),
        ({"raters": 2, "raters_per_cell": 3}, "as many raters per item as raters, found 3 of 2"),
        ({"raters": 3, "per_rater": 10}, "3 raters with 10 each"),
        ({"raters": 10, "per_rater": 10, "raters_per_cell": 5}, "--per-rater 10 where 60 are needed"),
    ],
)
def test_sizes_that_cannot_be(given_sizes: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        complete_sizes(120, **given_sizes)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), unique=True), st.integers(0, 2**32 - 1))
def test_no_item_follows_itself_unless_it_must(cells: list[tuple[int, int]], seed: int) -> None:
    ordered = presentation_order(cells, np.random.default_rng(seed))
    assert sorted(ordered) == sorted(cells)
    repeats = sum(a[0] == b[0] for a, b in itertools.pairwise(ordered))
    most = max(Counter(item for item, _ in cells).values(), default=0)
    assert repeats == max(0, 2 * most - len(cells) - 1)


@given(st.integers(0, 30), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_checks_are_spread(count: int, checks: int, seed: int) -> None:
    trials, names = [f"t{number}" for number in range(count)], [f"c{number}" for number in range(checks)]
    mixed = with_checks(trials, names, np.random.default_rng(seed))
    assert [name for name in mixed if name in trials] == trials
    assert sorted(name for name in mixed if name in names) == names
    assert not count or mixed[0] == "t0"
    if count >= 4 * checks > 0:
        halves = [sum(name in names for name in half) for half in (mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :])]
        assert max(halves) <= checks // 2 + 1
