"""Audio encoder of a small judge: log-mel spectrogram, and embeddings from which sound events are predicted.

The front end is that of YAMNet (64 HTK-mel bands from 125 to 7500 Hz, 25 ms windows every 10 ms), and the convolutions
are depthwise separable as in MobileNet (Howard et al., 2017). They are not causal: an embedding covers 160 ms and has
a receptive field of 1.3 s on either side of its centre.

Letters: B batch, T samples, F frames of 40 ms, R rows of 10 ms, E width of the embedding, N events.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_audio_bench.nn.config import Config

__all__ = [
    "FLOOR",
    "FRAME_SAMPLES",
    "NUM_BANDS",
    "RATE",
    "ROWS_PER_FRAME",
    "AudioEncoder",
    "AudioEncoderConfig",
    "log_mel",
    "mel_rows",
    "spectra",
]  # fmt: skip

RATE = 16_000
"""Sampling rate of the input in Hz."""

FRAME_SAMPLES = 640
"""Samples per frame."""

NUM_BANDS = 64
"""Mel bands per row."""

ROWS_PER_FRAME = 4
"""Rows per frame."""

FLOOR = 1e-3
"""Magnitude that is added before the logarithm, as in YAMNet."""

_ROW, _WINDOW, _FFT = FRAME_SAMPLES // ROWS_PER_FRAME, 400, 512  # samples
_LOW, _HIGH = 125.0, 7500.0  # Hz


@dataclass(frozen=True, kw_only=True)
class AudioEncoderConfig(Config):
    """Architecture of `AudioEncoder`: a stem, and stages of convolutions that each begin with a stride.

    Attributes:
        channels: of the stem and of the stages.
        blocks: depthwise separable convolutions per stage, including the strided one.
        strides: of the stem and the stages, in time; all halve the number of bands.
        width: of the embedding.
        events: number of sound events that are predicted from it.
    """

    channels: tuple[int, ...] = (24, 64, 128, 256, 512)
    blocks: tuple[int, ...] = (2, 3, 4, 3)
    strides: tuple[int, ...] = (2, 2, 2, 2, 1)
    width: int = 256
    events: int = 521

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.strides) == len(self.blocks) + 1:
            raise ValueError(f"expected one more entry in channels and strides (the stem) than in blocks, found {self}")
        if self.step % ROWS_PER_FRAME:
            raise ValueError(f"expected strides whose product is a multiple of {ROWS_PER_FRAME}, found {self.strides}")

    @property
    def step(self) -> int:
        """Rows per embedding."""
        return math.prod(self.strides)


class AudioEncoder(nn.Module):
    """A sound-event tagger small enough to encode mixture, estimate and residual on one core.

    The input is not normalised: its level matters; full scale is ±1.
    """

    def __init__(self, config: AudioEncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AudioEncoderConfig()
        layers: list[nn.Module] = [_stem(config.channels[0], config.strides[0])]
        for stage, count in enumerate(config.blocks):
            before, after = config.channels[stage : stage + 2]
            layers += [DepthwiseSeparableConv(before, after, (config.strides[stage + 1], 2))]
            layers += [DepthwiseSeparableConv(after, after, (1, 1)) for _ in range(count - 1)]
        self.layers = nn.Sequential(*layers)
        self.embed = nn.Linear(config.channels[-1], config.width)
        self.tags = nn.Linear(config.width, config.events)

    def encode(self, rows: Tensor) -> Tensor:
        """Returns embeddings of log-mel rows: ``[B, R, 64] -> [B, ceil(R / 16), E]``; silence pads the last one."""
        rows = F.pad(rows, (0, 0, 0, -rows.shape[1] % self.config.step), value=math.log(FLOOR))
        maps = self.layers(rows[:, None].contiguous(memory_format=torch.channels_last))
        found: Tensor = self.embed(maps.mean(dim=3).transpose(1, 2))
        return found

    def event_logits(self, embedding: Tensor) -> Tensor:
        """Returns logits of sound events in YAMNet's order, ``[..., E] -> [..., N]``; a sigmoid gives probabilities."""
        found: Tensor = self.tags(embedding)
        return found


class DepthwiseSeparableConv(nn.Module):
    """Depthwise separable convolution, with a skip connection if shapes allow it."""

    def __init__(self, before: int, after: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(before, before, 3, stride=stride, padding=1, groups=before)
        self.pointwise = nn.Conv2d(before, after, 1)
        self.skips = before == after and stride == (1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """``[B, before, rows, bands] -> [B, after, rows / stride, bands / stride]``."""
        found = F.relu(self.pointwise(F.relu(self.depthwise(maps))))
        return maps + found if self.skips else found


def _stem(channels: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, channels, 5, stride=(stride, 2), padding=2), nn.ReLU())


def log_mel(values: Tensor) -> Tensor:
    """Returns natural logarithms of mel magnitudes: float32 ``[B, T] -> [B, T / 160, 64]``, T a multiple of 160."""
    return mel_rows(spectra(values).abs())


def spectra(values: Tensor) -> Tensor:
    """Returns short-time spectra, complex64: ``[B, T] -> [B, T / 160, 257]``, T a multiple of 160.

    Windows are centred on their rows. The signal is padded with silence, so that zeros after a clip change only the one
    row whose window reaches into them.
    """
    edge = (_FFT - _ROW) // 2
    window = torch.hann_window(_WINDOW, device=values.device)
    found: Tensor = torch.stft(
        F.pad(values, (edge, edge)), _FFT, _ROW, _WINDOW, window=window, center=False, return_complex=True
    )
    return found.transpose(1, 2)


def mel_rows(magnitudes: Tensor, *, floor: float = FLOOR) -> Tensor:
    """Returns log-mel magnitudes ``[B, R, 257] -> [B, R, 64]`` above a floor; without the logarithm if it is 0."""
    found: Tensor = magnitudes @ _mel_bands().to(magnitudes.device)
    return (found + floor).log() if floor else found


@lru_cache(maxsize=1)
def _mel_bands() -> Tensor:
    """Returns triangular filters on the HTK mel scale, ``[257, 64]``, with peaks of 1 and no DC bin, as in YAMNet."""
    with torch.inference_mode(False):  # the cached tensor must also work where gradients are computed
        mel = _mel(torch.linspace(0, RATE / 2, _FFT // 2 + 1, dtype=torch.float64))[:, None]
        ends = _mel(torch.tensor([_LOW, _HIGH], dtype=torch.float64))
        edges = torch.linspace(float(ends[0]), float(ends[1]), NUM_BANDS + 2, dtype=torch.float64)
        rise = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
        fall = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
        found = torch.minimum(rise, fall).clamp(min=0)
        found[0] = 0
        return found.float()


def _mel(hertz: Tensor) -> Tensor:
    return 1127 * torch.log1p(hertz / 700)
