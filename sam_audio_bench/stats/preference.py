"""Strengths of systems from pairwise votes.

Bradley and Terry (Biometrika 1952) with the ties of Davidson (JASA 1970) and the order effect of Davidson and Beaver
(Biometrics 1977): with strengths s, advantage of the first position e and tie parameter v, the first system, the
second and a tie have probabilities proportional to ``exp(s1 + e/2) : exp(s2 - e/2) : v exp((s1 + s2)/2)``. Votes of one
rater are not independent, so whole raters are resampled.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.bootstrap import multinomial_weights
from sam_audio_bench.stats.estimate import (
    Estimate,
    EstimateStatus,
    Floats,
    check_options,
    percentile_interval,
    undefined,
)

__all__ = ["BradleyTerry", "Transitivity", "bradley_terry", "elo", "transitivity"]

_ITERATIONS = 100
_TOLERANCE = 1e-10
_NUISANCE = 3.0  # standard deviation of the prior of the order effect and of log v
_LONGEST = 2.0  # maximum length of a Newton step, in logits
_CHUNK = 2**21


@dataclass(frozen=True, slots=True, kw_only=True)
class BradleyTerry:
    """Strengths with supporting statistics, by index of the system."""

    strengths: tuple[Estimate, ...]  # logits, mean 0; n counts votes
    ranks: tuple[Estimate, ...]  # 1 is the best; bounds are whole ranks
    net_win_rate: tuple[Estimate, ...]  # (wins - losses) / votes of the system, ties included
    wins: tuple[int, ...]
    losses: tuple[int, ...]
    ties: tuple[int, ...]
    order: Estimate  # advantage of the first position, logits
    tie: float | None  # Davidson's v; None without ties
    components: tuple[tuple[int, ...], ...]  # groups of systems connected by chains of comparisons
    status: EstimateStatus
    method: str  # "rater_bootstrap" or "vote_bootstrap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transitivity:
    """Transitivity of the majorities."""

    circular: int  # triads in which a beats b, b beats c and c beats a
    triads: int  # triads whose three pairs all have a majority
    coefficient: float | None  # 1: none is circular, 0: as many as expected by chance
    p: float | None  # probability of so few by chance
    n: int  # pairs with a majority


class _Votes(NamedTuple):
    first: NDArray[np.intp]  # [pairs], ordered pairs that occur
    second: NDArray[np.intp]
    counts: Floats  # [raters, pairs, 3]: first preferred, second preferred, tie; one row where votes are independent


class _Model(NamedTuple):
    design: Floats  # [pairs, outcomes, parameters]: the logits are linear in the parameters
    precision: Floats  # [parameters], of the prior
    ties: bool
    order: bool


def elo(strength: float, *, base: float = 1500.0) -> float:
    """Converts a strength in logits to the Elo scale: 400 points are odds of 10 to 1. For display only.

    >>> elo(math.log(10))
    1900.0
    """
    return base + 400 * strength / math.log(10)


def bradley_terry(
    first: ArrayLike,
    second: ArrayLike,
    outcome: ArrayLike,
    *,
    systems: int,
    raters: Sequence[Hashable] | None = None,
    order_effect: bool = True,
    prior: float = 3.0,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> BradleyTerry:
    """Fits strengths by Newton's method and their intervals by resampling raters.

    Args:
        first: [votes], index of the system that was presented first.
        second: [votes], index of the other one.
        outcome: [votes], 1 where the first was preferred, -1 the second, 0 a tie.
        systems: number of systems.
        raters: [votes], labels; None: votes are independent.
        order_effect: estimate the advantage of the first position.
        prior: standard deviation of a normal prior around 0, in logits, which keeps strengths finite for systems that
            always win; 0: none.
        level: confidence of the percentile intervals.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        The fit. If the comparisons do not connect all systems, the strengths are not comparable: they are None,
        with the status "disconnected". Without a prior, a system that beat all others has no finite strength
        either. Fewer than two raters: no intervals.

    Raises:
        UsageError: invalid votes, or an option out of range.
    """
    check_options(level, resamples)
    if prior < 0:
        raise UsageError(f"expected a standard deviation of the prior, or 0 for none, found {prior}")
    votes = _counted(first, second, outcome, systems, raters)
    total = votes.counts.sum(axis=0)
    components = _components(votes, total, systems, directed=False)
    identified = prior > 0 or len(_components(votes, total, systems, directed=True)) == 1
    status = EstimateStatus.OK
    if not total.sum():
        status = EstimateStatus.TOO_FEW
    elif len(components) > 1 or not identified:
        status = EstimateStatus.DISCONNECTED
    method = "rater_bootstrap" if raters is not None else "vote_bootstrap"
    tallies = _tallies(votes, total[None], systems)[0]
    draws = _resampled(votes, resamples, seed, clustered=raters is not None)
    rates = _net_rates(_tallies(votes, draws, systems))
    net = tuple(
        _with_interval(_net_rates(tallies[k]), rates[:, k], tallies[k].sum(), level, method) for k in range(systems)
    )
    model = _model(votes, total, systems, order_effect, prior)
    fitted = _fit(model, total[None])[0] if status is EstimateStatus.OK else np.empty(0)
    fits = _fit(model, draws) if status is EstimateStatus.OK else np.empty((0, 0))
    strengths, ranks = _strengths(fitted, fits, tallies, systems, level, method, status)
    order = undefined(status, int(total.sum()))
    if status is EstimateStatus.OK and model.order:
        order = _with_interval(fitted[systems], fits[:, systems], total.sum(), level, method)
    return BradleyTerry(
        strengths=strengths,
        ranks=ranks,
        net_win_rate=net,
        wins=tuple(int(row[0]) for row in tallies),
        losses=tuple(int(row[1]) for row in tallies),
        ties=tuple(int(row[2]) for row in tallies),
        order=order,
        tie=float(np.exp(fitted[-1])) if model.ties and status is EstimateStatus.OK else None,
        components=components,
        status=status,
        method=method if len(draws) else "",
    )


def transitivity(
    first: ArrayLike, second: ArrayLike, outcome: ArrayLike, *, systems: int, resamples: int = 2000, seed: int = 0
) -> Transitivity:
    """Circular triads among the majorities (Kendall and Babington Smith, Biometrika 1940).

    Triads with an undecided pair are left out. If all pairs are decided, the coefficient compares circular triads with
    their expectation, a quarter of all.

    Args:
        first: as in `bradley_terry`, like `second`, `outcome` and `systems`.
        second: as there.
        outcome: as there.
        systems: as there.
        resamples: random tournaments on the same pairs, for p.
        seed: of the tournaments.

    Raises:
        UsageError: invalid votes, or an option out of range.
    """
    check_options(0.5, resamples)
    votes = _counted(first, second, outcome, systems, None)
    total = votes.counts.sum(axis=0)
    margin = np.zeros((systems, systems))
    np.add.at(margin, (votes.first, votes.second), total[:, 0] - total[:, 1])
    majority = np.sign(margin - margin.T)
    decided = np.abs(majority)
    triads = round(float(np.trace(decided @ decided @ decided)) / 6)
    pairs = int(decided.sum() / 2)
    circular = _circular(majority)
    if not triads:
        return Transitivity(circular=0, triads=0, coefficient=None, p=None, n=pairs)
    generator = np.random.Generator(np.random.PCG64(seed))
    fewer = 0
    for _ in range(resamples):
        tosses = np.triu(generator.integers(0, 2, (systems, systems)) * 2.0 - 1, 1)
        fewer += _circular((tosses - tosses.T) * decided) <= circular
    p = (fewer + 1) / (resamples + 1)
    return Transitivity(circular=circular, triads=triads, coefficient=1 - 4 * circular / triads, p=p, n=pairs)


def _circular(majority: Floats) -> int:
    beats = (majority > 0).astype(np.float64)
    return round(float(np.trace(beats @ beats @ beats)) / 3)


def _counted(
    first: ArrayLike, second: ArrayLike, outcome: ArrayLike, systems: int, raters: Sequence[Hashable] | None
) -> _Votes:
    """Counts outcomes; raters are ordered by content, so that the order of the votes has no effect."""
    columns = [np.array(column, dtype=np.float64).astype(np.intp) for column in (first, second, outcome)]
    one, other, result = columns
    lengths = {column.shape for column in columns}
    if len(lengths) > 1 or one.ndim != 1 or (raters is not None and len(raters) != len(one)):
        raise UsageError("expected two systems, an outcome and a rater for each vote, found lists of other lengths")
    known = (one >= 0) & (one < systems) & (other >= 0) & (other < systems) & (one != other) & (np.abs(result) <= 1)
    if not known.all():
        place = int(np.flatnonzero(~known)[0])
        raise UsageError(
            f"expected two of {systems} systems and an outcome of 1, 0 or -1, found "
            f"{(int(one[place]), int(other[place]), int(result[place]))} in vote {place}"
        )
    pairs, pair = np.unique(one * systems + other, return_inverse=True)
    labels = np.zeros(len(one), np.intp)
    if raters is not None:
        labels = np.unique([str(rater) for rater in raters], return_inverse=True)[1]
    counts = np.zeros((int(labels.max(initial=-1)) + 1, len(pairs), 3))
    np.add.at(counts, (labels, pair, np.where(result == 1, 0, np.where(result == -1, 1, 2))), 1.0)
    order = np.lexsort(counts.reshape(len(counts), -1).T) if counts.size else np.arange(len(counts))
    return _Votes(pairs // systems, pairs % systems, counts[order])


def _components(votes: _Votes, total: Floats, systems: int, *, directed: bool) -> tuple[tuple[int, ...], ...]:
    """Finds connected systems; ``directed``: by wins in both directions, ties counting as both (Ford's condition)."""
    rows, columns = np.concatenate([votes.first, votes.second]), np.concatenate([votes.second, votes.first])
    counts = np.concatenate([total[:, 0] + total[:, 2], total[:, 1] + total[:, 2]])
    graph = coo_array((counts, (rows, columns)), shape=(systems, systems)).tocsr()
    graph.eliminate_zeros()
    number, labels = connected_components(graph, directed=directed, connection="strong" if directed else "weak")
    return tuple(tuple(np.flatnonzero(labels == k).tolist()) for k in range(number))


def _resampled(votes: _Votes, resamples: int, seed: int, *, clustered: bool) -> Floats:
    """Counts outcomes in each resample of raters or votes: [resamples, pairs, 3]; no resamples with too few of them."""
    count, *shape = votes.counts.shape
    flat = votes.counts.reshape(count, 3 * shape[0])
    total = int(flat.sum())
    if clustered and count > 1:
        drawn = multinomial_weights(count, resamples, (seed,)) @ flat  # integers: exact in any order
    elif not clustered and total > 1:
        generator = np.random.Generator(np.random.PCG64(seed))
        drawn = generator.multinomial(total, flat[0] / total, size=resamples).astype(np.float64)
    else:
        drawn = np.empty((0, flat.shape[1]))
    return drawn.reshape(len(drawn), *shape)


def _tallies(votes: _Votes, counts: Floats, systems: int) -> Floats:
    """Counts wins, losses and ties of each system: [resamples, systems, 3]."""
    found = np.zeros((len(counts), systems, 3))
    for pair, (one, other) in enumerate(zip(votes.first, votes.second, strict=True)):
        found[:, one] += counts[:, pair]
        found[:, other] += counts[:, pair, [1, 0, 2]]
    return found


def _net_rates(tallies: Floats) -> Floats:
    total = tallies.sum(axis=-1)
    rates = (tallies[..., 0] - tallies[..., 1]) / np.where(total > 0, total, 1.0)
    return np.where(total > 0, rates, np.nan)


def _model(votes: _Votes, total: Floats, systems: int, order_effect: bool, prior: float) -> _Model:
    ties = bool(total[:, 2].sum())
    width = systems + order_effect + ties
    design = np.zeros((len(votes.first), 3 if ties else 2, width))
    pairs = np.arange(len(votes.first))
    design[pairs, 0, votes.first] = design[pairs, 1, votes.second] = 1
    if order_effect:
        design[:, 0, systems], design[:, 1, systems] = 0.5, -0.5
    if ties:
        design[pairs, 2, votes.first] = design[pairs, 2, votes.second] = 0.5
        design[:, 2, -1] = 1
    precision = np.full(width, 1 / _NUISANCE**2 if prior else 0.0)
    precision[:systems] = 1 / prior**2 if prior else 0.0
    return _Model(design, precision, ties, order_effect)


def _fit(model: _Model, counts: Floats) -> Floats:
    """Posterior modes, [resamples, parameters], the strengths first and with mean 0; batched Newton steps."""
    outcomes, width = model.design.shape[1:]
    step = max(1, _CHUNK // max(1, model.design.size))
    counts = counts[..., :outcomes]
    parts = [_newton(model, counts[at : at + step]) for at in range(0, len(counts), step)]
    return np.concatenate(parts) if parts else np.empty((0, width))


def _newton(model: _Model, counts: Floats) -> Floats:
    pairs, outcomes, width = model.design.shape
    systems = width - model.order - model.ties
    flat = model.design.reshape(pairs * outcomes, width)
    found = np.zeros((len(counts), width))
    anchored = np.zeros((width, width))
    anchored[:systems, :systems] = 1.0  # the likelihood does not depend on a common shift; this fixes it at 0
    total = counts.sum(axis=2, keepdims=True)
    for _ in range(_ITERATIONS):
        logits = (found @ flat.T).reshape(-1, pairs, outcomes)
        odds = np.exp(logits - logits.max(axis=2, keepdims=True))
        chances = odds / odds.sum(axis=2, keepdims=True)
        gradient = (counts - total * chances).reshape(len(counts), -1) @ flat - model.precision * found
        mean = np.einsum("bpo,pok->bpk", chances, model.design)
        curvature = np.einsum("bn,nk,nl->bkl", (total * chances).reshape(len(counts), -1), flat, flat, optimize=True)
        curvature -= np.einsum("bpk,bpl->bkl", total * mean, mean, optimize=True)
        curvature += np.diag(model.precision + 1e-9) + anchored
        change = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        longest = np.abs(change).max(axis=1, keepdims=True, initial=0.0)
        found += change * np.minimum(1.0, _LONGEST / np.maximum(longest, _LONGEST))
        if longest.max(initial=0.0) < _TOLERANCE:
            break
    found[:, :systems] -= found[:, :systems].mean(axis=1, keepdims=True)
    return found


def _strengths(
    fitted: Floats, fits: Floats, tallies: Floats, systems: int, level: float, method: str, status: EstimateStatus
) -> tuple[tuple[Estimate, ...], tuple[Estimate, ...]]:
    counts = tallies.sum(axis=1)
    if status is not EstimateStatus.OK:
        missing = tuple(undefined(status, int(count)) for count in counts)
        return missing, missing
    strengths = tuple(_with_interval(fitted[k], fits[:, k], counts[k], level, method) for k in range(systems))
    place, places = _ranks(fitted[None, :systems])[0], _ranks(fits[:, :systems])
    ranks = []
    for k in range(systems):
        one = _with_interval(place[k], places[:, k], counts[k], level, method)
        if one.low is not None and one.high is not None:
            one = replace(one, low=float(math.floor(one.low)), high=float(math.ceil(one.high)))
        ranks.append(one)
    return strengths, tuple(ranks)


def _ranks(strengths: Floats) -> Floats:
    """1 for the best; equal ones (to 1e-9) share the better rank."""
    rounded = np.round(strengths, 9)
    found: Floats = 1.0 + (rounded[:, None, :] > rounded[:, :, None]).sum(axis=2)
    return found


def _with_interval(value: float | Floats, draws: Floats, n: float, level: float, method: str) -> Estimate:
    if not np.isfinite(value):
        return undefined(EstimateStatus.TOO_FEW, int(n))
    bounds = percentile_interval(draws, level)
    if bounds is None:
        return Estimate(value=float(value), n=int(n))
    return Estimate(value=float(value), low=bounds.low, high=bounds.high, n=int(n), method=method)
