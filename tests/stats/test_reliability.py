"""Agreement of raters: other libraries, closed forms, published values, and what no order may change."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.components import variance_components
from sam_audio_bench.stats.krippendorff import MEASUREMENTS, krippendorff_alpha
from sam_audio_bench.stats.reliability import (
    ICC_FORMS,
    icc,
    icc_table,
    leave_one_out,
    noise_ceiling,
    raters_per_item,
    reliability_curve,
    split_half,
)

NAN = math.nan


def crossed(items=40, raters=8, *, missing=0.0, seed=0, bias=0.5):
    """Items, raters and noise; ICC(2,1) is 1 / (2 + bias²)."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(items, 1)) + bias * rng.normal(size=(1, raters)) + rng.normal(size=(items, raters))
    table[rng.random(table.shape) < missing] = NAN
    return table


@pytest.mark.parametrize(
    ("name", "axis", "expected"),
    [("music", "Production_Quality", 0.93), ("speech", "Production_Complexity", 0.53),
     ("sound", "Production_Complexity", 0.72)],
)  # fmt: skip
def test_published_reliability(published_ratings, name, axis, expected):
    lines = (published_ratings / "aesthetics" / f"AES_natural_{name}.jsonl").read_text(encoding="utf-8").splitlines()
    table = [json.loads(line)[axis] for line in lines]
    found = icc(table, "1,k")
    assert found.value == pytest.approx(expected, abs=0.01)
    assert found.low < found.value < found.high
    assert noise_ceiling(table).value == pytest.approx(math.sqrt(found.value))


def test_icc_and_ceiling_of_anonymous_raters_by_hand():
    """One-way analysis of variance: ICC(1,k) = 1 - MSW / MSB."""
    table = crossed(40, 10)
    between = 10 * table.mean(axis=1).var(ddof=1)
    within = table.var(axis=1, ddof=1).mean()
    found = icc(table, "1,k")
    assert found.value == pytest.approx(1 - within / between)
    assert found.low < found.value < found.high
    assert noise_ceiling(table).value == pytest.approx(math.sqrt(found.value))


@pytest.mark.filterwarnings("ignore")  # of pingouin about pandas
@pytest.mark.parametrize("seed", range(3))
def test_icc_equals_pingouin(seed):
    pingouin, pandas = pytest.importorskip("pingouin"), pytest.importorskip("pandas")
    table = crossed(15, 4, seed=seed)
    item, rater = np.indices(table.shape).reshape(2, -1)
    long = pandas.DataFrame({"item": item, "rater": rater, "score": table.reshape(-1)})
    theirs = pingouin.intraclass_corr(long, targets="item", raters="rater", ratings="score").set_index("Type")
    for form, name in zip(ICC_FORMS, ("ICC(1,1)", "ICC(1,k)", "ICC(A,1)", "ICC(A,k)"), strict=True):
        found = icc(table, form)
        assert found.value == pytest.approx(theirs.loc[name, "ICC"], abs=1e-12)
        assert (found.low, found.high) == pytest.approx(tuple(theirs.loc[name, "CI95"]), abs=0.0051)
        assert found.method == "anova_f"


def test_shrout_and_fleiss():
    """The example of their paper, table 2 to 4: .17, .44, .29, .62."""
    table = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    values = [round(found.value, 2) for found in icc_table(table).values()]
    assert values == [0.17, 0.44, 0.29, 0.62]


def test_unbalanced_icc_recovers_the_components():
    table = crossed(2000, 60, missing=0.8, seed=1, bias=0.7)
    assert icc(table, "2,1", resamples=1).value == pytest.approx(1 / 2.49, abs=0.03)
    assert icc(table, "1,1", resamples=1).value == pytest.approx(1 / 2.49, abs=0.03)


def test_unbalanced_icc_equals_henderson_on_long_data():
    table = crossed(30, 6, missing=0.3)
    item, rater = np.nonzero(np.isfinite(table))
    found = variance_components(table[item, rater], items=item, systems=np.zeros(len(item)), raters=rater)
    k = raters_per_item(table)
    expected = found.item / (found.item + (found.rater + found.residual) / k)
    assert icc(table, "2,k", resamples=1).value == pytest.approx(expected, abs=1e-10)


