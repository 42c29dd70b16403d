"""The networks once more, written out from the names and shapes of their weights: slow, obvious, in whatever precision.

They share no code with the package. The reference's tensors hold them, and they hold the package where the reference
gave none: at other widths, rates, options and masks.

Letters: B batch, C channels, T time, S tokens, D width, H heads, E width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

State = Mapping[str, Tensor]

ACTIVATIONS = {
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "relu": lambda x: x.clamp(min=0),
    "gelu": lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2,
    "approx_gelu": lambda x: x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "srelu": lambda x: x.clamp(min=0) ** 2,
}


def below(state: State, prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix."""
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}


def linear(state: State, name: str, x: Tensor) -> Tensor:
    y = x @ state[f"{name}.weight"].T
    return y + state[f"{name}.bias"] if f"{name}.bias" in state else y


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + eps) * weight


def gated(state: State, x: Tensor, kind: str) -> Tensor:
    if kind == "swiglu":
        return linear(state, "w2", ACTIVATIONS["silu"](linear(state, "w1", x)) * linear(state, "w3", x))
    return linear(state, "w2", ACTIVATIONS[kind](linear(state, "w1", x)))


def rotated(x: Tensor, theta: float) -> Tensor:
    """``[T, E]``: pair j of the element at position t turns by t / theta^(2j / E)."""
    y = x.clone()
    for j in range(x.shape[1] // 2):
        angle = torch.arange(len(x), dtype=x.dtype) / theta ** (2 * j / x.shape[1])
        a, b = x[:, 2 * j], x[:, 2 * j + 1]
        y[:, 2 * j], y[:, 2 * j + 1] = a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()
    return y


def attend(query: Tensor, key: Tensor, value: Tensor, keep: Tensor | None = None) -> Tensor:
    """One head of one item: ``[T, E]``, ``[S, E]``, ``[S, E]``, bool ``[S]``."""
    scores = query @ key.T / math.sqrt(query.shape[1])
    if keep is not None:
        scores = scores.masked_fill(~keep, -math.inf)
    return scores.softmax(dim=-1) @ value


def dit_attention(
    state: State, config: Any, x: Tensor, memory: Tensor, keep: Tensor | None, theta: float | None
) -> Tensor:
    """Channel c is element c // H of head c % H on the way in; heads follow one another on the way out."""
    rows = []
    for item in range(len(x)):
        heads = []
        for head in range(config.n_heads):
            query = linear(state, "wq", x[item])[:, head :: config.n_heads]
            key = linear(state, "wk", memory[item])[:, head :: config.n_heads]
            value = linear(state, "wv", memory[item])[:, head :: config.n_heads]
            if config.qk_norm:
                query = rms_norm(query, state["q_norm.weight"], config.norm_eps)
                key = rms_norm(key, state["k_norm.weight"], config.norm_eps)
            if theta is not None:
                query, key = rotated(query, theta), rotated(key, theta)
            heads.append(attend(query, key, value, None if keep is None else keep[item]))
        rows.append(torch.cat(heads, dim=1))
    return linear(state, "wo", torch.stack(rows))


def sinusoids(time: Tensor, width: int) -> Tensor:
    half = width // 2
    angles = [time * math.exp(-math.log(10_000) * k / half) for k in range(half)]
    return torch.stack([angle.cos() for angle in angles] + [angle.sin() for angle in angles], dim=-1)


def frame_block(state: State, x: Tensor) -> Tensor:
    """Two convolutions behind group norms of one group, with a residual: ``[B, D, T]``."""
    y = x
    for name in ("block1", "block2"):
        mean, variance = y.mean(dim=(1, 2), keepdim=True), y.var(dim=(1, 2), keepdim=True, unbiased=False)
        y = (y - mean) / torch.sqrt(variance + 1e-5)
        y = y * state[f"{name}.groupnorm.weight"][:, None] + state[f"{name}.groupnorm.bias"][:, None]
        y = F.conv1d(
            F.pad(ACTIVATIONS["silu"](y), (1, 1)), state[f"{name}.project.weight"], state[f"{name}.project.bias"]
        )
    return x + y


def dit(
    state: State, config: Any, x: Tensor, time: Tensor, memory: Tensor, keep: Tensor | None, keep_memory: Tensor | None
) -> Tensor:
    """One evaluation; arguments as those of `sam_audio_bench.nn.dit.DiT`."""
    eps, width = config.norm_eps, config.dim
    h = frame_block(below(state, "x_embedder.block."), x.transpose(1, 2)).transpose(1, 2)
    t = gated(
        below(state, "t_embedder.projection."),
        sinusoids(time, config.frequency_embedding_dim),
        config.timestep_non_linearity,
    )
    modulation = linear(state, "t_block", ACTIVATIONS[config.t_block_non_linearity](t))
    if config.context_norm:
        memory = rms_norm(memory, state["y_embedder.norm.weight"], eps)
    memory = gated(below(state, "y_embedder.projection."), memory, config.context_non_linearity)
    theta = max(10_000, 2 * config.max_positions) if config.use_rope else None
    for index in range(config.n_layers):
        layer = below(state, f"layers.{index}.")
        parts = [
            (modulation[:, k * width : (k + 1) * width] + layer["scale_shift_table"][k])[:, None] for k in range(6)
        ]
        normal = rms_norm(h, layer["attention_norm.weight"], eps) * (1 + parts[1]) + parts[0]
        h = h + parts[2] * dit_attention(below(layer, "attention."), config, normal, normal, keep, theta)
        h = h + dit_attention(below(layer, "cross_attention."), config, h, memory, keep_memory, None)
        normal = rms_norm(h, layer["ffn_norm.weight"], eps) * (1 + parts[4]) + parts[3]
        h = h + parts[5] * gated(below(layer, "feed_forward."), normal, config.non_linearity)
    shift, scale = ((t + row)[:, None] for row in state["final_layer_scale_shift_table"])
    return linear(state, "output", rms_norm(h, state["norm.weight"], eps) * (1 + scale) + shift)


def velocity(
    state: State,
    config: Any,
    *,
    noisy_audio: Tensor,
    audio_features: Tensor,
    text_features: Tensor | None,
    time: Tensor,
    text_mask: Tensor | None = None,
    audio_pad_mask: Tensor | None = None,
    anchor_ids: Tensor | None = None,
    anchor_alignment: Tensor | None = None,
    masked_video_features: Tensor | None = None,
) -> Tensor:
    """One evaluation of the whole separator; arguments as those of `sam_audio_bench.nn.SAMAudio.velocity`."""
    x = linear(state, "proj", torch.cat([noisy_audio, torch.zeros_like(noisy_audio), audio_features], dim=-1))
    if anchor_ids is not None and anchor_alignment is not None:
        for item in range(len(x)):
            for frame in range(x.shape[1]):
                told = state["embed_anchors.embed.weight"][anchor_ids[item, anchor_alignment[item, frame]]]
                x[item, frame] += state["embed_anchors.gate"].tanh() * linear(state, "embed_anchors.proj", told)
    if masked_video_features is not None:
        name = "align_masked_video"
        seen = masked_video_features.transpose(1, 2) @ state[f"{name}.conv.weight"][:, :, 0].T
        seen = seen + state[f"{name}.conv.bias"]
        mean, variance = seen.mean(dim=-1, keepdim=True), seen.var(dim=-1, keepdim=True, unbiased=False)
        seen = (seen - mean) / torch.sqrt(variance + 1e-5)
        seen = seen * state[f"{name}.layer_norm.weight"] + state[f"{name}.layer_norm.bias"]
        x = x + state[f"{name}.gate"].tanh() * seen
    memory = sinusoids(time, config.transformer.dim)[:, None]
    if text_features is not None:
        memory = memory + linear(state, "memory_proj", text_features)
    inner = below(state, "transformer.")
    return dit(inner, config.transformer, x, time, memory, audio_pad_mask, None if text_features is None else text_mask)


def kernel(state: State, name: str) -> Tensor:
    if f"{name}.weight" in state:
        return state[f"{name}.weight"]
    v = state[f"{name}.weight_v"]
    return state[f"{name}.weight_g"] * v / torch.sqrt((v * v).sum(dim=(1, 2), keepdim=True))


def convolve(state: State, name: str, x: Tensor, *, stride: int = 1, dilation: int = 1, causal: bool = False) -> Tensor:
    """``[B, C, T]``; centred: as many zeros on both sides, causal: all on the left, and what fills the last stride."""
    weight = kernel(state, name)
    if causal:
        reach = (weight.shape[-1] - 1) * dilation + 1
        x = F.pad(x, (reach - stride, -x.shape[-1] % stride))
        return F.conv1d(x, weight, state[f"{name}.bias"], stride, dilation=dilation)
    padding = (weight.shape[-1] - stride) * dilation // 2
    return F.conv1d(x, weight, state[f"{name}.bias"], stride, padding, dilation)


def snake(state: State, name: str, x: Tensor) -> Tensor:
    alpha = state[f"{name}.alpha"]
    return x + torch.sin(alpha * x) ** 2 / (alpha + 1e-9)


def residual_unit(state: State, name: str, x: Tensor, dilation: int) -> Tensor:
    y = convolve(state, f"{name}.block.1", snake(state, f"{name}.block.0", x), dilation=dilation)
    return x + convolve(state, f"{name}.block.3", snake(state, f"{name}.block.2", y))


def encode(state: State, rates: Sequence[int], waveform: Tensor) -> Tensor:
    """Mean latents ``[B, C, F]`` of ``[B, 1, T]``, T a multiple of the hop."""
    x = convolve(state, "encoder.block.0", waveform)
    for index, rate in enumerate(rates, 1):
        name = f"encoder.block.{index}.block"
        for unit, dilation in enumerate((1, 3, 9)):
            x = residual_unit(state, f"{name}.{unit}", x, dilation)
        x = convolve(state, f"{name}.4", snake(state, f"{name}.3", x), stride=rate)
    last = len(rates) + 1
    x = convolve(state, f"encoder.block.{last + 1}", snake(state, f"encoder.block.{last}", x))
    return convolve(state, "quantizer.in_proj", x).chunk(2, dim=1)[0]


def elu_unit(state: State, name: str, x: Tensor) -> Tensor:
    y = convolve(state, f"{name}.block.1", F.elu(x), causal=True)
    return x + convolve(state, f"{name}.block.3", F.elu(y))


def recurrence(state: State, name: str, x: Tensor) -> Tensor:
    """Two layers of LSTM, step by step, and a residual."""
    y = x.transpose(1, 2)
    for layer in (0, 1):
        w = {part: state[f"{name}.lstm.{part}_l{layer}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        h = c = y.new_zeros(len(y), y.shape[2])
        steps = []
        for step in y.unbind(1):
            gates = step @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]
            i, f, g, o = gates.chunk(4, dim=-1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            steps.append(h)
        y = torch.stack(steps, dim=1)
    return x + y.transpose(1, 2)


def decode(state: State, rates: Sequence[int], latent: Tensor, message: Tensor) -> Tensor:
    """Watermarked waveform ``[B, 1, F * hop]`` of ``[B, C, F]`` and bits ``[B, 16]``."""
    x = convolve(state, "decoder.model.0", convolve(state, "quantizer.out_proj", latent))
    blocks = [f"decoder.model.{index}.block" for index in range(1, len(rates) + 1)]
    for name, rate in zip(blocks, rates, strict=True):
        x = F.conv_transpose1d(
            snake(state, f"{name}.0", x), kernel(state, f"{name}.1"), state[f"{name}.1.bias"], rate,
            padding=(rate + 1) // 2, output_padding=rate % 2,
        )  # fmt: skip
        for unit, dilation in (("4", 1), ("5", 3), ("8", 9)):
            x = residual_unit(state, f"{name}.{unit}", x, dilation)
    mark = "decoder.wm_model"
    clean = convolve(state, f"{mark}.encoder_block.pre.1", snake(state, f"{mark}.encoder_block.pre.0", x)).tanh()
    h = convolve(state, f"{mark}.encoder_block.pre.3", clean, causal=True)
    strides = (8, 5, 4, 2)[: len(rates)]
    for name, stride in zip(blocks[::-1], strides[::-1], strict=True):
        h = convolve(state, f"{name}.11", F.elu(elu_unit(state, f"{name}.7", h)), stride=stride, causal=True)
    h = F.elu(recurrence(state, f"{mark}.encoder_block.post.0", h))
    h = convolve(state, f"{mark}.encoder_block.post.2", h, causal=True)
    table = state[f"{mark}.msg_processor.msg_processor.weight"]
    for item in range(len(h)):
        for bit in range(16):
            h[item] += table[2 * bit + int(message[item, bit])][:, None]
    h = convolve(state, f"{mark}.decoder_block.pre.0", h, causal=True)
    h = recurrence(state, f"{mark}.decoder_block.pre.1", h)
    for name, stride in zip(blocks, strides, strict=True):
        h = F.conv_transpose1d(F.elu(h), state[f"{name}.3.weight"], state[f"{name}.3.bias"], stride)[..., :-stride]
        h = elu_unit(state, f"{name}.6", h)
    h = convolve(state, f"{mark}.decoder_block.post.1", F.elu(h), causal=True)
    marks, codes = state[f"{mark}.encoder_block.pre.3.weight"].shape[0], table.shape[1]
    return clean + marks / codes * h


def layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    mean, variance = x.mean(dim=-1, keepdim=True), x.var(dim=-1, keepdim=True, unbiased=False)
    return (x - mean) / torch.sqrt(variance + 1e-5) * state[f"{name}.weight"] + state[f"{name}.bias"]


def multi_head(state: State, heads: int, x: Tensor, memory: Tensor, places: Sequence[tuple[int, int]] | None) -> Tensor:
    """``[T, D]`` looks at ``[S, D]``; places (column, row) of the tokens turn queries and keys."""
    width = x.shape[1]
    weights, biases = state["in_proj_weight"].split(width), state["in_proj_bias"].split(width)
    query, key, value = (
        inputs @ weight.T + bias for inputs, weight, bias in zip((x, memory, memory), weights, biases, strict=True)
    )
    found = []
    for head in range(heads):
        own = slice(head * width // heads, (head + 1) * width // heads)
        some = [query[:, own], key[:, own]]
        if places is not None:
            some = [turned_in_two_dimensions(one, places) for one in some]
        found.append(attend(*some, value[:, own]))
    return linear(state, "out_proj", torch.cat(found, dim=1))


def turned_in_two_dimensions(x: Tensor, places: Sequence[tuple[int, int]]) -> Tensor:
    """``[P, E]``: the first half turns with the column, the second with the row."""
    half = x.shape[1] // 2
    y = x.clone()
    for token, place in enumerate(places):
        for axis in (0, 1):
            for j in range(half // 2):
                angle = torch.tensor(place[axis] / 10_000 ** (2 * j / half), dtype=x.dtype)
                at = axis * half + 2 * j
                a, b = x[token, at], x[token, at + 1]
                y[token, at], y[token, at + 1] = a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()
    return y


def feed_forward(state: State, x: Tensor) -> Tensor:
    return linear(state, "mlp.c_proj", ACTIVATIONS["gelu"](linear(state, "mlp.c_fc", x)))


def vision(state: State, config: Any, pixels: Tensor) -> Tensor:
    """Features ``[output_dim]`` of one image ``[3, H, W]``, normalised; the tower's own state."""
    size = config.patch_size
    rows, columns = pixels.shape[1] // size, pixels.shape[2] // size
    patches = [
        (state["conv1.weight"] * pixels[:, r * size : (r + 1) * size, c * size : (c + 1) * size]).sum(dim=(1, 2, 3))
        for r in range(rows)
        for c in range(columns)
    ]
    places = [(c + 1, r + 1) for r in range(rows) for c in range(columns)]
    if config.use_cls_token:
        patches, places = [state["class_embedding"], *patches], [(0, 0), *places]
    x = torch.stack(patches)
    if config.use_abs_posemb:
        stored, side = state["positional_embedding"], config.image_size // size
        first = len(stored) - side**2
        grid = stored[first:].T.reshape(1, -1, side, side)
        if (rows, columns) != (side, side):
            grid = F.interpolate(grid, (rows, columns), mode="bilinear", align_corners=False)
        x = x + torch.cat([stored[:first], grid[0].flatten(1).T])
    x = layer_norm(state, "ln_pre", x) if config.use_ln_pre else x
    for index in range(config.layers):
        block = below(state, f"transformer.resblocks.{index}.")
        normal = layer_norm(block, "ln_1", x)
        y = multi_head(below(block, "attn."), config.heads, normal, normal, places if config.use_rope2d else None)
        x = x + y * block.get("ls_1.gamma", torch.ones(()))
        x = x + feed_forward(block, layer_norm(block, "ln_2", x)) * block.get("ls_2.gamma", torch.ones(()))
    x = layer_norm(state, "ln_post", x) if config.use_ln_post else x
    pool = below(state, "attn_pool.")
    pooled = multi_head(below(pool, "attn."), config.attn_pooler_heads, pool["probe"][0], x, None)
    return (pooled + feed_forward(pool, layer_norm(pool, "layernorm", pooled)))[0] @ state["proj"]


def weights(module: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Float64 weights of a module's names and shapes; none is neutral, and signals keep their scale."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, value in module.state_dict().items():
        noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        last = name.rpartition(".")[2]
        if last in ("alpha", "weight_g"):
            found[name] = (0.3 * noise).exp()
        elif value.ndim > 1 and not last.endswith("table"):
            found[name] = noise / math.sqrt(value[0].numel())
        else:
            found[name] = (1.0 if last == "weight" else 0.0) + 0.3 * noise
    return found
