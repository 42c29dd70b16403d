"""Names, JSON and journals."""

from __future__ import annotations

import json
import math
import os
import pwd
import string
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_audio_bench.errors import Precondition, StoreError
from sam_audio_bench.files import (
    append_lines,
    atomic_write,
    cache_folder,
    case_sensitive_name,
    dump_json,
    expand_home,
    expand_homes,
    find_file,
    find_files,
    find_folders,
    folder_name,
    load_json,
    read_journal,
    safe_name,
    safe_names,
    temporary_files,
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


@given(st.text(string.ascii_letters, min_size=1, max_size=6), st.text(string.ascii_letters, min_size=1, max_size=6))
def test_safe_name_keeps_the_distinct_distinct_without_case(one: str, other: str) -> None:
    assert (safe_name(one).casefold() == safe_name(other).casefold()) == (one == other)


@given(st.lists(st.text(min_size=1, max_size=5), unique=True))
def test_names_side_by_side_are_marked_only_where_case_alone_tells_them_apart(texts: list[str]) -> None:
    texts = list(dict.fromkeys(text.encode("utf-8", "replace").decode() for text in texts))
    names = safe_names(texts)
    assert len({name.casefold() for name in names.values()}) == len(texts)
    plain = [case_sensitive_name(text).casefold() for text in texts]
    for text in texts:
        assert plain.count(case_sensitive_name(text).casefold()) > 1 or names[text] == case_sensitive_name(text)


def test_a_folder_that_is_there_keeps_its_name_and_the_next_one_is_marked(tmp_path: Path) -> None:
    assert folder_name(tmp_path / "none", "Net") == "Net"
    assert folder_name(tmp_path, "Net", ["net", "other"]) == safe_name("Net")
    (tmp_path / "Net").mkdir()
    assert folder_name(tmp_path, "Net", ["net"]) == "Net"
    marked = folder_name(tmp_path, "net")
    assert marked.casefold() != "net"
    (tmp_path / marked).mkdir()
    assert folder_name(tmp_path, "net") == marked


def test_a_name_of_bytes_that_are_no_text_is_a_name_and_is_stored_as_valid_text(tmp_path: Path) -> None:
    assert case_sensitive_name("song\udcff") == "song%ED%B3%BF"
    write_json(tmp_path / "run.json", {"command": ["--output", "o\udcfd"]})
    assert b"udcfd" in (tmp_path / "run.json").read_bytes()
    assert load_json(tmp_path / "run.json") == {"command": ["--output", "o\udcfd"]}


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


def test_two_writers_of_one_process_number_write_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 7)  # as in two containers
    path = tmp_path / "clip"
    with atomic_write(path) as one:
        one.write_text("whole")
        with atomic_write(path) as other:
            assert one != other
            other.write_text("whole, too")
        assert path.read_text() == "whole, too"
    assert path.read_text() == "whole"
    assert temporary_files(tmp_path) == []


def test_what_a_killed_writer_leaves_is_known_by_its_name(tmp_path: Path) -> None:
    kept = (".lock", ".hidden", "1.json", ".1", ".12.", "a.1.b")
    left = (".99999.i3.target.flac", ".7-0123abcd.run.json")
    for name in (*kept, *left):
        (tmp_path / name).touch()
    assert sorted(path.name for path in temporary_files(tmp_path)) == sorted(left)
    assert temporary_files(tmp_path / "none") == []


def test_folders_are_found_through_links_once_each(tmp_path: Path) -> None:
    (tmp_path / "disk" / "a").mkdir(parents=True)
    (tmp_path / "disk" / "a" / "run.json").touch()
    (tmp_path / "runs").mkdir()
    for name, goal in (("a", "../disk/a"), ("again", "../disk/a"), ("round", "."), ("broken", "nowhere")):
        (tmp_path / "runs" / name).symlink_to(goal)
    assert [path.name for path in find_folders(tmp_path / "runs", "run.json")] == ["a"]
    assert list(find_folders(tmp_path / "none", "run.json")) == []


def test_home_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert [str(expand_home(path)) for path in ("~", "~/a", "a~/b", "~nobody-here/a")] == [
        "/home/me", "/home/me/a", "a~/b", "~nobody-here/a",
    ]  # fmt: skip
    assert expand_homes("stems:~/a") == "stems:/home/me/a"
    assert expand_homes("x=~") == "x=/home/me"
    assert expand_homes("~x/a~") == "~x/a~"
    for name in ("SABENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "~/c")
        assert str(cache_folder()).startswith("/home/me/c")
        monkeypatch.delenv(name)


def test_no_home_folder_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(user: int) -> None:
        raise KeyError(user)

    for name in ("HOME", "SABENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(Precondition, match="found none; set SABENCH_CACHE"):
        cache_folder()
    with pytest.raises(Precondition, match="a home folder for ~/a, found none"):
        expand_home("~/a")
    assert expand_home("a") == Path("a")


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
    append_lines(path, [{"item": 4}])
    assert read_journal(path, json_object) == [{"item": 1}, {"item": 2}, {"item": 4}]


@pytest.mark.parametrize("length", [1, 65_535, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("before", ["", '{"item": 1}\n'])
def test_a_torn_line_of_any_length_goes_when_another_comes(before: str, length: int, tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_bytes(before.encode() + b"x" * length)
    append_lines(path, [{"item": 2}])
    assert path.read_bytes() == before.encode() + b'{"item": 2}\n'


def test_damage_elsewhere_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    for torn, line in (('{"item": 1}\n{"ite\n{"item": 3}\n', 2), ('{"item": 1}\n[1]\n', 2)):
        path.write_text(torn)
        with pytest.raises(
            StoreError, match=rf"a record in line {line} of .*items.jsonl, found a damaged one .*remove"
        ):
            read_journal(path, json_object)


@pytest.mark.parametrize("empty", ["\n", " \r\n"])
def test_what_an_editor_leaves_in_a_journal_is_named(empty: str, tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    for content, line in ((empty, 1), (f'{{"item": 1}}\n{empty}{{"item": 2}}\n', 2), (f'{{"item": 1}}\n{empty}', 2)):
        path.write_text(content, newline="")
        with pytest.raises(StoreError, match=rf"in line {line} of .*items.jsonl, found an empty one; remove"):
            read_journal(path, json_object)
    path.write_text('{"item": 1}\n', encoding="utf-8-sig")
    with pytest.raises(StoreError, match=r"in line 1 of .*items.jsonl, found a damaged one .a byte order mark"):
        read_journal(path, json_object)


def test_missing_journal_is_empty_and_missing_json_is_an_error(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "none", json_object) == []
    with pytest.raises(StoreError, match="expected a JSON file"):
        load_json(tmp_path / "none")


def test_names_that_no_system_takes_and_json_that_is_too_deep_are_told(tmp_path: Path) -> None:
    for name in ("a" * 300, "a\0b", "/".join(["a" * 200] * 30)):
        assert find_file(tmp_path / name) == tmp_path / name
        with pytest.raises(StoreError, match="expected a JSON file"):
            load_json(tmp_path / name)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(StoreError, match=r"expected a JSON file at .*deep\.json"):
        load_json(tmp_path / "deep.json")


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
