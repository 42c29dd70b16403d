"""`fad` and `kad`: how far the answers of a run, taken together, are from a reference set of sounds.

A number of a set and not of an item: `sabench distance` measures runs, and here are the same for any two sets of
embeddings. Both have intervals by the delete-half jackknife over recordings (Shao and Tu, *The Jackknife and
Bootstrap*, 1995, §2.3): half of the recordings are drawn without replacement, again and again, and the spread of what
they give is that of the whole. A bootstrap draws recordings twice, and vectors that are there twice make covariances
smaller and kernel values 1, so that it is centred on another number.

Where answers and reference set share recordings, a recording is drawn on both sides at once; else the reference set
stays as it is, being part of what the number is.
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
    FEWEST_RECORDINGS,
    FEWEST_WINDOWS,
    EmbeddingIdentity,
)
from sam_audio_bench.metrics.functional.distributions import (
    SCALE,
    frechet_between,
    gaussian,
    kernel_sums,
    median_distance,
)

__all__ = ["DISTANCES", "Distance", "Embeddings", "fad", "kad"]

FEWEST_DRAWN = 6
"""Recordings, without which nothing is extrapolated and there are no intervals."""

_SIZES = 4  # of subsets between a half and the whole
_SUBSETS = 10  # of each of these sizes
_Z = 1.959964  # of a normal distribution, 95 %
_DIGITS = 5  # of the largest number of a result: above what threads and the order of a sum change
_FINEST = 9  # decimals, of numbers that rounding alone tells from 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Embeddings:
    """A set of sounds in the space of a model.

    Args:
        vectors: ``[N, D]``, of N windows of sound.
        groups: [N], the recording that each window was cut from: the unit that is drawn.
        model: what the vectors were made by; sets compare where all of it is equal.

    Raises:
        UsageError: not one group a vector.
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
    """One number of a set of answers.

    ``value`` of `fad` is the intercept of a line in 1/n; ``plain`` is the number by the formula as first published: the
    Fréchet distance of all vectors, or the kernel distance over all pairs. Five digits of the largest are kept.
    """

    metric: str
    value: float | None = None  # None: too few recordings to extrapolate, or none to measure
    low: float | None = None
    high: float | None = None  # of 95 %; None: too few recordings
    plain: float | None = None
    windows: int
    recordings: int
    reference_windows: int | None = None
    reference_recordings: int | None = None
    width: int | None = None  # of the embedding
    shared: bool | None = None  # whether both sides are of the same recordings
    r2: float | None = None  # of the line; None: no line, or `kad`
    bandwidth: float | None = None  # of the kernel
    not_ranked: str = ""  # why the value orders nothing; empty: it may


def fad(answers: Embeddings, reference: Embeddings, *, draws: int = 200, seed: int = 0) -> Distance:
    """The Fréchet audio distance, extrapolated to infinitely many sounds.

    Kilgour et al., Interspeech 2019, with the extrapolation of Gui et al., ICASSP 2024 (arXiv:2311.01616): a line by
    least squares through the mean distance of random subsets, from half of the recordings to all, against one over
    their number; its intercept. Of answers alone where the reference set is of other recordings, of both else. May be
    negative where the sets hardly differ.

    Args:
        answers: what is judged.
        reference: what it is held against.
        draws: halves of the recordings that the interval rests on, at least 2.
        seed: of the draws.

    Raises:
        UsageError: sets by different models, fewer than two vectors, or one that is not finite.
    """
    sets = _Sets(answers, reference, draws)
    fixed = gaussian(sets.y)

    def value(chosen: NDArray[np.intp]) -> float:
        x = sets.of(0, chosen)
        y = sets.of(1, chosen) if sets.shared else sets.y
        if min(len(x), len(y)) < 2:
            return math.nan
        return frechet_between(gaussian(x), gaussian(y) if sets.shared else fixed)

    plain = frechet_between(gaussian(sets.x), fixed)
    generator = np.random.Generator(np.random.PCG64(seed))
    halves = sets.halves(value, generator)
    intercept, r2 = (None, None) if halves is None else _extrapolated(sets, value, plain, halves, generator)
    wanted = FEWEST_WINDOWS * sets.width
    lacking = [
        f"{count} windows of {what}, of at least {wanted}" for what, count in
        (("answers", len(sets.x)), ("the reference set", len(sets.y))) if count < wanted
    ]  # fmt: skip
    return sets.distance("fad", intercept, plain, halves, lacking, r2=_shown(r2, 1.0))


