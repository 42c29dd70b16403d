"""Where separators fail, as the site says it: the numbers of `sabench slices`, and attributes that nobody can turn."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from msgspec import structs

from sam_audio_bench.files import load_json, sha256, write_json
from sam_audio_bench.leaderboard import log, slicing
from sam_audio_bench.leaderboard.attributes import ATTRIBUTES, to_parquet
from sam_audio_bench.leaderboard.board import Board, read_board
from sam_audio_bench.leaderboard.figures import MOST_SERIES, Dot, slices
from sam_audio_bench.leaderboard.records import to_builtins
from sam_audio_bench.leaderboard.site import build_site
from sam_audio_bench.leaderboard.sitedata import build_site_data
from sam_audio_bench.leaderboard.slicing import task_slices
from sam_audio_bench.leaderboard.submission import HEADER, Submission
from sam_audio_bench.leaderboard.template_helpers import slice_figure
from sam_audio_bench.run.slices import find_slices
from sam_audio_bench.tasks.attributes import Attributes

TASK = "music@1-mini"
Edit = Callable[..., None]


def put(folder: Path, items: Attributes) -> None:
    """Other attributes, stated as they should be."""
    content = to_parquet({TASK: items})
    (folder / ATTRIBUTES).write_bytes(content)
    write_json(folder / HEADER, load_json(folder / HEADER) | {"attributes_sha256": sha256(content)})


def everywhere(board: Path, items: Attributes) -> None:
    """The same attributes for all submissions."""
    for header in board.glob(f"results/*/*/{HEADER}"):
        put(header.parent, items)


def halves(board: Board) -> dict[str, dict[str, Any]]:
    """The first half of the items with a score is in a hall, the rest in a studio: both have recordings enough."""
    (line,) = [one for one in board.lines if one.name == "spectral-gate"]
    scored = [item for item in board.groups(TASK) if item in line.values(TASK, "si_sdr_i")]
    hall = scored[: len(scored) // 2]
    return {item: {"room": "hall" if item in hall else "studio"} for item in board.groups(TASK)}


def page(board: Path) -> str:
    """The page, as the site has it."""
    build_site(board)
    return (board / "site" / "slices.html").read_text(encoding="utf-8")


def test_they_are_those_of_sabench_slices(board: Path, finished_runs: Path) -> None:
    """Of the runs of the separators that are ranked: number by number, the same words for what is not compared."""
    report = find_slices([finished_runs / "spectral-gate"], metric="si_sdr_i")
    found = task_slices(read_board(board), TASK)
    rows = {(row["slice"], row["line"].partition("/")[0]): row for row in found["rows"]}
    wanted = {(row.slice, row.separator): row for row in report.rows if row.recordings >= 5}
    assert rows.keys() == wanted.keys() != set()
    for key, row in rows.items():
        other = wanted[key]
        shown = (row["mean"], row["low"], row["high"], row["elsewhere"], row["difference"], row["p"])
        assert shown == pytest.approx(
            (other.mean, other.low, other.high, other.elsewhere, other.difference, other.p_holm), abs=1e-6
        )
        assert (row["n"], row["recordings"], row["untested"]) == (other.n, other.recordings, other.untested)
        assert row["surely_worse"] == other.is_surely_worse()
    assert found["small"] == list(dict.fromkeys(row.slice for row in report.rows if row.recordings < 5))
    assert found["notes"] == [note.removeprefix("music: ") for note in report.notes]


def test_the_slice_that_is_worse_comes_first_with_its_worst_items(board: Path, tamper: Edit) -> None:
    rooms = halves(read_board(board))
    everywhere(board, rooms)

    def worse(rows: pd.DataFrame) -> pd.DataFrame:
        hall = rows["item"].map(lambda item: rooms[item]["room"] == "hall") & (rows["metric"] != "leak_db")
        return rows.assign(value=rows["value"].where(~hall, rows["value"] - 30))

    tamper(worse)
    found = task_slices(read_board(board), TASK)
    first, *others = found["rows"]
    assert (first["slice"], first["surely_worse"]) == ("room = hall", True)
    assert not any(row["surely_worse"] for row in others)
    scores = Submission.read(next((board / "results" / "spectral-gate").iterdir())).scores
    own = scores[(scores["metric"] == "si_sdr_i") & scores["value"].notna()].set_index("item")["value"]
    assert first["worst"] == own.sort_values().index[:5].tolist()
    hall = [item in own.index and rooms[item]["room"] == "hall" for item in own.index]
    assert first["mean"] == pytest.approx(own[hall].mean(), abs=1e-6)
    assert first["difference"] == pytest.approx(own[hall].mean() - own[[not one for one in hall]].mean(), abs=1e-6)
    text = page(board)
    assert "In 1 of 1 tasks a separator is surely worse in some slice than elsewhere." in text
    assert re.search(r"spectral-gate, room = hall: −\d+\.\d\d dB \(−", text)
    assert text.count('class="series series-0 sure"') == 2  # once for a page, once for a phone
    assert f'href="items/music%401-mini.html#{first["worst"][0]}"' in text
    assert f'id="{first["worst"][0]}"' in (board / "site" / "items" / f"{TASK}.html").read_text(encoding="utf-8")


def test_without_attributes_the_page_says_so(board: Path) -> None:
    for header in board.glob(f"results/*/*/{HEADER}"):
        stated = load_json(header)
        del stated["attributes_sha256"]
        write_json(header, stated)
        (header.parent / ATTRIBUTES).unlink()
    assert task_slices(read_board(board), TASK) == {"source": "", "rows": [], "small": [], "notes": []}
    assert "No submission of this task has attributes of its items" in page(board)


def test_the_first_submission_counts_and_another_one_is_said_to_disagree(board: Path, gate: Path) -> None:
    """A later one can neither move an item to another slice, nor add attributes that cost everybody power."""
    rooms = halves(read_board(board))
    everywhere(board, rooms)
    before = task_slices(read_board(board), TASK)
    assert before["source"].startswith("mixture/")
    item = next(iter(rooms))
    lies = {one: {"room": "cave" if one == item else own["room"], "luck": 1.0} for one, own in rooms.items()}
    put(gate, lies)
    after = task_slices(read_board(board), TASK)
    assert after["rows"] == before["rows"]
    (gate_line,) = [line.id for line in read_board(board).lines if line.name == "spectral-gate"]
    assert [note for note in after["notes"] if note not in before["notes"]] == [
        f"{gate_line} disagrees about room of 1 item: it says cave of {item}, which is {rooms[item]['room']} here",
        f"{gate_line} alone has luck, which is left out",
    ]
    assert f"it says cave of {item}" in page(board)


def test_a_task_without_a_ranked_separator(board: Path) -> None:
    entry = next(one for one in log.read(board) if one.separator == "spectral-gate")
    gate = Submission.read(board / "results" / "spectral-gate" / entry.revision)
    log.append(board, [gate], event="withdrawn", reason="a mistake")
    found = task_slices(read_board(board), TASK)
    assert (found["rows"], found["notes"]) == ([], ["no separator is ranked, so none is compared"])
    assert "Nothing could be compared, for the reasons below." in page(board)


def test_rounding_of_another_machine_is_no_disagreement(board: Path, gate: Path) -> None:
    levels = {item: {"snr": float(place)} for place, item in enumerate(halves(read_board(board)))}
    everywhere(board, levels)
    put(gate, {item: {"snr": own["snr"] + 1e-3} for item, own in levels.items()})
    assert not any("disagrees" in note for note in task_slices(read_board(board), TASK)["notes"])


def test_what_was_withdrawn_states_nothing(board: Path) -> None:
    entry = next(one for one in log.read(board) if one.separator == "mixture")
    mixture = Submission.read(board / "results" / "mixture" / entry.revision)
    log.append(board, [mixture], event="withdrawn", reason="a mistake")
    assert task_slices(read_board(board), TASK)["source"].startswith("silence/")


def test_attributes_that_say_anything_run_nothing(board: Path) -> None:
    """As slices, names, notes, in figures; what the validation would refuse is left out with a word."""
    evil = '</script><img src=x onerror="hacked=1">'
    rooms = halves(read_board(board))
    everywhere(board, {item: {evil: evil + own["room"], "long": "x" * 400} for item, own in rooms.items()})
    text = page(board)
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    assert "</script><img" not in (board / "site" / "slices.html").read_text(encoding="utf-8")
    everywhere(board, {item: {"room": own["room"], "level": float("inf")} for item, own in rooms.items()})
    assert "expected finite numbers for &#39;level&#39;" in page(board)


def test_attributes_of_many_slices_and_lines_that_are_not_the_best_are_left_out_with_a_word(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time grows with the square of their number."""
    rooms = halves(read_board(board))
    everywhere(board, {item: {"same": own["room"], "room": own["room"], "words": 1.0} for item, own in rooms.items()})
    monkeypatch.setattr(slicing, "_MOST_SLICES", 3)
    found = task_slices(read_board(board), TASK)
    assert {row["attribute"] for row in found["rows"]} == {"same"}
    assert "room is not compared, as its 2 slices would be more than 3 with others" in found["notes"]
    monkeypatch.setattr(slicing, "MOST_SERIES", 0)
    found = task_slices(read_board(board), TASK)
    assert found["rows"] == []
    assert "spectral-gate is not compared, as it is not among the best 0" in found["notes"]


