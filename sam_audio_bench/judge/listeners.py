"""How well a judge agrees with listening tests whose audio is at hand.

A test is a folder with ``ratings.csv``, one row a rating, with the columns `COLUMNS`; paths are relative to the folder.
A ``scale_min`` above ``scale_max`` says that lower is better. Rows whose answer is the reference or the mixture itself
are controls: the judge rates them, and they are no systems.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from sam_audio_bench import audio
from sam_audio_bench.errors import MediaError, Precondition, StoreError, UsageError
from sam_audio_bench.judge.scores import AXES, JudgeScores
from sam_audio_bench.ratings.correlation import CorrelationRow, CorrelationSettings, correlate_ratings
from sam_audio_bench.ratings.table import Ratings
from sam_audio_bench.types import Audio

__all__ = [
    "COLUMNS",
    "JUDGED",
    "WORSE",
    "Judge",
    "RatedTest",
    "agreement",
    "find_tests",
    "rate_test",
    "system_means",
]

COLUMNS = (
    "item", "system", "rater", "axis", "score", "scale_min", "scale_max", "mixture", "answer", "reference", "text",
)  # fmt: skip
"""Columns of ``ratings.csv``; others are ignored, but for ``group``, the recording that an item was cut from."""

WORSE = "worse"
"""Listeners' axis that is made of the two others where a test asks for interference and for quality apart."""

JUDGED: Mapping[str, str] = {
    "dmos": "overall", "ovrl": "overall", "mushra": "overall", "mos": "overall", "overall": "overall", WORSE: "overall",
    "bak": "precision", "interference": "precision", "precision": "precision",
    "sig": "faithfulness", "quality": "faithfulness", "faithfulness": "faithfulness",
    "recall": "recall",
}  # fmt: skip
"""The judge's axis beside each axis of listeners, in lower case."""

_APART = 0.1  # seconds by which an answer may be longer or shorter than its mixture; both are cut to the shorter
_KINDS = {"reference": "hidden_reference", "mixture": "anchor"}  # as `Ratings` calls them


class Judge(Protocol):
    """What rates answers, such as `sam_audio_bench.judge.SAJ`."""

    def score(self, mixture: Audio, targets: Sequence[Audio], text: str) -> JudgeScores:
        """Ratings of each answer to one mixture."""
        ...


@dataclass(frozen=True, kw_only=True)
class RatedTest:
    """A listening test with what a judge says of the same answers.

    Attributes:
        name: of the folder.
        ratings: one row a rating, on the judge's scale, with columns ``saj_AXIS``; controls have a ``kind``.
        controls: columns ``item``, ``kind`` ("reference" or "mixture") and ``saj_AXIS``: the clean target and the
            mixture as answers, rated by listeners or not.
        left_out: how many ratings could not be used, by reason.
    """

    name: str
    ratings: Ratings
    controls: pd.DataFrame
    left_out: Mapping[str, int]


def find_tests(place: Path) -> list[Path]:
    """The folder itself where it is a test, else those tests that it holds; raises Precondition for none."""
    if (place / "ratings.csv").is_file():
        return [place]
    found = sorted(path.parent for path in place.glob("*/ratings.csv")) if place.is_dir() else []
    if not found:
        raise Precondition(f"expected ratings.csv in {place} or in folders in it, found none")
    return found


