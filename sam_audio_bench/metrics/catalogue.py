"""One card per metric. The classes read their columns from here, so that listing metrics does not need torch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from sam_audio_bench.cards import MetricCard
from sam_audio_bench.metrics.speech_cards import SPEECH

__all__ = [
    "CAP_DB",
    "CARDS",
    "DEFAULT",
    "FLOOR_DB",
    "LIMIT_DB",
    "STEREO",
    "WITHOUT_REFERENCE",
    "WITH_SOURCES",
    "MetricCard",
    "improvement_card",
    "metric_ids_of",
]

FLOOR_DB = -100.0
"""The lowest ratio: of a silent estimate of a sound, or of an estimate orthogonal to it."""

CAP_DB = 100.0
"""Values beyond ±CAP_DB, including ±inf, are clipped to it in means; tables note where that happened."""

LIMIT_DB = 400.0
"""Upper bound of finite ratios: double precision cannot represent what is 320 dB below a sound."""

STEREO = ("joint", "mean", "mono")
"""Stereo policies: score all channels jointly; average the channels' scores; or average the channels first."""


_HERE = "sam_audio_bench.metrics."
_RESIDUAL = "residual_reference"
_LEROUX, _SCHEIBLER = "leroux2019sdr", "scheibler2022sdr"
_SHARE = (0.0, 1.0)
_FILTER_VERSION = 2  # of metrics that fit filters: 1 gave values with nearly as many coefficients as samples
_AGAINST_MIXTURE = ("leak_db", "reconstruction_db", "clap_residual")  # the mixture's value is known
_AXES = {
    "overall": "how well the answer serves the request",
    "recall": "how much of the wanted sound survived",
    "precision": "how free the answer is of anything else",
    "faithfulness": "how little the wanted sound was changed",
}
"""The axes that listeners, and the metrics that predict their ratings, rate."""


def _ratio_cards(
    name: str, target: str, summary: str, *needs: str, cites: tuple[str, ...], **fields: Any
) -> tuple[MetricCard, MetricCard]:
    """Returns the card of a reference metric and that of its improvement over the mixture."""
    default = MetricCard(
        id=name,
        target=_HERE + target,
        summary=summary,
        needs=frozenset({"reference", *needs}),
        cites=cites,
        range=(FLOOR_DB, LIMIT_DB),
        best=math.inf,
    )
    card = replace(default, **fields)
    return card, replace(card, id=f"{name}_i", summary=f"improvement of {name} over the mixture")


def _bss_sources_cards(kind: str, target: str, summary: str, *needs: str) -> tuple[MetricCard, MetricCard]:
    """Returns the cards of a metric of BSS-eval v3, which solves systems of up to 1024 equations."""
    options: Any = {"cites": ("vincent2006performance",), "tolerance": 1e-4, "version": _FILTER_VERSION}
    return _ratio_cards(f"bss_sources_{kind}", f"bss:{target}", summary, *needs, **options)


def _bss_images_cards(
    kind: str, target: str, summary: str, *needs: str, version: int = _FILTER_VERSION
) -> tuple[MetricCard, MetricCard]:
    """Returns the cards of a metric of BSS-eval v4."""
    options: Any = {"cites": ("vincent2007first", "stoter2018sisec"), "tolerance": 1e-4, "version": version}
    return _ratio_cards(f"bss_images_{kind}", f"bss:{target}", summary, *needs, **options)


def _aesthetics_card(axis: str, summary: str, *, higher_is_better: bool = True) -> MetricCard:
    """Returns the card of a rating predicted by Audiobox Aesthetics."""
    return MetricCard(
        id=f"aes_{axis}",
        target=_HERE + "aesthetics:Aesthetics",
        summary=f"{summary} as listeners would rate it, predicted by Audiobox Aesthetics (Tjandra 2025)",
        cites=("tjandra2025aesthetics",),
        unit="1-10",
        range=(0.0, 11.0),  # a regression may overshoot its scale
        higher_is_better=higher_is_better,
        tolerance=0.01,  # the order of a network's float32 sums depends on the machine
    )


