"""Cards of the distances between sets of sounds: numbers of a whole run, which no item has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from sam_audio_bench.cards import MetricCard
from sam_audio_bench.errors import UsageError, unknown_name
from sam_audio_bench.files import expand_home
from sam_audio_bench.metrics.catalogue import CARDS
from sam_audio_bench.nn.hub import Source

__all__ = [
    "DISTANCES",
    "FEWEST_RECORDINGS",
    "FEWEST_WINDOWS",
    "OWN_EMBEDDING",
    "EmbeddingIdentity",
    "check_distances",
    "check_no_distance",
    "embedding_source",
]

OWN_EMBEDDING = "saj-mini"
"""The embedding that comes with the package."""

FEWEST_RECORDINGS = 30
"""Of answers, without which no distance is ranked: intervals are too narrow below."""

FEWEST_WINDOWS = 2
"""Times the width of the embedding, in answers and in the reference set, without which `fad` is not ranked."""

EmbeddingIdentity = Mapping[str, str | float | None]
"""What vectors depend on beside the sound, by name; sets of equal ones compare."""

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
            tolerance=1e-3,  # float32 sums of a network are taken in another order on another machine
        ),
        MetricCard(
            id="kad",
            target=f"{_HERE}kad",
            summary="kernel audio distance of all answers from a reference set: 100 times the unbiased squared MMD",
            cites=("chung2025kad",),
            unit="",
            higher_is_better=False,
            tolerance=1e-3,  # as above
        ),
    )
}
"""By id; `metrics.catalogue.CARDS` holds what is scored item by item."""


def check_distances(names: Iterable[str]) -> list[str]:
    """The names, each once; raises UsageError for one that is no distance."""
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


def check_no_distance(name: str) -> None:
    """Raises UsageError for the name of a distance, where a metric of items is meant."""
    if name.removesuffix("_i") in DISTANCES:
        own = name.removesuffix("_i")
        raise UsageError(
            f"expected metrics of items, found {name}: {own} is one number of a whole run; evaluate without it, and "
            f"then write `sabench distance RUNS --metric {own}`"
        )


def embedding_source(spelling: str) -> Source | None:
    """Where the model behind ``--embedding`` lies; None: the one of the package. Nothing is looked at but names.

    Args:
        spelling: `OWN_EMBEDDING`, a folder, or ``owner/name`` with or without ``@revision`` on the hub.

    Raises:
        UsageError: none of these.
    """
    if spelling == OWN_EMBEDDING:
        return None
    folder = expand_home(spelling)
    hub = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", spelling)
    if not Path(folder).is_dir() and hub is None:
        raise UsageError(
            f"expected --embedding {OWN_EMBEDDING}, the folder of a model, or its id on the hub (owner/name@revision), "
            f"found {spelling!r}"
        )
    place = {"path": str(folder)} if Path(folder).is_dir() else {}
    return Source(
        repository=hub[1] if hub is not None and not place else "OWNER/MODEL",
        revision=(hub[2] if hub is not None and not place else None) or "main",
        weights=("model.safetensors", "pytorch_model.bin"),
        files=(("preprocessor_config.json", "processor_config.json"),),
        marks=(("model_type", None),),
        instead="--embedding DIR",
        **place,
    )
