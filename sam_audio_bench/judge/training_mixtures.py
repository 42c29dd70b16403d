"""The mixtures that a judge was trained on, stored as short digests in a file next to its weights.

A digest covers the mean of the channels in 16 bits and the sampling rate, so that a recording is recognised in another
file format, but not if it was resampled, cut or scaled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam_audio_bench.blocks import iter_blocks
from sam_audio_bench.errors import Precondition
from sam_audio_bench.files import atomic_write
from sam_audio_bench.types import Audio

__all__ = ["FILE", "TrainingMixtures", "mixture_digest"]

FILE = "trained_on.npy"
"""Name of the file in a judge's folder: 8 bytes per mixture, sorted."""


def mixture_digest(mixture: Audio) -> int:
    """Returns a 64-bit digest of a mixture's samples."""
    found = hashlib.sha256(f"{mixture.rate} ".encode())
    for (part,) in iter_blocks(mixture.samples):
        mono = part.mean(dim=0).detach().cpu().double().numpy()
        found.update(np.clip(np.round(np.nan_to_num(mono) * 2**15), -(2**15), 2**15 - 1).astype("<i2").tobytes())
    return int.from_bytes(found.digest()[:8])


@dataclass(frozen=True)
class TrainingMixtures:
    """Digests of training mixtures; supports ``mixture in training_mixtures``."""

    digests: frozenset[int] = frozenset()

    @classmethod
    def of_folder(cls, folder: Path) -> TrainingMixtures:
        """Reads the file in a judge's folder; empty if there is none. Raises Precondition for a damaged file."""
        path = folder / FILE
        if not path.is_file():
            return cls()
        try:
            found = np.load(path, allow_pickle=False)
            return cls(frozenset(map(int, found.astype(np.uint64).ravel())))
        except (OSError, ValueError, TypeError) as error:
            raise Precondition(
                f"expected digests of mixtures in {path}, found no readable NumPy file ({error}); "
                "export the judge again"
            ) from error

    def __len__(self) -> int:
        return len(self.digests)

    def __contains__(self, mixture: Audio) -> bool:
        return bool(self.digests) and mixture_digest(mixture) in self.digests

    def count(self, files: Iterable[Path]) -> int:
        """Counts the files that contain a training mixture; raises MediaError for one that cannot be read."""
        from sam_audio_bench import audio

        return sum(audio.read(path) in self for path in files) if self.digests else 0

    def extended(self, mixtures: Iterable[Audio]) -> TrainingMixtures:
        """Returns these mixtures and further ones."""
        return TrainingMixtures(self.digests.union(map(mixture_digest, mixtures)))

    def write(self, folder: Path) -> None:
        """Writes the file into a judge's folder."""
        with atomic_write(folder / FILE) as temporary, temporary.open("wb") as file:
            np.save(file, np.array(sorted(self.digests), dtype="<u8"), allow_pickle=False)
