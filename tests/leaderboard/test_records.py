"""The records of a leaderboard: files stay as they are, byte for byte, and refuse what their schemas refuse."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from sam_audio_bench.files import dump_json
from sam_audio_bench.leaderboard import safe_io
from sam_audio_bench.leaderboard.log import LOG
from sam_audio_bench.leaderboard.records import FILES, LogEntry, SchemaError, json_schemas, parse_record, read_record

ROOT = Path(__file__).parents[2] / "leaderboards"
PLACES = {
    "submission": "results/*/*/submission.json",
    "boards": "boards.json",
    "previews": "previews.json",
    "preview": "site/listen/*/*/item.json",
    "reported": "results/reported/*.json",
}
PATHS = [(kind, path) for kind, pattern in PLACES.items() for path in sorted(ROOT.glob(pattern))]
ODD: tuple[Any, ...] = (None, "", "<b>", "a\n", "x" * 5000, -1, 0, 0.5, True, [], {}, ["+", -1, 2], {"../x": 1})


@pytest.mark.parametrize(("kind", "path"), PATHS, ids=lambda part: getattr(part, "name", part))
def test_what_is_read_is_written_the_same(kind: str, path: Path) -> None:
    record = read_record(path, FILES[kind], kind)
    assert dump_json(msgspec.to_builtins(record), indent=1) + "\n" == path.read_text(encoding="utf-8")


def test_the_log_is_written_the_same() -> None:
    entries = [parse_record(line, LogEntry, "an entry") for line in safe_io.load_json_lines(ROOT / LOG)]
    text = "".join(dump_json(msgspec.to_builtins(entry)) + "\n" for entry in entries)
    assert text == (ROOT / LOG).read_text(encoding="utf-8")


def small(value: Any) -> Any:
    """The first of everything, so that there is something of each kind and little of it."""
    if isinstance(value, list):
        return [small(part) for part in (value if value[:1] in (["+"], ["-"]) else value[:1])]
    if isinstance(value, dict):
        fields = value if len(value) < 20 else dict(list(value.items())[:1])
        return {name: small(part) for name, part in fields.items()}
    return value


def changed(value: Any) -> Iterator[Any]:
    """Every value with one part of it replaced, left out or added."""
    yield from ODD
    if isinstance(value, dict):
        yield {**value, "more": 1}
        for name, part in value.items():
            yield {other: kept for other, kept in value.items() if other != name}
            yield from ({**value, name: odd} for odd in changed(part))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from ([*value[:index], odd, *value[index + 1 :]] for odd in changed(part))


def accepted(value: Any, kind: Any) -> bool:
    """Whether a record can hold a value."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize("kind", FILES)
def test_records_refuse_what_their_schemas_refuse(kind: str) -> None:
    if kind == "log":
        whole = safe_io.load_json_lines(ROOT / LOG)[-1]
    else:
        whole = safe_io.load_json(next(path for own, path in PATHS if own == kind))
    value, refused = small(copy.deepcopy(whole)), 0
    validator = jsonschema.Draft202012Validator(json_schemas()[kind])
    assert validator.is_valid(value)
    for odd in changed(value):
        valid = validator.is_valid(odd)
        assert accepted(odd, FILES[kind]) == valid, json.dumps(odd)[:500]
        refused += not valid
    assert refused > 50


def test_every_violation_is_named(tmp_path: Path) -> None:
    (path,) = [path for kind, path in PATHS if kind == "boards"]
    rules: Any = safe_io.load_json(path)
    rules[0] |= {"id": "Not An Id", "title": "<b>"}
    del rules[1]["parts"]
    (tmp_path / "boards.json").write_text(json.dumps(rules))
    with pytest.raises(SchemaError, match=r"expected a list that meets its schema in .*, found \$\[0\]\.id: ") as found:
        read_record(tmp_path / "boards.json", FILES["boards"], "a list")
    assert [place for place, _ in found.value.violations] == ["$[0].id", "$[0].title", "$[1]"]
