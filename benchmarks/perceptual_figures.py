"""Figures of docs/perceptual.md: ratings against listeners, and sweeps of damage on the mini split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from sam_audio_bench.metrics.functional.perceptual import PerceptualReference, Ratings
from sam_audio_bench.registry import load_tasks

Signal = NDArray[np.float64]

PAIRS = (
    ("gensvs60", "overall", "DMOS"),
    ("p835_reference", "overall", "OVRL"),
    ("codec_mushra", "overall", "MUSHRA"),
    ("p835_reference", "precision", "BAK"),
    ("p835_reference", "faithfulness", "SIG"),
)


def draw_scatter(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """One panel a pair of axes, one colour a system."""
    figure, panels = plt.subplots(1, len(PAIRS), figsize=(16, 3.9), layout="constrained")
    for panel, (test, ours, axis) in zip(panels, PAIRS, strict=True):
        table = tables[test]
        for index, (system, part) in enumerate(table.groupby("system")):
            mark = "os^DvP*Xphd<"[index % 12]
            panel.scatter(part[ours], part[axis], s=18, marker=mark, color=f"C{index % 10}", alpha=0.75, label=system)
        correlation = np.corrcoef(table[ours], table[axis])[0, 1]
        panel.set(xlabel=f"perceptual_{ours} (1-5)", ylabel=f"listeners: {axis}", xlim=(0.9, 5.1))
        panel.set_title(f"{test}, PCC {correlation:.2f}", fontsize=10)
        panel.legend(fontsize=5.5, loc="upper left", framealpha=0.6)
    figure.savefig(folder / "perceptual-scatter.png", dpi=110)
    plt.close(figure)


def draw_sweeps(folder: Path) -> None:
    """Mean of the four axes over items of mini, for growing damage."""
    items = [item for data in load_tasks(["speech", "music", "sfx", "instr-pro"], split="mini") for item in data]
    items = [item for item in items if item.reference is not None and item.reference.samples.any()][::4]
    figure, panels = plt.subplots(1, len(SWEEPS), figsize=(16, 3.6), layout="constrained", sharey=True)
    for panel, (name, (unit, steps, damage)) in zip(panels, SWEEPS.items(), strict=True):
        means = np.zeros((len(steps), 4))
        for item in items:
            assert item.reference is not None
            rate = item.reference.rate
            target = item.reference.samples.mean(dim=0, keepdim=True).double()
            mixture = item.query.mixture.samples.mean(dim=0, keepdim=True).double()
            original = PerceptualReference(target, mixture, rate, mixture - target)
            for row, step in enumerate(steps):
                answer = damage(target.numpy()[0], (mixture - target).numpy()[0], rate, step)
                means[row] += np.array(original.rate(torch.from_numpy(answer)[None]), dtype=float) / len(items)
        for column, axis in enumerate(Ratings._fields):
            panel.plot(range(len(steps)), means[:, column], marker="osD^"[column], color=f"C{column}", label=axis)
        panel.set_xticks(range(len(steps)), [f"{step:g}" for step in steps], fontsize=8)
        panel.set(title=name, xlabel=unit, ylim=(0.9, 5.1))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("rating (1-5)")
    panels[0].legend(fontsize=8, loc="lower left")
    figure.savefig(folder / "perceptual-sweeps.png", dpi=110)
    plt.close(figure)


def _noise(length: int, seed: int = 0) -> Signal:
    return np.random.default_rng(seed).standard_normal(length)


def _level(signal: Signal) -> float:
    return float(np.sqrt(np.mean(signal**2)))


def bleed(target: Signal, rest: Signal, rate: int, decibels: float) -> Signal:
    """The rest of the mixture at a gain."""
    return target + 10 ** (decibels / 20) * rest


def hiss(target: Signal, rest: Signal, rate: int, decibels: float) -> Signal:
    """White noise relative to the target."""
    return target + 10 ** (decibels / 20) * _level(target) * _noise(len(target))


def low_pass(target: Signal, rest: Signal, rate: int, kilohertz: float) -> Signal:
    """A Butterworth filter of sixth order."""
    filtered: Signal = sosfilt(butter(6, min(1000 * kilohertz, 0.49 * rate), fs=rate, output="sos"), target)
    return filtered


def clip(target: Signal, rest: Signal, rate: int, share: float) -> Signal:
    """Cut at a share of the peak."""
    limit = share * np.abs(target).max()
    return np.clip(target, -limit, limit)


def drop_out(target: Signal, rest: Signal, rate: int, percent: float) -> Signal:
    """Pieces of 50 ms silenced."""
    piece = int(0.05 * rate)
    kept = np.random.default_rng(3).random(len(target) // piece + 1) >= percent / 100
    return target * np.repeat(kept, piece)[: len(target)]


def reverberate(target: Signal, rest: Signal, rate: int, ratio: float) -> Signal:
    """Exponential decay of 0.4 s, at a ratio to the direct sound."""
    tail = _noise(int(0.5 * rate), 1) * np.exp(-np.arange(int(0.5 * rate)) / rate * 6.9 / 0.4)
    tail /= np.sqrt(np.sum(tail**2))
    size = len(target) + len(tail)
    wet = np.fft.irfft(np.fft.rfft(target, size) * np.fft.rfft(tail, size), size)[: len(target)]
    return target + ratio * wet


Damage = Callable[[Signal, Signal, int, float], Signal]

SWEEPS: Mapping[str, tuple[str, tuple[float, ...], Damage]] = {
    "bleed": ("dB", (-50, -40, -30, -20, -10, 0, 6), bleed),
    "white noise": ("dB re target", (-60, -50, -40, -30, -20, -10, 0), hiss),
    "low-pass": ("kHz", (14, 10, 7, 5, 3.5, 2.4, 1.7), low_pass),
    "clipping": ("of the peak", (0.9, 0.6, 0.4, 0.25, 0.15, 0.08), clip),
    "drop-outs": ("% silenced", (2, 5, 10, 20, 30, 50, 70), drop_out),
    "reverberation": ("wet/dry", (0.03, 0.1, 0.2, 0.4, 0.7, 1, 2), reverberate),
}
"""By name: unit, steps and what is done."""
