"""Parts of videos: the frames that are shown, when, and bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from make_bench import FRAME_RATE, encode, frames

from sam_audio_bench import video
from sam_audio_bench.errors import MediaError
from sam_audio_bench.tasks.video_clips import count_frames, cut_frames, has_frames


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds at ten frames a second."""
    return encode(tmp_path_factory.mktemp("video") / "whole.mp4", None, 48_000, frames(4.0))


@pytest.mark.parametrize(
    ("start", "end", "first", "times"),
    [
        (0.0, 0.5, 0, [0, 0.1, 0.2, 0.3, 0.4]),
        (2.0, 2.3, 20, [0, 0.1, 0.2]),
        (2.05, 2.35, 20, [0, 0.05, 0.15, 0.25]),  # what is shown at the start, then in step with the sound
        (3.7, 9.0, 37, [0, 0.1, 0.2]),
    ],
)
def test_a_part_has_the_frames_that_are_shown(
    start: float, end: float, first: int, times: list[float], whole: Path, tmp_path: Path
):
    cut_frames(whole, start, end, tmp_path / "cut.mp4")
    found, source = video.read_frames(tmp_path / "cut.mp4"), video.read_frames(whole)
    np.testing.assert_allclose(found.times, times, atol=1e-4)
    assert torch.equal(found.pixels, source.pixels[first : first + len(times)])
    assert count_frames(whole, start, end) == len(times)


def test_odd_sizes_are_kept(tmp_path: Path):
    from fractions import Fraction

    import av

    with av.open(str(tmp_path / "odd.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 33, 31, "yuv444p"
        for level in (40, 120, 200):
            frame = av.VideoFrame.from_ndarray(np.full((31, 33, 3), level, np.uint8), format="rgb24")
            frame.time_base = Fraction(1, FRAME_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    cut_frames(tmp_path / "odd.mp4", 0.1, 0.3, tmp_path / "cut.mp4")
    assert video.read_frames(tmp_path / "cut.mp4").pixels.shape == (2, 3, 31, 33)


def test_what_cannot_be_cut_leaves_nothing(whole: Path, tmp_path: Path):
    encode(tmp_path / "sound.m4a", np.zeros((1, 48_000), np.float32), 48_000)
    (tmp_path / "torn.mp4").write_bytes(whole.read_bytes()[:2000])
    before = sorted(path.name for path in tmp_path.iterdir())
    for name, message in (("none.mp4", "found none"), ("sound.m4a", "video stream"), ("torn.mp4", "breaks off")):
        with pytest.raises(MediaError, match=message):
            cut_frames(tmp_path / name, 0.0, 1.0, tmp_path / "cut.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert [has_frames(path) for path in (whole, tmp_path / "sound.m4a", tmp_path / "torn.mp4")] == [True, False, False]
