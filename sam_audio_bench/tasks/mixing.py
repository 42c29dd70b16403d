"""What every mixture here is made by: drawing clips, cutting and placing them, levels, headroom.

The mini split, `sabench data mix` and the judge's training data share it. Whoever draws from a generator in another
order gets other data, so a function that draws says what. Importing it imports no torch.
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
"""Of a mixture and its sources at most; leaves a separator room for an answer that overshoots."""

_LEVEL = 0.1  # RMS of a normalised source where it sounds
_SOUNDING = 1e-3  # of the peak: a sample above it sounds
_LEAST_SOUND = 0.3  # of a clip's level that a cut must have to be taken at once
_CUTS = 8  # that are tried

Signal = NDArray[np.float32]
Random = np.random.Generator


class Labelled(Protocol):
    """What is known of a clip before it is read."""

    @property
    def id(self) -> str:
        """Its name, by which clips are in order."""
        ...

    @property
    def domain(self) -> str:
        """What kind of sound it is, such as speech; "" where there is one kind."""
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
    """Clips by domain, label and group; draws one, whatever their order was.

    Args:
        clips: all of them.
        domains: every domain that there may be, in order.
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
        """The labels of a domain, in order."""
        return self._labels.get(domain, [])

    def groups(self, domain: str, label: str) -> list[list[_Clip]]:
        """Clips of a label by group; none where the label is not known."""
        labels = self.labels(domain)
        return self._groups[domain][labels.index(label)] if label in labels else []

    def all_groups(self, domain: str) -> list[list[_Clip]]:
        """Clips of all labels of a domain by group."""
        return [group for groups in self._groups.get(domain, []) for group in groups]

    def draw(self, domain: str, random: Random) -> _Clip:
        """A label, the more often the more groups it has (their square root); then a group, then a clip."""
        labels = self._groups[domain]
        weights = np.sqrt([len(groups) for groups in labels])
        return draw_from_groups(labels[int(random.choice(len(labels), p=weights / weights.sum()))], random)


def draw_from_groups(groups: Sequence[Sequence[_Clip]], random: Random) -> _Clip:
    """One clip: first its group, then which one of it."""
    members = groups[int(random.integers(len(groups)))]
    return members[int(random.integers(len(members)))]


def uniform_db(random: Random, low: float, high: float) -> float:
    """An amplitude whose level is uniform between two in dB; one draw."""
    return float(10 ** (random.uniform(low, high) / 20))


def rms(signal: Signal) -> float:
    """Root of the mean square, summed in float64."""
    return float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))


def add_at(track: Signal, signal: Signal, first: int) -> None:
    """Adds a signal to a track from a sample on; what lies behind the end of the track is left out."""
    part = signal[: len(track) - first]
    track[first : first + len(part)] += part


def cut_sounding(signal: Signal, length: int, random: Random) -> int:
    """Where a stretch of ``length`` samples begins in which a longer signal sounds.

    It is the first of eight, each at random, that is nearly as loud as the whole, or else one around its peak.
    """
    whole, peak = rms(signal), int(np.abs(signal).argmax())
    for _ in range(_CUTS):
        start = int(random.integers(0, len(signal) - length + 1))
        if rms(signal[start : start + length]) >= _LEAST_SOUND * whole:
            return start
    return int(np.clip(peak - random.integers(0, length), 0, len(signal) - length))


def normalise_level(track: Signal) -> Signal:
    """A track at an RMS of 0.1 where it sounds, not counting samples 60 dB below its peak; silence stays as it is."""
    sounding = track[np.abs(track) > _SOUNDING * np.abs(track).max(initial=0)]
    return (track * (_LEVEL / max(rms(sounding), 1e-9))).astype(np.float32) if len(sounding) else track


def _energy(signal: Signal) -> float:
    return float(np.einsum("t,t->", signal, signal, dtype=np.float64))


def residual_gain(target: Signal, rest: Signal, target_to_rest_db: float) -> float:
    """By what the rest is scaled so that the target has this many dB more energy over the whole; both must sound."""
    return float(np.sqrt(_energy(target) / _energy(rest) * 10 ** (-target_to_rest_db / 10)))


def peak_of(*signals: Signal) -> float:
    """The largest magnitude in any of some signals."""
    return float(max(max(signal.max(), -signal.min()) for signal in signals))


def headroom(peak: float) -> float:
    """The gain, at most 1, that brings a peak down to `PEAK`."""
    return min(1.0, PEAK / peak)
