"""The recipes of the mini split: complete, licensed, and honest about what is in a mixture."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sam_audio_bench.tasks import GROUPS
from sam_audio_bench.tasks.attribution import PATH, attribution
from sam_audio_bench.tasks.recipes import (
    FOLDER,
    SECONDS,
    Recipe,
    compute_revision,
    find_target_spans,
    group_recipes,
    load_recipes,
    load_stems,
)

ALL = [(task, recipe) for task, made in load_recipes().items() for recipe in made]
ABSENT = [(task, recipe) for task, recipe in ALL if not recipe.target]

WOMEN = {"sonnet", "FEE083", "FEE078"}
MEN = {"austen", "jfk", "MEO069", "MEE009"}
VOICES = {"inst_choir", "sfx_audience_applause", "sfx_monkeys_screeching"}
DRUMS = {"inst_drum_kit", "inst_loop_amen_full", "inst_drum_roll", "inst_loop_tabla", "inst_loop_safari"}
MUSIC = {stem.id for stem in load_stems().values() if stem.kind in ("music", "inst")}
RECORDINGS = {stem.id for stem in load_stems().values() if stem.kind == "music"}  # any instrument may be in them


def person(stem: str) -> str:
    return stem.split("_")[1].rstrip("0123456789") if stem[3].islower() else stem.split("_")[1]


def spoken_by(people: set[str]) -> set[str]:
    return {stem.id for stem in load_stems().values() if stem.kind == "speech" and person(stem.id) in people}


# What must not sound when the prompt is said to be absent: the label's own stems and all that could pass for it.
FAMILY = {
    "dog barking": {"sfx_dog"},
    "sheep bleating": {"sfx_sheep", "sfx_cow"},
    "speech": spoken_by(WOMEN | MEN) | VOICES,
    "person speaking": spoken_by(WOMEN | MEN) | VOICES,
    "man giving a speech": spoken_by(MEN),
    "woman reading a sonnet": spoken_by(WOMEN),
    "music": MUSIC | {"sfx_perc_bell"},
    "trumpet": RECORDINGS | {"inst_trumpet", "sfx_ship_horn", "sfx_car_horn", "sfx_steam_train_whistle"},
    "flute": RECORDINGS | {"inst_flute", "inst_clarinet", "sfx_bird_singing", "sfx_owl", "sfx_steam_train_whistle"},
    "drum kit": RECORDINGS | DRUMS | {"inst_arovane_beat_b"},
    "acoustic guitar": RECORDINGS
    | {"inst_acoustic_guitar", "inst_bass_guitar", "inst_harp", "inst_guit_em9", "inst_guit_e_slide"},
}


def test_every_speech_stem_is_known_to_be_of_a_woman_or_a_man():
    assert spoken_by(WOMEN | MEN) == {stem.id for stem in load_stems().values() if stem.kind == "speech"}
    for stem in load_stems().values():
        if stem.kind == "speech":
            assert stem.label.startswith("woman" if person(stem.id) in WOMEN else "man")


def test_there_is_one_list_of_recipes_for_each_text_task():
    assert set(load_recipes()) == set(GROUPS["text"])
    for task, made in load_recipes().items():
        assert sum(bool(recipe.target) for recipe in made) >= 10, task
        assert sum(not recipe.target for recipe in made) == 2, task


def test_ids_are_unique_and_bear_the_name_of_their_task():
    assert len({recipe.id for _, recipe in ALL}) == len(ALL)
    for task, made in load_recipes().items():
        assert [recipe.id for recipe in made] == [f"{task}-{number:02d}" for number in range(len(made))]


@pytest.mark.parametrize(("task", "recipe"), ABSENT, ids=lambda value: getattr(value, "id", value))
def test_an_absent_prompt_is_truly_absent(task: str, recipe: Recipe):
    assert recipe.target_to_rest_db is None
    assert recipe.others
    assert not FAMILY[recipe.prompt] & set(recipe.others)
    assert recipe.prompt not in {load_stems()[stem].label for stem in recipe.others}


def test_a_target_is_never_its_own_competitor():
    for task, recipe in ALL:
        assert not set(recipe.target) & set(recipe.others), recipe.id
        if recipe.target and task not in ("music", "speech"):
            assert [load_stems()[stem].label for stem in recipe.target] == [recipe.prompt]
            assert recipe.prompt not in {load_stems()[stem].label for stem in recipe.others}
        kinds = {load_stems()[stem].kind for stem in recipe.others}
        if task == "speech":
            assert "speech" not in kinds
        if task == "music":
            assert not {"music", "inst"} & kinds


def test_a_speaker_never_competes_with_the_same_person():
    for recipe in load_recipes()["speaker"]:
        people = [person(stem) for stem in (*recipe.target, *recipe.others)]
        assert len(set(people)) == len(people) == 2, recipe.id


def test_no_stem_is_cut_by_the_end_of_the_mixture():
    for _, recipe in ALL:
        for stem, start in (*recipe.target.items(), *recipe.others.items()):
            assert 0 <= start <= SECONDS - load_stems()[stem].seconds, (recipe.id, stem)


def slow_groups(made: tuple[Recipe, ...]) -> set[frozenset[str]]:
    """Connected components by walking from every recipe to all that share a stem, until nothing is new."""
    found = set()
    for first in made:
        reached = {first.id}
        while True:
            known = {stem for recipe in made if recipe.id in reached for stem in (*recipe.target, *recipe.others)}
            wider = {recipe.id for recipe in made if known & {*recipe.target, *recipe.others}}
            if wider == reached:
                break
            reached = wider
        found.add(frozenset(reached))
    return found


@pytest.mark.parametrize("task", GROUPS["text"])
def test_groups_are_the_connected_components(task: str):
    named = group_recipes(load_recipes()[task])
    assert list(named) == [recipe.id for recipe in load_recipes()[task]]
    members = {name: frozenset(item for item, group in named.items() if group == name) for name in named.values()}
    assert set(members.values()) == slow_groups(load_recipes()[task])
    assert all(name in together for name, together in members.items())


@pytest.mark.parametrize("task", GROUPS["text"])
def test_there_are_enough_groups_to_resample_and_none_dominates(task: str):
    sizes = list(group_recipes(load_recipes()[task]).values())
    assert len(set(sizes)) >= 5
    assert max(map(sizes.count, sizes)) <= len(sizes) / 2


def test_groups_join_recipes_that_are_linked_through_a_third():
    def made(name: str, *used: str) -> Recipe:
        return Recipe(id=name, prompt="x", target={}, others=dict.fromkeys(used, 0.0), target_to_rest_db=None)

    chain = [made("a", "1"), made("b", "2"), made("c", "3"), made("d", "1", "2")]
    assert group_recipes(chain) == {"a": "a", "b": "a", "c": "c", "d": "a"}


def test_spans_of_several_stems_are_joined_and_clipped():
    two = Recipe(id="x", prompt="x", target={"sfx_cat": 1.0}, others={}, target_to_rest_db=None)
    assert find_target_spans(two) == (("+", 1.01, 1.42), ("+", 2.31, 3.76))
    both = dataclasses.replace(two, target={"sfx_cat": 1.0, "sfx_horse": 1.0})
    assert find_target_spans(both) == (("+", 1.01, 3.76),)
    late = dataclasses.replace(two, target={"sfx_cat": 6.5})
    assert find_target_spans(late) == (("+", 6.51, 6.92), ("+", 7.81, SECONDS))


def test_the_attribution_is_up_to_date_and_names_every_stem():
    text = PATH.read_text(encoding="utf-8")
    assert text == attribution(), "write it anew as the docstring of tasks/attribution.py says"
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines() if line.startswith("| ")}
    for stem in load_stems().values():
        assert stem.label in rows[stem.id]
        assert stem.licence in rows[stem.id]
        assert stem.credit in rows[stem.id]
        assert stem.source in rows[stem.id]
    for needed in ("Frank Wen", "Michael Cowgill", "cut, down-mixed to mono and resampled to 24 kHz"):
        assert needed in text


def test_every_licence_allows_redistribution_and_is_linked():
    linked = ("CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "MIT", "Public Domain")
    for stem in load_stems().values():
        assert stem.licence.startswith(linked), stem
        assert stem.credit
    for licence in linked:
        assert f"* {licence}: " in PATH.read_text(encoding="utf-8")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_folder_holds_exactly_what_is_listed_and_stays_small():
    tables = {FOLDER / f"{name}.json" for name in ("items", "manifest", "prompts")}
    listed = {stem.path for stem in load_stems().values()} | tables | {PATH}
    assert set(files(FOLDER)) == listed
    assert sum(path.stat().st_size for path in listed) <= 4_000_000
    used = {stem for _, recipe in ALL for stem in (*recipe.target, *recipe.others)}
    assert used <= set(load_stems())


def test_the_revision_changes_with_any_byte(monkeypatch: pytest.MonkeyPatch):
    assert len(compute_revision()) == 64
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b" " if path.name == "sfx_cat.ogg" else b""))
    assert compute_revision.__wrapped__() != compute_revision()
