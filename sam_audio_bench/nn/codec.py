"""DAC-VAE: the autoencoder of SAM Audio, 48 kHz audio to 25 frames of 128 numbers per second and back, watermarked.

The networks are those of the Descript Audio Codec (Kumar et al., NeurIPS 2023) with a Gaussian bottleneck in place of
the quantiser; encoding gives its mean. Both directions run over pieces of the signal (`sam_audio_bench.nn.streaming`),
so that memory does not grow with length and activations stay in the cache.

Letters: B batch, C channels, T samples, F frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.nn.config import CodecConfig
from sam_audio_bench.nn.streaming import Convolution, ResidualUnit, Snake, Stream, TransposedConvolution, fold
from sam_audio_bench.nn.watermark import BITS, Watermark, WatermarkUnit, watermark_strides

__all__ = ["CHUNK_FRAMES", "DACVAE", "reflect_pad"]

CHUNK_FRAMES = 50
"""Latent frames per chunk: few enough to save memory, enough for efficient matrix products with the largest kernels."""

_BUDGET = 2**20  # elements per slice of an activation: 4 MiB in float32; smaller is no faster, larger exceeds the cache
_DILATIONS = (1, 3, 9)


def reflect_pad(waveform: Tensor, multiple: int) -> Tensor:
    """Pads ``[..., T]`` on the right to a multiple of ``multiple`` samples by reflection about the last one.

    A signal too short for one reflection is reflected repeatedly at both ends; a single sample is repeated. Raises
    UsageError for an empty signal.
    """
    length = waveform.shape[-1]
    if not length:
        raise UsageError("expected a waveform of at least one sample, found none")
    missing = -length % multiple
    if not missing:
        return waveform
    period = max(1, 2 * (length - 1))
    place = torch.arange(length, length + missing, device=waveform.device) % period
    return torch.cat([waveform, waveform[..., torch.minimum(place, period - place)]], dim=-1)


class EncoderBlock(nn.Module):
    """Three residual units, Snake and a convolution that divides the rate by ``stride`` and doubles the channels."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels = channels
        units = [ResidualUnit(channels, dilation) for dilation in _DILATIONS]
        down = Convolution(channels, 2 * channels, 2 * stride, stride=stride)
        self.block = nn.ModuleList([*units, Snake(channels), down])

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        """``[B, T, C] -> [B, T / stride, 2 C]``."""
        return stream.sliced(self._slice, x, self.channels)

    def _slice(self, x: Tensor, stream: Stream) -> Tensor:
        *units, snake, down = self.block
        for unit in units:
            x = unit(x, stream)
        found: Tensor = down(snake(x), stream)
        return found


class Encoder(nn.Module):
    """Waveform to latent."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        widths = [config.encoder_dim << index for index in range(len(config.encoder_rates) + 1)]
        blocks = [EncoderBlock(width, rate) for width, rate in zip(widths, config.encoder_rates, strict=False)]
        last = [Snake(widths[-1]), Convolution(widths[-1], config.latent_dim, 3)]
        self.block = nn.ModuleList([Convolution(1, widths[0], 7), *blocks, *last])

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        """``[B, T, 1] -> [B, T / hop, latent_dim]``."""
        for layer in self.block:
            x = layer(x) if isinstance(layer, Snake) else layer(x, stream)
        return x


class DecoderBlock(nn.Module):
    """Snake, transposed convolution with a ``stride``, residual units, and layers of the watermark."""

    def __init__(self, inputs: int, outputs: int, stride: int, mark_stride: int) -> None:
        super().__init__()
        self.width = outputs * stride
        self.mark_width, self.mark_stride = outputs // 3, mark_stride
        before, after, size = inputs // 3, outputs // 3, 2 * mark_stride
        first, second, third = (ResidualUnit(outputs, dilation) for dilation in _DILATIONS)
        self.block = nn.ModuleDict(
            {
                "0": Snake(inputs),
                "1": TransposedConvolution(inputs, outputs, stride=stride),
                "3": TransposedConvolution(before, after, stride=mark_stride, causal=True, weight_norm=False),
                "4": first,
                "5": second,
                "6": WatermarkUnit(after, outputs // 6),
                "7": WatermarkUnit(after, outputs // 6),
                "8": third,
                "11": Convolution(after, before, size, stride=mark_stride, causal=True, weight_norm=False),
            }
        )

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        """``[B, T, inputs] -> [B, T * stride, outputs]``."""
        return stream.sliced(self._main, x, self.width)

    def down(self, x: Tensor, stream: Stream) -> Tensor:
        """Part of the watermark's encoder: ``[B, T, outputs / 3] -> [B, T / mark_stride, inputs / 3]``."""
        return stream.sliced(self._down, x, self.mark_width)

    def up(self, x: Tensor, stream: Stream) -> Tensor:
        """Part of the watermark's decoder: ``[B, T, inputs / 3] -> [B, T * mark_stride, outputs / 3]``."""
        return stream.sliced(self._up, x, self.mark_width * self.mark_stride)

    def _main(self, x: Tensor, stream: Stream) -> Tensor:
        x = self.block["1"](self.block["0"](x), stream)
        for name in ("4", "5", "8"):
            x = self.block[name](x, stream)
        return x

    def _down(self, x: Tensor, stream: Stream) -> Tensor:
        found: Tensor = self.block["11"](F.elu(self.block["7"](x, stream), inplace=True), stream)
        return found

    def _up(self, x: Tensor, stream: Stream) -> Tensor:
        found: Tensor = self.block["6"](self.block["3"](F.elu(x), stream), stream)
        return found


