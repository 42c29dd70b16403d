"""The site: the same bytes every time, nothing from elsewhere, and nothing of a stranger's that runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sam_audio_bench.files import load_json, write_json
from sam_audio_bench.leaderboard import log
from sam_audio_bench.leaderboard.figures import Point, boxes, pareto, radar
from sam_audio_bench.leaderboard.previews import make_previews
from sam_audio_bench.leaderboard.site import build, differences
from sam_audio_bench.leaderboard.submission import HEADER, Submission

RULE = {"id": "music", "title": "Music", "metric": "si_sdr_i", "split": "mini", "subset": "paper"}
BOARDS = [{**RULE, "parts": {"text": ["music"]}}]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rebuilding_gives_the_same_bytes(board: Path, tmp_path: Path) -> None:
    write_json(board / "boards.json", BOARDS)
    build(board)
    build(board, tmp_path / "again")
    assert contents(board / "site") == contents(tmp_path / "again")
    assert differences(board) == []


def test_what_is_out_of_date_is_named(board: Path) -> None:
    build(board)
    (board / "site" / "index.html").write_text("edited by hand")
    (board / "site" / "left_over.html").write_text("of an earlier site")
    (board / "site" / "log.html").unlink()
    assert differences(board) == ["index.html", "left_over.html", "log.html"]
    build(board)
    assert differences(board) == []


def test_no_page_asks_for_anything_from_elsewhere(board: Path) -> None:
    build(board)
    for name, content in contents(board / "site").items():
        if name.endswith((".html", ".css", ".js")):
            text = content.decode()
            assert not re.findall(r"""(?:src|srcset|action)\s*=\s*["']?(?:https?:)?//""", text), name
            assert not re.findall(
                r"""<link[^>]*href=["'](?:https?:)?//|@import|url\(|fetch\(|XMLHttpRequest""", text
            ), name


def test_links_lead_somewhere(board: Path) -> None:
    build(board)
    from urllib.parse import unquote

    for path in (board / "site").rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"#?]+)', path.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (path.parent / unquote(target)).exists(), f"{path.name} links to {target}"


def test_texts_of_strangers_are_escaped(board: Path, gate: Path, tamper: Callable[..., None]) -> None:
    """A summary is free text: it may say anything and must run nothing."""
    header = load_json(gate / HEADER)
    header["separator"]["summary"] = "<script>alert('x')</script>"
    write_json(gate / HEADER, header)
    build(board)
    page = (board / "site" / "separators" / "spectral-gate.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_a_table_says_what_is_not_ranked(board: Path) -> None:
    write_json(board / "boards.json", BOARDS)
    (folder,) = (board / "results" / "spectral-gate").iterdir()
    log.withdraw(board, Submission.read(folder), "a bug")
    build(board)
    page = (board / "site" / "index.html").read_text(encoding="utf-8")
    assert "Withdrawn" in page
    assert "Baselines, which do nothing" in page
    data = json.loads((board / "site" / "data.json").read_text(encoding="utf-8"))
    (overall,) = data["overall"]
    assert overall["rule"] == "si_sdr_i: the mean over tasks of the mean over items. text (music)."
    assert [row["why"] for row in overall["rows"] if "rank" not in row] == [row["why"] for row in overall["rows"]]


def test_previews_can_be_heard_and_are_small(board: Path, finished_runs: Path) -> None:
    (folder,) = make_previews(board, [finished_runs], items=1)
    build(board)
    item = load_json(folder / "item.json")
    assert item["text"]
    assert item["credits"]
    assert [name.partition("/")[0] for name in item["answers"]] == ["spectral-gate"]
    assert {path.suffix for path in folder.iterdir()} == {".ogg", ".png", ".json"}
    assert max(path.stat().st_size for path in folder.iterdir()) < 50_000
    page = (board / "site" / "items" / "music@1-mini.html").read_text(encoding="utf-8")
    assert page.count("<audio controls") == 3
    assert all(line["credit"] in page.replace("&#34;", '"') for line in item["credits"])


def test_the_front_holds_who_is_not_beaten_in_both() -> None:
    points = [
        Point(name=name, href="#", kind="separator", x=x, y=y)
        for name, x, y in (("fast", 0.1, 1.0), ("good", 1.0, 5.0), ("beaten", 2.0, 4.0), ("best", 10.0, 6.0))
    ]
    figure = str(pareto(points, x_label="x", y_label="y", higher_is_better=True, title="t"))
    (front,) = re.findall(r'class="front" d="M([^"]+)"', figure)
    assert len(front.split("L")) == 3
    assert 'aria-label="t"' in figure


def test_names_in_figures_are_escaped() -> None:
    figure = str(boxes([("<b>", "separator", [1.0, 2.0])], unit="dB", title='"quoted"'))
    assert "<b>" not in figure
    assert 'aria-label="&#34;quoted&#34;"' in figure
    assert radar([("a", 1.0), ("b", 0.5)], title="two spokes are no radar") == ""


ROOT = Path(__file__).parents[2] / "leaderboards"


@pytest.mark.skipif(not (ROOT / "log.jsonl").exists(), reason="no submission in this checkout")
def test_the_submissions_of_this_repository_are_valid() -> None:
    """What a pull request with a submission must pass."""
    from sam_audio_bench.leaderboard.validate import validate

    assert validate(ROOT, share=None).problems == []


@pytest.mark.skipif(not (ROOT / "log.jsonl").exists(), reason="no submission in this checkout")
def test_the_site_of_this_repository_is_up_to_date() -> None:
    """Else: sabench leaderboard build leaderboards."""
    assert differences(ROOT) == []


def test_the_site_of_this_repository_is_small() -> None:
    assert sum(path.stat().st_size for path in ROOT.rglob("*") if path.is_file()) < 10 * 2**20
