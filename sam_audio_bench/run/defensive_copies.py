"""Copies of sounds for components that may modify them in place."""

from __future__ import annotations

from dataclasses import replace

import torch

from sam_audio_bench.blocks import apply_blockwise
from sam_audio_bench.types import Audio, Item, Query, Separation

__all__ = ["copy_estimate", "copy_item", "copy_query"]


def copy_query(query: Query) -> Query:
    """Returns the query with a copy of its mixture."""
    return replace(query, mixture=Audio(query.mixture.samples.clone(), query.mixture.rate))


def copy_item(item: Item) -> Item:
    """Returns the item with copies of all its sounds."""
    reference, residual = (
        None if sound is None else _copy(sound) for sound in (item.reference, item.residual_reference)
    )
    others = {identifier: _copy(sound) for identifier, sound in item.others.items()}
    return replace(
        item, query=copy_query(item.query), reference=reference, residual_reference=residual,
        residual_sources=tuple(map(_copy, item.residual_sources)), others=others,
    )  # fmt: skip


def copy_estimate(estimate: Separation) -> Separation:
    """Returns the estimate with copies of its sounds."""
    return replace(estimate, target=_copy(estimate.target), residual=_copy(estimate.residual))


def _copy(sound: Audio) -> Audio:
    """Copies a sound, a long one to disk; not in `copy_query`, as separators need mixtures in memory anyway."""
    return Audio(apply_blockwise(torch.clone, sound.samples), sound.rate)
