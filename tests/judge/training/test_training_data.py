"""Recipes, tables, archives, splits, batches: what is refused, and that both kinds of input become the same."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from sam_audio_bench.errors import MediaError, Precondition, StoreError, UsageError
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.judge.training.batches import equal_batches, plan_epoch
from sam_audio_bench.judge.training.examples import COLUMNS, Examples
from sam_audio_bench.judge.training.recipe import Optimizer, read_recipe, recipe_of
from sam_audio_bench.judge.training.shards import read_shards
from sam_audio_bench.judge.training.splits import check_leakage, split
from sam_audio_bench.judge.training.tables import read_examples, read_ratings

RECIPES = Path(__file__).parents[3] / "judge" / "recipes"


def test_a_recipe_reads_back(recipe: dict[str, Any]) -> None:
    found = recipe_of(recipe)
    assert recipe_of(json.loads(json.dumps(found.plain()))) == found
    assert found.optimizer == Optimizer(epochs=6, max_frames=60, learning_rate=0.01, ema=0.9)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_of_the_repository_are_read(path: Path) -> None:
    assert read_recipe(path).name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimiser": {}}, "unknown key 'optimiser' in the recipe: did you mean 'optimizer'?"),
        ({"optimizer": {"learning_rte": 1}}, r"'learning_rte' in \[optimizer\] .* mean 'learning_rate'"),
        ({"optimizer": {"epochs": 1.5}}, "expected optimizer.epochs to be int"),
        ({"optimizer": {"epochs": 0}}, "expected optimizer.epochs between 1"),
        ({"train": ["heads"]}, "expected train among .* found 'heads'; did you mean 'head'"),
        ({"init": "x"}, "expected either init"),
        ({"data": {}}, "expected data.train"),
        ({"loss": {"axes": [1, 2]}}, "expected 4 weights"),
        ({"calibration": "affine"}, "expected calibration among"),
        ({"data": "x"}, "expected a table"),
    ],
)  # fmt: skip
def test_impossible_recipes_are_refused(recipe: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe_of({**recipe, **change})


def test_a_recipe_is_changed_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('init = "x"\n[data]\ntrain = "a"\n')
    found = read_recipe(path, ["optimizer.epochs=3", "name=other", 'data.valid=["b", "c"]'])
    assert (found.optimizer.epochs, found.name, found.data.train, found.data.valid) == (3, "other", ("a",), ("b", "c"))
    with pytest.raises(UsageError, match="expected a change"):
        read_recipe(path, ["epochs"])
    with pytest.raises(Precondition, match="expected a recipe"):
        read_recipe(tmp_path / "none.toml")
    path.write_text("= 3")
    with pytest.raises(UsageError, match="expected TOML"):
        read_recipe(path)


def test_archives_become_rows(shards: Path) -> None:
    found = read_shards(shards)
    assert list(found.rows) == list(COLUMNS)
    assert (len(found), found.rows["query"].nunique(), found.simulated) == (80, 16, True)
    first = found.rows.iloc[0]
    assert first["overall"] == 5
    assert first["system"] == "ideal"
    assert first["item"] == "0000"
    wave = found.clips[first["answer"]].read_mono(16_000, 10)
    assert len(wave) == 3840
    assert wave.abs().max() == pytest.approx(0.3, abs=0.01)
    assert len(found.clips[first["answer"]].read_mono(16_000, 0.1)) == 1600


def rewrite(source: Path, target: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> Path:
    """Copies an archive member by member."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old:
            content = old.extractfile(member)
            assert content is not None
            found = change(member.name, content.read())
            if found is not None:
                member.name, member.size = found[0], len(found[1])
                new.addfile(member, io.BytesIO(found[1]))
    return target


def facts(change: dict[str, Any]) -> Callable[[str, bytes], tuple[str, bytes]]:
    return lambda name, data: (name, json.dumps(json.loads(data) | change).encode() if name.endswith("json") else data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, data: (f"../{name}", data), "expected members KEY.json"),
        (lambda name, data: (f"a/{name}", data), "expected members KEY.json"),
        (lambda name, data: (name.replace("target.flac", "target.py"), data), "expected members KEY.json"),
        (lambda name, data: None if name.endswith("mixture.flac") else (name, data), "0000.mixture.flac in"),
        (lambda name, data: None if ".2." in name else (name, data), "which a row rates, found none"),
        (lambda name, data: (name, b"{" if name.endswith("json") else data), "to describe ratings"),
        (facts({"rows": [{"target": 0, "text": "a", "system": "b", "scores": {"overall": 6}}]}), "greater than"),
        (facts({"rows": [{"target": 0, "text": "a", "system": "b", "scores": {"mos": 3}}]}), "Additional properties"),
        (facts({"key": "other"}), "expected key '0000' in .*, found 'other'"),
        (facts({"rows": []}), "found no row"),
    ],
)  # fmt: skip
def test_damaged_archives_are_refused(shards: Path, tmp_path: Path, change: Any, message: str) -> None:
    path = rewrite(shards / "shard-00000.tar", tmp_path / "shard-00000.tar", change)
    with pytest.raises(StoreError, match=message):
        read_shards(path)


