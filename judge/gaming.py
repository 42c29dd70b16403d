"""Whether the judge can be gamed: by gain, by answers that separate nothing, and by noise that is made to please it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt
from torch import Tensor

from judge.bars import Bar, average, missing_bar
from judge.degrade import RATE
from judge.labels import Truth, audible
from judge.on_mini import Case, Signal, quality, said
from sam_audio_bench.errors import BenchError
from sam_audio_bench.judge.listeners import Judge
from sam_audio_bench.judge.network import JudgeNetwork
from sam_audio_bench.judge.scores import AXES

__all__ = [
    "ATTACKED",
    "GAINS",
    "attack",
    "attack_bars",
    "gain_bars",
    "gain_rows",
    "trivial_answers",
    "trivial_bars",
    "trivial_rows",
]

GAINS = (-40.0, -30.0, -20.0, -10.0, -6.0, 6.0, 10.0, 20.0)
"""dB."""

ATTACKED = 20
"""Answers that are attacked."""

_ORACLE = "oracle-irm"
_GAIN_MOVES = 0.1  # rating points
_ABOVE = 0.01  # rating points by which an oracle must beat what separates nothing: equal is not above
_TURNED_DOWN = {f"mixture at -{down} dB": 10 ** (-down / 20) for down in (10, 20, 30)}
_STEPS = 100
_BOUND = 10 ** (-30 / 20)  # energy of the perturbation relative to the answer's, in amplitude
_SECONDS = 3  # of an answer that is attacked
_LEFT_TO_BLIND = ("hpss", "repet-sim", "spectral-gate")
_SAME = 0.05  # rating points by which the path with gradients may differ from `score`


def gain_rows(judge: Judge, case: Case) -> Iterator[dict[str, object]]:
    """How far each gain moves four answers: columns item, system, gain, ``saj_AXIS`` and moved, the largest change.

    Answers that a gain makes as good as silent are left out.
    """
    answers = {
        "ideal": case.target,
        _ORACLE: case.answers[_ORACLE],
        "hpss": case.answers["hpss"],
        "mixture": case.mixture,
    }
    for name, signal in answers.items():
        louder = {gain: signal * 10 ** (gain / 20) for gain in (0.0, *GAINS)}
        heard = {f"{gain:g}": one for gain, one in louder.items() if audible(one, case.mixture)}
        found = said(judge, case.mixture, heard, case.text)
        for gain, values in found.items():
            yield {
                "item": case.item,
                "system": name,
                "gain": float(gain),
                **{f"saj_{axis}": float(value) for axis, value in zip(AXES, values, strict=True)},
                "moved": float(np.abs(values - found["0"]).max()) if "0" in found else 0.0,
            }


def gain_bars(table: pd.DataFrame) -> list[Bar]:
    """The largest change of any axis by any gain, and the mean; ``table`` has the rows of `gain_rows`."""
    rows = table[table["gain"] != 0]
    if rows.empty:
        return [missing_bar("mini", "largest change of any axis by gain", most=_GAIN_MOVES)]
    worst = rows.loc[rows["moved"].idxmax()]
    what = f"largest change of any axis by gain ({worst['system']}, {worst['gain']:+g} dB)"
    largest = Bar(part="mini", what=what, value=float(worst["moved"]), n=len(rows), most=_GAIN_MOVES)
    return [largest, average("mini", "mean of the largest change by gain", rows["moved"], rows["item"])]


def trivial_answers(case: Case) -> dict[str, Signal]:
    """What anyone could answer without separating anything."""
    mixture = case.mixture
    click = np.zeros_like(mixture)
    click[:: RATE // 2] = max(float(np.abs(mixture).max()), 1e-3)
    found = {name: mixture * gain for name, gain in _TURNED_DOWN.items()}
    found |= {
        "mixture gated": _gated(mixture),
        "mixture above 1 kHz": sosfilt(butter(4, 1000, "high", fs=RATE, output="sos"), mixture).astype(np.float32),
        "a second of the mixture repeated": np.resize(mixture[:RATE], len(mixture)),
        "clicks": click,
    }
    if case.other is not None:
        found["another recording of the class"] = case.other
    return found


def _gated(signal: Signal) -> Signal:
    """Silent wherever 20 ms are softer than the median."""
    size = RATE // 50
    padded = np.pad(signal, (0, -len(signal) % size)).reshape(-1, size)
    level = np.square(padded, dtype=np.float64).mean(axis=1)
    opened: Signal = (padded * (level >= np.median(level))[:, None]).ravel()[: len(signal)]
    return opened


def trivial_rows(judge: Judge, case: Case) -> Iterator[dict[str, object]]:
    """Overall of the oracle, the mixture and every trivial answer: columns task, item, system, saj_overall."""
    answers = {_ORACLE: case.answers[_ORACLE], "mixture": case.mixture, **trivial_answers(case)}
    for name, values in said(judge, case.mixture, answers, case.text).items():
        yield {"task": case.task, "item": case.item, "system": name, "saj_overall": float(values[0])}


def trivial_bars(table: pd.DataFrame) -> list[Bar]:
    """For each task how far the oracle is above the best trivial answer; ``table`` has the rows of `trivial_rows`."""
    found, moved = [], []
    for task, part in table.groupby("task", sort=False):
        wide = part.pivot(index="item", columns="system", values="saj_overall")
        above = wide.drop(columns=_ORACLE).rsub(wide[_ORACLE], axis=0)
        best = str(above.mean().idxmin())
        margin = above[best].dropna()
        what = f"{_ORACLE} above the best trivial answer ({best})"
        found.append(average(f"mini, {task}", what, margin, pd.Series(margin.index), _ABOVE))
        moved += [wide[name].mean() - wide["mixture"].mean() for name in _TURNED_DOWN]
    largest = float(np.abs(moved).max()) if moved else None
    what = "largest change of a task's mean for the mixture turned down"
    found.append(Bar(part="mini", what=what, value=largest, n=table["item"].nunique(), most=_GAIN_MOVES))
    return found


def attack(judge: Judge, case: Case, number: int, steps: int = _STEPS) -> dict[str, object]:
    """Adds what pleases the judge to an answer of a blind separator, 30 dB below it.

    Gradient ascent through the judge where it lets gradients pass, and where what it says on that way is what it says
    otherwise; else simultaneous perturbation (Spall 1992), which needs ratings alone.

    Args:
        judge: any.
        case: whose answer; its loudest seconds are used.
        number: chooses the separator, and seeds the search.
        steps: of the attack.

    Returns:
        item, system, way ("gradient" or "search"), and before and after: overall, perceptual, si_sdr.
    """
    name = _LEFT_TO_BLIND[number % len(_LEFT_TO_BLIND)]
    mixture, target, answer = _loudest(case, name)
    pleasing = _by_gradient(judge, mixture, answer, case.text, steps)
    way = "search" if pleasing is None else "gradient"
    if pleasing is None:
        pleasing = _by_search(judge, mixture, answer, case.text, steps, np.random.default_rng(number))
    truth = Truth(target, mixture - target)
    found: dict[str, object] = {"item": case.item, "system": name, "way": way}
    for when, signal in (("before", answer), ("after", pleasing)):
        found[f"overall_{when}"] = _overall(judge, mixture, signal, case.text)
        found[f"perceptual_{when}"] = truth.rate(signal).overall
        found[f"si_sdr_{when}"] = quality(target, signal)
    return found


def attack_bars(table: pd.DataFrame) -> list[Bar]:
    """What the attack gains, and what it does to the answers; ``table`` has what `attack` returns. No demand."""
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
        average(part, f"mean {what}", table[f"{name}_after"] - table[f"{name}_before"], table["item"])
        for name, what in names.items()
    ]


def _loudest(case: Case, name: str) -> tuple[Signal, Signal, Signal]:
    """Mixture, target and answer where the target is loudest."""
    size = min(_SECONDS * RATE, len(case.target))
    energy = np.concatenate([[0.0], np.cumsum(np.square(case.target, dtype=np.float64))])
    start = int(np.argmax(energy[size:] - energy[:-size]))
    mixture, target, answer = (one[start : start + size] for one in (case.mixture, case.target, case.answers[name]))
    return mixture, target, answer


def _overall(judge: Judge, mixture: Signal, answer: Signal, text: str) -> float:
    return float(said(judge, mixture, {"": answer}, text)[""][0])


def _by_gradient(judge: Judge, mixture: Signal, answer: Signal, text: str, steps: int) -> Signal | None:
    """The answer with the best perturbation found; None: the judge lets no gradient pass to a waveform."""
    if not isinstance(judge, JudgeNetwork) or judge.processor.rate != RATE:
        return None
    hop = judge.processor.hop
    size = len(answer) // hop * hop
    whole = torch.from_numpy(np.ascontiguousarray(mixture[:size]))[None, None]
    clean = torch.from_numpy(np.ascontiguousarray(answer[:size]))[None, None]
    ids, mask = judge.processor.tokens([text])

    def overall(wave: Tensor) -> Tensor:
        scores = judge(input_ids=ids, attention_mask=mask, input_values=whole, separated_values=wave)
        value: Tensor = scores.values[0, 0]
        return value

    try:
        reached = _ascent(overall, clean, steps)
    except (RuntimeError, TypeError, AttributeError, BenchError):
        return None
    if reached is None or abs(float(overall(clean)) - _overall(judge, mixture[:size], answer[:size], text)) > _SAME:
        return None
    return np.concatenate([reached[0, 0].numpy(), answer[size:]])


def _ascent(overall: Callable[[Tensor], Tensor], clean: Tensor, steps: int) -> Tensor | None:
    """Projected gradient ascent on a ball; None where no gradient arrives."""
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
    judge: Judge, mixture: Signal, answer: Signal, text: str, steps: int, random: np.random.Generator
) -> Signal:
    """The answer with the best perturbation found by ratings alone."""
    radius = float(np.linalg.norm(answer)) * _BOUND
    noise: NDArray[np.float64] = np.zeros(len(answer))
    best, reached = _overall(judge, mixture, answer, text), answer
    for _ in range(steps):
        way = random.standard_normal(len(answer)) * (np.abs(answer) + 1e-6)
        way *= radius / 3 / np.linalg.norm(way)
        tried: Mapping[str, Signal] = {
            str(sign): (answer + _within(noise + sign * way, radius)).astype(np.float32) for sign in (1, -1)
        }
        values = {sign: float(one[0]) for sign, one in said(judge, mixture, tried, text).items()}
        sign = max(values, key=values.__getitem__)
        if values[sign] > best:
            best, reached = values[sign], tried[sign]
            noise = _within(noise + int(sign) * way, radius)
    return reached


def _within(noise: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    return noise * min(1.0, radius / max(float(np.linalg.norm(noise)), 1e-12))
