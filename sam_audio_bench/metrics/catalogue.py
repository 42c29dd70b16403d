"""One card a score. The classes read their columns from here, so that listing metrics needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

__all__ = ["CAP_DB", "CARDS", "DEFAULT", "FLOOR_DB", "STEREO", "WITHOUT_REFERENCE", "MetricCard", "columns_of"]

FLOOR_DB = -100.0
"""The lowest ratio that is given: silence where a sound was asked for, or an answer orthogonal to it."""

CAP_DB = 100.0
"""What a value beyond ±CAP_DB counts as in a mean, ±inf too; the tables say so wherever it was used."""


STEREO = ("joint", "mean", "mono")
"""How scores treat channels: taken together; the mean of the channels' scores; the channels averaged first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricCard:
    """What a reader and the planner need to know about one score without loading it."""

    id: str
    target: str  # "module:Class"
    summary: str
    unit: str = "dB"
    higher_is_better: bool = True
    needs: frozenset[str] = frozenset()  # of what `TaskData.provides` names
    version: int = 1  # raised whenever any value changes
    tolerance: float = 1e-6  # by how much the same audio may score differently on another machine, in `unit`
    cites: tuple[str, ...] = ()  # keys of bibliography.bib


def _ratio(name: str, target: str, summary: str, *needs: str) -> tuple[MetricCard, MetricCard]:
    """The card of a reference metric and the one of its improvement over the mixture."""
    target = f"sam_audio_bench.metrics.{target}"
    wants = frozenset({"reference", *needs})
    return (
        MetricCard(id=name, target=target, summary=summary, needs=wants),
        MetricCard(id=f"{name}_i", target=target, summary=f"improvement of {name} over the mixture", needs=wants),
    )


def _aesthetics(axis: str, summary: str, *, higher_is_better: bool = True) -> MetricCard:
    """The card of one predicted rating."""
    return MetricCard(
        id=f"aes_{axis}",
        target="sam_audio_bench.metrics.aesthetics:Aesthetics",
        summary=f"{summary} as listeners would rate it, predicted by Audiobox Aesthetics (Tjandra 2025)",
        unit="1-10",
        higher_is_better=higher_is_better,
    )


def _judged(axis: str, summary: str) -> MetricCard:
    """The card of one rating of the SAM Audio Judge."""
    return MetricCard(
        id=f"saj_{axis}",
        target="sam_audio_bench.judge.metric:SAMAudioJudge",
        summary=f"{summary} as listeners would rate it, predicted by the SAM Audio Judge (2026)",
        unit="1-5",
        version=2,  # 1 rated answers to absent sounds too
        needs=frozenset({"text"}),
    )


def _spans(name: str, summary: str) -> MetricCard:
    target = "sam_audio_bench.metrics.activity:SpanOverlap"
    return MetricCard(id=name, target=target, summary=summary, unit="", needs=frozenset({"spans"}))


def _speech(name: str, kind: str, summary: str, *needs: str, unit: str = "") -> MetricCard:
    target = f"sam_audio_bench.metrics.speech:{kind}"
    return MetricCard(id=name, target=target, summary=summary, unit=unit, needs=frozenset({"speech", *needs}))


