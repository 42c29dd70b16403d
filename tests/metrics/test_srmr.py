"""SRMR: the numbers of torchmetrics, and what rooms do to voices."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from metric_signals import noise
from scipy import signal
from torch import Tensor

import sam_audio_bench as sab
from sam_audio_bench.audio import resample
from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.functional import srmr
from sam_audio_bench.metrics.reverberation import SRMR
from sam_audio_bench.types import Audio, Item, Prompt, Query, Separation, Status

RATE = 16_000


@pytest.fixture(scope="module")
def voice() -> Tensor:
    """Three seconds ``[1, time]`` at 16 kHz."""
    reference = next(item.reference for item in sab.load_task("speech", split="mini") if item.reference is not None)
    return resample(reference, RATE).samples[:, RATE : 4 * RATE].double()


def filtered(x: Tensor, poles: Tensor, zeros: Tensor, *, clamp: bool = True, batching: bool = True) -> Tensor:
    """What torchaudio's ``lfilter`` does, by scipy."""
    assert batching
    every = zip(x.unbind(-2), poles.numpy(), zeros.numpy(), strict=True)
    found = torch.stack([torch.from_numpy(signal.lfilter(b, a, part.numpy())) for part, a, b in every], dim=-2)
    return found.clamp(-1, 1) if clamp else found


@pytest.mark.parametrize("rate", [8000, RATE, 48_000])
def test_srmr_equals_torchmetrics(rate: int, voice: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which needs two packages; of torchaudio, whose builds do not fit every torch, only ``lfilter``."""
    pytest.importorskip("gammatone.filters", reason="gammatone is not installed")
    import torchmetrics.functional.audio.srmr as theirs

    name = "torchaudio"
    for part in ("", ".functional", ".functional.filtering"):
        monkeypatch.setitem(sys.modules, name + part, ModuleType(name + part))
    monkeypatch.setattr(sys.modules[f"{name}.functional.filtering"], "lfilter", filtered, raising=False)
    monkeypatch.setattr(theirs, "_TORCHAUDIO_AVAILABLE", True)
    monkeypatch.setattr(theirs, "_GAMMATONE_AVAILABLE", True)
    heard = resample(Audio(voice[:, :RATE], RATE), rate).samples[0]
    for given in (heard, heard + 0.02 * noise(len(heard))):
        expected = float(theirs.speech_reverberation_modulation_energy_ratio(given, rate))
        assert float(srmr(estimate=given, rate=rate)) == pytest.approx(expected, rel=1e-9)


def test_stored_values_of_torchmetrics() -> None:
    """Of torchmetrics 1.9.0 with gammatone 1.0.3 and scipy's ``lfilter``, as above; needs neither."""
    times = torch.arange(RATE, dtype=torch.float64) / RATE
    sound = (1 + torch.sin(2 * torch.pi * 5 * times)) * torch.sin(2 * torch.pi * 440 * times) / 4
    assert float(srmr(estimate=sound, rate=RATE)) == pytest.approx(98.9453957861481, rel=1e-9)
    assert float(srmr(estimate=0.1 * noise(RATE), rate=RATE)) == pytest.approx(0.3079118009768712, rel=1e-9)


def test_slow_movements_are_speech_and_fast_ones_are_not() -> None:
    times = torch.arange(2 * RATE, dtype=torch.float64) / RATE
    carrier = torch.sin(2 * torch.pi * 500 * times)
    ratios = [
        float(srmr(estimate=(1 + torch.sin(2 * torch.pi * hertz * times)) * carrier, rate=RATE))
        for hertz in (4, 10, 70)
    ]
    assert ratios[0] > ratios[1] > 5 > 1 > ratios[2]


def test_a_room_lowers_it(voice: Tensor) -> None:
    """Exponential decays of noise, as rooms have them: the longer, the lower."""
    decay = torch.arange(RATE) / RATE
    ratios = [float(srmr(estimate=voice[0], rate=RATE))]
    for seconds in (0.3, 0.9):  # to fall by 60 dB
        room = noise(RATE).numpy() * 10 ** (-3 * decay.numpy() / seconds)
        wet = signal.fftconvolve(voice[0].numpy(), room)[: voice.shape[1]]
        ratios.append(float(srmr(estimate=torch.from_numpy(wet), rate=RATE)))
    assert ratios[0] > ratios[1] > ratios[2]


def test_level_polarity_shapes_and_errors(voice: Tensor) -> None:
    part = voice[0, :RATE]
    several = torch.stack([part, -part, 1e-6 * part, 1e6 * part]).reshape(2, 2, -1)
    before = several.clone()
    found = srmr(estimate=several, rate=RATE)
    assert found.shape == (2, 2)
    assert found.dtype == torch.float64
    assert found.flatten().tolist() == pytest.approx([float(found[0, 0])] * 4, rel=1e-9)
    assert torch.equal(several, before)
    assert bool(srmr(estimate=torch.zeros(RATE), rate=RATE).isnan())
    with pytest.raises(UsageError, match=r"at least 0.256 s above 256 Hz, found \[4095\] at 16000 Hz"):
        srmr(estimate=part[:4095], rate=RATE)
    with pytest.raises(UsageError, match="at 200 Hz"):
        srmr(estimate=part, rate=200)


def test_statuses(voice: Tensor) -> None:
    def score(given: Tensor, reference: Tensor | None = None) -> object:
        query = Query(mixture=Audio(voice, RATE), prompt=Prompt(text="a voice"))
        item = Item(id="a", group="a", query=query, reference=None if reference is None else Audio(reference, RATE))
        (row,) = SRMR().score([item], [Separation(target=Audio(given, RATE), residual=Audio(given, RATE))])
        return row[0]

    clean = srmr(estimate=voice[0], rate=RATE)
    assert score(voice) == (float(clean), Status.OK)
    assert score(voice, voice) == (float(clean), Status.OK)
    assert score(0 * voice, voice) == (0.0, Status.SILENT_ESTIMATE)
    assert score(voice, 0 * voice) == (None, Status.SILENT_REFERENCE)
    assert score(voice[:, :4000]) == (None, Status.TOO_SHORT)
    assert score(voice * np.nan) == (None, Status.NON_FINITE)
    assert SRMR().missing() is None
    assert SRMR().options == {}
