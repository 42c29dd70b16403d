"""perceptual_*: anchors, invariances and monotony on the real recordings of mini, policies, statuses, blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.signal import butter, lfilter, sosfilt
from torch import Tensor

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.functional import perceptual
from sam_audio_bench.metrics.functional.hearing import RATE, Aligner, excitation, loudness, prepare_signal
from sam_audio_bench.metrics.functional.perceptual import PerceptualReference, Ratings
from sam_audio_bench.metrics.perceptual import Perceptual
from sam_audio_bench.registry import load_tasks
from sam_audio_bench.types import Audio, Item, Prompt, Query, Separation, Status

IDS = ("speech-01", "music-11", "sfx-05", "instr-pro-14")  # a voice, a band, an effect, bass-heavy drums


@cache
def scene(name: str) -> tuple[Tensor, Tensor, int]:
    """Target and rest in mono, and their rate."""
    items = (
        item
        for data in load_tasks(["speech", "music", "sfx", "instr-pro", "instr-wild"], split="mini")
        for item in data
    )
    item = next(item for item in items if item.id == name)
    assert item.reference is not None
    target = item.reference.samples.double().mean(dim=0, keepdim=True)
    return target, item.query.mixture.samples.double().mean(dim=0, keepdim=True) - target, item.reference.rate


@cache
def original(name: str) -> PerceptualReference:
    target, rest, rate = scene(name)
    return PerceptualReference(target, target + rest, rate, rest)


def level(signal: Tensor) -> float:
    return float(signal.square().mean().sqrt())


def noise(like: Tensor, seed: int = 0) -> Tensor:
    """White noise at the level of a signal."""
    return level(like) * torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype)


@cache
def unchanged(name: str) -> list[tuple[Tensor, Ratings]]:
    """The target, alone and with some of what can be wrong, and how it is rated; not to be changed."""
    target, rest, _ = scene(name)
    answers = (target, target + 0.2 * rest, target + rest, target + 0.05 * noise(target))
    return [(answer, original(name).rate(answer)) for answer in answers]


def filtered(kind: str, hertz: float, order: int = 6) -> Callable[[Tensor, int], Tensor]:
    return lambda signal, rate: torch.from_numpy(
        sosfilt(butter(order, min(hertz, 0.49 * rate), kind, fs=rate, output="sos"), signal.numpy())
    )


def late(seconds: float) -> Callable[[Tensor, int], Tensor]:
    """Moved by a time, silence moving in."""

    def moved(signal: Tensor, rate: int) -> Tensor:
        count = int(abs(seconds) * rate)
        silence = torch.zeros_like(signal[:, :count])
        parts = [silence, signal[:, :-count]] if seconds > 0 else [signal[:, count:], silence]
        return torch.cat(parts, dim=1)

    return moved


def all_pass(hertz: float) -> Callable[[Tensor, int], Tensor]:
    """First order; its group delay is at most 1 / (pi hertz)."""

    def turned(signal: Tensor, rate: int) -> Tensor:
        tangent = np.tan(np.pi * hertz / rate)
        c = (tangent - 1) / (tangent + 1)
        return torch.from_numpy(lfilter([c, 1], [1, c], signal.numpy()))

    return turned


INAUDIBLE: dict[str, Callable[[Tensor, int], Tensor]] = {
    "gain of -40 dB": lambda signal, rate: 0.01 * signal,
    "gain of 20 dB": lambda signal, rate: 10 * signal,
    "polarity": lambda signal, rate: -signal,
    "offset": lambda signal, rate: signal + 10 * level(signal),
    "1 ms late": late(0.001),
    "20 ms late": late(0.0199),
    "7 ms early": late(-0.007),
    "20 ms early": late(-0.0199),
    "nothing above 15 kHz": filtered("low", 15_000, 8),
    "all-pass at 200 Hz": all_pass(200),
    "all-passes": lambda signal, rate: all_pass(4000)(all_pass(1000)(signal, rate), rate),
}


@pytest.mark.parametrize("name", IDS)
class TestOnRecordings:
    """What must hold whatever is heard."""

    def test_anchors(self, name: str) -> None:
        target, rest, _ = scene(name)
        rated = original(name)
        assert min(rated.rate(target)) > 4.999
        assert max(rated.rate(torch.zeros_like(target))) == 1
        assert max(rated.rate(rest)) < 1.1  # the other source
        assert rated.rate(noise(target)).overall == 1
        assert max(rated.rate(noise(target))) < 2.5  # some of any effect is noise
        mixture = rated.rate(target + rest)
        assert min(mixture.recall, mixture.faithfulness) > 4.5
        assert mixture.precision < 2
        assert mixture.overall < 3.6

    @pytest.mark.parametrize("change", INAUDIBLE)
    def test_what_nobody_hears_changes_nothing(self, name: str, change: str) -> None:
        for answer, before in unchanged(name):
            after = original(name).rate(INAUDIBLE[change](answer, scene(name)[2]))
            assert np.abs(np.subtract(before, after)).max() <= 0.1

    def test_turned_down_mixture_is_the_mixture(self, name: str) -> None:
        target, rest, _ = scene(name)
        loud, soft = (original(name).rate(gain * (target + rest)) for gain in (1, 0.03))
        assert soft == pytest.approx(loud, abs=1e-3)

    @pytest.mark.parametrize("damage", ["bleed", "noise", "low-pass", "clipping", "drop-outs", "reverberation"])
    def test_more_damage_is_never_better(self, name: str, damage: str) -> None:
        rated = [original(name).rate(answer).overall for answer in damaged(name, damage)]
        assert all(later <= earlier + 0.02 for earlier, later in pairwise(rated))
        assert rated[-1] < rated[0] - 0.4

    def test_each_damage_costs_its_own_axis_most(self, name: str) -> None:
        target, rest, rate = scene(name)
        bleed = original(name).rate(target + 0.5 * rest)
        assert bleed.precision < min(bleed.recall, bleed.faithfulness) - 0.3
        dull = original(name).rate(filtered("low", 3500)(target, rate))
        assert dull.faithfulness < dull.precision - 0.3


def damaged(name: str, damage: str) -> list[Tensor]:
    """Answers with growing damage."""
    target, rest, rate = scene(name)
    match damage:
        case "bleed":
            return [target + gain * rest for gain in (0.003, 0.03, 0.1, 0.3, 1, 2)]
        case "noise":
            return [target + gain * noise(target) for gain in (0.001, 0.01, 0.03, 0.1, 0.3, 1)]
        case "low-pass":
            return [filtered("low", hertz)(target, rate) for hertz in (14_000, 7000, 5000, 3500, 2000, 1000)]
        case "clipping":
            peak = float(target.abs().max())
            return [target.clamp(-share * peak, share * peak) for share in (0.9, 0.5, 0.3, 0.15, 0.08, 0.04)]
        case "drop-outs":
            draws = torch.rand(target.shape[1] // 2000 + 1, generator=torch.Generator().manual_seed(3))
            kept = [(draws >= share).repeat_interleave(2000)[: target.shape[1]] for share in (0.05, 0.2, 0.4, 0.6, 0.8)]
            return [target * mask for mask in kept]
        case _:
            time = torch.arange(int(0.5 * rate)) / rate
            tail = torch.randn(len(time), generator=torch.Generator().manual_seed(1)).double() * (-17 * time).exp()
            size = target.shape[1] + len(tail)
            wet = torch.fft.irfft(torch.fft.rfft(target, size) * torch.fft.rfft(tail / tail.norm(), size), size)
            return [target + gain * wet[:, : target.shape[1]] for gain in (0.03, 0.2, 0.5, 1, 2)]


def synthetic(seconds: float = 2.0, rate: int = 16_000, channels: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Bursts of two filtered noises, and white noise."""
    count = int(seconds * rate)
    raw = torch.randn(3, channels, count, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gates = (torch.arange(count) // (rate // 4) % 2).double()
    return (
        filtered("low", 1500, 4)(raw[0], rate) * gates,
        filtered("high", 2500, 4)(raw[1], rate) * (1 - 0.7 * gates),
        raw[2],
    )


def test_leading_dimensions_and_neighbours_change_nothing() -> None:
    target, rest, hiss = synthetic()
    answers = torch.stack([target, target + 0.3 * rest, target + 0.1 * hiss, target + rest])
    references, mixtures = target.expand_as(answers), (target + rest).expand_as(answers)
    together = perceptual(reference=references, estimate=answers, mixture=mixtures, rate=16_000)
    for index, answer in enumerate(answers):
        alone = perceptual(reference=target, estimate=answer, mixture=target + rest, rate=16_000)
        assert [float(axis) for axis in alone] == [float(axis[index]) for axis in together]
    square = perceptual(
        reference=references.reshape(2, 2, 1, -1),
        estimate=answers.reshape(2, 2, 1, -1),
        mixture=mixtures.reshape(2, 2, 1, -1),
        rate=16_000,
    )
    assert torch.equal(square.overall.flatten(), together.overall)


def test_inputs_are_left_alone_and_results_repeat() -> None:
    target, rest, hiss = synthetic()
    signals = target, target + 0.2 * hiss, target + rest
    copies = [signal.clone() for signal in signals]
    first, second = (
        perceptual(reference=signals[0], estimate=signals[1], mixture=signals[2], rate=16_000) for _ in range(2)
    )
    assert all(torch.equal(signal, copy) for signal, copy in zip(signals, copies, strict=True))
    assert first == second


@pytest.mark.parametrize("scale", [1e-8, 1e6])
def test_all_signals_scaled_together(scale: float) -> None:
    target, rest, hiss = synthetic()
    answer, mixture = target + 0.2 * hiss + 0.2 * rest, target + rest
    plain = perceptual(reference=target, estimate=answer, mixture=mixture, rate=16_000)
    scaled = perceptual(reference=scale * target, estimate=scale * answer, mixture=scale * mixture, rate=16_000)
    assert [float(axis) for axis in scaled] == pytest.approx([float(axis) for axis in plain], abs=1e-4)


def test_level_of_the_reference_in_the_mixture_is_fitted() -> None:
    """A reference at another level than in the mixture leaves the same rest."""
    target, rest, _ = synthetic()
    answer = target + 0.3 * rest
    plain, louder = (
        perceptual(reference=gain * target, estimate=answer, mixture=target + rest, rate=16_000) for gain in (1, 5)
    )
    assert [float(axis) for axis in louder] == pytest.approx([float(axis) for axis in plain], abs=1e-3)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 96_000])
