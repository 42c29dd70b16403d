"""The parquet file keeps rows, types and what the scores mean."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from sam_audio_bench.cli import group
from sam_audio_bench.errors import BenchError, StoreError
from sam_audio_bench.ratings.describe import describe, scale_use
from sam_audio_bench.ratings.formats import ColumnChoice
from sam_audio_bench.ratings.importing import import_ratings
from sam_audio_bench.ratings.table import Ratings

TEXT = "rater,item,system,score,played,expected,kind,weight\na,x,p,1,yes,,rating,0.5\nb,x,p,4,no,4,gold,1\n"


@pytest.fixture
def ratings(tmp_path: Path) -> Ratings:
    path = tmp_path / "a.csv"
    path.write_text(TEXT)
    return import_ratings([path], scale=(1, 5), direction="lower").ratings


def test_round_trip(ratings: Ratings, tmp_path: Path) -> None:
    ratings = ratings.with_frame(ratings.frame, {"step": "screen", "dropped_rows": 0})
    ratings.write(tmp_path / "r.parquet")
    again = Ratings.read(tmp_path / "r.parquet")
    assert (again.scale, again.direction, again.votes, again.metrics) == ((1, 5), "lower", False, ())
    assert [dict(entry) for entry in again.history] == [{"step": "screen", "dropped_rows": 0}]
    plain = ratings.frame.astype("object")
    pd.testing.assert_frame_equal(again.frame.astype("object"), plain.where(plain.notna(), float("nan")))
    assert again.frame["played"].tolist() == [True, False]
    again.write(tmp_path / "s.parquet")
    assert (tmp_path / "s.parquet").read_bytes() == (tmp_path / "r.parquet").read_bytes()


def test_columns_without_a_value_keep_their_type(ratings: Ratings, tmp_path: Path) -> None:
    ratings.write(tmp_path / "r.parquet")
    schema = pd.read_parquet(tmp_path / "r.parquet", dtype_backend="pyarrow").dtypes.astype(str)
    assert schema["domain"] == schema["session"] == "string[pyarrow]"
    assert schema["time"] == "double[pyarrow]"


def test_any_parquet_file_with_the_columns_will_do(ratings: Ratings, tmp_path: Path) -> None:
    ratings.frame.to_parquet(tmp_path / "plain.parquet")
    found = Ratings.read(tmp_path / "plain.parquet")
    assert (found.scale, found.direction, found.votes) == (None, "higher", False)


def test_files_that_are_refused(ratings: Ratings, tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_text("no parquet")
    ratings.frame.drop(columns="axis").to_parquet(tmp_path / "less.parquet")
    for name, message in [
        ("absent.parquet", "ratings import"),
        ("bad.parquet", "ratings import"),
        ("less.parquet", "axis"),
    ]:
        with pytest.raises(BenchError, match=message):
            Ratings.read(tmp_path / name)


def test_describe(ratings: Ratings) -> None:
    facts = describe(ratings)
    assert facts["counts"] == {
        "rows": 2, "raters": 2, "items": 1, "groups": 1, "domains": 0, "sessions": 0, "systems": 1,
    }  # fmt: skip
    assert facts["controls"] == {"gold": 1}
    (axis,) = facts["axes"]
    assert (axis["n"], axis["mean"], axis["sd"], axis["raters_max"], axis["repeated"]) == (1, 1, None, 1, 0)


def test_describe_counts_repeats(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("rater,item,score,trial\na,x,1,1\na,x,2,2\nb,x,2,1\na,y,5,3\n")
    (axis,) = describe(import_ratings([path]).ratings)["axes"]
    assert (axis["repeated"], axis["raters_min"], axis["raters_median"], axis["raters_max"]) == (1, 1, 1.5, 2)


def test_scale_use_counts_everything_once() -> None:
    steps = scale_use(pd.Series([1.0, 1, 3, 5]), (1, 5))
    assert [(step["low"], step["count"]) for step in steps] == [(1, 2), (2, 0), (3, 1), (4, 0), (5, 1)]
    bins = scale_use(pd.Series([0.0, 5, 99.5, 100]), (0, 100))
    assert len(bins) == 10
    assert [entry["count"] for entry in bins] == [2, *[0] * 8, 2]
    assert scale_use(pd.Series([2.0, 2]), (2, 2))[0]["count"] == 2


def test_exports_run_no_formula_and_come_back(tmp_path):
    names = ["=1+1", "+sum", "-3 dB", "@x", "'=quoted", "'plain", "-3.5", "a=b", "\t=tab"]
    rows = "".join(f'r{at},"{name}",-2,{at % 5 + 1}\n' for at, name in enumerate(names))
    (tmp_path / "a.csv").write_text("rater,item,system,score\n" + rows)
    ratings = import_ratings([tmp_path / "a.csv"]).ratings
    names = [name.strip() for name in names]
    ratings = ratings.with_frame(ratings.frame.assign(item=names))  # as another table may have them
    ratings.write(tmp_path / "r.parquet")
    done = CliRunner().invoke(
        group, ["ratings", "agreement", str(tmp_path / "r.parquet"), "--mos", str(tmp_path / "m.csv")]
    )
    assert done.exit_code == 0, done.output
    cells = list(csv.DictReader((tmp_path / "m.csv").read_text().splitlines()))
    assert {row["item"] for row in cells} == {
        "'=1+1", "'+sum", "'-3 dB", "'@x", "''=quoted", "'plain", "-3.5", "a=b", "'=tab",
    }  # fmt: skip
    again = import_ratings([tmp_path / "m.csv"], ColumnChoice(score=("raw_value",))).ratings.frame
    assert set(again["item"]) == set(names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.assign(score="bad"), "numbers in column score"),
        (lambda frame: frame.drop(columns="rater"), "no column rater"),
        (lambda frame: frame.iloc[:0], "found no rows"),
    ],
)
def test_tables_of_others_that_are_refused(tmp_path, change, message):
    frame = import_ratings([write_long(tmp_path)]).ratings.frame
    change(frame).to_parquet(tmp_path / "r.parquet")
    with pytest.raises(StoreError, match=message):
        Ratings.read(tmp_path / "r.parquet")


@pytest.mark.parametrize(
    "facts", [b"{", b"[]", b'{"scale": [1]}', b'{"scale": "x"}', b'{"version": "new"}', b'{"direction": "up"}', b"\xff"]
)
def test_metadata_that_are_damaged(tmp_path, facts):
    import_ratings([write_long(tmp_path)]).ratings.write(tmp_path / "r.parquet")
    table = parquet.read_table(tmp_path / "r.parquet")
    parquet.write_table(
        table.replace_schema_metadata({b"sam_audio_bench.ratings": facts}), tmp_path / "r.parquet"
    )  # fmt: skip
    with pytest.raises(StoreError, match="found damaged metadata"):
        Ratings.read(tmp_path / "r.parquet")


def write_long(folder):
    (folder / "a.csv").write_text("rater,item,score\na,x,1\nb,x,5\n")
    return folder / "a.csv"
