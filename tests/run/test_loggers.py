"""Logging to trackers, read back from their files: configuration, means, figures and sounds."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import soundfile
from click.testing import CliRunner, Result
from PIL import Image

from sam_audio_bench.cli import group
from sam_audio_bench.errors import BenchError, Precondition, UsageError
from sam_audio_bench.run import loggers
from sam_audio_bench.run.loggers import LoggerSpec, parse_loggers


def evaluate(task: Path, *words: str, code: int = 0) -> Result:
    """``sabench eval`` in the working folder."""
    chosen = ["--model", "hpss(margin=2)", "--task", str(task), "--metrics", "si_sdr,snr", *words]
    result = CliRunner().invoke(group, ["eval", *chosen], prog_name="sabench")
    if isinstance(result.exception, BenchError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def means(result: Result) -> dict[str, float]:
    """The table of ``--json`` by the names that trackers have for it."""
    rows = json.loads(result.stdout)["rows"]
    return {f"{row['task']}/{row['separator']}/{row['metric']}": row["value"] for row in rows}


def is_estimate(sound: np.ndarray) -> bool:
    """Returns whether this is an estimate of the run, up to half a step of 16 bits."""
    stored = [soundfile.read(path)[0] for path in Path("runs").glob("hpss*/*/audio/*.target.flac")]
    return any(len(one) == len(sound) and np.abs(one - sound).max() <= 2 / 32768 for one in stored)


def test_tensorboard(here: Path, small_task: Path) -> None:
    result = evaluate(small_task, "--json", "--log", "tensorboard:board")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    (folder,) = (here / "board").iterdir()
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0, "audio": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    told = {name: events.Scalars(name)[0].value for name in tags["scalars"]}
    assert told == pytest.approx(means(result), rel=1e-6)
    config, table = (tensor_util.make_ndarray(events.Tensors(f"{name}/text_summary")[0].tensor_proto)[0].decode()
                     for name in ("config", "table"))  # fmt: skip
    plain = json.loads(config.removeprefix("```json\n").removesuffix("\n```"))
    assert plain["options"]["model"] == ["hpss(margin=2)"]
    assert plain["separators"]["hpss+margin=2"]["options"]["margin"] == 2
    assert set(plain["metrics"]) == {"si_sdr", "snr"}
    assert table.count("\n") == 1 + len(told)
    assert sorted(tags["images"]) == ["figures/bars", "figures/box"]
    width, height = Image.open(io.BytesIO(events.Images("figures/bars")[0].encoded_image_string)).size
    assert min(width, height) > 100
    names = [name for name in tags["audio"] if name.endswith("/estimate")]
    assert len(names) == 3
    for name in names:
        assert name.startswith("worst/hpss_margin=2/") or name.startswith("worst/hpss+margin=2/")
        sound, rate = soundfile.read(io.BytesIO(events.Audio(name)[0].encoded_audio_string))
        assert rate == 8000
        assert is_estimate(sound)
    (path,) = Path("runs").glob("hpss*/*/scores.parquet")
    scores = pd.read_parquet(path)
    worst = scores[scores["metric"] == "si_sdr"].dropna(subset="value").sort_values("value")["item"].iloc[:3].tolist()
    ranks = sorted(name.split("/")[2] for name in names)
    assert [name.split(" ")[::2] for name in ranks] == [[str(rank), item] for rank, item in enumerate(worst, 1)]
    captions = [name for name in tags["tensors"] if name.startswith("worst/")]
    assert len(captions) == len(tags["audio"]) == 9  # mixture, reference and estimate


def logged(path: Path) -> Iterator[bytes]:
    """The records of a log of blocks of 32 KiB, as LevelDB has it: a head of seven bytes, then parts of records."""
    data, position, record = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def test_wandb_offline(here: Path, small_task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    result = evaluate(small_task, "--json", "--log", "wandb:somebody/benchmark")
    wandb.teardown()  # as at the end of a process: all is on disk
    from wandb.proto import wandb_internal_pb2

    (path,) = (here / "wandb").glob("offline-run-*/*.wandb")
    found = [wandb_internal_pb2.Record.FromString(content) for content in logged(path)]
    (run,) = [record.run for record in found if record.run.project]
    assert (run.project, run.entity) == ("benchmark", "somebody")
    config = {item.key: json.loads(item.value_json) for record in found for item in record.config.update}
    assert config["options"]["model"] == ["hpss(margin=2)"]
    summary = {item.key or "/".join(item.nested_key): item.value_json for record in found
               for item in record.summary.update}  # fmt: skip
    assert {name: json.loads(summary[name]) for name in means(result)} == means(result)
    files = [path for path in (here / "wandb").glob("offline-run-*/files/media/**/*") if path.is_file()]
    assert sum(path.suffix == ".png" for path in files) == 2
    sounds = [soundfile.read(path)[0] for path in files if path.suffix == ".wav"]
    assert len(sounds) == 9
    assert sum(map(is_estimate, sounds)) == 3
    (table,) = [path for path in files if path.name.endswith(".table.json")]
    rows = [dict(zip(json.loads(table.read_text())["columns"], row, strict=True))
            for row in json.loads(table.read_text())["data"]]  # fmt: skip
    assert {f"{row['task']}/{row['separator']}/{row['metric']}": row["value"] for row in rows} == means(result)


def test_trackio_on_this_machine(here: Path, small_task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(here / "trackio"))  # read as it is imported
    trackio = pytest.importorskip("trackio")
    result = evaluate(small_task, "--json", "--log", "trackio:benchmark")
    from trackio.sqlite_storage import SQLiteStorage
    from trackio.utils import MEDIA_DIR

    (run,) = trackio.Api().runs("benchmark")
    assert run.config["options"]["model"] == ["hpss(margin=2)"]
    lines = SQLiteStorage.get_logs("benchmark", run.name, run_id=run.id)
    told: dict[str, Any] = {name: value for line in lines for name, value in line.items()}
    assert {name: told[name] for name in means(result)} == means(result)
    assert sum(name.startswith("figures/") for name in told) == 2
    sounds = [soundfile.read(path)[0] for path in Path(MEDIA_DIR).rglob("*.wav")]
    assert sum(map(is_estimate, sounds)) == 3


class Recording:
    """A tracker in this process, which may fail."""

    told: ClassVar[list[str]] = []

    def __init__(self, place: str) -> None:
        self.told.clear()
        self.place = place
        self._tell("init")

    def log_config(self, config: dict[str, Any]) -> None:
        """As `RunLogger`."""
        json.dumps(config, allow_nan=False)
        self._tell("log_config")

    def log_table(self, rows: list[Any]) -> None:
        """As `RunLogger`."""
        self._tell("log_table")

    def log_media(self, name: str, path: Path, caption: str) -> None:
        """As `RunLogger`."""
        assert path.is_file()
        self._tell("log_media")

    def finish(self) -> None:
        """As `RunLogger`."""
        self._tell("finish")

    def _tell(self, what: str) -> None:
        print("chatter")
        self.told.append(what)
        if self.place == what:
            raise RuntimeError("no network")


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> type[Recording]:
    """Replaces TensorBoard by the tracker."""
    kind = loggers.LOGGERS["tensorboard"]._replace(target=Recording)
    monkeypatch.setattr(loggers, "_FIGURES", ("bars",))
    monkeypatch.setattr(loggers, "LOGGERS", {**loggers.LOGGERS, "tensorboard": kind})
    return Recording


@pytest.mark.parametrize("broken", ["init", "log_config", "log_media"])
def test_a_tracker_that_breaks_costs_no_run(
    broken: str, here: Path, small_task: Path, recording: type[Recording]
) -> None:
    with pytest.raises(
        Precondition, match=f"expected --log tensorboard:{broken} to .*, found: RuntimeError: no network"
    ):
        evaluate(small_task, "--log", f"tensorboard:{broken}")
    before_work = broken in ("init", "log_config")
    assert Path("runs").exists() is not before_work
    assert ("finish" in recording.told) is (broken != "init")
    if not before_work:
        assert "all 12 kept" in evaluate(small_task).stderr


def test_the_output_of_a_tracker_is_not_on_standard_output(
    here: Path, small_task: Path, recording: type[Recording]
) -> None:
    result = evaluate(small_task, "--json", "--log", "tensorboard:x")
    assert json.loads(result.stdout)["rows"]
    assert recording.told[:3] == ["init", "log_config", "log_table"]
    assert recording.told[-1] == "finish"
    assert set(recording.told[3:-1]) == {"log_media"}


def test_a_run_without_numbers_is_logged(here: Path, small_task: Path, recording: type[Recording]) -> None:
    for path in small_task.parent.glob("mix*.wav"):
        path.write_text("no sound")
    evaluate(small_task, "--log", "tensorboard:x", code=3)
    assert recording.told == ["init", "log_config", "log_table", "finish"]


def test_invalid_loggers_are_errors_before_any_work(
    here: Path, small_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="unknown logger 'wandbb': did you mean 'wandb'"):
        evaluate(small_task, "--log", "wandbb:x")
    with pytest.raises(UsageError, match="expected --log tensorboard:DIR, found 'tensorboard'"):
        parse_loggers(["tensorboard"])
    with pytest.raises(UsageError, match="expected each --log once"):
        parse_loggers(["tensorboard:a", "tensorboard:a"])
    monkeypatch.setattr(loggers, "is_installed", lambda name: False)
    with pytest.raises(Precondition, match=r"expected the package trackio .* pip install 'sam-audio-bench\[trackio\]'"):
        evaluate(small_task, "--log", "trackio:mine")
    monkeypatch.undo()
    assert not (here / "runs").exists()
    assert parse_loggers(["tensorboard:C:/logs"]) == [LoggerSpec("tensorboard", "C:/logs")]


def test_trackers_are_imported_only_on_request() -> None:
    code = (
        "import sys, sam_audio_bench.run.loggers; print({'torch', 'wandb', 'trackio', 'tensorboard'} & {*sys.modules})"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "set()\n"
