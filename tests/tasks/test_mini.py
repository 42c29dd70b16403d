"""The mini split: exact arithmetic, true levels, true spans, silence where nothing was asked for."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from sam_audio_bench import audio
from sam_audio_bench.tasks import GROUPS, TASKS
from sam_audio_bench.tasks.data import TaskData
from sam_audio_bench.tasks.mini import RATE, load_mini
from sam_audio_bench.tasks.recipes import SECONDS, group_recipes, load_recipes, load_stems
from sam_audio_bench.types import Item

PROVIDES = {"text": {"text"}, "text+span": {"text", "spans"}, "span": {"spans"}, "visual": {"video"}}


def energy(samples: torch.Tensor) -> float:
    return float(samples.double().square().sum())


@pytest.fixture(scope="module", params=GROUPS["text"])
def loaded(request: pytest.FixtureRequest) -> list[Item]:
    return list(load_mini(request.param))


def test_the_mixture_is_the_exact_sum(loaded: list[Item]):
    for item in loaded:
        assert item.reference is not None
        assert item.residual_reference is not None
        mixture = item.query.mixture
        assert mixture.samples.dtype == torch.float32
        assert (mixture.rate, mixture.samples.shape) == (RATE, (1, round(SECONDS * RATE)))
        total = item.reference.samples.double() + item.residual_reference.samples.double()
        assert float((total - mixture.samples.double()).abs().max()) == 0.0


def test_every_signal_survives_24_bit_files_and_leaves_headroom(loaded: list[Item]):
    for item in loaded:
        for signal in (item.query.mixture, item.reference, item.residual_reference):
            assert signal is not None
            steps = signal.samples.double() * 2**23
            assert torch.equal(steps, steps.round())
            assert float(signal.samples.abs().max()) <= 0.9 + 2**-23
            assert torch.equal(audio.round_trip(signal).samples, signal.samples)


def test_levels_are_those_of_the_recipe(loaded: list[Item]):
    made = {recipe.id: recipe for task in load_recipes().values() for recipe in task}
    for item in loaded:
        assert item.reference is not None
        assert item.residual_reference is not None
        rest = energy(item.residual_reference.samples)
        assert rest > 1.0  # something sounds
        if (wanted := made[item.id].target_to_rest_db) is not None:
            assert 10 * np.log10(energy(item.reference.samples) / rest) == pytest.approx(wanted, abs=1e-3)


def test_absent_targets_have_a_silent_reference(loaded: list[Item]):
    made = {recipe.id: recipe for task in load_recipes().values() for recipe in task}
    absent = [item for item in loaded if not made[item.id].target]
    assert len(absent) == 2
    for item in loaded:
        assert item.reference is not None
        assert item.residual_reference is not None
        assert (not item.reference.samples.any()) == (item in absent)
        if item in absent:
            assert torch.equal(item.residual_reference.samples, item.query.mixture.samples)


def test_stems_start_where_the_recipe_says(loaded: list[Item]):
    """Against a second way: resample the stem, and look for it in the reference by correlation."""
    item = loaded[0]
    recipe = next(recipe for task in load_recipes().values() for recipe in task if recipe.id == item.id)
    assert item.reference is not None
    (name, start), *_ = recipe.target.items()
    stem = audio.resample(audio.read(load_stems()[name].path), RATE).samples[0].double().numpy()
    track = item.reference.samples[0].double().numpy()
    size = len(track) + len(stem)
    likeness = np.fft.irfft(np.fft.rfft(track, size) * np.conj(np.fft.rfft(stem, size)), size)
    assert int(np.argmax(likeness)) == round(start * RATE)


@pytest.mark.parametrize("name", GROUPS["span"])
def test_the_target_sounds_inside_its_spans(name: str):
    for item in load_mini(name):
        assert item.reference is not None
        track = item.reference.samples[0].double().numpy()
        inside = np.zeros(len(track), bool)
        loudest = max(np.sqrt(np.mean(part**2)) for part in np.split(track, 160))
        previous = 0.0
        for sign, start, end in item.query.prompt.spans:
            assert sign == "+"
            assert previous <= start < end <= SECONDS
            previous = end
            part = track[round(start * RATE) : round(end * RATE)]
            assert np.sqrt(np.mean(part**2)) > loudest * 10 ** (-40 / 20), (item.id, start, end)
            inside[max(0, round((start - 0.05) * RATE)) : round((end + 0.05) * RATE)] = True
        assert np.sum(track[inside] ** 2) > 0.97 * np.sum(track**2), item.id


@pytest.mark.parametrize("name", TASKS)
def test_a_task_asks_as_its_record_says(name: str):
    data = load_mini(name)
    voice = {"speech"} if name.startswith(("speech", "speaker")) else set()
    assert data.provides == {"reference", "residual_reference"} | PROVIDES[TASKS[name].prompt] | voice
    prompt = data[data.ids[0]].query.prompt
    given = {field for field in ("text", "spans", "video") if getattr(prompt, field)}
    assert given == PROVIDES[TASKS[name].prompt]
    assert (prompt.mask is not None) == ("video" in given)


@pytest.mark.parametrize("name", TASKS)
def test_ids_are_unique_over_all_tasks_and_groups_are_those_of_the_text_task(name: str):
    data = load_mini(name)
    assert len(set(data.ids)) == len(data) >= 10
    assert all(identifier.startswith(name + "-") for identifier in data.ids)
    others = {identifier for other in TASKS if other != name for identifier in load_mini(other).ids}
    assert not others & set(data.ids)
    text = next(task for task in GROUPS["text"] if name == task or name in (f"{task}-{end}" for end in ENDINGS))
    of_recipe = group_recipes(load_recipes()[text])
    for identifier, group in data.groups.items():
        assert of_recipe[text + identifier.removeprefix(name)] == group
    assert data[data.ids[-1]].group == data.groups[data.ids[-1]]


ENDINGS = ("span", "span-only", "visual")


@pytest.mark.parametrize("ending", ENDINGS)
def test_span_and_visual_tasks_have_the_mixtures_of_the_text_task_but_no_absent_target(ending: str):
    text, other = load_mini("speaker"), load_mini(f"speaker-{ending}")
    present = [item for item in text if item.reference is not None and item.reference.samples.any()]
    assert len(present) == len(other) == len(text) - 2
    for mine, theirs in zip(present, other, strict=True):
        assert torch.equal(mine.query.mixture.samples, theirs.query.mixture.samples)


def test_loading_twice_gives_the_same_bits_and_nothing_is_shared():
    data = load_mini("sfx")
    first, last = data["sfx-00"], data["sfx-15"]
    mixture = first.query.mixture.samples.clone()
    for item in (first, last):
        assert item.reference is not None
        assert item.residual_reference is not None
        residual = item.residual_reference.samples.clone()
        item.query.mixture.samples.mul_(0)  # a separator that works in place must not change the references
        assert torch.equal(item.residual_reference.samples, residual)
    assert torch.equal(data["sfx-00"].query.mixture.samples, mixture)


def test_listing_a_task_decodes_nothing(monkeypatch: pytest.MonkeyPatch):
    def refuse(path: object) -> None:
        raise AssertionError(f"decoded {path}")

    monkeypatch.setattr(audio, "read", refuse)
    for name in TASKS:
        data = load_mini(name).select(limit=2)
        assert len(data.ids) == 2
        assert len(data.revision) == 64


def test_a_task_travels_to_another_process():
    data = load_mini("music")
    copy: TaskData = pickle.loads(pickle.dumps(data))
    assert copy.groups == data.groups
    assert torch.equal(copy["music-08"].query.mixture.samples, data["music-08"].query.mixture.samples)
