"""The codec against itself in one piece with nothing fused, at the released size and with random weights.

Run: python benchmarks/codec.py. Both sides run in turn in one process on 2 threads; the minimum of each counts, since a
busy machine only adds. The plain side pads every convolution, computes every weight norm and every Snake term by term,
as one writes the network down from its paper. Prints a table and writes benchmarks/codec.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does, before torch is loaded

import torch
from torch import Tensor
from torch.nn import functional as F

from sam_audio_bench.nn.codec import DACVAE
from sam_audio_bench.nn.config import CodecConfig

SECONDS = 10
ROUNDS = 3
GOALS = {"encode": 0.45, "decode": 0.65}


def snake(layer: Any, x: Tensor) -> Tensor:
    """Term by term."""
    found: Tensor = x + torch.sin(layer.alpha * x).pow(2) / (layer.alpha + 1e-9)
    return found


def weight(layer: Any) -> Tensor:
    """A weight norm, computed anew."""
    found: Tensor
    if not layer.weight_norm:
        found = layer.weight
        return found
    found = layer.weight_v * (layer.weight_g / layer.weight_v.norm(dim=(1, 2), keepdim=True))
    return found


def convolve(layer: Any, x: Tensor) -> Tensor:
    """A padded convolution."""
    padded = F.pad(x, (layer.left, layer.right))
    return F.conv1d(padded, weight(layer), layer.bias, layer.stride, dilation=layer.dilation)


def transpose(layer: Any, x: Tensor) -> Tensor:
    """A transposed convolution, cut on both sides or, when causal, on the right."""
    stride = layer.stride
    if layer.causal:
        return F.conv_transpose1d(x, weight(layer), layer.bias, stride)[..., :-stride]
    return F.conv_transpose1d(x, weight(layer), layer.bias, stride, (stride + 1) // 2, stride % 2)


def residual(unit: Any, x: Tensor) -> Tensor:
    """A residual unit of the main path."""
    first, dilated, second, pointwise = unit.block
    y = F.conv1d(
        snake(first, x), weight(dilated), dilated.bias, padding=3 * dilated.dilation, dilation=dilated.dilation
    )
    return x + convolve(pointwise, snake(second, y))


def mark_unit(unit: Any, x: Tensor) -> Tensor:
    """A residual unit of the watermark."""
    return x + convolve(unit.block["3"], F.elu(convolve(unit.block["1"], F.elu(x))))


def plain_encode(codec: DACVAE, waveform: Tensor) -> Tensor:
    """Mean of ``[B, 1, T]``, T a multiple of the hop."""
    layers: Any = codec.encoder.block
    x = convolve(layers[0], waveform)
    for block in layers[1:-2]:
        *units, activation, down = block.block
        for unit in units:
            x = residual(unit, x)
        x = convolve(down, snake(activation, x))
    x = convolve(layers[-1], snake(layers[-2], x))
    return convolve(codec.quantizer.in_proj, x)[:, : codec.config.codebook_dim]


def plain_decode(codec: DACVAE, latent: Tensor, message: Tensor) -> Tensor:
    """Waveform of ``[B, codebook_dim, F]`` with the mark of ``message``."""
    decoder: Any = codec.decoder
    first, *blocks = decoder.model
    x = convolve(first, convolve(codec.quantizer.out_proj, latent))
    for block in blocks:
        x = transpose(block.block["1"], snake(block.block["0"], x))
        for name in ("4", "5", "8"):
            x = residual(block.block[name], x)
    marker = decoder.wm_model
    activation, last, _, entry = marker.encoder_block.pre
    clean = torch.tanh(convolve(last, snake(activation, x)))
    return clean + plain_mark(marker, blocks, convolve(entry, clean), message)


def plain_mark(marker: Any, blocks: list[Any], h: Tensor, message: Tensor) -> Tensor:
    """The watermark from the clean waveform's first features."""

    def recur(layer: Any, h: Tensor) -> Tensor:
        found: Tensor = layer.lstm(h.mT)[0].mT
        return h + found

    for block in reversed(blocks):
        h = convolve(block.block["11"], F.elu(mark_unit(block.block["7"], h)))
    post, pre = marker.encoder_block.post, marker.decoder_block.pre
    h = convolve(post["2"], F.elu(recur(post["0"], h))) + marker.msg_processor(message).mT
    h = recur(pre[1], convolve(pre[0], h))
    for block in blocks:
        h = mark_unit(block.block["6"], transpose(block.block["3"], F.elu(h)))
    found: Tensor = convolve(marker.decoder_block.post["1"], F.elu(h)) * marker.alpha
    return found


def fastest(one: Callable[[], Tensor], other: Callable[[], Tensor]) -> tuple[float, float, float]:
    """Least seconds of both, called in turn, and their largest difference relative to the other's maximum."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        answers = []
        for function, spent in zip((one, other), times, strict=True):
            begun = time.perf_counter()
            answers.append(function())
            spent.append(time.perf_counter() - begun)
    difference = float((answers[0] - answers[1]).abs().max() / answers[1].abs().max())
    return min(times[0]), min(times[1]), difference


@torch.inference_mode()
def measure() -> list[str]:
    """Rows of a Markdown table, for the codec of the released size on 10 s."""
    torch.manual_seed(0)
    codec, other = DACVAE(CodecConfig()), DACVAE(CodecConfig())
    other.load_state_dict(codec.state_dict())
    codec.fold_weight_norm()
    waveform = 0.1 * torch.randn(1, 1, SECONDS * codec.sample_rate)
    latent = torch.randn(1, codec.config.codebook_dim, codec.wav_to_feature(waveform.shape[-1]))
    message = torch.randint(0, 2, (1, 16))
    sides = {
        "encode": (lambda: codec.encode(waveform), lambda: plain_encode(other, waveform)),
        "decode": (lambda: codec.decode(latent, message), lambda: plain_decode(other, latent, message)),
    }
    rows = ["| codec, 10 s | ours | plain | ratio | goal | difference |", "| --- | --: | --: | --: | --: | --: |"]
    for name, (ours, plain) in sides.items():
        fast, slow, difference = fastest(ours, plain)
        rows.append(
            f"| {name} | {fast:.2f} s | {slow:.2f} s | {fast / slow:.2f} | {GOALS[name]:.2f} | {difference:.0e} |"
        )
    return rows


def main() -> None:
    """Prints the table and writes it to benchmarks/codec.md."""
    torch.set_num_threads(2)
    rows = measure()
    page = [
        "# Codec",
        "",
        f"`DACVAE` at the released size, float32, 2 threads of {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f},",
        f"torch {torch.__version__}, least of {ROUNDS} rounds, written by `benchmarks/codec.py`. The plain side is one",
        "piece, with weight norms and Snakes computed term by term; the difference is relative to the maximum.",
        "",
        *rows,
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(page) + "\n", encoding="utf-8")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
