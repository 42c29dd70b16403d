"""BibTeX of what a run used: the tool, the task's data, the metrics, the separator and the picker."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from sam_audio_bench.cards import Card
from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.catalogue import improvement_card
from sam_audio_bench.options import parse_spelling
from sam_audio_bench.plugins import find_card
from sam_audio_bench.records import ModelRecord, RunRecord, read_run
from sam_audio_bench.run.remote import find_runs
from sam_audio_bench.separators.catalogue import find_separator_card
from sam_audio_bench.separators.pickers import PICKERS

__all__ = ["bibliography", "citations", "cite"]


def bibliography() -> dict[str, str]:
    """BibTeX entries by key."""
    text = (files("sam_audio_bench") / "bibliography.bib").read_text(encoding="utf-8")
    found = {}
    for entry in filter(None, map(str.strip, re.split(r"^(?=@)", text, flags=re.MULTILINE))):
        match = re.match(r"@\w+\{(\w+),", entry)
        assert match, entry
        found[match[1]] = entry
    return found


def citations(header: RunRecord) -> list[str]:
    """What the cards of everything that one run.json names cite: keys of the bibliography, or whole BibTeX entries.

    Raises:
        Precondition: a plugin that was used and cannot be imported.
    """
    names = (parse_spelling(record.id).name for record in header.metrics)
    metrics = (improvement_card(name) or find_card("metrics", name) for name in names)
    picker = PICKERS.get(header.picker.name.partition("-")[0]) if header.picker else None
    cards = [find_card("tasks", header.task.id), _separator(header.model), *metrics, picker]
    return ["sam_audio_bench", *(cited for card in cards if card is not None for cited in card.cites)]


def _separator(model: ModelRecord) -> Card | None:
    """By name and class, which is the same under all options; a plugin by its name."""
    return find_separator_card(model.name, model.target) or find_card("separators", model.name.partition("+")[0])


def cite(paths: Iterable[Path | str]) -> str:
    """BibTeX of everything that run folders used, each entry once.

    Raises:
        UsageError: a card that cites neither a key of the bibliography nor a BibTeX entry.
    """
    known = bibliography()
    wanted = dict.fromkeys(
        text for path in find_runs(paths, audio=False) for text in citations(read_run(path / "run.json"))
    )
    entries = dict.fromkeys(known.get(text, text.strip()) for text in wanted)
    if strange := [text for text in entries if not text.startswith("@")]:
        raise UsageError(f"expected cards that cite BibTeX entries, or keys of ours, found {', '.join(strange)}")
    return "\n\n".join(entries)
