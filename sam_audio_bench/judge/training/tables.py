"""Reads examples from a table with one row per rating or mean, as ``sabench ratings import`` writes it, and file names.

Required columns are ``mixture``, ``target``, ``axis``, ``score``, and ``text``, ``spans`` or ``video``. Paths are
relative to the table. A table with one column per axis (``overall``, …) is also accepted. Without ``group`` every
mixture counts as its own recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.judge.training.examples import COLUMNS, Clip, Examples
from sam_audio_bench.judge.training.shards import is_shards, read_shards

__all__ = ["read_examples", "read_ratings"]

_OPTIONAL: Mapping[str, str] = {
    "text": "", "spans": "", "video": "", "domain": "all", "system": "all", "item": "", "group": "", "label": "",
    "kind": "",
}  # fmt: skip
_STIMULUS = ("mixture", "target", "text", "spans", "video", "domain", "system", "item", "group", "label", "kind")
_LOW, _HIGH = 1.0, 5.0


def read_examples(place: str | Path) -> Examples:
    """Reads examples from a table, an archive or a folder of archives.

    Raises:
        Precondition: the file does not exist. StoreError, UsageError: see `read_ratings` and `read_shards`.
    """
    path = Path(place)
    if is_shards(path):
        return read_shards(path)
    if not path.is_file():
        found = "a folder without archives" if path.is_dir() else "nothing"
        raise Precondition(f"expected a table of ratings or a folder of tar files at {path}, found {found}")
    return read_ratings(path)


def read_ratings(path: Path) -> Examples:
    """Reads the examples in a Parquet or CSV table.

    Scores of a table that states another scale, as ``sabench ratings import --scale`` does, are mapped to 1…5. Ratings
    by several raters are averaged; if a row is already a mean, ``n_raters`` is their number.

    Raises:
        StoreError: the table cannot be read.
        UsageError: a column or a file is missing, or a score is outside the scale.
    """
    frame, scale, flipped = _read(path)
    frame = _long(frame, path)
    unrated = int(frame["score"].isna().sum())
    frame = frame[frame["score"].notna()].copy()
    strange = sorted({str(axis) for axis in frame["axis"] if axis not in AXES})
    others = int((~frame["axis"].isin(AXES)).sum())
    for name, value in _OPTIONAL.items():
        frame[name] = frame[name].fillna(value).astype(str) if name in frame else value
    frame = frame[frame["axis"].isin(AXES)].reset_index(drop=True)
    if frame.empty or frame[["mixture", "target"]].isna().any().any():
        raise UsageError(
            f"expected rows with mixture, target and an axis among {', '.join(AXES)} in {path}, found none or gaps"
        )
    frame["score"] = _scaled(frame["score"].astype(float), scale, flipped, path)
    frame["raters"] = frame["n_raters"].fillna(1.0).astype(float) if "n_raters" in frame else 1.0
    found = _examples(_wide(frame), path).with_dropped("ratings without a score", unrated)
    return found.with_dropped(f"ratings of {', '.join(strange)}, which a judge does not have as axes", others)


def _read(path: Path) -> tuple[pd.DataFrame, tuple[float, float] | None, bool]:
    """Returns the table, its scale if it states one, and whether lower is better."""
    from sam_audio_bench.ratings.table import COLUMNS as TIDY
    from sam_audio_bench.ratings.table import Ratings

    try:
        if path.suffix == ".csv":
            return pd.read_csv(path, dtype=dict.fromkeys(_STIMULUS, str)), None, False
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"expected ratings in {path}, found no parquet or CSV that can be read ({error})") from error
    if not set(TIDY) <= set(frame):
        return frame, None, False
    ratings = Ratings.read(path)
    if ratings.votes:
        raise UsageError(
            f"expected ratings in {path}, found votes, which state which of two is better but not how good they are"
        )
    return ratings.without_controls.reset_index(drop=True), ratings.scale, ratings.direction == "lower"


def _long(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Returns one row per score."""
    axes = [axis for axis in AXES if axis in frame]
    if "axis" not in frame and axes:
        kept = [name for name in frame if name not in axes]
        frame = frame.melt(id_vars=kept, value_vars=axes, var_name="axis", value_name="score")
    missing = [name for name in ("mixture", "target", "axis", "score") if name not in frame]
    if missing or not {"text", "spans", "video"} & set(frame):
        names = ", ".join(missing) or "text, spans or video"
        raise UsageError(f"expected columns mixture, target, text, axis and score in {path}, found no {names}")
    return frame


def _scaled(scores: pd.Series, scale: tuple[float, float] | None, flipped: bool, path: Path) -> pd.Series:
    """Maps scores to 1…5, where higher is better."""
    low, high = scale or (_LOW, _HIGH)
    outside = (scores < low) | (scores > high)
    if outside.any():
        raise UsageError(
            f"expected scores between {low:g} and {high:g} in {path}, found {scores[outside].iloc[0]:g}; "
            "import the table with `sabench ratings import --scale LOW:HIGH`"
        )
    share = (scores - low) / (high - low)
    return _LOW + (_HIGH - _LOW) * ((1 - share) if flipped else share)


def _wide(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per stimulus: means by axis, weighted by raters, and the largest number of raters of an axis."""
    frame = frame.assign(total=frame["score"] * frame["raters"])
    sums = frame.groupby([*_STIMULUS, "axis"], sort=True, dropna=False)[["total", "raters"]].sum().reset_index()
    sums["mean"] = sums["total"] / sums["raters"]
    wide = sums.pivot_table(index=list(_STIMULUS), columns="axis", values="mean", dropna=True)
    raters = sums.groupby(list(_STIMULUS), sort=True)["raters"].max()
    return wide.reindex(columns=list(AXES)).rename_axis(columns=None).assign(raters=raters).reset_index()


def _examples(wide: pd.DataFrame, path: Path) -> Examples:
    places: dict[str, int] = {}
    for name in [*wide["mixture"], *wide["target"]]:
        places.setdefault(name, len(places))
    clips = tuple(Clip(_inside(path, name), "") for name in places)
    absent = [str(clip) for clip in clips if not clip.path.is_file()]
    if absent:
        raise UsageError(
            f"expected every mixture and target of {path} as a file, found no {absent[0]} ({len(absent)} absent)"
        )
    item = wide["item"].where(wide["item"] != "", wide["mixture"])
    rows = wide.assign(
        item=item,
        group=wide["group"].where(wide["group"] != "", item),
        query=item + "/" + wide["text"] + wide["spans"].where(wide["spans"] == "", "/" + wide["spans"]) + wide["video"],
        video=[str(_inside(path, name)) if name else "" for name in wide["video"]],
        mixture=wide["mixture"].map(places),
        answer=wide["target"].map(places),
    )
    return Examples(rows[list(COLUMNS)], clips)


def _inside(path: Path, name: str) -> Path:
    place = Path(name)
    return place if place.is_absolute() else path.parent / place