def test_a_line_that_is_not_ranked_is_not_compared(board: Path, gate: Path) -> None:
    """Baselines and oracles; a revision that was followed by another one."""
    everywhere(board, halves(read_board(board)))
    assert {row["line"].partition("/")[0] for row in task_slices(read_board(board), TASK)["rows"]} == {"spectral-gate"}
    newer = gate.parent / "v2"
    shutil.copytree(gate, newer)
    header = Submission.read(newer).header
    answers = {task: dict.fromkeys(own, 64 * "0") for task, own in header.answers.items()}
    separator = structs.replace(header.separator, revision="v2")
    write_json(newer / HEADER, to_builtins(structs.replace(header, separator=separator, answers=answers)))
    log.append(board, [Submission.read(newer)], event="submitted")
    assert {row["line"] for row in task_slices(read_board(board), TASK)["rows"]} == {"spectral-gate/v2"}


@pytest.mark.parametrize(("lines", "key"), [(3, {"line-1": 1, "line-2": 2}), (9, {"line-8": 0, "line-7": 1})])
def test_colours_are_the_same_in_all_tasks_where_there_are_enough(board: Path, lines: int, key: dict[str, int]) -> None:
    """The last two lines have both tasks."""
    data = build_site_data(board, read_board(board))
    (line,) = [name for name in data["lines"] if name.startswith("spectral-gate")]
    names = [f"line-{at}" for at in range(lines)]
    everywhere(board, halves(read_board(board)))
    row = {**build_site_data(board, read_board(board))["slices"][TASK]["rows"][0], "mean": 1.0}
    column = {name: {**data["cells"][TASK]["si_sdr_i"][line], "value": float(at)} for at, name in enumerate(names)}
    two: Any = {
        **data,
        "lines": dict.fromkeys(names, data["lines"][line]),
        "tasks": dict.fromkeys(("one", "two"), data["tasks"][TASK]),
        "cells": {task: {"si_sdr_i": column} for task in ("one", "two")},
        "slices": {
            task: {"rows": [{**row, "line": name} for name in own], "source": line, "small": [], "notes": []}
            for task, own in (("one", names), ("two", names[-2:]))
        },
    }
    found = slice_figure(two, "two")
    assert found.key == key
    assert "series-1" in found.figure


def test_the_figure_has_a_shape_for_each_separator() -> None:
    dots = [Dot(series, float(series), series - 1.0, series + 1.0, series == 2) for series in range(MOST_SERIES)]
    figure = str(slices([("snr < <b>", dots)], MOST_SERIES, unit="dB", title='"quoted"'))
    shapes = set(re.findall(r'd="M[\d.]+ [\d.]+(m[^"]+)"', figure))
    assert len(shapes) == MOST_SERIES
    assert figure.count(" sure") == 2
    assert "<b>" not in figure
    assert slices([], 0, unit="dB", title="nothing") == ""