def rate_test(judge: Judge, folder: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> RatedTest:
    """Rates every answer of a test once, and for each item its reference and its mixture.

    Args:
        judge: any.
        folder: of the test.
        progress: callback (done, total) over items.

    Raises:
        StoreError: no table that can be read. UsageError: a column is missing, or no rating has audio.
    """
    table, left_out = _read(folder)
    said: dict[tuple[str, str, str], list[float]] = {}
    controls: list[dict[str, object]] = []
    groups = list(table.groupby(["item", "mixture", "text"], sort=True))
    for done, ((item, mixture, text), rows) in enumerate(groups):
        progress(done, len(groups))
        references = [name for name in rows["reference"].unique() if name]
        names = list(dict.fromkeys([*rows["answer"], *references, str(mixture)]))
        heard = _rated(judge, folder, str(mixture), names, str(text), left_out)
        said |= {(str(mixture), name, str(text)): values for name, values in heard.items()}
        for kind, some in (("reference", references), ("mixture", [str(mixture)])):
            controls += [{"item": item, "kind": kind, **_columns(heard[name])} for name in some if name in heard]
    progress(len(groups), len(groups))
    keys = list(zip(table["mixture"], table["answer"], table["text"], strict=True))
    known = np.array([key in said for key in keys], bool)
    left_out["the answer was not rated by the judge"] += int((~known).sum())
    values = pd.DataFrame([_columns(said[key]) for key in keys if key in said])
    frame = pd.concat([table[known].reset_index(drop=True), values], axis=1)
    return RatedTest(
        name=folder.name,
        ratings=Ratings(frame=frame, scale=(1, 5), metrics=tuple(f"saj_{axis}" for axis in AXES)),
        controls=pd.DataFrame(controls, columns=["item", "kind", *(f"saj_{axis}" for axis in AXES)]),
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def _read(folder: Path) -> tuple[pd.DataFrame, Counter[str]]:
    """Tidy rows that can be used, and how many cannot, by reason."""
    path = folder / "ratings.csv"
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(("item", "system", "rater", "text", "group"), str))
    except (OSError, ValueError) as error:
        raise StoreError(f"expected ratings in {path}, found no CSV that can be read ({error})") from error
    if missing := [name for name in COLUMNS if name not in table]:
        raise UsageError(f"expected columns {', '.join(COLUMNS)} in {path}, found no {', '.join(missing)}")
    for name in ("mixture", "answer", "reference", "text"):
        table[name] = table[name].fillna("").astype(str)
    share = (table["score"] - table["scale_min"]) / (table["scale_max"] - table["scale_min"])
    table["score"] = 1 + 4 * share
    left_out: Counter[str] = Counter()
    files = {
        name: bool(name) and (folder / name).is_file() for column in ("mixture", "answer") for name in table[column]
    }
    for reason, kept in (
        ("no score, or one outside its scale", share.between(0, 1)),
        ("no file of the mixture", table["mixture"].map(files)),
        ("no file of the answer", table["answer"].map(files)),
    ):
        unusable = ~kept.reindex(table.index).astype(bool)
        left_out[reason] += int(unusable.sum())
        table = table[~unusable]
    if table.empty:
        raise UsageError(f"expected ratings with their audio in {path}, found {sum(left_out.values())} without")
    return _with_worse(_tidy(table)), left_out


def _tidy(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that `Ratings` needs beside those of the file."""
    kind = pd.Series("rating", index=table.index)
    for column in ("mixture", "reference"):  # a mixture that stands in for a missing one is the reference
        kind[table["answer"] == table[column]] = _KINDS[column]
    group = table["group"].fillna(table["item"]) if "group" in table else table["item"]
    return table.assign(kind=kind, group=group, domain="all").reset_index(drop=True)


def _with_worse(table: pd.DataFrame) -> pd.DataFrame:
    """Adds the lower of a rater's two scores where interference and quality were asked for apart."""
    apart = table[table["axis"].str.lower().isin(("interference", "quality"))]
    if apart["axis"].nunique() != 2:
        return table
    keys = ["item", "system", "rater"]
    both = apart.groupby(keys)["axis"].transform("nunique") == 2
    lower = apart[both].sort_values("score", kind="stable").drop_duplicates(keys)
    return pd.concat([table, lower.assign(axis=WORSE)], ignore_index=True)


def _rated(
    judge: Judge, folder: Path, mixture: str, names: Sequence[str], text: str, left_out: Counter[str]
) -> dict[str, list[float]]:
    """Ratings of files as answers to a mixture, both cut to the shorter; those that cannot be rated are not there."""
    found = {}
    try:
        whole = audio.read(folder / mixture)
        for name in names:
            if not (folder / name).is_file():
                continue
            answer = audio.read(folder / name)
            if abs(answer.seconds - whole.seconds) > _APART:
                left_out["files whose answer is not as long as its mixture"] += 1
                continue
            clips = _alike(whole, answer)
            values = judge.score(clips[0], clips[1:], text).values[0].tolist()
            if np.isfinite(values).all():
                found[name] = values
    except MediaError:
        left_out["files that cannot be read"] += 1
    return found


def _alike(mixture: Audio, answer: Audio) -> list[Audio]:
    """Both at the mixture's rate, cut to the shorter."""
    clips = [mixture, audio.resample(answer, mixture.rate)]
    length = min(clip.length for clip in clips)
    return [Audio(clip.samples[:, :length], clip.rate) for clip in clips]


def _columns(values: Sequence[float]) -> dict[str, float]:
    return {f"saj_{axis}": value for axis, value in zip(AXES, values, strict=True)}


def agreement(
    test: RatedTest, *, without: Collection[str] = (), with_reference: bool = False, resamples: int = 2000
) -> list[CorrelationRow]:
    """PCC and SRCC of each axis of listeners with the judge's, over answers and over systems' means.

    Intervals resample items. An axis that `JUDGED` does not know is compared with overall.

    Args:
        test: what `rate_test` found.
        without: systems that do not count.
        with_reference: count rated references as a system.
        resamples: of the intervals.
    """
    frame = test.ratings.frame[~test.ratings.frame["system"].isin(without)]
    if with_reference:
        frame = frame.assign(kind=frame["kind"].replace(_KINDS["reference"], "rating"))
    ratings = test.ratings.with_frame(frame)
    return [row for axis in ratings.axes for row in _pair(ratings, axis, resamples)]


def _pair(ratings: Ratings, axis: str, resamples: int) -> Iterator[CorrelationRow]:
    settings = CorrelationSettings(
        metrics=(f"saj_{JUDGED.get(axis.lower(), AXES[0])}",),
        axis=axis,
        levels=("utterance", "system"),
        coefficients=("pearson", "spearman"),
        interval="cluster",
        resamples=resamples,
        compare=False,
    )
    yield from correlate_ratings(ratings, settings).rows


def system_means(test: RatedTest) -> pd.DataFrame:
    """Mean ratings of each system by the judge and by listeners, the clean target and the mixture first.

    Columns: system, n (answers), ``saj_AXIS``, and a column for each axis of listeners, on the judge's scale.
    """
    names = [f"saj_{axis}" for axis in AXES]
    rows = test.ratings.without_controls
    answers = rows.drop_duplicates(["item", "system"]).groupby("system", sort=True)
    heard = rows.pivot_table(index="system", columns="axis", values="score")
    systems = answers[names].mean().join(heard).assign(n=answers.size()).reset_index()
    known = test.controls.groupby("kind")
    controls = known[names].mean().assign(n=known.size()).reset_index(names="system")
    controls["system"] = controls["system"].map({"reference": "(clean target)", "mixture": "(mixture)"})
    return pd.concat([controls.sort_values("system"), systems], ignore_index=True)
