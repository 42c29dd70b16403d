"""Metadata of a separator: authors, licence, training data. Users state only what the package does not know."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypedDict, cast

from sam_audio_bench.errors import UsageError
from sam_audio_bench.leaderboard import safe_io
from sam_audio_bench.separators import CARDS

__all__ = ["FIELDS", "Card", "build_card"]


class Card(TypedDict):
    """Authors, licence, size and training data of a separator."""

    summary: str
    authors: list[str]
    licence: str
    parameters: int | None  # None: unknown
    training_data: list[str]
    links: list[str]


FIELDS = tuple(Card.__annotations__)
_OWN_MODULES = ("baselines", "classical", "oracles")  # their separators consist of this package's code alone
_EXAMPLE = """summary = "diffusion, 100 M parameters, text prompts"
authors = ["A. Author"]
licence = "MIT"
parameters = 100_000_000  # leave it out if unknown
training_data = ["FSD50K"]
links = ["https://example.org/paper"]"""


def build_card(separator: str, file: Path | None) -> Card:
    """Returns the card of a separator; the types of what a file states are checked by `validate`.

    Args:
        separator: name; built-in separators need no file.
        file: TOML or JSON with the fields of `Card` that the package does not know.

    Raises:
        UsageError: a field is missing; the message shows a complete example.
    """
    card = {"parameters": None, "links": [], **_known(separator), **({} if file is None else _stated(file))}
    missing = [name for name in FIELDS if name not in card]
    if missing:
        raise UsageError(
            f"expected {', '.join(missing)} of {separator} in a file for --card, found none; for example:\n{_EXAMPLE}"
        )
    return cast(Card, {name: card[name] for name in FIELDS})


def _known(separator: str) -> dict[str, object]:
    card = CARDS.get(separator)
    if card is None:
        return {}
    summary = f"{card.summary} ({card.source})" if card.source else card.summary
    stated = {} if card.training_data is None else {"training_data": list(card.training_data)}
    if card.target.partition(":")[0].rpartition(".")[2] not in _OWN_MODULES:
        return {"summary": summary, **stated}
    return {
        "summary": summary, "authors": ["sam-audio-bench"], "licence": "Apache-2.0", "parameters": 0,
        **stated,
    }  # fmt: skip


def _stated(file: Path) -> dict[str, object]:
    if file.suffix == ".json":
        found: object = safe_io.load_json(file)
    else:
        try:
            found = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"expected TOML or JSON at {file}, found none that can be read ({error})") from error
    unknown = sorted(set(found) - set(FIELDS)) if isinstance(found, dict) else ["no table"]
    if unknown or not isinstance(found, dict):
        raise UsageError(f"expected {', '.join(FIELDS)} in {file}, found {', '.join(unknown)}")
    return dict(found)
