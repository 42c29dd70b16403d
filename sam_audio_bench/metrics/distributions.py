"""`fad` and `kad`: distances between all estimates of a run and a reference set of sounds.

They are defined for sets, not for items: `sabench distance` measures runs, and the functions here any two sets of
embeddings. Both have intervals by the delete-half jackknife over recordings (Shao and Tu, *The Jackknife and
Bootstrap*, 1995, §2.3): half of the recordings are drawn repeatedly without replacement, and the spread of the values
of the halves estimates that of the whole. A bootstrap would draw recordings twice, and duplicate vectors make
covariances smaller and kernel values 1, so that its values are biased.

If estimates and reference set share recordings, a recording is drawn from both sets at once; otherwise the reference
set is fixed, as part of the definition of the number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.distance_catalogue import (
    DISTANCES,
    MIN_RECORDINGS,
    MIN_WINDOWS_PER_DIMENSION,
    EmbeddingIdentity,
)
from sam_audio_bench.metrics.functional.distributions import (
    SCALE,
    fit_gaussian,
    gaussian_frechet_distance,
    kernel_sums,
    median_distance,
)

__all__ = ["DISTANCES", "Distance", "Embeddings", "fad", "kad"]

MIN_RECORDINGS_FOR_INTERVAL = 6
"""Minimum number of recordings for the extrapolation and for intervals."""

_SIZES = 4  # number of subset sizes between a half and the whole
_SUBSETS = 10  # subsets per size
_Z = 1.959964  # quantile of the normal distribution for 95 %
_DIGITS = 5  # significant digits of a result's largest number: threads and the order of sums only change later ones
_FINEST = 9  # maximum number of decimals: beyond, only rounding distinguishes a number from 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Embeddings:
    """Embeddings of a set of sounds.

    Args:
        vectors: ``[N, D]``, of N windows of sound.
        groups: [N], the recording of each window: the unit of resampling.
        model: how the vectors were computed; sets are comparable if all of it is equal.

    Raises:
        UsageError: there is not one group per vector.
    """

    vectors: NDArray[Any]
    groups: Sequence[str]
    model: EmbeddingIdentity = field(default_factory=dict)

    def __post_init__(self) -> None:
        if np.ndim(self.vectors) != 2 or len(self.vectors) != len(self.groups):
            shape = np.shape(self.vectors)
            raise UsageError(f"expected a group for each of the vectors [N, D], found {len(self.groups)} for {shape}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """The distance of a set of estimates from a reference set.

    ``value`` of `fad` is the intercept of a line in 1/n; ``plain`` is the value of the formula as first published: the
    Fréchet distance of all vectors, or the kernel distance over all pairs. Rounded to five digits of the largest.
    """

    metric: str
    value: float | None = None  # None: too few recordings for the extrapolation, or none at all
    low: float | None = None
    high: float | None = None  # 95 % interval; None: too few recordings
    plain: float | None = None
    windows: int
    recordings: int
    reference_windows: int | None = None
    reference_recordings: int | None = None
    width: int | None = None  # of the embedding
    shared: bool | None = None  # whether both sets are of the same recordings
    r2: float | None = None  # R² of the line; None: no line, or `kad`
    bandwidth: float | None = None  # of the kernel
    not_ranked: str = ""  # why the value must not be used for ranking; empty: it may be


def fad(answers: Embeddings, reference: Embeddings, *, draws: int = 200, seed: int = 0) -> Distance:
    """Computes the Fréchet audio distance, extrapolated to infinitely many sounds.

    Kilgour et al., Interspeech 2019, with the extrapolation of Gui et al., ICASSP 2024 (arXiv:2311.01616): the
    intercept of a least-squares line through the mean distances of random subsets, from half of the recordings to all,
    against the reciprocal of their number. Subsets are drawn from both sets if they are of the same recordings,
    otherwise from the estimates only. May be negative if the sets hardly differ.

    Args:
        answers: embeddings of the estimates.
        reference: embeddings of the reference set.
        draws: number of random halves of the recordings for the interval, at least 2.
        seed: seed of the draws.

    Raises:
        UsageError: the sets are by different models, have fewer than two vectors, or are not finite.
    """
    sets = _Sets(answers, reference, draws)
    fixed = fit_gaussian(sets.y)

    def value(chosen: NDArray[np.intp]) -> float:
        x = sets.select(0, chosen)
        y = sets.select(1, chosen) if sets.shared else sets.y
        if min(len(x), len(y)) < 2:
            return math.nan
        return gaussian_frechet_distance(fit_gaussian(x), fit_gaussian(y) if sets.shared else fixed)

    plain = gaussian_frechet_distance(fit_gaussian(sets.x), fixed)
    generator = np.random.Generator(np.random.PCG64(seed))
    halves = sets.halves(value, generator)
    intercept, r2 = (None, None) if halves is None else _extrapolate(sets, value, plain, halves, generator)
    required = MIN_WINDOWS_PER_DIMENSION * sets.width
    shortages = [
        f"{count} windows of {what}, of at least {required}" for what, count in
        (("estimates", len(sets.x)), ("the reference set", len(sets.y))) if count < required
    ]  # fmt: skip
    return sets.distance("fad", intercept, plain, halves, shortages, r2=_rounded(r2, 1.0))


def kad(answers: Embeddings, reference: Embeddings, *, draws: int = 200, seed: int = 0) -> Distance:
    """Computes the kernel audio distance: 100 times the unbiased squared MMD with a Gaussian kernel.

    Chung et al., arXiv:2502.15602; see `functional.distributions.kernel_distance`. The bandwidth is the median distance
    in the whole reference set, also for halves of it. Pairs within one recording are excluded, except in ``plain``. May
    be negative if the sets hardly differ.

    Args and errors as for `fad`; a reference set of equal sounds and estimates of a single recording raise UsageError.
    """
    sets = _Sets(answers, reference, draws)
    bandwidth = median_distance(sets.y)
    places = sets.places if sets.shared else [np.unique(place, return_inverse=True)[1] for place in sets.places]
    sizes = [len(sets.names)] * 2 if sets.shared else [len(sets.estimate_recordings), len(sets.reference_recordings)]
    xx, yy = (
        kernel_sums(one, one, (place, place), size, bandwidth)
        for one, place, size in zip((sets.x, sets.y), places, sizes, strict=True)
    )
    beside = places[1] if sets.shared else np.zeros_like(places[1])  # a fixed reference set counts as one recording
    xy = kernel_sums(sets.x, sets.y, (places[0], beside), sizes[0], bandwidth)
    reference_mean = yy.mean_between_recordings()

    def value(chosen: NDArray[np.intp]) -> float:
        if sets.shared:
            return SCALE * (
                xx.mean_between_recordings(chosen)
                + yy.mean_between_recordings(chosen)
                - 2 * xy.mean_between_recordings(chosen)
            )
        rows = np.searchsorted(sets.estimate_recordings, chosen)
        between = float(xy.sums[rows, 0].sum() / xy.pairs[rows, 0].sum())
        return SCALE * (xx.mean_between_recordings(rows) + reference_mean - 2 * between)

    whole = value(sets.drawn)
    if math.isnan(whole):
        raise UsageError("expected sounds of at least two recordings in each set, found one; measure fad alone")
    plain = SCALE * (xx.mean_of_all_pairs() + yy.mean_of_all_pairs() - 2 * xy.mean_of_all_pairs())
    halves = sets.halves(value, np.random.Generator(np.random.PCG64(seed)))
    return sets.distance("kad", whole, plain, halves, [], bandwidth=_rounded(bandwidth, bandwidth))


class _Sets:
    """The vectors of both sets, sorted by the names of their recordings, and the recordings that are drawn from."""

    def __init__(self, answers: Embeddings, reference: Embeddings, draws: int) -> None:
        if dict(answers.model) != dict(reference.model):
            raise UsageError(
                f"expected answers and reference set in the space of one model, found {_describe(answers.model)} and "
                f"{_describe(reference.model)}; embed one of them again"
            )
        if draws < 2:
            raise UsageError(f"expected at least 2 draws, found {draws}")
        sides = [self._ordered(one) for one in (answers, reference)]
        self.names = sorted({*answers.groups, *reference.groups})
        number = {name: place for place, name in enumerate(self.names)}
        self.x, self.y = (vectors for vectors, _ in sides)
        self.places = [np.array([number[name] for name in groups], dtype=np.intp) for _, groups in sides]
        self.estimate_recordings, self.reference_recordings = (np.unique(place) for place in self.places)
        self.shared = bool(np.isin(self.estimate_recordings, self.reference_recordings).any())
        self.drawn = np.arange(len(self.names)) if self.shared else self.estimate_recordings
        self.width, self.draws = int(self.x.shape[1]), draws
        if self.width != self.y.shape[1]:
            raise UsageError(f"expected two sets by one model, found widths {self.width} and {self.y.shape[1]}")

    @staticmethod
    def _ordered(one: Embeddings) -> tuple[NDArray[np.float64], list[str]]:
        order = sorted(range(len(one.groups)), key=lambda place: str(one.groups[place]))
        vectors = np.asarray(one.vectors, dtype=np.float64)[order]
        if len(vectors) < 2 or not np.isfinite(vectors).all():
            found = "NaN or infinity" if len(vectors) > 1 else f"{len(vectors)}"
            raise UsageError(f"expected at least two embeddings of sounds in each set, all finite, found {found}")
        return vectors, [str(one.groups[place]) for place in order]

    def select(self, side: int, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
        """Returns the vectors of some recordings in the first or second set."""
        return (self.x, self.y)[side][np.isin(self.places[side], chosen)]

    def halves(
        self, value: Callable[[NDArray[np.intp]], float], generator: np.random.Generator
    ) -> NDArray[np.float64] | None:
        """Returns the values of random halves of the recordings; None if there are too few, or a half has no value."""
        if min(len(self.estimate_recordings), len(self.drawn)) < MIN_RECORDINGS_FOR_INTERVAL:
            return None
        half = len(self.drawn) // 2
        found = np.array([value(generator.permutation(self.drawn)[:half]) for _ in range(self.draws)])
        return found if np.isfinite(found).all() else None

    def distance(
        self, metric: str, value: float | None, plain: float, halves: NDArray[np.float64] | None,
        shortages: Sequence[str], **more: Any,
    ) -> Distance:  # fmt: skip
        """Returns the result with its interval: a half varies as much as the whole, except for an odd recording."""
        low = high = None
        scale = max(abs(plain), abs(value or 0.0))
        if value is not None and halves is not None:
            count, half = len(self.drawn), len(self.drawn) // 2
            error = _Z * float(halves.std(ddof=1)) * math.sqrt(half / (count - half))
            low, high, scale = value - error, value + error, scale + error
        recordings = len(self.estimate_recordings)
        if recordings < MIN_RECORDINGS:
            shortages = [f"{recordings} recordings, of at least {MIN_RECORDINGS}", *shortages]
        return Distance(
            metric=metric,
            value=_rounded(value, scale),
            low=_rounded(low, scale),
            high=_rounded(high, scale),
            plain=_rounded(plain, scale),
            windows=len(self.x),
            recordings=recordings,
            reference_windows=len(self.y),
            reference_recordings=len(self.reference_recordings),
            width=self.width,
            shared=self.shared,
            not_ranked="; ".join(shortages),
            **more,
        )


def _extrapolate(
    sets: _Sets, value: Callable[[NDArray[np.intp]], float], plain: float, halves: NDArray[np.float64],
    generator: np.random.Generator,
) -> tuple[float, float | None]:  # fmt: skip
    """Fits a line against 1 / recordings; returns its intercept and R²."""
    count, half = len(sets.drawn), len(sets.drawn) // 2
    between = np.round(1 / np.linspace(1 / count, 1 / half, _SIZES + 2)[1:-1]).astype(int)
    sizes, means = [count, half], [plain, float(halves.mean())]
    for size in sorted({*between.tolist()} - {count, half}):
        sizes.append(size)
        means.append(float(np.mean([value(generator.permutation(sets.drawn)[:size]) for _ in range(_SUBSETS)])))
    inverse, distances = 1 / np.array(sizes, dtype=np.float64), np.array(means)
    slope, intercept = np.polyfit(inverse, distances, 1)
    total = float(np.square(distances - distances.mean()).sum())
    left = float(np.square(distances - intercept - slope * inverse).sum())
    return float(intercept), 1 - left / total if total > 0 else None


def _rounded(value: float | None, scale: float) -> float | None:
    """Rounds to significant digits of a number of magnitude ``scale``; avoids negative zero."""
    if value is None or not scale > 0:
        return value
    return round(value, min(_FINEST, _DIGITS - 1 - math.floor(math.log10(scale)))) + 0.0


def _describe(model: EmbeddingIdentity) -> str:
    return ", ".join(f"{name} {value}" for name, value in model.items()) or "no model that is named"
