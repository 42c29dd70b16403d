"""Copies of sounds for components that may change them in place."""

from __future__ import annotations

from dataclasses import replace

import torch

from sam_audio_bench.blocks import apply_blockwise
from sam_audio_bench.types import Audio, Item, Query, Separation

__all__ = ["own_estimate", "own_item", "own_query"]


def own_query(query: Query) -> Query:
    """The query with a mixture that its receiver may change."""
    return replace(query, mixture=Audio(query.mixture.samples.clone(), query.mixture.rate))


def own_item(item: Item) -> Item:
    """The item with sounds that its receiver may change."""
    reference, rest = (None if sound is None else _copy(sound) for sound in (item.reference, item.residual_reference))
    others = {identifier: _copy(sound) for identifier, sound in item.others.items()}
    return replace(
        item, query=own_query(item.query), reference=reference, residual_reference=rest,
        residual_sources=tuple(map(_copy, item.residual_sources)), others=others,
    )  # fmt: skip


def own_estimate(estimate: Separation) -> Separation:
    """The estimate with sounds that its receiver may change."""
    return replace(estimate, target=_copy(estimate.target), residual=_copy(estimate.residual))


def _copy(sound: Audio) -> Audio:
    """A long sound lies in a file again; a separator's mixture does not, since it is held as a whole anyway."""
    return Audio(apply_blockwise(torch.clone, sound.samples), sound.rate)
