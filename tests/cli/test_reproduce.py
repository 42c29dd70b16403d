"""A run made again from its record: what is the same, what differs, and what a stranger's record may not do."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import click
import fsspec
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

import sam_audio_bench as sab
from sam_audio_bench.cli import group
from sam_audio_bench.cli import reproduce as command
from sam_audio_bench.errors import BenchError, Precondition, StoreError, UsageError
from sam_audio_bench.records import RunRecord, read_run
from sam_audio_bench.run import reproduction
from sam_audio_bench.run.reproduction import find_untrusted_code, recorded_options

METRICS = "si_sdr,snr,leak_db"
MODULE = """
from pathlib import Path

Path("imported").touch()


def halve(mixture, rate, prompt):
    return mixture * {gain}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, from which no module stays imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "gain_module", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on embedded data; not to be changed."""
    output = tmp_path_factory.mktemp("of") / "runs"
    run, _ = sab.evaluate("silence", "sfx", split="mini", limit=1, metrics=["snr"], output=output, progress=False).runs
    return Path(run)


def invoke(*words: str, code: int = 0, **environment: str) -> Result:
    """Runs a command and checks its exit code."""
    result = CliRunner(env=environment).invoke(group, list(words), prog_name="sabench")
    if isinstance(result.exception, BenchError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def again(run: Path | str, *words: str, code: int = 0, **environment: str) -> dict[str, Any]:
    """What ``sabench reproduce`` finds."""
    shown = invoke("reproduce", str(run), "--output", "again", "--json", *words, code=code, **environment)
    return dict(json.loads(shown.stdout))


def evaluated(task: Path | str, model: str = "silence", *words: str) -> Path:
    """The run folder of a separator."""
    invoke("eval", "--model", model, "--task", str(task), "--metrics", METRICS, *words)
    (found,) = {path.parent for path in Path("runs").glob("*/*/run.json")} - set(Path("runs").glob("mixture/*"))
    return found


def change(run: Path, **fields: Any) -> None:
    """Edits a record by hand, as a stranger could."""
    path = run / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_run_is_the_same_again(here: Path, small_task: Path) -> None:
    run = evaluated(small_task, "hpss(margin=2)", "--seed", "3", "--limit", "4")
    found = again(run, SABENCH_SEED="9", SABENCH_LIMIT="1")  # variables of this machine are not the record's
    assert found["same"]
    assert found["identity"] == []
    assert found["equal_files"] == found["files"] == 8
    assert {one["metric"]: (one["equal"], one["within"], one["beyond"]) for one in found["metrics"]} == {
        "si_sdr": (4, 0, 0), "snr": (4, 0, 0), "leak_db": (0, 0, 0),  # which is of absent sounds alone
    }  # fmt: skip
    made = read_run(Path(found["made"]) / "run.json")
    assert made.scores_sha256 == read_run(run / "run.json").scores_sha256
    assert {made.config[name].origin for name in ("seed", "limit", "model")} == {"record"}
    shown = invoke("reproduce", str(run / "run.json"), "--output", "again").stdout  # the same command continues
    assert "of the record" in shown
    assert shown.endswith("The same within 0.001.\n")


def test_what_differs_is_named_and_counts(here: Path, small_task: Path) -> None:
    """The stored run halves, the one that is made again multiplies by 0.4: by hand, 20 log(0.5 / 0.4) dB less leak."""
    (here / "gain_module.py").write_text(MODULE.format(gain=0.5))
    run = evaluated(small_task, "gain_module:halve")
    (here / "gain_module.py").write_text(MODULE.format(gain=0.4))
    del sys.modules["gain_module"]
    found = again(run, "--trust", code=1)
    assert not found["same"]
    assert found["equal_files"] < found["files"]
    assert any("separator.code_sha256" in text for text in found["identity"])
    by_metric = {one["metric"]: one for one in found["metrics"]}
    assert by_metric["si_sdr"]["beyond"] == 0  # which knows no gain
    assert by_metric["leak_db"]["largest"] == pytest.approx(20 * math.log10(0.5 / 0.4), abs=1e-3)
    assert by_metric["leak_db"]["item"] == "item-5"
    stored, made = (pd.read_parquet(at / "scores.parquet") for at in (run, Path(found["made"])))
    snr = [frame[frame["metric"] == "snr"].set_index("item")["value"] for frame in (stored, made)]
    assert by_metric["snr"]["largest"] == (snr[0] - snr[1]).abs().max()
    assert again(run, "--trust", "--tolerance", "10")["same"]
    shown = invoke("reproduce", str(run), "--output", "again", "--trust", code=1).stdout
    assert "Not the same within 0.001." in shown
    assert "separator.code_sha256" in shown


def test_a_record_alone_is_held_against_the_digest_of_its_table(here: Path, small_task: Path) -> None:
    run = evaluated(small_task)
    shutil.copy(run / "run.json", "lone.json")
    assert again("lone.json")["same"]
    change(run, scores_sha256="0" * 64)
    shutil.copy(run / "run.json", "other.json")
    shown = invoke("reproduce", "other.json", "--output", "second", code=1).stdout
    assert "differs from that of the record" in shown


class Unlisted(MemoryFileSystem):
    """A server that gives files by their names and does not say which there are."""

    protocol = "unlisted"

    def find(self, path: str, **options: Any) -> Any:
        return {} if options.get("detail") else []


def test_a_record_at_a_url_needs_no_list_of_what_lies_beside_it(here: Path, small_task: Path) -> None:
    fsspec.register_implementation("unlisted", Unlisted, clobber=True)
    run = evaluated(small_task)
    record = (run / "run.json").read_bytes()
    for url in ("unlisted://a.example/of/run.json", "unlisted://a.example/of/run.json?download=1"):
        Unlisted().pipe_file(Unlisted._strip_protocol(url), record)
        shown = invoke("reproduce", url, "--output", "again", "--dry-run")
        assert shown.stdout.startswith("sabench eval ")
        assert "compared by the digest of their table alone" in shown.stderr
    assert again(url)["same"]
    with pytest.raises(Precondition, match=r"expected a file that can be read at unlisted://a\.example/none/run\.json"):
        invoke("reproduce", "unlisted://a.example/none/run.json", "--output", "again", "--dry-run")


def test_a_part_of_the_items_that_nothing_names_is_not_taken_for_all(here: Path, recorded: Path) -> None:
    shutil.copy(recorded / "run.json", "lone.json")
    with pytest.raises(StoreError, match=r"expected which of the 16 items of sfx@1-mini the run has.*items\.jsonl"):
        again("lone.json")
    assert not (here / "again").exists()


def test_a_run_of_a_cluster_needs_none(here: Path, recorded: Path) -> None:
    run = Path(shutil.copytree(recorded, here / "theirs"))
    config = json.loads((run / "run.json").read_text())["config"]
    theirs = {"executor": "ray", "workers": 4096}
    change(run, config=config | {name: {"value": value, "origin": "command line"} for name, value in theirs.items()})
    found = again(run)
    assert found["same"]
    assert read_run(Path(found["made"]) / "run.json").config["executor"].value == "local"


def test_runs_of_python_and_of_the_baseline(here: Path, small_task: Path) -> None:
    results = sab.evaluate("hpss(margin=2)", str(small_task), metrics=["snr"], limit=2, align="pad", progress=False)
    hpss, mixture = results.runs
    for run in (hpss, mixture):
        shutil.rmtree("again", ignore_errors=True)
        found = again(run)
        assert found["same"]
        assert found["identity"] == []
        assert found["metrics"][0]["equal"] == 2
    (function, _) = sab.evaluate(lambda mixture, rate, prompt: mixture, str(small_task), metrics=["snr"],
                                 output=here / "other", progress=False).runs  # fmt: skip
    with pytest.raises(UsageError, match=r"an object of a program, of which a record holds no code.*sabench compare"):
        again(function)


def test_items_and_separators_of_a_command_are_told_apart(here: Path, small_task: Path) -> None:
    """One of two separators, in a folder that two commands filled."""
    chosen = ["--task", str(small_task), "--metrics", "snr"]
    invoke("eval", "--model", "silence,hpss", *chosen, "--sample-id", "item-1")
    invoke("eval", "--model", "silence,hpss", *chosen, "--sample-id", "item-4")
    found = again("runs/hpss/small@1-file")
    assert found["same"]
    assert found["metrics"][0]["equal"] == 2
    assert not (here / "again/silence").exists()


def test_a_shard_of_several_candidates_is_made_again(here: Path, small_task: Path) -> None:
    """Seeds, candidates and what picked them; a shard is its items."""
    (here / "seeded.py").write_text(
        """
