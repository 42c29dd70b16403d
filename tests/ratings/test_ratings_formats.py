"""Files of listening tests as they come: every format, every guess, every way to be wrong."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.csv
import pytest

from sam_audio_bench.errors import BenchError, Precondition, UsageError
from sam_audio_bench.ratings.formats import FORMATS, ColumnChoice
from sam_audio_bench.ratings.importing import ImportResult, import_ratings
from sam_audio_bench.ratings.table import COLUMNS, VOTE_COLUMNS, guess_scale, parse_scale

LONG = """rater,item,system,score
ann,dog,x,1
ann,cat,x,2
ann,dog,y,3
bob,dog,x,2
bob,cat,x,4
bob,dog,y,5
"""


@pytest.fixture
def read(tmp_path: Path):
    """Imports texts, each as a file of its name."""

    def _read(text: str | bytes = LONG, *more: str, name: str = "answers.csv", **options) -> ImportResult:
        paths = []
        for at, content in enumerate((text, *more)):
            path = tmp_path / f"{at}-{name}"
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            paths.append(path)
        known = {key: options.pop(key) for key in ("format", "scale", "direction") if key in options}
        return import_ratings(paths, ColumnChoice(**options), **known)

    return _read


def scores(imported: ImportResult) -> dict[tuple[str, str, str], float]:
    frame = imported.ratings.frame
    return {(r.rater, r.item, r.system): r.score for r in frame.itertuples()}


def test_long(read):
    imported = read()
    frame = imported.ratings.frame
    assert tuple(frame.columns) == COLUMNS
    assert scores(imported)["bob", "cat", "x"] == 4
    assert set(frame["axis"]) == {"score"}
    assert (frame["group"] == frame["item"]).all()
    assert imported.ratings.scale == (1, 5)
    assert imported.readings[0].columns == {"rater": "rater", "item": "item", "system": "system", "score": "score"}
    assert any("scale guessed" in note for note in imported.notes)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("rater,item,system,score", " Listener ID , file_name , Model,Rating"),
        lambda text: text.replace(",2\n", ',"2,0"\n'),
        lambda text: text.replace(",", ";").replace(";4\n", ";4,0\n"),
    ],
    ids=["bom", "semicolons", "tabs", "crlf", "other names", "quoted comma decimal", "comma decimal"],
)
def test_long_in_other_clothes(read, change):
    assert scores(read(change(LONG))) == scores(read())


def test_comma_decimals_are_not_thousands(read):
    found = read("rater;item;score\na;x;3,5\na;y;4\nb;x;1,25\nb;y;2\n")
    assert sorted(found.ratings.frame["score"]) == [1.25, 2, 3.5, 4]
    with pytest.raises(UsageError, match=r"found '1,250.5' in row 2"):
        read("rater;item;score\na;x;1,250.5\nb;x;2\n")


def test_options_override_every_guess(read):
    text = "who,what,rater,points,song\na,x,ignored,7,s1\nb,x,ignored,9,s1\n"
    roles = {"rater": "who", "item": "what", "group": "song", "domain": "=music", "axis": "=clarity", "system": "=m"}
    imported = read(text, roles=roles, score=("points",), scale=(0.0, 10.0), direction="lower")
    row = imported.ratings.frame.iloc[0]
    assert (row["rater"], row["item"], row["group"], row["domain"]) == ("a", "x", "s1", "music")
    assert (row["axis"], row["system"], row["score"]) == ("clarity", "m", 7)
    assert (imported.ratings.scale, imported.ratings.direction) == ((0, 10), "lower")
    assert list(imported.ratings.frame["rater_"]) == ["ignored"] * 2


def test_columns_that_nobody_knows_are_kept(read):
    frame = read("rater,item,score,age,device\na,x,1,30,phone\nb,x,2,41,\n").ratings.frame
    assert list(frame["age"]) == [30, 41]
    assert frame["device"].iloc[0] == "phone"
    assert pd.isna(frame["device"].iloc[1])


def test_axes_of_the_judge_are_scores_of_their_own(read):
    frame = read("rater,item,overall,recall\na,x,4,5\nb,x,2,\n").ratings.frame
    assert frame.groupby("axis")["score"].apply(list).to_dict() == {"overall": [4, 2], "recall": [5]}


def test_several_score_columns(read):
    frame = read("rater,item,sharp,loud\na,x,4,5\nb,x,2,1\n", score=("sharp", "loud")).ratings.frame
    assert frame.groupby("axis")["score"].apply(list).to_dict() == {"sharp": [4, 2], "loud": [5, 1]}


def test_known_metrics_beside_scores(read):
    imported = read("rater,item,score,si_sdr,shoe_size\na,x,1,3.5,44\nb,x,2,3.5,39\n")
    assert imported.ratings.metrics == ("si_sdr",)
    assert read("rater,item,score,m\na,x,1,3\nb,x,2,3\n", metrics=("m",)).ratings.metrics == ("m",)
    with pytest.raises(UsageError, match="'device'"):
        read("rater,item,score,device\na,x,1,q\nb,x,2,q\n", metrics=("device",))


def test_rows_without_raters_are_means_or_anonymous(read):
    means = read("item,system,mos,n\nx,p,3.5,8\nx,q,2.5,9\n").ratings
    assert set(means.frame["rater"]) == {"mean"}
    assert list(means.frame["n_raters"]) == [8, 9]
    assert means.anonymous
    alone = read("item,score\nx,3\nx,4\ny,2\n").ratings
    assert list(alone.frame["rater"]) == ["anonymous-01", "anonymous-02", "anonymous-01"]
    assert alone.anonymous


def test_pattern_takes_the_item_apart(read):
    text = "rater,url,score\na,http://h/sys1/clip_3.wav,4\nb,http://h/sys2/clip_3.wav,1\n"
    frame = read(text, pattern=r"(?P<system>[^/]+)/(?P<item>[^/]+)\.wav$").ratings.frame
    assert list(frame["system"]) == ["sys1", "sys2"]
    assert set(frame["item"]) == {"clip_3"}
    for pattern, message in [
        ("(", "regular expression"),
        (r"(?P<rate>x)", "groups"),
        (r"(?P<item>zz)", "without a match"),
    ]:
        with pytest.raises(UsageError, match=message):
            read(text, pattern=pattern)


WIDE = """file_id,model_name,group_id,subject_rating_0,subject_rating_1,rating_0,rating_1,MOS,sdr
f1,p,g0,ann,bob,1,2,1.5,-3.5
f2,p,g0,ann,bob,4,,4,2.25
f1,q,g1,bob,eve,5,3,4,8
f2,q,g1,bob,eve,2,2,2,1
"""


def test_wide(read):
    imported = read(WIDE)
    found = scores(imported)
    assert len(found) == 7
    assert found["bob", "f1", "q"] == 5
    assert found["bob", "f1", "p"] == 2
    assert imported.readings[0].format == "wide"
    assert imported.ratings.metrics == ("sdr",)
    frame = imported.ratings.frame
    assert set(frame["axis"]) == {"MOS"}, "the column of the means names the axis"
    assert frame.set_index(["item", "system", "rater"])["sdr"]["f2", "p", "ann"] == 2.25
    assert set(frame["session"]) == {"g0", "g1"}, "who rates is decided by the group: it is no recording"
    assert set(frame["group"]) == {"f1", "f2"}


def test_wide_with_a_column_a_rater(read):
    text = "item,system,rater_1,rater_2,rater_3\nx,p,1,2,3\ny,p,4,,5\n"
    found = scores(read(text))
    assert found == {(f"rater_{n}", "x", "p"): n for n in (1, 2, 3)} | {
        ("rater_1", "y", "p"): 4,
        ("rater_3", "y", "p"): 5,
    }
    named = read("item,ann,bob\nx,1,2\n", format="wide", score=("ann", "bob"), roles={"axis": "=ease"})
    assert [(r.rater, r.axis, r.score) for r in named.ratings.frame.itertuples()] == [
        ("ann", "ease", 1),
        ("bob", "ease", 2),
    ]


def test_wide_with_several_axes(read):
    text = "item,clarity_1,clarity_2,ease_1,ease_2\nx,1,2,3,4\n"
    frame = read(text, format="wide", score=("clarity_*", "ease_*")).ratings.frame
    assert frame.groupby("axis")["score"].apply(list).to_dict() == {"clarity": [1, 2], "ease": [3, 4]}


def test_wide_names_the_missing_rater(read):
    with pytest.raises(UsageError, match="expected a rater for every score"):
        read(WIDE.replace("g0,ann,bob,1,2", "g0,,bob,1,2"))
    with pytest.raises(UsageError, match="none that match 'zz"):
        read(WIDE, format="wide", score=("zz_*",))
    with pytest.raises(UsageError, match="found 'good' in row 3"):
        read(WIDE.replace("bob,4,,4", "bob,good,,4"))


def test_lists(read):
    lines = [{"data_path": "a/x.wav", "PQ": [8, 7.5, None], "CE": [1]}, {"data_path": "a/y.wav", "PQ": [3], "CE": []}]
    text = "\n".join(map(json.dumps, lines))
    imported = read(text, name="one.jsonl")
    frame = imported.ratings.frame
    assert imported.readings[0].format == "lists"
    assert frame[frame["axis"] == "PQ"]["score"].tolist() == [8, 7.5, 3]
    assert frame["rater"].tolist() == ["anonymous-01", "anonymous-02", "anonymous-01", "anonymous-01"]
    assert imported.ratings.anonymous
    both = read(text, text.replace("/x", "/v").replace("/y", "/w"), name="set.jsonl").ratings.frame
    assert set(both["domain"]) == {"0-set", "1-set"}
    with pytest.raises(UsageError, match="lists of scores"):
        read(text, name="one.jsonl", score=("PC",))


def test_webmushra(read):
    text = """session_test_id,email,age,session_uuid,trial_id,rating_stimulus,rating_score,rating_time,rating_comment
