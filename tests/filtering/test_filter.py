"""`sabench filter`: what is kept, what is not and why, and that what is written is a task. All sounds are synthetic."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from click.testing import CliRunner

from sam_audio_bench import evaluate
from sam_audio_bench.cli import group
from sam_audio_bench.errors import BenchError, Precondition, UsageError
from sam_audio_bench.filtering import measuring
from sam_audio_bench.filtering.fingerprint import RATE, Sketches, sketch
from sam_audio_bench.filtering.labelling import LabelOptions, filter_labels
from sam_audio_bench.ratings.table import COLUMNS, Ratings
from sam_audio_bench.registry import load_task
from sam_audio_bench.tasks.span_table import RULES
from sam_audio_bench.types import Audio, Query, Separation

SECONDS = 2
Row = Mapping[str, object]


def chirps(seed: int, *, start: float = 0.0, end: float = SECONDS, gain: float = 0.3) -> np.ndarray:
    """A melody of its own for each seed, that sounds from start to end."""
    generator = np.random.default_rng(seed)
    time = np.arange(SECONDS * RATE) / RATE
    steps = generator.uniform(200, 4000, 40)[(time * 20).astype(int)]
    sound = gain * np.sin(2 * np.pi * np.cumsum(steps) / RATE) * (time >= start) * (time < end)
    return sound.astype(np.float32)


def table(folder: Path, rows: Sequence[Row], sounds: Mapping[str, np.ndarray] = {}) -> Path:
    """A table of labels with ids a, b, …; ``sounds`` are targets that are no chirps of their own."""
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(99).normal(0, 0.01, SECONDS * RATE).astype(np.float32)
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [["id", "mixture", "text", "target", *names]]
    for number, row in enumerate(rows):
        name = "abcdefgh"[number]
        target = sounds.get(name, chirps(number))
        soundfile.write(folder / f"{name}-mix.wav", target + noise, RATE, subtype="FLOAT")
        soundfile.write(folder / f"{name}.wav", target, RATE, subtype="FLOAT")
        lines.append(
            [name, f"{name}-mix.wav", f"sound {number % 2}", f"{name}.wav", *(row.get(key, "") for key in names)]
        )
    path = folder / "labels.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(lines)
    return path


def manifest(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def outcomes(out: Path) -> dict[str, str]:
    with (out / "decisions.csv").open(newline="") as stream:
        return {row["id"]: row["outcome"] for row in csv.DictReader(stream)}


def keep(source: Path | Sequence[Path], out: Path, condition: str = "", **options: Any) -> Any:
    inputs = [source] if isinstance(source, Path) else source
    return filter_labels(inputs, out, LabelOptions(keep=condition, **{"report": False, **options}), progress=False)


def sabench(*words: object) -> Any:
    return CliRunner().invoke(group, ["filter", *map(str, words)])


SCORES: list[Row] = [{"score": 1}, {"score": 5}, {"score": ""}, {"score": 4}]


def test_what_is_kept_is_a_task_with_the_same_sounds(tmp_path: Path) -> None:
    bursts = {"b": chirps(1, start=0.5, end=1.0), "d": chirps(3, start=1.0)}
    source = table(tmp_path / "in", SCORES, bursts)
    found = keep(source, tmp_path / "out", "score > 3")
    assert found.counts == {"kept": 2, "rejected": 1, "undefined": 1, "unreadable": 0, "duplicate": 0, "quota": 0}
    assert any("1 label dropped as undefined" in note for note in found.notes)
    data = load_task(str(tmp_path / "out" / "manifest.csv"))
    assert data.ids == ("b", "d")
    assert data.attributes_of("b")["score"] == 5
    for name, times in (("b", (0.5, 1.0)), ("d", (1.0, 2.0))):
        item = data[name]
        assert item.query.mixture.samples.numpy()[0] == pytest.approx(
            soundfile.read(source.parent / f"{name}-mix.wav")[0]
        )
        assert item.reference is not None
        assert (item.reference.samples.numpy()[0] == bursts[name]).all()
        ((sign, start, end),) = item.query.prompt.spans
        assert (sign, (start, end)) == ("+", pytest.approx(times, abs=0.26))
        assert RULES["absolute"](item.reference) == ((start, end),)
    linked = tmp_path / "out" / "audio" / "b.target.wav"
    assert linked.samefile(source.parent / "b.wav")
    keep(source, tmp_path / "out", "score > 3", copy=True)
    assert not linked.samefile(source.parent / "b.wav")
    assert linked.read_bytes() == (source.parent / "b.wav").read_bytes()


def test_only_what_may_be_kept_is_looked_at(tmp_path: Path) -> None:
    source = table(tmp_path / "in", SCORES, {"d": np.zeros(SECONDS * RATE, np.float32)})
    for name in ("a", "b", "c"):
        (source.parent / f"{name}.wav").write_bytes(b"no sound")
    found = keep(source, tmp_path / "out", "score > 3 and silence < 0.95")
    assert outcomes(tmp_path / "out") == {"a": "rejected", "b": "unreadable", "c": "unreadable", "d": "rejected"}
    conditions = found.record["conditions"][1]
    assert (conditions["failed"], conditions["undefined"], conditions["unseen"]) == (1, 2, 1)


def test_silence_is_the_share_of_time_outside_the_spans(tmp_path: Path) -> None:
    rows: list[Row] = [{"score": 1}] * 3
    source = table(tmp_path / "in", rows, {"a": chirps(0, end=0.5), "b": chirps(1, gain=0.003), "c": chirps(2)})
    keep(source, tmp_path / "out", "silence <= 1")
    silence = {row["id"]: float(row["silence"]) for row in manifest(tmp_path / "out")}
    assert silence == {"a": pytest.approx(0.75, abs=0.13), "b": 1.0, "c": pytest.approx(0, abs=0.01)}
    keep(source, tmp_path / "relative", "silence < 0.5", rule=RULES["relative"])
    assert [row["id"] for row in manifest(tmp_path / "relative")] == ["b", "c"]


def test_of_one_sound_the_best_stays(tmp_path: Path) -> None:
    rows: list[Row] = [{"score": 1}, {"score": 3}, {"score": 2}, {"score": 3}]
    softer = {"b": chirps(0, gain=0.1), "d": chirps(2)}
    source = table(tmp_path / "in", rows, softer)
    keep(source, tmp_path / "out", "score > 0", best="score")
    assert outcomes(tmp_path / "out") == {"a": "duplicate", "b": "kept", "c": "duplicate", "d": "kept"}
    keep(source, tmp_path / "lowest", "score > 0", best="score:lowest")
    assert outcomes(tmp_path / "lowest") == {"a": "kept", "b": "duplicate", "c": "kept", "d": "duplicate"}
    keep(source, tmp_path / "ids", "score > 0")
    assert outcomes(tmp_path / "ids") == {"a": "kept", "b": "duplicate", "c": "kept", "d": "duplicate"}
    assert keep(source, tmp_path / "all", "score > 0", duplicates=True).counts["kept"] == 4


def test_quota_keeps_the_best_of_each_class_and_ties_go_by_the_name(tmp_path: Path) -> None:
    rows: list[Row] = [{"score": score} for score in (1, 2, 3, 2, 2, "")]
    source = table(tmp_path / "in", rows)  # texts 0 and 1 in turn
    keep(source, tmp_path / "out", "score > 0 or not score > 0 or 1 > 0", best="score", quota=2)
    assert outcomes(tmp_path / "out") == {
        "a": "quota",
        "b": "kept",
        "c": "kept",
        "d": "kept",
        "e": "kept",
        "f": "quota",
    }
    with pytest.raises(UsageError, match="expected --best COLUMN with --quota"):
        keep(source, tmp_path / "out", "score > 0", quota=2)


def test_sounds_of_an_earlier_choice_go(tmp_path: Path) -> None:
    source = table(tmp_path / "in", SCORES)
    keep(source, tmp_path / "out", "score > 0")
    keep(source, tmp_path / "out", "score > 4")
    assert {path.name for path in (tmp_path / "out" / "audio").iterdir()} == {"b.mixture.wav", "b.target.wav"}
    assert (source.parent / "a.wav").exists()


def test_nothing_and_everything_is_said_with_the_distribution(tmp_path: Path) -> None:
    source = table(tmp_path / "in", [{"score": 1}, {"score": 3}])
    result = sabench(source, "--out", tmp_path / "out", "--keep", "score > 9", "--no-report")
    assert result.exit_code == 1
    assert "the conditions keep nothing of 2 labels" in result.output
    assert re.search(r"score +2 +1 +1.1 +1.5 +2 +2.5 +2.9 +3", result.output)
    assert not (tmp_path / "out" / "manifest.csv").exists()
    result = sabench(source, "--out", tmp_path / "out", "--keep", "score > 0")
    assert result.exit_code == 0, result.output
    assert "the conditions reject nothing of 2 labels" in result.output
    assert re.search(r"score +2 +1 +1.1", result.output)


def test_shards_join_to_the_same_bytes_and_nothing_is_measured_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = table(tmp_path / "in", [{"score": score} for score in range(7)])
    options = {"condition": "score > 0 and silence < 0.9", "best": "score", "quota": 2}
    whole = keep(source, tmp_path / "whole", **options)
    for index in (2, 1, 3):
        part = keep(source, tmp_path / "parts", **options, shard=(index, 3))
        assert (part.measured, part.counts) == (2, {})
    monkeypatch.setattr(measuring.audio, "read", lambda path: pytest.fail(f"{path} was read again"))
    joined = keep(source, tmp_path / "parts", **options)
    assert joined.counts == whole.counts
    for name in ("manifest.csv", "decisions.csv", "filter.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    keep(source, tmp_path / "whole", "score > 3 and silence < 0.5")  # other thresholds, the same journal
    with pytest.raises(UsageError, match="expected --shard I/N with 1 <= I <= N, found 4/3"):
        keep(source, tmp_path / "parts", **options, shard=(4, 3))


def test_another_target_under_the_same_name_is_measured_again(tmp_path: Path) -> None:
    source = table(tmp_path / "in", [{"score": 1}])
    keep(source, tmp_path / "out", "silence < 0.5")
    soundfile.write(source.parent / "a.wav", chirps(5, end=0.5), RATE, subtype="FLOAT")
    assert keep(source, tmp_path / "out", "silence < 0.5").counts["rejected"] == 1


def test_what_cannot_be_meant_is_told_before_any_work(tmp_path: Path) -> None:
    source = table(tmp_path / "in", [{"score": 1, "kind": "x"}])
    (tmp_path / "mine").mkdir()
    (tmp_path / "rated.csv").write_text("item,axis,score\na,overall,5\n")
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    cases: list[tuple[dict[str, Any], type[BenchError], str]] = [
        ({"condition": "scor > 1"}, UsageError, "found 'scor': did you mean score or seconds[?] there are score, "),
        ({"condition": "clap > 0.3"}, Precondition, r"expected a column clap, found score, .* --metrics clap$"),
        ({"preset": "sam-audio"}, Precondition, "clap and a column clap_residual and a column aes_pc for --preset"),
        ({"preset": "sam"}, UsageError, "expected --preset sam-audio or offline, found 'sam'"),
        ({}, UsageError, "expected --keep CONDITION or --preset"),
        ({"condition": "score > 0", "best": "kind"}, UsageError, "expected a column of numbers in --best"),
        ({"condition": "score > 0", "best": "nothing"}, UsageError, "in --best, found 'nothing'"),
        ({"condition": "score > 0", "by": "klass"}, UsageError, "in --by, found 'klass'"),
        ({"condition": "score > 0", "rated": tmp_path / "no.csv"}, UsageError, "expected ratings at "),
        ({"condition": "score > 0", "rated": tmp_path / "rated.csv"}, UsageError, "expected the sample at .*--sample"),
    ]  # fmt: skip
    for number, (options, kind, message) in enumerate(cases):
        with pytest.raises(kind, match=message):
            keep(source, tmp_path / f"out{number}", **options)
        assert not (tmp_path / f"out{number}").exists()
    with pytest.raises(Precondition, match="expected a new folder at "):
        keep(source, tmp_path / "mine", "score > 0")
    with pytest.raises(UsageError, match="expected run folders, or one table"):
        keep([source, source], tmp_path / "out", "score > 0")


def test_typos_are_told_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from sam_audio_bench.cli import main\n"
        "for words in (['--keep', 'f(a) > 1'], ['--preset', 'x'], [], ['--keep', 'a > 1', '--correct', 'x']):\n"
        "    try: main(['filter', 'none', '--out', 'out', *words])\n"
        "    except SystemExit as end: assert end.code == 2, words\n"
        "    else: raise AssertionError(words)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True, text=True)


def test_masks_count_and_go_along(tmp_path: Path) -> None:
    source = table(tmp_path / "in", [{"video": "v.mp4", "mask": "m.npz"}, {"video": "", "mask": ""}])
    mask = np.zeros((2, 4, 4), bool)
    mask[:, :2, :2] = True
    np.savez(source.parent / "m.npz", video_masklet=mask)
    (source.parent / "v.mp4").write_bytes(b"a video that nobody decodes here")
    keep(source, tmp_path / "out", "video == 0 or mask_coverage > 0.2")
    rows = {row["id"]: row for row in manifest(tmp_path / "out")}
    assert (float(rows["a"]["mask_coverage"]), rows["b"]["mask_coverage"]) == (0.25, "")
    assert (rows["a"]["video"], rows["a"]["mask"]) == ("audio/a.video.mp4", "audio/a.mask.npz")
    assert keep(source, tmp_path / "out", "video == 0 or mask_coverage > 0.3").counts["rejected"] == 1


def test_estimates_of_runs(small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = evaluate(
        ["hpss", "repet-sim"], [str(small_task)], metrics=["si_sdr", "reconstruction_db"], progress=False
    )
    frame = results.to_frame()
    expected = frame[(frame["metric"] == "si_sdr") & (frame["separator"] == "hpss") & (frame["value"] > -3)]
    found = keep(Path("runs/hpss"), tmp_path / "one", "si_sdr > -3", duplicates=True)
    assert [row["id"] for row in manifest(tmp_path / "one")] == expected["item"].tolist()
    assert found.counts["undefined"] == 1  # the silent reference
    rows = manifest(tmp_path / "one")
    assert [float(row["si_sdr"]) for row in rows] == expected["value"].tolist()
    assert (tmp_path / "one" / rows[0]["mixture"]).samefile(small_task.parent / "mix0.wav")
    both = keep(Path("runs"), tmp_path / "both", "si_sdr > -99 and separator == 'hpss'", duplicates=True)
    assert both.total == 12
    assert any("the baseline mixture is no separator" in note for note in both.notes)
    assert {row["id"] for row in manifest(tmp_path / "both")} == {f"item-{number}@hpss" for number in range(5)}
    with pytest.raises(Precondition, match=r"sabench score runs/hpss/\S+ --metrics clap,clap_residual,aes_pc$"):
        keep(Path("runs/hpss"), tmp_path / "none", preset="sam-audio")
    again = evaluate("hpss", [str(tmp_path / "one" / "manifest.csv")], metrics=["si_sdr"], output=tmp_path / "again",
                     progress=False)  # fmt: skip
    own = again.to_frame()
    values = own[own["separator"] == "hpss"]["value"]
    assert len(values) == len(rows)
    assert (values > 100).all()  # the label is what hpss gives: its own estimate, rounded to 24 bits
    middle = sorted(float(row["si_sdr"]) for row in rows)[len(rows) // 2]
    condition = f"si_sdr >= {middle!r} and separator == 'hpss'"
    twice = keep(tmp_path / "one", tmp_path / "twice", condition, duplicates=True)
    assert twice.total == len(rows)  # the folder of what is kept is a table of labels
    expected_ids = [row["id"] for row in rows if float(row["si_sdr"]) >= middle]
    assert [row["id"] for row in manifest(tmp_path / "twice")] == expected_ids
    target = next(Path("runs/hpss").rglob("item-0.target.flac"))
    target.write_bytes((target.parent / "item-1.target.flac").read_bytes())
    assert keep(Path("runs/hpss"), tmp_path / "one", "si_sdr > -3", duplicates=True).counts["unreadable"] == 1


class Gate:
    """The mixture in a window of 300 ms that the seed places: candidates that differ."""

    name = "gate"

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """The seed decides."""
        return [self._gated(query.mixture, seed) for query, seed in zip(queries, seeds, strict=True)]

    def _gated(self, mixture: Audio, seed: int) -> Separation:
        target, size = torch.zeros_like(mixture.samples), mixture.rate // 3
        start = int(torch.randint(0, mixture.length - size, (1,), generator=torch.Generator().manual_seed(seed)))
        target[:, start : start + size] = mixture.samples[:, start : start + size]
        return Separation(target=Audio(target, mixture.rate), residual=Audio(mixture.samples - target, mixture.rate))


def test_of_several_candidates_the_picked_one_is_the_label(tmp_path: Path) -> None:
    rows: list[Row] = [{"spans": "+0.2:0.5"}, {"spans": "+1.4:1.8"}, {"spans": "+0.9:1.3"}]
    source = table(tmp_path / "in", rows)
    results = evaluate(Gate(), [str(source)], metrics=["span_iou"], candidates=4, picker="activity", progress=False,
                       output=tmp_path / "runs")  # fmt: skip
    frame = results.to_frame()
    own = frame[frame["separator"] == "gate"]
    picked = own[own["picked_by"] == "activity"].set_index("item")["value"]
    first = own[own["picked_by"].isna()].set_index("item")["value"]
    assert (picked != first).any()
    keep(tmp_path / "runs" / "gate", tmp_path / "out", "span_iou >= 0", duplicates=True)
    for row in manifest(tmp_path / "out"):
        assert float(row["span_iou"]) == picked[row["id"]]
        ((_, start, end),) = load_task(str(tmp_path / "out" / "manifest.csv"))[row["id"]].query.prompt.spans
        assert end - start == pytest.approx(1 / 3, abs=0.26)


def about(trial: Mapping[str, Any], kind: str) -> dict[str, object]:
    """A made-up answer to a trial, as an import gives it."""
    names = ("item", "group", "system", "domain")
    return {**{name: trial[name] for name in names}, "rater": "nobody", "axis": "overall", "score": 5.0, "kind": kind}


def test_precision_of_a_rated_sample(tmp_path: Path) -> None:
    rows: list[Row] = [{"score": score, "kind": "x"} for score in range(7)]
    source = table(tmp_path / "in", rows)
    out = tmp_path / "out"
    found = keep(source, out, "score > 0", sample=5, raters=2)
    drawn = (out / "sample.csv").read_text().splitlines()
    assert (len(drawn), found.listening) == (6, out / "listening")
    assert "target" not in drawn[0]  # nobody is shown what the answer should be
    key = json.loads((out / "listening" / "key.json").read_text())
    trials = [trial for trial in key["trials"].values() if trial["kind"] == "rating"]
    assert {trial["item"] for trial in trials} == {line.rpartition(",")[2] for line in drawn[1:]}
    rated = tmp_path / "rated.csv"
    lines = [f"{trial['item']},overall,{score}" for trial in trials for score in (4, 5)]
    rated.write_text("\n".join(["item,axis,score", *lines, "a,overall,1"]))
    one = keep(source, out, "score > 0", rated=rated).precision
    assert (one.correct, one.rated, one.foreign) == (5, 5, 1)
    assert (one.low, one.high) == (pytest.approx(0.025 ** (1 / 5)), 1.0)  # Clopper and Pearson in closed form
    frame = pd.DataFrame({**dict.fromkeys(COLUMNS), **about(trial, "rating")} for trial in trials)
    trap = pd.DataFrame([{**frame.iloc[0], "kind": "trap", "score": 1.0}])  # beeps, which say nothing of the label
    Ratings(frame=pd.concat([frame, trap])).write(tmp_path / "rated.parquet")
    assert str(keep(source, out, "score > 0", rated=tmp_path / "rated.parquet").precision) == (
        "5 of 5 rated labels are right (overall >= 4): precision 1.000 [0.478, 1.000]"
    )
    stricter = keep(source, out, "score > 5", rated=rated, correct="overall > 4.5")
    assert (stricter.precision.correct, stricter.precision.rated) == (0, 1) if stricter.precision else False
    with pytest.raises(UsageError, match=r"in --correct, found 'recal': .*there are overall"):
        keep(source, out, "score > 0", rated=rated, correct="recal > 3")
    with pytest.raises(Precondition, match="expected no listening test at "):
        keep(source, out, "score > 0", sample=5)


def test_the_page_works_offline_and_plays_both_sides(tmp_path: Path) -> None:
    source = table(tmp_path / "in", [{"score": score} for score in range(6)])
    keep(source, tmp_path / "out", "score >= 3 and silence < 0.9", report=True)
    page = (tmp_path / "out" / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    played = re.findall(r'<audio [^>]*src="([^"]+)" aria-label="([^"]+)"', page)
    assert {"target of c", "target of d", "mixture of c"} <= {label for _, label in played}
    assert all((tmp_path / "out" / path).is_file() for path, _ in played)
    assert "score &gt;= 3" in page
    assert page.count("<svg") == 2


def test_different_stems_are_not_duplicates() -> None:
    """The rates that `Sketches` states, on the stems of mini."""
    from judge.sources.clips import decode
    from sam_audio_bench.tasks.recipes import load_stems

    known = Sketches()
    sketches = {stem.id: sketch(decode(stem.path)) for stem in load_stems().values()}
    for name, own in sketches.items():
        assert known.find(own) is None, name
        known.add(name, own)
    assert {name: known.find(own) for name, own in sketches.items()} == {name: name for name in sketches}
