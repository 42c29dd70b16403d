"""Workers as Ray actors: the same bits as in one process, even if one is killed; no process is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from sam_audio_bench.errors import Precondition
from sam_audio_bench.run.ray_workers import ray_cluster

START = "from sam_audio_bench.cli import main; main()"
MODEL = """
import os, signal, time
from pathlib import Path

import torch
from sam_audio_bench import Audio, Separation

class Noisy:
    name = "noisy"
    batch_size = 2

    def __init__(self, wait: bool = False, kill: bool = False):
        self.wait, self.kill = wait, kill
        self.name = "noisy"

    def separate(self, queries, seeds):
        place = Path("once")
        if self.kill and queries[0].prompt.text == "noise 2" and not place.exists():
            place.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.wait:
            Path("begun").write_text(str(os.getpid()))
            time.sleep(300)
        return [self.one(query.mixture, seed) for query, seed in zip(queries, seeds)]

    def one(self, mixture, seed):
        noise = torch.randn(mixture.samples.shape, generator=torch.Generator().manual_seed(seed))
        target = mixture.samples * 0.5 + 0.1 * noise
        return Separation(target=Audio(target, mixture.rate), residual=Audio(mixture.samples - target, mixture.rate))
"""


def command(task: Path, model: str, *options: str) -> list[str]:
    (Path.cwd() / "noisy_model.py").write_text(MODEL)
    return [sys.executable, "-c", START, "eval", "--model", f"noisy_model:Noisy({model})", "--task", str(task),
            "--metrics", "si_sdr,leak_db", *options]  # fmt: skip


def scores(output: str) -> pd.DataFrame:
    (path,) = Path(output).glob("noisy*/*/scores.parquet")
    frame = pd.read_parquet(path)
    return frame.drop(columns="separator")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a module of a separator."""
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path


def cluster_processes(folder: Path) -> list[str]:
    """Processes of Ray that a command in a folder has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_ray = b"ray" in (path / "cmdline").read_bytes()
            if is_ray and f"PWD={folder}".encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append(path.name)
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.bits
def test_actors_give_the_bits_of_one_process_though_one_is_killed(small_task: Path, here: Path) -> None:
    subprocess.run(command(small_task, "wait=false", "--output", "one"), check=True, capture_output=True)
    asked = command(small_task, "kill=true", "--output", "two", "--executor", "ray", "--workers", "2")
    done = subprocess.run(asked, check=True, capture_output=True, text=True)
    assert (here / "once").exists(), "no actor was killed"
    assert "a worker died (Ray lost it" in done.stderr
    assert "which are tried again one by one" in done.stderr
    pd.testing.assert_frame_equal(scores("one"), scores("two"), check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_no_cluster(ending: signal.Signals, small_task: Path, here: Path) -> None:
    asked = command(small_task, "wait=true", "--executor", "ray", "--workers", "1")
    environment = {**os.environ, "PWD": str(here)}
    process = subprocess.Popen(
        asked, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which jobs in the background ignore
    )  # fmt: skip
    while process.poll() is None and not (here / "begun").exists():
        time.sleep(0.1)
    assert cluster_processes(here), "there is no cluster to be ended"
    process.send_signal(ending)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    assert "Traceback" not in err
    deadline = time.monotonic() + 30
    while cluster_processes(here) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert cluster_processes(here) == []


@pytest.mark.slow
def test_a_lost_cluster_is_an_error(small_task: Path, here: Path) -> None:
    """Ends the process with the cluster's state; its other processes end by themselves."""
    asked = command(small_task, "wait=true", "--executor", "ray", "--workers", "1")
    environment = {**os.environ, "PWD": str(here)}
    process = subprocess.Popen(asked, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    while process.poll() is None and not (here / "begun").exists():
        time.sleep(0.1)
    (state,) = [
        number for number in cluster_processes(here) if b"gcs_server" in Path(f"/proc/{number}/cmdline").read_bytes()
    ]  # fmt: skip
    os.kill(int(state), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert "found that it cannot be reached any more; what is finished is kept" in err
    assert process.returncode != 0
    for number in cluster_processes(here):  # its agents take longer than a test should
        os.kill(int(number), signal.SIGKILL)


def test_a_missing_cluster_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(Precondition, match=r"expected a Ray cluster at RAY_ADDRESS=127\.0\.0\.1:1, found none"):
        ray_cluster(1, local=1, uses_gpus=False).__enter__()


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Precondition, match=r"expected Ray for --executor ray, found none; pip install"):
        ray_cluster(1, local=1, uses_gpus=False).__enter__()