def test_any_rate(rate: int) -> None:
    target, rest, hiss = synthetic(rate=rate)
    rated = [
        perceptual(reference=target, estimate=answer, mixture=target + rest, rate=rate)
        for answer in (target, target + 0.3 * rest, hiss)
    ]
    assert float(rated[0].overall) == pytest.approx(5, abs=1e-3)
    assert 1.5 < float(rated[1].precision) < 4.5
    assert float(rated[1].recall) > 4.8
    assert float(rated[2].overall) < 1.2


def test_a_long_answer_is_rated_as_its_parts() -> None:
    """Blocks: four times the same thing is rated as the thing."""
    target, rest, hiss = synthetic(10)
    parts = target, target + 0.2 * hiss + 0.1 * rest, target + rest
    once, often = (
        perceptual(**dict(zip(("reference", "estimate", "mixture"), signals, strict=True)), rate=16_000)
        for signals in (parts, [part.repeat(1, 4) for part in parts])
    )
    assert [float(axis) for axis in often] == pytest.approx([float(axis) for axis in once], abs=0.1)


@pytest.mark.parametrize("lag", [-637, -160, 0, 33, 640])
def test_a_delay_is_found_to_the_sample(lag: int) -> None:
    sound = prepare_signal(synthetic(rate=RATE)[0], RATE, 1.0)
    moved = np.roll(sound, lag, axis=1)
    aligned, found = Aligner(sound)(-moved)
    assert found == lag
    inner = slice(700, -700)
    assert np.array_equal(aligned[:, inner], -sound[:, inner])


