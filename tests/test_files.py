"""Names, JSON and journals."""

from __future__ import annotations

import json
import math
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_audio_bench.errors import StoreError
from sam_audio_bench.files import (
    append_lines,
    atomic_write,
    dump_json,
    find_file,
    find_files,
    load_json,
    read_journal,
    safe_name,
    write_json,
)

RESERVED = {"con", "prn", "aux", "nul", *(f"com{i}" for i in range(10)), *(f"lpt{i}" for i in range(10))}


@given(st.text(min_size=1))
def test_safe_name_is_one_harmless_component(identifier: str) -> None:
    name = safe_name(identifier.encode("utf-8", "replace").decode())
    assert name not in (".", "..")
    assert not set(name) & set('/\\:*?"<>|\0')
    assert not name.startswith(".")
    assert not name.endswith((".", " "))
    assert name.split(".")[0].lower() not in RESERVED
    assert 0 < len(name.encode()) <= 140


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_safe_name_keeps_the_distinct_distinct(one: str, other: str) -> None:
    one, other = (text.encode("utf-8", "replace").decode() for text in (one, other))
    assert (safe_name(one) == safe_name(other)) == (one == other)


def test_safe_name_of_long_identifiers_stays_distinct() -> None:
    assert safe_name("a" * 300) != safe_name("a" * 301)


def test_safe_name_refuses_nothing() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        safe_name("")


def test_infinity_is_text_and_nan_is_refused() -> None:
    assert json.loads(dump_json({"a": [math.inf, -math.inf, 1.5, None]})) == {"a": ["inf", "-inf", 1.5, None]}
    with pytest.raises(ValueError, match="NaN cannot be stored"):
        dump_json([math.nan])


def test_write_is_atomic(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.json"
    write_json(path, {"a": 1})

    def tear() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("torn")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        tear()
    assert load_json(path) == {"a": 1}
    assert [entry.name for entry in path.parent.iterdir()] == ["run.json"]


def json_object(line: bytes) -> dict[str, object]:
    """A record as a journal has it."""
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("no object")
    return record


@pytest.mark.parametrize("tail", ['{"item": 3', '{"item": 3}', "\0\0\0"])
def test_torn_last_line_is_left_out(tail: str, tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    append_lines(path, [{"item": 1}, {"item": 2}])
    with path.open("a") as journal:
        journal.write(tail)
    assert read_journal(path, json_object) == [{"item": 1}, {"item": 2}]


def test_damage_elsewhere_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    for torn, line in (('{"item": 1}\n{"ite\n{"item": 3}\n', 2), ('{"item": 1}\n[1]\n', 2), ("\n", 1)):
        path.write_text(torn)
        with pytest.raises(
            StoreError, match=rf"a record in line {line} of .*items.jsonl, found a damaged one .*remove"
        ):
            read_journal(path, json_object)


def test_missing_journal_is_empty_and_missing_json_is_an_error(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "none", json_object) == []
    with pytest.raises(StoreError, match="expected a JSON file"):
        load_json(tmp_path / "none")


NAMES = [unicodedata.normalize(form, "Mélodie/été.WAV") for form in ("NFC", "NFD")]


@pytest.mark.parametrize("written", NAMES)
@pytest.mark.parametrize("asked", [*NAMES, NAMES[0].replace("WAV", "wav"), NAMES[1].replace("WAV", "Wav")])
def test_a_file_is_found_however_its_name_is_written(written: str, asked: str, tmp_path: Path) -> None:
    (tmp_path / written).parent.mkdir()
    (tmp_path / written).touch()
    assert find_file(tmp_path / asked) == tmp_path / written
    assert find_files((tmp_path / asked).parent, "none", (".wav",)) == []


def test_another_name_is_not_found(tmp_path: Path) -> None:
    for name in ("a.WAV", "b.wav", "b.WAV"):
        (tmp_path / name).touch()
    for name in ("A.wav", "a.flac", "c/a.wav", "b.Wav"):  # the last could be either
        assert find_file(tmp_path / name) == tmp_path / name
    assert find_file(tmp_path / "b.wav").name == "b.wav"
    assert find_file(Path()) == Path()


def test_all_files_of_a_stem_in_the_order_of_suffixes(tmp_path: Path) -> None:
    for name in ("a.WAV", "a.wav", "a.Flac", "ab.wav", "a"):
        (tmp_path / name).touch()
    (tmp_path / "a.ogg").mkdir()
    found = find_files(tmp_path, "a", (".flac", ".wav", ".ogg"))
    assert [path.name for path in found] == ["a.Flac", "a.WAV", "a.wav"]


def test_a_file_that_comes_later_is_found(tmp_path: Path) -> None:
    os.utime(tmp_path, (1, 1))  # long ago, so that what was listed is remembered
    assert find_file(tmp_path / "a.wav").name == "a.wav"
    (tmp_path / "a.WAV").touch()
    assert find_file(tmp_path / "a.wav").name == "a.WAV"
