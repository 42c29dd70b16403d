"""A number belongs to an identity: what is edited is done again, exactly that, and a note says why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from click.testing import CliRunner

import sam_audio_bench as sab
from sam_audio_bench import Audio, Item, Query, Separation
from sam_audio_bench.cli import group
from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.metrics import MetricCard
from sam_audio_bench.run.compare import compare_runs
from sam_audio_bench.run.merge import merge
from sam_audio_bench.run.plan import make_plan
from sam_audio_bench.run.rescore import rescore
from sam_audio_bench.run.settings import Settings
from sam_audio_bench.run.store import RunFolder

ALL = [f"item-{index}" for index in range(6)]
METRICS = ("si_sdr", "snr", "snr_i")


def asked(task: Path | str, output: Path, model: Any = "hpss", **options: Any) -> tuple[list[str], str]:
    """Items that the plan for one model would separate, and what it says about those that it does not keep."""
    settings = Settings(output=output, metrics=options.pop("metrics", METRICS), **options)
    plan = make_plan([model], [str(task)], settings=settings)
    return plan.jobs[0].items_to_separate(), "\n".join(plan.redone)


def run(task: Path | str, output: Path, model: Any = "hpss", **options: Any) -> sab.Results:
    options.setdefault("metrics", METRICS)
    return sab.evaluate(model, str(task), output=output, progress=False, **options)


def folder_of(output: Path, name: str = "hpss", task: str = "small@1-file") -> Path:
    return output / name / task


def turn_down(path: Path) -> None:
    """The same recording, exported again at half the level."""
    samples, rate = soundfile.read(path, dtype="float32")
    soundfile.write(path, samples * 0.5, rate, subtype="FLOAT")


def change_cell(table: Path, old: str, new: str) -> None:
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new))


def turn_round(table: Path) -> None:
    """The same rows, the last first."""
    header, *lines = table.read_text().splitlines()
    table.write_text("\n".join([header, *reversed(lines)]) + "\n")


EDITS: dict[str, tuple[Callable[[Path], Any], Sequence[str], str]] = {
    "nothing": (lambda table: None, [], ""),
    "a mixture": (lambda table: turn_down(table.with_name("mix1.wav")), ["item-1"], "recordings or its prompt"),
    "a reference": (lambda table: turn_down(table.with_name("target2.wav")), ["item-2"], "recordings or its prompt"),
    "a text": (lambda table: change_cell(table, ",noise 3,", ",noise three,"), ["item-3"], "recordings or its prompt"),
    "a group": (lambda table: change_cell(table, "song0,item-0", "song9,item-0"), ["item-0"], "recordings"),
    "the times of all files": (lambda table: [path.touch() for path in table.parent.iterdir()], [], ""),
    "the order of the rows": (
        turn_round,
        [],
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_edited_data_are_separated_again_and_nothing_else(edit: str, small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path / "runs")
    change, redone, note = EDITS[edit]
    change(small_task)
    found, said = asked(small_task, tmp_path / "runs")
    assert sorted(found) == sorted(redone)
    assert note in said
    again = run(small_task, tmp_path / "runs").to_frame()
    fresh = run(small_task, tmp_path / "fresh").to_frame()
    columns = ["separator", "item", "metric"]
    pd.testing.assert_frame_equal(
        again.sort_values(columns).reset_index(drop=True), fresh.sort_values(columns).reset_index(drop=True)
    )


@pytest.mark.parametrize(
    "options",
    [{"seed": 1}, {"align": "pad"}, {"stereo": "mono"}, {"model_args": {}, "model": "hpss(margin=1.0)"}],
    ids=["seed", "align", "stereo", "a spelt default"],
)
def test_options_of_a_run(options: dict[str, Any], small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path)
    model = options.pop("model", "hpss")
    found, _ = asked(small_task, tmp_path, model, **options)
    assert found == ALL  # a spelt option is part of the name, and of a folder of its own


ONE_PROCESS_A_RUN = """
import os, sys
import pandas, rich, sam_audio_bench.cli.eval, sam_audio_bench.metrics.ratios  # what every run would import
import sam_audio_bench.run.evaluate, sam_audio_bench.separators.external, sam_audio_bench.tasks.manifest_tables
from sam_audio_bench.cli import main

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        sys.exit(main())
    print("exit", os.waitpid(child, 0)[1], file=sys.stderr, flush=True)
