"""Tests the judge on the embedded mini split, whose stems are not in training: ideal, wrong and real estimates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from judge.criteria import Criterion, mean_criterion, pearson_criterion
from judge.degrade import RATE
from judge.labels import Truth
from sam_audio_bench import audio
from sam_audio_bench.judge import SAJ
from sam_audio_bench.judge.listeners import Judge
from sam_audio_bench.judge.scores import AXES, JudgeScores
from sam_audio_bench.metrics.functional.ratios import si_sdr
from sam_audio_bench.registry import load_separator, load_tasks
from sam_audio_bench.types import Audio, Item, OracleSeparator, Span

__all__ = [
    "SEPARATORS",
    "SPAN_TASKS",
    "TASKS",
    "Case",
    "SpanOnlyJudge",
    "bounded_si_sdr",
    "mini_cases",
    "mini_criteria",
    "mini_perfection_criteria",
    "mini_rows",
    "rate_estimates",
    "span_criteria",
]

Signal = NDArray[np.float32]

SEPARATORS = ("hpss", "repet-sim", "spectral-gate", "oracle-ibm", "oracle-irm", "oracle-mwf")
TASKS = ("sfx", "speech", "speaker", "music", "instr-wild", "instr-pro")
SPAN_TASKS = ("sfx-span-only", "speech-span-only", "speaker-span-only", "music-span-only", "instr-wild-span-only")
_CLIP_DB = 30.0  # improvements are clipped to this magnitude
_WITH_IMPROVEMENT = ("mixture", "ideal", *SEPARATORS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One item of mini with the separators' estimates, mono at `RATE`, the judge's sampling rate."""

    task: str
    item: str
    text: str
    target: Signal
    rest: Signal
    estimates: Mapping[str, Signal]  # by separator
    other: Signal | None  # another recording that the same text describes
    spans: tuple[Span, ...] = ()

    @property
    def mixture(self) -> Signal:
        """The input of a separator."""
        return self.target + self.rest


@dataclass(frozen=True, slots=True)
class SpanOnlyJudge:
    """A judge that is given only the spans of a prompt, without its text."""

    judge: SAJ
    spans: tuple[Span, ...]

    def score(self, mixture: Audio, targets: Sequence[Audio], text: str) -> JudgeScores:
        """Rates each estimate for one mixture."""
        return self.judge.score(mixture, targets, "", spans=self.spans)


def mini_cases(every: int = 1, tasks: Sequence[str] = TASKS) -> Iterator[tuple[int, int, Case]]:
    """Yields every ``every``-th item of mini that has an audible target, with its number and the total."""
    known = [(data.task, item) for data in load_tasks(list(tasks), split="mini") for item in data]
    sounding = [(task, item) for task, item in known if item.reference is not None and item.reference.samples.any()]
    chosen = sounding[::every]
    for number, (task, item) in enumerate(chosen):
        others = [other for where, other in sounding if where == task and other.query.prompt == item.query.prompt]
        yield number, len(chosen), _case(task, item, others)


def _case(task: str, item: Item, others: Sequence[Item]) -> Case:
    assert item.reference is not None
    assert item.residual_reference is not None
    target = _mono_samples(item.reference)
    recordings = (_mono_samples(one.reference) for one in others if one.reference is not None and one.id != item.id)
    other = next((signal for signal in recordings if not np.array_equal(signal, target)), None)
    return Case(
        task=task,
        item=item.id,
        text=item.query.prompt.text or "",
        spans=item.query.prompt.spans,
        target=target,
        rest=_mono_samples(item.residual_reference),
        estimates=_separated(item),
        other=None if other is None else np.resize(other, len(target)),
    )


def _separated(item: Item) -> dict[str, Signal]:
    found = {}
    for name in SEPARATORS:
        separator = load_separator(name)
        if isinstance(separator, OracleSeparator):
            (estimate,) = separator.separate_oracle([item], [0])
        else:
            (estimate,) = separator.separate([item.query], [0])
        found[name] = _mono_samples(estimate.target)
    return found


def _mono_samples(sound: Audio) -> Signal:
    samples: Signal = audio.resample(audio.to_mono(sound), RATE).samples[0].float().numpy()
    return samples


