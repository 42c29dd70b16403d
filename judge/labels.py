"""Simulated ratings of an answer whose target and interference are known exactly; nobody listened.

The answer's short-time spectrum is split by least squares, in every band and group of frames, into a part of the
target, a part of the interference and the rest, which are artefacts. Loudness of the parts gives recall, precision and
faithfulness; the worst of them dominates the overall rating. docs/judge-labels.md derives and checks every step.

Letters: T frames, F frequencies, B bands, G groups of frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from judge.hearing import FLOOR, bands_of, loudness, spectrum

__all__ = ["OVERALL_HALF", "Ratings", "Truth", "mean_quality", "overall_of", "rate"]

Reals = NDArray[np.float32]
Signal = NDArray[np.floating]

OVERALL_HALF = 0.26
"""Damage that halves the overall quality; `judge.anchor` fits it to listeners' ratings."""

_CELL = 16  # frames that share one gain of target and interference: 0.26 s
_PATTERN = 32  # frames over which spectrograms are compared: 0.5 s
_CHANCE = 3.0  # what a fitted gain explains of pure noise, in energies of a bin; 1 without overlap of frames and bins
_RIDGE = 1e-6
_TINY = 1e-12
_ALIKE = 0.8  # share of the variance of a spectrogram that counts as a full likeness
_FORGIVEN = 0.9  # share of an incoherent copy of the target that is not heard as an artefact
_NONE = 0.05  # share of the target's loudness that is as good as none of it
_STEEPNESS = 1.2
_INTERFERENCE = (0.40, _STEEPNESS)  # loudness relative to the target's at half quality, and steepness
_ARTEFACTS = (0.40, _STEEPNESS)
_COLOURING = (0.35, 1.4)
_PRESENCE = (-30.0, 3.0)  # dB of the target at which half is heard at all, and steepness
_WEIGHTS = (0.3, 0.4, 0.3)  # of recall, precision, faithfulness
_SEVERITY = 2.0  # power of the mean: the larger, the more the worst axis decides
_LOUDEST_GAIN = 10.0


class Ratings(NamedTuple):
    """From 1, worst, to 5, best."""

    overall: float
    recall: float
    precision: float
    faithfulness: float


def rate(
    target: Signal, interference: Signal, answer: Signal, rate: int = 16_000, artefact: Signal | None = None
) -> Ratings:
    """Simulated ratings of one answer; `Truth` is cheaper for several to one mixture.

    Args:
        target: what was asked for ``[time]``; mixture = target + interference.
        interference: everything else in the mixture.
        answer: what is rated.
        rate: in Hz.
        artefact: part of the answer that is known to be neither, instead of what least squares leaves.
    """
    return Truth(target, interference, rate).rate(answer, artefact)


@dataclass(frozen=True, slots=True)
class _Parts:
    """Excitations ``[T, B]`` of an answer's target, interference and artefacts, and the target as it sounds."""

    target: Reals
    interference: Reals
    artefacts: Reals
    rendered: Reals


