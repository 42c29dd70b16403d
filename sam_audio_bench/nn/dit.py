"""The diffusion transformer (Peebles and Xie, 2023) of SAM Audio (Shi et al., 2025), with cross-attention to the text.

In the released weights, channel c of queries, keys and values is element ``c // H`` of head ``c % H``. Rows are
reordered by head when a state dict is loaded, and back when one is saved, so that the forward pass is ordinary
attention.

Letters: B batch, T frames, S tokens of the memory, D width, H heads, E width of a head.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_audio_bench.errors import UsageError
from sam_audio_bench.nn.config import TransformerConfig
from sam_audio_bench.nn.layers import Linear, ResidualBlock, RMSNorm, activation, rotary_angles, rotate

__all__ = ["Attention", "DiT", "GatedProjection", "sinusoidal_embedding"]


def sinusoidal_embedding(time: Tensor, width: int) -> Tensor:
    """Embeds times ``[B]`` as cosines, then sines, at ``width / 2`` frequencies from 1 to 1e-4 -> ``[B, width]``."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=time.device).float() / half)
    angles = time.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class GatedProjection(nn.Module):
    """w2(act(w1 x)), and w2(silu(w1 x) * w3 x) for "swiglu" (Shazeer, 2020)."""

    def __init__(self, width_in: int, hidden: int, width_out: int, non_linearity: str, *, bias: bool) -> None:
        super().__init__()
        self.act = activation(non_linearity)
        self.w1 = Linear(width_in, hidden, bias=bias)
        self.w2 = Linear(hidden, width_out, bias=bias)
        self.w3 = Linear(width_in, hidden, bias=bias) if non_linearity == "swiglu" else None

    def forward(self, x: Tensor) -> Tensor:
        """``[..., width_in] -> [..., width_out]``."""
        hidden = self.act(self.w1(x))
        found: Tensor = self.w2(hidden if self.w3 is None else hidden * self.w3(x))
        return found


