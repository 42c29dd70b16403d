"""Attributes of items: not part of an identity, kept through all operations on runs, and complete in slices."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from click.testing import CliRunner
from msgspec import structs

import sam_audio_bench as sab
from sam_audio_bench.cli import group
from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.files import write_json
from sam_audio_bench.run.attributes import AttributeTable, join_attributes, write_attributes
from sam_audio_bench.run.measuring import measure_item
from sam_audio_bench.run.merge import merge
from sam_audio_bench.run.rescore import rescore
from sam_audio_bench.run.results import Results
from sam_audio_bench.run.slices import find_slices, worst_items
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.stats.summary import ItemScore
from sam_audio_bench.types import Audio, Item, Prompt, Query

OPTIONS: dict[str, Any] = {"metrics": ("si_sdr", "leak_db"), "progress": False}
Separate = Callable[[torch.Tensor, int, Prompt], torch.Tensor]


def evaluate(task: Path, output: Path, model: Any = "mixture", **options: Any) -> sab.Results:
    return sab.evaluate(model, str(task), output=output, **{**OPTIONS, **options})


def folder_of(output: Path, name: str = "mixture") -> Path:
    return output / name / "small@1-file"


def items_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "items.parquet")


def with_columns(task: Path, **columns: list[str]) -> None:
    """Adds columns to a table."""
    lines = task.read_text().splitlines()
    rows = [",".join([line, *cells]) for line, *cells in zip(lines[1:], *columns.values(), strict=True)]
    task.write_text("\n".join([",".join([lines[0], *columns]), *rows]) + "\n")


def describe(task: Path) -> None:
    """A numeric and a text column, each with one empty cell."""
    with_columns(task, distance=["1", "2.5", "", "4", "5", "6"], scene=["street"] * 3 + ["indoors"] * 2 + [""])


# --- what is measured


def item(target: torch.Tensor, rest: torch.Tensor, rate: int = 8000, **prompt: Any) -> Item:
    sounds = [Audio(one, rate) for one in (target + rest, target, rest)]
    query = Query(mixture=sounds[0], prompt=Prompt(**{"text": "a dog barking", **prompt}))
    return Item(id="x", group="g", query=query, reference=sounds[1], residual_reference=sounds[2])


def test_levels_ratios_and_shares_are_exact() -> None:
    time = torch.arange(16_000) / 8000
    sine = torch.sin(2 * math.pi * 200 * time)
    target, rest = (0.5 * sine * (time < 0.5))[None], (0.5 * sine * (time >= 1))[None]
    found = measure_item(item(target, rest))
    assert found.words == 3
    assert found.mixture_dbfs == pytest.approx(10 * math.log10(0.125 * 1.5 / 2), abs=0.006)
    assert found.snr == pytest.approx(10 * math.log10(0.5), abs=0.006)
    assert found.target_share == pytest.approx(0.25, abs=0.01)
    both = torch.cat([target, target])  # a second channel doubles energy and values alike
    assert measure_item(item(both, torch.cat([rest, rest]))) == found
    full = measure_item(item(sine[None], torch.zeros(1, 16_000)))
    assert (full.mixture_dbfs, full.snr, full.target_share) == (-3.01, None, 1.0)


def test_undefined_values_are_none() -> None:
    silent = torch.zeros(1, 8000)
    found = measure_item(item(silent, silent))
    assert (found.mixture_dbfs, found.snr, found.target_share) == (None, None, 0.0)
    noise = torch.rand(1, 8000)
    query = Query(mixture=Audio(noise, 8000), prompt=Prompt(spans=(("+", 0.0, 0.25), ("+", 0.2, 0.5), ("-", 0.6, 1.0))))
    asked = measure_item(Item(id="x", group="g", query=query))
    assert (asked.words, asked.snr, asked.target_share) == (None, None, 0.5)
    broken = noise.clone()
    broken[0, 0] = math.nan
    assert measure_item(item(broken, noise)).target_share is None


def test_measured_ratio_of_mini_equals_that_of_its_recipe() -> None:
    from sam_audio_bench.tasks.recipes import load_recipes

    data = sab.load_task("sfx", split="mini")
    for recipe in load_recipes()["sfx"][:3] + load_recipes()["sfx"][-1:]:
        assert measure_item(data[recipe.id]).snr == recipe.target_to_rest_db
        assert data.attributes_of(recipe.id)["sources"] == len(recipe.target) + len(recipe.others)


# --- in no identity


def test_an_added_column_keeps_every_estimate_and_score(small_task: Path, tmp_path: Path) -> None:
    evaluate(small_task, tmp_path / "runs", "hpss")
    folder = folder_of(tmp_path / "runs", "hpss")
    journal, scores = RunFolder.open(folder).items, (folder / "scores.parquet").read_bytes()
    audio = {path: path.stat().st_mtime_ns for path in (folder / "audio").iterdir()}
    assert "scene" not in items_of(folder)
    describe(small_task)
    again = evaluate(small_task, tmp_path / "runs", "hpss")
    assert RunFolder.open(folder).items == journal, "with the seconds that each answer took"
    assert (folder / "scores.parquet").read_bytes() == scores
    assert {path: path.stat().st_mtime_ns for path in (folder / "audio").iterdir()} == audio
    assert items_of(folder)["scene"].fillna("").tolist() == ["street"] * 3 + ["indoors"] * 2 + [""]
    assert items_of(folder)["distance"].dropna().tolist() == [1, 2.5, 4, 5, 6]
    assert {row.slice for row in again.by("scene").rows} == {"scene = street", "scene = indoors", "scene not known"}


def test_a_changed_cell_keeps_every_score_and_is_updated(small_task: Path, tmp_path: Path) -> None:
    describe(small_task)
    evaluate(small_task, tmp_path / "runs")
    scores = (folder_of(tmp_path / "runs") / "scores.parquet").read_bytes()
    small_task.write_text(small_task.read_text().replace("indoors", "kitchen"))
    evaluate(small_task, tmp_path / "runs")
    assert (folder_of(tmp_path / "runs") / "scores.parquet").read_bytes() == scores
    assert set(items_of(folder_of(tmp_path / "runs"))["scene"].dropna()) == {"street", "kitchen"}


# --- whole


def test_merged_shards_equal_one_run(small_task: Path, tmp_path: Path) -> None:
    describe(small_task)
    evaluate(small_task, tmp_path / "whole")
    for index in (1, 2, 3):
        evaluate(small_task, tmp_path / "parts", shard=(index, 3))
    merge([tmp_path / "parts" / "mixture"], tmp_path / "merged")
    expected = items_of(folder_of(tmp_path / "whole"))
    pd.testing.assert_frame_equal(items_of(tmp_path / "merged")[expected.columns], expected)
    assert (
        Results.read([tmp_path / "parts"]).by("scene").to_json()["rows"]
        == Results.read([tmp_path / "merged"]).by("scene").to_json()["rows"]
    )


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_attributes_are_copied_to_urls_and_read_from_there(scheme: str, small_task: Path, tmp_path: Path) -> None:
    describe(small_task)
    url = (tmp_path / "there").as_uri() if scheme == "file" else f"memory://{tmp_path.name}/runs"
    here = evaluate(small_task, tmp_path / "runs", copy_to=url)
    there = Results.read([url])
    assert there.by("distance", [3]).rows == here.by("distance", [3]).rows
    assert find_slices([url]).notes == find_slices([tmp_path / "runs"]).notes


def test_an_interrupted_run_continues_with_attributes_of_all_items(small_task: Path, tmp_path: Path) -> None:
    describe(small_task)
    left = 3

    def stopping(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return mixture

    with pytest.raises(KeyboardInterrupt):
        evaluate(small_task, tmp_path / "runs", stopping)
    folder = folder_of(tmp_path / "runs", "stopping")
    lines = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    assert lines
    assert all("measured" in line for line in lines), "kept from the moment in which the item is"
    with pytest.raises(Precondition, match=r"or was not finished; `sabench score .* --changed`"):
        Results.read([folder]).by("scene")
    rescore([folder], changed=True, progress=False)
    assert {row.slice for row in Results.read([folder]).by("scene").rows} == {"scene = street"}, "as the message says"
    evaluate(small_task, tmp_path / "runs", "mixture")
    expected = items_of(folder_of(tmp_path / "runs"))
    left = -1
    evaluate(small_task, tmp_path / "runs", stopping)
    pd.testing.assert_frame_equal(items_of(folder), expected)


def make_old(folder: Path) -> None:
    """Turns a run folder into one from before attributes were stored."""
    (folder / "items.parquet").unlink()
    opened = RunFolder.open(folder)
    write_json(folder / "run.json", {**json.loads((folder / "run.json").read_text()), "items_sha256": None})
    lines = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    for line in lines:
        del line["measured"]
    (folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert structs.asdict(opened.header)["items_sha256"]


def test_an_older_run_gets_attributes_without_new_scores(
    small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe(small_task)
    evaluate(small_task, tmp_path / "runs")
    folder = folder_of(tmp_path / "runs")
    expected, scores = items_of(folder), (folder / "scores.parquet").read_bytes()
    make_old(folder)
    assert Results.read([folder]).rows, "all else is read as ever"
    with pytest.raises(
        Precondition, match=rf"is from before they were kept.*; `sabench score {folder} --changed` writes"
    ):
        Results.read([folder]).by("scene")
    monkeypatch.setattr("sam_audio_bench.run.scoring.Scorer.score", None)  # which no item needs
    rescore([folder], changed=True, progress=False)
    pd.testing.assert_frame_equal(items_of(folder), expected)
    assert (folder / "scores.parquet").read_bytes() == scores
    before = (folder / "run.json").read_bytes()
    rescore([folder], changed=True, progress=False)
    assert (folder / "run.json").read_bytes() == before, "nothing is left to do"


def test_a_table_that_was_not_sealed_is_refused(small_task: Path, tmp_path: Path) -> None:
    evaluate(small_task, tmp_path / "runs")
    path = folder_of(tmp_path / "runs") / "items.parquet"
    sealed = path.read_bytes()
    items_of(path.parent).assign(snr=99.0).to_parquet(path)
    with pytest.raises(
        StoreError, match=r"expected the attributes of the run at .*found another table; `sabench score"
    ):
        Results.read([tmp_path / "runs"]).by("snr")
    path.write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"expected the attributes of the run at"):
        Results.read([tmp_path / "runs"]).by("snr")
    path.unlink()
    with pytest.raises(StoreError, match=r"found none that can be read"):
        Results.read([tmp_path / "runs"]).by("snr")
    rescore([tmp_path / "runs"], changed=True, progress=False)
    assert path.read_bytes() == sealed, "as the message says"


def test_a_removed_attribute_is_updated(small_task: Path, tmp_path: Path) -> None:
    """Metadata of official data may be corrected without a new revision."""
    describe(small_task)
    evaluate(small_task, tmp_path / "runs")
    folder = folder_of(tmp_path / "runs")
    expected, opened = (folder / "items.parquet").read_bytes(), RunFolder.open(folder)
    digest = write_attributes(folder, opened.items, list(opened.items), lambda item: {"scene": "somewhere"})
    write_json(folder / "run.json", {**json.loads((folder / "run.json").read_text()), "items_sha256": digest})
    assert set(items_of(folder)["scene"]) == {"somewhere"}
    rescore([folder], changed=True, progress=False)
    assert (folder / "items.parquet").read_bytes() == expected


def test_runs_with_different_values_are_refused(small_task: Path, tmp_path: Path) -> None:
    evaluate(small_task, tmp_path / "runs")
    items = RunFolder.open(folder_of(tmp_path / "runs")).items
    tables = []
    for number, scene in enumerate(("street", "street", "home")):
        (tmp_path / str(number)).mkdir()
        said = {"scene": scene, "snr": 1.0 + 0.01 * (number == 1), **({"only": "here"} if number else {})}
        digest = write_attributes(tmp_path / str(number), items, list(items), lambda item, said=said: said)  # type: ignore[misc]
        tables.append(AttributeTable(tmp_path / str(number), "small", digest))
    joined = join_attributes(tables[:2])
    assert joined["small", "item-0"]["only"] == "here"
    assert joined["small", "item-0"]["snr"] == 1.0, "what another machine rounds to the digit beside is the same"
    with pytest.raises(UsageError, match=r"expected scene of item-0 of small to be street .*found home: "):
        join_attributes(tables)


# --- slices of results


def test_every_item_counts_in_exactly_one_slice(small_task: Path, tmp_path: Path) -> None:
    describe(small_task)
    (small_task.parent / "mix1.wav").unlink()  # an item without an estimate belongs to its slice too
    whole = evaluate(small_task, tmp_path / "runs", ["hpss", "mixture"])
    for name, points in (("scene", ()), ("distance", ()), ("distance", [3, 4.5]), ("snr", [0]), ("words", ())):
        found = whole.by(name, points)
        for row in whole.rows:
            parts = [one for one in found.rows if (one.separator, one.metric) == (row.separator, row.metric)]
            assert sum(part.n for part in parts) == row.n
            assert sum(part.n_ok for part in parts) == row.n_ok
            mean = sum((part.value or 0) * part.n_ok for part in parts) / row.n_ok
            assert mean == pytest.approx(row.value)
        assert found.to_frame().drop(columns="slice").equals(whole.to_frame())
        assert found.to_frame()["slice"].notna().all()


def test_slices_in_every_format(small_task: Path, tmp_path: Path) -> None:
    describe(small_task)
    found = evaluate(small_task, tmp_path / "runs").by("distance", [3])
    text = found.table("md")
    for heading in ("distance &lt; 3: 2 of 6 items", "distance ≥ 3: 3 of 6 items", "distance not known: 1 of 6 items"):
        assert text.count(f"small@1-file, {heading}") == 1
    assert {row["slice"] for row in found.to_json()["rows"]} == {"distance < 3", "distance ≥ 3", "distance not known"}
    assert found.table("csv").count("distance ≥ 3") >= 1
    tex = found.table("tex")
    assert r"distance $\geq$ 3: 3 of 6 items" in tex
    assert tex.isascii()
    assert "slice" not in evaluate(small_task, tmp_path / "runs").to_frame()


def test_an_unknown_attribute_names_the_known_ones(small_task: Path, tmp_path: Path) -> None:
    results = evaluate(small_task, tmp_path / "runs")
    with pytest.raises(UsageError, match=r"\(mixture_dbfs, seconds, snr, target_share, words\), found 'loudness'"):
        results.by("loudness")


def test_paraphrases_have_the_attributes_of_their_item_and_words_of_their_own(small_task: Path, tmp_path: Path) -> None:
    describe(small_task)
    with_columns(small_task, paraphrases=["one|two words"] * 6)
    results = evaluate(small_task, tmp_path / "runs", prompts="paraphrase")
    rows = [row for row in results.by("words").rows if row.metric == "si_sdr"]
    assert [(row.slice, row.n) for row in rows] == [("words = 1", 6), ("words = 2", 6)]
    scenes = {row.slice: row.n for row in results.by("scene").rows if row.metric == "si_sdr"}
    assert scenes == {"scene = street": 6, "scene = indoors": 4, "scene not known": 2}


# --- who is best in a slice


def keep_a_half(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
    """The half of time that has the target in a street, and the other one in a room."""
    kept, half = mixture.clone(), mixture.shape[-1] // 2
    kept[..., half:] *= 0.3 if prompt.text == "street" else 1
    kept[..., :half] *= 1 if prompt.text == "street" else 0.3
    return kept


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Sixteen items whose target sounds in the first half, half of them in a street."""
    folder, rng = tmp_path / "small", np.random.default_rng(0)
    folder.mkdir()
    lines = ["mixture,text,target,place"]
    for index in range(16):
        target, rest = rng.normal(size=(2, 2400)).astype(np.float32) * 0.1
        target[1200:], rest[:1200] = 0, 0
        for name, samples in (("mix", target + rest * rng.uniform(0.5, 2)), ("target", target)):
            soundfile.write(folder / f"{name}{index}.wav", samples, 8000, subtype="FLOAT")
        place = "street" if index % 2 else "room"
        lines.append(f"mix{index}.wav,{place},target{index}.wav,{place}")
    (folder / "small.csv").write_text("\n".join(lines) + "\n")
    return folder / "small.csv"


