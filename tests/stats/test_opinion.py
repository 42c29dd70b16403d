"""Mean opinion scores: textbook intervals, an obvious version of the projection, and recovery of what was simulated."""

import math

import numpy as np
import pytest
import scipy.stats

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.opinion import mean_opinion, recovered_opinion, standardise_by_rater, z_scored_opinion

NAN = math.nan


def simulated(items=200, raters=12, *, missing=0.0, seed=0, noise=(0.3, 1.5)):
    rng = np.random.default_rng(seed)
    quality, bias = rng.uniform(1, 5, items), rng.normal(0, 0.5, raters)
    bias -= bias.mean()
    noise = np.linspace(*noise, raters)
    table = quality[:, None] + bias + noise * rng.normal(size=(items, raters))
    table[rng.random(table.shape) < missing] = NAN
    return table, quality, bias, noise


def obvious(table, rounds=300):
    """Alternating projection on complete data, one item and one rater at a time."""
    items, raters = table.shape
    quality = [np.mean(row) for row in table]
    for _ in range(rounds):
        bias = [np.mean([table[i, j] - quality[i] for i in range(items)]) for j in range(raters)]
        spread = [np.std([table[i, j] - quality[i] for i in range(items)]) for j in range(raters)]
        quality = [
            np.average([table[i, j] - bias[j] for j in range(raters)], weights=[1 / s**2 for s in spread])
            for i in range(items)
        ]
    return np.array(quality), np.array(bias), np.array(spread)


def test_t_interval_equals_scipy():
    table = simulated(5, 7)[0]
    found = mean_opinion(table, level=0.9)
    for row, value, low, high in zip(table, found.value, found.low, found.high, strict=True):
        expected = scipy.stats.t.interval(0.9, 6, row.mean(), scipy.stats.sem(row))
        assert (value, low, high) == pytest.approx((row.mean(), *expected))


def test_missing_and_single_ratings():
    found = mean_opinion([[3.0, 5.0, NAN], [4.0, NAN, NAN], [NAN, NAN, NAN]])
    assert found.n.tolist() == [2, 1, 0]
    assert found.value[:2].tolist() == [4.0, 4.0]
    assert np.isnan(found.value[2])
    assert np.isfinite(found.low).tolist() == [True, False, False]


def test_standardised_raters():
    table = simulated(missing=0.3)[0]
    z = standardise_by_rater(table)
    assert np.nanmean(z, axis=0) == pytest.approx(np.zeros(12), abs=1e-12)
    assert np.nanstd(z, axis=0, ddof=1) == pytest.approx(np.ones(12))
    table[:, 0] = 0.1
    assert np.isnan(standardise_by_rater(table)[:, 0]).all()


def test_z_scores_undo_scales_and_keep_the_unit():
    rng = np.random.default_rng(0)
    quality = rng.normal(3, 1, (30, 1))
    found = z_scored_opinion(quality * [0.5, 1.0, 1.5] + [-1.0, 0.0, 1.0])
    assert found.value == pytest.approx(quality[:, 0])
    assert found.high - found.low == pytest.approx(np.zeros(30), abs=1e-9)


def test_projection_equals_the_obvious_version():
    table = simulated(30, 6, noise=(0.8, 1.2))[0]
    found = recovered_opinion(table)
    assert not found.bounded.any()
    quality, bias, spread = obvious(table)
    assert found.value == pytest.approx(quality, abs=1e-6)
    assert found.bias == pytest.approx(bias, abs=1e-6)
    assert found.inconsistency == pytest.approx(spread, abs=1e-6)
    width = 1.959964 / math.sqrt((1 / spread**2).sum())
    assert found.high - found.value == pytest.approx(np.full(30, width), abs=1e-5)


@pytest.mark.parametrize("missing", [0.0, 0.5])
def test_bias_and_inconsistency_are_recovered(missing):
    table, quality, bias, noise = simulated(2000, missing=missing)
    found = recovered_opinion(table, estimator="marginal")
    assert found.bias == pytest.approx(bias, abs=0.1)
    assert found.inconsistency == pytest.approx(noise, abs=0.05)
    assert not found.bounded.any()
    plain = np.nanmean((mean_opinion(table).value - quality) ** 2)
    assert np.nanmean((found.value - quality) ** 2) < 0.7 * plain
    assert np.nanmean((found.low <= quality) & (quality <= found.high)) == pytest.approx(0.95, abs=0.02)


def test_the_projection_says_when_one_rater_decides():
    table, quality, _, _ = simulated(2000)
    found = recovered_opinion(table)
    assert found.bounded.tolist() == [True] + 11 * [False]
    marginal = recovered_opinion(table, estimator="marginal")
    assert ((marginal.value - quality) ** 2).mean() < ((found.value - quality) ** 2).mean()


def test_the_projection_improves_on_the_mean():
    table, quality, bias, noise = simulated(2000, noise=(0.6, 1.5))
    found = recovered_opinion(table)
    assert found.bias == pytest.approx(bias, abs=0.1)
    assert found.inconsistency == pytest.approx(noise, abs=0.15)
    assert ((found.value - quality) ** 2).mean() < 0.9 * ((mean_opinion(table).value - quality) ** 2).mean()


def test_no_rater_decides_alone():
    table = simulated(30, 3)[0]
    table[:, 2] = np.nanmean(table[:, :2], axis=1)
    found = recovered_opinion(table)
    assert found.inconsistency.min() > 0.02
    assert found.bounded.tolist() == [False, False, True]
    assert np.isfinite(found.value).all()


def test_constant_and_missing_ratings_are_no_error():
    same = recovered_opinion(np.full((4, 3), 2.0))
    assert same.value.tolist() == [2.0] * 4
    assert np.isnan(same.low).all()
    nothing = recovered_opinion(np.full((2, 2), NAN))
    assert np.isnan(nothing.value).all()
    assert nothing.n.tolist() == [0, 0]
    assert np.isnan(z_scored_opinion(np.full((2, 2), 3.0)).value).all()
    assert mean_opinion(np.full((2, 3), 0.1)).high.tolist() == pytest.approx([0.1, 0.1])


def test_order_changes_no_bit():
    table = simulated(15, 6, missing=0.3)[0]
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(15), rng.permutation(6)
    shuffled = table[np.ix_(rows, columns)]
    for function in (mean_opinion, z_scored_opinion, recovered_opinion):
        one, other = function(table), function(shuffled)
        np.testing.assert_array_equal(one.value[rows], other.value)
        np.testing.assert_array_equal(one.low[rows], other.low)
    np.testing.assert_array_equal(recovered_opinion(table).bias[columns], recovered_opinion(shuffled).bias)


def test_a_million_ratings():
    table = np.random.default_rng(0).integers(1, 6, (10_000, 100)).astype(float)
    assert mean_opinion(table).n.sum() == 1_000_000
    assert recovered_opinion(table).value.shape == (10_000,)


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(UsageError, match="two dimensions"):
        mean_opinion([1.0, 2.0])
    with pytest.raises(UsageError, match="between 0 and 1"):
        recovered_opinion([[1.0]], level=0.0)
