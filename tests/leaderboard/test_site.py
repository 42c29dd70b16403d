"""The site: the same bytes every time, nothing from elsewhere, and nothing of a stranger's that runs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pandas as pd
import pytest

from benchmarks.listener_evidence import gathered
from sam_audio_bench.errors import StoreError, UsageError
from sam_audio_bench.files import load_json, write_json
from sam_audio_bench.leaderboard import log, preview_rendering
from sam_audio_bench.leaderboard.evidence import FILE, find_evidence
from sam_audio_bench.leaderboard.figures import Point, boxes, pareto, radar
from sam_audio_bench.leaderboard.hub import write_space
from sam_audio_bench.leaderboard.preview_rendering import PreviewOptions, make_previews
from sam_audio_bench.leaderboard.site import _environment, build_site, outdated_files
from sam_audio_bench.leaderboard.submission import HEADER, Submission
from sam_audio_bench.leaderboard.template_helpers import shows_radar
from sam_audio_bench.render.numbers import number
from sam_audio_bench.tasks.recipes import load_stems

ROOT = Path(__file__).parents[2] / "leaderboards"
RULE = {"id": "music", "title": "Music", "metric": "si_sdr_i", "split": "mini", "subset": "paper"}
TASK = "music@1-mini"
BOARDS = [{**RULE, "parts": {"text": ["music"]}}]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def page(board: Path, name: str) -> str:
    """A page of its site."""
    return (board / "site" / name).read_text(encoding="utf-8")


def test_rebuilding_gives_the_same_bytes(board: Path, tmp_path: Path) -> None:
    write_json(board / "boards.json", BOARDS)
    build_site(board)
    build_site(board, tmp_path / "again")
    assert contents(board / "site") == contents(tmp_path / "again")
    assert outdated_files(board) == []


def test_what_is_out_of_date_is_named(board: Path) -> None:
    build_site(board)
    (board / "site" / "index.html").write_text("edited by hand")
    (board / "site" / "left_over.html").write_text("of an earlier site")
    (board / "site" / "log.html").unlink()
    assert outdated_files(board) == ["index.html", "left_over.html", "log.html"]
    build_site(board)
    assert outdated_files(board) == []


def test_no_page_asks_for_anything_from_elsewhere(board: Path) -> None:
    build_site(board)
    for name, content in contents(board / "site").items():
        if name.endswith((".html", ".css", ".js")):
            text = content.decode()
            assert not re.findall(r"""(?:src|srcset|action)\s*=\s*["']?(?:https?:)?//""", text), name
            assert not re.findall(
                r"""<link[^>]*href=["'](?:https?:)?//|@import|url\(|fetch\(|XMLHttpRequest""", text
            ), name


def test_links_lead_somewhere(board: Path) -> None:
    build_site(board)
    for path in (board / "site").rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"#?]+)', path.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (path.parent / unquote(target)).exists(), f"{path.name} links to {target}"


def test_texts_of_strangers_are_escaped(board: Path, gate: Path, tamper: Callable[..., None]) -> None:
    """A summary is free text: it may say anything and must run nothing."""
    header = load_json(gate / HEADER)
    header["separator"]["summary"] = "<script>alert('x')</script>"
    write_json(gate / HEADER, header)
    build_site(board)
    assert "<script>alert" not in page(board, "separators/spectral-gate.html")
    assert "&lt;script&gt;alert" in page(board, "separators/spectral-gate.html")


def test_heads_name_the_network_that_scored(board: Path, tamper: Callable[..., None]) -> None:
    """As the tables of the terminal do: two judges are two quantities."""

    def judged(header: Any) -> None:
        (record,) = (one for one in header["metrics"] if one["id"] == "snr_i")
        record |= {"weights_sha256": "31bc2250" + 56 * "0", "parameters": {"model": "saj-mini"}}

    for folder in (board / "results").glob("*/*"):
        header = load_json(folder / HEADER)
        judged(header)
        write_json(folder / HEADER, header)
    build_site(board)
    (head,) = re.findall(r'<th[^>]*data-column="snr_i".*?</th>', page(board, f"tasks/{TASK}.html"), re.DOTALL)
    assert "saj-mini 31bc2250" in head
    assert "higher is better" in head
    assert "saj-mini 31bc2250" in page(board, "metrics.html")