def test_each_slice_has_the_verdict_of_its_items_alone(places: Path, tmp_path: Path) -> None:
    metrics = ("si_sdr", "snr_i")
    whole = evaluate(places, tmp_path / "runs", [keep_a_half, "mixture"], metrics=metrics)
    found = whole.by("place")
    answers = found.answers()
    assert answers.overall == ()
    slices = {part.label: part.items for part in found.slices["small"]}
    assert set(answers.verdicts) == {(f"small, {label}", metric) for label in slices for metric in metrics}
    for label, items in slices.items():
        alone = replace(whole, frame=whole.frame[whole.frame["item"].isin(items)]).answers().verdicts
        for metric in metrics:
            own = answers.verdicts[f"small, {label}", metric]
            assert own.slice == label
            assert replace(own, slice="") == alone["small", metric]


def test_a_table_has_verdicts_per_slice_and_none_over_all(places: Path, tmp_path: Path) -> None:
    found = evaluate(places, tmp_path / "runs", [keep_a_half, "mixture"]).by("place")
    text = found.table("md", metrics=["si_sdr"], digits=1, interval=False)
    room, street = text.split("### ")[1:]
    assert text.startswith("### "), "no sentence over all"
    assert ("room" in room.splitlines()[0], "street" in street.splitlines()[0]) == (True, True)
    assert "keep_a_half is surely better than the mixture, by" in street
    assert "keep_a_half is surely worse than the mixture, by" in room
    assert "| keep_a_half † |" in room
    assert "| keep_a_half | **" in street
    assert "(paired, Holm in each slice, 5 %)" in text
    assert "[" not in "".join(line for line in text.splitlines() if line.startswith("|")), "no interval"
    told = found.to_json()
    assert (told["answer"], told["overall"]) == ("", [])
    better = {(one["task"], one["slice"]): one["surely_better"] for one in told["verdicts"]}
    assert better == {("small", "place = room"): [], ("small", "place = street"): ["keep_a_half"]}