def _judge_card(axis: str, summary: str) -> MetricCard:
    """Returns the card of a rating predicted by the SAM Audio Judge."""
    return MetricCard(
        id=f"saj_{axis}",
        target="sam_audio_bench.judge.metric:SAMAudioJudge",
        summary=f"{summary} as listeners would rate it, predicted by the SAM Audio Judge (2026)",
        cites=("wang2026samaudiojudge",),
        # Version 1 also rated estimates of absent sounds; 2 silent mixtures and meaningless prompts; 3 more than five
        # minutes at once, and rounding errors as a part of an estimate equal to the mixture.
        version=4,
        unit="1-5",
        range=(0.0, 6.0),  # a regression may overshoot its scale
        needs=frozenset({"text"}),
        tolerance=0.01,  # as for `_aesthetics_card`
    )


def _perceptual_card(axis: str, summary: str) -> MetricCard:
    """Returns the card of a rating predicted from the clean reference."""
    return MetricCard(
        id=f"perceptual_{axis}",
        target=_HERE + "perceptual:Perceptual",
        summary=f"{summary} as listeners would rate it beside the reference",
        cites=("hines2015visqol", "emiya2011peass"),
        unit="1-5",
        range=(1.0, 5.0),
        best=5.0,
        needs=frozenset({"reference"}),
        absent="undefined",
        tolerance=1e-3,  # float32 spectra
    )


def _cosine_card(name: str, target: str, summary: str, need: str, cites: str, **fields: Any) -> MetricCard:
    """Returns the card of a cosine similarity in a network's embedding space."""
    return MetricCard(
        id=name,
        target=_HERE + target,
        summary=summary,
        cites=(cites,),
        unit="cosine",
        range=(-1.0, 1.0),
        needs=frozenset({need}),
        tolerance=1e-3,  # as for `_aesthetics_card`
        **fields,
    )


def _span_card(name: str, summary: str, range_: tuple[float, float | None] = _SHARE) -> MetricCard:
    """Returns the card of a metric that compares activity with the prompt's spans."""
    target = _HERE + "activity:SpanOverlap"
    return MetricCard(id=name, target=target, summary=summary, unit="", range=range_, needs=frozenset({"spans"}))


def _music_card(name: str, kind: str, summary: str, **fields: Any) -> MetricCard:
    """Returns the card of a score that is reported in music separation."""
    default = MetricCard(
        id=name,
        target=f"{_HERE}music:{kind}",
        summary=summary,
        cites=("solovyev2023benchmarks",),
        unit="",
        range=(0.0, 100.0),
        best=100.0,
        needs=frozenset({"reference"}),
        absent="undefined",
        tolerance=1e-4,
    )
    return replace(default, **fields)


