"""BibTeX of what a run used: the tool, the task's data, the metrics, the separator and the picker."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from sam_audio_bench import metrics, separators
from sam_audio_bench.files import load_json
from sam_audio_bench.run.results import find_runs
from sam_audio_bench.separators.pickers import PICKERS
from sam_audio_bench.tasks import TASKS

__all__ = ["bibliography", "cite", "keys"]


def bibliography() -> dict[str, str]:
    """BibTeX entries by key."""
    text = (files("sam_audio_bench") / "bibliography.bib").read_text(encoding="utf-8")
    found = {}
    for entry in filter(None, map(str.strip, re.split(r"^(?=@)", text, flags=re.MULTILINE))):
        match = re.match(r"@\w+\{(\w+),", entry)
        assert match, entry
        found[match[1]] = entry
    return found


def keys(header: Mapping[str, Any]) -> list[str]:
    """Keys of what one run.json says was used; things of third parties have none."""
    task = TASKS.get(header["task"]["id"])
    separator = next((card for card in separators.CARDS.values() if card.target == header["model"].get("class")), None)
    scored = [metrics.CARDS[record["id"]] for record in header["metrics"] if record["id"] in metrics.CARDS]
    cards = [card for card in (task, separator, *scored) if card is not None]
    picker = PICKERS.get(((header.get("picker") or {}).get("name") or "").partition("-")[0])
    pickers = () if picker is None else picker.cites
    return ["sam_audio_bench", *(key for card in cards for key in card.cites), *pickers]


def cite(paths: Iterable[Path]) -> str:
    """BibTeX of everything that run folders used, each entry once."""
    known = bibliography()
    wanted = dict.fromkeys(key for path in find_runs(paths) for key in keys(load_json(path / "run.json")))
    return "\n\n".join(known[key] for key in wanted)