class Decoder(nn.Module):
    """Latent to watermarked waveform."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        rates, count = config.decoder_rates, len(config.decoder_rates)
        widths = [config.decoder_dim >> index for index in range(count + 1)]
        if math.prod(rates) != config.hop_length or widths[-1] < 6:
            raise Precondition(
                f"expected decoder_rates of product {config.hop_length} and a decoder_dim of at least {6 << count}, "
                f"found {rates} and {config.decoder_dim}; correct config.json"
            )
        sizes = zip(pairwise(widths), rates, watermark_strides(count, config.hop_length), strict=True)
        blocks = [DecoderBlock(*pair, stride, mark) for pair, stride, mark in sizes]
        self.model = nn.ModuleList([Convolution(config.latent_dim, widths[0], 7), *blocks])
        self.wm_model = Watermark(widths[-1], widths[0] // 3, widths[-1] // 3)

    def forward(self, x: Tensor, message: Tensor, stream: Stream) -> tuple[Tensor, Tensor]:
        """``[B, F, latent_dim]``, bits ``[B, 16]`` -> clean waveform ``[B, F * hop, 1]``, and available watermark."""
        for layer in self.model:
            x = layer(x, stream)
        clean = self.wm_model.clean(x, stream)
        blocks = [cast(DecoderBlock, block) for block in self.model[1:]]
        return clean, self.wm_model.mark(clean, message, blocks, stream)


class Bottleneck(nn.Module):
    """Latent to mean and scale (the latter unused) of ``codebook_dim`` channels, and back."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.in_proj = Convolution(config.latent_dim, 2 * config.codebook_dim, 1)
        self.out_proj = Convolution(config.codebook_dim, config.latent_dim, 1)


