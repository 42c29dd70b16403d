"""Two metrics compared: published numbers, other libraries, and error rates in simulation."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.correlation_tests import (
    Difference,
    compare,
    fisher_interval,
    letter_groups,
    permutation_test,
    williams,
    zou_interval,
)
from sam_audio_bench.stats.estimate import percentile_interval, percentile_p
from sam_audio_bench.stats.paired import holm

NAN = math.nan


def study(rng, items=100, systems=6, *, gap=0.0):
    """Raters and two metrics whose errors belong to items and systems; the first is better by ``gap`` in weight."""
    effects = [(items, 1), (1, systems), (items, systems)]
    human = sum(rng.normal(size=shape) for shape in effects)
    first, second = (human * weight + sum(rng.normal(size=shape) for shape in effects) for weight in (1 + gap, 1.0))
    return human, {"a": first, "b": second}


def difference(first, second, p):
    return Difference(
        first=first, second=second, value=0.1, low=0.0, high=0.2, p=p, p_holm=p, n=9, status="ok", method="two_way"
    )


def test_williams_and_zou_equal_cocor():
    found = williams(0.2, 0.5, 0.1, 315)
    assert (round(found.t, 4), found.df) == (-4.4950, 312)
    assert found.p == pytest.approx(2 * scipy.stats.t.cdf(found.t, 312))
    assert [round(bound, 4) for bound in zou_interval(0.2, 0.5, 0.1, 315)] == [-0.4307, -0.1675]


def test_fisher_interval_equals_scipy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    found = scipy.stats.pearsonr(x, x + rng.normal(size=50))
    expected = found.confidence_interval(0.9)
    assert fisher_interval(found.statistic, 50, level=0.9) == pytest.approx((expected.low, expected.high))
    wider = fisher_interval(0.6, 50, coefficient="spearman")
    assert wider.low < fisher_interval(0.6, 50).low
    assert fisher_interval(0.6, 50, coefficient="kendall") != wider
    assert fisher_interval(0.6, 3) is None
    assert fisher_interval(1.0, 30) is None
    assert fisher_interval(0.5, 30, coefficient="accuracy") is None


def test_type_one_error_of_the_default_is_below_six_percent():
    rng = np.random.default_rng(0)
    rejected = {"two_way": 0, "row": 0}
    for _ in range(150):
        human, metrics = study(rng)
        for interval in rejected:
            (found,) = compare(human, metrics, coefficient="pearson", interval=interval, resamples=300)
            rejected[interval] += found.p < 0.05
    assert rejected["two_way"] <= 9
    assert rejected["row"] >= 20  # what the default is for


def test_power_and_sign():
    rng = np.random.default_rng(1)
    found = [compare(*study(rng, 100, 15, gap=2.0), coefficient="pearson", resamples=300)[0] for _ in range(20)]
    assert sum(row.p < 0.05 for row in found) >= 16
    assert all(row.value > 0 for row in found)


def test_the_interval_and_p_agree():
    rng = np.random.default_rng(2)
    for gap in (0.0, 0.5, 1.0, 2.0):
        (row,) = compare(*study(rng, gap=gap), resamples=2000)
        assert (row.p < 0.05) == (not row.low <= 0 <= row.high)
        assert row.low <= row.value <= row.high


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(40, 400), st.sampled_from([0, 1, None]), st.sampled_from([0.9, 0.95, 0.99]))
def test_p_and_interval_of_resamples_say_the_same(seed, resamples, decimals, level):
    """Of any resamples, those with ties, with a gap around 0 and with undefined ones included."""
    rng = np.random.default_rng(seed)
    draws = rng.normal(rng.uniform(-3, 3), 1, resamples)
    draws = draws if decimals is None else np.round(draws, decimals)
    draws[rng.random(resamples) < rng.choice([0.0, 0.2])] = NAN
    bounds, p = percentile_interval(draws, level), percentile_p(draws, level)
    if p is None:
        assert np.isfinite(draws).sum() < 2 / (1 - level)
        return
    assert (p < 1 - level) == (not bounds.low <= 0 <= bounds.high)
    assert p == percentile_p(-draws, level)


def test_p_of_resamples_by_hand():
    assert percentile_p(np.arange(1.0, 101.0), 0.95) == 2 / 101, "the observed data count as one"
    assert percentile_p(np.arange(-1.5, 98.5), 0.95) == pytest.approx(2 * 1.5 / 99), "0 lies at 1.5 of 99 steps"
    assert percentile_p(np.arange(1.0, 39.0), 0.95) is None, "39 ways cannot reach 5 %"
    assert percentile_p(np.full(100, NAN), 0.95) is None


@pytest.mark.parametrize("at", ["utterance", "within_item", "system"])
@pytest.mark.parametrize("coefficient", ["pearson", "spearman", "kendall", "accuracy", "rmse_linear"])
def test_swapping_metrics_swaps_the_sign(at, coefficient):
    human, metrics = study(np.random.default_rng(3), 20, 5)
    options = {"at": at, "coefficient": coefficient, "resamples": 100}
    (row,) = compare(human, metrics, **options)
    (swapped,) = compare(human, dict(reversed(metrics.items())), **options)
    if (at, coefficient) == ("within_item", "rmse_linear"):
        assert (row.value, row.status) == (None, "too_few")
        return
    assert (row.first, row.second) == (swapped.second, swapped.first)
    assert (row.value, row.low, row.high) == pytest.approx((-swapped.value, -swapped.high, -swapped.low), abs=1e-12)
    assert row.p == swapped.p


def test_direction_of_a_metric_does_not_matter_unless_it_is_said():
    human, metrics = study(np.random.default_rng(4))
    (row,) = compare(human, metrics, resamples=100)
    turned = {"a": -metrics["a"], "b": metrics["b"]}
    assert compare(human, turned, resamples=100) == [row]
    (said,) = compare(human, turned, orientation={"a": 1, "b": 1}, resamples=100)
    assert said.value < -0.5


def test_metrics_are_compared_on_common_cells():
    human, metrics = study(np.random.default_rng(5), 20, 5)
    metrics["a"][:10, 0] = NAN
    (row,) = compare(human, metrics, resamples=50)
    assert row.n == 90
    both = np.isfinite(metrics["a"])
    r = [scipy.stats.spearmanr(human[both], metrics[name][both]).statistic for name in "ab"]
    assert row.value == pytest.approx(r[0] - r[1])


def test_holm_over_all_pairs_and_order_of_rows():
    rng = np.random.default_rng(6)
    human, metrics = study(rng, 20, 5)
    metrics["c"] = rng.normal(size=human.shape)
    rows = compare(human, metrics, resamples=200)
    assert [(row.first, row.second) for row in rows] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [row.p_holm for row in rows] == holm([row.p for row in rows])
    order, across = rng.permutation(20), rng.permutation(5)
    shuffled = {name: one[np.ix_(order, across)] for name, one in metrics.items()}
    assert compare(human[np.ix_(order, across)], shuffled, resamples=200) == rows


def test_a_metric_does_not_differ_from_itself():
    human, metrics = study(np.random.default_rng(7), 20, 5)
    (row,) = compare(human, {"a": metrics["a"], "b": metrics["a"]}, resamples=50)
    assert (row.value, row.low, row.high, row.p) == (0.0, 0.0, 0.0, 1.0)


def test_constant_metrics_have_no_difference():
    human, metrics = study(np.random.default_rng(8), 20, 5)
    (row,) = compare(human, {**metrics, "a": np.ones_like(human)}, resamples=50)
    assert (row.value, row.p, row.p_holm, row.status) == (None, None, None, "constant")


def test_letters_join_what_is_not_told_apart():
    """Of a, b, c and d only a-d, a-c and b-d are apart."""
    apart = [difference(*pair, 0.01) for pair in ("ad", "ac", "bd")]
    close = [difference(*pair, 0.5) for pair in ("ab", "bc", "cd")]
    assert letter_groups("abcd", apart + close) == {"a": "a", "b": "ab", "c": "bc", "d": "c"}


@given(st.integers(1, 6), st.randoms(use_true_random=False))
def test_letters_say_exactly_what_the_tests_say(count, random):
    names = [f"m{k}" for k in range(count)]
    rows = [
        difference(names[i], names[j], random.choice([0.01, 0.5, None]))
        for i in range(count)
        for j in range(i + 1, count)
    ]
    letters = letter_groups(names, rows)
    for row in rows:
        apart = row.p is not None and row.p < 0.05
        assert bool(set(letters[row.first]) & set(letters[row.second])) == (not apart)
    assert all(letters.values())


def test_permutation_test_is_valid_for_independent_cells_only():
    rng = np.random.default_rng(9)
    independent = crossed = 0
    for _ in range(100):
        human = rng.normal(size=(30, 5))
        first, second = (human + rng.normal(size=human.shape) for _ in range(2))
        independent += permutation_test(human, first, second, unit="cell", resamples=200) < 0.05
        tables, metrics = study(rng)
        crossed += permutation_test(tables, *metrics.values(), unit="cell", resamples=200) < 0.05
    assert independent <= 11
    assert crossed >= 15


@pytest.mark.parametrize("coefficient", ["pearson", "spearman"])
@pytest.mark.parametrize("unit", ["item", "system", "cell"])
def test_permutation_ignores_order_and_sees_differences(coefficient, unit):
    rng = np.random.default_rng(10)
    human = rng.normal(size=(40, 12))
    first, second = human + 0.3 * rng.normal(size=human.shape), human + 3 * rng.normal(size=human.shape)
    options = {"coefficient": coefficient, "unit": unit, "resamples": 400}
    p = permutation_test(human, first, second, **options)
    assert p < 0.05
    order = np.ix_(rng.permutation(40), rng.permutation(12))
    assert permutation_test(human[order], first[order], second[order], **options) == p
    assert permutation_test(human, first, -first, **options) > 0.5
    assert permutation_test(human, first, np.ones_like(human), **options) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: williams(0.9, -0.9, 0.9, 30), "occur together"),
        (lambda: williams(0.1, 0.2, 0.3, 3), "n = 3"),
        (lambda: williams(0.0, 0.0, 1.0, 30), "correlation of 1"),
        (lambda: zou_interval(0.1, 0.2, 0.3, 30, level=2), "between 0 and 1"),
        (lambda: compare(np.ones((3, 3)), {}, interval="fisher"), "found 'fisher'"),
        (lambda: permutation_test(np.ones((3, 3)), np.ones((3, 3)), np.ones((3, 2))), "one shape"),
        (lambda: permutation_test([[1.0]], [[1.0]], [[1.0]], unit="rater"), "found 'rater'"),
    ],
)
def test_what_cannot_be_meant_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
