"""The spectral metrics: statuses, stereo policies, what silence gets, and a library that is missing."""

from __future__ import annotations

import importlib.util
import math
import sys

import pytest
import torch
from metric_signals import answer, item, noise
from torch import Tensor

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.metrics.catalogue import CARDS
from sam_audio_bench.metrics.functional.spectral import mrstft
from sam_audio_bench.metrics.spectral import MRSTFT, LogWMSE
from sam_audio_bench.types import Score, Status

TARGET, REST = noise(2, 2, 8000)
SILENCE = torch.zeros_like(TARGET)
needs_library = pytest.mark.skipif(LogWMSE().missing() is not None, reason=LogWMSE().missing() or "")


def distance(reference: Tensor, given: Tensor, mixture: Tensor | None = None, **options: str) -> Score:
    """The one score of a `MRSTFT`."""
    mixture = TARGET + REST if mixture is None else mixture
    (score,) = MRSTFT(**options).score([item(reference, None, mixture)], [answer(given)])[0]
    assert score is not None
    return score


def test_mrstft_values() -> None:
    assert distance(TARGET, TARGET) == (0.0, Status.PERFECT)
    expected = float(mrstft(reference=TARGET, estimate=TARGET + 0.1 * REST))
    assert distance(TARGET, TARGET + 0.1 * REST) == (expected, Status.OK)
    better, worse = distance(TARGET, TARGET + 0.1 * REST).value, distance(TARGET, TARGET + REST).value
    assert better is not None
    assert worse is not None
    assert better < worse
    assert not CARDS["mrstft"].higher_is_better


def test_mrstft_statuses() -> None:
    assert distance(SILENCE, TARGET) == (None, Status.SILENT_REFERENCE)
    assert distance(SILENCE, SILENCE) == (None, Status.BOTH_SILENT)
    assert distance(TARGET, TARGET * math.nan) == (None, Status.NON_FINITE)
    assert distance(TARGET, TARGET[:, :-1]) == (None, Status.LENGTH_MISMATCH)
    short = TARGET[:, :1199]
    assert distance(short, short, short) == (None, Status.TOO_SHORT)
    assert MRSTFT().score([item(None, None, TARGET)], [answer(TARGET)]) == [(None,)]


def test_silence_never_beats_the_mixture() -> None:
    """Where the sound lasts, the formula says so; where it is rare, the mixture's value stands in."""
    status = Status.SILENT_ESTIMATE
    assert distance(TARGET, SILENCE) == (float(mrstft(reference=TARGET, estimate=SILENCE)), status)
    rare = TARGET.clone()
    rare[:, 1500:] = 0
    mixture = rare + REST
    baseline = distance(rare, mixture, mixture)
    assert float(mrstft(reference=rare, estimate=SILENCE)) < (baseline.value or 0)
    assert distance(rare, SILENCE, mixture) == (baseline.value, status)


def test_mrstft_stereo_policies() -> None:
    given = TARGET + torch.tensor([[0.1], [1.0]]) * REST
    channels = [distance(TARGET[[c]], given[[c]], TARGET[[c]]).value or 0 for c in range(2)]
    assert distance(TARGET, given, stereo="mean").value == pytest.approx(sum(channels) / 2, rel=1e-12)
    joint = distance(TARGET, given).value
    assert joint != pytest.approx(sum(channels) / 2, rel=1e-3)
    mono = distance(TARGET.mean(0, keepdim=True), given.mean(0, keepdim=True), TARGET.mean(0, keepdim=True))
    assert distance(TARGET, given, stereo="mono").value == pytest.approx(mono.value, rel=1e-12)
    half = TARGET * torch.tensor([[1.0], [0.0]])  # the silent channel of the reference is left out
    assert distance(half, given, stereo="mean").value == pytest.approx(channels[0], rel=1e-12)
    with pytest.raises(UsageError, match="expected stereo to be one of joint, mean, mono, found 'left'"):
        MRSTFT(stereo="left")


def test_parameters_are_recorded() -> None:
    assert MRSTFT(level="full_scale").options == {"stereo": "joint", "level": "full_scale"}
    assert LogWMSE(stereo="mono").options == {"stereo": "mono"}
    with pytest.raises(UsageError, match="expected level to be one of reference, full_scale, found 'peak'"):
        MRSTFT(level="peak")


