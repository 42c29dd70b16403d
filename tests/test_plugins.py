"""Third parties' separators, metrics and tasks: their cards show wherever those of built-in ones do."""

from __future__ import annotations

import configparser
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner
from msgspec import convert
from msgspec.structs import replace
from pyarrow import Table, parquet

from sam_audio_bench.cards import MetricCard, SeparatorCard, TaskCard
from sam_audio_bench.cli import group
from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.files import load_json, write_json
from sam_audio_bench.leaderboard import safe_io
from sam_audio_bench.leaderboard.board import read_board
from sam_audio_bench.leaderboard.hub import evaluation_results
from sam_audio_bench.leaderboard.item_lists import load_item_list
from sam_audio_bench.leaderboard.records import Selection, SubmittedMetric, to_builtins
from sam_audio_bench.leaderboard.sitedata import build_site_data
from sam_audio_bench.leaderboard.submission import HEADER, SCORES, compute_aggregates, metric_records
from sam_audio_bench.leaderboard.submit import submit
from sam_audio_bench.leaderboard.validate import validate
from sam_audio_bench.plugins import find_card, plugin_cards, plugins
from sam_audio_bench.run.cite import cite
from sam_audio_bench.run.evaluate import evaluate
from sam_audio_bench.run.store import SCORE_TYPES

PLUGIN = Path(__file__).parent / "plugin"
TASK = Selection(id="clicks", version="1", split="mini", subset="paper")


def installed(folder: Path, name: str, groups: dict[str, dict[str, str]]) -> None:
    """What pip would leave of a distribution's entry points in a folder."""
    info = folder / f"{name}-0.0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.0.1\n")
    lines = [f"[sam_audio_bench.{kind}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items())
             for kind, points in groups.items()]  # fmt: skip
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds tests/plugin as if it was installed."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(PLUGIN / "sabench_plugin", folder / "sabench_plugin")
    setup = configparser.ConfigParser()
    setup.read(PLUGIN / "setup.cfg")
    stated = setup["options.entry_points"]
    groups = {key.rpartition(".")[2]: dict(line.split(" = ") for line in text.split("\n") if line)
              for key, text in stated.items()}  # fmt: skip
    installed(folder, "sabench_plugin", groups)
    return folder


