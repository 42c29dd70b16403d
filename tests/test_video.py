"""Reading frames by time, masks, and refusing what is damaged or dangerous."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam_audio_bench import video
from sam_audio_bench.errors import MediaError, UsageError

HEIGHT, WIDTH = 48, 64
UNEVEN = (0, 40, 80, 500, 540, 2000, 2010, 2400)  # ms


def write_video(path: Path, stamps: Sequence[float], *, unit: Fraction = Fraction(1, 1000), **options: Any) -> Path:
    """Flat grey frames, number k of level 20 + 25 k, presented at ``stamps`` times ``unit`` seconds."""
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = unit
        for index, stamp in enumerate(stamps):
            grey = np.full((HEIGHT, WIDTH, 3), 20 + 25 * index % 230, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = stamp, unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_noise(path: Path, frames: int = 20, *, sound: bool = False) -> Path:
    """Incompressible frames, the index of the file in front, so that it can be cut short."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        track = container.add_stream("aac", rate=48_000, layout="mono") if sound else None
        for index in range(frames):
            noise = random.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
            if track is not None:
                block = av.AudioFrame.from_ndarray(random.normal(size=(1, 4800)).astype("f4"), "fltp", "mono")
                block.sample_rate, block.pts, block.time_base = 48_000, 4800 * index, Fraction(1, 48_000)
                container.mux(track.encode(block))
        for part in container.streams:
            container.mux(part.encode(None))
    return path


