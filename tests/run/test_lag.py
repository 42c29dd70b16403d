"""Lag of estimates: measured for every item, reported if it is constant, and removed with ``--align lag``."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from torch import Tensor
from torch.nn.functional import pad

import sam_audio_bench as sab
from sam_audio_bench.records import ItemRecord
from sam_audio_bench.run.estimate_check import check_estimate
from sam_audio_bench.run.lag import measure_lag
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.types import Audio, Item, Prompt, Query, Separation

RATE = 48_000
LATE = 960  # samples: 20 ms
METRICS = ["si_sdr", "si_sdr_i", "snr", "reconstruction_db"]


def noise(seed: int, length: int = RATE // 2, channels: int = 1) -> Tensor:
    return 0.1 * torch.randn(channels, length, generator=torch.Generator().manual_seed(seed))


def later(signal: Tensor, samples: int) -> Tensor:
    """Delays sound by leading silence, without changing its length."""
    return pad(signal, (samples, -samples))


def scaled(sound: Audio, gain: float) -> Audio:
    return Audio(sound.samples * gain, sound.rate)


def item(target: Tensor, rest: Tensor, reference: bool = True) -> Item:
    query = Query(mixture=Audio(target + rest, RATE), prompt=Prompt(text="voice"))
    return Item(id="a", group="a", query=query, reference=Audio(target, RATE) if reference else None)


def separation(target: Tensor, residual: Tensor) -> Separation:
    return Separation(target=Audio(target, RATE), residual=Audio(residual, RATE))


@pytest.fixture(scope="module")
def silent_end(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three mixtures whose last 40 ms are silent, so that nothing of a late estimate is lost."""
    folder = tmp_path_factory.mktemp("silent-end")
    lines = [("id", "mixture", "target", "residual", "text")]
    for index in range(3):
        parts = [pad(noise(10 * index + part, RATE // 2 - 2 * LATE), (0, 2 * LATE)) for part in range(2)]
        names = [f"{index}-{name}.wav" for name in ("mixture", "target", "residual")]
        for name, sound in zip(names, (parts[0] + parts[1], *parts), strict=True):
            soundfile.write(folder / name, sound.T.numpy(), RATE, subtype="FLOAT")
        lines.append((f"item-{index}", *names, "voice"))
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return folder / "table.csv"


class Model:
    """Halves the mixture, with a lag; target and residual are its own outputs."""

    def __init__(self, late: int = LATE) -> None:
        self.late = late
        self.name = f"late-{late}"

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        sounds = [Audio(later(query.mixture.samples, self.late), query.mixture.rate) for query in queries]
        return [Separation(target=scaled(sound, 0.75), residual=scaled(sound, 0.25)) for sound in sounds]


def late_function(mixture: Tensor, rate: int, prompt: Prompt) -> Tensor:
    return later(mixture * 0.75, LATE)


def punctual_function(mixture: Tensor, rate: int, prompt: Prompt) -> Tensor:
    return mixture * 0.75


def evaluate(model: Any, task: Path, output: Path, **options: Any) -> sab.Results:
    return sab.evaluate(model, str(task), metrics=METRICS, output=output, progress=False, **options)


def records(results: sab.Results) -> list[ItemRecord]:
    """Returns the items of the first run that is not the mixture's."""
    return list(RunFolder.open(results.runs[0]).items.values())


def scores(results: sab.Results) -> dict[tuple[str, str], float]:
    frame = results.to_frame()
    own = frame[frame["separator"] != "mixture"]
    return {(row["metric"], row["item"]): row["value"] for _, row in own.iterrows()}


def test_lag_of_the_reference_comes_first() -> None:
    """The estimate is the reference 10 ms late, together with the mixture's loud residual without a lag."""
    target, rest = noise(0), noise(1)
    estimate = Audio(later(target, 480), RATE)
    assert measure_lag(item(target, rest), estimate) == 10.0
    assert measure_lag(item(target, rest, reference=False), estimate) == 10.0


def test_an_estimate_unlike_the_reference_is_compared_with_the_mixture() -> None:
    target, rest = noise(0), noise(1)
    assert measure_lag(item(target, rest), Audio(later(rest, 48), RATE)) == 1.0


@pytest.mark.parametrize("estimate", [torch.zeros(1, RATE // 2), noise(7)])
def test_what_is_like_nothing_has_no_lag(estimate: Tensor) -> None:
    assert measure_lag(item(noise(0), noise(1)), Audio(estimate, RATE)) is None


def test_channels_are_averaged() -> None:
    target = noise(0, channels=2)
    found = measure_lag(item(target, 0 * target), Audio(later(target, 96).mean(dim=0, keepdim=True), RATE))
    assert found == 2.0


def test_the_lag_of_long_sound_is_that_of_its_loudest_minute() -> None:
    """130 s at 1 kHz: the second minute is ten times as loud and 30 ms late; the rest has no lag."""
    sound = noise(0, 130_000)
    sound[:, 60_000:120_000] *= 10
    estimate = sound.clone()
    estimate[:, 60_000:120_000] = later(sound[:, 60_000:120_000], 30)
    query = Query(mixture=Audio(sound, 1000), prompt=Prompt(text="voice"))
    assert measure_lag(Item(id="a", group="a", query=query), Audio(estimate, 1000)) == 30.0
    assert measure_lag(Item(id="a", group="a", query=query), Audio(estimate[:, :60_000], 1000)) == 0.0


def test_early_and_inverted() -> None:
    target = noise(0)
    assert measure_lag(item(target, 0 * target), Audio(-pad(target[:, 48:], (0, 48)), RATE)) == -1.0


def test_the_delay_of_a_late_separator_is_reported(silent_end: Path, tmp_path: Path) -> None:
    results = evaluate(Model(), silent_end, tmp_path)
    assert [record.lag_ms for record in records(results)] == [20.0, 20.0, 20.0]
    late, mixture = results.costs
    assert (late.separator, late.lag_ms, late.constant_lag_ms, late.lag_items) == ("late-960", 20.0, 20.0, 3)
    assert (late.delay, late.delay_rate) == (LATE, RATE)
    assert (mixture.lag_ms, mixture.constant_lag_ms) == (0.0, None)
    expected = (
        "late-960 answers 20.0 ms late (median of 3 items), which scores count as an error: state delay=960 (samples "
        "at 48000 Hz) on the class, or Adapted(model, delay=960), or run it with --align lag"
    )
    for form in ("html", "tex"):
        assert expected in results.table(form)
    assert expected in results.table("md").replace("\\", "")
    assert [one["lag_ms"] for one in results.to_json()["costs"]] == [20.0, 0.0]
    assert sab.Results.read([tmp_path]).costs == results.costs


def test_the_delay_of_a_model_with_a_rate_is_reported_at_its_rate(silent_end: Path, tmp_path: Path) -> None:
    """10 ms too late at 16 kHz are 160 samples beside the 40 that it states."""
    model = sab.Adapted(Model(200), rate=16_000, delay=40, name="own-rate")
    results = evaluate(model, silent_end, tmp_path)
    assert (results.costs[0].delay, results.costs[0].delay_rate) == (200, 16_000)


def test_stating_the_delay_makes_it_punctual(silent_end: Path, tmp_path: Path) -> None:
    results = evaluate(sab.Adapted(Model(), delay=LATE), silent_end, tmp_path)
    assert [record.lag_ms for record in records(results)] == [0.0, 0.0, 0.0]
    assert " ms late" not in results.table("md")


@pytest.mark.parametrize(
    ("late", "punctual"), [(Model(), Model(0)), (late_function, punctual_function)], ids=["model", "function"]
)
def test_align_lag_scores_as_if_punctual(late: Any, punctual: Any, silent_end: Path, tmp_path: Path) -> None:
    """Also of a function, whose residual is the mixture minus its late estimate."""
    cut = evaluate(late, silent_end, tmp_path / "late", align="lag")
    assert [record.moved_ms for record in records(cut)] == [20.0, 20.0, 20.0]
    assert [record.lag_ms for record in records(cut)] == [0.0, 0.0, 0.0]
    expected = scores(evaluate(punctual, silent_end, tmp_path / "punctual"))
    found = scores(cut)
    assert found == pytest.approx(expected, abs=1e-6)
    assert "3 answers of" in cut.table("md")
    assert "(--align lag)" in cut.table("md").replace("\\", "")


def test_align_lag_is_another_evaluation(silent_end: Path, tmp_path: Path) -> None:
    first = records(evaluate(Model(), silent_end, tmp_path))
    again = evaluate(Model(), silent_end, tmp_path, align="lag")
    assert RunFolder.open(again.runs[0]).header.align == "lag"
    assert {record.fingerprint for record in first}.isdisjoint(record.fingerprint for record in records(again))


def test_align_lag_leaves_what_is_punctual(silent_end: Path, tmp_path: Path) -> None:
    kept = evaluate(Model(0), silent_end, tmp_path / "lag", align="lag")
    assert [record.moved_ms for record in records(kept)] == [None, None, None]
    assert scores(kept) == scores(evaluate(Model(0), silent_end, tmp_path / "none"))
    assert "moved" not in kept.table("md")


def test_an_estimate_that_is_longer_by_its_lag_loses_nothing() -> None:
    mixture = noise(0)
    late = pad(mixture, (LATE, 0))
    query = Query(mixture=Audio(mixture, RATE), prompt=Prompt(text="voice"))
    found = check_estimate(separation(late, late * 0.5), query, align="lag")
    assert found.moved_ms == 20.0
    assert torch.equal(found.target.samples, mixture)
    assert torch.equal(found.residual.samples, mixture * 0.5)


def test_what_is_cut_is_not_filled_and_what_is_early_is() -> None:
    mixture = noise(0)
    query = Query(mixture=Audio(mixture, RATE), prompt=Prompt(text="voice"))
    late = check_estimate(separation(later(mixture, 48), later(mixture, 48)), query, align="lag")
    assert torch.equal(late.target.samples, mixture[:, :-48])
    early = check_estimate(separation(mixture[:, 48:], mixture[:, 48:]), query, align="lag")
    assert early.moved_ms == -1.0
    assert torch.equal(early.target.samples, pad(mixture[:, 48:], (48, 0)))


def test_a_separator_does_not_say_itself_that_it_was_moved() -> None:
    query = Query(mixture=Audio(noise(0), RATE), prompt=Prompt(text="voice"))
    sound = Audio(noise(0), RATE)
    assert check_estimate(Separation(target=sound, residual=sound, moved_ms=3.0), query).moved_ms == 0.0


def test_rescoring_measures_what_was_not(silent_end: Path, tmp_path: Path) -> None:
    """A run of a version without lags: scoring by another metric measures them from the stored estimates."""
    results = evaluate(Model(), silent_end, tmp_path)
    journal = results.runs[0] / "items.jsonl"
    journal.write_text(journal.read_text(encoding="utf-8").replace('"lag_ms": 20.0, ', ""), encoding="utf-8")
    assert [record.lag_ms for record in records(results)] == [None, None, None]
    sab.evaluate(Model(), str(silent_end), metrics=[*METRICS, "sd_sdr"], output=tmp_path, progress=False)
    assert [record.lag_ms for record in records(results)] == [20.0, 20.0, 20.0]
