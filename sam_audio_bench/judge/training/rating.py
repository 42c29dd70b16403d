"""Rates examples from cached features or from their clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_audio_bench.judge.network import JudgeNetwork
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.judge.training.batches import equal_batches
from sam_audio_bench.judge.training.dataset import RatingDataset, encode_texts, read_video_features, span_states
from sam_audio_bench.judge.training.examples import Examples
from sam_audio_bench.judge.training.features import FrozenEncoder, encode_mixture
from sam_audio_bench.judge.training.trainable_model import Batch, TrainableModel
from sam_audio_bench.judge.training_mixtures import TrainingMixtures
from sam_audio_bench.tasks.manifest import parse_spans

__all__ = ["RatedExamples", "count_training_mixtures", "rate_dataset", "rate_examples"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RatedExamples:
    """Examples with a judge's ratings.

    Attributes:
        examples: the rows.
        values: ``[rows, 4]``, columns as `AXES`.
        spreads: ``[rows, 4]``; None: the judge predicts none.
    """

    examples: Examples
    values: Floats
    spreads: Floats | None

    @property
    def scores(self) -> Floats:
        """Ratings by listeners, ``[rows, 4]``; NaN where there are none."""
        return self.examples.scores()

    def frame(self) -> pd.DataFrame:
        """Returns the rows with columns ``saj_AXIS`` and ``saj_AXIS_spread``, and without indices of clips."""
        found = self.examples.rows.drop(columns=["mixture", "answer"])
        for at, axis in enumerate(AXES):
            found[f"saj_{axis}"] = self.values[:, at]
            if self.spreads is not None:
                found[f"saj_{axis}_spread"] = self.spreads[:, at]
        return found


def rate_dataset(
    model: TrainableModel, dataset: RatingDataset, max_frames: int, *, bounded: bool = True, text_trust: float = 1.0
) -> RatedExamples:
    """Rates the rows of a dataset without padding and in evaluation mode, and restores the model's mode.

    Args:
        model: the model.
        dataset: the rows.
        max_frames: maximum number of frames of a batch.
        bounded: see `JudgeNetwork.pool`.
        text_trust: of all rows, see `JudgeNetwork.rate_frame_features`; only small judges use it.
    """
    count = len(dataset.examples)
    values, spreads = np.full((count, len(AXES)), np.nan), np.full((count, len(AXES)), np.nan)
    training = model.training
    model.eval()
    with torch.inference_mode():
        for rows in equal_batches(dataset.frames, max_frames):
            batch = dataset.batch(rows, padded=False)
            trust = torch.full((len(rows), 1), text_trust, device=dataset.device)
            _rate_into(model, replace(batch, text_trust=trust), rows, values, spreads, bounded=bounded)
    model.train(training)
    return RatedExamples(dataset.examples, values, None if model.judge.spread_head is None else spreads)


def rate_examples(
    judge: JudgeNetwork,
    examples: Examples,
    *,
    max_seconds: float = 3600.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> RatedExamples:
    """Rates examples from their clips; each mixture and estimate is encoded once, nothing is cached on disk.

    Args:
        judge: the judge, in evaluation mode.
        examples: the examples to rate.
        max_seconds: longer clips are cut.
        progress: callback (done, total) over mixtures.

    Raises:
        MediaError, UsageError: clips or features cannot be used. Precondition: there is no tokenizer.
    """
    model, device = TrainableModel(judge, trains_backbone=False), judge.head.weight.device
    encoder = FrozenEncoder(model=model, digest="", max_seconds=max_seconds, device=device)
    texts = encode_texts(judge, list(examples.rows["text"]))
    count = len(examples)
    values, spreads = np.full((count, len(AXES)), np.nan), np.full((count, len(AXES)), np.nan)
    indices = examples.rows["mixture"].to_numpy(np.int64)
    mixtures = np.unique(indices)
    with torch.inference_mode():
        for done, mixture in enumerate(mixtures):
            progress(done, len(mixtures))
            rows = np.flatnonzero(indices == mixture)
            part = examples.rows.iloc[rows]
            estimates = part["answer"].drop_duplicates().astype(int).tolist()
            features = encode_mixture(encoder, examples, int(mixture), estimates)
            vectors = texts.select(list(part["text"])).to(device)
            batch = _mixture_batch(
                judge, features, part, [estimates.index(int(one)) for one in part["answer"]], vectors
            )
            _rate_into(model, batch, rows, values, spreads)
    progress(len(mixtures), len(mixtures))
    return RatedExamples(examples, values, None if judge.spread_head is None else spreads)


def count_training_mixtures(folder: Path, examples: Examples) -> int:
    """Counts the mixtures that the judge in a folder was trained on, as far as they are recorded."""
    known = TrainingMixtures.of_folder(folder)
    if not len(known):
        return 0
    return sum(examples.clips[int(place)].read_audio() in known for place in examples.rows["mixture"].unique())


def _mixture_batch(
    judge: JudgeNetwork, features: tuple[Tensor, Tensor], part: pd.DataFrame, indices: list[int], texts: Tensor
) -> Batch:
    """Returns a batch of rows of one mixture; ``indices`` are those of their estimates."""
    mixture, estimates = features
    size = len(mixture)
    spans = video = None
    if "spans" in judge.prompts and any(part["spans"]):
        hop, rate = judge.processor.hop, judge.processor.rate
        spans = span_states([parse_spans(text) for text in part["spans"]], size, hop=hop, rate=rate)
    if judge.video_proj is not None and any(part["video"]):
        width = judge.video_proj.in_features
        rows = [read_video_features(path, size, width) if path else torch.zeros(size, width) for path in part["video"]]
        video = torch.stack(rows)
    if judge.ear is not None:
        frames = judge.ear.frame_features(mixture[None], estimates[indices], texts, spans=spans)
        return Batch(mixtures=frames[..., :0], estimates=frames, texts=texts)
    return Batch(
        mixtures=mixture.expand(len(part), -1, -1),
        estimates=estimates[indices],
        texts=texts,
        spans=spans,
        video=video,
    )


def _rate_into(
    model: TrainableModel,
    batch: Batch,
    rows: NDArray[np.int64],
    values: Floats,
    spreads: Floats,
    *,
    bounded: bool = True,
) -> None:
    """Rates a batch and writes the ratings into the given rows of the outputs."""
    rated = model(batch)
    keep = torch.ones(rated.shape[:2], dtype=torch.bool, device=rated.device)
    scores = model.judge.pool(rated, keep, bounded=bounded)
    values[rows] = scores.values.double().cpu().numpy()
    if scores.spread is not None:
        spreads[rows] = scores.spread.double().cpu().numpy()