def test_truncated_archives_and_clips_are_refused(shards: Path, tmp_path: Path) -> None:
    content = (shards / "shard-00000.tar").read_bytes()
    path = tmp_path / "a.tar"
    path.write_bytes(b"no archive" * 100)
    with pytest.raises(StoreError, match="expected a whole tar file"):
        read_shards(path)
    path.write_bytes(content)
    found = read_shards(path)
    path.write_bytes(content[:2000])
    with pytest.raises(MediaError, match="damaged"):
        found.clips[-1].read_mono(16_000, 10)
    with pytest.raises(Precondition, match="expected a table of ratings"):
        read_examples(tmp_path / "none")


def test_a_table_becomes_rows_of_means(table: Path) -> None:
    found = read_examples(table)
    assert len(found) == 40
    assert set(found.rows["raters"]) == {2.0}
    assert not found.simulated
    ideal = found.rows[(found.rows["item"] == "item-1") & (found.rows["system"] == "ideal")].iloc[0]
    assert ideal["overall"] == pytest.approx(4.9)
    assert ideal["spans"] == "+0.1:0.2"
    assert ideal["query"] == "item-1/rain/+0.1:0.2"
    assert ideal["group"] == "g0"


def test_wide_tables_scales_and_directions(table: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(table)
    wide = frame[frame["rater"] == "ann"].pivot_table(
        index=["mixture", "target", "text"], columns="axis", values="score"
    ).reset_index()  # fmt: skip
    wide.to_csv(table.parent / "wide.csv", index=False)
    ours = read_ratings(table.parent / "wide.csv")
    assert len(ours) == 40
    assert set(ours.rows["system"]) == {"all"}
    assert ours.rows["group"].nunique() == 8
    from sam_audio_bench.ratings.table import Ratings

    percent = frame.assign(score=(frame["score"] - 1) * 25)
    Ratings(frame=percent, scale=(0, 100)).write(table.parent / "percent.parquet")
    Ratings(frame=percent.assign(score=100 - percent["score"]), scale=(0, 100), direction="lower").write(
        table.parent / "worse.parquet"
    )
    reference = read_ratings(table).rows[list(AXES)]
    for name in ("percent", "worse"):
        np.testing.assert_allclose(read_ratings(table.parent / f"{name}.parquet").rows[list(AXES)], reference)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="target"), "found no target"),
        (lambda frame: frame.assign(score=frame["score"] + 3), "expected scores between 1 and 5"),
        (lambda frame: frame.assign(mixture="none.wav"), "found no .*none.wav"),
        (lambda frame: frame.assign(axis="beauty"), "an axis among overall"),
        (lambda frame: frame.drop(columns=["text", "spans"]), "found no text, spans or video"),
    ],
)  # fmt: skip
def test_impossible_tables_are_refused(table: Path, change: Any, message: str) -> None:
    path = table.parent / "changed.parquet"
    change(pd.read_parquet(table)).to_parquet(path)
    with pytest.raises(UsageError, match=message):
        read_ratings(path)


def test_tables_and_archives_of_the_same_estimates_agree(shards: Path, tmp_path: Path) -> None:
    ours = read_shards(shards)
    records = []
    for row in ours.rows.itertuples():
        for place in (row.mixture, row.answer):
            wave = ours.clips[place].read_mono(16_000, 10).numpy()
            soundfile.write(tmp_path / f"{place}.wav", wave, 16_000, subtype="FLOAT")
        records.append({"mixture": f"{row.mixture}.wav", "target": f"{row.answer}.wav", "text": row.text,
                        "item": row.item, "group": row.group, "system": row.system, "domain": row.domain,
                        **{axis: getattr(row, axis) for axis in AXES}})  # fmt: skip
    pd.DataFrame(records).to_csv(tmp_path / "table.csv", index=False)
    theirs = read_ratings(tmp_path / "table.csv")
    shown = ["query", "item", "group", "system", "domain", "text", *AXES, "raters"]
    pd.testing.assert_frame_equal(
        *(one.rows[shown].sort_values(["query", "system"]).reset_index(drop=True) for one in (ours, theirs))
    )
    row = ours.rows.iloc[3]
    other = theirs.rows[(theirs.rows["query"] == row["query"]) & (theirs.rows["system"] == row["system"])].iloc[0]
    np.testing.assert_array_equal(
        ours.clips[row["answer"]].read_mono(16_000, 9), theirs.clips[other["answer"]].read_mono(16_000, 9)
    )


def test_splits_leave_nothing_in_common(shards: Path) -> None:
    examples = read_shards(shards)
    learned, held = split(examples, groups=0.4, systems=["muffled"], seed=1)
    assert not set(learned.rows["group"]) & set(held.rows["group"])
    assert "muffled" not in set(learned.rows["system"])
    assert set(held.rows["system"]) == {"muffled"}
    check_leakage(learned, held, ["muffled"])
    again, _ = split(examples.only(examples.rows["domain"] == "sfx"), groups=0.4, seed=1)
    assert set(again.rows["group"]) <= set(learned.rows["group"])  # more data move no recording
    with pytest.raises(UsageError, match=r"expected data\.hold_out_systems among ideal"):
        split(examples, groups=0.4, systems=["spleeter"])
    with pytest.raises(UsageError, match="found 80 and 0"):
        split(examples, groups=0.0)


