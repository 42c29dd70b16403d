"""Tables: every format has the same content, can be parsed, and is safe with hostile names."""

import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import asdict
from html.parser import HTMLParser

import pandas as pd
import pytest
from rich.console import Console

from sam_audio_bench.errors import UsageError
from sam_audio_bench.render.tables import FORMATS, print_terminal, render
from sam_audio_bench.stats import SummaryRow, to_json
from sam_audio_bench.stats.cost import Cost

HOSTILE = "<script>alert(1)</script> a_b% x|y [*_`&#{}~^\\ \x1b[31m\n[red]"
PARTIAL = "PARTIAL n=8/24"


def row(separator="hpss", value=3.214, metric="si_sdr_i", **changes):
    interval = {"ci_low": None, "ci_high": None} if value is None else {"ci_low": value - 1, "ci_high": value + 1}
    fields = {"task": "sfx@1", "n_ok": 0 if value is None else 10, "n": 12, "unit": "dB", "higher_is_better": True}
    return SummaryRow(separator=separator, metric=metric, value=value, **{**fields, **interval, **changes})


ROWS = [
    row("mixture", 0.0),
    row("mixture", -5.0, "leak_db", higher_is_better=False),
    row("oracle-irm", 9.0, oracle=True),
    row("oracle-irm", -30.0, "leak_db", higher_is_better=False, oracle=True),
    row("silence", -100.0),
    row("silence", -100.0, "leak_db", higher_is_better=False, capped=2),
    row("hpss"),
    row("hpss", None, "leak_db", higher_is_better=False),
]


def md_cells(text):
    """Cells of every table line, split as GitHub does."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


class Tables(HTMLParser):
    """Collects the cells of every table row, the attributes of every tag, and which cells hold bold text."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags, self.bold, self.text = [], [], [], ""
        self._open = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self._open.append(tag)
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data
        if "b" in self._open:
            self.bold.append(data)


def in_terminal(rows, *, width=100, **options):
    console = Console(width=width, file=io.StringIO(), record=True, force_terminal=True, _environ={})
    print_terminal(rows, console=console, **options)
    return console.export_text()


def test_markdown_table():
    assert (
        render(ROWS, "md")
        == """### sfx@1

| separator | si_sdr_i (dB) ↑ ▾ | leak_db (dB) ↓ |
| :-- | --: | --: |
| hpss | **3.21** [2.21, 4.21] | — 0/12 |
| mixture | 0.00 [-1.00, 1.00] | -5.00 [-6.00, -4.00] 10/12 |
| silence | -100.00 [-101.00, -99.00] | **-100.00\\*** [-101.00, -99.00] 10/12 |
| oracle-irm (oracle) | 9.00 [8.00, 10.00] | -30.00 [-31.00, -29.00] 10/12 |

items scored: 10/12; \\* 2 item scores counted as ±100 dB (infinite or beyond)
"""
    )


def test_one_block_per_task_with_its_own_metrics():
    rows = [row(), row(task="music@1", metric="snr_i"), row(task="music@1", metric="pesq_wb", unit="")]
    cells = md_cells(render(rows, "md"))
    assert cells[0] == ["separator", "si_sdr_i (dB) ↑ ▾"]
    assert cells[3] == ["separator", "snr_i (dB) ↑ ▾", "pesq_wb ↑"]


def test_a_metric_that_does_not_apply_is_an_empty_cell():
    cells = md_cells(render([row(), row("mixture", 1.0, "snr_i")], "md"))
    assert cells[2:] == [["hpss", "**3.21** [2.21, 4.21]", ""], ["mixture", "", "**1.00** [0.00, 2.00]"]]


def test_a_mean_without_an_interval():
    assert "| **3.21** [—] |" in render([row(ci_low=None, ci_high=None)], "md")


def test_all_that_show_the_best_mean_are_bold():
    rows = [row("a", 1.001), row("b", 1.004), row("mixture", 0.99), row("c", 2.0, oracle=True)]
    shown = [cells[1].split()[0] for cells in md_cells(render(rows, "md"))[2:]]
    assert shown == ["**1.00**", "**1.00**", "0.99", "2.00"]


