"""Tests whether the judge tolerates inaudible or harmless changes, and how it rates growing damage and long clips.

Run as a file, ``python judge/tolerance.py``, it draws the sweeps of gain and delay into docs/images/judge_sweeps.svg.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # run as a file
    sys.path[0] = str(ROOT)

import click  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from scipy.signal import butter, lfilter, sosfilt  # noqa: E402

from judge.criteria import HIGHEST, LOWEST, Criterion, mean_criterion  # noqa: E402
from judge.degrade import RATE  # noqa: E402
from judge.gaming import gain_rows  # noqa: E402
from judge.mini_split import Case, Signal, mini_cases, rate_estimates  # noqa: E402
from sam_audio_bench.files import atomic_write  # noqa: E402
from sam_audio_bench.judge import load  # noqa: E402
from sam_audio_bench.judge.listeners import Judge  # noqa: E402
from sam_audio_bench.judge.scores import AXES  # noqa: E402
from sam_audio_bench.plots import COLOURS, Plot, panels, styled  # noqa: E402

__all__ = [
    "DELAYS",
    "DROPPED",
    "change_criteria",
    "change_rows",
    "changed",
    "draw_sweeps",
    "length_criteria",
    "length_rows",
]

DELAYS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""Delays in ms; those beyond 20 are drawn, but have no limit."""

DROPPED = (0, 20, 40, 60, 80)
"""Percentages of 50 ms blocks that are silenced; larger sets include the smaller ones."""

FIGURE = ROOT / "docs" / "images" / "judge_sweeps.svg"
_MAX_DELAY = 20.0  # ms that must be tolerated
_SHORT, _LONG = 10, 120  # seconds
_MAX_CHANGES = {  # of overall, in rating points
    "all-pass": 0.3,
    "polarity": 0.3,
    "DC of 1x RMS": 0.4,
    "DC of 10x RMS": 0.4,
    "high-pass 100 Hz": 0.4,
    "low-pass 7 kHz": 0.4,
}
_MIN_FALL = 0.01  # rating points by which overall must fall from one percentage of drop-outs to the next


def changed(signal: Signal) -> dict[str, Signal]:
    """Applies every change to an estimate; returns by name, "delay 0 ms" and "drop-outs 0 %" being unchanged."""
    level = float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))
    found = {f"delay {delay:g} ms": _delayed(signal, delay) for delay in DELAYS}
    found |= {
        "all-pass": _all_passed(signal),
        "polarity": -signal,
        "DC of 1x RMS": signal + np.float32(level),
        "DC of 10x RMS": signal + np.float32(10 * level),
        "high-pass 100 Hz": _filtered(signal, 100, "high"),
        "low-pass 7 kHz": _filtered(signal, 7000, "low"),
    }
    return found | {f"drop-outs {share} %": _dropped(signal, share) for share in DROPPED}


def _delayed(signal: Signal, milliseconds: float) -> Signal:
    shift = round(milliseconds * RATE / 1000)
    return np.concatenate([np.zeros(shift, np.float32), signal])[: len(signal)]


def _all_passed(signal: Signal) -> Signal:
    """Applies two first-order all-pass sections, at 1 and 4 kHz."""
    for hertz in (1000, 4000):
        tangent = np.tan(np.pi * hertz / RATE)
        share = (tangent - 1) / (tangent + 1)
        signal = lfilter([share, 1], [1, share], signal).astype(np.float32)
    return signal


def _filtered(signal: Signal, hertz: float, side: str) -> Signal:
    found: Signal = sosfilt(butter(4, hertz, side, fs=RATE, output="sos"), signal).astype(np.float32)
    return found