def test_one_missing_rating_barely_matters():
    table = crossed(60, 10)
    complete = icc_table(table)
    table[3, 4] = NAN
    for form, found in icc_table(table).items():
        assert found.value == pytest.approx(complete[form].value, abs=0.01)
        assert (found.low, found.high) == pytest.approx((complete[form].low, complete[form].high), abs=0.1)
        assert found.method == "item_bootstrap"


def test_the_bootstrap_repeats_items():
    """A resample's ICC is the ICC of a table in which the drawn items are there as often as drawn."""
    from sam_audio_bench.stats.reliability import _components

    table = crossed(12, 5, missing=0.2)
    counts = np.random.default_rng(0).multinomial(12, [1 / 12] * 12)
    repeated = np.repeat(table, counts, axis=0)
    for form, found in _components(table, counts[None].astype(float)).items():
        assert found[0] == pytest.approx(_components(repeated, np.ones((1, 12)))[form][0], abs=1e-10)


def test_coverage_of_the_bootstrap_over_items():
    inside = 0
    for seed in range(60):
        found = icc(crossed(60, 12, missing=0.4, seed=seed, bias=0.0), "1,1", resamples=300)
        inside += found.low <= 0.5 <= found.high
    assert inside >= 51


def test_raters_an_item_is_the_harmonic_mean():
    assert raters_per_item([[1, 2, NAN], [1, NAN, NAN], [NAN, NAN, NAN]]) == pytest.approx(2 / 1.5)
    assert raters_per_item(np.full((2, 2), NAN)) == 0


def test_reliability_curve_is_spearman_brown():
    table = crossed(50, 5)
    assert reliability_curve(table, [1, 5]) == pytest.approx([icc(table, "1,1").value, icc(table, "1,k").value])
    assert reliability_curve(np.ones((3, 3)), [2]) == [None]


@pytest.mark.parametrize("measurement", MEASUREMENTS)
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_alpha_equals_krippendorff(measurement, missing):
    library = pytest.importorskip("krippendorff")
    rng = np.random.default_rng(3)
    table = np.clip(np.round(crossed(30, 6, missing=missing) * 1.2 + 3), 1, 5) + rng.choice([0.0], (30, 6))
    expected = library.alpha(reliability_data=table.T, level_of_measurement=measurement)
    found = krippendorff_alpha(table, measurement, resamples=200)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("measurement", MEASUREMENTS)
def test_alpha_resamples_whole_items(measurement):
    from sam_audio_bench.stats.krippendorff import _alpha, _value_counts

    table = np.random.default_rng(0).integers(1, 6, (10, 4)).astype(float)
    counts = np.random.default_rng(1).multinomial(10, [0.1] * 10)
    drawn = _alpha(*_value_counts(table), counts[None].astype(float), measurement)[0]
    assert drawn == pytest.approx(krippendorff_alpha(np.repeat(table, counts, axis=0), measurement).value)


def test_split_half_agrees_with_icc():
    table = crossed(400, 10, bias=0.0)
    found = split_half(table)
    assert found.value == pytest.approx(icc(table, "1,k").value, abs=0.01)
    assert found.low < found.value < found.high


def test_leave_one_out_by_hand():
    table = crossed(30, 5, missing=0.2)
    found = leave_one_out(table)
    for column, rater in enumerate(found.raters):
        others = np.nanmean(np.delete(table, column, axis=1), axis=1)
        both = np.isfinite(table[:, column]) & np.isfinite(others)
        assert rater.value == pytest.approx(np.corrcoef(table[both, column], others[both])[0, 1])
        assert rater.n == both.sum()
    assert found.mean.value == pytest.approx(np.mean([rater.value for rater in found.raters]))
    assert found.mean.low < found.mean.value < found.mean.high


STATISTICS = {
    "icc": lambda table: tuple(icc_table(table, resamples=50).values()),
    "alpha": lambda table: tuple(krippendorff_alpha(table, one, resamples=50) for one in MEASUREMENTS),
    "split_half": lambda table: split_half(table, splits=5, resamples=50),
    "leave_one_out": lambda table: leave_one_out(table, resamples=50).mean,
}


