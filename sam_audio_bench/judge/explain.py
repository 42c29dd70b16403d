"""Figure that explains a judge's ratings: spectrograms, ratings over time, and passages that are rated poor.

Letters: F frames of the judge, B bands, T columns of a spectrogram.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from sam_audio_bench import audio
from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import atomic_write
from sam_audio_bench.judge.rationale import FAULT_NAMES, POOR_BELOW, EventMatch, explain_ratings, fit_residual
from sam_audio_bench.judge.scores import AXES, JudgeScores
from sam_audio_bench.judge.word_vectors import PromptRemark
from sam_audio_bench.types import Audio, Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Explanation", "Flag", "draw", "flags", "write_explanation"]

_SHORTEST = 0.3  # seconds; shorter passages are not flagged
_COLOURS = {"overall": "#1a1a1a", "recall": "#0072b2", "precision": "#d55e00", "faithfulness": "#009e73"}
_STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "text.parse_math": False,  # a prompt may contain dollar signs
}
_SIZE = (11.0, 10.0)  # inches
_EVENTS_SIZE = 0.9  # additional inches for the panel of events, and for every second event
_SOUNDS = {"mixture": "#7f7f7f", "answer": "#0072b2", "residual": "#d55e00"}
_DOTS = 120  # per inch
_COLUMNS = 130  # characters per line of the heading
_WINDOW_SECONDS, _HOP_SECONDS = 0.032, 0.010
_FLOOR_DB = 80.0  # below the mixture's loudest bin


@dataclass(frozen=True, slots=True)
class Flag:
    """A passage that a judge rates poor on one axis."""

    axis: str
    start: float  # seconds
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """An estimate with its prompt and a judge's ratings; ``matches`` are the events that the prompt resembles."""

    title: str
    judge: str
    mixture: Audio
    target: Audio
    text: str
    spans: tuple[Span, ...]
    scores: JudgeScores  # of this estimate alone
    frame_seconds: float
    matches: Sequence[EventMatch] = ()
    remark: PromptRemark | None = None  # what the judge does not understand of the prompt

    @property
    def reason(self) -> str:
        """The reason for the ratings in one sentence, or a statement that they are meaningless."""
        if self.remark is not None and not self.remark.understood:
            return f"The ratings are meaningless: {self.remark.text}."
        more = f" Note: {self.remark.text}." if self.remark else ""
        return explain_ratings(self.scores.values[0].tolist(), self.matches) + more

    @property
    def frames(self) -> NDArray[np.float64]:
        """Ratings ``[F, 4]``, columns as `AXES`."""
        found: NDArray[np.float64] = self.scores.frames[0][self.scores.keep[0]].double().cpu().numpy()
        return found

    @property
    def flags(self) -> list[Flag]:
        """Passages that are rated poor, by axis and time."""
        return flags(self.frames, self.frame_seconds, self.mixture.seconds)


def flags(frames: NDArray[np.floating], frame_seconds: float, seconds: float) -> list[Flag]:
    """Returns passages of at least 0.3 s that are rated below `POOR_BELOW`, by axis and time.

    Args:
        frames: ratings ``[F, 4]``, columns as `AXES`.
        frame_seconds: seconds per frame.
        seconds: duration of the clip, at which flags end at the latest.

    >>> flags(np.array([[3, 1, 4, 4], [3, 1, 4, 4], [3, 4, 4, 4]]), 0.2, 0.6)
    [Flag(axis='recall', start=0.0, end=0.4)]
    """
    found = []
    for axis in FAULT_NAMES:
        poor = frames[:, AXES.index(axis)] < POOR_BELOW
        borders = np.flatnonzero(np.diff(np.concatenate([[False], poor, [False]]).astype(int)))
        for first, last in borders.reshape(-1, 2):
            start, end = float(first * frame_seconds), min(float(last * frame_seconds), seconds)
            if end - start >= min(_SHORTEST, seconds):
                found.append(Flag(axis, start, end))
    return found


