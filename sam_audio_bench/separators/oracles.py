"""Upper bounds that are shown the references: ideal masks and the ideal multichannel Wiener filter.

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
    """Filters the mixture's spectrum with what the spectra of target and rest say; residual = mixture - target."""

    def separate_oracle(self, items: Sequence[Item], seeds: Sequence[int]) -> list[Separation]:
        """Answers in the order of the items; nothing is drawn, so the seeds do not matter.

        Raises:
            BadSeparation: an item lacks a reference, or its references do not have the mixture's shape.
        """
        return [self._answer(item) for item in items]

    @abstractmethod
    def filter(self, mixture: Tensor, target: Tensor, rest: Tensor) -> Tensor:
        """Spectrum ``[C, F, T]`` of the answer from the three spectra ``[C, F, T]``."""

    def _answer(self, item: Item) -> Separation:
        references = [audio.samples for audio in self._references(item)]

        def keep(transform: STFT, spectrum: Tensor, part: slice) -> Tensor:
            target, rest = (transform.forward(reference[:, part]) for reference in references)
            return self.filter(spectrum, target, rest)

        return self._filtered(item.query.mixture, keep)

    def _references(self, item: Item) -> tuple[Audio, Audio]:
        """The target's reference and the one of everything else."""
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
    """Ideal binary mask: keeps each bin in which the target is louder than the rest (Wang, 2005)."""

    name = "oracle-ibm"
    memory = 0.0

    def reach(self, transform: STFT, rate: int) -> int:
        """Every bin stands alone."""
        return 0

    def filter(self, mixture: Tensor, target: Tensor, rest: Tensor) -> Tensor:
        """See `Oracle`."""
        return mixture * (target.abs() > rest.abs())


@dataclass(kw_only=True)
class IRM(Oracle):
    """Ideal ratio mask ``|S|^p / (|S|^p + |N|^p)`` (Liutkus and Badeau, ICASSP 2015).

    ``power`` 1 shares out magnitudes, 2 powers, as the Wiener filter does. The paper recommends exponents near 1 for
    powers that were estimated; with the true ones 2 is the higher upper bound.
    """

    name = "oracle-irm"
    memory = 0.0
    power: float = 2.0

    def reach(self, transform: STFT, rate: int) -> int:
        """Every bin stands alone."""
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

        A basis that makes both covariances diagonal in a frequency serves all of its frames: in it the filter is a
        ratio mask of each coordinate.
        """
        to_basis, from_basis, share = _common_basis(_covariance(target), _covariance(rest))
        powers = (spectrum.abs().square().mean(dim=0) for spectrum in (target, rest))  # [F, T]
        wanted, other = (power[None] * part[:, :, None] for power, part in zip(powers, (share, 1 - share), strict=True))
        coordinates = torch.einsum("fkc,cft->kft", to_basis.to(mixture.dtype), mixture)
        kept = coordinates * ratio_mask(wanted, other, power=1).to(mixture.real.dtype)
        return torch.einsum("fck,kft->cft", from_basis.to(mixture.dtype), kept)


def _covariance(spectrum: Tensor) -> Tensor:
    """Spatial covariance ``[F, C, C]`` of a spectrum ``[C, F, T]``, of trace C; zero where the spectrum is."""
    x = spectrum.to(torch.complex128)
    covariance = torch.einsum("cft,dft->fcd", x, x.conj())
    power = covariance.diagonal(dim1=-2, dim2=-1).real.mean(dim=-1)[:, None, None]
    return covariance / torch.where(power > 0, power, 1)


def _common_basis(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For covariances ``[F, C, C]``: matrices to and from a basis in which both are diagonal and add up to 1.

    Also returns the first one's diagonal, its share ``[C, F]`` in 0…1.
    """
    channels = first.shape[-1]
    floor = 1e-9 * torch.eye(channels, dtype=first.dtype)  # identical channels leave directions without any energy
    whiten = torch.linalg.cholesky(first + second + floor)
    half = torch.linalg.solve_triangular(whiten, first, upper=False)
    share, vectors = torch.linalg.eigh(torch.linalg.solve_triangular(whiten, half.mH, upper=False))
    to_basis = torch.linalg.solve_triangular(whiten.mH, vectors, upper=True).mH
    return to_basis, whiten @ vectors, share.clamp(0, 1).T
