"""Best of k: the picked candidate, the k = 1 scores, and independence of batches, shards, crashes and order."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

import sam_audio_bench as sab
from sam_audio_bench import audio, registry
from sam_audio_bench.errors import MediaError, Precondition, UsageError
from sam_audio_bench.identity import Identity
from sam_audio_bench.metrics.activity import SpanOverlap
from sam_audio_bench.run.merge import merge
from sam_audio_bench.run.plan import Settings, make_plan
from sam_audio_bench.run.provenance import item_seed
from sam_audio_bench.run.rescore import rescore
from sam_audio_bench.run.separation import CandidateSet, Reranking, separate_items
from sam_audio_bench.separators.pickers import PICKERS
from sam_audio_bench.separators.rerank import ActivityPicker
from sam_audio_bench.types import Audio, CandidateSeparator, Item, Prompt, Query, Separation

METRICS = ["si_sdr", "span_iou", "leak_db", "reconstruction_db"]
RATE = 8000
NAME = "spans@1-file"


@pytest.fixture
def span_task(tmp_path: Path) -> Path:
    """Six items of 1.5 s whose target is active in the span of the prompt; the fifth has only a negative span."""
    folder = tmp_path / "spans"
    folder.mkdir()
    generator = np.random.default_rng(0)
    lines = ["mixture,spans,target,group,id"]
    for index in range(6):
        start = 0.1 * index
        target, rest = generator.normal(size=(2, 12_000)).astype(np.float32) * 0.1
        inside = (np.arange(12_000) >= start * RATE) & (np.arange(12_000) < (start + 0.7) * RATE)
        target *= inside
        for name, samples in (("mix", target + rest), ("target", target)):
            soundfile.write(folder / f"{name}{index}.wav", samples, RATE, subtype="FLOAT")
        span = "-0:0.5" if index == 4 else f"+{start:.1f}:{start + 0.7:.1f}"
        lines.append(f"mix{index}.wav,{span},target{index}.wav,song{index % 3},item-{index}")
    path = folder / "spans.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def gated(query: Query, seed: int) -> Separation:
    """Passes the mixture in a window of 600 ms, whose position depends on the seed."""
    mixture = query.mixture
    start = int(torch.randint(0, mixture.length - 4800, (1,), generator=torch.Generator().manual_seed(seed)))
    target = torch.zeros_like(mixture.samples)
    target[:, start : start + 4800] = mixture.samples[:, start : start + 4800]
    return Separation(target=Audio(target, mixture.rate), residual=Audio(mixture.samples - target, mixture.rate))


class Gate:
    """One estimate per call."""

    name = "gate"

    def __init__(self) -> None:
        self.calls: list[int] = []

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Depends on the seed."""
        self.calls.append(len(queries))
        return [gated(query, seed) for query, seed in zip(queries, seeds, strict=True)]


class ManyGates(Gate):
    """All candidates in one call."""

    def separate_candidates(self, queries: Sequence[Query], seeds: Sequence[Sequence[int]]) -> list[list[Separation]]:
        """One per seed."""
        self.calls.append(len(queries))
        return [[gated(query, seed) for seed in some] for query, some in zip(queries, seeds, strict=True)]


def run(task: Path, output: Path, model: Any = None, **options: Any) -> sab.Results:
    """Best of three by activity, unless other options are given."""
    options = {"candidates": 3, "picker": "activity", **options}
    return sab.evaluate(model or Gate(), str(task), metrics=METRICS, output=output, **options)


def frame_of(folder: Path, name: str = "gate") -> pd.DataFrame:
    return pd.read_parquet(folder / name / NAME / "scores.parquet")


def journal_of(folder: Path, name: str = "gate") -> dict[str, dict[str, Any]]:
    lines = (folder / name / NAME / "items.jsonl").read_text().splitlines()
    return {record["item"]: record for record in map(json.loads, lines)}


