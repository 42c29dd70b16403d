"""Intervals: closed forms, slow references, coverage, and independence of the order of the items."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats import Interval, cluster_interval, paired_interval
from sam_audio_bench.stats.bootstrap import cluster_intervals, median_intervals, multinomial_weights

METHODS = ("percentile", "bca")
ITEMS = st.lists(st.tuples(st.floats(-1e6, 1e6), st.sampled_from("abcde")), min_size=1, max_size=30)


def gathering_reference(values, groups, *, resamples=2000, seed=0, average=np.mean):
    """The percentile interval, slow and obvious: draws groups, gathers their items, averages them."""
    members = {label: [v for v, g in zip(values, groups, strict=True) if g == label] for label in sorted(set(groups))}
    names = list(members)
    draws = np.random.default_rng(seed).multinomial(len(names), [1 / len(names)] * len(names), size=resamples)
    means = []
    for draw in draws:
        drawn = [name for name, times in zip(names, draw, strict=True) for _ in range(times)]
        means.append(average([value for name in drawn for value in members[name]]))
    return np.quantile(means, [0.025, 0.975])


@pytest.mark.parametrize("method", METHODS)
def test_equal_values_give_a_degenerate_interval(method):
    assert cluster_interval([0.1] * 9, list("aabbccddd"), method=method) == Interval(0.1, 0.1)


@pytest.mark.parametrize("method", METHODS)
def test_equal_groups_leave_nothing_to_resample(method):
    interval = cluster_interval([1.0, 3.0] * 5, [k // 2 for k in range(10)], method=method)
    assert interval == Interval(2.0, 2.0)


def test_two_groups_span_their_means():
    assert cluster_interval([0.0, 2.0, 5.0], ["a", "a", "b"]) == Interval(1.0, 5.0)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0]])
def test_fewer_than_two_groups_are_undefined(values):
    assert cluster_interval(values, ["a"] * len(values)) is None


def test_items_as_groups_agree_with_the_gathering_reference(rng):
    values, groups = rng.normal(3, 2, 25), [f"item-{k:02}" for k in range(25)]
    np.testing.assert_allclose(cluster_interval(values, groups), gathering_reference(values, groups), rtol=1e-12)


def test_unequal_groups_agree_with_the_gathering_reference(rng):
    values, groups = rng.normal(3, 2, 40), [f"g{k}" for k in rng.integers(0, 9, 40)]
    np.testing.assert_allclose(cluster_interval(values, groups), gathering_reference(values, groups), rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_agrees_with_scipy_where_items_are_independent(rng, method):
    values = rng.exponential(2, 60)  # skewed, so that the methods differ
    ours = cluster_interval(values, range(60), resamples=20_000, method=method)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method=method, rng=np.random.default_rng(1), vectorized=True
    ).confidence_interval
    # The 2.5 % quantile of 20000 normal draws has a standard error of 0.02 standard deviations of the mean
    # (sqrt(p(1-p)/n) over the density there); two independent ones and four standard errors: 0.11.
    np.testing.assert_allclose(ours, theirs, atol=0.11 * values.std() / np.sqrt(60))


def test_bca_follows_the_skewness(rng):
    values = rng.exponential(2, 30)
    percentile = cluster_interval(values, range(30), resamples=5000)
    accelerated = cluster_interval(values, range(30), resamples=5000, method="bca")
    assert accelerated.low > percentile.low
    assert accelerated.high > percentile.high


def test_groups_are_covered_where_rows_are_not():
    """Three items a recording share most of their variance: rows pretend to three times the evidence."""
    rng = np.random.default_rng(7)
    runs, groups = 300, np.repeat(np.arange(30), 3)
    covered = {"groups": 0, "rows": 0}
    for seed in range(runs):
        values = rng.normal(0, 2, 30)[groups] + rng.normal(0, 1, 90)
        for name, labels in (("groups", groups), ("rows", range(90))):
            low, high = cluster_interval(values, labels, resamples=500, seed=seed)
            covered[name] += low <= 0 <= high
    assert covered["groups"] / runs >= 0.88
    assert covered["rows"] / runs <= 0.82


@given(items=ITEMS, order=st.randoms(use_true_random=False), method=st.sampled_from(METHODS))
def test_order_of_items_changes_no_bit(items, order, method):
    shuffled = order.sample(items, len(items))
    intervals = [cluster_interval(*zip(*rows, strict=True), resamples=50, method=method) for rows in (items, shuffled)]
    assert intervals[0] == intervals[1]


@given(items=ITEMS, method=st.sampled_from(METHODS))
def test_bounds_are_ordered_and_within_the_values(items, method):
    values, groups = zip(*items, strict=True)
    interval = cluster_interval(values, groups, resamples=50, method=method)
    slack = 1e-9 * max(map(abs, values))
    assert interval is None or min(values) - slack <= interval.low <= interval.high <= max(values) + slack


def test_labels_are_compared_as_text(rng):
    values, numbers = rng.normal(size=30), np.arange(30) // 3
    intervals = [cluster_interval(values, labels) for labels in (numbers, numbers.tolist(), numbers.astype(str))]
    assert intervals[0] == intervals[1] == intervals[2]


@pytest.mark.parametrize("method", METHODS)
def test_one_seed_one_result(rng, method):
    values, groups = rng.normal(size=30), np.arange(30) // 2
    first, again, other = (cluster_interval(values, groups, seed=seed, method=method) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_a_higher_level_is_wider(rng):
    values = rng.normal(size=40)
    narrow, wide = (cluster_interval(values, range(40), level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_pairs_remove_the_difficulty_of_the_items(rng):
    difficulty, noise = rng.normal(0, 10, 30), rng.normal(0, 0.1, 30)
    low, high = paired_interval(difficulty + 1 + noise, difficulty, range(30))
    assert 0.9 < low < 1 < high < 1.1


def test_a_system_does_not_differ_from_itself(rng):
    values = rng.normal(size=10)
    assert paired_interval(values, values, range(10), method="bca") == Interval(0.0, 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": [1.0, float("nan")]}, "found NaN or infinity"),
        ({"values": [1.0, float("inf")]}, "found NaN or infinity"),
        ({"values": [1.0]}, "found 1 values and 2 groups"),
        ({"level": 1.0}, "between 0 and 1, found 1.0"),
        ({"resamples": 0}, "at least one resample, found 0"),
        ({"method": "normal"}, "percentile or bca, found 'normal'"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        cluster_interval(**{"values": [1.0, 2.0], "groups": ["a", "b"], **change})


def test_pairs_need_the_same_items():
    with pytest.raises(UsageError, match="found 2 and 1 values"):
        paired_interval([1.0, 2.0], [1.0], ["a", "b"])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_many_groups_are_resampled_without_a_table_of_them() -> None:
    """Beyond 10,000 groups by draws of indices: the interval of a normal mean is 1.96 errors on either side."""
    values = np.random.default_rng(0).normal(size=20_001)
    low, high = cluster_interval(values, range(20_001))
    error = values.std() / math.sqrt(20_001)
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.15 * error)
    pairs = np.repeat(np.arange(20_001), 2)  # each value twice: as certain as once
    assert cluster_interval(np.repeat(values, 2), pairs, resamples=50) == pytest.approx(
        cluster_interval(values, range(20_001), resamples=50)
    )


@pytest.mark.parametrize("units", [3, 300])
def test_cells_together_are_the_cells_alone(units: int) -> None:
    generator = np.random.default_rng(units)
    cells = [(generator.normal(size=units), list(range(units))) for _ in range(3)]
    cells += [
        (generator.normal(size=2 * units), [k // 2 for k in range(2 * units)]),
        ([1.0, 1.0], [1, 2]),
        ([1.0], [1]),
    ]
    assert cluster_intervals(cells, resamples=300) == [cluster_interval(*cell, resamples=300) for cell in cells]


def test_weights_are_those_of_one_multinomial_draw() -> None:
    """Drawn a few at a time and held in few bytes: the same numbers as at once."""
    generator = np.random.Generator(np.random.PCG64(5))
    expected = generator.multinomial(3000, np.full(3000, 1 / 3000), size=200)
    np.testing.assert_array_equal(multinomial_weights(3000, 200, (5,)), expected)


@given(ITEMS, st.randoms(use_true_random=False))
def test_intervals_of_medians_agree_with_the_gathering_reference(items, order):
    values, groups = zip(*items, strict=True)
    (found,) = median_intervals([(values, groups)], resamples=40)
    if len(set(groups)) < 2:
        assert found is None
        return
    assert tuple(found) == pytest.approx(gathering_reference(values, groups, resamples=40, average=np.median))
    order.shuffle(shuffled := list(items))
    assert median_intervals([tuple(zip(*shuffled, strict=True))], resamples=40) == [found]


def test_medians_have_percentiles_alone():
    with pytest.raises(UsageError, match="percentile for medians, found 'bca'"):
        median_intervals([([1.0, 2.0], ["a", "b"])], method="bca")