_REST = "residual_reference"
_LEVELS = "sam_audio_bench.metrics.levels:"
_ALL = (
    *_ratio("snr", "ratios:SNR", "signal over error energy, no gain forgiven (uSDR, MDX SDR)"),
    *_ratio("si_sdr", "ratios:SISDR", "scale-invariant SDR, mean kept (Le Roux 2019)"),
    *_ratio("si_snr", "ratios:SISNR", "scale-invariant SNR, mean removed (Luo 2018)"),
    *_ratio("sd_sdr", "ratios:SDSDR", "scale-dependent SDR (Le Roux 2019)"),
    *_ratio("sa_sdr", "ratios:SASDR", "SNR with the energies of target and residual summed (von Neumann 2022)", _REST),
    *_ratio("si_sir", "bss:SIBSS", "scale-invariant ratio to the residual left in the target (Le Roux 2019)", _REST),
    *_ratio("si_sar", "bss:SIBSS", "scale-invariant ratio to what is in no source (Le Roux 2019)", _REST),
    *_ratio("bss_sources_sdr", "bss:BSSSourcesSDR", "SDR of BSS-eval v3: a filter of 512 taps forgiven (Vincent 2006)"),
    *_ratio("bss_sources_sir", "bss:BSSSources", "SIR of BSS-eval v3 (Vincent 2006)", _REST),
    *_ratio("bss_sources_sar", "bss:BSSSources", "SAR of BSS-eval v3 (Vincent 2006)", _REST),
    *_ratio("bss_images_sdr", "bss:BSSImagesSDR", "SDR of BSS-eval v4: median of 1 s frames (Stöter 2018)"),
    *_ratio("bss_images_isr", "bss:BSSImages", "ISR of BSS-eval v4: spatial distortion, median of frames", _REST),
    *_ratio("bss_images_sir", "bss:BSSImages", "SIR of BSS-eval v4, median of frames", _REST),
    *_ratio("bss_images_sar", "bss:BSSImages", "SAR of BSS-eval v4, median of frames", _REST),
    MetricCard(
        id="si_sdr_pit",
        target="sam_audio_bench.metrics.permutation:PermutedSISDR",
        summary="mean SI-SDR of both outputs in the order that suits the references best (Yu 2017)",
        needs=frozenset({"reference", _REST}),
    ),
    MetricCard(
        id="pit_swapped",
        target="sam_audio_bench.metrics.permutation:PermutedSISDR",
        summary="1 where that order exchanges target and residual: the separator heard the prompt the wrong way round",
        unit="",
        higher_is_better=False,
        needs=frozenset({"reference", _REST}),
    ),
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
    MetricCard(
        id="clap",
        target="sam_audio_bench.metrics.clap:Clap",
        summary="cosine of the prompt's text and the answer in the space of CLAP (Wu 2023)",
        unit="cosine",
        needs=frozenset({"text"}),
    ),
    _judged("overall", "how well the answer serves the request"),
    _judged("recall", "how much of the wanted sound survived"),
    _judged("precision", "how free the answer is of anything else"),
    _judged("faithfulness", "how little the wanted sound was changed"),
    _aesthetics("ce", "content enjoyment"),
    _aesthetics("cu", "content usefulness"),
    _aesthetics("pc", "production complexity", higher_is_better=False),
    _aesthetics("pq", "production quality"),
    MetricCard(
        id="imagebind",
        target="sam_audio_bench.metrics.imagebind:ImageBind",
        summary="cosine of the masked video and the answer in the space of ImageBind (Girdhar 2023)",
        unit="cosine",
        needs=frozenset({"video"}),
    ),
    _spans("span_iou", "activity of the answer against the prompt's + spans, merged: intersection over union"),
    _spans("span_recall", "share of the + spans in which the answer is active"),
    _spans("span_precision", "share of the answer's activity that lies in the + spans"),
    _spans("span_iou_upstream", "span_iou without merging, as SAM Audio's own code computes it; can exceed 1"),
    MetricCard(
        id="mrstft",
        target="sam_audio_bench.metrics.spectral:MRSTFT",
        summary="multi-resolution STFT distance: spectral convergence + log-magnitude L1 (Yamamoto 2020)",
        unit="",
        higher_is_better=False,
        needs=frozenset({"reference"}),
    ),
    MetricCard(
        id="log_wmse",
        target="sam_audio_bench.metrics.spectral:LogWMSE",
        summary="log of the hearing-weighted error over the mixture's level, also for absent targets (Jordal 2023)",
        unit="",
        needs=frozenset({"reference"}),
    ),
    _speech("pesq_wb", "PESQ", "PESQ, wideband MOS-LQO (ITU-T P.862.2)", "reference", unit="MOS"),
    _speech("stoi", "STOI", "short-time objective intelligibility (Taal 2011)", "reference"),
    _speech("estoi", "STOI", "extended STOI, for modulated maskers (Jensen and Taal 2016)", "reference"),
    _speech("dnsmos_ovrl", "DNSMOS", "predicted overall quality, no reference (DNSMOS P.835, Reddy 2022)", unit="MOS"),
    _speech("dnsmos_sig", "DNSMOS", "predicted quality of the speech signal, no reference", unit="MOS"),
    _speech("dnsmos_bak", "DNSMOS", "predicted quality of the background, no reference", unit="MOS"),
)

