"""Bytes that are flipped and files that are cut end in a sentence that names the file, whatever a decoder raises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media_files import RATE, noise, write_clap, write_sound

from sam_audio_bench import audio, video
from sam_audio_bench.errors import MediaError

SAMPLES = {
    "a.wav": ("WAV", "PCM_16"),
    "b.wav": ("RF64", "FLOAT"),
    "c.wav": ("WAV", "IMA_ADPCM"),
    "a.w64": ("W64", "PCM_16"),
    "a.aiff": ("AIFF", "PCM_16"),
    "a.caf": ("CAF", "ALAC_16"),
    "a.au": ("AU", "PCM_16"),
    "a.flac": ("FLAC", "PCM_16"),
    "a.ogg": ("OGG", "VORBIS"),
    "a.opus": ("OGG", "OPUS"),
    "a.mp3": ("MP3", "MPEG_LAYER_III"),
}
CONTAINERS = {"a.m4a": "aac", "a.mka": "flac", "a.webm": "libopus", "a.avi": "pcm_s16le", "a.flv": "aac", "a.ts": "aac"}
VIDEOS = ("a.mp4", "a.mkv", "a.avi", "b.ts")
FEW = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

damage = st.fixed_dictionaries(
    {
        "flips": st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=6),
        "in_front": st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
        "kept": st.one_of(st.just(1.0), st.floats(0, 1)),
    }
)


def damaged(content: bytes, how: dict) -> bytes:
    found = bytearray(content)
    for place, mask in how["flips"]:
        found[min(int(place * len(found)), len(found) - 1)] ^= mask
    for place, byte in how["in_front"]:
        found[place] = byte
    return bytes(found[: int(how["kept"] * len(found))])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A short file of each kind."""
    folder, sound = tmp_path_factory.mktemp("whole"), noise(0.25)
    for name, (form, subtype) in SAMPLES.items():
        soundfile.write(folder / name, sound.T, RATE, format=form, subtype=subtype)
    for name, codec in CONTAINERS.items():
        write_sound(folder / name, sound, codec)
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in VIDEOS:
        codec = "pcm_s16le" if name == "a.avi" else "aac"
        found[f"video {name}"] = write_clap(folder / name, at=0.2, seconds=0.4, codec=codec).read_bytes()
    return found


def outcome(look: Any, path: Path, **options: float) -> Any:
    """What a reader gives, or its sentence."""
    try:
        return look(path, **options)
    except MediaError as error:
        return str(error)


@FEW
@given(name=st.sampled_from([*SAMPLES, *CONTAINERS]), how=damage, part=st.booleans())
def test_a_damaged_sound(whole: dict[str, bytes], tmp_path: Path, name: str, how: dict, part: bool) -> None:
    path = tmp_path / name
    path.write_bytes(damaged(whole[name], how))
    found = outcome(audio.read, path, **({"start": 0.1, "end": 0.15} if part else {}))
    if isinstance(found, str):
        assert str(path) in found
        assert found.startswith("expected ")
    else:
        assert torch.isfinite(found.samples).all()
        assert found.length > 0


@FEW
@given(name=st.sampled_from(VIDEOS), how=damage)
def test_a_damaged_video(whole: dict[str, bytes], tmp_path: Path, name: str, how: dict) -> None:
    path = tmp_path / name
    path.write_bytes(damaged(whole[f"video {name}"], how))
    times, frames, sound = (outcome(look, path) for look in (video.frame_times, video.read_frames, audio.read))
    for found in (times, frames, sound):
        assert not isinstance(found, str) or str(path) in found
    if not isinstance(frames, str):
        assert len(frames.times) == len(frames.pixels)
        assert (np.diff(frames.times) >= 0).all()