import torch


def noise(mixture, rate, prompt):
    return torch.randn(mixture.shape)
"""
    )
    spans = small_task.with_name("spans.csv")
    spans.write_text("mixture,spans,target\n" + "".join(f"mix{i}.wav,+0.0:0.2,target{i}.wav\n" for i in range(4)))
    chosen = ["--candidates", "3", "--picker", "activity(measure=recall)", "--shard", "1/2", "--seed", "5"]
    run = evaluated(spans, "seeded:noise", *chosen)
    assert run.name == "spans@1-file.shard-1-of-2"
    stored = read_run(run / "run.json")
    assert stored.candidates == 3
    found = again(run, "--trust")
    assert found["same"]
    assert found["identity"] == []
    assert found["equal_files"] == found["files"] == 8  # the first and the picked one, of two items
    assert read_run(Path(found["made"]) / "run.json").picker == stored.picker


def test_data_that_moved_and_data_that_are_gone(here: Path, small_task: Path) -> None:
    run = evaluated(small_task, "hpss")
    small_task.parent.rename(here / "elsewhere")
    with pytest.raises(Precondition, match=r"expected the data of small@1-file at .*small\.csv, found none; --data"):
        again(run)
    assert again(run, "--data", "elsewhere/small.csv")["same"]
    shutil.copy("elsewhere/target0.wav", "elsewhere/mix0.wav")
    found = again(run, "--data", "elsewhere/small.csv", code=1)
    assert "recordings or prompt of 1 items, item-0 first" in found["identity"]


def test_folders_that_are_not_this_reproduction_are_left_alone(here: Path, small_task: Path) -> None:
    run = evaluated(small_task)
    before = sorted(path.stat().st_mtime_ns for path in Path("runs").rglob("*"))
    with pytest.raises(UsageError, match="expected --output to be another folder than that of the run"):
        invoke("reproduce", str(run), "--output", "runs")
    (here / "full").mkdir()
    (here / "full" / "notes.txt").touch()
    with pytest.raises(StoreError, match="expected a new or empty folder at full"):
        invoke("reproduce", str(run), "--output", "full")
    with pytest.raises(UsageError, match="expected one run, found 2 in runs"):
        invoke("reproduce", "runs", "--output", "again")
    with pytest.raises(Precondition, match=r"expected a run folder or its run\.json at nothing, found none"):
        invoke("reproduce", "nothing", "--output", "again")
    with pytest.raises(UsageError, match="expected --tolerance as a number of 0 or more, found nan"):
        invoke("reproduce", str(run), "--output", "again", "--tolerance", "nan")
    assert sorted(path.stat().st_mtime_ns for path in Path("runs").rglob("*")) == before
    assert not (here / "again").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"model": ["cmd:touch run {mixture} {target}"]},
        {"model": ["silence,serve:touch run"]},
        {"model": ["gain_module:halve"]},
        {"model": ["demucs(folder=/tmp/theirs)"]},
        {"model": ["demucs"], "model_args": "model='hf://theirs/model'"},
        {"metrics": "gain_module:Metric"},
        {"metrics": "torchmetrics:gain_module.Metric"},
        {"allow_outside": True},
    ],
)
def test_a_strangers_record_runs_nothing_without_trust(here: Path, recorded: Path, config: dict[str, Any]) -> None:
    (here / "gain_module.py").write_text(MODULE.format(gain=0.5))
    run = Path(shutil.copytree(recorded, here / "theirs"))
    record = json.loads((run / "run.json").read_text())
    record["task"]["allow_outside"] = config.pop("allow_outside", False)
    if "metrics" in config:
        record["metrics"][0]["spec"] = config.pop("metrics")
    if config:
        record["model"]["name"] = "of a stranger"
    record["config"] |= {name: {"value": value, "origin": "command line"} for name, value in config.items()}
    change(run, **record)
    with pytest.raises(Precondition, match="expected --trust, since this record asks for --"):
        again(run)
    assert not {"imported", "run", "again"} & {path.name for path in here.iterdir()}
    words = invoke("reproduce", str(run), "--output", "again", "--dry-run").stdout  # and says what it would run
    assert words.startswith("sabench eval ")
    assert not {"imported", "run", "again"} & {path.name for path in here.iterdir()}


def test_a_program_is_run_again_with_trust(here: Path, small_task: Path) -> None:
    run = evaluated(small_task, "cmd:cp {mixture} {target}")
    with pytest.raises(Precondition, match="--trust"):
        again(run)
    assert again(run, "--trust")["same"]


def test_code_of_others_knows_what_comes_with_the_package() -> None:
    assert (
        find_untrusted_code(["hpss(margin=2)", "sam-audio:folder", "files:answers", "demucs"], ["snr", "pesq_wb_i"])
        == []
    )
    assert len(find_untrusted_code(["hpss", "a.b:C(x=1)"], ["snr", "a:B"], allow_outside=True)) == 3


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["--trust", "cmd:touch run", "gain_module:halve", "a=b(", "--model=cmd:touch run", "hpss"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
NAMES = ["model", "model_args", "metric_args", "limit", "sample_id", "batch_size", "picker", "timeout", "executor",
         "output", "copy_to", "config", "data_dir", "accept_license"]  # fmt: skip


@pytest.fixture(scope="module")
def record(recorded: Path) -> RunRecord:
    """Of that run."""
    return read_run(recorded / "run.json")


@settings(max_examples=40)
@given(config=st.dictionaries(st.sampled_from(NAMES), values, max_size=4))
def test_whatever_stands_in_a_record_is_a_value_of_its_option(record: RunRecord, config: dict[str, Any]) -> None:
    """Words of a record are refused in a sentence, or are that option's value; none becomes another option."""
    from msgspec import structs

    from sam_audio_bench.cli.eval import evaluate
    from sam_audio_bench.records import Setting

    said = {name: Setting(value, "?") for name, value in config.items()}
    told = structs.replace(record, status="success", config=said)
    try:
        words = command._as_arguments(recorded_options(told))
        ctx = evaluate.make_context("eval", [*words, "--output=o"], auto_envvar_prefix=None)
        command._check_trust(ctx.params, trust=False)
    except (BenchError, click.UsageError):
        return
    assert str(ctx.params["output"]) == "o"
    assert ctx.params["copy_to"] is None
    assert not ctx.params["accept_license"]
    assert not ctx.params["allow_outside"]
    assert find_untrusted_code(ctx.params["model"], []) == []


