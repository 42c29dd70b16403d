"""Whatever happens to a table of ratings or of questions, its reader ends in a table or in a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from damage import damage, damaged, exchange, exchanged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sam_audio_bench.errors import BenchError
from sam_audio_bench.ratings.blind_key import KEY_SCHEMA, KEY_VERSION
from sam_audio_bench.ratings.describe import describe
from sam_audio_bench.ratings.formats import FORMATS, ColumnChoice
from sam_audio_bench.ratings.importing import import_ratings
from sam_audio_bench.ratings.table import Ratings
from sam_audio_bench.tasks.lock import LockFile
from sam_audio_bench.tasks.manifest import read_questions
from sam_audio_bench.tasks.manifest_rows import questions_to_task

MANY = settings(
    max_examples=100, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip

ANSWER = {"trial": "t1", "axes": {"overall": 4, "recall": 5}, "seconds": 3.5, "played": True, "item": "x",
          "system": "p", "kind": "rating", "expected": {"overall": 3}, "group": "g", "domain": "d"}  # fmt: skip
PAGE = {"schema": "sabench-listening-test", "version": 1, "test": "t", "rater": "ann", "session": "s",
        "answers": [ANSWER, {**ANSWER, "trial": "t2", "item": "y", "kind": "trap"}]}  # fmt: skip
ORIGIN = {"item": "x", "group": "g", "task": "t", "domain": "d"}
KEY = {"schema": KEY_SCHEMA, "version": KEY_VERSION, "test": "t", "options": {}, "systems": ["p"], "designs": {},
       "mixtures": {"m": {**ORIGIN, "text": "dog", "spans": None, "audio": "m.wav"}},
       "trials": {name: {**ORIGIN, "system": "p", "kind": "rating", "expected": None, "mixture": "m", "audio": "a.wav"}
                  for name in ("t1", "t2")}}  # fmt: skip
RATINGS = {
    "long.csv": 'rater,item,system,score,time,"a note"\nann,x,p,4,1.5,"a ""b"", c"\nann,y,p,"3,5",2,\nbob,x,p,5,,=1\n',
    "axes.tsv": "rater\titem\toverall\trecall\tsi_sdr\nann\tx\t4\t5\t1.5\nbob\tx\t3\t\t1.5\n",
    "wide.csv": "file_id,model_name,subject_rating_0,subject_rating_1,rating_0,rating_1,MOS\n"
                "f,p,a,b,1,2,1.5\ng,q,a,b,4,,4\n",
    "lists.jsonl": '{"data_path": "x", "MOS": [4, 3, null], "text": "a"}\n{"data_path": "y", "MOS": [2]}\n',
    "votes.csv": "sep=;\nuser;model_a;model_b;winner;item;seconds\nann;p;q;model_a;x;1\nann;q;r;tie;y;2\n",
    "votes.json": json.dumps([{"first": "p", "second": "q", "choice": 1, "rater": "a"}, {"first": "p", "second": "q",
                              "choice": "q", "rater": "b"}]),
    "mushra.csv": "session_test_id,trial_id,rating_stimulus,rating_score,rating_time,session_uuid\n"
                  "s,x,p,80,1000,u\ns,x,reference,100,900,u\n",
    "pairs.csv": "session_test_id,trial_id,choice_reference,choice_non_reference,choice_answer,choice_time\n"
                 "s,x,p,q,reference,900\n",
    "p808.csv": "WorkerId,AssignmentId,Answer.Q1,Input.Q1,Answer.Q2,Input.Q2,Input.TP,Input.TP_ANS\n"
                "w,a,4,x.wav,2,t.wav,t.wav,2\n",
    "page.json": json.dumps(PAGE),
}  # fmt: skip
QUESTIONS = {
    "mine.csv": 'mixture,text,spans,target,id,paraphrases\n'
                'a.wav,"dog, loud",+0:0.5 -0.5:1,t.wav,one,bark|woof\nb.wav,cat,,,,\n',
    "mine.tsv": "file_name\ttext\tgroup\na.wav\tdog\tg\nb.wav\tcat\tg\n",
    "mine.jsonl": '{"mixture": "a.wav", "spans": [["+", 0, 0.5]], "paraphrases": ["x"], "id": 7}\n'
                  '{"mixture": "b.wav", "text": "dog", "target": "t.wav", "note": {"x": [1]}}\n',
}  # fmt: skip


def outcome(read: Callable[[], Any]) -> Any:
    """What a reader gives, or its sentence."""
    try:
        return read()
    except BenchError as error:
        told = str(error)
    assert told.strip()
    told.encode()  # it can be printed
    return told


def imported(path: Path, choice: ColumnChoice, form: str | None) -> pd.DataFrame:
    """Reads, stores, reads again and describes."""
    found = import_ratings([path], choice, format=form)
    found.ratings.write(path.with_name("r.parquet"))
    again = Ratings.read(path.with_name("r.parquet"))
    describe(again)
    return again.frame


@MANY
@given(name=st.sampled_from(sorted(RATINGS)), how=damage, form=st.sampled_from([None, None, None, *FORMATS]))
def test_damaged_ratings(tmp_path: Path, name: str, how: dict[str, Any], form: str | None) -> None:
    (tmp_path / name).write_bytes(damaged(RATINGS[name].encode(), how))
    found = outcome(lambda: imported(tmp_path / name, ColumnChoice(), form))
    assert isinstance(found, str) or len(found) > 0


@MANY
@given(name=st.sampled_from(["lists.jsonl", "votes.json", "page.json"]), how=exchange)
def test_ratings_with_other_values(tmp_path: Path, name: str, how: list[Any]) -> None:
    (tmp_path / name).write_bytes(exchanged(RATINGS[name].encode(), how))
    outcome(lambda: imported(tmp_path / name, ColumnChoice(), None))


@MANY
@given(how=st.one_of(damage, exchange))
def test_damaged_keys(tmp_path: Path, how: Any) -> None:
    content = json.dumps(KEY).encode()
    (tmp_path / "key.json").write_bytes(damaged(content, how) if isinstance(how, dict) else exchanged(content, how))
    (tmp_path / "page.json").write_text(RATINGS["page.json"])
    outcome(lambda: imported(tmp_path / "page.json", ColumnChoice(key=tmp_path / "key.json"), None))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Parquet files of ratings and of questions."""
    folder = tmp_path_factory.mktemp("stored")
    (folder / "long.csv").write_text(RATINGS["long.csv"])
    import_ratings([folder / "long.csv"]).ratings.write(folder / "ratings.parquet")
    pd.DataFrame({"rater": ["a", "b"], "item": ["x", "x"], "score": [3.0, 4.0]}).to_parquet(folder / "others.parquet")
    rows = {"mixture": ["a.wav", "b.wav"], "text": ["dog", "cat"], "spans": [[["+", "0", "1"]], None], "id": ["x", "y"]}
    pd.DataFrame(rows).to_parquet(folder / "mine.parquet")
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


