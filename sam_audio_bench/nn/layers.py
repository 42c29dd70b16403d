"""Layers shared by the diffusion transformer, the judge and the span predictor.

Letters: B batch, T frames, D width, H heads, E width of a head.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_audio_bench.errors import Precondition

__all__ = [
    "ACTIVATIONS",
    "FrameGroupNorm",
    "Linear",
    "RMSNorm",
    "ResidualBlock",
    "activation",
    "linear",
    "rotary_angles",
    "rotate",
]

# The matrix product of oneDNN, which torch.compile calls; it has no gradient, and not every build has it.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "relu": F.relu,
    "gelu": F.gelu,
    "approx_gelu": lambda x: F.gelu(x, approximate="tanh"),
    "srelu": lambda x: F.relu(x).square(),
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """Returns the activation of a name in a config; silu for "swiglu". Raises Precondition for an unknown name."""
    try:
        return ACTIVATIONS["silu" if name == "swiglu" else name]
    except KeyError as error:
        known = ", ".join(["swiglu", *ACTIVATIONS])
        raise Precondition(f"expected an activation among {known} in the config, found {name!r}") from error


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Computes ``x [..., C]`` times ``weight [C', C]``, plus ``bias [C']`` -> ``[..., C']``.

    For float32 on a CPU torch uses MKL, which is half as fast as possible on AMD processors (docs/decisions.md).
    Without gradients this uses oneDNN instead, as torch itself does for bfloat16.
    """
    needs_grad = torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in (x, weight, bias))
    single = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    if _ONEDNN is None or needs_grad or not single or torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    found: Tensor = _ONEDNN(x, weight, bias, "none", [], "")
    return found


class Linear(nn.Linear):
    """`torch.nn.Linear`, computed by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """``[..., C] -> [..., C']``."""
        return linear(x, self.weight, self.bias)


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis, computed in float32 (Zhang and Sennrich, 2019)."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """``[..., D] -> [..., D]``."""
        return self.unit(x) * self.weight

    def unit(self, x: Tensor) -> Tensor:
        """Returns the normalised input without the weight, for callers that combine it with another factor."""
        wide = x.float()
        square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square() / x.shape[-1]
        return (wide * torch.rsqrt(square + self.eps)).to(x.dtype)


def rotary_angles(positions: int, width: int, theta: float, device: torch.device | None = None) -> Tensor:
    """Returns rotations ``[positions, width / 2]`` of rotary embeddings (Su et al., 2021), as complex64."""
    frequencies = 1.0 / theta ** (torch.arange(0, width, 2, device=device).float() / width)
    angles = torch.outer(torch.arange(positions, device=device).float(), frequencies)
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotates the pairs (2j, 2j + 1) of ``x [..., T, E]`` by ``angles [T, E / 2]``, in float32."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * angles).flatten(-2).to(x.dtype)


class FrameGroupNorm(nn.GroupNorm):
    """Group norm of one group over channels and frames; with a mask, over unmasked frames only."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(1, channels, eps=eps)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """``x [B, D, T]``, ``keep`` bool ``[B, T]`` or None -> ``[B, D, T]``; masked frames are scaled likewise."""
        if keep is None:
            return super().forward(x)
        weights = keep[:, None].float()
        count = weights.sum(dim=(1, 2), keepdim=True) * x.shape[1]
        mean = (x.float() * weights).sum(dim=(1, 2), keepdim=True) / count
        centred = x.float() - mean
        variance = (centred.square() * weights).sum(dim=(1, 2), keepdim=True) / count
        normal = centred * torch.rsqrt(variance + self.eps)
        return (normal * self.weight[:, None] + self.bias[:, None]).to(x.dtype)


class _ConvolutionBlock(nn.Module):
    """conv(silu(groupnorm(x))), kernel 3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.groupnorm = FrameGroupNorm(channels)
        self.project = nn.Conv1d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        x = F.silu(self.groupnorm(x, keep))
        if keep is not None:
            x = x * keep[:, None]
        found: Tensor = self.project(x)
        return found


class ResidualBlock(nn.Module):
    """x + block2(block1(x)): the input block of every transformer here.

    Without a mask, statistics and convolutions run over padded frames too, as the released separator does. With one,
    statistics are those of the kept frames and the convolutions read zeros elsewhere.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block1 = _ConvolutionBlock(channels)
        self.block2 = _ConvolutionBlock(channels)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """``x [B, D, T]``, ``keep`` bool ``[B, T]`` -> ``[B, D, T]``."""
        found: Tensor = x + self.block2(self.block1(x, keep), keep)
        return found