def test_zero_has_no_sign():
    assert "**0.00** [0.00, 0.01]" in render([row(value=-0.001, ci_low=-0.004, ci_high=0.006)], "md")


def test_an_unknown_direction_has_no_arrow_and_no_winner():
    text = render([row(metric="seconds", unit="s", higher_is_better=None)], "md")
    assert "seconds (s) |" in text
    assert "**" not in text


@pytest.mark.parametrize(
    ("metrics", "order"),
    [
        ({"snr": (1, 2, 3), "si_sdr_i": (2, 3, 1)}, "bac"),  # si_sdr_i where there is one
        ({"snr": (1, 2, 3), "snr_i": (2, 3, 1)}, "bac"),  # else an improvement
        ({"snr": (1, 2, 3)}, "cba"),  # else what is there
        ({"leak_db": (-1, -3, -2)}, "bca"),  # the lowest first
        ({"si_sdr_i": (None, 1, 2)}, "cba"),  # undefined last
        ({"seconds": (2, 1, 3)}, "abc"),  # no direction: as they came
        ({"snr": (2, 2, 2)}, "abc"),  # ties: as they came
    ],
)
def test_lines_are_ranked_by_the_main_metric(metrics, order):
    directions = {"leak_db": False, "seconds": None}
    rows = [
        row(separator, value, metric, higher_is_better=directions.get(metric, True))
        for metric, values in metrics.items()
        for separator, value in zip("abc", values, strict=True)
    ]
    assert "".join(cells[0] for cells in md_cells(render(rows, "md"))[2:]) == order


def test_a_reranker_does_not_win_by_its_own_score():
    rows = [row("plain", 1.0, "saj_overall"), row("plain", 9.0, "saj_overall", picked_by="saj+clap")]
    cells = md_cells(render(rows, "md"))[2:]
    assert cells[0][:2] == ["plain", "**1.00** [0.00, 2.00]"]
    assert cells[1][:2] == ["plain (best by saj+clap)", "9.00 [8.00, 10.00]"]


@pytest.mark.parametrize(
    ("picker", "metric", "own"),
    [
        ("saj", "saj_overall", True),
        ("saj", "clap", False),
        ("ensemble", "clap", True),
        ("ensemble", "saj_precision", True),
        ("ensemble-1-0.5", "clap", True),
        ("ensemble", "si_sdr_i", False),
        ("activity", "span_recall", True),
        ("activity-recall", "span_iou", True),
        ("imagebind", "imagebind", True),
        ("imagebind", "span_iou", False),
    ],
)
def test_metrics_of_the_pickers_model_are_not_ranked(picker, metric, own):
    rows = [row("plain", 1.0, metric), row("plain", 9.0, metric, picked_by=picker, candidates=8)]
    text = render(rows, "md")
    assert f"plain (best of 8 by {picker})" in text
    assert ("**9.00**" in text, "**1.00**" in text) == (not own, own)
    assert (f"not ranked, being of the picker's own model: {metric} of best by {picker}" in text) is own


def test_csv_parses_back():
    rows = [row(), row("mixture", None), row(HOSTILE, 2.0, oracle=True)]
    frame = pd.read_csv(io.StringIO(render(rows, "csv", partial=PARTIAL)))
    assert frame.columns.tolist() == [*asdict(rows[0]), "partial"]
    assert frame["separator"].tolist() == ["hpss", "mixture", HOSTILE]
    assert frame["oracle"].tolist() == [False, False, True]
    assert frame["value"].isna().tolist() == [False, True, False]
    assert set(frame["partial"]) == {PARTIAL}


def test_csv_keeps_every_bit():
    (record,) = csv.DictReader(io.StringIO(render([row(value=1 / 3)], "csv")))
    assert float(record["value"]) == 1 / 3
    assert float(record["ci_low"]) == 1 / 3 - 1


def test_json_is_the_summary():
    known = {**to_json(ROWS, ["runs/a"], True), "answer": "", "overall": [], "verdicts": []}
    assert json.loads(render(ROWS, "json", partial=PARTIAL, runs=["runs/a"])) == known
    assert json.loads(render(ROWS, "json"))["partial"] is False


