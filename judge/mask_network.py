"""A small mask network trained on the pool, a family of estimates: ``python -m judge.mask_network --pool P --out O``.

Its inputs are a mixture and the kind of the target (speech, singing, music or effects), its outputs are gains for the
spectrogram; other sources of that kind are retained. The same pool, seed and steps give the same file. Interrupted
training resumes.
"""

from __future__ import annotations

import argparse
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor, nn

from judge.degrade import RATE, TRANSFORM
from judge.queries import SourceChoice, StemIndex, draw_query
from judge.stems import Stem, load_pool, mini_pool
from sam_audio_bench.errors import BenchError, Precondition, StoreError
from sam_audio_bench.files import atomic_write, load_json, sha256, write_json
from sam_audio_bench.run.progress import Progress

__all__ = ["KINDS", "MaskNetwork", "network_digest", "separated_by", "train"]

Signal = NDArray[np.float32]
Random = np.random.Generator

KINDS = ("speech", "singing", "music", "effects")
"""Kinds of targets."""

STEPS = 800
_BATCH = 16
_CLIP = 2 * RATE  # samples
_EVERY = 50  # steps between checkpoints
_RATE = 2e-3
_FLOOR = 1e-4  # of the power of a mixture whose RMS is 1
_WEIGHTS, _RECORD, _CHECKPOINT = "weights.safetensors", "mask-network.json", "checkpoint.pt"


class MaskNetwork(nn.Module):
    """GRU network that predicts gains from 0 to 1 for spectrograms; 0.2 million weights."""

    def __init__(self, inner: int = 128, state: int = 160) -> None:
        super().__init__()
        bins = TRANSFORM.size // 2 + 1
        self.given = nn.Linear(bins, inner)
        self.kind = nn.Embedding(len(KINDS), inner)
        self.memory = nn.GRU(inner, state, batch_first=True)
        self.gains = nn.Linear(state + inner, bins)

    def forward(self, magnitudes: Tensor, kinds: Tensor) -> Tensor:
        """Returns gains ``[B, T, F]`` for magnitudes ``[B, T, F]`` of mixtures with an RMS of 1, and kinds ``[B]``."""
        projected = self.given((magnitudes**2 / TRANSFORM.size + _FLOOR).log() / 4)
        inner = torch.relu(projected + self.kind(kinds)[:, None])
        remembered, _ = self.memory(inner)
        gains: Tensor = self.gains(torch.cat([remembered, inner], dim=-1)).sigmoid()
        return gains


def separated_by(folder: Path, mixture: Signal, kind: str) -> Signal:
    """Separates a target of one of `KINDS` from a mixture by the network in a folder."""
    level = _rms(mixture)
    spectrum = TRANSFORM.forward(mixture / np.float32(level))
    with torch.inference_mode():
        gains = _loaded(folder)(torch.from_numpy(np.abs(spectrum))[None], torch.tensor([KINDS.index(kind)]))[0]
    return TRANSFORM.inverse(spectrum * gains.numpy(), len(mixture)) * np.float32(level)


def network_digest(folder: Path) -> str:
    """Returns the digest of the weights in a folder.

    Raises:
        Precondition: there are none. StoreError: they differ from the recorded ones.
    """
    if not (folder / _WEIGHTS).is_file() or not (folder / _RECORD).is_file():
        raise Precondition(
            f"expected a mask network in {folder}, found none; train it with `python -m judge.mask_network`"
        )
    digest = sha256((folder / _WEIGHTS).read_bytes())
    if digest != load_json(folder / _RECORD)["sha256"]:
        raise StoreError(f"expected {folder / _WEIGHTS} as {_RECORD} records it, found another; train it again")
    return digest


@lru_cache(maxsize=2)
def _loaded(folder: Path) -> MaskNetwork:
    network_digest(folder)
    network = MaskNetwork()
    network.load_state_dict(load((folder / _WEIGHTS).read_bytes()))
    return network.eval()