def stamps_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def by_hand(task: Path, item: str, count: int = 3) -> list[Separation]:
    """The candidates of one item, made without the harness."""
    query = registry.load_task(str(task))[item].query
    mixture = audio.round_trip(query.mixture)
    seeds = [item_seed(NAME, item, 0, candidate) for candidate in range(count)]
    return [gated(Query(mixture=mixture, prompt=query.prompt), seed) for seed in seeds]


def test_the_candidate_with_the_best_overlap_is_picked(span_task: Path, tmp_path: Path) -> None:
    """Compared with the metric, which merges spans; each item has one span here."""
    run(span_task, tmp_path)
    journal, data = journal_of(tmp_path), registry.load_task(str(span_task))
    picked = set()
    for item in ("item-0", "item-1", "item-2", "item-3", "item-5"):
        candidates = by_hand(span_task, item)
        rows = SpanOverlap().score([data[item]] * 3, candidates)
        expected = [row[0].value for row in rows if row[0] is not None]
        record = journal[item]
        assert record["picker_scores"] == pytest.approx(expected, abs=1e-9)
        assert record["picked"] == int(np.argmax(record["picker_scores"]))
        assert (record["candidates"], record["picked_by"]) == (3, "activity")
        stored = audio.read(tmp_path / "gate" / NAME / "audio" / record["target"]).samples
        assert torch.equal(stored, audio.round_trip(candidates[record["picked"]].target).samples)
        picked.add(record["picked"])
    assert len(picked) > 1


def test_rows_of_both_and_k_1_equals_a_run_of_one(span_task: Path, tmp_path: Path) -> None:
    results = run(span_task, tmp_path / "three")
    run(span_task, tmp_path / "one", candidates=1)
    three, one = frame_of(tmp_path / "three"), frame_of(tmp_path / "one")
    first = three[three["picked_by"].isna()].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, one, check_dtype=False)
    best = three[three["picked_by"] == "activity"]
    picked = {item: record.get("picked") for item, record in journal_of(tmp_path / "three").items()}
    assert (best["candidate"] == best["item"].map(picked)).all()
    assert "item-4" not in set(best["item"])  # its prompt has nothing that the picker can use
    for item in picked:
        for part in ("target", "residual"):
            alone = tmp_path / "one" / "gate" / NAME / "audio" / f"{item}.{part}.flac"
            number = "" if item == "item-4" else ".0"
            again = tmp_path / "three" / "gate" / NAME / "audio" / f"{item}.{part}{number}.flac"
            assert alone.read_bytes() == again.read_bytes()
    rows = {(row.separator, row.picked_by, row.metric): row for row in results.rows}
    assert (rows["gate", None, "reconstruction_db"].n, rows["gate", "activity", "reconstruction_db"].n) == (6, 5)
    assert rows["gate", "activity", "span_iou"].value > rows["gate", None, "span_iou"].value  # type: ignore[operator]
    assert ("mixture", "activity", "si_sdr") not in rows


def test_an_undefined_score_of_an_item_without_a_picker_stays_on_its_line(span_task: Path, tmp_path: Path) -> None:
    samples, rate = soundfile.read(span_task.with_name("target4.wav"))
    soundfile.write(span_task.with_name("target4.wav"), samples * 0, rate, subtype="FLOAT")
    rows = {(row.picked_by, row.metric): row for row in run(span_task, tmp_path).rows if row.separator == "gate"}
    assert (rows[None, "si_sdr"].n_ok, rows[None, "si_sdr"].n) == (5, 6)
    assert (rows["activity", "si_sdr"].n_ok, rows["activity", "si_sdr"].n) == (5, 5)


@pytest.mark.parametrize("size", [1, 4, 7])
def test_batches_and_the_protocol_change_nothing(size: int, span_task: Path, tmp_path: Path) -> None:
    run(span_task, tmp_path / "single", batch_size=1)
    separator = ManyGates()
    assert isinstance(separator, CandidateSeparator)
    run(span_task, tmp_path / "many", separator, batch_size=size)
    assert sum(separator.calls) == 6
    run(span_task, tmp_path / "batched", batch_size=size)
    for other in ("many", "batched"):
        pd.testing.assert_frame_equal(frame_of(tmp_path / "single"), frame_of(tmp_path / other))
        assert picks(tmp_path / "single") == picks(tmp_path / other)


