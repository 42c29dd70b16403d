"""Containers: padding of encoders, one clock for sound and pictures, gaps, the stream that counts, contents."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from media_files import RATE, click_at, noise, write_clap, write_sound

from sam_audio_bench import audio, video
from sam_audio_bench.errors import MediaError
from sam_audio_bench.tasks.video_clips import count_frames, cut_frames


@pytest.mark.parametrize("codec", ["aac", "libopus", "alac"])
@pytest.mark.parametrize("length", [RATE, RATE + 100, 46 * 1024 + 10, RATE + 1000])
def test_the_padding_of_an_encoder_is_no_sound(codec: str, length: int, tmp_path: Path) -> None:
    sound = noise(2.0)[:, :length]
    path = write_sound(tmp_path / "a.mp4", sound, codec)
    assert audio.read(path).length == length
    assert audio.read(path, start=0.5, end=9.0).length == length - RATE // 2


def test_that_of_mp3_is_known_by_the_edit_list(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mp4", noise(1.0), "libmp3lame")
    assert audio.read(path).length == RATE


def edit_list(path: Path, *, milliseconds: int, begin: int) -> None:
    """Changes what an mp4 shows: so much, from a sample on."""
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 12
    content[at : at + 8] = milliseconds.to_bytes(4, "big") + begin.to_bytes(4, "big")
    path.write_bytes(content)


def test_an_edit_list_is_obeyed(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.m4a", noise(3.0))
    whole = audio.read(path)
    assert whole.length == 3 * RATE
    edit_list(path, milliseconds=2900, begin=1024)
    assert torch.equal(audio.read(path).samples, whole.samples[:, : round(2.9 * RATE)])
    edit_list(path, milliseconds=1000, begin=1024 + RATE)
    part = audio.read(path).samples
    assert part.shape == (1, RATE)
    assert float(torch.corrcoef(torch.cat([part, whole.samples[:, RATE : 2 * RATE]]))[0, 1]) > 0.8


def test_packet_durations_say_the_end_where_the_edit_list_is_longer(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mp4", noise(1.0), movflags="frag_keyframe+empty_moov+delay_moov")
    assert audio.read(path).length == RATE


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "aac"), ("mkv", "aac"), ("mkv", "pcm_s16le"), ("ts", "aac")])
@pytest.mark.parametrize(("sound_from", "pictures_from"), [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (0.0, 1.0), (0.5, 1.0)])
def test_a_click_and_a_flash_are_at_one_second(
    suffix: str, codec: str, sound_from: float, pictures_from: float, tmp_path: Path
) -> None:
    path = write_clap(tmp_path / f"a.{suffix}", at=2.0, sound_from=sound_from, pictures_from=pictures_from, codec=codec)
    sound = audio.read(path)
    click = click_at(sound.samples[0].numpy())
    frames = list(video.stream_frames(path))
    flash = next(frame.time for frame in frames if frame.pixels.float().mean() > 128)
    assert abs(click - flash) < 0.003
    assert abs(click - (2.0 - min(sound_from, pictures_from))) < 0.03  # an encoder's priming comes before the sound
    np.testing.assert_allclose(video.frame_times(path), [frame.time for frame in frames], atol=1e-6)
    assert click_at(audio.read(path, start=0.9).samples[0].numpy()) == pytest.approx(click - 0.9, abs=1e-4)
    cut_frames(path, 1.2, 3.0, tmp_path / "part.mp4")
    part = video.read_frames(tmp_path / "part.mp4")
    bright = int(part.pixels.float().mean(dim=(1, 2, 3)).argmax())
    assert abs(1.2 + part.times[bright] - flash) < 0.051


def test_before_the_sound_there_is_silence_and_before_the_pictures_the_first_one(tmp_path: Path) -> None:
    path = write_clap(tmp_path / "a.mkv", at=2.0, sound_from=1.0, codec="pcm_s16le")
    assert not audio.read(path, end=0.99).samples.any()
    path = write_clap(tmp_path / "b.mkv", at=2.0, pictures_from=1.0, codec="pcm_s16le")
    early, first = video.stream_frames(path, [0.2, 1.0])
    assert early is first
    assert (first.time, first.index) == (1.0, 0)
    cut_frames(path, 0.1, 0.9, tmp_path / "part.mp4")
    assert video.frame_times(tmp_path / "part.mp4").tolist() == [0.0]
    assert count_frames(path, 0.5, 2.0) == 20


def test_masks_are_matched_from_the_first_frame_on() -> None:
    clock = 1.0 + np.arange(4) / 10
    assert [video.matching_mask_index(i, clock[i], masks=2, clock=clock) for i in range(4)] == [0, 0, 1, 1]


def moved(number: int, pts: int) -> int | None:
    return pts + RATE if pts >= RATE else pts


def lost(number: int, pts: int) -> int | None:
    return None if number in (50, 51) else pts


def overlapping(number: int, pts: int) -> int | None:
    return pts - 512 * min(max(number - 40, 0), 30)


def jittered(number: int, pts: int) -> int | None:
    return pts + (97 * number % 199 if number > 1 else 0)


@pytest.mark.parametrize("suffix", ["m4a", "mka"])
@pytest.mark.parametrize(
    ("stamp", "seconds", "said"),
    [
        (moved, 3.0, "leave out 1.000 s"),
        (lost, 2.0, "leave out 0.04"),
        (overlapping, 1.68, "overlap by 0.32"),
        (jittered, 2.0, None),
    ],
)
def test_a_part_is_what_the_whole_has_there(suffix: str, stamp, seconds: float, said: str | None, tmp_path: Path):
    path = write_sound(tmp_path / f"a.{suffix}", noise(2.0), stamp=stamp)
    whole, remarks = audio.read_with_remarks(path)
    assert whole.seconds == pytest.approx(seconds, abs=0.02)
    assert [said in remark for remark in remarks] == ([] if said is None else [True])
    for start in (0.3, 0.95, 1.1, 1.3):
        part = audio.read(path, start=start, end=start + 0.3)
        expected = whole.samples[:, round(start * RATE) : round((start + 0.3) * RATE)]
        assert torch.equal(part.samples, expected)


def test_a_gap_is_silent_and_what_follows_is_at_its_time(tmp_path: Path) -> None:
    whole = audio.read(write_sound(tmp_path / "a.mka", noise(2.0), "flac", stamp=moved)).samples
    plain = audio.read(write_sound(tmp_path / "b.mka", noise(2.0), "flac")).samples
    first = int((whole[0] != plain[0].new_tensor(0)).nonzero()[-1]) - plain.shape[1] + 1
    assert first == pytest.approx(RATE, abs=48)
    assert torch.equal(whole[:, 2 * RATE + 9600 :], plain[:, RATE + 9600 :])


@pytest.mark.parametrize("jump", [700 * RATE, 50_000 * RATE])
def test_stamps_that_cannot_be_are_refused(jump: int, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mka", noise(1.0), stamp=lambda number, pts: pts + (jump if number > 20 else 0))
    with pytest.raises(MediaError, match="time stamps that leave out"):
        audio.read(path)
    assert audio.read(path, end=0.3).seconds == 0.3


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_the_stream_marked_default_counts(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    sounds = [noise(1.0, seed=seed) for seed in range(3)]
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("aac", rate=RATE, layout="mono") for _ in sounds]
        for number, stream in enumerate(streams):
            stream.disposition = av.stream.Disposition.default if number == 1 else av.stream.Disposition(0)
        for at in range(0, RATE, 1024):
            for stream, sound in zip(streams, sounds, strict=True):
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[:, at : at + 1024]), "fltp", "mono")
                frame.sample_rate, frame.pts = RATE, at
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    found = audio.read(path).samples[0, :40_000].numpy()
    likeness = [float(np.corrcoef(found, sound[0, :40_000])[0, 1]) for sound in sounds]
    assert int(np.argmax(likeness)) == 1
    assert likeness[1] > 0.5


FORMS = {"adts": "aac", "matroska": "aac", "mpegts": "aac", "avi": "pcm_s16le", "mp4": "aac", "flv": "aac"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["a.wav", "a.MP3", "a.m4b", "a", "a.unknown"])
def test_a_file_is_known_by_its_content(form: str, name: str, tmp_path: Path) -> None:
    made = write_sound(tmp_path / "made", noise(1.0, 2), FORMS[form], form=form)
    path = tmp_path / name
    shutil.copyfile(made, path)
    found = audio.read(path)
    assert (found.channels, found.rate) == (2, RATE)
    assert abs(found.length - RATE) <= 2048
    with path.open("rb") as stream:
        assert torch.equal(audio.read("b.wav", stream=stream).samples, found.samples)


def test_a_list_of_other_files_is_not_followed(tmp_path: Path) -> None:
    write_sound(tmp_path / "other.m4a", noise(1.0))
    (tmp_path / "a.mp4").write_text(f"#EXTM3U\n#EXTINF:1\n{tmp_path}/other.m4a\n")
    (tmp_path / "b.wav").write_text("ffconcat version 1.0\nfile 'other.m4a'\n")
    for name in ("a.mp4", "b.wav"):
        with pytest.raises(MediaError, match=r"wav, flac, ogg.*mp4, m4a.*found neither \(.*convert it"):
            audio.read(tmp_path / name)
    with pytest.raises(MediaError, match="expected a video that can be decoded"):
        video.read_frames(tmp_path / "a.mp4")


@pytest.mark.parametrize("name", ["12:30.mp4", "-a.mkv", "a b%20%d.mkv", "http:a.mp4"])
def test_odd_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clap(tmp_path / name, at=0.5, seconds=1.0)
    monkeypatch.chdir(tmp_path)
    assert audio.read(Path(name)).seconds == pytest.approx(1.0, abs=0.05)
    assert len(video.read_frames(name).times) == 20
