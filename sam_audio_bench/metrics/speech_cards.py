"""Cards of the speech metrics, which `catalogue` includes."""

from __future__ import annotations

from typing import Any

from sam_audio_bench.cards import MetricCard

__all__ = ["SPEECH"]

_WORDS = 0.1  # a word in ten may be recognised differently on another machine


def _speech_card(name: str, target: str, summary: str, *needs: str, cites: str, **fields: Any) -> MetricCard:
    """Returns the card of a metric of speech."""
    return MetricCard(
        id=name,
        target=f"sam_audio_bench.metrics.{target}",
        summary=summary,
        cites=(cites,),
        needs=frozenset({"speech", *needs}),
        **fields,
    )


def _pesq_card(name: str, target: str, summary: str, highest: float) -> MetricCard:
    range_ = (0.999, highest)
    return _speech_card(
        name, target, summary, "reference", cites="rix2001pesq", unit="MOS", range=range_, tolerance=1e-3
    )


def _stoi_card(name: str, summary: str, cites: str) -> MetricCard:
    # version 1 converted other rates with soxr
    return _speech_card(
        name, "speech:STOI", summary, "reference", cites=cites, unit="", range=(-1.0, 1.0), tolerance=1e-4, version=2
    )


def _dnsmos_card(axis: str, summary: str) -> MetricCard:
    return _speech_card(
        f"dnsmos_{axis}",
        "speech:DNSMOS",
        summary,
        cites="reddy2022dnsmos",
        unit="MOS",
        range=(-0.5, 5.5),  # a regression may overshoot its scale
        tolerance=0.01,  # the order of a network's float32 sums depends on the machine
    )


SPEECH = (
    _pesq_card("pesq_wb", "speech:PESQ", "PESQ, wideband MOS-LQO (ITU-T P.862.2)", 4.644),
    _pesq_card("pesq_nb", "narrowband:NarrowbandPESQ", "PESQ, narrowband MOS-LQO (ITU-T P.862.1)", 4.549),
    _stoi_card("stoi", "short-time objective intelligibility (Taal 2011)", "taal2011stoi"),
    _stoi_card("estoi", "extended STOI, for modulated maskers (Jensen and Taal 2016)", "jensen2016estoi"),
    _dnsmos_card("ovrl", "predicted overall quality, no reference (DNSMOS P.835, Reddy 2022)"),
    _dnsmos_card("sig", "predicted quality of the speech signal, no reference"),
    _dnsmos_card("bak", "predicted quality of the background, no reference"),
    _speech_card(
        "srmr", "reverberation:SRMR", "slow over fast movements of envelopes: how little room is heard (Falk 2010)",
        cites="falk2010srmr", unit="", range=(0.0, None),
    ),
    _speech_card(
        "speaker_similarity", "speaker:SpeakerSimilarity",
        "cosine of the voices of answer and reference in the space of Resemblyzer (Wan 2018)", "reference",
        cites="wan2018ge2e", unit="cosine", range=(0.0, 1.0), tolerance=1e-3,  # as for `_dnsmos_card`
    ),
    _speech_card(
        "wer", "recognition:WordErrorRate", "word error rate of a speech recogniser on the answer, given transcripts",
        cites="radford2023whisper", unit="", higher_is_better=False, range=(0.0, None), tolerance=_WORDS,
    ),
    _speech_card(
        "dwer", "recognition:DifferentialWordErrorRate",
        "word error rate on the answer, against what the same recogniser hears in the reference", "reference",
        cites="radford2023whisper", unit="", higher_is_better=False, range=(0.0, None), tolerance=_WORDS,
    ),
)  # fmt: skip
"""Cards in the order in which they are listed."""