@pytest.mark.parametrize("name", STATISTICS)
@settings(max_examples=25)
@given(
    table=arrays(np.float64, (6, 4), elements=st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0, NAN])),
    seed=st.integers(0, 100),
)
def test_order_changes_no_bit(name, table, seed):
    rng = np.random.default_rng(seed)
    shuffled = table[np.ix_(rng.permutation(6), rng.permutation(4))]
    assert STATISTICS[name](shuffled) == STATISTICS[name](table)


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize(
    ("table", "status"),
    [
        (np.full((6, 4), 0.1), "constant"),
        (np.full((6, 4), NAN), "too_few"),
        (np.arange(6.0)[:, None], "too_few"),
        (np.where(np.eye(4) > 0, 3.0, NAN), "too_few"),
    ],
    ids=["constant", "nothing", "one rater", "one rating an item"],
)
def test_undefined_is_none_with_a_status(name, table, status):
    found = STATISTICS[name](table)
    for one in found if isinstance(found, tuple) else (found,):
        assert (one.value, one.low, one.high, one.status) == (None, None, None, status)


def test_one_item_is_too_few():
    assert icc([[1.0, 2.0, 3.0]]).status == "too_few"
    assert krippendorff_alpha([[1.0, 2.0, 3.0], [4.0, NAN, NAN]]).status == "too_few"


def test_perfect_agreement_has_no_finite_f():
    found = icc(np.repeat(np.arange(5.0)[:, None], 3, axis=1), "2,1")
    assert (found.value, found.low, found.method) == (1.0, None, "")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: icc([1.0, 2.0]), "two dimensions"),
        (lambda: icc([[1.0, math.inf]]), "infinity"),
        (lambda: icc([[1.0, 2.0]], "3,1"), "1,1, 1,k, 2,1, 2,k, found '3,1'"),
        (lambda: noise_ceiling([[1.0, 2.0]], "1,1"), "found '1,1'"),
        (lambda: krippendorff_alpha([[1.0, 2.0]], "ratio"), "found 'ratio'"),
        (lambda: split_half([[1.0, 2.0]], splits=0), "at least one resample"),
        (lambda: icc([[1.0, 2.0]], level=1.0), "between 0 and 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_no_reliability_beyond_the_pole():
    """Both items have the mean 3 and both raters differ by 4: MSB = 0, MSW = 8, ICC(1,1) = -8 / 8 = -1.

    Of k raters the formula gives -k / (2 - k): a division by zero for 2, and 3 for 3.
    """
    assert reliability_curve([[1, 5], [5, 1]], [1, 2, 3, 30]) == [-1, None, None, None]
    # Means 3, 4, 3: MSB = 2 * (1/9 + 4/9 + 1/9) / 2 = 2/3; MSW = (2 + 2 + 8) / 3 = 4; ICC(1,1) = -10/3 / (14/3) = -5/7.
    found = reliability_curve([[2, 4], [3, 5], [1, 5]], [1, 2, 3])
    assert found == [pytest.approx(-5 / 7), pytest.approx(-10 / 2), None]


def test_no_reliability_above_one():
    """Raters that differ less than the residual takes from them: the rest of the variance comes out negative."""
    table = [[NAN, 3], [4, 4], [5, NAN]]
    for found in icc_table(table, resamples=50).values():
        assert found.value == 1
        assert found.high is None or found.high <= 1
    assert noise_ceiling(table, "2,k", resamples=50).value == 1


@settings(max_examples=150, derandomize=True)
@given(
    table=arrays(np.float64, st.tuples(st.integers(2, 5), st.integers(2, 4)), elements=st.integers(1, 5).map(float)),
    gaps=arrays(np.bool_, (5, 4)),
    whole=st.booleans(),
)
def test_reliabilities_are_at_most_one(table, gaps, whole):
    table[gaps[: table.shape[0], : table.shape[1]] & (not whole)] = NAN
    found = [*icc_table(table, resamples=20).values(), split_half(table, splits=5, resamples=20)]
    values = [value for one in found for value in (one.value, one.low, one.high) if value is not None]
    values += [value for value in reliability_curve(table, range(1, 31)) if value is not None]
    assert all(math.isfinite(value) and value <= 1 for value in values)
    curve = [value for value in reliability_curve(table, range(1, 31)) if value is not None]
    assert curve == sorted(curve) or curve == sorted(curve, reverse=True)  # to the pole, and not beyond it
