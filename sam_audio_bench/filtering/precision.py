"""Estimates how many kept labels are right, from the ratings of a random sample in a listening test."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.files import atomic_write
from sam_audio_bench.filtering.expression import Condition, check_columns
from sam_audio_bench.filtering.pool import column_values
from sam_audio_bench.filtering.writing import LISTENING, MANIFEST, SAMPLE, SOUNDS
from sam_audio_bench.ratings.options import ListeningTestOptions
from sam_audio_bench.ratings.plan import PlannedTest, plan_test
from sam_audio_bench.ratings.table import Ratings
from sam_audio_bench.run.evaluate import evaluate
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.stats.verdict import BASELINE
from sam_audio_bench.tabular import format_csv, parse_table, read_text

__all__ = ["Precision", "check_sample", "estimate_precision", "plan_sample"]

_RATED = ("item", "axis", "score")  # columns of ratings that are read
_RUNS = "sample"


@dataclass(frozen=True, kw_only=True)
class Precision:
    """The precision of the kept labels, estimated from ratings."""

    correct: int
    rated: int  # labels of the sample that are rated and still kept
    low: float  # lower and upper end of the 95 % interval
    high: float
    undefined: int  # rated, but not on the axes of the condition; not counted
    foreign: int  # rated, but not in the sample or no longer kept; not counted
    condition: str

    @property
    def share(self) -> float:
        """The share of rated labels that are right."""
        return self.correct / self.rated

    @property
    def _left_out(self) -> str:
        """The number of rated items that are not counted, by reason; "" if all are counted."""
        reasons = {"not of the sample or not kept": self.foreign, "without a rating that decides": self.undefined}
        listed = ", ".join(f"{count} {why}" for why, count in reasons.items() if count)
        return f"; not counted: {listed}" if listed else ""

    def __str__(self) -> str:
        return (
            f"{self.correct} of {self.rated} rated labels are right ({self.condition}): precision {self.share:.3f} "
            f"[{self.low:.3f}, {self.high:.3f}]{self._left_out}"
        )


def check_sample(out: Path, *, drawn: bool, rated: Path | None) -> None:
    """Checks, before any work, that a sample can be drawn, or that its ratings can be read.

    Args:
        out: the output folder.
        drawn: whether a sample will be drawn; an existing test would have other labels.
        rated: ratings of the sample.

    Raises:
        Precondition: there is a test already. UsageError: there is no sample, or the ratings cannot be read.
    """
    if drawn and (out / LISTENING).exists():
        raise Precondition(
            f"expected no listening test at {out / LISTENING}, found one; rate it (--rated), or move the folder away"
        )
    if rated is not None:
        _read_ratings(rated)
        if not drawn:
            _read_ids(out / SAMPLE)


def plan_sample(out: Path, size: int, *, seed: int, raters: int) -> PlannedTest:
    """Draws kept labels at random and makes a listening test of them; the same labels and seed give the same test.

    Args:
        out: folder with the manifest.
        size: number of labels; all are drawn if there are fewer.
        seed: seed of the draw and of the test.
        raters: number of raters per label.
    """
    rows = list(csv.DictReader(io.StringIO(read_text(out / MANIFEST))))
    drawn = np.random.default_rng([seed, len(rows)]).permutation(len(rows))[:size]
    _write_sample(out / SAMPLE, [rows[at] for at in sorted(drawn)])
    results = evaluate(
        f"files:{out / SOUNDS}", [str(out / SAMPLE)], metrics=("reconstruction_db",), output=out / _RUNS, progress=False
    )
    (run,) = (Path(run) for run in results.runs if RunFolder.open(Path(run)).header.model.name != BASELINE)
    options = ListeningTestOptions(
        raters_per_item=raters, seed=seed, hidden_reference=False, golds=0, name="Are these labels right?"
    )
    return plan_test([run], out / LISTENING, options)


def _write_sample(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Writes questions without their targets; a row with a text has no spans, since spans come from the target."""
    columns = ("mixture", "text", "spans", "group", "id")
    own = ({**{name: row[name] for name in columns}, **({"spans": ""} if row["text"] else {})} for row in rows)
    text = format_csv(columns, own)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def estimate_precision(rated: Path, out: Path, kept: Collection[str], condition: Condition) -> Precision:
    """Estimates the share of right labels from the rated ones of the sample, with an exact interval.

    Labels outside the sample are not counted, since it is unknown how they were chosen. Labels that are no longer kept
    are not counted either; the others are a random sample of the labels that both choices keep.

    Args:
        rated: the output of `sabench ratings import`, or a CSV with item, axis and score.
        out: folder with the sample.
        kept: ids of the kept labels.
        condition: condition on the axes, whose values are means over the raters of a label.

    Raises:
        UsageError: there is no table of ratings, it does not have an axis, or no label of the sample is rated.
    """
    from scipy.stats import binomtest

    frame = _read_ratings(rated)
    wide = frame.groupby(["item", "axis"])["score"].mean().unstack("axis")
    check_columns(condition.columns, [str(axis) for axis in wide.columns], "--correct")
    known = _read_ids(out / SAMPLE) & set(kept)
    own = wide[wide.index.isin(known)]
    if own.empty:
        raise UsageError(
            f"expected ratings of labels in {out / SAMPLE} that are kept, found none of {len(wide)} items in {rated}; "
            "make the sample with --sample"
        )
    decision = condition.decide({name: column_values(own[name]) for name in condition.columns})
    correct, counted = int(decision.true.sum()), int((~decision.undefined).sum())
    if not counted:
        raise UsageError(f"expected ratings on {', '.join(condition.columns)}, found none of the sample in {rated}")
    interval = binomtest(correct, counted).proportion_ci(0.95, method="exact")
    return Precision(
        correct=correct, rated=counted, low=float(interval.low), high=float(interval.high),
        undefined=len(own) - counted, foreign=len(wide) - len(own), condition=condition.text,
    )  # fmt: skip


def _read_ids(path: Path) -> set[str]:
    if not path.is_file():
        raise UsageError(f"expected the sample at {path}, found none; make it with --sample, and have it rated")
    return {row["id"] for row in csv.DictReader(io.StringIO(read_text(path)))}


def _read_ratings(path: Path) -> pd.DataFrame:
    """Reads items, axes and scores of ratings, without those of trap and control stimuli."""
    if path.suffix.lower() == ".parquet":
        return Ratings.read(path).without_controls[list(_RATED)].dropna()
    try:
        table = parse_table(read_text(path))
    except OSError as error:
        raise UsageError(f"expected ratings at {path}, found none ({error})") from error
    if missing := [name for name in _RATED if name not in table.names]:
        raise UsageError(f"expected ratings with columns {', '.join(_RATED)} in {path}, found no {', '.join(missing)}")
    frame = pd.DataFrame([cells for _, cells in table.rows], columns=table.names)
    if "kind" in frame:
        frame = frame[frame["kind"].isin(["", "rating"])]
    scores = pd.to_numeric(frame["score"], errors="coerce")
    scores = scores.where(np.isfinite(scores))
    if (bad := scores.isna() & (frame["score"].str.strip() != "")).any():
        raise UsageError(f"expected numbers as scores in {path}, found {frame['score'][bad].iloc[0]!r}")
    return frame.assign(score=scores)[list(_RATED)].dropna()