def write_mask(path: Path, mask: NDArray[Any]) -> Path:
    np.savez_compressed(path, video_masklet=mask)
    return path


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames at irregular times."""
    return write_video(tmp_path_factory.mktemp("video") / "uneven.mkv", UNEVEN)


def test_all_frames_in_order_with_their_times(uneven: Path) -> None:
    found = video.read_frames(uneven)
    assert found.pixels.dtype == torch.uint8
    assert found.pixels.shape == (len(UNEVEN), 3, HEIGHT, WIDTH)
    np.testing.assert_allclose(found.times, np.array(UNEVEN) / 1000, atol=1e-12)
    np.testing.assert_allclose(video.frame_times(uneven), found.times, atol=1e-12)
    levels = found.pixels.float().mean(dim=(1, 2, 3))
    assert (levels - (20 + 25 * torch.arange(len(UNEVEN)))).abs().max() < 2


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_time_starts_with_the_first_frame(suffix: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"late.{suffix}", [10, 12, 17], unit=Fraction(1, 25))
    np.testing.assert_allclose(video.read_frames(path).times, [0, 0.08, 0.28], atol=1e-4)
    np.testing.assert_allclose(video.frame_times(path), [0, 0.08, 0.28], atol=1e-4)


def test_times_never_go_back(tmp_path: Path) -> None:
    """The stamps of an AVI with frames that are stored out of order do."""
    times = video.read_frames(write_video(tmp_path / "reordered.avi", range(12), unit=Fraction(1, 25))).times
    assert (np.diff(times) >= 0).all()
    np.testing.assert_allclose(times, np.arange(12) / 25, atol=0.081)


def test_frames_without_time_stamps_are_evenly_spaced(tmp_path: Path) -> None:
    path = write_video(tmp_path / "raw.h264", range(5), unit=Fraction(1, 25), format="h264")
    np.testing.assert_allclose(video.read_frames(path).times, np.arange(5) / 25)
    np.testing.assert_allclose(video.frame_times(path), np.arange(5) / 25)


@given(times=st.lists(st.integers(-100, 3000), min_size=1, max_size=12).map(sorted))
def test_the_nearest_frame_answers_and_ties_go_to_the_earlier(uneven: Path, times: list[int]) -> None:
    expected = [min(range(len(UNEVEN)), key=lambda k: abs(UNEVEN[k] - time)) for time in times]
    found = list(video.stream_frames(uneven, [time / 1000 for time in times]))
    assert [frame.index for frame in found] == expected


def test_a_frame_that_answers_twice_is_one_object(uneven: Path) -> None:
    first, second, third = video.stream_frames(uneven, [0.0, 0.001, 0.04])
    assert first is second
    assert third is not second


@pytest.mark.parametrize("times", [[1.0, 0.5], [float("nan")], [0.0, float("inf")]])
def test_times_that_cannot_be_meant(uneven: Path, times: list[float]) -> None:
    with pytest.raises(UsageError, match="expected ascending times"):
        list(video.stream_frames(uneven, times))


def test_no_time_is_no_question(uneven: Path) -> None:
    assert list(video.stream_frames(uneven, [])) == []
    with pytest.raises(UsageError, match="at least one time"):
        video.read_frames(uneven, [])


@pytest.mark.parametrize("rate", [Fraction(10), Fraction(25, 2), Fraction(24_000, 1001), Fraction(30), Fraction(60)])
def test_latent_frames_see_the_video_at_their_time(rate: Fraction, tmp_path: Path) -> None:
    count, hop, sampling = 9, 1920, 48_000
    path = write_video(
        tmp_path / "even.mkv", [round(90_000 / rate * k) for k in range(count)], unit=Fraction(1, 90_000)
    )
    stamps = [Fraction(str(round(float(k / rate), 3))) for k in range(count)]  # Matroska counts milliseconds
    wanted = [Fraction(k * hop, sampling) for k in range(25)]
    expected = [min(range(count), key=lambda k: abs(stamps[k] - time)) for time in wanted]
    clip = video.masked_clip(path, None, frames=25, hop=hop, rate=sampling)
    assert clip.shape == (25, 3, HEIGHT, WIDTH)
    levels = (clip.float().mean(dim=(1, 2, 3)) - 20) / 25
    assert levels.round().int().tolist() == expected
    assert expected[-1] == (count - 1 if rate > 9 else 9)


def test_a_stream_that_changes_its_size_keeps_the_first(tmp_path: Path) -> None:
    parts = [tmp_path / "a.h264", tmp_path / "b.h264"]
    for path, width in zip(parts, (64, 96), strict=True):
        with av.open(str(path), "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, HEIGHT, "yuv420p"
            grey = np.full((HEIGHT, width, 3), 128, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(stream.encode(None))
    joined = tmp_path / "joined.h264"
    joined.write_bytes(b"".join(path.read_bytes() for path in parts))
    assert video.read_frames(joined).pixels.shape == (2, 3, HEIGHT, 64)


def test_an_absent_video_is_missing_media(tmp_path: Path) -> None:
    for read in (video.read_frames, video.frame_times):
        with pytest.raises(MediaError, match=r"expected a video at .*none.mp4, found none") as caught:
            read(tmp_path / "none.mp4")
        assert caught.value.status == "missing_media"


@pytest.mark.parametrize("content", [b"", b"not a video " * 100])
def test_a_file_that_is_no_video(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    for read in (video.read_frames, video.frame_times):
        with pytest.raises(MediaError, match="expected a video that can be decoded at"):
            read(path)


@pytest.mark.parametrize("sound", [False, True])
def test_a_truncated_video_is_refused_wherever_it_is_cut(sound: bool, tmp_path: Path) -> None:
    whole = write_noise(tmp_path / "whole.mp4", sound=sound)
    content = whole.read_bytes()
    assert len(list(video.stream_frames(whole))) == 20
    for length in range(100, len(content), len(content) // 15):
        path = tmp_path / "cut.mp4"
        path.write_bytes(content[:length])
        with pytest.raises(MediaError):
            list(video.stream_frames(path))


def test_frames_before_the_damage_can_be_read(tmp_path: Path) -> None:
    whole = write_noise(tmp_path / "whole.mp4")
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole.read_bytes()[:-3000])
    first = video.read_frames(path, [0.0, 0.1])
    assert torch.equal(first.pixels, video.read_frames(whole, [0.0, 0.1]).pixels)


def test_corrupt_bytes_are_refused(tmp_path: Path) -> None:
    path = write_noise(tmp_path / "corrupt.mp4")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 5000] = bytes(255 - byte for byte in content[middle : middle + 5000])
    path.write_bytes(content)
    with pytest.raises(MediaError, match="expected a video that can be decoded"):
        video.read_frames(path)


def write_sound(path: Path, *, with_video_stream: bool) -> Path:
    """Sound alone, beside a video stream without a frame or none."""
    with av.open(str(path), "w") as container:
        if with_video_stream:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        track = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        block = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        block.sample_rate = 8000
        container.mux(track.encode(block))
        container.mux(track.encode(None))
    return path


def test_sound_without_video(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="expected a video stream"):
        video.read_frames(write_sound(tmp_path / "sound.mkv", with_video_stream=False))


def test_a_video_without_frames(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "empty.mkv", with_video_stream=True)
    for read in (video.read_frames, video.frame_times):
        with pytest.raises(MediaError, match="expected frames in the video"):
            read(path)
    with pytest.raises(MediaError, match="expected frames in the video"):
        video.masked_clip(path, None, frames=3, hop=1920, rate=48_000)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32, ">i2"])
def test_every_kind_of_number_is_a_mask(kind: Any, tmp_path: Path) -> None:
    expected = np.random.default_rng(0).random((3, 4, 5)) > 0.5
    stored = np.asfortranarray(expected.astype(kind) * (1 if kind is bool else np.array(7, kind)))
    found = video.read_mask(write_mask(tmp_path / "mask.npz", stored))
    assert found.dtype == torch.bool
    np.testing.assert_array_equal(found.numpy(), expected)


class _Trap:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (Path.touch, (self.trace,))


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    array = np.empty((1, 1, 1), dtype=object)
    array[0, 0, 0] = _Trap(tmp_path / "trace")
    np.savez(tmp_path / "mask.npz", video_masklet=array)
    with pytest.raises(MediaError, match="never unpickled"):
        video.read_mask(tmp_path / "mask.npz")
    with (tmp_path / "pickle.npz").open("wb") as file:
        np.save(file, array)
    with pytest.raises(MediaError, match="expected an npz file"):
        video.read_mask(tmp_path / "pickle.npz")
    assert not (tmp_path / "trace").exists()


def header_only(path: Path, shape: tuple[int, ...], kind: str = "|b1") -> Path:
    """A few bytes that claim to be a large array."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": kind})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("video_masklet.npy", file.getvalue())
    return path


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((10**6, 10**6, 10**6), "at most 4 GiB"),
        ((2**16 + 1, 2**8, 2**8), "at most 4 GiB"),
        ((3, 4), r"\[frames, height, width\]"),
        ((0, 4, 5), r"\[frames, height, width\]"),
        ((3, 4, 5), "expected an npz file with a mask"),  # the data are not there
    ],
)
def test_masks_of_another_shape_than_a_mask(shape: tuple[int, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=message):
        video.read_mask(header_only(tmp_path / "mask.npz", shape))


def test_other_files_are_no_masks(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"expected a mask at .*, found none") as caught:
        video.read_mask(tmp_path / "none.npz")
    assert caught.value.status == "missing_media"
    np.savez(tmp_path / "other.npz", masks=np.ones((1, 2, 3)))
    with pytest.raises(MediaError, match="expected an array video_masklet"):
        video.read_mask(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(MediaError, match="expected an npz file"):
        video.read_mask(tmp_path / "text.npz")
    content = bytearray(
        write_mask(tmp_path / "damaged.npz", np.random.default_rng(0).random((9, 9, 9)) > 0.5).read_bytes()
    )
    content[150:200] = bytes(50)
    (tmp_path / "damaged.npz").write_bytes(content)
    with pytest.raises(MediaError, match="expected an npz file"):
        video.read_mask(tmp_path / "damaged.npz")


def test_outside_the_mask_is_black() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(1, 256, (4, 3, 6, 8), generator=generator, dtype=torch.uint8)
    mask = torch.rand(4, 6, 8, generator=generator) > 0.5
    kept, rest = video.mask_frames(pixels, mask), video.mask_frames(pixels, mask, keep="background")
    assert torch.equal(kept + rest, pixels)
    assert torch.equal((kept != 0).all(dim=1), mask)
    assert torch.equal((kept != 0).any(dim=1), mask)
    assert torch.equal(video.mask_frames(pixels[0], mask[0]), kept[0])


@pytest.mark.parametrize("size", [(3, 4), (12, 16), (6, 16), (1, 1), (5, 7)])
def test_a_mask_of_another_size_takes_the_nearest_pixel(size: tuple[int, int]) -> None:
    mask = torch.rand(2, *size, generator=torch.Generator().manual_seed(1)) > 0.5
    found = video.mask_frames(torch.full((2, 3, 6, 8), 9, dtype=torch.uint8), mask)[:, 0] > 0
    rows, columns = ([int((k + 0.5) * had / has) for k in range(has)] for had, has in zip(size, (6, 8), strict=True))
    assert torch.equal(found, mask[:, rows][:, :, columns])


def test_masks_that_cannot_be_applied() -> None:
    pixels = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    with pytest.raises(UsageError, match="expected keep to be one of object, background, found 'target'"):
        video.mask_frames(pixels, torch.ones(2, 4, 4, dtype=torch.bool), keep="target")
    with pytest.raises(UsageError, match="expected a mask for each frame"):
        video.mask_frames(pixels, torch.ones(3, 4, 4, dtype=torch.bool))


def test_as_many_masks_as_frames_are_matched_by_number() -> None:
    clock = np.array(UNEVEN) / 1000
    assert [video.matching_mask_index(k, clock[k], masks=8, clock=clock) for k in range(8)] == list(range(8))


@given(frames=st.integers(1, 40), every=st.integers(1, 7))
def test_masks_at_a_lower_rate_hold_around_their_time(frames: int, every: int) -> None:
    """Of masks made for every k-th frame, each frame gets the nearest one."""
    clock = np.arange(frames * every) / 30
    found = [video.matching_mask_index(k, clock[k], masks=frames, clock=clock) for k in range(len(clock))]
    assert found == [min(range(frames), key=lambda j: abs(j * every - k)) for k in range(len(clock))]


@given(frames=st.integers(1, 50), masks=st.integers(1, 50))
def test_any_number_of_masks_is_in_range_and_in_order(frames: int, masks: int) -> None:
    clock = np.arange(frames) / 25
    found = [video.matching_mask_index(k, clock[k], masks=masks, clock=clock) for k in range(frames)]
    assert found == sorted(found)
    assert found[0] == 0
    assert found[-1] < masks


def test_a_clip_is_masked_frame_by_frame(uneven: Path, tmp_path: Path) -> None:
    count = len(UNEVEN)
    mask = np.zeros((count, HEIGHT, WIDTH), bool)
    for index in range(count):
        mask[index, :, index * 8 : index * 8 + 8] = True
    path = write_mask(tmp_path / "mask.npz", mask)
    clip = video.masked_clip(uneven, path, frames=61, hop=1920, rate=48_000)
    shown = [min(range(count), key=lambda k: abs(UNEVEN[k] - 40 * time)) for time in range(61)]
    assert torch.equal((clip != 0).all(dim=1), torch.from_numpy(mask[shown]))
    rest = video.masked_clip(uneven, path, frames=61, hop=1920, rate=48_000, keep="background")
    assert torch.equal(clip + rest, video.masked_clip(uneven, None, frames=61, hop=1920, rate=48_000))


def test_a_clip_with_fewer_and_smaller_masks(tmp_path: Path) -> None:
    path = write_video(tmp_path / "even.mkv", range(0, 320, 40))
    mask = np.zeros((2, 3, 2), bool)
    mask[0, :, 0] = mask[1, :, 1] = True
    clip = video.masked_clip(path, write_mask(tmp_path / "mask.npz", mask), frames=8, hop=1920, rate=48_000) != 0
    left, right = clip[..., : WIDTH // 2], clip[..., WIDTH // 2 :]
    assert left[:3].all()
    assert right[3:].all()
    assert not left[3:].any()
    assert not right[:3].any()


def test_a_mask_of_nothing_leaves_black_frames(uneven: Path, tmp_path: Path) -> None:
    path = write_mask(tmp_path / "mask.npz", np.zeros((len(UNEVEN), HEIGHT, WIDTH), bool))
    assert not video.masked_clip(uneven, path, frames=5, hop=1920, rate=48_000).any()


def test_a_clip_of_no_frame(uneven: Path) -> None:
    with pytest.raises(UsageError, match="at least one frame"):
        video.masked_clip(uneven, None, frames=0, hop=1920, rate=48_000)
