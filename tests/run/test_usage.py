"""Resource usage of separators: memory, number of parameters, time after the first call."""

from __future__ import annotations

import functools
import gzip
import json
import platform
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_checks import assert_equal_runs, log, messages
from torch import Tensor, nn

import sam_audio_bench as sab
from sam_audio_bench.records import Timing
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.run.usage import MemoryWatch, Usage, UsageMeter, count_parameters
from sam_audio_bench.types import Audio, Prompt, Query, Separation

NETWORK = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))  # 3 * 4 + 4 and 4 * 2 + 2
COUNT = 26


def uses_a_global(mixture: Tensor, rate: int, prompt: Prompt) -> Tensor:
    return mixture * float(NETWORK[0].weight.numel() > 0)


def closes_over(network: nn.Module) -> Any:
    def separate(mixture: Tensor, rate: int, prompt: Prompt) -> Tensor:
        return mixture * float(network is not None)

    return separate


class Holds:
    """Has the given attributes."""

    name = "holds"

    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)

    def call(self) -> None:
        """Something to bind."""


class Hostile(Mapping[str, Any]):
    """Raises for every key, length and iteration."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("not now")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("not now")

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    "separator",
    [
        Holds(network=NETWORK),
        Holds(parts={"one": [NETWORK[0]], "two": (NETWORK[1],)}),
        Holds(first=NETWORK, again=NETWORK[1]),
        sab.Adapted(Holds(network=NETWORK, separate=lambda queries, seeds: []), delay=1),
        functools.partial(closes_over(NETWORK), rate=3),
        Holds(network=NETWORK).call,
        closes_over(NETWORK),
        uses_a_global,
    ],
    ids=["attribute", "containers", "twice", "adapted", "partial", "method", "closure", "global"],
)
def test_parameters_are_found_and_counted_once(separator: Any) -> None:
    assert count_parameters(separator) == COUNT


@pytest.mark.parametrize("separator", [Holds(), Holds(weights=torch.ones(5)), Holds(odd=Hostile()), len])
def test_without_modules_the_number_of_parameters_is_unknown(separator: Any) -> None:
    assert count_parameters(separator) is None


def test_a_circle_and_a_size_that_is_not_known_yet() -> None:
    circle = Holds(network=nn.Sequential(NETWORK, nn.LazyLinear(3)))
    circle.itself = circle
    assert count_parameters(circle) == COUNT


def test_memory_is_seen_while_it_is_watched() -> None:
    """256 MiB count for both watches while they are allocated, and afterwards for the one that was running."""
    first = MemoryWatch()
    before = first.host_mib
    held = np.ones(1 << 25)
    second = MemoryWatch()
    with_it = second.host_mib
    assert held.all()
    del held
    third = MemoryWatch()
    found = [watch.host_mib for watch in (first, second, third)]
    for watch in (first, second, third):
        watch.close()
    assert before is not None
    assert with_it is not None
    assert with_it >= 256
    assert found[0] is not None
    assert found[0] >= with_it
    assert found[2] is not None
    assert found[2] < with_it


def test_workers_count_instead_of_this_process() -> None:
    meter = UsageMeter(Holds(network=NETWORK), None)
    assert meter.usage().parameters == COUNT
    meter.add(Usage(host_mib=100, parameters=7))
    meter.add(Usage(host_mib=90, device_mib=5))
    meter.close()
    assert meter.usage() == Usage(host_mib=100, device_mib=5, parameters=7)


def test_a_run_that_only_scores_keeps_what_is_known() -> None:
    times = {"wall_seconds": 1.0, "separation_seconds": 1.0, "audio_seconds": 1.0, "real_time_factor": 1.0}
    earlier = Timing(**times, peak_memory_mib=5, device_memory_mib=6, parameters=7)
    meter = UsageMeter(Holds(network=NETWORK), earlier)
    assert meter.usage() == Usage(host_mib=5, device_mib=6, parameters=7)
    meter.add(None)
    meter.close()
    assert meter.usage().parameters == COUNT


def slow_first(calls: list[int]) -> Any:
    def separate(mixture: Tensor, rate: int, prompt: Prompt) -> Tensor:
        calls.append(1)
        time.sleep(0.3 if len(calls) == 1 else 0.0)
        return mixture * 0.5 if NETWORK is not None else mixture

    return separate


def test_costs_of_a_run(small_task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first call takes as long as the sound; the others do not."""
    results = sab.evaluate(slow_first([]), str(small_task), metrics=["si_sdr"], output=tmp_path, progress=False)
    cost = results.costs[0]
    assert cost.real_time_factor is not None
    assert cost.real_time_factor < 0.5
    assert (cost.parameters, cost.device_memory_mib) == (COUNT, None)
    timing = RunFolder.open(results.runs[0]).header.timing
    assert timing is not None
    assert (timing.peak_memory_mib, timing.parameters) == (cost.peak_memory_mib, COUNT)
    assert timing.real_time_factor == cost.real_time_factor
    results.print()
    assert "real-time factor" in capsys.readouterr().out
    kept = {one["separator"]: one for one in results.to_json()["costs"]}
    assert kept["separate"]["parameters"] == COUNT


