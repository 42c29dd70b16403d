"""The judge on the embedded mini split, whose stems it never heard: ideal answers, wrong ones, real separators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from judge.bars import Bar, average, pearson
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
    "BySpans",
    "Case",
    "mini_cases",
    "mini_checks",
    "mini_perfection",
    "mini_rows",
    "quality",
    "said",
    "span_checks",
]

Signal = NDArray[np.float32]

SEPARATORS = ("hpss", "repet-sim", "spectral-gate", "oracle-ibm", "oracle-irm", "oracle-mwf")
TASKS = ("sfx", "speech", "speaker", "music", "instr-wild", "instr-pro")
SPAN_TASKS = ("sfx-span-only", "speech-span-only", "speaker-span-only", "music-span-only", "instr-wild-span-only")
_CLIP_DB = 30.0  # beyond, improvements count as this
_WITH_IMPROVEMENT = ("mixture", "ideal", *SEPARATORS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One item of mini and the separators' answers to it, mono at `RATE`, which is what the judge hears."""

    task: str
    item: str
    text: str
    target: Signal
    rest: Signal
    answers: Mapping[str, Signal]  # by separator
    other: Signal | None  # another recording that the same text asks for
    spans: tuple[Span, ...] = ()

    @property
    def mixture(self) -> Signal:
        """What a separator hears."""
        return self.target + self.rest


@dataclass(frozen=True, slots=True)
class BySpans:
    """A judge that is asked by spans alone, whatever the text says."""

    judge: SAJ
    spans: tuple[Span, ...]

    def score(self, mixture: Audio, targets: Sequence[Audio], text: str) -> JudgeScores:
        """Ratings of each answer to one mixture."""
        return self.judge.score(mixture, targets, "", spans=self.spans)


def mini_cases(every: int = 1, tasks: Sequence[str] = TASKS) -> Iterator[tuple[int, int, Case]]:
    """Every so-manieth item of mini that has an audible target: its number, how many there are, and the item."""
    known = [(data.task, item) for data in load_tasks(list(tasks), split="mini") for item in data]
    sounding = [(task, item) for task, item in known if item.reference is not None and item.reference.samples.any()]
    chosen = sounding[::every]
    for number, (task, item) in enumerate(chosen):
        others = [other for where, other in sounding if where == task and other.query.prompt == item.query.prompt]
        yield number, len(chosen), _case(task, item, others)


def _case(task: str, item: Item, alike: Sequence[Item]) -> Case:
    assert item.reference is not None
    assert item.residual_reference is not None
    target = _heard(item.reference)
    recordings = (_heard(one.reference) for one in alike if one.reference is not None and one.id != item.id)
    other = next((signal for signal in recordings if not np.array_equal(signal, target)), None)
    return Case(
        task=task,
        item=item.id,
        text=item.query.prompt.text or "",
        spans=item.query.prompt.spans,
        target=target,
        rest=_heard(item.residual_reference),
        answers=_separated(item),
        other=None if other is None else np.resize(other, len(target)),
    )


def _separated(item: Item) -> dict[str, Signal]:
    found = {}
    for name in SEPARATORS:
        separator = load_separator(name)
        if isinstance(separator, OracleSeparator):
            (answer,) = separator.separate_oracle([item], [0])
        else:
            (answer,) = separator.separate([item.query], [0])
        found[name] = _heard(answer.target)
    return found


def _heard(sound: Audio) -> Signal:
    samples: Signal = audio.resample(audio.to_mono(sound), RATE).samples[0].float().numpy()
    return samples


def said(judge: Judge, mixture: Signal, answers: Mapping[str, Signal], text: str) -> dict[str, NDArray[np.float64]]:
    """What a judge says of each answer by name: ratings, as `AXES`."""
    sounds = [Audio(torch.from_numpy(np.array(one, np.float32)[None]), RATE) for one in (mixture, *answers.values())]
    values = judge.score(sounds[0], sounds[1:], text).values.double().cpu().numpy()
    return dict(zip(answers, values, strict=True))


