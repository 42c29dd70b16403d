"""Tests whether the judge can be gamed: by gain, by estimates without separation, and by adversarial perturbations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt
from torch import Tensor

from judge.criteria import Criterion, mean_criterion, unmeasured
from judge.degrade import RATE
from judge.labels import Truth, audible
from judge.mini_split import Case, Signal, bounded_si_sdr, rate_estimates
from sam_audio_bench.errors import BenchError
from sam_audio_bench.judge.listeners import Judge
from sam_audio_bench.judge.network import JudgeNetwork
from sam_audio_bench.judge.scores import AXES

__all__ = [
    "ATTACKED",
    "GAINS",
    "attack",
    "attack_criteria",
    "gain_criteria",
    "gain_rows",
    "trivial_criteria",
    "trivial_estimates",
    "trivial_rows",
]

GAINS = (-40.0, -30.0, -20.0, -10.0, -6.0, 6.0, 10.0, 20.0)
"""dB."""

ATTACKED = 20
"""Number of estimates that are attacked."""

_ORACLE = "oracle-irm"
_MAX_GAIN_CHANGE = 0.1  # rating points
_ABOVE = 0.01  # minimum lead of an oracle over estimates without separation, in rating points; ties do not count
_TURNED_DOWN = {f"mixture at -{down} dB": 10 ** (-down / 20) for down in (10, 20, 30)}
_STEPS = 100
_BOUND = 10 ** (-30 / 20)  # energy of the perturbation relative to the estimate's, in amplitude
_SECONDS = 3  # of the excerpt of an estimate that is attacked
_BLIND_SEPARATORS = ("hpss", "repet-sim", "spectral-gate")
_SAME = 0.05  # rating points by which the differentiable path may differ from `score`


def gain_rows(judge: Judge, case: Case) -> Iterator[dict[str, object]]:
    """Rates four estimates at each gain: columns item, system, gain, ``saj_AXIS`` and moved, the largest change.

    Estimates that a gain makes inaudible are left out.
    """
    estimates = {
        "ideal": case.target,
        _ORACLE: case.estimates[_ORACLE],
        "hpss": case.estimates["hpss"],
        "mixture": case.mixture,
    }
    for name, signal in estimates.items():
        louder = {gain: signal * 10 ** (gain / 20) for gain in (0.0, *GAINS)}
        heard = {f"{gain:g}": one for gain, one in louder.items() if audible(one, case.mixture)}
        found = rate_estimates(judge, case.mixture, heard, case.text)
        for gain, values in found.items():
            yield {
                "item": case.item,
                "system": name,
                "gain": float(gain),
                **{f"saj_{axis}": float(value) for axis, value in zip(AXES, values, strict=True)},
                "moved": float(np.abs(values - found["0"]).max()) if "0" in found else 0.0,
            }


def gain_criteria(table: pd.DataFrame) -> list[Criterion]:
    """Returns the largest change of any axis by any gain, and the mean; ``table`` has the rows of `gain_rows`."""
    rows = table[table["gain"] != 0]
    if rows.empty:
        return [unmeasured("mini", "largest change of any axis by gain", most=_MAX_GAIN_CHANGE)]
    worst = rows.loc[rows["moved"].idxmax()]
    what = f"largest change of any axis by gain ({worst['system']}, {worst['gain']:+g} dB)"
    largest = Criterion(part="mini", what=what, value=float(worst["moved"]), n=len(rows), most=_MAX_GAIN_CHANGE)
    return [largest, mean_criterion("mini", "mean of the largest change by gain", rows["moved"], rows["item"])]


def trivial_estimates(case: Case) -> dict[str, Signal]:
    """Returns estimates that are made without any separation."""
    mixture = case.mixture
    click = np.zeros_like(mixture)
    click[:: RATE // 2] = max(float(np.abs(mixture).max()), 1e-3)
    found = {name: mixture * gain for name, gain in _TURNED_DOWN.items()}
    found |= {
        "mixture gated": _gate(mixture),
        "mixture above 1 kHz": sosfilt(butter(4, 1000, "high", fs=RATE, output="sos"), mixture).astype(np.float32),
        "a second of the mixture repeated": np.resize(mixture[:RATE], len(mixture)),
        "clicks": click,
    }
    if case.other is not None:
        found["another recording of the class"] = case.other
    return found


def _gate(signal: Signal) -> Signal:
    """Silences blocks of 20 ms that are softer than the median."""
    size = RATE // 50
    padded = np.pad(signal, (0, -len(signal) % size)).reshape(-1, size)
    level = np.square(padded, dtype=np.float64).mean(axis=1)
    opened: Signal = (padded * (level >= np.median(level))[:, None]).ravel()[: len(signal)]
    return opened


def trivial_rows(judge: Judge, case: Case) -> Iterator[dict[str, object]]:
    """Rates the oracle, the mixture and every trivial estimate: columns task, item, system, saj_overall."""
    estimates = {_ORACLE: case.estimates[_ORACLE], "mixture": case.mixture, **trivial_estimates(case)}
    for name, values in rate_estimates(judge, case.mixture, estimates, case.text).items():
        yield {"task": case.task, "item": case.item, "system": name, "saj_overall": float(values[0])}


def trivial_criteria(table: pd.DataFrame) -> list[Criterion]:
    """Returns the oracle's lead over the best trivial estimate per task; ``table`` has the rows of `trivial_rows`."""
    found, moved = [], []
    for task, part in table.groupby("task", sort=False):
        wide = part.pivot(index="item", columns="system", values="saj_overall")
        above = wide.drop(columns=_ORACLE).rsub(wide[_ORACLE], axis=0)
        best = str(above.mean().idxmin())
        margin = above[best].dropna()
        what = f"{_ORACLE} above the best trivial answer ({best})"
        found.append(mean_criterion(f"mini, {task}", what, margin, pd.Series(margin.index), _ABOVE))
        moved += [wide[name].mean() - wide["mixture"].mean() for name in _TURNED_DOWN]
    largest = float(np.abs(moved).max()) if moved else None
    what = "largest change of a task's mean for the mixture turned down"
    found.append(Criterion(part="mini", what=what, value=largest, n=table["item"].nunique(), most=_MAX_GAIN_CHANGE))
    return found