CARDS: dict[str, MetricCard] = {
    card.id: card
    for card in (
        *_ratio_cards(
            "snr", "ratios:SNR", "signal over error energy, no gain forgiven (uSDR, MDX SDR)",
            cites=("mitsufuji2022music",), absent="undefined",
        ),
        *_ratio_cards(
            "si_sdr", "ratios:SISDR", "scale-invariant SDR, mean kept (Le Roux 2019)",
            cites=(_LEROUX,), absent="undefined",
        ),
        *_ratio_cards(
            "si_snr", "ratios:SISNR", "scale-invariant SNR, mean removed (Luo 2018)",
            cites=("luo2019convtasnet",), absent="undefined",
        ),
        *_ratio_cards(
            "sd_sdr", "ratios:SDSDR", "scale-dependent SDR (Le Roux 2019)",
            cites=(_LEROUX,), absent="undefined",
        ),
        *_ratio_cards(
            "sa_sdr", "ratios:SASDR", "SNR with the energies of target and residual summed (von Neumann 2022)",
            _RESIDUAL, cites=("vonneumann2022sasdr",),
        ),
        *_ratio_cards(
            "si_sir", "bss:SIBSS", "scale-invariant ratio to the residual left in the target (Le Roux 2019)", _RESIDUAL,
            cites=(_LEROUX, _SCHEIBLER),
        ),
        *_ratio_cards(
            "si_sar", "bss:SIBSS", "scale-invariant ratio to what is in no source (Le Roux 2019)", _RESIDUAL,
            cites=(_LEROUX, _SCHEIBLER),
        ),
        *_bss_sources_cards("sdr", "BSSSourcesSDR", "SDR of BSS-eval v3: a filter of 512 taps forgiven (Vincent 2006)"),
        *_bss_sources_cards("sir", "BSSSources", "SIR of BSS-eval v3 (Vincent 2006)", _RESIDUAL),
        *_bss_sources_cards("sar", "BSSSources", "SAR of BSS-eval v3 (Vincent 2006)", _RESIDUAL),
        *_bss_images_cards("sdr", "BSSImagesSDR", "SDR of BSS-eval v4: median of 1 s frames (Stöter 2018)", version=1),
        *_bss_images_cards("isr", "BSSImages", "ISR of BSS-eval v4: spatial distortion, median of frames", _RESIDUAL),
        *_bss_images_cards("sir", "BSSImages", "SIR of BSS-eval v4, median of frames", _RESIDUAL),
        *_bss_images_cards("sar", "BSSImages", "SAR of BSS-eval v4, median of frames", _RESIDUAL),
        MetricCard(
            id="si_sdr_pit",
            target=_HERE + "permutation:PermutedSISDR",
            summary="mean SI-SDR of both outputs in the order that suits the references best (Yu 2017)",
            cites=("yu2017permutation", _LEROUX),
            range=(FLOOR_DB, LIMIT_DB),
            best=math.inf,
            needs=frozenset({"reference", _RESIDUAL}),
        ),
        MetricCard(
            id="pit_swapped",
            target=_HERE + "permutation:PermutedSISDR",
            summary="1 where that order exchanges target and residual: the separator heard the prompt the wrong way "
            "round",
            cites=("yu2017permutation",),
            unit="",
            higher_is_better=False,
            range=_SHARE,
            needs=frozenset({"reference", _RESIDUAL}),
        ),
        MetricCard(
            id="leak_db",
            target=_HERE + "levels:Leak",
            summary="energy given out when the target is absent, over the mixture's",
            higher_is_better=False,
            range=(FLOOR_DB, LIMIT_DB),
            needs=frozenset({"reference"}),
            absent="only",
        ),
        MetricCard(
            id="reconstruction_db",
            target=_HERE + "levels:Reconstruction",
            summary="mixture energy over that of mixture - target - residual",
            range=(FLOOR_DB, LIMIT_DB),
            best=math.inf,
        ),
        _cosine_card(
            "clap", "clap:Clap", "cosine of the prompt's text and the answer in the space of CLAP (Wu 2023)",
            "text", "wu2023clap",
        ),
        _cosine_card(
            "clap_residual", "clap:ClapResidual", "`clap` of the residual: is what was asked for left in it?", "text",
            "wu2023clap", higher_is_better=False,
        ),
        *(_perceptual_card(axis, summary) for axis, summary in _AXES.items()),
        *(_judge_card(axis, summary) for axis, summary in _AXES.items()),
        _aesthetics_card("ce", "content enjoyment"),
        _aesthetics_card("cu", "content usefulness"),
        _aesthetics_card("pc", "production complexity", higher_is_better=False),
        _aesthetics_card("pq", "production quality"),
        _cosine_card(
            "imagebind", "imagebind:ImageBind",
            "cosine of the masked video and the answer in the space of ImageBind (Girdhar 2023)",
            "video", "girdhar2023imagebind",
        ),
        _span_card("span_iou", "activity of the answer against the prompt's + spans, merged: intersection over union"),
        _span_card("span_recall", "share of the + spans in which the answer is active"),
        _span_card("span_precision", "share of the answer's activity that lies in the + spans"),
        _span_card(
            "span_iou_upstream", "span_iou without merging, as SAM Audio's own code computes it; can exceed 1",
            (0.0, None),
        ),
        MetricCard(
            id="mrstft",
            target=_HERE + "spectral:MRSTFT",
            summary="multi-resolution STFT distance: spectral convergence + log-magnitude L1 (Yamamoto 2020)",
            cites=("yamamoto2020parallel",),
            unit="",
            higher_is_better=False,
            range=(0.0, None),
            best=0.0,
            needs=frozenset({"reference"}),
            tolerance=1e-4,  # float32 spectra
        ),
        MetricCard(
            id="log_wmse",
            target=_HERE + "spectral:LogWMSE",
            summary="log of the hearing-weighted error over the mixture's level, also for absent targets (Jordal 2023)",
            unit="",
            range=(None, 4 * math.log(1e8)),
            best=4 * math.log(1e8),
            needs=frozenset({"reference"}),
            tolerance=1e-4,
        ),
        _music_card(
            "bleedless", "BleedlessFullness", "how little the answer has too much, by levels in mel bands; 0 to 100",
            tolerance=0.1,  # rounding matters if many cells are equal
        ),
        _music_card(
            "fullness", "BleedlessFullness", "how little the answer lacks, by levels in mel bands; 0 to 100",
            tolerance=0.1,
        ),
        _music_card("l1_freq", "L1Freq", "distance of magnitudes at the level that they have; 0 to 100"),
        _music_card(
            "aura_stft", "AuraSTFT", "STFT loss of auraloss, one resolution; 0 to 100",
            cites=("solovyev2023benchmarks", "steinmetz2020auraloss"),
        ),
        _music_card(
            "aura_mrstft", "AuraMRSTFT", "STFT loss of auraloss, three resolutions, A-weighted, in mel bands; 0 to 100",
            cites=("solovyev2023benchmarks", "steinmetz2020auraloss"),
        ),
        _music_card(
            "k_sdr", "KSDR", "snr between -10 and 10 dB on a logarithmic scale; 0 to 100",
            best=None,  # 10 dB is not perfect
        ),
        *SPEECH,
    )
}  # fmt: skip