def kad(answers: Embeddings, reference: Embeddings, *, draws: int = 200, seed: int = 0) -> Distance:
    """The kernel audio distance: 100 times the unbiased squared MMD, Gaussian kernel.

    Chung et al., arXiv:2502.15602; see `functional.distributions.kernel_distance`. The bandwidth is the median distance
    in the reference set, also where half of the recordings are drawn. Pairs of one recording are left out; ``plain``
    has all. May be negative where the sets hardly differ.

    Args and errors as `fad`; also a reference set of equal sounds, or answers of a single recording.
    """
    sets = _Sets(answers, reference, draws)
    bandwidth = median_distance(sets.y)
    places = sets.places if sets.shared else [np.unique(place, return_inverse=True)[1] for place in sets.places]
    sizes = [len(sets.names)] * 2 if sets.shared else [len(sets.answer_places), len(sets.reference_places)]
    xx, yy = (
        kernel_sums(one, one, (place, place), size, bandwidth)
        for one, place, size in zip((sets.x, sets.y), places, sizes, strict=True)
    )
    beside = places[1] if sets.shared else np.zeros_like(places[1])  # a reference set that stays is one recording
    xy = kernel_sums(sets.x, sets.y, (places[0], beside), sizes[0], bandwidth)
    rest = yy.mean()

    def value(chosen: NDArray[np.intp]) -> float:
        if sets.shared:
            return SCALE * (xx.mean(chosen) + yy.mean(chosen) - 2 * xy.mean(chosen))
        rows = np.searchsorted(sets.answer_places, chosen)
        between = float(xy.sums[rows, 0].sum() / xy.pairs[rows, 0].sum())
        return SCALE * (xx.mean(rows) + rest - 2 * between)

    whole = value(sets.drawn)
    if math.isnan(whole):
        raise UsageError("expected sounds of at least two recordings in each set, found one; measure fad alone")
    plain = SCALE * (xx.whole_mean() + yy.whole_mean() - 2 * xy.whole_mean())
    halves = sets.halves(value, np.random.Generator(np.random.PCG64(seed)))
    return sets.distance("kad", whole, plain, halves, [], bandwidth=_shown(bandwidth, bandwidth))


class _Sets:
    """Vectors of both sides in the order of their recordings' names, and the recordings that are drawn."""

    def __init__(self, answers: Embeddings, reference: Embeddings, draws: int) -> None:
        if dict(answers.model) != dict(reference.model):
            raise UsageError(
                f"expected answers and reference set in the space of one model, found {_told(answers.model)} and "
                f"{_told(reference.model)}; embed one of them again"
            )
        if draws < 2:
            raise UsageError(f"expected at least 2 draws, found {draws}")
        sides = [self._ordered(one) for one in (answers, reference)]
        self.names = sorted({*answers.groups, *reference.groups})
        number = {name: place for place, name in enumerate(self.names)}
        self.x, self.y = (vectors for vectors, _ in sides)
        self.places = [np.array([number[name] for name in groups], dtype=np.intp) for _, groups in sides]
        self.answer_places, self.reference_places = (np.unique(place) for place in self.places)
        self.shared = bool(np.isin(self.answer_places, self.reference_places).any())
        self.drawn = np.arange(len(self.names)) if self.shared else self.answer_places
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

    def of(self, side: int, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
        """The vectors of some recordings."""
        return (self.x, self.y)[side][np.isin(self.places[side], chosen)]

    def halves(
        self, value: Callable[[NDArray[np.intp]], float], generator: np.random.Generator
    ) -> NDArray[np.float64] | None:
        """The value of random halves of the recordings; None where there are too few, or a half has no value."""
        if min(len(self.answer_places), len(self.drawn)) < FEWEST_DRAWN:
            return None
        half = len(self.drawn) // 2
        found = np.array([value(generator.permutation(self.drawn)[:half]) for _ in range(self.draws)])
        return found if np.isfinite(found).all() else None

    def distance(
        self, metric: str, value: float | None, plain: float, halves: NDArray[np.float64] | None,
        lacking: Sequence[str], **more: Any,
    ) -> Distance:  # fmt: skip
        """The result with its interval: a half varies as much as the whole, but for an odd recording."""
        low = high = None
        scale = max(abs(plain), abs(value or 0.0))
        if value is not None and halves is not None:
            count, half = len(self.drawn), len(self.drawn) // 2
            error = _Z * float(halves.std(ddof=1)) * math.sqrt(half / (count - half))
            low, high, scale = value - error, value + error, scale + error
        recordings = len(self.answer_places)
        if recordings < FEWEST_RECORDINGS:
            lacking = [f"{recordings} recordings, of at least {FEWEST_RECORDINGS}", *lacking]
        return Distance(
            metric=metric,
            value=_shown(value, scale),
            low=_shown(low, scale),
            high=_shown(high, scale),
            plain=_shown(plain, scale),
            windows=len(self.x),
            recordings=recordings,
            reference_windows=len(self.y),
            reference_recordings=len(self.reference_places),
            width=self.width,
            shared=self.shared,
            not_ranked="; ".join(lacking),
            **more,
        )


def _extrapolated(
    sets: _Sets, value: Callable[[NDArray[np.intp]], float], plain: float, halves: NDArray[np.float64],
    generator: np.random.Generator,
) -> tuple[float, float | None]:  # fmt: skip
    """The intercept of a line against 1 / recordings, and R² of the line."""
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


def _shown(value: float | None, scale: float) -> float | None:
    """Rounded to digits of a number of some scale; no negative zero."""
    if value is None or not scale > 0:
        return value
    return round(value, min(_FINEST, _DIGITS - 1 - math.floor(math.log10(scale)))) + 0.0


def _told(model: EmbeddingIdentity) -> str:
    return ", ".join(f"{name} {value}" for name, value in model.items()) or "no model that is named"
