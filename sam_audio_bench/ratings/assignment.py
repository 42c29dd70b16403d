"""Assignment of cells to raters: a balanced incomplete design.

A cell is an item under a condition (a system, the hidden reference, an anchor). Cells go to raters as an equitable edge
colouring of the bipartite multigraph of items and conditions (de Werra, Discrete Mathematics 1, 1971), found one rater
at a time: with k raters left, a rater takes from each cell, item, block, condition and from the whole between the floor
and the ceiling of a k-th of what is left. The constraints are two laminar families, hence totally unimodular, and the
k-th part of everything is feasible, so that an integer solution always exists and is a vertex of the linear programme.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse.csgraph import connected_components

from sam_audio_bench.errors import UsageError

__all__ = ["Balance", "Cell", "Sizes", "assign", "balance", "complete_sizes", "presentation_order", "with_checks"]

Cell = tuple[int, int]
"""Item, condition."""

_ATTEMPTS = 10
_DEFAULT_RATERS_PER_CELL = 5
_DEFAULT_PER_RATER = 40


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Size of a test."""

    raters: int
    per_rater: int  # cells that a rater rates at most
    raters_per_cell: int


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Balance of a design, each as minimum and maximum."""

    raters_per_cell: tuple[int, int]
    cells_per_rater: tuple[int, int]
    condition_per_rater: tuple[int, int]  # how often a rater meets a condition
    item_per_rater: tuple[int, int]  # how often a rater meets an item
    components: int  # of the graph of raters and cells: with more than one, raters' biases cannot be told from quality

    def to_json(self) -> dict[str, object]:
        """As plain values."""
        return asdict(self)


def complete_sizes(
    cells: int, *, raters: int | None = None, per_rater: int | None = None, raters_per_cell: int | None = None
) -> Sizes:
    """Completes the sizes of a test from those that are given.

    Args:
        cells: number of cells.
        raters: number of raters; None: as many as needed.
        per_rater: largest number of cells per rater; None: what ``raters`` requires, or else 40.
        raters_per_cell: raters of each cell; None: as many as the others allow, or else 5.

    Raises:
        UsageError: a size below 1, more raters per cell than raters, or too few raters.

    >>> complete_sizes(120, raters_per_cell=3)
    Sizes(raters=9, per_rater=40, raters_per_cell=3)
    """
    given = {"--raters": raters, "--per-rater": per_rater, "--raters-per-item": raters_per_cell}
    for option, value in given.items():
        if value is not None and value < 1:
            raise UsageError(f"expected {option} to be at least 1, found {value}")
    if raters_per_cell is None:
        raters_per_cell = _affordable(cells, raters, per_rater)
    if raters is None:
        raters = max(math.ceil(cells * raters_per_cell / (per_rater or _DEFAULT_PER_RATER)), raters_per_cell)
    if raters_per_cell > raters:
        raise UsageError(f"expected at most as many raters per item as raters, found {raters_per_cell} of {raters}")
    needed = math.ceil(cells * raters_per_cell / raters)
    if per_rater is not None and per_rater < needed:
        raise UsageError(
            f"expected {raters} raters to rate {cells} stimuli {raters_per_cell} times, found --per-rater {per_rater} "
            f"where {needed} are needed; ask for more raters, or for fewer --items or --raters-per-item"
        )
    return Sizes(raters=raters, per_rater=needed, raters_per_cell=raters_per_cell)


def _affordable(cells: int, raters: int | None, per_rater: int | None) -> int:
    """Returns the raters per cell that the other two sizes allow."""
    if raters is None or per_rater is None:
        return min(_DEFAULT_RATERS_PER_CELL, raters or _DEFAULT_RATERS_PER_CELL)
    if raters * per_rater < cells:
        raise UsageError(
            f"expected enough ratings for {cells} stimuli, found {raters} raters with {per_rater} each; "
            "ask for more raters, or for fewer --items"
        )
    return min(raters * per_rater // cells, raters)


def assign(
    present: NDArray[np.bool_], sizes: Sizes, *, blocks: Sequence[int] | None = None, seed: int = 0
) -> list[list[Cell]]:
    """Assigns every cell to ``sizes.raters_per_cell`` different raters.

    The numbers of cells per rater, and of cells per rater and condition, block of items, and item differ by at most one
    between raters. The first of a few random designs that connects all raters and cells is used.

    Args:
        present: [items, conditions]: which cells exist.
        sizes: from `complete_sizes` for as many cells.
        blocks: [items], task of each item; None: one block.
        seed: of all random choices.

    Returns:
        [raters] cells of each, sorted.
    """
    if not present.any():
        raise UsageError("expected at least one stimulus to rate, found none")
    labels = (
        np.zeros(len(present), np.int64) if blocks is None else np.unique(np.asarray(blocks), return_inverse=True)[1]
    )
    design: list[list[Cell]] = []
    for attempt in range(_ATTEMPTS):
        design = _design(present, sizes, labels, np.random.default_rng([seed, attempt]))
        if balance(design, present).components == 1:
            break
    return design


def _design(
    present: NDArray[np.bool_], sizes: Sizes, labels: NDArray[np.int64], generator: np.random.Generator
) -> list[list[Cell]]:
    items, conditions = np.nonzero(present)
    cells = np.arange(len(items))
    families = [items, len(present) + conditions, present.shape[0] + present.shape[1] + labels[items]]
    families.append(np.full(len(items), families[-1].max() + 1))
    rows, columns = np.concatenate(families), np.tile(cells, len(families))
    sums = sparse.csr_array((np.ones(rows.size), (rows, columns)), shape=(rows.max() + 1, len(items)))
    left = np.full(len(items), sizes.raters_per_cell)
    design = []
    for remaining in range(sizes.raters, 0, -1):
        taken = _share(left, remaining, sums, generator.random(len(items)))
        left = left - taken
        design.append([(int(items[cell]), int(conditions[cell])) for cell in np.flatnonzero(taken)])
    return [design[rater] for rater in generator.permutation(sizes.raters)]


def _share(
    left: NDArray[np.int64], remaining: int, sums: sparse.csr_array, costs: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Chooses the cells of the next of ``remaining`` raters; random costs make the vertex unique."""
    totals: NDArray[np.int64] = np.rint(sums @ left).astype(np.int64)
    solution = milp(
        costs,
        constraints=LinearConstraint(sums, totals // remaining, -(-totals // remaining)),
        bounds=Bounds(left // remaining, -(-left // remaining)),
    )
    taken: NDArray[np.int64] = np.rint(solution.x).astype(np.int64)
    if not np.allclose(solution.x, taken, atol=1e-6):
        raise ArithmeticError("the linear programme of a totally unimodular system ended off a vertex")
    return taken


def balance(design: Sequence[Sequence[Cell]], present: NDArray[np.bool_]) -> Balance:
    """Measures a design on the cells ``present`` [items, conditions]."""
    items, conditions = present.shape
    counts = np.zeros((len(design), items, conditions), np.int64)
    for rater, cells in enumerate(design):
        for item, condition in cells:
            counts[rater, item, condition] += 1
    flat = counts.reshape(len(design), -1)[:, present.ravel()]
    graph = sparse.bmat([[None, sparse.csr_array(flat)], [sparse.csr_array(flat.T), None]])
    return Balance(
        raters_per_cell=_range(flat.astype(bool).sum(axis=0)),
        cells_per_rater=_range(flat.sum(axis=1)),
        condition_per_rater=_range(counts.sum(axis=1)),
        item_per_rater=_range(counts.sum(axis=2)),
        components=int(connected_components(graph, directed=False)[0]),
    )


def _range(counts: NDArray[np.int64]) -> tuple[int, int]:
    return int(counts.min()), int(counts.max())


def presentation_order(cells: Sequence[Cell], generator: np.random.Generator) -> list[Cell]:
    """Returns the cells in random order, without the same item twice in succession if possible."""
    left = [cells[place] for place in generator.permutation(len(cells))]
    ordered: list[Cell] = []
    while left:
        counts = Counter(item for item, _ in left)
        item, most = counts.most_common(1)[0]
        last = ordered[-1][0] if ordered else None
        crowded = 2 * most > len(left) and item != last  # it must come now to avoid a repetition at the end
        choice = next((cell for cell in left if (cell[0] == item if crowded else cell[0] != last)), left[0])
        left.remove(choice)
        ordered.append(choice)
    return ordered


def with_checks(trials: Sequence[str], checks: Sequence[str], generator: np.random.Generator) -> list[str]:
    """Inserts one check into each of as many equal parts of the trials, at a random position, never the first."""
    found = list(trials)
    edges = np.linspace(min(1, len(found)), len(found), len(checks) + 1)
    shuffled = [checks[place] for place in generator.permutation(len(checks))]
    places = [int(generator.integers(round(low), round(high) + 1)) for low, high in pairwise(edges)]
    for place, check in sorted(zip(places, shuffled, strict=True), key=lambda pair: pair[0], reverse=True):
        found.insert(place, check)
    return found