def rate_estimates(
    judge: Judge, mixture: Signal, estimates: Mapping[str, Signal], text: str
) -> dict[str, NDArray[np.float64]]:
    """Returns a judge's ratings of each estimate by name, in the order of `AXES`."""
    sounds = [Audio(torch.from_numpy(np.array(one, np.float32)[None]), RATE) for one in (mixture, *estimates.values())]
    values = judge.score(sounds[0], sounds[1:], text).values.double().cpu().numpy()
    return dict(zip(estimates, values, strict=True))


def mini_rows(judge: Judge, case: Case) -> Iterator[dict[str, object]]:
    """Yields one row per estimate: ratings by the judge, simulated ratings, and the improvement of SI-SDR.

    Columns: task, item, system, ``saj_AXIS``, AXIS, si_sdr_i (dB, cut at ±30).
    """
    estimates = {
        "ideal": case.target,
        "mixture": case.mixture,
        "silence": np.zeros_like(case.target),
        "wrong": case.rest,
        **case.estimates,
    }
    truth = Truth(case.target, case.rest)
    before = bounded_si_sdr(case.target, case.mixture)
    for name, values in rate_estimates(judge, case.mixture, estimates, case.text).items():
        improvement = np.clip(bounded_si_sdr(case.target, estimates[name]) - before, -_CLIP_DB, _CLIP_DB)
        yield {
            "task": case.task,
            "item": case.item,
            "system": name,
            **{f"saj_{axis}": float(value) for axis, value in zip(AXES, values, strict=True)},
            **truth.rate(estimates[name])._asdict(),
            "si_sdr_i": float(improvement),
        }


def bounded_si_sdr(reference: Signal, estimate: Signal) -> float:
    """Returns SI-SDR in dB, clipped to ±100."""
    clips = [torch.from_numpy(np.asarray(one, np.float64)) for one in (reference, estimate)]
    return float(si_sdr(reference=clips[0], estimate=clips[1]).clamp(-100, 100))


def mini_perfection_criteria(table: pd.DataFrame) -> list[Criterion]:
    """Returns criteria for recognising the clean target; ``table`` has the rows of `mini_rows`."""
    wide = table.pivot(index="item", columns="system", values="saj_overall")
    items = pd.Series(wide.index, index=wide.index)
    found = [mean_criterion("mini", "mean overall of ideal answers", wide["ideal"], items, 4.4)]
    found += [
        mean_criterion("mini", f"ideal rated above {name}", wide["ideal"] > wide[name], items, wanted)
        for name, wanted in (("mixture", 0.90), ("wrong", 0.92), ("silence", 1.0))
    ]
    voices = table[table["task"] == "speaker"].pivot(index="item", columns="system", values="saj_overall")
    if not voices.empty:
        lower = voices["ideal"] > voices["wrong"]
        found.append(mean_criterion("mini, speaker", "wrong speaker rated lower", lower, pd.Series(voices.index), 0.70))
    return found


def mini_criteria(table: pd.DataFrame) -> list[Criterion]:
    """Returns agreement with SI-SDR improvement and with simulated ratings, without limits; arguments as above."""
    means = table[table["system"].isin(("mixture", *SEPARATORS))].groupby("system")[["saj_overall", "si_sdr_i"]].mean()
    ranks = float(spearmanr(means["saj_overall"], means["si_sdr_i"]).statistic)
    rows = table[table["system"].isin(_WITH_IMPROVEMENT)]
    return [
        Criterion(part="mini", what="SRCC of system means with si_sdr_i", value=ranks, n=len(means)),
        pearson_criterion("mini", "PCC with si_sdr_i", rows["saj_overall"], rows["si_sdr_i"], rows["item"]),
        pearson_criterion(
            "mini", "PCC with the simulated rating", table["saj_overall"], table["overall"], table["item"]
        ),
    ]


def span_criteria(table: pd.DataFrame) -> list[Criterion]:
    """Returns the quality of ratings by spans alone, without limits; ``table`` has the rows of `mini_rows`."""
    wide = table.pivot(index="item", columns="system", values="saj_overall")
    items = pd.Series(wide.index, index=wide.index)
    found = [
        mean_criterion("mini, spans alone", f"ideal rated above {name}", wide["ideal"] > wide[name], items)
        for name in ("mixture", "wrong")
    ]
    found.append(mean_criterion("mini, spans alone", "mean overall of the wrong source", wide["wrong"], items))
    ratings = table["saj_overall"], table["overall"]
    return [*found, pearson_criterion("mini, spans alone", "PCC with the simulated rating", *ratings, table["item"])]
