"""Ratings know what was heard, wherever their table lies: what the training of a judge reads."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from sam_audio_bench.files import load_json
from sam_audio_bench.ratings.formats import ColumnChoice
from sam_audio_bench.ratings.importing import import_ratings
from sam_audio_bench.ratings.media import MEDIA_COLUMNS
from sam_audio_bench.ratings.options import ListeningTestOptions
from sam_audio_bench.ratings.plan import plan_test
from sam_audio_bench.ratings.table import Ratings
from sam_audio_bench.tasks.manifest_tables import parse_spans


def answers(test: Path) -> Path:
    """What the first rater of a planned page saved."""
    key = load_json(test / "key.json")
    given = [
        {"trial": name, "axes": {"overall": 3}, "seconds": 3.0, "played": True}
        for name in key["designs"]["trials"]["blocks"][0]
    ]
    document = {"schema": "sabench-listening-test", "version": 1, "test": key["test"], "rater": "ann", "session": "s"}
    (test / "ann.json").write_text(json.dumps({**document, "answers": given}))
    return test / "ann.json"


def read(table: Path) -> pd.DataFrame:
    """A parquet file with None for what is missing."""
    frame = pd.read_parquet(table).astype(object)
    return frame.where(frame.notna(), None)


def test_a_planned_test_comes_back_with_its_sounds(listening_runs: Path, tmp_path: Path) -> None:
    test = plan_test(
        [listening_runs], tmp_path / "test", ListeningTestOptions(raters=1, raters_per_item=1, anchors=True)
    ).folder
    imported = import_ratings([answers(test)], ColumnChoice(key=test / "key.json"))
    table = tmp_path / "elsewhere" / "ratings.parquet"
    imported.ratings.write(table)
    assert imported.notes == ()
    stored = read(table)
    again = Ratings.read(table).frame
    assert all(again[name].dtype == again["item"].dtype for name in MEDIA_COLUMNS), "texts, where none is there too"
    trials, mixtures = (load_json(test / "key.json")[name] for name in ("trials", "mixtures"))
    for row in stored.itertuples():
        trial = trials[row.trial]
        asked = mixtures[trial["mixture"]]
        assert (row.text, row.spans, row.video) == (asked["text"], asked["spans"], None)
        assert parse_spans(row.spans or "") == ((("+", 0.1, 0.3), ("-", 0.4, 0.5)) if row.spans else ())
        if row.kind == "trap":
            assert (row.mixture, row.target) == (None, None)
        else:
            assert row.target == f"../test/page/audio/{row.trial}.flac"
            assert row.mixture == f"../test/page/audio/{trial['mixture']}.flac"
            assert (table.parent / row.target).is_file()
            assert (table.parent / row.mixture).is_file()
    assert set(stored["kind"]) == {"rating", "hidden_reference", "anchor", "trap", "gold"}
    assert stored["spans"].notna().any()
    assert stored["spans"].isna().any()


@pytest.mark.parametrize("form", ["webmushra", "p808"])
def test_other_tools_have_the_sounds_too(listening_runs: Path, tmp_path: Path, form: str) -> None:
    test = plan_test([listening_runs], tmp_path / "test", ListeningTestOptions(items=2, formats=(form,))).folder
    key = load_json(test / "key.json")
    named = [name for name, trial in key["trials"].items() if trial["kind"] == "rating"]
    if form == "webmushra":
        head = "session_test_id,session_uuid,trial_id,rating_stimulus,rating_score,rating_time"
        rows = [f"t,u,{key['trials'][name]['mixture']},{name},60,1" for name in named]
        rows.append(rows[0].replace(named[0], "reference"))  # the control that has no name of its own
    else:
        head = "WorkerId,Answer.Q0,Answer.Q0_url"
        rows = [f"w,4,https://x.org/{name}.wav" for name in named]
    (tmp_path / "results.csv").write_text("\n".join([head, *rows]) + "\n")
    frame = import_ratings([tmp_path / "results.csv"], ColumnChoice(key=test / "key.json")).ratings.frame
    for row in frame.itertuples():
        assert Path(row.target).parent == Path(row.mixture).parent == test / form / "audio"
        assert Path(row.target).is_file()
        assert Path(row.mixture).is_file()
        assert key["trials"][Path(row.target).stem]["system"] == row.system


def test_sounds_that_were_moved_away_are_said(listening_runs: Path, tmp_path: Path) -> None:
    test = plan_test(
        [listening_runs], tmp_path / "test", ListeningTestOptions(raters=1, raters_per_item=1, items=2)
    ).folder
    (test / "page").rename(tmp_path / "published")
    (note, other) = import_ratings([answers(test)], ColumnChoice(key=test / "key.json")).notes
    assert re.match(r"2 of 2 files of mixture are not there, the first .*/test/page/audio/m\w+\.flac", note)
    assert "files of target are not there" in other


def test_paths_of_anyone_s_table_move_with_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "audio").mkdir(parents=True)
    for name in ("mix", "a", "b"):
        (data / "audio" / f"{name}.wav").touch()
    rows = ["ann,audio/mix.wav,audio/a.wav,p,a dog,+1:2,4", "ann,audio/mix.wav,audio/b.wav,q,a dog,,2"]
    (data / "own.csv").write_text("\n".join(["rater,mixture,target,system,text,spans,score", *rows]) + "\n")
    choice = ColumnChoice(roles={"item": "mixture"})
    ratings = import_ratings([data / "own.csv"], choice).ratings
    assert ratings.paths == ("mixture", "target")
    assert ratings.frame["item"].tolist() == ["audio/mix.wav"] * 2
    ratings.write(tmp_path / "r.parquet")
    assert pd.read_parquet(tmp_path / "r.parquet")["target"].tolist() == ["data/audio/a.wav", "data/audio/b.wav"]
    Ratings.read(tmp_path / "r.parquet").write(tmp_path / "deep" / "er" / "r.parquet")
    again = read(tmp_path / "deep" / "er" / "r.parquet")
    assert again["mixture"].tolist() == ["../../data/audio/mix.wav"] * 2
    assert again["text"].tolist() == ["a dog"] * 2
    assert again["spans"].tolist() == ["+1:2", None]


def test_names_that_are_no_files_stay_names(tmp_path: Path) -> None:
    """A table of recordings by name, as most are: the mixture is what statistics resample."""
    (tmp_path / "own.csv").write_text("rater,file,mixture,system,score\nann,x,song-1,p,4\nann,y,song-1,q,2\n")
    ratings = import_ratings([tmp_path / "own.csv"]).ratings
    ratings.write(tmp_path / "r" / "r.parquet")
    found = Ratings.read(tmp_path / "r" / "r.parquet")
    assert found.paths == ()
    assert found.frame["mixture"].tolist() == found.frame["group"].tolist() == ["song-1", "song-1"]


def test_media_columns_come_after_the_tidy_ones(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("note,video,rater,item,score,text\nn,v.mp4,ann,x,4,12\n")
    frame = import_ratings([tmp_path / "own.csv"]).ratings.frame
    assert list(frame)[-3:] == ["text", "video", "note"]
    assert frame.loc[0, "text"] == "12"
    assert set(MEDIA_COLUMNS) & set(frame) == {"text", "video"}


def test_a_judge_reads_what_a_planned_test_brought_back(listening_runs: Path, tmp_path: Path) -> None:
    """Answers of systems alone: controls screen raters and teach nothing."""
    tables = pytest.importorskip("sam_audio_bench.judge.training.tables")
    test = plan_test(
        [listening_runs], tmp_path / "test", ListeningTestOptions(raters=1, raters_per_item=1, anchors=True)
    ).folder
    ratings = import_ratings([answers(test)], ColumnChoice(key=test / "key.json")).ratings
    ratings.write(tmp_path / "elsewhere" / "ratings.parquet")
    examples = tables.read_examples(tmp_path / "elsewhere" / "ratings.parquet")
    assert len(examples.rows) == len(ratings.without_controls)
    assert set(examples.rows["system"]) == {"mixture", "secrethalf", "secretsilence"}
    assert {clip.path.resolve().parent for clip in examples.clips} == {(test / "page" / "audio").resolve()}