def picks(folder: Path) -> dict[str, Any]:
    return {item: (record.get("picked"), record.get("picker_scores")) for item, record in journal_of(folder).items()}


def test_order_changes_nothing(span_task: Path, tmp_path: Path) -> None:
    run(span_task, tmp_path / "whole")
    header, *lines = span_task.read_text().splitlines()
    span_task.write_text("\n".join([header, *reversed(lines)]) + "\n")
    run(span_task, tmp_path / "turned", batch_size=4)
    keys = ["metric", "item", "candidate", "picked_by"]
    frames = [frame_of(tmp_path / name).sort_values(keys).reset_index(drop=True) for name in ("whole", "turned")]
    pd.testing.assert_frame_equal(*frames)


def test_shards_merge_to_the_whole(span_task: Path, tmp_path: Path) -> None:
    run(span_task, tmp_path / "whole", keep_candidates=True)
    for index in (1, 2):
        run(span_task, tmp_path / "parts", shard=(index, 2), keep_candidates=True)
    merged = merge([tmp_path / "parts" / "gate"], tmp_path / "merged")
    assert merged.header.candidates == 3
    expected = frame_of(tmp_path / "whole")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "merged" / "scores.parquet"), expected)
    names = [{path.name for path in (folder / "audio").iterdir()} for folder in (
        tmp_path / "merged", tmp_path / "whole" / "gate" / NAME)]  # fmt: skip
    assert names[0] == names[1]
    run(span_task, tmp_path / "other", shard=(2, 2), candidates=4)
    parts = [tmp_path / "parts" / "gate" / f"{NAME}.shard-1-of-2", tmp_path / "other" / "gate"]
    with pytest.raises(UsageError, match="found candidates 4 instead of 3"):
        merge(parts, tmp_path / "mixed")


def test_score_again_gives_the_same_bits(span_task: Path, tmp_path: Path) -> None:
    run(span_task, tmp_path)
    before = frame_of(tmp_path)
    rescore([tmp_path])
    pd.testing.assert_frame_equal(frame_of(tmp_path), before)
    rescore([tmp_path], metrics=["snr"])
    after = frame_of(tmp_path)
    added = after[after["metric"] == "snr"]
    assert len(added) == 6 + 5
    fresh = sab.evaluate(
        Gate(), str(span_task), metrics=["snr"], output=tmp_path / "fresh", candidates=3, picker="activity"
    )
    fresh_frame = fresh.to_frame().query("separator == 'gate'")
    keys = ["item", "candidate", "value"]
    assert sorted(map(tuple, added[keys].to_numpy())) == sorted(map(tuple, fresh_frame[keys].to_numpy()))


def test_a_second_run_computes_nothing_and_has_the_same_results(span_task: Path, tmp_path: Path) -> None:
    first = run(span_task, tmp_path)
    stamps, separator = stamps_of(tmp_path), Gate()
    second = run(span_task, tmp_path, separator)
    assert separator.calls == []
    assert stamps_of(tmp_path) == stamps
    assert second.table("md") == first.table("md") == sab.Results.read([tmp_path]).table("md").replace("\n\n\n", "\n\n")


def test_fingerprints_of_single_estimates_do_not_depend_on_candidates(span_task: Path, tmp_path: Path) -> None:
    """So earlier runs stay valid; K, the picker and its options are part of the fingerprint only with reranking."""

    def fingerprint(**options: Any) -> str:
        settings = Settings(output=tmp_path, **options)
        plan = make_plan([Gate(), "hpss"], [str(span_task)], metrics=METRICS, settings=settings)
        return plan.jobs[0].fingerprints["item-0"]

    single = fingerprint()
    assert fingerprint(picker="activity", picker_args={"measure": "recall"}) == single
    several = {
        fingerprint(candidates=3, picker="activity"),
        fingerprint(candidates=4, picker="activity"),
        fingerprint(candidates=3, picker="activity", picker_args={"measure": "recall"}),
    }
    assert len(several | {single}) == 4
    assert fingerprint(candidates=3, picker="auto") in several  # spans alone: activity is the default
    assert fingerprint(candidates=3, picker="activity", keep_candidates=True) in several


