"""A contact sheet of an item: one image of its sound, its prompt and its video.

It shows frames, their masks and the masked frames that a separator gets; the waveform, with the reference if there is
one, and the spans of the prompt. The same item gives the same PNG, bit by bit.

Letters: T frames shown, H height, W width, B bins of a drawn waveform.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sam_audio_bench import audio
from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import atomic_write
from sam_audio_bench.notebook import COLOURS, envelope
from sam_audio_bench.types import Audio, Item, Prompt, Span
from sam_audio_bench.video import frame_times, mask_frames, matching_mask_index, read_mask, stream_frames

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_contact_sheet", "write_contact_sheet"]

_STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "savefig.transparent": False,
    "text.parse_math": False,  # a prompt may hold dollar signs
}
_WIDTH = 12.0  # inches
_DPI = 120
_BINS = 1600  # of a waveform; more than the image has columns
_LINE_LENGTH = 150  # characters per line of the heading


@dataclass(frozen=True, slots=True)
class _ShownFrame:
    time: float  # seconds
    pixels: NDArray[np.uint8]  # [H, W, 3]
    mask: NDArray[np.bool_] | None  # [h, w]
    masked: NDArray[np.uint8]  # [H, W, 3]


def write_contact_sheet(item: Item, path: Path, *, title: str, frames: int = 8) -> None:
    """Writes the contact sheet of an item as PNG, atomically.

    Args:
        item: an item of any task.
        path: the file, with the suffix ``.png``.
        title: the title of the sheet, such as the name of the task.
        frames: the number of frames shown; each is the middle of one of as many equal parts of the clip.

    Raises:
        UsageError: the suffix is another one, the file cannot be written, or ``frames`` is less than 1.
        MediaError: the video or mask is missing or damaged.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"expected the name of a .png file for the contact sheet, found {path}")
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a prompt in any script
        figure = draw_contact_sheet(item, title=title, frames=frames)
        try:
            with atomic_write(path) as temporary:
                figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})
        except OSError as error:
            raise UsageError(f"expected a place that can be written at {path}, found: {error}") from error


def draw_contact_sheet(item: Item, *, title: str, frames: int = 8) -> Figure:
    """Draws the figure that `write_contact_sheet` writes; arguments and errors are the same."""
    if frames < 1:
        raise UsageError(f"expected at least one frame on a contact sheet, found {frames}")
    prompt, mixture = item.query.prompt, item.query.mixture
    shown = _select_frames(prompt, mixture.seconds, frames) if prompt.video else []
    heading = _heading(item, title)
    rows = 0 if not shown else 3 if shown[0].mask is not None else 1
    tile = _tile_height(shown, frames)
    heights = [tile] * rows + [2.2]
    figure = Figure(figsize=(_WIDTH, sum(heights) + 0.2 * len(heading) + 0.3))
    FigureCanvasAgg(figure)
    figure.suptitle("\n".join(heading), x=0.01, ha="left", fontsize=10)
    grid = figure.add_gridspec(rows + 1, frames if rows else 1, height_ratios=heights)
    _draw_frames(figure, grid, shown)
    _draw_sound(figure.add_subplot(grid[rows, :]), item, [one.time for one in shown])
    return figure


def _select_frames(prompt: Prompt, seconds: float, count: int) -> list[_ShownFrame]:
    times = [(index + 0.5) * seconds / count for index in range(count)]
    assert prompt.video is not None
    masks = None if prompt.mask is None else read_mask(prompt.mask)
    clock = frame_times(prompt.video)
    shown = []
    for time, frame in zip(times, stream_frames(prompt.video, times), strict=True):
        mask, masked = None, frame.pixels
        if masks is not None:
            mask = masks[matching_mask_index(frame.index, frame.time, masks=len(masks), clock=clock)]
            masked = mask_frames(frame.pixels, mask)
        pixels, masked_pixels = (image.permute(1, 2, 0).numpy() for image in (frame.pixels, masked))
        shown.append(_ShownFrame(time, pixels, None if mask is None else mask.numpy(), masked_pixels))
    return shown


def _tile_height(shown: Sequence[_ShownFrame], columns: int) -> float:
    if not shown:
        return 0.0
    height, width = shown[0].pixels.shape[:2]
    return min(_WIDTH / columns * float(height / width), 3.0)


def _heading(item: Item, title: str) -> list[str]:
    prompt, mixture = item.query.prompt, item.query.mixture
    parts = [f"text “{prompt.text}”"] if prompt.text else []
    parts += [f"spans {' '.join(map(_format_span, prompt.spans))} s"] if prompt.spans else []
    if prompt.video:
        parts.append("masked video" if prompt.mask else "video without a mask")
    reference = "no reference"
    if item.reference is not None:
        reference = "with reference" if bool(item.reference.samples.any()) else "silent reference: the sound is absent"
    channels = "mono" if mixture.channels == 1 else f"{mixture.channels} channels"
    lines = [
        f"{title}   {item.id}   (group {item.group})",
        f"Prompt: {'; '.join(parts)}",
        f"{mixture.seconds:.3f} s, {mixture.rate} Hz, {channels}, {reference}",
    ]
    return [part for line in lines for part in textwrap.wrap(line, _LINE_LENGTH)]


def _format_span(span: Span) -> str:
    sign, start, end = span
    return f"{sign}{start:g}:{end:g}"


def _draw_frames(figure: Figure, grid: Any, shown: Sequence[_ShownFrame]) -> None:
    names = ("frame", "mask", "masked frame")
    for column, one in enumerate(shown):
        images = [one.pixels] if one.mask is None else [one.pixels, one.mask, one.masked]
        for row, image in enumerate(images):
            panel = figure.add_subplot(grid[row, column])
            panel.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            panel.set_xticks([])
            panel.set_yticks([])
            panel.spines[:].set_visible(False)
            if column == 0:
                panel.set_ylabel(names[row], fontsize=8)
            if row == 0:
                panel.set_title(f"{one.time:.2f} s", fontsize=8)


def _draw_sound(panel: Axes, item: Item, times: Sequence[float]) -> None:
    mixture = item.query.mixture
    _draw_envelope(panel, mixture, COLOURS["mixture"], "mixture")
    if item.reference is not None and bool(item.reference.samples.any()):
        _draw_envelope(panel, item.reference, COLOURS["reference"], "reference")
    labelled = set()
    for sign, start, end in item.query.prompt.spans:
        colour, name = COLOURS[sign], "span +" if sign == "+" else "span −"
        hatch = None if sign == "+" else "///"
        label = None if name in labelled else name
        panel.axvspan(
            start, end, facecolor=colour, edgecolor=colour, alpha=0.3, hatch=hatch, linewidth=0, label=label, zorder=0
        )
        labelled.add(name)
    for time in times:
        panel.axvline(time, color="black", linewidth=0.6, linestyle=":")
    panel.set_xlim(0, mixture.seconds)
    panel.set_xlabel("s")
    panel.set_ylabel("amplitude")
    panel.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False, borderaxespad=0)


def _draw_envelope(panel: Axes, sound: Audio, colour: str, label: str) -> None:
    samples = audio.to_mono(sound).samples[0].double().numpy()
    low, high = envelope(samples, _BINS)
    times = (np.arange(len(low)) + 0.5) * sound.seconds / len(low)
    panel.fill_between(times, low, high, color=colour, linewidth=0.4, label=label)
