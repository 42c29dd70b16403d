"""What a judge says of examples: from what it has heard while training, or from the clips themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_audio_bench.judge.network import JudgeNetwork
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.judge.training.batches import equal_batches
from sam_audio_bench.judge.training.examples import Examples
from sam_audio_bench.judge.training.feed import Feed, read_texts, span_states, video_features
from sam_audio_bench.judge.training.heard import Ear, HeardMixture, hear_mixture
from sam_audio_bench.judge.training.student import Batch, Student
from sam_audio_bench.tasks.manifest import parse_spans

__all__ = ["Rated", "rate_examples", "rate_feed"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rated:
    """Examples with what a judge says of them.

    Attributes:
        examples: the rows.
        values: ``[rows, 4]``, columns as `AXES`.
        spreads: ``[rows, 4]``; None: the judge does not say.
    """

    examples: Examples
    values: Floats
    spreads: Floats | None

    @property
    def scores(self) -> Floats:
        """``[rows, 4]``, what listeners said; NaN where nothing."""
        return self.examples.scores()

    def frame(self) -> pd.DataFrame:
        """The rows with columns ``saj_AXIS`` and ``saj_AXIS_spread``, and without places of clips."""
        found = self.examples.rows.drop(columns=["mixture", "answer"])
        for at, axis in enumerate(AXES):
            found[f"saj_{axis}"] = self.values[:, at]
            if self.spreads is not None:
                found[f"saj_{axis}_spread"] = self.spreads[:, at]
        return found


def rate_feed(student: Student, feed: Feed, max_frames: int) -> Rated:
    """Rates the rows of a feed, without padding and in evaluation mode; leaves the mode as it was."""
    count = len(feed.examples)
    values, spreads = np.full((count, len(AXES)), np.nan), np.full((count, len(AXES)), np.nan)
    training = student.training
    student.eval()
    with torch.inference_mode():
        for rows in equal_batches(feed.frames, max_frames):
            _put(student, feed.batch(rows, padded=False), rows, values, spreads)
    student.train(training)
    return Rated(feed.examples, values, None if student.judge.spread_head is None else spreads)


def rate_examples(
    judge: JudgeNetwork,
    examples: Examples,
    *,
    max_seconds: float = 3600.0,
    follow: Callable[[int, int], None] = lambda done, total: None,
) -> Rated:
    """Rates examples from their clips; each mixture and answer is heard once, nothing is kept on disk.

    Args:
        judge: in evaluation mode.
        examples: what to rate.
        max_seconds: longer clips are cut.
        follow: is told how many mixtures are done.

    Raises:
        MediaError, UsageError: clips or features that cannot be used. Precondition: no tokenizer.
    """
    student, device = Student(judge, attends=False), judge.head.weight.device
    ear = Ear(student=student, digest="", max_seconds=max_seconds, device=device)
    texts = read_texts(judge, list(examples.rows["text"]))
    count = len(examples)
    values, spreads = np.full((count, len(AXES)), np.nan), np.full((count, len(AXES)), np.nan)
    places = examples.rows["mixture"].to_numpy(np.int64)
    mixtures = np.unique(places)
    with torch.inference_mode():
        for done, mixture in enumerate(mixtures):
            follow(done, len(mixtures))
            rows = np.flatnonzero(places == mixture)
            part = examples.rows.iloc[rows]
            answers = part["answer"].drop_duplicates().astype(int).tolist()
            heard = hear_mixture(ear, examples, int(mixture), answers)
            asked = texts.of(list(part["text"])).to(device)
            batch = _batch(judge, heard, part, [answers.index(int(one)) for one in part["answer"]], asked)
            _put(student, batch, rows, values, spreads)
    follow(len(mixtures), len(mixtures))
    return Rated(examples, values, None if judge.spread_head is None else spreads)


def _batch(judge: JudgeNetwork, heard: HeardMixture, part: pd.DataFrame, places: list[int], texts: Tensor) -> Batch:
    """Rows of one mixture; ``places`` are those of their answers."""
    size = len(heard.mixture)
    spans = video = None
    if judge.span_proj is not None and any(part["spans"]):
        hop, rate = judge.processor.hop, judge.processor.rate
        spans = span_states([parse_spans(text) for text in part["spans"]], size, hop=hop, rate=rate)
    if judge.video_proj is not None and any(part["video"]):
        width = judge.video_proj.in_features
        rows = [video_features(path, size, width) if path else torch.zeros(size, width) for path in part["video"]]
        video = torch.stack(rows)
    return Batch(
        mixtures=heard.mixture.expand(len(part), -1, -1),
        answers=heard.answers[places],
        residuals=None if heard.residuals is None else heard.residuals[places],
        texts=texts,
        spans=spans,
        video=video,
    )


def _put(student: Student, batch: Batch, rows: NDArray[np.int64], values: Floats, spreads: Floats) -> None:
    """Rates a batch and writes what is said into its rows."""
    rated = student(batch)
    keep = torch.ones(rated.shape[:2], dtype=torch.bool, device=rated.device)
    scores = student.judge.pool(rated, keep)
    values[rows] = scores.values.double().cpu().numpy()
    if scores.spread is not None:
        spreads[rows] = scores.spread.double().cpu().numpy()
