"""Trivial baselines, to compare every other separator with: the mixture, and silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from sam_audio_bench.types import Audio, Query, Separation

__all__ = ["Mixture", "Silence"]


def _silent(audio: Audio) -> Audio:
    """Returns zeros of the same shape and rate."""
    return Audio(torch.zeros_like(audio.samples), audio.rate)


class Mixture:
    """Returns the mixture, bit for bit, and a silent residual: the zero of every improvement."""

    name = "mixture"
    deterministic = True
    settings: Mapping[str, str | int | float] = {}

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Returns one estimate per query, in order; the seeds are ignored."""
        return [Separation(target=query.mixture, residual=_silent(query.mixture)) for query in queries]


class Silence:
    """Returns digital silence, and the mixture as the residual: perfect only if the target is absent."""

    name = "silence"
    deterministic = True
    settings: Mapping[str, str | int | float] = {}

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Returns one estimate per query, in order; the seeds are ignored."""
        return [Separation(target=_silent(query.mixture), residual=query.mixture) for query in queries]