def test_html_parses_back_and_is_accessible():
    page = Tables(render(ROWS, "html", partial=PARTIAL))
    assert page.rows[0] == ["separator", "si_sdr_i (dB) ↑ ▾", "leak_db (dB) ↓"]
    assert ("th", {"scope": "col", "aria-sort": "descending"}) in page.tags
    assert page.rows[1] == ["hpss", "3.21 [2.21, 4.21]", "— 0/12"]
    assert "items scored: 10/12" in page.text
    assert page.bold == ["3.21", "−100.00*"]
    assert ("caption", {}) in page.tags
    assert {attributes.get("scope") for tag, attributes in page.tags if tag == "th"} == {"col", "row"}
    assert ("tbody", {"class": "oracle"}) in page.tags
    assert PARTIAL in page.text
    assert "counted as ±100 dB" in page.text


def test_latex_table():
    text = render(ROWS, "tex", partial=PARTIAL)
    assert r"\textbf{PARTIAL n=8/24}" in text
    assert r"& si\_sdr\_i & leak\_db \\" in text
    assert r"separator & (dB) $\uparrow$ {\tiny$\bigtriangledown$} & (dB) $\downarrow$ \\" in text
    assert "hpss & \\textbf{3.21} & --- 0/12 \\\\\n & \\scriptsize {[}2.21, 4.21] &" in text
    assert r"\label{tab:sfx-1}" in text
    assert "items scored: 10/12;" in text
    assert r"\textbf{$-$100.00{*}}" in text
    assert text.count(r"\midrule") == 2  # below the head, above the oracles
    assert text.count("{") == text.count("}")


def test_terminal_table():
    text = in_terminal(ROWS, partial=PARTIAL)
    assert re.search(r"hpss +3\.21  10/12 +—  0/12 *\n +\[2\.21, 4\.21\]", text)
    assert re.search(r"oracle-irm \(oracle\) +9\.00  10/12 .*\n +\[8\.00, 10\.00\]", text)
    assert text.startswith(PARTIAL)
    assert "counted as ±100 dB" in text


def test_five_metrics_fit_in_a_hundred_columns():
    metrics = ("si_sdr", "si_sdr_i", "snr_i", "leak_db", "reconstruction_db")
    text = in_terminal([row("spectral-gate", -12.34, metric, ci_low=-15.5, ci_high=-10.0) for metric in metrics])
    assert text.count("−12.34  10/12") == text.count("[−15.50, −10.00]") == 5


def test_a_file_gets_a_hundred_columns(capsys):
    print_terminal([row("spectral-gate", -12.34, f"m{k}") for k in range(5)])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_hostile_names_stay_text():
    rows = [row(HOSTILE, task=HOSTILE, metric=HOSTILE), row("mixture", 0.0, task=HOSTILE, metric=HOSTILE)]
    md, page, tex = (render(rows, name, partial=HOSTILE) for name in ("md", "html", "tex"))
    assert {len(cells) for cells in md_cells(md)} == {2}
    assert "<" not in md.replace("&lt;", "")
    assert r"a_b% x\|y \[\*\_\`&amp;\#{}\~^\\" in md
    assert "script" not in {tag for tag, _ in Tables(page).tags}
    assert Tables(page).rows[1][0] == "<script>alert(1)</script> a_b% x|y [*_`&#{}~^\\ \\x1b[31m [red]"
    assert r"\textless{}script\textgreater{}alert(1)" in tex
    assert r"a\_b\% x\textbar{}y {[}{*}\_`\&\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}" in tex
    assert "\x1b[31m" not in md + page + tex
    assert "[red]" in in_terminal(rows, width=300)


@pytest.mark.parametrize("name", FORMATS)
def test_no_rows_are_no_error(name):
    assert render([], name, partial=PARTIAL).endswith("\n")


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"json", "csv"}))
def test_partial_results_are_watermarked_only_then(name):
    assert render(ROWS, name, partial=PARTIAL).count(PARTIAL) == 1
    assert "PARTIAL" not in render(ROWS, name)