def train(
    stems: tuple[Stem, ...], out: Path, *, steps: int = STEPS, seed: int = 1, progress: bool | None = None
) -> Path:
    """Trains on the stems of split "train" and returns the folder; a complete one is kept.

    Args:
        stems: stems of the pool.
        out: folder of the weights, which holds checkpoints until training is complete.
        steps: number of steps, each of 16 mixtures of 2 s.
        seed: determines all random numbers.
        progress: whether to show a progress bar; None: only on a terminal.
    """
    chosen = sorted((stem for stem in stems if stem.split == "train"), key=lambda stem: stem.id)
    plan = {"stems": sha256("\n".join(stem.id for stem in chosen).encode()), "steps": steps, "seed": seed}
    if (out / _RECORD).is_file() and load_json(out / _RECORD)["plan"] == plan:
        network_digest(out)
        return out
    torch.set_num_threads(1)
    roles = StemIndex(chosen)
    network, optimizer, first = _start(out / _CHECKPOINT, plan)
    with Progress(steps, show=progress) as bar:
        count = bar.item_callback("mask network")
        for step in range(steps):
            if step >= first:
                _step(network, optimizer, SourceChoice(roles, roles, augment=True), step, plan)
                if (step + 1) % _EVERY == 0 and step + 1 < steps:
                    _keep(out / _CHECKPOINT, network, optimizer, step + 1, plan)
            count(None)
    content = save({name: weight.contiguous() for name, weight in network.state_dict().items()})
    with atomic_write(out / _WEIGHTS) as temporary:
        temporary.write_bytes(content)
    write_json(out / _RECORD, {"plan": plan, "sha256": sha256(content)})
    (out / _CHECKPOINT).unlink(missing_ok=True)
    return out


def _start(path: Path, plan: dict[str, Any]) -> tuple[MaskNetwork, torch.optim.Optimizer, int]:
    """Returns a new network, or that of a checkpoint of the same plan, with its optimizer and the steps made."""
    torch.manual_seed(plan["seed"])
    network = MaskNetwork()
    optimizer = torch.optim.Adam(network.parameters(), lr=_RATE)
    if not path.is_file():
        return network, optimizer, 0
    kept = torch.load(path, weights_only=True)
    if kept["plan"] != plan:
        return network, optimizer, 0
    network.load_state_dict(kept["network"])
    optimizer.load_state_dict(kept["optimizer"])
    return network, optimizer, int(kept["steps"])


def _keep(path: Path, network: MaskNetwork, optimizer: torch.optim.Optimizer, steps: int, plan: dict[str, Any]) -> None:
    kept = {"plan": plan, "network": network.state_dict(), "optimizer": optimizer.state_dict(), "steps": steps}
    with atomic_write(path) as temporary:
        torch.save(kept, temporary)


def _step(
    network: MaskNetwork, optimizer: torch.optim.Optimizer, casting: SourceChoice, step: int, plan: dict[str, Any]
) -> None:
    """Makes one training step on compressed magnitudes; the learning rate falls to a twentieth."""
    random = np.random.default_rng([plan["seed"], step])
    drawn = [_example(casting, random) for _ in range(_BATCH)]
    mixtures, targets = (torch.from_numpy(np.stack([one[part] for one in drawn])) for part in (0, 1))
    gains = network(mixtures, torch.tensor([one[2] for one in drawn]))
    loss = ((gains * mixtures + 1e-6) ** 0.5 - (targets + 1e-6) ** 0.5).square().mean()
    for group in optimizer.param_groups:
        group["lr"] = _RATE * (0.05 + 0.475 * (1 + math.cos(math.pi * step / plan["steps"])))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()


def _example(casting: SourceChoice, random: Random) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    """Draws magnitudes of 2 s of a mixture and of its sources of one kind, and that kind."""
    domains = casting.targets.domains
    drawn = draw_query(casting, domains[random.integers(len(domains))], random)
    kinds = ["singing" if stem.label == "singing" else stem.domain for stem in drawn.stems]
    chosen = kinds[random.integers(len(kinds))]
    sources = zip(kinds, (drawn.scene.target, *drawn.scene.others), strict=True)
    target: Signal = np.sum([source for kind, source in sources if kind == chosen], axis=0)
    start = int(random.integers(0, max(1, len(target) - _CLIP + 1)))
    mixture, target = (_cut(signal, start) for signal in (drawn.scene.mixture, target))
    level = np.float32(_rms(mixture))
    magnitudes = [np.abs(TRANSFORM.forward(signal / level)) for signal in (mixture, target)]
    return magnitudes[0], magnitudes[1], KINDS.index(chosen)


def _cut(signal: Signal, start: int) -> Signal:
    part = signal[start : start + _CLIP]
    return np.pad(part, (0, _CLIP - len(part)))


def _rms(signal: Signal) -> float:
    return max(float(np.sqrt(np.mean(np.square(signal, dtype=np.float64)))), 1e-6)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m judge.mask_network", description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=Path, default=Path("judge/made/pool"), help="default: %(default)s")
    parser.add_argument("--stems", choices=["pool", "mini"], default="pool", help="mini: for trials")
    parser.add_argument("--out", type=Path, default=Path("judge/made/mask-network"), help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=STEPS, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        stems = mini_pool() if options.stems == "mini" else load_pool(options.pool)
        print(train(stems, options.out, steps=options.steps, seed=options.seed))
    except BenchError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