def test_scores_by_other_weights_share_no_column(board: Path, gate: Path) -> None:
    header = load_json(gate / HEADER)
    header["metrics"][0]["weights_sha256"] = 64 * "0"
    write_json(gate / HEADER, header)
    with pytest.raises(StoreError, match=r"with the weights_sha256 of .*score one of them again"):
        build_site(board)


def test_reported_numbers_stand_beside_measured_ones(board: Path) -> None:
    """On the page of their task, and of the separator that bears the name; never with a rank."""
    paper = load_json(ROOT / "results" / "reported" / "sam-audio-paper.json")
    paper["rows"] += [
        {"task": "music", "system": "Spectral-Gate", "quantity": name, "value": value, "mark": "S2", "where": "here"}
        for name, value in (("human_ovr", 1.25), ("net_win_rate", -36))
    ]
    write_json(board / "results" / "reported" / "paper.json", paper)
    build_site(board)
    for name in (f"tasks/{TASK}.html", "separators/spectral-gate.html"):
        _, _, section = page(board, name).partition('<section aria-labelledby="reported">')
        (row,) = re.findall(r"<tr(?:(?!<tr).)*Spectral-Gate.*?</tr>", section, re.DOTALL)
        assert [one in row for one in ("1.25", "−36", "here", "read in two independent digests")] == 4 * [True]
        assert 'class="number rank"' not in section
    assert "4.05" in page(board, f"tasks/{TASK}.html")
    assert "4.05" not in page(board, "separators/spectral-gate.html")
    assert "human_ovr" not in page(board, "separators/mixture.html")


def test_quality_against_parameters_once_somebody_has_some(board: Path, gate: Path) -> None:
    write_json(board / "boards.json", BOARDS)
    build_site(board)
    assert "Music against real-time factor" in page(board, "cost.html")
    assert "Music against parameters" not in page(board, "cost.html")
    header = load_json(gate / HEADER)
    header["separator"]["parameters"] = 3_000_000
    write_json(gate / HEADER, header)
    build_site(board)
    (figure,) = re.findall(r'aria-label="Music against parameters"><svg.*?</svg>', page(board, "cost.html"))
    assert 'href="separators/spectral-gate.html"' in figure
    assert ">none</text>" in figure  # where the mixture stands, which has none
    assert ">10⁶</text>" in figure


def test_scores_on_recordings_of_the_same_source_as_in_training_are_marked(board: Path, gate: Path) -> None:
    build_site(board)
    assert "‡" not in page(board, f"tasks/{TASK}.html")
    header = load_json(gate / HEADER)
    header["separator"]["training_data"] = ["FSD50K & more", "songs of our own"]
    write_json(gate / HEADER, header)
    build_site(board)
    found = page(board, f"tasks/{TASK}.html")
    assert '<abbr title="trained on recordings of the same source: FSD50K &amp; more (Freesound)">‡</abbr>' in found
    assert "‡ Trained on recordings of the same source (spectral-gate: FSD50K &amp; more (Freesound))." in found
    cells = load_json(board / "site" / "data.json")["cells"][TASK]["si_sdr_i"]
    assert [line.partition("/")[0] for line, cell in cells.items() if "trained_on" in cell] == ["spectral-gate"]


