"""The multi-resolution STFT distance as a function: auraloss's values, closed forms, invariances, errors."""

from __future__ import annotations

import importlib.util
import json
import math
import runpy
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_signals import noise

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.functional.spectral import LEVELS, MIN_SAMPLES, mrstft

GOLDEN = Path(__file__).parents[1] / "golden"
STORED = json.loads((GOLDEN / "mrstft.json").read_text(encoding="utf-8"))
SIGNALS = runpy.run_path(str(GOLDEN / "make_mrstft.py"))["signals"]()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", STORED)
def test_equals_stored_values_of_auraloss(name: str, level: str) -> None:
    reference, estimate = SIGNALS[name]
    found = float(mrstft(reference=reference, estimate=estimate, level=level))
    assert found == pytest.approx(STORED[name][level], abs=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("auraloss") is None, reason="auraloss is not installed")
@pytest.mark.parametrize("channels", [1, 2])
def test_equals_auraloss(channels: int) -> None:
    """Noise with a pause, quiet and loud: auraloss as it is, and given what our default normalises to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from auraloss.freq import MultiResolutionSTFTLoss

    loss = MultiResolutionSTFTLoss()
    for gain in (1e-6, 1e-3, 1.0):
        reference = gain * noise(channels, 9000)
        reference[:, 3000:6000] = 0
        estimate = reference + 0.1 * gain * noise(channels, 9000, seed=1)
        rms = reference.square().mean().sqrt()
        ours = [float(mrstft(reference=reference, estimate=estimate, level=level)) for level in LEVELS]
        theirs = [float(loss(estimate[None] / level, reference[None] / level)) for level in (rms, 1.0)]
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_closed_forms() -> None:
    """A gain g gives |1 - g| + |ln g|; polarity does not count; no difference is exactly 0."""
    signal = noise(1, 8000)
    for gain in (0.5, -2.0):
        expected = abs(1 - abs(gain)) + abs(math.log(abs(gain)))
        assert float(mrstft(reference=signal, estimate=gain * signal)) == pytest.approx(expected, abs=1e-9)
    assert float(mrstft(reference=signal, estimate=signal)) == 0
    assert float(mrstft(reference=signal, estimate=-signal)) == 0


@settings(max_examples=20, deadline=None)
@given(exponent=st.floats(-9, 3), seed=st.integers(0, 1000))
def test_scaling_both_changes_nothing(exponent: float, seed: int) -> None:
    """With the level of the reference; digital silence inside included."""
    reference, estimate = noise(2, 1, 4000, seed=seed)
    reference[:, 1000:2500] = 0
    expected = mrstft(reference=reference, estimate=estimate)
    found = mrstft(reference=reference * 10**exponent, estimate=estimate * 10**exponent)
    assert found == pytest.approx(float(expected), rel=1e-9)


def test_quiet_signals_count_as_equal_at_full_scale() -> None:
    """The trap of the fixed floor, and why it is no default."""
    reference, estimate = 1e-7 * noise(2, 1, 4000)
    assert float(mrstft(reference=reference, estimate=estimate, level="full_scale")) == 0
    assert float(mrstft(reference=reference, estimate=estimate)) > 1


def test_batch_channels_precision_and_inputs() -> None:
    reference, estimate = noise(2, 3, 2, 4000)
    before = estimate.clone()
    together = mrstft(reference=reference, estimate=estimate)
    alone = [float(mrstft(reference=r, estimate=e)) for r, e in zip(reference, estimate, strict=True)]
    assert together.tolist() == pytest.approx(alone, rel=1e-12)
    swapped = mrstft(reference=reference.flip(1), estimate=estimate.flip(1))
    assert together.tolist() == pytest.approx(swapped.tolist(), rel=1e-12)
    single = mrstft(reference=reference.float(), estimate=estimate.float())
    assert single.dtype == torch.float64
    assert together.tolist() == pytest.approx(single.tolist(), rel=1e-5)
    assert torch.equal(estimate, before)


def test_blocks_of_frames_are_one_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, estimate = noise(2, 1, 6000)
    expected = float(mrstft(reference=reference, estimate=estimate))
    monkeypatch.setattr("sam_audio_bench.metrics.functional.spectral._BLOCK", 5000)
    assert float(mrstft(reference=reference, estimate=estimate)) == pytest.approx(expected, rel=1e-12)


def test_undefined_is_nan() -> None:
    signal = noise(1, 2000)
    broken = signal.clone()
    broken[0, 5] = math.nan
    cases = [(torch.zeros_like(signal), signal), (broken, signal), (signal, broken)]
    assert all(math.isnan(float(mrstft(reference=truth, estimate=given))) for truth, given in cases)


def test_errors() -> None:
    signal = noise(1, MIN_SAMPLES)
    mrstft(reference=signal, estimate=signal)
    with pytest.raises(UsageError, match=r"time at least 1200, found \[1, 1199\] and \[1, 1199\]"):
        mrstft(reference=signal[:, 1:], estimate=signal[:, 1:])
    with pytest.raises(UsageError, match=r"expected both of one shape"):
        mrstft(reference=signal, estimate=signal[0])
    with pytest.raises(UsageError, match="expected level to be one of reference, full_scale, found 'peak'"):
        mrstft(reference=signal, estimate=signal, level="peak")
