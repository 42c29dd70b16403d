"""Croissant metadata: what they say of the data, and that the library of MLCommons takes them where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import sam_audio_bench as sab
from sam_audio_bench import audio
from sam_audio_bench.cli import group
from sam_audio_bench.errors import BenchError
from sam_audio_bench.files import sha256
from sam_audio_bench.tasks.recipes import FOLDER, load_stems
from sam_audio_bench.types import Audio

RATE = 8000


def made(folder: Path, *words: str) -> dict[str, Any]:
    """The metadata that the command writes, after what holds for all of them was checked."""
    result = CliRunner().invoke(group, ["data", "croissant", *words, "--out", str(folder / "croissant.json")])
    if isinstance(result.exception, BenchError):
        raise result.exception
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads((folder / "croissant.json").read_text())
    assert (found["@type"], found["conformsTo"]) == ("sc:Dataset", "http://mlcommons.org/croissant/1.0")
    names = [one["@id"] for one in found["distribution"]]
    assert len(set(names)) == len(names)
    assert {one["@type"] for one in found["distribution"]} == {"cr:FileObject"}
    (questions,) = found["recordSet"]
    fields = {one["@id"] for one in questions["field"]}
    assert questions["key"]["@id"] in fields
    for record in questions["data"]:
        assert set(record) == fields
        files = [record["questions/mixture"], *record["questions/target"], *record["questions/residual"]]
        assert set(files) - {""} <= set(names)
    return found


def read_by_mlcommons(folder: Path) -> list[dict[str, Any]]:
    """The records as their library reads them; it raises where the metadata are no Croissant."""
    croissant = pytest.importorskip("mlcroissant")
    return list(croissant.Dataset(str(folder / "croissant.json")).records("questions"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, level in (("m", 0.3), ("t", 0.2), ("r", 0.1)):
        audio.write_wav(tmp_path / f"{name}.wav", Audio(torch.full((1, RATE), level), RATE))
    (tmp_path / "mine.csv").write_text(
        "mixture,text,spans,target,residual,id\nm.wav,dög,+0:1,t.wav,r.wav,a\nm.wav,cat,,,,b\n"
    )
    return tmp_path


def test_anyones_data(folder: Path) -> None:
    words = ("--url", "https://example.org", "--licence", "CC0-1.0", "--cite", "Me", "--published", "2026-01-31")
    found = made(folder, str(folder / "mine.csv"), *words)
    assert (found["url"], found["license"], found["citeAs"]) == ("https://example.org", "CC0-1.0", "Me")
    assert found["datePublished"] == "2026-01-31"
    digests = {one["@id"]: one["sha256"] for one in found["distribution"]}
    assert digests == {f"{name}.wav": sha256((folder / f"{name}.wav").read_bytes()) for name in "mtr"}
    first, second = found["recordSet"][0]["data"]
    assert first == {
        "questions/id": "a", "questions/group": "m.wav", "questions/text": "dög", "questions/spans": "+0.0:1.0",
        "questions/mixture": "m.wav", "questions/target": ["t.wav"], "questions/residual": ["r.wav"],
    }  # fmt: skip
    assert (second["questions/target"], second["questions/spans"]) == ([], "")


def test_what_is_not_said_is_left_out_aloud(folder: Path) -> None:
    found = made(folder, str(folder / "mine.csv"))
    assert not {"url", "license", "citeAs", "datePublished"} & set(found)
    result = CliRunner().invoke(group, ["data", "croissant", str(folder / "mine.csv"), "--out", str(folder / "c.json")])
    assert "not given, and so left out: --url, --licence, --cite, --published" in result.stderr


@pytest.mark.parametrize("task", ["sfx", "sfx-span-only", "instr-pro", "sfx-visual"])
def test_the_embedded_split_names_its_stems_with_their_terms(task: str, tmp_path: Path) -> None:
    found = made(tmp_path, task)
    data = sab.load_task(task, split="mini")
    records = {record["questions/id"]: record for record in found["recordSet"][0]["data"]}
    assert tuple(records) == data.ids
    assert {
        name: record["questions/text"] for name, record in records.items() if record["questions/text"]
    } == data.texts
    item = data[data.ids[0]]
    assert len(records[item.id]["questions/spans"].split()) == len(item.query.prompt.spans)
    known = {stem.path.relative_to(FOLDER).as_posix(): stem for stem in load_stems().values()}
    for one in found["distribution"]:
        assert known[one["@id"]].licence in one["description"]
        assert one["sha256"] == sha256(known[one["@id"]].path.read_bytes())
        assert one["encodingFormat"] == "audio/ogg"
    licences = found["license"] if isinstance(found["license"], list) else [found["license"]]
    assert len(licences) == len({known[one["@id"]].licence for one in found["distribution"]})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what it is made of
@pytest.mark.parametrize("words", [("mine.csv",), ("sfx-span",)])
def test_the_library_of_mlcommons_reads_it(words: tuple[str], folder: Path) -> None:
    where = str(folder / words[0]) if words[0].endswith("csv") else words[0]
    found = made(folder, where)
    read = read_by_mlcommons(folder)
    assert [one["questions/id"] for one in read] == [one["questions/id"] for one in found["recordSet"][0]["data"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("text",), "expected one task of the mini split"),
        (("sfxx",), "did you mean 'sfx'"),
        (("mine.csv", "--published", "yesterday"), "2025-01-31, found 'yesterday'"),
        (("gone.csv",), r"expected a file at .*none\.wav, found none"),
    ],
)
def test_what_cannot_be_described(words: tuple[str, ...], message: str, folder: Path) -> None:
    (folder / "gone.csv").write_text("mixture,text\nnone.wav,dog\n")
    where = str(folder / words[0]) if words[0].endswith("csv") else words[0]
    with pytest.raises(BenchError, match=message):
        made(folder, where, *words[1:])