def test_energy_of_a_tone_lies_in_its_band() -> None:
    """1 kHz has the ERB number 15.6; the bands have 3.4 … 34.7."""
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)[None]
    energies = excitation(tone).mean(axis=0)
    number = 21.4 * np.log10(4.37 + 1)
    lowest, highest = (21.4 * np.log10(4.37e-3 * hertz + 1) for hertz in (80, 14_000))
    assert int(energies.argmax()) == round((number - lowest) / (highest - lowest) * 35)
    assert excitation(np.ones((1, RATE), np.float32)).max() < 1e-6 * energies.max()  # an offset is not heard
    assert loudness(np.array([1.0])) / loudness(np.array([0.1])) == pytest.approx(2, rel=0.05)  # 10 dB: twice


def test_refusals() -> None:
    sound = torch.ones(1, 16_000)
    with pytest.raises(UsageError, match="one shape"):
        perceptual(reference=sound, estimate=sound[:, 1:], mixture=sound, rate=16_000)
    with pytest.raises(UsageError, match=r"at least 0\.2 s"):
        perceptual(reference=sound, estimate=sound, mixture=sound, rate=96_000)
    silent = perceptual(reference=0 * sound, estimate=sound, mixture=sound, rate=16_000)
    broken = perceptual(reference=sound, estimate=sound, mixture=sound, residual=sound * float("nan"), rate=16_000)
    assert all(torch.isnan(axis) for axis in (*silent, *broken))