def test_what_is_left_out_is_counted(shards: Path, table: Path) -> None:
    examples = read_shards(shards)
    assert not examples.dropped
    numbers = examples.rows["group"].str[1:].astype(int)
    mixed = replace(examples, rows=examples.rows.assign(group=[f"g{one} & g{(one + 1) % 8}" for one in numbers]))
    learned, held = split(mixed, groups=0.5, systems=["muffled"], seed=1)
    assert not held.dropped
    assert len(learned) + len(held) + sum(learned.dropped.values()) == len(mixed)
    assert [reason.split()[0:2] for reason in learned.dropped] == [
        ["answers", "to"],
        ["answers", "of"],
        ["answers", "of"],
    ]
    whole, part = split(examples, groups=0.4, seed=1)
    assert not whole.dropped
    assert len(whole) + len(part) == len(examples)
    frame = pd.read_parquet(table)
    frame.loc[frame["axis"] == "recall", "axis"] = "beauty"
    frame.loc[:2, "score"] = np.nan
    path = table.parent / "gaps.csv"
    frame.to_csv(path, index=False)
    found = read_examples(path)
    assert found.dropped == {
        "ratings without a score": 3,
        "ratings of beauty, which a judge does not have as axes": int((frame["axis"] == "beauty")[3:].sum()),
    }
    assert Examples.concatenate([found, examples]).dropped == found.dropped
    wrong = replace(examples, rows=examples.rows.assign(kind=["intended", "wrong"] * (len(examples) // 2)))
    assert wrong.without_texts().dropped == {"answers rated for a prompt that was not meant": len(examples) // 2}


def test_without_texts_only_intended_prompts_are_left(shards: Path) -> None:
    examples = read_shards(shards)
    rows = examples.rows.assign(kind=["intended", "wrong"] * (len(examples) // 2))
    found = replace(examples, rows=rows).without_texts()
    assert len(found) == len(examples) // 2
    assert set(found.rows["text"]) == {""}
    assert set(found.rows["kind"]) == {"intended"}
    listened = replace(examples, rows=rows.assign(kind=""))  # listeners' rows have no kind
    assert len(listened.without_texts()) == len(examples)
    assert not set(examples.rows["text"]) & {""}


def test_leaks_are_named(shards: Path, write_shards: Callable[..., Path], tmp_path: Path) -> None:
    examples = read_shards(shards)
    some = examples.only(examples.rows["group"].isin(["g0", "g1"]))
    with pytest.raises(UsageError, match=r"1 recordings in both \(g1\)"):
        check_leakage(some, examples.only(examples.rows["group"].isin(["g1", "g2"])))
    with pytest.raises(UsageError, match=r"held-out systems in training \(light\)"):
        check_leakage(some, examples.only(examples.rows["group"] == "g5"), ["light"])
    renamed = read_shards(write_shards(tmp_path / "renamed", count=2, shards=1, prefix="new-"))
    with pytest.raises(UsageError, match=r"2 mixtures of equal content \(000\d = new-000\d, "):
        check_leakage(examples, renamed)
    with pytest.raises(UsageError, match="expected every query in one source"):
        Examples.concatenate([examples, some])


def test_batches_keep_mixtures_together_and_lengths_alike() -> None:
    generator = np.random.default_rng(0)
    mixtures = np.repeat(np.arange(200), generator.integers(1, 5, 200))
    frames = generator.integers(10, 60, 200)[mixtures]
    options = {"seed": 3, "max_frames": 500, "together": 4}
    batches = plan_epoch(mixtures, frames, epoch=0, **options)
    assert sorted(np.concatenate(batches)) == list(range(len(mixtures)))
    assert all(len(rows) * frames[rows].max() <= 500 for rows in batches)
    padding = sum(len(rows) * frames[rows].max() for rows in batches) / frames.sum()
    assert padding < 1.1
    assert all(len(np.intersect1d(mixtures[a], mixtures[b])) == 0 for a, b in combinations(batches, 2))
    for first, second in zip(batches, plan_epoch(mixtures, frames, epoch=0, **options), strict=True):
        np.testing.assert_array_equal(first, second)
    assert any(
        len(a) != len(b) or (a != b).any()
        for a, b in zip(batches, plan_epoch(mixtures, frames, epoch=1, **options), strict=False)
    )


def test_mixtures_of_many_estimates_are_cut() -> None:
    batches = plan_epoch([0] * 10, [5] * 10, seed=0, epoch=0, max_frames=20, together=4)
    assert sorted(map(len, batches)) == [2, 4, 4]


def test_batches_of_equal_length() -> None:
    frames = np.array([3, 5, 3, 3, 5, 700])
    found = equal_batches(frames, 6)
    assert sorted(np.concatenate(found)) == list(range(6))
    assert [list(rows) for rows in found] == [[0, 2], [3], [1], [4], [5]]
