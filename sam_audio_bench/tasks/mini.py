"""The mini split: stems mixed on load, in exact arithmetic.

Target and residual are scaled and then rounded to the 24-bit grid, on which float32 sums below ±2 are exact. So
``target + residual == mixture`` holds bit by bit, also for copies that were stored in 24-bit files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray

from sam_audio_bench import audio
from sam_audio_bench.digests import combined_digest
from sam_audio_bench.tasks import synthetic_video
from sam_audio_bench.tasks.attributes import Attribute
from sam_audio_bench.tasks.catalogue import TASKS, Task
from sam_audio_bench.tasks.data import TaskData
from sam_audio_bench.tasks.mixing import add_at, headroom, peak_of, residual_gain
from sam_audio_bench.tasks.recipes import (
    SECONDS,
    Recipe,
    compute_revision,
    find_audible_prompts,
    find_target_spans,
    list_task_recipes,
    load_prompt_variants,
    load_stems,
)
from sam_audio_bench.types import Audio, Item, Prompt, Query

__all__ = ["RATE", "RenderedRecipe", "load_mini", "render_recipe"]

RATE = 48_000
"""Hz."""

_LENGTH = round(SECONDS * RATE)
_SPEECH = {"speech": {"speech"}, "speaker": {"speech"}}
_OFFERS = {"text": {"text"}, "text+span": {"text", "spans"}, "span": {"spans"}, "visual": {"video"}}


@dataclass(frozen=True, slots=True)
class RenderedRecipe:
    """Target and residual ``[time]`` at 48 kHz, and the gains with which their stems were scaled."""

    target: NDArray[np.float32]
    residual: NDArray[np.float32]
    target_gain: float
    residual_gain: float


def load_mini(name: str) -> TaskData:
    """Loads the mini split of a task of the catalogue; span and visual tasks only have items with an audible target."""
    task = TASKS[name]
    items = list_task_recipes(name, task.prompt)
    mixtures = {identifier: recipe for identifier, (recipe, _) in items.items()}
    groups = {recipe.id: group for recipe, group in items.values()}
    with_text = mixtures if "text" in _OFFERS[task.prompt] else {}
    speech = _SPEECH.get(name.partition("-")[0], set())
    return TaskData(
        task=name,
        version=task.version,
        split="mini",
        revision=compute_revision(),
        groups={identifier: groups[recipe.id] for identifier, recipe in mixtures.items()},
        provides=frozenset({"reference", "residual_reference"} | _OFFERS[task.prompt] | speech),
        load=partial(_load, task, mixtures, groups),
        content=partial(_content, name, mixtures, groups),
        texts={identifier: recipe.prompt for identifier, recipe in with_text.items()},
        paraphrases={
            identifier: load_prompt_variants()[recipe.prompt].paraphrases for identifier, recipe in with_text.items()
        },
        attributes={identifier: _attributes(recipe) for identifier, recipe in mixtures.items()},
        heard={identifier: find_audible_prompts(recipe) for identifier, recipe in with_text.items()},
    )


def render_recipe(recipe: Recipe) -> RenderedRecipe:
    """Places and scales the stems of a recipe.

    The residual is scaled to the recipe's energy ratio over the whole clip. Then, if the peak of target, residual or
    mixture exceeds 0.9, one common gain lowers the highest peak to 0.9.
    """
    target, residual = _place(recipe.target), _place(recipe.others)
    balance = 1.0
    if recipe.target_to_rest_db is not None:
        balance = residual_gain(target, residual, recipe.target_to_rest_db)
        residual *= balance
    gain = headroom(peak_of(target, residual, target + residual))
    target *= gain
    residual *= gain
    return RenderedRecipe(audio.quantise_24_bit(target), audio.quantise_24_bit(residual), gain, gain * balance)


def _place(starts: Mapping[str, float]) -> NDArray[np.float32]:
    track = np.zeros(_LENGTH, np.float32)
    for name, start in starts.items():
        add_at(track, _samples(name), round(start * RATE))
    return track


@lru_cache(maxsize=128)  # all stems: 65 MB, and each is decoded and resampled once
def _samples(name: str) -> NDArray[np.float32]:
    samples = audio.resample(audio.read(load_stems()[name].path), RATE).samples[0].numpy()
    samples.setflags(write=False)
    return samples


def _attributes(recipe: Recipe) -> dict[str, Attribute]:
    """Returns the number of stems of a mixture, the labels of its target, and the kinds of the other stems."""
    stems = load_stems()
    labels = sorted({stems[name].label for name in recipe.target})
    kinds = sorted({stems[name].kind for name in recipe.others})
    return {
        "sources": float(len(recipe.target) + len(recipe.others)),
        **({"target_class": " + ".join(labels)} if labels else {}),
        **({"other_classes": " + ".join(kinds)} if kinds else {}),
    }


def _content(name: str, mixtures: Mapping[str, Recipe], groups: Mapping[str, str], identifier: str) -> str:
    recipe = mixtures[identifier]
    return combined_digest(compute_revision(), TASKS[name].version, name, identifier, recipe.id, groups[recipe.id])


def _load(task: Task, mixtures: Mapping[str, Recipe], groups: Mapping[str, str], identifier: str) -> Item:
    recipe = mixtures[identifier]
    mixed = render_recipe(recipe)
    return Item(
        id=identifier,
        group=groups[recipe.id],
        query=Query(mixture=_audio(mixed.target + mixed.residual), prompt=_prompt(task, recipe, mixed)),
        reference=_audio(mixed.target),
        residual_reference=_audio(mixed.residual),
    )


def _audio(samples: NDArray[np.float32]) -> Audio:
    return Audio(torch.from_numpy(samples).unsqueeze(0), RATE)


def _prompt(task: Task, recipe: Recipe, mixed: RenderedRecipe) -> Prompt:
    if task.prompt == "visual":
        others = [_place({stem: start}) * mixed.residual_gain for stem, start in recipe.others.items()]
        video, mask = synthetic_video.render_clip(recipe.id, [mixed.target, *others], RATE)
        return Prompt(video=str(video), mask=str(mask))
    offers = _OFFERS[task.prompt]
    return Prompt(
        text=recipe.prompt if "text" in offers else None,
        spans=find_target_spans(recipe) if "spans" in offers else (),
    )