def attack(judge: Judge, case: Case, number: int, steps: int = _STEPS) -> dict[str, object]:
    """Attacks the judge: perturbs an estimate by a blind separator, at -30 dB, to raise its rating.

    Uses gradient ascent if the judge is differentiable and its differentiable path yields the same rating as `score`;
    otherwise simultaneous perturbation (Spall 1992), which needs only ratings.

    Args:
        judge: the judge.
        case: the item; its loudest seconds are used.
        number: selects the separator, and seeds the search.
        steps: number of steps of the attack.

    Returns:
        item, system, way ("gradient" or "search"), and overall, perceptual and si_sdr before and after.
    """
    name = _BLIND_SEPARATORS[number % len(_BLIND_SEPARATORS)]
    mixture, target, estimate = _loudest(case, name)
    perturbed = _by_gradient(judge, mixture, estimate, case.text, steps)
    way = "search" if perturbed is None else "gradient"
    if perturbed is None:
        perturbed = _by_search(judge, mixture, estimate, case.text, steps, np.random.default_rng(number))
    truth = Truth(target, mixture - target)
    found: dict[str, object] = {"item": case.item, "system": name, "way": way}
    for when, signal in (("before", estimate), ("after", perturbed)):
        found[f"overall_{when}"] = _overall(judge, mixture, signal, case.text)
        found[f"perceptual_{when}"] = truth.rate(signal).overall
        found[f"si_sdr_{when}"] = bounded_si_sdr(target, signal)
    return found


def attack_criteria(table: pd.DataFrame) -> list[Criterion]:
    """Returns the gain by attacks and their effect on estimates, without limits; ``table`` has rows of `attack`."""
    if table.empty:
        return []
    way = " and ".join(sorted(table["way"].unique()))
    part = f"mini, attack by {way}, {_STEPS} steps, −30 dB"
    names = {
        "overall": "gain of overall",
        "perceptual": "change of perceptual_overall",
        "si_sdr": "change of SI-SDR, dB",
    }
    return [
        mean_criterion(part, f"mean {what}", table[f"{name}_after"] - table[f"{name}_before"], table["item"])
        for name, what in names.items()
    ]


