"""`sabench data validate`: every problem of a table and of its files, by row."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

import sam_audio_bench as sab
from sam_audio_bench import audio
from sam_audio_bench.cli.data import validate
from sam_audio_bench.tasks.load import load_task
from sam_audio_bench.tasks.manifest import read_questions
from sam_audio_bench.tasks.manifest_check import check_questions
from sam_audio_bench.tasks.synthetic_video import FRAME_RATE, draw_scene, write_clip
from sam_audio_bench.types import Audio

RATE = 8000


def sound(path: Path, seconds: float = 1.0, rate: int = RATE, channels: int = 1) -> None:
    samples = torch.rand((channels, round(seconds * rate)), generator=torch.Generator().manual_seed(0)) - 0.5
    audio.write_wav(path, Audio(samples, rate))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "t"):
        sound(tmp_path / f"{name}.wav")
    audio.write_wav(tmp_path / "r.wav", Audio(torch.zeros(1, RATE), RATE))  # what is left of the mixture without t
    write_clip(draw_scene("x", np.full((1, FRAME_RATE), 255, np.uint8)), tmp_path / "v.mp4", tmp_path / "m.npz")
    return tmp_path


def problems(folder: Path, text: str) -> list[tuple[int | str, str, str, str]]:
    """Row, column, severity and message of every problem of a CSV."""
    (folder / "mine.csv").write_text(text)
    found = check_questions(read_questions(folder / "mine.csv"))
    return [(problem.where, problem.column, problem.severity, problem.what) for problem in found]


def test_sound_data_have_no_problem(folder: Path):
    text = "mixture,text,spans,video,mask,target,residual\na.wav,dog,+0:1.04 -0:1,v.mp4,m.npz,t.wav,r.wav\n"
    assert problems(folder, text) == []


@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        ("mixture,text", "none.wav,dog", [("mixture", "error", "found none")]),
        ("mixture,text", "bad.wav,dog", [("mixture", "error", "libsndfile can read")]),
        ("mixture,text,target", "none.wav,dog,bad.wav",
         [("mixture", "error", "found none"), ("target", "error", "libsndfile can read")]),
        ("mixture,text,target", "a.wav,dog,none.wav", [("target", "error", "found none")]),
        ("mixture,text,residual", "a.wav,dog,nan.wav", [("residual", "error", "NaN or infinity")]),
        ("mixture,text,target", "a.wav,dog,short.wav", [("target", "error", "as long as a.wav")]),
        ("mixture,text,target", "a.wav,dog,stereo.wav", [("target", "error", "found 2 x 8000")]),
        ("mixture,text,target", "a.wav,dog,high.wav", [("target", "warning", "expected high.wav at 8000 Hz")]),
        ("mixture,text,target,residual", "a.wav,dog,t.wav,t.wav", [("residual", "warning", "difference of 0.0 dB")]),
        ("mixture,text,spans", "a.wav,dog,+0:1.06", [("spans", "error", "within 1.00 s of sound, found +0:1.06")]),
        ("mixture,text,spans", "a.wav,dog,+0:1 -1:1.04", [("spans", "error", "found -1:1.04")]),
        ("mixture,video", "a.wav,a.wav", [("video", "error", "expected a video stream")]),
        ("mixture,video", "a.wav,torn.mp4", [("video", "error", "breaks off")]),
        ("mixture,video", "long.wav,v.mp4", [("video", "warning", "expected a video of 2.00 s, found 1.00 s")]),
        ("mixture,video,mask", "a.wav,v.mp4,none.npz", [("mask", "error", "expected a mask at")]),
        ("mixture,video,mask", "a.wav,v.mp4,few.npz", [("mask", "error", "expected 10 masks in few.npz")]),
        ("mixture,video,mask", "a.wav,v.mp4,zero.npz", [("mask", "error", "zero everywhere")]),
        ("mixture,video,mask", "a.wav,v.mp4,pickle.npz", [("mask", "error", "never unpickled")]),
    ],
)  # fmt: skip
def test_each_problem_is_named(folder: Path, columns: str, row: str, expected: list[tuple[str, str, str]]):
    (folder / "bad.wav").write_text("hello")
    audio.write_wav(folder / "nan.wav", Audio(torch.full((1, RATE), torch.nan), RATE))
    sound(folder / "short.wav", 0.9)
    sound(folder / "long.wav", 2.0)
    sound(folder / "stereo.wav", channels=2)
    sound(folder / "high.wav", rate=2 * RATE)
    (folder / "torn.mp4").write_bytes((folder / "v.mp4").read_bytes()[:700])
    mask = np.load(folder / "m.npz")["video_masklet"]
    for name, array in (("few", mask[:4]), ("zero", mask & False), ("pickle", np.array([{}], object))):
        np.savez(folder / f"{name}.npz", video_masklet=array)
    other = "" if "video" in columns else f"t.wav,dog{',' * (columns.count(',') - 1)}\n"
    found = problems(folder, f"{columns}\n{other}{row}\n")
    assert [problem[1:3] for problem in found] == [entry[:2] for entry in expected]
    assert all(wanted[2] in problem[3] for problem, wanted in zip(found, expected, strict=True))
    assert {problem[0] for problem in found} == {2 if "video" in columns else 3}


def test_what_is_worked_around_is_a_warning(folder: Path):
    content = bytearray((folder / "a.wav").read_bytes())
    at = content.index(b"data") + 4
    content[4:8] = content[at : at + 4] = b"\xff\xff\xff\xff"
    (folder / "piped.wav").write_bytes(content)
    found = problems(folder, "mixture,text,target\npiped.wav,dog,t.wav\na.wav,dog,piped.wav\n")
    assert [problem[:3] for problem in found] == [(2, "mixture", "warning"), (3, "target", "warning")]
    assert all("does not say how long it is" in problem[3] for problem in found)
    item = load_task(str(folder / "mine.csv"))["piped"]
    assert [remark.split(":")[0] for remark in item.remarks] == ["piped.wav"]
    assert torch.equal(item.query.mixture.samples, audio.read(folder / "a.wav").samples)


def test_names_mean_files_however_they_are_written(folder: Path):
    for form, name in (("NFD", "é.WAV"), ("NFC", "à.mp4"), ("NFD", "ô.npz")):
        source = folder / {"WAV": "a.wav", "mp4": "v.mp4", "npz": "m.npz"}[name[-3:]]
        source.rename(folder / unicodedata.normalize(form, name))
    text = "mixture,text,video,mask,target\né.wav,dog,à.MP4,ô.npz,t.WAV\n"
    assert problems(folder, unicodedata.normalize("NFC", text)) == []
    assert problems(folder, unicodedata.normalize("NFD", text)) == []
    data = load_task(str(folder / "mine.csv"))
    item = data[data.ids[0]]
    assert item.query.prompt.video is not None
    assert Path(item.query.prompt.video).is_file()
    assert "missing" not in data.content_sha256(data.ids[0])
    before = data.content_sha256(data.ids[0])
    sound(folder / "t.wav", 2.0)
    assert data.content_sha256(data.ids[0]) != before


def test_broken_files_cost_their_rows_and_nothing_else(folder: Path):
    soundfile.write(folder / "a.flac", np.zeros((RATE, 1)) + 0.1, RATE)
    content = bytearray((folder / "a.flac").read_bytes())
    content[21:26] = (int.from_bytes(content[21:26], "big") >> 36 << 36 | 2**35).to_bytes(5, "big")
    (folder / "a.flac").write_bytes(content)
    (folder / "half.wav").write_bytes((folder / "a.wav").read_bytes()[: RATE * 2])
    text = "mixture,text,id\na.wav,dog,first\na.flac,dog,long\nhalf.wav,dog,half\nt.wav,dog,last\n"
    assert [problem[0] for problem in problems(folder, text)] == [3, 4]
    result = sab.evaluate(
        "mixture", str(folder / "mine.csv"), metrics="reconstruction_db", output=folder / "runs", progress=False
    )
    statuses = dict(zip(result.frame["item"], result.frame["status"], strict=True))
    assert {name: status for name, status in statuses.items() if status == "error"} == {
        "long": "error",
        "half": "error",
    }
    assert set(statuses) == {"first", "long", "half", "last"}


def test_mistakes_of_the_table_come_with_those_of_the_files(folder: Path):
    text = "mixture,text,id\nnone.wav,dog,x\na.wav,,y\nt.wav,cat,x\n../a.wav,cow,z\n"
    assert [(row, column) for row, column, _, _ in problems(folder, text)] == [
        (3, "text"), (5, "mixture"), (4, "id"), (2, "mixture"),
    ]  # fmt: skip


def test_the_command_prints_rows_and_tells_by_its_exit_code(folder: Path):
    path = folder / "mine.csv"
    path.write_text("mixture,text,target,id\na.wav,dog,t.wav,one\nnone.wav,cat,,two\n,cow,,\n")
    done = CliRunner().invoke(validate, [str(path)])
    assert done.exit_code == 1
    assert done.stdout.splitlines()[0].split() == ["row", "item", "column", "severity", "what"]
    assert "mine: 2 items, 2 errors, 0 warnings" in done.stdout
    answer = json.loads(CliRunner().invoke(validate, [str(path), "--json"]).stdout)
    assert (answer["ok"], answer["task"], answer["items"]) == (False, "mine", 2)
    assert [(entry["row"], entry["item"], entry["column"]) for entry in answer["problems"]] == [
        (4, None, "mixture"), (3, "two", "mixture"),
    ]  # fmt: skip
    path.write_text("mixture,text,target\na.wav,dog,t.wav\n")
    done = CliRunner().invoke(validate, [str(path)])
    assert (done.exit_code, done.stdout) == (0, "mine: 1 item, 0 errors, 0 warnings\n")


def test_warnings_alone_are_fine_and_layouts_are_checked_too(tmp_path: Path):
    for name, rate in (("vocals", RATE), ("drums", RATE), ("mixture", 2 * RATE)):
        (tmp_path / "songs" / "one").mkdir(parents=True, exist_ok=True)
        sound(tmp_path / "songs" / "one" / f"{name}.wav", rate=rate)
    done = CliRunner().invoke(validate, [f"stems:{tmp_path / 'songs'}", "--json"])
    answer = json.loads(done.stdout)
    assert (done.exit_code, answer["ok"]) == (0, True)
    assert {entry["row"] for entry in answer["problems"]} == {"one/drums", "one/vocals"}
    (tmp_path / "songs" / "one" / "vocals.wav").write_text("hello")
    assert CliRunner().invoke(validate, [f"stems:{tmp_path / 'songs'}"]).exit_code == 1
