"""Draws mixtures to simulate: which stems sound together, when and how loud, which noise, and which prompts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from judge.degrade import RATE
from judge.estimators import Scene
from judge.stems import DOMAINS, Stem, is_distinguishable, load_samples
from sam_audio_bench.tasks.mixing import (
    ClipIndex,
    add_at,
    cut_sounding,
    draw_from_groups,
    normalise_level,
    rms,
    uniform_db,
)

__all__ = [
    "DrawnQuery",
    "SourceChoice",
    "StemIndex",
    "active_spans",
    "draw_noise",
    "draw_query",
    "faint_noise",
    "span_overlap",
]

Signal = NDArray[np.float32]
Random = np.random.Generator

SECONDS = {
    **{0.3: 0.01, 0.5: 0.01, 0.8: 0.01, 1.2: 0.01},
    **{2.0: 0.12, 3.0: 0.18, 4.0: 0.19, 5.0: 0.14, 6.0: 0.12, 8.0: 0.10, 10.0: 0.08},
    **{15.0: 0.016, 20.0: 0.007, 30.0: 0.007},
}
"""Probabilities of the lengths of mixtures: few lengths, so that batches need little padding; 5 s on average."""

SOURCES = {1: 0.2, 2: 0.45, 3: 0.35}
"""Probabilities of the number of sources of a mixture, including the target."""

_LEVELS = (-10.0, 10.0)  # dB of the target over all other sources
_WITHIN = 0.6  # share of the other sources that are in the target's domain
_NOISE = 0.5  # share of the mixtures of one source that have faint background noise
_NOISE_LEVELS = (-45.0, -15.0)  # dB of that noise over the target
_ELSEWHERE = 0.25  # frequency of noise scenes for other targets, relative to speech
_SCENE_LEVELS = (-5.0, 20.0)  # dB of the target over the noise of a noise scene
_BABBLE = 1 / 3  # share of noises that are babble, if there are enough voices
_VOICES = (5, 9)  # number of voices of babble
_MIXTURE_LEVELS = (-45.0, -10.0)  # dBFS
_SINGERS = 0.4  # share of targets in the domain music that are singing, if there is any
_BACKING = 0.85  # share of these that sing over one to three other sources of music
_VOICED = re.compile(r"\b(sing\w*|songs?|sung|vocals?|voices?|choirs?|chorus|chant\w*|rap\w*)\b", re.IGNORECASE)
_SPEED = 0.06  # maximum relative change of the speed of training stems
_ACTIVITY = 0.02  # seconds per frame that is active or not
_QUIET = 0.01  # level of an inactive frame, relative to the loudest
_PAUSE = 0.25  # seconds; shorter pauses are ignored
_MOST_SPANS = 20

_NOISE_WHITE = 0.25  # share of noises that are white
_NOISE_TILT = (-6.0, 0.0)  # dB per octave of the others
_NOISE_BUMP = 10.0  # maximum height of bumps and dips of their spectra in dB
_NOISE_MODULATED = 0.5  # share of noises that are modulated
_MODULATION_RATES = (0.5, 4.0)  # Hz
_MODULATION_DEPTHS = (2.0, 10.0)  # dB between the softest and the loudest moment
_NOISE_LOWEST = 50.0  # Hz below which spectra are flat


class StemIndex(ClipIndex[Stem]):
    """Index of stems by domain, label and group, from which stems are drawn."""

    def __init__(self, stems: Iterable[Stem]) -> None:
        super().__init__(stems, DOMAINS)


@dataclass(frozen=True, slots=True)
class SourceChoice:
    """Stems for targets and for other sources, with settings of the mixtures."""

    targets: StemIndex
    others: StemIndex
    augment: bool  # whether the speed of stems is varied
    noise: float = 0.0  # share of mixtures with speech as target that are noise scenes; a quarter of it for others
    alone: float | None = None  # share of the other mixtures that have one source; None: as `SOURCES`


@dataclass(frozen=True, slots=True)
class DrawnQuery:
    """A mixture with possible prompts."""

    scene: Scene
    stems: tuple[Stem, ...]  # that of the target first
    absent: tuple[str, str] | None  # text and label of a sound that is not in the mixture
    wrong: tuple[str, ...]  # a text for each of the other stems
    voices: tuple[Stem, ...] = ()  # stems of babble noise


def draw_query(casting: SourceChoice, domain: str, random: Random) -> DrawnQuery:
    """Draws a mixture, at full scale or below, whose target is in a domain.

    A share of them, given by ``casting.noise``, are *noise scenes*: target and noise, which no prompt names.
    """
    length = round(float(random.choice(list(SECONDS), p=list(SECONDS.values()))) * RATE)
    noisy = casting.noise > 0 and random.random() < casting.noise * (1 if domain == "speech" else _ELSEWHERE)
    target, company = _draw_sources(casting, domain, noisy, random)
    stems = (target, *company)
    tracks = [_track(stem, length, casting.augment, random) for stem in stems]
    wanted, others = tracks[0], [track * uniform_db(random, -6, 6) for track in tracks[1:]]
    rest: Signal = np.sum([np.zeros(length, np.float32), *others], axis=0, dtype=np.float32)
    again: Signal | None = None
    voices: tuple[Stem, ...] = ()
    if noisy:
        rest, again, voices = _noise(casting, target, length, random)
        gain = rms(wanted) / uniform_db(random, *_SCENE_LEVELS)
        rest, again = rest * gain, again * gain
    elif others:
        gain = uniform_db(random, *_LEVELS) ** -1 * rms(wanted) / max(rms(rest), 1e-9)
        others, rest = [other * gain for other in others], rest * gain
    elif random.random() < _NOISE:
        rest = faint_noise(length, random) * (rms(wanted) * uniform_db(random, *_NOISE_LEVELS))
    scale = _scale(wanted + rest, random)
    scene = Scene(
        target=wanted * scale,
        interference=rest * scale,
        others=tuple(other * scale for other in others),
        text=_prompt(target, company, random),
        kind="singing" if _sings(target) else target.domain,
        impostor=_impostor(casting, (*stems, *voices), length, random),
        again=None if again is None else again * scale,
    )
    rivals = tuple(_prompt(stem, [other for other in stems if other is not stem], random) for stem in company)
    return DrawnQuery(scene, stems, _absent(casting, (*stems, *voices), noisy, random), rivals, voices)


def _draw_sources(casting: SourceChoice, domain: str, noisy: bool, random: Random) -> tuple[Stem, list[Stem]]:
    """Draws the target and the other sources; for music the target is often singing, over music without voices."""
    count = 1 if noisy else int(random.choice(list(SOURCES), p=_shares(casting.alone)))
    alone = count == 1 and (noisy or casting.alone is not None)  # this also applies to singing
    singers = casting.targets.groups(domain, "singing") if domain == "music" else []
    if singers and random.random() < _SINGERS:
        target = draw_from_groups(singers, random)
        if not alone and random.random() < _BACKING:
            return target, _company(casting, target, int(random.integers(1, 4)), 1.0, random)
    else:
        target = casting.targets.draw(domain, random)
    return target, _company(casting, target, count - 1, _WITHIN, random)


def _shares(alone: float | None) -> list[float]:
    """Returns the probabilities of the numbers of `SOURCES`, if a single source has its own probability."""
    if alone is None:
        return list(SOURCES.values())
    rest = (1 - alone) / (1 - SOURCES[1])
    return [alone if count == 1 else share * rest for count, share in SOURCES.items()]


def _noise(casting: SourceChoice, target: Stem, length: int, random: Random) -> tuple[Signal, Signal, tuple[Stem, ...]]:
    """Draws two realisations of a noise, each at an RMS of 1, and the stems of the first if it is babble."""
    voices = [group for group in casting.others.all_groups("speech") if group[0].group != target.group]
    least, most = _VOICES
    if len(voices) < least or random.random() >= _BABBLE:
        realise = draw_noise(length, random)
        return realise(), realise(), ()
    count = min(int(random.integers(least, most + 1)), len(voices))
    chosen = [voices[at] for at in random.permutation(len(voices))[:count]]
    stems = tuple(draw_from_groups([group], random) for group in chosen)
    more = [draw_from_groups([group], random) for group in chosen]
    babble, again = (_babble(casting, part, length, random) for part in (stems, more))
    return babble, again, stems


def _babble(casting: SourceChoice, stems: Sequence[Stem], length: int, random: Random) -> Signal:
    """Mixes many voices; each is rotated by a random time, so that voices with one stem differ between realisations."""
    tracks = (_track(stem, length, casting.augment, random) for stem in stems)
    return _unit_rms(np.sum([np.roll(track, int(random.integers(length))) for track in tracks], axis=0))


def _company(casting: SourceChoice, target: Stem, count: int, within: float, random: Random) -> list[Stem]:
    """Draws other sources that prompts can distinguish from the target and each other; fewer if none are found."""
    company: list[Stem] = []
    for _ in range(count):
        for _ in range(20):
            stem = casting.others.draw(_domain(casting.others, target.domain, within, random), random)
            taken = [target, *company]
            if stem.group not in {other.group for other in taken} and _apart(stem, taken):
                company.append(stem)
                break
    return company


def _apart(stem: Stem, taken: Sequence[Stem]) -> bool:
    """As `is_distinguishable`, but singing is also distinguishable from any music without voices."""
    return all(
        _sings_over(stem, other) or _sings_over(other, stem) or is_distinguishable(stem, [other]) for other in taken
    )


def _sings(stem: Stem) -> bool:
    return stem.label == "singing"


def _sings_over(singer: Stem, music: Stem) -> bool:
    """Returns whether one is singing and the other is music without voices, according to its texts."""
    if not _sings(singer) or music.domain != "music":
        return False
    return not any(_VOICED.search(text) for text in (music.label, *music.prompts))


def _impostor(casting: SourceChoice, stems: Sequence[Stem], length: int, random: Random) -> Signal | None:
    """Draws another recording of the target's label; returns None if only groups of the mixture have it."""
    taken = {stem.group for stem in stems}
    groups = [group for group in casting.targets.groups(stems[0].domain, stems[0].label) if group[0].group not in taken]
    return _track(draw_from_groups(groups, random), length, casting.augment, random) if groups else None


