"""Williams, Zou and permutations over all pairs of metrics."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.correlation_tests import permutation_test, williams, zou_interval, zou_p
from sam_audio_bench.stats.paired import holm
from sam_audio_bench.stats.reference_tests import compare_independent

RNG = np.random.default_rng(5)
HUMAN = RNG.normal(size=(15, 6))
METRICS = {
    "good": HUMAN + RNG.normal(size=HUMAN.shape),
    "error": -HUMAN + 2 * RNG.normal(size=HUMAN.shape),
    "noise": RNG.normal(size=HUMAN.shape),
}
METRICS["good"][2, 3] = np.nan


@pytest.mark.parametrize("coefficient", ["pearson", "spearman"])
def test_williams_and_zou_of_common_cells(coefficient):
    """The cells that all three have; an error is turned before it is compared."""
    found = compare_independent(HUMAN, METRICS, coefficient=coefficient)
    inverted = compare_independent(HUMAN, METRICS, test="zou", coefficient=coefficient)
    assert [(row.first, row.second) for row in found] == [("good", "error"), ("good", "noise"), ("error", "noise")]
    here = np.isfinite(METRICS["good"])
    values = [HUMAN[here], METRICS["good"][here], -METRICS["error"][here]]
    if coefficient == "spearman":
        values = [scipy.stats.rankdata(one) for one in values]
    r = np.corrcoef(values)
    known = (r[0, 1], r[0, 2], r[1, 2], 89)
    row = found[0]
    assert (row.n, row.method) == (89, "williams")
    assert row.value == pytest.approx(r[0, 1] - r[0, 2])
    assert row.p == pytest.approx(williams(*known).p)
    assert (row.low, row.high) == (None, None), "the interval would be another procedure's"
    assert (inverted[0].low, inverted[0].high) == pytest.approx(tuple(zou_interval(*known)))
    assert (inverted[0].value, inverted[0].p) == (row.value, pytest.approx(zou_p(*known)))
    assert [row.p_holm for row in found] == holm([row.p for row in found])


def test_systems_are_compared_by_their_means():
    whole = {name: METRICS[name] for name in ("error", "noise")}
    (row,) = compare_independent(HUMAN, whole, at="system", orientation={"error": -1, "noise": 1})
    r = np.corrcoef([HUMAN.mean(axis=0), -METRICS["error"].mean(axis=0), METRICS["noise"].mean(axis=0)])
    assert row.n == 6
    assert row.value == pytest.approx(r[0, 1] - r[0, 2])
    assert row.p == pytest.approx(williams(r[0, 1], r[0, 2], r[1, 2], 6).p)


def test_permutations_swap_items():
    found = compare_independent(HUMAN, METRICS, test="permutation", resamples=200, seed=3)
    cells = np.isfinite(METRICS["good"])
    tables = [np.where(cells, one, np.nan) for one in (HUMAN, METRICS["good"], METRICS["noise"])]
    assert found[1].p == permutation_test(*tables, unit="item", resamples=200, seed=3)
    assert (found[1].low, found[1].method) == (None, "permutation")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(4, 60), st.floats(0, 2), st.sampled_from(["pearson", "spearman"]))
def test_p_and_interval_of_zou_say_the_same(seed, cells, noise, coefficient):
    rng = np.random.default_rng(seed)
    human = rng.normal(size=(cells, 1))
    tables = {"a": human + noise * rng.normal(size=human.shape), "b": rng.normal(size=human.shape)}
    (row,) = compare_independent(human, tables, test="zou", coefficient=coefficient)
    if row.p is not None:
        assert (row.p < 0.05) == (not row.low <= 0 <= row.high)
        level = zou_interval(0.5, 0.2, 0.3, cells, level=1 - zou_p(0.5, 0.2, 0.3, cells))
        assert level.low == pytest.approx(0, abs=1e-9)


def test_nothing_to_tell_apart():
    twice, constant, few = compare_independent(
        HUMAN, {"a": METRICS["noise"], "b": -2 * METRICS["noise"], "c": np.zeros_like(HUMAN)}
    )
    assert (twice.value, twice.p, twice.p_holm) == (pytest.approx(0, abs=1e-12), None, None)
    for row in (constant, few):
        assert (row.value, row.p, str(row.status)) == (None, None, "constant")
    (short,) = compare_independent(
        HUMAN[:, :3], {"a": METRICS["error"][:, :3], "b": METRICS["noise"][:, :3]}, at="system"
    )
    assert (short.p, short.n) == (None, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": "t"}, "one of williams, zou, permutation, found 't'"),
        (
            {"at": "within_item"},
            "at the level utterance or system for the test williams, found pearson at the level wi",
        ),
        ({"test": "permutation", "at": "system"}, "at the level utterance for the test permutation"),
        ({"coefficient": "kendall"}, "found kendall"),
        ({"level": 1.0}, "between 0 and 1"),
    ],
)
def test_tests_that_do_not_exist(options, message):
    with pytest.raises(UsageError, match=message):
        compare_independent(HUMAN, METRICS, **options)
    with pytest.raises(UsageError, match="of the shape of the ratings"):
        compare_independent(HUMAN[1:], METRICS)
