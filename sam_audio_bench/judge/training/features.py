"""Caches features of the frozen encoder in float16, under names that identify clips and encoder.

A chunk holds the mixtures of one archive, or some files of a table, with their estimates. One process computes it,
and all processes memory-map it. A changed clip, encoder or sampling rate gives another chunk.
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
from sam_audio_bench.judge import front_end, spectral_features
from sam_audio_bench.judge.training.examples import Examples
from sam_audio_bench.judge.training.trainable_model import TrainableModel

__all__ = ["MIXTURE", "Chunk", "FeatureStore", "FrozenEncoder", "encode_mixture", "encode_share"]

MIXTURE = -1
"""Stands for the mixture itself in place of the index of an estimate."""

_MIXTURES = 64  # maximum per chunk
_FORMAT = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class FrozenEncoder:
    """The frozen encoder of a judge, with settings for preparing its input."""

    model: TrainableModel
    digest: str  # of the frozen weights and the code that uses them
    max_seconds: float
    device: torch.device

    @classmethod
    def of(cls, model: TrainableModel, *, max_seconds: float, device: torch.device) -> FrozenEncoder:
        """Returns the frozen encoder of a model, with its digest."""
        judge = model.judge
        prefixes: tuple[str, ...] = ("audio_codec.",) if judge.ear is None else ("ear.listener.",)
        if judge.ear is None and not model.trains_backbone:
            prefixes += ("data_proj.", "transformer.")
        digest = hashlib.sha256(f"{_FORMAT} {judge.processor.rate} {judge.processor.hop} {max_seconds}".encode())
        if judge.ear is not None:
            for code in (front_end, spectral_features):  # the code that compares signals
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
        folder: folder of the chunks.
        chunks: chunks to open.
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
        """Returns the number of frames of a mixture and its estimates."""
        return self._places[mixture, MIXTURE][2]

    def states(self, mixture: int, estimate: int = MIXTURE) -> NDArray[np.float16]:
        """Returns features ``[F, C]`` of a mixture, or of an estimate."""
        number, start, frames, width = self._places[mixture, estimate]
        found: NDArray[np.float16] = self._arrays[number][start : start + frames * width].reshape(frames, width)
        return found

    def batch(self, pairs: Iterable[tuple[int, int]], size: int) -> Tensor:
        """Returns features of pairs of mixture and estimate, float32 ``[B, size, C]``; shorter ones repeat a frame."""
        found = []
        for pair in pairs:
            states = np.asarray(self.states(*pair), np.float32)
            missing = size - len(states)
            found.append(np.concatenate([states, np.repeat(states[-1:], missing, axis=0)]) if missing else states)
        return torch.from_numpy(np.stack(found))


def encode_mixture(
    encoder: FrozenEncoder, examples: Examples, mixture: int, estimates: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Encodes a mixture ``[F, C]`` and its estimates ``[K, F, C']``, given by indices of clips.

    Raises:
        MediaError: a clip cannot be read. UsageError: an estimate is not as long as the mixture.
    """
    judge = encoder.model.judge
    places = (mixture, *estimates)
    waves = [examples.clips[place].read_mono(judge.processor.rate, encoder.max_seconds) for place in places]
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
    """Divides all clips into chunks that are named by digests of their content; reads the bytes of every clip."""
    pairs = examples.rows[["mixture", "answer"]].drop_duplicates().sort_values(["mixture", "answer"])
    estimates: dict[int, list[int]] = {}
    for mixture, estimate in zip(pairs["mixture"], pairs["answer"], strict=True):
        estimates.setdefault(int(mixture), []).append(int(estimate))
    chunks = []
    for mixtures in _group_mixtures(list(estimates), examples):
        digest = hashlib.sha256(encoder.digest.encode())
        for mixture in mixtures:
            for place in (mixture, *estimates[mixture]):
                digest.update(f"{'m' if place == mixture else 'a'} {examples.clips[place].digest()}".encode())
        chunks.append(
            Chunk(digest.hexdigest()[:32], tuple((mixture, tuple(estimates[mixture])) for mixture in mixtures))
        )
    return chunks


def _is_encoded(folder: Path, chunk: Chunk) -> bool:
    """Returns whether a chunk is complete; its JSON is written last."""
    return (folder / f"{chunk.name}.json").is_file() and (folder / f"{chunk.name}.npy").is_file()


def _encode_chunk(folder: Path, chunk: Chunk, examples: Examples, encoder: FrozenEncoder) -> None:
    """Encodes one chunk and writes it atomically.

    Raises:
        MediaError: a clip cannot be read. UsageError: an estimate is not as long as its mixture.
    """
    states: list[NDArray[np.float16]] = []
    for mixture, estimates in chunk.pairs:
        own, others = encode_mixture(encoder, examples, mixture, estimates)
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
        folder: folder of the chunks.
        examples: examples whose clips are encoded.
        encoder: the frozen encoder.
        rank: rank of this process.
        ranks: number of processes; all chunks exist when all have finished.
        progress: callback (done, total) over the chunks of this process.
    """
    chunks = _plan_chunks(examples, encoder)
    by_size = sorted(chunks, key=lambda chunk: len(chunk.pairs))  # so that processes have about equal work
    own = [chunk for chunk in by_size[rank::ranks] if not _is_encoded(folder, chunk)]
    for done, chunk in enumerate(own):
        progress(done, len(own))
        _encode_chunk(folder, chunk, examples, encoder)
    progress(len(own), len(own))
    return chunks


def _keys(chunk: Chunk) -> Iterable[tuple[int, int]]:
    """Yields the keys of the features of a chunk, in order."""
    for mixture, estimates in chunk.pairs:
        yield mixture, MIXTURE
        yield from ((mixture, estimate) for estimate in estimates)


def _group_mixtures(mixtures: list[int], examples: Examples) -> Iterable[list[int]]:
    """Yields groups of at most `_MIXTURES` mixtures that are in the same archive, or in none."""
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
