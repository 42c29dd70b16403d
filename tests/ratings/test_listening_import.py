"""A planned test comes back: what webMUSHRA, the P.808 toolkit and our page save, named by the key."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sam_audio_bench.files import load_json
from sam_audio_bench.ratings.correlation import CorrelationSettings, add_run_scores, correlate_ratings
from sam_audio_bench.ratings.formats import ColumnChoice
from sam_audio_bench.ratings.importing import ImportResult, import_ratings
from sam_audio_bench.ratings.options import FORMATS, ListeningTestOptions
from sam_audio_bench.ratings.plan import plan_test
from sam_audio_bench.ratings.screening import screen

OPTIONS = ListeningTestOptions(
    items=4, raters=2, raters_per_item=2, anchors=True, traps=2, golds=1, formats=FORMATS, audio_url="https://x.org/a"
)
SYSTEMS = {"mixture", "secrethalf", "secretsilence"}
Key = dict[str, Any]


@pytest.fixture(scope="module")
def planned(listening_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small test for all three tools."""
    return plan_test([listening_runs], tmp_path_factory.mktemp("plan") / "test", OPTIONS).folder


@pytest.fixture(scope="module")
def key(planned: Path) -> Key:
    found: Key = load_json(planned / "key.json")
    return found


def quality(key: Key, name: str) -> int:
    """What an imaginary rater thinks: from 1 to 5, by the item and the system behind an opaque name."""
    trial = key["trials"][name]
    if trial["expected"]:
        return int(trial["expected"]["overall"])
    if trial["kind"] != "rating":
        return 5 if trial["kind"] == "hidden_reference" else 1
    return 1 + (int(trial["item"].removeprefix("secretitem")) + len(trial["system"])) % 5


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def webmushra_table(planned: Path, key: Key, path: Path) -> Path:
    """mushra.csv: a row a stimulus of each page; the questionnaire's columns stand before session_uuid."""
    yaml = pytest.importorskip("yaml")
    rows = []
    for number, file in enumerate(sorted((planned / "webmushra").glob("*.yaml"))):
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        (asked,) = config["pages"][-1]["questionnaire"]
        for page in config["pages"][1][1:]:
            for name in [*page["stimuli"], "reference"]:
                score = {"reference": 100, "anchor": 0}.get(name) if name not in key["trials"] else None
                score = 20 * quality(key, name) if score is None else score
                rows.append(
                    {"session_test_id": config["testId"], asked["name"]: f"rater {number}", "session_uuid": number,
                     "trial_id": page["id"], "rating_stimulus": name, "rating_score": score, "rating_time": 5000,
                     "rating_comment": ""}
                )  # fmt: skip
    return write(path, rows)


def p808_table(planned: Path, key: Key, path: Path) -> Path:
    """Batch results: each row of batch.csv as Input.…, and a worker's votes on its clips, checks among them."""
    lines = (planned / "p808" / "batch.csv").read_text(encoding="utf-8").splitlines()
    rows = []
    for number, task in enumerate(csv.DictReader(lines)):
        clips = [clip for name, clip in task.items() if re.fullmatch(r"Q\d+|TP|gold_clips", name)]
        row: dict[str, Any] = {"HITId": "h", "AssignmentId": f"as{number}", "WorkerId": f"w{number}"}
        row |= {f"Input.{name}": value for name, value in task.items()}
        for place, clip in enumerate(reversed(clips)):
            vote = quality(key, clip.rpartition("/")[2].removesuffix(".wav"))
            row |= {f"Answer.Q{place}": vote, f"Answer.Q{place}_url": clip, f"Answer.audio_n_finish_Q{place}": 1}
        rows.append(row)
    return write(path, rows)


def page_file(planned: Path, key: Key, path: Path) -> Path:
    """Answers of the first rater of our page."""
    text = (planned / "page" / "index.html").read_text(encoding="utf-8")
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    axes = key["options"]["axes"]
    answers = [
        {"trial": name, "axes": dict.fromkeys(axes, quality(key, name)), "seconds": 3.0, "played": True}
        for name in json.loads(block)["blocks"][0]
    ]
    document = {"schema": "sabench-listening-test", "version": 1, "test": key["test"], "rater": "ann", "session": "s"}
    path.write_text(json.dumps({**document, "answers": answers}))
    return path


