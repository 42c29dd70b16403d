"""Models that give all stems of a mixture: one pass for all prompts, the right stems, and outputs without an order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from separator_signals import RATE, item, noise, query, sine
from torch import Tensor

import sam_audio_bench as sab
from sam_audio_bench import Adapted, audio
from sam_audio_bench.errors import BadSeparation, UsageError
from sam_audio_bench.leaderboard.score_checks import items_without_estimate
from sam_audio_bench.registry import build, load_separator
from sam_audio_bench.run.contract import prepare_separator
from sam_audio_bench.separators.stems import AdaptedStems, UnorderedStems
from sam_audio_bench.types import Audio, Item, OracleSeparator, Prompt, Separator, Status

GAINS = {"drums": 0.1, "bass": 0.2, "other": 0.3, "vocals": 0.4}


class Four:
    """Stems that are the mixture at four levels; counts its passes."""

    name = "four"
    gains: Mapping[str, float] = GAINS

    def __init__(self) -> None:
        self.passes = 0

    def separate_stems(self, mixture: Audio) -> Any:
        """All four."""
        self.passes += 1
        found = {label: Audio(mixture.samples * gain, mixture.rate) for label, gain in self.gains.items()}
        mixture.samples.zero_()  # its own copy
        return found


def answer(separator: Any, samples: Tensor, text: str | None) -> Any:
    prompt = Prompt(text=text, spans=(("+", 0.0, 1.0),))
    return separator.separate([query(samples, prompt)], [0])[0]


def test_one_pass_serves_every_prompt() -> None:
    model = Four()
    separator = load_separator(model)
    assert isinstance(separator, AdaptedStems)
    assert isinstance(separator, Separator)
    assert not isinstance(separator, OracleSeparator)
    samples, other = noise(0.5), noise(0.5, seed=1)
    for _ in range(2):
        for text, gain in (("vocals", 0.4), ("drum kit", 0.1), ("drums and bass", 0.3), ("music", 0.6)):
            found = answer(separator, samples, text)
            assert torch.allclose(found.target.samples, samples * gain)
            assert torch.equal(found.residual.samples, samples - found.target.samples)
    assert model.passes == 1
    answer(separator, other, "bass")
    answer(separator, samples, "bass")
    assert model.passes == 2
    separator.separate([query(samples[:, :100], Prompt(text="bass"))], [0])
    separator.separate([query(samples, Prompt(text="bass"), rate=8000)], [0])
    assert model.passes == 4


def test_what_is_given_is_not_what_is_kept() -> None:
    separator = load_separator(Four())
    samples = noise(0.2)
    answer(separator, samples, "vocals").target.samples.zero_()
    assert torch.allclose(answer(separator, samples, "vocals").target.samples, samples * 0.4)


def test_few_mixtures_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of 4 stems of 800 float32 samples fit into 30,000 bytes; the last mixture stays, however long it is."""
    monkeypatch.setattr("sam_audio_bench.separators.stems._CACHE_BYTES", 30_000)
    model = Four()
    separator = load_separator(model)
    sounds, long = [noise(0.05, seed=seed) for seed in range(3)], noise(10.0)
    for sound in (*sounds, sounds[2], sounds[1], long, long):
        answer(separator, sound, "bass")
    assert model.passes == 4
    answer(separator, sounds[0], "bass")
    assert model.passes == 5


def test_a_model_that_changed_is_asked_again(tmp_path: Path) -> None:
    """Its identity is another one, and so must be its answers."""
    model = Four()
    separator = Adapted(model, channels=1)
    before = build("separator", separator).identity.fingerprint()
    assert torch.allclose(answer(separator, noise(0.1), "bass").target.samples, noise(0.1) * 0.2)
    model.gains = {**GAINS, "bass": 0.7}
    assert build("separator", separator).identity.fingerprint() != before
    assert torch.allclose(answer(separator, noise(0.1), "bass").target.samples, noise(0.1) * 0.7)


@pytest.mark.parametrize(("text", "told"), [("dog barking", "'dog barking' asks for none"), (None, "has no text")])
def test_unmapped_prompts(text: str | None, told: str) -> None:
    model = Four()
    with pytest.raises(BadSeparation, match=f"four gives drums, bass, other, vocals, and .*{told}") as refused:
        answer(load_separator(model), noise(0.1), text)
    assert refused.value.status == "unsupported"
    assert model.passes == 1
    model.stems = tuple(GAINS)  # type: ignore[attr-defined]
    with pytest.raises(BadSeparation, match="four gives drums") as refused:
        answer(load_separator(model), noise(0.1), text)
    assert model.passes == 1  # what it cannot answer costs nothing where it says what it has


