"""`fad` and `kad` of sets of vectors: closed forms, scipy and plain loops as oracles, and what must change nothing."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.distributions import DISTANCES, Distance, Embeddings, fad, kad
from sam_audio_bench.metrics.functional.distributions import frechet_distance, kernel_distance, median_distance

Floats = NDArray[np.float64]
MEASURES = pytest.mark.parametrize("measure", [fad, kad])


def vectors(count: int, width: int = 4, seed: int = 0, *, mean: float = 0.0, spread: float = 1.0) -> Floats:
    return mean + spread * np.random.default_rng(seed).normal(size=(count, width))


def recordings(count: int, windows: int = 3, prefix: str = "r") -> list[str]:
    return [f"{prefix}{place:03d}" for place in range(count) for _ in range(windows)]


def sets(count: int = 40, *, apart: float = 1.0, shared: bool = True, seed: int = 0) -> tuple[Embeddings, Embeddings]:
    groups = recordings(count)
    x, y = vectors(3 * count, seed=seed, mean=apart), vectors(3 * count, seed=seed + 1)
    other = groups if shared else recordings(count, prefix="other")
    return Embeddings(vectors=x, groups=groups), Embeddings(vectors=y, groups=other)


# --- the formulas


@pytest.mark.parametrize(("count", "others", "width"), [(200, 150, 5), (30, 300, 12), (40, 40, 20)])
def test_frechet_distance_is_that_of_sqrtm(count: int, others: int, width: int) -> None:
    mixing = np.random.default_rng(9).normal(size=(width, width))
    x, y = vectors(count, width, 1) @ mixing, vectors(others, width, 2, mean=0.3)
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.real(scipy.linalg.sqrtm(a @ b))
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_diagonal_covariances_is_a_sum() -> None:
    """(m - n)² + (s - t)² in each direction, for vectors whose moments are exact."""
    signs = np.array([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)]) * math.sqrt(3 / 4)  # covariance 1
    x, y = signs * [2.0, 3.0] + [1.0, -1.0], signs * [5.0, 1.0]
    assert frechet_distance(x, y) == pytest.approx(1 + 1 + 9 + 4, abs=1e-12)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-12)


def test_fewer_vectors_than_dimensions_are_no_trouble() -> None:
    x, y = vectors(3, 50, 1), vectors(4, 50, 2)
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    values = np.linalg.eigvals(a @ b).real.clip(min=0)
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b) - 2 * np.sqrt(values).sum()
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-5)


def kernel(one: Floats, other: Floats, bandwidth: float) -> float:
    return math.exp(-sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) / (2 * bandwidth**2))


def test_kernel_distance_is_the_published_mean_over_pairs() -> None:
    x, y = vectors(7, 3, 1, mean=0.5), vectors(9, 3, 2)
    width = np.median([math.dist(y[i], y[j]) for i in range(9) for j in range(i)])
    assert median_distance(y) == pytest.approx(width, rel=1e-12)
    xx = np.mean([kernel(x[i], x[j], width) for i in range(7) for j in range(7) if i != j])
    yy = np.mean([kernel(y[i], y[j], width) for i in range(9) for j in range(9) if i != j])
    xy = np.mean([kernel(a, b, width) for a in x for b in y])
    assert kernel_distance(x, y) == pytest.approx(100 * (xx + yy - 2 * xy), rel=1e-10)


def test_pairs_of_one_recording_are_left_out() -> None:
    x, y, one, other = vectors(6, 3, 1, mean=0.5), vectors(5, 3, 2), "aabbcc", "bbccd"
    width = median_distance(y)
    means = []
    for (first, names), (second, others) in (((x, one), (x, one)), ((y, other), (y, other)), ((x, one), (y, other))):
        means.append(
            np.mean([kernel(a, b, width) for a, p in zip(first, names, strict=True)
                     for b, q in zip(second, others, strict=True) if p != q])
        )  # fmt: skip
    expected = 100 * (means[0] + means[1] - 2 * means[2])
    assert kernel_distance(x, y, groups=(one, other)) == pytest.approx(expected, rel=1e-10)
    found = kad(Embeddings(vectors=x, groups=list(one)), Embeddings(vectors=y, groups=list(other)))
    assert found.value == pytest.approx(expected, abs=1e-3)
    assert found.plain == pytest.approx(kernel_distance(x, y), abs=1e-3)


def test_kernel_distance_agrees_with_scikit_learn() -> None:
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    x, y = vectors(60, 8, 1, mean=0.2), vectors(50, 8, 2)
    gamma = 1 / (2 * median_distance(y) ** 2)
    xx, yy, xy = (pairwise.rbf_kernel(a, b, gamma) for a, b in ((x, x), (y, y), (x, y)))
    unbiased = [(table.sum() - len(table)) / (len(table) * (len(table) - 1)) for table in (xx, yy)]
    assert kernel_distance(x, y) == pytest.approx(100 * (sum(unbiased) - 2 * xy.mean()), rel=1e-9)


def test_kernel_distance_is_unbiased() -> None:
    """Its mean over many small sets is the closed form of two normal distributions at a given bandwidth."""
    width, shift, bandwidth, reps = 3, 0.8, 1.5, 400

    def mean(apart: float) -> float:  # of the kernel, over x - y of covariance 2
        total = 2 + bandwidth**2
        return (bandwidth**2 / total) ** (width / 2) * math.exp(-width * apart**2 / (2 * total))

    found = [
        kernel_distance(vectors(8, width, 2 * seed, mean=shift), vectors(6, width, 2 * seed + 1), bandwidth=bandwidth)
        for seed in range(reps)
    ]
    expected = 100 * 2 * (mean(0) - mean(shift))
    assert abs(np.mean(found) - expected) < 4 * np.std(found) / math.sqrt(reps)
    alike = [kernel_distance(vectors(8, width, seed), vectors(6, width, seed + reps), bandwidth=bandwidth)
             for seed in range(reps)]  # fmt: skip
    assert abs(np.mean(alike)) < 4 * np.std(alike) / math.sqrt(reps)
    assert min(alike) < 0


# --- of sets


def test_a_set_has_no_distance_from_itself() -> None:
    _, reference = sets()
    for measure in (fad, kad):
        found = measure(reference, reference)
        assert found.value == pytest.approx(0, abs=1e-9)
        assert found.shared
    assert kad(reference, reference).plain < 0  # as published: pairs of a vector with itself count on one side alone


@MEASURES
@pytest.mark.parametrize("shared", [True, False])
def test_order_changes_nothing(measure, shared: bool) -> None:
    answers, reference = sets(shared=shared)
    order = np.random.default_rng(5).permutation(len(answers.groups))
    shuffled = [
        Embeddings(vectors=one.vectors[order], groups=[one.groups[place] for place in order])
        for one in (answers, reference)
    ]
    assert measure(*shuffled, draws=20) == measure(answers, reference, draws=20)


@MEASURES
@given(gain=st.floats(0.01, 100), offset=st.floats(-10, 10))
@settings(max_examples=10)
def test_moving_and_turning_both_sets(measure, gain: float, offset: float) -> None:
    """Squared for `fad`; a bandwidth that follows the reference set makes `kad` blind to a common gain."""
    answers, reference = sets(12)
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(4, 4)))
    moved = [Embeddings(vectors=gain * one.vectors @ turn + offset, groups=one.groups) for one in (answers, reference)]
    before, after = measure(answers, reference, draws=4), measure(*moved, draws=4)
    assert after.plain == pytest.approx(before.plain * (gain**2 if measure is fad else 1), rel=1e-4)


def test_extrapolation_removes_what_few_vectors_add() -> None:
    """Two samples of one distribution: far apart by the formula, next to nothing at infinity."""
    plain, value = zip(*((one.plain, one.value) for seed in range(0, 10, 2)
                         if (one := fad(*sets(apart=0.0, seed=seed), draws=40))), strict=True)  # fmt: skip
    assert np.mean(plain) > 0.05
    assert abs(np.mean(value)) < 0.2 * np.mean(plain)
    assert min(one.r2 for one in (fad(*sets(apart=0.0), draws=40),)) > 0.9


@MEASURES
def test_a_larger_distance_is_larger(measure) -> None:
    near, far = (measure(*sets(apart=apart), draws=20) for apart in (0.5, 1.5))
    assert near.high < far.low
    assert near.low < near.value < near.high


@MEASURES
def test_a_reference_set_of_others_stays_as_it_is(measure) -> None:
    answers, reference = sets(shared=False)
    found = measure(answers, reference, draws=50)
    assert not found.shared
    renamed = Embeddings(
        vectors=reference.vectors, groups=["one", *recordings(40, prefix="x")][: len(reference.groups)]
    )
    assert measure(answers, renamed, draws=50).plain == found.plain
    if measure is fad:  # which recordings a reference set is of does not matter to it
        assert measure(answers, renamed, draws=50).value == pytest.approx(found.value, rel=1e-5)


def test_what_is_too_little_to_rank_is_told() -> None:
    small = fad(*sets(20))
    assert small.not_ranked == "20 recordings, of at least 30"
    assert small.value is not None
    wide = [Embeddings(vectors=vectors(120, 64, seed), groups=recordings(40)) for seed in (0, 1)]
    assert fad(*wide, draws=4).not_ranked == (
        "120 windows of estimates, of at least 128; 120 windows of the reference set, of at least 128"
    )
    assert kad(*wide, draws=4).not_ranked == ""
    tiny = fad(*sets(5))
    assert (tiny.value, tiny.low, tiny.high, tiny.r2) == (None, None, None, None)
    assert tiny.plain > 0
    tiny = kad(*sets(5))
    assert tiny.value is not None
    assert tiny.low is None
    assert set(asdict(tiny)) == set(Distance.__dataclass_fields__)
    assert {*DISTANCES} == {"fad", "kad"}
    assert not any(card.higher_is_better for card in DISTANCES.values())


@MEASURES
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"vectors": np.full((2, 4), np.nan), "groups": ["a", "b"]}, "all finite, found NaN"),
        (
            {"vectors": vectors(1), "groups": ["a"]},
            "at least two embeddings of sounds in each set, all finite, found 1",
        ),
        ({"vectors": vectors(5), "groups": ["a"]}, "a group for each of the vectors"),
        ({"vectors": vectors(3, 7), "groups": ["a", "b", "c"]}, "found widths 7 and 4"),
        (
            {"vectors": vectors(3), "groups": ["a", "b", "c"], "model": {"model": "other"}},
            "one model, found model other",
        ),
    ],
)
def test_sets_that_cannot_be_compared(measure, change: dict[str, object], told: str) -> None:
    _, reference = sets()
    with pytest.raises(UsageError, match=told):
        measure(Embeddings(**change), reference)  # type: ignore[arg-type]


def test_kad_wants_different_sounds_of_two_recordings() -> None:
    same = Embeddings(vectors=np.ones((4, 4)), groups=recordings(4, 1))
    with pytest.raises(UsageError, match="a reference set of different sounds"):
        kad(sets()[0], same)
    single = Embeddings(vectors=vectors(4), groups=["a"] * 4)
    for pair in ((single, sets()[1]), (sets()[0], single)):
        with pytest.raises(UsageError, match="at least two recordings in each set"):
            kad(*pair)
    with pytest.raises(UsageError, match="at least two recordings in each set"):
        kernel_distance(vectors(4), vectors(4, seed=1), groups=("aaaa", "abcd"))
    with pytest.raises(UsageError, match="widths"):
        kernel_distance(vectors(4), vectors(4, 5))
    with pytest.raises(UsageError, match="2 draws"):
        kad(*sets(), draws=1)
