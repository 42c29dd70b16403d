"""Outputs without an order: each is given out once, by all references of its mixture, whoever asks, where and when."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from run_checks import assert_equal_runs, journal, messages, scores
from separator_signals import RATE, noise, query, si_sdr, sine
from torch import Tensor

import sam_audio_bench as sab
from sam_audio_bench import audio
from sam_audio_bench.cli import group
from sam_audio_bench.errors import BadSeparation, UsageError
from sam_audio_bench.registry import load_separator
from sam_audio_bench.run.contract import prepare_separator
from sam_audio_bench.run.estimate_check import check_estimate
from sam_audio_bench.separators.stems import UnorderedStems
from sam_audio_bench.types import Audio, Item, Separation, Status

LOW, MIDDLE, HIGH = (sine(hertz, 0.5) for hertz in (300, 700, 2000))
SOUNDS = {"high": HIGH, "low": LOW, "middle": MIDDLE}


class Given:
    """Gives the outputs that it was made with, whatever the mixture."""

    name = "given"
    unordered = True

    def __init__(self, *outputs: Tensor) -> None:
        self.outputs = outputs

    def separate_stems(self, mixture: Audio) -> list[Tensor]:
        """The outputs."""
        return [one.clone() for one in self.outputs]


def items_of(references: Mapping[str, Tensor], mixture: Tensor | None = None) -> list[Item]:
    """The items of one mixture, each with the references of the others."""
    sounds = {name: Audio(samples, RATE) for name, samples in references.items()}
    whole = sum(references.values(), torch.zeros(1, 8000)) if mixture is None else mixture
    return [
        Item(
            id=name, group="one", query=query(whole), reference=sound,
            others={other: one for other, one in sounds.items() if other != name},
        )
        for name, sound in sounds.items()
    ]  # fmt: skip


def answers(outputs: Sequence[Tensor], items: Sequence[Item]) -> list[Separation]:
    separator = load_separator(Given(*outputs))
    assert isinstance(separator, UnorderedStems)
    return separator.separate_oracle(items, [0] * len(items))


def test_no_output_serves_two_prompts() -> None:
    """Both targets alone would choose the first output; together, they may not."""
    outputs = [LOW + HIGH, 0.3 * LOW + 0.2 * HIGH + MIDDLE]
    items = items_of({"high": HIGH, "low": LOW})
    for one in items:
        (alone,) = answers(outputs, [replace(one, others={})])
        assert torch.equal(alone.target.samples, outputs[0])
    high, low = answers(outputs, items)
    assert torch.equal(high.target.samples, outputs[0])
    assert torch.equal(low.target.samples, outputs[1])
    assert high.outputs == low.outputs == {"high": 0, "low": 1}
    assert torch.allclose(low.residual.samples, items[1].query.mixture.samples - outputs[1])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [3, 4])
def test_the_best_of_all_permutations(seed: int, count: int) -> None:
    """Compared with trying them all, by a definition of SI-SDR that is not the package's."""
    generator = torch.Generator().manual_seed(seed)
    references = {f"item-{index}": noise(0.5, seed=100 * seed + index) for index in range(3)}
    gains = torch.rand(count, 3, generator=generator)
    outputs = [*(torch.einsum("ij,jkt->ikt", gains, torch.stack([*references.values()])))]
    found = answers(outputs, items_of(references))
    values = [[si_sdr(reference=one, estimate=output) for output in outputs] for one in references.values()]
    best = max(
        itertools.permutations(range(count), 3),
        key=lambda order: sum(row[output] for row, output in zip(values, order, strict=True)),
    )
    expected = dict(zip(references, best, strict=True))
    assert all(one.outputs == expected for one in found)
    for name, one in zip(references, found, strict=True):
        assert torch.equal(one.target.samples, outputs[expected[name]])


def test_items_of_one_target_share_its_output() -> None:
    """A target that is asked for in two ways is one target; so is silence."""
    names = {"text": LOW, "span": LOW, "high": HIGH, "absent": 0 * LOW, "gone": -0.0 * LOW}
    found = answers([HIGH, 0.1 * MIDDLE, LOW, 0.2 * MIDDLE], items_of(names))
    assert {one.outputs["text"] for one in found} == {2}
    assert found[0].outputs == {"absent": 1, "gone": 1, "high": 0, "span": 2, "text": 2}
    assert all(one.outputs == found[0].outputs for one in found)


def test_a_target_without_an_output_is_unsupported() -> None:
    """Of three targets and two outputs the two that fit best are served, and silence last of all."""
    items = items_of({**SOUNDS, "absent": 0 * LOW})
    outputs = [MIDDLE, 0.9 * HIGH + 0.1 * MIDDLE]
    served = answers(outputs, [items[0], items[2]])
    assert served[0].outputs == served[1].outputs == {"high": 1, "middle": 0}
    for one in (items[1], items[3]):
        with pytest.raises(BadSeparation, match=rf"gave 2 .*\(.*0 to middle.*\); none is left for {one.id}") as refused:
            answers(outputs, [one])
        assert refused.value.status == Status.UNSUPPORTED


