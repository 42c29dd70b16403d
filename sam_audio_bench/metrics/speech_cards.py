"""The cards of metrics of speech, which `catalogue` shows among all others."""

from __future__ import annotations

from typing import Any

from sam_audio_bench.cards import MetricCard

__all__ = ["SPEECH"]

_WORDS = 0.1  # a word of ten may be heard otherwise on another machine


def _speech(name: str, target: str, summary: str, *needs: str, cites: str, **fields: Any) -> MetricCard:
    """The card of one score of speech alone."""
    return MetricCard(
        id=name,
        target=f"sam_audio_bench.metrics.{target}",
        summary=summary,
        cites=(cites,),
        needs=frozenset({"speech", *needs}),
        **fields,
    )


def _pesq(name: str, target: str, summary: str, highest: float) -> MetricCard:
    range_ = (0.999, highest)
    return _speech(name, target, summary, "reference", cites="rix2001pesq", unit="MOS", range=range_, tolerance=1e-3)


def _stoi(name: str, summary: str, cites: str) -> MetricCard:
    # 1 converted other rates with soxr
    return _speech(
        name, "speech:STOI", summary, "reference", cites=cites, unit="", range=(-1.0, 1.0), tolerance=1e-4, version=2
    )


def _dnsmos(axis: str, summary: str) -> MetricCard:
    return _speech(
        f"dnsmos_{axis}",
        "speech:DNSMOS",
        summary,
        cites="reddy2022dnsmos",
        unit="MOS",
        range=(-0.5, 5.5),  # a regression may overshoot its scale
        tolerance=0.01,  # float32 sums of a network are taken in another order on another machine
    )


SPEECH = (
    _pesq("pesq_wb", "speech:PESQ", "PESQ, wideband MOS-LQO (ITU-T P.862.2)", 4.644),
    _pesq("pesq_nb", "narrowband:NarrowbandPESQ", "PESQ, narrowband MOS-LQO (ITU-T P.862.1)", 4.549),
    _stoi("stoi", "short-time objective intelligibility (Taal 2011)", "taal2011stoi"),
    _stoi("estoi", "extended STOI, for modulated maskers (Jensen and Taal 2016)", "jensen2016estoi"),
    _dnsmos("ovrl", "predicted overall quality, no reference (DNSMOS P.835, Reddy 2022)"),
    _dnsmos("sig", "predicted quality of the speech signal, no reference"),
    _dnsmos("bak", "predicted quality of the background, no reference"),
    _speech(
        "srmr", "reverberation:SRMR", "slow over fast movements of envelopes: how little room is heard (Falk 2010)",
        cites="falk2010srmr", unit="", range=(0.0, None),
    ),
    _speech(
        "speaker_similarity", "speaker:SpeakerSimilarity",
        "cosine of the voices of answer and reference in the space of Resemblyzer (Wan 2018)", "reference",
        cites="wan2018ge2e", unit="cosine", range=(0.0, 1.0), tolerance=1e-3,  # as of `_dnsmos`
    ),
    _speech(
        "wer", "recognition:WordErrorRate", "word error rate of a speech recogniser on the answer, given transcripts",
        cites="radford2023whisper", unit="", higher_is_better=False, range=(0.0, None), tolerance=_WORDS,
    ),
    _speech(
        "dwer", "recognition:DifferentialWordErrorRate",
        "word error rate on the answer, against what the same recogniser hears in the reference", "reference",
        cites="radford2023whisper", unit="", higher_is_better=False, range=(0.0, None), tolerance=_WORDS,
    ),
)  # fmt: skip
"""In the order of the listing."""
