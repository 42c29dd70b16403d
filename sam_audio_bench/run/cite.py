"""BibTeX entries for what a run used: this package, the data, the metrics, the separator and the picker."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from sam_audio_bench.cards import Card
from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.catalogue import improvement_card
from sam_audio_bench.options import parse_specification
from sam_audio_bench.plugins import find_card
from sam_audio_bench.records import ModelRecord, RunRecord, read_run
from sam_audio_bench.run.remote import find_runs
from sam_audio_bench.separators.catalogue import find_separator_card
from sam_audio_bench.separators.pickers import PICKERS

__all__ = ["cite", "list_citations", "load_bibliography"]


def load_bibliography() -> dict[str, str]:
    """Returns the BibTeX entries of the package by key."""
    text = (files("sam_audio_bench") / "bibliography.bib").read_text(encoding="utf-8")
    found = {}
    for entry in filter(None, map(str.strip, re.split(r"^(?=@)", text, flags=re.MULTILINE))):
        match = re.match(r"@\w+\{(\w+),", entry)
        assert match, entry
        found[match[1]] = entry
    return found


def list_citations(header: RunRecord) -> list[str]:
    """Returns what the cards of all components in a run.json cite: bibliography keys or whole BibTeX entries.

    Raises:
        Precondition: a plugin that was used cannot be imported.
    """
    names = (parse_specification(record.id).name for record in header.metrics)
    metrics = (improvement_card(name) or find_card("metrics", name) for name in names)
    picker = PICKERS.get(header.picker.name.partition("-")[0]) if header.picker else None
    cards = [find_card("tasks", header.task.id), _find_separator_card(header.model), *metrics, picker]
    return ["sam_audio_bench", *(cited for card in cards if card is not None for cited in card.cites)]


def _find_separator_card(model: ModelRecord) -> Card | None:
    """Finds a card by name and class, which do not depend on options; a plugin's by name."""
    return find_separator_card(model.name, model.target) or find_card("separators", model.name.partition("+")[0])


def cite(paths: Iterable[Path | str]) -> str:
    """Returns the BibTeX entries for everything that run folders used, each once.

    Raises:
        UsageError: a card cites neither a bibliography key nor a BibTeX entry.
    """
    known = load_bibliography()
    cited = dict.fromkeys(
        text for path in find_runs(paths, audio=False) for text in list_citations(read_run(path / "run.json"))
    )
    entries = dict.fromkeys(known.get(text, text.strip()) for text in cited)
    if invalid := [text for text in entries if not text.startswith("@")]:
        raise UsageError(f"expected cards that cite BibTeX entries, or keys of ours, found {', '.join(invalid)}")
    return "\n\n".join(entries)