@pytest.mark.bits
def test_all_candidates_are_kept_only_on_request(span_task: Path, tmp_path: Path) -> None:
    def names() -> set[str]:
        return {path.name for path in (tmp_path / "gate" / NAME / "audio").glob("item-1.*")}

    run(span_task, tmp_path)
    few = {f"item-1.{part}{number}.flac" for part in ("target", "residual") for number in ("", ".0")}
    assert names() == few
    separator = Gate()
    run(span_task, tmp_path, separator, keep_candidates=True)  # missing candidates have to be made again
    assert sum(separator.calls) == 15
    assert names() == few | {f"item-1.{part}.{number}.flac" for part in ("target", "residual") for number in (1, 2)}
    stored = [audio.read(tmp_path / "gate" / NAME / "audio" / f"item-1.target.{k}.flac").samples for k in range(3)]
    expected = [audio.round_trip(found.target).samples for found in by_hand(span_task, "item-1")]
    assert all(map(torch.equal, stored, expected))
    stamps = stamps_of(tmp_path)
    run(span_task, tmp_path)
    assert stamps_of(tmp_path) == stamps
    run(span_task, tmp_path, candidates=1)
    assert names() == {"item-1.target.flac", "item-1.residual.flac"}


def test_files_meet_their_schemas(span_task: Path, tmp_path: Path) -> None:
    span_task.with_name("mix3.wav").unlink()
    run(span_task, tmp_path, keep_candidates=True)
    folder = tmp_path / "gate" / NAME
    schemas = {
        name: json.loads((files("sam_audio_bench.run") / "schemas" / f"{name}.schema.json").read_text())
        for name in ("run", "item")
    }
    header = json.loads((folder / "run.json").read_text())
    jsonschema.validate(header, schemas["run"])
    assert header["candidates"] == 3
    assert header["picker"]["name"] == "activity"
    assert header["picker"]["options"] == {"measure": "iou", "threshold": -40.0}
    for record in journal_of(tmp_path).values():
        jsonschema.validate(record, schemas["item"])
    broken = {name: value for name, value in journal_of(tmp_path)["item-0"].items() if name != "fingerprint"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schemas["item"])


def test_a_failed_item_is_missing_from_both_lines(span_task: Path, tmp_path: Path) -> None:
    span_task.with_name("mix3.wav").unlink()
    results = run(span_task, tmp_path)
    rows = {(row.picked_by, row.metric): row for row in results.rows if row.separator == "gate"}
    assert (rows[None, "span_iou"].n_ok, rows[None, "si_sdr"].n) == (4, 6)
    assert (rows["activity", "si_sdr"].n_ok, rows["activity", "si_sdr"].n) == (4, 5)
    assert results.failures == 2  # the baseline's too


class Moody(ManyGates):
    """Fails for an item alone or in a batch, or makes some of its candidates invalid."""

    name = "moody"

    def separate_candidates(self, queries: Sequence[Query], seeds: Sequence[Sequence[int]]) -> list[list[Separation]]:
        """Raises for the third prompt; the first candidate of the second and the last ones of others are invalid."""
        if any(query.prompt.spans[0][1] == 0.2 for query in queries):
            raise RuntimeError("no strength left")
        answers = super().separate_candidates(queries, seeds)
        for query, candidates in zip(queries, answers, strict=True):
            spoilt = {0.1: 0, 0.3: 1}.get(query.prompt.spans[0][1])
            if spoilt is not None:
                candidates[spoilt].target.samples[0, 5] = math.nan
        return answers


