"""Least-squares projection on delayed copies of reference signals, for BSS-eval.

    P  reference signals      Q  projected signals      L  taps      n  samples

`correlate` and `Filters` use blocks of one small FFT size, so that time is linear in ``n`` and memory beyond the
arguments and results is constant; float32 arguments are converted to float64 a few blocks at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from sam_audio_bench.blocks import count_accessed

__all__ = ["Filters", "LeastSquaresProjector", "correlate", "gram"]

_BLOCKS = 16  # blocks per transform: for 16 signals they take 16 MiB
_COLUMNS = 256  # block size of the factorisation
_LOADINGS = (0.0, 1e-14, 1e-12, 1e-10)  # diagonal loadings of the unit diagonal, tried in turn


def correlate(left: Tensor, *right: Tensor, taps: int) -> Tensor:
    """Computes ``Σ_n left_p[n] right_q[n + k]`` for ``0 <= k < L``: ``[P, n]``, ``[Q, n]`` … ``-> [P, ΣQ, L]``."""
    size = _fft_size(taps)
    hop = size - taps + 1
    spectrum = left.new_zeros(size // 2 + 1, len(left), sum(map(len, right)), dtype=torch.complex128)
    for start in range(0, left.shape[1], hop * _BLOCKS):
        stop = min(start + hop * _BLOCKS, left.shape[1])
        count = -(-(stop - start) // hop)
        reach = start + (count - 1) * hop + size
        now = torch.fft.rfft(_blocks(left[:, start:stop], hop, hop, count), n=size)
        later = torch.cat([torch.fft.rfft(_blocks(part[:, start:reach], size, hop, count)) for part in right])
        spectrum += _by_frequency(now.conj()) @ _by_frequency(later).mT
        count_accessed(spectrum.shape[2] * (reach - start))
    correlations: Tensor = torch.fft.irfft(spectrum.permute(1, 2, 0), n=size)
    return correlations[..., :taps]


class Filters:
    """Finite impulse responses from each of P inputs to each of Q outputs.

    Args:
        taps: ``[P, Q, L]``, float64.
    """

    def __init__(self, taps: Tensor) -> None:
        self.length = taps.shape[-1]
        self.size = _fft_size(self.length)
        self.response = _by_frequency(torch.fft.rfft(taps, n=self.size).transpose(0, 1))  # [frequency, Q, P]

    def __call__(self, signals: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Filters signals by overlap-save; yields parts of ``Σ_p signal_p * filter_pq``, ``n + L - 1`` samples in all.

        Args:
            signals: ``[P, n]``.

        Yields:
            The slice of output samples, and the samples ``[Q, part]``, float64.
        """
        hop, before = self.size - self.length + 1, self.length - 1
        total = signals.shape[1] + before
        for start in range(0, total, hop * _BLOCKS):
            stop = min(start + hop * _BLOCKS, total)
            known = min(start, before)  # samples before the first output
            part = pad(signals[:, start - known : stop], (before - known, 0))
            spectra = torch.fft.rfft(_blocks(part, self.size, hop, -(-(stop - start) // hop)))
            filtered = torch.fft.irfft((self.response @ _by_frequency(spectra)).permute(1, 2, 0), n=self.size)
            yield slice(start, stop), filtered[..., before:].flatten(1)[:, : stop - start]
            count_accessed(2 * part.numel())


def gram(correlations: Tensor) -> Tensor:
    """Builds the block Toeplitz matrix of inner products of delayed references: ``[P, P, L] -> [P * L, P * L]``."""
    taps = correlations.shape[-1]
    lags = torch.cat([correlations.flip(-1), correlations.transpose(0, 1)[..., 1:]], dim=-1)  # L - 1 ... -(L - 1)
    backwards = torch.arange(taps - 1, -1, -1, device=lags.device)
    rows = lags.unfold(-1, taps, 1).transpose(1, 2).index_select(1, backwards)  # [p, a, q, b] = lag a - b
    return rows.reshape(len(lags) * taps, len(lags) * taps)


class LeastSquaresProjector:
    """Projects signals on the span of references delayed by ``0 ... L - 1`` samples, by the normal equations.

    The equations are scaled to a unit diagonal and factorised once, by Cholesky. For references that are linearly
    dependent in double precision (left equals right, one source twice), the smallest sufficient diagonal loading is
    added.

    Args:
        own: `correlate` of the references with themselves ``[P, P, L]``.
        length: number of samples of the signals.
    """

    def __init__(self, own: Tensor, length: int) -> None:
        power = own.diagonal()[0]
        self.sounding = power != 0
        self.scale = power[self.sounding].rsqrt()[:, None, None]
        unknowns = int(self.sounding.sum()) * own.shape[-1]
        self.solvable = length + own.shape[-1] - 1 >= unknowns > 0 and bool(torch.isfinite(own).all())
        for loading in _LOADINGS if self.solvable else ():
            matrix = gram(own[self.sounding][:, self.sounding] * self.scale * self.scale.transpose(0, 1))
            matrix.diagonal().add_(loading)
            self.loading = loading
            self._norm = float(torch.linalg.vector_norm(matrix, ord=1, dim=1).max())
            self._factor = matrix
            self.solvable = _factorise(matrix)
            if self.solvable:
                break

    @property
    def condition(self) -> float:
        """Estimate of the 1-norm condition number: inf if loading was needed, NaN if unsolvable."""
        if not self.solvable:
            return torch.nan
        return torch.inf if self.loading else self._norm * _inverse_norm(self._factor)

    def filters(self, cross: Tensor) -> Tensor:
        """Computes the filters ``[P, Q, L]`` of the projection.

        They are zero for silent references; all are NaN if there are more unknowns than samples to fit, or a
        reference is not finite.

        Args:
            cross: `correlate` of the references with the signals to be projected ``[P, Q, L]``.
        """
        filters = torch.zeros_like(cross)
        if not self.solvable:
            return filters.fill_(torch.nan) if bool(self.sounding.any()) else filters
        sides = (cross[self.sounding] * self.scale).transpose(1, 2)
        solution = _solve(self._factor, sides.reshape(len(self._factor), -1)).reshape(sides.shape)
        filters[self.sounding] = solution.transpose(1, 2) * self.scale
        return filters


def _factorise(matrix: Tensor) -> bool:
    """Replaces the lower triangle of a symmetric matrix by its Cholesky factor; False if it is not positive definite.

    In place and by block columns, because `torch.linalg.cholesky` copies the matrix and then clears its upper half,
    which takes as long as the factorisation.
    """
    for start in range(0, len(matrix), _COLUMNS):
        rows = matrix[start:, start : start + _COLUMNS]
        rows.addmm_(matrix[start:, :start], matrix[start : start + _COLUMNS, :start].mT, alpha=-1)
        corner, failed = torch.linalg.cholesky_ex(rows[:_COLUMNS])
        if failed:
            return False
        rows[:_COLUMNS] = corner
        rows[_COLUMNS:] = torch.linalg.solve_triangular(corner.mT, rows[_COLUMNS:], upper=True, left=False)
    return True


def _solve(factor: Tensor, sides: Tensor) -> Tensor:
    """Solves with a lower Cholesky factor; unlike `torch.cholesky_solve` it does not copy the factor first."""
    halfway = torch.linalg.solve_triangular(factor, sides, upper=False)
    solution: Tensor = torch.linalg.solve_triangular(factor.mT, halfway, upper=True)
    return solution


def _inverse_norm(factor: Tensor) -> float:
    """Estimates the 1-norm of the inverse of a matrix from its Cholesky factor, from below.

    Source: Higham, "FORTRAN codes for estimating the one-norm", ACM TOMS 1988, algorithm 2.1; as LAPACK does.
    """
    x = torch.full_like(factor[:, :1], 1 / len(factor))
    for _ in range(5):
        y = _solve(factor, x)
        gradient = _solve(factor, torch.where(y >= 0, 1.0, -1.0).to(y))
        steepest = gradient.abs().argmax()
        if gradient[steepest].abs() <= (gradient * x).sum():
            break
        x = torch.zeros_like(x)
        x[steepest] = 1.0
    return float(y.abs().sum())


def _by_frequency(spectra: Tensor) -> Tensor:
    """Permutes ``[P, Q, frequency] -> [frequency, P, Q]`` and copies: batched products of complex views are slow."""
    return spectra.resolve_conj().permute(2, 0, 1).contiguous()


def _fft_size(taps: int) -> int:
    return max(8192, 1 << (8 * taps - 1).bit_length())


def _blocks(signals: Tensor, size: int, hop: int, count: int) -> Tensor:
    """Cuts ``count`` blocks ``hop`` apart, zeros after the end: ``[P, n] -> [P, count, size]``, float64."""
    short = (count - 1) * hop + size - signals.shape[1]
    return pad(signals.double(), (0, short)).unfold(-1, size, hop)
