"""The command line: what it prints, where, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

import sam_audio_bench as sab
from sam_audio_bench.cli import group, main
from sam_audio_bench.errors import BenchError, UsageError
from sam_audio_bench.metrics import CARDS
from sam_audio_bench.separators import CARDS as SEPARATORS
from sam_audio_bench.tasks import TASKS
from sam_audio_bench.tasks.adapters import ADAPTERS


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*words: str, code: int = 0, **environment: str) -> Result:
    """Runs a command as a shell would and checks its exit code."""
    runner = CliRunner(env=environment)
    result = runner.invoke(group, list(words), prog_name="sabench")
    if isinstance(result.exception, BenchError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def test_help_names_every_command() -> None:
    shown = invoke("--help").stdout
    for name in group.list_commands(None):  # type: ignore[arg-type]
        assert f"  {name} " in shown
        assert invoke(name, "--help").stdout.startswith(f"Usage: sabench {name}")


@pytest.mark.parametrize(("kind", "known"), [("tasks", TASKS), ("models", SEPARATORS), ("metrics", CARDS)])
def test_list(kind: str, known: dict[str, Any]) -> None:
    records = json.loads(invoke("list", kind, "--json").stdout)
    assert {record["name"] for record in records} >= set(known)
    shown = invoke("list", kind).stdout
    assert all(name in shown for name in known)


def test_list_layouts_and_the_terms_of_tasks() -> None:
    records = {record["name"]: record for record in json.loads(invoke("list", "layouts", "--json").stdout)}
    assert set(records) == {name for name, card in ADAPTERS.items() if not card.whole}
    assert all(record["licence"] and record["expects"] for record in records.values())
    assert records["musdb"]["example"] == "sabench eval --model hpss --task musdb:musdb18hq/test"
    assert records["musdb"]["tasks"] == ["musdb-vocals", "musdb-drums", "musdb-bass", "musdb-other"]
    assert records["musdb"]["texts"]["other"] == "other instruments"
    tasks = json.loads(invoke("list", "tasks", "--format", "json").stdout)
    assert all(task["licence"] and task["access"] for task in tasks if task["name"] in TASKS)
    for form, edge in (("text", ""), ("md", "| ")):
        lines = invoke("list", "tasks", "--format", form).stdout.splitlines()
        assert [
            line for line in lines if line.startswith(f"{edge}sfx ") and "CC-BY-NC-4.0" in line and "request" in line
        ]
    assert lines[1] == "| --- | --- | --- | --- | --- | --- |"
    assert len({line.count(" | ") for line in lines if line.startswith("|")}) == 1


def test_eval_prints_the_table_the_folders_and_what_next(here: Path, small_task: Path) -> None:
    result = invoke("eval", "--model", "silence", "--task", str(small_task))
    assert "silence" in result.stdout
    assert "mixture" in result.stdout
    assert "runs/silence/small@1-file" in result.stdout
    assert "Next:" in result.stdout
    plan = "plan: small@1-file: 6 items for silence, mixture: 12 to do, 0 kept; metrics perceptual_overall,"
    assert plan in result.stderr
    again = invoke("eval", "--model", "silence", "--task", str(small_task))
    assert again.stdout == result.stdout
    assert "all 12 kept" in again.stderr


def test_json_is_one_object_with_the_promised_keys(here: Path, small_task: Path) -> None:
    found = json.loads(invoke("eval", "--model", "silence", "--task", str(small_task), "--json").stdout)
    assert found["partial"] is False
    assert [Path(run).parts[-2] for run in found["runs"]] == ["silence", "mixture"]
    keys = {"task", "separator", "metric", "value", "ci_low", "ci_high", "n_ok", "n", "oracle"}
    assert all(keys <= set(row) for row in found["rows"])
    values = {(row["separator"], row["metric"]): row["value"] for row in found["rows"]}
    assert values["silence", "si_sdr"] == -100.0
    assert values["mixture", "si_sdr_i"] == 0.0
    table = json.loads(invoke("table", "runs", "--json").stdout)
    assert sorted(map(str, table["rows"])) == sorted(map(str, found["rows"]))


@pytest.mark.parametrize("form", ["md", "csv", "tex", "html", "json", "terminal"])
def test_table_formats(form: str, here: Path, small_task: Path) -> None:
    invoke("eval", "--model", "silence", "--task", str(small_task), "--limit", "2")
    shown = invoke("table", "runs", "--format", form).stdout
    assert "silence" in shown
    assert ("PARTIAL n=4/12" in shown) or (form == "json" and json.loads(shown)["partial"])


def test_command_equals_mixture_exactly(here: Path, small_task: Path) -> None:
    command = "cmd:cp {mixture} {target}"
    found = json.loads(invoke("eval", "--model", command, "--task", str(small_task), "--json").stdout)
    copies = [row for row in found["rows"] if row["separator"].startswith("cmd-cp")]
    originals = [row for row in found["rows"] if row["separator"] == "mixture"]
    assert [{**row, "separator": ""} for row in copies] == [{**row, "separator": ""} for row in originals]


def test_answer_folder_goes_by_item_id(here: Path, small_task: Path) -> None:
    (here / "answers").mkdir()
    for index in (5, 4, 3, 2, 1, 0):
        source = small_task.with_name(f"target{index}.wav")
        (here / "answers" / f"item-{index}.wav").write_bytes(source.read_bytes())
    found = json.loads(
        invoke("eval", "--model", "files:answers", "--task", str(small_task), "--metrics", "snr", "--json").stdout
    )
    rows = {row["separator"]: row for row in found["rows"]}
    answers = next(row for name, row in rows.items() if name != "mixture")
    assert answers["value"] == 100.0
    assert answers["capped"] == 5


def test_plan_says_why_a_metric_cannot_run(here: Path, small_task: Path) -> None:
    bare = small_task.with_name("bare.csv")
    bare.write_text("mixture,text\nmix0.wav,noise\n")
    options = ["eval", "--model", "silence", "--task", str(bare), "--metrics", "snr,reconstruction_db"]
    result = invoke(*options, "--dry-run")
    assert "plan: snr will not run on bare: no reference there" in result.stderr
    assert not (here / "runs").exists()
    found = json.loads(invoke(*options, "--json").stdout)
    assert {row["metric"] for row in found["rows"]} == {"reconstruction_db"}


def test_option_beats_environment_beats_config_beats_default(here: Path, small_task: Path) -> None:
    (here / "run.toml").write_text(f'task = "{small_task}"\nseed = 3\nlimit = 2\nbatch-size = "4"\n')
    shown = invoke(
        "eval", "--model", "silence", "--config", "run.toml", "--limit", "1", "--show-config",
        SABENCH_SEED="5", SABENCH_LIMIT="9",
    ).stdout  # fmt: skip
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in shown.splitlines()[1:]}
    assert lines["limit"] == ["1", "command line"]
    assert lines["seed"] == ["5", "environment"]
    assert lines["batch_size"] == ["4", "config file"]
    assert lines["split"] == ["test", "default"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "hpsss"], "did you mean 'hpss'"),
        (["--model", ","], "at least one model"),
        (["--model", "silence,silence"], "found 'silence' twice"),
        (["--metrics", "sdr"], "unknown metric 'sdr'"),
        (["--task", "sfxx"], "unknown task 'sfxx': did you mean 'sfx'"),
        (["--task", "no/such.csv"], "no/such.csv"),
        (["--limit", "0"], "--limit to be at least 1, found 0"),
        (["--sample-id", "item-77"], "unknown item 'item-77'"),
        (["--batch-size", "none"], "--batch-size to be auto or a number"),
        (["--batch-size", "0"], "--batch-size to be at least 1"),
        (["--shard", "5"], "--shard I/N"),
        (["--shard", "5/4"], "1 <= I <= N, found 5/4"),
        (["--fail-on-error", "-1"], "count or a fraction"),
        (["--model-args", "gain"], "k=v"),
        (["--model-args", "gain=2"], "model arguments among"),
        (["--metric-args", "gain=2"], "found \\['gain'\\]"),
        (["--config", "missing.toml"], "a TOML file"),
        (["--task", "sfx"], "`sabench eval --model silence --task sfx --split mini`"),
        (["--task", "instr-pro"], "in .*/data/musdb18hq/test, found none; .*--task instr-pro --split mini"),
    ],
)
def test_usage_errors(words: list[str], message: str, here: Path, small_task: Path) -> None:
    options = {"--model": "silence", "--task": str(small_task)}
    options.update(zip(words[::2], words[1::2], strict=True))
    with pytest.raises(BenchError, match=message):
        invoke("eval", *(word for pair in options.items() for word in pair))
    assert not (here / "runs").exists()


def test_main_prints_one_sentence_and_exits_with_2(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["eval", "--model", "hpsss", "--task", "sfx", "--split", "mini"])
    shown = capsys.readouterr()
    assert caught.value.code == 2
    assert shown.out == ""
    assert shown.err == "sabench: unknown model 'hpsss': did you mean 'hpss'? See `sabench list models`.\n"
    with pytest.raises(BenchError):
        main(["--debug", "eval", "--model", "hpsss", "--task", "sfx", "--split", "mini"])
    with pytest.raises(SystemExit) as caught:
        main(["evall"])
    assert "did you mean 'eval'" in capsys.readouterr().err


def test_unknown_key_in_config(here: Path, small_task: Path) -> None:
    (here / "run.toml").write_text("limits = 3\n")
    with pytest.raises(BenchError, match="found limits"):
        invoke("eval", "--model", "silence", "--task", str(small_task), "--config", "run.toml")


@pytest.mark.parametrize(("allowed", "code"), [(None, 3), ("0", 1), ("3", 1), ("4", 3), ("0.2", 1), ("0.5", 3)])
def test_exit_codes_of_failures(allowed: str | None, code: int, here: Path, small_task: Path) -> None:
    """Four of twelve items cannot be read: two mixtures, for the separator and for the baseline."""
    for index in (0, 3):
        small_task.with_name(f"mix{index}.wav").write_text("no sound")
    options = [] if allowed is None else ["--fail-on-error", allowed]
    result = invoke("eval", "--model", "silence", "--task", str(small_task), *options, code=code)
    assert "PARTIAL n=8/12" in result.stdout
    assert "item-0: expected an audio file" in result.stderr


def test_table_of_a_run_without_metrics_is_a_sentence(here: Path, small_task: Path) -> None:
    invoke("eval", "--model", "silence", "--task", str(small_task), "--metrics", "leak_db", "--output", "runs")
    (record,) = here.glob("runs/silence/*/run.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "metrics": []}))
    with pytest.raises(BenchError, match=r"expected metrics in .*silence.*run\.json, found none.*`sabench score`"):
        invoke("table", "runs/silence")


@pytest.mark.parametrize("words", ["--help", "list metrics", "list tasks --json", "eval --help"])
def test_a_reader_that_leaves_is_no_failure(words: str) -> None:
    """As ``| head -1`` does; 141 is what a shell tells of a program that SIGPIPE ends."""
    command = [sys.executable, "-c", "from sam_audio_bench.cli import main; main()", *words.split()]
    readers_end, writers_end = os.pipe()
    os.close(readers_end)
    done = subprocess.run(command, stdout=writers_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writers_end)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("name", ["a" * 300, f"{'a' * 300}=none.csv", f"{'a' * 300}.csv"])
def test_a_task_whose_name_no_system_takes(name: str, here: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown task 'a+|expected a table of questions at .*, found none"):
        invoke("eval", "--model", "silence", "--task", name)
    with pytest.raises(UsageError, match=r"unknown task 'a+|expected a table of questions at .*, found none"):
        sab.load_task(name)
    with pytest.raises(BenchError, match="expected a run folder"):
        invoke("table", name)


def test_table_of_nothing(here: Path) -> None:
    with pytest.raises(BenchError, match=r"expected a run folder \(with run.json\) in ."):
        invoke("table", ".")


def test_shards_merge(here: Path, small_task: Path) -> None:
    for part in ("1/2", "2/2"):
        invoke("eval", "--model", "silence", "--task", str(small_task), "--shard", part)
    result = invoke("merge", "runs/silence", "--into", "runs/whole")
    assert "6 items in runs/whole" in result.stdout
    assert json.loads(invoke("table", "runs/whole", "--json").stdout)["partial"] is False
    both = invoke("merge", "runs/silence", "runs/mixture", "--output", "all")
    assert "6 items in all/silence/small@1-file\n6 items in all/mixture/small@1-file" in both.stdout
    for words in ([], ["--into", "a", "--output", "b"]):
        with pytest.raises(UsageError, match="either --into, for one run, or --output"):
            invoke("merge", "runs/silence", *words)


def test_doctor(here: Path) -> None:
    records = json.loads(invoke("doctor", "--json").stdout)
    states = {record["what"]: record["state"] for record in records}
    assert states["torch"] == states["mini split"] == states["working folder"] == "ok"
    assert states["official data"] == "absent"


@pytest.mark.parametrize(
    "words",
    [
        ["table", "runs"],
        ["table", "runs", "--json"],
        ["table", "runs", "--by", "words"],
        ["slices", "runs", "--metric", "si_sdr"],
        ["cite", "runs"],
    ],
)
def test_reading_results_never_imports_torch(words: list[str], here: Path, small_task: Path) -> None:
    invoke("eval", "--model", "silence", "--task", str(small_task), "--limit", "1")
    code = (
        f"import sys\nfrom sam_audio_bench.cli import main\ntry:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], cwd=here, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("task", ["sfx", "instr-pro"])
def test_absent_official_data_are_told_without_torch(task: str, here: Path) -> None:
    """And without asking the hub: what names the place and the command that works needs neither."""
    code = (
        "import sys, socket\nfrom sam_audio_bench.cli import main\n"
        "def refuse(*_): raise AssertionError('asked the network')\n"
        "socket.socket.connect = socket.create_connection = refuse\n"
        f"try:\n    main(['eval', '--model', 'hpss', '--task', '{task}', '--data-dir', 'none'])\n"
        "except SystemExit as end:\n    print(end.code, sorted({'torch', 'datasets'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=False)
    assert done.stdout == "2 []\n", done.stderr
    assert f"`sabench eval --model hpss --task {task} --split mini`" in done.stderr
    assert str(here / "none") in done.stderr


@pytest.mark.parametrize("metric", ["leak_db", "reconstruction_db", "sa_sdr"])
def test_each_metric_runs_alone(metric: str, here: Path, small_task: Path) -> None:
    """Policies that a metric does not know, such as --stereo, are not its business."""
    options = ["--model", "silence", "--task", str(small_task), "--metrics", metric, "--stereo", "mono"]
    found = json.loads(invoke("eval", *options, "--json").stdout)
    assert {row["metric"] for row in found["rows"]} == {metric}


def test_python_and_shell_agree(here: Path, small_task: Path) -> None:
    shell = json.loads(invoke("eval", "--model", "silence", "--task", str(small_task), "--json").stdout)
    python = sab.evaluate("silence", str(small_task), output="elsewhere").to_json()
    assert python["rows"] == shell["rows"]


def test_help_keeps_its_examples_apart() -> None:
    assert "  sabench list models\n  sabench eval" in invoke("--help").stdout


def test_a_place_that_cannot_be_written_is_one_sentence(capsys) -> None:
    with pytest.raises(SystemExit) as done:
        main(["ratings", "example", "--out", "/dev/null/answers.csv"])
    assert done.value.code == 2
    assert capsys.readouterr().err.startswith("sabench: expected ")


# --- slices


@pytest.fixture
def halves(here: Path) -> str:
    """A run of twelve recordings, half of which are ten decibels worse."""
    generator = np.random.default_rng(0)
    lines = ["mixture,text,target,place,far"]
    for index in range(12):
        target, rest = generator.normal(size=(2, 2400)).astype(np.float32) * 0.1
        mixture = target + rest * (3.2 if index % 2 else 1.0)
        for name, samples in ((f"m{index}", mixture), (f"t{index}", target)):
            soundfile.write(here / f"{name}.wav", samples, 8000, subtype="FLOAT")
        lines.append(f"m{index}.wav,noise,t{index}.wav,{'|street|' if index % 2 else 'room'},{index}")
    (here / "mine.csv").write_text("\n".join(lines) + "\n")
    invoke("eval", "--model", "silence", "--task", "mine.csv", "--metrics", "si_sdr,snr_i")
    return "runs/mixture"


def test_table_by_an_attribute(halves: str) -> None:
    shown = invoke("table", halves, "--by", "far:4,8", "--format", "md").stdout
    assert [line for line in shown.splitlines() if line.startswith("#")] == [
        "### mine@1-file, far &lt; 4: 4 of 12 items", "### mine@1-file, 4 ≤ far &lt; 8: 4 of 12 items",
        "### mine@1-file, far ≥ 8: 4 of 12 items",
    ]  # fmt: skip
    rows = json.loads(invoke("table", halves, "--by", "place", "--json").stdout)["rows"]
    assert {(row["slice"], row["n"]) for row in rows} == {("place = |street|", 6), ("place = room", 6)}
    for words, told in (
        ("far:4,x", "--by NAME or NAME:NUMBER"),
        ("fair", "expected an attribute of these items .*far"),
    ):
        with pytest.raises(UsageError, match=told):
            invoke("table", halves, "--by", words)


def test_slices_say_where_it_fails(halves: str, here: Path) -> None:
    done = invoke("slices", halves, "--metric", "si_sdr", "--worst", "2", "--out", "figures")
    street = next(line for line in done.stdout.splitlines() if "place = |street|" in line)
    assert street.endswith("yes")
    assert re.search(r"mixture +place = \|street\| +−1[01]\.\d\d \[.*\] +−?\d\.\d\d +−1\d\.\d\d \[", street)
    assert done.stdout.count("runs/mixture/mine@1-file/audio/m") == 2
    assert "note: mine: words does not part the items: words = 1 for all" in done.stderr
    assert sorted(path.name for path in (here / "figures").iterdir()) == [
        f"slices-mine-si_sdr.{suffix}" for suffix in ("csv", "png", "svg")
    ]
    drawn = invoke("plot", halves, "--kind", "slices", "--metric", "si_sdr", "--theme", "both", "--out", "plotted")
    assert "mine@1-file in slices" in drawn.stdout
    name = "slices-mine-si_sdr"
    assert (here / "plotted" / f"{name}.csv").read_bytes() == (here / "figures" / f"{name}.csv").read_bytes()
    assert len(list((here / "plotted").iterdir())) == 5
    with pytest.raises(UsageError, match="unknown separator 'mixtures'"):
        invoke("plot", halves, "--kind", "slices", "--separator", "mixtures")
    shown = invoke("slices", halves, "--metric", "si_sdr", "--format", "md").stdout
    assert r"| mixture | place = \|street\| |" in shown
    found = json.loads(invoke("slices", halves, "--metric", "si_sdr", "--format", "json").stdout)
    sure = {row["slice"] for row in found["rows"] if row["surely_worse"]}
    command = ("slices", halves, "--metric", "si_sdr", "--by", "place", "--by", "far:6", "--format", "json")
    chosen = json.loads(invoke(*command).stdout)
    assert {row["slice"] for row in chosen["rows"]} == {"place = |street|", "place = room", "far < 6", "far ≥ 6"}
    assert "place = |street|" in sure
    assert "place = room" not in sure
    assert found["worst"][0]["audio"].endswith(".wav")
    assert len(found["worst"]) == 5


def test_slices_without_enough_recordings_are_not_drawn(here: Path, small_task: Path) -> None:
    invoke("eval", "--model", "silence", "--task", str(small_task), "--metrics", "si_sdr")
    assert "surely worse in 0 of 0 slices" in invoke("slices", "runs").stdout
    with pytest.raises(UsageError, match="expected a slice with 5 recordings to draw, found none"):
        invoke("slices", "runs", "--out", "figures")


@pytest.mark.parametrize(
    "words",
    [
        ["eval", "--model", "hpss", "--task", "sfx", "--task", "music"],
        ["table", "--metrics", "snr", "--metrics=si_sdr", "runs"],
        ["data", "missing", "--format", "csv", "--format", "csv"],
    ],
)
def test_an_option_of_one_value_that_is_given_twice_is_refused(here: Path, words: list[str]) -> None:
    """Click would drop the first one without a word."""
    result = CliRunner().invoke(group, words)
    name = next(word for word in words if word.startswith("--") and word != "--model")
    assert result.exit_code == 2
    assert f"expected {name} once, with commas in it if it takes several; found 2" in result.output
    assert not (here / "runs").exists()


def test_flags_and_options_of_several_values_may_be_repeated(here: Path) -> None:
    for words in (["list", "tasks", "--json", "--json"], ["plot", "nowhere", "--kind", "bars", "--kind", "box"]):
        assert "once" not in CliRunner().invoke(group, words).output