@pytest.mark.parametrize("options", [{}, {"executor": "processes", "workers": 1}], ids=["local", "workers"])
def test_a_profile_lists_the_stages(
    options: dict[str, Any], small_task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each stage has as many calls as there are items and estimates; a run without --profile writes nothing."""
    chosen = {"metrics": ["si_sdr", "snr"], "output": tmp_path, "progress": False, **options}
    results = sab.evaluate(closes_over(NETWORK), str(small_task), limit=2, **chosen)
    assert not (results.runs[0] / "profile.txt").exists()
    results = sab.evaluate(closes_over(NETWORK), str(small_task), profile=True, **chosen)
    text = (results.runs[0] / "profile.txt").read_text(encoding="utf-8")
    assert text.rstrip() in capsys.readouterr().err
    lines = {line[:15].strip(): line.split() for line in text.splitlines()}
    assert set(lines) == {"stage", "load", "separate", "check", "write", "lag", "metric si_sdr", "metric snr"}
    assert [int(lines[name][-3]) for name in ("load", "separate", "check", "write", "lag")] == [4] * 5


class Multiplies:
    """A PyTorch network, each call of which has a mark of its own, with seeded noise."""

    name = "multiplies"

    def __init__(self, operations: int = 1, fails: bool = False) -> None:
        self.calls, self.operations, self.fails = 0, operations, fails

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Half of each mixture, and some noise."""
        self.calls += 1
        with torch.profiler.record_function(f"call {self.calls}"):
            (mixture,) = (query.mixture for query in queries)
            if self.fails:
                raise ValueError("not this one")
            samples = mixture.samples
            for _ in range(self.operations):
                samples = samples * 1.0
            noise = torch.rand(samples.shape, generator=torch.Generator().manual_seed(seeds[0]))
            found = Audio(0.5 * samples + 0.1 * noise, mixture.rate)
            return [Separation(target=found, residual=found)]


def trace_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))
    return found