def test_rows_do_not_depend_on_the_batch() -> None:
    items = [item(TARGET, REST), item(SILENCE, REST), item(REST, TARGET)]
    answers = [answer(TARGET + 0.5 * REST)] * 3
    metrics = [MRSTFT(), LogWMSE()] if LogWMSE().missing() is None else [MRSTFT()]
    for metric in metrics:
        together = metric.score(items, answers)
        assert together == [metric.score([one], [given])[0] for one, given in zip(items, answers, strict=True)]
        assert together[::-1] == metric.score(items[::-1], answers[::-1])


def weighted(reference: Tensor, given: Tensor, mixture: Tensor | None = None, stereo: str = "joint") -> Score:
    """The one score of a `LogWMSE`."""
    mixture = TARGET + REST if mixture is None else mixture
    (score,) = LogWMSE(stereo).score([item(reference, None, mixture)], [answer(given)])[0]
    assert score is not None
    return score


@needs_library
def test_log_wmse_values() -> None:
    ceiling = -4 * math.log(1e-8)
    assert weighted(TARGET, TARGET) == (pytest.approx(ceiling, abs=1e-4), Status.PERFECT)
    assert weighted(SILENCE, SILENCE) == (pytest.approx(ceiling, abs=1e-4), Status.BOTH_SILENT)
    # An error of g times the mixture scores -8 ln g, whatever the target; silence in place of the mixture scores 0.
    mixture = TARGET + REST
    for gain in (0.1, 0.5):
        expected = pytest.approx(-8 * math.log(gain), abs=1e-3)
        assert weighted(TARGET, TARGET + gain * mixture) == (expected, Status.OK)
        assert weighted(SILENCE, gain * mixture) == (expected, Status.OK)
    assert weighted(mixture, SILENCE) == (pytest.approx(0, abs=1e-3), Status.SILENT_ESTIMATE)


@needs_library
def test_silence_never_beats_the_mixture_in_log_wmse() -> None:
    """An error of the size of the target beats one of the size of a louder rest; the mixture's value stands in."""
    weak = 0.1 * TARGET
    mixture = weak + REST
    assert weighted(weak, 1e-6 * TARGET, mixture).value == pytest.approx(18, abs=3)
    baseline = weighted(weak, mixture, mixture)
    assert baseline.value == pytest.approx(0, abs=1)
    assert weighted(weak, SILENCE, mixture) == (baseline.value, Status.SILENT_ESTIMATE)


@needs_library
def test_log_wmse_statuses() -> None:
    assert weighted(TARGET, TARGET, SILENCE) == (None, Status.SILENT_REFERENCE)
    assert weighted(TARGET, TARGET * math.inf) == (None, Status.NON_FINITE)
    assert weighted(TARGET, TARGET[:, 1:]) == (None, Status.LENGTH_MISMATCH)
    empty = TARGET[:, :0]
    assert weighted(empty, empty, empty).value is None
    assert LogWMSE().score([item(None, None, TARGET)], [answer(TARGET)]) == [(None,)]


@needs_library
def test_log_wmse_ignores_the_level_and_silent_channels_of_the_mixture() -> None:
    """The library gives its best value to a channel whose mixture is silent, whatever is in the answer."""
    given, mixture = TARGET + 0.1 * REST, TARGET + REST
    expected = weighted(TARGET, given).value
    for gain in (1e-9, 1e3):
        assert weighted(gain * TARGET, gain * given, gain * mixture).value == pytest.approx(expected, abs=1e-4)
    left = torch.tensor([[1.0], [0.0]])
    alone = weighted(TARGET[:1], given[:1], mixture[:1])
    assert weighted(TARGET * left, given, mixture * left).value == pytest.approx(alone.value, abs=1e-4)


def test_log_wmse_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "log_wmse_audio_quality", None)
    assert importlib.util.find_spec("log_wmse_audio_quality") is None
    with pytest.raises(Precondition, match="log-wmse-audio-quality is not installed: pip install --no-deps log-wmse"):
        LogWMSE().score([item(TARGET, REST)], [answer(TARGET)])
