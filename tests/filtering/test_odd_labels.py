"""`sabench filter` with tables, folders and interruptions that nobody makes on purpose. All sounds are synthetic."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from sam_audio_bench import evaluate
from sam_audio_bench.cli import group
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.filtering import labelling
from sam_audio_bench.filtering.expression import parse_condition
from sam_audio_bench.filtering.labelling import LabelOptions, filter_labels
from sam_audio_bench.registry import load_task

RATE = 8000


def tone(seed: int) -> np.ndarray:
    """A second of a melody of its own for each seed."""
    steps = np.random.default_rng(seed).uniform(200, 3000, 20).repeat(RATE // 20)
    return (0.3 * np.sin(2 * np.pi * np.cumsum(steps) / RATE)).astype(np.float32)


def labels(folder: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """A table of labels; the sounds of row N are ``N.wav`` and ``N-mix.wav``."""
    folder.mkdir()
    lines = []
    for number, row in enumerate(rows):
        soundfile.write(folder / f"{number}.wav", tone(number), RATE)
        soundfile.write(folder / f"{number}-mix.wav", tone(number) / 2 + tone(90 + number) / 4, RATE)
        own = {"mixture": f"{number}-mix.wav", "target": f"{number}.wav", "text": "tone", "id": f"item-{number}"}
        lines.append(json.dumps({**own, **row}))
    path = folder / "labels.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def keep(source: Path, out: Path, condition: str, **options: Any) -> Any:
    return filter_labels([source], out, LabelOptions(keep=condition, **{"report": False, **options}), progress=False)


def test_texts_with_every_kind_of_line_end_come_back(tmp_path: Path) -> None:
    texts = ["a\rb", "a\nb", "a\r\nb", 'a"b', "a,b", "=1+1", "é\u2028z", "</script><b>"]
    source = labels(tmp_path / "in", [{"text": text, "id": text, "note": text, "score": 1} for text in texts])
    keep(source, tmp_path / "out", "score > 0", report=True)
    data = load_task(str(tmp_path / "out" / "manifest.csv"))
    assert [(item, data.texts[item], data.attributes_of(item)["note"]) for item in data.ids] == [
        (text, text, text) for text in texts
    ]
    with (tmp_path / "out" / "decisions.csv").open(encoding="utf-8", newline="") as stream:
        assert [row["id"].lstrip("'") for row in csv.DictReader(stream)] == texts
    assert "</script><b>" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_journal_that_broke_off_is_gone_on_with(tmp_path: Path) -> None:
    source = labels(tmp_path / "in", [{"score": score} for score in range(3)])
    keep(source, tmp_path / "out", "score > 1")
    journal = tmp_path / "out" / "measured.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])  # as a process leaves it that was killed
    for _ in range(2):
        assert keep(source, tmp_path / "out", "score >= 0").counts["kept"] == 3
    assert len(journal.read_text().splitlines()) == 3


@pytest.mark.parametrize("scores", [[1e308, -1e308, 0], [1e18] * 3, [2**53 + 2, 2**53], [1e-320, 0]])
@pytest.mark.parametrize("condition", ["score > 0.5", "score < 1e308", "score > -1e999"])
def test_the_page_of_any_numbers(scores: Sequence[float], condition: str, tmp_path: Path) -> None:
    source = labels(tmp_path / "in", [{"score": score} for score in scores])
    found = keep(source, tmp_path / "out", condition, report=True)
    assert sum(found.counts.values()) == len(scores)
    assert "Nearest to " in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_the_page_of_a_column_that_looks_like_a_formula(tmp_path: Path) -> None:
    source = labels(tmp_path / "in", [{r"$\frac$ a&b<c>": 1}, {r"$\frac$ a&b<c>": 3}])
    assert keep(source, tmp_path / "out", r"`$\frac$ a&b<c>` > 2", report=True).counts["kept"] == 1
    assert "a&b<c>" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="expected a seed of 0 or more, found -1"):
        LabelOptions(keep="a > 1", seed=-1)


def test_columns_in_backticks_are_not_looked_for_in_texts() -> None:
    condition = parse_condition("kind == 'a `b` c' and `my score` > 1 and _column_0_ > 2")
    assert condition.columns == ("kind", "my score", "_column_0_")
    assert [part.text for part in condition.parts] == ["kind == 'a `b` c'", "`my score` > 1", "_column_0_ > 2"]
    kinds = np.array(["a `b` c", "a"], dtype=object)
    columns = {"kind": kinds, "my score": np.full(2, 2.0), "_column_0_": np.full(2, 3.0)}
    assert condition.decide(columns).true.tolist() == [True, False]


def test_a_cell_that_is_no_number_is_named(tmp_path: Path) -> None:
    source = labels(tmp_path / "in", [{"score": "1"}, {"score": "nan"}])
    with pytest.raises(UsageError, match="a cell is 'nan', and one that is not known is empty"):
        keep(source, tmp_path / "out", "score > 0")


def test_other_sounds_of_one_size_and_time_are_other_sounds(tmp_path: Path) -> None:
    """As out of an archive, all of whose files have one time."""
    source = labels(tmp_path / "in", [{}, {}])
    for path in source.parent.glob("*.wav"):
        os.utime(path, (1e9, 1e9))
    keep(source, tmp_path / "out", "seconds > 0", copy=True)
    text = source.read_text()
    source.write_text(text.replace('"0.wav"', '"x"').replace('"1.wav"', '"0.wav"').replace('"x"', '"1.wav"'))
    keep(source, tmp_path / "out", "seconds > 0", copy=True)
    kept = tmp_path / "out" / "audio" / "item-0.target.wav"
    assert kept.read_bytes() == (source.parent / "1.wav").read_bytes()


def test_where_nothing_is_kept_no_sounds_stay(tmp_path: Path) -> None:
    source = labels(tmp_path / "in", [{"score": 1, "outcome": "kept", "why": "x"}])
    keep(source, tmp_path / "out", "score > 0")
    keep(source, tmp_path / "out", "score > 1")
    assert not any((tmp_path / "out" / "audio").iterdir())
    with (tmp_path / "out" / "decisions.csv").open(newline="") as stream:
        (names, cells) = csv.reader(stream)
    assert len({*names}) == len(names)
    assert dict(zip(names, cells, strict=True))["outcome"] == "rejected"


def test_the_run_of_a_sample_is_not_in_the_pool(tmp_path: Path) -> None:
    source = labels(tmp_path / "in", [{}, {}, {}])
    evaluate("hpss", [str(source)], metrics=["reconstruction_db"], output=tmp_path / "runs", progress=False)
    out = tmp_path / "runs" / "kept"
    first = keep(tmp_path / "runs", out, "seconds > 0", sample=2)
    manifest = (out / "manifest.csv").read_bytes()
    again = keep(tmp_path / "runs", out, "seconds > 0")
    assert (again.counts, again.record["sources"]) == (first.counts, first.record["sources"])
    assert (out / "manifest.csv").read_bytes() == manifest
    shutil.rmtree(tmp_path / "runs" / "hpss")
    shutil.rmtree(tmp_path / "runs" / "mixture")
    with pytest.raises(Precondition, match="expected runs beside "):
        keep(tmp_path / "runs", out, "seconds > 0")
    with pytest.raises(UsageError, match="expected another folder than the table's own as --out"):
        keep(out / "manifest.csv", out, "seconds > 0")


def test_a_mixture_that_was_changed_since_is_no_label(tmp_path: Path) -> None:
    source = labels(tmp_path / "in", [{}, {}])
    evaluate("hpss", [str(source)], metrics=["reconstruction_db"], output=tmp_path / "runs", progress=False)
    soundfile.write(source.parent / "0-mix.wav", tone(7), RATE)
    found = keep(tmp_path / "runs" / "hpss", tmp_path / "out", "seconds > 0")
    assert (found.counts["kept"], found.counts["unreadable"]) == (1, 1)
    assert any("expected the data of item-0 as they were when it was separated" in note for note in found.notes)


def test_a_record_does_not_tell_of_what_was_begun_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = labels(tmp_path / "one", [{}]), labels(tmp_path / "other", [{"text": "another"}])
    keep(one, tmp_path / "out", "seconds > 0")

    def stopped(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(labelling, "write_kept", stopped)
        with pytest.raises(KeyboardInterrupt):
            keep(other, tmp_path / "out", "seconds > 0")
    assert not (tmp_path / "out" / "filter.json").exists()
    assert keep(one, tmp_path / "out", "seconds > 0").counts["kept"] == 1


def test_what_is_not_counted_of_ratings_is_said(tmp_path: Path) -> None:
    source = labels(tmp_path / "in", [{}, {}, {}])
    small = source.parent / "1.wav"
    soundfile.write(small, tone(1)[: RATE // 2], RATE)
    found = keep(source, tmp_path / "out", "seconds > 0", sample=3)
    assert any("left out 1 item" in note for note in found.notes)  # of another length than its mixture
    rated = tmp_path / "rated.csv"
    rated.write_text("item,axis,score\nitem-0,overall,5\nfar,overall,1\n")
    assert str(keep(source, tmp_path / "out", "seconds > 0", rated=rated).precision).endswith(
        "; not counted: 1 not of the sample or not kept"
    )
    rated.write_text("item,axis,score\nitem-0,overall,inf\n")
    with pytest.raises(UsageError, match=r"expected numbers as scores in .*, found 'inf'"):
        keep(source, tmp_path / "out", "seconds > 0", rated=rated)


def test_a_shard_has_a_number(tmp_path: Path) -> None:
    source = labels(tmp_path / "in", [{}])
    words = ["filter", str(source), "--out", str(tmp_path / "out"), "--keep", "seconds > 0", "--shard", "auto"]
    result = CliRunner().invoke(group, words)
    assert isinstance(result.exception, UsageError)
    assert "expected --shard I/N, for example 2/8, found 'auto'" in str(result.exception)