def test_a_newer_revision_takes_the_place_and_both_can_be_told_apart(board: Path, gate: Path) -> None:
    newer = gate.with_name("v2")
    shutil.copytree(gate, newer, ignore=shutil.ignore_patterns("audio"))
    header = load_json(newer / HEADER)
    header["separator"]["revision"] = "v2"
    header["answers"][TASK] = dict.fromkeys(header["answers"][TASK], "0" * 64)
    write_json(newer / HEADER, header)
    log.append(board, [Submission.read(newer)], event="submitted")
    build_site(board)
    lines = load_json(board / "site" / "data.json")["lines"]
    names = {line["revision"]: (line["name"], line["why"]) for line in lines.values() if line["kind"] == "separator"}
    assert names == {"v2": ("spectral-gate", ""), gate.name: (f"spectral-gate, {gate.name}", "superseded")}
    assert f">spectral-gate, {gate.name}</option>" in page(board, "compare.html")
    assert "2 attempts in all" in page(board, "separators/spectral-gate.html")


def test_what_the_judge_itself_picked_is_marked() -> None:
    data: Any = {"lines": {}, "tasks": {}, "metrics": {}}
    cell = {"value": 4.0, "low": 3.0, "high": 5.0, "n_ok": 9, "possible": 10, "coverage": "≥ 90 %", "capped": 1}
    template = _environment(data, {}).from_string('{% import "parts.html" as parts %}{{ parts.value(cell) }}')
    assert "own judge" in template.render(cell={**cell, "why": "own judge"})
    assert "own judge" not in template.render(cell={**cell, "why": ""})
    assert "9/10 ≥ 90 %" in template.render(cell={**cell, "why": ""})


def test_a_folder_that_was_never_submitted_is_refused(board: Path, gate: Path) -> None:
    shutil.copytree(gate, gate.with_name("unknown"))
    header = load_json(gate.with_name("unknown") / HEADER)
    header["separator"]["revision"] = "unknown"
    write_json(gate.with_name("unknown") / HEADER, header)
    with pytest.raises(StoreError, match="expected an entry for spectral-gate unknown"):
        build_site(board)


