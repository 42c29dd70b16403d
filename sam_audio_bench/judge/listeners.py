"""Agreement of a judge with listening tests whose audio is available.

A test is a folder with ``ratings.csv``, which has one row per rating and the columns `COLUMNS`; paths are relative to
the folder. A ``scale_min`` above ``scale_max`` means that lower is better. Rows whose estimate (column ``answer``) is
the reference or the mixture itself are controls: the judge rates them, but they are not systems.
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
    "JUDGE_AXES",
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
"""Columns of ``ratings.csv``; others are ignored except ``group``, the recording that an item was cut from."""

WORSE = "worse"
"""Derived axis for tests that rate interference and quality separately: the lower of a rater's two scores."""

JUDGE_AXES: Mapping[str, str] = {
    "dmos": "overall", "ovrl": "overall", "mushra": "overall", "mos": "overall", "overall": "overall", WORSE: "overall",
    "bak": "precision", "interference": "precision", "precision": "precision",
    "sig": "faithfulness", "quality": "faithfulness", "faithfulness": "faithfulness",
    "recall": "recall",
}  # fmt: skip
"""The judge's axis that corresponds to each axis of listeners (in lower case)."""

_TOLERANCE = 0.1  # seconds by which the lengths of estimate and mixture may differ; both are cut to the shorter
_KINDS = {"reference": "hidden_reference", "mixture": "anchor"}  # names used in `Ratings`


class Judge(Protocol):
    """Interface of a model that rates estimates, such as `sam_audio_bench.judge.SAJ`."""

    def score(self, mixture: Audio, targets: Sequence[Audio], text: str) -> JudgeScores:
        """Rates each estimate for one mixture."""
        ...


@dataclass(frozen=True, kw_only=True)
class RatedTest:
    """A listening test with a judge's ratings of the same estimates.

    Attributes:
        name: name of the folder.
        ratings: one row per rating, on the judge's scale, with columns ``saj_AXIS``; controls have their own ``kind``.
        controls: columns ``item``, ``kind`` ("reference" or "mixture") and ``saj_AXIS``: the clean target and the
            mixture rated as estimates, whether or not listeners rated them.
        left_out: number of ratings that could not be used, by reason.
    """

    name: str
    ratings: Ratings
    controls: pd.DataFrame
    left_out: Mapping[str, int]


def find_tests(place: Path) -> list[Path]:
    """Returns the folder itself if it is a test, else the tests in it; raises Precondition if there are none."""
    if (place / "ratings.csv").is_file():
        return [place]
    found = sorted(path.parent for path in place.glob("*/ratings.csv")) if place.is_dir() else []
    if not found:
        raise Precondition(f"expected ratings.csv in {place} or in folders in it, found none")
    return found


