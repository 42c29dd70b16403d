"""Sound too long for memory: the same numbers in blocks, little memory, and words where there is no room."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from media_files import noise, write_sound
from torch import Tensor

from sam_audio_bench import audio, blocks
from sam_audio_bench.blocks import BlockAccumulator, all_finite, apply_blockwise, has_sound, iter_blocks, stack_signals
from sam_audio_bench.columns import build_metrics
from sam_audio_bench.errors import BadSeparation, MediaError
from sam_audio_bench.registry import build
from sam_audio_bench.run.estimate_check import check_estimate, trim_item
from sam_audio_bench.run.scoring import score_estimate
from sam_audio_bench.separators.external import FolderSeparator
from sam_audio_bench.types import Audio, Item, Prompt, Query, Score, Separation

RATE = 16_000


def sounding(seconds: float, channels: int = 2, seed: int = 0) -> Tensor:
    """Noise that comes and goes, float32 ``[channels, time]``."""
    count = round(seconds * RATE)
    swell = 1 + torch.sin(torch.arange(count) * (2 * torch.pi / RATE / (1 + seed)))
    return 0.1 * swell * torch.randn(channels, count, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is longer than 8192 values is long, and 2000 of them are handled at once."""
    monkeypatch.setattr(blocks, "LONG", 1 << 13)
    monkeypatch.setattr(blocks, "_BLOCK", 2000)
    monkeypatch.setattr(blocks, "_MOST_ACCESSED", 10_000)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("channels", [1, 3])
def test_blocks_become_one_array_in_a_file(channels: int) -> None:
    whole = sounding(2, channels).numpy()
    growing = BlockAccumulator(channels)
    for start in range(0, whole.shape[1], 701):
        growing.append(whole[:, start : start + 701])
    found = growing.to_array()
    assert len(blocks._mapped) == 1  # it lies in a file
    np.testing.assert_array_equal(found, whole)
    found[:, 5] = 7.0  # and can be changed like any other
    blocks.count_accessed(1 << 30)  # its memory is given back: nothing is lost
    np.testing.assert_array_equal(found[:, 5], 7.0)
    np.testing.assert_array_equal(found[:, 6:], whole[:, 6:])
    del found
    assert len(blocks._mapped) == 0  # with the last reference the file is gone


def test_few_blocks_stay_in_memory() -> None:
    growing = BlockAccumulator(2)
    growing.append(np.ones((2, 3), np.float32))
    growing.append(np.zeros((2, 1), np.float32))
    assert growing.to_array().tolist() == [[1, 1, 1, 0], [1, 1, 1, 0]]
    assert BlockAccumulator(2).to_array().shape == (2, 0)
    assert not blocks._mapped


@pytest.mark.usefixtures("short")
def test_what_goes_sample_by_sample_is_the_same_in_parts() -> None:
    one, other = sounding(1), sounding(1, seed=1)
    assert torch.equal(apply_blockwise(torch.sub, one, other), one - other)
    assert torch.equal(stack_signals([one, other]), torch.stack([one, other]))
    assert stack_signals([one])[0] is not None
    assert stack_signals([one]).data_ptr() == one.data_ptr()  # one alone is not copied
    assert torch.equal(torch.cat([part for (part,) in iter_blocks(one)], dim=1), one)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("place", [0, 12_345, -1])
def test_one_bad_sample_is_found_anywhere(place: int) -> None:
    samples = torch.zeros(2, RATE)
    assert all_finite(samples)
    assert not has_sound(samples)
    samples[1, place] = torch.nan
    assert not all_finite(samples)
    samples[1, place] = 1e-30
    assert has_sound(samples)


@pytest.mark.usefixtures("short")
def test_no_room_is_told_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(MediaError, match=r"expected room in .*gone for a sound of .* set TMPDIR to a folder that has"):
        apply_blockwise(torch.neg, sounding(1))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.m4a"])
