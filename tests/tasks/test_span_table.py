"""Spans from the activity of references: both rules against sounds whose spans are known, and the table they become."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from sam_audio_bench import audio
from sam_audio_bench.cli import group
from sam_audio_bench.errors import BenchError, UsageError
from sam_audio_bench.metrics.functional.activity import active_spans
from sam_audio_bench.tasks.load import load_task
from sam_audio_bench.tasks.manifest import read_questions
from sam_audio_bench.tasks.span_table import RULES, SpanRule, find_spans, write_spans
from sam_audio_bench.types import Audio

RATE = 24_000


def tone(*bursts: tuple[float, float, float], seconds: float = 4.0) -> Audio:
    """Bursts ``(start, end, level in dBFS)`` of a tone."""
    time = torch.arange(int(seconds * RATE)) / RATE
    samples = torch.zeros(1, len(time))
    for start, end, level in bursts:
        inside = (time >= start) & (time < end)
        samples[0, inside] += 2**0.5 * 10 ** (level / 20) * torch.sin(2 * torch.pi * 440 * time[inside])
    return Audio(samples, RATE)


def rounded(spans: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    return [(round(start, 1), round(end, 1)) for start, end in spans]


def test_the_relative_rule_follows_the_level_and_the_absolute_one_does_not() -> None:
    quiet = tone((0.5, 1.5, -30.0), (2.5, 3.5, -60.0))
    assert rounded(RULES["relative"](quiet)) == [(0.5, 1.5), (2.5, 3.5)]
    assert rounded(RULES["absolute"](quiet)) == [(0.5, 1.5)]
    down = Audio(quiet.samples * 0.1, RATE)
    assert rounded(RULES["absolute"](down)) == []
    assert rounded(RULES["relative"](Audio(quiet.samples * 10, RATE))) == [(0.5, 1.5), (2.5, 3.5)]
    assert RULES["relative"](quiet) == tuple(active_spans(quiet.samples, RATE))  # as the metric has it


def test_short_sounds_are_no_sounds_by_the_absolute_rule_alone() -> None:
    click = tone((1.0, 1.2, -10.0), (2.0, 2.3, -10.0))
    assert rounded(RULES["relative"](click)) == [(1.0, 1.2), (2.0, 2.3)]
    assert rounded(RULES["absolute"](click)) == [(2.0, 2.3)]


def test_each_number_can_be_changed() -> None:
    sound = tone((0.5, 1.0, -20.0), (1.4, 2.0, -20.0), (3.0, 3.5, -35.0))
    assert len(SpanRule(mode="abs", threshold=-40.0, window=0.25)(sound)) == 3
    assert len(SpanRule(mode="abs", threshold=-40.0, window=0.5)(sound)) == 2  # a pause of 0.4 s is none
    assert len(SpanRule(mode="abs", threshold=-30.0, window=0.25)(sound)) == 2
    assert len(SpanRule(mode="abs", threshold=-30.0, window=0.25, shortest=0.55)(sound)) == 1
    assert SpanRule(mode="abs", threshold=-40.0)(Audio(torch.zeros(1, 100), RATE)) == ()  # below a window, and silent
    for numbers in ({"threshold": 0.0}, {"threshold": -40.0, "shortest": -1.0}):
        with pytest.raises(UsageError, match="expected a threshold below 0 dB"):
            SpanRule(mode="abs", **numbers)
    with pytest.raises(UsageError, match=r"a window of at least 10 ms, found 0\.001 s"):
        SpanRule(mode="abs", threshold=-40.0, window=0.001)(sound)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    audio.write_wav(tmp_path / "m.wav", tone((0.0, 4.0, -12.0)))
    audio.write_wav(tmp_path / "t.wav", tone((1.0, 2.0, -12.0), (3.0, 3.5, -20.0)))
    audio.write_wav(tmp_path / "z.wav", tone())
    (tmp_path / "mine.csv").write_text(
        "mixture,text,spans,target,id,paraphrases,scene,distance\n"
        "m.wav,dog,+1:2,t.wav,a,hound|barker,street,2.5\n"
        "m.wav,cat,,z.wav,b,,room,\n"
        "m.wav,cow,,none.wav,c,,,\n"
        "m.wav,owl,,,d,,,\n"
        "m.wav,,-0:1,z.wav,e,,,\n"
    )
    return tmp_path


def test_the_table_is_a_task_with_the_spans_that_were_found(folder: Path) -> None:
    asked = read_questions(folder / "mine.csv")
    found = {one.item: one for one in find_spans(asked, RULES["relative"])}
    assert [one for one, what in found.items() if what.problem] == ["c", "d", "e"]
    assert "none.wav" in found["c"].problem
    assert "expected a target" in found["d"].problem
    assert "found silence and none" in found["e"].problem
    assert found["a"].overlap is not None
    assert found["a"].overlap.recall == pytest.approx(1.0, abs=0.02)
    assert found["a"].overlap.precision == pytest.approx(1 / 1.5, abs=0.02)
    assert found["b"].overlap is None
    assert write_spans(asked, found.values(), folder / "found.csv") == 2
    data = load_task(str(folder / "found.csv"))
    assert data["a"].query.prompt.spans == found["a"].spans
    assert [(round(start, 1), round(end, 1)) for _, start, end in found["a"].spans] == [(1.0, 2.0), (3.0, 3.5)]
    assert data["b"].query.prompt.spans == ()
    assert data.paraphrases == {"a": ("hound", "barker")}
    assert data.groups == {"a": "m.wav", "b": "m.wav"}
    assert data.attributes == {"a": {"scene": "street", "distance": 2.5}, "b": {"scene": "room"}}


def invoke(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(group, ["data", "spans", *words])
    if isinstance(result.exception, BenchError):
        raise result.exception
    return result.exit_code, result.stdout


def test_the_command_tells_agreement_draws_and_leaves_out_aloud(folder: Path) -> None:
    code, shown = invoke(str(folder / "mine.csv"), "--out", str(folder / "found.csv"), "--figures", str(folder / "f"))
    assert code == 1
    assert "2 of 5 questions in " in shown
    assert "1 of them without a sound" in shown
    assert "mean over 1 items: iou 0.6" in shown
    assert sorted(path.name for path in (folder / "f").iterdir()) == [
        f"{item}.{suffix}" for item in "ab" for suffix in ("csv", "png", "svg")
    ]
    lines = (folder / "f" / "a.csv").read_text().splitlines()
    assert lines[0] == "seconds,rms_dbfs,given,found"
    middle = next(line for line in lines if line.startswith("1.505,"))
    assert middle == "1.505,-12.0,True,True"
    code, shown = invoke(str(folder / "mine.csv"), "--out", str(folder / "x.csv"), "--rule", "absolute", "--threshold",
                         "-15", "--json")  # fmt: skip
    found = json.loads(shown)
    assert found["rule"] == {"mode": "abs", "threshold": -15.0, "window": 0.25, "shortest": 0.25}
    assert [len(one["spans"].split()) for one in found["found"]] == [1, 0, 0, 0, 0]
    assert found["agreement"]["iou"] == pytest.approx(0.76, abs=0.02)  # windows of half the energy fall below -15 dB


def test_the_table_never_replaces_the_data_nor_lies_elsewhere(folder: Path, tmp_path_factory) -> None:
    for out, message in (
        (folder / "mine.csv", "they would be replaced"),
        (tmp_path_factory.mktemp("else") / "found.csv", "in the folder of the data"),
        (folder / "found.txt", "a .csv file"),
    ):
        with pytest.raises(UsageError, match=message):
            invoke(str(folder / "mine.csv"), "--out", str(out))
