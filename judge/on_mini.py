"""The judge on the embedded mini split, whose stems it never heard: ideal answers, wrong ones, real separators."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from judge.bars import Bar, pearson, share
from judge.degrade import RATE
from judge.labels import Truth
from sam_audio_bench import audio
from sam_audio_bench.judge import SAJ
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.metrics.functional import si_sdr
from sam_audio_bench.registry import load_separator, load_tasks
from sam_audio_bench.types import Audio, Item, OracleSeparator

__all__ = ["SEPARATORS", "mini_bars", "rate_mini"]

SEPARATORS = ("hpss", "repet-sim", "spectral-gate", "oracle-ibm", "oracle-irm", "oracle-mwf")
_TASKS = ("sfx", "speech", "speaker", "music", "instr-wild", "instr-pro")
_CLIP_DB = 30.0  # beyond, improvements count as this
_WITH_IMPROVEMENT = ("mixture", "ideal", *SEPARATORS)


def rate_mini(judge: SAJ, follow: Callable[[int, int], None] = lambda done, total: None) -> pd.DataFrame:
    """One row an item and answer: what the judge says, what simulated listeners would, and the improvement of SI-SDR.

    Columns: task, item, group, system, ``saj_AXIS``, AXIS, si_sdr_i (dB, cut at ±30).
    """
    items = [(data.task, item) for data in load_tasks(list(_TASKS), split="mini") for item in data]
    sounding = [(task, item) for task, item in items if item.reference is not None and item.reference.samples.any()]
    rows = []
    for done, (task, item) in enumerate(sounding):
        follow(done, len(sounding))
        rows += [{"task": task, "item": item.id, "group": item.group, **row} for row in _rows(judge, item)]
    follow(len(sounding), len(sounding))
    return pd.DataFrame(rows)


def _rows(judge: SAJ, item: Item) -> Iterator[dict[str, object]]:
    answers = _answers(item)
    scores = judge.score(item.query.mixture, list(answers.values()), item.query.prompt.text or "")
    assert item.reference is not None
    assert item.residual_reference is not None
    truth = Truth(_heard(item.reference), _heard(item.residual_reference))
    before = _quality(item.reference, item.query.mixture)
    for (name, answer), said in zip(answers.items(), scores.values.tolist(), strict=True):
        improvement = np.clip(_quality(item.reference, answer) - before, -_CLIP_DB, _CLIP_DB)
        yield {
            "system": name,
            **{f"saj_{axis}": value for axis, value in zip(AXES, said, strict=True)},
            **truth.rate(_heard(answer))._asdict(),
            "si_sdr_i": float(improvement),
        }


def _answers(item: Item) -> dict[str, Audio]:
    """Ideal, wrong and real answers by name."""
    mixture = item.query.mixture
    assert item.reference is not None
    assert item.residual_reference is not None
    found = {
        "ideal": item.reference,
        "mixture": mixture,
        "silence": Audio(torch.zeros_like(mixture.samples), mixture.rate),
        "wrong": item.residual_reference,
    }
    for name in SEPARATORS:
        separator = load_separator(name)
        if isinstance(separator, OracleSeparator):
            (answer,) = separator.separate_oracle([item], [0])
        else:
            (answer,) = separator.separate([item.query], [0])
        found[name] = answer.target
    return found


def _heard(sound: Audio) -> np.ndarray:
    """Mono at the rate that answers are simulated at, which is also what the judge hears."""
    return audio.resample(audio.to_mono(sound), RATE).samples[0].numpy()


def _quality(reference: Audio, estimate: Audio) -> float:
    clip = [one.samples.mean(dim=0).double() for one in (reference, estimate)]
    return float(si_sdr(reference=clip[0], estimate=clip[1]).clamp(-100, 100))


def mini_bars(table: pd.DataFrame) -> list[Bar]:
    """Every bar on mini; ``table`` is what `rate_mini` found."""
    wide = table.pivot(index="item", columns="system", values="saj_overall")
    items = pd.Series(wide.index, index=wide.index)
    found = [
        share("mini", f"ideal rated above {name}", (wide["ideal"] > wide[name]).astype(float), items, wanted)
        for name, wanted in (("silence", 1.0), ("wrong", 0.90), ("mixture", 0.82))
    ]
    ideal = wide["ideal"].dropna()
    found.append(
        Bar(part="mini", what="mean overall of ideal answers", value=float(ideal.mean()), n=len(ideal), wanted=4.4)
    )
    found.append(_of_systems(table))
    found += _of_items(table)
    voices = table[table["task"] == "speaker"].pivot(index="item", columns="system", values="saj_overall")
    lower = (voices["ideal"] > voices["wrong"]).astype(float)
    found.append(share("mini, speaker", "wrong speaker rated lower", lower, pd.Series(voices.index), 0.70))
    return found


def _of_systems(table: pd.DataFrame) -> Bar:
    """Rank correlation of the separators' means."""
    means = table[table["system"].isin(("mixture", *SEPARATORS))].groupby("system")[["saj_overall", "si_sdr_i"]].mean()
    value = float(spearmanr(means["saj_overall"], means["si_sdr_i"]).statistic)
    return Bar(part="mini", what="SRCC of system means with si_sdr_i", value=value, n=len(means), wanted=0.85)


def _of_items(table: pd.DataFrame) -> list[Bar]:
    """Correlation of answers with si_sdr_i, beside what the simulated rating itself reaches."""
    rows = table[table["system"].isin(_WITH_IMPROVEMENT)]
    own = pearson("mini", "PCC with si_sdr_i", rows["saj_overall"], rows["si_sdr_i"], rows["item"])
    label = pearson(
        "mini", "PCC of the simulated rating with si_sdr_i", rows["overall"], rows["si_sdr_i"], rows["item"]
    )
    assert own.value is not None
    assert label.value is not None
    relative = Bar(
        part="mini", what="share of that which the judge reaches", value=own.value / label.value, n=own.n, wanted=0.8
    )
    truth = pearson("mini", "PCC with the simulated rating", table["saj_overall"], table["overall"], table["item"])
    return [own, label, relative, truth]
