"""The bundled separator at its real sizes, with random weights: speed against the machine's own GEMM, memory, growth.

Run: python benchmarks/sam_audio.py (about ten minutes on two cores; needs 8 GiB of disk for the time being). Prints a
table and writes benchmarks/sam_audio.md. Memory is the peak of a process of its own that loads a checkpoint of the size
of ``sam-audio-small`` (the vision tower's weights are zeros that no page holds) and answers one text prompt with one
evaluation of the transformer: further evaluations need no more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does, before torch is loaded

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sam_audio_bench.files import write_json
from sam_audio_bench.nn import flow
from sam_audio_bench.nn.config import SAMAudioConfig, TransformerConfig
from sam_audio_bench.nn.dit import DiT
from sam_audio_bench.nn.layers import linear
from sam_audio_bench.nn.model import Conditions, SAMAudio
from sam_audio_bench.nn.tiny import randomise, write_tiny_checkpoint, write_tokenizer

GIB = 2**30
FRAMES, TOKENS, ROUNDS = 250, 16, 5
SMALL: dict[str, Any] = {"dim": 1536, "n_heads": 12, "n_layers": 12, "context_dim": 1536}
T5_BASE: dict[str, Any] = {
    "vocab_size": 32_128, "d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12,
}  # fmt: skip


def fastest(call: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Seconds of the fastest of some calls, after one that warms up."""
    call()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)


def gemm(product: Callable[..., Tensor], rows: int, width: int, hidden: int) -> float:
    """GFLOP/s of a float32 product of the transformer's largest shape."""
    x, weight = torch.randn(rows, width), torch.randn(hidden, width)
    return 2e-9 * rows * width * hidden / fastest(lambda: product(x, weight), 20)


def gflop(config: TransformerConfig, rows: int = 1) -> float:
    """Of one evaluation; counted on the meta device, since torch does not know the operators of oneDNN."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        x, memory = (torch.randn(rows, count, config.dim) for count in (FRAMES, TOKENS))
        DiT(config)(x, torch.rand(rows), memory=memory)
    counted: int = counter.get_total_flops()
    return 1e-9 * counted


def evaluation() -> list[str]:
    """One evaluation of the ``base`` size against the machine's own products, in both precisions."""
    torch.manual_seed(0)
    config = TransformerConfig()
    model = DiT(config).eval()
    given = {"x": torch.randn(1, FRAMES, config.dim), "memory": torch.randn(1, TOKENS, config.dim)}
    moment, sizes = torch.tensor([0.5]), (FRAMES, config.dim, config.hidden)
    with torch.inference_mode():
        limit, torchs = gemm(linear, *sizes), gemm(nn.functional.linear, *sizes)
        single = fastest(lambda: model(time=moment, **given))
        limit, torchs = max(limit, gemm(linear, *sizes)), max(torchs, gemm(nn.functional.linear, *sizes))
        model.to(torch.bfloat16)
        coarse = {name: value.bfloat16() for name, value in given.items()}
        half = fastest(lambda: model(time=moment, **coarse))
    rate = gflop(config) / single
    shape = f"dim {config.dim}, {config.n_layers} layers, {FRAMES} frames"
    ratios = f"{rate / limit:.2f} x oneDNN's GEMM of {limit:.0f}, {rate / torchs:.2f} x torch's of {torchs:.0f}"
    return [
        f"| one evaluation, {shape}, float32 | {single:.2f} s, {rate:.0f} GFLOP/s | {ratios} | >= 150 where a GEMM has "
        "190: 0.79 |",
        f"| the same, bfloat16 | {half:.2f} s | {single / half:.1f} x as fast as float32 | >= 1.6 |",
    ]


def write_checkpoint(
    folder: Path,
    transformer: Mapping[str, Any],
    random: Callable[[nn.Module, torch.Generator], dict[str, Tensor]] = randomise,
) -> None:
    """A random checkpoint of a released size with a T5 encoder of the base size."""
    import transformers

    folder.mkdir()
    text = {"name": "t5-base", "dim": 768, "max_length": 512, "pad_mode": "longest"}
    write_json(folder / "config.json", {"transformer": transformer, "text_encoder": text})
    write_json(folder / "t5_config.json", T5_BASE)
    write_tokenizer(folder)
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        model = SAMAudio(SAMAudioConfig.of_folder(folder))
        kind: Any = transformers.T5EncoderModel
        encoder = kind(transformers.T5Config(**T5_BASE))
    tower = {name: torch.zeros(()).expand(value.shape) for name, value in model.vision_encoder.state_dict().items()}
    del model.vision_encoder
    tensors = {**random(model, generator), **{f"vision_encoder.{name}": value for name, value in tower.items()}}
    tensors |= {f"text_encoder.model.{name}": value for name, value in randomise(encoder, generator).items()}
    torch.save(tensors, folder / "checkpoint.pt")


