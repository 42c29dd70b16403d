"""One GPU: the separator and the judges at their real sizes with random weights, and what a GPU saves; writes gpu.md.

Run: python benchmarks/gpu.py, on a GPU that holds 15 GB of weights and eight candidates. Both sides of a ratio run in
this process. Products of matrices are the yardstick: no network can do more arithmetic a second than they do.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sam_audio import FRAMES, GIB, TOKENS, gflop, write_checkpoint
from torch import Tensor, nn

from judge import CANDIDATES, SECONDS, noise, released
from sam_audio_bench.devices import deterministic_fp32
from sam_audio_bench.judge import load
from sam_audio_bench.nn.codec import DACVAE
from sam_audio_bench.nn.config import CodecConfig, TransformerConfig
from sam_audio_bench.nn.dit import DiT
from sam_audio_bench.nn.tiny import randomise
from sam_audio_bench.nn.watermark import BITS
from sam_audio_bench.separators.sam_audio import SAMAudioSeparator
from sam_audio_bench.types import Audio, Prompt, Query

LARGE: dict[str, Any] = {"dim": 2816, "n_heads": 22, "n_layers": 22, "context_dim": 2816}


def fastest(call: Callable[[], Any], rounds: int = 5) -> float:
    """Seconds of the fastest of some calls, after one that warms up."""
    times = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return min(times[1:])


def gemm(rows: int, config: TransformerConfig, dtype: torch.dtype) -> float:
    """TFLOP/s of a product of the transformer's largest shape."""
    x, weight = (torch.randn(size, config.dim, device="cuda", dtype=dtype) for size in (rows, config.hidden))
    spent = fastest(lambda: [nn.functional.linear(x, weight) for _ in range(20)])
    return 20 * 2e-12 * rows * config.dim * config.hidden / spent


