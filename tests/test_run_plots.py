"""Figures of runs: what is drawn is what was measured, nothing vanishes, and every name stays legible and harmless."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from sam_audio_bench.cli import group
from sam_audio_bench.cli import plot as command
from sam_audio_bench.errors import UsageError
from sam_audio_bench.plots.base import INK
from sam_audio_bench.plots.intervals import bars, box
from sam_audio_bench.plots.lines import RunData, axis_limits, clip_to_axis, rank_lines
from sam_audio_bench.plots.planes import pareto, scatter
from sam_audio_bench.plots.runs import KINDS, draw
from sam_audio_bench.run.results import Results
from sam_audio_bench.stats.cost import Cost
from sam_audio_bench.stats.summary import ItemScore, SummaryRow

MEANS = {"mixture": 0.0, "good": 3.0, "bad": -2.0, "silence": -100.0, "oracle": 12.0}
FACTORS = {"mixture": 0.001, "good": 2.0, "bad": 0.5, "silence": 0.001, "oracle": 0.1}


def row(task: str, separator: str, value: float | None, metric: str = "si_sdr_i", **more: Any) -> SummaryRow:
    known: dict[str, Any] = {"unit": "dB", "higher_is_better": True, "n_ok": 6, "n": 6, "label": f"{task}@1-mini"}
    low, high = (None, None) if value is None else (value - 1, value + 1)
    return SummaryRow(task=task, separator=separator, metric=metric, value=value, ci_low=low, ci_high=high,
                      oracle=separator == "oracle", **(known | more))  # fmt: skip


def cost(task: str, separator: str, factor: float | None, hardware: str = "CPU") -> Cost:
    nothing = dict.fromkeys(
        (
            "peak_memory_mib",
            "device_memory_mib",
            "parameters",
            "lag_ms",
            "constant_lag_ms",
            "delay",
            "delay_rate",
            "align",
        )
    )
    return Cost(task=task, label=task, separator=separator, real_time_factor=factor, lag_items=0, moved_items=0,
                hardware=hardware, **nothing)  # type: ignore[arg-type]  # fmt: skip


def items(mean: float, spread: float = 1.0) -> dict[str, ItemScore]:
    return {f"i{at}": ItemScore(f"g{at}", mean + spread * (at - 2.5), None) for at in range(6)}


def made(tasks: tuple[str, ...] = ("a", "b"), names: tuple[str, ...] = tuple(MEANS), **more: Any) -> RunData:
    values = {name: MEANS.get(name, float(at)) for at, name in enumerate(names)}
    return RunData(
        rows=[row(task, name, value, metric) for task in tasks for name, value in values.items()
              for metric in ("si_sdr_i", "snr_i")],
        scores={(task, name, None, metric): items(value, spread) for task in tasks for name, value in values.items()
                for metric, spread in (("si_sdr_i", 1.0), ("snr_i", -0.5))},
        costs=[cost(task, name, FACTORS.get(name, 1.0 + at)) for task in tasks for at, name in enumerate(names)],
        **more,
    )  # fmt: skip


DRAWN = {
    "bars": lambda data: bars(data, "si_sdr_i"),
    "box": lambda data: box(data, "si_sdr_i"),
    "metrics": lambda data: scatter(data, "si_sdr_i", "snr_i"),
    "pareto": lambda data: pareto(data, "si_sdr_i"),
}
draws = pytest.mark.parametrize("make", DRAWN.values(), ids=DRAWN)


@draws
def test_same_bits_in_both_themes(make, tmp_path: Path) -> None:
    one, other = (make(made()).save(tmp_path / name, themes=("light", "dark")) for name in "ab")
    assert [path.name.partition("-si_sdr_i")[2] for path in one] == [
        path.name.partition("-si_sdr_i")[2] for path in other
    ]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    assert [path.suffix for path in one] == [".svg", ".png", ".svg", ".png", ".csv"]
    light, dark = (one[at].read_text(encoding="utf-8") for at in (0, 2))
    assert INK in light
    assert INK not in dark
    assert "#ffffff" not in dark


def test_bars_are_as_long_as_the_means_and_the_mixture_is_a_line_through_them() -> None:
    first, _ = bars(made(), "si_sdr_i").figure.axes
    names = [label.get_text() for label in first.get_yticklabels()]
    assert names == ["good", "mixture", "bad", "silence", "oracle (oracle)"]
    lengths = {names[round(bar.get_y() + bar.get_height() / 2)]: bar.get_width() for bar in first.patches}
    assert lengths == {"good": 3.0, "mixture": 0.0, "bad": -2.0, "oracle (oracle)": 12.0}
    assert [bar.get_hatch() for bar in first.patches] == [None, None, None, "////"]
    (line,) = [line for line in first.lines if line.get_linestyle() == "--"]
    assert set(line.get_xdata()) == {0.0}
    spans = [tuple(line.get_xdata()) for line in first.lines if line.get_linestyle() == "-"]
    assert spans == [(2.0, 4.0), (-1.0, 1.0), (-3.0, -1.0), (11.0, 13.0)]
    assert "◂ −100.00" in [text.get_text() for text in first.texts]
    assert first.get_title(loc="left") == "a@1-mini; n\u00a0=\u00a06/6"


def test_a_mean_that_is_not_there_is_told_and_counts_stand_beside_lines_that_differ() -> None:
    data = RunData(rows=[row("a", "mixture", 0.0), row("a", "broken", None, n_ok=0)], scores={})
    (panel,) = bars(data, "si_sdr_i").figure.axes
    assert {text.get_text() for text in panel.texts} == {" —", "6/6", "0/6"}
    with pytest.raises(UsageError, match="means by si_sdr_i to draw, found none"):
        bars(RunData(rows=[row("a", "broken", None)], scores={}), "si_sdr_i")


def test_lower_is_better_puts_the_lowest_on_top() -> None:
    rows = [row("a", name, value, higher_is_better=False) for name, value in (("x", 2.0), ("y", -1.0))]
    assert [line.name for line in rank_lines(rows)] == ["y", "x"]


def test_partial_runs_say_so_in_the_picture() -> None:
    for make in DRAWN.values():
        assert "PARTIAL n=3/9" in make(made(partial="PARTIAL n=3/9")).figure.get_suptitle()


def test_box_shows_every_item() -> None:
    first, _ = box(made(), "si_sdr_i").figure.axes
    dots = sorted(float(x) for one in first.collections for x in np.asarray(one.get_offsets())[:, 0])
    near = [score.value for name, mean in MEANS.items() if name != "silence" for score in items(mean).values()]
    np.testing.assert_allclose(dots, sorted(near))
    assert [text.get_text() for text in first.texts] == ["◂ 6 items to −102.50"], "told once"
    medians = [float(line.get_xdata()[0]) for line in first.lines if line.get_linewidth() == 1.6]
    np.testing.assert_allclose(medians, [3.0, 0.0, -2.0, -100.0, 12.0])
    data = box(made(), "si_sdr_i").data
    assert len(data) == 2 * 5 * 6
    assert set(data.columns) >= {"task", "separator", "item", "group", "value"}


def test_scatter_pairs_items_by_name() -> None:
    x, y = items(0.0), items(3.0, spread=-0.5)
    scores = {("a", "mixture", None, "si_sdr_i"): x, ("a", "good", None, "si_sdr_i"): dict(reversed(y.items()))}
    scores["a", "good", None, "si_sdr_i"]["only here"] = ItemScore("g", 1.0, None)
    scores["a", "mixture", None, "si_sdr_i"]["no value"] = ItemScore("g", None, None)
    plot = scatter(RunData(rows=[row("a", "mixture", 0.0), row("a", "good", 3.0)], scores=scores), "si_sdr_i")
    (panel,) = plot.figure.axes
    dots = {tuple(point) for one in panel.collections for point in np.asarray(one.get_offsets()).tolist()}
    assert dots == {(x[item].value, y[item].value) for item in x if item in y}
    (line,) = panel.lines
    assert list(line.get_xdata()) == list(line.get_ydata())
    assert panel.get_title(loc="left").endswith("↑ better on 5 of 6")  # of the last one, 2.5 against 1.75
    assert plot.figure.get_supylabel().startswith("good")
    assert list(plot.data["separator_up"].unique()) == ["good"]


def test_scatter_of_two_units_has_no_diagonal() -> None:
    other = RunData(
        rows=[row("a", "good", 1.0), row("a", "good", 4.0, "overall", unit="1-5")],
        scores={("a", "good", None, "si_sdr_i"): items(1.0), ("a", "good", None, "overall"): items(4.0, 0.1)},
    )
    (panel,) = scatter(other, "si_sdr_i", "overall").figure.axes
    assert len(panel.lines) == 0


def test_scatter_of_many_separators_asks_for_two() -> None:
    with pytest.raises(UsageError, match=r"found 4: good, mixture, bad, silence; name two of them \(--separator A,B\)"):
        draw("scatter", made(), ["si_sdr_i"])
    assert draw("scatter", made(), ["si_sdr_i"], ["bad", "good"]).title == "si_sdr_i: good against bad"


def test_a_scatter_of_a_lone_oracle_says_that_there_is_nothing_else() -> None:
    with pytest.raises(UsageError, match="found 0; name two of them"):
        scatter(made(names=("oracle",)), "si_sdr_i")


def test_the_front_is_what_no_separator_beats() -> None:
    names = {
        "p": (1.0, 1.0),
        "q": (2.0, 0.5),
        "r": (3.0, 4.0),
        "s": (4.0, 4.0),
        "mixture": (0.1, 9.0),
        "oracle": (0.1, 99.0),
    }
    data = RunData(rows=[row("a", name, mean) for name, (_, mean) in names.items()], scores={},
                   costs=[cost("a", name, factor) for name, (factor, _) in names.items()])  # fmt: skip
    (panel,) = pareto(data, "si_sdr_i").figure.axes
    (front,) = [line for line in panel.lines if line.get_drawstyle() == "steps-post"]
    assert [*zip(*front.get_data(), strict=True)] == [(1.0, 1.0), (3.0, 4.0)]
    ticks = (tick for minor in (False, True) for tick in panel.get_xticklabels(minor=minor))
    assert {tick.get_fontsize() for tick in ticks} == {7}


def test_costs_that_do_not_compare_are_told() -> None:
    data = RunData(rows=[row("a", name, 1.0) for name in ("p", "q", "r")], scores={},
                   costs=[cost("a", "p", 1.0, "H200"), cost("a", "q", 2.0, "EPYC"), cost("a", "r", None)])  # fmt: skip
    caption = pareto(data, "si_sdr_i").caption
    assert "On different machines: EPYC, H200." in caption
    assert "Not drawn where there is no mean or no cost: r." in caption
    data = RunData(rows=[row(task, name, 1.0) for task in "ab" for name in "pq"], scores={},
                   costs=[cost("a", "p", 1.0), cost("a", "q", 2.0), cost("b", "p", 1.0)])  # fmt: skip
    assert "no cost: q." in pareto(data, "si_sdr_i").caption, "of one task alone, too"


@draws
def test_a_caption_explains_what_is_drawn_and_nothing_else(make) -> None:
    plain, whole = (make(made(names=names)) for names in (("good",), tuple(MEANS)))
    for word in ("mixture", "oracles", "front"):
        assert word not in plain.caption
    assert "oracles" in whole.caption
    (legend,) = pareto(made(names=("good",)), "si_sdr_i").figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["good"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_an_axis_holds_the_middle_and_loses_nothing(values: list[float]) -> None:
    low, high = axis_limits(values)
    assert low < high
    assert low <= np.median(values) <= high
    for value in values:
        place, side = clip_to_axis(value, (low, high))
        assert low <= place <= high
        assert (side == 0) == (low <= value <= high)
    if np.ptp(values) == 0:
        assert clip_to_axis(values[0], (low, high))[1] == 0


HOSTILE = (
    "a" * 200,
    "a" * 100 + "b" + "a" * 99,
    "$x^{$",
    "two\nlines \x07",
    "<svg onload=alert(1)>",
    "聲音‮",
    "\\$HOME",
    "q" * 31,
)


def test_names_do_not_lie_over_each_other() -> None:
    figure = bars(
        made(tasks=("a",), names=("mixture", *(name for name in HOSTILE if name[0] != "聲"))), "si_sdr_i"
    ).figure
    figure.draw_without_rendering()
    heights = sorted((box.y0, box.y1) for box in (one.get_window_extent() for one in figure.axes[0].get_yticklabels()))
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(heights))


@pytest.mark.parametrize("make", [bars, box, pareto])
def test_names_of_anyone(make) -> None:
    plot = make(made(names=("mixture", *HOSTILE)), "si_sdr_i")
    svg = plot.svg()
    assert "<svg onload" not in svg
    shown = [line.shown for line in rank_lines(made(names=("mixture", *HOSTILE)).rows)]
    assert len(set(shown)) == len(shown)
    assert all(len(part) <= 30 for name in shown for part in name.split("\n"))
    assert max(name.count("\n") for name in shown) <= 3
    assert set(plot.data["separator"]) >= {"a" * 200, "two lines \\x07"}  # in full


@pytest.mark.parametrize("make", [DRAWN["bars"], DRAWN["pareto"]], ids=["bars", "pareto"])
def test_nineteen_tasks_and_twelve_separators_are_drawn_apart(make) -> None:
    """No text of a panel lies over that of another one."""
    figure = make(
        made(tasks=tuple(f"task-{at}" for at in range(19)), names=tuple(f"separator-{at}" for at in range(12)))
    ).figure
    figure.draw_without_rendering()
    boxes = [axis.get_tightbbox() for axis in figure.axes]
    assert len(boxes) == 19
    for at, one in enumerate(boxes):
        for other in boxes[:at]:
            assert (
                min(one.x1, other.x1) - max(one.x0, other.x0) < 2 or min(one.y1, other.y1) - max(one.y0, other.y0) < 2
            )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two separators on three items of the mini split."""
    folder = tmp_path_factory.mktemp("figures") / "runs"
    words = [
        "eval",
        "--model",
        "mixture,hpss",
        "--task",
        "sfx",
        "--split",
        "mini",
        "--limit",
        "3",
        "--metrics",
        "si_sdr_i,snr_i",
    ]
    done = CliRunner().invoke(group, [*words, "--output", str(folder)])
    assert done.exit_code == 0, done.output
    return folder


