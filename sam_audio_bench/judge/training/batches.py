"""Plans batches of similar length that keep ratings of one mixture together.

The order depends only on seed and epoch, so that a run can resume from any step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["equal_batches", "plan_epoch"]

Rows = NDArray[np.int64]


def plan_epoch(
    mixtures: Sequence[int] | Rows,
    frames: Sequence[int] | Rows,
    *,
    seed: int,
    epoch: int,
    max_frames: int,
    together: int,
) -> list[Rows]:
    """Returns the batches of one epoch, which contain every row once.

    Args:
        mixtures: index of each row's mixture.
        frames: length of each row.
        seed: seed of the order.
        epoch: number of the epoch, from 0.
        max_frames: of a batch, number of rows times the longest; a single mixture may exceed it.
        together: maximum number of rows of one mixture per batch; the others go to further batches.
    """
    generator = np.random.default_rng([seed, epoch])
    lengths = np.asarray(frames)
    units = _units(np.asarray(mixtures), generator, together)
    order = generator.permutation(len(units))
    longest = np.array([lengths[units[at]].max() for at in order])
    batches: list[list[Rows]] = []
    rows, most = 0, 0
    for place in np.argsort(longest, kind="stable"):
        unit, size = units[order[place]], int(longest[place])
        if not batches or (rows + len(unit)) * max(most, size) > max_frames:
            batches.append([])
            rows, most = 0, 0
        batches[-1].append(unit)
        rows, most = rows + len(unit), max(most, size)
    found = [np.concatenate(batch) for batch in batches]
    return [found[at] for at in generator.permutation(len(found))]


def equal_batches(frames: Sequence[int] | Rows, max_frames: int) -> list[Rows]:
    """Returns batches of rows of exactly equal length, in order, for rating without padding."""
    lengths = np.asarray(frames)
    found = []
    for size in np.unique(lengths):
        rows = np.flatnonzero(lengths == size)
        count = max(1, max_frames // max(1, int(size)))
        found += [rows[at : at + count] for at in range(0, len(rows), count)]
    return found


def _units(mixtures: Rows, generator: np.random.Generator, together: int) -> list[Rows]:
    """Returns shuffled groups of at most ``together`` rows of one mixture."""
    shuffled = generator.permutation(len(mixtures))
    order = shuffled[np.argsort(mixtures[shuffled], kind="stable")]
    ends = np.flatnonzero(np.diff(mixtures[order])) + 1
    groups = np.split(order, ends)
    return [group[at : at + together] for group in groups for at in range(0, len(group), together)]
