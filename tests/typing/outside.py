"""A program of somebody who uses the package: checked by type checkers, never run. Each `assert_type` is a promise."""

from collections.abc import Sequence
from typing import Any, assert_type

import pandas as pd
from torch import Tensor

import sam_audio_bench as sab
from sam_audio_bench.metrics import MetricCard
from sam_audio_bench.tasks import TaskData


class Half:
    """A separator needs no base class."""

    name = "half"

    def separate(self, queries: Sequence[sab.Query], seeds: Sequence[int]) -> list[sab.Separation]:
        return [self._one(query.mixture) for query in queries]

    def _one(self, mixture: sab.Audio) -> sab.Separation:
        assert_type(mixture.samples, Tensor)
        assert_type(mixture.rate, int)
        half = sab.Audio(mixture.samples * 0.5, mixture.rate)
        return sab.Separation(target=half, residual=half)


class Peak(sab.Metric):
    """A metric has one."""

    columns = ("peak_db",)

    @classmethod
    def cards(cls) -> tuple[MetricCard, ...]:
        return (MetricCard(id="peak_db", target="mine:Peak", summary="peak level", unit="dBFS"),)

    def score(
        self, items: Sequence[sab.Item], separations: Sequence[sab.Separation]
    ) -> list[tuple[sab.Score | None, ...]]:
        return [(sab.Score(float(one.target.samples.abs().max()), sab.Status.OK),) for one in separations]


def louder(mixture: Tensor, rate: int, prompt: sab.Prompt) -> Tensor:
    """So does a function."""
    assert_type(prompt.text, str | None)
    return mixture * 2


separator: sab.Separator = Half()
results = sab.evaluate(Half(), "music", split="mini", limit=2, progress=False)
assert_type(results, sab.Results)
assert_type(sab.evaluate(louder, tasks=["music"], split="mini"), sab.Results)
assert_type(results.to_frame(), pd.DataFrame)
assert_type(results.table("md"), str)

task = sab.load_task("music", split="mini")
assert_type(task, TaskData)
item = task[0]
assert_type(item, sab.Item)
assert_type(item.query.prompt, sab.Prompt)
assert_type(item.reference, sab.Audio | None)
assert_type(sab.__version__, str)
loaded: Any = sab.load_separator("hpss")
metric: sab.Metric = sab.load_metric("si_sdr")

try:
    sab.evaluate("hpss", "music", split="mini")
except sab.BenchError as error:
    assert_type(error, sab.BenchError)