class Sources:
    """Knows the three tones of its mixtures, and gives them with leaks, in an order that the mixture sets."""

    name = "sources"
    unordered = True
    batch_size = 1

    def separate_stems(self, mixture: Audio) -> list[Tensor]:
        """As many outputs as there are tones."""
        leaks = torch.tensor([[1.0, 0.6, 0.2], [0.9, 0.5, 0.3], [0.1, 0.4, 0.8]])
        tones = torch.stack([HIGH, LOW, MIDDLE])
        found = torch.einsum("ij,jkt->ikt", leaks, tones)
        return [*found.roll(int(mixture.samples.abs().sum()) % 3, dims=0)]


@pytest.fixture
def mixtures(tmp_path: Path) -> Path:
    """Three items of each of two mixtures of one recording, whose rows alternate, and one of another recording."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, samples in SOUNDS.items():
        audio.write_wav(folder / f"{name}.wav", Audio(samples, RATE))
    for number in range(3):
        audio.write_wav(folder / f"mix{number}.wav", Audio(LOW + MIDDLE + HIGH + noise(0.5, seed=number), RATE))
    rows = [f"{name}-{number},mix{number}.wav,{name},{name}.wav,song" for name in SOUNDS for number in range(2)]
    (folder / "table.csv").write_text(
        "\n".join(["id,mixture,text,target,group", *rows, "alone,mix2.wav,low,low.wav,b"])
    )
    return folder / "table.csv"


def run(mixtures: Path, output: Path, model: Any = Sources, **options: Any) -> sab.Results:
    chosen = {"metrics": ["si_sdr"], "output": output, "progress": False, **options}
    return sab.evaluate(model, str(mixtures), **chosen)


def test_in_a_run_each_output_is_given_once(mixtures: Path, tmp_path: Path) -> None:
    results = run(mixtures, tmp_path / "runs")
    assert results.failures == 0
    assert {row.separator: row.oracle for row in results.rows} == {"sources": True, "mixture": False}
    lines = journal(tmp_path / "runs", "sources")
    for number in range(2):
        own = {line["item"]: line["outputs"] for line in lines.values() if line["item"].endswith(f"-{number}")}
        assert len(own) == 3
        assert all(outputs == own[f"low-{number}"] for outputs in own.values())
        assert set(own) == set(own[f"low-{number}"])
        assert sorted(own[f"low-{number}"].values()) == [0, 1, 2]
    assert set(lines["alone"]["outputs"]) == {"alone"}
    assert all("outputs" not in line for line in journal(tmp_path / "runs", "mixture").values())


@pytest.mark.parametrize("count", [3, 4, 5])
def test_a_run_gives_out_what_permutation_invariant_training_would(count: int, tmp_path: Path) -> None:
    """By torchmetrics: the same permutation, which the journal keeps, and the same mean of the items' SI-SDR."""
    from torchmetrics.functional.audio import permutation_invariant_training as pit
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio as theirs

    sources = torch.cat([0.1 * noise(0.5, seed=number) for number in range(count)])
    leaks = torch.rand(count, count, generator=torch.Generator().manual_seed(count)) + torch.eye(count).roll(1, 0)
    outputs = leaks @ sources / 4
    for number, source in enumerate(sources):
        audio.write_wav(tmp_path / f"{number}.wav", Audio(source[None], RATE))
    audio.write_wav(tmp_path / "mix.wav", Audio(sources.sum(0, keepdim=True), RATE))
    rows = [f"{number},mix.wav,talker {number},{number}.wav,one" for number in range(count)]
    (tmp_path / "table.csv").write_text("\n".join(["id,mixture,text,target,group", *rows]))
    run(tmp_path / "table.csv", tmp_path / "runs", Given(*outputs[:, None]))
    best, (order,) = pit(outputs[None].double(), sources[None].double(), theirs, mode="speaker-wise", eval_func="max")
    expected = {str(number): output for number, output in enumerate(order.tolist())}
    lines = journal(tmp_path / "runs", "given")
    assert all(line["outputs"] == expected for line in lines.values())
    assert len(lines) == count
    found = scores(tmp_path / "runs", "given")
    assert found[found["metric"] == "si_sdr"]["value"].mean() == pytest.approx(float(best[0]), abs=1e-3)


