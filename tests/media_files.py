"""Sound and video files as others write them: with any codec, stamps and order of streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE = 48_000
FRAMES = 20  # a second


def noise(seconds: float, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Noise float32 ``[channels, time]`` in which every moment is another."""
    return (0.1 * np.random.default_rng(seed).standard_normal((channels, round(seconds * RATE)))).astype(np.float32)


def write_sound(
    path: Path,
    sound: np.ndarray,
    codec: str = "aac",
    *,
    form: str | None = None,
    stamp: Callable[[int, int], int | None] = lambda number, pts: pts,
    **options: str,
) -> Path:
    """Encodes float32 ``[channels, time]``.

    Args:
        path: its suffix tells the container, unless ``form`` does.
        sound: at `RATE`.
        codec: of FFmpeg.
        form: FFmpeg's name of the container.
        stamp: from the number of a packet and its time in samples to the one that is written; None: it is left out.
        options: of the container.
    """
    with av.open(str(path), "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=RATE, layout="mono" if len(sound) == 1 else "stereo")
        for number, packet in enumerate(_encoded(stream, sound, 0)):
            pts = stamp(number, packet.pts)
            if pts is not None:
                packet.pts = packet.dts = pts
                container.mux(packet)
    return path


def _encoded(stream: Any, sound: np.ndarray, first: int) -> Iterator[Any]:
    """Packets of sound whose first sample is number ``first``."""
    size, layout = stream.codec_context.frame_size or 1024, stream.layout.name
    convert = av.AudioResampler(format=stream.format.name, layout=layout, rate=RATE)
    for at in range(0, sound.shape[1], size):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[:, at : at + size]), "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = RATE, first + at, Fraction(1, RATE)
        for part in convert.resample(frame):
            yield from stream.encode(part)
    yield from stream.encode(None)


def write_clap(
    path: Path,
    *,
    at: float,
    sound_from: float = 0.0,
    pictures_from: float = 0.0,
    seconds: float = 3.0,
    codec: str = "aac",
) -> Path:
    """A click and a white picture ``at`` a second of one clock, on which sound and pictures begin when told."""
    sound = noise(seconds) / 100
    sound[:, round(at * RATE) :][:, :200] = 0.8
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=FRAMES)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        pictures.codec_context.time_base = Fraction(1, 1000)
        track = container.add_stream(codec, rate=RATE, layout="mono")
        first = round(sound_from * RATE)
        packets = list(_encoded(track, sound[:, first:], first))
        for number in range(round(pictures_from * FRAMES), round(seconds * FRAMES)):
            grey = 255 if number == round(at * FRAMES) else 0
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), grey, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(1000 * number / FRAMES), Fraction(1, 1000)
            packets += pictures.encode(frame)
        for packet in sorted([*packets, *pictures.encode(None)], key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def click_at(samples: np.ndarray) -> float:
    """Second of the first loud sample of ``[time]``."""
    return int(np.argmax(np.abs(samples) > 0.3)) / RATE
