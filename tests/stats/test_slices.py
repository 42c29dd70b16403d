"""Slices part the items, and only a real difference is called one: against SciPy, and on planted effects."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.bootstrap import difference_interval, multinomial_weights
from sam_audio_bench.stats.correlation_tests import holm
from sam_audio_bench.stats.slices import MIN_RECORDINGS, SliceTest, _Contrast, _permuted, compare_slices, make_slices

Values = dict[str, float | str | None]


def labels(values: Values, points: tuple[float, ...] = ()) -> dict[str, str]:
    """Members of each slice, by label."""
    return {part.label: "".join(map(str, part.items)) for part in make_slices(values, "x", points)}


# --- cutting


def test_points_begin_slices_and_the_unknown_are_one() -> None:
    values: Values = {"a": -10.0, "b": -9.9, "c": 0.0, "d": 10.0, "e": 99.0, "f": None}
    assert labels(values, (-10, 0, 10)) == {
        "x < −10": "", "−10 ≤ x < 0": "ab", "0 ≤ x < 10": "c", "x ≥ 10": "de", "x not known": "f",
    }  # fmt: skip


def test_few_numbers_are_slices_and_many_are_terciles_with_the_edges_that_are_used() -> None:
    assert labels({"a": 2.0, "b": 1.0, "c": -0.0, "d": 2.0}) == {"x = 0": "c", "x = 1": "b", "x = 2": "ad"}
    many: Values = {name: float(at) for at, name in enumerate("abcdefghi")}
    assert labels(many) == {"x < 2.667": "abc", "2.667 ≤ x < 5.333": "def", "x ≥ 5.333": "ghi"}
    skewed: Values = dict(zip("abcdefgh", [0.0] * 3 + [1.0, 2.0, 3.0, 4.0, 5.0], strict=True))
    assert labels(skewed) == {"x < 0.3333": "abc", "0.3333 ≤ x < 2.667": "de", "x ≥ 2.667": "fgh"}
    tied: Values = {str(at): 7.0 if at < 8 else float(at) for at in range(12)}
    assert labels(tied) == {"x < 7.333": "01234567", "x ≥ 7.333": "891011"}, "edges that part nothing are none"


def test_texts_are_slices_the_most_frequent_first() -> None:
    values: Values = {"a": "loud", "b": "quiet", "c": "quiet", "d": "bare", "e": None}
    assert list(labels(values)) == ["x = quiet", "x = bare", "x = loud", "x not known"]


@pytest.mark.parametrize("points", [(1.0, 1.0), (2.0, 1.0), (math.nan,), (math.inf,)])
def test_points_must_increase(points: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="expected increasing numbers to cut x at"):
        make_slices({"a": 1.0}, "x", points)


def test_texts_are_not_cut() -> None:
    with pytest.raises(UsageError, match="expected numbers to cut x at, found texts in it, such as 'loud'"):
        make_slices({"a": 1.0, "b": "loud"}, "x", (0,))


finite = st.floats(-1e6, 1e6)


@given(
    values=st.dictionaries(st.integers(), st.none() | finite)
    | st.dictionaries(st.integers(), st.none() | st.text(min_size=1)),
    points=st.lists(finite, unique=True, max_size=4).map(sorted),
)  # fmt: skip
def test_every_item_is_in_exactly_one_slice_and_within_its_edges(
    values: dict[int, float | str | None], points: list[float]
) -> None:
    numeric = not any(isinstance(value, str) for value in values.values())
    found = make_slices(values, "x", points if numeric else ())
    assert sorted(item for part in found for item in part.items) == sorted(values)  # type: ignore[type-var]
    assert len({part.label for part in found}) == len(found)
    assert {item for part in found if not part.known for item in part.items} == {
        k for k, v in values.items() if v is None
    }
    if numeric and points:
        for number, part in enumerate(found[: len(points) + 1]):
            low, high = (-math.inf, *points)[number], (*points, math.inf)[number]
            assert all(low <= values[item] < high for item in part.items)  # type: ignore[index,operator]


# --- comparing


def compared(values: np.ndarray, groups: list[int], mask: np.ndarray, **options: object) -> SliceTest:
    found, other = compare_slices(values.tolist(), groups, [mask, ~mask], higher_is_better=True, **options)  # type: ignore[arg-type]
    assert found.n + other.n == len(values)
    assert found.difference == pytest.approx(-other.difference)  # type: ignore[operator]
    return found


def halves(count: int, inside: int) -> np.ndarray:
    return np.arange(count) < inside


def test_of_single_items_the_statistic_is_welchs() -> None:
    rng = np.random.default_rng(0)
    values, mask = rng.normal(size=30) * np.where(halves(30, 9), 3, 1), halves(30, 9)
    found, expected = _Contrast(mask, np.arange(30)), stats.ttest_ind(values[mask], values[~mask], equal_var=False)
    assert found.statistics(values[None])[0] == pytest.approx(expected.statistic)
    assert found.freedom(values) == pytest.approx(expected.df)


@pytest.mark.parametrize(("shift", "inside"), [(0.0, 7), (-0.8, 7), (0.8, 15), (-0.5, 20)])
def test_p_is_the_larger_of_scipys_permutation_test_and_welchs(shift: float, inside: int) -> None:
    rng = np.random.default_rng(1)
    values, mask = rng.exponential(size=30), halves(30, inside)
    values[mask] += shift

    def welch(one: np.ndarray, other: np.ndarray, axis: int) -> np.ndarray:
        return stats.ttest_ind(one, other, equal_var=False, axis=axis).statistic  # type: ignore[no-any-return]

    parts = (values[mask], values[~mask])
    share = stats.permutation_test(parts, welch, alternative="less", n_resamples=9999, vectorized=True, rng=2).pvalue
    expected = max(share, stats.ttest_ind(*parts, equal_var=False, alternative="less").pvalue)
    found = compared(values, list(range(30)), mask, permutations=9999)
    assert found.p == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 5000) + 2e-4)


def test_the_direction_of_the_metric_is_what_worse_means() -> None:
    values, mask = np.concatenate([np.arange(10.0), np.arange(10.0) + 20]), halves(20, 10)
    options = {"permutations": 999, "resamples": 100}
    low = compare_slices(values.tolist(), range(20), [mask], higher_is_better=True, **options)[0]  # type: ignore[arg-type]
    high = compare_slices(values.tolist(), range(20), [mask], higher_is_better=False, **options)[0]  # type: ignore[arg-type]
    assert (low.p, low.difference, low.mean, low.elsewhere) == (0.001, -20.0, 4.5, 24.5)
    assert high.difference == -20.0
    assert high.p is not None
    assert high.p > 0.99


def test_no_number_depends_on_the_order_of_items() -> None:
    rng = np.random.default_rng(3)
    values, groups, mask = rng.normal(size=40).round(0), rng.integers(0, 15, 40), rng.random(40) < 0.4  # with ties
    order = rng.permutation(40)
    one = compare_slices(values.tolist(), groups.tolist(), [mask, ~mask], higher_is_better=True)
    other = compare_slices(
        values[order].tolist(), groups[order].tolist(), [mask[order], ~mask[order]], higher_is_better=True
    )
    assert one == other


def test_permutations_exchange_recordings_of_one_size_and_items_within() -> None:
    scores, starts = np.array([1.0, 2, 3, 4, 5, 6, 7, 8]), np.array([0, 3, 5, 7])  # of three, two, two and one items
    found = np.concatenate(list(_permuted(scores, starts, 500, 0)))
    assert found.shape == (500, 8)
    assert {tuple(sorted(row)) for row in found[:, :3]} == {(1, 2, 3)}
    assert {tuple(sorted(row)) for row in found[:, 3:5]} == {(4, 5), (6, 7)}
    assert set(found[:, 7]) == {8.0}
    assert len({tuple(row) for row in found}) == 6 * 2 * 2 * 2, "every way"


def test_many_items_of_few_recordings_are_no_proof() -> None:
    """Ten recordings, each of one level: a test over items would find a difference nearly always."""
    rng, alarms, naive = np.random.default_rng(4), 0, 0
    for seed in range(40):
        values = np.repeat(rng.normal(size=10), 20) + 0.1 * rng.normal(size=200)
        groups, mask = np.repeat(np.arange(10), 20), halves(200, 100)
        alarms += (compared(values, groups.tolist(), mask, permutations=199, seed=seed, resamples=10).p or 0) < 0.05
        naive += stats.ttest_ind(values[mask], values[~mask], alternative="less").pvalue < 0.05
    assert alarms <= 6
    assert naive >= 12


def test_a_difference_within_recordings_is_found_beneath_their_own() -> None:
    """Songs differ by ten times what two stems of a song differ by."""
    rng = np.random.default_rng(5)
    level = np.repeat(rng.normal(scale=10, size=20), 2)
    mask = np.tile([True, False], 20)
    values = level - 1.0 * mask + 0.5 * rng.normal(size=40)
    groups = np.repeat(np.arange(20), 2).tolist()
    assert compared(values, groups, mask, permutations=999).p == pytest.approx(0.001)
    assert compared(values, list(range(40)), mask, permutations=999).p > 0.2  # type: ignore[operator]


def test_planted_effects_are_found_and_nothing_else() -> None:
    """In small; benchmarks/slices.py has the rates."""
    rng, found, alarms = np.random.default_rng(6), 0, 0
    for seed in range(40):
        mask = halves(50, 25)
        for effect in (1.0, 0.0):
            values = rng.normal(size=50) - effect * mask
            tests = compare_slices(values.tolist(), range(50), [mask, ~mask], higher_is_better=True,
                                   permutations=399, resamples=10, seed=seed)  # fmt: skip
            adjusted = [p is not None and p < 0.05 for p in holm([one.p for one in tests])]
            found += adjusted[0] if effect else 0
            alarms += any(adjusted) if not effect else adjusted[1]
    assert found >= 32
    assert alarms <= 6


def test_what_cannot_be_tested_says_why_and_keeps_its_mean() -> None:
    mask = halves(12, MIN_RECORDINGS - 1)
    small, rest = compare_slices(range(12), range(12), [mask, ~mask], higher_is_better=True)
    assert (small.p, small.untested, small.mean) == (None, "fewer than 5 recordings", 1.5)
    assert (rest.p, rest.untested) == (None, "fewer than 5 recordings elsewhere")
    same = compare_slices([1.0] * 12, range(12), [halves(12, 6)], higher_is_better=True)[0]
    assert (same.p, same.untested, same.difference) == (None, "all scores are equal", 0.0)
    empty = compare_slices(range(12), range(12), [halves(12, 0)], higher_is_better=True)[0]
    assert (empty.n, empty.mean, empty.difference, empty.p) == (0, None, None, None)
    one_recording = compare_slices(range(12), [0] * 6 + [1] * 6, [halves(12, 6)], higher_is_better=True)[0]
    assert one_recording.untested == "fewer than 5 recordings"


# --- the interval of a difference


def test_the_interval_is_that_of_a_loop_over_the_same_resamples() -> None:
    rng = np.random.default_rng(7)
    values, groups, mask = rng.normal(size=30), rng.integers(0, 9, 30), rng.random(30) < 0.5
    weights = multinomial_weights(9, 500, (0,))
    means = []
    for row in weights:
        drawn = np.concatenate(
            [np.flatnonzero(groups == at) for at, times in enumerate(row) for _ in range(int(times))]
        )
        means.append(values[drawn][mask[drawn]].mean() - values[drawn][~mask[drawn]].mean())
    found = difference_interval(values.tolist(), groups.tolist(), mask, resamples=500)
    assert found == pytest.approx(np.quantile(means, [0.025, 0.975]))


def test_one_recording_on_a_side_has_no_interval() -> None:
    assert difference_interval([1.0, 2.0, 3.0], ["a", "b", "c"], [True, False, False]) is None