def test_slices_are_columns_or_rows_of_a_transposed_table(places: Path, tmp_path: Path) -> None:
    found = evaluate(places, tmp_path / "runs", [keep_a_half, "mixture"]).by("place")
    by_metric = found.table("md", pivot="metric", interval=False)
    heads, _, *lines = (line for line in by_metric.split("### si_sdr ")[1].splitlines() if line.startswith("|"))
    assert heads == "| separator | small@1-file, place = room ▾ | small@1-file, place = street |"
    values = {(row.separator, row.slice): row.value for row in found.rows if row.metric == "si_sdr"}
    for line in lines:
        name, *cells = (cell.strip("* ") for cell in line.strip("|").split("|"))
        own = [values[name, f"place = {place}"] for place in ("room", "street")]
        assert [float(cell) for cell in cells] == pytest.approx(own, abs=0.006)
    assert "surely better than the mixture" not in by_metric, "a sentence or mark of one slice would seem one of all"
    by_separator = found.table("md", pivot="separator", metrics=["si_sdr"], sort="si_sdr").split("### ")
    lines = [line.split("|")[1].strip() for line in by_separator[1].splitlines() if line.startswith("| small")]
    assert lines == ["small@1-file, place = street", "small@1-file, place = room †"]


def test_figures_of_runs_are_of_all_items(places: Path, tmp_path: Path) -> None:
    found = evaluate(places, tmp_path / "runs")
    found.plot("bars", "si_sdr")
    with pytest.raises(UsageError, match="expected results of all items to draw, found slices"):
        found.by("place").plot("bars", "si_sdr")


