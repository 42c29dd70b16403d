"""A third party's separator, metric and task, as CONTRIBUTING.md tells to write them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from sam_audio_bench import Audio, Item, Metric, Prompt, Query, Score, Separation, Status
from sam_audio_bench.cards import MetricCard, SeparatorCard, TaskCard
from sam_audio_bench.metrics.base import Row
from sam_audio_bench.tasks import TaskData

PAPER = """@article{nobody2026clicks,
  title = {Clicks},
  author = {Nobody, A.},
  year = {2026}
}"""


class Attenuate:
    """Turns the mixture down."""

    name = "attenuate"
    card = SeparatorCard(
        id="attenuate", target="sabench_plugin:Attenuate", summary="the mixture, turned down", cites=(PAPER,)
    )

    def __init__(self, gain: float = 0.5) -> None:
        self.gain = gain
        self.settings = {"gain": gain}

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """The mixture times ``gain``."""
        return [self._answer(query.mixture) for query in queries]

    def _answer(self, mixture: Audio) -> Separation:
        target = mixture.samples * self.gain
        residual = mixture.samples - target
        return Separation(target=Audio(target, mixture.rate), residual=Audio(residual, mixture.rate))


class Peak(Metric):
    """Peak level of the answer."""

    columns = ("peak_db",)

    @classmethod
    def cards(cls) -> tuple[MetricCard, ...]:
        """One card."""
        return (
            MetricCard(
                id="peak_db",
                target="sabench_plugin:Peak",
                summary="peak",
                unit="dBFS",
                higher_is_better=False,
                range=(None, 0.0),
                cites=(PAPER,),
            ),
        )

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """20 log10 of the largest sample."""
        return [(self.peak(separation.target.samples),) for separation in separations]

    def peak(self, samples: torch.Tensor) -> Score:
        """Silence has none."""
        loudest = float(samples.abs().max())
        if loudest == 0:
            return Score(None, Status.SILENT_ESTIMATE)
        return Score(20 * math.log10(loudest), Status.OK)


def clicks(*, split: str, subset: str) -> TaskData:
    """Two clicks of 0.1 s."""
    groups = {"click-0": "click-0", "click-1": "click-1"}
    provides = frozenset({"reference", "text"})
    return TaskData(
        task="clicks", version="1", split=split, revision="1", groups=groups, provides=provides, load=_click
    )


clicks.card = TaskCard(  # type: ignore[attr-defined]
    id="clicks", target="sabench_plugin:clicks", summary="two clicks", prompt="text", main_metric="peak_db"
)


def _click(identifier: str) -> Item:
    samples = torch.zeros(1, 800)
    samples[0, 100 + 50 * int(identifier[-1])] = 0.5
    sound = Audio(samples, 8000)
    query = Query(mixture=sound, prompt=Prompt(text="click"))
    return Item(id=identifier, group=identifier, query=query, reference=sound)
