"""Strengths from votes: choix, gradients, recovery of what was simulated, and data that identify nothing."""

import math
from itertools import permutations

import numpy as np
import pytest

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.preference import bradley_terry, elo, transitivity

STRENGTHS = np.linspace(-1.2, 1.2, 5)


def votes(count=1500, *, order=0.5, tie=0.8, seed=0):
    """Votes from the model: first, second, outcome, rater."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 5, count)
    second = (first + rng.integers(1, 5, count)) % 5
    one, other = STRENGTHS[first] + order / 2, STRENGTHS[second] - order / 2
    odds = np.stack([np.exp(one), np.exp(other), tie * np.exp((one + other) / 2)])
    place = (rng.random(count) > np.cumsum(odds / odds.sum(axis=0), axis=0)).sum(axis=0)
    return first, second, np.array([1, -1, 0])[place], rng.integers(0, 30, count)


def fit(first, second, outcome, raters=None, **options):
    return bradley_terry(first, second, outcome, raters=raters, **{"systems": 5, "resamples": 100, **options})


def values(estimates):
    return [one.value for one in estimates]


def test_without_ties_and_prior_it_is_choix():
    choix = pytest.importorskip("choix")
    first, second, outcome, _ = votes(tie=0.0)
    pairs = [(a, b) if won == 1 else (b, a) for a, b, won in zip(first, second, outcome, strict=True)]
    expected = choix.ilsr_pairwise(5, pairs, tol=1e-12)
    found = fit(first, second, outcome, prior=0, order_effect=False)
    assert values(found.strengths) == pytest.approx(list(expected - expected.mean()), abs=1e-8)
    assert found.tie is None
    assert found.order.value is None


def test_what_was_simulated_is_recovered_and_covered():
    inside = 0
    for seed in range(20):
        found = fit(*votes(seed=seed))
        inside += sum(one.low <= s <= one.high for one, s in zip(found.strengths, STRENGTHS, strict=True))
        assert found.order.low < found.order.value < found.order.high
    assert inside >= 86
    large = fit(*votes(40_000), resamples=10)
    assert values(large.strengths) == pytest.approx(list(STRENGTHS), abs=0.05)
    assert (large.order.value, large.tie) == pytest.approx((0.5, 0.8), abs=0.05)


def test_the_gradient_vanishes_at_the_fit():
    """Numerically, on the log posterior written out one vote at a time."""
    first, second, outcome, _ = votes(60)
    found = fit(first, second, outcome)

    def log_posterior(strengths, order, log_tie):
        total = -sum(s * s for s in strengths) / 18 - (order**2 + log_tie**2) / 18
        for a, b, won in zip(first, second, outcome, strict=True):
            one, other = strengths[a] + order / 2, strengths[b] - order / 2
            logits = {1: one, -1: other, 0: log_tie + (one + other) / 2}
            total += logits[won] - math.log(sum(map(math.exp, logits.values())))
        return total

    centre = [values(found.strengths), found.order.value, math.log(found.tie)]
    best = log_posterior(*centre)
    for step in (-1e-3, 1e-3):
        assert log_posterior([s + step * (k == 2) for k, s in enumerate(centre[0])], *centre[1:]) < best
        assert log_posterior(centre[0], centre[1] + step, centre[2]) < best
        assert log_posterior(centre[0], centre[1], centre[2] + step) < best


def test_raters_are_drawn_whole():
    """A rater who votes four times in the same way is one voice."""
    first, second, outcome, _ = votes(150, order=0.0)
    copies = [np.repeat(one, 4) for one in (first, second, outcome)]
    clustered = fit(*copies, raters=np.repeat(np.arange(150), 4), resamples=400)
    independent = fit(*copies, resamples=400)
    ratio = np.mean(
        [(a.high - a.low) / (b.high - b.low) for a, b in zip(clustered.strengths, independent.strengths, strict=True)]
    )
    assert 1.6 < ratio < 2.4
    assert (clustered.method, independent.method) == ("rater_bootstrap", "vote_bootstrap")


def test_counts_ranks_and_net_win_rate():
    found = bradley_terry([0, 0, 1, 2], [1, 2, 2, 0], [1, 1, 0, -1], systems=3, resamples=200)
    assert (found.wins, found.losses, found.ties) == ((3, 0, 0), (0, 1, 2), (0, 1, 1))
    assert values(found.net_win_rate) == pytest.approx([1.0, -0.5, -2 / 3])
    assert values(found.ranks) == [1.0, 2.0, 3.0]
    wide = fit(*votes(60))
    assert all(one.low <= one.value <= one.high for one in wide.ranks)
    assert all(one.low.is_integer() and one.high.is_integer() for one in wide.ranks)


def test_a_prior_keeps_winners_finite():
    always = [0] * 10, [1] * 10, [1] * 10
    assert bradley_terry(*always, systems=2, prior=0).status == "disconnected"
    found = bradley_terry(*always, systems=2, resamples=20)
    assert 0 < found.strengths[0].value < 10
    assert found.status == "ok"


def test_disconnected_systems_have_no_common_zero():
    found = bradley_terry([0, 2, 0], [1, 3, 1], [1, 1, -1], systems=5)
    assert found.status == "disconnected"
    assert found.components == ((0, 1), (2, 3), (4,))
    assert values(found.strengths) == values(found.ranks) == [None] * 5
    assert found.net_win_rate[0].value == 0
    assert (found.net_win_rate[4].value, found.net_win_rate[4].status) == (None, "too_few")


def test_no_votes_and_one_rater():
    assert bradley_terry([], [], [], systems=2).status == "too_few"
    found = fit(*votes(50)[:3], raters=["a"] * 50)
    assert found.strengths[0].value is not None
    assert (found.strengths[0].low, found.method) == (None, "")


def test_order_of_votes_and_names_of_raters_do_not_matter():
    first, second, outcome, raters = votes(200)
    expected = fit(first, second, outcome, raters)
    order = np.random.default_rng(5).permutation(200)
    names = [f"r{37 * rater % 31}" for rater in raters[order]]
    assert fit(first[order], second[order], outcome[order], names) == expected


def test_a_million_votes():
    found = fit(*votes(1_000_000)[:3], resamples=20)
    assert found.order.n == 1_000_000


def test_elo_is_a_display_scale():
    assert elo(0.0) == 1500
    assert elo(math.log(10), base=1000) == pytest.approx(1400)


def test_circular_triads_by_hand():
    assert transitivity([0, 1, 2], [1, 2, 0], [1, 1, 1], systems=3).coefficient == -3
    assert transitivity([0, 1, 0], [1, 2, 2], [1, 1, 1], systems=3).circular == 0
    nothing = transitivity([0, 1], [1, 2], [1, 1], systems=3)
    assert (nothing.triads, nothing.coefficient, nothing.p, nothing.n) == (0, None, None, 2)


def test_circular_triads_equal_the_formula_of_kendall():
    """Namely n (n-1) (2n-1) / 12 - sum of squared scores / 2, in a complete tournament."""
    rng = np.random.default_rng(0)
    beats = np.triu(rng.integers(0, 2, (9, 9)), 1)
    beats += np.tril(1 - beats.T, -1)
    pairs = [(i, j) for i, j in permutations(range(9), 2) if beats[i, j]]
    found = transitivity(*zip(*pairs, strict=True), [1] * len(pairs), systems=9)
    assert found.triads == 84
    assert found.circular == 9 * 8 * 17 / 12 - (beats.sum(axis=1) ** 2).sum() / 2
    assert 0.01 < found.p <= 1


def test_a_clear_order_is_no_accident():
    first, second, outcome, _ = votes(5000, order=0.0)
    found = transitivity(first, second, outcome, systems=5)
    assert (found.circular, found.coefficient) == (0, 1.0)
    assert found.p == pytest.approx(120 / 1024, abs=0.03)  # 5! transitive tournaments of 2^10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome": [2, 1]}, r"found \(0, 1, 2\) in vote 0"),
        ({"second": [1, 5]}, r"found \(0, 5, 1\) in vote 1"),
        ({"second": [1, 0]}, r"found \(0, 0, 1\) in vote 1"),
        ({"first": [0]}, "other lengths"),
        ({"raters": ["a"]}, "other lengths"),
        ({"prior": -1.0}, "found -1.0"),
        ({"level": 0.0}, "between 0 and 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        bradley_terry(**{"first": [0, 0], "second": [1, 1], "outcome": [1, 1], "systems": 2, **change})
