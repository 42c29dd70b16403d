"""Variance components and the power that follows from them: closed forms, statsmodels, monotony."""

import math

import numpy as np
import pytest

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.components import VarianceComponents, variance_components
from sam_audio_bench.stats.power import power_table, simulate_power

FITTED = VarianceComponents(item=0.5, system=0.3, rater=0.4, cell=0.3, residual=0.8, mean=3.0, n=100)
DESIGN = {"raters": 6, "items": 24, "systems": 2, "difference": 0.5}


def ratings(items=150, systems=12, raters=25, *, keep=1.0, seed=0):
    """Long ratings with the components 1, .5, .25, .36 and .81."""
    rng = np.random.default_rng(seed)
    shapes = {(items, 1, 1): 1.0, (1, systems, 1): 0.5, (1, 1, raters): 0.25, (items, systems, 1): 0.36}
    table = sum(math.sqrt(variance) * rng.normal(size=shape) for shape, variance in shapes.items())
    table = table + 0.9 * rng.normal(size=(items, systems, raters))
    codes = np.indices(table.shape).reshape(3, -1)
    kept = rng.random(table.size) < keep
    return table.reshape(-1)[kept], *(one[kept] for one in codes)


def components(scores, items, systems, raters):
    return variance_components(scores, items=items, systems=systems, raters=raters)


def test_balanced_components_equal_the_analysis_of_variance():
    """Expected mean squares of the crossed design, with the rater's interactions in the residual."""
    scores, *codes = ratings(10, 4, 5)
    table = scores.reshape(10, 4, 5)
    grand, cell = table.mean(), table.mean(axis=2)
    item, system, rater = table.mean((1, 2)), table.mean((0, 2)), table.mean((0, 1))
    squares = {
        "item": 20 * ((item - grand) ** 2).sum() / 9,
        "system": 50 * ((system - grand) ** 2).sum() / 3,
        "rater": 40 * ((rater - grand) ** 2).sum() / 4,
        "cell": 5 * ((cell - item[:, None] - system + grand) ** 2).sum() / 27,
        "residual": ((table - cell[:, :, None] - rater + grand) ** 2).sum() / (39 * 4),
    }
    found = components(scores, *codes)
    assert found.residual == pytest.approx(squares["residual"])
    assert found.cell == pytest.approx((squares["cell"] - squares["residual"]) / 5)
    assert found.rater == pytest.approx(max(0, (squares["rater"] - squares["residual"]) / 40))
    assert found.item == pytest.approx((squares["item"] - squares["cell"]) / 20)
    assert found.system == pytest.approx((squares["system"] - squares["cell"]) / 50)
    assert (found.mean, found.n) == (pytest.approx(grand), 200)


def test_unbalanced_components_are_recovered():
    found = [components(*ratings(60, 20, 20, keep=0.3, seed=seed)) for seed in range(8)]
    means = [np.mean([getattr(one, name) for one in found]) for name in ("item", "system", "rater", "cell", "residual")]
    assert means == pytest.approx([1.0, 0.5, 0.25, 0.36, 0.81], rel=0.25)


def test_one_rating_a_cell_leaves_the_cell_in_the_residual():
    scores, items, systems, raters = ratings(40, 10, 1)
    found = components(scores, items, systems, raters)
    assert (found.cell, found.rater) == (0.0, 0.0)
    assert found.residual == pytest.approx(0.36 + 0.81, abs=0.2)


def test_order_and_labels_do_not_matter():
    scores, items, systems, raters = ratings(8, 3, 4, keep=0.7)
    order = np.random.default_rng(0).permutation(len(scores))
    labels = [[f"{name:03d}" for name in column[order]] for column in (items, systems, raters)]
    assert components(scores[order], *labels) == components(
        scores, *([f"{k:03d}" for k in c] for c in (items, systems, raters))
    )


def test_constant_and_missing_scores():
    found = components([2.0, 2.0, math.nan, 2.0], [0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 0, 1])
    assert (found.item, found.residual, found.mean, found.n) == (0.0, 0.0, 2.0, 3)


def test_power_equals_statsmodels():
    power = pytest.importorskip("statsmodels.stats.power")
    spread = math.sqrt(2 * (FITTED.cell + FITTED.residual / 6))
    for systems, alpha in ((2, 0.05), (4, 0.05 / 6)):
        expected = power.TTestPower().power(0.5 / spread, 24, alpha)
        found = simulate_power(FITTED, **{**DESIGN, "systems": systems, "simulations": 4000})
        assert found.power == pytest.approx(expected, abs=0.025)
        assert found.low < expected < found.high


def test_no_difference_is_found_as_often_as_alpha_says():
    found = simulate_power(FITTED, **{**DESIGN, "difference": 0.0, "simulations": 4000})
    assert found.power == pytest.approx(0.05, abs=0.012)


def test_more_of_everything_helps_except_systems():
    rows = power_table(FITTED, raters=[2, 10], items=[10, 40], systems=[2, 6], difference=[0.3, 0.6], simulations=400)
    assert len(rows) == 16
    found = {(row.raters, row.items, row.systems, row.difference): row.power for row in rows}
    assert found[10, 40, 2, 0.6] > found[2, 40, 2, 0.6] >= found[2, 10, 2, 0.6] > found[2, 10, 6, 0.6]
    assert found[10, 40, 2, 0.6] > found[10, 40, 2, 0.3]


def test_other_raters_and_a_bounded_scale_cost_power():
    best = simulate_power(FITTED, **DESIGN).power
    assert simulate_power(FITTED, **DESIGN, same_raters=False).power < best - 0.02
    high = VarianceComponents(item=0.5, system=0.3, rater=0.4, cell=0.3, residual=0.8, mean=5.0, n=100)
    assert simulate_power(high, **DESIGN, scale=(1, 5, 1)).power < best - 0.1


def test_seeds_decide():
    assert simulate_power(FITTED, **DESIGN) == simulate_power(FITTED, **DESIGN)
    assert simulate_power(FITTED, **DESIGN, seed=1) != simulate_power(FITTED, **DESIGN)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate_power(FITTED, **{**DESIGN, "items": 1}), "items >= 2"),
        (lambda: simulate_power(FITTED, **DESIGN, alpha=1.0), "alpha"),
        (lambda: simulate_power(FITTED, **{**DESIGN, "raters": 10**9}), "at most 10,000,000 ratings of a system"),
        (lambda: simulate_power(FITTED, **DESIGN, scale=(5, 1, 1)), r"found \(5, 1, 1\)"),
        (lambda: components([1.0, 2.0], [0], [0], [0]), "other lengths"),
        (lambda: components([1.0, math.nan], [0, 1], [0, 1], [0, 1]), "found 1"),
        (lambda: components([1.0, math.inf], [0, 1], [0, 1], [0, 1]), "infinite"),
    ],
)
def test_what_cannot_be_meant_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
