"""Selects recordings that represent classes: ``python -m judge.prototypes --pool P --listener L --words W --out O``.

Stems of the split "train" are embedded by the audio encoder, 5 s each. Linear discriminant analysis finds the
directions in which classes differ more than recordings of the same class (Fisher 1936; Hastie et al., 2009, 4.3). The
recordings that represent a class best are its prototypes, at most sixteen from different groups, selected greedily to
cover the class. ``recordings.json`` names the group of each, so that training can leave out those of a mixture's own
recordings.

Letters: N stems, E embedding, D directions, A texts, t of a text.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from safetensors.torch import save_file
from scipy.linalg import eigh
from torch.nn import functional as F

from judge.stems import Stem, load_pool, load_samples, mini_pool
from sam_audio_bench.files import atomic_write, write_json
from sam_audio_bench.judge.audio_encoder import RATE, AudioEncoder, AudioEncoderConfig, log_mel
from sam_audio_bench.judge.prompt_features import VOICES
from sam_audio_bench.judge.training.trainable_model import load_part
from sam_audio_bench.judge.word_vectors import WordTokenizer, WordVectors
from sam_audio_bench.nn.checkpoint import load_strict

__all__ = ["discriminant", "embed", "main", "representatives"]

WIDTH = 64
_MOST = 16  # prototypes per class
_SECONDS = 5
_LEVEL = 10 ** (-26 / 20)
_SHRINKAGE = 0.1  # of the within-class covariance towards a sphere

_VOCALS = ("vocals", "lead vocals", "vocal track", "voice")
_ALSO = MappingProxyType({"man": _VOCALS, "woman": _VOCALS, "child": _VOCALS})
"""Additional texts of classes: a prompt for the vocals of a song means the voice, whether it sings, raps or speaks."""

Floats = NDArray[np.float64]


def load_listener(place: str) -> AudioEncoder:
    """Loads an audio encoder from its own folder, or that of a small judge given by folder or name."""
    part = load_part("listener", place)
    found = AudioEncoder(AudioEncoderConfig.of(part.config))
    load_strict(found, part.tensors, source=part.folder)
    return found.float().eval()


def embed(listener: AudioEncoder, signal: NDArray[np.float32]) -> Floats:
    """Returns the mean embedding ``[E]`` of a clip's first seconds, weighted by energy."""
    clip = torch.tensor(signal[: _SECONDS * RATE])
    clip = clip[: max(len(clip) // 2560, 1) * 2560]
    clip = F.pad(clip, (0, -len(clip) % 2560))
    rows = log_mel((clip * (_LEVEL / clip.square().mean().sqrt().clamp(min=1e-9)))[None])
    with torch.inference_mode():
        embeddings = listener.encode(rows)[0].double()
    weight = (2 * rows[0].double()).exp().mean(dim=1).unflatten(0, (-1, 16)).mean(dim=1)
    found: Floats = ((embeddings * weight[:, None]).sum(dim=0) / weight.sum()).numpy()
    return found


def discriminant(values: Floats, labels: Sequence[str], width: int = WIDTH) -> tuple[Floats, Floats]:
    """Returns the centre ``[E]`` and the directions ``[E, D]`` in which classes differ; classes have equal weight."""
    names = sorted(set(labels))
    codes = np.searchsorted(names, labels)
    means = np.stack([values[codes == code].mean(axis=0) for code in range(len(names))])
    inside = [np.cov((values[codes == code] - means[code]).T, bias=True) for code in range(len(names))]
    within = np.mean(inside, axis=0)
    within += _SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
    centre = means.mean(axis=0)
    between = np.cov((means - centre).T, bias=True)
    _, vectors = eigh(between, within)
    return centre, vectors[:, ::-1][:, :width]


def representatives(directions: Floats, groups: Sequence[str], most: int = _MOST) -> list[int]:
    """Returns indices of rows ``[N, D]``, unit vectors, that cover the others best, at most one per group."""
    likeness = directions @ directions.T
    covered, chosen = np.full(len(directions), -1.0), list[int]()
    taken: set[str] = set()
    while len(chosen) < most and len(taken) < len(set(groups)):
        free = [row for row, group in enumerate(groups) if group not in taken]
        best = max(free, key=lambda row: float(np.maximum(covered, likeness[row]).sum()))
        chosen.append(best)
        taken.add(groups[best])
        covered = np.maximum(covered, likeness[best])
    return chosen


def make(stems: Sequence[Stem], listener: AudioEncoder, words: Path, out: Path) -> None:
    """Writes ``config.json``, ``model.safetensors`` and ``recordings.json``."""
    values = np.stack([embed(listener, load_samples(stem.path)) for stem in track(stems, "recordings")])
    labels = [stem.label for stem in stems]
    centre, projection = discriminant(values, labels)
    directions = (values - centre) @ projection
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    names, rows, owners = sorted(set(labels)), list[int](), list[int]()
    for code, name in enumerate(names):
        own = [row for row, label in enumerate(labels) if label == name]
        chosen = representatives(directions[own], [stems[row].group for row in own])
        rows += [own[row] for row in chosen]
        owners += [code] * len(chosen)
    labelled = [(text, code) for code, name in enumerate(names) for text in sorted(
             {*_ALSO.get(name, ()), *(text for stem in stems if stem.label == name for text in (name, *stem.prompts))})
             ]  # fmt: skip
    texts, voices = _texts([*(text for text, _ in labelled), *VOICES], words).split([len(labelled), len(VOICES)])
    tensors = {
        "centre": torch.tensor(centre, dtype=torch.float32),
        "projection": torch.tensor(projection.copy(), dtype=torch.float32),
        "table": torch.tensor(directions[rows], dtype=torch.float32),
        "owner": torch.tensor(owners),
        "texts": texts.clone(),
        "meaning": torch.tensor([code for _, code in labelled]),
        "voices": voices.clone(),
    }
    with atomic_write(out / "model.safetensors") as temporary:
        save_file(tensors, temporary)
    write_json(out / "recordings.json", [stems[row].group for row in rows])
    sizes = {"count": len(rows), "classes": len(names), "texts": len(labelled), "width": projection.shape[1]}
    write_json(out / "config.json", sizes)


def _texts(texts: Sequence[str], words: Path) -> torch.Tensor:
    """Returns unit vectors of texts, ``[A, t]``."""
    found: torch.Tensor = WordVectors.of_folder(words)(*WordTokenizer(words)(texts))
    return found


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="Choose recordings by which a judge knows a class.")
    parser.add_argument("--pool", type=Path, help="folder of stems; default: the bundled ones, for a dry run")
    parser.add_argument("--listener", default="judge/made/listener")
    parser.add_argument("--words", type=Path, default=Path("judge/made/words"))
    parser.add_argument("--out", type=Path, default=Path("judge/made/prototypes"))
    given = parser.parse_args()
    pool = load_pool(given.pool) if given.pool else mini_pool()
    make([stem for stem in pool if stem.split == "train"], load_listener(given.listener), given.words, given.out)


if __name__ == "__main__":
    main()