class Truth:
    """Target and interference of one mixture, against which answers are rated."""

    def __init__(self, target: Signal, interference: Signal, rate: int = 16_000) -> None:
        self.bands = bands_of(rate)
        self._length = len(target)
        level = float(np.sqrt(np.mean(np.square(np.asarray(target, np.float64) + interference)))) or 1.0
        self._scale = 1 / level  # ratings do not depend on a gain of all signals, and float32 does not underflow
        self._target, self._interference = (self._spectrum(signal) for signal in (target, interference))
        powers = [_power(self._target), _power(self._interference)]
        self._energies = [power @ self.bands.members for power in powers]
        self._together = self._band_product(self._target, self._interference)
        mixture = self._energies[0] + self._energies[1] + 2 * self._together.real
        total = np.maximum(mixture @ self.bands.excite, 0).sum(axis=1)
        self._loud = float(np.percentile(total, 95)) or float(total.max()) or 1.0
        self._wanted = loudness(self._ideal())
        self.silent = float(self._wanted.sum()) <= FLOOR  # or so soft that nobody hears it beside the rest
        self._patterns = [_pattern(power) for power in powers]

    def rate(self, answer: Signal, artefact: Signal | None = None) -> Ratings:
        """See `rate`; an answer to a silent target is 1 on every axis."""
        if len(answer) != self._length:
            raise ValueError(f"expected an answer of {self._length} samples, found {len(answer)}")
        if self.silent:
            return Ratings(1.0, 1.0, 1.0, 1.0)
        qualities = self._qualities(self._parts(answer, artefact))
        values = (overall_of(*qualities), *qualities)
        return Ratings(*(round(float(1 + 4 * np.clip(value, 0, 1)), 4) for value in values))

    def _spectrum(self, signal: Signal) -> NDArray[np.complex64]:
        return spectrum(np.asarray(np.asarray(signal) * self._scale, np.float32), self.bands)

    def _band_product(self, first: NDArray[np.complex64], second: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Sums of ``first * conj(second)`` over the frequencies of each band, ``[T, B]``."""
        product = first * second.conj()
        summed: NDArray[np.complex64] = product.real @ self.bands.members + 1j * (product.imag @ self.bands.members)
        return summed

    def _parts(self, answer: Signal, artefact: Signal | None) -> _Parts:
        """Splits an answer; every part is an excitation relative to the loud frames of the mixture."""
        given = self._spectrum(answer if artefact is None else np.subtract(answer, artefact))
        power = _power(given)
        of_target, of_rest, left = self._fit(given, power)
        if artefact is not None:
            left = _power(self._spectrum(artefact)) @ self.bands.members
        target, rest, artefacts = (
            np.maximum(part @ self.bands.excite, 0) / self._loud for part in (of_target, of_rest, left)
        )
        copied = self._likeness(_pattern(power)) * np.minimum(artefacts, np.maximum(self._ideal() - target, 0))
        gain = self._playback(target + copied, rest)
        return _Parts(
            gain * (target + copied), gain * rest, gain * (artefacts - _FORGIVEN * copied), gain * (target + artefacts)
        )

    def _ideal(self) -> Reals:
        return (self._energies[0] @ self.bands.excite / self._loud).astype(np.float32, copy=False)

    def _fit(self, given: NDArray[np.complex64], power: Reals) -> tuple[Reals, Reals, Reals]:
        """Energies ``[T, B]`` of ``a S``, ``b N`` and ``Y - a S - b N``, with complex gains a and b in each cell.

        Each gain explains some noise by chance; that much is taken from its part and given to the rest.
        """
        starts = np.arange(0, len(given), _CELL)
        length = np.diff(np.append(starts, len(given)))[:, None]

        def cells(values: NDArray[np.number]) -> NDArray[np.number]:
            return np.add.reduceat(values, starts, axis=0)

        with_target, with_rest = (self._band_product(given, known) for known in (self._target, self._interference))
        both = cells(self._together)
        first, second = (cells(energy) * (1 + _RIDGE) + _TINY for energy in self._energies)
        determinant = np.maximum(first * second - np.abs(both) ** 2, _RIDGE * first * second)
        one, other = cells(with_target), cells(with_rest)
        a = (one * second - other * both.conj()) / determinant
        b = (other * first - one * both) / determinant
        a_frames, b_frames = (np.repeat(gain, length[:, 0], axis=0) for gain in (a, b))
        explained = 2 * (a_frames.conj() * with_target + b_frames.conj() * with_rest).real
        mutual = 2 * (a_frames * b_frames.conj() * self._together).real
        of_target, of_rest = np.abs(a_frames) ** 2 * self._energies[0], np.abs(b_frames) ** 2 * self._energies[1]
        left = np.maximum(power @ self.bands.members + of_target + of_rest + mutual - explained, 0)
        noise = cells(left) / (self.bands.bins * length) * _CHANCE
        kept = [
            np.repeat(np.clip(1 - noise / (cells(part) + _TINY), 0, 1), length[:, 0], axis=0)
            for part in (of_target, of_rest)
        ]
        left += (1 - kept[0]) * of_target + (1 - kept[1]) * of_rest
        return kept[0] * of_target, kept[1] * of_rest, left

    def _likeness(self, given: Reals) -> Reals:
        """How far a copy of the target explains the answer's spectrogram beside the interference, 0…1, ``[T, 1]``.

        Non-negative least squares of root magnitudes without their mean, in groups of frames.
        """
        starts = np.arange(0, len(given), _PATTERN)
        length = np.diff(np.append(starts, len(given)))
        count = length * given.shape[1]
        target, rest = self._patterns

        def covariance(one: Reals, two: Reals) -> NDArray[np.float64]:
            sums = [
                np.add.reduceat(np.einsum(form, *args, dtype=np.float64), starts)
                for form, args in (("tf,tf->t", (one, two)), ("tf->t", (one,)), ("tf->t", (two,)))
            ]
            found: NDArray[np.float64] = sums[0] / count - sums[1] * sums[2] / count**2
            return found

        tt, rr, tr = covariance(target, target), covariance(rest, rest), covariance(target, rest)
        yt, yr, yy = covariance(given, target), covariance(given, rest), covariance(given, given)
        determinant = np.maximum(tt * rr - tr**2, _RIDGE * tt * rr + _TINY)
        of_target, of_rest = (yt * rr - yr * tr) / determinant, (yr * tt - yt * tr) / determinant
        alone = np.where(of_rest < 0, yt / np.maximum(tt, _TINY), of_target)
        alone = np.where(of_target < 0, 0, alone)
        share = np.clip(alone * yt / np.maximum(yy, _TINY) / _ALIKE, 0, 1)
        return np.repeat(share, length).astype(np.float32)[:, None]

    def _playback(self, target: Reals, rest: Reals) -> float:
        """Power gain that brings the louder of both sources back to its level in the mixture: answers are rated so."""
        ideal = float(self._ideal().sum())
        other = float((self._energies[1] @ self.bands.excite).sum() / self._loud)
        level = max(float(target.sum()) / ideal, float(rest.sum()) / other if other > _TINY else 0.0)
        return float(np.clip(1 / max(level, _TINY), _LOUDEST_GAIN**-2, _LOUDEST_GAIN**2))

    def _qualities(self, parts: _Parts) -> tuple[float, float, float]:
        """Recall, precision and faithfulness in 0…1."""
        wanted, found = self._wanted, loudness(parts.target)
        share = float(np.minimum(wanted, found).sum() / wanted.sum())
        recall = float(np.clip((share - _NONE) / (1 - _NONE), 0, 1))
        level = 10 * np.log10(float(parts.target.sum()) / float(self._ideal().sum()) + _TINY)
        present = min(
            1.0, (1 + np.exp(_PRESENCE[0] / _PRESENCE[1])) / (1 + np.exp((_PRESENCE[0] - level) / _PRESENCE[1]))
        )
        heard = float(found.sum()) + _TINY
        strange = loudness(parts.interference, parts.target + parts.artefacts).sum() / heard
        distorted = loudness(parts.artefacts, parts.target + parts.interference).sum() / heard
        damage = _damage(distorted, _ARTEFACTS) + _damage(self._colouring(wanted, loudness(parts.rendered)), _COLOURING)
        return recall, present / (1 + _damage(strange, _INTERFERENCE)), present / (1 + damage)

    @staticmethod
    def _colouring(wanted: Reals, rendered: Reals) -> float:
        """Distance of the target's loudness pattern as it is from as it should be, where it is there at all."""
        should, does = (_smooth(pattern.sum(axis=1)) for pattern in (wanted, rendered))
        there = np.clip(does / np.maximum(should, _TINY), 0, 1)[:, None] * wanted
        return float(np.abs(rendered - there).sum() / (there.sum() + FLOOR * wanted.size))


def overall_of(recall: float, precision: float, faithfulness: float, half: float = OVERALL_HALF) -> float:
    """Overall quality in 0…1 from those of the axes: ``1 / (1 + ((1/q - 1) / half)^1.2)`` of their mean quality q."""
    damage = 1 / mean_quality(recall, precision, faithfulness) - 1
    return 1 / (1 + _damage(damage, (half, _STEEPNESS)))


def mean_quality(recall: float, precision: float, faithfulness: float) -> float:
    """A power mean that the worst axis dominates, ``(sum of w x^-s)^(-1/s)``."""
    values = np.maximum((recall, precision, faithfulness), 1e-6)
    return min(1.0, float(np.dot(_WEIGHTS, values**-_SEVERITY) ** (-1 / _SEVERITY)))


def _damage(amount: float, form: tuple[float, float]) -> float:
    half, steepness = form
    return float((max(amount, 0.0) / half) ** steepness)


def _power(values: NDArray[np.complex64]) -> Reals:
    power: Reals = values.real**2 + values.imag**2
    return power


def _pattern(power: Reals) -> Reals:
    """Root magnitudes: compressed as loudness is, and cheap."""
    pattern: Reals = np.sqrt(np.sqrt(power))
    return pattern


def _smooth(values: Reals) -> NDArray[np.float64]:
    """Moving mean over about 0.5 s; never below 0."""
    width = min(_PATTERN, len(values))
    padded = np.pad(values.astype(np.float64), (width // 2, width - 1 - width // 2), mode="edge")
    return np.maximum(np.convolve(padded, np.full(width, 1 / width), mode="valid"), 0)
