"""From a recipe to everything that a run needs: data without leaks, a judge, what it hears."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import dump_json, sha256
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.judge.training.examples import Examples
from sam_audio_bench.judge.training.feed import Feed, read_texts
from sam_audio_bench.judge.training.heard import Chunk, Ear, Heard, hear_share
from sam_audio_bench.judge.training.recipe import Recipe
from sam_audio_bench.judge.training.splits import check_leakage, split
from sam_audio_bench.judge.training.student import Start, Student, choose_parts, remember_texts, start_judge
from sam_audio_bench.judge.training.tables import read_examples

__all__ = ["Place", "Ready", "make_ready", "read_sides"]

Follow = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a process computes, and which one it is."""

    device: torch.device
    rank: int = 0
    ranks: int = 1
    wait: Callable[[], None] = lambda: None  # for the others


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What a run needs.

    Attributes:
        start: the judge.
        student: it, with the parts that learn.
        learned: what it learns from.
        held: what it is looked at with.
        fingerprint: of all that decides the result, but for the code and the machine.
    """

    start: Start
    student: Student
    learned: Feed
    held: Feed
    fingerprint: str


def read_sides(recipe: Recipe) -> tuple[Examples, Examples]:
    """Training and held-out examples; raises UsageError where they have a recording or a held-out system in common."""
    data = recipe.data
    learned = _read(data.train, texts=data.texts)
    if data.valid:
        held = _read(data.valid, texts=data.texts)
    else:
        learned, held = split(learned, groups=data.hold_out_groups, systems=data.hold_out_systems, seed=recipe.seed)
    check_leakage(learned, held, data.hold_out_systems)
    return learned, held


def _read(places: Sequence[str], *, texts: bool) -> Examples:
    found = Examples.together(read_examples(place) for place in places)
    return found if texts else found.without_texts()


def make_ready(recipe: Recipe, folder: Path, place: Place, follow: Follow) -> Ready:
    """Reads, splits, starts and hears.

    Args:
        recipe: what to do.
        folder: of the run, for what is heard where the recipe names no other.
        place: of this process.
        follow: is told how much has been heard.

    Raises:
        Precondition, StoreError, MediaError, UsageError: see the parts.
    """
    learned, held = read_sides(recipe)
    start = start_judge(recipe)
    judge = start.judge
    judge.calibrate(None)  # fitted anew in the end
    attends = choose_parts(judge, recipe.train)
    sides = {"learned": learned, "held": held}
    for name, projection in (("spans", judge.span_proj), ("video", judge.video_proj)):
        if projection is not None and not any(learned.rows[name]):
            projection.requires_grad_(False)  # weight decay would wear off what it knows
    if start.fresh:
        _set_scale(start, learned)
    texts = read_texts(judge, [*learned.rows["text"], *held.rows["text"]])
    remember_texts(judge, texts.of(sorted(set(learned.rows["text"]))))
    judge.to(place.device)
    student = Student(judge, attends=attends)
    student.eval()
    ear = Ear.of(student, max_seconds=recipe.data.max_seconds, device=place.device)
    cache = Path(recipe.data.cache) if recipe.data.cache else folder / "heard"
    chunks = {
        name: hear_share(cache, side, ear, rank=place.rank, ranks=place.ranks, follow=follow)
        for name, side in sides.items()
    }
    place.wait()
    feeds = {
        name: Feed(
            examples=side, heard=Heard(cache, chunks[name]), texts=texts, judge=judge, device=place.device,
            gap=recipe.loss.ranking_gap, raters_cap=recipe.loss.raters_cap,
        )
        for name, side in sides.items()
    }  # fmt: skip
    return Ready(
        start=start, student=student, learned=feeds["learned"], held=feeds["held"],
        fingerprint=_fingerprint(recipe, sides, chunks, start),
    )  # fmt: skip


def _set_scale(start: Start, learned: Examples) -> None:
    """Mean and deviation of the training ratings, by axis; an axis that nobody rated has those of overall."""
    scores = learned.scores().copy()
    rated = np.isfinite(scores).any(axis=0)
    if not rated[0]:
        raise UsageError(f"expected ratings of {AXES[0]}, which a new judge's scale needs, found none")
    scores[:, ~rated] = scores[:, :1]
    mean, std = np.nanmean(scores, axis=0), np.nanstd(scores, axis=0)
    start.judge.mean.data = torch.tensor(mean, dtype=torch.float32)
    start.judge.std.data = torch.tensor(np.maximum(std, 0.1), dtype=torch.float32)


def _fingerprint(recipe: Recipe, sides: dict[str, Examples], chunks: dict[str, list[Chunk]], start: Start) -> str:
    """A digest of the recipe, the rows, what is heard, and the weights."""
    found = hashlib.sha256(dump_json(_lasting(recipe)).encode())
    for name, side in sides.items():
        found.update(name.encode())
        found.update(sha256(side.rows.to_csv(index=False).encode()).encode())
        found.update("".join(chunk.name for chunk in chunks[name]).encode())
    for name, value in start.judge.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _lasting(recipe: Recipe) -> dict[str, object]:
    """What of a recipe decides the result: not where things are kept, nor how often."""
    plain = recipe.plain()
    plain["data"] = {**plain["data"], "cache": ""}
    plain["stop"] = {**plain["stop"], "checkpoint": 0}
    return plain
