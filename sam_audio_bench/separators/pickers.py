"""One card per picker, readable without torch, and the default picker for a prompt."""

from __future__ import annotations

import re
from collections.abc import Set

from sam_audio_bench.cards import PickerCard

__all__ = ["AUTO", "PICKERS", "PickerCard", "default_picker", "families_of_picker", "shares_model_with_picker"]

AUTO = "auto"
"""Selects the picker that SAM Audio would use, by the kinds of prompts of a task."""

_HERE = "sam_audio_bench.separators.rerank:"


PICKERS: dict[str, PickerCard] = {
    card.id: card
    for card in (
        PickerCard(
            id="saj",
            target=_HERE + "SAJPicker",
            summary="overall score of the SAM Audio Judge",
            needs=frozenset({"text"}),
            families=frozenset({"saj"}),
            cites=("shi2025samaudio",),
        ),
        PickerCard(
            id="clap",
            target=_HERE + "ClapPicker",
            summary="cosine of text and estimate in the space of CLAP",
            needs=frozenset({"text"}),
            families=frozenset({"clap"}),
            cites=("wu2023clap",),
        ),
        PickerCard(
            id="imagebind",
            target=_HERE + "ImageBindPicker",
            summary="cosine of masked video and estimate in the space of ImageBind",
            needs=frozenset({"video"}),
            families=frozenset({"imagebind"}),
            cites=("girdhar2023imagebind",),
        ),
        PickerCard(
            id="activity",
            target=_HERE + "ActivityPicker",
            summary="overlap of the estimate's activity with the prompt's + spans",
            needs=frozenset({"spans"}),
            families=frozenset({"span"}),
        ),
        PickerCard(
            id="ensemble",
            target=_HERE + "EnsemblePicker",
            summary="5 CLAP + 1 SAJ overall, SAM Audio's default for texts",
            needs=frozenset({"text"}),
            families=frozenset({"clap", "saj"}),
            cites=("wu2023clap", "shi2025samaudio"),
        ),
    )
}


def default_picker(provides: Set[str]) -> str | None:
    """Returns the picker of `AUTO`: imagebind for videos, else ensemble for texts, else activity for spans.

    The released code of SAM Audio prefers its visual ranker to its text ranker; it has no ranker of spans, so that a
    text with spans is ranked by the text. Spans alone are ranked by their overlap, as in the paper (Shi et al., 2025).

    >>> default_picker({"text", "spans", "reference"}), default_picker({"spans"}), default_picker({"reference"})
    ('ensemble', 'activity', None)
    """
    for need, picker in (("video", "imagebind"), ("text", "ensemble"), ("spans", "activity")):
        if need in provides:
            return picker
    return None


def families_of_picker(picked_by: str) -> frozenset[str]:
    """Returns the families of metrics that share a model with a picker, whose scores of its choice are biased.

    >>> sorted(families_of_picker("ensemble")), sorted(families_of_picker("activity-recall") & {"span"})
    (['clap', 'ensemble', 'saj'], ['span'])
    """
    names = re.split(r"\W+", picked_by)
    known = (PICKERS[name].families for name in names if name in PICKERS)
    return frozenset(names).union(*known)


def shares_model_with_picker(metric: str, picked_by: str | None) -> bool:
    """Whether a metric uses the model that picked the estimates that it scores; such scores are not compared."""
    return picked_by is not None and metric.split("_")[0] in families_of_picker(picked_by)