def rate_test(judge: Judge, folder: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> RatedTest:
    """Rates every estimate of a test once, and the reference and the mixture of each item.

    Args:
        judge: the judge.
        folder: folder of the test.
        progress: callback (done, total) over items.

    Raises:
        StoreError: the table cannot be read. UsageError: a column is missing, or no rating has audio.
    """
    table, left_out = _read(folder)
    ratings: dict[tuple[str, str, str], list[float]] = {}
    controls: list[dict[str, object]] = []
    groups = list(table.groupby(["item", "mixture", "text"], sort=True))
    for done, ((item, mixture, text), rows) in enumerate(groups):
        progress(done, len(groups))
        references = [name for name in rows["reference"].unique() if name]
        names = list(dict.fromkeys([*rows["answer"], *references, str(mixture)]))
        rated = _rate_files(judge, folder, str(mixture), names, str(text), left_out)
        ratings |= {(str(mixture), name, str(text)): values for name, values in rated.items()}
        for kind, some in (("reference", references), ("mixture", [str(mixture)])):
            controls += [{"item": item, "kind": kind, **_columns(rated[name])} for name in some if name in rated]
    progress(len(groups), len(groups))
    keys = list(zip(table["mixture"], table["answer"], table["text"], strict=True))
    known = np.array([key in ratings for key in keys], bool)
    left_out["the answer was not rated by the judge"] += int((~known).sum())
    values = pd.DataFrame([_columns(ratings[key]) for key in keys if key in ratings])
    frame = pd.concat([table[known].reset_index(drop=True), values], axis=1)
    return RatedTest(
        name=folder.name,
        ratings=Ratings(frame=frame, scale=(1, 5), metrics=tuple(f"saj_{axis}" for axis in AXES)),
        controls=pd.DataFrame(controls, columns=["item", "kind", *(f"saj_{axis}" for axis in AXES)]),
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def _read(folder: Path) -> tuple[pd.DataFrame, Counter[str]]:
    """Returns the usable rows in tidy form, and the number of others by reason."""
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
    return _add_worse_axis(_tidy(table)), left_out


def _tidy(table: pd.DataFrame) -> pd.DataFrame:
    """Adds the columns that `Ratings` needs and the file lacks."""
    kind = pd.Series("rating", index=table.index)
    for column in (
        "mixture",
        "reference",
    ):  # if the mixture takes the place of a missing reference, it counts as the reference
        kind[table["answer"] == table[column]] = _KINDS[column]
    group = table["group"].fillna(table["item"]) if "group" in table else table["item"]
    return table.assign(kind=kind, group=group, domain="all").reset_index(drop=True)


def _add_worse_axis(table: pd.DataFrame) -> pd.DataFrame:
    """Adds the lower of a rater's two scores if interference and quality were rated separately."""
    apart = table[table["axis"].str.lower().isin(("interference", "quality"))]
    if apart["axis"].nunique() != 2:
        return table
    keys = ["item", "system", "rater"]
    both = apart.groupby(keys)["axis"].transform("nunique") == 2
    lower = apart[both].sort_values("score", kind="stable").drop_duplicates(keys)
    return pd.concat([table, lower.assign(axis=WORSE)], ignore_index=True)


def _rate_files(
    judge: Judge, folder: Path, mixture: str, names: Sequence[str], text: str, left_out: Counter[str]
) -> dict[str, list[float]]:
    """Rates files as estimates for a mixture, both cut to the shorter; leaves out files that cannot be rated."""
    found = {}
    try:
        whole = audio.read(folder / mixture)
        for name in names:
            if not (folder / name).is_file():
                continue
            estimate = audio.read(folder / name)
            if abs(estimate.seconds - whole.seconds) > _TOLERANCE:
                left_out["files whose answer is not as long as its mixture"] += 1
                continue
            clips = _match_format(whole, estimate)
            values = judge.score(clips[0], clips[1:], text).values[0].tolist()
            if np.isfinite(values).all():
                found[name] = values
    except MediaError:
        left_out["files that cannot be read"] += 1
    return found


def _match_format(mixture: Audio, estimate: Audio) -> list[Audio]:
    """Resamples the estimate to the mixture's rate, and cuts both to the shorter."""
    clips = [mixture, audio.resample(estimate, mixture.rate)]
    length = min(clip.length for clip in clips)
    return [Audio(clip.samples[:, :length], clip.rate) for clip in clips]


def _columns(values: Sequence[float]) -> dict[str, float]:
    return {f"saj_{axis}": value for axis, value in zip(AXES, values, strict=True)}


def agreement(
    test: RatedTest, *, without: Collection[str] = (), with_reference: bool = False, resamples: int = 2000
) -> list[CorrelationRow]:
    """Returns PCC and SRCC of each axis of listeners with the judge's, over estimates and over means of systems.

    Intervals resample items. An axis that is not in `JUDGE_AXES` is compared with overall.

    Args:
        test: result of `rate_test`.
        without: systems to leave out.
        with_reference: whether rated references count as a system.
        resamples: bootstrap resamples for the intervals.
    """
    frame = test.ratings.frame[~test.ratings.frame["system"].isin(without)]
    if with_reference:
        frame = frame.assign(kind=frame["kind"].replace(_KINDS["reference"], "rating"))
    ratings = test.ratings.with_frame(frame)
    return [row for axis in ratings.axes for row in _pair(ratings, axis, resamples)]


def _pair(ratings: Ratings, axis: str, resamples: int) -> Iterator[CorrelationRow]:
    settings = CorrelationSettings(
        metrics=(f"saj_{JUDGE_AXES.get(axis.lower(), AXES[0])}",),
        axis=axis,
        levels=("utterance", "system"),
        coefficients=("pearson", "spearman"),
        interval="cluster",
        resamples=resamples,
        compare=False,
    )
    yield from correlate_ratings(ratings, settings).rows


def system_means(test: RatedTest) -> pd.DataFrame:
    """Returns mean ratings of each system by judge and listeners, with clean target and mixture first.

    Columns: system, n (estimates), ``saj_AXIS``, and one per axis of listeners, on the judge's scale.
    """
    names = [f"saj_{axis}" for axis in AXES]
    rows = test.ratings.without_controls
    estimates = rows.drop_duplicates(["item", "system"]).groupby("system", sort=True)
    human = rows.pivot_table(index="system", columns="axis", values="score")
    systems = estimates[names].mean().join(human).assign(n=estimates.size()).reset_index()
    known = test.controls.groupby("kind")
    controls = known[names].mean().assign(n=known.size()).reset_index(names="system")
    controls["system"] = controls["system"].map({"reference": "(clean target)", "mixture": "(mixture)"})
    return pd.concat([controls.sort_values("system"), systems], ignore_index=True)
