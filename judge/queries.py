"""Draws what is simulated: which stems sound together, where and how loud, and which prompts are asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from judge.degrade import RATE
from judge.makers import Scene
from judge.noises import draw_noise, faint_noise, unit
from judge.stems import DOMAINS, Stem, samples, tell_apart
from sam_audio_bench.tasks.mixing import (
    ClipIndex,
    add_at,
    cut_sounding,
    draw_from_groups,
    normalise_level,
    rms,
    uniform_db,
)

__all__ = ["Casting", "Drawn", "Roles", "draw_query", "overlap", "sounding"]

Signal = NDArray[np.float32]
Random = np.random.Generator

SECONDS = {
    **{0.3: 0.01, 0.5: 0.01, 0.8: 0.01, 1.2: 0.01},
    **{2.0: 0.12, 3.0: 0.18, 4.0: 0.19, 5.0: 0.14, 6.0: 0.12, 8.0: 0.10, 10.0: 0.08},
    **{15.0: 0.016, 20.0: 0.007, 30.0: 0.007},
}
"""Lengths of mixtures and how often they are drawn: few, so that batches need little padding; 5 s in the mean."""

SOURCES = {1: 0.2, 2: 0.45, 3: 0.35}
"""Numbers of competing sources."""

_LEVELS = (-10.0, 10.0)  # dB of the target over all other sources
_WITHIN = 0.6  # of the other sources that are of the target's domain
_NOISE = 0.5  # of the mixtures of one source that have some noise behind it
_NOISE_LEVELS = (-45.0, -15.0)  # dB of that noise over the target
_ELSEWHERE = 0.25  # as often as with speech are there noise scenes with other targets
_SCENE_LEVELS = (-5.0, 20.0)  # dB of the target over the noise of a noise scene
_BABBLE = 1 / 3  # of these noises, where there are voices for it
_VOICES = (5, 9)  # of a babble
_MIXTURE_LEVELS = (-45.0, -10.0)  # dBFS
_SINGERS = 0.4  # of the targets among music that are singing, where there is any
_BACKING = 0.85  # of these that sing over one to three other sources of music
_VOICED = re.compile(r"\b(sing\w*|songs?|sung|vocals?|voices?|choirs?|chorus|chant\w*|rap\w*)\b", re.IGNORECASE)
_SPEED = 0.06  # by which training stems are played faster or slower, at most
_ACTIVITY = 0.02  # seconds of a frame that sounds or not
_QUIET = 0.01  # of the loudest frame's level
_PAUSE = 0.25  # seconds
_MOST_SPANS = 20


class Roles(ClipIndex[Stem]):
    """Stems by domain, label and group; draws one."""

    def __init__(self, stems: Iterable[Stem]) -> None:
        super().__init__(stems, DOMAINS)


@dataclass(frozen=True, slots=True)
class Casting:
    """Who may be a target, in what company, and whether stems are played faster or slower for variety."""

    targets: Roles
    others: Roles
    augment: bool
    noise: float = 0.0  # of the mixtures with speech as the target that are noise scenes; of others a quarter of it
    alone: float | None = None  # of the other mixtures that have one source; None: as `SOURCES`


@dataclass(frozen=True, slots=True)
class Drawn:
    """One mixture and what can be asked of it."""

    scene: Scene
    stems: tuple[Stem, ...]  # the target's first
    absent: tuple[str, str] | None  # text and label of a sound that is not there
    wrong: tuple[str, ...]  # a text for each of the other stems
    voices: tuple[Stem, ...] = ()  # in the noise, where that is babble


def draw_query(casting: Casting, domain: str, random: Random) -> Drawn:
    """Draws a mixture whose target is of a domain, at full scale or below.

    Some are *noise scenes*, as the casting says: the target's only company is a noise, which nobody asks for.
    """
    length = round(float(random.choice(list(SECONDS), p=list(SECONDS.values()))) * RATE)
    noisy = casting.noise > 0 and random.random() < casting.noise * (1 if domain == "speech" else _ELSEWHERE)
    target, company = _cast(casting, domain, noisy, random)
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
    return Drawn(scene, stems, _absent(casting, (*stems, *voices), noisy, random), rivals, voices)


def _cast(casting: Casting, domain: str, noisy: bool, random: Random) -> tuple[Stem, list[Stem]]:
    """The target and its company; of music often somebody who sings, over music without voices."""
    count = 1 if noisy else int(random.choice(list(SOURCES), p=_shares(casting.alone)))
    alone = count == 1 and (noisy or casting.alone is not None)  # then singers are too
    singers = casting.targets.groups(domain, "singing") if domain == "music" else []
    if singers and random.random() < _SINGERS:
        target = draw_from_groups(singers, random)
        if not alone and random.random() < _BACKING:
            return target, _company(casting, target, int(random.integers(1, 4)), 1.0, random)
    else:
        target = casting.targets.draw(domain, random)
    return target, _company(casting, target, count - 1, _WITHIN, random)


def _shares(alone: float | None) -> list[float]:
    """How often each number of `SOURCES` is drawn, where one source has a share of its own."""
    if alone is None:
        return list(SOURCES.values())
    rest = (1 - alone) / (1 - SOURCES[1])
    return [alone if count == 1 else share * rest for count, share in SOURCES.items()]


def _noise(casting: Casting, target: Stem, length: int, random: Random) -> tuple[Signal, Signal, tuple[Stem, ...]]:
    """Noise and more of the same, each at an RMS of 1, and who speaks in the first; a third of it is babble."""
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


def _babble(casting: Casting, stems: Sequence[Stem], length: int, random: Random) -> Signal:
    """Many voices at once; each is turned round by a random time, lest a stem without choice begin as it does again."""
    tracks = (_track(stem, length, casting.augment, random) for stem in stems)
    return unit(np.sum([np.roll(track, int(random.integers(length))) for track in tracks], axis=0))


def _company(casting: Casting, target: Stem, count: int, within: float, random: Random) -> list[Stem]:
    """Other sources that prompts can tell from the target and from each other; fewer where none are found."""
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
    """As `tell_apart`; singing can also be told from any music in which nobody sings."""
    return all(_sings_over(stem, other) or _sings_over(other, stem) or tell_apart(stem, [other]) for other in taken)


def _sings(stem: Stem) -> bool:
    return stem.label == "singing"


def _sings_over(singer: Stem, music: Stem) -> bool:
    """Whether one sings and the other is music without voices, as far as its texts say."""
    if not _sings(singer) or music.domain != "music":
        return False
    return not any(_VOICED.search(text) for text in (music.label, *music.prompts))


def _impostor(casting: Casting, stems: Sequence[Stem], length: int, random: Random) -> Signal | None:
    """Another recording of the target's label; None where only the mixture's own groups have it."""
    taken = {stem.group for stem in stems}
    groups = [group for group in casting.targets.groups(stems[0].domain, stems[0].label) if group[0].group not in taken]
    return _track(draw_from_groups(groups, random), length, casting.augment, random) if groups else None


def _absent(casting: Casting, stems: Sequence[Stem], noisy: bool, random: Random) -> tuple[str, str] | None:
    """Text and label of a sound that is not in the mixture; None where 50 tries find none.

    In noise it is no effect, since noise can pass for rain, wind or an engine.
    """
    for _ in range(50):
        stem = casting.others.draw(_domain(casting.others, stems[0].domain, 0.5, random), random)
        if _apart(stem, stems) and not (noisy and stem.domain == "effects"):
            return _prompt(stem, stems, random), stem.label
    return None


def _domain(roles: Roles, own: str, share: float, random: Random) -> str:
    """``own`` with a probability, else another domain, as far as there are any."""
    elsewhere = [domain for domain in roles.domains if domain != own]
    stay = own in roles.domains and (random.random() < share or not elsewhere)
    return own if stay else elsewhere[random.integers(len(elsewhere))]


def _prompt(stem: Stem, others: Sequence[Stem], random: Random) -> str:
    """A text for a stem; half of the time the first one, which is the plainest."""
    texts = [text for text in stem.prompts if all(text not in other.prompts for other in others)] or [stem.label]
    return texts[0] if random.random() < 0.5 else texts[random.integers(len(texts))]


def _track(stem: Stem, length: int, augment: bool, random: Random) -> Signal:
    """A stem cut, placed or repeated to fill a mixture, at an RMS of 0.1 where it sounds."""
    signal = samples(stem.path)
    if augment and random.random() < 0.5:
        signal = soxr.resample(signal, RATE, RATE * float(random.uniform(1 - _SPEED, 1 + _SPEED)), quality="LQ")
    if len(signal) < length:
        return normalise_level(_placed(signal, length, random))
    start = cut_sounding(signal, length, random)
    return normalise_level(signal[start : start + length])


def _placed(signal: Signal, length: int, random: Random) -> Signal:
    """Somewhere in silence, half of the time repeated after pauses of at most a second."""
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
    """A gain that brings a mixture to -45...-10 dBFS RMS, with peaks of at most -1 dBFS."""
    wanted = uniform_db(random, *_MIXTURE_LEVELS) / max(rms(mixture), 1e-9)
    return min(wanted, 0.89 / max(float(np.abs(mixture).max()), 1e-9))


def sounding(signal: Signal) -> list[tuple[float, float]]:
    """When a source sounds, as (start, end) in seconds within the signal: frames at most 40 dB below the loudest.

    Pauses below a quarter of a second, longer ones where there would be more than 20 spans, do not count.
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


def overlap(one: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> float:
    """Seconds in both of two lists of spans as a share of those in either."""
    both = sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in one for b in other)
    either = sum(end - start for start, end in (*one, *other)) - both
    return both / either if either else 0.0