@pytest.mark.parametrize("size", [1, 6])
def test_failures_affect_only_their_own_items_and_candidates(size: int, span_task: Path, tmp_path: Path) -> None:
    results = run(span_task, tmp_path, Moody(), batch_size=size)
    assert results.failures == 2
    journal = journal_of(tmp_path, "moody")
    assert {item: record["status"] for item, record in journal.items()} == {
        "item-0": "ok", "item-1": "non_finite", "item-2": "error", "item-3": "ok", "item-4": "ok", "item-5": "ok",
    }  # fmt: skip
    assert journal["item-2"]["message"] == "RuntimeError: no strength left"
    spoilt = journal["item-3"]
    assert spoilt["picker_scores"][1] is None
    assert spoilt["picked"] != 1
    assert list(spoilt["candidate_errors"]) == ["1"]
    run(span_task, tmp_path / "fine")
    fine = journal_of(tmp_path / "fine")
    for item in ("item-0", "item-5"):
        assert journal[item]["picker_scores"] == fine[item]["picker_scores"]
    again = Moody()
    run(span_task, tmp_path, again)
    assert sum(again.calls) == 1  # of the two that failed, one raises before it counts the call


class Chosen:
    """A picker with given scores."""

    name = "chosen"
    settings: Mapping[str, Any] = {}
    weights_sha256: Mapping[str, str | None] = {}

    def __init__(self, *scores: float, error: Exception | None = None) -> None:
        self.given, self.error, self.seen = scores, error, 0

    def missing(self) -> str | None:
        """Nothing."""
        return None

    def applies_to(self, prompt: Prompt) -> bool:
        """Returns True."""
        return True

    def scores(self, query: Query, candidates: Sequence[Separation]) -> list[float]:
        """Returns the given scores."""
        self.seen = len(candidates)
        if self.error is not None:
            raise self.error
        return list(self.given)


def item_of(text: str = "a") -> Item:
    mixture = Audio(torch.randn(1, 12_000, generator=torch.Generator().manual_seed(1)) * 0.1, RATE)
    return Item(id=text, group=text, query=Query(mixture=mixture, prompt=Prompt(text=text)))


def ask_one(picker: Any, separator: Any = None) -> CandidateSet | Exception:
    reranking = Reranking(candidates=3, picker=picker, identity=Identity(kind="picker", name=picker.name))
    (found,) = separate_items(separator or Gate(), [item_of()], reranking, task="t", seed=0, align=None, stereo="joint")
    return found


@pytest.mark.parametrize(
    ("scores", "picked"),
    [
        ((1.0, 2.0, 2.0), 1),
        ((3.0, 3.0, 3.0), 0),
        ((math.nan, 1.0, 0.0), 1),
        ((math.nan, math.nan, -math.inf), 2),
        ((math.nan, math.nan, math.nan), 0),
    ],
)
def test_ties_go_to_the_first_and_undefined_never_wins(scores: tuple[float, ...], picked: int) -> None:
    found = ask_one(Chosen(*scores))
    assert isinstance(found, CandidateSet)
    assert found.picked == picked
    assert found.scored[1] is found.separation(picked)


def test_a_failing_picker_fails_its_item_and_a_missing_one_the_run() -> None:
    found = ask_one(Chosen(error=MediaError("expected a mask, found none")))
    assert str(found) == "picker chosen failed: MediaError: expected a mask, found none"
    assert isinstance(ask_one(Chosen(1.0, 2.0)), Exception)  # too few scores
    with pytest.raises(Precondition, match="expected weights"):
        ask_one(Chosen(error=Precondition("expected weights, found none")))


def test_too_few_candidates_are_an_error() -> None:
    class Lazy(ManyGates):
        def separate_candidates(
            self, queries: Sequence[Query], seeds: Sequence[Sequence[int]]
        ) -> list[list[Separation]]:
            return super().separate_candidates(queries, [some[:2] for some in seeds])

    assert str(ask_one(Chosen(1.0, 2.0, 3.0), Lazy())) == "expected 3 candidate(s) for each of 1 item(s), found [2]"