@MANY
@given(how=damage)
def test_damaged_parquet(tmp_path: Path, stored: dict[str, bytes], how: dict[str, Any]) -> None:
    for name, content in stored.items():
        (tmp_path / name).write_bytes(damaged(content, how))
    outcome(lambda: describe(Ratings.read(tmp_path / "ratings.parquet")))
    outcome(lambda: imported(tmp_path / "others.parquet", ColumnChoice(), None))
    outcome(lambda: questions_to_task(read_questions(tmp_path / "mine.parquet")))


@MANY
@given(name=st.sampled_from(sorted(QUESTIONS)), how=damage)
def test_damaged_questions(tmp_path: Path, name: str, how: dict[str, Any]) -> None:
    (tmp_path / name).write_bytes(damaged(QUESTIONS[name].encode(), how))
    found = outcome(lambda: read_questions(tmp_path / name))
    if not isinstance(found, str):
        assert all(problem.what for problem in found.problems)
        assert found.rows or found.problems
        for problem in found.problems:
            f"{problem.place} {problem.what} {problem.column} {problem.item}".encode()
        outcome(lambda: questions_to_task(found).record)


@MANY
@given(how=exchange)
def test_questions_with_other_values(tmp_path: Path, how: list[Any]) -> None:
    (tmp_path / "mine.jsonl").write_bytes(exchanged(QUESTIONS["mine.jsonl"].encode(), how))
    outcome(lambda: questions_to_task(read_questions(tmp_path / "mine.jsonl")))


LAYOUTS = {
    "dcase2024-t9": "source,noise,snr,caption\n1,2,-6,a dog barks\n1,2,6,barking\n",
    "audiosep": "idx,caption\n1,dog\n2,cat\n",
    "librimix": "mixture_ID,mixture_path,source_1_path,source_2_path,length\n61-1_89-2,m/1.wav,s1/1.wav,s2/1.wav,9\n",
}


@MANY
@given(name=st.sampled_from(sorted(LAYOUTS)), how=damage)
def test_damaged_layouts(tmp_path: Path, name: str, how: dict[str, Any]) -> None:
    (tmp_path / "SPEAKERS.TXT").write_text("; ID | SEX\n61 | M | x\n89 | F | y\n")
    (tmp_path / "list.csv").write_bytes(damaged(LAYOUTS[name].encode(), how))
    outcome(lambda: questions_to_task(read_questions(f"{name}:{tmp_path / 'list.csv'}")))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Hugging Face's datasets."""
    import datasets

    folder = tmp_path_factory.mktemp("saved") / "data"
    datasets.Dataset.from_dict({"mixture": ["a.wav", "b.wav"], "text": ["dog", "cat"]}).save_to_disk(str(folder))
    return folder


@settings(MANY, max_examples=25)
@given(index=st.integers(0, 10), how=st.one_of(damage, exchange))
def test_damaged_datasets(tmp_path: Path, saved: Path, index: int, how: Any) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "data", dirs_exist_ok=True))
    files = sorted(folder.iterdir())
    path = files[index % len(files)]
    content = path.read_bytes()
    is_json = path.suffix == ".json"
    path.write_bytes(damaged(content, how) if isinstance(how, dict) else exchanged(content, how) if is_json else b"")
    outcome(lambda: questions_to_task(read_questions(folder)))


LOCK = {"schema_version": 1, "licences": {"r": {"licence": "x", "shown": "2026", "accepted": None}},
        "metadata": {"r": {"commit": "c", "sha256": "s"}}, "files": {"a": {"size": 1, "mtime_ns": 2, "sha256": "s"}},
        "clips": {"c": {"files": ["a"], "state": "present", "what": ""}}}  # fmt: skip


@MANY
@given(how=st.one_of(damage, exchange))
def test_damaged_lock(tmp_path: Path, how: Any) -> None:
    content = json.dumps(LOCK).encode()
    (tmp_path / "a").touch()
    (tmp_path / "lock.json").write_bytes(damaged(content, how) if isinstance(how, dict) else exchanged(content, how))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SABENCH_DATA", str(tmp_path))
        lock = outcome(LockFile.read)
    if not isinstance(lock, str):
        lock.known_state("c", [tmp_path / "a"])
        lock.pinned_commit("r")
        lock.write()
