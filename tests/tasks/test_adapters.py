"""Known layouts, each on generated media."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sam_audio_bench import audio, registry
from sam_audio_bench.errors import BenchError, MediaError, Precondition, UsageError
from sam_audio_bench.tasks.adapters import ADAPTERS
from sam_audio_bench.tasks.load import load_task
from sam_audio_bench.types import Audio

RATE = 8000


def write(path: Path, seed: int, length: int = RATE, gain: float = 0.1) -> Tensor:
    """Noise, written as float32."""
    samples = (torch.rand((1, length), generator=torch.Generator().manual_seed(seed)) - 0.5) * gain
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write_wav(path, Audio(samples, RATE))
    return samples


def level(samples: Tensor) -> float:
    return float(10 * samples.double().square().mean().log10())


@pytest.mark.parametrize("inner", ["", "lass_validation"])
def test_dcase_mixes_at_the_given_ratio(tmp_path: Path, inner: str):
    source, noise = write(tmp_path / inner / "1.wav", 1), write(tmp_path / inner / "2.wav", 2, gain=1.0)
    (tmp_path / "lass.csv").write_text("source,noise,snr,caption\n1,2,-6,a dog barks\n1,2,6,barking\n2,1,-40,rain\n")
    data = load_task(f"dcase2024-t9:{tmp_path / 'lass.csv'}")
    assert (data.label, data.ids) == ("dcase2024-t9-lass@1-file", ("1-0", "1-1", "2-2"))
    assert data.provides == {"text", "reference", "residual_reference"}
    assert set(data.groups.values()) == {"1", "2"}
    for identifier, ratio in (("1-0", -6), ("1-1", 6)):
        item = data[identifier]
        assert item.reference is not None
        assert item.residual_reference is not None
        assert torch.equal(item.reference.samples, source)
        assert level(item.reference.samples) - level(item.residual_reference.samples) == pytest.approx(ratio, abs=1e-4)
        mixture = item.query.mixture.samples
        assert torch.allclose(mixture, item.reference.samples + item.residual_reference.samples, atol=1e-7)
    loud = data["2-2"]
    assert loud.reference is not None
    assert float(loud.query.mixture.samples.abs().max()) == pytest.approx(0.9, abs=1e-6)
    gain = loud.reference.samples / noise
    assert float(gain.max()) == pytest.approx(float(gain.min()), abs=1e-5)  # one gain for all of it
    assert float(gain.max()) < 0.1


def test_dcase_takes_columns_by_place_and_names_bad_rows(tmp_path: Path):
    write(tmp_path / "1.wav", 1)
    audio.write_wav(tmp_path / "0.wav", Audio(torch.zeros(1, RATE), RATE))
    table = tmp_path / "lass.csv"
    table.write_text("file,with,at,words\n1,0,3,a dog\n")
    with pytest.raises(MediaError, match="expected two sounds to mix in row 2, found silence"):
        load_task(f"dcase2024-t9:{tmp_path}")["1-0"]
    table.write_text("source,noise,snr,caption\n1,0,loud,a dog\n1,0,3,\n")
    with pytest.raises(UsageError, match=r"row 2 of .*expected a level ratio in dB, found 'loud'"):
        load_task(f"dcase2024-t9:{table}")
    table.write_text("source,noise\n1,0\n")
    with pytest.raises(UsageError, match=r"row 1 of .*expected columns source, noise, snr, caption"):
        load_task(f"dcase2024-t9:{table}")
    table.write_text("source,noise,snr,caption\n../1,1,3,a dog\n")
    with pytest.raises(UsageError, match="inside the folder"):
        load_task(f"dcase2024-t9:{table}")


def test_audiosep_segments(tmp_path: Path):
    mixture, target = write(tmp_path / "mixture-7.wav", 1), write(tmp_path / "segment-7.wav", 2)
    (tmp_path / "audiocaps_eval.csv").write_text("id,caption,labels\n7,a dog barks,Dog\n8,a cat,Cat\n")
    data = load_task(f"audiosep:{tmp_path}")
    assert (data.task, data.ids) == ("audiosep-audiocaps_eval", ("7", "8"))
    item = data["7"]
    assert item.query.prompt.text == "a dog barks"
    assert item.reference is not None
    assert torch.equal(item.reference.samples, target)
    assert item.residual_reference is not None
    assert torch.equal(item.residual_reference.samples, mixture - target)
    with pytest.raises(MediaError) as caught:
        data["8"]
    assert caught.value.status == "missing_media"


def test_audiosep_pairs_ask_for_both_sources(tmp_path: Path):
    for name, seed in (("m.wav", 1), ("x.wav", 2), ("y.wav", 3)):
        write(tmp_path / "vgg" / name, seed)
    table = tmp_path / "vgg.csv"
    table.write_text("file_id,mix_wav,s0_wav,s0_text,s1_wav,s1_text\n1,m.wav,x.wav,dog,y.wav,cat\n")
    data = load_task(f"audiosep:{table}")
    assert [data[name].query.prompt.text for name in data.ids] == ["dog", "cat"]
    assert data.ids == ("m-s0", "m-s1")
    assert len(set(data.groups.values())) == 1


@pytest.mark.parametrize("nested", [False, True])
def test_fuss_asks_by_the_spans_of_foreground_sources(tmp_path: Path, nested: bool):
    sources = tmp_path / "eval" / ("example0/sources" if nested else "example0_sources")
    background = write(sources / "background0_sound.wav", 1, gain=0.01)
    burst = torch.zeros(1, RATE)
    burst[:, RATE // 2 :] = write(tmp_path / "noise.wav", 2, RATE // 2)
    audio.write_wav(sources / "foreground0_sound.wav", Audio(burst, RATE))
    mixture = tmp_path / "eval" / ("example0/mixture.wav" if nested else "example0.wav")
    audio.write_wav(mixture, Audio(burst + background, RATE))
    data = load_task(f"fuss:{tmp_path / 'eval'}")
    assert (data.task, data.ids) == ("fuss-eval", ("example0-foreground0_sound",))
    assert data.provides == {"spans", "reference", "residual_reference"}
    item = data[data.ids[0]]
    ((sign, start, end),) = item.query.prompt.spans
    assert (sign, end) == ("+", 1.0)
    assert start == pytest.approx(0.5, abs=0.26)  # windows of 250 ms
    assert (item.query.prompt.text, item.group) == (None, "example0")
    assert item.residual_reference is not None
    assert torch.allclose(item.residual_reference.samples, background, atol=1e-6)
    audio.write_wav(sources / "foreground0_sound.wav", Audio(torch.zeros(1, RATE), RATE))
    with pytest.raises(MediaError, match="whose spans are the prompt, found silence"):
        data[data.ids[0]]


SPEAKERS = """;ID |SEX| SUBSET     |MINUTES| NAME
14   | F | test-clean       | 25.03 | A
15   | M | test-clean       |  1.00 | B
16   | M | test-clean       |  1.00 | C | D
"""


def librimix(folder: Path, *pairs: str) -> Path:
    """Mixtures whose ids are given, with paths of another machine."""
    lines = ["mixture_ID,mixture_path,source_1_path,source_2_path,length"]
    for seed, pair in enumerate(pairs):
        paths = [f"/home/them/Libri2Mix/wav8k/min/test/{part}/{pair}.wav" for part in ("mix_clean", "s1", "s2")]
        one = write(folder / "min/test/s1" / f"{pair}.wav", 2 * seed)
        two = write(folder / "min/test/s2" / f"{pair}.wav", 2 * seed + 1)
        (folder / "min/test/mix_clean").mkdir(exist_ok=True)
        audio.write_wav(folder / "min/test/mix_clean" / f"{pair}.wav", Audio(one + two, RATE))
        lines.append(",".join([pair, *paths, "8000"]))
    (folder / "min/metadata").mkdir()
    table = folder / "min/metadata/mixture_test_mix_clean.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def test_librimix_asks_for_the_only_man_and_the_only_woman(tmp_path: Path):
    table = librimix(tmp_path, "14-1-1_15-1-1", "15-1-1_16-1-1", "16-1-2_14-1-2", "14-1-1_99-1-1")
    with pytest.raises(Precondition, match=r"SPEAKERS\.TXT"):
        load_task(f"librimix:{table}")
    (tmp_path / "SPEAKERS.TXT").write_text(SPEAKERS)
    data = load_task(f"librimix:{table.parent}")
    assert data.texts == {
        "14-1-1_15-1-1-s1": "woman speaking",
        "14-1-1_15-1-1-s2": "man speaking",
        "16-1-2_14-1-2-s1": "man speaking",
        "16-1-2_14-1-2-s2": "woman speaking",
    }
    assert "speech" in data.provides
    item = data["14-1-1_15-1-1-s2"]
    assert item.reference is not None
    assert torch.equal(item.reference.samples, write(tmp_path / "again.wav", 1))


def test_librimix_of_a_folder_needs_no_csv(tmp_path: Path):
    librimix(tmp_path, "14-1-1_15-1-1", "15-1-1_16-1-1")
    folder = tmp_path / "min" / "test"
    (tmp_path / "SPEAKERS.TXT").write_text(SPEAKERS)
    data = load_task(f"librimix:{folder}")
    assert data.task == "librimix-test-mix_clean"
    assert data.texts == {"14-1-1_15-1-1-s1": "woman speaking", "14-1-1_15-1-1-s2": "man speaking"}
    assert data.notes == ("no speaker of 1 mixtures can be asked for in words, as of 15-1-1_16-1-1: left out",)
    item = data["14-1-1_15-1-1-s2"]
    assert item.reference is not None
    assert torch.equal(item.reference.samples, write(tmp_path / "again.wav", 1))
    assert load_task(f"librimix:{folder / 'mix_clean'}").texts == data.texts
    (folder / "mix_single").mkdir()
    (folder / "mix_single" / "14-1-1.wav").write_bytes((tmp_path / "again.wav").read_bytes())
    with pytest.raises(UsageError, match=r"found mix_clean, mix_single: name one, librimix:.*mix_clean"):
        load_task(f"librimix:{folder}")
    assert load_task(f"librimix:{folder / 'mix_single'}").texts == {"14-1-1-s1": "person speaking"}


def test_librimix_with_one_speaker_needs_no_list(tmp_path: Path):
    for part, seed in (("mix_single", 1), ("s1", 2)):
        write(tmp_path / "test" / part / "14-1-1.wav", seed)
    (tmp_path / "metadata").mkdir()
    table = tmp_path / "metadata" / "mixture_test_mix_single.csv"
    table.write_text(
        "mixture_ID,mixture_path,source_1_path,noise_path,length\n"
        "14-1-1,C:\\x\\test\\mix_single\\14-1-1.wav,C:\\x\\test\\s1\\14-1-1.wav,C:\\n.wav,8000\n"
    )
    data = load_task(f"librimix:{table}")
    assert data["14-1-1-s1"].query.prompt.text == "person speaking"
    table.write_text("file,text\na.wav,dog\n")
    with pytest.raises(UsageError, match="expected columns mixture_ID"):
        load_task(f"librimix:{table}")


def test_dnr_asks_three_questions_a_track(tmp_path: Path):
    stems = {
        name: write(tmp_path / "tt" / "1002" / f"{name}.wav", seed) for seed, name in enumerate(("speech", "music"))
    }
    audio.write_wav(tmp_path / "tt/1002/sfx.wav", Audio(torch.zeros(1, RATE), RATE))
    audio.write_wav(tmp_path / "tt/1002/mix.wav", Audio(stems["speech"] + stems["music"], RATE))
    data = load_task(f"dnr:{tmp_path / 'tt'}")
    assert (data.task, data.ids) == ("dnr-tt", ("1002-speech", "1002-music", "1002-sfx"))
    assert list(data.texts.values()) == ["speech", "music", "sound effects"]
    residual = data["1002-speech"].residual_reference
    assert residual is not None
    assert torch.allclose(residual.samples, stems["music"], atol=1e-7)


@pytest.mark.parametrize("with_mixture", [False, True])
def test_stems_become_questions_with_the_others_as_residual(tmp_path: Path, with_mixture: bool):
    names = ("lead_vocals", "Drums", "bass", "other")
    parts = {name: write(tmp_path / "songs" / "one" / f"{name}.wav", seed) for seed, name in enumerate(names)}
    write(tmp_path / "songs" / "one" / "accompaniment.wav", 9)
    (tmp_path / "songs" / "empty").mkdir()
    if with_mixture:
        audio.write_wav(tmp_path / "songs/one/mixture.wav", Audio(sum(parts.values(), torch.zeros(1, RATE)), RATE))
    data = load_task(str(tmp_path / "songs"))
    assert data.task == "stems-songs"
    assert data.texts == {"one-bass": "bass", "one-drums": "drums", "one-lead_vocals": "lead vocals"}
    assert set(data.groups.values()) == {"one"}
    item = data["one-drums"]
    assert item.reference is not None
    assert item.residual_reference is not None
    assert torch.equal(item.reference.samples, parts["Drums"])
    others = parts["lead_vocals"] + parts["bass"] + parts["other"]
    assert torch.allclose(item.residual_reference.samples, others, atol=1e-7)
    assert torch.allclose(item.query.mixture.samples, others + parts["Drums"], atol=1e-7)
    (tmp_path / "songs/one/bass.wav").unlink()
    with pytest.raises(MediaError):
        data["one-drums"]


def test_two_stems_may_be_one_and_its_accompaniment(tmp_path: Path):
    for name, seed in (("vocals", 1), ("accompaniment", 2)):
        write(tmp_path / "one" / f"{name}.wav", seed)
    assert load_task(f"stems:{tmp_path}").ids == ("one-vocals",)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_wrong_place_is_said_in_one_sentence(name: str, tmp_path: Path):
    with pytest.raises(UsageError, match="found nothing there"):
        load_task(f"{name}:{tmp_path / 'nowhere'}")
    with pytest.raises(BenchError, match=r"expected .* found none") as caught:
        load_task(f"{name}:{tmp_path}")
    assert "\n" not in str(caught.value)
    (tmp_path / "file.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(BenchError):
        load_task(f"{name}:{tmp_path / 'file.txt'}")


def test_a_misspelt_layout_suggests_the_nearest(tmp_path: Path):
    with pytest.raises(UsageError, match="did you mean 'fuss:PATH'"):
        registry.load_task("fus:PATH")


LAYOUTS = {
    "stems": ("", ["one/vocals.WAV", "one/drums.Wav"], ""),
    "dnr": ("", ["7/mix.W64", "7/speech.WAV", "7/music.wav", "7/sfx.AIF"], ""),
    "fuss": ("", ["e0.Au", "e0_sources/foreground0_sound.WAV"], ""),
    "dcase2024-t9": ("lass.CSV", ["1.WAV", "2.WAV"], "source,noise,snr,caption\n1.wav,2,3,a dog barks\n"),
    "audiosep": ("list.CSV", ["audio/mixture-1.WAV", "audio/segment-1.WAV"], "idx,caption\n1,a dog barks\n"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_suffixes_will_do_in_every_layout(layout: str, tmp_path: Path):
    table, files, text = LAYOUTS[layout]
    for seed, name in enumerate(files):
        write((tmp_path / name).with_suffix(".wav"), seed)
        (tmp_path / name).with_suffix(".wav").rename(tmp_path / name)
    if table:
        (tmp_path / table).write_text(text)
    data = load_task(f"{layout}:{tmp_path}")
    for identifier in data.ids:
        assert data[identifier].reference is not None