@pytest.fixture
def plugin(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/plugin, installed."""
    monkeypatch.syspath_prepend(site)


@pytest.fixture(scope="module")
def pristine(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs of its separator on its task, and a leaderboard made of them."""
    folder = tmp_path_factory.mktemp("clicks")
    card = folder / "card.toml"
    card.write_text('summary = "s"\nauthors = ["A"]\nlicence = "MIT"\ntraining_data = []\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        evaluate(
            "attenuate", ["clicks"], split="mini", metrics=["peak_db", "si_sdr"], output=folder / "runs", progress=False
        )
        submit([folder / "runs"], folder / "board", card=card, with_audio=True)
    return folder


@pytest.fixture
def board(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the leaderboard to tamper with."""
    return Path(shutil.copytree(pristine / "board", tmp_path / "board"))


def records(kind: str) -> dict[str, Any]:
    done = CliRunner().invoke(group, ["list", kind, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    return {record["name"]: record for record in json.loads(done.stdout)}


def third_party(folder: Path, code: str, groups: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a module ``other`` with entry points on the path, and takes it away again."""
    (folder / "other.py").write_text(code)
    installed(folder, "other", groups)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "other", raising=False)


def test_list_shows_the_cards(plugin: None) -> None:
    peak = records("metrics")["peak_db"]
    assert (peak["unit"], peak["higher_is_better"], peak["version"], peak["range"]) == ("dBFS", False, 1, [None, 0.0])
    assert set(peak) == set(records("metrics")["si_sdr"]) - {"default"}
    assert records("models")["attenuate"]["summary"] == "the mixture, turned down"
    clicks = records("tasks")["clicks"]
    assert (clicks["summary"], clicks["prompt"], clicks["main_metric"]) == ("two clicks", "text", "peak_db")
    shown = CliRunner().invoke(group, ["list", "metrics"]).stdout
    (line,) = (line for line in shown.splitlines() if line.startswith("peak_db "))
    assert line.split() == ["peak_db", "dBFS", "no", "-", "1", "peak"]


def test_one_name_has_one_card(plugin: None) -> None:
    assert find_card("metrics", "peak_db") == plugin_cards("metrics").cards["peak_db"]
    assert isinstance(find_card("separators", "attenuate"), SeparatorCard)
    assert find_card("tasks", "clicks") == plugin_cards("tasks").cards["clicks"]
    assert find_card("tasks", "peak_db") is None


def test_what_says_nothing_has_a_minimal_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = '"""M."""\n\ndef task():\n    """Three bells.\n\n    And more.\n    """\n\n\nclass Bare:\n    pass\n'
    groups = {
        "tasks": {"bells": "other:task"},
        "separators": {"bare": "other:Bare"},
        "metrics": {"ring": "other:task"},
    }
    third_party(tmp_path, code, groups, monkeypatch)
    assert find_card("tasks", "bells") == TaskCard(id="bells", target="other:task", summary="Three bells.")
    assert find_card("separators", "bare") == SeparatorCard(id="bare", target="other:Bare", summary="plugin other:Bare")
    ring = MetricCard(id="ring", target="other:task", summary="Three bells.", unit="")
    assert find_card("metrics", "ring") == ring
    assert records("models")["bare"]["summary"] == "plugin other:Bare"


BROKEN = {
    "import no_such_module\n": "other:X cannot be imported: ModuleNotFoundError: No module named 'no_such_module'",
    "raise OSError('disk')\n": "other:X cannot be imported: OSError: disk",
    "X = type('X', (), {'card': 'mine'})\n": "expected other:X to provide a SeparatorCard of broken, found mine",
    "from sam_audio_bench.cards import SeparatorCard\n"
    "X = type('X', (), {'card': SeparatorCard(id='sound', target='', summary='')})\n": (
        "expected other:X to provide a SeparatorCard of broken, found sound"
    ),
}


@pytest.mark.parametrize(("code", "message"), BROKEN.items(), ids=["missing", "fails", "no card", "another card"])
def test_a_broken_plugin_is_told_in_its_row(
    plugin: None, code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    third_party(tmp_path, code, {"separators": {"broken": "other:X"}}, monkeypatch)
    found = records("models")
    assert found["broken"] == {"name": "broken", "target": "other:X", "summary": message}
    assert {"mixture", "attenuate"} <= set(found)  # all others are listed
    with pytest.raises(Precondition, match=message.partition(":")[0]):
        find_card("separators", "broken")


def test_a_metric_whose_cards_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "class M:\n    @classmethod\n    def cards(cls):\n        return {}['m']\n"
    third_party(tmp_path, code, {"metrics": {"m": "other:M"}}, monkeypatch)
    assert plugin_cards("metrics").failures == {
        "m": "expected cards() of other:M to return its cards, found KeyError: 'm'"
    }


@pytest.mark.parametrize(
    ("kind", "name"), [("separators", "mixture"), ("metrics", "snr"), ("tasks", "sfx"), ("tasks", "all")]
)
def test_names_of_built_in_ones_are_taken(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    third_party(tmp_path, "", {kind: {name: "other:x"}}, monkeypatch)
    with pytest.raises(UsageError, match=f"expected a new name for other:x, found '{name}', which is taken"):
        plugins(kind)


@pytest.mark.parametrize("fields", [{"range": (1.0, 0.0)}, {"range": (math.nan, 1.0)}, {"absent": "asked"}])
def test_cards_that_cannot_be_meant(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"expected (the )?{next(iter(fields))} of m"):
        MetricCard(id="m", target="a:b", summary="s", **fields)


def test_tables_show_unit_and_direction(pristine: Path) -> None:
    shown = CliRunner().invoke(group, ["table", str(pristine / "runs"), "--format", "md"]).stdout
    assert "peak_db (dBFS) ↓" in shown
    values = {row["separator"]: row for row in json.loads(
        CliRunner().invoke(group, ["table", str(pristine / "runs"), "--json"]).stdout)["rows"]
        if row["metric"] == "peak_db"}  # fmt: skip
    assert values["attenuate"]["value"] == pytest.approx(20 * math.log10(0.25), abs=1e-3)


def test_cite_prints_entries_of_third_parties_once(plugin: None, pristine: Path) -> None:
    found = cite([pristine / "runs"])
    assert found.count("@article{nobody2026clicks,") == 1  # separator and metric cite the same
    assert found.count("{leroux2019sdr,") == 1


def test_cite_refuses_a_key_that_is_none_of_ours(
    pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = "TaskCard(id='clicks', target='', summary='', cites=('other2020',))"
    code = f"from sam_audio_bench.cards import TaskCard\ndef x(): ...\nx.card = {card}\n"
    third_party(tmp_path, code, {"tasks": {"clicks": "other:x"}}, monkeypatch)
    with pytest.raises(UsageError, match="expected cards that cite BibTeX entries, or keys of ours, found other2020"):
        cite([pristine / "runs"])


def test_a_task_of_a_plugin_is_submitted_and_validates(plugin: None, board: Path) -> None:
    report = validate(board, share=1.0)
    assert (report.problems, report.submissions, report.skipped) == ([], 2, {})
    assert {name: found["scores"] for name, found in report.rescored.items()} == {"peak_db": 4, "si_sdr": 4}
    read = read_board(board)
    data = build_site_data(board, read)
    assert data["tasks"]["clicks@1-mini"]["description"] == "two clicks"
    assert data["tasks"]["clicks@1-mini"]["main"] == "peak_db"
    assert data["metrics"]["peak_db"]["summary"] == "peak"
    assert data["metrics"]["peak_db"]["tolerance"] == 1e-6
    header = next(line.submission.header for line in read.lines if line.submission.separator == "attenuate")
    assert 'id: "clicks/mini"' in evaluation_results(header)


def test_a_board_may_average_a_task_of_a_plugin(plugin: None, board: Path) -> None:
    rule = {
        "id": "clicks",
        "title": "Clicks",
        "split": "mini",
        "subset": "paper",
        "metric": "peak_db",
        "parts": {"clicks": ["clicks"]},
    }
    write_json(board / "boards.json", [rule])
    (overall,) = build_site_data(board, read_board(board))["overall"]
    assert [row["line"].partition("/")[0] for row in overall["rows"]] == ["attenuate", "mixture"]  # less is better
    write_json(board / "boards.json", [{**rule, "parts": {"clicks": ["klicks"]}}])
    with pytest.raises(StoreError, match=r"expected tasks of the catalogue or of installed plugins, .* found klicks"):
        read_board(board)


def change(board: Path, metric: str, value: float) -> None:
    """One score of the separator becomes another, and the files agree again, as a careful cheat would do it."""
    (folder,) = (board / "results" / "attenuate").iterdir()
    scores: pd.DataFrame = safe_io.read_scores(folder / SCORES)
    row = scores.index[(scores["metric"] == metric) & (scores["item"] == "click-0")][0]
    scores.loc[row, ["value", "status"]] = [value, "ok"]
    parquet.write_table(Table.from_pandas(scores, schema=SCORE_TYPES, preserve_index=False), folder / SCORES)
    header = load_json(folder / HEADER)
    header["scores_sha256"] = safe_io.file_digest(folder / SCORES)
    metrics = metric_records(convert(header["metrics"], list[SubmittedMetric]))
    header["aggregates"] = [to_builtins(one) for one in compute_aggregates(scores, metrics)]
    write_json(folder / HEADER, header)


def said(board: Path) -> list[str]:
    (folder,) = (board / "results" / "attenuate").iterdir()
    return [f"{problem.where.partition(': ')[2]}: {problem.what}" for problem in validate(folder, share=None).problems]


def test_the_range_of_a_plugin_s_card_is_checked(plugin: None, board: Path) -> None:
    change(board, "peak_db", 3.0)
    (problem,) = said(board)
    assert problem == "clicks@1-mini: peak_db: expected values from -inf to 0, found others for click-0"


def test_another_version_of_a_plugin_s_metric_is_another_quantity(plugin: None, board: Path) -> None:
    (folder,) = (board / "results" / "attenuate").iterdir()
    header = load_json(folder / HEADER)
    for record in header["metrics"]:
        record["version"] = 7 if record["id"] == "peak_db" else record["version"]
    write_json(folder / HEADER, header)
    (problem,) = said(board)
    assert problem.startswith("submission.json: peak_db: expected version 1, found 7")


def test_where_the_plugin_is_not_installed_the_rest_is_checked(board: Path) -> None:
    unknown = [
        "submission.json: peak_db: expected a metric of the catalogue or of an installed plugin, found peak_db; "
        "install the package that provides it",
        "clicks@1-mini: expected a task of the catalogue or of an installed plugin, found 'clicks'; "
        "install the package that provides it (`sabench list tasks` names what is there)",
    ]
    assert said(board) == unknown
    change(board, "si_sdr", 500.0)
    assert said(board) == [
        *unknown, "clicks@1-mini: si_sdr: expected values from -100 to 400, found others for click-0"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "2"}, "expected version 1 of clicks, found 2"),
        ({"split": "file"}, "expected split and subset among"),
    ],
)
def test_items_that_a_plugin_s_task_does_not_have(plugin: None, change: dict[str, str], message: str) -> None:
    assert list(load_item_list(TASK).groups) == ["click-0", "click-1"]
    with pytest.raises(UsageError, match=message):
        load_item_list(replace(TASK, **change))


def test_a_task_that_is_not_what_its_card_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from sam_audio_bench.tasks import TaskData\n"
        "def bells(split, subset):\n"
        "    if subset == 'full': raise KeyError('full')\n"
        "    return TaskData(task='bells', version='2', split=split, revision='', groups={}, provides=(), load=None)\n"
    )
    third_party(tmp_path, code, {"tasks": {"bells": "other:bells"}}, monkeypatch)
    with pytest.raises(UsageError, match="expected other:bells to load bells, version 1, split mini, as its card says"):
        load_item_list(replace(TASK, id="bells"))
    with pytest.raises(Precondition, match="expected other:bells to load bells, found KeyError: 'full'"):
        load_item_list(replace(TASK, id="bells", split="test", subset="full"))