def test_the_command_writes_what_it_names(runs: Path, tmp_path: Path) -> None:
    kinds = ["--kind", "bars", "--kind", "box", "--kind", "bars", "--metric", "all"]
    words = ["plot", str(runs), *kinds, "--out", str(tmp_path), "--theme", "both", "--json"]
    done = CliRunner().invoke(group, words)
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)["figures"]
    assert [one["name"] for one in figures] == [
        f"{kind}-{metric}" for kind in ("bars", "box") for metric in ("si_sdr_i", "snr_i")
    ]
    named = [Path(file) for one in figures for file in one["files"]]
    assert sorted(named) == sorted(tmp_path.iterdir())
    results = Results.read([runs])
    table = pd.read_csv(tmp_path / "bars-si_sdr_i.csv")
    means = {row.separator: row.value for row in results.rows if row.metric == "si_sdr_i"}
    assert dict(zip(table["separator"], table["mean"], strict=True)) == pytest.approx(means)
    scores = results.frame[results.frame["metric"] == "snr_i"].set_index(["separator", "item"])["value"]
    for _, one in pd.read_csv(tmp_path / "box-snr_i.csv").iterrows():
        assert one["value"] == pytest.approx(scores[one["separator"], one["item"]])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--metric", "si_sdri"], "unknown metric of these runs 'si_sdri': did you mean 'si_sdr_i'"),
        (["--separator", "hps"], "unknown separator of these runs 'hps': did you mean 'hpss'"),
        (["--metric", ","], "expected comma-separated ids for --metric, found ','"),
        (["--kind", "bar"], "'bar' is not one of"),
        (["--theme", "drak"], "'drak' is not one of"),
    ],
)
def test_typos_are_told_and_nothing_is_written(runs: Path, tmp_path: Path, words: list[str], said: str) -> None:
    out = tmp_path / "figures"
    done = CliRunner().invoke(group, ["plot", str(runs), "--out", str(out), *words])
    assert done.exit_code != 0
    assert said in f"{done.output} {done.exception}"
    assert not out.exists()