"""


def test_an_edited_module_a_weight_file_and_a_script(
    small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the command line, one process a run, as a user would."""
    import subprocess
    import sys

    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("import net\n\ndef f(mixture, rate, prompt):\n    return mixture * net.GAIN\n")
    Path("net.py").write_text("GAIN = 0.5\n")
    Path("gain.py").write_text(
        "import numpy as np\nfrom sam_audio_bench import Audio, Separation\n\n\nclass Gain:\n    name = 'gain'\n\n"
        "    def __init__(self, weights):\n        self.gain = float(np.load(weights))\n\n"
        "    def separate(self, queries, seeds):\n        out = []\n        for query in queries:\n"
        "            target = Audio(query.mixture.samples * self.gain, query.mixture.rate)\n"
        "            out.append(Separation(target=target, residual=target))\n        return out\n"
    )
    Path("tool.py").write_text("import sys, shutil\nshutil.copy(sys.argv[1], sys.argv[2])\n")
    np.save("w.npy", 0.5)
    models = ["mine:f", "gain:Gain(weights=w.npy)", f"cmd:{sys.executable} tool.py {{mixture}} {{target}}"]
    words = [sys.executable, "-c", ONE_PROCESS_A_RUN, "eval", "--task", str(small_task), "--metrics", "snr", "--limit",
             "2", "--output", "runs", *(part for model in models for part in ("--model", model))]  # fmt: skip
    runs = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, bufsize=1
    )

    def redone() -> set[str]:
        """Separators whose items were done again."""
        assert runs.stdin is not None
        assert runs.stderr is not None
        runs.stdin.write("run\n")
        said = []
        for line in runs.stderr:
            said.append(line)
            if line.startswith("exit "):
                break
        assert said[-1:] == ["exit 0\n"], "".join(said)
        notes = [line.split()[1] for line in said if "done again" in line]
        return {name.partition("+")[0].partition("-")[0] for name in notes}

    with runs:
        assert redone() == set()
        Path("net.py").write_text("GAIN = 0.5  # a half\n")
        Path("mine.py").write_text(Path("mine.py").read_text() + "\n# the end\n")
        assert redone() == set()
        Path("net.py").write_text("GAIN = 0.25\n")
        assert redone() == {"f"}
        np.save("w.npy", 0.25)
        assert redone() == {"gain"}
        Path("tool.py").write_text("import sys, shutil\nshutil.copyfile(sys.argv[1], sys.argv[2])\n")
        assert redone() == {"cmd"}
        assert redone() == set()