# --- where a separator fails


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Twenty items, half of them in a street, where the residual is three times as loud."""
    folder, rng = tmp_path / "small", np.random.default_rng(0)
    folder.mkdir()
    lines = ["mixture,text,target,id,scene"]
    for index in range(20):
        target, rest = rng.normal(size=(2, 2400)).astype(np.float32) * 0.1
        rest *= (3 if index % 2 else 1) * rng.uniform(0.8, 1.2)
        for name, samples in (("mix", target + rest), ("target", target)):
            soundfile.write(folder / f"{name}{index}.wav", samples, 8000, subtype="FLOAT")
        lines.append(f"mix{index}.wav,noise,target{index}.wav,item-{index},{'street' if index % 2 else 'room'}")
    (folder / "small.csv").write_text("\n".join(lines) + "\n")
    return folder / "small.csv"


def test_the_slice_that_is_worse_is_named_first_with_its_worst_items(scenes: Path, tmp_path: Path) -> None:
    evaluate(scenes, tmp_path / "runs")
    found = find_slices([tmp_path / "runs"], metric="si_sdr", worst=3)
    sure = [row.slice for row in found.rows if row.is_surely_worse()]
    assert "scene = street" in sure
    assert "scene = room" not in sure
    street = next(row for row in found.rows if row.slice == "scene = street")
    assert street.difference == pytest.approx(-9.5, abs=2)
    assert street.difference_high is not None
    assert street.difference_high < 0
    assert found.rows[0].difference == min(row.difference for row in found.rows if row.difference is not None)
    table = next(row for row in Results.read([tmp_path / "runs"]).by("scene").rows if row.slice == "scene = street")
    assert (table.value, table.ci_low, table.ci_high) == (street.mean, street.low, street.high), "as the table has it"
    scores = Results.read([tmp_path / "runs"]).to_frame().query("metric == 'si_sdr'").set_index("item")["value"]
    assert [one.item for one in found.worst] == scores.sort_values().index[:3].tolist()
    assert all(one.audio is not None and one.audio.is_file() for one in found.worst)
    assert all("scene = street" in one.slices for one in found.worst)
    assert any("words does not part the items" in text for text in found.notes)


def test_a_figure_of_slices_in_python_is_that_of_the_command(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(scenes, tmp_path / "runs", metrics=("si_sdr", "snr"))
    results = Results.read(tmp_path / "runs")
    figure = results.plot("slices", "si_sdr")
    assert "Not compared: small: " in figure.caption
    assert "small: words does not part the items" in figure.caption
    files = figure.save(tmp_path / "here", themes=("light", "dark"))
    opened: list[Path] = []
    read = RunFolder.open.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(RunFolder, "open", classmethod(lambda kind, path: (opened.append(path), read(kind, path))[1]))
    words = ["plot", str(tmp_path / "runs"), "--kind", "slices", "--metric", "all", "--theme", "both"]
    done = CliRunner().invoke(group, [*words, "--out", str(tmp_path / "there")])
    assert done.exit_code == 0, done.output
    assert len(opened) == 1, "of one run, drawn by two metrics"
    assert [(tmp_path / "there" / path.name).read_bytes() for path in files] == [path.read_bytes() for path in files]
    assert {path.name for path in (tmp_path / "there").glob("*.csv")} == {
        "slices-small-si_sdr.csv",
        "slices-small-snr.csv",
    }
    assert results.plot("slices", task="small").name == "slices-small-si_sdr"
    assert results.plot("bars", task="small").data.equals(results.plot("bars").data)
    with pytest.raises(UsageError, match="expected one metric for slices, found 2"):
        results.plot("slices", ("si_sdr", "snr"))
    with pytest.raises(UsageError, match="unknown kind of figure 'slice': did you mean 'slices'"):
        results.plot("slice")
    with pytest.raises(UsageError, match="unknown task of these runs 'smal': did you mean 'small'"):
        results.plot("slices", task="smal")


def test_one_of_several_tasks_must_be_named(scenes: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes.parent, tmp_path / "copied")
    other = (tmp_path / "copied" / "small.csv").rename(tmp_path / "copied" / "other.csv")
    for path in (scenes, other):
        evaluate(path, tmp_path / "runs")
    results = Results.read(tmp_path / "runs")
    with pytest.raises(UsageError, match="expected a task whose slices to draw, of other, small; name it with task="):
        results.plot("slices")
    figure = results.plot("slices", "si_sdr", task="other")
    assert (figure.name, set(figure.data["task"])) == ("slices-other-si_sdr", {"other"})
    report = find_slices([tmp_path / "runs"], metric="si_sdr")
    p = {row.slice: row.p_holm for row in report.rows if row.task == "other"}
    assert dict(zip(figure.data["slice"], figure.data["p_holm"], strict=True)) == p, "by Holm over both tasks"
    assert set(results.plot("bars", task="other").data["task"]) == {"other"}


def test_an_item_is_the_worst_by_its_score_and_then_its_name() -> None:
    scores = {name: ItemScore("g", value, None) for name, value in zip("dcba", [1.0, 0.0, 0.0, None], strict=True)}
    assert list(worst_items(scores, higher_is_better=True, most=2)) == ["b", "c"]
    assert worst_items(scores, higher_is_better=False, most=1) == {"d": 1.0}
    assert list(worst_items(scores, higher_is_better=True, most=5, within=["d", "c", "a"])) == ["c", "d"]
    equal = {name: ItemScore("g", 0.0, None) for name in "ab"}
    assert worst_items(equal, higher_is_better=True, most=5) == {}, "the mixture by an improvement"


def test_few_recordings_are_reported_and_not_tested(small_task: Path, tmp_path: Path) -> None:
    describe(small_task)
    evaluate(small_task, tmp_path / "runs")
    found = find_slices([tmp_path / "runs"], metric="si_sdr")
    assert found.rows == ()
    assert "small: scene is not tested, as none of its 2 slices has 5 recordings" in found.notes
    assert "small: scene is not known of 1 of 6 items, which are left out" in found.notes
    with pytest.raises(UsageError, match=r"expected a metric of these runs \(si_sdr, leak_db\), found 'sdr'"):
        find_slices([tmp_path / "runs"], metric="sdr")


def test_only_chosen_attributes_are_tested_at_the_given_thresholds(scenes: Path, tmp_path: Path) -> None:
    evaluate(scenes, tmp_path / "runs")
    found = find_slices([tmp_path / "runs"], metric="si_sdr", by={"scene": (), "snr": (-5.0, 40.0)})
    assert {row.slice for row in found.rows} == {"scene = street", "scene = room", "snr < −5", "−5 ≤ snr < 40"}
    everything = find_slices([tmp_path / "runs"], metric="si_sdr")
    (one,), (all_of_them,) = (
        [row for row in report.rows if row.slice == "scene = street"] for report in (found, everything)
    )
    assert one.difference == all_of_them.difference
    assert len(found.rows) < len(everything.rows)
    with pytest.raises(UsageError, match=r"expected attributes of these items \(.*scene.*\), found 'sceen'"):
        find_slices([tmp_path / "runs"], by={"sceen": ()})