def _absent(casting: SourceChoice, stems: Sequence[Stem], noisy: bool, random: Random) -> tuple[str, str] | None:
    """Draws text and label of a sound that is not in the mixture; returns None if 50 attempts find none.

    In noise scenes it is not an effect, since noise can be mistaken for rain, wind or an engine.
    """
    for _ in range(50):
        stem = casting.others.draw(_domain(casting.others, stems[0].domain, 0.5, random), random)
        if _apart(stem, stems) and not (noisy and stem.domain == "effects"):
            return _prompt(stem, stems, random), stem.label
    return None


def _domain(roles: StemIndex, own: str, share: float, random: Random) -> str:
    """Draws ``own`` with a probability of ``share``, else another domain, if there are any."""
    elsewhere = [domain for domain in roles.domains if domain != own]
    stay = own in roles.domains and (random.random() < share or not elsewhere)
    return own if stay else elsewhere[random.integers(len(elsewhere))]


def _prompt(stem: Stem, others: Sequence[Stem], random: Random) -> str:
    """Draws a text for a stem; in half of the cases the first one, which is the simplest."""
    texts = [text for text in stem.prompts if all(text not in other.prompts for other in others)] or [stem.label]
    return texts[0] if random.random() < 0.5 else texts[random.integers(len(texts))]


