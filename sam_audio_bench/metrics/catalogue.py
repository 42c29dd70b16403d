"""One card a score. The classes read their columns from here, so that listing metrics needs no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["CAP_DB", "CARDS", "DEFAULT", "FLOOR_DB", "MetricCard", "columns_of"]

FLOOR_DB = -100.0
"""The lowest ratio that is given: silence where a sound was asked for, or an answer orthogonal to it."""

CAP_DB = 100.0
"""What ±inf counts as in a mean; the tables say so wherever it was used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricCard:
    """What a reader and the planner need to know about one score without loading it."""

    id: str
    target: str  # "module:Class"
    summary: str
    unit: str = "dB"
    higher_is_better: bool = True
    needs: frozenset[str] = frozenset()  # of "reference", "residual_reference", "text", "spans", "video"
    version: int = 1  # raised whenever any value changes


def _ratio(name: str, kind: str, summary: str) -> tuple[MetricCard, MetricCard]:
    """The card of a reference metric and the one of its improvement over the mixture."""
    target = f"sam_audio_bench.metrics.ratios:{kind}"
    needs = frozenset({"reference"})
    return (
        MetricCard(id=name, target=target, summary=summary, needs=needs),
        MetricCard(id=f"{name}_i", target=target, summary=f"improvement of {name} over the mixture", needs=needs),
    )


_LEVELS = "sam_audio_bench.metrics.levels:"
_ALL = (
    *_ratio("snr", "SNR", "signal over error energy, no gain forgiven (uSDR, MDX SDR)"),
    *_ratio("si_sdr", "SISDR", "scale-invariant SDR, mean kept (Le Roux 2019)"),
    *_ratio("si_snr", "SISNR", "scale-invariant SNR, mean removed (Luo 2018)"),
    *_ratio("sd_sdr", "SDSDR", "scale-dependent SDR (Le Roux 2019)"),
    MetricCard(
        id="leak_db",
        target=_LEVELS + "Leak",
        summary="energy given out when the target is absent, over the mixture's",
        higher_is_better=False,
        needs=frozenset({"reference"}),
    ),
    MetricCard(
        id="reconstruction_db",
        target=_LEVELS + "Reconstruction",
        summary="mixture energy over that of mixture - target - residual",
    ),
)

CARDS: dict[str, MetricCard] = {card.id: card for card in _ALL}
DEFAULT = ("si_sdr", "si_sdr_i", "snr_i", "leak_db", "reconstruction_db")


def columns_of(target: str, cards: Iterable[MetricCard] = _ALL) -> tuple[str, ...]:
    """Ids of the scores that one class computes, in catalogue order."""
    return tuple(card.id for card in cards if card.target == target)