def test_seconds_are_those_of_all_candidates() -> None:
    class Timed(Gate):
        def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
            answers = super().separate(queries, seeds)
            return [Separation(target=found.target, residual=found.residual, seconds=2.0) for found in answers]

    found = ask_one(Chosen(1.0, 2.0, 3.0), Timed())
    assert isinstance(found, CandidateSet)
    assert found.seconds == 6.0


def test_an_item_without_what_the_picker_needs_has_one_estimate() -> None:
    separator = Gate()
    reranking = Reranking(candidates=3, picker=ActivityPicker(), identity=Identity(kind="picker", name="activity"))
    (found,) = separate_items(separator, [item_of()], reranking, task="t", seed=0, align=None, stereo="joint")
    assert isinstance(found, CandidateSet)
    assert (found.picker, len(found.candidates), separator.calls) == (None, 1, [1])


MODEL = "patience_of_three:Patient"
SLOW_SEPARATOR = """
import time
from sam_audio_bench.types import Audio, Separation

class Patient:
    name = "patient"

    def separate(self, queries, seeds):
        time.sleep(0.1)
        return [self.answer(query.mixture, seed) for query, seed in zip(queries, seeds)]

    def answer(self, mixture, seed):
        target = mixture.samples.clone()
        target[:, : seed % 8000] = 0
        return Separation(target=Audio(target, mixture.rate), residual=Audio(mixture.samples - target, mixture.rate))
"""


def test_kill_and_resume(span_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After kill -9 in the middle, the same command repeats nothing and has the scores of an uninterrupted run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "patience_of_three.py").write_text(SLOW_SEPARATOR)
    options = {"metrics": ["si_sdr", "span_iou"], "candidates": 3, "picker": "activity"}
    code = f"import sam_audio_bench as sab; sab.evaluate({MODEL!r}, {str(span_task)!r}, output='killed', **{options!r})"
    journal = tmp_path / "killed" / "patient" / NAME / "items.jsonl"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and (not journal.exists() or journal.read_text().count('"scored"') < 2):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {json.loads(line)["item"] for line in journal.read_text().splitlines() if line.endswith("}")}
    assert 2 <= len(before) < 6
    stored = {path: path.stat().st_mtime_ns for item in before for path in journal.parent.glob(f"audio/{item}.*")}
    for output in ("killed", "whole"):
        sab.evaluate(MODEL, str(span_task), output=output, **options)  # type: ignore[arg-type]
    assert {path: path.stat().st_mtime_ns for path in stored} == stored
    expected = frame_of(tmp_path / "whole", "patient")
    assert expected["picked_by"].notna().any()
    pd.testing.assert_frame_equal(frame_of(tmp_path / "killed", "patient"), expected)


def test_tables_show_k_1_beside_best_of_k(span_task: Path, tmp_path: Path) -> None:
    results = run(span_task, tmp_path)
    table = results.table("md")
    assert "| gate (best of 3 by activity) † |" in table
    assert "| gate † |" in table
    assert "not ranked, being of the picker's own model: span_iou of best by activity" in table
    heads, picked = (
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.splitlines()
        if line.startswith(("| separator", "| gate (best of 3"))
    )
    (at,) = (place for place, head in enumerate(heads) if head.startswith("span_iou"))
    assert not picked[at].startswith("**")
    rows = {(row["separator"], row["picked_by"]): row["candidates"] for row in results.to_json()["rows"]}
    assert rows == {("gate", None): 1, ("gate", "activity"): 3, ("mixture", None): 1}


def test_pickers_of_other_options_are_not_tabled_together(span_task: Path, tmp_path: Path) -> None:
    run(span_task, tmp_path / "a")
    other = ManyGates()
    other.name = "other"
    run(span_task, tmp_path / "b", other, picker_args={"threshold": -20.0})
    with pytest.raises(UsageError, match="expected picker activity with settings"):
        sab.Results.read([tmp_path / "a" / "gate", tmp_path / "b" / "other"])


