"""The solvers on equations with known answers, and windows that sum to one."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam_audio_bench.errors import UsageError
from sam_audio_bench.nn.flow import (
    EVALUATIONS,
    count_evaluations,
    integrate,
    multi_diffusion,
    overlap_weights,
    split_windows,
)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun3", 3), ("rk4", 4)])
def test_solvers_have_their_order(solver, order) -> None:
    """For y' = y, the error at time 1 falls with the step to the power of the order."""

    def error(step: float) -> float:
        found = integrate(lambda _, y: y, torch.ones(1, 1, 1), solver=solver, step=step)
        return abs(float(found) - math.e)

    assert math.log2(error(1 / 2) / error(1 / 4)) == pytest.approx(order, abs=0.45)


@pytest.mark.parametrize("solver", EVALUATIONS)
@pytest.mark.parametrize("step", [2 / 32, 0.3, 0.25, 1.0])
def test_evaluations_are_counted(solver, step) -> None:
    calls = []
    integrate(lambda _, y: y, torch.ones(1, 2, 3), solver=solver, step=step, on_evaluation=lambda: calls.append(1))
    assert len(calls) == count_evaluations(solver, step)


def test_steps_that_do_not_divide_are_counted_as_torchdiffeq_counts() -> None:
    """1 / (1 / 49) is a little above 49 in float64, and 49 in the float32 of the solver."""
    for steps in (49, 61, 98, 103, 107):
        calls = []
        integrate(lambda _, y: y, torch.ones(1, 1, 1), solver="euler", step=1 / steps,
                  on_evaluation=lambda calls=calls: calls.append(1))  # fmt: skip
        assert len(calls) == count_evaluations("euler", 1 / steps)


def test_the_released_setting_is_32_evaluations() -> None:
    assert count_evaluations("midpoint", 2 / 32) == 32


@pytest.mark.parametrize(("solver", "step"), [("magic", 0.1), ("euler", 0.0), ("euler", 1.5), ("euler", math.nan)])
def test_impossible_settings_are_refused(solver, step) -> None:
    with pytest.raises(UsageError):
        count_evaluations(solver, step)


@given(st.integers(1, 400), st.integers(1, 60), st.integers(0, 59))
def test_windows_cover_and_fade(frames, length, overlap) -> None:
    if overlap >= length:
        overlap = length - 1
    pieces = split_windows(frames, length, overlap)
    assert pieces[0].start == 0
    assert pieces[-1].stop == frames
    assert all(piece.stop - piece.start == min(length, frames) for piece in pieces)
    assert all(after.start <= before.stop - overlap for before, after in pairwise(pieces))
    total = torch.zeros(frames)
    for piece, weight in zip(pieces, overlap_weights(pieces, frames), strict=True):
        assert bool((weight > 0).all())
        total[piece] += weight
    torch.testing.assert_close(total, torch.ones(frames))


def test_windows_that_agree_are_the_whole() -> None:
    """A velocity that looks at each frame alone is the same in windows and at once."""

    def velocity(time: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        return state.sin() * (1 + time)

    noise = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0))
    pieces = split_windows(50, 20, 5)
    whole = integrate(velocity, noise)
    torch.testing.assert_close(integrate(multi_diffusion([velocity] * len(pieces), pieces), noise), whole)


def test_joint_windows_meet_where_they_overlap() -> None:
    """Two windows that want +1 and -1: outside the overlap each has its way, inside the change is gradual."""
    pieces = split_windows(35, 20, 5)
    merged = multi_diffusion([lambda _, y: torch.ones_like(y), lambda _, y: -torch.ones_like(y)], pieces)
    found = merged(torch.tensor(0.0), torch.zeros(1, 35, 1))[0, :, 0]
    assert bool((found[:15] == 1).all())
    assert bool((found[20:] == -1).all())
    assert bool((found[14:20].diff() < 0).all())