DEFAULT = (
    "perceptual_overall", "saj_overall", "saj_recall", "saj_precision", "saj_faithfulness",
    "si_sdr", "si_sdr_i", "snr_i", "leak_db",
)  # fmt: skip
"""Default metrics of a run on a task with references."""

WITHOUT_REFERENCE = (
    "saj_overall", "saj_recall", "saj_precision", "saj_faithfulness", "clap", "imagebind",
    "aes_ce", "aes_cu", "aes_pc", "aes_pq", "span_iou", "reconstruction_db",
)  # fmt: skip
"""Default metrics without references: those of SAM Audio's authors that can run, and `reconstruction_db`."""


WITH_SOURCES = ("bss_images_sdr", "bss_images_isr", "bss_images_sir", "bss_images_sar", "snr")
"""Default metrics for songs with all sources known: those of MUSDB18 tables, and the SDR of the MDX challenges."""


def improvement_card(name: str) -> MetricCard | None:
    """Returns the card of an improvement that is created on request, for metrics of the target estimate only.

    >>> improvement_card("pesq_wb_i").summary
    'pesq_wb of the answer minus that of the mixture'

    Returns:
        The card; None if ``name`` is not such an improvement, or the improvement has its own class.
    """
    base = CARDS.get(name.removesuffix("_i"))
    if not name.endswith("_i") or name in CARDS or base is None or base.id.endswith("_i"):
        return None
    if _RESIDUAL in base.needs or base.id in _AGAINST_MIXTURE:
        return None
    low, high = base.limits
    note = "" if base.higher_is_better else "; negative where it is better"
    return replace(
        base, id=name, range=(low - high, high - low), best=None, absent="any",
        summary=f"{base.id} of the answer minus that of the mixture{note}",
    )  # fmt: skip


def metric_ids_of(target: str) -> tuple[str, ...]:
    """Returns the ids of the metrics that a class computes, in catalogue order."""
    return tuple(card.id for card in CARDS.values() if card.target == target)