@pytest.mark.bits
def test_whoever_asks_and_in_whatever_parts(mixtures: Path, tmp_path: Path) -> None:
    """Shards split mixtures here: each knows the references of all items of the task."""
    run(mixtures, tmp_path / "whole")
    run(mixtures, tmp_path / "workers", executor="processes", workers=2)
    run(mixtures, tmp_path / "batches", batch_size=4)
    for index in (1, 2):
        run(mixtures, tmp_path / "parts", shard=(index, 2))
    arguments = ["merge", str(tmp_path / "parts"), "--output", str(tmp_path / "merged")]
    assert CliRunner().invoke(group, arguments).exit_code == 0
    for other in ("workers", "batches"):
        assert_equal_runs(tmp_path / "whole", tmp_path / other, "sources")
    assert journal(tmp_path / "merged", "sources") == journal(tmp_path / "whole", "sources")
    merged, kept = (scores(tmp_path / name, "sources").set_index("item")["value"] for name in ("merged", "whole"))
    assert merged.to_dict() == kept.to_dict()
    run(mixtures, tmp_path / "one", sample_ids=("low-1",))
    whole, one = (journal(tmp_path / name, "sources")["low-1"] for name in ("whole", "one"))
    assert one == whole
    header, *rows = mixtures.read_text().splitlines()
    mixtures.write_text("\n".join([header, *rows[::-1]]))
    run(mixtures, tmp_path / "turned")
    assert journal(tmp_path / "turned", "sources") == journal(tmp_path / "whole", "sources")


def test_another_item_of_the_recording_makes_it_anew(mixtures: Path, tmp_path: Path, capfd: Any) -> None:
    """A choice rests on the references of all, so one that changed is one that all of them depend on."""
    run(mixtures, tmp_path / "runs")
    before = journal(tmp_path / "runs", "sources")
    audio.write_wav(mixtures.parent / "more.wav", Audio(0.5 * HIGH + MIDDLE, RATE))
    mixtures.write_text(mixtures.read_text().replace("high-0,mix0.wav,high,high.wav", "high-0,mix0.wav,high,more.wav"))
    run(mixtures, tmp_path / "runs", progress=True)
    after = journal(tmp_path / "runs", "sources")
    kept = {item for item in before if before[item]["fingerprint"] == after[item]["fingerprint"]}
    assert kept == {"alone"}
    assert "or other items of its recording" in capfd.readouterr().err
    of_mixture = journal(tmp_path / "runs", "mixture")
    assert of_mixture["low-0"]["data_sha256"] == after["low-0"]["data_sha256"] == before["low-0"]["data_sha256"]


def test_an_item_that_cannot_be_read_counts_for_no_choice_and_is_told(mixtures: Path, tmp_path: Path) -> None:
    (mixtures.parent / "broken.wav").write_bytes(b"RIFF, and nothing else")
    mixtures.write_text(
        mixtures.read_text().replace("high-0,mix0.wav,high,high.wav", "high-0,mix0.wav,high,broken.wav")
    )
    run(mixtures, tmp_path / "runs")
    assert set(messages(tmp_path / "runs", "sources")) == {"high-0"}
    lines = journal(tmp_path / "runs", "sources")
    assert set(lines["low-0"]["outputs"]) == {"low-0", "middle-0"}
    for item in ("low-0", "middle-0", "low-1"):
        (remark,) = lines[item]["remarks"]
        assert remark.startswith("high-0 is of the same recording, and counts for no choice among outputs: ")
        assert "broken.wav" in remark
    assert "remarks" not in lines["alone"]


def test_what_an_oracle_does_to_other_references_stays_with_it(mixtures: Path, tmp_path: Path) -> None:
    """Only an oracle that says so is shown others, and gets copies of its own."""
    seen: dict[str, set[str]] = {}

    class Spoils:
        name = "spoils"
        wants_others = True

        def separate_oracle(self, items: Sequence[Item], seeds: Sequence[int]) -> list[Separation]:
            (item,) = items
            seen[item.id] = set(item.others)
            assert all(one.samples.any() for one in item.others.values())
            for one in item.others.values():
                one.samples.zero_()
            return [Separation(target=item.query.mixture, residual=item.query.mixture)]

    assert run(mixtures, tmp_path / "runs", Spoils()).failures == 0
    assert seen["low-0"] == {"high-0", "middle-0"}
    assert seen["alone"] == set()
    Spoils.wants_others = False
    seen.clear()
    assert run(mixtures, tmp_path / "without", Spoils()).failures == 0
    assert set(map(frozenset, seen.values())) == {frozenset()}
    Spoils.wants_others = "yes"  # type: ignore[assignment]
    with pytest.raises(UsageError, match="wants_others of spoils to be True or False"):
        prepare_separator(Spoils())


@pytest.mark.parametrize("outputs", [{"a": -1}, {"a": True}, {3: 1}, {"a": 1 << 31}, [0], None])
def test_numbers_of_outputs_that_are_none(outputs: Any) -> None:
    sound = Audio(LOW, RATE)
    with pytest.raises(BadSeparation, match="expected outputs as a mapping from items to numbers from 0"):
        check_estimate(Separation(target=sound, residual=sound, outputs=outputs), query(LOW))
    assert json.loads(
        json.dumps(check_estimate(Separation(target=sound, residual=sound, outputs={"a": 1}), query(LOW)).outputs)
    )
