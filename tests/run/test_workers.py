"""Workers: the same bits as in one process; a worker that dies, hangs or runs out of memory fails only its item."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from run_checks import assert_equal_runs, journal, log, messages, scores, workers_alive

import sam_audio_bench as sab
from sam_audio_bench.errors import BadSeparation, Precondition, UsageError, describe_error
from sam_audio_bench.run import executors, workers
from sam_audio_bench.run.batching import AdaptiveBatching, is_out_of_memory
from sam_audio_bench.run.memory_limit import limit_memory
from sam_audio_bench.run.serialization import SerializedError, dump, load
from sam_audio_bench.run.worker import ScoreWaiting, Worker
from sam_audio_bench.types import Prompt, Query

METRICS = ("si_sdr", "snr_i", "leak_db")
START = "from sam_audio_bench.cli import main; main()"

MODEL = """
import torch
from sam_audio_bench import Audio, Separation

class Noisy:
    name = "noisy"
    batch_size = 2

    def __init__(self, level: float = 0.1):
        self.level = level

    def separate(self, queries, seeds):
        print("separates", len(queries))
        return [self.one(query, seed) for query, seed in zip(queries, seeds)]

    def one(self, query, seed):
        mixture = query.mixture
        noise = torch.randn(mixture.samples.shape, generator=torch.Generator().manual_seed(seed))
        target = mixture.samples * 0.5 + self.level * (noise + torch.rand(()))
        if query.prompt.spans and query.prompt.spans[0][1] == 0.6:
            raise ValueError("not this one")
        return Separation(target=Audio(target, mixture.rate), residual=Audio(mixture.samples - target, mixture.rate))