_PAPERS = {  # id, or the part before an underscore that a family shares -> keys of bibliography.bib
    "snr": ("mitsufuji2022music",),
    "si_sdr": ("leroux2019sdr",),
    "si_snr": ("luo2019convtasnet",),
    "sd_sdr": ("leroux2019sdr",),
    "si_sdr_pit": ("yu2017permutation", "leroux2019sdr"),
    "pit_swapped": ("yu2017permutation",),
    "sa_sdr": ("vonneumann2022sasdr",),
    "si_sir": ("leroux2019sdr", "scheibler2022sdr"),
    "si_sar": ("leroux2019sdr", "scheibler2022sdr"),
    "bss_sources": ("vincent2006performance",),
    "bss_images": ("vincent2007first", "stoter2018sisec"),
    "clap": ("wu2023clap",),
    "saj": ("wang2026samaudiojudge",),
    "aes": ("tjandra2025aesthetics",),
    "imagebind": ("girdhar2023imagebind",),
    "mrstft": ("yamamoto2020parallel",),
    "pesq": ("rix2001pesq",),
    "stoi": ("taal2011stoi",),
    "estoi": ("jensen2016estoi",),
    "dnsmos": ("reddy2022dnsmos",),
}

_TOLERANCES = {  # of networks, whose float32 sums are taken in another order on another machine
    "saj": 0.01,
    "clap": 1e-3,
    "imagebind": 1e-3,
    "aes": 0.01,
    "dnsmos": 0.01,
    "bss": 1e-4,  # systems of up to 1024 equations
    "mrstft": 1e-4,  # float32 spectra
    "pesq": 1e-3,
    "estoi": 1e-4,
    "stoi": 1e-4,
    "log_wmse": 1e-4,
}


_T = TypeVar("_T")


def _of_family(table: Mapping[str, _T], name: str, otherwise: _T) -> _T:
    """What a table says of an id or of the longest family that it belongs to."""
    while name and name not in table:
        name = name.rpartition("_")[0]
    return table.get(name, otherwise)


CARDS: dict[str, MetricCard] = {
    card.id: replace(
        card,
        cites=_of_family(_PAPERS, card.id, ()),
        tolerance=_of_family(_TOLERANCES, card.id, card.tolerance),
    )
    for card in _ALL
}
DEFAULT = (
    "saj_overall", "saj_recall", "saj_precision", "saj_faithfulness", "si_sdr", "si_sdr_i", "snr_i", "leak_db",
)  # fmt: skip
"""What a run scores by, unless it says otherwise, where there are references."""

WITHOUT_REFERENCE = (
    "saj_overall", "saj_recall", "saj_precision", "saj_faithfulness", "clap", "imagebind",
    "aes_ce", "aes_cu", "aes_pc", "aes_pq", "span_iou", "reconstruction_db",
)  # fmt: skip
"""The same where there are none: what SAM Audio's authors report, as far as it can run, and what always can."""


def columns_of(target: str, cards: Iterable[MetricCard] = _ALL) -> tuple[str, ...]:
    """Ids of the scores that one class computes, in catalogue order."""
    return tuple(card.id for card in cards if card.target == target)
