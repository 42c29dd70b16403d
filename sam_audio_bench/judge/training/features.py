"""Features of the frozen encoder, computed once and cached in float16, under names that identify clips and encoder.

A chunk holds the mixtures of one archive, or some files of a table, with their estimates. One process computes it,
all processes map it. A changed clip, encoder or rate gives another chunk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_audio_bench.devices import deterministic_fp32
from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import atomic_write, load_json, write_json
from sam_audio_bench.judge import front_end, impressions
from sam_audio_bench.judge.training.examples import Examples
from sam_audio_bench.judge.training.trainable_model import TrainableModel

__all__ = ["MIXTURE", "Chunk", "FeatureStore", "FrozenEncoder", "encode_mixture", "encode_share"]

MIXTURE = -1
"""Stands for the mixture itself where an estimate is expected."""

_MIXTURES = 64  # of a chunk, at most
_FORMAT = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class FrozenEncoder:
    """The frozen encoder of a judge, and how clips are prepared for it."""

    model: TrainableModel
    digest: str  # of the frozen weights and of their use
    max_seconds: float
    device: torch.device

    @classmethod
    def of(cls, model: TrainableModel, *, max_seconds: float, device: torch.device) -> FrozenEncoder:
        """The frozen encoder of a model, with its digest."""
        judge = model.judge
        prefixes: tuple[str, ...] = ("audio_codec.",) if judge.ear is None else ("ear.listener.",)
        if judge.ear is None and not model.trains_backbone:
            prefixes += ("data_proj.", "transformer.")
        digest = hashlib.sha256(f"{_FORMAT} {judge.processor.rate} {judge.processor.hop} {max_seconds}".encode())
        if judge.ear is not None:
            for code in (front_end, impressions):  # how signals are compared
                digest.update(Path(str(code.__file__)).read_bytes())
        for name, value in judge.state_dict().items():
            if name.startswith(prefixes):
                digest.update(name.encode())
                digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return cls(model=model, digest=digest.hexdigest(), max_seconds=max_seconds, device=device)


@dataclass(frozen=True)
class Chunk:
    """Mixtures with their estimates, by index of the clip."""

    name: str  # of its files
    pairs: tuple[tuple[int, tuple[int, ...]], ...]


class FeatureStore:
    """Cached features of clips by mixture and estimate; files are memory-mapped.

    Args:
        folder: of the chunks.
        chunks: to open.
    """

    def __init__(self, folder: Path, chunks: Sequence[Chunk]) -> None:
        self._arrays: list[NDArray[np.float16]] = []
        self._places: dict[tuple[int, int], tuple[int, int, int, int]] = {}
        for number, chunk in enumerate(chunks):
            places = load_json(folder / f"{chunk.name}.json")["places"]
            self._arrays.append(np.load(folder / f"{chunk.name}.npy", mmap_mode="r", allow_pickle=False))
            for key, (start, frames, width) in zip(_keys(chunk), places, strict=True):
                self._places[key] = number, start, frames, width

    def frames(self, mixture: int) -> int:
        """Number of frames of a mixture and its estimates."""
        return self._places[mixture, MIXTURE][2]

    def states(self, mixture: int, answer: int = MIXTURE) -> NDArray[np.float16]:
        """Features ``[F, C]`` of a mixture, or of an estimate."""
        number, start, frames, width = self._places[mixture, answer]
        found: NDArray[np.float16] = self._arrays[number][start : start + frames * width].reshape(frames, width)
        return found

    def batch(self, pairs: Iterable[tuple[int, int]], size: int) -> Tensor:
        """Features ``[B, size, C]`` by mixture and estimate, float32; shorter clips repeat their last frame."""
        found = []
        for pair in pairs:
            states = np.asarray(self.states(*pair), np.float32)
            missing = size - len(states)
            found.append(np.concatenate([states, np.repeat(states[-1:], missing, axis=0)]) if missing else states)
        return torch.from_numpy(np.stack(found))


def encode_mixture(
    encoder: FrozenEncoder, examples: Examples, mixture: int, answers: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Features of a mixture ``[F, C]`` and of its estimates ``[K, F, C']``, by index of the clip.

    Raises:
        MediaError: a clip that cannot be read. UsageError: an estimate of another length than the mixture.
    """
    judge = encoder.model.judge
    places = (mixture, *answers)
    waves = [examples.clips[place].wave(judge.processor.rate, encoder.max_seconds) for place in places]
    values, mask = judge.processor.audio(waves, judge.processor.rate)
    lengths = mask.sum(dim=1).tolist()
    for place, length in zip(places, lengths, strict=True):
        if length != lengths[0]:
            raise UsageError(
                f"expected {examples.clips[place]} to be as long as its mixture {examples.clips[mixture]}, "
                f"{lengths[0]} samples in whole frames, found {length}"
            )
    with torch.inference_mode(), deterministic_fp32():
        values = values.to(encoder.device)
        one, others = encoder.model.encode(values[:1], values[1:])
    return one[0], others


