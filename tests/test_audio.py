"""Decoding, storing and resampling."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from make_bench import encode

from sam_audio_bench import audio
from sam_audio_bench.errors import MediaError, UsageError
from sam_audio_bench.types import Audio


def tone(rate: int, seconds: float = 0.5, hertz: float = 440.0, channels: int = 1) -> Audio:
    """A sine of amplitude 0.5, each further channel an octave higher."""
    time = torch.arange(int(rate * seconds), dtype=torch.float64) / rate
    waves = [0.5 * torch.sin(2 * torch.pi * hertz * 2**channel * time) for channel in range(channels)]
    return Audio(torch.stack(waves).float(), rate)


@pytest.mark.parametrize(
    ("suffix", "subtype"), [("wav", "PCM_16"), ("wav", "PCM_U8"), ("flac", "PCM_24"), ("wav", "FLOAT")]
)
@pytest.mark.parametrize("rate", [8000, 44100, 192000])
def test_reads_what_libsndfile_wrote(suffix: str, subtype: str, rate: int, tmp_path: Path) -> None:
    sound = tone(rate, channels=2)
    soundfile.write(tmp_path / f"a.{suffix}", sound.samples.numpy().T, rate, subtype=subtype)
    found = audio.read(tmp_path / f"a.{suffix}")
    step = {"PCM_U8": 2**-7, "PCM_16": 2**-15, "PCM_24": 2**-23, "FLOAT": 0.0}[subtype]
    assert (found.rate, found.channels, found.length) == (rate, 2, sound.length)
    assert (found.samples - sound.samples).abs().max() <= step


def test_small_files_to_listen_to_change_only_with_their_sound(tmp_path: Path) -> None:
    path = tmp_path / "clip.ogg"
    tone = 0.3 * torch.sin(torch.arange(24_000) / 20.0)[None]
    audio.write_ogg(path, Audio(tone, 24_000))
    first = path.read_bytes()
    audio.write_ogg(path, Audio(tone, 24_000))
    assert path.read_bytes() == first
    audio.write_ogg(path, Audio(tone / 2, 24_000))
    assert float(audio.read(path).samples.abs().max()) == pytest.approx(0.15, abs=0.02)
    with pytest.raises(UsageError, match="expected 6 to 256 kbit/s, found 300"):
        audio.write_ogg(path, Audio(tone, 24_000), kbits=300)
    path.write_bytes(first[:100])
    audio.write_ogg(path, Audio(tone, 24_000))
    assert audio.read(path).length == 24_000


@pytest.mark.parametrize("kbits", [16.0, 48.0])
def test_small_files_are_as_small_as_was_asked(kbits: float, tmp_path: Path) -> None:
    """Noise is what no codec makes smaller."""
    sound = Audio(0.1 * torch.randn(1, 8 * 24_000, generator=torch.Generator().manual_seed(0)), 24_000)
    audio.write_ogg(tmp_path / "a.ogg", sound, kbits)
    assert soundfile.info(tmp_path / "a.ogg").subtype == "OPUS"
    assert (tmp_path / "a.ogg").stat().st_size == pytest.approx(8 * kbits * 125, rel=0.25)


@pytest.mark.parametrize("suffix", ["ogg", "mp3"])
def test_reads_lossy_files(suffix: str, tmp_path: Path) -> None:
    sound = tone(48000, seconds=1.0)
    soundfile.write(tmp_path / f"a.{suffix}", sound.samples.numpy().T, 48000)
    found = audio.read(tmp_path / f"a.{suffix}")
    assert found.rate == 48000
    assert abs(found.length - sound.length) <= 2400
    assert found.samples.std().item() == pytest.approx(sound.samples.std().item(), rel=0.05)


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "aac"), ("m4a", "aac"), ("mkv", "flac"), ("webm", "libopus")])
def test_reads_containers(suffix: str, codec: str, tmp_path: Path) -> None:
    sound = tone(48000, seconds=1.0, channels=2)
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48000, layout="stereo")
        encoder = av.AudioResampler(format=stream.format.name, layout="stereo", rate=48000)
        frame = av.AudioFrame.from_ndarray(sound.samples.numpy(), format="fltp", layout="stereo")
        frame.sample_rate = 48000
        fifo = av.AudioFifo()
        for part in encoder.resample(frame):
            fifo.write(part)
        while (chunk := fifo.read(stream.frame_size or 1024, partial=True)) is not None:
            container.mux(stream.encode(chunk))
        container.mux(stream.encode(None))
    found = audio.read(path)
    assert (found.rate, found.channels) == (48000, 2)
    assert abs(found.length - sound.length) <= 4096
    middle = found.samples[:, 20000:28000]
    assert middle.std(dim=1).numpy() == pytest.approx(sound.samples.std(dim=1).numpy(), rel=0.05)


def chirp(start: float, seconds: float, rate: int) -> np.ndarray:
    """0.4 sin of a phase whose frequency rises by 300 Hz a second from 200 Hz: every moment sounds different."""
    time = start + np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * (200 * time + 150 * time**2))).astype(np.float32)


def lag(found: np.ndarray, expected: np.ndarray) -> int:
    """Samples by which ``found`` comes late, by cross-correlation."""
    size = 2 * len(expected)
    product = np.fft.irfft(np.fft.rfft(found, size) * np.conj(np.fft.rfft(expected, size)))
    peak = int(np.argmax(product))
    return peak if peak < len(expected) else peak - size


@pytest.mark.parametrize(
    ("suffix", "rate"),
    [("mp4", 48_000), ("m4a", 44_100), ("mkv", 48_000), ("mkv", 44_100), ("wav", 44_100), ("flac", 48_000)],
)
def test_a_part_is_cut_at_the_sample(suffix: str, rate: int, tmp_path: Path) -> None:
    whole, path, lossless = chirp(0, 5.0, rate)[None], tmp_path / f"a.{suffix}", suffix in ("wav", "flac")
    if lossless:
        soundfile.write(path, whole.T, rate, subtype="PCM_24")
    else:
        encode(path, whole, rate, bit_rate=256_000)
    for start in (0.0, 0.3, 2.4567, 3.00002):
        found = audio.read(path, start=start, end=start + 1.5)
        first, last = round(start * rate), round((start + 1.5) * rate)
        assert (found.rate, found.length) == (rate, last - first)
        expected = chirp(first / rate, found.length / rate, rate)
        samples = found.samples[0].numpy()
        assert lag(samples, expected) == 0
        assert float(np.mean((samples - expected) ** 2) / np.mean(expected**2)) < (1e-9 if lossless else 1e-3)


def test_what_a_file_lacks_is_left_out_and_nothing_is_an_error(tmp_path: Path) -> None:
    for suffix in ("wav", "mp4"):
        path = tmp_path / f"a.{suffix}"
        soundfile.write(path, chirp(0, 2, 48_000), 48_000) if suffix == "wav" else encode(
            path, chirp(0, 2, 48_000)[None], 48_000
        )
        assert audio.read(path, start=1.5, end=9.0).seconds == pytest.approx(0.5, abs=0.03)
        with pytest.raises(MediaError, match="from 5 s on, found zero samples") as caught:
            audio.read(path, start=5.0, end=6.0)
        assert caught.value.status == "length_mismatch"


def test_a_stream_is_read_like_a_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", chirp(0, 2, 48_000), 48_000)
    with (tmp_path / "a.wav").open("rb") as stream:
        found = audio.read("archive.zip/a.wav", start=0.5, end=1.0, stream=stream)
    assert torch.equal(found.samples, audio.read(tmp_path / "a.wav", start=0.5, end=1.0).samples)


def test_a_container_that_breaks_off_is_refused(tmp_path: Path) -> None:
    """With its index in front, FFmpeg would give what is left without a word."""
    path = encode(tmp_path / "a.mp4", chirp(0, 4, 48_000)[None], 48_000, movflags="faststart")
    path.write_bytes(path.read_bytes()[:-3000])
    for start in (0.0, 2.0, 30.0):
        with pytest.raises(MediaError, match="breaks off"):
            audio.read(path, start=start)
    assert audio.read(path, end=1.0).seconds == 1.0


def test_refuses_what_cannot_be_heard(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "cut.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    (tmp_path / "odd.mp4").write_bytes(b"\0\0\0\x0cftypmp42")
    soundfile.write(tmp_path / "empty.wav", np.zeros((0, 1)), 8000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan, 0.5]), 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "inf.wav", np.array([0.0, np.inf, 0.5]), 8000, subtype="FLOAT")
    for name, message, status in [
        ("text.wav", "libsndfile can read", "error"),
        ("cut.mp4", "breaks off", "error"),
        ("odd.mp4", "readable media file", "error"),
        ("empty.wav", "zero samples", "error"),
        ("nan.wav", "finite samples", "non_finite"),
        ("inf.wav", "finite samples", "non_finite"),
        ("none.wav", "found none", "missing_media"),
    ]:
        with pytest.raises(MediaError, match=message) as caught:
            audio.read(tmp_path / name)
        assert caught.value.status == status


def test_video_without_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mute.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match="audio stream"):
        audio.read(path)


@given(st.integers(1, 2), st.integers(1, 3000), st.floats(1e-9, 10.0), st.integers(0, 2**32 - 1))
def test_stored_samples_are_those_read_back(channels: int, length: int, level: float, seed: int) -> None:
    import tempfile

    samples = torch.randn(channels, length, generator=torch.Generator().manual_seed(seed)) * level
    before = samples.clone()
    sound = Audio(samples, 48000)
    with tempfile.TemporaryDirectory() as folder:
        path = audio.write(Path(folder) / "a.target", sound)
        found = audio.read(path)
        loud = bool((samples.abs() > 1).any())
        assert path.suffix == (".wav" if loud else ".flac") or samples.max() > 1 - 2**-23
        assert len(list(Path(folder).iterdir())) == 1
    assert torch.equal(found.samples, audio.round_trip(sound).samples)
    assert torch.equal(samples, before)
    assert (found.samples - samples).abs().max() <= (0.0 if loud else 2**-24)


def test_storing_again_replaces_the_other_kind(tmp_path: Path) -> None:
    quiet, loud = tone(8000), Audio(tone(8000).samples * 4, 8000)
    assert audio.write(tmp_path / "a", loud).name == "a.wav"
    assert audio.write(tmp_path / "a", quiet).name == "a.flac"
    assert [path.name for path in tmp_path.iterdir()] == ["a.flac"]


@pytest.mark.parametrize(("source", "target"), [(16000, 48000), (44100, 48000), (48000, 16000), (192000, 48000)])
def test_resampling_keeps_a_tone(source: int, target: int) -> None:
    found = audio.resample(tone(source), target)
    expected = tone(target)
    assert found.length == expected.length
    middle = slice(target // 10, -target // 10)
    assert (found.samples[:, middle] - expected.samples[:, middle]).abs().max() < 1e-4


def test_resampling_to_the_same_rate_is_the_same_object() -> None:
    sound = tone(48000)
    assert audio.resample(sound, 48000) is sound


def test_mono_is_the_mean_of_the_channels() -> None:
    sound = tone(8000, channels=2)
    assert torch.equal(audio.to_mono(sound).samples[0], sound.samples.mean(0))