def test_an_unknown_format_is_refused():
    with pytest.raises(UsageError, match="expected a table format of md, csv, tex, latex, html, json, found 'xls'"):
        render(ROWS, "xls")


def test_tables_start_fast():
    """Neither torch nor plotting nor scipy's statistics is loaded to print a table."""
    code = "import sys, sam_audio_bench.render.tables, sam_audio_bench.stats; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "matplotlib", "scipy.stats", "pandas", "rich"} & set(loaded)


def cost(separator="hpss", **changes):
    known = {
        "task": "sfx@1", "label": "sfx@1", "separator": separator, "real_time_factor": 0.0123, "parameters": None,
        "peak_memory_mib": 2048, "device_memory_mib": None, "lag_ms": 0.0, "lag_items": 3, "constant_lag_ms": None,
        "delay": None, "delay_rate": None, "align": None, "moved_items": 0, "hardware": "Some CPU",
    }  # fmt: skip
    return Cost(**{**known, **changes})


def test_costs_stand_under_the_table_of_a_terminal():
    """The median factor and the largest memory of two tasks; the GPU only if one was used."""
    costs = [cost(), cost(task="b", real_time_factor=0.1, peak_memory_mib=900), cost("old", real_time_factor=None)]
    lines = in_terminal(ROWS, costs=costs).splitlines()
    begin = lines.index(next(line for line in lines if line.startswith("cost, on Some CPU")))
    heads, _, *found = (line.split() for line in lines[begin + 1 :] if line.strip())
    assert heads == ["separator", "real-time", "factor", "memory", "parameters"]
    assert found == [["hpss", "0.056", "2.0", "GiB", "—"], ["old", "—", "2.0", "GiB", "—"]]
    on_gpu = in_terminal(ROWS, costs=[cost(device_memory_mib=612, parameters=1_230_000, hardware="H200")])
    assert "GPU memory" in on_gpu
    assert "612 MiB" in on_gpu
    assert "1.23 M" in on_gpu
    assert max(map(len, in_terminal(ROWS, costs=costs).splitlines())) <= 100


@pytest.mark.parametrize("width", [24, 30, 36, 40, 44, 48, 49, 60])
def test_costs_break_no_words_in_any_width(width):
    costs = [cost(device_memory_mib=612, parameters=1_230_000), cost("old", real_time_factor=None)]
    lines = in_terminal(ROWS, costs=costs, width=width).splitlines()
    assert max(map(len, lines)) <= width
    begin = lines.index(next(line for line in lines if line.startswith("cost, on Some CPU")))
    words = {word for line in lines[begin + 1 :] for word in line.split() if "─" not in word}
    heads = {"separator", "real-time", "factor", "memory", "GPU", "parameters"}
    assert words == heads | {"hpss", "old", "0.012", "2.0", "GiB", "612", "MiB", "1.23", "M", "—"}


def test_a_lag_is_noted_under_the_table_of_its_task():
    late = cost("hpss", constant_lag_ms=20.0, lag_ms=20.0, delay=960, delay_rate=48_000)
    for name in ("md", "tex", "html"):
        text = render(ROWS, name, costs=[late, cost("mixture")])
        assert text.count("20.0 ms late") == 1
        assert "delay=960 (samples at 48000 Hz)" in text
        assert "mixture answers" not in text
    early = cost("hpss", constant_lag_ms=-2.0, lag_ms=-2.0, delay=None, delay_rate=48_000)
    assert "2.0 ms early (median of 3 items), which scores count as an error: run it with" in render(
        ROWS, "md", costs=[early]
    )
    assert json.loads(render(ROWS, "json", costs=[late]))["costs"][0]["constant_lag_ms"] == 20.0


def test_hostile_names_have_no_power_in_costs():
    costs = [cost(HOSTILE, constant_lag_ms=20.0, delay=960, delay_rate=8000, hardware=HOSTILE)]
    assert "\x1b" not in in_terminal(ROWS, width=400, costs=costs)
    assert "<script>" not in render(ROWS, "html", costs=costs)