def test_a_site_that_found_no_room_is_written_by_the_same_command(
    board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the disk was full, and whatever a killed process left beside it."""
    build_site(board, tmp_path / "whole")
    write = Path.write_text
    for last in range(5):
        goal = tmp_path / f"begun-{last}"
        with monkeypatch.context() as patch:
            texts = iter(range(last))

            def full(path: Path, *arguments: Any, left: Any = texts, **options: Any) -> int:
                if next(left, None) is None:
                    raise OSError(28, "No space left on device")
                return write(path, *arguments, **options)

            patch.setattr(Path, "write_text", full)
            with pytest.raises(OSError, match="No space left"):
                build_site(board, goal)
        goal.mkdir(exist_ok=True)
        (goal / ".4711-0123abcd.site.css").write_text("half")
        build_site(board, goal)
        assert contents(goal) == contents(tmp_path / "whole")


def test_tables_can_be_downloaded(board: Path) -> None:
    """The numbers of the page, best first; CSV and JSON say the same."""
    write_json(board / "boards.json", BOARDS)
    build_site(board)
    data = load_json(board / "site" / "data.json")
    for name, metrics in ((TASK, data["tasks"][TASK]["metrics"]), ("music", ["si_sdr_i"])):
        rows = load_json(board / "site" / "tables" / f"{name}.json")
        table = pd.read_csv(board / "site" / "tables" / f"{name}.csv")
        assert [row["separator"] for row in rows] == ["mixture", "spectral-gate", "silence"]
        assert list(table.columns) == list(rows[0])
        for row, (_, line) in zip(rows, table.iterrows(), strict=True):
            assert line["separator"] == row["separator"]
            cells = {key.partition("/")[0]: cell for key, cell in data["cells"][TASK]["si_sdr_i"].items()}
            assert row["si_sdr_i.value"] == cells[row["separator"]]["value"] == line["si_sdr_i.value"]
        assert {f"{metric}.low" for metric in metrics} <= set(rows[0])
        (page_name,) = (f"tasks/{TASK}.html",) if name == TASK else ("index.html",)
        assert f'tables/{quote(name)}.csv" download' in page(board, page_name)


def test_no_download_is_run_by_a_spreadsheet(board: Path, gate: Path) -> None:
    header = load_json(gate / HEADER)
    header["hardware"] = {"processor": "=HYPERLINK(1)", "gpus": []}
    write_json(gate / HEADER, header)
    write_json(board / "boards.json", BOARDS)
    build_site(board)
    assert ",'=HYPERLINK(1)" in (board / "site" / "tables" / "music.csv").read_text(encoding="utf-8")


def test_a_space_of_the_hub(board: Path, tmp_path: Path) -> None:
    """A clone keeps its history, its README and its attributes; the site is the leaderboard's."""
    space = tmp_path / "space"
    write_space(board, space)
    front = (space / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    fields = dict(line.split(": ", 1) for line in front.splitlines())
    assert (fields["sdk"], fields["app_file"]) == ("static", "index.html")
    assert (space / fields["app_file"]).exists()
    assert len(fields["short_description"]) <= 60  # what the Hub takes
    assert "*.ogg filter=lfs" in (space / ".gitattributes").read_text(encoding="utf-8")
    (space / "README.md").write_text("---\ntitle: Ours\nsdk: static\n---\n")
    (space / ".gitattributes").write_text("*.png filter=lfs diff=lfs merge=lfs -text\n")
    (space / ".git").mkdir()
    (space / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (space / "old.html").write_text("of an earlier site")
    write_space(board, space)
    build_site(board)
    assert (space / ".git" / "HEAD").exists()
    assert "Ours" in (space / "README.md").read_text(encoding="utf-8")
    assert (space / ".gitattributes").read_text(encoding="utf-8").count("filter=lfs") == 2
    beside = {"README.md", ".gitattributes", ".git/HEAD"}
    assert {name: text for name, text in contents(space).items() if name not in beside} == contents(board / "site")


def test_a_readme_of_something_else_is_no_space(board: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# My thesis\n---\nsdk: static\n")
    with pytest.raises(UsageError, match="expected the front matter of a Space"):
        write_space(board, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["README.md"]


def test_a_style_of_somebody_else_is_no_site(board: Path, tmp_path: Path) -> None:
    (tmp_path / "site.css").write_text("mine")
    with pytest.raises(UsageError, match="expected an empty folder or an earlier site"):
        build_site(board, tmp_path)


def test_a_folder_of_other_files_is_no_place_for_a_site(board: Path, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(UsageError, match="expected an empty folder or an earlier site"):
        build_site(board, tmp_path)
    assert (tmp_path / "letters.txt").read_text() == "mine"


def test_a_table_says_what_is_not_ranked(board: Path) -> None:
    write_json(board / "boards.json", BOARDS)
    (folder,) = (board / "results" / "spectral-gate").iterdir()
    log.withdraw(board, Submission.read(folder), "a bug")
    build_site(board)
    assert "Withdrawn" in page(board, "index.html")
    assert "Withdrawn: a bug" in page(board, "separators/spectral-gate.html")
    assert "Baselines, which do nothing" in page(board, "index.html")
    data = json.loads((board / "site" / "data.json").read_text(encoding="utf-8"))
    (overall,) = data["overall"]
    assert overall["rule"] == "si_sdr_i: the mean over tasks of the mean over items. text (music)."
    assert [row["why"] for row in overall["rows"] if "rank" not in row] == [row["why"] for row in overall["rows"]]


def test_previews_can_be_heard_and_are_small(board: Path, finished_runs: Path) -> None:
    assert make_previews(board, [finished_runs], PreviewOptions(items=1)) == {TASK: (1, 14)}
    (path,) = (board / "site" / "listen").glob("*/*/item.json")
    build_site(board)
    item = load_json(path)
    assert item["text"]
    assert item["credits"]
    ((answer),) = item["answers"].values()
    assert answer["stem"].partition("@")[0] == "spectral-gate"
    assert answer["residual"] == f"{answer['stem']}.residual"
    stems = {"mixture", "reference", "rest", answer["stem"], answer["residual"]}
    names = {f"{stem}{suffix}" for stem in stems for suffix in (".ogg", ".png")}
    assert {file.name for file in path.parent.iterdir()} == {*names, "item.json"}
    assert set(item["loudness"]) == stems
    assert max(file.stat().st_size for file in path.parent.iterdir()) < 60_000
    text = page(board, f"items/{TASK}.html")
    assert text.count("data-hear") == 5
    assert "1 of 14 items can be heard" in text
    assert all(line["credit"] in text.replace("&#34;", '"') for line in item["credits"])
    write_json(path, item | {"spans": [["+", "0", "<b>"]]})
    with pytest.raises(StoreError, match=r"that meets its schema in .*item.json, found \$\.spans"):
        build_site(board)
    write_json(path, item | {"item": "music-99"})
    with pytest.raises(StoreError, match="to be of an item of music@1-mini, found music-99"):
        build_site(board)


def test_previews_can_be_smaller(board: Path, finished_runs: Path) -> None:
    """As those of this repository are; what was left out before stays what it was."""
    make_previews(board, [finished_runs], PreviewOptions(items=1, kbits=12, residuals=False))
    (path,) = (board / "site" / "listen").glob("*/*/item.json")
    assert max(file.stat().st_size for file in path.parent.glob("*.ogg")) < 20_000
    assert not list(path.parent.glob("*.residual.*"))
    (answer,) = load_json(path)["answers"].values()
    assert "residual" not in answer
    build_site(board)
    assert page(board, f"items/{TASK}.html").count("data-hear") == 4


def test_as_many_items_as_keep_a_submission_small(
    board: Path, finished_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the page says how many; those in which the sound is absent come last."""
    monkeypatch.setattr(preview_rendering, "_LARGEST_SUBMISSION", 14 * 2 * 56_000 / 3)
    found = make_previews(board, [finished_runs])
    assert found == {TASK: (4, 14)}
    build_site(board)
    assert "4 of 14 items can be heard, those with a present target first" in page(board, f"items/{TASK}.html")
    sizes = [file.stat().st_size for file in (board / "site" / "listen").rglob("spectral-gate*")]
    assert sum(sizes) < 14 * 2 * 56_000 / 3


@pytest.mark.slow
def test_an_item_whose_sound_is_absent_has_no_reference(board: Path, finished_runs: Path) -> None:
    make_previews(board, [finished_runs])
    build_site(board)
    text = page(board, f"items/{TASK}.html")
    assert text.count("the estimate should be silent") == 2
    assert text.count('data-name="reference"') == 12
    assert "14 of 14 items can be heard." in text


def test_every_recording_of_mini_may_be_passed_on() -> None:
    """Else its items could not be heard."""
    assert {stem.licence for stem in load_stems().values()} <= preview_rendering._REDISTRIBUTABLE


def test_previews_belong_to_answers_not_to_revisions(board: Path, gate: Path, finished_runs: Path) -> None:
    """The same answers with other scores can be heard; other answers of the same separator have none to show."""
    make_previews(board, [finished_runs], PreviewOptions(items=1))
    for revision, change in (("same", False), ("other", True)):
        newer = gate.with_name(revision)
        shutil.copytree(gate, newer, ignore=shutil.ignore_patterns("audio"))
        header = load_json(newer / HEADER)
        header["separator"]["revision"] = revision
        if change:
            header["answers"][TASK] = dict.fromkeys(header["answers"][TASK], "0" * 64)
        write_json(newer / HEADER, header)
        log.append(board, [Submission.read(newer)], event="submitted")
    build_site(board)
    ((item,),) = load_json(board / "site" / "data.json")["listen"].values()
    assert set(item["answers"]) == {"spectral-gate/same"}  # the first one's audio, which stands once


def test_the_front_holds_who_is_not_beaten_in_both() -> None:
    points = [
        Point(name=name, href="#", kind="separator", x=x, y=y)
        for name, x, y in (("fast", 0.1, 1.0), ("good", 1.0, 5.0), ("beaten", 2.0, 4.0), ("best", 10.0, 6.0))
    ]
    figure = str(pareto(points, x_label="x", y_label="y", higher_is_better=True, title="t"))
    fronts = re.findall(r'class="front" d="M([^"]+)"', figure)
    assert [len(front.split("L")) for front in fronts] == [3, 3]  # for a page and for a phone
    assert 'aria-label="t"' in figure


def test_a_radar_is_of_few_tasks_and_of_separators_enough(board: Path) -> None:
    """Else a bar a task: between two separators everyone is best or worst, and nineteen spokes are a hedgehog."""
    strengths: Any = [None] * 8

    def separators(count: int) -> Any:
        kinds = [*["separator"] * count, "oracle", "baseline"]
        return {"lines": {str(at): {"kind": kind, "separator": str(at)} for at, kind in enumerate(kinds)}}

    shown = {
        (count, spokes): shows_radar(separators(count), strengths[:spokes]) for count in (2, 3) for spokes in (2, 3, 8)
    }
    assert {key for key, radar in shown.items() if radar} == {(3, 3), (3, 8)}
    assert not shows_radar(separators(9), [*strengths, None])
    build_site(board)
    text = page(board, "separators/spectral-gate.html")
    assert 'class="radar"' not in text
    assert 'class="bar"' in text


def test_listeners_stand_beside_the_metrics_that_were_held_against_them(board: Path) -> None:
    """The numbers of the reports, to the digit; none for other weights."""
    build_site(board)
    data = load_json(board / "site" / "data.json")
    known = {one["test"]: one for one in data["metrics"]["si_sdr"]["listeners"]}
    text = page(board, "metrics.html")
    assert set(known) == {"gensvs60", "p835_reference", "codec_mushra"}
    for one in known.values():
        assert f'{number(one["pcc"])} <span class="range">[{number(one["low"])}, {number(one["high"])}]' in text
    assert '<span class="range">no test</span>' in text  # leak_db
    low, high = min(one["pcc"] for one in known.values()), max(one["pcc"] for one in known.values())
    assert f"listeners</a> r {number(low)} to {number(high)}" in page(board, f"tasks/{TASK}.html")
    assert find_evidence("saj_overall", "0" * 64) == []


def test_the_evidence_is_what_was_measured() -> None:
    """Else: python -m benchmarks.listener_evidence."""
    found = gathered()
    assert load_json(FILE) == found
    report = (ROOT.parent / "benchmarks" / "perceptual.md").read_text(encoding="utf-8")
    (row,) = (one for one in found if (one["metric"], one["test"]) == ("perceptual_overall", "gensvs60"))
    assert f"| perceptual_overall | {row['n']} | {row['pcc']:.2f} [{row['low']:.2f}, {row['high']:.2f}] |" in report
    (row,) = (one for one in found if (one["metric"], one["test"]) == ("mrstft", "gensvs60"))
    assert row["pcc"] > 0  # lower is better, and listeners agree
    judges = {one["metric"] for one in found if one["weights_sha256"]}
    assert judges == {"saj_overall", "saj_precision", "saj_faithfulness"}


def test_names_in_figures_are_escaped() -> None:
    figure = str(boxes([("<b>", "separator", [1.0, 2.0])], unit="dB", title='"quoted"'))
    assert "<b>" not in figure
    assert 'aria-label="&#34;quoted&#34;"' in figure
    assert radar([("a", 1.0), ("b", 0.5)], title="two spokes are no radar") == ""


def schemes() -> dict[str, dict[str, str]]:
    """Colours of the style sheet by name, light and dark."""
    css = (files("sam_audio_bench.leaderboard") / "pages" / "site.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w+);", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    )
    return {"light": light, "dark": light | dark}


def contrast(first: str, second: str) -> float:
    """WCAG 2.2: ratio of relative luminances."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_measured_right() -> None:
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#777", "#fff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_told_from_what_they_stand_on(scheme: str) -> None:
    """WCAG AA: 4.5 for text, 3 for what figures and fields are drawn with."""
    colours = schemes()[scheme]
    texts = product(("ink", "faint", "accent", "oracle", "baseline", "bad"), ("paper", "card", "stripe", "note"), [4.5])
    drawn = product(("strong", "recall", "precision", "faithfulness"), ("paper", "card"), [3.0])
    low = {
        (one, ground): contrast(colours[one], colours[ground])
        for one, ground, needed in (*texts, *drawn)
        if contrast(colours[one], colours[ground]) < needed
    }
    assert low == {}


def test_every_field_of_the_data_is_documented(board: Path) -> None:
    build_site(board)
    text = (ROOT.parent / "docs" / "leaderboard.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `(\w+)` \|", text.partition("All numbers are in `site/data.json`")[2], re.MULTILINE)
    assert documented == list(load_json(board / "site" / "data.json"))


@pytest.mark.skipif(not (ROOT / "log.jsonl").exists(), reason="no submission in this checkout")
def test_every_task_can_be_heard() -> None:
    """With what its prompts are made of, and the judge's ratings over time where there is a text to judge by."""
    data = load_json(ROOT / "site" / "data.json")
    for label, task in data["tasks"].items():
        item, *_ = data["listen"][label]
        assert bool(item["text"]) == ("text" in task["prompt"]), label
        assert bool(item["spans"]) == ("span" in task["prompt"]), label
        assert bool(item["frames"]) == (task["prompt"] == "visual"), label
        assert item["has_reference"]
        names = {answer["stem"].partition("@")[0] for answer in item["answers"].values()}
        assert names >= {"hpss", "repet-sim", "spectral-gate"}
        assert all((answer["over_time"] is not None) == bool(item["text"]) for answer in item["answers"].values())


@pytest.mark.skipif(not (ROOT / "log.jsonl").exists(), reason="no submission in this checkout")
@pytest.mark.slow  # as the workflow of submissions does
def test_the_submissions_of_this_repository_are_valid() -> None:
    """What a pull request with a submission must pass."""
    from sam_audio_bench.leaderboard.validate import validate

    assert validate(ROOT, share=None).problems == []


@pytest.mark.skipif(not (ROOT / "log.jsonl").exists(), reason="no submission in this checkout")
def test_the_site_of_this_repository_is_up_to_date() -> None:
    """Else: sabench leaderboard build leaderboards."""
    assert outdated_files(ROOT) == []


def test_the_site_of_this_repository_is_small() -> None:
    """The pages as a whole, and each submission: these are history, which only grows."""

    def size(folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    assert size(ROOT / "site") < 10 * 2**20
    submissions = list((ROOT / "results").glob("*/*"))
    assert submissions
    assert max(map(size, submissions)) < 2**18


def test_cost_and_lag_are_shown_with_the_machine(board: Path) -> None:
    """A submission of before they were measured shows a dash; a separator that is late shows it."""
    (path,) = (board / "results" / "spectral-gate").glob("*/submission.json")
    header = load_json(path)
    header["hardware"] = {"processor": "Some <b>CPU</b>", "gpus": []}
    header["tasks"][0] |= {"peak_memory_mib": 3072, "device_memory_mib": 612, "lag_ms": 20.04}
    write_json(path, header)
    (old,) = (board / "results" / "silence").glob("*/submission.json")
    before = load_json(old)
    before["tasks"][0].pop("lag_ms", None)  # of silence there is none
    before["tasks"][0]["peak_memory_mib"] = None
    write_json(old, before)
    write_json(board / "boards.json", BOARDS)
    build_site(board)
    late = page(board, "separators/spectral-gate.html")
    assert "<dt>Memory</dt><dd>3.0 GiB, 612 MiB on the GPU</dd>" in late
    assert "<dt>Lag</dt><dd>20.0 ms</dd>" in late
    assert "Some &lt;b&gt;CPU&lt;/b&gt;" in late
    tooltip = '<abbr title="on Some &lt;b&gt;CPU&lt;/b&gt;, memory 3.0 GiB, GPU memory 612 MiB">'
    assert tooltip in page(board, "index.html")
    known = page(board, "separators/silence.html")
    assert "<dt>Memory</dt><dd>—</dd>" in known
    assert "<dt>Lag</dt><dd>—</dd>" in known
