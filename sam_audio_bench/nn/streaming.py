"""Layers of a convolutional codec that process a signal in chunks, with the same result as for the whole signal.

Each layer sees a window of its input: the buffered end of earlier chunks, the new chunk, and zeros before the first and
after the last one. It computes all outputs that the window determines and buffers the rest for the next chunk, so
nothing is computed twice, there are no seams, and memory depends on the chunk, not on the signal. One `Stream` holds
all buffers.

Snake and ELU map zero to zero, so a window may be taken before an activation instead of after it. Signals are
``[B, T, C]`` here: windows are then contiguous in memory, and convolutions run a fifth faster.

Letters: B batch, T time, C channels, K taps of a kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Convolution", "ResidualUnit", "Snake", "Stream", "TransposedConvolution", "fold"]

_FEW = 20_480  # elements up to which torch does not use oneDNN
_OUTPUTS = 16  # with fewer, oneDNN uses another algorithm; measured: below 14
_SLICE = 256  # steps: with fewer, products are limited by loading the kernel from memory


class Stream:
    """One pass of a signal through layers: the tails of their inputs, and the kernels in use.

    Attributes:
        last: whether the current chunk is the last one; layers then see the zeros after the signal.
        budget: numbers that a slice of an activation may hold (see `sliced`); None: unlimited.
    """

    def __init__(self, budget: int | None = None) -> None:
        self.last = True
        self.budget = budget
        self._tails: dict[nn.Module, Tensor] = {}
        self._kernels: dict[nn.Module, Tensor] = {}
        self._states: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def window(self, layer: nn.Module, x: Tensor, *, left: int, right: int, size: int, step: int = 1) -> Tensor:
        """Returns the input of all positions that ``layer`` can compute now, possibly none.

        Args:
            layer: the layer, whose buffer is continued.
            x: new input ``[B, T, C]``.
            left: zeros before the signal.
            right: zeros after it.
            size: inputs that one output depends on.
            step: inputs between two outputs.
        """
        batch, _, channels = x.shape
        tail = self._tails.get(layer)
        parts = [x.new_zeros(batch, left, channels) if tail is None else tail, x]
        if self.last:
            parts.append(x.new_zeros(batch, right, channels))
        parts = [part for part in parts if part.shape[1]] or [x]
        joined = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        count = max(0, (joined.shape[1] - size) // step + 1)
        if not self.last:
            self._tails[layer] = joined[:, count * step :].clone()  # a view would keep the whole window
        return joined[:, : (count - 1) * step + size if count else 0]

    def kernel(self, layer: Convolution | TransposedConvolution) -> Tensor:
        """Returns the layer's kernel, normalised once per stream."""
        if layer not in self._kernels:
            self._kernels[layer] = layer.kernel()
        return self._kernels[layer]

    def state(self, layer: nn.Module) -> tuple[Tensor, Tensor] | None:
        """Returns the state of ``layer`` that `keep` stored."""
        return self._states.get(layer)

    def keep(self, layer: nn.Module, state: tuple[Tensor, Tensor]) -> None:
        """Stores the state of a recurrent layer."""
        self._states[layer] = state

    def sliced(self, layer: Callable[[Tensor, Stream], Tensor], x: Tensor, width: int) -> Tensor:
        """Computes ``layer(x, self)`` in time slices within the budget, so that activations fit into the CPU cache.

        Args:
            layer: takes ``[B, T, C]`` and this stream.
            x: ``[B, T, C]``.
            width: elements of the layer's largest activation per step of ``x`` and row.
        """
        if self.budget is None:
            return layer(x, self)
        size = max(_SLICE, self.budget // (width * x.shape[0]))
        count = math.ceil(x.shape[1] / size)
        if count < 2:
            return layer(x, self)
        last, outputs = self.last, []
        pieces = torch.split(x, math.ceil(x.shape[1] / count), dim=1)
        for index, piece in enumerate(pieces, 1):
            self.last = last and index == len(pieces)
            outputs.append(layer(piece, self))
        self.last = last
        return torch.cat(outputs, dim=1)


class Snake(nn.Module):
    """x + sin(alpha x)^2 / (alpha + 1e-9), with one frequency per channel (Ziyin, Hartwig and Ueda, NeurIPS 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, C] -> [B, T, C]``; without gradients in place, which halves the time."""
        alpha = self.alpha.mT
        inverse = (alpha + 1e-9).reciprocal()
        if torch.is_grad_enabled() and (x.requires_grad or alpha.requires_grad):
            return x + torch.sin(alpha * x).square() * inverse
        wave = torch.mul(x, alpha).sin_().square_()
        return torch.addcmul(x, wave, inverse, out=wave)


def _convolve(x: Tensor, kernel: Tensor, bias: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Convolves ``[B, T, C]`` with ``[C', C, K]``, by the same algorithm for every B and T.

    Hence chunked and whole signals, and single and batched rows, agree bitwise or nearly so. On CPUs torch uses oneDNN
    unless x is a single short row, or the kernel a single tap without dilation on one thread; and oneDNN uses another
    algorithm for few outputs. These differ in the order of summation.
    """
    rows, count = x.shape[0], (x.shape[1] - (kernel.shape[2] - 1) * dilation - 1) // stride + 1
    if x.device.type == "cpu":
        if count < _OUTPUTS:
            x = F.pad(x, (0, 0, 0, (_OUTPUTS - count) * stride))
        if rows == 1 and x.numel() <= _FEW:
            x = torch.cat([x, x])
        if kernel.shape[2] == 1:
            dilation = 2
    y = F.conv2d(x.mT[:, :, None], kernel[:, :, None], bias, (1, stride), dilation=(1, dilation))
    return y[:rows, :, 0, :count].mT


class _Kernel(nn.Module):
    """A kernel and a bias; with weight norm, g v / ||v|| over all axes but the first (Salimans and Kingma, 2016).

    ``order`` is the memory order of the kernel's axes after folding, which `_convolve` reads without a copy.
    """

    order: tuple[int, int, int]

    def __init__(self, shape: tuple[int, int, int], biases: int, weight_norm: bool) -> None:
        super().__init__()
        bound = 1 / math.sqrt(shape[1] * shape[2])
        values = torch.empty(shape).uniform_(-bound, bound)
        self.folded = False
        if weight_norm:
            self.weight_g = nn.Parameter(values.norm(dim=(1, 2), keepdim=True))
            self.weight_v = nn.Parameter(values)
            self.register_load_state_dict_post_hook(_unfold)  # type: ignore[no-untyped-call]
            self.register_state_dict_post_hook(_pack)  # type: ignore[no-untyped-call]
        else:
            self.weight = nn.Parameter(values)
        self.bias = nn.Parameter(torch.zeros(biases))
        self.weight_norm = weight_norm

    def kernel(self) -> Tensor:
        """Returns the kernel: the stored tensor after `fold` or without weight norm, otherwise a new one."""
        if not self.weight_norm:
            return self.weight
        if torch.is_grad_enabled() and self.weight_v.requires_grad:
            self.folded = False  # an optimiser may change the weights
        return self.weight_v if self.folded else self._normalised()

    def _normalised(self) -> Tensor:
        return self._times(self.weight_g / self.weight_v.norm(dim=(1, 2), keepdim=True))

    def _times(self, gain: Tensor) -> Tensor:
        back = [self.order.index(axis) for axis in range(3)]
        return (self.weight_v * gain).permute(self.order).contiguous().permute(back)

    def fold(self) -> None:
        """Folds the weight norm, see the function `fold`."""
        if self.weight_norm and not self.folded:
            with torch.no_grad():
                norm = torch.linalg.vector_norm(self.weight_v, dim=(1, 2), keepdim=True, dtype=torch.float64)
                gain = self.weight_g / norm
                done = (gain - 1).abs() <= 2 * torch.finfo(self.weight_v.dtype).eps  # stored after folding
                self.weight_v.data = self._times(torch.where(done, 1, gain).to(self.weight_v))
            self.folded = True


def _unfold(layer: nn.Module, _keys: object) -> None:
    layer.folded = False  # type: ignore[assignment]


def _pack(_layer: nn.Module, state: dict[str, Tensor], prefix: str, _metadata: object) -> None:
    """Makes the kernels of a state dict contiguous, as safetensors requires."""
    state[f"{prefix}weight_v"] = state[f"{prefix}weight_v"].contiguous()


def fold(module: nn.Module) -> None:
    """Folds every weight norm within ``module``, so that ||v|| = g and v itself is the kernel.

    Kernels are replaced one by one. Names, shapes and the function of the parameters stay the same, but v is no longer
    contiguous in memory. Loading a state dict or a pass with gradients resets the folded flag only. Folding is
    idempotent, also with a state dict stored and loaded in between: where ||v|| is g except for rounding to v's
    precision, v stays bit for bit.
    """
    for part in module.modules():
        if isinstance(part, _Kernel):
            part.fold()


class Convolution(_Kernel):
    """A zero-padded convolution; an even stride that divides T gives T / stride outputs.

    Centred: (kernel - stride) * dilation // 2 zeros on both sides, with which an odd stride loses its last output.
    Causal: (kernel - 1) * dilation + 1 - stride zeros on the left.
    """

    order = (0, 2, 1)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        causal: bool = False,
        weight_norm: bool = True,
    ) -> None:
        super().__init__((outputs, inputs, size), outputs, weight_norm)
        self.stride, self.dilation = stride, dilation
        self.reach = (size - 1) * dilation + 1
        self.left = self.reach - stride if causal else (size - stride) * dilation // 2
        self.right = 0 if causal else self.left

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        """``[B, T, inputs] -> [B, as many as can be computed so far, outputs]``."""
        window = stream.window(self, x, left=self.left, right=self.right, size=self.reach, step=self.stride)
        if not window.shape[1]:
            return x.new_zeros(x.shape[0], 0, self.bias.shape[0])
        return self.within(window, stream)

    def within(self, window: Tensor, stream: Stream) -> Tensor:
        """Returns the outputs that depend only on ``window``."""
        return _convolve(window, stream.kernel(self), self.bias, self.stride, self.dilation)


class TransposedConvolution(_Kernel):
    """A transposed convolution with a kernel of twice the stride: ``stride`` outputs for each input.

    Centred: (stride + 1) // 2 outputs are cut on the left, so an output depends on three inputs. Causal: outputs after
    the last input are cut, so an output depends on two.
    """

    order = (2, 1, 0)

    def __init__(
        self, inputs: int, outputs: int, *, stride: int, causal: bool = False, weight_norm: bool = True
    ) -> None:
        super().__init__((inputs, outputs, 2 * stride), outputs, weight_norm)
        self.stride, self.causal = stride, causal

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        """``[B, T, inputs] -> [B, T * stride, outputs]``, as far as can be computed so far."""
        window = stream.window(self, x, left=1, right=0 if self.causal else 1, size=2 if self.causal else 3)
        batch, outputs = x.shape[0], self.bias.shape[0]
        if not window.shape[1]:
            return x.new_zeros(batch, 0, outputs)
        taps = stream.kernel(self).permute(2, 1, 0).reshape(2 * self.stride * outputs, -1, 1)
        bias = torch.cat([self.bias.repeat(self.stride), self.bias.new_zeros(self.stride * outputs)])
        early, late = _convolve(window, taps, bias).chunk(2, dim=2)  # an input's part in its own stride, and the next
        joined = (early[:, 1:] + late[:, :-1]).reshape(batch, -1, outputs)
        if self.causal:
            return joined
        cut = (self.stride + 1) // 2
        return joined[:, cut : cut - self.stride]


class ResidualUnit(nn.Module):
    """x + conv1(snake(conv7(snake(x)))), the first convolution dilated (Kumar et al., NeurIPS 2023, Section 3.2)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            [
                Snake(channels),
                Convolution(channels, channels, 7, dilation=dilation),
                Snake(channels),
                Convolution(channels, channels, 1),
            ]
        )
        self.side = 3 * dilation

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        """``[B, T, C] -> [B, as many as can be computed so far, C]``."""
        window = stream.window(self, x, left=self.side, right=self.side, size=2 * self.side + 1)
        if not window.shape[1]:
            return window
        first, second = self.block[0], self.block[2]
        dilated, pointwise = cast(Convolution, self.block[1]), cast(Convolution, self.block[3])
        y = second(dilated.within(first(window), stream))
        return pointwise.within(y, stream).add_(window[:, self.side : -self.side])
