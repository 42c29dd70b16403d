"""One card a picker, readable without torch, and which picker is the default for which prompt."""

from __future__ import annotations

import re
from collections.abc import Set

from sam_audio_bench.cards import PickerCard

__all__ = ["AUTO", "PICKERS", "PickerCard", "default_picker", "judges_itself", "judging_families"]

AUTO = "auto"
"""The picker that SAM Audio would use, by what the prompts of a task offer."""

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
            summary="cosine of text and answer in the space of CLAP",
            needs=frozenset({"text"}),
            families=frozenset({"clap"}),
            cites=("wu2023clap",),
        ),
        PickerCard(
            id="imagebind",
            target=_HERE + "ImageBindPicker",
            summary="cosine of masked video and answer in the space of ImageBind",
            needs=frozenset({"video"}),
            families=frozenset({"imagebind"}),
            cites=("girdhar2023imagebind",),
        ),
        PickerCard(
            id="activity",
            target=_HERE + "ActivityPicker",
            summary="overlap of the answer's activity with the prompt's + spans",
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
    """The picker of `AUTO`: with a video imagebind, else with a text ensemble, else with spans activity.

    SAM Audio's released code prefers its visual ranker to its text ranker; it cannot build a ranker of spans, so a text
    with spans is ranked by the text there. Spans alone are ranked by their overlap, as the paper does (Shi et al.,
    2025).

    >>> default_picker({"text", "spans", "reference"}), default_picker({"spans"}), default_picker({"reference"})
    ('ensemble', 'activity', None)
    """
    for need, picker in (("video", "imagebind"), ("text", "ensemble"), ("spans", "activity")):
        if need in provides:
            return picker
    return None


def judging_families(picked_by: str) -> frozenset[str]:
    """Families of metrics that share a model with a picker: their scores of what it picked prove nothing.

    >>> sorted(judging_families("ensemble")), sorted(judging_families("activity-recall") & {"span"})
    (['clap', 'ensemble', 'saj'], ['span'])
    """
    names = re.split(r"\W+", picked_by)
    known = (PICKERS[name].families for name in names if name in PICKERS)
    return frozenset(names).union(*known)


def judges_itself(metric: str, picked_by: str | None) -> bool:
    """Whether a metric is by the model that picked the answers it scores: such a score wins nothing."""
    return picked_by is not None and metric.split("_")[0] in judging_families(picked_by)