def test_agreement_is_that_of_a_plain_loop(record: RunRecord) -> None:
    """Random tables with gaps, infinities, undefined values and changed statuses against a loop over both."""
    generator = np.random.default_rng(0)
    frames = []
    for _ in range(2):
        rows = [
            {"item": f"i{item}", "candidate": candidate, "picked_by": picked, "metric": metric,
             "value": generator.choice([0.0, 0.0, 1e-4, 1.0, math.inf, -math.inf, math.nan]),
             "status": generator.choice(["ok", "ok", "ok", "error"])}
            for item in range(40) for candidate, picked in ((0, None), (1, "clap")) for metric in ("snr", "sdr")
            if generator.random() < 0.9
        ]  # fmt: skip
        frames.append(pd.DataFrame(rows))
    keyed = [
        {(r.item, r.candidate, r.picked_by, r.metric): (r.value, r.status) for r in f.itertuples()} for f in frames
    ]
    tolerance = 1e-3
    for found in reproduction._agreements(record, *frames, tolerance):
        counts, largest = {"equal": 0, "within": 0, "beyond": 0}, -1.0
        for key in {key for one in keyed for key in one if key[3] == found.metric}:
            (a, one), (b, other) = (side.get(key, (math.nan, "absent")) for side in keyed)
            same = a == b or (math.isnan(a) and math.isnan(b))
            close = math.isfinite(a) and math.isfinite(b) and abs(a - b) <= tolerance
            counts["equal" if one == other and same else "within" if one == other and close else "beyond"] += 1
            if math.isfinite(a) and math.isfinite(b):
                largest = max(largest, 0.0 if a == b else abs(a - b))
        assert {name: getattr(found, name) for name in counts} == counts
        assert found.largest == largest
        assert min(counts.values()) > 0
