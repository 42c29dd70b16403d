from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch
from separator_signals import RATE, noise, query

from sam_audio_bench import audio
from sam_audio_bench.errors import BadSeparation, MediaError, Precondition
from sam_audio_bench.files import safe_name
from sam_audio_bench.separators.external import FolderSeparator
from sam_audio_bench.types import Audio, NamedSeparator, OracleSeparator, Separation, Separator

MIXTURE = noise(1, 400)


def put(folder: Path, name: str, samples: torch.Tensor, rate: int = RATE) -> None:
    audio.write_wav(folder / name, Audio(samples, rate))


def ask(folder: Path, *ids: str) -> list[Separation]:
    return FolderSeparator(folder).separate_named(ids, [query(MIXTURE)] * len(ids))


def test_answers_are_found_by_id_and_not_by_order(tmp_path: Path) -> None:
    answers = {identifier: noise(1, 400, seed=n) for n, identifier in enumerate(["b", "a/../c", "a"])}
    for identifier, samples in answers.items():
        put(tmp_path, f"{safe_name(identifier)}.wav", samples)
    for order in (list(answers), sorted(answers)):
        for identifier, found in zip(order, ask(tmp_path, *order), strict=True):
            assert torch.equal(found.target.samples, answers[identifier])
            assert torch.equal(found.residual.samples, MIXTURE - answers[identifier])


@pytest.mark.parametrize("suffix", [".flac", ".wav", ".ogg", ".mp3", ".WAV", ".Flac", ".aif", ".opus"])
@pytest.mark.parametrize("stem", ["one", "one.target"])
def test_spellings(tmp_path: Path, suffix: str, stem: str) -> None:
    form, subtype = {".aif": ("AIFF", "FLOAT"), ".opus": ("OGG", "OPUS")}.get(suffix, (suffix[1:].upper(), None))
    soundfile.write(tmp_path / f"{stem}{suffix}", noise(0.5)[0].numpy(), RATE, format=form, subtype=subtype)
    assert ask(tmp_path, "one")[0].target.rate == RATE


def test_residual_file_is_used(tmp_path: Path) -> None:
    put(tmp_path, "one.target.wav", MIXTURE)
    put(tmp_path, "one.residual.wav", noise(1, 400, seed=5))
    assert torch.equal(ask(tmp_path, "one")[0].residual.samples, noise(1, 400, seed=5))


def test_missing_answer(tmp_path: Path) -> None:
    put(tmp_path, "other.wav", MIXTURE)
    with pytest.raises(
        MediaError, match=r"expected the estimate of a/b at .*a%2Fb\.flac \(or .*\), found none"
    ) as caught:
        ask(tmp_path, "a/b")
    assert caught.value.status == "missing_media"


@pytest.mark.parametrize("names", [("one.flac", "one.wav"), ("one.wav", "one.target.wav"), ("one.WAV", "one.wav")])
def test_two_answers(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        soundfile.write(tmp_path / name, MIXTURE[0].numpy(), RATE, format=name[-4:].strip(".").upper())
    with pytest.raises(
        BadSeparation, match=f"expected one target for one in .*, found {names[0]} and {names[1]}; keep"
    ):
        ask(tmp_path, "one")


def test_two_residuals(tmp_path: Path) -> None:
    for name in ("one.wav", "one.residual.flac", "one.residual.wav"):
        soundfile.write(tmp_path / name, MIXTURE[0].numpy(), RATE)
    with pytest.raises(BadSeparation, match="expected one residual for one"):
        ask(tmp_path, "one")


@pytest.mark.parametrize("name", ["one.wav", "one.residual.wav"])
def test_another_rate_is_not_resampled(tmp_path: Path, name: str) -> None:
    put(tmp_path, "one.wav", MIXTURE)
    put(tmp_path, name, MIXTURE, rate=44_100)
    with pytest.raises(BadSeparation, match=f"expected .*{name} at the mixture's 16000 Hz, found 44100 Hz"):
        ask(tmp_path, "one")


def test_damaged_answer(tmp_path: Path) -> None:
    (tmp_path / "one.wav").write_bytes(b"RIFF")
    with pytest.raises(MediaError, match="libsndfile"):
        ask(tmp_path, "one")


@pytest.mark.parametrize("content", [None, "notes.txt"])
def test_no_folder_or_no_audio(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "answers"
    if content:
        folder.mkdir()
        (folder / content).write_text("nothing to hear")
    with pytest.raises(Precondition, match=r"expected .*estimates"):
        FolderSeparator(folder)


def test_fingerprint_follows_the_files(tmp_path: Path) -> None:
    put(tmp_path, "one.wav", MIXTURE)
    put(tmp_path, "two.wav", MIXTURE)
    separator = FolderSeparator(tmp_path)
    seen = [separator.fingerprint("one")]
    assert separator.fingerprint("one") == seen[0]
    put(tmp_path, "one.residual.wav", MIXTURE)
    seen.append(separator.fingerprint("one"))
    put(tmp_path, "one.wav", -MIXTURE)
    seen.append(separator.fingerprint("one"))
    (tmp_path / "one.wav").unlink()
    (tmp_path / "one.residual.wav").unlink()
    seen.append(separator.fingerprint("one"))
    assert len(set(seen)) == 4


def test_protocol_and_name(tmp_path: Path) -> None:
    folder = tmp_path / "my answers"
    put(folder, "one.wav", MIXTURE)
    separator = FolderSeparator(str(folder))
    assert isinstance(separator, NamedSeparator)
    assert not isinstance(separator, Separator | OracleSeparator)
    assert separator.name == "files-my%20answers"
    assert FolderSeparator(folder, name="theirs").name == "theirs"