def test_in_a_run(tmp_path: Path) -> None:
    """Items of one mixture run the model once; unmapped prompts are counted in n, and said."""
    model = Four()
    mixture = tmp_path / "mix.wav"
    audio.write_wav(mixture, Audio(noise(1.0), RATE))
    audio.write_wav(tmp_path / "ref.wav", Audio(noise(1.0) * 0.4, RATE))
    lines = ["id,mixture,text,target", *(f"{number},mix.wav,{text},ref.wav"
             for number, text in enumerate(("vocals", "drums", "a dog", "singing")))]  # fmt: skip
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    results = sab.evaluate(
        model, str(tmp_path / "table.csv"), metrics=["si_sdr"], output=tmp_path / "runs", progress=False
    )
    assert model.passes == 1
    row = next(row for row in results.rows if row.separator == "four")
    assert (row.n_ok, row.n) == (3, 4)
    assert results.failures == 1
    frame = results.to_frame()
    assert set(frame[(frame["separator"] == "four") & (frame["item"] == "2")]["status"]) == {Status.UNSUPPORTED}
    assert items_without_estimate(frame[frame["separator"] == "four"]) == {"2"}


class Converted(Four):
    """A stereo model at 8 kHz that is late by 40 samples."""

    name = "converted"
    rate = 8000
    channels = 2
    delay = 40
    chunk_seconds = 0.1

    def separate_stems(self, mixture: Audio) -> Any:
        """All four, late."""
        assert (mixture.rate, mixture.channels) == (8000, 2)
        found = super().separate_stems(mixture)
        return {label: torch.nn.functional.pad(one.samples, (40, 0))[:, :-40].numpy() for label, one in found.items()}


def test_with_what_adapted_does() -> None:
    samples = sine(300, 1.0)
    found = answer(load_separator(Converted), samples, "vocals")
    assert found.target.samples.shape == samples.shape
    inside = slice(200, -200)
    assert torch.allclose(found.target.samples[:, inside], 0.4 * samples[:, inside], atol=1e-3)
    straight = answer(Adapted(Four, rate=8000, channels=2, chunk_seconds=0.1), samples, "vocals")
    assert torch.equal(straight.target.samples, found.target.samples)


def test_a_map_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text('[prompts]\n"a dog" = "drums"\n')

    class Mapped(Four):
        stem_map = str(path)

    separator = load_separator(Mapped)
    assert torch.allclose(answer(separator, noise(0.1), "A dog").target.samples, noise(0.1) * 0.1)
    with pytest.raises(BadSeparation):
        answer(separator, noise(0.1), "vocals and drums and a dog")
    before = build("separator", Mapped).identity
    assert before.unknown is None
    path.write_text('[prompts]\n"a dog" = "bass"\n')
    assert build("separator", Mapped).identity.fingerprint() != before.fingerprint()
    path.write_text("[prompts\n")
    with pytest.raises(UsageError, match="the stem map of four"):
        prepare_separator(Mapped)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([1, 2], "found a list; outputs without an order need `unordered = True`"),
        ({}, "a mapping from labels to Audio, found"),
        ({3: None}, "a mapping from labels to Audio, found"),
        (None, "found NoneType"),
        ({"vocals": None}, "the stem 'vocals' of odd as Audio, .* found NoneType"),
        ({"vocals": torch.zeros(1, 100, dtype=torch.int16)}, "found torch.int16"),
        ({"vocals": torch.zeros(1, 99)}, "was given 100 samples at 16000 Hz, and its stem 'vocals' has 99"),
        ({"vocals": torch.zeros(2, 100)}, r"the stem 'vocals' of odd as \[1, 100\], found \[2, 100\]"),
        ({"vocals": Audio(torch.zeros(1, 100), 8000)}, "a mixture of 16000 Hz, and its stem 'vocals' has 8000"),
    ],
)  # fmt: skip
def test_outputs_that_are_none(found: Any, message: str) -> None:
    class Odd:
        name = "odd"

        def separate_stems(self, mixture: Audio) -> Any:
            return found

    with pytest.raises(BadSeparation, match=message):
        answer(load_separator(Odd), torch.ones(1, 100), "vocals")