def test_separators_with_one_estimate_and_the_reasons(span_task: Path, small_task: Path, tmp_path: Path) -> None:
    """Deterministic separators, oracles, folders of estimates, and tasks without the prompts that a picker needs."""
    answers = tmp_path / "answers"
    answers.mkdir()
    for index in range(6):
        (answers / f"item-{index}.wav").write_bytes(span_task.with_name(f"target{index}.wav").read_bytes())
    models = [Gate(), "hpss", "oracle-irm", f"files:{answers}"]
    settings = Settings(output=tmp_path / "runs", candidates=3, picker="activity")
    plan = make_plan(models, [str(span_task), str(small_task)], metrics=["si_sdr"], settings=settings)
    assert set(plan.notes) == {
        "best of 3 by activity on spans for gate",
        "hpss is deterministic: k = 1 only",
        "mixture is deterministic: k = 1 only",
        "oracle-irm is shown the references: k = 1 only",
        "files-answers has estimates that exist already: k = 1 only",
        "picker activity has no spans on small: k = 1 only",
    }
    assert [job.separator.name for job in plan.jobs if job.reranking is not None] == ["gate"]


def test_missing_weights_are_found_before_any_work(small_task: Path, tmp_path: Path) -> None:
    with pytest.raises(
        Precondition, match=r"expected picker ensemble to work on small, .*`hf download .*another --picker"
    ):
        sab.evaluate(Gate(), str(small_task), metrics=METRICS, output=tmp_path / "runs", candidates=2)
    assert not (tmp_path / "runs").exists()
    found = sab.evaluate("hpss", str(small_task), metrics=["si_sdr"], output=tmp_path / "runs", candidates=2)
    assert not found.partial  # nothing is picked, so nothing is missing


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidates": 0}, "--candidates to be at least 1, found 0"),
        ({"picker": "cla"}, "--picker to be one of auto, saj, clap"),
        ({"candidates": 1, "keep_candidates": True}, "--candidates above 1 with --keep-candidates"),
        ({"picker_args": {"path": "x"}}, r"arguments among \[measure, threshold\] for 'activity', found path"),
        ({"picker": "auto", "picker_args": {"volume": 1}}, r"picker arguments among .*, found \['volume'\]"),
        ({"dtype": "float16"}, "--dtype to be one of auto, float32, bfloat16, found 'float16'"),
        ({"device": "abacus"}, "device to be auto, cpu or cuda, found 'abacus'"),
    ],
)
def test_invalid_options(options: dict[str, Any], message: str, span_task: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        run(span_task, tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


PLACED = """
class Placed:
    name = "placed"

    def __init__(self, device="auto", dtype="auto", gain=0.5):
        self.device, self.dtype, self.gain = device, dtype, gain
        self.name = f"placed-{device}-{dtype}"

    def separate(self, queries, seeds):
        raise NotImplementedError
"""


def test_device_and_dtype_reach_who_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "placed_separator.py").write_text(PLACED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def name(**options: Any) -> str:
        arguments = {key: options.pop(key) for key in ("gain",) if key in options}
        settings = Settings(output=tmp_path, **options)
        models = ["placed_separator:Placed"]
        plan = make_plan(models, ["sfx"], split="mini", metrics=["clap", "si_sdr"], model_args=arguments,
                         settings=settings)  # fmt: skip
        return plan.jobs[0].separator.name

    assert name() == "placed-auto-auto"
    assert name(device="cpu") == "placed-cpu-auto"
    assert name(device="cpu", dtype="bfloat16", gain=1) == "placed-cpu-bfloat16+dtype=bfloat16+gain=1"
    clap = registry.load_metrics(["clap"], {"device": "cpu"})[0]
    assert re.fullmatch("cpu", str(clap._device))  # type: ignore[attr-defined]
    assert set(PICKERS) == {"saj", "clap", "imagebind", "activity", "ensemble"}
