"""Cards of the distances between sets of sounds: numbers of a whole run, which no item has."""

from __future__ import annotations

from sam_audio_bench.cards import MetricCard

__all__ = ["DISTANCES", "FEWEST_RECORDINGS", "FEWEST_WINDOWS", "WHAT_TO_WRITE"]

FEWEST_RECORDINGS = 30
"""Of answers, without which no distance is ranked: intervals are too narrow below."""

FEWEST_WINDOWS = 2
"""Times the width of the embedding, in answers and in the reference set, without which `fad` is not ranked."""

WHAT_TO_WRITE = "`sabench eval` without it, and then `sabench distance RUNS --metric {}`"

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
