"""A Perception Encoder (Bolya et al., 2025), for features of masked frames, with official parameter names.

A vision transformer (Dosovitskiy et al., 2021) with pre-norm blocks, learnt absolute and rotary (Su et al., 2021; in
two dimensions) positions, and a learnt probe that pools the tokens by attention. Its text tower is part of every
checkpoint and is never used here.

Letters: B items, N frames of a video, T latent frames, H height, W width, D width of the tower, P tokens of a frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.nn.config import TextTowerConfig, VisionEncoderConfig, VisionTowerConfig
from sam_audio_bench.nn.layers import Linear, linear, rotary_angles, rotate

__all__ = ["INTERPOLATIONS", "PerceptionEncoder", "VisionTower", "frame_indices"]


class _Interpolation(NamedTuple):
    """Arguments of `torch.nn.functional.interpolate`."""

    mode: str
    antialias: bool = False
    align_corners: bool | None = None


INTERPOLATIONS: Mapping[str, _Interpolation] = {
    "BICUBIC": _Interpolation("bicubic", antialias=True, align_corners=False),
    "BILINEAR": _Interpolation("bilinear", antialias=True, align_corners=False),
    "NEAREST": _Interpolation("nearest"),
    "NEAREST_EXACT": _Interpolation("nearest-exact"),
}
"""Interpolation modes for resizing frames, by the name in a config."""

_AT_ONCE = 16  # frames per batch: more are not faster with the released tower, and need a gigabyte per 32
_THETA = 10_000.0
_POOL_RATIO = 4  # hidden width of the pooling layer relative to its width, independent of the blocks


def frame_indices(count: int, frames: int) -> Tensor:
    """Returns the video frame of each latent frame, int64 ``[frames]``: evenly spaced, both ends included.

    >>> frame_indices(4, 10).tolist()
    [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    """
    if count < 1 or frames < 0:
        raise UsageError(f"expected a video with frames for 0 or more latent frames, found {count} for {frames}")
    return torch.linspace(0, count - 1, frames).round().long()  # half to even


class _Attention(nn.Module):
    """Multi-head attention with the packed projections of `torch.nn.MultiheadAttention`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise Precondition(f"expected a width that divides into heads in pe_config.json, found {width} and {heads}")
        self.heads = heads
        self.in_proj_weight = _weight(3 * width, width)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = Linear(width, width)

    def forward(self, x: Tensor, angles: Tensor | None = None) -> Tensor:
        """Self-attention ``[B, P, D] -> [B, P, D]``; queries and keys rotated by ``angles [P, D / heads / 2]``."""
        query, key, value = self._heads(linear(x, self.in_proj_weight, self.in_proj_bias), 3)
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        return self._mixed(query, key, value)

    def pool(self, probe: Tensor, x: Tensor) -> Tensor:
        """Attention of ``probe [1, Q, D]`` over ``x [B, P, D]`` -> ``[B, Q, D]``."""
        width = x.shape[-1]
        weights, biases = (torch.split(part, [width, 2 * width]) for part in (self.in_proj_weight, self.in_proj_bias))
        (query,) = self._heads(linear(probe, weights[0], biases[0]), 1)
        key, value = self._heads(linear(x, weights[1], biases[1]), 2)
        return self._mixed(query.expand(len(x), -1, -1, -1), key, value)

    def _heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """``[B, P, parts * D]`` -> for each part ``[B, heads, P, D / heads]``."""
        return torch.unbind(x.reshape(*x.shape[:2], parts, self.heads, -1).permute(2, 0, 3, 1, 4))

    def _mixed(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        mixed = F.scaled_dot_product_attention(query, key, value)
        found: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return found


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.c_fc = Linear(width, hidden)
        self.c_proj = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.c_proj(F.gelu(self.c_fc(x)))
        return found


class _LayerScale(nn.Module):
    """A learnt factor per channel (Touvron et al., 2021)."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(start * torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)), each with an optional layer scale."""

    def __init__(self, width: int, heads: int, ratio: float, scale: float | None = None) -> None:
        super().__init__()
        self.attn = _Attention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.ls_1 = nn.Identity() if scale is None else _LayerScale(width, scale)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = _FeedForward(width, int(width * ratio))
        self.ls_2 = nn.Identity() if scale is None else _LayerScale(width, scale)

    def forward(self, x: Tensor, angles: Tensor | None) -> Tensor:
        x = x + self.ls_1(self.attn(self.ln_1(x), angles))
        found: Tensor = x + self.ls_2(self.mlp(self.ln_2(x)))
        return found


class _Blocks(nn.Module):
    def __init__(self, layers: int, width: int, heads: int, ratio: float, scale: float | None = None) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_Block(width, heads, ratio, scale) for _ in range(layers))

    def forward(self, x: Tensor, angles: Tensor | None) -> Tensor:
        for block in self.resblocks:
            x = block(x, angles)
        return x


class _AttentionPool(nn.Module):
    """Attention pooling by a learnt probe, followed by a residual feed-forward layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.probe = _weight(1, 1, width)
        self.attn = _Attention(width, heads)
        self.layernorm = nn.LayerNorm(width)
        self.mlp = _FeedForward(width, _POOL_RATIO * width)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, P, D] -> [B, D]``."""
        pooled = self.attn.pool(self.probe, x)
        found: Tensor = (pooled + self.mlp(self.layernorm(pooled)))[:, 0]
        return found


class VisionTower(nn.Module):
    """Encodes each image as one vector.

    Args:
        config: all options of ``pe_config.json`` except drop path, which is for training.

    Raises:
        Precondition: the pooling is not "attn", or widths are not divisible by the number of heads.
    """

    def __init__(self, config: VisionTowerConfig) -> None:
        super().__init__()
        if config.pool_type != "attn":
            raise Precondition(f'expected pool_type "attn" in pe_config.json, found {config.pool_type!r}')
        if config.use_rope2d and (config.heads < 1 or config.width % (4 * config.heads)):
            found = f"width {config.width} and {config.heads} heads"
            raise Precondition(f"expected heads of a width divisible by four for rotary positions, found {found}")
        self.config = config
        width = config.width
        self.side = config.image_size // config.patch_size
        self.conv1 = nn.Conv2d(3, width, config.patch_size, stride=config.patch_size, bias=False)
        self.class_embedding = _weight(width) if config.use_cls_token else None
        positions = self.side**2 + config.use_cls_token
        self.positional_embedding = _weight(positions, width) if config.use_abs_posemb else None
        self.ln_pre = nn.LayerNorm(width) if config.use_ln_pre else nn.Identity()
        self.transformer = _Blocks(config.layers, width, config.heads, config.mlp_ratio, config.ls_init_value)
        self.ln_post = nn.LayerNorm(width) if config.use_ln_post else nn.Identity()
        self.attn_pool = _AttentionPool(width, config.attn_pooler_heads)
        self.proj = _weight(width, config.output_dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels ``[B, 3, H, W]`` -> ``[B, output_dim]``; the sides must be multiples of the patch size."""
        found: Tensor = self.attn_pool(self.tokens(pixels)) @ self.proj
        return found

    def tokens(self, pixels: Tensor) -> Tensor:
        """Returns tokens before pooling: ``[B, P, D]``, the class token first, if there is one.

        Raises:
            UsageError: the sides are not multiples of the patch size.
        """
        patch = self.config.patch_size
        if pixels.ndim != 4 or pixels.shape[1] != 3 or pixels.shape[2] % patch or pixels.shape[3] % patch:
            raise UsageError(
                f"expected images [batch, 3, height, width], sides multiples of {patch}, found {tuple(pixels.shape)}"
            )
        patches = self.conv1(pixels)
        grid = (patches.shape[2], patches.shape[3])
        x = patches.flatten(2).transpose(1, 2)
        if self.class_embedding is not None:
            x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1)
        if self.positional_embedding is not None:
            x = x + self._positions(self.positional_embedding, grid)
        angles = self._angles(grid, pixels.device) if self.config.use_rope2d else None
        found: Tensor = self.ln_post(self.transformer(self.ln_pre(x), angles))
        return found

    def _positions(self, stored: Tensor, grid: tuple[int, int]) -> Tensor:
        """Returns absolute positions ``[P, D]``; the stored grid is interpolated for other image sizes."""
        if grid == (self.side, self.side):
            return stored
        first, patches = torch.split(stored, [stored.shape[0] - self.side**2, self.side**2])
        square = patches.T.reshape(1, -1, self.side, self.side).float()
        stretched = F.interpolate(square, size=grid, mode="bilinear", align_corners=False)
        return torch.cat([first, stretched[0].flatten(1).T.to(stored.dtype)])

    def _angles(self, grid: tuple[int, int], device: torch.device) -> Tensor:
        """Returns rotations ``[P, head / 2]``: columns in the first half, rows in the second; the class token at 0."""
        rows, columns = grid
        half = self.config.width // self.config.heads // 2
        table = rotary_angles(max(grid) + 1, half, _THETA, device)[1:]
        by_column = table[:columns].expand(rows, -1, -1)
        by_row = table[:rows, None].expand(-1, columns, -1)
        angles = torch.cat([by_column, by_row], dim=-1).flatten(0, 1)
        if self.class_embedding is None:
            return angles
        return torch.cat([torch.ones_like(angles[:1]), angles])


class _Towers(nn.Module):
    """Both towers. The text tower holds parameters only, since official checkpoints have them; nothing uses them."""

    def __init__(self, vision: VisionTowerConfig, text: TextTowerConfig) -> None:
        super().__init__()
        self.visual = VisionTower(vision)
        self.positional_embedding = _weight(text.context_length, text.width)
        self.text_projection = _weight(text.width, text.output_dim)
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.token_embedding = nn.Embedding(text.vocab_size, text.width)
        self.transformer = _Blocks(text.layers, text.width, text.heads, text.mlp_ratio)
        self.ln_final = nn.LayerNorm(text.width)


class PerceptionEncoder(nn.Module):
    """Encodes masked videos, one feature vector per latent frame.

    Args:
        config: preprocessing of frames, and the towers.

    Raises:
        Precondition: the interpolation is not in `INTERPOLATIONS`, the feature width is not that of the tower, or
            `VisionTower` rejects the config.
    """

    def __init__(self, config: VisionEncoderConfig) -> None:
        super().__init__()
        mode = str(config.interpolation_mode).upper()
        if mode not in INTERPOLATIONS:
            known = ", ".join(INTERPOLATIONS)
            raise Precondition(f"expected interpolation_mode to be one of {known}, found {config.interpolation_mode!r}")
        if config.dim != config.vision.output_dim:
            found = f"{config.dim} and {config.vision.output_dim}"
            raise Precondition(f"expected vision_encoder.dim to be the output_dim of {config.name}, found {found}")
        self.config = config
        self._resampling = INTERPOLATIONS[mode]
        self.model = _Towers(config.vision, config.text)

    def forward(self, videos: Sequence[Tensor], sizes: Sequence[int] | None = None) -> Tensor:
        """Encodes videos as features ``[B, T, dim]``; T is the largest size, shorter items are padded with zeros.

        Args:
            videos: uint8 ``[N, 3, H, W]`` for each item, at least one frame.
            sizes: latent frames of each item, over which its video is stretched evenly; None: its number of frames.

        Raises:
            UsageError: there are no items, the numbers of sizes and items differ, or frames have another type or shape.
        """
        sizes = [len(video) for video in videos] if sizes is None else sizes
        if not videos or len(sizes) != len(videos):
            raise UsageError(f"expected a size for each video, found {len(sizes)} for {len(videos)}")
        rows = [
            self.encode(video[int(index)] for index in frame_indices(len(video), int(size)))
            for video, size in zip(videos, sizes, strict=True)
        ]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    @torch.no_grad()
    def encode(self, frames: Iterable[Tensor]) -> Tensor:
        """Encodes frames, uint8 ``[3, H, W]``, as features ``[T, dim]``, in small batches to bound memory.

        Equal consecutive frames are encoded once, since latent frames are often shorter than video frames.

        Raises:
            UsageError: frames have another type or shape.
        """
        at_once = max(1, min(self.config.batch_size, _AT_ONCE))
        waiting: list[Tensor] = []
        repeats: list[int] = []
        features = [self.model.visual.proj.new_zeros(0, self.config.dim, dtype=torch.float32)]
        last: Tensor | None = None
        for frame in frames:
            if last is not None and (frame is last or torch.equal(frame, last)):
                repeats[-1] += 1
                continue
            if len(waiting) == at_once:
                features.append(self._features(waiting))
                waiting = []
            waiting.append(self.resize(frame[None])[0])
            repeats.append(1)
            last = frame
        if waiting:
            features.append(self._features(waiting))
        found = torch.cat(features)
        return found.repeat_interleave(torch.tensor(repeats, dtype=torch.long, device=found.device), dim=0)

    def _features(self, frames: list[Tensor]) -> Tensor:
        pixels = _normalised(torch.stack(frames).to(self.model.visual.proj.device))
        return self.encode_image(pixels, normalize=self.config.normalize_feature)

    def encode_image(self, pixels: Tensor, normalize: bool = False) -> Tensor:
        """Normalised pixels ``[B, 3, H, W]`` -> float32 ``[B, dim]``, of unit length if requested."""
        found: Tensor = self.model.visual(pixels.to(self.model.visual.proj.dtype)).float()
        return F.normalize(found, dim=-1) if normalize else found

    def transform(self, frames: Tensor) -> Tensor:
        """uint8 ``[N, 3, H, W]`` -> float32 ``[N, 3, image_size, image_size]`` in -1…1."""
        return _normalised(self.resize(frames))

    def resize(self, frames: Tensor) -> Tensor:
        """uint8 ``[N, 3, H, W]`` -> uint8 ``[N, 3, image_size, image_size]``; the aspect ratio is not kept.

        Computed in float32 and rounded, as the released transform does: the integer kernels of torch differ.

        Raises:
            UsageError: frames have another type or shape, or are empty.
        """
        if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape[2:]:
            found = f"{frames.dtype} {tuple(frames.shape)}"
            raise UsageError(f"expected uint8 frames [frames, 3, height, width], found {found}")
        size = (self.config.image_size, self.config.image_size)
        if frames.shape[2:] == size:
            return frames
        resized: Tensor = F.interpolate(frames.float(), size=size, **self._resampling._asdict())
        return resized.round().clamp(0, 255).to(torch.uint8)


def _weight(*shape: int) -> nn.Parameter:
    """Creates a random parameter scaled to preserve magnitudes."""
    return nn.Parameter(torch.randn(shape) * shape[-1] ** -0.5)


def _normalised(frames: Tensor) -> Tensor:
    """Maps bytes to -1…1, in the order of operations of the release."""
    return (frames.float() / 255 - 0.5) / 0.5
