"""Solver of the flow-matching equation (Lipman et al., 2023), from noise to latents, by torchdiffeq.

Clips longer than those that a network was trained on are divided into overlapping windows, whose velocities are merged
in every evaluation (multi-diffusion, Bar-Tal et al., 2023, as in the SAM Audio paper), so that there are no seams.

Letters: B batch, T frames, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchdiffeq import odeint

from sam_audio_bench.errors import UsageError

__all__ = [
    "EVALUATIONS",
    "Velocity",
    "count_evaluations",
    "integrate",
    "multi_diffusion",
    "overlap_weights",
    "split_windows",
]

EVALUATIONS = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}
"""Evaluations per step of the solvers; "rk4" is torchdiffeq's, the 3/8 rule."""

Velocity = Callable[[Tensor, Tensor], Tensor]
"""``(time [], state [B, T, C]) -> [B, T, C]``."""


def count_evaluations(solver: str, step: float) -> int:
    """Returns the number of network evaluations from time 0 to 1; the last step may be shorter.

    >>> count_evaluations("midpoint", 2 / 32), count_evaluations("midpoint", 0.3)
    (32, 8)
    """
    if solver not in EVALUATIONS:
        raise UsageError(f"expected solver to be one of {', '.join(EVALUATIONS)}, found {solver!r}")
    if not 0 < step <= 1:
        raise UsageError(f"expected a step above 0 and at most 1, found {step}")
    return EVALUATIONS[solver] * (math.ceil(float(torch.ones(()) / step + 1)) - 1)  # in float32, as torchdiffeq counts


def integrate(
    velocity: Velocity, noise: Tensor, *, solver: str = "midpoint", step: float = 2 / 32,
    on_evaluation: Callable[[], None] | None = None,
) -> Tensor:  # fmt: skip
    """Integrates the velocity from noise at time 0 to the state at time 1, float32.

    Args:
        velocity: the derivative.
        noise: ``[B, T, C]``.
        solver: one of `EVALUATIONS`.
        step: step size between 0 and 1; 2/32 in the released separator.
        on_evaluation: called after each of `count_evaluations`.
    """
    count_evaluations(solver, step)

    def derivative(time: Tensor, state: Tensor) -> Tensor:
        found = velocity(time, state).to(state.dtype)
        if on_evaluation is not None:
            on_evaluation()
        return found

    times = torch.tensor([0.0, 1.0], device=noise.device)
    path: Tensor = odeint(derivative, noise.float(), times, method=solver, options={"step_size": step})
    return path[-1]


def split_windows(frames: int, length: int, overlap: int) -> list[slice]:
    """Splits into windows of ``length`` frames that overlap by at least ``overlap``; the last one ends with the clip.

    >>> split_windows(50, 20, 5)
    [slice(0, 20, None), slice(15, 35, None), slice(30, 50, None)]
    >>> split_windows(7, 20, 5)
    [slice(0, 7, None)]
    """
    if not 0 <= overlap < length:
        raise UsageError(f"expected windows longer than their overlap, found {length} and {overlap} frames")
    if frames <= length:
        return [slice(0, frames)]
    starts = [*range(0, frames - length, length - overlap), frames - length]
    return [slice(start, start + length) for start in starts]


def overlap_weights(pieces: Sequence[slice], length: int) -> list[Tensor]:
    """Returns weights ``[length of the piece]`` that sum to one everywhere: normalised triangular windows.

    >>> [weights.tolist() for weights in overlap_weights([slice(0, 4), slice(2, 6)], 6)]
    [[1.0, 1.0, 0.75, 0.25], [0.25, 0.75, 1.0, 1.0]]
    """
    ramps = []
    for piece in pieces:
        inside = torch.arange(piece.stop - piece.start, dtype=torch.float64) + 0.5
        ramps.append(torch.minimum(inside, inside.flip(0)))
    total = torch.zeros(length, dtype=torch.float64)
    for piece, ramp in zip(pieces, ramps, strict=True):
        total[piece] += ramp
    return [(ramp / total[piece]).float() for piece, ramp in zip(pieces, ramps, strict=True)]


def multi_diffusion(velocities: Sequence[Velocity], pieces: Sequence[slice]) -> Velocity:
    """Returns the velocity of a whole clip: those of its windows, evaluated one by one, merged by `overlap_weights`."""
    if len(pieces) == 1:
        return velocities[0]
    weights = overlap_weights(pieces, pieces[-1].stop)

    def merged(time: Tensor, state: Tensor) -> Tensor:
        found = torch.zeros_like(state)
        for velocity, piece, weight in zip(velocities, pieces, weights, strict=True):
            found[:, piece] += velocity(time, state[:, piece]) * weight.to(state.device)[:, None]
        return found

    return merged
