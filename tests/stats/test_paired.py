"""Two systems on the same items: the randomisation test against scipy, its error rate, and independence of order."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats import paired
from sam_audio_bench.stats.paired import (
    FEWEST_RECORDINGS,
    PairedComparison,
    Recordings,
    holm,
    paired_difference,
    swap_interval,
    swap_patterns,
    swap_test,
)


def test_all_ways_to_swap_are_scipy_s_permutation_test():
    """Of samples that are paired scipy swaps the pairs, and tries all ways where there are few."""
    rng = np.random.default_rng(0)
    for size in (2, 5, 9, 13):
        first, second = rng.normal(size=(2, size))
        expected = scipy.stats.permutation_test(
            (first, second), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
        )
        assert swap_test(second - first, range(size)) == pytest.approx(expected.pvalue)


def test_random_ways_to_swap_come_near():
    rng = np.random.default_rng(1)
    differences = rng.normal(0.4, 1, 40)
    t = scipy.stats.ttest_1samp(differences, 0).pvalue
    assert swap_test(differences, range(40), resamples=20_000) == pytest.approx(t, abs=0.005)


def test_very_many_recordings_are_a_t_test():
    differences = np.random.default_rng(4).normal(0.02, 1, 10_001)
    t = scipy.stats.ttest_1samp(differences, 0).pvalue
    assert swap_test(differences, range(10_001)) == pytest.approx(t, rel=0.02)
    assert swap_test(differences[1:], range(10_000)) == pytest.approx(t, abs=0.02)
    assert swap_test(differences * 0, range(10_001)) == 1.0
    expected = scipy.stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert swap_interval(differences, range(10_001)) == pytest.approx(expected, abs=2e-5)
    drawn = swap_interval(differences[1:], range(10_000))
    assert drawn == pytest.approx(expected, abs=2e-3)


@given(st.floats(0.02, 0.4), st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_of_very_many_recordings_too_an_interval_has_what_is_not_rejected(alpha, seed):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(10_050), rng.integers(1, 3, 10_050))
    differences = rng.normal(0.02, 1, len(groups))
    low, high = swap_interval(differences, groups, level=1 - alpha)
    for bound in (low, high):
        assert swap_test(differences - bound, groups) == pytest.approx(alpha, rel=1e-6)


def test_the_mean_its_interval_and_who_wins():
    first, second = [1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.5, 6.0]
    groups = ["x", "y", "y", "z"]
    found = paired_difference(first, second, groups)
    assert (found.first, found.second, found.value) == (2.5, 3.125, 0.625)
    assert (found.wins, found.ties, found.losses, found.n) == (2, 1, 1, 4)
    assert (found.low, found.high) == (None, None), "of three recordings no difference is significant"
    assert found.p == swap_test([1, 0, -0.5, 2], groups)
    smaller = paired_difference(first, second, groups, higher_is_better=False, tie=0.5)
    assert (smaller.value, smaller.wins, smaller.ties, smaller.losses) == (0.625, 0, 2, 2)


def test_one_recording_tells_nothing_of_others():
    found = paired_difference([1.0, 2.0], [3.0, 4.0], ["x", "x"])
    assert (found.value, found.low, found.high, found.p, found.wins) == (2.0, None, None, None, 2)
    nothing = paired_difference([], [], [])
    assert nothing == PairedComparison(
        first=None, second=None, value=None, low=None, high=None, p=None, wins=0, ties=0, losses=0
    )


def test_equal_systems_do_not_differ():
    values = [float(k) for k in range(7)]
    found = paired_difference(values, values, values)
    assert (found.value, found.low, found.high, found.p, found.ties) == (0.0, 0.0, 0.0, 1.0, 7)


def test_the_interval_of_six_recordings_by_hand():
    """Of 64 ways none and all are always as extreme; then come those that part the outermost from the rest."""
    differences = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert swap_interval(differences, range(6)) == (1.0, 32.0)
    assert swap_interval(differences, range(6), level=0.94) == (1.0, 32.0)
    assert swap_interval(differences, range(6), level=0.9) == (2.0, 20.0), "8 and 32 alone"
    for recordings in range(10):
        found = paired_difference([0.0] * recordings, differences[:1] * recordings, range(recordings))
        assert (found.low is not None) == (recordings >= FEWEST_RECORDINGS)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 24), st.sampled_from([1, 3]), st.sampled_from([0, 1, None]))
def test_p_and_interval_say_the_same(seed, size, items, decimals):
    """Of any data, ties and repeated values included: p is below 5 % exactly where the interval leaves 0 out."""
    rng = np.random.default_rng(seed)
    differences = rng.normal(rng.uniform(-1, 1), 1, size * items)
    differences = differences if decimals is None else np.round(differences, decimals)
    groups = np.arange(size).repeat(items)[rng.permutation(size * items)]
    found = paired_difference(np.zeros(len(differences)), differences, groups, resamples=199)
    assert (found.p < 0.05) == (found.low is not None and not found.low <= 0 <= found.high)
    if found.low is not None:
        assert found.low <= found.value <= found.high
        for bound in (found.low, found.high):
            assert swap_test(differences - bound, groups, resamples=199) >= 0.05 - 1e-12
        beyond = 1e-6 + 1e-6 * abs(found.high)
        assert swap_test(differences - found.high - beyond, groups, resamples=199) < 0.05


def test_the_interval_covers_what_is_true():
    """Ten recordings of four items that share their error."""
    rng, covered = np.random.default_rng(4), 0
    groups = np.repeat(np.arange(10), 4)
    for _ in range(400):
        differences = 2 + rng.normal(size=10)[groups] + 0.3 * rng.normal(size=40)
        low, high = swap_interval(differences, groups)
        covered += low <= 2 <= high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize("recordings", [10, 30])
def test_a_true_null_is_rejected_as_often_as_it_says(recordings):
    """Four items a recording that share its error: as if independent, they would reject far too often."""
    rng, whole, items = np.random.default_rng(2), 0, 0
    groups = np.repeat(np.arange(recordings), 4)
    for _ in range(200):
        differences = rng.normal(size=recordings)[groups] + 0.3 * rng.normal(size=len(groups))
        whole += swap_test(differences, groups, resamples=300) < 0.05
        items += swap_test(differences, range(len(groups)), resamples=300) < 0.05
    assert whole / 200 <= 0.08
    assert items / 200 >= 0.2


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([6, 40]))
def test_order_changes_no_bit(seed, size):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, size))
    groups = [f"g{k}" for k in rng.integers(0, max(3, size // 2), size)]
    order = rng.permutation(size)
    moved = paired_difference(first[order], second[order], [groups[k] for k in order], resamples=100)
    assert moved == paired_difference(first, second, groups, resamples=100)


def shares_and_means(sums, counts, ways):
    """Of each way the mean of what it swaps and of what it leaves, added one after the other as numpy does by rows."""
    negligible = 1e-12 * np.abs(sums).sum()
    for way in ways:
        swapped, items = np.where(way, sums, 0.0).sum(), np.where(way, counts, 0.0).sum()
        parts = ((swapped, items), (sums.sum() - swapped, counts.sum() - items))
        if way.any() and not way.all():
            means = [(0.0 if abs(part) <= negligible else part) / size for part, size in parts]
            yield min(means), max(means)
        else:
            yield -np.inf, np.inf


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([3, 13, 14, 60, 700]), st.sampled_from([0, 1, 9]), st.booleans())
def test_every_number_is_that_of_a_loop_over_the_ways(seed, size, decimals, several):
    """To the bit, with many sums that are 0 but for rounding, of recordings of one item and of several."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(size), rng.integers(1, 4, size) if several else 1))
    differences = np.round(rng.normal(0, 1, len(groups)), decimals) * rng.choice([1e-3, 1 / 3, 1])
    names = sorted(set(groups), key=str)
    sums = np.array([math.fsum(differences[groups == name]) for name in names])
    counts = np.array([float((groups == name).sum()) for name in names])
    lesser, greater = np.array(list(shares_and_means(sums, counts, swap_patterns(size, 200, 3)))).T
    mean = math.fsum(differences) / len(differences)
    p = float((lesser <= 0).mean() if mean >= 0 else (greater >= 0).mean())
    known = Recordings(groups.tolist())
    assert (
        swap_test(differences, known, resamples=200, seed=3)
        == p
        == swap_test(differences, groups, resamples=200, seed=3)
    )
    found = swap_interval(differences, known, resamples=200, seed=3, level=0.8)
    count = math.ceil(0.2 * len(lesser) - 1e-9)
    low, high = np.sort(lesser)[count - 1], np.sort(greater)[-count]
    if np.isfinite(low) and np.isfinite(high):
        assert found == (min(low, mean), max(high, mean))
    assert paired_difference(differences * 0, differences, groups.tolist(), resamples=200, seed=3).p == p