def test_an_edited_cell_is_told(small_task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def cell(factor: float) -> Any:
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(f"def mine(mixture, rate, prompt):\n    return mixture * {factor}\n", space)
        return space["mine"]

    first = run(small_task, tmp_path, cell(0.5)).to_frame()
    capsys.readouterr()
    again = run(small_task, tmp_path, cell(0.5)).to_frame()
    assert capsys.readouterr().err == ""
    pd.testing.assert_frame_equal(first, again)
    other = run(small_task, tmp_path, cell(0.25)).to_frame()
    assert "mine on small@1-file: item-0, item-1" in capsys.readouterr().err.replace("\n", " ")
    assert not first["value"].equals(other["value"])


class Socketed:
    """A separator whose answers depend on something that has no digest."""

    name = "socketed"

    def __init__(self) -> None:
        import threading

        self.lock = threading.Lock()

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """The mixture."""
        return [Separation(target=query.mixture, residual=query.mixture) for query in queries]


def test_what_cannot_be_identified_is_never_kept(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path, Socketed())
    found, said = asked(small_task, tmp_path, Socketed())
    assert found == ALL
    assert "nothing is kept, since the separator cannot be identified: a _thread.lock cannot be digested" in said


def test_items_that_left_the_data_are_set_aside_everywhere(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path)
    lines = small_task.read_text().splitlines(keepends=True)
    small_task.write_text("".join(lines[:-1]))
    _, said = asked(small_task, tmp_path)
    assert "item-5 set aside" in said
    results = run(small_task, tmp_path)
    assert set(results.to_frame()["item"]) == set(ALL[:-1])
    assert not results.partial
    table = sab.Results.read([folder_of(tmp_path)])
    assert {row.n for row in table.rows if row.metric == "snr"} == {5}
    assert set(rescore([folder_of(tmp_path)], progress=False).to_frame()["item"]) == set(ALL[:-1])
    assert {row.n for row in compare_runs(folder_of(tmp_path, "mixture"), folder_of(tmp_path)).rows} == {5}
    header = json.loads((folder_of(tmp_path) / "run.json").read_text())
    assert (header["task"]["items"], header["status"]) == (5, "success")
    aside = (folder_of(tmp_path) / "aside.jsonl").read_text()
    assert json.loads(aside)["item"] == "item-5"
    small_task.write_text("".join(lines))
    assert asked(small_task, tmp_path)[0] == ["item-5"]  # what comes back is done again


def test_a_crash_after_setting_aside_loses_nothing(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path)
    small_task.write_text("".join(small_task.read_text().splitlines(keepends=True)[:-1]))
    crashed = RunFolder.open(folder_of(tmp_path))
    crashed.set_aside(["item-5"])
    assert set(crashed.items) == {row.item for row in crashed.score_rows()} == set(ALL[:-1])
    assert set(RunFolder.open(folder_of(tmp_path)).items) == set(ALL)
    run(small_task, tmp_path)
    assert set(RunFolder.open(folder_of(tmp_path)).items) == set(ALL[:-1])
    aside = (folder_of(tmp_path) / "aside.jsonl").read_text().splitlines()
    assert [json.loads(line)["item"] for line in aside] == ["item-5", "item-5"]


def test_options_that_no_metric_knows_are_refused(small_task: Path, tmp_path: Path) -> None:
    spec = "torchmetrics:torchmetrics.audio.SignalNoiseRatio"
    run(small_task, tmp_path, metrics=["snr", spec])
    for name in ("strange", "options"):  # a constructor that packs its options names none of them
        with pytest.raises(UsageError, match="expected arguments of one of the metrics, found"):
            rescore([folder_of(tmp_path)], metric_args={name: 1}, progress=False)
        with pytest.raises(UsageError, match="expected arguments of one of the metrics, found"):
            run(small_task, tmp_path, metrics=["snr", spec], metric_args={name: 1})


def test_data_that_moved_are_kept_and_other_data_refused(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path / "runs")
    moved = tmp_path / "moved"
    shutil.copytree(small_task.parent, moved)
    assert asked(moved / "small.csv", tmp_path / "runs")[0] == []
    change_cell(moved / "small.csv", ",noise 3,", ",another,")
    with pytest.raises(UsageError, match=r"found other data of that name at .*moved.*; give them .* --task other="):
        asked(moved / "small.csv", tmp_path / "runs")
    assert asked(f"other={moved / 'small.csv'}", tmp_path / "runs")[0] == ALL
    run(f"other={moved / 'small.csv'}", tmp_path / "runs")
    assert folder_of(tmp_path / "runs", task="other@1-file").is_dir()
    with pytest.raises(UsageError, match="expected tasks with different names, found small@1-file from"):
        make_plan(["hpss"], [str(small_task), str(moved / "small.csv")], settings=Settings(output=tmp_path / "new"))
    with pytest.raises(UsageError, match="found 'sfx', which is taken"):
        make_plan(["hpss"], [f"sfx={small_task}"], settings=Settings(output=tmp_path / "new"))


def test_selections_have_folders_of_their_own(bench: Any, tmp_path: Path) -> None:
    for subset in ("paper", "full"):
        run("sfx", tmp_path, "silence", metrics=["reconstruction_db"], split="test", subset=subset, limit=2)
    assert {path.name for path in (tmp_path / "silence").iterdir()} == {"sfx@1-test", "sfx@1-test-full"}
    with pytest.raises(UsageError, match="expected sfx with subset"):
        sab.Results.read([tmp_path / "silence"])


@pytest.mark.parametrize("loss", ["removed", "emptied", "half"])
def test_scores_that_are_lost_are_computed_again(loss: str, small_task: Path, tmp_path: Path) -> None:
    before = run(small_task, tmp_path).to_frame()
    sealed = folder_of(tmp_path) / "scores.parquet"
    if loss == "removed":
        sealed.unlink()
    elif loss == "emptied":
        sealed.write_bytes(b"")
        with pytest.raises(StoreError, match="remove it, and run the same command again"):
            run(small_task, tmp_path)
        sealed.unlink()
    else:
        pd.read_parquet(sealed).query("item != 'item-2' or metric != 'snr'").to_parquet(sealed)
    with pytest.raises(StoreError, match="which computes them from the stored estimates"):
        sab.Results.read([folder_of(tmp_path)])
    assert asked(small_task, tmp_path)[0] == []
    pd.testing.assert_frame_equal(run(small_task, tmp_path).to_frame(), before)
    assert sealed.is_file()


@pytest.mark.parametrize("loss", ["swapped", "removed", "in time and size alike"])
def test_a_stored_estimate_that_is_not_the_journalled_one(loss: str, small_task: Path, tmp_path: Path) -> None:
    before = run(small_task, tmp_path).to_frame()
    audio = folder_of(tmp_path) / "audio"
    stored = audio / "item-1.target.flac"
    stamps = stored.stat()
    if loss == "removed":
        stored.unlink()
    elif loss == "swapped":
        shutil.copyfile(audio / "item-2.target.flac", stored)
    else:
        import os

        content = bytearray(stored.read_bytes())
        content[-20] ^= 1
        stored.write_bytes(content)
        os.utime(stored, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    scored = rescore([folder_of(tmp_path)], metrics=["sd_sdr"], progress=False).to_frame()
    rows = scored[(scored["metric"] == "sd_sdr") & (scored["item"] == "item-1")]
    assert rows["status"].tolist() == ["error"]
    assert (
        scored[(scored["metric"] == "sd_sdr") & (scored["item"] != "item-1")]["status"]
        .isin(["ok", "silent_reference"])
        .all()
    )
    found, said = asked(small_task, tmp_path)
    if loss != "in time and size alike":  # which only scoring sees
        assert found == ["item-1"]
        assert "item-1" in said
        again = run(small_task, tmp_path).to_frame()
        pd.testing.assert_frame_equal(again[again["metric"] != "sd_sdr"], before)


def test_score_refuses_estimates_of_other_recordings(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path)
    turn_down(small_task.with_name("mix1.wav"))
    scored = rescore([folder_of(tmp_path, "mixture")], metrics=["sd_sdr_i"], progress=False).to_frame()
    rows = scored[scored["metric"] == "sd_sdr_i"].set_index("item")
    assert rows.loc["item-1", "status"] == "error"
    assert (rows["value"].dropna() == 0).all()


class Vandal:
    """Answers the mixture, and leaves noise in what it was given."""

    name = "vandal"

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """A copy of the mixture."""
        return [self.wreck(query) for query in queries]

    def wreck(self, query: Query) -> Separation:
        """The mixture, which is noise afterwards."""
        target = Audio(query.mixture.samples.clone(), query.mixture.rate)
        query.mixture.samples.copy_(torch.randn_like(target.samples))
        return Separation(target=target, residual=Audio(target.samples * 0, target.rate))


class OracleVandal(Vandal):
    """The same of one that is shown the references."""

    name = "oracle-vandal"
    separate = None  # type: ignore[assignment]

    def separate_oracle(self, items: Sequence[Item], seeds: Sequence[int]) -> list[Separation]:
        """The mixture; the references are noise afterwards."""
        for item in items:
            assert item.reference is not None
            item.reference.samples.zero_()
        return [self.wreck(item.query) for item in items]


@pytest.mark.parametrize("separator", [Vandal(), OracleVandal()], ids=["a separator", "an oracle"])
@pytest.mark.parametrize("size", [1, 3])
def test_a_separator_that_changes_what_it_gets(separator: Any, size: int, small_task: Path, tmp_path: Path) -> None:
    frame = run(small_task, tmp_path, separator, batch_size=size).to_frame()
    values = frame[(frame["separator"] == separator.name) & (frame["metric"] == "snr_i")]["value"].dropna()
    assert len(values) == 5
    assert (values == 0).all()


def test_shards_of_one_identity_only(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path, "hpss", shard=(1, 2))
    run(small_task, tmp_path, "hpss", shard=(2, 2))
    shards = [folder_of(tmp_path, task=f"small@1-file.shard-{number}-of-2") for number in (1, 2)]
    header = json.loads((shards[1] / "run.json").read_text())
    header["model"]["settings"]["margin"] = 9.0
    (shards[1] / "run.json").write_text(json.dumps(header))
    with pytest.raises(UsageError, match=r"found model.settings.margin 9.0 instead of 1.0"):
        merge(shards, tmp_path / "merged")
    header["model"]["settings"]["margin"] = 1.0
    (shards[1] / "run.json").write_text(json.dumps(header))
    (shards[1] / "audio" / "item-1.target.flac").unlink()
    with pytest.raises(StoreError, match=r"item-1.target.flac, found none; run that shard again"):
        merge(shards, tmp_path / "merged")


def as_schema_1(folder: Path) -> None:
    """What the first version of the harness would have written."""
    header = json.loads((folder / "run.json").read_text())
    model, task = header["model"], header["task"]
    header["schema_version"] = 1
    header["model"] = {
        "class": model["target"],
        **{key: model[key] for key in ("name", "revision", "weights_sha256", "settings", "oracle")},
    }
    header["task"] = {key: value for key, value in task.items() if key not in ("place", "code_sha256")}
    header["metrics"] = [
        {"weights_sha256": None, "parameters": {}, **{key: value for key, value in one.items() if key != "options"}}
        for one in header["metrics"]
    ]
    (folder / "run.json").write_text(json.dumps(header))
    lines = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    for line in lines:
        for name in ("data_sha256", "stat", "not_asked"):
            line.pop(name, None)
    (folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_folder_without_digests_is_read_and_not_continued(small_task: Path, tmp_path: Path) -> None:
    before = run(small_task, tmp_path)
    for name in ("hpss", "mixture"):
        as_schema_1(folder_of(tmp_path, name))
    assert sab.Results.read([tmp_path]).to_json()["rows"] == before.to_json()["rows"]
    assert compare_runs(folder_of(tmp_path, "mixture"), folder_of(tmp_path)).rows
    with pytest.raises(StoreError, match=r"found version 1, .*--overwrite always, or use another --output"):
        run(small_task, tmp_path)
    with pytest.raises(StoreError, match=r"found version 1, .*--overwrite always"):
        rescore([folder_of(tmp_path)], progress=False)
    with pytest.raises(StoreError, match=r"found version 1, .*--overwrite always"):
        merge([folder_of(tmp_path)], tmp_path / "merged")
    run(small_task, tmp_path, overwrite="always", limit=2)
    assert RunFolder.open(folder_of(tmp_path)).header.schema_version == 2
    assert set(RunFolder.open(folder_of(tmp_path)).items) == {"item-0", "item-1"}


def invoke(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(group, ["eval", *words], catch_exceptions=True)
    assert done.exit_code == code or isinstance(done.exception, sab.BenchError), done.output
    return done.output + str(done.exception or "")


def test_options_of_several_models(small_task: Path, tmp_path: Path) -> None:
    common = ("--task", str(small_task), "--metrics", "snr", "--output", str(tmp_path))
    said = invoke("--model", "hpss(margin=2),hpss(margin=3)", "--model", "repet-sim", *common, "--dry-run")
    assert "hpss+margin=2, hpss+margin=3, repet-sim, mixture" in said
    assert "expected one model with --model-args, found 2" in invoke(
        "--model", "hpss,repet-sim", "--model-args", "margin=2", *common
    )
    ways = "mrstft(level=full_scale),mrstft,mrstft(level=reference)"
    said = invoke("--model", "hpss", *common[:2], "--metrics", ways, "--output", str(tmp_path), "--json")
    names = {row["metric"] for row in json.loads(said[said.index("{") :])["rows"]}
    assert names == {"mrstft", "mrstft(level=full_scale)", "mrstft(level=reference)"}


def test_two_pickers_of_other_options(span_items: Path, tmp_path: Path) -> None:
    settings = {"candidates": 2, "metrics": ("si_sdr",)}
    first = asked(span_items, tmp_path, Noisy(), picker="activity", **settings)
    run(span_items, tmp_path, Noisy(), picker="activity", **settings)
    assert asked(span_items, tmp_path, Noisy(), picker="activity", **settings)[0] == []
    found, said = asked(span_items, tmp_path, Noisy(), picker="activity(threshold=-30)", **settings)
    assert first[0] == found == ["mix0", "mix1"]
    assert "done again" in said


class Noisy:
    """The mixture with noise from the seed."""

    name = "noisy"

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """As the class says."""
        found = []
        for query, seed in zip(queries, seeds, strict=True):
            noise = torch.randn(query.mixture.samples.shape, generator=torch.Generator().manual_seed(seed))
            target = Audio(query.mixture.samples + 0.1 * noise, query.mixture.rate)
            found.append(Separation(target=target, residual=target))
        return found


@pytest.fixture
def span_items(tmp_path: Path) -> Path:
    """Two items that are asked by a span."""
    folder = tmp_path / "spans"
    folder.mkdir()
    for index in range(2):
        samples = np.random.default_rng(index).normal(size=8000).astype(np.float32) * 0.1
        soundfile.write(folder / f"mix{index}.wav", samples, 8000, subtype="FLOAT")
        soundfile.write(folder / f"target{index}.wav", samples * 0.5, 8000, subtype="FLOAT")
    path = folder / "spans.csv"
    path.write_text("mixture,spans,target\nmix0.wav,+0.1:0.5,target0.wav\nmix1.wav,+0.2:0.7,target1.wav\n")
    return path


def gain(factor: float, name: str = "mine") -> Any:
    """A function as a notebook's cell makes it."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(f"def {name}(mixture, rate, prompt):\n    return mixture * {factor}\n", space)
    return space[name]


PARTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the function": ({"model": gain(0.5)}, {"model": gain(0.25)}),
    "the seed": ({"model": "hpss"}, {"model": "hpss", "seed": 1}),
    "the alignment": ({"model": "hpss", "align": "pad"}, {"model": "hpss", "align": "trim"}),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_items_does_not_stand_beside_another_identity(
    part: str, small_task: Path, tmp_path: Path
) -> None:
    first, then = PARTS[part]
    run(small_task, tmp_path, **first)
    _, said = asked(small_task, tmp_path, **then, limit=2)
    assert "item-2, item-3, item-4, item-5 set aside: it was made in another way" in said
    run(small_task, tmp_path, **then, limit=2)
    name = "mine" if part == "the function" else "hpss"
    results = sab.Results.read([folder_of(tmp_path, name)])
    assert set(results.to_frame()["item"]) == {"item-0", "item-1"}
    assert results.watermark == "PARTIAL n=2/6"


class Level(sab.Metric):
    """A level times a factor."""

    columns = ("level",)

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    @classmethod
    def cards(cls) -> tuple[MetricCard, ...]:
        """One card."""
        return (MetricCard(id="level", target="test:Level", summary="a level", unit="dB"),)

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Any]:
        """The factor itself."""
        return [(sab.Score(self.factor, sab.Status.OK),) for _ in items]


class OtherLevel(Level):
    """Another one under the same name, with another default."""

    columns = ("other_level",)

    def __init__(self, factor: float = 3.0) -> None:
        super().__init__(factor)

    @classmethod
    def cards(cls) -> tuple[MetricCard, ...]:
        """One card."""
        return (MetricCard(id="other_level", target="test:OtherLevel", summary="a level", unit="dB"),)


class Twin(Level):
    """A metric with a column that another one has."""

    columns = ("snr",)

    @classmethod
    def cards(cls) -> tuple[MetricCard, ...]:
        """One card."""
        return (MetricCard(id="snr", target="test:Twin", summary="a level", unit="dB"),)


class Fails(Level):
    """A metric that finds out late that it cannot work."""

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Any]:
        """Raises."""
        raise Precondition("expected a model, found none; get it")


@pytest.fixture
def levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """These metrics in a module that a spelling can name."""
    import sys
    import types

    module = types.ModuleType("levels")
    for kind in (Level, OtherLevel, Twin):
        setattr(module, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "levels", module)


def values_of(results: sab.Results, metric: str) -> set[float]:
    frame = results.to_frame()
    return set(frame[frame["metric"] == metric]["value"])


@pytest.mark.usefixtures("levels")
def test_another_option_of_a_metric_leaves_no_old_scores(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path, "mixture", metrics=["levels:Level"], metric_args={"factor": 1})
    run(small_task, tmp_path, "mixture", metrics=["levels:Level"], metric_args={"factor": 3}, limit=2)
    results = sab.Results.read([folder_of(tmp_path, "mixture")])
    assert values_of(results, "level") == {3.0}
    assert results.partial


@pytest.mark.usefixtures("levels")
def test_score_uses_the_options_that_each_metric_had(small_task: Path, tmp_path: Path) -> None:
    both = ["levels:Level", "levels:OtherLevel"]
    run(small_task, tmp_path, "mixture", metrics=both)
    again = rescore([folder_of(tmp_path, "mixture")], progress=False)
    assert (values_of(again, "level"), values_of(again, "other_level")) == ({1.0}, {3.0})
    run(small_task, tmp_path / "seven", "mixture", metrics=["levels:Level"], metric_args={"factor": 7})
    again = rescore([folder_of(tmp_path / "seven", "mixture")], metrics=["levels:Level"], progress=False)
    assert values_of(again, "level") == {7.0}


@pytest.mark.usefixtures("levels")
def test_two_metrics_of_one_column_are_refused(small_task: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found snr of snr and of levels:Twin"):
        run(small_task, tmp_path, "mixture", metrics=["snr", "levels:Twin"])


def test_runs_on_other_recordings_are_not_set_side_by_side(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path, gain(0.5, "one"))
    turn_down(small_task.with_name("mix1.wav"))
    run(small_task, tmp_path, gain(0.5, "two"))
    with pytest.raises(UsageError, match=r"expected item-1 of small with the recordings .* found others in .*two"):
        sab.Results.read([tmp_path / "one", tmp_path / "two"])
    with pytest.raises(UsageError, match="expected item-1 of small with the recordings"):
        compare_runs(tmp_path / "one", tmp_path / "two")


def test_scores_that_were_edited_are_computed_again(small_task: Path, tmp_path: Path) -> None:
    before = run(small_task, tmp_path).to_frame()
    sealed = folder_of(tmp_path) / "scores.parquet"
    pd.read_parquet(sealed).assign(value=99.0).to_parquet(sealed)
    with pytest.raises(StoreError, match="found none or too few of 6"):
        sab.Results.read([folder_of(tmp_path)])
    pd.testing.assert_frame_equal(run(small_task, tmp_path).to_frame(), before)


def test_shards_of_an_unknown_separator_are_not_merged(small_task: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        run(small_task, tmp_path, Socketed(), shard=(number, 2))
    shards = [folder_of(tmp_path, "socketed", f"small@1-file.shard-{number}-of-2") for number in (1, 2)]
    with pytest.raises(StoreError, match="that cannot be identified"):
        merge(shards, tmp_path / "merged")


@pytest.mark.usefixtures("levels")
def test_scores_outlive_a_metric_that_cannot_work(
    small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run(small_task, tmp_path, "mixture", metrics=["levels:Level", "snr"]).to_frame()
    monkeypatch.setattr(Level, "score", Fails.score)
    with pytest.raises(Precondition, match="expected a model"):
        rescore([folder_of(tmp_path, "mixture")], metrics=["levels:Level"], progress=False)
    monkeypatch.undo()
    folder = RunFolder.open(folder_of(tmp_path, "mixture"))
    assert folder.header.status == "error"
    kept = sab.Results.read([folder.path]).to_frame().query("metric == 'snr'").reset_index(drop=True)
    pd.testing.assert_frame_equal(
        kept, before.query("metric == 'snr' and separator == 'mixture'").reset_index(drop=True)
    )