def checked(imported: ImportResult, key: Key, factor: int = 1) -> pd.DataFrame:
    """The answers, after every item, group, system and score was compared with the plan."""
    answers = imported.ratings.without_controls
    assert set(answers["system"]) == SYSTEMS
    assert set(answers["item"]) == {about["item"] for about in key["mixtures"].values()}
    known = {about["item"]: about for about in key["mixtures"].values()}
    for row in answers.itertuples():
        assert (row.group, row.task, row.domain) == tuple(known[row.item][name] for name in ("group", "task", "domain"))
        number = int(row.item.removeprefix("secretitem"))
        assert row.score == factor * (1 + (number + len(row.system)) % 5)
    return answers


def test_webmushra_comes_back(planned: Path, key: Key, tmp_path: Path) -> None:
    table = webmushra_table(planned, key, tmp_path / "mushra.csv")
    imported = import_ratings([table], ColumnChoice(key=planned / "key.json"))
    assert len(checked(imported, key, 20)) == 2 * 4 * 3
    frame = imported.ratings.frame
    assert frame["kind"].value_counts().to_dict() == {"rating": 24, "hidden_reference": 8, "anchor": 8}
    assert set(frame["rater"]) == {"rater 0", "rater 1"}
    assert imported.ratings.scale == (0, 100)
    assert screen(imported.ratings, {"hidden-reference": None, "anchor": None}).exclusions == ()


def test_p808_comes_back(planned: Path, key: Key, tmp_path: Path, listening_runs: Path) -> None:
    """Hidden references and anchors are no systems, although the toolkit knows of traps and golds alone."""
    table = p808_table(planned, key, tmp_path / "batch_results.csv")
    imported = import_ratings([table], ColumnChoice(key=planned / "key.json"))
    assert len(checked(imported, key)) == 2 * 4 * 3
    frame = imported.ratings.frame
    kinds = {"rating": 24, "hidden_reference": 8, "anchor": 8, "trap": 2, "gold": 2}
    assert frame["kind"].value_counts().to_dict() == kinds
    assert frame[frame["kind"].isin(["trap", "gold"])]["expected"].notna().all()
    rules = dict.fromkeys(["trap", "gold", "playback", "hidden-reference", "anchor"])
    assert screen(imported.ratings, rules).exclusions == ()
    scored = add_run_scores(imported.ratings, [listening_runs])
    rows = correlate_ratings(
        scored, CorrelationSettings(levels=("utterance",), coefficients=("pearson",), resamples=10)
    ).rows
    assert {(row["metric"], row["axis"]) for row in rows} == {("si_sdr", "quality")}


def test_checks_of_p808_are_known_without_their_columns(planned: Path, key: Key, tmp_path: Path) -> None:
    """Other tools name traps elsewhere; the key knows them and their answers."""
    frame = pd.read_csv(p808_table(planned, key, tmp_path / "all.csv"))
    bare = write(
        tmp_path / "bare.csv", frame.drop(columns=[n for n in frame if "TP" in n or "gold" in n]).to_dict("records")
    )
    found = import_ratings([bare], ColumnChoice(key=planned / "key.json")).ratings.frame
    checks = found[found["kind"].isin(["trap", "gold"])]
    assert len(checks) == 4
    assert (checks["score"] == checks["expected"]).all()


def test_the_page_comes_back(planned: Path, key: Key, tmp_path: Path) -> None:
    saved = page_file(planned, key, tmp_path / "ann.json")
    imported = import_ratings([saved], ColumnChoice(key=planned / "key.json"))
    assert set(checked(imported, key)["axis"]) == set(key["options"]["axes"])
    assert screen(imported.ratings, dict.fromkeys(["trap", "gold", "hidden-reference", "anchor"])).exclusions == ()
