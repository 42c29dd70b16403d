"""--prompts: the same items in other words, and asked for what they do not have."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import sam_audio_bench as sab
from sam_audio_bench.cli.eval import evaluate
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.run.rescore import rescore
from sam_audio_bench.run.results import Results
from sam_audio_bench.stats.summary import summarise_paraphrases
from sam_audio_bench.tasks import TASKS, TaskData
from sam_audio_bench.tasks.prompts import absent_texts, with_prompts
from sam_audio_bench.tasks.recipes import find_audible_prompts, load_prompt_variants, load_recipes, load_stems
from sam_audio_bench.types import Audio, Item, Prompt, Query

RATE = 8000
GAINS = {"loud dog": 0.5, "a dog": 0.9, "dog": 1.0, "hound": 0.1, "cat": 1.0, "kitten": 0.25}


def attentive(mixture: np.ndarray, rate: int, prompt: Prompt) -> np.ndarray:
    """Gives out more or less of the mixture, as the words say."""
    return mixture * GAINS.get(prompt.text or "", 0.0)


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """Two recordings, each with two items; every item has two paraphrases."""
    generator = np.random.default_rng(0)
    rows = ["mixture,text,target,group,id,paraphrases"]
    for number, (text, others, group) in enumerate(
        [("dog", "a dog|loud dog", "g0"), ("dog", "hound|a dog", "g0"), ("cat", "kitten|cat", "g1")]
    ):
        for name in ("mix", "target"):
            samples = generator.normal(size=2400).astype(np.float32) * 0.1
            soundfile.write(tmp_path / f"{name}{number}.wav", samples, RATE, subtype="FLOAT")
        rows.append(f"mix{number}.wav,{text},target{number}.wav,{group},i{number},{others}")
    path = tmp_path / "animals.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def table_of(texts: dict[str, str], groups: dict[str, str] | None = None) -> TaskData:
    """A task of texts alone; every item is a recording of its own unless ``groups`` says otherwise."""

    def load(identifier: str) -> Item:
        sound = Audio(torch.ones(1, 8), RATE)
        return Item(id=identifier, group="g", query=Query(mixture=sound, prompt=Prompt(text=texts[identifier])))

    return TaskData(
        task="t", version="1", split="file", revision="r", groups=groups or {name: name for name in texts},
        provides=frozenset({"text", "speech", "spans"}), load=load, texts=texts,
    )  # fmt: skip


def test_each_paraphrase_is_a_question_of_its_items_group(animals: Path):
    data = sab.load_task(str(animals), prompts="paraphrase")
    assert data.label == "animals+paraphrase@1-file"
    assert data.ids == ("i0~p0", "i0~p1", "i1~p0", "i1~p1", "i2~p0", "i2~p1")
    assert data.groups["i1~p1"] == "g0"
    assert data["i1~p0"].query.prompt.text == data.texts["i1~p0"] == "hound"
    plain = sab.load_task(str(animals))
    assert torch.equal(data["i1~p0"].query.mixture.samples, plain["i1"].query.mixture.samples)
    assert data["i1~p0"].id == "i1~p0"
    assert data.provides == plain.provides
    assert data.revision != plain.revision
    assert data.ids_sha256 != plain.ids_sha256


def test_a_selection_keeps_the_paraphrases_of_an_item_together(animals: Path):
    data = sab.load_task(str(animals), prompts="paraphrase")
    assert data.select(limit=1).ids == ("i0~p0", "i0~p1")
    assert data.select(shard=(2, 2)).ids == ("i1~p0", "i1~p1")
    assert data.select(ids=["i2"]).ids == ("i2~p0", "i2~p1")
    assert data.select(ids=["i2~p1", "i0"]).ids == ("i0~p0", "i0~p1", "i2~p1")
    with pytest.raises(UsageError, match="did you mean 'i2~p1'"):
        data.select(ids=["i2~p7"])


def test_worst_and_spread_are_those_of_each_items_paraphrases(animals: Path, tmp_path: Path):
    results = sab.evaluate(
        attentive, str(animals), prompts="paraphrase", metrics=["leak_db", "snr", "sd_sdr"], output=tmp_path / "runs"
    )
    frame = results.to_frame()
    mine = frame[(frame["separator"] == "attentive") & (frame["metric"] == "snr")]
    items = mine.assign(asked=mine["item"].str.split("~").str[0]).groupby("asked")["value"]
    rows = {row.task: row for row in results.rows if (row.separator, row.metric) == ("attentive", "snr")}
    assert list(rows) == ["animals+paraphrase", "animals+paraphrase:worst", "animals+paraphrase:spread"]
    mean, worst, spread = rows.values()
    assert mean.value == pytest.approx(mine["value"].mean())
    assert worst.value == pytest.approx(items.min().mean())
    assert spread.value == pytest.approx((items.max() - items.min()).mean())
    assert spread.value > 1
    assert (mean.n, worst.n, spread.n) == (6, 3, 3)
    assert (worst.higher_is_better, spread.higher_is_better, spread.unit) == (True, False, "dB")
    assert worst.label == "animals+paraphrase@1-file, worst paraphrase of each item"
    still = {row.task: row for row in results.rows if (row.separator, row.metric) == ("mixture", "snr")}
    assert still["animals+paraphrase:spread"].value == 0.0
    for form in ("md", "tex", "html"):
        assert "spread over the paraphrases of each item" in results.table(form)
    header = json.loads((results.runs[0] / "run.json").read_text())
    assert (header["task"]["prompts"], header["task"]["id"]) == ("paraphrase", "animals+paraphrase")
    schema = Path(sab.__file__).parent / "run/schemas/run.schema.json"
    jsonschema.validate(header, json.loads(schema.read_text()))
    again = Results.read([tmp_path / "runs"])
    assert again.to_json()["rows"] == results.to_json()["rows"]
    assert rescore(results.runs, metrics=["si_sdr"]).paraphrased == {"animals+paraphrase"}


class _Info:
    unit = "dB"

    def __init__(self, higher_is_better: bool) -> None:
        self.higher_is_better = higher_is_better


def scores(values: dict[str, float | None], **columns: str) -> pd.DataFrame:
    """Scores of paraphrases in one task by one separator."""
    common = {"task": "t+paraphrase", "separator": "s", "picked_by": None, "metric": "m", **columns}
    return pd.DataFrame(
        [
            {**common, "item": item, "group": item[0], "status": "ok" if value is not None else "error", "value": value}
            for item, value in values.items()
        ]
    )


def test_the_worst_knows_the_direction_and_wants_all_paraphrases():
    frame = scores({"a~p0": 1.0, "a~p1": 4.0, "b~p0": 3.0, "b~p1": None, "c~p0": np.inf, "c~p1": 90.0})
    worst, spread = summarise_paraphrases(frame, {"m": _Info(True)})
    assert (worst.value, worst.n_ok, worst.n) == ((1 + 90) / 2, 2, 3)
    assert spread.value == (3 + 10) / 2  # infinite counts as 100 dB
    worst, _ = summarise_paraphrases(frame, {"m": _Info(False)})
    assert worst.value == (4 + 100) / 2
    assert [row.task for row in summarise_paraphrases(frame, {})] == ["t+paraphrase:spread"]


def test_a_failed_answer_is_missing_from_the_line_of_its_picker():
    picked = scores({"a~p0": 1.0, "a~p1": 2.0, "b~p0": 1.0}, picked_by="judge")
    frame = pd.concat([picked, scores({"b~p1": None})])
    worst, _ = summarise_paraphrases(frame, {"m": _Info(True)})
    assert (worst.picked_by, worst.n_ok, worst.n) == ("judge", 1, 2)


def test_the_mini_split_has_three_paraphrases_of_every_text():
    prompts = {recipe.prompt for mixtures in load_recipes().values() for recipe in mixtures}
    assert set(load_prompt_variants()) == prompts
    labels = {stem.label for stem in load_stems().values()}
    for prompt, known in load_prompt_variants().items():
        assert len({text.casefold() for text in (prompt, *known.paraphrases)}) == 4
        assert known.fits <= labels
        assert known.fits
        assert prompt not in labels or prompt in known.fits
    for mixtures in load_recipes().values():
        for recipe in mixtures:
            assert (recipe.prompt in find_audible_prompts(recipe)) == bool(recipe.target), recipe.id
    data = sab.load_task("sfx-span", split="mini", prompts="paraphrase")
    assert len(data) == 3 * len(sab.load_task("sfx-span", split="mini"))
    assert data[data.ids[0]].query.prompt.spans


def test_an_absent_sound_has_silence_for_reference():
    data = sab.load_task("sfx", split="mini", prompts="absent")
    assert data.label == "sfx+absent@1-mini"
    assert data.provides == {"text", "reference", "residual_reference"}
    plain = sab.load_task("sfx", split="mini")
    item, before = data["sfx-03~absent"], plain["sfx-03"]
    assert (item.id, item.group) == ("sfx-03~absent", before.group)
    assert item.query.prompt == Prompt(text=data.texts["sfx-03~absent"])
    assert item.reference is not None
    assert item.residual_reference is not None
    assert not item.reference.samples.any()
    assert torch.equal(item.residual_reference.samples, before.query.mixture.samples)


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if "text" in task.prompt])
def test_no_absent_text_of_the_mini_split_fits_its_mixture(name: str):
    kind = name.removesuffix("-span")
    try:
        data = sab.load_task(name, split="mini", prompts="absent")
    except UsageError:
        assert name in ("music", "music-span", "speech-span")  # all say the same, all have it
        return
    plain = sab.load_task(name, split="mini")
    mixtures = {name + recipe.id.removeprefix(kind): recipe for recipe in load_recipes()[kind]}
    for question, text in data.texts.items():
        item = question.removesuffix("~absent")
        assert text not in find_audible_prompts(mixtures[item])
        assert text in {asked for other, asked in plain.texts.items() if plain.groups[other] != plain.groups[item]}
        assert text != plain.texts[item]
    assert bool(data.notes) == (len(data) < len(plain))


def test_a_leak_tells_false_extraction(animals: Path, tmp_path: Path):
    results = sab.evaluate(attentive, str(animals), prompts="absent", metrics=["leak_db", "snr"], output=tmp_path)
    frame = results.to_frame()
    mine = frame[frame["separator"] == "attentive"].set_index(["metric", "item"])
    assert mine.loc["leak_db", "value"].to_numpy() == pytest.approx([0, 0, 0], abs=1e-5)  # all that was asked came
    assert set(mine.loc["snr", "status"]) == {"silent_reference"}
    assert list(mine.loc["leak_db"].index) == ["i0~absent", "i1~absent", "i2~absent"]


def test_each_mode_has_its_own_folder_ids_and_fingerprints(animals: Path, tmp_path: Path):
    modes = ("given", "paraphrase", "absent")
    runs = [
        sab.evaluate("silence", str(animals), prompts=mode, metrics="leak_db", output=tmp_path / "runs").runs[0]
        for mode in modes
    ]
    assert [path.name for path in runs] == [
        "animals@1-file", "animals+paraphrase@1-file", "animals+absent@1-file",
    ]  # fmt: skip
    records = [json.loads(line) for path in runs for line in (path / "items.jsonl").read_text().splitlines()]
    prints = {record["item"]: record["fingerprint"] for record in records}
    assert len(set(prints.values())) == len(prints) == 3 + 6 + 3


def test_changed_paraphrases_are_other_questions(animals: Path):
    before = sab.load_task(str(animals), prompts="paraphrase").revision
    animals.write_text(animals.read_text().replace("kitten", "pussy-cat"))
    assert sab.load_task(str(animals), prompts="paraphrase").revision != before
    plain = sab.load_task(str(animals))
    changed = replace(plain, paraphrases={"i0": ("other words",)})
    assert with_prompts(changed, "paraphrase").revision != with_prompts(plain, "paraphrase").revision
    assert with_prompts(changed, "paraphrase").notes == ("2 of 3 items left out for want of a stored paraphrase",)


def test_what_cannot_be_asked_is_said(animals: Path):
    data = sab.load_task(str(animals))
    with pytest.raises(Precondition, match="expected stored paraphrases of the texts of animals@1-file, found none"):
        with_prompts(replace(data, paraphrases={}), "paraphrase")
    with pytest.raises(UsageError, match="items have texts for --prompts absent, found none in sfx-visual@1-mini"):
        sab.load_task("sfx-visual", split="mini", prompts="absent")
    with pytest.raises(UsageError, match="surely absent from some of its mixtures, found none"):
        with_prompts(table_of({"a": "a dog barking", "b": "dogs"}), "absent")
    with pytest.raises(UsageError, match="--prompts to be one of given, paraphrase, absent, found 'other'"):
        sab.load_task("sfx", split="mini", prompts="other")


@pytest.mark.parametrize(
    ("one", "other", "clear"),
    [
        ("dog barking", "cat", True),
        ("dog barking", "the dogs", False),
        ("a piano", "a flute", True),
        ("man speaking", "female voice", False),
        ("speech", "vocals", False),
        ("guitar", "Acoustic Guitar", False),
        ("rain", "!", False),
    ],
)
def test_texts_that_share_a_word_may_mean_the_same(one: str, other: str, clear: bool):
    assert absent_texts(table_of({"a": one, "b": other})) == ({"a": other, "b": one} if clear else {})


def test_a_text_of_the_same_recording_is_not_absent():
    data = table_of({"a": "dog", "b": "cat", "c": "dog"}, {"a": "g", "b": "g", "c": "h"})
    assert absent_texts(data) == {"c": "cat"}


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.sampled_from(["dog", "cat", "rain", "piano", "bus"])),
       st.randoms(use_true_random=False))  # fmt: skip
def test_the_choice_depends_on_the_id_and_not_on_the_order(texts: dict[str, str], generator: random.Random):
    shuffled = list(texts.items())
    generator.shuffle(shuffled)
    found = absent_texts(table_of(texts))
    assert found == absent_texts(table_of(dict(shuffled)))
    assert all(text != texts[item] for item, text in found.items())
    assert set(found) == (set(texts) if len(set(texts.values())) > 1 else set())


def test_ten_thousand_texts_are_quick():
    texts = {f"i{number}": f"sound{number % 5000}x voice" for number in range(10_000)}
    assert (
        absent_texts(table_of({name: text.replace(" voice", "") for name, text in texts.items()})).keys()
        == texts.keys()
    )


def test_the_command_takes_the_mode(animals: Path, tmp_path: Path):
    words = [
        "--model",
        "silence",
        "--task",
        str(animals),
        "--metrics",
        "leak_db",
        "--output",
        str(tmp_path / "runs"),
    ]
    done = CliRunner().invoke(evaluate, [*words, "--prompts", "absent", "--json"])
    assert done.exit_code == 0, done.output
    assert {row["task"] for row in json.loads(done.stdout)["rows"]} == {"animals+absent"}
    done = CliRunner().invoke(evaluate, [*words, "--prompts", "paraphrase", "--dry-run"])
    assert "animals+paraphrase@1-file: 6 items" in done.output


def test_files_outside_are_remembered_by_the_run(animals: Path, tmp_path: Path):
    inner = animals.parent / "inner"
    inner.mkdir()
    (inner / "mine.csv").write_text("mixture,text,target\n../mix0.wav,dog,../target0.wav\n")
    options = {"metrics": "snr", "output": tmp_path / "runs"}
    with pytest.raises(UsageError, match="--allow-outside"):
        sab.evaluate("silence", str(inner / "mine.csv"), **options)
    results = sab.evaluate("silence", str(inner / "mine.csv"), allow_outside=True, **options)
    assert rescore(results.runs, metrics=["si_sdr"]).failures == 0
