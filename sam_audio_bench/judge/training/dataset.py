"""Makes batches for the model, and training targets, from rows of examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sam_audio_bench.errors import UsageError
from sam_audio_bench.judge.network import SPAN_STATES, JudgeNetwork
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.judge.training.examples import Examples, split_recordings
from sam_audio_bench.judge.training.features import MIXTURE, FeatureStore
from sam_audio_bench.judge.training.losses import Targets
from sam_audio_bench.judge.training.trainable_model import Batch
from sam_audio_bench.nn.conditioning import anchor_tables
from sam_audio_bench.tasks.manifest import parse_spans
from sam_audio_bench.types import Span

__all__ = ["RatingDataset", "TextEmbeddings", "encode_texts", "read_video_features", "span_states"]

_TEXTS_PER_BATCH = 256


@dataclass(frozen=True)
class TextEmbeddings:
    """Embeddings of unique texts."""

    vectors: Tensor  # [U, t]
    indices: dict[str, int]

    def select(self, texts: Sequence[str]) -> Tensor:
        """Returns embeddings of texts, ``[B, t]``."""
        return self.vectors[[self.indices[text] for text in texts]]


def encode_texts(judge: JudgeNetwork, texts: Sequence[str]) -> TextEmbeddings:
    """Encodes each distinct text once; text encoders are frozen.

    Raises:
        Precondition: there is no tokenizer.
    """
    unique = sorted(set(texts))
    found = []
    with torch.inference_mode():
        for at in range(0, len(unique), _TEXTS_PER_BATCH):
            ids, mask = judge.processor.tokens(unique[at : at + _TEXTS_PER_BATCH])
            found.append(judge.encode_text(ids, mask).float().cpu())
    return TextEmbeddings(torch.cat(found).clone(), {text: index for index, text in enumerate(unique)})


@dataclass(frozen=True)
class RatingDataset:
    """Rated examples with cached features, from which batches of any rows are made.

    Args:
        examples: the rows; all of their clips must be encoded.
        features: features of the clips.
        texts: embeddings of the texts of the rows.
        judge: determines sampling rate, scale and inputs.
        device: device of the batches.
        gap: see `Targets.gap`, in rating points.
        raters_cap: see `Loss.raters_cap`.
        prototypes: the recording of each prototype of a small judge; a row does not use those of its own recordings.
    """

    examples: Examples
    features: FeatureStore
    texts: TextEmbeddings
    judge: JudgeNetwork
    device: torch.device
    gap: float = 0.5
    raters_cap: float = 0.0
    prototypes: tuple[str, ...] = ()
    _features: dict[int, NDArray[np.float16]] = field(default_factory=dict, repr=False)

    @cached_property
    def frames(self) -> NDArray[np.int64]:
        """Length of each row."""
        return np.array([self.features.frames(int(mixture)) for mixture in self.examples.rows["mixture"]])

    @cached_property
    def mixtures(self) -> NDArray[np.int64]:
        """Mixture of each row."""
        found: NDArray[np.int64] = self.examples.rows["mixture"].to_numpy(np.int64)
        return found

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """Weight of each row by its number of raters; 1 on average."""
        raters = self.examples.rows["raters"].to_numpy(float)
        if self.raters_cap > 0:
            raters = np.minimum(raters, self.raters_cap)
        found: NDArray[np.float64] = raters / raters.mean()
        return found

    def batch(self, rows: Sequence[int] | NDArray[np.int64], *, padded: bool = True) -> Batch:
        """Returns a batch of rows, with a mask if ``padded``; otherwise they must have equal length."""
        part = self.examples.rows.iloc[list(rows)]
        sizes = torch.as_tensor(self.frames[list(rows)])
        longest = int(sizes.max())
        keep = (torch.arange(longest) < sizes[:, None]).to(self.device) if padded else None
        texts = self.texts.select(list(part["text"])).to(self.device)
        if self.judge.ear is not None:
            features = [np.asarray(self._row_features(int(row)), np.float32) for row in rows]
            together = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(one) for one in features], batch_first=True)
            return Batch(mixtures=together[..., :0], estimates=together.to(self.device), texts=texts, keep=keep)
        pairs = list(zip(part["mixture"].astype(int), part["answer"].astype(int), strict=True))
        own = self.features.batch(((mixture, MIXTURE) for mixture, _ in pairs), longest)
        return Batch(
            mixtures=own.to(self.device),
            estimates=self.features.batch(pairs, longest).to(self.device),
            texts=texts,
            keep=keep,
            spans=self._spans(list(part["spans"]), longest),
            video=self._video(list(part["video"]), sizes.tolist(), longest),
        )

    def sample_features(self, most: int) -> Tensor:
        """Returns features of the frames of at most ``most`` evenly spaced rows, ``[N, NUM_INPUTS]``."""
        rows = np.unique(np.linspace(0, len(self.examples) - 1, most).astype(int))
        return torch.from_numpy(np.concatenate([np.asarray(self._row_features(int(row)), np.float32) for row in rows]))

    def _row_features(self, row: int) -> NDArray[np.float16]:
        """Returns features of a row, ``[F, NUM_INPUTS]``, computed once per mixture; they do not change in training."""
        if row not in self._features:
            assert self.judge.ear is not None
            mixture = int(self.mixtures[row])
            rows = self._rows_of[mixture]
            part, size = self.examples.rows.iloc[rows], int(self.frames[row])
            own = self.features.batch([(mixture, MIXTURE)], size)
            others = self.features.batch(((mixture, int(estimate)) for estimate in part["answer"]), size)
            with torch.no_grad():
                found = self.judge.ear.frame_features(
                    own.to(self.device), others.to(self.device), self.texts.select(list(part["text"])).to(self.device),
                    spans=self._spans(list(part["spans"]), size), known=self._known(list(part["group"])),
                )  # fmt: skip
            self._features.update(zip(rows.tolist(), found.to("cpu", torch.float16).numpy(), strict=True))
        return self._features[row]

    @cached_property
    def _rows_of(self) -> dict[int, NDArray[np.int64]]:
        """Rows of each mixture."""
        order = np.argsort(self.mixtures, kind="stable")
        names, starts = np.unique(self.mixtures[order], return_index=True)
        return dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True))

    def targets(self, rows: Sequence[int] | NDArray[np.int64]) -> Targets:
        """Returns the ratings of rows, normalised by the judge's mean and standard deviation."""
        part = self.examples.rows.iloc[list(rows)]
        mean, std = (value.detach().double().cpu() for value in (self.judge.mean, self.judge.std))
        scores = (torch.tensor(part[list(AXES)].to_numpy(float)) - mean) / std
        return Targets(
            scores=scores.float().to(self.device),
            weights=torch.as_tensor(self.weights[list(rows)], dtype=torch.float32, device=self.device),
            mixtures=torch.as_tensor(self.mixtures[list(rows)], device=self.device),
            gap=self.gap / float(std[0]),
        )

    def _spans(self, texts: list[str], size: int) -> Tensor | None:
        if "spans" not in self.judge.prompts or not any(texts):
            return None
        hop, rate = self.judge.processor.hop, self.judge.processor.rate
        return span_states([parse_spans(text) for text in texts], size, hop=hop, rate=rate).to(self.device)

    def _known(self, groups: list[str]) -> Tensor | None:
        """Marks the prototypes that are not from a recording of the row's mixture, bool ``[B, P]``."""
        if not self.prototypes:
            return None
        own = [set(split_recordings(group)) for group in groups]
        return torch.tensor([[name not in some for name in self.prototypes] for some in own], device=self.device)

    def _video(self, files: list[str], sizes: list[int], size: int) -> Tensor | None:
        projection = self.judge.video_proj
        if projection is None or not any(self.examples.rows["video"]):
            return None
        found = torch.zeros(len(files), size, projection.in_features)
        for row, (file, own) in enumerate(zip(files, sizes, strict=True)):
            if file:
                found[row, :own] = read_video_features(file, own, projection.in_features)
        return found.to(self.device)


def span_states(spans: Sequence[Sequence[Span]], size: int, *, hop: int, rate: int) -> Tensor:
    """Returns spans of B prompts of ``size`` frames, one-hot ``[B, F, 3]`` for `JudgeNetwork.rate_frames`."""
    ids, alignment = anchor_tables(spans, [size] * len(spans), hop=hop, rate=rate)
    return F.one_hot(ids.gather(1, alignment), SPAN_STATES)


def read_video_features(path: str | Path, frames: int, width: int) -> Tensor:
    """Reads features ``[F, V]`` of a masked video from a ``.npy`` file, one row per frame of the judge.

    Raises:
        UsageError: the file has another format or other sizes.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"expected features of a masked video as .npy at {path}, found: {error}") from error
    if found.ndim != 2 or found.shape[0] < frames or found.shape[1] != width:
        raise UsageError(f"expected video features [{frames}, {width}] in {path}, found {list(found.shape)}")
    return torch.from_numpy(np.asarray(found[:frames], np.float32))
