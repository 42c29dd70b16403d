"""The mixtures that a judge was trained on, by short digests of their samples, in a file beside its weights.

A digest is of the mean of the channels in 16 bits and of the rate, so that a recording is known again in another file
format, but not resampled, cut or at another gain.
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

__all__ = ["FILE", "TrainedOn", "mixture_digest"]

FILE = "trained_on.npy"
"""8 bytes a mixture, sorted."""


def mixture_digest(mixture: Audio) -> int:
    """64 bits of what a mixture sounds like."""
    found = hashlib.sha256(f"{mixture.rate} ".encode())
    for (part,) in iter_blocks(mixture.samples):
        mono = part.mean(dim=0).detach().cpu().double().numpy()
        found.update(np.clip(np.round(np.nan_to_num(mono) * 2**15), -(2**15), 2**15 - 1).astype("<i2").tobytes())
    return int.from_bytes(found.digest()[:8])


@dataclass(frozen=True)
class TrainedOn:
    """Digests of mixtures; ``mixture in trained_on`` asks for one."""

    digests: frozenset[int] = frozenset()

    @classmethod
    def of_folder(cls, folder: Path) -> TrainedOn:
        """What a judge's folder tells; nothing where it does not. Raises Precondition for a damaged file."""
        path = folder / FILE
        if not path.is_file():
            return cls()
        try:
            found = np.load(path, allow_pickle=False)
            return cls(frozenset(map(int, found.astype(np.uint64).ravel())))
        except (OSError, ValueError, TypeError) as error:
            raise Precondition(
                f"expected digests of mixtures in {path}, found no file of numpy that can be read ({error}); "
                "export the judge again"
            ) from error

    def __len__(self) -> int:
        return len(self.digests)

    def __contains__(self, mixture: Audio) -> bool:
        return bool(self.digests) and mixture_digest(mixture) in self.digests

    def count(self, files: Iterable[Path]) -> int:
        """How many files hold a mixture of these; raises MediaError for one that cannot be read."""
        from sam_audio_bench import audio

        return sum(audio.read(path) in self for path in files) if self.digests else 0

    def and_of(self, mixtures: Iterable[Audio]) -> TrainedOn:
        """With further mixtures."""
        return TrainedOn(self.digests.union(map(mixture_digest, mixtures)))

    def write(self, folder: Path) -> None:
        """Writes the file of a judge's folder."""
        with atomic_write(folder / FILE) as temporary, temporary.open("wb") as file:
            np.save(file, np.array(sorted(self.digests), dtype="<u8"), allow_pickle=False)
