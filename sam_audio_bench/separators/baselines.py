"""The two answers that know nothing; every other separator is read against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from sam_audio_bench.types import Audio, Query, Separation

__all__ = ["Mixture", "Silence"]


def _silent(audio: Audio) -> Audio:
    """Zeros of the same shape and rate."""
    return Audio(torch.zeros_like(audio.samples), audio.rate)


class Mixture:
    """Gives back the mixture, bit for bit, and a silent residual: the zero of every improvement."""

    name = "mixture"
    deterministic = True
    settings: Mapping[str, str | int | float] = {}

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Answers in the order of the queries; nothing is drawn, so the seeds do not matter."""
        return [Separation(target=query.mixture, residual=_silent(query.mixture)) for query in queries]


class Silence:
    """Gives back digital silence, and the whole mixture as the residual: perfect only where the target is absent."""

    name = "silence"
    deterministic = True
    settings: Mapping[str, str | int | float] = {}

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Answers in the order of the queries; nothing is drawn, so the seeds do not matter."""
        return [Separation(target=_silent(query.mixture), residual=query.mixture) for query in queries]
