"""The watermark that the released decoder embeds in every waveform: AudioSeal (San Roman et al., ICML 2024), 16 bits.

A causal encoder reduces the clean waveform to 150 steps per second (at 48 kHz), the message is added, and a causal
decoder returns to the sampling rate; its output, scaled by a quarter, is added to the clean waveform. The blocks of
both are parts of the blocks of the main decoder: the encoder runs through them from the last to the first.

Letters: B batch, T time, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_audio_bench.errors import Precondition
from sam_audio_bench.nn.streaming import Convolution, Snake, Stream

__all__ = ["BITS", "Watermark", "WatermarkBlock", "WatermarkUnit", "watermark_strides"]

BITS = 16
"""Number of bits of a message."""

_STRIDES = (8, 5, 4, 2)


def watermark_strides(blocks: int, hop: int) -> tuple[int, ...]:
    """Returns the strides of the watermark's blocks, for a decoder of ``blocks`` blocks and ``hop`` samples per frame.

    Raises:
        Precondition: there are more blocks than strides, or their product does not divide the hop.
    """
    strides = _STRIDES[:blocks]
    if len(strides) < blocks or hop % math.prod(strides):
        raise Precondition(
            f"expected at most {len(_STRIDES)} decoder_rates and a hop divisible by {math.prod(strides)}, the strides "
            f"of the watermark, found {blocks} and {hop}; correct config.json"
        )
    return strides


class WatermarkBlock(Protocol):
    """The watermark's layers of one block of the main decoder."""

    def down(self, x: Tensor, stream: Stream) -> Tensor:
        """``[B, T, C] -> [B, T / stride, C']``."""
        ...

    def up(self, x: Tensor, stream: Stream) -> Tensor:
        """``[B, T, C'] -> [B, T * stride, C]``."""
        ...


class WatermarkUnit(nn.Module):
    """x + conv1(elu(conv3(elu(x)))), causal."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        first = Convolution(channels, hidden, 3, causal=True, weight_norm=False)
        self.block = nn.ModuleDict({"1": first, "3": Convolution(hidden, channels, 1, weight_norm=False)})

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        """``[B, T, C] -> [B, T, C]``."""
        window = stream.window(self, x, left=2, right=0, size=3)
        if not window.shape[1]:
            return window
        first, second = (cast(Convolution, layer) for layer in self.block.values())
        y = F.elu(first.within(F.elu(window), stream), inplace=True)
        return second.within(y, stream).add_(window[:, 2:])


class _Recurrence(nn.Module):
    """x + LSTM(x), two layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, num_layers=2, batch_first=True)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        if not x.shape[1]:
            return x
        state = stream.state(self)
        output, state = self.lstm(x, state)
        stream.keep(self, state)
        found: Tensor = x + output
        return found


class _Message(nn.Module):
    """One embedding for each value of each bit, summed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.msg_processor = nn.Embedding(2 * BITS, channels)

    def forward(self, message: Tensor) -> Tensor:
        rows = 2 * torch.arange(BITS, device=message.device) + message.long()
        found: Tensor = self.msg_processor(rows).sum(dim=1, keepdim=True)
        return found


class _Half(nn.Module):
    """Layers before and after the blocks of the main decoder."""

    def __init__(self, pre: list[nn.Module], post: dict[str, nn.Module]) -> None:
        super().__init__()
        self.pre = nn.ModuleList(pre)
        self.post = nn.ModuleDict(post)


class Watermark(nn.Module):
    """Computes the clean waveform, and its watermark for a message.

    Args:
        inputs: channels of the main decoder's last block.
        width: channels at 150 steps per second.
        marks: channels at the sampling rate.
    """

    def __init__(self, inputs: int, width: int, marks: int) -> None:
        super().__init__()
        code = 4 * marks

        def causal(before: int, after: int) -> Convolution:
            return Convolution(before, after, 7, causal=True, weight_norm=False)

        clean = [Snake(inputs), Convolution(inputs, 1, 7), nn.Tanh()]
        self.encoder_block = _Half([*clean, causal(1, marks)], {"0": _Recurrence(width), "2": causal(width, code)})
        self.msg_processor = _Message(code)
        self.decoder_block = _Half([causal(code, width), _Recurrence(width)], {"1": causal(marks, 1)})
        self.alpha = marks / code

    def clean(self, x: Tensor, stream: Stream) -> Tensor:
        """Converts features ``[B, T, C]`` to the waveform ``[B, T, 1]`` without watermark."""
        snake, convolution, tanh, _ = self.encoder_block.pre
        found: Tensor = tanh(convolution(snake(x), stream))
        return found

    def mark(self, clean: Tensor, message: Tensor, blocks: Sequence[WatermarkBlock], stream: Stream) -> Tensor:
        """Returns the watermark of bits ``message [B, 16]`` for ``clean [B, T, 1]``, by the main decoder's blocks."""
        h = self.encoder_block.pre[3](clean, stream)
        for block in reversed(blocks):
            h = block.down(h, stream)
        recurrence, convolution = self.encoder_block.post.values()
        h = convolution(F.elu(recurrence(h, stream)), stream) + self.msg_processor(message)
        for layer in self.decoder_block.pre:
            h = layer(h, stream)
        for block in blocks:
            h = block.up(h, stream)
        found: Tensor = self.decoder_block.post["1"](F.elu(h), stream)
        return found * self.alpha