@pytest.mark.parametrize("options", [{}, {"executor": "processes", "workers": 2}], ids=["local", "workers"])
def test_a_profile_traces_the_second_call(
    options: dict[str, Any], small_task: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The operations are within the call, nothing identifies this machine, and no score changes."""
    chosen = {"metrics": ["si_sdr"], "progress": False, **options}
    results = sab.evaluate(Multiplies(), str(small_task), output=tmp_path / "traced", profile=True, **chosen)
    errors = capfd.readouterr().err
    assert f"call 2 of the separator is traced in {results.runs[0] / 'trace.json.gz'}; https://ui.perfetto" in errors
    assert "profiler_start" not in errors  # its library is silent, in workers too
    assert "profiler" not in log(tmp_path / "traced", "multiplies")
    trace = trace_of(results.runs[0])
    assert set(trace) == {"displayTimeUnit", "traceEvents", "otherData"}
    events = {event["name"]: event for event in trace["traceEvents"] if event["ph"] == "X"}
    assert trace["otherData"]["events"].startswith("all ")
    assert {"separate", "call 2", "aten::mul", "aten::rand"} <= set(events)
    assert "call 1" not in events
    whole = events["separate"]
    for name in ("call 2", "aten::mul", "aten::rand"):
        assert whole["ts"] <= events[name]["ts"]
        assert events[name]["ts"] + events[name]["dur"] <= whole["ts"] + whole["dur"]
    assert platform.node().encode() not in gzip.decompress((results.runs[0] / "trace.json.gz").read_bytes())
    sab.evaluate(Multiplies(), str(small_task), output=tmp_path / "plain", metrics=["si_sdr"], progress=False)
    assert not list((tmp_path / "plain").rglob("trace*"))
    assert_equal_runs(tmp_path / "traced", tmp_path / "plain", "multiplies")


def test_a_trace_is_bounded(small_task: Path, tmp_path: Path) -> None:
    """Of 25,000 multiplications at most 20,000 events are kept, including the call itself."""
    results = sab.evaluate(
        Multiplies(25_000), str(small_task), limit=1, metrics=["si_sdr"], output=tmp_path, progress=False, profile=True
    )
    trace = trace_of(results.runs[0])
    events = [event["name"] for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(events) == 20_000
    assert {"separate", "call 1"} <= set(events)
    assert re.fullmatch(r"20000 of \d{5,6}, the longest", trace["otherData"]["events"])
    assert (results.runs[0] / "trace.json.gz").stat().st_size < 2 << 20


def test_a_failing_call_is_traced_and_its_error_reported(small_task: Path, tmp_path: Path) -> None:
    chosen = {"metrics": ["si_sdr"], "limit": 2, "progress": False, "profile": True}
    results = sab.evaluate(Multiplies(fails=True), str(small_task), output=tmp_path / "fails", **chosen)
    assert set(messages(tmp_path / "fails", "multiplies").values()) == {"ValueError: not this one"}
    assert "call 2" in {event["name"] for event in trace_of(results.runs[0])["traceEvents"]}


class Profiles(Multiplies):
    """Profiles itself."""

    name = "profiles"

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Separates as the base class, and keeps its own profile."""
        with torch.profiler.profile() as own:
            found = super().separate(queries, seeds)
        assert f"call {self.calls}" in {event.key for event in own.key_averages()}
        return found


def test_a_separators_own_profiler_is_kept(small_task: Path, tmp_path: Path) -> None:
    """A process has one profiler: if another one is active, nothing is traced and nothing is lost."""
    alone = sab.evaluate(Profiles(), str(small_task), limit=2, metrics=["si_sdr"], output=tmp_path,
                         progress=False, profile=True)  # fmt: skip
    assert alone.failures == 0
    assert not (alone.runs[0] / "trace.json.gz").exists()
    with torch.profiler.profile() as own:
        results = sab.evaluate(Multiplies(), str(small_task), limit=2, metrics=["si_sdr"], output=tmp_path,
                               progress=False, profile=True)  # fmt: skip
    assert results.failures == 0
    assert not (results.runs[0] / "trace.json.gz").exists()
    assert {"call 1", "call 2"} <= {event.key for event in own.key_averages()}


def test_a_run_without_usage_shows_a_dash(small_task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = sab.evaluate("silence", str(small_task), metrics=["si_sdr"], output=tmp_path, limit=2, progress=False)
    for folder in results.runs:
        header = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        for name in ("device_memory_mib", "parameters"):
            del header["timing"][name]
        header["timing"]["peak_memory_mib"] = None
        (folder / "run.json").write_text(json.dumps(header), encoding="utf-8")
    read = sab.Results.read(results.runs)
    assert [(one.peak_memory_mib, one.parameters) for one in read.costs] == [(None, None)] * 2
    read.print()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("silence") and "—" in line]
    assert line.split()[-2:] == ["—", "—"]


def test_the_worker_that_separated_is_measured(small_task: Path, tmp_path: Path) -> None:
    results = sab.evaluate(
        closes_over(NETWORK), str(small_task), metrics=["si_sdr"], output=tmp_path, limit=2, progress=False,
        executor="processes", workers=1,
    )  # fmt: skip
    cost = results.costs[0]
    assert cost.parameters == COUNT
    assert cost.peak_memory_mib is not None
    assert cost.peak_memory_mib > 50