def _dropped(signal: Signal, percent: int) -> Signal:
    piece = RATE // 20
    kept = np.random.default_rng(3).random(len(signal) // piece + 1) >= percent / 100
    return signal * np.repeat(kept, piece)[: len(signal)]


def change_rows(judge: Judge, case: Case) -> Iterator[dict[str, object]]:
    """Rates the clean target and the oracle's estimate under every change.

    Columns: item, system, change, ``saj_AXIS``, and moved, the absolute change of overall.
    """
    for name, signal in (("ideal", case.target), ("oracle-irm", case.estimates["oracle-irm"])):
        found = rate_estimates(judge, case.mixture, changed(signal), case.text)
        for change, values in found.items():
            yield {
                "item": case.item,
                "system": name,
                "change": change,
                **{f"saj_{axis}": float(value) for axis, value in zip(AXES, values, strict=True)},
                "moved": float(abs(values[0] - found["delay 0 ms"][0])),
            }


def change_criteria(table: pd.DataFrame) -> list[Criterion]:
    """Returns mean and 90th percentile of each change's effect on overall; ``table`` has the rows of `change_rows`."""
    late = {f"delay {delay:g} ms" for delay in DELAYS if 0 < delay <= _MAX_DELAY}
    means = table[table["change"].isin(late)].groupby("change")["moved"].mean()
    worst = str(means.idxmax())
    found = list(_moved(table[table["change"] == worst], f"{worst}, the worst up to {_MAX_DELAY:g} ms", 0.3))
    for change, most in _MAX_CHANGES.items():
        found += _moved(table[table["change"] == change], change, most)
    return [*found, *_drop_outs(table)]


def _moved(rows: pd.DataFrame, change: str, most: float) -> Iterator[Criterion]:
    what = f"mean absolute change of overall, {change}"
    yield mean_criterion("mini", what, rows["moved"], rows["item"], most=most)
    tail = float(rows["moved"].quantile(0.9))
    yield Criterion(part="mini", what=f"90th percentile, {change}", value=tail, n=len(rows))


def _drop_outs(table: pd.DataFrame) -> Iterator[Criterion]:
    """Yields the smallest fall of mean overall from one percentage of drop-outs to the next."""
    rows = table.assign(key=table["item"] + "/" + table["system"])
    wide = rows.pivot(index="key", columns="change", values="saj_overall")
    names = [f"drop-outs {share} %" for share in DROPPED]
    falls = -wide[names].mean().diff().dropna()
    what = f"least fall of mean overall by more drop-outs (to {str(falls.idxmin()).removeprefix('drop-outs ')})"
    yield Criterion(part="mini", what=what, value=float(falls.min()), n=len(wide), wanted=_MIN_FALL)


def length_rows(judge: Judge, case: Case) -> Iterator[dict[str, object]]:
    """Rates the same sound at 10 s and, by repetition, at 120 s: columns item, system, short, long (overall)."""
    for name, signal in (("ideal", case.target), ("oracle-irm", case.estimates["oracle-irm"])):
        found = []
        for seconds in (_SHORT, _LONG):
            mixture, estimate = (
                np.resize(np.resize(one, _SHORT * RATE), seconds * RATE) for one in (case.mixture, signal)
            )
            found.append(float(rate_estimates(judge, mixture, {"": estimate}, case.text)[""][0]))
        yield {"item": case.item, "system": name, "short": found[0], "long": found[1]}


def length_criteria(table: pd.DataFrame) -> list[Criterion]:
    """Returns the difference of overall between 120 s and 10 s; ``table`` has the rows of `length_rows`."""
    what = f"mean absolute change of overall, {_LONG} s for {_SHORT} s"
    return [mean_criterion("mini", what, (table["long"] - table["short"]).abs(), table["item"], most=0.3)]


@styled
def draw_sweeps(gains: pd.DataFrame, changes: pd.DataFrame) -> Plot:
    """Draws mean overall against gain and delay, with the interquartile range of the estimates.

    Args:
        gains: rows of `judge.gaming.gain_rows`.
        changes: rows of `change_rows`.
    """
    late = changes[changes["change"].str.startswith("delay")]
    delays = late["change"].str.removeprefix("delay ").str.removesuffix(" ms").astype(float)
    sweeps: Mapping[str, pd.DataFrame] = {
        "gain of the answer, dB": gains.assign(step=gains["gain"]),
        "delay of the answer, ms": late.assign(step=delays),
    }
    figure, both = panels(1, 2, (7.6, 3.2))
    names = sorted({*gains["system"], *late["system"]})
    kept = []
    for panel, (title, table) in zip(both, sweeps.items(), strict=True):
        for name, part in table.groupby("system", sort=True):
            at = names.index(str(name))
            steps = part.groupby("step")["saj_overall"]
            low, high = (steps.quantile(share) for share in (0.25, 0.75))
            panel.plot(low.index, steps.mean(), "o^sD"[at] + "-", color=COLOURS[at], markersize=4, label=str(name))
            panel.fill_between(low.index, low, high, color=COLOURS[at], alpha=0.15, linewidth=0)
            kept.append(steps.mean().rename("overall").reset_index().assign(system=name, sweep=title))
        panel.set_xlabel(title)
        panel.set_ylim(LOWEST, HIGHEST)
        panel.grid()
    both[0].set_ylabel("saj_overall")
    figure.legend(*both[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    caption = "Mean overall of answers to the mini split; bands: the middle half of the answers."
    data = pd.concat(kept, ignore_index=True)
    return Plot(name="judge_sweeps", title="Gain and delay", caption=caption, figure=figure, data=data)


def save_figure(plot: Plot, path: Path = FIGURE) -> None:
    """Writes only the SVG file."""
    with atomic_write(path) as temporary:
        temporary.write_text(plot.svg(), encoding="utf-8")


@click.command()
@click.option("--judge", "place", default="saj-mini", show_default=True, help="A judge's folder or name.")
@click.option("--every", type=click.IntRange(1), default=2, show_default=True, help="Use one item of so many.")
@click.option("--out", type=click.Path(path_type=Path), default=FIGURE, help="The SVG.")
def main(place: str, every: int, out: Path) -> None:
    """Draw the sweeps of gain and delay."""
    judge = load(place)
    gains, changes = [], []
    for _, _, case in mini_cases(every):
        gains += list(gain_rows(judge, case))
        changes += list(change_rows(judge, case))
    save_figure(draw_sweeps(pd.DataFrame(gains), pd.DataFrame(changes)), out)
    click.echo(out)


if __name__ == "__main__":
    main()
