"""Distances between two sets of vectors, in float64. Shape legend: N and M vectors, of dimension D, of G recordings.

Everything is a sum in a fixed order or a decomposition of matrices of at most D rows, so that neither the order of the
vectors nor the number of threads changes more than the last digits.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist

from sam_audio_bench.errors import UsageError

__all__ = [
    "Gaussian",
    "KernelSums",
    "fit_gaussian",
    "frechet_distance",
    "gaussian_frechet_distance",
    "kernel_distance",
    "kernel_sums",
    "median_distance",
]

SCALE = 100.0
"""Factor of kernel distances, as published."""

_BLOCK = 1 << 22  # kernel values at once
_MAX_VECTORS = 4000  # whose pairwise distances a median is computed from

Floats = NDArray[np.float64]


class Gaussian(NamedTuple):
    """Mean ``[D]`` of vectors, and a root ``R [min(N, D), D]`` of their covariance ``Rᵀ R``."""

    mean: Floats
    root: Floats


def fit_gaussian(vectors: NDArray[Any]) -> Gaussian:
    """Fits a normal distribution by mean and covariance (divisor N - 1) to vectors ``[N, D]``.

    Raises:
        UsageError: there are fewer than two vectors, or one is not finite.
    """
    values = _checked(vectors)
    mean = values.mean(axis=0)
    centred = (values - mean) / np.sqrt(len(values) - 1)
    root: Floats = np.asarray(np.linalg.qr(centred, mode="r")) if len(values) > values.shape[1] else centred
    return Gaussian(mean, root)


def gaussian_frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """Computes the squared Fréchet (2-Wasserstein) distance of two normal distributions (Dowson and Landau, 1982).

    ``|a - b|² + tr(A + B - 2 (A B)^½)``, with the last trace as the sum of the singular values of a product of roots
    of A and B, which needs no matrix square root and also holds for covariances without full rank.
    """
    apart = one.mean - other.mean
    shared = np.linalg.svd(one.root @ other.root.T, compute_uv=False).sum()
    spread = np.square(one.root).sum() + np.square(other.root).sum()
    return float(np.square(apart).sum() + spread - 2 * shared)


def frechet_distance(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Computes the Fréchet distance of vectors ``[N, D]`` and ``[M, D]``, which is biased upwards for few vectors.

    Source: Kilgour et al., "Fréchet audio distance", Interspeech 2019. Raises UsageError as `fit_gaussian`, and if the
    dimensions differ.

    >>> frechet_distance(np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]]))
    9.0
    """
    _check_same_width(x, y)
    return gaussian_frechet_distance(fit_gaussian(x), fit_gaussian(y))


