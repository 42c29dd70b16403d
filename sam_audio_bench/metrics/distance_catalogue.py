"""Cards of the distances between sets of sounds, which are computed for a whole run instead of per item."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from sam_audio_bench.cards import MetricCard
from sam_audio_bench.errors import UsageError, unknown_name
from sam_audio_bench.files import expand_home
from sam_audio_bench.metrics.catalogue import CARDS
from sam_audio_bench.nn.hub import ModelSource

__all__ = [
    "BUILTIN_EMBEDDING",
    "DISTANCES",
    "MIN_RECORDINGS",
    "MIN_WINDOWS_PER_DIMENSION",
    "EmbeddingIdentity",
    "check_distances",
    "check_item_metric",
    "embedding_source",
]

BUILTIN_EMBEDDING = "saj-mini"
"""The embedding that is part of the package."""

MIN_RECORDINGS = 30
"""Minimum number of recordings for a distance to be ranked: with fewer, intervals are too narrow."""

MIN_WINDOWS_PER_DIMENSION = 2
"""Minimum number of windows per dimension of the embedding, in both sets, for `fad` to be ranked."""

EmbeddingIdentity = Mapping[str, str | float | None]
"""What embeddings depend on besides the sound, by name; sets are comparable if all of it is equal."""

_HERE = "sam_audio_bench.metrics.distributions:"

DISTANCES: dict[str, MetricCard] = {
    card.id: card
    for card in (
        MetricCard(
            id="fad",
            target=f"{_HERE}fad",
            summary="Fréchet audio distance of all answers from a reference set, extrapolated to infinitely many",
            cites=("kilgour2019fad", "gui2024adapting"),
            unit="",
            higher_is_better=False,
            tolerance=1e-3,  # the order of a network's float32 sums depends on the machine
        ),
        MetricCard(
            id="kad",
            target=f"{_HERE}kad",
            summary="kernel audio distance of all answers from a reference set: 100 times the unbiased squared MMD",
            cites=("chung2025kad",),
            unit="",
            higher_is_better=False,
            tolerance=1e-3,  # as for fad
        ),
    )
}
"""Cards by id; `metrics.catalogue.CARDS` holds the metrics that are scored per item."""


def check_distances(names: Iterable[str]) -> list[str]:
    """Returns the names without duplicates; raises UsageError for a name that is not a distance."""
    chosen = list(dict.fromkeys(names))
    for name in chosen:
        if name in CARDS:
            raise UsageError(
                f"expected distances of whole runs ({', '.join(DISTANCES)}), found {name}, which is scored item by "
                f"item; write `sabench score RUNS --metrics {name}`"
            )
        if name not in DISTANCES:
            raise unknown_name("metric", name, DISTANCES)
    return chosen


def check_item_metric(name: str) -> None:
    """Raises UsageError if a name that should be that of a metric of items is that of a distance."""
    if name.removesuffix("_i") in DISTANCES:
        own = name.removesuffix("_i")
        raise UsageError(
            f"expected metrics of items, found {name}: {own} is one number of a whole run; evaluate without it, and "
            f"then write `sabench distance RUNS --metric {own}`"
        )


def embedding_source(spelling: str) -> ModelSource | None:
    """Returns where to find the model of ``--embedding``; None for the built-in one. Only names of files are checked.

    Args:
        spelling: `BUILTIN_EMBEDDING`, a folder, or ``owner/name`` with or without ``@revision`` on the hub.

    Raises:
        UsageError: ``spelling`` is none of these.
    """
    if spelling == BUILTIN_EMBEDDING:
        return None
    folder = expand_home(spelling)
    hub = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", spelling)
    if not Path(folder).is_dir() and hub is None:
        raise UsageError(
            f"expected --embedding {BUILTIN_EMBEDDING}, the folder of a model, or its id on the hub "
            f"(owner/name@revision), found {spelling!r}"
        )
    place = {"path": str(folder)} if Path(folder).is_dir() else {}
    return ModelSource(
        repository=hub[1] if hub is not None and not place else "OWNER/MODEL",
        revision=(hub[2] if hub is not None and not place else None) or "main",
        weights=("model.safetensors", "pytorch_model.bin"),
        files=(("preprocessor_config.json", "processor_config.json"),),
        config_entries=(("model_type", None),),
        folder_option="--embedding DIR",
        **place,
    )