class DACVAE(nn.Module):
    """The DAC-VAE codec; parameters have the names of the released checkpoints.

    Args:
        config: widths and rates.
        decoder: False omits the decoder, as in the judge's checkpoint.

    Raises:
        Precondition: rates and widths are incompatible with the decoder.
    """

    def __init__(self, config: CodecConfig, *, decoder: bool = True) -> None:
        super().__init__()
        self.config = config
        self.hop_length = config.hop_length
        self.sample_rate = config.sample_rate
        self.encoder = Encoder(config)
        self.quantizer = Bottleneck(config)
        self.decoder = Decoder(config) if decoder else None

    def fold_weight_norm(self) -> None:
        """Replaces the stored kernels by normalised ones, in place; see `sam_audio_bench.nn.streaming.fold`."""
        fold(self)

    def encode(self, waveform: Tensor, *, chunk_frames: int | None = CHUNK_FRAMES) -> Tensor:
        """Encodes a waveform as the mean of its latent.

        Args:
            waveform: ``[B, 1, T]`` at ``sample_rate``; padded by `reflect_pad` to whole frames.
            chunk_frames: frames in memory at once; None: all.

        Returns:
            ``[B, codebook_dim, ceil(T / hop_length)]``. With an odd rate in ``encoder_rates`` there are fewer frames,
            as in the released code.

        Raises:
            UsageError: the shape differs, there are no samples or too few for odd rates, or a chunk has no frame.
        """
        if waveform.ndim != 3 or waveform.shape[1] != 1 or not waveform.is_floating_point():
            found = f"{waveform.dtype} {tuple(waveform.shape)}"
            raise UsageError(f"expected a float waveform [batch, 1, time], found {found}")
        padded, latents = reflect_pad(waveform, self.hop_length), []
        for piece, stream in _pieces(padded, chunk_frames, self.hop_length):
            both = self.quantizer.in_proj(self.encoder(piece, stream), stream)
            latents.append(both[..., : self.config.codebook_dim])
        mean = torch.cat(latents, dim=1).mT.contiguous()
        if not mean.shape[2]:
            raise UsageError(
                f"expected a waveform of which odd rates {self.config.encoder_rates} leave a frame, found one of "
                f"{waveform.shape[2]} samples; take a longer one"
            )
        return mean

    def decode(self, latent: Tensor, message: Tensor, *, chunk_frames: int | None = CHUNK_FRAMES) -> Tensor:
        """Decodes a latent to a waveform, watermarked with a message.

        Args:
            latent: ``[B, codebook_dim, F]``.
            message: bits ``[B, 16]``, 0 or 1.
            chunk_frames: frames in memory at once; None: all.

        Returns:
            ``[B, 1, F * hop_length]``.

        Raises:
            UsageError: the shape differs, there is no frame or no decoder, the message is not made of bits, or a chunk
                has no frame.
        """
        if self.decoder is None:
            raise UsageError("expected a codec with a decoder, found one without; make it with decoder=True")
        self._check(latent, message)
        cleans, marks = [], []
        for piece, stream in _pieces(latent, chunk_frames, 1):
            clean, mark = self.decoder(self.quantizer.out_proj(piece, stream), message, stream)
            cleans.append(clean)
            marks.append(mark)
        return (torch.cat(cleans, dim=1) + torch.cat(marks, dim=1)).mT

    def feature_to_wav(self, index: int, rate: int | None = None) -> int:
        """Returns the first sample, at ``rate`` Hz (None: the codec's), of a latent frame; rounded down."""
        return index * self.hop_length * (rate or self.sample_rate) // self.sample_rate

    def wav_to_feature(self, index: int, rate: int | None = None) -> int:
        """Returns the number of latent frames for ``index`` samples at ``rate`` Hz (None: the codec's), rounded up."""
        return -(-index * self.sample_rate // ((rate or self.sample_rate) * self.hop_length))

    def _check(self, latent: Tensor, message: Tensor) -> None:
        width = self.config.codebook_dim
        if latent.ndim != 3 or latent.shape[1] != width or not latent.shape[2] or not latent.is_floating_point():
            found = f"{latent.dtype} {tuple(latent.shape)}"
            raise UsageError(f"expected a float latent [batch, {width}, frames] of at least one frame, found {found}")
        if message.shape != (latent.shape[0], BITS):
            raise UsageError(f"expected bits [{latent.shape[0]}, {BITS}] as message, found {tuple(message.shape)}")
        if not ((message == 0) | (message == 1)).all():
            raise UsageError("expected a message of zeros and ones, found other values")


def _pieces(x: Tensor, chunk_frames: int | None, unit: int) -> Iterator[tuple[Tensor, Stream]]:
    """Yields pieces ``[B, chunk_frames * unit, C]`` of ``x [B, C, T]``, and the `Stream` that connects them."""
    if chunk_frames is not None and chunk_frames < 1:
        raise UsageError(f"expected chunk_frames of at least 1 or None, found {chunk_frames}")
    stream = Stream(None if chunk_frames is None else _BUDGET)
    pieces = torch.split(x.mT, x.shape[-1] if chunk_frames is None else chunk_frames * unit, dim=1)
    for index, piece in enumerate(pieces, 1):
        stream.last = index == len(pieces)
        yield piece.contiguous(), stream