def median_distance(vectors: NDArray[Any]) -> float:
    """Computes the median pairwise distance of vectors ``[N, D]``; beyond 4000, of every k-th in sorted order.

    Raises:
        UsageError: as for `fit_gaussian`, or half of the pairs are equal, so that the median is 0.
    """
    values = _checked(vectors)
    if (step := -(-len(values) // _MAX_VECTORS)) > 1:
        values = values[np.lexsort(values.T[::-1])][::step]
    found = float(np.median(pdist(values)))
    if not found > 0:
        raise UsageError(
            f"expected a reference set of different sounds, found {len(vectors)} embeddings whose median distance is 0"
        )
    return found


class KernelSums(NamedTuple):
    """Sums of kernel values over pairs of vectors of G recordings, and the numbers of pairs: ``[G, G]`` each."""

    sums: Floats
    pairs: Floats

    def mean_between_recordings(self, chosen: NDArray[np.intp] | None = None) -> float:
        """Returns the mean over pairs of different recordings, of all or the chosen ones; NaN if there are none."""
        sums, pairs = self if chosen is None else (table[np.ix_(chosen, chosen)] for table in self)
        count = pairs.sum() - np.trace(pairs)
        return float((sums.sum() - np.trace(sums)) / count) if count else float("nan")

    def mean_of_all_pairs(self) -> float:
        """Returns the mean over all pairs, including those within a recording; NaN if there are none."""
        count = self.pairs.sum()
        return float(self.sums.sum() / count) if count else float("nan")


def kernel_sums(
    x: NDArray[Any], y: NDArray[Any], places: tuple[NDArray[np.intp], NDArray[np.intp]], size: int, bandwidth: float
) -> KernelSums:
    """Sums ``exp(-|a - b|² / (2 bandwidth²))`` over vectors a and b per pair of recordings.

    If ``x is y``, pairs of a vector with itself are excluded.

    Args:
        x: ``[N, D]``.
        y: ``[M, D]``.
        places: indices of the vectors' recordings, ``[N]`` and ``[M]``.
        size: number of recordings, G.
        bandwidth: above 0, in the unit of the vectors.
    """
    ones, others = (np.asarray(some, dtype=np.float64) for some in (x, y))
    sums, rows, step = np.zeros((size, size)), places[0], max(1, _BLOCK // len(others))
    for recording in np.unique(rows):
        members = np.flatnonzero(rows == recording)
        for start in range(0, len(members), step):
            own = members[start : start + step]
            values = np.exp(cdist(ones[own], others, "sqeuclidean") / (-2 * bandwidth**2))
            if y is x:
                values[np.arange(len(own)), own] = 0.0
            sums[recording] += np.bincount(places[1], weights=values.sum(axis=0), minlength=size)
    counts = [np.bincount(place, minlength=size).astype(np.float64) for place in places]
    pairs = np.outer(*counts)
    return KernelSums(sums, pairs - np.diag(counts[0]) if y is x else pairs)


def kernel_distance(
    x: NDArray[Any],
    y: NDArray[Any],
    *,
    bandwidth: float | None = None,
    groups: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
) -> float:
    """Computes 100 times the unbiased squared maximum mean discrepancy with a Gaussian kernel; may be negative.

    Source: Chung et al., "KAD: no more FAD!", arXiv:2502.15602, after Gretton et al., JMLR 2012. If a
    recording has vectors in both sets, or several in one, they are not independent, and the published mean over all
    pairs is biased; with ``groups``, pairs within a recording are excluded from all three means.

    Args:
        x: ``[N, D]``, of the estimates.
        y: ``[M, D]``, of the reference set.
        bandwidth: bandwidth of the kernel; None: `median_distance` of the reference set.
        groups: the vectors' recordings, ``[N]`` and ``[M]``; None: each vector is a recording of its own.

    Raises:
        UsageError: as for `fit_gaussian` and `median_distance`, or the dimensions differ, or a set has fewer than two
            recordings.
    """
    _check_same_width(x, y)
    ones, others = _checked(x), _checked(y)
    width = median_distance(others) if bandwidth is None else bandwidth
    if groups is None:
        places = [np.zeros(len(some), dtype=np.intp) for some in (ones, others)]
        size, mean = 1, KernelSums.mean_of_all_pairs
    else:
        names = {name: place for place, name in enumerate(dict.fromkeys([*groups[0], *groups[1]]))}
        places = [np.array([names[name] for name in some], dtype=np.intp) for some in groups]
        size, mean = len(names), KernelSums.mean_between_recordings
        if min(len(set(some)) for some in groups) < 2:
            raise UsageError("expected sounds of at least two recordings in each set, found one")
    within = [mean(kernel_sums(some, some, (place, place), size, width))
              for some, place in zip((ones, others), places, strict=True)]  # fmt: skip
    return SCALE * (sum(within) - 2 * mean(kernel_sums(ones, others, (places[0], places[1]), size, width)))


def _checked(vectors: NDArray[Any]) -> Floats:
    values = np.asarray(vectors, dtype=np.float64)
    if values.ndim != 2 or len(values) < 2 or not values.shape[1]:
        raise UsageError(f"expected at least two embeddings [N, D], found an array of shape {values.shape}")
    if not np.isfinite(values).all():
        raise UsageError("expected finite embeddings, found NaN or infinity; leave such sounds out")
    return values


def _check_same_width(x: NDArray[Any], y: NDArray[Any]) -> None:
    if np.shape(x)[1:] != np.shape(y)[1:]:
        raise UsageError(
            f"expected two sets of embeddings by one model, found widths {np.shape(x)[1:]} and {np.shape(y)[1:]}"
        )