def _loudest(case: Case, name: str) -> tuple[Signal, Signal, Signal]:
    """Returns the excerpt of mixture, target and estimate where the target is loudest."""
    size = min(_SECONDS * RATE, len(case.target))
    energy = np.concatenate([[0.0], np.cumsum(np.square(case.target, dtype=np.float64))])
    start = int(np.argmax(energy[size:] - energy[:-size]))
    mixture, target, estimate = (one[start : start + size] for one in (case.mixture, case.target, case.estimates[name]))
    return mixture, target, estimate


def _overall(judge: Judge, mixture: Signal, estimate: Signal, text: str) -> float:
    return float(rate_estimates(judge, mixture, {"": estimate}, text)[""][0])


def _by_gradient(judge: Judge, mixture: Signal, estimate: Signal, text: str, steps: int) -> Signal | None:
    """Returns the estimate with the best perturbation; None if the judge is not differentiable to a waveform."""
    if not isinstance(judge, JudgeNetwork) or judge.processor.rate != RATE:
        return None
    hop = judge.processor.hop
    size = len(estimate) // hop * hop
    whole = torch.from_numpy(np.ascontiguousarray(mixture[:size]))[None, None]
    clean = torch.from_numpy(np.ascontiguousarray(estimate[:size]))[None, None]
    ids, mask = judge.processor.tokens([text])

    def overall(wave: Tensor) -> Tensor:
        scores = judge(input_ids=ids, attention_mask=mask, input_values=whole, separated_values=wave)
        value: Tensor = scores.values[0, 0]
        return value

    try:
        reached = _ascent(overall, clean, steps)
    except (RuntimeError, TypeError, AttributeError, BenchError):
        return None
    if reached is None or abs(float(overall(clean)) - _overall(judge, mixture[:size], estimate[:size], text)) > _SAME:
        return None
    return np.concatenate([reached[0, 0].numpy(), estimate[size:]])


def _ascent(overall: Callable[[Tensor], Tensor], clean: Tensor, steps: int) -> Tensor | None:
    """Projected gradient ascent on a ball; returns None if there is no gradient."""
    radius = float(clean.norm()) * _BOUND
    noise = torch.zeros_like(clean)
    best, reached = float(overall(clean)), clean
    for _ in range(steps):
        noise.requires_grad_(True)
        value = overall(clean + noise)
        if not value.requires_grad:
            return None
        (slope,) = torch.autograd.grad(value, noise)
        if float(value.detach()) > best:
            best, reached = float(value.detach()), (clean + noise).detach()
        length = float(slope.norm())
        if not np.isfinite(length) or length == 0:
            return None if reached is clean else reached
        noise = noise.detach() + slope * (radius / 10 / length)
        noise = noise * min(1.0, radius / max(float(noise.norm()), 1e-12))
    return reached


def _by_search(
    judge: Judge, mixture: Signal, estimate: Signal, text: str, steps: int, random: np.random.Generator
) -> Signal:
    """Returns the estimate with the best perturbation that is found from ratings alone."""
    radius = float(np.linalg.norm(estimate)) * _BOUND
    noise: NDArray[np.float64] = np.zeros(len(estimate))
    best, reached = _overall(judge, mixture, estimate, text), estimate
    for _ in range(steps):
        way = random.standard_normal(len(estimate)) * (np.abs(estimate) + 1e-6)
        way *= radius / 3 / np.linalg.norm(way)
        tried: Mapping[str, Signal] = {
            str(sign): (estimate + _within(noise + sign * way, radius)).astype(np.float32) for sign in (1, -1)
        }
        values = {sign: float(one[0]) for sign, one in rate_estimates(judge, mixture, tried, text).items()}
        sign = max(values, key=values.__getitem__)
        if values[sign] > best:
            best, reached = values[sign], tried[sign]
            noise = _within(noise + int(sign) * way, radius)
    return reached


def _within(noise: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    return noise * min(1.0, radius / max(float(np.linalg.norm(noise)), 1e-12))
