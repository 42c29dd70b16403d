"""The content check finds a stem of the mini split in disguise and nothing in unrelated audio."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import soxr

from judge.sources.clips import decode
from sam_audio_bench.filtering.fingerprint import RATE, Index
from sam_audio_bench.tasks.recipes import load_stems


@pytest.fixture(scope="module")
def mini() -> dict[str, np.ndarray]:
    return {stem.id: decode(stem.path) for stem in load_stems().values()}


@pytest.fixture(scope="module")
def index(mini: dict[str, np.ndarray]) -> Index:
    return Index(mini.items())


def disguised(wave: np.ndarray, shift: float, gain: float, noise: float) -> np.ndarray:
    """Another start, level, sampling rate, lossy coding and a little noise."""
    shifted = gain * wave[round(shift * RATE) :]
    buffer = io.BytesIO()
    soundfile.write(buffer, soxr.resample(shifted, RATE, 22_050), 22_050, format="OGG", subtype="VORBIS")
    coded = decode(buffer.getvalue())
    hiss = np.random.default_rng(0).standard_normal(len(coded)) * noise * np.abs(coded).max()
    return (coded + hiss).astype(np.float32)


@pytest.mark.parametrize(
    "name", ["sfx_dog", "sfx_vinyl_hiss", "sp_jfk0", "mu_vibeace1", "inst_violin", "inst_loop_tabla"]
)
def test_a_disguised_stem_is_found(index: Index, mini: dict[str, np.ndarray], name: str) -> None:
    match = index.match(disguised(mini[name], 0.137, 0.1, 0.002))
    assert (match.name, match.is_same) == (name, True)


def test_every_stem_is_found_louder_and_later(index: Index, mini: dict[str, np.ndarray]) -> None:
    missed = [name for name, wave in mini.items() if not index.match(3 * wave[1000:]).is_same]
    assert missed == []


def test_unrelated_audio_passes(index: Index) -> None:
    rng = np.random.default_rng(0)
    time = np.arange(6 * RATE) / RATE
    others = {
        "noise": rng.standard_normal(6 * RATE),
        "tone": np.sin(2 * np.pi * 440 * time),
        "chirps": np.sin(2 * np.pi * (300 + 900 * (time % 1)) * time),
        "clicks": (rng.random(6 * RATE) > 0.999).astype(float),
        "silence": np.zeros(6 * RATE),
        "blip": np.ones(10),
    }
    assert [name for name, wave in others.items() if index.match(0.1 * wave.astype(np.float32)).is_same] == []


def test_other_stems_pass(mini: dict[str, np.ndarray]) -> None:
    """Every second stem against the others: they are other voices and instruments, or other parts of one recording."""
    names = sorted(mini)
    index = Index((name, mini[name]) for name in names[::2])
    found = {name: index.match(mini[name]) for name in names[1::2]}
    assert {name: match for name, match in found.items() if match.is_same} == {}