def _plan_chunks(examples: Examples, encoder: FrozenEncoder) -> list[Chunk]:
    """Divides all clips into chunks, each named after its content; reads every clip's bytes."""
    pairs = examples.rows[["mixture", "answer"]].drop_duplicates().sort_values(["mixture", "answer"])
    answers: dict[int, list[int]] = {}
    for mixture, answer in zip(pairs["mixture"], pairs["answer"], strict=True):
        answers.setdefault(int(mixture), []).append(int(answer))
    chunks = []
    for mixtures in _group_mixtures(list(answers), examples):
        digest = hashlib.sha256(encoder.digest.encode())
        for mixture in mixtures:
            for place in (mixture, *answers[mixture]):
                digest.update(f"{'m' if place == mixture else 'a'} {examples.clips[place].digest()}".encode())
        chunks.append(Chunk(digest.hexdigest()[:32], tuple((mixture, tuple(answers[mixture])) for mixture in mixtures)))
    return chunks


def _is_encoded(folder: Path, chunk: Chunk) -> bool:
    """Whether a chunk is complete; its JSON is written last."""
    return (folder / f"{chunk.name}.json").is_file() and (folder / f"{chunk.name}.npy").is_file()


def _encode_chunk(folder: Path, chunk: Chunk, examples: Examples, encoder: FrozenEncoder) -> None:
    """Encodes one chunk and writes it, atomically.

    Raises:
        MediaError: a clip that cannot be read. UsageError: an estimate of another length than its mixture.
    """
    states: list[NDArray[np.float16]] = []
    for mixture, answers in chunk.pairs:
        own, others = encode_mixture(encoder, examples, mixture, answers)
        states += [one.to("cpu", torch.float16).numpy() for one in (own, *others)]
    starts = [0, *np.cumsum([one.size for one in states]).tolist()]
    with atomic_write(folder / f"{chunk.name}.npy") as temporary, temporary.open("wb") as file:
        np.save(file, np.concatenate([one.ravel() for one in states]), allow_pickle=False)
    places = [(start, *one.shape) for start, one in zip(starts, states, strict=False)]
    write_json(folder / f"{chunk.name}.json", {"places": places})


def encode_share(
    folder: Path, examples: Examples, encoder: FrozenEncoder, *, rank: int, ranks: int, progress: Progress
) -> list[Chunk]:
    """Encodes this process's share of the missing chunks, and returns all chunks.

    Args:
        folder: of the chunks.
        examples: whose clips are encoded.
        encoder: the frozen encoder.
        rank: of this process.
        ranks: number of processes; all chunks are there when all are done.
        progress: callback (done, total) over the chunks of this process.
    """
    chunks = _plan_chunks(examples, encoder)
    by_size = sorted(chunks, key=lambda chunk: len(chunk.pairs))  # so that all processes have about as much to do
    own = [chunk for chunk in by_size[rank::ranks] if not _is_encoded(folder, chunk)]
    for done, chunk in enumerate(own):
        progress(done, len(own))
        _encode_chunk(folder, chunk, examples, encoder)
    progress(len(own), len(own))
    return chunks


def _keys(chunk: Chunk) -> Iterable[tuple[int, int]]:
    """Keys of the features of a chunk, in order."""
    for mixture, answers in chunk.pairs:
        yield mixture, MIXTURE
        yield from ((mixture, answer) for answer in answers)


def _group_mixtures(mixtures: list[int], examples: Examples) -> Iterable[list[int]]:
    """Groups of at most `_MIXTURES` mixtures of one archive or of no archive."""
    piece: list[int] = []
    source: Any = None
    for mixture in mixtures:
        clip = examples.clips[mixture]
        own = clip.path if clip.name else None
        if piece and (own != source or len(piece) == _MIXTURES):
            yield piece
            piece = []
        piece.append(mixture)
        source = own
    if piece:
        yield piece
