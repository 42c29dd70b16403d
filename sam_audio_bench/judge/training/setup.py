"""Prepares a run from its recipe: splits the data, loads the initial judge and caches features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import dump_json, sha256
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.judge.training.dataset import RatingDataset, encode_texts
from sam_audio_bench.judge.training.examples import Examples
from sam_audio_bench.judge.training.features import Chunk, FeatureStore, FrozenEncoder, encode_share
from sam_audio_bench.judge.training.recipe import Recipe
from sam_audio_bench.judge.training.splits import check_leakage, split
from sam_audio_bench.judge.training.tables import read_examples
from sam_audio_bench.judge.training.trainable_model import (
    InitialJudge,
    TrainableModel,
    load_initial_judge,
    prototype_recordings,
    select_trainable_parts,
)

__all__ = ["ProcessContext", "TrainingSetup", "prepare_training", "read_splits"]

Progress = Callable[[int, int], None]

_STANDARDISED = 4000
"""Number of rows whose features determine the standardisation of a new judge."""


@dataclass(frozen=True, kw_only=True)
class ProcessContext:
    """Device and rank of a process."""

    device: torch.device
    rank: int = 0
    ranks: int = 1
    wait: Callable[[], None] = lambda: None  # blocks until all processes have arrived


@dataclass(frozen=True, kw_only=True)
class TrainingSetup:
    """Everything that a run needs.

    Attributes:
        start: the initial judge.
        model: the judge in training.
        training: training data.
        held_out: held-out data.
        fingerprint: digest of everything that determines the result, except code and machine.
    """

    start: InitialJudge
    model: TrainableModel
    training: RatingDataset
    held_out: RatingDataset
    fingerprint: str


def read_splits(recipe: Recipe) -> tuple[Examples, Examples]:
    """Reads training and held-out examples; raises UsageError if they share a recording or a held-out system."""
    data = recipe.data
    training = _read(data.train, texts=data.texts)
    if data.valid:
        held = _read(data.valid, texts=data.texts)
    else:
        training, held = split(training, groups=data.hold_out_groups, systems=data.hold_out_systems, seed=recipe.seed)
    check_leakage(training, held, data.hold_out_systems)
    return training, held


def _read(places: Sequence[str], *, texts: bool) -> Examples:
    found = Examples.concatenate(read_examples(place) for place in places)
    return found if texts else found.without_texts()


def prepare_training(
    recipe: Recipe, folder: Path, context: ProcessContext, progress: Progress, *, encode_only: bool = False
) -> TrainingSetup:
    """Reads and splits the data, initialises the judge and caches features.

    Args:
        recipe: configuration of the run.
        folder: folder of the run, for cached features unless the recipe names another.
        context: device and rank of this process.
        progress: callback (done, total) over chunks of features.
        encode_only: whether only features are needed, without the rest of the preparation for training.

    Raises:
        Precondition, StoreError, MediaError, UsageError: data, judge or features cannot be used.
    """
    training, held = read_splits(recipe)
    start = load_initial_judge(recipe)
    judge = start.judge
    judge.calibrate(None)  # fitted again at the end
    trains_backbone = select_trainable_parts(judge, recipe.train)
    splits = {"learned": training, "held": held}
    for name, projection in (("spans", judge.span_proj), ("video", judge.video_proj)):
        if projection is not None and not any(training.rows[name]):
            projection.requires_grad_(False)  # without such inputs, weight decay would only shrink it
    if start.fresh:
        _set_scale(start, training)
    texts = encode_texts(judge, [*training.rows["text"], *held.rows["text"]])
    judge.to(context.device)
    model = TrainableModel(judge, trains_backbone=trains_backbone)
    model.eval()
    encoder = FrozenEncoder.of(model, max_seconds=recipe.data.max_seconds, device=context.device)
    cache = Path(recipe.data.cache) if recipe.data.cache else folder / "heard"
    chunks = {
        name: encode_share(cache, side, encoder, rank=context.rank, ranks=context.ranks, progress=progress)
        for name, side in splits.items()
    }
    context.wait()
    datasets = {
        name: RatingDataset(
            examples=side, features=FeatureStore(cache, chunks[name]), texts=texts, judge=judge, device=context.device,
            gap=recipe.loss.ranking_gap, raters_cap=recipe.loss.raters_cap, prototypes=prototype_recordings(recipe),
        )
        for name, side in splits.items()
    }  # fmt: skip
    if start.fresh and judge.ear is not None and not encode_only:
        judge.ear.fit_standardisation(datasets["learned"].sample_features(_STANDARDISED).to(context.device))
    return TrainingSetup(
        start=start, model=model, training=datasets["learned"], held_out=datasets["held"],
        fingerprint=_fingerprint(recipe, splits, chunks, start),
    )  # fmt: skip


def _set_scale(start: InitialJudge, training: Examples) -> None:
    """Sets the judge's scale to mean and standard deviation of the training ratings; unrated axes use overall."""
    scores = training.scores().copy()
    rated = np.isfinite(scores).any(axis=0)
    if not rated[0]:
        raise UsageError(f"expected ratings of {AXES[0]}, which a new judge's scale needs, found none")
    scores[:, ~rated] = scores[:, :1]
    mean, std = np.nanmean(scores, axis=0), np.nanstd(scores, axis=0)
    start.judge.mean.data = torch.tensor(mean, dtype=torch.float32)
    start.judge.std.data = torch.tensor(np.maximum(std, 0.1), dtype=torch.float32)


def _fingerprint(
    recipe: Recipe, splits: dict[str, Examples], chunks: dict[str, list[Chunk]], start: InitialJudge
) -> str:
    """Returns a digest of the recipe, the rows, the clips and the weights."""
    found = hashlib.sha256(dump_json(_relevant_options(recipe)).encode())
    for name, side in splits.items():
        found.update(name.encode())
        found.update(sha256(side.rows.to_csv(index=False).encode()).encode())
        found.update("".join(chunk.name for chunk in chunks[name]).encode())
    for name, value in start.judge.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _relevant_options(recipe: Recipe) -> dict[str, object]:
    """Returns the part of a recipe that determines the result, without cache folder and checkpoint interval."""
    data = {**asdict(recipe.data), "cache": ""}
    stop = {**asdict(recipe.stop), "checkpoint": 0}
    return {**recipe.plain(), "data": data, "stop": stop}
