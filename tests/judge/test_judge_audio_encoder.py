"""The listener: its log-mel energies against an oracle in NumPy, shapes, level, silence, batches, repeatability."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sam_audio_bench.judge.audio_encoder import (
    FRAME_SAMPLES,
    NUM_BANDS,
    RATE,
    AudioEncoder,
    AudioEncoderConfig,
    log_mel,
)

TINY = AudioEncoderConfig(channels=(4, 8, 8, 8, 8), blocks=(2, 1, 1, 1), width=6, events=5)


@pytest.fixture(scope="module")
def listener() -> AudioEncoder:
    torch.manual_seed(0)
    return AudioEncoder(TINY).eval().requires_grad_(False)


def noise(frames: int, batch: int = 1, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(batch, frames * FRAME_SAMPLES, generator=torch.Generator().manual_seed(seed))


def oracle(signal: np.ndarray) -> np.ndarray:
    """YAMNet's front end in float64, one window and one band at a time."""

    def mel(hertz: float) -> float:
        return 1127 * np.log(1 + hertz / 700)

    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    edges = np.linspace(mel(125), mel(7500), 66)
    padded = np.pad(signal.astype(np.float64), (120, 120))
    rows = []
    for start in range(0, len(signal), 160):
        magnitude = np.abs(np.fft.rfft(padded[start : start + 400] * window, 512))
        row = np.zeros(64)
        for band in range(64):
            low, peak, high = edges[band : band + 3]
            for index in range(1, 257):
                place = mel(index * 16_000 / 512)
                weight = min((place - low) / (peak - low), (high - place) / (high - peak))
                row[band] += max(0.0, weight) * magnitude[index]
        rows.append(np.log(row + 0.001))
    return np.array(rows)


def test_log_mel_is_that_of_the_oracle() -> None:
    time = np.arange(2 * FRAME_SAMPLES) / RATE
    signal = (0.3 * np.sin(2 * np.pi * 440 * time) + noise(2)[0].numpy()).astype(np.float32)
    found = log_mel(torch.from_numpy(signal)[None])
    assert found.shape == (1, 8, NUM_BANDS)
    np.testing.assert_allclose(found[0].numpy(), oracle(signal), atol=2e-4)


def test_a_tone_is_heard_in_its_band() -> None:
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(10 * FRAME_SAMPLES) / RATE)[None]
    rows = log_mel(tone)[0, 2:-2]
    centres = 700 * torch.expm1(
        torch.linspace(1127 * np.log1p(125 / 700), 1127 * np.log1p(7500 / 700), 66)[1:-1] / 1127
    )
    assert (rows.argmax(dim=1) == (centres - 1000).abs().argmin()).all()


def test_shapes(listener: AudioEncoder) -> None:
    for frames in (1, 3, 4, 9):
        heard = listener.encode(log_mel(noise(frames, batch=2)))
        assert heard.shape == (2, -(-frames // 4), 6)  # one for 160 ms, the last one padded
        assert listener.event_logits(heard).shape == (*heard.shape[:2], 5)
    assert not torch.equal(heard[0, 0], heard[1, 0])


def test_a_gain_moves_log_mel_by_its_logarithm() -> None:
    loud = noise(6)
    moved = log_mel(loud * 0.5) - log_mel(loud)
    assert moved.sub(np.log(0.5)).abs().max() < 0.05  # the floor matters a little
    assert log_mel(loud * 1e-6).sub(np.log(0.001)).abs().max() < 0.1


def test_silence_is_finite(listener: AudioEncoder) -> None:
    rows = log_mel(torch.zeros(1, 5 * FRAME_SAMPLES))
    torch.testing.assert_close(rows, torch.full_like(rows, np.log(0.001)))
    assert torch.isfinite(listener.encode(rows)).all()


def test_zeros_after_a_clip_change_no_row_but_its_last() -> None:
    clip = noise(5)
    alone, padded = (log_mel(values)[0] for values in (clip, torch.cat([clip, clip * 0], dim=1)))
    torch.testing.assert_close(padded[: len(alone)], alone)  # its window saw zeros there before
    torch.testing.assert_close(padded[len(alone) + 1 :], torch.full_like(padded[len(alone) + 1 :], np.log(0.001)))


def test_pieces_have_the_rows_of_the_whole() -> None:
    clip = noise(8)
    whole = log_mel(clip)
    piece = log_mel(clip[:, 2 * FRAME_SAMPLES : 6 * FRAME_SAMPLES])
    torch.testing.assert_close(piece[:, 1:-1], whole[:, 9:23])


@pytest.mark.bits
def test_batch_independence_and_repeatability(listener: AudioEncoder) -> None:
    clips = noise(9, batch=5)
    together = listener.encode(log_mel(clips))
    for row in range(5):
        alone = listener.encode(log_mel(clips[row : row + 1]))
        torch.testing.assert_close(alone[0], together[row], atol=1e-6, rtol=1e-5)
    assert torch.equal(listener.encode(log_mel(clips)), together)


@pytest.mark.bits
def test_training_mode_hears_the_same(listener: AudioEncoder) -> None:
    """There are no batch statistics and no dropout, so that a judge in training hears what it will hear later."""
    rows = log_mel(noise(4, batch=2))
    wanted = listener.encode(rows)
    listener.train()
    assert torch.equal(listener.encode(rows), wanted)
    listener.eval()


def test_size_of_the_shipped_listener() -> None:
    model = AudioEncoder()
    assert sum(parameter.numel() for parameter in model.parameters()) < 1.8e6
    assert model.state_dict().keys() == dict(model.named_parameters()).keys()
    assert model.config.step == 16


def test_a_config_that_is_none() -> None:
    with pytest.raises(ValueError, match="one more entry in channels and strides"):
        AudioEncoderConfig(channels=(4, 8), blocks=(1, 1), strides=(2, 2))
