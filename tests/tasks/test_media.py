"""Recordings of the official data: which file serves, what is cut from it, and what is said of one that cannot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from make_bench import Made, encode, frames, signal

from sam_audio_bench import audio
from sam_audio_bench.errors import MediaError
from sam_audio_bench.tasks.annotations import Annotation
from sam_audio_bench.tasks.media import RATE, SLACK, BenchMedia, StemMedia
from sam_audio_bench.types import Audio

SUFFIXES = (".mp4", ".mkv", ".webm", ".m4a", ".wav", ".flac")


def row(**changes: Any) -> Annotation:
    fields = {"row": 0, "source": "audioset", "recording": "abc", "start": 2.0, "end": 3.0, "text": "x"}
    return Annotation(**{**fields, **changes})


@pytest.fixture
def media(tmp_path: Path) -> BenchMedia:
    (tmp_path / "audioset").mkdir()
    return BenchMedia(tmp_path)


def write(media: BenchMedia, name: str, seconds: float = 1.0, rate: int = 8000, channels: int = 1) -> Path:
    path = media.folder / "audioset" / name
    soundfile.write(path, signal(seconds, rate, channels, 0).T, rate, subtype="PCM_24")
    return path


def test_names_are_tried_in_their_order(media: BenchMedia):
    asked = row(start=40.598, end=46.729)
    stems = ["abc", "abc_40598_46729", "abc_40_46", "abc.00040598_00046729"]
    names = [media.folder / "audioset" / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
    assert media.expected_paths(asked) == names
    for name in reversed(names):  # each one is preferred to all that came before
        name.touch()
        assert media.locate_files(asked) == [name]


@pytest.mark.parametrize("name", ["abc.WAV", "abc_2000_3000.Flac", "abc_2_3.aiff", "abc.w64"])
def test_other_suffixes_and_upper_case_serve_too(name: str, media: BenchMedia):
    form = {"aiff": "AIFF", "w64": "W64"}.get(name.rpartition(".")[2], name.rpartition(".")[2].upper())
    path = media.folder / "audioset" / name
    soundfile.write(path, signal(4.0 if "_" not in name else 1.0, 8000, 1, 0).T, 8000, format=form, subtype="PCM_16")
    assert media.locate_files(row()) == [path]
    assert media.read_sound(row()).seconds == 1.0
    write(media, "abc.wav", 4.0)  # the usual name is preferred
    assert media.locate_files(row()) == [media.folder / "audioset" / "abc.wav"] or name == "abc.WAV"


def test_milliseconds_are_rounded_or_cut_off(media: BenchMedia):
    names = [path.name for path in media.expected_paths(row(start=0.2909, end=1.2909))]
    assert names.index("abc_291_1291.mp4") < names.index("abc_290_1290.mp4") < names.index("abc_0_1.mp4")
    assert "abc.00000290_00001290.flac" in names


def test_pictures_come_from_a_file_that_can_have_some(media: BenchMedia):
    write(media, "abc.wav", 4.0)
    (media.folder / "audioset" / "abc_2000_3000.mp4").touch()
    assert [path.name for path in media.locate_files(row())] == ["abc.wav"]
    assert [path.name for path in media.locate_files(row(), visual=True)] == ["abc_2000_3000.mp4"]


@pytest.mark.parametrize("name", ["abc.wav", "abc_2000_3000.flac", "abc_2_3.wav", "abc.00002000_00003000.wav"])
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44_100, 2), (48_000, 2)])
def test_a_mixture_is_cut_then_mono_then_resampled(name: str, rate: int, channels: int, media: BenchMedia):
    path = write(media, name, 4.0 if name == "abc.wav" else 1.0, rate, channels)
    found = media.read_sound(row())
    samples = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    first = 2 * rate if name == "abc.wav" else 0
    cut = Audio(torch.from_numpy(samples[:, first : first + rate].copy()), rate)
    expected = audio.resample(audio.to_mono(cut), RATE)
    assert (found.rate, found.channels, found.length) == (RATE, 1, RATE)
    assert torch.equal(found.samples, expected.samples)


@pytest.mark.parametrize(
    ("name", "seconds", "says"),
    [
        ("abc_2000_3000.wav", 0.89, "expected 1.000 s of sound in .*, found 0.890 s"),
        ("abc_2000_3000.wav", 1.11, "found more than 1.110 s"),
        ("abc_2000_3000.wav", 60.0, "found more than 2.000 s"),
        ("abc.wav", 2.5, "found 0.500 s; a clip that is cut already is called <video_id>_<start_ms>_<end_ms>"),
        ("abc.wav", 1.0, "from 2 s on, found zero samples"),
    ],
)
def test_another_length_is_told(name: str, seconds: float, says: str, media: BenchMedia):
    write(media, name, seconds)
    with pytest.raises(MediaError, match=says) as caught:
        media.read_sound(row())
    assert caught.value.status == "length_mismatch"


@pytest.mark.parametrize(("seconds", "kept"), [(1 - SLACK + 0.01, 0.91), (1.0, 1.0), (1 + SLACK - 0.01, 1.0)])
def test_a_little_more_is_cut_off_and_a_little_less_is_taken(seconds: float, kept: float, media: BenchMedia):
    write(media, "abc_2000_3000.wav", seconds)
    assert media.read_sound(row()).seconds == pytest.approx(kept, abs=1e-3)


def test_nothing_there_is_missing_media(media: BenchMedia):
    with pytest.raises(
        MediaError, match=r"expected a recording at .*abc\.mp4 or under one of 23 other names"
    ) as caught:
        media.read_sound(row())
    assert caught.value.status == "missing_media"
    assert media.locate_part(row()) is None


def test_where_tells_file_and_seconds(media: BenchMedia):
    path = write(media, "abc_2_3.wav")
    assert media.locate_part(row()) == (path, 0.0, 1.0)
    path = write(media, "abc.wav", 4.0)
    assert media.locate_part(row()) == (path, 2.0, 3.0)


def test_a_whole_video_is_cut_once_and_in_step(media: BenchMedia):
    path = encode(media.folder / "audioset" / "abc.mp4", signal(4.0, 48_000, 1, 0), 48_000, frames(4.0))
    clip = media.extract_video(row())
    assert clip != path
    stamp = clip.stat().st_mtime_ns
    assert media.extract_video(row()) == clip
    assert clip.stat().st_mtime_ns == stamp
    assert media.extract_video(row(start=2.5, end=3.5)) != clip
    os.utime(path, ns=(1, 1))  # another file under the name
    assert media.extract_video(row()) != clip


def test_what_is_cut_already_is_shown_itself(media: BenchMedia):
    path = encode(media.folder / "audioset" / "abc_2_3.mp4", signal(1.0, 48_000, 1, 0), 48_000, frames(1.0))
    assert media.extract_video(row()) == path


def damaged(media: BenchMedia, kind: str) -> tuple[str, bool]:
    """Makes a file that cannot serve; what is said of it, and whether pictures are needed for that."""
    path = media.folder / "audioset" / "abc_2_3.mp4"
    sound, pictures = signal(1.0, 48_000, 1, 0), frames(1.0)
    if kind == "mute":
        encode(path, None, 48_000, pictures)
        return "expected an audio stream", False
    if kind == "blind":
        encode(path, sound, 48_000)
        return "expected a video stream", True
    if kind == "empty":
        path.touch()
        return "readable media file", False
    if kind == "short wav":
        wav = write(media, "abc_2_3.wav")
        wav.write_bytes(wav.read_bytes()[:-400])
        return "breaks off", False
    encode(path, sound, 48_000, pictures)
    content = bytearray(path.read_bytes())
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
        return "breaks off", False
    if kind == "overwritten":
        content[1000:3000] = np.random.default_rng(0).bytes(2000)
        path.write_bytes(content)
    return "expected a (readable media file|video that can be decoded)", False


@pytest.mark.parametrize("kind", ["truncated", "overwritten", "mute", "blind", "empty", "short wav"])
def test_a_file_that_cannot_serve_is_found_out(kind: str, media: BenchMedia):
    says, visual = damaged(media, kind)
    with pytest.raises(MediaError, match=says):
        media.inspect(row(), visual=visual)
    if kind == "blind":
        media.inspect(row())  # enough for a text


def test_a_sound_file_is_fine(media: BenchMedia):
    write(media, "abc_2_3.flac", 1.0)
    media.inspect(row())
    write(media, "abc_2_3.wav", 1.0)
    media.inspect(row())


def test_of_small_files_everything_is_looked_at(media: BenchMedia):
    """Damage outside the clip shows where looking costs nothing."""
    path = encode(media.folder / "audioset" / "abc.mp4", signal(9.0, 48_000, 1, 0), 48_000, frames(9.0))
    content = bytearray(path.read_bytes())
    content[-20_000:-16_000] = bytes(4000)
    path.write_bytes(content)
    assert media.read_sound(row()).seconds == 1.0
    with pytest.raises(MediaError):
        media.inspect(row())


SONG = "Band 0 - Song"


def song(**changes: Any) -> Annotation:
    return row(**{"source": "musdb18hq", "recording": SONG, "start": 0.25, "end": 1.25, "text": "bass", **changes})


def test_a_song_is_cut_from_mixture_and_stems(bench: Made):
    media = StemMedia.from_data_folder()
    assert [path.name for path in media.locate_files(song())] == [
        "mixture.wav",
        "drums.wav",
        "bass.wav",
        "vocals.wav",
        "other.wav",
    ]
    parts = [media.read_sound(song(), part).samples for part in ("drums", "bass", "vocals", "other")]
    mixture = media.read_sound(song())
    assert (mixture.rate, mixture.channels, mixture.seconds) == (RATE, 1, 1.0)
    assert (sum(parts) - mixture.samples).abs().max() < 1e-6
    media.inspect(song())


def test_a_song_without_a_stem_is_missing(bench: Made):
    (bench.folder / "musdb18hq" / "test" / SONG / "bass.wav").unlink()
    media = StemMedia.from_data_folder()
    assert media.locate_files(song()) == []
    with pytest.raises(MediaError) as caught:
        media.inspect(song())
    assert caught.value.status == "missing_media"


def test_stems_of_another_length_are_told(bench: Made):
    path = bench.folder / "musdb18hq" / "test" / SONG / "bass.wav"
    path.unlink()
    soundfile.write(path, np.zeros((round(44_100 * 1.2), 2)), 44_100)
    with pytest.raises(MediaError, match=r"to be equally long, found mixture 48000, .*bass 4"):
        StemMedia.from_data_folder().inspect(song())


def test_an_archive_gives_the_same_samples(bench: Made):
    expected = {part: StemMedia.from_data_folder().read_sound(song(), part).samples for part in ("mixture", "vocals")}
    path = bench.zip_songs()
    media = StemMedia.from_data_folder()
    assert media.locate_files(song()) == [path]
    assert all(torch.equal(media.read_sound(song(), part).samples, samples) for part, samples in expected.items())
    with pytest.raises(MediaError, match=r"expected test/Nobody/mixture\.wav in") as caught:
        media.read_sound(song(recording="Nobody"))
    assert caught.value.status == "missing_media"


def test_a_damaged_archive_is_told(bench: Made):
    path = bench.zip_songs()
    content = bytearray(path.read_bytes())
    content[5000:6000] = bytes(1000)
    path.write_bytes(content)
    media = StemMedia.from_data_folder()
    with pytest.raises(MediaError, match="found it damaged"):
        media.inspect(song())
