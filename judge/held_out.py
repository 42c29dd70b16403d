"""Rates held-out data: sets of `judge.simulate`, single recordings of the pool, and denoised speech."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from judge.criteria import BLIND, Criterion, concat_sets, mean_criterion, pearson_criterion
from judge.degrade import RATE
from judge.mini_split import Signal, rate_estimates
from judge.stems import Stem, load_pool, load_samples
from sam_audio_bench.judge import SAJ
from sam_audio_bench.judge.listeners import Judge
from sam_audio_bench.judge.training.examples import Examples
from sam_audio_bench.judge.training.rating import rate_examples
from sam_audio_bench.judge.training.shards import read_shards

__all__ = ["pesq_criteria", "rate_set", "single_source_criteria", "single_source_rows"]

Progress = Callable[[int, int], None]

_MIN_RECORDINGS = 5  # of a class that is reported
_MAX_RECORDINGS = 8  # of a class that are rated
_SECONDS = 5
_MAX_PESQ = 400  # estimates per set: all of the suppressors' in "denoised"
_LONGEST = 60.0  # seconds of an estimate


def rate_set(judge: SAJ, place: Path, progress: Progress) -> pd.DataFrame:
    """Rates a set; blind estimates of speech also get their PESQ, if it can be computed."""
    examples = read_shards(place)
    frame = rate_examples(judge, examples, progress=progress).frame()
    frame = frame.assign(answer_id=examples.rows["answer"].to_numpy())
    return frame.assign(pesq=_pesq(examples))


def _pesq(examples: Examples) -> pd.Series:
    """Returns PESQ with the perfect estimate for the same query as reference; NaN without one, and for other rows."""
    rows = examples.rows
    found = pd.Series(np.nan, index=rows.index)
    if importlib.util.find_spec("pesq") is None:
        return found
    from pesq import PesqError, pesq

    speech = rows[(rows["domain"] == "speech") & (rows["kind"] == "intended")]
    perfect = speech[speech["system"] == "perfect"].set_index("query")["answer"]
    blind = speech[speech["system"].isin(BLIND) & speech["query"].isin(perfect.index)]
    for index, row in blind.iloc[:_MAX_PESQ].iterrows():
        reference, estimate = (_clip(examples, int(one)) for one in (perfect[row["query"]], row["answer"]))
        value = pesq(RATE, reference, estimate, "wb", on_error=PesqError.RETURN_VALUES)
        found[index] = value if value >= 0 else np.nan
    return found


def _clip(examples: Examples, number: int) -> Signal:
    wave: Signal = examples.clips[number].read_mono(RATE, _LONGEST).numpy()
    return wave


def pesq_criteria(sets: Mapping[str, pd.DataFrame]) -> list[Criterion]:
    """Returns the correlation with PESQ; empty if it was not measured."""
    table = concat_sets(sets, tuple(sets))
    rows = table[table["pesq"].notna()] if "pesq" in table else table.iloc[:0]
    if len(rows) < _MIN_RECORDINGS:
        return []
    return [
        pearson_criterion(
            "held out",
            "PCC of overall with PESQ, denoised speech",
            rows["saj_overall"],
            rows["pesq"],
            rows["item"],
            0.7,
        )
    ]


def single_source_rows(judge: Judge, pool: Path, progress: Progress) -> pd.DataFrame:
    """Rates single sources that are both mixture and estimate: columns label, group, saj_overall.

    Uses every class with enough recordings in the pool's splits "test" and "unseen", with one clip per recording.
    """
    known: dict[str, dict[str, Stem]] = {}
    for stem in load_pool(pool):
        if stem.split in ("test", "unseen"):
            known.setdefault(stem.label, {}).setdefault(stem.group, stem)
    enough = {label: groups for label, groups in sorted(known.items()) if len(groups) >= _MIN_RECORDINGS}
    chosen = [stem for groups in enough.values() for stem in list(groups.values())[:_MAX_RECORDINGS]]
    rows = []
    for done, stem in enumerate(chosen):
        progress(done, len(chosen))
        sound = load_samples(stem.path)[: _SECONDS * RATE]
        value = float(rate_estimates(judge, sound, {"": sound}, stem.prompts[0])[""][0])
        rows.append({"label": stem.label, "group": stem.group, "saj_overall": value})
    progress(len(chosen), len(chosen))
    return pd.DataFrame(rows, columns=["label", "group", "saj_overall"])


def single_source_criteria(table: pd.DataFrame) -> list[Criterion]:
    """Returns the lowest mean of a class, the share of classes that reach the limit, and the mean of all rows."""
    if table.empty:
        return []
    bar = partial(mean_criterion, "one source alone")
    means = table.groupby("label")["saj_overall"].mean()
    lowest = table[table["label"] == means.idxmin()]
    what = f"lowest mean overall of {len(means)} classes ({means.idxmin()})"
    labels = pd.Series(means.index, index=means.index)
    return [
        bar(what, lowest["saj_overall"], lowest["group"], 4.0),
        bar("share of classes with a mean of 4", means >= 4, labels),
        bar("mean overall", table["saj_overall"], table["group"]),
    ]