def _track(stem: Stem, length: int, augment: bool, random: Random) -> Signal:
    """Cuts, places or repeats a stem to fill a mixture, at an RMS of 0.1 where it is active."""
    signal = load_samples(stem.path)
    if augment and random.random() < 0.5:
        signal = soxr.resample(signal, RATE, RATE * float(random.uniform(1 - _SPEED, 1 + _SPEED)), quality="LQ")
    if len(signal) < length:
        return normalise_level(_placed(signal, length, random))
    start = cut_sounding(signal, length, random)
    return normalise_level(signal[start : start + length])


def _placed(signal: Signal, length: int, random: Random) -> Signal:
    """Places a signal in silence; in half of the cases it is repeated after pauses of at most a second."""
    track = np.zeros(length, np.float32)
    repeat = random.random() < 0.5 or len(signal) < 0.25 * length
    start = int(random.integers(0, length - len(signal) + 1)) if not repeat else int(random.integers(0, RATE // 4))
    while start < length:
        add_at(track, signal, start)
        start += len(signal) + int(random.integers(0, RATE))
        if not repeat:
            break
    return track


def _scale(mixture: Signal, random: Random) -> float:
    """Draws a gain that brings a mixture to -45...-10 dBFS RMS, with peaks of at most -1 dBFS."""
    wanted = uniform_db(random, *_MIXTURE_LEVELS) / max(rms(mixture), 1e-9)
    return min(wanted, 0.89 / max(float(np.abs(mixture).max()), 1e-9))


def active_spans(signal: Signal) -> list[tuple[float, float]]:
    """Returns when a source is active, as (start, end) in seconds: frames at most 40 dB below the loudest.

    Pauses shorter than a quarter of a second are ignored, and longer ones if there would be more than 20 spans.
    """
    size = round(_ACTIVITY * RATE)
    blocks = np.pad(signal, (0, -len(signal) % size)).reshape(-1, size)
    levels = np.sqrt(np.mean(np.square(blocks, dtype=np.float64), axis=1))
    (active,) = np.nonzero(levels > _QUIET * levels.max(initial=0))
    pause = _PAUSE
    while True:
        breaks = np.flatnonzero(np.diff(active) * _ACTIVITY > pause)
        if len(breaks) < _MOST_SPANS:
            break
        pause *= 2
    edges = (
        zip(active[np.r_[0, breaks + 1]], active[np.r_[breaks, len(active) - 1]], strict=True) if len(active) else ()
    )
    end = len(signal) / RATE
    return [(round(first * _ACTIVITY, 2), round(min((last + 1) * _ACTIVITY, end), 2)) for first, last in edges]


def span_overlap(one: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> float:
    """Returns the intersection over union of two lists of spans."""
    both = sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in one for b in other)
    either = sum(end - start for start, end in (*one, *other)) - both
    return both / either if either else 0.0


def draw_noise(length: int, random: Random) -> Callable[[], Signal]:
    """Draws spectrum and modulation of a noise; each call of the result returns a realisation at an RMS of 1."""
    shape = _noise_gains(length, random)
    modulated = random.random() < _NOISE_MODULATED
    rate, depth = random.uniform(*_MODULATION_RATES), random.uniform(*_MODULATION_DEPTHS)

    def realise() -> Signal:
        noise = np.fft.irfft(np.fft.rfft(random.standard_normal(length)) * shape, length)
        if modulated:
            knots = np.arange(0, length / RATE + 0.5 / rate, 0.5 / rate)  # two per period
            level = np.interp(np.arange(length) / RATE, knots, random.uniform(-depth / 2, depth / 2, len(knots)))
            noise *= 10 ** (level / 20)
        return _unit_rms(noise)

    return realise


def _noise_gains(length: int, random: Random) -> NDArray[np.float64]:
    """Draws gains of the frequencies: constant, or a tilt with one to three smooth bumps or dips."""
    octaves = np.log2(np.maximum(np.fft.rfftfreq(length, 1 / RATE), _NOISE_LOWEST) / 1000)
    if random.random() < _NOISE_WHITE:
        return np.ones_like(octaves)
    level = random.uniform(*_NOISE_TILT) * octaves
    for _ in range(int(random.integers(1, 4))):
        place, width = random.uniform(-3, 3), random.uniform(0.3, 1)
        level += random.uniform(-_NOISE_BUMP, _NOISE_BUMP) * np.exp(-0.5 * ((octaves - place) / width) ** 2)
    gains: NDArray[np.float64] = 10 ** (level / 20)
    return gains


def faint_noise(length: int, random: Random) -> Signal:
    """Draws noise between white and pink, at an RMS of 1."""
    spectrum = np.fft.rfft(random.standard_normal(length))
    spectrum *= np.maximum(np.fft.rfftfreq(length, 1 / RATE), _NOISE_LOWEST) ** -random.uniform(0, 0.5)
    noise = np.fft.irfft(spectrum, length)
    return (noise / np.std(noise)).astype(np.float32)


def _unit_rms(signal: NDArray[np.floating]) -> Signal:
    """Scales a signal to an RMS of 1; silence is unchanged."""
    level = float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))
    return (signal / max(level, 1e-9)).astype(np.float32)