def test_other_stems_than_it_says() -> None:
    class Says(Four):
        stems = ("vocals", "rest")

    with pytest.raises(BadSeparation, match=r"states the stems \['vocals', 'rest'\], and returned"):
        answer(load_separator(Says), noise(0.1), "vocals")


def test_the_method_of_the_model_is_checked() -> None:
    class Wrong:
        def separate_stems(self) -> Any:
            return {}

    with pytest.raises(UsageError, match=r"expected .*Wrong to have a method separate_stems\(mixture\)"):
        prepare_separator(Wrong)


class Unordered:
    """Two tones, the high one first."""

    name = "unordered"
    unordered = True

    def __init__(self, count: int = 2, swapped: bool = False) -> None:
        self.count, self.swapped = count, swapped

    def separate_stems(self, mixture: Audio) -> list[Tensor]:
        """The tones at 2000, 300 and 700 Hz, as many as there are to be."""
        found = [sine(hertz) for hertz in (2000, 300, 700)[: self.count]]
        return found[::-1] if self.swapped else found


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("swapped", [False, True])
def test_outputs_without_an_order(count: int, swapped: bool) -> None:
    separator = load_separator(Unordered(count, swapped))
    assert isinstance(separator, UnorderedStems)
    assert isinstance(separator, OracleSeparator)
    assert not isinstance(separator, Separator)
    high, low = sine(2000), sine(300)
    for target, rest in ((high, low), (low, high)):
        (found,) = separator.separate_oracle([item(target, rest)], [0])
        assert torch.equal(found.target.samples, target)
        assert torch.allclose(found.residual.samples, rest, atol=1e-6)


def test_the_better_order_of_both() -> None:
    """The target alone would take the first output, but the rest fits that one far better."""

    class Poor(Unordered):
        def separate_stems(self, mixture: Audio) -> list[Tensor]:
            return [sine(300) + 0.9 * sine(2000), sine(300) + 1.1 * sine(2000)]

    one: Item = item(sine(2000), sine(300))
    separator = load_separator(Poor())
    assert isinstance(separator, OracleSeparator)
    (found,) = separator.separate_oracle([one], [0])
    assert torch.allclose(found.target.samples, sine(300) + 1.1 * sine(2000))
    (alone,) = separator.separate_oracle([replace(one, residual_reference=None)], [0])
    assert torch.equal(alone.target.samples, found.target.samples)


def test_an_absent_target_gets_the_quietest_output() -> None:
    class Two(Unordered):
        def separate_stems(self, mixture: Audio) -> list[Tensor]:
            return [sine(300), 0.01 * sine(2000)]

    separator = load_separator(Two())
    assert isinstance(separator, OracleSeparator)
    (found,) = separator.separate_oracle([item(torch.zeros(1, 32_000), sine(300))], [0])
    assert torch.equal(found.target.samples, 0.01 * sine(2000))


def test_an_unordered_model_is_marked(tmp_path: Path) -> None:
    class Parts(Unordered):
        def separate_stems(self, mixture: Audio) -> Any:
            return torch.stack([mixture.samples * 0.5, mixture.samples.flip(1)])

    results = sab.evaluate([Parts(), "hpss"], "speech", split="mini", limit=1, metrics=["si_sdr_i"], output=tmp_path,
                           progress=False)  # fmt: skip
    assert results.failures == 0
    assert {row.separator: row.oracle for row in results.rows} == {"unordered": True, "hpss": False, "mixture": False}
    assert build("separator", Parts()).identity.oracle


def test_unordered_models_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="no chunk_seconds for unordered"):
        Adapted(Unordered(), chunk_seconds=1.0)
    with pytest.raises(UsageError, match="unordered of four to be True or False"):
        load_separator(type("Odd", (Four,), {"unordered": "yes"}))
    mapping = load_separator(type("Odd", (Four,), {"unordered": True}))
    assert isinstance(mapping, OracleSeparator)
    with pytest.raises(BadSeparation, match=r"a list of Audio, since its class states unordered = True, found dict"):
        mapping.separate_oracle([item(sine(2000), sine(300))], [0])
    with pytest.raises(BadSeparation, match="which a reference must choose from"):
        load_separator(Unordered()).separate_oracle([replace(item(sine(2000), sine(300)), reference=None)], [0])  # type: ignore[union-attr]
