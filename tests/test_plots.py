"""Figures: the same bits for the same data, the data beside them, and nothing of the user's own style."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest

from sam_audio_bench.errors import UsageError
from sam_audio_bench.plots import INK, Plot, forest, rater_heat_map, reliability_curves, scatter, system_means
from sam_audio_bench.plots.intervals import slice_means

RNG = np.random.default_rng(0)
POINTS = pd.DataFrame(
    {
        "domain": np.repeat(["music", "speech"], 20),
        "system": np.tile(["p", "q"], 20),
        "metric": RNG.normal(size=40),
        "opinion": RNG.uniform(1, 5, 40),
    }
)
CORRELATIONS = pd.DataFrame(
    [
        {"metric": "sdr", "by": "all", "value": 0.2, "ci_low": 0.1, "ci_high": 0.4},
        {"metric": "fad", "by": "all", "value": -0.7, "ci_low": -0.9, "ci_high": -0.4},
        {"metric": "sdr", "by": "music", "value": 0.9, "ci_low": np.nan, "ci_high": np.nan},
        {"metric": "none", "by": "all", "value": np.nan, "ci_low": np.nan, "ci_high": np.nan},
    ]
)
OPINIONS = pd.DataFrame(
    [
        {"system": s, "method": m, "value": v, "ci_low": v - 0.2, "ci_high": v + 0.3}
        for s, v in (("p", 2.0), ("q", 4.0)) for m in ("raw", "z_scored")
    ]
)  # fmt: skip
DEVIATIONS = pd.DataFrame({"p": [0.5, np.nan, -0.5], "q": [0.0, 0.1, -0.1]}, index=["ann", "bob", "eve"])
CURVES = pd.DataFrame(
    [
        {"axis": a, "by": "all", "raters": k, "reliability": k * r / (1 + (k - 1) * r), "here": k == 10}
        for a, r in (("quality", 0.5), ("ease", 0.1)) for k in range(1, 31)
    ]
)  # fmt: skip
SLICES = pd.DataFrame(
    [
        {"attribute": a, "slice": f"{a} {place}", "place": place, "separator": s, "mean": m - place,
         "low": m - place - 1, "high": m - place + 1 if place else np.nan, "surely_worse": place == 1}
        for a in ("snr", "words") for s, m in (("p", 2.0), ("q", 4.0)) for place in (1, 0)
    ]
)  # fmt: skip
DRAWN = {
    "slices": lambda: slice_means(SLICES, axis="si_sdr (dB)", title="t", name="k"),
    "scatter": lambda: scatter(POINTS, metric="sdr", axis="MOS", name="s", noise={"music": 0.3, "speech": None}),
    "forest": lambda: forest(CORRELATIONS, title="t", name="f", ceiling=(0.9, 0.95)),
    "system_means": lambda: system_means(OPINIONS, axis="MOS", name="m", caption="c", scale=(1, 5)),
    "rater_heat_map": lambda: rater_heat_map(DEVIATIONS, {"ann": 0.5, "bob": None, "eve": -0.2}, axis="MOS", name="r"),
    "reliability_curves": lambda: reliability_curves(CURVES, name="k"),
}
draw = pytest.mark.parametrize("make", DRAWN.values(), ids=DRAWN)


@draw
def test_same_bits_and_the_data_beside(make, tmp_path: Path) -> None:
    first, second = make().save(tmp_path / "a"), make().save(tmp_path / "b")
    assert [path.suffix for path in first] == [".svg", ".png", ".csv"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert len(pd.read_csv(first[2])) == len(make().data)
    ElementTree.fromstring(first[0].read_text(encoding="utf-8"))
    assert "<dc:date>" not in first[0].read_text(encoding="utf-8")
    assert first[1].read_bytes().startswith(b"\x89PNG")


@draw
def test_own_style_changes_nothing(make) -> None:
    plain = make().svg()
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "text.color": "red"}):
        assert make().svg() == plain
    assert matplotlib.rcParams["font.size"] == matplotlib.rcParamsDefault["font.size"]


@draw
def test_colours_of_text_can_be_replaced(make) -> None:
    """Black would vanish on a dark page: whatever is no data has the ink's colour."""
    colours = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", make().svg()))
    assert INK in colours
    assert "#000000" not in colours


def test_nobody_gets_a_window() -> None:
    code = "import sys, sam_audio_bench.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_forest_shows_the_strongest_of_the_first_series_on_top() -> None:
    (panel,) = forest(CORRELATIONS, title="t", name="f").figure.axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["sdr", "fad"]


def test_scatter_draws_the_monotonic_fit_and_the_band_of_noise() -> None:
    data = pd.DataFrame({"domain": "all", "system": "p", "metric": [3.0, 1, 2, 2], "opinion": [1.0, 5, 2, 4]})
    (panel,) = scatter(data, metric="m", axis="MOS", name="s", noise={"all": 0.5}).figure.axes
    np.testing.assert_allclose(panel.lines[0].get_xydata(), [[1, 5], [2, 3], [3, 1]])
    (band,) = [c for c in panel.collections if c.get_paths()[0].vertices.shape[0] > 4 and len(c.get_offsets()) == 1]
    heights = band.get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([heights.min(), heights.max()], [1 - 0.98, 5 + 0.98])


def test_slices_are_in_their_order_and_full_dots_are_the_worse_ones() -> None:
    (panel,) = slice_means(SLICES, axis="si_sdr (dB)", title="t", name="k").figure.axes
    names = [label.get_text() for label in panel.get_yticklabels()]
    assert names == ["snr 0", "snr 1", "words 0", "words 1"]
    assert np.all(np.diff(panel.get_yticks()) < 0)
    hollow, full = panel.lines[0].get_xydata(), panel.lines[1].get_xydata()
    assert sorted(x for x, _ in hollow) == [1, 1, 2, 2]
    assert [x for x, _ in full] == [1, 1]
    assert [int(np.abs(panel.get_yticks() - y).argmin()) for _, y in full] == [1, 3]


def test_nothing_to_draw_is_an_error() -> None:
    empty = CORRELATIONS[CORRELATIONS["metric"] == "none"]
    for call in (
        lambda: forest(empty, title="t", name="f"),
        lambda: scatter(POINTS[:0], metric="m", axis="a", name="s", noise={}),
        lambda: system_means(OPINIONS[:0], axis="a", name="m", caption=""),
        lambda: rater_heat_map(DEVIATIONS[:0], {}, axis="a", name="r"),
        lambda: reliability_curves(CURVES[:0], name="k"),
        lambda: slice_means(SLICES[:0], axis="a", title="t", name="k"),
    ):
        with pytest.raises(UsageError, match="to draw, found none"):
            call()


def test_a_plot_says_what_it_shows() -> None:
    for make in DRAWN.values():
        plot: Plot = make()
        assert plot.title
        assert plot.caption


def test_more_systems_than_colours_look_different() -> None:
    data = pd.DataFrame({"domain": "all", "system": [f"s{k:02}" for k in range(20)], "metric": 1.0, "opinion": 2.0})
    figure = scatter(data, metric="m", axis="overall", name="s", noise={}).figure
    looks = {
        (tuple(one.get_facecolor()[0]), one.get_paths()[0].vertices.tobytes()) for one in figure.axes[0].collections
    }
    assert len(looks) == 20
