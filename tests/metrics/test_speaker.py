"""Speaker similarity: the package's numbers, voices that are told apart, and what has no voice."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest
from metric_signals import noise
from torch import Tensor

import sam_audio_bench as sab
from sam_audio_bench.audio import resample
from sam_audio_bench.metrics.speaker import SpeakerSimilarity
from sam_audio_bench.types import Audio, Item, Prompt, Query, Score, Separation, Status

RATE = 16_000
LACK = SpeakerSimilarity().missing()
pytestmark = pytest.mark.skipif(LACK is not None, reason=LACK or "")


def score(metric: SpeakerSimilarity, reference: Tensor, given: Tensor) -> Score:
    query = Query(mixture=Audio(reference, RATE), prompt=Prompt(text="a voice"))
    item = Item(id="a", group="a", query=query, reference=Audio(reference, RATE))
    (row,) = metric.score([item], [Separation(target=Audio(given, RATE), residual=Audio(given, RATE))])
    assert row[0] is not None
    return row[0]


def value(found: Score) -> float:
    assert found.status is Status.OK
    assert found.value is not None
    return found.value


@pytest.fixture(scope="module")
def metric() -> SpeakerSimilarity:
    """With its network, loaded once."""
    return SpeakerSimilarity()


@pytest.fixture(scope="module")
def voices() -> list[tuple[Tensor, Tensor]]:
    """A man and a woman, each with the mixture that they are in, four seconds ``[1, time]`` at 16 kHz."""
    task = sab.load_task("speaker", split="mini")
    found = []
    for name in ("speaker-02", "speaker-04"):
        item = task[name]
        assert item.reference is not None
        clips = (
            resample(sound, RATE).samples[:, : 4 * RATE].double() for sound in (item.reference, item.query.mixture)
        )
        found.append((next(clips), next(clips)))
    return found


def test_it_is_the_package_at_its_level(metric: SpeakerSimilarity, voices: list[tuple[Tensor, Tensor]]) -> None:
    """The package raises quiet signals to -30 dBFS: of signals below it, all numbers are its own."""
    clean, mixture = (0.001 * sound / sound.pow(2).mean().sqrt() for sound in voices[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resemblyzer = importlib.import_module("resemblyzer")
        encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)
        waves = [resemblyzer.preprocess_wav(sound[0].numpy().astype(np.float32)) for sound in (clean, mixture)]
        one, other = (encoder.embed_utterance(wave) for wave in waves)
    assert value(score(metric, clean, mixture)) == pytest.approx(float(one @ other), abs=1e-3)


def test_the_same_voice_is_nearer_than_another(metric: SpeakerSimilarity, voices: list[tuple[Tensor, Tensor]]) -> None:
    (man, mixture), (woman, _) = voices
    itself, mixed, other = (value(score(metric, man, given)) for given in (man, mixture, woman))
    assert itself == pytest.approx(1, abs=1e-6)
    assert itself > mixed > other
    assert other < 0.75


def test_level_and_polarity_do_not_matter(metric: SpeakerSimilarity, voices: list[tuple[Tensor, Tensor]]) -> None:
    (clean, mixture), _ = voices
    expected = value(score(metric, clean, mixture))
    for gain in (-1.0, 1e-4, 100.0):
        assert value(score(metric, clean, gain * mixture)) == pytest.approx(expected, abs=1e-4)


def test_what_has_no_voice(metric: SpeakerSimilarity, voices: list[tuple[Tensor, Tensor]]) -> None:
    voice = voices[0][0]
    hiss = 0.1 * noise(*voice.shape)
    assert score(metric, voice, hiss) == (0.0, Status.SILENT_ESTIMATE)
    assert score(metric, hiss, voice) == (None, Status.SILENT_REFERENCE)
    assert score(metric, voice, 0 * voice) == (0.0, Status.SILENT_ESTIMATE)
    assert score(metric, 0 * voice, voice) == (None, Status.SILENT_REFERENCE)
    assert score(metric, voice[:, : int(1.5 * RATE)], voice[:, : int(1.5 * RATE)]) == (None, Status.TOO_SHORT)


def test_rows_do_not_depend_on_what_stands_beside_them(
    metric: SpeakerSimilarity, voices: list[tuple[Tensor, Tensor]]
) -> None:
    questions = [
        (Item(id=name, group=name, query=Query(mixture=Audio(clean, RATE), prompt=Prompt(text="a voice")),
              reference=Audio(clean, RATE)), Separation(target=Audio(given, RATE), residual=Audio(given, RATE)))
        for name, clean, given in (("a", *voices[0]), ("b", 0 * voices[0][0], voices[0][0]), ("c", *voices[1]))
    ]  # fmt: skip
    items, answers = zip(*questions, strict=True)
    together = metric.score(items, answers)
    assert together == [metric.score([one], [given])[0] for one, given in questions]
    assert together[::-1] == metric.score(items[::-1], answers[::-1])


def test_versions_are_part_of_the_identity(metric: SpeakerSimilarity) -> None:
    assert set(metric.options) == {"Resemblyzer", "librosa"}
