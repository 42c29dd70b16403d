"""The JSON Schemas that come with the package are made from the records."""

from __future__ import annotations

import json

import jsonschema
from make_schemas import PACKAGE, generated


def test_the_files_are_what_the_records_say() -> None:
    """Where this fails: python tests/make_schemas.py."""
    assert {place: place.read_text(encoding="utf-8") for place in PACKAGE.rglob("*.schema.json")} == generated()


def test_they_are_json_schemas() -> None:
    for text in generated().values():
        jsonschema.Draft202012Validator.check_schema(json.loads(text))
