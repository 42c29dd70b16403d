"""How near `fad` and `kad` come to known distances, and how often their intervals hold them.

Run: python benchmarks/distances.py (some minutes of one core). Prints a table and writes benchmarks/distances.md.
Answers and references are vectors of two normal distributions whose distances have closed forms; half of their variance
is shared by the windows of a recording, and an answer resembles the reference of its recording. The reference set of
others has as many recordings, and the distance from it as it is, is what is asked then.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.metrics.distributions import Embeddings, fad, kad
from sam_audio_bench.metrics.functional.distributions import (
    Gaussian,
    fit_gaussian,
    frechet_distance,
    gaussian_frechet_distance,
)

WIDTH, SHARE, ALIKE, REPEATS, DRAWS = 32, 0.5, 0.8, 60, 60
CASES = ((8, 12), (20, 5), (30, 1), (30, 3), (50, 2), (50, 10), (100, 1), (100, 2))  # recordings, windows of each
APART = (0.0, 0.5)
Floats = NDArray[np.float64]


class Population(NamedTuple):
    """Two normal distributions: means, and roots of covariances."""

    mean: Floats
    answers: Floats
    references: Floats


def population(apart: float) -> Population:
    """Variances that fall as those of embeddings do; answers are moved and turned."""
    rng = np.random.default_rng(0)
    plain = np.diag(np.arange(1, WIDTH + 1) ** -0.5)
    turn, _ = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))
    turned = plain + apart * (turn @ plain @ turn.T - plain)
    return Population(np.full(WIDTH, apart / 2 / np.sqrt(WIDTH)), plain, turned)


def drawn(rng: np.random.Generator, recordings: int, windows: int) -> Floats:
    """Standard normal ``[recordings, windows, WIDTH]``, alike within a recording."""
    common, own = rng.normal(size=(recordings, 1, WIDTH)), rng.normal(size=(recordings, windows, WIDTH))
    found: Floats = np.sqrt(SHARE) * common + np.sqrt(1 - SHARE) * own
    return found


def sample(truth: Population, recordings: int, windows: int, seed: int, *, shared: bool) -> tuple[Embeddings, ...]:
    """Answers and a reference set."""
    rng = np.random.default_rng(seed)
    base = drawn(rng, recordings, windows)
    other = ALIKE * base + np.sqrt(1 - ALIKE**2) * drawn(rng, recordings, windows)
    x = (base @ truth.answers.T + truth.mean).reshape(-1, WIDTH)
    y = ((other if shared else drawn(rng, recordings, windows)) @ truth.references.T).reshape(-1, WIDTH)
    groups = [[f"{side}{place}" for place in range(recordings) for _ in range(windows)] for side in "xy"]
    return Embeddings(vectors=x, groups=groups[0]), Embeddings(vectors=y, groups=groups[0 if shared else 1])


def kernel_mean(mean: Floats, covariance: Floats, bandwidth: float) -> float:
    """Of exp(-|z|² / 2 bandwidth²), z normal."""
    total = covariance + bandwidth**2 * np.eye(WIDTH)
    logarithm = WIDTH * np.log(bandwidth**2) - np.linalg.slogdet(total)[1] - mean @ np.linalg.solve(total, mean)
    return float(np.exp(logarithm / 2))


def true_kad(truth: Population, bandwidth: float) -> float:
    """In expectation over answers and references."""
    a, b = (root @ root.T for root in truth[1:])
    parts = [kernel_mean(np.zeros(WIDTH), 2 * one, bandwidth) for one in (a, b)]
    return 100 * (sum(parts) - 2 * kernel_mean(truth.mean, a + b, bandwidth))


def known(value: float | None) -> float:
    """A number that sets of so many recordings have."""
    assert value is not None
    return value


def row(recordings: int, windows: int, apart: float, *, shared: bool) -> str:
    """One line of the table."""
    truth, errors, plain, held, kernel_errors, kernel_held, r2 = population(apart), [], [], [], [], [], []
    root = Gaussian(truth.mean, truth.answers.T)
    for seed in range(REPEATS):
        answers, reference = sample(truth, recordings, windows, seed, shared=shared)
        goal = Gaussian(np.zeros(WIDTH), truth.references.T) if shared else fit_gaussian(reference.vectors)
        expected = gaussian_frechet_distance(root, goal)
        found = fad(answers, reference, draws=DRAWS, seed=seed)
        errors.append(known(found.value) - expected)
        plain.append(frechet_distance(answers.vectors, reference.vectors) - expected)
        held.append(known(found.low) <= expected <= known(found.high))
        r2.append(known(found.r2))
        if shared:
            other = kad(answers, reference, draws=DRAWS, seed=seed)
            wanted = true_kad(truth, known(other.bandwidth))
            kernel_errors.append(known(other.value) - wanted)
            kernel_held.append(known(other.low) <= wanted <= known(other.high))
    ours = [f"{statistics.fmean(some):+.3f}" for some in (plain, errors)]
    told = [f"{statistics.fmean(kernel_errors):+.3f}", f"{statistics.fmean(kernel_held):.0%}"] if shared else ["", ""]
    size = f"{recordings} | {windows} | {recordings * windows / WIDTH:.1f} | {'same' if shared else 'others'}"
    cells = [
        size,
        f"{abs(expected):.2f}",
        *ours,
        f"{statistics.fmean(held):.0%}",
        f"{statistics.median(r2):.2f}",
        *told,
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Prints the table and writes it."""
    head = ("recordings | windows of each | windows / width | reference set | true fad | error as it is | "
            "error of fad | interval holds it | R² | error of kad | interval holds it")  # fmt: skip
    lines = [f"| {head} |", f"| {' | '.join(['--:'] * 11)} |"]
    print("\n".join(lines))
    for shared in (True, False):
        for apart in APART:
            for recordings, windows in CASES if shared else CASES[1::2]:
                lines.append(row(recordings, windows, apart, shared=shared))
                print(lines[-1], flush=True)
    text = (
        "# Distances\n\nMean errors and coverage of 95 % intervals over "
        f"{REPEATS} pairs of sets of vectors of width {WIDTH}, whose distances are known; written by\n"
        "`benchmarks/distances.py`, which says how they are drawn. A coverage has a standard error of about 3 points.\n"
        "`fad` is the intercept, *as it is* the formula of all vectors.\n\n"
    )
    Path(__file__).with_suffix(".md").write_text(text + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
