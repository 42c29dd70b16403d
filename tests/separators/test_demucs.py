"""Demucs with random weights: its stems, its rate and channels, and what is said without it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from separator_signals import noise, query

from sam_audio_bench.errors import BadSeparation, Precondition, UsageError
from sam_audio_bench.registry import build, load_separator
from sam_audio_bench.separators.adaptation import Adaptation
from sam_audio_bench.separators.adapted import Adapted
from sam_audio_bench.separators.demucs_stems import DemucsSeparator
from sam_audio_bench.types import Audio, Prompt, Separation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of random weights, as ``demucs --repo`` takes them; skips without the package."""
    hdemucs = pytest.importorskip("demucs.hdemucs")
    found: Path = tmp_path_factory.mktemp("demucs")
    for number, name in enumerate(("tiny", "other")):
        torch.manual_seed(number)
        options = {"sources": ["drums", "bass", "other", "vocals"], "audio_channels": 2, "channels": 4, "depth": 6,
                   "nfft": 4096, "samplerate": 8000, "segment": 2}  # fmt: skip
        network = hdemucs.HDemucs(**options)
        package = {"klass": hdemucs.HDemucs, "args": (), "kwargs": options, "state": network.state_dict()}
        torch.save(package, found / f"{name}.th")
    return found


def answer(separator: Any, samples: torch.Tensor, text: str) -> Separation:
    found: Separation = separator.separate([query(samples, Prompt(text=text))], [0])[0]
    return found


def test_stems_of_prompts(folder: Path) -> None:
    separator = load_separator("demucs", {"model": "tiny", "folder": str(folder)})
    assert isinstance(separator, Adapted)
    assert separator.adaptation == Adaptation(rate=8000, channels=2)
    samples = noise(1.0)
    texts = ("vocals", "drum kit", "bass guitar", "music")
    vocals, drums, bass, music = (answer(separator, samples, text).target.samples for text in texts)
    other = answer(separator, samples, "other instruments").target.samples
    assert vocals.shape == samples.shape
    assert not torch.allclose(vocals, drums)
    assert torch.allclose(music, drums + bass + other, atol=1e-6)
    again = load_separator(f"demucs(model=tiny,folder={folder})")
    assert torch.equal(answer(again, samples, "singing").target.samples, vocals)
    with pytest.raises(BadSeparation, match="gives drums, bass, other, vocals, and the text 'trumpet'") as refused:
        answer(separator, samples, "trumpet")
    assert refused.value.status == "unsupported"
    assert torch.isfinite(answer(separator, torch.zeros(2, 4000), "vocals").target.samples).all()
    assert torch.isfinite(answer(separator, torch.ones(1, 1600), "vocals").target.samples).all()


def test_the_package_is_driven_as_its_own_program_does(folder: Path) -> None:
    """Normalised by the mono sum, taken back, without shifts."""
    from demucs.apply import apply_model
    from demucs.pretrained import get_model

    mixture = Audio(noise(2.5, 8000, channels=2), 8000)
    found = DemucsSeparator("tiny", folder=str(folder)).separate_stems(mixture)
    mono = mixture.samples.mean(0)
    with torch.no_grad():
        expected = apply_model(
            get_model("tiny", folder), ((mixture.samples - mono.mean()) / mono.std())[None], shifts=0
        )[0]
    for label, own in zip(("drums", "bass", "other", "vocals"), expected, strict=True):
        assert torch.allclose(found[label].samples, own * mono.std() + mono.mean(), atol=1e-5)


def test_weights_are_part_of_the_identity(folder: Path) -> None:
    options = {"folder": str(folder)}
    one, other = (build("separator", "demucs", {"model": name, **options}).identity for name in ("tiny", "other"))
    assert one.unknown is None
    assert one.weights_sha256 != other.weights_sha256
    assert build("separator", "demucs", {"model": "tiny", **options}).identity.weights_sha256 == one.weights_sha256


def test_what_is_missing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Precondition, match=r"a folder of Demucs models at .*none, found none"):
        DemucsSeparator(folder=str(tmp_path / "none"))
    with pytest.raises(Precondition, match=r"the Demucs model 'htdemucs' in .*, found: ModelLoadingError"):
        DemucsSeparator(folder=str(folder))
    (tmp_path / "broken.th").write_bytes(b"no weights")
    with pytest.raises(Precondition, match=r"the Demucs model 'broken' in"):
        DemucsSeparator("broken", folder=str(tmp_path))
    for overlap in (1.0, -0.1, True, "a"):
        with pytest.raises(UsageError, match="expected overlap of demucs"):
            DemucsSeparator("tiny", folder=str(folder), overlap=overlap)  # type: ignore[arg-type]


def test_offline_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the package's other server asked."""
    pretrained = pytest.importorskip("demucs.pretrained")
    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: True)
    asked: list[str] = []

    def get_model(name: str, repo: Path | None) -> None:
        asked.append(name)
        raise OSError("not in the cache")

    monkeypatch.setattr(pretrained, "get_model", get_model)
    for name in ("htdemucs", "hf://mine/htdemucs"):
        with pytest.raises(
            Precondition, match="on the Hugging Face Hub or in its cache, found: OSError: not in the cache"
        ):
            DemucsSeparator(name)
    assert asked == ["hf://htdemucs", "hf://mine/htdemucs"]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "demucs.pretrained", None)
    with pytest.raises(Precondition, match=r"expected the package demucs.*pip install 'sam-audio-bench\[demucs\]'"):
        load_separator("demucs")
