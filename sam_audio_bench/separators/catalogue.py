"""One card a built-in separator, readable without torch."""

from __future__ import annotations

from sam_audio_bench.cards import SeparatorCard

__all__ = ["CARDS", "SAM_AUDIO", "SeparatorCard"]

_HERE = "sam_audio_bench.separators."
SAM_AUDIO = _HERE + "sam_audio:SAMAudioSeparator"
"""The class behind the released names and ``sam-audio:DIR``."""


CARDS: dict[str, SeparatorCard] = {
    card.id: card
    for card in (
        SeparatorCard(id="mixture", target=_HERE + "baselines:Mixture", summary="returns the mixture; always run"),
        SeparatorCard(id="silence", target=_HERE + "baselines:Silence", summary="returns digital silence"),
        SeparatorCard(
            id="hpss",
            target=_HERE + "classical:HPSS",
            summary="harmonic or percussive part, chosen by the prompt",
            source="Fitzgerald, DAFx 2010; Driedger, Müller and Disch, ISMIR 2014",
            cites=("fitzgerald2010harmonic", "driedger2014extending"),
        ),
        SeparatorCard(
            id="repet-sim",
            target=_HERE + "classical:RepetSim",
            summary="voice against a repeating background",
            source="Rafii and Pardo, ISMIR 2012",
            cites=("rafii2012music",),
        ),
        SeparatorCard(
            id="spectral-gate",
            target=_HERE + "classical:SpectralGate",
            summary="what stands out of the noise floor; with spans, of what sounds outside them",
            source="Boll, IEEE TASSP 1979",
            cites=("boll1979suppression",),
        ),
        SeparatorCard(
            id="oracle-ibm",
            target=_HERE + "oracles:IBM",
            summary="ideal binary mask",
            source="Wang, 2005",
            cites=("wang2005ideal",),
            oracle=True,
        ),
        SeparatorCard(
            id="oracle-irm",
            target=_HERE + "oracles:IRM",
            summary="ideal ratio mask",
            source="Liutkus and Badeau, ICASSP 2015",
            cites=("liutkus2015generalized",),
            oracle=True,
        ),
        SeparatorCard(
            id="oracle-mwf",
            target=_HERE + "oracles:MWF",
            summary="ideal multichannel Wiener filter",
            source="Duong, Vincent and Gribonval, IEEE TASLP 2010",
            cites=("duong2010under",),
            oracle=True,
        ),
        *(
            SeparatorCard(
                id=f"sam-audio-{size}{variant}",
                target=SAM_AUDIO,
                summary=f"flow-matching diffusion transformer, {parameters}{better}; gated weights",
                source="Shi et al., arXiv:2512.18099",
                cites=("shi2025samaudio",),
                arguments=(f"sam-audio-{size}{variant}",),
            )
            for size, parameters in (("small", "0.5 B"), ("base", "1 B"), ("large", "3 B"))
            for variant, better in (("", ""), ("-tv", ", tuned for correctness and video"))
        ),
    )
}