def write_explanation(explanation: Explanation, path: Path) -> None:
    """Writes the figure as PNG, atomically; the same explanation gives the same bytes.

    Raises:
        UsageError: the suffix is not ``.png``, or the folder cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"expected the name of a .png file for the explanation, found {path}")
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # prompts may be in any script
        figure = draw(explanation)
        try:
            with atomic_write(path) as temporary:
                figure.savefig(temporary, format="png", dpi=_DOTS, metadata={"Software": None})
        except OSError as error:
            raise UsageError(f"expected a place that can be written at {path}, found: {error}") from error


def draw(explanation: Explanation) -> Figure:
    """Draws the figure that `write_explanation` writes.

    It shows mixture, estimate, residual, ratings and flags over a common time axis, and below them the prompt's events.
    """
    matches = explanation.matches if explanation.remark is None or explanation.remark.understood else ()
    events = [_EVENTS_SIZE * (1 + len(matches)) / 2] if matches else []
    figure = Figure(figsize=(_SIZE[0], _SIZE[1] + sum(events)))
    FigureCanvasAgg(figure)
    lines = textwrap.wrap(f"{explanation.title}   “{explanation.text}”", _COLUMNS)
    lines += [_format_ratings(explanation), *textwrap.wrap(explanation.reason, _COLUMNS)]
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=10)
    grid = figure.add_gridspec(5 + len(events), 1, height_ratios=[2.0, 2.0, 2.0, 2.2, 0.9, *events])
    panels = [figure.add_subplot(grid[0, 0])]
    panels += [figure.add_subplot(grid[row, 0], sharex=panels[0]) for row in range(1, 5)]
    for panel in panels[:-1]:
        panel.tick_params(labelbottom=False)
    _draw_over_time(panels, explanation)
    if events:
        _draw_events(figure.add_subplot(grid[5, 0]), matches)
    return figure


def _draw_over_time(panels: Sequence[Axes], explanation: Explanation) -> None:
    """Draws mixture, estimate, residual, ratings and flags."""
    top = _spectrogram(explanation.mixture).max()
    residual = fit_residual(explanation.mixture, explanation.target)
    sounds = zip(_SOUNDS, (explanation.mixture, explanation.target, residual), strict=True)
    for panel, (name, sound) in zip(panels, sounds, strict=False):
        _draw_sound(panel, sound, name, top)
    _draw_spans(panels[0], explanation.spans)
    _draw_ratings(panels[3], explanation)
    _draw_flags(panels[4], explanation)
    panels[4].set_xlim(0, explanation.mixture.seconds)
    panels[4].set_xlabel("s")


def _draw_events(panel: Axes, matches: Sequence[EventMatch]) -> None:
    """Draws the probability of each event of the prompt in each sound."""
    height = 0.8 / len(_SOUNDS)
    for place, (name, colour) in enumerate(_SOUNDS.items()):
        rows = np.arange(len(matches)) + (place - 1) * height
        panel.barh(rows, [getattr(one, name) for one in matches], height, color=colour, label=name)
    panel.set_yticks(range(len(matches)), [f"{one.name} ({one.weight:.0%})" for one in matches])
    panel.set_ylim(len(matches) - 0.5, -0.5)
    panel.set_xlim(0, 1)
    panel.set_xlabel("highest probability of the events that the prompt resembles; in brackets their share of it")
    panel.legend(loc="lower right", ncols=3, frameon=False)


def _format_ratings(explanation: Explanation) -> str:
    """Formats the ratings, with their spreads if the judge predicts them, and the name of the judge."""
    values = explanation.scores.values[0].tolist()
    spread = explanation.scores.spread
    spreads = [""] * len(AXES) if spread is None else [f" ± {one:.2f}" for one in spread[0].tolist()]
    rated = "   ".join(f"{axis} {value:.2f}{more}" for axis, value, more in zip(AXES, values, spreads, strict=True))
    return f"{rated}   ({explanation.judge})"


def _spectrogram(sound: Audio) -> NDArray[np.float64]:
    """Returns the spectrogram of the mean of the channels in dB, ``[B, T]``."""
    samples = audio.to_mono(sound).samples[0].double().numpy()
    size = max(16, round(_WINDOW_SECONDS * sound.rate))
    samples = np.pad(samples, (0, max(0, size - len(samples))))
    transform = ShortTimeFFT(hann(size, sym=False), max(1, round(_HOP_SECONDS * sound.rate)), sound.rate)
    power = np.abs(transform.stft(samples, p0=0, p1=max(1, int(len(samples) // transform.hop)))) ** 2
    return np.asarray(10 * np.log10(np.maximum(power, 1e-12)))


def _draw_sound(panel: Axes, sound: Audio, name: str, top: float) -> None:
    levels = _spectrogram(sound)
    extent = (0.0, sound.seconds, 0.0, sound.rate / 2000)
    panel.imshow(
        levels, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - _FLOOR_DB, vmax=top,
        interpolation="nearest",
    )  # fmt: skip
    panel.set_ylim(0, min(sound.rate / 2000, 8.0))
    panel.set_ylabel(f"{name}\nkHz")


def _draw_spans(panel: Axes, spans: Sequence[Span]) -> None:
    for sign, start, end in spans:
        panel.axvspan(start, end, ymin=0.96, color=_COLOURS["faithfulness" if sign == "+" else "precision"])


def _draw_ratings(panel: Axes, explanation: Explanation) -> None:
    frames = explanation.frames
    times = np.minimum(np.arange(len(frames) + 1) * explanation.frame_seconds, explanation.mixture.seconds)
    for column, axis in enumerate(AXES):
        panel.stairs(frames[:, column], times, baseline=None, color=_COLOURS[axis], label=axis,
                     linewidth=2.0 if axis == "overall" else 1.2)  # fmt: skip
    spread = explanation.scores.spread
    if spread is not None:
        middle, width = float(explanation.scores.values[0, 0]), float(spread[0, 0])
        panel.axhspan(
            middle - width, middle + width, color="#1a1a1a", alpha=0.10, linewidth=0, label="overall ± spread"
        )
    panel.axhline(POOR_BELOW, color="#7f7f7f", linewidth=0.8, linestyle=":")
    panel.annotate(f"poor below {POOR_BELOW:g}", (1, POOR_BELOW), (-3, 2), xycoords=panel.get_yaxis_transform(),
                   textcoords="offset points", ha="right", fontsize=8, color="#5f5f5f")  # fmt: skip
    panel.set_ylim(0.8, 5.2)
    panel.set_yticks(range(1, 6))
    panel.set_ylabel("rating")
    panel.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=5, frameon=False, borderaxespad=0)


def _draw_flags(panel: Axes, explanation: Explanation) -> None:
    for flag in explanation.flags:
        row = list(FAULT_NAMES).index(flag.axis)
        panel.broken_barh([(flag.start, flag.end - flag.start)], (row - 0.4, 0.8), color=_COLOURS[flag.axis])
    panel.set_yticks(range(len(FAULT_NAMES)), list(FAULT_NAMES.values()))
    panel.set_ylim(len(FAULT_NAMES) - 0.5, -0.5)
    panel.spines["left"].set_visible(False)
    panel.tick_params(left=False)
