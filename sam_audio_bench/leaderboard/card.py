"""Metadata of a separator: authors, licence, training data. Users state only what the package cannot know."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sam_audio_bench.errors import UsageError
from sam_audio_bench.leaderboard import safe_io
from sam_audio_bench.separators import CARDS

__all__ = ["FIELDS", "card_of"]

FIELDS = ("summary", "authors", "licence", "parameters", "training_data", "links")
_OURS = ("baselines", "classical", "oracles")  # modules whose separators are nothing but this package's code
_EXAMPLE = """summary = "diffusion, 100 M parameters, text prompts"
authors = ["A. Author"]
licence = "MIT"
parameters = 100_000_000  # leave it out where nobody knows
training_data = ["FSD50K"]
links = ["https://example.org/paper"]"""


def card_of(separator: str, file: Path | None) -> dict[str, Any]:
    """The fields of `FIELDS` for a separator.

    Args:
        separator: its name; built-in separators need no file.
        file: TOML or JSON with the same names, for every field that the package does not know.

    Raises:
        UsageError: a field is missing; the message shows a complete example.
    """
    card = {**_known(separator), **({} if file is None else _stated(file))}
    card.setdefault("parameters", None)
    card.setdefault("links", [])
    missing = [name for name in FIELDS if name not in card]
    if missing:
        raise UsageError(
            f"expected {', '.join(missing)} of {separator} in a file for --card, found none; for example:\n{_EXAMPLE}"
        )
    return {name: card[name] for name in FIELDS}


def _known(separator: str) -> dict[str, Any]:
    card = CARDS.get(separator)
    if card is None or card.target.partition(":")[0].rpartition(".")[2] not in _OURS:
        return {}
    summary = f"{card.summary} ({card.source})" if card.source else card.summary
    return {
        "summary": summary, "authors": ["sam-audio-bench"], "licence": "Apache-2.0", "parameters": 0,
        "training_data": [],
    }  # fmt: skip


def _stated(file: Path) -> Mapping[str, Any]:
    if file.suffix == ".json":
        found = safe_io.load(file)
    else:
        try:
            found = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"expected TOML or JSON at {file}, found none that can be read ({error})") from error
    unknown = sorted(set(found) - set(FIELDS)) if isinstance(found, dict) else ["no table"]
    if unknown:
        raise UsageError(f"expected {', '.join(FIELDS)} in {file}, found {', '.join(unknown)}")
    return dict(found)
