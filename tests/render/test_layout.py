"""Layout of tables: pivots, wrapping and width; nothing is cut, and the verdict is above the numbers."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from sam_audio_bench.errors import UsageError
from sam_audio_bench.render.layout import TableOptions, layout, line_label
from sam_audio_bench.render.tables import print_terminal, render
from sam_audio_bench.render.terminal import panels
from sam_audio_bench.render.text import split_in_two, wrap_name
from sam_audio_bench.stats.findings import ALL_TASKS, Findings, compute_findings
from sam_audio_bench.stats.summary import ItemScore, SummaryRow

ITEMS = [f"item-{number}" for number in range(8)]
UNITS = {"si_sdr_i": "dB", "leak_db": "dB", "saj_overall": "1-5"}
LONG = "cmd:'python my_separator.py {mixture} --text={text} {target}'"


def table(values: Mapping[str, Mapping[str, Mapping[str, float]]], **changes: Any) -> tuple[list[SummaryRow], Findings]:
    """Rows and verdicts for task -> separator -> metric -> mean; all separators have the same deviations by item."""
    rows, scores = [], {}
    for task, separators in values.items():
        for separator, metrics in separators.items():
            for metric, mean in metrics.items():
                items = {
                    item: ItemScore(f"{task}-{item}", mean + place - 3.5, None) for place, item in enumerate(ITEMS)
                }
                scores[task, separator, None, metric] = items
                rows.append(SummaryRow(
                    task=task, separator=separator, metric=metric, value=mean, ci_low=mean - 1, ci_high=mean + 1,
                    n_ok=8, n=8, unit=UNITS.get(metric, ""), higher_is_better=metric != "leak_db",
                    label=f"{task}@1-mini", oracle=separator.startswith("oracle"), covered=8, items=8,
                    coverage="complete", **changes,
                ))  # fmt: skip
    return rows, compute_findings(scores, rows, line_label)


GOOD, BAD = {"si_sdr_i": 5.0, "leak_db": -9.0}, {"si_sdr_i": -4.0, "leak_db": 3.0}
ROWS, ANSWERS = table({
    "sfx": {"mixture": {"si_sdr_i": 0.0, "leak_db": 0.0}, "good": GOOD, "same": GOOD, "bad": BAD},
    "music": {name: {"si_sdr_i": mean} for name, mean in {"mixture": 0, "good": 1.0, "same": 1.0, "bad": -2.0}.items()},
})  # fmt: skip


def shown(rows: list[SummaryRow], answers: Findings, width: int = 100, **view: Any) -> list[str]:
    console = Console(width=width, file=io.StringIO(), _environ={})
    print_terminal(rows, console=console, answers=answers, view=TableOptions(**view))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_over_all_tasks_is_the_mean_over_tasks_of_the_mean_over_items() -> None:
    overall = {(row.separator, row.metric): row for row in ANSWERS.overall}
    good = overall["good", "si_sdr_i"]
    assert (good.value, good.n_ok, good.n, good.covered, good.items) == (3.0, 16, 16, 16, 16)
    assert good.heading == "all 2 tasks, mean over tasks of the mean over items, all 16 items"
    assert good.ci_low is not None
    assert good.ci_high is not None
    assert good.ci_low < 3.0 < good.ci_high
    one = overall["good", "leak_db"]  # of the one task that has it, to the bit
    assert (one.value, one.ci_low, one.ci_high, one.n) == (-9.0, -10.0, -8.0, 8)


def test_a_separator_without_all_tasks_is_named() -> None:
    half = {"music": {"mixture": {"si_sdr_i": 0.0}, "half": {"si_sdr_i": 9.0}}, "sfx": {"mixture": {"si_sdr_i": 0.0}}}
    rows, answers = table(
        {**half, "sfx": {**half["sfx"], "x": {"si_sdr_i": 1.0}}, "music": {**half["music"], "x": {"si_sdr_i": 1.0}}}
    )
    assert {row.separator for row in answers.overall} == {"mixture", "x"}
    assert answers.left_out == ("half",)
    assert "Left out, lacking a score or a task: half." in render(rows, "md", answers=answers)
    alone, none = table({"music": {"a": {"si_sdr_i": 0.0}}, "sfx": {"b": {"si_sdr_i": 0.0}}})
    assert none.overall == ()
    assert "all tasks" not in render(alone, "md", answers=none)


def unscored(missing: str, *separators: str) -> tuple[list[SummaryRow], Findings]:
    """Rows and verdicts of two tasks, one of which has no scores of some separators."""
    means = {"mixture": 0.0, "a": 1.0, "b": 5.0, "oracle-irm": 9.0}
    rows, _ = table({task: {name: {"snr": mean} for name, mean in means.items()} for task in ("sfx", "music")})
    scores = {(row.task, row.separator, None, "snr"): {
        item: ItemScore(item, None if row.task == missing and row.separator in separators else row.value, None)
        for item in ITEMS
    } for row in rows}  # fmt: skip
    rows = [replace(row, value=scores[row.task, row.separator, None, "snr"]["item-0"].value) for row in rows]
    return rows, compute_findings(scores, rows, line_label)


def test_a_separator_without_a_score_is_named() -> None:
    rows, answers = unscored("music", "b")
    told = {task: verdict.left_out for (task, _), verdict in answers.verdicts.items()}
    assert told == {"sfx": (), "music": ("b",), ALL_TASKS: ("b",)}
    text = render(rows, "md", answers=answers)
    first = next(line for line in text.splitlines() if line.startswith("Over 2 tasks"))
    assert first.startswith("Over 2 tasks, by snr, a is surely better than the mixture, by 1.00")
    assert "Left out, lacking a score or a task: b." in first


def test_a_separator_that_was_not_scored_by_a_metric_is_named() -> None:
    """A metric that was added to some runs does not affect the others."""
    both, one = {"si_sdr_i": 1.0, "snr": 1.0}, {"si_sdr_i": 9.0}
    known = {"mixture": both, "a": both, "b": one, "oracle-irm": one}
    _, answers = table({"sfx": known, "music": known})
    for task in ("sfx", "music", ALL_TASKS):
        assert answers.verdicts[task, "snr"].left_out == ("b",)
        assert answers.verdicts[task, "si_sdr_i"].left_out == ()


def test_the_verdict_of_one_task_is_not_above_several() -> None:
    rows, answers = unscored("music", "mixture", "a", "b")
    assert (ALL_TASKS, "snr") not in answers.verdicts
    lines = render(rows, "md", answers=answers).splitlines()
    assert lines[0] == "### sfx@1-mini"
    assert lines[2].startswith("By snr, b is best")
    assert json.loads(render(rows, "json", answers=answers))["answer"] == ""


def test_a_picker_of_other_numbers_of_candidates_is_one_line() -> None:
    """It has all tasks, although it is best of 4 on one and best of 8 on the other."""
    rows, scores = [], {}
    for task, candidates in (("sfx", 4), ("music", 8)):
        (own, *_), _ = table({task: {"gate": {"si_sdr_i": 1.0}}})
        for picked_by, count in ((None, 1), ("clap", candidates)):
            rows.append(replace(own, picked_by=picked_by, candidates=count))
            items = {item: ItemScore(item, float(place), picked_by) for place, item in enumerate(ITEMS)}
            scores[task, "gate", picked_by, "si_sdr_i"] = items
    found = compute_findings(scores, rows, line_label)
    assert [line_label(row) for row in found.overall] == ["gate", "gate (best by clap)"]
    assert found.left_out == ()
    assert found.counts("si_sdr_i") is None


@pytest.mark.parametrize("form", ["md", "html", "tex", "terminal"])
def test_the_verdict_is_above_the_numbers(form: str) -> None:
    text = "\n".join(shown(ROWS, ANSWERS, 300)) if form == "terminal" else render(ROWS, form, answers=ANSWERS)
    text = text.replace("\\_", "_")
    whole = (
        "Over 2 tasks, by si_sdr_i, good leads, and same cannot be told from it; not surely better than the mixture: "
    )
    assert whole in text
    assert "Taken one by one, good is surely better on 2 of 2 and surely worse on 0." in text
    assert text.count("By si_sdr_i, good leads, and same cannot be told from it") == 2  # one a task
    if form != "tex":
        assert text.index(whole) < text.index("sfx@1")
        assert text.count(whole) == 1
        assert text.count("not surely better than the mixture by si_sdr_i (paired") == 1  # told once, below all


def test_bold_is_not_surely_worse_than_the_best_and_the_mark_not_surely_better() -> None:
    blocks = layout(ROWS, (), ANSWERS)
    assert [block.title for block in blocks] == ["sfx@1-mini", "music@1-mini", ANSWERS.overall[0].heading]
    for block in blocks:
        assert {line.name for line in block.lines if line.cells[0].best} == {"good", "same"}
        assert {line.name for line in block.lines if line.unsure} == {"bad"}
        assert [line.name for line in block.lines] == ["good", "same", "mixture", "bad"]


def test_the_sorted_column_comes_first_and_is_marked() -> None:
    (sfx, *_) = layout(ROWS, (), ANSWERS, TableOptions(sort="leak_db"))
    assert [(head.name, head.sorted) for head in sfx.headers[1:]] == [("leak_db", "ascending"), ("si_sdr_i", "")]
    assert [str(head) for head in sfx.headers[1:]] == ["leak_db (dB) ↓ ▾", "si_sdr_i (dB) ↑"]
    music = layout(ROWS, (), ANSWERS, TableOptions(sort="leak_db"))[1]
    assert music.headers[1].sorted == "descending"  # it has no leak_db: sorted by what it has, and says so


def test_pivots_show_the_same_cells() -> None:
    cells = {}
    for pivot in ("task", "metric", "separator"):
        found = set()
        for block in layout(ROWS, (), ANSWERS, TableOptions(pivot=pivot)):
            found |= {cell.mean for line in block.lines for cell in line.cells if cell.mean}
        cells[pivot] = found
    assert cells["task"] == cells["metric"] == cells["separator"]
    by_metric = layout(ROWS, (), ANSWERS, TableOptions(pivot="metric"))
    assert [block.title for block in by_metric] == ["si_sdr_i (dB) ↑", "leak_db (dB) ↓"]
    assert [str(head) for head in by_metric[0].headers] == ["separator", "all tasks ▾", "sfx@1-mini", "music@1-mini"]
    by_separator = layout(ROWS, (), ANSWERS, TableOptions(pivot="separator"))
    assert [block.title for block in by_separator] == ["mixture", "good", "same", "bad"]
    assert [line.shown for line in by_separator[3].lines] == ["sfx@1-mini †", "music@1-mini †", "all tasks †"]
    worst = layout(ROWS, (), ANSWERS, TableOptions(pivot="separator", sort="si_sdr_i"))[1]
    assert [line.name for line in worst.lines] == ["sfx@1-mini", "music@1-mini", "all tasks"]
    tasks = {"sfx": {"oracle-irm": {"snr": 1.0}}, "music": {"oracle-irm": {"snr": 9.0}}}
    rows, answers = table(tasks)
    (oracle,) = layout(rows, (), answers, TableOptions(pivot="separator", sort="snr"))
    assert [line.name for line in oracle.lines] == ["music@1-mini", "sfx@1-mini", "all tasks"]


@pytest.mark.parametrize("form", ["md", "html", "tex", "terminal"])
def test_a_requested_column_that_is_missing_is_named(form: str) -> None:
    """Below the table of the task without it; a metric that no task has is named once below all."""

    def told(pivot: Any) -> list[str]:
        view = TableOptions(pivot=pivot, metrics=("si_sdr_i", "leak_db", "span_iou"))
        text = render(ROWS, form, answers=ANSWERS, view=view) if form != "terminal" else "\n".join(
            shown(ROWS, ANSWERS, 400, pivot=pivot, metrics=view.metrics)
        )  # fmt: skip
        return re.findall(r"no (?:column|table) [^;.<\n]+", text.replace("\\", ""))

    assert set(told("task")) == {"no column leak_db: for no item of music@1-mini",
                                 "no column span_iou: for no item of these runs"}  # fmt: skip
    assert set(told("metric")) == {"no table span_iou: for no item of these runs"}
    assert set(told("separator")) == {"no column span_iou: for no item of these runs"}
    if form != "tex":  # of which every table floats by itself
        assert len(told("task")) == 2
    assert "no column" not in render(ROWS, "md", answers=ANSWERS)


def test_digits_and_intervals() -> None:
    text = render(ROWS, "md", answers=ANSWERS, view=TableOptions(digits=3, interval=False))
    assert "| good | **5.000** |" in text
    assert re.search(r"\| good \|.*\[", text) is None


def test_json_and_csv_have_the_verdict_and_the_rows_over_all_tasks() -> None:
    found = json.loads(render(ROWS, "json", answers=ANSWERS))
    assert found["answer"].startswith("Over 2 tasks, by si_sdr_i, good leads")
    assert {row["task"] for row in found["overall"]} == {ALL_TASKS}
    (verdict,) = (one for one in found["verdicts"] if (one["task"], one["metric"]) == (ALL_TASKS, "si_sdr_i"))
    assert (verdict["best"], verdict["surely_better"], verdict["surely_worse"]) == (
        ["good", "same"],
        ["good", "same"],
        ["bad"],
    )
    assert render(ROWS, "csv", answers=ANSWERS).count(f"\n{ALL_TASKS},") == len(ANSWERS.overall)


@pytest.mark.parametrize("change", [{"pivot": "row"}, {"digits": 9}, {"digits": -1}])
def test_what_cannot_be_meant_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        TableOptions(**change)


NAMES = st.sampled_from(["hpss", "sam-audio-large", LONG, "x" * 70, "sam-audio:checkpoints/tuned-on-drums"])
METRICS = st.sampled_from([
    "si_sdr_i", "leak_db", "saj_faithfulness", "perceptual_overall", "audiobox_aesthetics_production_quality",
    "clap(checkpoint=laion/clap-htsat-unfused,pool=mean)", "y" * 60,
])  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([60, 80, 120, 200]), st.lists(NAMES, min_size=1, max_size=3, unique=True),
    st.lists(METRICS, min_size=1, max_size=5, unique=True), st.sampled_from([1, 7]),
    st.sampled_from(["task", "metric", "separator"]),
)  # fmt: skip
def test_nothing_is_cut_at_any_width(width: int, names: list[str], metrics: list[str], tasks: int, pivot: str) -> None:
    value = -100.0
    rows, answers = table({
        f"a-long-task-{task}": {name: dict.fromkeys(metrics, value) for name in names} for task in range(tasks)
    })  # fmt: skip
    lines = shown(rows, answers, width, pivot=pivot)
    assert max(map(len, lines)) <= width
    cells = len(names) * len(metrics) * (tasks + (tasks > 1))
    text = "\n".join(lines)
    assert len(re.findall(r"−100\.00  \d+/\d+(?= |\n)", text)) == cells
    assert text.count("[−101.00, −99.00]") >= len(names) * len(metrics) * tasks
    for name in names if pivot != "separator" else ():
        assert all(part in text for part in wrap_name(name, max(16, width // 4)))


def test_a_name_is_broken_at_a_seam_and_leaves_no_orphan() -> None:
    assert split_in_two("saj_faithfulness") == ["saj_faithfulness"]  # not "saj" above the rest
    assert split_in_two("perceptual_overall") == ["perceptual", "_overall"]
    assert split_in_two("instr-wild@1-mini") == ["instr-wild", "@1-mini"]
    assert split_in_two("speech-span@1-mini") == ["speech-span", "@1-mini"]
    assert wrap_name("sfx@1-mini", 8) == ["sfx", "@1-mini"]
    lines = shown(*table({"sfx": {"mixture": {"saj_faithfulness": 1.0}}}), width=60)
    assert any("saj_faithfulness" in line for line in lines)


@given(st.text(st.sampled_from("ab_-@ ("), max_size=40), st.integers(1, 20))
def test_folding_keeps_every_letter(text: str, width: int) -> None:
    lines = wrap_name(text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert len(text) <= width or all(len(line) <= width for line in lines)


@given(st.lists(st.integers(1, 30), max_size=12), st.integers(10, 80), st.integers(0, 3))
def test_panels_hold_every_column_once_and_fit(widths: list[int], room: int, gap: int) -> None:
    parts = panels(widths, room, gap)
    assert [width for part in parts for width in widths[part]] == widths
    for part in parts:
        own = widths[part]
        assert len(own) == 1 or sum(own) + gap * len(own) <= room


def test_a_pipe_is_as_wide_as_columns_says(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, most in (("60", 60), ("200", 200), ("", 100), ("wide", 100), ("0", 100)):
        monkeypatch.setenv("COLUMNS", columns)
        print_terminal(ROWS, answers=ANSWERS)
        assert most - 25 < max(map(len, capsys.readouterr().out.splitlines())) <= most


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
@pytest.mark.parametrize(
    "view", [TableOptions(), TableOptions(pivot="metric"), TableOptions(pivot="separator", interval=False)]
)
def test_latex_compiles_and_fits_the_page(tmp_path: Path, view: TableOptions) -> None:
    metrics = dict.fromkeys(["si_sdr_i", "leak_db", "saj_faithfulness", "perceptual_overall", "snr", "snr_i"], -12.34)
    hostile = r"a_b% [x]*&#{}~^\ <|> †"
    rows, answers = table({
        task: dict.fromkeys(("mixture", hostile, "oracle-irm", LONG), metrics) for task in ("sfx", "mu_sic")
    })  # fmt: skip
    body = render(rows, "latex", answers=answers, view=view, partial="PARTIAL n=1/2")
    page = tmp_path / "page.tex"
    page.write_text(
        rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{body}\end{{document}}", "utf-8"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", page.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    log = (tmp_path / "page.log").read_text("latin-1")
    assert done.returncode == 0, log[-2000:]
    assert "Overfull" not in log
    assert "multiply defined" not in log
    assert body.count(r"\label{") == body.count(r"\caption{") == body.count(r"\begin{table}")


def test_scores_on_recordings_of_the_same_source_are_marked_everywhere() -> None:
    def trained(rows: Iterable[SummaryRow], tasks: tuple[str, ...]) -> tuple[SummaryRow, ...]:
        return tuple(
            replace(row, trained_on="FSD50K" * (row.separator == "good" and row.task in tasks)) for row in rows
        )

    rows, answers = trained(ROWS, ("sfx",)), replace(ANSWERS, overall=trained(ANSWERS.overall, (ALL_TASKS,)))
    for block in layout(rows, (), answers):
        marked = {line.name for line in block.lines for cell in line.cells if cell.mean.endswith("‡")}
        assert marked == (set() if block.title.startswith("music") else {"good"})
        told = [note for note in block.notes if "‡" in note]
        assert told == ["‡ trained on recordings of the same source (good: FSD50K)"] * bool(marked)
    header, *lines = render(rows, "csv", answers=answers).splitlines()
    place = header.split(",").index("trained_on")
    assert {line.split(",")[place] for line in lines if line.startswith("sfx,good,")} == {"FSD50K"}
    assert "‡" not in render(ROWS, "md", answers=ANSWERS)


def test_a_mean_over_tasks_is_marked_where_one_of_them_is() -> None:
    rows, _ = table({"sfx": {"mixture": BAD, "good": GOOD}, "music": {"mixture": BAD, "good": GOOD}})
    rows = [replace(row, trained_on="FSD50K" * (row.separator == "good" and row.task == "sfx")) for row in rows]
    scores = {
        (row.task, row.separator, None, row.metric): {
            item: ItemScore(f"{row.task}-{item}", float(row.value or 0) + place, None)
            for place, item in enumerate(ITEMS)
        }
        for row in rows
    }
    found = compute_findings(scores, rows, line_label).overall
    assert {row.separator: row.trained_on for row in found} == {"good": "FSD50K", "mixture": ""}