HOSTILE = {
    "noise": torch.randn(1, 8000, generator=torch.Generator().manual_seed(5)),
    "click": torch.eye(1, 8000),
    "constant": torch.ones(1, 8000),
    "tone": torch.sin(torch.arange(8000) / 16_000 * 2 * torch.pi * 440)[None],
    "inaudibly high": torch.sin(torch.arange(8000) * 3.1)[None],
    "tiny": 1e-30 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(6)),
    "huge": 1e30 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(7)),
    "silence": torch.zeros(1, 8000),
}


@pytest.mark.parametrize("target", [name for name in HOSTILE if name != "silence"])
def test_hostile_signals_stay_on_the_scale(target: str) -> None:
    """Whatever is asked for, mixed and answered, without a warning."""
    for rest in HOSTILE.values():
        for answer in HOSTILE.values():
            signals = {"reference": HOSTILE[target], "estimate": answer, "mixture": HOSTILE[target] + rest}
            assert all(1 <= float(axis) <= 5 for axis in perceptual(**signals, rate=16_000))


def rated(answer: Tensor, target: Tensor, rest: Tensor, *, stereo: str = "joint", residual: bool = True) -> list[float]:
    query = Query(mixture=Audio(target + rest, 16_000), prompt=Prompt(text="dog"))
    known = Audio(rest, 16_000) if residual else None
    item = Item(id="a", group="a", query=query, reference=Audio(target, 16_000), residual_reference=known)
    (row,) = Perceptual(stereo).score([item], [Separation(target=Audio(answer, 16_000), residual=Audio(rest, 16_000))])
    assert all(score is not None and score.value is not None for score in row)
    return [score.value for score in row if score is not None and score.value is not None]


class TestMetric:
    """Channels, residuals and statuses."""

    @pytest.mark.parametrize("stereo", ["joint", "mean", "mono"])
    def test_two_equal_channels_are_one(self, stereo: str) -> None:
        target, rest, hiss = synthetic()
        answer = target + 0.1 * hiss + 0.2 * rest
        alone = rated(answer, target, rest)
        both = rated(*(part.repeat(2, 1) for part in (answer, target, rest)), stereo=stereo)
        assert both == pytest.approx(alone, abs=1e-3)

    def test_policies_differ_where_channels_do(self) -> None:
        target, rest, _ = synthetic(channels=2)
        answer = torch.stack([target[0], target[1] + rest[1]])
        joint, mean = (rated(answer, target, rest, stereo=stereo)[2] for stereo in ("joint", "mean"))
        assert mean == pytest.approx((5 + rated(answer[1:], target[1:], rest[1:])[2]) / 2, abs=1e-3)
        assert joint != pytest.approx(mean, abs=0.01)

    def test_without_a_residual_the_rest_is_the_mixture_less_the_reference(self) -> None:
        target, rest, _ = synthetic()
        rest = rest - target * float((target * rest).sum() / target.square().sum())
        answer = target + 0.3 * rest
        without = rated(answer, target, rest, residual=False)
        assert without == pytest.approx(rated(answer, target, rest), abs=1e-3)

    def test_perfect_and_silent(self) -> None:
        target, rest, _ = synthetic()
        for answer, status in ((target, Status.PERFECT), (0 * target, Status.SILENT_ESTIMATE)):
            query = Query(mixture=Audio(target + rest, 16_000), prompt=Prompt(text="dog"))
            item = Item(id="a", group="a", query=query, reference=Audio(target, 16_000))
            (row,) = Perceptual().score(
                [item], [Separation(target=Audio(answer, 16_000), residual=Audio(rest, 16_000))]
            )
            assert {score.status for score in row if score} <= {status, Status.OK}
            assert row[0] is not None
            assert row[0].value == pytest.approx(5 if status is Status.PERFECT else 1, abs=1e-4)


@pytest.mark.parametrize("decibels", [0, -20, -40, -50, -70])
def test_perfect_is_perfect_beside_however_soft_a_rest(decibels: float) -> None:
    """The rest is gone from the answer: that must not look like a rest turned up."""
    target, rest, rate = scene("instr-wild-02")
    for other in (rest, noise(target)):
        softer = 10 ** (decibels / 20) * other
        assert min(PerceptualReference(target, target + softer, rate, softer).rate(target)) > 4.99