def test_in_python(runs: Path, tmp_path: Path) -> None:
    results = Results.read(runs)
    assert repr(results) == "Results(2 separators on 1 task: hpss, mixture; by si_sdr_i, snr_i, PARTIAL n=6/32)"
    with pytest.raises(UsageError, match="unknown kind of figure 'bar': did you mean 'bars'"):
        results.plot("bar")
    with pytest.raises(UsageError, match="expected one metric for box, found 2"):
        results.plot("box", ("si_sdr_i", "snr_i"))
    plot = results.plot("scatter", ("si_sdr_i", "snr_i"))
    assert "matplotlib" not in repr(plot)
    assert plot.save(tmp_path)[0].name == "scatter-si_sdr_i-snr_i.svg"
    with pytest.raises(UsageError, match="unknown theme 'drak': did you mean 'dark'"):
        plot.save(tmp_path, themes=["drak"])
    assert results.plot().name == "bars-si_sdr_i"
    assert INK not in results.plot()._repr_html_()


def test_the_command_knows_every_kind() -> None:
    assert set(command._KINDS) == {*KINDS, "slices"}  # type: ignore[attr-defined]


def test_figures_never_import_torch(runs: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom sam_audio_bench.cli import main\n"
        f"try:\n    main(['plot', {str(runs)!r}, '--out', {str(tmp_path)!r}])\n"
        "except SystemExit as end:\n    sys.exit(end.code or bool({'torch', 'matplotlib.pyplot'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bars-si_sdr_i.png").exists()


def test_a_metric_that_is_named_twice_is_drawn_once(runs: Path, tmp_path: Path) -> None:
    words = ["plot", str(runs), "--metric", "snr_i,snr_i", "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(group, words)
    assert [one["name"] for one in json.loads(done.stdout)["figures"]] == ["bars-snr_i"]
