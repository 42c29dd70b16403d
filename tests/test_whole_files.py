"""A file that breaks off is never a shorter sound, and one whose length was not known is read to its end."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from media_files import RATE, noise, write_clap, write_sound

from sam_audio_bench import audio, video
from sam_audio_bench.errors import MediaError

SECONDS = 1
SAMPLES = {
    "16.wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "wide.wav": ("WAVEX", "PCM_24"),
    "coded.wav": ("WAV", "MS_ADPCM"),
    "long.wav": ("RF64", "PCM_24"),
    "a.w64": ("W64", "FLOAT"),
    "a.aiff": ("AIFF", "PCM_16"),
    "a.caf": ("CAF", "FLOAT"),
    "lossless.caf": ("CAF", "ALAC_16"),
    "a.au": ("AU", "PCM_16"),
    "a.flac": ("FLAC", "PCM_16"),
    "a.ogg": ("OGG", "VORBIS"),
    "a.opus": ("OGG", "OPUS"),
    "a.mp3": ("MP3", "MPEG_LAYER_III"),
}
CONTAINERS = {
    "a.webm": "libopus",
    "a.mkv": "aac",
    "lossless.mka": "flac",
    "a.avi": "pcm_s16le",
    "a.flv": "aac",
    "a.m4a": "aac",
    "a.mov": "pcm_s16le",
    "lame.mp3": "libmp3lame",
}


def write(folder: Path, name: str, seconds: float = SECONDS) -> Path:
    """Stereo noise in one of the formats above."""
    path, sound = folder / name, noise(seconds, 2)
    if name in SAMPLES:
        form, subtype = SAMPLES[name]
        soundfile.write(path, sound.T, RATE, format=form, subtype=subtype)
        return path
    return write_sound(path, sound, CONTAINERS[name])


@pytest.mark.parametrize("name", [*SAMPLES, *CONTAINERS])
def test_half_a_file_is_refused_and_the_whole_is_not(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name)
    assert abs(audio.read(path).length - SECONDS * RATE) <= 2048
    content = path.read_bytes()
    for share in (0.5, 0.9):
        path.write_bytes(content[: round(share * len(content))])
        with pytest.raises(MediaError, match=f"{name}, found") as caught:
            audio.read(path)
        assert caught.value.status == "error"
        with path.open("rb") as stream, pytest.raises(MediaError):
            audio.read("inside.zip", stream=stream)


@pytest.mark.parametrize("name", ["16.wav", "a.ogg", "a.webm", "a.flv", "a.mp3"])
def test_it_is_called_broken_off(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(MediaError, match=r"expected a whole file at .*, found one that breaks off; get it again"):
        audio.read(path)
    with pytest.raises(MediaError, match="breaks off"):
        audio.read(path, start=0.8, end=9.0)


@pytest.mark.parametrize("name", ["16.wav", "a.aiff", "a.mkv"])
def test_a_part_before_the_damage_is_read(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name)
    expected = audio.read(path, start=0.2, end=0.6)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    assert torch.equal(audio.read(path, start=0.2, end=0.6).samples, expected.samples)


def test_what_stands_behind_the_sound_is_no_damage(tmp_path: Path) -> None:
    path = write(tmp_path, "16.wav")
    content = bytearray(path.read_bytes() + b"LIST" + struct.pack("<I", 400) + bytes(100))  # and breaks off there
    content[4:8] = struct.pack("<I", len(content) + 300 - 8)
    path.write_bytes(content)
    assert audio.read(path).length == SECONDS * RATE
    for name in ("a.ogg", "a.mp3", "a.m4a"):
        path = write(tmp_path, name)
        length = audio.read(path).length
        path.write_bytes(path.read_bytes() + b"TAG" + bytes(125))
        assert audio.read(path).length == length


def test_a_video_that_breaks_off_in_matroska(tmp_path: Path) -> None:
    """mp4 shows it by a packet that is cut; here the frames that are left are whole ones."""
    path = write_clap(tmp_path / "a.mkv", at=1.0)
    assert len(list(video.stream_frames(path))) == 60
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for look in (video.read_frames, video.frame_times):
        with pytest.raises(MediaError, match="breaks off"):
            look(path)
    assert video.read_frames(path, [0.0, 0.1]).pixels.shape[0] == 2


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0xFFFFFFFF])
@pytest.mark.parametrize("outer", [0, 36, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_is_read_to_its_end_and_that_is_said(length: int, outer: int, tmp_path: Path) -> None:
    path = write(tmp_path, "16.wav")
    expected = audio.read(path)
    content = bytearray(path.read_bytes())
    assert content[36:40] == b"data"
    content[4:8], content[40:44] = struct.pack("<I", outer), struct.pack("<I", length)
    path.write_bytes(content)
    found, remarks = audio.read_remarked(path)
    assert torch.equal(found.samples, expected.samples)
    assert [remark.split(":")[0] for remark in remarks] == ["16.wav"]
    assert "does not say how long it is" in remarks[0]
    part, _ = audio.read_remarked("a.zip/16.wav", start=0.5, end=1.0, stream=io.BytesIO(content))
    assert torch.equal(part.samples, expected.samples[:, RATE // 2 : RATE])


@pytest.mark.parametrize("length", [0, 2**64 - 1])
def test_so_is_an_rf64(length: int, tmp_path: Path) -> None:
    path = write(tmp_path, "long.wav")
    expected = audio.read(path)
    content = bytearray(path.read_bytes())
    at = content.find(b"ds64") + 16
    content[at : at + 8] = struct.pack("<Q", length)
    path.write_bytes(content)
    found, remarks = audio.read_remarked(path)
    assert torch.equal(found.samples, expected.samples)
    assert len(remarks) == 1
    with path.open("rb") as stream:
        assert torch.equal(audio.read("a.wav", stream=stream).samples, expected.samples)


PIPED = [
    ("a.aiff", b"SSND", ">I", 0),
    ("a.aiff", b"SSND", ">I", 0x7F000008),
    ("a.caf", b"data", ">q", -1),
    ("a.au", b".snd\0\0\0\x18", ">I", 0xFFFFFFFF),
]


@pytest.mark.parametrize(("name", "before", "form", "length"), PIPED)
def test_so_are_others(name: str, before: bytes, form: str, length: int, tmp_path: Path) -> None:
    path = write(tmp_path, name)
    expected = audio.read(path)
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, content.index(before) + len(before), length)
    path.write_bytes(content)
    found, remarks = audio.read_remarked(path)
    assert torch.equal(found.samples, expected.samples)
    assert len(remarks) == 1


def test_a_wav_that_says_that_it_is_empty_is_empty(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 1)), 8000)
    content = bytearray((tmp_path / "a.wav").read_bytes() + b"LIST\x04\0\0\0INFO")
    content[4:8] = struct.pack("<I", len(content) - 8)
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(MediaError, match="found zero samples"):
        audio.read(tmp_path / "a.wav")


@pytest.mark.parametrize("samples", [0, 2**35])
def test_a_flac_whose_header_counts_wrong_costs_nothing_but_itself(samples: int, tmp_path: Path) -> None:
    """Its decoder would allocate what the header claims."""
    path = write(tmp_path, "a.flac")
    expected = audio.read(path)
    content = bytearray(path.read_bytes())
    content[21:26] = (int.from_bytes(content[21:26], "big") >> 36 << 36 | samples).to_bytes(5, "big")
    path.write_bytes(content)
    if samples:
        with pytest.raises(MediaError, match=r"a\.flac, found"):
            audio.read(path)
    else:
        found, remarks = audio.read_remarked(path)
        assert torch.equal(found.samples, expected.samples)
        assert len(remarks) == 1
    assert torch.equal(audio.read(path, start=0.25, end=0.5).samples, expected.samples[:, RATE // 4 : RATE // 2])


def test_an_mp3_without_a_count_of_frames_is_read_to_its_end(tmp_path: Path) -> None:
    """Its decoder guesses its length from the first frame, and reads no further."""
    path = write(tmp_path, "a.mp3")
    content = path.read_bytes()
    assert b"Info" in content[:64] or b"Xing" in content[:64]
    frames = content[content.index(content[:2], 4) :]
    for before in (b"", bytes(40), b"ID3\4\0\0\0\0\0\0" + bytes(300)):
        path.write_bytes(before + frames)
        assert 0 <= audio.read(path).length - SECONDS * RATE < 4096


def test_two_mp3_in_one_file_are_both_read(tmp_path: Path) -> None:
    path = write(tmp_path, "a.mp3")
    path.write_bytes(2 * path.read_bytes())
    assert audio.read(path).length >= 2 * SECONDS * RATE


def test_two_ogg_in_one_file_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.ogg")
    path.write_bytes(2 * path.read_bytes())
    with pytest.raises(MediaError, match="several recordings"):
        audio.read(path)


@pytest.mark.parametrize("lost", [True, False])
def test_an_ogg_page_that_is_lost_or_damaged(lost: bool, tmp_path: Path) -> None:
    path = write(tmp_path, "a.ogg", 8.0)
    content = bytearray(path.read_bytes())
    page = content.index(b"OggS", len(content) // 2)
    if lost:
        del content[page : content.index(b"OggS", page + 4)]
    else:
        content[page + 1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(MediaError, match="page that is damaged or missing"):
        audio.read(path)


def test_blocks_of_a_codec_end_where_their_header_says(tmp_path: Path) -> None:
    assert audio.read(write(tmp_path, "coded.wav")).length == SECONDS * RATE