def answer(folder: str, seconds: str, *options: str) -> None:
    """Separates noise and prints peak memory and seconds: run in a process of its own."""
    from sam_audio_bench.options import parse_arguments
    from sam_audio_bench.registry import load_separator
    from sam_audio_bench.types import Audio, Prompt, Query

    separator: Any = load_separator(f"sam-audio:{folder}", parse_arguments(",".join(options)))
    samples = 0.1 * torch.randn(1, int(48_000 * float(seconds)))
    query = Query(mixture=Audio(samples, 48_000), prompt=Prompt(text="a dog barking"))
    begun = time.perf_counter()
    separator.separate([query], [0])
    spent = time.perf_counter() - begun
    print(json.dumps({"peak": peak(), "seconds": spent}))


def peak() -> float:
    """Largest resident set of this process in GiB, file-backed pages included (Linux).

    Not `getrusage`, whose maximum survives exec and so would be that of the process that wrote the checkpoint.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (found,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return found * 1024 / GIB


def asked(folder: Path, seconds: float, *options: str) -> dict[str, float]:
    """What `answer` measured."""
    command = [sys.executable, __file__, "answer", str(folder), str(seconds), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def memory(folder: Path) -> list[str]:
    """Peaks of a text prompt at the small size."""
    quick = ("solver=euler", "step=1", "offload=true")
    single, half = (asked(folder, 30, *quick, f"dtype={dtype}")["peak"] for dtype in ("float32", "bfloat16"))
    short, long = (asked(folder, seconds, *quick)["peak"] for seconds in (10, 60))
    return [
        f"| peak memory, small, text, 30 s, float32 | {single:.2f} GiB | | <= 6 |",
        f"| the same, bfloat16 | {half:.2f} GiB | | <= 4 |",
        f"| peak memory, small, text, 60 s | {long:.2f} GiB | {long / short:.2f} x that of 10 s | <= 1.5 |",
    ]


def growth() -> list[str]:
    """Seconds of one jointly solved evaluation at the small size, at lengths that grow ninefold."""
    config = SAMAudioConfig(transformer=TransformerConfig.of(SMALL))
    torch.manual_seed(0)
    transformer = DiT(config.transformer).eval()
    found = []
    with torch.inference_mode():
        for seconds in (20, 60, 180):
            frames = seconds * 25
            pieces = flow.split_windows(frames, 500, 125)
            given = Conditions(torch.randn(1, frames, SMALL["dim"]), torch.randn(1, TOKENS, SMALL["dim"]))

            def velocity(piece: slice, given: Conditions = given) -> flow.Velocity:
                def one(moment: Tensor, state: Tensor) -> Tensor:
                    x = given.frames[:, piece]
                    found: Tensor = transformer(x, moment.expand(1), memory=given.text)
                    return found

                return one

            joint = flow.multi_diffusion([velocity(piece) for piece in pieces], pieces)
            inputs = torch.tensor(0.5), torch.zeros(1, frames, config.transformer.out_channels)
            found.append((seconds, len(pieces), fastest(partial(joint, *inputs), 2)))
    each = ", ".join(f"{seconds} s: {spent:.1f} s in {count} windows" for seconds, count, spent in found)
    per_window = [spent / count for _, count, spent in found]
    return [
        f"| one long-form evaluation, small | {each} | slowest window {max(per_window) / min(per_window):.2f} x the "
        "fastest | linear: about 1 |"
    ]


def long_file(folder: Path) -> list[str]:
    """Peaks of the tiny size: the networks weigh nothing, so this is what a long file costs."""
    write_tiny_checkpoint(folder)
    options = ("solver=euler", "step=1")
    minute, ten = (asked(folder, seconds, *options) for seconds in (60, 600))
    return [
        f"| ten minutes, tiny, multi-diffusion | {ten['peak']:.2f} GiB, {ten['seconds']:.0f} s | one minute "
        f"{minute['peak']:.2f} GiB, {minute['seconds']:.0f} s | bounded |"
    ]


def codec_rows() -> list[str]:
    """Rows of benchmarks/codec.py, from a process of its own: memory left by larger networks spares page faults."""
    script = Path(__file__).with_name("codec.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def main() -> None:
    """Measures, prints and writes the table."""
    torch.set_num_threads(2)
    rows = evaluation() + growth()
    with tempfile.TemporaryDirectory() as place:
        rows += long_file(Path(place) / "tiny")
        write_checkpoint(Path(place) / "small", SMALL)
        rows += memory(Path(place) / "small")
    lines = [
        "# The bundled separator",
        "",
        f"Random weights, {torch.get_num_threads()} threads, torch {torch.__version__}, written by",
        "`benchmarks/sam_audio.py`. Times are the fastest of some calls.",
        "",
        "| what | measured | ratio | goal |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        *codec_rows(),
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    if sys.argv[1:2] == ["answer"]:
        answer(*sys.argv[2:])
    else:
        main()
