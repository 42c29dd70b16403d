"""Oracle separators, computed from the references: ideal masks and the ideal multichannel Wiener filter.

Letters: C channels, F frequencies, T frames. A silent reference gives a silent target, exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sam_audio_bench.errors import BadSeparation
from sam_audio_bench.separators.base import SpectrumSeparator
from sam_audio_bench.separators.stft import STFT, ratio_mask
from sam_audio_bench.types import Audio, Item, Separation

__all__ = ["IBM", "IRM", "MWF", "Oracle"]


class Oracle(SpectrumSeparator, ABC):
    """Filters the mixture by the spectra of target and residual; residual = mixture - target."""

    def separate_oracle(self, items: Sequence[Item], seeds: Sequence[int]) -> list[Separation]:
        """Returns one estimate per item, in order; the seeds are ignored.

        Raises:
            BadSeparation: a reference is missing, or does not have the shape of the mixture.
        """
        return [self._separate_one(item) for item in items]

    @abstractmethod
    def filter(self, mixture: Tensor, target: Tensor, rest: Tensor) -> Tensor:
        """Computes the spectrum ``[C, F, T]`` of the estimate from the three spectra ``[C, F, T]``."""

    def _separate_one(self, item: Item) -> Separation:
        references = [audio.samples for audio in self._references(item)]

        def apply_filter(transform: STFT, spectrum: Tensor, part: slice) -> Tensor:
            target, rest = (transform.forward(reference[:, part]) for reference in references)
            return self.filter(spectrum, target, rest)

        return self._apply_filter(item.query.mixture, apply_filter)

    def _references(self, item: Item) -> tuple[Audio, Audio]:
        """Returns the references of target and residual."""
        mixture = item.query.mixture
        expected = f"{self.name} expected references of {mixture.channels} x {mixture.length} samples for {item.id}"
        advice = "leave this oracle out, or choose data with stems such as --split mini"
        if item.reference is None or item.residual_reference is None:
            missing = "reference" if item.reference is None else "residual_reference"
            raise BadSeparation(f"{expected}, found no {missing}; {advice}")
        for audio in (item.reference, item.residual_reference):
            if audio.samples.shape != mixture.samples.shape:
                raise BadSeparation(f"{expected}, found {audio.channels} x {audio.length}; {advice}")
        return item.reference, item.residual_reference


@dataclass(kw_only=True)
class IBM(Oracle):
    """Ideal binary mask: keeps each bin in which the target is louder than the residual (Wang, 2005)."""

    name = "oracle-ibm"
    memory = 0.0

    def context_frames(self, transform: STFT, rate: int) -> int:
        """No context: bins are independent."""
        return 0

    def filter(self, mixture: Tensor, target: Tensor, rest: Tensor) -> Tensor:
        """See `Oracle`."""
        return mixture * (target.abs() > rest.abs())


@dataclass(kw_only=True)
class IRM(Oracle):
    """Ideal ratio mask ``|S|^p / (|S|^p + |N|^p)`` (Liutkus and Badeau, ICASSP 2015).

    ``power`` 1 gives a ratio of magnitudes, 2 one of powers, the Wiener filter. The paper recommends exponents near 1
    for estimated powers; with the true ones 2 is the higher upper bound.
    """

    name = "oracle-irm"
    memory = 0.0
    power: float = 2.0

    def context_frames(self, transform: STFT, rate: int) -> int:
        """No context: bins are independent."""
        return 0

    def filter(self, mixture: Tensor, target: Tensor, rest: Tensor) -> Tensor:
        """See `Oracle`."""
        return mixture * ratio_mask(target.abs(), rest.abs(), power=self.power)


@dataclass(kw_only=True)
class MWF(Oracle):
    """Ideal multichannel Wiener filter of the local Gaussian model (Duong, Vincent and Gribonval, IEEE TASLP 2010).

    Each source has a power in each bin, ``v(f, t)``, the mean over the channels, and a spatial covariance in each
    frequency, ``R(f)``, both taken from its reference; the filter is ``v_s R_s (v_s R_s + v_n R_n)^-1``. With one
    channel ``R`` is 1 and this is the Wiener filter, the ratio mask of power 2.
    """

    name = "oracle-mwf"
    memory = 50.0

    def filter(self, mixture: Tensor, target: Tensor, rest: Tensor) -> Tensor:
        """See `Oracle`.

        One basis per frequency diagonalises both covariances for all frames: in it the filter is a ratio mask of each
        coordinate.
        """
        to_basis, from_basis, share = _common_basis(_covariance(target), _covariance(rest))
        powers = (spectrum.abs().square().mean(dim=0) for spectrum in (target, rest))  # [F, T]
        target_power, rest_power = (
            power[None] * part[:, :, None] for power, part in zip(powers, (share, 1 - share), strict=True)
        )
        coordinates = torch.einsum("fkc,cft->kft", to_basis.to(mixture.dtype), mixture)
        kept = coordinates * ratio_mask(target_power, rest_power, power=1).to(mixture.real.dtype)
        return torch.einsum("fck,kft->cft", from_basis.to(mixture.dtype), kept)


def _covariance(spectrum: Tensor) -> Tensor:
    """Returns the spatial covariance ``[F, C, C]`` of a spectrum ``[C, F, T]``, with trace C; zero where that is."""
    x = spectrum.to(torch.complex128)
    covariance = torch.einsum("cft,dft->fcd", x, x.conj())
    power = covariance.diagonal(dim1=-2, dim2=-1).real.mean(dim=-1)[:, None, None]
    return covariance / torch.where(power > 0, power, 1)


def _common_basis(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns matrices to and from a basis in which two covariances ``[F, C, C]`` are diagonal and add up to 1.

    Also returns the diagonal of the first, its share ``[C, F]`` in 0…1.
    """
    channels = first.shape[-1]
    floor = 1e-9 * torch.eye(channels, dtype=first.dtype)  # identical channels have directions without energy
    whiten = torch.linalg.cholesky(first + second + floor)
    half = torch.linalg.solve_triangular(whiten, first, upper=False)
    share, vectors = torch.linalg.eigh(torch.linalg.solve_triangular(whiten, half.mH, upper=False))
    to_basis = torch.linalg.solve_triangular(whiten.mH, vectors, upper=True).mH
    return to_basis, whiten @ vectors, share.clamp(0, 1).T
