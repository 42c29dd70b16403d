"""Who is surely better than doing nothing: marks, ranks, the sentence above a table, and the line in its plots."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam_audio_bench.files import load_json, write_json
from sam_audio_bench.leaderboard.board import read_board
from sam_audio_bench.leaderboard.site import build_site
from sam_audio_bench.render.verdict import sentence
from sam_audio_bench.stats import verdict
from sam_audio_bench.stats.ranking import Column, Values
from sam_audio_bench.stats.verdict import decide_many

TASK = "music@1-mini"
RULE = {"id": "music", "title": "Music", "metric": "si_sdr", "split": "mini", "subset": "paper"}
RECORDINGS = 11


def column(recordings: int = RECORDINGS) -> Column:
    """One task, an item a recording."""
    return Column((("t",),), {"t": {f"i{number}": f"r{number}" for number in range(recordings)}}, resamples=500)


def line(values: Any) -> Values:
    """Scores of the items in order."""
    return {"t": {f"i{number}": float(value) for number, value in enumerate(values)}}


@pytest.mark.parametrize("most", [32, 1])
def test_planted_differences_are_found_in_both_directions(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All pairs or, as with many lines, each with the mixture alone: the same marks and the same differences."""
    monkeypatch.setattr(verdict, "_MOST_PAIRED", most)
    noise = np.random.default_rng(0).normal(0, 1, (4, RECORDINGS))
    lines = {
        "mixture": line(noise[0]),
        "good": line(noise[0] + 5 + 0.1 * noise[1]),
        "even": line(noise[0] + 0.1 * noise[2]),
        "bad": line(noise[0] - 5 + 0.1 * noise[3]),
    }
    for sign, better in ((True, "good"), (False, "bad")):
        found = decide_many(column(), lines, higher_is_better=sign)
        marks = {name: found.against_baseline(name) for name in lines}
        worse = {"good": "bad", "bad": "good"}[better]
        assert marks == {"mixture": "", better: "better", "even": "unsure", worse: "worse"}
        assert found.order[0] == better
        assert found.over_baseline["good"].value == pytest.approx((5 if sign else -5), abs=0.2)
    told = sentence(decide_many(column(), lines, higher_is_better=True), "snr", "dB")
    alone = "cannot be told from it" in told  # not even where the difference is large
    assert told.startswith("By snr, good ")
    assert alone is (most == 1)
    assert told.endswith("surely better than the mixture: good.")
    assert decide_many(column(), {"good": lines["good"]}, higher_is_better=True).against_baseline("good") == ""


def test_among_many_equal_lines_none_is_surely_better_by_chance() -> None:
    """Holm over all of them: in 40 boards of 40 lines, more than 6 false alarms have a chance of 0.3 % at 5 %."""
    generator = np.random.default_rng(1)
    false = 0
    for _ in range(40):
        scores = generator.normal(0, 1, (41, RECORDINGS))
        lines = {f"s{number}": line(own) for number, own in enumerate(scores[1:])} | {"mixture": line(scores[0])}
        false += bool(decide_many(column(), lines, higher_is_better=True).surely_better)
    assert false <= 6


def rows_of(board: Path) -> dict[str, Any]:
    """Rows of its overall table by separator."""
    data = load_json(board / "site" / "data.json")
    return {data["lines"][row["line"]]["separator"]: row for row in data["overall"][0]["rows"]}


def raised(separator: str, by: float, edit: Callable[..., None], board: Path) -> None:
    """Moves the SI-SDR of a submission, and its improvement."""
    (folder,) = (board / "results" / separator).iterdir()

    def more(rows: Any) -> Any:
        chosen = rows["metric"].isin(["si_sdr", "si_sdr_i"]) & (rows["status"] == "ok")
        return rows.assign(value=rows["value"].where(~chosen, rows["value"] + by))

    edit(folder, more)


def test_no_rank_where_nothing_surely_beats_the_mixture(board: Path, edit: Callable[..., None]) -> None:
    """Ordered and marked instead; with a separator that does beat it, ranks come back."""
    write_json(board / "boards.json", [{**RULE, "parts": {"text": ["music"]}}])
    build_site(board)
    text = (board / "site" / "index.html").read_text(encoding="utf-8")
    gate = rows_of(board)["spectral-gate"]
    assert gate["against"] == "worse"
    assert "rank" not in gate
    assert "spectral-gate is surely worse than the mixture, by" in text
    assert 'class="mark worse">worse than the mixture</span>' in text
    assert text.index('class="verdict"') < text.index("<table")
    raised("spectral-gate", 60.0, edit, board)
    build_site(board)
    text = (board / "site" / "index.html").read_text(encoding="utf-8")
    gate = rows_of(board)["spectral-gate"]
    assert (gate["against"], gate["rank"]) == ("better", 1)
    assert "spectral-gate is surely better than the mixture, by" in text
    assert 'class="mark' not in text
    cells = read_board(board).cells[TASK]
    assert [name for name, own in cells.items() if any("rank" in cell for cell in own.values())] == ["si_sdr_i"]


def test_every_interval_stands_beside_the_line_of_the_mixture(board: Path) -> None:
    write_json(board / "boards.json", [{**RULE, "parts": {"text": ["music"]}}])
    build_site(board)
    for name in ("index.html", f"tasks/{TASK}.html"):
        text = (board / "site" / name).read_text(encoding="utf-8")
        bars = re.findall(r'<svg class="bar".*?</svg>', text)
        places = {place for bar in bars for place in re.findall(r'class="nothing" d="M([\d.]+) ', bar)}
        assert len(bars) == 3
        assert all(bar.count('class="nothing"') == 1 for bar in bars)
        assert len(places) == 1
        (own,) = (bar for bar in bars if "dot baseline" in bar)
        assert f'cx="{places.pop()}"' in own


def test_without_a_mixture_ranks_stand_and_the_sentence_says_less(finished_runs: Path, tmp_path: Path) -> None:
    from sam_audio_bench.leaderboard.submit import submit

    board = tmp_path / "board"
    submit([finished_runs / "spectral-gate"], board)
    build_site(board)
    data = load_json(board / "site" / "data.json")
    ((cell),) = data["cells"][TASK]["si_sdr_i"].values()
    assert (cell["rank"], cell["against"]) == (1, "")
    assert data["tasks"][TASK]["verdict"] == ""
    assert 'class="nothing"' not in (board / "site" / "tasks" / f"{TASK}.html").read_text(encoding="utf-8")
