"""Writes the JSON Schemas of a run folder and of a leaderboard from the records: python tests/make_schemas.py."""

from __future__ import annotations

from pathlib import Path

from sam_audio_bench import records
from sam_audio_bench.files import dump_json
from sam_audio_bench.leaderboard import records as leaderboard_records

PACKAGE = Path(records.__file__).parent


def generated() -> dict[Path, str]:
    """The text of every schema by its place."""
    folders = {"run": records.schemas(), "leaderboard": leaderboard_records.json_schemas()}
    return {
        PACKAGE / folder / "schemas" / f"{name}.schema.json": dump_json(schema, indent=1) + "\n"
        for folder, schemas in folders.items()
        for name, schema in schemas.items()
    }


if __name__ == "__main__":
    for place, text in generated().items():
        place.write_text(text, encoding="utf-8")