"""


@pytest.fixture
def noisy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The spelling of a separator that draws noise, and prints."""
    (tmp_path / "noisy_model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "noisy_model", raising=False)
    return "noisy_model:Noisy"


@pytest.fixture
def span_task(tmp_path: Path) -> Path:
    """Four items of 1.5 s, each with a span and a text."""
    generator = np.random.default_rng(0)
    lines = ["mixture,spans,text,target,id"]
    for index in range(4):
        target, rest = generator.normal(size=(2, 12_000)).astype(np.float32) * 0.1
        target[: 2400 * index] = 0
        for name, samples in (("mix", target + rest), ("target", target)):
            soundfile.write(tmp_path / f"{name}{index}.wav", samples, 8000, subtype="FLOAT")
        lines.append(f"mix{index}.wav,+{0.3 * index:.1f}:1.5,noise,target{index}.wav,item-{index}")
    path = tmp_path / "spans.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(model: Any, task: Path, output: Path, **options: Any) -> sab.Results:
    return sab.evaluate(
        model, str(task), **{"metrics": METRICS, "output": output, "progress": False, **options}
    )  # fmt: skip


# --- the same bits


@pytest.mark.bits
def test_processes_give_the_bits_of_one_process(noisy: str, span_task: Path, tmp_path: Path) -> None:
    """A separator of its own module that draws noise, in batches, with a failure."""
    model = [noisy, "hpss"]
    run(model, span_task, tmp_path / "one")
    run(model, span_task, tmp_path / "two", executor="processes", workers=2)
    for name in ("noisy", "hpss", "mixture"):
        assert_equal_runs(tmp_path / "one", tmp_path / "two", name)
    assert messages(tmp_path / "two", "noisy") == {"item-2": "ValueError: not this one"}
    said = {output: sorted(log(tmp_path / output, "noisy").splitlines()) for output in ("one", "two")}
    assert said["one"] == said["two"]
    assert "separates 2" in said["two"]


@pytest.mark.bits
def test_candidates_are_picked_alike(span_task: Path, tmp_path: Path) -> None:
    class Gate:
        name = "gate"

        def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[sab.Separation]:
            return [self.one(query.mixture, seed) for query, seed in zip(queries, seeds, strict=True)]

        def one(self, mixture: sab.Audio, seed: int) -> sab.Separation:
            start = seed % (2 * mixture.length // 3)
            target = mixture.samples.clone()
            target[:, :start] = 0
            return sab.Separation(
                target=sab.Audio(target, mixture.rate), residual=sab.Audio(mixture.samples - target, mixture.rate)
            )

    options = {"candidates": 3, "picker": "activity", "keep_candidates": True}
    run(Gate(), span_task, tmp_path / "one", **options)
    run(Gate(), span_task, tmp_path / "two", executor="processes", workers=1, **options)
    assert_equal_runs(tmp_path / "one", tmp_path / "two", "gate")
    assert {line["picked"] for line in journal(tmp_path / "two", "gate").values()} - {0, None}, "nothing was picked"


def test_what_travels_is_what_was_sent() -> None:
    whole = torch.arange(1000, dtype=torch.float32)
    part = dump(whole[10:13])
    assert len(part) < 1000, "the memory of the whole went with a part"
    assert torch.equal(load(part), torch.tensor([10.0, 11.0, 12.0]))
    assert load(part).data_ptr() % 64 == 0
    for tensor in (torch.tensor([0.1], dtype=torch.bfloat16), torch.tensor([float("nan"), -0.0]), torch.zeros(0, 3)):
        assert pickle.dumps(load(dump(tensor)).view(torch.uint8).tolist()) == pickle.dumps(
            tensor.view(torch.uint8).tolist()
        )


class UnspeakableError(ValueError):
    """Raises in __str__."""

    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "error",
    [ValueError("half \udcff"), BadSeparation("too long", status="length_mismatch"), KeyError("k"), SystemExit(3),
     ValueError("x" * 5000), ValueError(), UnspeakableError()],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_an_error_has_the_same_text_in_another_process(error: BaseException) -> None:
    restored = load(dump(SerializedError.of(error))).to_exception()
    assert describe_error(restored) == describe_error(error)
    assert getattr(restored, "status", None) == getattr(error, "status", None)


def test_a_request_that_a_worker_cannot_read_does_not_end_the_run(tmp_path: Path) -> None:
    """If memory is short, any request may fail."""
    worker = Worker(tmp_path / "log")
    broken = load(worker.handle_request(b"garbage"))
    assert (broken.failure[:17], broken.refusal) == ("UnpicklingError: ", None)
    assert load(worker.handle_request(dump(ScoreWaiting(is_end=True)))).refusal.startswith(
        "expected a worker that has begun"
    )


# --- separators that cannot be sent, or are others there


def test_an_object_that_cannot_be_sent_is_an_error_before_any_work(small_task: Path, tmp_path: Path) -> None:
    held = open(tmp_path / "open", "w")  # noqa: SIM115, PTH123

    def holding(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        held.write("called")
        return mixture

    with pytest.raises(UsageError, match=r"expected holding to be something that can be sent .* without --executor"):
        run(["mixture", holding], small_task, tmp_path / "out", executor="processes", workers=1)
    assert not (tmp_path / "out").exists()
    held.close()


class Halving:
    """A separator of an importable module; it touches a file when it is released."""

    name = "halving"

    def __init__(self, gain: float = 0.5, released: str = "") -> None:
        self.gain, self.released = gain, released

    def release_processes(self) -> None:
        if self.released:
            Path(self.released).touch()

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[sab.Separation]:
        return [
            sab.Separation(target=sab.Audio(one.mixture.samples * self.gain, one.mixture.rate), residual=one.mixture)
            for one in queries
        ]


class Thirds(Halving):
    """Another."""

    name = "thirds"

    def __init__(self) -> None:
        super().__init__(1 / 3, os.environ.get("TOLD", ""))


def quieter(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
    return mixture * GAIN


GAIN = 0.5


def test_all_kinds_of_objects_are_sent(small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function with a global that was set by hand, a class, an object of one, a lambda and a partial function."""
    monkeypatch.setattr(sys.modules[__name__], "GAIN", 0.125)
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    silent = lambda mixture, rate, prompt: mixture * 0.25  # noqa: E731
    silent.__name__ = "silent"
    partial = functools.partial(lambda gain, mixture, rate, prompt: gain * mixture, 0.75)
    models = [quieter, Halving, Thirds(), silent, partial]
    run(models, small_task, tmp_path / "one", limit=2)
    run(models, small_task, tmp_path / "two", limit=2, executor="processes", workers=1)
    assert (tmp_path / "told").exists(), "the processes of a separator were not ended before the next one was made"
    names = ["quieter", "halving", "thirds", "silent", "partial"]
    for name in names:
        pd.testing.assert_frame_equal(scores(tmp_path / "one", name), scores(tmp_path / "two", name), check_exact=True)
    levels = [
        scores(tmp_path / "two", name).query("metric == 'leak_db' or metric == 'snr_i'")["value"] for name in names
    ]
    assert len({tuple(level.dropna()) for level in levels}) == len(names), "two are the same"


def test_a_model_that_was_edited_after_the_run_began_is_refused(noisy: str, small_task: Path, tmp_path: Path) -> None:
    plan = sab.run.plan.make_plan([noisy], [str(small_task)], metrics=METRICS, output=tmp_path / "out",
                                  executor="processes", workers=1)  # fmt: skip
    (tmp_path / "noisy_model.py").write_text(MODEL.replace("0.5", "0.25"))
    with pytest.raises(Precondition, match=r"^expected the worker's noisy to be the one of the run"):
        sab.run.evaluate.execute(plan, progress=False)
    assert not list((tmp_path / "out" / "noisy").glob("*/audio/*"))


# --- workers that die


def dying(
    marker: str, kill: Callable[[int], object], *, items: Sequence[int], once: bool
) -> Callable[..., torch.Tensor]:
    """A separator whose process dies on some items, each time or the first time."""

    def fragile(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        index = int(str(prompt.text).split()[-1])
        place = Path(marker, str(index))
        if index in items and not (once and place.exists()):
            place.touch()
            print("about to die", flush=True)
            kill(index)
        return mixture * 0.5

    return fragile


def kill_self(index: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.bits
def test_an_item_is_tried_again_when_its_worker_is_killed(
    small_task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = dying(str(tmp_path), kill_self, items=[1], once=True)
    assert run(model, small_task, tmp_path / "out", executor="processes", workers=2).failures == 0
    note = "item-1: its worker died (it was ended by SIGKILL, perhaps for want of memory); it is tried again at the end"
    assert note in capsys.readouterr().err
    assert "--- item-1\nabout to die" in log(tmp_path / "out", "fragile")
    assert workers_alive() == []

    def fragile(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        return mixture * 0.5

    run(fragile, small_task, tmp_path / "one")
    found, expected = (scores(tmp_path / output, "fragile") for output in ("out", "one"))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def crash_or_leave(index: int) -> None:
    ctypes.string_at(0) if index == 2 else os._exit(0)


def test_a_segfault_fails_its_item_and_no_other_of_its_batch(small_task: Path, tmp_path: Path) -> None:
    """And `os._exit` fails its item as in one process, where it becomes an exception."""
    model = dying(str(tmp_path), crash_or_leave, items=[2, 4], once=False)
    results = run(model, small_task, tmp_path / "out", executor="processes", workers=1, batch_size=3, retry=0)
    assert results.failures == 2
    assert messages(tmp_path / "out", "fragile") == {
        "item-2": "expected an estimate, found that the worker died once: it was ended by SIGSEGV (see --retry)",
        "item-4": "fragile raised SystemExit: 0",
    }
    assert "Fatal Python error: Segmentation fault" in log(tmp_path / "out", "fragile")


def test_a_worker_that_dies_on_every_item_is_given_up(
    small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workers, "GIVEN_UP_AFTER", 2)
    model = dying(str(tmp_path), kill_self, items=range(6), once=False)
    results = run(model, small_task, tmp_path / "out", executor="processes", workers=1)
    assert results.failures == 6
    found = messages(tmp_path / "out", "fragile")
    cause = "it died 2 times in a row, at last on item-1: it was ended by SIGKILL, perhaps for want of memory"
    assert set(found.values()) == {f"expected a worker for it, found that none is left: {cause}"}
    assert f"worker 1 was given up: {cause}" in capsys.readouterr().err
    assert messages(tmp_path / "out", "mixture") == {}, "the next separator got no worker"


def test_a_constructor_that_fails_in_the_worker_ends_the_run(noisy: str, small_task: Path, tmp_path: Path) -> None:
    """It fails only in the worker, as when a GPU's memory is used up."""
    text = MODEL.replace(
        "self.level = level", "import os\n        if 'SABENCH_WORKER' in os.environ: raise OSError('no GPU')"
    )
    (tmp_path / "noisy_model.py").write_text(text)
    with pytest.raises(Precondition, match=r"expected .*Noisy.* to be constructed.*no GPU"):
        run(noisy, small_task, tmp_path / "out", executor="processes", workers=1)


# --- time and memory


def hanging(items: Sequence[int]) -> Callable[..., torch.Tensor]:
    def slow(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        import time

        time.sleep(600 if int(str(prompt.text).split()[-1]) in items else 0)
        return mixture * 0.5

    return slow


def test_a_separator_that_hangs_is_killed_and_the_run_goes_on(small_task: Path, tmp_path: Path) -> None:
    """Also in a local run; items of a batch are retried one by one."""
    results = run(hanging([2]), small_task, tmp_path / "out", timeout=0.75, batch_size=3)
    assert results.failures == 1
    assert messages(tmp_path / "out", "slow") == {
        "item-2": "expected an estimate within 0.75 seconds, found none: its worker was killed (see --timeout)"
    }
    assert workers_alive() == []


BIG = 3 << 30  # bytes of a batch of four, more than is allowed


def greedy(limit: int) -> type:
    class Greedy:
        """Needs a quarter of ``BIG`` for each query, in one piece."""

        name = "greedy"
        batch_size = 4

        def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[sab.Separation]:
            if limit and len(queries) > limit:
                raise torch.OutOfMemoryError(f"tried to allocate for {len(queries)}")
            if not limit:
                torch.empty(BIG // 4 * len(queries), dtype=torch.uint8)
            return [
                sab.Separation(target=query.mixture, residual=sab.Audio(query.mixture.samples * 0, query.mixture.rate))
                for query in queries
            ]

    return Greedy


def test_out_of_memory_halves_the_batch_for_the_rest_of_the_run(
    small_task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(greedy(2)(), small_task, tmp_path / "halved").failures == 0
    said = "out of memory with 4 items at once; 2 at once from here on"
    assert capsys.readouterr().err.count(f"greedy: {said}") == 1, "not said, or found out twice"
    assert log(tmp_path / "halved", "greedy") == f"--- greedy: {said}\n"
    assert run(greedy(9)(), small_task, tmp_path / "whole").failures == 0
    found, expected = (scores(tmp_path / output, "greedy") for output in ("halved", "whole"))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_one_item_that_does_not_fit_has_failed() -> None:
    items = [object()] * 5
    calls: list[int] = []

    def call(batch: Sequence[Any]) -> list[int]:
        calls.append(len(batch))
        if len(batch) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        return [len(batch)]

    notes: list[str] = []
    batching = AdaptiveBatching(note=notes.append)
    assert batching.run(items, call) == [1] * 5  # type: ignore[arg-type]
    assert (calls, batching.size) == ([5, 3, 2, 1, 1, 1, 1, 1], 1)
    assert len(notes) == 3
    with pytest.raises(ValueError, match="another error"):
        batching.run(items, lambda batch: (_ for _ in ()).throw(ValueError("another error")))  # type: ignore[arg-type]


def test_out_of_memory_errors_are_recognized() -> None:
    wrapped = BadSeparation("it raised MemoryError")
    wrapped.__cause__ = MemoryError()
    yes = [MemoryError(), torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("std::bad_alloc"), wrapped]
    no = [None, ValueError("out of memory"), RuntimeError("shapes differ"), BadSeparation("out of memory")]
    assert [*map(is_out_of_memory, yes + no)] == [True] * 4 + [False] * 4


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory on Linux only")
def test_a_worker_has_no_more_memory_than_it_is_given(small_task: Path, tmp_path: Path) -> None:
    """Four of 0.75 GiB do not fit into 2 GiB, two do."""
    assert run(greedy(0)(), small_task, tmp_path / "out", memory=2.0).failures == 0
    assert log(tmp_path / "out", "greedy") == "--- greedy: out of memory with 4 items at once; 2 at once from here on\n"
    with pytest.raises(Precondition, match=r"expected --memory above the .* GiB that a worker has .* found 0.01"):
        limit_memory(0.01)  # which limits nothing here


# --- GPUs


@pytest.mark.parametrize(
    ("visible", "count", "device", "shared"),
    [
        (None, 3, "auto", ["0", "1", "2"]),
        ("2, GPU-5", 2, "cuda", ["2", "GPU-5"]),
        ("3,4,-1,5", 2, "auto", ["3", "4"]),  # names after an invalid one are ignored
        ("", 0, "auto", []),
        (None, 3, "cuda:1", []),
        (None, 3, "cpu", []),
    ],
)
def test_workers_share_out_the_gpus_that_are_seen(
    visible: str | None, count: int, device: str, shared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert executors.list_worker_gpus(device) == shared


# --- stopping


SLEEPER = """
import subprocess, sys, time
from pathlib import Path

def sleeper(mixture, rate, prompt):
    subprocess.Popen(["setsid", "sleep", "{mark}"])
    (Path("{folder}") / "begun").touch()
    time.sleep(300)
    return mixture
"""


def running(mark: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_no_process(ending: signal.Signals, small_task: Path, tmp_path: Path) -> None:
    mark, temporary = f"{time.time_ns() % 10**7}.5", tmp_path / "temporary"
    temporary.mkdir()
    (tmp_path / "sleeping.py").write_text(SLEEPER.format(mark=mark, folder=tmp_path))
    command = [sys.executable, "-c", START, "eval", "--model", "sleeping:sleeper", "--task", str(small_task),
               "--metrics", "snr", "--executor", "processes", "--workers", "1"]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    while process.poll() is None and not (tmp_path / "begun").exists():
        time.sleep(0.05)
    process.send_signal(ending)
    _, err = process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while (running(mark) or workers_alive(temporary)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running(mark) == []
    assert workers_alive(temporary) == []
    assert [path.name for path in temporary.iterdir() if ending != signal.SIGKILL or "worker" in path.name] == []
    if ending != signal.SIGKILL:
        assert process.returncode == 3, err
        assert "Traceback" not in err
        (header,) = (tmp_path / "runs").glob("sleeper/*/run.json")
        assert json.loads(header.read_text())["status"] == "cancelled"


# --- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": "cloud"}, "expected --executor to be one of local, processes, ray, found 'cloud'"),
        ({"workers": 2}, "expected --executor processes or ray with --workers 2, found local"),
        ({"workers": 0, "executor": "processes"}, "expected --workers to be at least 1, found 0"),
        ({"retry": -1}, "expected --retry as a whole number, 0 or more, found -1"),
        ({"memory": 0.0}, "expected --memory as GiB above 0, and finite, found 0.0"),
    ],
)
def test_numbers_that_cannot_be_meant(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        sab.evaluate("mixture", "sfx", split="mini", **options)
    assert str(caught.value) == message
