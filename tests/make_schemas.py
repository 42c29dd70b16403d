"""Writes the JSON Schemas of a run folder and of a leaderboard from the records: python tests/make_schemas.py."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from sam_audio_bench import records
from sam_audio_bench.files import dump_json
from sam_audio_bench.leaderboard import records as leaderboard_records

PACKAGE = Path(records.__file__).parent


def generated() -> dict[Path, str]:
    """The text of every schema by its place."""
    folders = {"run": records.schemas(), "leaderboard": leaderboard_records.json_schemas()}
    return {
        PACKAGE / folder / "schemas" / f"{name}.schema.json": dump_json(_dedented(schema), indent=1) + "\n"
        for folder, schemas in folders.items()
        for name, schema in schemas.items()
    }


def _dedented(schema: Any) -> Any:
    """The schema with descriptions as Python 3.13 keeps docstrings, without indentation."""
    if isinstance(schema, list):
        return [_dedented(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: inspect.cleandoc(part) if name == "description" and isinstance(part, str) else _dedented(part)
        for name, part in schema.items()
    }


if __name__ == "__main__":
    for place, text in generated().items():
        place.write_text(text, encoding="utf-8")