def test_files_decode_to_the_same_samples(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    path = tmp_path / name
    if path.suffix == ".m4a":
        write_sound(path, noise(3.0, 2))
    else:
        soundfile.write(path, noise(3.0, 2).T, RATE)
    whole, part = audio.read(path), audio.read(path, start=0.5, end=2.25)
    request.getfixturevalue("short")
    assert torch.equal(audio.read(path).samples, whole.samples)
    assert torch.equal(audio.read(path, start=0.5, end=2.25).samples, part.samples)


def _read(path: Path) -> list[list[float]]:
    """What a file holds; the bytes of a WAV tell when it was written."""
    samples: list[list[float]] = soundfile.read(path)[0].tolist()
    return samples


@pytest.mark.parametrize("loud", [0.5, 40.0])  # the second leaves full scale and so FLAC
def test_sound_is_written_converted_and_mixed_down_alike(
    tmp_path: Path, loud: float, request: pytest.FixtureRequest
) -> None:
    sound = Audio(loud * sounding(2), RATE)

    def made(name: str) -> list[object]:
        stored = audio.write(tmp_path / name, sound)
        audio.write_wav(tmp_path / f"{name}.wave", sound)
        coded = stored.read_bytes() if stored.suffix == ".flac" else b""
        files = [coded, _read(stored), _read(tmp_path / f"{name}.wave")]
        forms = [audio.round_trip(sound), audio.to_mono(sound), audio.resample(sound, 44_100)]
        return [stored.suffix, *files, *(form.samples.tolist() for form in forms)]

    whole = made("whole")
    request.getfixturevalue("short")
    assert made("whole") == whole


@pytest.mark.usefixtures("short")
def test_what_is_on_the_grid_is_copied_only_where_that_is_needed() -> None:
    stored = audio.round_trip(Audio(sounding(2), RATE))
    assert audio.round_trip(stored, copy=False) is stored
    assert audio.round_trip(stored).samples.data_ptr() != stored.samples.data_ptr()


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("align", "length"), [("pad", RATE), ("trim", RATE - 300)])
def test_a_long_answer_is_aligned(align: str, length: int) -> None:
    mixture, answer = Audio(sounding(1), RATE), Audio(sounding(1)[:, :-300], RATE)
    query = Query(mixture=mixture, prompt=Prompt(text="dog"))
    found = check_estimate(Separation(target=answer, residual=answer), query, align=align)
    assert found.target.length == length
    assert torch.equal(found.target.samples[:, : RATE - 300], answer.samples)
    assert not found.target.samples[:, RATE - 300 :].any()
    item = Item(id="a", group="a", query=query, reference=mixture)
    shortened = trim_item(item, length).reference
    assert shortened is not None
    assert torch.equal(shortened.samples, mixture.samples[:, :length])
    bad = answer.samples.clone()
    bad[0, 9_000] = torch.inf
    with pytest.raises(BadSeparation, match="finite"):
        check_estimate(Separation(target=Audio(bad, RATE), residual=answer), query, align=align)


@pytest.mark.usefixtures("short")
def test_the_residual_of_a_stored_answer(tmp_path: Path) -> None:
    mixture = audio.round_trip(Audio(sounding(1), RATE))
    answer = audio.round_trip(Audio(0.5 * mixture.samples, RATE))
    audio.write(tmp_path / "a", answer)
    query = Query(mixture=mixture, prompt=Prompt(text="dog"))
    (found,) = FolderSeparator(tmp_path).separate_named(["a"], [query])
    assert torch.equal(found.residual.samples, mixture.samples - answer.samples)