t,,30,u1,song1,reference,100,5000,
t,,30,u1,song1,anchor35,12,5000,
t,,30,u1,song1,C1,64,5000,fine
t,,41,u2,song1,C1,71,900,
"""
    imported = read(text)
    frame = imported.ratings.frame
    assert imported.readings[0].format == "webmushra"
    assert frame["kind"].tolist() == ["hidden_reference", "anchor", "rating", "rating"]
    assert frame["time"].tolist() == [5, 5, 5, 0.9]
    assert imported.ratings.scale == (0, 100)
    assert frame["system"].tolist()[2:] == ["C1", "C1"]
    assert frame["rater"].tolist()[2:] == ["u1", "u2"]
    assert len(imported.ratings.without_controls) == 2
    assert frame["age"].tolist() == [30, 30, 30, 41]


def test_webmushra_pairs(read):
    text = """session_test_id,session_uuid,trial_id,choice_reference,choice_non_reference,choice_answer,choice_time,note
t,u1,s1,p,q,reference,1000,
t,u1,s2,p,q,q,1000,
t,u2,s1,p,q,undecided,1000,
"""
    imported = read(text)
    assert imported.ratings.votes
    assert imported.ratings.frame["choice"].tolist() == ["first", "second", "tie"]


P808 = """HITId,AssignmentId,WorkerId,WorkTimeInSeconds,Input.Q1,Input.Q2,Input.Q3,Input.TP,Input.TP_ANS,\
Input.gold_clip,Input.gold_clip_ans,Answer.Q1,Answer.Q2,Answer.Q3,\
Answer.audio_n_finish_Q1,Answer.audio_n_finish_Q2,Answer.audio_n_finish_Q3
h,as1,w1,60,u/a.wav,u/trap.wav,u/gold.wav,u/trap.wav,2,u/gold.wav,5,4,2,5,1,1,2
h,as2,w2,50,u/b.wav,u/trap.wav,u/gold.wav,u/trap.wav,2,u/gold.wav,5,3,1,3,0,1,1
"""


def test_p808(read):
    imported = read(P808)
    frame = imported.ratings.frame.set_index(["rater", "trial"])
    assert imported.readings[0].format == "p808"
    assert frame["kind"].to_dict() == {
        (worker, question): kind
        for worker in ("w1", "w2")
        for question, kind in (("q1", "rating"), ("q2", "trap"), ("q3", "gold"))
    }
    assert frame["expected"]["w1", "q2"] == 2
    assert frame["played"]["w2", "q1"] == np.False_
    assert frame["item"]["w2", "q1"] == "u/b.wav"
    assert frame["session"]["w2", "q1"] == "as2"
    assert frame["WorkTimeInSeconds"]["w2", "q1"] == 50
    assert imported.ratings.scale == (1, 5)


@pytest.mark.parametrize("suffix", ["votes_per_worker", "votes_per_clip"])
def test_p808_summaries_are_long_tables(read, suffix):
    text = {
        "votes_per_worker": "HITId,workerid,file,vote\nh,w1,a.wav,4\nh,w2,a.wav,3\n",
        "votes_per_clip": "file_url,n,MOS,std,95%CI\na.wav,9,3.5,0.4,0.2\nb.wav,8,2.5,0.5,0.3\n",
    }[suffix]
    imported = read(text)
    assert imported.readings[0].format == "long"
    assert imported.ratings.anonymous == (suffix == "votes_per_clip")


def document(**changes) -> dict:
    answers = [
        {"trial": 0, "item": "dog", "group": "g", "system": "p", "domain": "sfx", "kind": "rating", "expected": None,
         "axes": {"overall": 4, "recall": 3}, "seconds": 9.5, "played": True},
        {"trial": 1, "item": "cat", "group": "g", "system": "q", "domain": "sfx", "kind": "trap", "expected": 2,
         "axes": {"overall": 2}, "seconds": 3.0, "played": True},
    ]  # fmt: skip
    whole = {
        "schema": "sabench-listening-test",
        "version": 1,
        "test": "t",
        "rater": "ann",
        "session": "s",
        "answers": answers,
    }
    return whole | changes


def test_page(read):
    imported = read(json.dumps(document()), json.dumps(document(rater="bob", session="s2")), name="answers.json")
    frame = imported.ratings.frame
    assert [reading.format for reading in imported.readings] == ["page", "page"]
    assert len(frame) == 6
    first = frame.iloc[0]
    assert (first["rater"], first["item"], first["system"], first["axis"], first["score"]) == (
        "ann",
        "dog",
        "p",
        "overall",
        4,
    )
    assert (first["time"], first["trial"], first["session"], first["domain"]) == (9.5, "0", "s", "sfx")
    assert frame["kind"].tolist()[:3] == ["rating", "rating", "trap"]
    assert frame["expected"].tolist()[2] == 2
    assert imported.ratings.axes == ["overall", "recall"]


def key(**trials: dict) -> dict:
    rest = {"group": "g", "task": "sfx", "domain": "sfx", "kind": "rating", "expected": None, "mixture": "m1"}
    known = {name: {**rest, "audio": f"page/audio/{name}.flac", **entry} for name, entry in trials.items()}
    mixtures = {"m1": {"text": "a dog", "spans": "+1.0:2.0", "audio": "page/audio/m1.flac"}}
    return {"schema": "sabench-listening-key", "version": 1, "test": "t", "trials": known, "mixtures": mixtures}


def test_webmushra_names(read):
    """Who gave a name is known by it, unless somebody gave none."""
    head = "session_test_id,rater,session_uuid,trial_id,rating_stimulus,rating_score,rating_time\n"
    named = read(head + "t,ann,u1,x,C1,60,1\nt,ann,u2,y,C1,60,1\n").ratings.frame
    assert named["rater"].tolist() == ["ann", "ann"]
    assert read(head + "t,ann,u1,x,C1,60,1\nt,,u2,y,C1,60,1\n").ratings.frame["rater"].tolist() == ["u1", "u2"]


def test_webmushra_pairs_that_mean_nothing(read):
    text = "session_uuid,trial_id,choice_reference,choice_non_reference,choice_answer\nu1,s1,p,q,perhaps\n"
    with pytest.raises(UsageError, match="found 'perhaps' in row 2"):
        read(text)


def test_page_with_its_key(read, tmp_path):
    path = tmp_path / "key.json"
    path.write_text(json.dumps(key(k7={"item": "dog", "system": "p"})))
    answers = [{"trial": "k7", "axes": {"overall": 4}, "seconds": 2.0, "played": True}]
    frame = read(json.dumps(document(answers=answers)), name="answers.json", key=path).ratings.frame
    assert frame.loc[0, ["item", "system", "group", "trial", "task"]].tolist() == ["dog", "p", "g", "k7", "sfx"]
    with pytest.raises(UsageError, match="found 'k8'"):
        read(json.dumps(document(answers=[{**answers[0], "trial": "k8"}])), name="answers.json", key=path)
    with pytest.raises(UsageError, match="--key with ratings of page, webmushra or p808"):
        read(key=path)


def test_webmushra_with_its_key(read, tmp_path):
    path = tmp_path / "key.json"
    reference = {"item": "dog", "system": "reference", "kind": "hidden_reference"}
    path.write_text(json.dumps(key(k7={"item": "dog", "system": "p"}, k8=reference)))
    head = "session_test_id,session_uuid,trial_id,rating_stimulus,rating_score,rating_time"
    text = f"{head}\nt,u,m1,k7,60,1\nt,u,m1,reference,99,1\n"
    frame = read(text, key=path).ratings.frame
    assert frame["item"].tolist() == ["dog", "dog"]
    assert frame["system"].tolist() == ["p", "reference"]
    assert frame["kind"].tolist() == ["rating", "hidden_reference"]
    votes = "session_uuid,trial_id,choice_reference,choice_non_reference,choice_answer\nu1,s1,p,q,p\n"
    with pytest.raises(UsageError, match="found pairwise votes of webmushra"):
        read(votes, key=path)
    path.write_text("[]")
    with pytest.raises(UsageError, match="sabench-listening-key 1, found another file"):
        read(text, key=path)


def test_files_of_different_scales(read):
    mushra = "session_test_id,session_uuid,trial_id,rating_stimulus,rating_score,rating_time\nt,u,m1,k7,60,1\n"
    with pytest.raises(UsageError, match="files of one scale, found 0:100 and 1:5; import them apart"):
        read(mushra, P808)
    assert read(mushra, P808, scale=(0.0, 100.0)).ratings.scale == (0, 100)


def test_rows_without_a_score_are_counted(read):
    imported = read("rater,item,score\na,x,1\na,y,nan\nb,x,\nb,y,2\n")
    assert len(imported.ratings.frame) == 2
    assert any(note.startswith("2 rows of") and note.endswith("have no score: left out") for note in imported.notes)
    assert not any("no score" in note for note in read().notes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "found sabench-listening-test 2"),
        ({"rater": " "}, "expected a rater and a list of answers"),
        ({"answers": []}, "found none"),
        ({"answers": [{"trial": 0, "axes": {"overall": 3}}]}, "--key key.json"),
    ],
)
def test_page_that_cannot_be_read(read, changes, message):
    with pytest.raises(UsageError, match=message):
        read(json.dumps(document(**changes)), name="answers.json")


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("voter,clip,model_a,model_b,winner\nr,c,p,q,model_a\nr,c,p,q,tie (bothbad)\n", ["first", "tie"]),
        ("rater,item,first,second,choice\nr,c,p,q,2\ns,c,p,q,0\n", ["second", "tie"]),
        ("rater,item,left,right,preference\nr,c,p,q,Right\ns,c,p,q,left\n", ["second", "first"]),
        ("a,b,vote\np,q,p\nq,p,p\n", ["first", "second"]),
    ],
)
def test_votes(read, text, choices):
    imported = read(text)
    assert imported.ratings.votes
    assert imported.ratings.frame["choice"].tolist() == choices
    assert tuple(imported.ratings.frame.columns) == VOTE_COLUMNS
    assert imported.ratings.scale is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rater,first,second,choice\nr,p,q,perhaps\n", "found 'perhaps' in row 2"),
        ("rater,first,second,choice\nr,p,q,first\nr,p,p,first\n", "found one in row 3"),
        ("rater,first,second,choice\nr,p,,first\n", "found none in row 2"),
    ],
)
def test_votes_that_mean_nothing(read, text, message):
    with pytest.raises(UsageError, match=message):
        read(text)


def test_duplicated_votes_count_once_and_repeats_are_said(read):
    row = "ann,c,p,q,first,7\n"
    imported = read("rater,item,first,second,choice,note\n" + row + row + row.replace(",7", ",8"))
    assert len(imported.ratings.frame) == 2
    assert "1 rows repeat another one in every column: each counts once" in imported.notes
    assert any("further answer to the same comparison" in note for note in imported.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found an empty file"),
        (" \n\n", "found an empty file"),
        ("rater,item,score\n", "found column names alone"),
        ("rater,item,score\na,x,\nb,x,NA\n", "found none in any row"),
        ("rater,item,score\na,x,fine\n", "expected numbers in column score, found 'fine' in row 2"),
        ("rater,item,score\na,x,inf\n", "found 'inf' in row 2"),
        ("rater,item,score\na,x,1,2\n", "expected rows of 3 columns"),
        ("rater,item,score\na,x,1\nb,x,2,3\n", "expected rows of 3 columns"),
        ("rater,rater,score\na,x,1\n", "found 'rater' twice"),
        ("rater,item,score\n,x,1\nb,x,2\n", "expected a rater for every score"),
        ("rater,item,score\na,,1\n", "expected an item for every score"),
        ("rater,score\na,1\n", "--item COLUMN"),
        ("wind,rain\n1,2\n", "none of which looks like a score"),
        (b"rater,item,score\n\xff,x,1\n", "another encoding in row 2"),
        (b"\x00\x01\x02", "found a binary file"),
        (b"PK\x03\x04spreadsheet", "found a binary file"),
        ("rater,item,score\na,x,1\n".encode("utf-16"), "or UTF-16"),
    ],
)
def test_files_that_are_refused(read, text, message):
    with pytest.raises(UsageError, match=message):
        read(text)


def test_other_refusals(read, tmp_path):
    with pytest.raises(Precondition, match="found none"):
        import_ratings([tmp_path / "absent.csv"])
    with pytest.raises(Precondition, match="found a folder; name the files in it"):
        import_ratings([tmp_path])
    with pytest.raises(UsageError, match=f"expected a format of {', '.join(FORMATS)}, found 'excel'"):
        read(format="excel")
    with pytest.raises(UsageError, match="expected JSON"):
        read('{"data_path": ', name="x.jsonl")
    with pytest.raises(UsageError, match="JSON objects"):
        read("[1, 2]", name="x.json")
    with pytest.raises(UsageError, match="found both"):
        read(LONG, "a,b,vote\np,q,p\n")
    with pytest.raises(UsageError, match="--rater to name a column"):
        read(roles={"rater": "who"})
    with pytest.raises(UsageError, match="--score to name columns"):
        read(format="long", score=("points",))
    (tmp_path / "x.parquet").write_text("no parquet")
    with pytest.raises(BenchError, match="damaged"):
        import_ratings([tmp_path / "x.parquet"])


def test_scores_outside_the_scale(read):
    with pytest.raises(UsageError, match="between 1 and 4, found 1 outside, the first 5 by bob for dog"):
        read(scale=(1.0, 4.0))
    assert len(read(scale=(1.0, 4.0), missing=("5",)).ratings.frame) == 5


@pytest.mark.parametrize("zero", ["0", "0.0", "0,0", "0e0"])
def test_a_score_that_means_no_answer_in_any_notation(read, zero):
    found = read(f"rater;item;score\na;x;1\nb;x;{zero}\na;y;2\n", missing=("0",))
    assert scores(found) == {("a", "x", None): 1, ("a", "y", None): 2}
    lists = read(json.dumps({"path": "x.wav", "quality": [3.0, 0.0, 4]}), name="x.jsonl", missing=("0",))
    assert sorted(lists.ratings.frame["score"]) == [3, 4]


def test_missing_raters_leave_gaps_not_zeros(read):
    found = read("item,r_1,r_2,r_3\nx,1,,3\ny,,,2\n", format="wide", score=("r_*",))
    assert sorted(found.ratings.frame["score"]) == [1, 2, 3]


@pytest.mark.parametrize("text", ["5", "5:1", "a:b", "1:1", "", "1:inf", "nan:5"])
def test_scale_that_is_none(text):
    with pytest.raises(UsageError, match="LOW:HIGH"):
        parse_scale(text)


def test_scale_beyond_the_usual():
    assert guess_scale(-7, 12) == (-100, 100)
    assert guess_scale(0, 1000) == (0, 1000)


@pytest.mark.slow
def test_a_million_rows(tmp_path):
    """Only that it works and loses nothing."""
    rows = 1_000_000
    code = np.arange(rows)
    frame = pd.DataFrame(
        {"rater": code % 100, "item": code // 1000, "system": code // 100 % 10, "score": code * 7 % 5 + 1}
    )
    path = tmp_path / "large.csv"
    pyarrow.csv.write_csv(pyarrow.Table.from_pandas(frame), path)
    imported = import_ratings([path])
    found = imported.ratings.frame
    assert len(found) == rows
    assert found["score"].sum() == frame["score"].sum()
    assert (found["rater"].nunique(), found["item"].nunique(), found["system"].nunique()) == (100, 1000, 10)


def test_a_table_of_records_is_long_too(read):
    rows = pd.read_csv(io.StringIO(LONG)).to_dict("records")
    assert scores(read("\n".join(map(json.dumps, rows)), name="x.jsonl")) == scores(read())
    assert scores(read(json.dumps(rows), name="x.json")) == scores(read())


def check_gensvs(imported):
    assert len(imported.ratings.frame) == 3000
    assert imported.ratings.axes == ["DMOS"]
    assert imported.ratings.frame["rater"].nunique() == 30
    assert imported.ratings.frame["session"].nunique() == 3
    known = {"emb_mse_clap_music_df", "fad_song2song_clap_music_df", "visqol", "multi_res_loss", "sdr", "sisdr", "ops"}
    assert set(imported.ratings.metrics) >= known
    return len(imported.ratings.metrics)


def test_gensvs(published_ratings):
    assert check_gensvs(import_ratings([published_ratings / "gensvs_eval_data.csv"])) == 24


def test_imaginary_wide_table(imaginary_ratings):
    assert check_gensvs(import_ratings([imaginary_ratings])) == 7


def test_aesthetics(published_ratings):
    imported = import_ratings(sorted((published_ratings / "aesthetics").glob("AES_*.jsonl")))
    assert len(imported.ratings.frame) == 10 * 4 * 3950
    assert imported.ratings.scale == (0, 10)
    assert imported.ratings.frame["domain"].nunique() == 4


def test_imaginary_lists(read):
    """Files of lists as the aesthetics ones: a path and ten scores an axis."""
    rng = np.random.default_rng(0)
    texts = [
        "\n".join(
            json.dumps(
                {
                    "data_path": f"/path/{domain}/{at}.wav",
                    "Production_Quality": rng.integers(0, 11, 10).astype(float).tolist(),
                    "Content_Enjoyment": rng.integers(0, 11, 10).astype(float).tolist(),
                }
            )
            for at in range(7)
        )
        for domain in ("music", "speech", "sound", "mixed")
    ]
    ratings = read(*texts, name="lists.jsonl").ratings
    assert len(ratings.frame) == 10 * 2 * 28
    assert ratings.axes == ["Production_Quality", "Content_Enjoyment"]
    assert ratings.scale == (0, 10)
    assert ratings.frame["domain"].nunique() == 4
    assert ratings.anonymous


def test_six_equal_votes_are_six_votes(read):
    text = "user,model_a,model_b,winner\n" + "u1,A,B,model_a\n" * 6 + "u1,A,B,model_b\n" * 2
    imported = read(text)
    assert imported.ratings.frame["choice"].value_counts().to_dict() == {"first": 6, "second": 2}
    assert any(note.startswith("6 rows repeat another one in every column: all are kept") for note in imported.notes)


@pytest.mark.parametrize(
    ("text", "options", "rows"),
    [
        ("user,model_a,model_b,winner,tstamp\nu,A,B,a,7\nu,A,B,a,7\nu,A,B,a,8\n", {}, 2),
        ("user,model_a,model_b,winner,question_id\nu,A,B,a,7\nu,A,B,a,7\n", {}, 1),
        ("user,model_a,model_b,winner,language\nu,A,B,a,en\nu,A,B,a,en\n", {}, 2),
        ("user,trial,model_a,model_b,winner\nu,1,A,B,a\nu,1,A,B,a\n", {}, 1),
        ("user,model_a,model_b,winner\nu,A,B,a\nu,A,B,a\n", {"roles": {"item": "=one"}}, 2),
        ("model_a,model_b,winner\nA,B,a\nA,B,a\n", {}, 2),
        ("item,score\nx,4\nx,4\n", {"roles": {"rater": "=crowd"}}, 2),
        ("item,score,n\nx,4,9\nx,4,9\n", {}, 1),
    ],
)
def test_which_equal_rows_are_copies(read, text, options, rows):
    assert len(read(text, **options).ratings.frame) == rows


def test_equal_lists_of_anonymous_scores_are_all_kept(read):
    line = '{"data_path": "a", "MOS": [4, 4]}\n'
    assert list(read(line * 2, name="x.jsonl").ratings.frame["score"]) == [4, 4, 4, 4]


def test_lines_are_records(read):
    rows = [{"item": f"c{at}", "rater": "r", "score": 4, "comment": "fine\u2028\u0085really"} for at in range(3)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    assert len(read(text, name="a.jsonl").ratings.frame) == 3
    assert len(read("rater,item,score,say\na,x,4,one\u2028two\u0085\nb,x,3,\n").ratings.frame) == 2


def test_headers_with_line_breaks_and_hints(read):
    found = read('sep=;\r\n"rater";"item";"over\r\nall";score\r\na;x;1;4,5\r\nb;x;2;3\r\n').ratings.frame
    assert (list(found["score"]), list(found["over all"])) == ([4.5, 3], [1, 2])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('rater,item,comment,score\nr1,c1,"two\nlines",4\n\nr2,c1,x,5\nr3,c1,x,bad\n', "row 6"),
        ("sep=,\nrater,item,score\nr1,c1,bad\n", "row 3"),
        ("rater,item,score\r\r\nr1,c1,4\rr2,c1,bad\n", "row 4"),
        ('{"rater": "r", "item": "x", "score": 4}\n\n{"rater": "r", "item": "y", "score": "bad"}\n', "row 3"),
        ('[{"rater": "r", "item": "x", "score": 4},\n\n{"rater": "r", "item": "y", "score": "bad"}]', "record 2"),
        ('\n{"path": "x", "score": [4, "bad", 4]}', "row 2"),
        ("user,model_a,model_b,winner\n\nu,A,B,who\n", "row 3"),
        ('user,model_a,model_b,winner\nu,A,"B\n",a\nu,A,A,a\n', "row 4"),
        ("trial_id,rating_stimulus,rating_score,session_uuid\n,,,\nx,A,bad,s\n", "row 3"),
        ("WorkerId,Answer.Q1,Input.Q1\n\nw,bad,x\nw,4,x\nw,4,x\n", "row 3"),
        ("item,rating_1,rating_2\n\nx,4,4\ny,bad,4\n", "row 4"),
    ],
)
def test_rows_are_counted_as_an_editor_counts_lines(read, text, place):
    name = "a.json" if text.startswith("[") else "a.jsonl" if text.lstrip().startswith("{") else "a.csv"
    with pytest.raises(UsageError, match=f"in {place}"):
        read(text, name=name, score=("score",) if "path" in text else ())


def test_rows_without_any_text_are_left_out_and_counted(read):
    imported = read("rater,item,score,\na,x,4,\n,,,\n\nb,x,5\n , ,\n")
    assert list(imported.ratings.frame["score"]) == [4, 5]
    assert any("2 rows (3, 6) have no text in any cell: left out" in note for note in imported.notes)
    assert "score_" not in imported.ratings.frame


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (("3,5", "1,250"), [3.5, 1.25]),
        (("0,500", "0,750"), [0.5, 0.75]),
        (("1,250", "2,000"), "'1,250' in row 2, which may be 1250 or 1.250"),
        (("1,250,000", "3"), "'1,250,000' in row 2, which may be 1250000 or"),
        (("1.250,5", "3"), "'1.250,5' in row 2"),
        (("1 250", "3"), "'1 250' in row 2"),
        (("1'250", "3"), "in row 2"),
        (("3", "1_250"), "'1_250' in row 3"),
        (("3", "0x10"), "'0x10' in row 3"),
        (("3", "-inf"), "'-inf' in row 3"),
        (("3", "true"), "'true' in row 3"),
        (("3", "1e999"), "'1e999' in row 3"),
        (("3", "9" * 5000), "'9{40}…' in row 3"),
    ],
)
def test_numbers_in_disguise(read, cells, found):
    text = f"rater;item;score\na;x;{cells[0]}\nb;x;{cells[1]}\n"
    if isinstance(found, str):
        with pytest.raises(UsageError, match=found):
            read(text)
    else:
        assert list(read(text).ratings.frame["score"]) == found


def test_stored_values_that_are_no_scores(read, tmp_path):
    for score, message in ((float("inf"), "'inf' in row 2"), (True, "'True' in row")):
        frame = pd.DataFrame(
            {"rater": ["a", "b"], "item": ["x", "x"], "score": [score if score is True else 3.0, score]}
        )
        frame.to_parquet(tmp_path / "a.PARQUET")
        with pytest.raises(UsageError, match=message):
            import_ratings([tmp_path / "a.PARQUET"])
    with pytest.raises(UsageError, match="'True' in row 1"):
        read('{"rater": "a", "item": "x", "score": true}\n', name="x.jsonl")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.jsonl", '[{"rater": "a"}]', "in row 1; .*; a list of records is a .json file"),
        ("x.jsonl", '[\n{"rater": "a"}\n]', "damage in row 1 .*; a list of records is a .json file"),
        ("x.json", '{"rater": "a"}\n{"rater": "b"}', "one object per line is a .jsonl file"),
        ("x.json", "[" * 100_000, "nested too deeply"),
        ("x.jsonl", '{"score": 1, "score": 2}', "the name 'score' twice"),
        ("x.csv", 'rater,item,score\na,x,4\na,"y,4\nb,x,3\n', "found another row 3: .*a quote is never closed"),
        ("x.csv", "workerid,WorkerId,Answer.Q1,Input.Q1\nw,w,3,x\n", "'workerid' twice"),
    ],
)
def test_damage_is_told_with_what_to_do(read, name, text, message):
    with pytest.raises(UsageError, match=message):
        read(text, name=name)