class Attention(nn.Module):
    """Multi-head attention whose queries and keys may be RMS-normalised within a head and rotated."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.n_heads
        self.wq, self.wk, self.wv, self.wo = (Linear(config.dim, config.dim, bias=config.fc_bias) for _ in range(4))
        if config.qk_norm:
            self.q_norm = RMSNorm(config.dim // config.n_heads, config.norm_eps)
            self.k_norm = RMSNorm(config.dim // config.n_heads, config.norm_eps)
        self.qk_norm = config.qk_norm
        self.register_load_state_dict_pre_hook(_to_head_order)  # type: ignore[no-untyped-call]
        self.register_state_dict_post_hook(_to_released_order)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor, memory: Tensor, keep: Tensor | None, angles: Tensor | None) -> Tensor:
        """``x [B, T, D]`` attends to ``memory [B, S, D]`` where ``keep``, bool ``[B, S]``, is true -> ``[B, T, D]``."""
        query, key, value = (
            channels.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for channels in (self.wq(x), self.wk(memory), self.wv(memory))
        )
        if self.qk_norm:
            query, key = self.q_norm(query), self.k_norm(key)
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        mask = None if keep is None else keep[:, None, None]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        found: Tensor = self.wo(mixed.transpose(1, 2).flatten(2))
        return found


_PERMUTED = tuple(f"{name}.{kind}" for name in ("wq", "wk", "wv") for kind in ("weight", "bias"))


def _to_head_order(module: nn.Module, state: dict[str, object], prefix: str, *_: Any) -> None:
    _reorder(module, state, prefix, lambda rows, heads: rows.unflatten(0, (-1, heads)).transpose(0, 1).flatten(0, 1))


def _to_released_order(module: nn.Module, state: dict[str, object], prefix: str, *_: Any) -> None:
    _reorder(module, state, prefix, lambda rows, heads: rows.unflatten(0, (heads, -1)).transpose(0, 1).flatten(0, 1))


def _reorder(module: nn.Module, state: dict[str, object], prefix: str, order: Any) -> None:
    heads: Any = module.heads
    for name in _PERMUTED:
        rows = state.get(prefix + name)
        if isinstance(rows, Tensor) and rows.ndim and rows.shape[0] % heads == 0:
            state[prefix + name] = order(rows.detach(), heads).contiguous()


class _Layer(nn.Module):
    """Modulated self-attention, plain cross-attention, modulated feed-forward."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.cross_attention = Attention(config)
        self.feed_forward = GatedProjection(
            config.dim, config.hidden, config.dim, config.non_linearity, bias=config.fc_bias
        )
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)
        self.scale_shift_table = nn.Parameter(torch.zeros(6, config.dim))

    def forward(
        self, h: Tensor, memory: Tensor, modulation: Tensor, keep: Tensor | None, keep_memory: Tensor | None,
        angles: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """``h [B, T, D]``, ``memory [B, S, D]``, ``modulation [B, 6, D]``."""
        shift, scale, gate, shift_ff, scale_ff, gate_ff = (self.scale_shift_table + modulation)[:, :, None].unbind(1)
        x = _modulated(self.attention_norm, h, shift, scale)
        h = torch.addcmul(h, gate, self.attention(x, x, keep, angles))
        h = h + self.cross_attention(h, memory, keep_memory, None)
        return torch.addcmul(h, gate_ff, self.feed_forward(_modulated(self.ffn_norm, h, shift_ff, scale_ff)))


def _modulated(norm: RMSNorm, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """``norm(x) * (1 + scale) + shift`` for ``x [B, T, D]``; the factors are multiplied first."""
    return torch.addcmul(shift, norm.unit(x), norm.weight * (1 + scale))


class _FrameEmbedder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = ResidualBlock(width)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.block(x.transpose(1, 2))
        return found.transpose(1, 2)


class _ContextEmbedder(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.context_dim, config.norm_eps) if config.context_norm else None
        self.projection = GatedProjection(
            config.context_dim, config.dim, config.dim, config.context_non_linearity, bias=config.fc_bias
        )

    def forward(self, memory: Tensor) -> Tensor:
        found: Tensor = self.projection(memory if self.norm is None else self.norm(memory))
        return found


class _TimeEmbedder(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.width = config.frequency_embedding_dim
        self.projection = GatedProjection(
            self.width, config.dim, config.dim, config.timestep_non_linearity, bias=config.fc_bias
        )

    def forward(self, time: Tensor) -> Tensor:
        weight = self.projection.w1.weight
        found: Tensor = self.projection(sinusoidal_embedding(time, self.width).to(weight.dtype))
        return found


class DiT(nn.Module):
    """Predicts a velocity for each frame from noisy frames, the time and a memory of text.

    Args:
        config: of the transformer; all options of the released class, except dropout, which is for training.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        if config.in_channels is not None:  # stored in some checkpoints, never applied
            self.data_proj = nn.Linear(config.in_channels, config.dim)
        self.x_embedder = _FrameEmbedder(config.dim)
        self.y_embedder = _ContextEmbedder(config)
        self.t_embedder = _TimeEmbedder(config)
        self.t_block_act = activation(config.t_block_non_linearity)
        self.t_block = Linear(config.dim, 6 * config.dim, bias=config.t_block_bias)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.final_layer_scale_shift_table = nn.Parameter(torch.zeros(2, config.dim))
        self.output = Linear(config.dim, config.out_channels, bias=config.fc_bias)
        self._angles: Tensor | None = None

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        *,
        padding_mask: Tensor | None = None,
        memory: Tensor,
        memory_padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Evaluates the network once.

        Args:
            x: noisy frames ``[B, T, D]``.
            time: ``[B]``, in [0, 1].
            padding_mask: bool ``[B, T]``, true for real frames; None: all of them.
            memory: ``[B, S, context_dim]``.
            memory_padding_mask: bool ``[B, S]``, true for real tokens; None: all of them.

        Returns:
            ``[B, T, out_channels]``.

        Raises:
            UsageError: there are more frames than positions in the checkpoint's table.
        """
        h = self.x_embedder(x)
        t = self.t_embedder(time)
        modulation = self.t_block(self.t_block_act(t)).unflatten(-1, (6, -1))
        memory = self.y_embedder(memory)
        angles = self._rotation(x)
        for layer in self.layers:
            h = layer(h, memory, modulation, padding_mask, memory_padding_mask, angles)
        shift, scale = (self.final_layer_scale_shift_table + t[:, None])[:, :, None].unbind(1)
        found: Tensor = self.output(_modulated(self.norm, h, shift, scale))
        return found

    def _rotation(self, x: Tensor) -> Tensor | None:
        config, frames = self.config, x.shape[1]
        if not config.use_rope:
            return None
        if frames > config.max_positions:
            raise UsageError(
                f"expected at most {config.max_positions} frames, the positions that this checkpoint supports, found "
                f"{frames}; cut the audio, or choose a long-form mode"
            )
        if self._angles is None or len(self._angles) < frames or self._angles.device != x.device:
            theta = float(max(10_000, 2 * config.max_positions))
            self._angles = rotary_angles(frames, config.dim // config.n_heads, theta, x.device)
        return self._angles[:frames]
