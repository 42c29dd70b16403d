"""Assignments of estimates to references."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from metric_signals import noise

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.functional import best_assignment, permuted, si_sdr


def test_the_best_of_all_permutations_is_found() -> None:
    for seed in range(20):
        scores = noise(4, 4, seed=seed)
        best = max(itertools.permutations(range(4)), key=lambda order: sum(scores[i, j] for i, j in enumerate(order)))
        assert best_assignment(scores).tolist() == list(best)


def test_speakers_are_found_again() -> None:
    reference = noise(10, 500)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    found = permuted(si_sdr, reference=reference, estimate=(reference + 0.1 * noise(10, 500, seed=1))[order])
    assert torch.equal(order[found.assignment], torch.arange(10))
    expected = si_sdr(reference=reference, estimate=reference + 0.1 * noise(10, 500, seed=1))
    torch.testing.assert_close(found.scores, expected, rtol=0, atol=1e-9)


def test_extra_estimates_ties_silence_and_perfection() -> None:
    reference = noise(2, 100)
    extra = permuted(si_sdr, reference=reference, estimate=torch.stack([reference[1], 0 * reference[0], reference[0]]))
    assert extra.assignment.tolist() == [2, 0]
    assert extra.scores.tolist() == [math.inf, math.inf]
    assert permuted(si_sdr, reference=reference, estimate=reference[:1].expand(2, -1)).assignment.tolist() == [0, 1]
    assert best_assignment(torch.full((3, 3), math.nan)).tolist() == [0, 1, 2]


def test_too_few_estimates_are_refused() -> None:
    with pytest.raises(UsageError, match=r"found \[3, 2\]"):
        best_assignment(noise(3, 2))
    with pytest.raises(UsageError, match=r"found \[2, 100\] and \[2, 99\]"):
        permuted(si_sdr, reference=noise(2, 100), estimate=noise(2, 99))
