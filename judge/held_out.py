"""Rates what was kept from training: the sets of `judge.simulate`, single recordings of the pool, denoised speech."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from judge.bars import BLIND, Bar, average, pearson, set_rows
from judge.degrade import RATE
from judge.on_mini import Signal, said
from judge.stems import Stem, load_pool, samples
from sam_audio_bench.judge import SAJ
from sam_audio_bench.judge.listeners import Judge
from sam_audio_bench.judge.training.examples import Examples
from sam_audio_bench.judge.training.rating import rate_examples
from sam_audio_bench.judge.training.shards import read_shards

__all__ = ["alone_bars", "alone_rows", "pesq_bar", "rate_set"]

Follow = Callable[[int, int], None]

_ENOUGH = 5  # recordings of a class that is reported
_MOST = 8  # recordings of a class that are rated
_SECONDS = 5
_MOST_PESQ = 400  # answers of a set: all that suppressors gave in "denoised"
_LONGEST = 60.0  # seconds of an answer


def rate_set(judge: SAJ, place: Path, follow: Follow) -> pd.DataFrame:
    """Rows of a set with what a judge says of them, and for blind answers to speech their PESQ, where it can be had."""
    examples = read_shards(place)
    frame = rate_examples(judge, examples, progress=follow).frame()
    frame = frame.assign(answer_id=examples.rows["answer"].to_numpy())
    return frame.assign(pesq=_pesq(examples))


def _pesq(examples: Examples) -> pd.Series:
    """PESQ beside the perfect answer to the same query; NaN where there is none, or for other answers."""
    rows = examples.rows
    found = pd.Series(np.nan, index=rows.index)
    if importlib.util.find_spec("pesq") is None:
        return found
    from pesq import PesqError, pesq

    speech = rows[(rows["domain"] == "speech") & (rows["kind"] == "intended")]
    perfect = speech[speech["system"] == "perfect"].set_index("query")["answer"]
    blind = speech[speech["system"].isin(BLIND) & speech["query"].isin(perfect.index)]
    for index, row in blind.iloc[:_MOST_PESQ].iterrows():
        reference, answer = (_clip(examples, int(one)) for one in (perfect[row["query"]], row["answer"]))
        value = pesq(RATE, reference, answer, "wb", on_error=PesqError.RETURN_VALUES)
        found[index] = value if value >= 0 else np.nan
    return found


def _clip(examples: Examples, number: int) -> Signal:
    wave: Signal = examples.clips[number].wave(RATE, _LONGEST).numpy()
    return wave


def pesq_bar(sets: Mapping[str, pd.DataFrame]) -> list[Bar]:
    """Correlation with PESQ; empty where it was not measured."""
    table = set_rows(sets, tuple(sets))
    rows = table[table["pesq"].notna()] if "pesq" in table else table.iloc[:0]
    if len(rows) < _ENOUGH:
        return []
    return [
        pearson(
            "held out",
            "PCC of overall with PESQ, denoised speech",
            rows["saj_overall"],
            rows["pesq"],
            rows["item"],
            0.7,
        )
    ]


def alone_rows(judge: Judge, pool: Path, follow: Follow) -> pd.DataFrame:
    """One source alone is the mixture and the answer: columns label, group, saj_overall.

    Of every class with enough recordings in the pool's splits "test" and "unseen"; one clip a recording.
    """
    known: dict[str, dict[str, Stem]] = {}
    for stem in load_pool(pool):
        if stem.split in ("test", "unseen"):
            known.setdefault(stem.label, {}).setdefault(stem.group, stem)
    enough = {label: groups for label, groups in sorted(known.items()) if len(groups) >= _ENOUGH}
    chosen = [stem for groups in enough.values() for stem in list(groups.values())[:_MOST]]
    rows = []
    for done, stem in enumerate(chosen):
        follow(done, len(chosen))
        sound = samples(stem.path)[: _SECONDS * RATE]
        value = float(said(judge, sound, {"": sound}, stem.prompts[0])[""][0])
        rows.append({"label": stem.label, "group": stem.group, "saj_overall": value})
    follow(len(chosen), len(chosen))
    return pd.DataFrame(rows, columns=["label", "group", "saj_overall"])


def alone_bars(table: pd.DataFrame) -> list[Bar]:
    """The class that is rated lowest alone, the share of classes that reach the demand, and the mean of all."""
    if table.empty:
        return []
    bar = partial(average, "one source alone")
    means = table.groupby("label")["saj_overall"].mean()
    lowest = table[table["label"] == means.idxmin()]
    what = f"lowest mean overall of {len(means)} classes ({means.idxmin()})"
    labels = pd.Series(means.index, index=means.index)
    return [
        bar(what, lowest["saj_overall"], lowest["group"], 4.0),
        bar("share of classes with a mean of 4", means >= 4, labels),
        bar("mean overall", table["saj_overall"], table["group"]),
    ]