@pytest.mark.parametrize("name", ["oracle-ibm", "oracle-irm", "hpss"])
def test_separators_that_look_around_them_filter_long_mixtures_in_parts(
    name: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    target, other = sounding(2.7), sounding(2.7, seed=4)
    prompt = Prompt(text="drums", spans=(("+", 0.5, 2.0),))
    query = Query(mixture=Audio(target + other, RATE), prompt=prompt)
    item = Item(
        id="a", group="a", query=query, reference=Audio(target, RATE), residual_reference=Audio(other, RATE)
    )  # fmt: skip
    separator = build("separator", name, {})[0]

    def answered() -> Separation:
        if hasattr(separator, "separate_oracle"):
            return separator.separate_oracle([item], [0])[0]
        return separator.separate([query], [0])[0]

    whole = answered()
    request.getfixturevalue("short")
    monkeypatch.setattr("sam_audio_bench.separators.base._PART_LENGTH", 9_000)
    found = answered()
    assert len(blocks._mapped) >= 2
    assert torch.allclose(found.target.samples, whole.target.samples, atol=1e-7)
    assert torch.allclose(found.residual.samples, whole.residual.samples, atol=1e-7)


METRICS = (
    "si_sdr", "si_sdr_i", "snr_i", "si_snr", "sd_sdr", "sa_sdr", "leak_db", "reconstruction_db", "mrstft",
    "perceptual_overall", "perceptual_recall", "perceptual_precision", "perceptual_faithfulness", "span_iou",
    "bss_images_sdr", "bss_images_sir", "bss_sources_sdr", "bss_sources_sir", "si_sir", "si_sdr_pit", "saj_overall",
    "bleedless", "fullness", "l1_freq", "aura_stft", "k_sdr",
)  # fmt: skip


def scores(stereo: str, *, absent: bool = False, rest: bool = True) -> dict[str, Score]:
    """Scores of an answer 100 samples late in which a tenth of the other sound is left."""
    target, other = sounding(2.2), sounding(2.2, seed=4)
    target[:, RATE : RATE + 8000] = 0
    mixture, given = Audio(target + other, RATE), torch.roll(0.7 * target + 0.1 * other, 100, dims=1)
    item = Item(
        id="a", group="a", query=Query(mixture=mixture, prompt=Prompt(text="dog", spans=(("+", 0.0, 1.0),))),
        reference=Audio(target * (not absent), RATE), residual_reference=Audio(other, RATE) if rest else None,
    )  # fmt: skip
    answer = Separation(target=Audio(given, RATE), residual=Audio(mixture.samples - given, RATE))
    found: dict[str, Score] = {}
    for one in build_metrics(METRICS, policies={"stereo": stereo}):
        found |= score_estimate(one.metric, item, answer)
    return found


@pytest.mark.parametrize(
    ("stereo", "absent", "rest"),
    [("joint", False, True), ("mean", False, True), ("mono", False, False), ("joint", True, True)],
)
def test_scores_do_not_depend_on_blocks(
    stereo: str, absent: bool, rest: bool, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    whole = scores(stereo, absent=absent, rest=rest)
    request.getfixturevalue("short")
    monkeypatch.setattr("sam_audio_bench.metrics.functional.hearing._ROWS", 300)
    monkeypatch.setattr("sam_audio_bench.metrics.functional.activity._AT_ONCE", 3001)
    found = scores(stereo, absent=absent, rest=rest)
    assert {name: score.status for name, score in found.items()} == {n: score.status for n, score in whole.items()}
    for name, score in whole.items():
        close = 1e-5 if name.startswith("perceptual") and not rest else 1e-9  # the gain of a rest is float32's
        assert found[name].value == pytest.approx(score.value, abs=close), name


MEASURED = """
import resource, sys
from sam_audio_bench import audio, blocks
from sam_audio_bench.columns import build_metrics
from sam_audio_bench.run.scoring import score_estimate
from sam_audio_bench.types import Item, Prompt, Query, Separation
from sam_audio_bench.audio import round_trip

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

def score(name):
    sound = audio.read(name)
    assert round_trip(sound, copy=False) is sound
    item = Item(id="a", group="a", query=Query(mixture=sound, prompt=Prompt(text="dog")), reference=sound)
    answer = Separation(target=sound, residual=sound)
    for one in build_metrics(["si_sdr", "si_sdr_i", "snr_i", "leak_db", "bss_images_sdr"]):
        score_estimate(one.metric, item, answer)

blocks.LONG, blocks._MOST_ACCESSED = 1 << 20, 1 << 22
score(sys.argv[1])
base = peak()
score(sys.argv[2])
print(peak() - base)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in another way")
def test_minutes_take_the_memory_of_blocks(tmp_path: Path) -> None:
    """Three minutes of stereo at 48 kHz are 66 MiB in float32, of which every copy would show."""
    for name, seconds in (("short", 12), ("long", 180)):
        sound = 0.1 * np.random.default_rng(0).standard_normal((seconds * 48_000, 2))
        soundfile.write(tmp_path / f"{name}.wav", sound, 48_000, "PCM_16")
    files = [str(tmp_path / f"{name}.wav") for name in ("short", "long")]
    done = subprocess.run([sys.executable, "-c", MEASURED, *files], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 33  # 16 MiB may be touched before they are given back, and there are blocks beside them