def mini_rows(judge: Judge, case: Case) -> Iterator[dict[str, object]]:
    """One row an answer: what the judge says, what simulated listeners would, and the improvement of SI-SDR.

    Columns: task, item, system, ``saj_AXIS``, AXIS, si_sdr_i (dB, cut at ±30).
    """
    answers = {
        "ideal": case.target,
        "mixture": case.mixture,
        "silence": np.zeros_like(case.target),
        "wrong": case.rest,
        **case.answers,
    }
    truth = Truth(case.target, case.rest)
    before = quality(case.target, case.mixture)
    for name, values in said(judge, case.mixture, answers, case.text).items():
        improvement = np.clip(quality(case.target, answers[name]) - before, -_CLIP_DB, _CLIP_DB)
        yield {
            "task": case.task,
            "item": case.item,
            "system": name,
            **{f"saj_{axis}": float(value) for axis, value in zip(AXES, values, strict=True)},
            **truth.rate(answers[name])._asdict(),
            "si_sdr_i": float(improvement),
        }


def quality(reference: Signal, estimate: Signal) -> float:
    """SI-SDR in dB, within ±100."""
    clips = [torch.from_numpy(np.asarray(one, np.float64)) for one in (reference, estimate)]
    return float(si_sdr(reference=clips[0], estimate=clips[1]).clamp(-100, 100))


def mini_perfection(table: pd.DataFrame) -> list[Bar]:
    """Whether the clean target is known as such; ``table`` has the rows of `mini_rows`."""
    wide = table.pivot(index="item", columns="system", values="saj_overall")
    items = pd.Series(wide.index, index=wide.index)
    found = [average("mini", "mean overall of ideal answers", wide["ideal"], items, 4.4)]
    found += [
        average("mini", f"ideal rated above {name}", wide["ideal"] > wide[name], items, wanted)
        for name, wanted in (("mixture", 0.90), ("wrong", 0.92), ("silence", 1.0))
    ]
    voices = table[table["task"] == "speaker"].pivot(index="item", columns="system", values="saj_overall")
    if not voices.empty:
        lower = voices["ideal"] > voices["wrong"]
        found.append(average("mini, speaker", "wrong speaker rated lower", lower, pd.Series(voices.index), 0.70))
    return found


def mini_checks(table: pd.DataFrame) -> list[Bar]:
    """Agreement with the improvement of SI-SDR and with simulated ratings, for orientation; arguments as above."""
    means = table[table["system"].isin(("mixture", *SEPARATORS))].groupby("system")[["saj_overall", "si_sdr_i"]].mean()
    ranks = float(spearmanr(means["saj_overall"], means["si_sdr_i"]).statistic)
    rows = table[table["system"].isin(_WITH_IMPROVEMENT)]
    return [
        Bar(part="mini", what="SRCC of system means with si_sdr_i", value=ranks, n=len(means)),
        pearson("mini", "PCC with si_sdr_i", rows["saj_overall"], rows["si_sdr_i"], rows["item"]),
        pearson("mini", "PCC with the simulated rating", table["saj_overall"], table["overall"], table["item"]),
    ]


def span_checks(table: pd.DataFrame) -> list[Bar]:
    """What ratings by spans alone are worth, for orientation; ``table`` has the rows of `mini_rows`."""
    wide = table.pivot(index="item", columns="system", values="saj_overall")
    items = pd.Series(wide.index, index=wide.index)
    found = [
        average("mini, spans alone", f"ideal rated above {name}", wide["ideal"] > wide[name], items)
        for name in ("mixture", "wrong")
    ]
    found.append(average("mini, spans alone", "mean overall of the wrong source", wide["wrong"], items))
    ratings = table["saj_overall"], table["overall"]
    return [*found, pearson("mini, spans alone", "PCC with the simulated rating", *ratings, table["item"])]
