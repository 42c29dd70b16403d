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
    found, remarks = audio.read_with_remarks(path)
    assert abs(found.length - SECONDS * RATE) <= 2048
    assert not remarks
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
    found, remarks = audio.read_with_remarks(path)
    assert torch.equal(found.samples, expected.samples)
    assert [remark.split(":")[0] for remark in remarks] == ["16.wav"]
    assert "does not say how long it is" in remarks[0]
    part, _ = audio.read_with_remarks("a.zip/16.wav", start=0.5, end=1.0, stream=io.BytesIO(content))
    assert torch.equal(part.samples, expected.samples[:, RATE // 2 : RATE])


@pytest.mark.parametrize("length", [0, 2**64 - 1])
def test_so_is_an_rf64(length: int, tmp_path: Path) -> None:
    path = write(tmp_path, "long.wav")
    expected = audio.read(path)
    content = bytearray(path.read_bytes())
    at = content.find(b"ds64") + 16
    content[at : at + 8] = struct.pack("<Q", length)
    path.write_bytes(content)
    found, remarks = audio.read_with_remarks(path)
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
    found, remarks = audio.read_with_remarks(path)
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
        found, remarks = audio.read_with_remarks(path)
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


def count_of_frames(content: bytes) -> slice:
    """Where an MP3 counts its frames."""
    at = max(content.find(b"Xing"), content.find(b"Info")) + 8
    return slice(at, at + 4)


@pytest.mark.parametrize("name", ["a.mp3", "lame.mp3"])
@pytest.mark.parametrize("missing", [1, 20, 10**9])
def test_an_mp3_that_counts_too_few_frames_is_read_to_its_end(name: str, missing: int, tmp_path: Path) -> None:
    path = write(tmp_path, name)
    expected = audio.read(path).samples
    content = bytearray(path.read_bytes())
    place = count_of_frames(content)
    there = int.from_bytes(content[place], "big")
    content[place] = max(there - missing, 0).to_bytes(4, "big")
    path.write_bytes(content)
    found, remarks = audio.read_with_remarks(path)
    assert torch.equal(found.samples, expected)
    (remark,) = remarks
    assert f"counts {max(there - missing, 0)} frames, and {there} are there" in remark
    assert torch.equal(audio.read(path, start=0.5, end=0.9).samples, expected[:, RATE // 2 : round(0.9 * RATE)])


def id3(content: bytes) -> bytes:
    """A tag as it stands before the sound of an MP3."""
    return b"ID3\4\0\0\0\0" + bytes((len(content) >> 7, len(content) & 127)) + content


@pytest.mark.parametrize("between", [b"", b"TAG" + bytes(125), id3(b"\xff\xfb\x90\x00" * 50), b"\xff\xfa" * 400])
@pytest.mark.parametrize("seconds", [0.1, 1.0])
def test_two_mp3_in_one_file_are_both_read(seconds: float, between: bytes, tmp_path: Path) -> None:
    """Of small ones as well, which other programs take for one with a tag behind it."""
    path = write(tmp_path, "a.mp3", seconds)
    first, content = audio.read(path), path.read_bytes()
    assert seconds > 0.5 or len(content) < 4096
    path.write_bytes(content + between + content)
    found, remarks = audio.read_with_remarks(path)
    assert found.length >= 2 * seconds * RATE
    assert torch.equal(found.samples[:, : first.length // 2], first.samples[:, : first.length // 2])
    assert torch.allclose(found.samples[:, -first.length // 2 :], first.samples[:, -first.length // 2 :], atol=0.02)
    assert len(remarks) == 1
    assert "it was read to its end" in remarks[0]


@pytest.mark.parametrize(
    "tag", [b"APETAGEX" + bytes(24) + b"\xff\xfb\x90\x00" * 1000, b"\xff" * 5000, b"TAG" + bytes(125)]
)
def test_a_tag_behind_an_mp3_holds_no_frames(tag: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, "a.mp3")
    expected = audio.read(path).samples
    path.write_bytes(path.read_bytes() + tag)
    found, remarks = audio.read_with_remarks(path)
    assert torch.equal(found.samples, expected)
    assert not remarks


def test_two_mp3_with_more_between_them_than_decoders_get_over_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.mp3")
    path.write_bytes(path.read_bytes() + b"\xff\xfa" * 700 + path.read_bytes())
    with pytest.raises(MediaError, match=r"a\.mp3"):
        audio.read(path)


def test_mp3_of_several_rates_in_one_file_are_refused(tmp_path: Path) -> None:
    content = write(tmp_path, "a.mp3").read_bytes()
    soundfile.write(tmp_path / "other.mp3", noise(1.0).T, 44100)
    (tmp_path / "a.mp3").write_bytes(content + (tmp_path / "other.mp3").read_bytes())
    with pytest.raises(MediaError, match=r"a\.mp3"):
        audio.read(tmp_path / "a.mp3")


@pytest.mark.parametrize("missing", [1, 1000, 8000, RATE - 1])
def test_a_flac_that_counts_too_few_samples_is_read_to_its_end(missing: int, tmp_path: Path) -> None:
    path = write(tmp_path, "a.flac")
    expected = audio.read(path).samples
    content = bytearray(path.read_bytes())
    fields = int.from_bytes(content[21:26], "big")
    content[21:26] = (fields - missing).to_bytes(5, "big")
    path.write_bytes(content)
    found, remarks = audio.read_with_remarks(path)
    assert torch.equal(found.samples, expected)
    (remark,) = remarks
    assert f"counts {RATE - missing} samples" in remark


@pytest.mark.parametrize(
    "name",
    [
        "16.wav",
        "coded.wav",
        "long.wav",
        "a.w64",
        "a.aiff",
        "a.caf",
        "a.au",
        "a.flac",
        "a.ogg",
        "a.m4a",
        "a.mkv",
        "a.avi",
    ],
)
def test_two_files_in_one_are_refused(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name)
    path.write_bytes(2 * path.read_bytes())
    with pytest.raises(MediaError, match=r"several recordings, one behind the other"):
        audio.read(path)


def chunk(form: str, name: bytes, content: bytes) -> bytes:
    """One of RIFF, AIFF or CAF."""
    return struct.pack(form, name, len(content)) + content


@pytest.mark.parametrize(
    ("name", "form", "sound"),
    [
        ("16.wav", "<4sI", b"data"),
        ("long.wav", "<4sI", b"data"),
        ("a.aiff", ">4sI", b"SSND"),
        ("a.caf", ">4sq", b"data"),
    ],
)
def test_so_is_a_second_chunk_of_sound(name: str, form: str, sound: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, name)
    content, note = path.read_bytes(), chunk(form, b"note", bytes(20))
    expected = audio.read(path).samples
    for second in (b"", bytes(4000)):
        path.write_bytes(content + note + chunk(form, sound, second))
        with pytest.raises(MediaError, match=r"several recordings"):
            audio.read(path)
    path.write_bytes(content + note)
    assert torch.equal(audio.read(path).samples, expected)
    path.write_bytes(content + bytes(10**6))  # nothing that is to be gone over in steps of eight bytes
    assert torch.equal(audio.read(path).samples, expected)


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