def evaluations() -> Iterator[str]:
    """One evaluation of the large transformer against products of matrices, by precision and number of rows."""
    config = TransformerConfig.of(LARGE)
    with torch.device("cuda"):
        torch.manual_seed(0)
        model = DiT(config).eval()
    single: dict[int, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        model.to(dtype)
        for rows in (1, CANDIDATES):
            x, memory = (torch.randn(rows, count, config.dim, device="cuda", dtype=dtype) for count in (FRAMES, TOKENS))
            moment = torch.full((rows,), 0.5, device="cuda")
            with torch.inference_mode(), deterministic_fp32():
                spent = fastest(partial(model, x, moment, memory=memory))
                limit = gemm(rows * FRAMES, config, dtype)
            single.setdefault(rows, spent)
            rate = 1e-3 * gflop(config, rows) / spent
            yield (
                f"| one evaluation, large, {rows} x {FRAMES} frames, {_name(dtype)} | {1e3 * spent:.1f} ms | "
                f"{rate:.0f} TFLOP/s, {rate / limit:.2f} x a product's {limit:.0f}; {single[rows] / spent:.1f} x as "
                "fast as float32 |"
            )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def pooled(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """As `randomise`, but the transformer's tensors share one memory, which is quick to write and to read."""
    parts = dict(model.named_children())
    shapes = {f"transformer.{name}": value.shape for name, value in parts.pop("transformer").state_dict().items()}
    pool = torch.randn(max(shape.numel() for shape in shapes.values()), generator=generator) / 50
    shared = {name: pool[: shape.numel()].view(shape) for name, shape in shapes.items()}
    return {**shared, **randomise(nn.ModuleDict(parts), generator)}


def query(seconds: float) -> Query:
    """Noise and a text."""
    samples = 0.1 * torch.randn(1, int(48_000 * seconds), generator=torch.Generator().manual_seed(0))
    return Query(mixture=Audio(samples, 48_000), prompt=Prompt(text="a dog barking"))


def answers(folder: Path) -> Iterator[str]:
    """Whole answers of the large size with the released solver: 32 evaluations, from samples to samples."""
    one, long = query(10), query(120)
    for dtype, compiled in (("float32", False), ("bfloat16", False), ("bfloat16", True)):
        torch.cuda.reset_peak_memory_stats()
        separator = SAMAudioSeparator(str(folder), dtype=dtype, device="cuda", compile=compiled)
        alone = fastest(partial(separator.separate, [one], [0]), 2)
        memory = torch.cuda.max_memory_allocated() / GIB
        name = dtype + (", compiled" if compiled else "")
        yield f"| 10 s, large, {name} | {alone:.2f} s, {memory:.1f} GiB | real-time factor {alone / 10:.3f} |"
        if not compiled:
            together = fastest(partial(separator.separate_candidates, [one], [range(CANDIDATES)]), 1)
            memory, saved = torch.cuda.max_memory_allocated() / GIB, together / (CANDIDATES * alone)
            yield f"| {CANDIDATES} candidates | {together:.2f} s, {memory:.1f} GiB | {saved:.2f} x as many calls |"
            minutes = fastest(partial(separator.separate, [long], [0]), 1)
            yield f"| 120 s, multi-diffusion, {name} | {minutes:.2f} s | real-time factor {minutes / 120:.3f} |"
        del separator
        torch.cuda.empty_cache()


def codec() -> Iterator[str]:
    """The codec in exact float32, and with the TF32 that torch would choose."""
    torch.manual_seed(0)
    model = DACVAE(CodecConfig()).eval().to("cuda")
    model.fold_weight_norm()
    samples = 0.1 * torch.randn(1, 1, 480_000, device="cuda")
    with torch.inference_mode():
        latents = model.encode(samples)
        message = torch.zeros(1, BITS, device="cuda")
        calls: Sequence[tuple[str, Callable[[], Tensor]]] = (
            ("encode", partial(model.encode, samples)), ("decode", partial(model.decode, latents, message)),
        )  # fmt: skip
        for name, call in calls:
            with deterministic_fp32():
                exact, wanted = fastest(call), call()
            with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True):
                coarse, found = fastest(call), call()
            off = float((found - wanted).abs().max() / wanted.abs().max())
            yield (
                f"| codec, {name}, 10 s | {1e3 * exact:.0f} ms | {exact / coarse:.2f} x TF32, which would be off by "
                f"{off:.0e} of the peak |"
            )


def judges() -> Iterator[str]:
    """Eight candidates of one mixture, by the shipped judge and the released one's size, here and on the CPU."""
    with torch.device("cuda"):
        large = released()
    for name, judge in (("saj-mini", load()), ("released judge's size", large)):
        rate = judge.processor.rate
        mixture, some = noise(rate, SECONDS, 0), [noise(rate, SECONDS, seed + 1) for seed in range(CANDIDATES)]
        times = []
        for device in ("cuda", "cpu") if name == "saj-mini" else ("cuda",):
            judge.to(device)
            times.append(fastest(partial(judge.score, mixture, some, "dog barking"), 2))
        ratio = f"{times[1] / times[0]:.1f} x as fast as {torch.get_num_threads()} threads" if len(times) > 1 else ""
        yield f"| {CANDIDATES} answers of {SECONDS} s by {name} | {times[0]:.2f} s | {ratio} |"
        judge.to("cpu")


def rows() -> Iterator[str]:
    """All of them, the slow ones last."""
    yield from evaluations()
    yield from codec()
    yield from judges()
    with tempfile.TemporaryDirectory() as place:
        write_checkpoint(Path(place) / "large", LARGE, pooled)
        yield from answers(Path(place) / "large")


def main() -> None:
    """Measures, prints and writes the table."""
    if not torch.cuda.is_available():
        sys.exit("expected a CUDA device, found none")
    lines = [
        "# One GPU",
        "",
        f"Random weights, {torch.cuda.get_device_name()}, torch {torch.__version__}, written by `benchmarks/gpu.py`.",
        "Times are the fastest of some calls; float32 is exact, without TF32.",
        "",
        "| what | measured | ratio |",
        "| --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    for line in rows():
        print(line, flush=True)
        lines.append(line)
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
