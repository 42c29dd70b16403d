"""Renders the videos of the mini split's visual tasks: one moving object per source, as large as the source is loud.

A clip is rendered on first use and kept in the cache folder, together with the mask of the target's object in the
format of the official data. Objects circle a common centre on a black background, evenly spaced, and never touch.

Letters: O objects, F frames, H height, W width.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.errors import Precondition
from sam_audio_bench.files import atomic_write, case_sensitive_name, sha256
from sam_audio_bench.tasks.folders import cache_folder

__all__ = ["COLOURS", "FRAME_RATE", "SIZE", "Scene", "draw_scene", "frame_levels", "render_clip", "write_clip"]

FRAME_RATE = 10
"""Frames per second."""

SIZE = 96
"""Height and width in pixels."""

COLOURS = ((230, 60, 50), (60, 110, 240), (60, 200, 80), (240, 220, 60), (220, 80, 220), (70, 220, 230))
"""Colours of objects as red, green and blue; each clip uses some of them."""

_FORMAT = "1"  # version of rendered clips; raised whenever a pixel changes
_ORBIT = 27.0  # pixels from the centre
_SMALLEST, _LARGEST = 2.5, 15.0  # pixels, below half the distance of four objects on the orbit
_RANGE_DB = 40.0  # between the loudest frame of the clip and the level at which objects are smallest
_TURN = 2 * np.pi
_rendering = threading.Lock()  # temporary files are named per process, so its threads must take turns

_Plane = NDArray[np.floating]
_SHAPES: tuple[Callable[[_Plane, _Plane], _Plane], ...] = (  # each is at most 1 inside its shape; areas are similar
    lambda x, y: x * x + y * y,  # disc
    lambda x, y: np.maximum(np.abs(x), np.abs(y)) * 1.13,  # square
    lambda x, y: (np.abs(x) + np.abs(y)) * 0.8,  # diamond
    lambda x, y: np.maximum(np.minimum(np.abs(x), np.abs(y)) * 2.4, np.maximum(np.abs(x), np.abs(y)) * 0.9),  # cross
)


@dataclass(frozen=True, slots=True)
class Scene:
    """The pixels ``[F, H, W, 3]`` of a clip, and the part that each object covers, ``[O, F, H, W]``."""

    pixels: NDArray[np.uint8]
    objects: NDArray[np.bool_]
    colours: tuple[tuple[int, int, int], ...]


def render_clip(name: str, sources: Sequence[NDArray[np.floating]], rate: int) -> tuple[Path, Path]:
    """Renders a video (mp4) and the mask of its first source's object (npz), unless they exist; returns their paths.

    Args:
        name: seed of the choice of shapes, colours and movements.
        sources: up to four signals ``[time]``; the first is the target.
        rate: sampling rate of the sources in Hz.

    Raises:
        Precondition: the cache folder cannot be written.
    """
    levels = frame_levels(sources, rate)
    content = sha256(f"{_FORMAT} {name} {levels.shape} ".encode() + levels.tobytes())[:16]
    video = cache_folder() / "clips" / f"{case_sensitive_name(name)}-{content}.mp4"
    mask = video.with_suffix(".npz")
    with _rendering:
        if not (video.is_file() and mask.is_file()):
            try:
                write_clip(draw_scene(name, levels), video, mask)
            except OSError as error:
                raise Precondition(
                    f"expected a folder that can be written at {video.parent} for rendered clips, found: {error}; "
                    "set SABENCH_CACHE to another folder"
                ) from error
    return video, mask


def frame_levels(sources: Sequence[NDArray[np.floating]], rate: int) -> NDArray[np.uint8]:
    """Computes the level of each source in each frame ``[O, F]``: 255 for the loudest one, 0 from 40 dB below it.

    The steps are so coarse that machines whose resamplers differ in the last bit render the same clip.
    """
    hop = rate // FRAME_RATE
    frames = [signal[: len(signal) // hop * hop].reshape(-1, hop) for signal in sources]
    power = np.stack([np.einsum("ft,ft->f", part, part, dtype=np.float64) for part in frames])
    decibels = 10 * np.log10(np.maximum(power, 1e-20) / max(power.max(), 1e-12))
    steps: NDArray[np.float64] = np.rint(255 * np.clip(1 + decibels / _RANGE_DB, 0, 1))
    return steps.astype(np.uint8)


def draw_scene(name: str, levels: NDArray[np.uint8]) -> Scene:
    """Draws the objects for levels ``[O, F]``; the same name and levels give the same pixels."""
    count, length = levels.shape
    if count > len(_SHAPES):
        raise ValueError(f"expected at most {len(_SHAPES)} sources in a clip, found {count}")
    random = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
    shapes = random.permutation(len(_SHAPES))[:count]
    colours = tuple(COLOURS[index] for index in random.permutation(len(COLOURS))[:count])
    turns = random.uniform(0.5, 1.5) * random.choice([-1, 1])  # in the whole clip
    angles = _TURN * (random.uniform() + np.linspace(0, turns, length) + np.arange(count)[:, None] / count)
    radii = _SMALLEST + (_LARGEST - _SMALLEST) * levels / 255

    pixels = np.zeros((length, SIZE, SIZE, 3), np.uint8)
    objects = np.zeros((count, length, SIZE, SIZE), bool)
    grid = np.arange(SIZE, dtype=np.float32)
    for index in range(count):
        column, row = (SIZE / 2 + _ORBIT * wave(angles[index]) for wave in (np.cos, np.sin))
        radius = radii[index][:, None].astype(np.float32)
        x = ((grid - column[:, None]) / radius).astype(np.float32)[:, None, :]
        y = ((grid - row[:, None]) / radius).astype(np.float32)[:, :, None]
        objects[index] = _SHAPES[shapes[index]](x, y) <= 1
        pixels[objects[index]] = colours[index]
    return Scene(pixels, objects, colours)


def write_clip(drawn: Scene, video: Path, mask: Path) -> None:
    """Writes the video (H.264) and the mask of the first object (npz, ``video_masklet`` bool [F, H, W]), atomically."""
    with atomic_write(mask) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, video_masklet=drawn.objects[0])
    options = {"crf": "18", "preset": "veryfast", "threads": "1"}  # one thread: the same bytes on every run
    with atomic_write(video) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(FRAME_RATE), options=options)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for pixels in drawn.pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
