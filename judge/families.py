"""Families of answers: what simulated separators give, how often, for which targets, and which training never sees."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from judge import alike, degrade, makers
from judge.makers import Maker, Scene
from judge.mask_network import separated_by
from judge.suppressors import suppressed
from sam_audio_bench.errors import UsageError
from sam_audio_bench.separators.classical import HPSS, RepetSim, SpectralGate

__all__ = [
    "ANSWERS",
    "DENOISERS",
    "FAMILIES",
    "FAULTS",
    "TRAINING",
    "Family",
    "Scene",
    "answer",
    "check_families",
    "draw_families",
]

Signal = NDArray[np.float32]
Random = np.random.Generator

ANSWERS = (4, 5, 6)
"""To a mixture."""

_LONE_MIXTURE = 4.0  # times as often as otherwise is the mixture the answer where the target sounds alone,
_MOST_LONE = 3.2  # but with this share at most
_ALONE = 12.0  # dB of the target over the rest
_VOICES = ("speech", "singing")


@dataclass(frozen=True, slots=True)
class Family:
    """One way to answer."""

    make: Maker
    share: float  # how often it is drawn, relative to the others of its side
    held_out: bool = False  # only in evaluation sets that say so
    kinds: tuple[str, ...] = ()  # of targets that it is for; (): all


def answer(name: str, scene: Scene, random: Random) -> Signal:
    """An answer of the family, as long as the mixture; one that cannot be made for a scene is the next best thing."""
    made = FAMILIES[name].make(scene, random)
    return np.nan_to_num(np.asarray(made, np.float32))


def check_families(*, held_out: bool, without: Collection[str] = (), wanted: Mapping[str, float] | None = None) -> None:
    """Says before any work what the families that may be drawn lack.

    Raises:
        UsageError: one to be left out is none. Precondition: one needs a package that is not installed.
    """
    if unknown := set(without) - FAMILIES.keys():
        raise UsageError(f"expected families among {', '.join(FAMILIES)}, found {', '.join(sorted(unknown))}")
    moment = np.sin(np.arange(8000) / 8).astype(np.float32)
    scene = Scene(target=moment, interference=np.zeros_like(moment), others=(), text="hum", kind="speech")
    for name in _shares(held_out, wanted):
        if FAMILIES[name].kinds == _VOICES and name not in without:
            answer(name, scene, np.random.default_rng(0))


def draw_families(
    scene: Scene,
    random: Random,
    *,
    held_out: bool,
    without: Collection[str] = (),
    wanted: Mapping[str, float] | None = None,
    always: Collection[str] = (),
    answers: Sequence[int] = ANSWERS,
) -> list[str]:
    """Different ones, of those that suit a scene.

    Args:
        scene: what is answered.
        random: chooses.
        held_out: the side of `FAMILIES` that is drawn from.
        without: names that are left out.
        wanted: shares of the names that may be drawn, of whichever side; None: one side of `FAMILIES`.
        always: names that are there each time, first.
        answers: how many there may be; fewer where fewer suit.
    """
    able = {
        name: share
        for name, share in {**dict.fromkeys(always, 1.0), **_shares(held_out, wanted)}.items()
        if name not in without and _suits(name, scene)
    }
    first = [name for name in always if name in able]
    names = [name for name in able if name not in first]
    shares = np.array([able[name] for name in names])
    if "mixture" in names and _is_alone(scene):
        at = names.index("mixture")
        shares[at] = min(_LONE_MIXTURE * shares[at], _MOST_LONE)
    count = min(random.choice(answers) - len(first), np.count_nonzero(shares))
    drawn = random.choice(names, count, replace=False, p=shares / shares.sum())
    return [*first, *(str(name) for name in drawn)]


def _shares(held_out: bool, wanted: Mapping[str, float] | None) -> Mapping[str, float]:
    """Shares that a set names, or those of one side."""
    if wanted is not None:
        return wanted
    return {name: family.share for name, family in FAMILIES.items() if family.held_out == held_out}


def _is_alone(scene: Scene) -> bool:
    """Whether the target sounds all but alone, so that the mixture is a right answer; never where noise is to go."""
    wanted, rest = (float(np.mean(np.square(one, dtype=np.float64))) for one in (scene.target, scene.interference))
    return scene.again is None and rest <= wanted * 10 ** (-_ALONE / 10)


def _suits(name: str, scene: Scene) -> bool:
    if name == "impostor" and scene.impostor is None:
        return False
    if name == "mask-network" and scene.network is None:
        return False
    if name == "other-noise" and scene.again is None:
        return False
    return not FAMILIES[name].kinds or scene.kind in FAMILIES[name].kinds


def _suppressor(name: str, share: float, *, held_out: bool = False) -> Family:
    """A noise suppressor, which keeps voices and so answers where one is asked for."""
    return Family(makers.heard(partial(suppressed, name)), share, held_out, _VOICES)


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "perfect": Family(makers.perfect, 2.2),
        "near-perfect": Family(makers.bleed(-38, -18), 2.0),
        "mild-mask": Family(makers.masked((0, 0.8), (1.8, 2.2)), 1.6),
        "mixture": Family(makers.mixture, 0.8),
        "silence": Family(makers.silence, 0.35),
        "wrong-source": Family(makers.wrong, 1.0),
        "bleed": Family(makers.bleed(-22, 3), 1.3),
        "partial": Family(makers.partial, 1.2),
        "irm": Family(makers.masked((0.5, 5), (0.8, 2.5)), 1.5),
        "ibm": Family(makers.binary, 1.0),
        "hpss": Family(makers.separated(lambda random: HPSS(margin=float(random.uniform(1, 1.5)))), 1.0),
        "drop-out": Family(makers.damaged(degrade.drop_out), 0.8),
        "band-limit": Family(makers.damaged(degrade.band_limit), 0.7),
        "musical-noise": Family(makers.damaged(degrade.musical_noise), 1.0),
        "swap": Family(makers.damaged(degrade.swap), 0.4),
        "clip": Family(makers.damaged(degrade.clip), 0.6),
        "coarse": Family(makers.damaged(degrade.coarse), 0.35),
        "hiss": Family(makers.damaged(degrade.hiss), 0.7),
        "pitch": Family(makers.damaged(degrade.pitch), 0.35),
        "resynthesis": Family(makers.damaged(degrade.resynthesise), 0.8),
        "codec": Family(makers.damaged(makers.coded("aac", "opus", "amr")), 1.0),
        "combined": Family(makers.combined, 2.0),
        "delay": Family(makers.alike(alike.delay), 1.1),
        "all-pass": Family(makers.alike(alike.all_pass), 1.1),
        "mild-filter": Family(makers.alike(alike.mild_filter), 1.2),
        "griffin-lim": Family(makers.alike(alike.griffin_lim), 0.9),
        "vocoder": Family(makers.alike(alike.vocode), 0.9, kinds=_VOICES),
        "resynthesis-diffusion": Family(makers.alike(alike.noisy_resynthesis), 0.9),
        "codec-low": Family(makers.alike(makers.coded("opus", "opus-narrow", "g723", "amr", lowest=True)), 0.7),
        "dtln": _suppressor("dtln", 0.6),
        "nsnet2": _suppressor("nsnet2", 0.6),
        "gtcrn": _suppressor("gtcrn", 0.6),
        "rnnoise": _suppressor("rnnoise", 0.6),
        "mask-network": Family(makers.networked(separated_by), 1.5),
        "turned-down": Family(makers.turned_down, 0.5),
        "gated": Family(makers.gated, 0.4),
        "filtered": Family(makers.filtered, 0.4),
        "impostor": Family(makers.impostor, 0.5),
        "click": Family(makers.click, 0.25),
        "spectral-gate": Family(
            makers.separated(lambda random: SpectralGate(reduction=float(random.uniform(1.5, 4)))), 1.0, held_out=True
        ),
        "repet-sim": Family(makers.separated(lambda random: RepetSim()), 1.0, held_out=True),
        "band-gains": Family(makers.band_gains, 1.0, held_out=True),
        "phase-noise": Family(makers.damaged(degrade.phase_noise), 1.0, held_out=True),
        "reverb": Family(makers.damaged(degrade.reverberate), 1.0, held_out=True),
        "codec-mp3": Family(makers.damaged(makers.coded("mp3")), 0.7, held_out=True),
        "codec-ogg": Family(makers.damaged(makers.coded("vorbis")), 0.7, held_out=True),
        "hush": _suppressor("hush", 1.0, held_out=True),
        "modulated-noise": Family(makers.damaged(partial(degrade.modulated_noise, levels=(-35, 3))), 0.0),
        "tatters": Family(makers.damaged(partial(degrade.drop_out, most=3.0)), 0.0),
        "other-noise": Family(makers.other_noise, 0.0),
    }
)
"""By name; docs/judge-labels.md has their ratings. What has no share is drawn where a set asks for it."""

TRAINING: Mapping[str, float] = MappingProxyType(
    {
        **{name: family.share for name, family in FAMILIES.items() if not family.held_out},
        **{"mixture": 1.4, "turned-down": 0.7, "modulated-noise": 0.8, "other-noise": 1.5, "tatters": 0.6},
    }
)
"""Shares of training and validation, with more of what separates nothing, leaves noise or tears holes."""

FAULTS: Mapping[str, float] = MappingProxyType(
    {
        "modulated-noise": 4.0, "other-noise": 3.5, "hiss": 1.5, "codec": 1.0, "codec-low": 2.5, "coarse": 0.5,
        "clip": 0.5, "musical-noise": 0.8, "resynthesis": 0.8, "griffin-lim": 1.2, "vocoder": 1.5,
        "resynthesis-diffusion": 0.8, "irm": 0.6, "mask-network": 0.6, "nsnet2": 0.4, "perfect": 0.7,
        "near-perfect": 0.5, "mixture": 0.3,
    }
)  # fmt: skip
"""Shares of a set about damage to the target, and about what only looks like damage."""

DENOISERS: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(("dtln", "nsnet2", "gtcrn", "rnnoise", "hush", "mask-network"), 1.0),
        **dict.fromkeys(("other-noise", "mixture"), 0.5),
    }
)
"""Shares of a set about taking noise away from speech, whichever side a suppressor is on."""