def test_ways_that_are_kept_are_those_that_are_drawn(monkeypatch):
    drawn = np.concatenate(list(paired._drawn_ways(37, 90, 5)))
    kept = swap_patterns(37, 90, 5)
    assert kept.dtype == bool
    assert (kept == drawn).all()
    monkeypatch.setattr(paired, "_MOST_KEPT", 0)
    assert (swap_patterns(37, 90, 5) == drawn).all()


def test_swapping_the_systems_swaps_the_sign():
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 20))
    one, other = (paired_difference(*pair, range(20)) for pair in ((first, second), (second, first)))
    assert (other.value, other.low, other.high) == pytest.approx((-one.value, -one.high, -one.low))
    assert (other.p, other.wins, other.losses) == (one.p, one.losses, one.wins)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tie": -1.0}, "a tie threshold of at least 0, found -1"),
        ({"second": [1.0]}, "found 2 and 1 values"),
        ({"first": [1.0, float("inf")]}, "finite"),
        ({"resamples": 0}, "at least one resample"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        paired_difference(**{"first": [1.0, 2.0], "second": [2.0, 1.0], "groups": ["a", "b"], **change})


def test_holm_equals_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    rng = np.random.default_rng(0)
    for count in (1, 2, 7, 40):
        p_values = np.round(rng.random(count) ** 3, 2).tolist()
        expected = multitest.multipletests(p_values, method="holm")[1]
        assert holm(p_values) == pytest.approx(list(expected))


def test_holm_leaves_none_alone():
    assert holm([None, 0.5, None]) == [None, 0.5, None]


def test_holm_over_the_pairs_of_what_is_left():
    """With m p-values left, m + 1 systems can still be equal, in (m + 1) m / 2 pairs."""
    assert holm([0.02, 0.001, None, 0.01], lambda left: left * (left + 1) // 2) == [0.03, 0.006, None, 0.03]
