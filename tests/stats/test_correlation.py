"""Metrics against raters: scipy on repeated data, coverage in simulation, undefined cases, independence of order."""

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.coefficients import Weights
from sam_audio_bench.stats.correlation import COEFFICIENTS, INTERVALS, LEVELS, correlate, few_systems
from sam_audio_bench.stats.levels import LevelData
from sam_audio_bench.stats.mapping import mapped_rmse

NAN = math.nan
SCIPY = {
    "pearson": scipy.stats.pearsonr,
    "spearman": scipy.stats.spearmanr,
    "kendall": scipy.stats.kendalltau,
}


def scores(items=20, systems=5, *, seed=0, step=0.0):
    """Raters and a metric that share effects of items and systems; ``step`` rounds them, which makes ties."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(items, 1)) + rng.normal(size=(1, systems)) + rng.normal(size=(items, systems))
    human, metric = (shared + rng.normal(size=shared.shape) for _ in range(2))
    return tuple(np.round(one / step) * step if step else one for one in (human, metric))


def only(human, metric, **options):
    (row,) = correlate(human, {"m": metric}, **{"resamples": 200, **options})
    return row


def everything(human, metrics, **options):
    return correlate(human, metrics, coefficients=COEFFICIENTS, **{"resamples": 60, **options})


def agreeing_share(human, metric, threshold):
    """Pair agreement, one pair at a time."""
    pairs = [(i, j) for i in range(len(human)) for j in range(i)]
    same = 0
    for i, j in pairs:
        tie = abs(metric[i] - metric[j]) <= threshold
        same += tie if human[i] == human[j] else not tie and (human[i] > human[j]) == (metric[i] > metric[j])
    return same / len(pairs)


@pytest.mark.parametrize("name", SCIPY)
@pytest.mark.parametrize("step", [0.0, 1.0])
def test_coefficients_equal_scipy_at_every_level(name, step):
    human, metric = scores(step=step)
    oracle = SCIPY[name]
    rows = {row.level: row for row in correlate(human, {"m": metric}, coefficients=(name,), resamples=10)}
    assert rows["utterance"].value == pytest.approx(oracle(human.ravel(), metric.ravel()).statistic, abs=1e-12)
    usable = [pair for pair in zip(human, metric, strict=True) if all(np.ptp(one) > 0 for one in pair)]
    assert rows["within_item"].value == pytest.approx(np.mean([oracle(*pair).statistic for pair in usable]), abs=1e-12)
    assert rows["system"].value == pytest.approx(oracle(human.mean(0), metric.mean(0)).statistic, abs=1e-12)
    assert [rows[level].n for level in LEVELS] == [100, len(usable), 5]


@pytest.mark.parametrize("name", SCIPY)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("step", [0.0, 1.0])
def test_a_resample_is_scipy_on_repeated_items_and_systems(name, level, step):
    human, metric = scores(12, 6, step=step)
    rng = np.random.default_rng(1)
    by_item, by_system = rng.multinomial(12, [1 / 12] * 12), rng.multinomial(6, [1 / 6] * 6)
    weights = Weights(by_item[:, None].astype(float), by_system[:, None].astype(float))
    data = LevelData.LEVELS[level](human, metric)
    found = data.evaluate(weights, (name,))[name][0]
    h, m = (np.repeat(np.repeat(one, by_item, axis=0), by_system, axis=1) for one in (human, metric))
    if level == "utterance":
        expected = SCIPY[name](h.ravel(), m.ravel()).statistic
    elif level == "system":
        expected = SCIPY[name](h.mean(0), m.mean(0)).statistic
    else:
        pairs = [pair for pair in zip(h, m, strict=True) if all(np.ptp(one) > 0 for one in pair)]
        expected = np.mean([SCIPY[name](*pair).statistic for pair in pairs])
    assert found == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("level", LEVELS)
def test_missing_cells_are_left_out_pairwise(level):
    human, metric = scores(15, 6)
    rng = np.random.default_rng(2)
    human[rng.random(human.shape) < 0.2], metric[rng.random(metric.shape) < 0.2] = NAN, NAN
    both = np.isfinite(human) & np.isfinite(metric)
    h, m = np.where(both, human, NAN), np.where(both, metric, NAN)
    if level == "utterance":
        expected = scipy.stats.spearmanr(h[both], m[both]).statistic
    elif level == "system":
        expected = scipy.stats.spearmanr(np.nanmean(h, axis=0), np.nanmean(m, axis=0)).statistic
    else:
        usable = [(a[c], b[c]) for a, b, c in zip(h, m, both, strict=True) if c.sum() >= 3]
        expected = np.mean([scipy.stats.spearmanr(*pair).statistic for pair in usable])
    row = only(human, metric, levels=(level,), coefficients=("spearman",))
    assert row.value == pytest.approx(expected, abs=1e-12)
    assert row.low < row.value < row.high


def test_calibrated_accuracy_is_the_best_of_all_thresholds():
    human, metric = scores(6, 4, step=2.0)
    metric += np.random.default_rng(0).normal(size=metric.shape) * 0.1
    h, m = human.ravel(), metric.ravel()
    thresholds = [0.0, *np.abs(m[:, None] - m[None, :])[np.triu_indices(24, 1)]]
    row = only(human, metric, levels=("utterance",), coefficients=("accuracy",))
    assert row.value == pytest.approx(max(agreeing_share(h, m, one) for one in thresholds))
    assert row.value == pytest.approx(agreeing_share(h, m, row.threshold))
    assert row.threshold > 0


def test_accuracy_within_items_and_of_systems():
    human, metric = scores(8, 5)
    rows = {row.level: row for row in correlate(human, {"m": metric}, coefficients=("accuracy",), resamples=20)}
    pairs = zip(human, metric, strict=True)
    expected = np.mean([agreeing_share(*pair, rows["within_item"].threshold) for pair in pairs])
    assert rows["within_item"].value == pytest.approx(expected)
    assert rows["within_item"].threshold == 0  # no ties among the raters
    assert rows["system"].value == pytest.approx(agreeing_share(human.mean(0), metric.mean(0), 0.0))


def test_accuracy_follows_the_orientation():
    human, metric = scores()
    options = {"levels": ("utterance",), "coefficients": ("accuracy",)}
    found = only(human, metric, **options).value
    assert only(human, -metric, **options).value == found
    assert only(human, -metric, orientation={"m": 1}, **options).value < 0.5


def test_linear_error_is_that_of_a_regression():
    human, metric = scores()
    fit = scipy.stats.linregress(metric.ravel(), human.ravel())
    error = human.ravel() - fit.intercept - fit.slope * metric.ravel()
    row = only(human, metric, levels=("utterance",), coefficients=("rmse_linear",))
    assert row.value == pytest.approx(math.sqrt((error**2).sum() / 98))


@pytest.mark.parametrize(
    "shape", [lambda x: np.tanh(3 * x), lambda x: np.sin(3 * x), lambda x: (x + 1) ** 2, lambda x: x - (x > 0.3)]
)
def test_cubic_mapping_equals_a_constrained_optimiser(shape):
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, 60)
    y = shape(x) + 0.2 * rng.normal(size=60)
    direction = np.sign(np.corrcoef(x, y)[0, 1])
    grid, design = np.linspace(-1, 1, 301), np.vander(x, 4, increasing=True)
    slopes = np.column_stack([0 * grid, 1 + 0 * grid, 2 * grid, 3 * grid**2]) * direction
    best = scipy.optimize.minimize(
        lambda c: ((design @ c - y) ** 2).sum(),
        [y.mean(), 0.1 * direction, 0, 0],
        constraints={"type": "ineq", "fun": lambda c: slopes @ c},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    found = mapped_rmse(x, y, np.ones((60, 1)), order=3, direction=direction)[0]
    assert found == pytest.approx(math.sqrt(best.fun / 56), rel=1e-4)


def test_mapping_of_systems_needs_degrees_of_freedom():
    human, metric = scores(10, 4)
    rows = correlate(human, {"m": metric}, coefficients=("rmse_linear", "rmse_cubic"), resamples=20)
    found = {(row.level, row.coefficient): row for row in rows}
    assert ("within_item", "rmse_linear") not in found
    assert found["system", "rmse_linear"].value > 0
    assert (found["system", "rmse_cubic"].value, found["system", "rmse_cubic"].status) == (None, "too_few")


def crossed(rng, items=100, systems=6):
    """The design of the coverage study: effects of item, system and cell; the true pooled r is .633."""
    parts = []
    for shape, r in (((items, 1), 0.8), ((1, systems), 0.8), ((items, systems), 0.3)):
        one, other = rng.normal(size=(2, *shape))
        parts.append((one, r * one + math.sqrt(1 - r * r) * other))
    return sum(part[0] for part in parts), sum(part[1] for part in parts)


def test_coverage_of_the_default_interval():
    rng = np.random.default_rng(0)
    inside = dict.fromkeys(("two_way", "row", "fisher"), 0)
    for _ in range(120):
        human, metric = crossed(rng)
        for interval in inside:
            row = only(human, metric, levels=("utterance",), coefficients=("pearson",), interval=interval)
            inside[interval] += row.low <= 1.9 / 3 <= row.high
    assert inside["two_way"] / 120 >= 0.85
    assert inside["row"] / 120 <= 0.6
    assert inside["fisher"] / 120 <= 0.6


def test_coverage_of_independent_rows():
    """One system and independent items: the cluster bootstrap covers, and two_way falls back to it."""
    rng, inside = np.random.default_rng(1), 0
    for _ in range(100):
        human = rng.normal(size=(80, 1))
        row = only(human, human + rng.normal(size=(80, 1)), levels=("utterance",), coefficients=("pearson",))
        assert row.method == "cluster"
        inside += row.low <= math.sqrt(0.5) <= row.high
    assert inside >= 88


def test_groups_are_drawn_whole():
    human, metric = scores(10, 6)
    alone = only(human, metric, levels=("utterance",), coefficients=("pearson",), interval="cluster")
    copies = [np.repeat(one, 4, axis=0) for one in (human, metric)]
    options = {"levels": ("utterance",), "coefficients": ("pearson",), "interval": "cluster"}
    grouped = only(*copies, groups=np.repeat(np.arange(10), 4), **options)
    assert (grouped.low, grouped.high) == pytest.approx((alone.low, alone.high), abs=0.05)
    narrow = only(*copies, **options)
    assert narrow.high - narrow.low < 0.7 * (grouped.high - grouped.low)
    assert only(*copies, groups=["a"] * 40, **options).low is None


@pytest.mark.parametrize("interval", INTERVALS)
@settings(max_examples=10)
@given(seed=st.integers(0, 1000), step=st.sampled_from([0.0, 1.0]), grouped=st.booleans())
def test_order_changes_no_bit(interval, seed, step, grouped):
    human, metric = scores(7, 4, seed=seed, step=step)
    rng = np.random.default_rng(seed)
    human[rng.random(human.shape) < 0.15] = NAN
    rows, columns = rng.permutation(7), rng.permutation(4)
    groups = [str(k // 2) for k in range(7)] if grouped else None
    shuffled = [one[np.ix_(rows, columns)] for one in (human, metric)]
    moved = [groups[row] for row in rows] if groups else None
    first = everything(human, {"m": metric, "h": human}, interval=interval, groups=groups)
    second = everything(shuffled[0], {"h": shuffled[0], "m": shuffled[1]}, interval=interval, groups=moved)
    assert {(r.metric, r.level, r.coefficient): r for r in first} == {
        (r.metric, r.level, r.coefficient): r for r in second
    }


def test_other_metrics_change_no_interval():
    human, metric = scores()
    alone = everything(human, {"m": metric})
    both = everything(human, {"a": scores(seed=9)[1], "m": metric})
    assert [row for row in both if row.metric == "m"] == alone


@pytest.mark.parametrize("constant", ["human", "metric"])
def test_constant_is_none_never_zero(constant):
    human, metric = scores()
    if constant == "human":
        human[:] = 0.1
    else:
        metric[:] = 0.1
    for row in everything(human, {"m": metric}):
        assert (row.value, row.low, row.high, row.status, row.method) == (None, None, None, "constant", "")


def test_too_few():
    human, metric = scores(2, 1)
    assert {row.status for row in everything(human, {"m": metric})} == {"too_few"}
    nothing = np.full((4, 3), NAN)
    assert {row.status for row in everything(nothing, {"m": nothing})} == {"too_few"}
    empty = np.zeros((0, 0))
    assert {row.status for row in everything(empty, {"m": empty})} == {"too_few"}


def test_one_system_has_utterances_only():
    human, metric = scores(30, 1)
    found = {row.level: row for row in correlate(human, {"m": metric}, coefficients=("pearson",), resamples=50)}
    assert found["utterance"].value is not None
    assert {found[level].status for level in ("within_item", "system")} == {"too_few"}


def test_fisher_has_no_interval_within_items():
    human, metric = scores()
    rows = correlate(human, {"m": metric}, interval="fisher", coefficients=("pearson",))
    assert [row.method for row in rows] == ["fisher", "", "fisher"]


def test_few_systems_are_warned_of():
    human, metric = scores(5, 7)
    assert few_systems(human, {"m": metric}).startswith("7 systems")
    assert few_systems(*(lambda h, m: (h, {"m": m}))(*scores(5, 8))) is None
    metric[:, 1:] = NAN
    assert few_systems(human, {"m": metric}).startswith("1 system:")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": ("segment",)}, "utterance, within_item, system, found 'segment'"),
        ({"coefficients": ("r",)}, "found 'r'"),
        ({"interval": "bca"}, "found 'bca'"),
        ({"level": 95}, "between 0 and 1"),
        ({"resamples": 0}, "at least one resample"),
        ({"groups": ["a"]}, "one group per item, found 1 for 20"),
        ({"metrics": {"m": np.ones((20, 4))}}, r"shape \(20, 5\)"),
        ({"human": np.ones(20)}, "two dimensions"),
        ({"metrics": {"m": np.full((20, 5), np.inf)}}, "infinity"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, message):
    human, metric = scores()
    with pytest.raises(UsageError, match=message):
        correlate(**{"human": human, "metrics": {"m": metric}, **change})
