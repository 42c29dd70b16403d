"""Building blocks of mixtures: drawing, cutting and placing clips, levels, headroom.

The mini split, `sabench data mix` and the judge's training data share it. Drawing from a generator in another order
gives other data, so each function that draws documents its draws. Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PEAK",
    "ClipIndex",
    "Labelled",
    "add_at",
    "cut_sounding",
    "draw_from_groups",
    "headroom",
    "normalise_level",
    "peak_of",
    "residual_gain",
    "rms",
    "uniform_db",
]

PEAK = 0.9
"""The highest peak of a mixture and its sources; leaves headroom for estimates that overshoot."""

_LEVEL = 0.1  # RMS of the active samples of a normalised source
_SOUNDING = 1e-3  # relative to the peak; samples above it are active
_LEAST_SOUND = 0.3  # RMS relative to the whole clip's, from which on a cut is accepted
_CUTS = 8  # cuts that are tried

Signal = NDArray[np.float32]
Random = np.random.Generator


class Labelled(Protocol):
    """The metadata of a clip, known before it is read."""

    @property
    def id(self) -> str:
        """Its name, by which clips are sorted."""
        ...

    @property
    def domain(self) -> str:
        """The kind of sound, such as speech; "" if there is only one kind."""
        ...

    @property
    def label(self) -> str:
        """Its class."""
        ...

    @property
    def group(self) -> str:
        """The recording that it was cut from."""
        ...


_Clip = TypeVar("_Clip", bound=Labelled)


class ClipIndex(Generic[_Clip]):
    """Clips by domain, label and group, from which clips are drawn; the order of the clips does not matter.

    Args:
        clips: all clips.
        domains: all possible domains, in order.
    """

    def __init__(self, clips: Iterable[_Clip], domains: Sequence[str] = ("",)) -> None:
        known: dict[str, dict[str, dict[str, list[_Clip]]]] = {}
        for clip in sorted(clips, key=lambda clip: clip.id):
            labels = known.setdefault(clip.domain, {})
            labels.setdefault(clip.label, {}).setdefault(clip.group, []).append(clip)
        self._groups: dict[str, list[list[list[_Clip]]]] = {
            domain: [[groups[name] for name in sorted(groups)] for _, groups in sorted(labels.items())]
            for domain, labels in known.items()
        }
        self._labels = {domain: sorted(labels) for domain, labels in known.items()}
        self.domains = tuple(domain for domain in domains if domain in known)

    def labels(self, domain: str = "") -> list[str]:
        """Returns the labels of a domain, sorted."""
        return self._labels.get(domain, [])

    def groups(self, domain: str, label: str) -> list[list[_Clip]]:
        """Returns the clips of a label by group; none if the label is unknown."""
        labels = self.labels(domain)
        return self._groups[domain][labels.index(label)] if label in labels else []

    def all_groups(self, domain: str) -> list[list[_Clip]]:
        """Returns the clips of all labels of a domain by group."""
        return [group for groups in self._groups.get(domain, []) for group in groups]

    def draw(self, domain: str, random: Random) -> _Clip:
        """Draws a label, weighted by the square root of its number of groups; then a group, then a clip."""
        labels = self._groups[domain]
        weights = np.sqrt([len(groups) for groups in labels])
        return draw_from_groups(labels[int(random.choice(len(labels), p=weights / weights.sum()))], random)


def draw_from_groups(groups: Sequence[Sequence[_Clip]], random: Random) -> _Clip:
    """Draws a clip: first its group, then one of the group."""
    members = groups[int(random.integers(len(groups)))]
    return members[int(random.integers(len(members)))]


def uniform_db(random: Random, low: float, high: float) -> float:
    """Draws an amplitude whose level in dB is uniform between two levels; one draw."""
    return float(10 ** (random.uniform(low, high) / 20))


def rms(signal: Signal) -> float:
    """Returns the root mean square, summed in float64."""
    return float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))


def add_at(track: Signal, signal: Signal, first: int) -> None:
    """Adds a signal to a track, starting at sample ``first``; what exceeds the end of the track is dropped."""
    part = signal[: len(track) - first]
    track[first : first + len(part)] += part


def cut_sounding(signal: Signal, length: int, random: Random) -> int:
    """Draws the start of a cut of ``length`` samples in which a longer signal is active.

    Of up to eight random starts, it is the first whose RMS is at least 0.3 of the signal's; if there is none, the start
    is drawn so that the cut includes the signal's peak.
    """
    level, peak = rms(signal), int(np.abs(signal).argmax())
    for _ in range(_CUTS):
        start = int(random.integers(0, len(signal) - length + 1))
        if rms(signal[start : start + length]) >= _LEAST_SOUND * level:
            return start
    return int(np.clip(peak - random.integers(0, length), 0, len(signal) - length))


def normalise_level(track: Signal) -> Signal:
    """Scales a track to an RMS of 0.1, ignoring samples 60 dB below its peak; silence is returned unchanged."""
    sounding = track[np.abs(track) > _SOUNDING * np.abs(track).max(initial=0)]
    return (track * (_LEVEL / max(rms(sounding), 1e-9))).astype(np.float32) if len(sounding) else track


def _energy(signal: Signal) -> float:
    return float(np.einsum("t,t->", signal, signal, dtype=np.float64))


def residual_gain(target: Signal, residual: Signal, target_to_rest_db: float) -> float:
    """Returns the gain of the residual at which the target has this many dB more energy; neither may be silent."""
    return float(np.sqrt(_energy(target) / _energy(residual) * 10 ** (-target_to_rest_db / 10)))


def peak_of(*signals: Signal) -> float:
    """Returns the largest magnitude in any of the signals."""
    return float(max(max(signal.max(), -signal.min()) for signal in signals))


def headroom(peak: float) -> float:
    """Returns the gain, at most 1, that lowers a peak to `PEAK`."""
    return min(1.0, PEAK / peak)
