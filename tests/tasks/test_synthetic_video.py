"""The rendered videos: right format, true masks, sizes that follow loudness, no work done twice."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from sam_audio_bench.errors import Precondition
from sam_audio_bench.tasks import GROUPS, synthetic_video
from sam_audio_bench.tasks.mini import RATE, load_mini
from sam_audio_bench.tasks.recipes import SECONDS, load_recipes
from sam_audio_bench.types import Audio, Item

FRAMES = round(SECONDS * synthetic_video.FRAME_RATE)


def decode(path: str | Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == synthetic_video.FRAME_RATE
        assert not container.streams.audio
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def masklet(item: Item) -> NDArray[np.bool_]:
    assert item.query.prompt.mask is not None
    with np.load(item.query.prompt.mask) as archive:
        assert archive.files == ["video_masklet"]
        return archive["video_masklet"]


def levels(*signals: Audio | None) -> list[NDArray[np.float64]]:
    """Level of each signal in each video frame in dB, floored 40 dB below the loudest of all."""
    powers = []
    for signal in signals:
        assert signal is not None
        powers.append(np.mean(signal.samples[0].double().numpy().reshape(FRAMES, -1) ** 2, axis=1))
    loudest = np.max(powers)
    return [10 * np.log10(np.maximum(power, loudest * 1e-4)) for power in powers]


@pytest.mark.parametrize("name", GROUPS["visual"])
def test_every_clip_has_its_frames_and_a_mask_that_is_never_empty(name: str):
    for item in load_mini(name):
        video, mask = decode(str(item.query.prompt.video)), masklet(item)
        assert video.shape == (FRAMES, synthetic_video.SIZE, synthetic_video.SIZE, 3)
        assert mask.shape == video.shape[:3]
        assert mask.dtype == np.bool_
        assert mask.any(axis=(1, 2)).all()
        assert not mask[:, [0, -1]].any()  # the object stays in the picture
        assert not mask[:, :, [0, -1]].any()


@pytest.mark.parametrize("name", GROUPS["visual"])
def test_the_mask_covers_one_colour_that_is_nowhere_else(name: str):
    for item in list(load_mini(name))[:4]:
        video, mask = decode(str(item.query.prompt.video)).astype(int), masklet(item)
        core = mask.copy()  # pixels whose neighbours are in the mask too: compression blurs the edges
        for axis in (1, 2):
            core &= np.roll(mask, 2, axis) & np.roll(mask, -2, axis)
        assert core.sum() > 200
        colour = np.median(video[core], axis=0)
        assert min(np.abs(colour - known).max() for known in synthetic_video.COLOURS) <= 12
        assert (np.abs(video[core] - colour).max(axis=1) <= 40).mean() > 0.95
        halo = mask.copy()
        for axis in (1, 2):
            halo |= np.roll(halo, 3, axis) | np.roll(halo, -3, axis)
        assert not (np.abs(video[~halo] - colour).max(axis=1) <= 40).any()


@pytest.mark.parametrize("name", GROUPS["visual"])
def test_the_width_of_each_object_follows_its_loudness(name: str):
    competitors = {recipe.id: len(recipe.others) for task in load_recipes().values() for recipe in task}
    for item in load_mini(name):
        video, mask = decode(str(item.query.prompt.video)), masklet(item)
        lit = (video.max(axis=-1) > 100) & ~mask
        one_other = competitors[item.id.replace("-visual", "")] == 1  # otherwise two levels make up the rest
        of_target, of_rest = levels(item.reference, item.residual_reference)
        width = np.sqrt(mask.sum(axis=(1, 2)))
        assert np.ptp(of_target) < 6 or np.corrcoef(width, of_target)[0, 1] > 0.9, item.id
        width = np.sqrt(lit.sum(axis=(1, 2)))
        assert not one_other or np.ptp(of_rest) < 6 or np.corrcoef(width, of_rest)[0, 1] > 0.9, item.id


def test_objects_at_their_largest_do_not_touch_and_are_told_apart():
    drawn = synthetic_video.draw_scene("a name", np.full((4, FRAMES), 255, np.uint8))
    wide = drawn.objects.copy()
    for axis in (2, 3):
        wide |= np.roll(wide, 1, axis) | np.roll(wide, -1, axis)
    assert drawn.objects.any(axis=(2, 3)).all()
    assert (wide.sum(axis=0) <= 1).all()
    assert len(set(drawn.colours)) == 4
    assert len({tuple(np.bincount(shape.sum(axis=(0)))) for shape in drawn.objects[:, 0]}) == 4
    first = drawn.objects[0]
    assert not np.array_equal(first[0], first[-1])  # it moves
    areas = drawn.objects.sum(axis=(1, 2, 3))
    assert areas.max() < 2 * areas.min()
    assert not drawn.pixels[~drawn.objects.any(axis=0)].any()


def test_scenes_differ_by_name_and_level_only():
    levels = np.full((2, 5), 200, np.uint8)
    one, same, other = (
        synthetic_video.draw_scene("a", levels),
        synthetic_video.draw_scene("a", levels),
        synthetic_video.draw_scene("b", levels),
    )
    assert np.array_equal(one.pixels, same.pixels)
    assert not np.array_equal(one.pixels, other.pixels)
    with pytest.raises(ValueError, match="at most 4 sources"):
        synthetic_video.draw_scene("a", np.zeros((5, 5), np.uint8))


def test_levels_are_relative_to_the_loudest_and_silence_is_the_smallest():
    tone = np.ones(RATE, np.float32)
    levels = synthetic_video.frame_levels([tone * 0.5, tone * 0.05, tone * 0], RATE)
    assert levels.shape == (3, synthetic_video.FRAME_RATE)
    assert (levels[0] == 255).all()
    assert (levels[1] == 128).all()  # 20 of 40 dB
    assert (levels[2] == 0).all()
    assert not synthetic_video.frame_levels([tone * 0], RATE).any()


@pytest.fixture
def signals() -> list[NDArray[np.float32]]:
    noise = np.random.default_rng(0).normal(0, 0.1, (2, RATE)).astype(np.float32)
    return [noise[0] * np.linspace(0, 1, RATE, dtype=np.float32), noise[1]]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SABENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_rendering_again_gives_identical_bytes(signals: list[NDArray[np.float32]], empty_cache: Path):
    paths = synthetic_video.render_clip("x", signals, RATE)
    before = [path.read_bytes() for path in paths]
    paths[0].unlink()  # one of the two is not enough
    assert synthetic_video.render_clip("x", signals, RATE) == paths
    assert [path.read_bytes() for path in paths] == before


def test_a_clip_that_is_there_costs_nothing(
    signals: list[NDArray[np.float32]], empty_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    paths = synthetic_video.render_clip("x", signals, RATE)
    before = [path.stat().st_mtime_ns for path in paths]

    def refuse(*_: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(synthetic_video, "write_clip", refuse)
    monkeypatch.setattr(synthetic_video, "draw_scene", refuse)
    assert synthetic_video.render_clip("x", signals, RATE) == paths
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_other_content_is_another_file(signals: list[NDArray[np.float32]], empty_cache: Path):
    names = {
        synthetic_video.render_clip("x", signals, RATE)[0].name,
        synthetic_video.render_clip("x", [signals[0], signals[1] * 0.5], RATE)[0].name,
        synthetic_video.render_clip("x", signals[::-1], RATE)[0].name,
        synthetic_video.render_clip("y", signals, RATE)[0].name,
    }
    assert len(names) == 4


def test_a_name_cannot_leave_the_cache(signals: list[NDArray[np.float32]], empty_cache: Path):
    for path in synthetic_video.render_clip("../../x", signals, RATE):
        assert path.parent == empty_cache / "clips"
        assert path.is_file()


def test_a_cache_that_cannot_be_written_is_explained(
    signals: list[NDArray[np.float32]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SABENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(Precondition, match=r"folder that can be written at .* set SABENCH_CACHE to another folder"):
        synthetic_video.render_clip("x", signals, RATE)


def test_threads_may_ask_for_the_same_clip(signals: list[NDArray[np.float32]], empty_cache: Path):
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: synthetic_video.render_clip("x", signals, RATE), range(8)))
    assert len(found) == 1
    assert len(decode(found.pop()[0])) == synthetic_video.FRAME_RATE
    assert len(list((empty_cache / "clips").iterdir())) == 2


def test_processes_may_ask_for_the_same_clip(empty_cache: Path):
    code = (
        "from sam_audio_bench.tasks.mini import load_mini\n"
        "print(load_mini('sfx-visual')['sfx-visual-00'].query.prompt.video)"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = {process.communicate(timeout=120)[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert len(found) == 1
    assert len(decode(found.pop())) == FRAMES
    assert len(list((empty_cache / "clips").iterdir())) == 2  # no temporary file is left
