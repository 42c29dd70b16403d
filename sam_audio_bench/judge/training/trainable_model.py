"""The judge in training: initialisation, trainable parts, forward pass.

Letters: B rows, F frames, C width of frozen features, t of a text, V of video features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.files import load_json
from sam_audio_bench.judge.checkpoints import find_judge, judge_folder
from sam_audio_bench.judge.config import JudgeConfig
from sam_audio_bench.judge.model import SAJ
from sam_audio_bench.judge.network import JudgeNetwork
from sam_audio_bench.judge.processor import JudgeProcessor
from sam_audio_bench.judge.training.recipe import Recipe
from sam_audio_bench.judge.word_vectors import WordTokenizer
from sam_audio_bench.nn.checkpoint import load_strict, open_weights, strip_prefix

__all__ = [
    "PARTS_OF",
    "Batch",
    "InitialJudge",
    "TrainableModel",
    "load_initial_judge",
    "load_part",
    "prototype_recordings",
    "select_trainable_parts",
]

PARTS_OF: Mapping[str, tuple[str, ...]] = {
    "fusion": (
        "cat_audio_proj", "text_proj1", "text_proj2", "layer_norm", "proj_audio_and_text", "span_proj", "video_proj",
        "ear.evidence",
    ),
    "head": ("finetune_data_proj", "finetune_transformer", "head", "spread_head"),
    "backbone": ("data_proj", "transformer"),
}  # fmt: skip
"""Parameters of `JudgeNetwork` by part, as named in a recipe; "all" means all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Input of the model for rows that are rated together.

    Attributes:
        mixtures: ``[B, F, C]``, from `JudgeNetwork.encode_pair`, or the input of the backbone if that is trained.
        estimates: ``[B, F, C]``, likewise; for a small judge the features ``[B, F, NUM_INPUTS]``, which include
            mixtures, texts and spans.
        texts: ``[B, t]``.
        keep: bool ``[B, F]``, true for real frames; None: no padding.
        text_trust: ``[B, 1]``, or None; see `JudgeNetwork.rate_frame_features`.
        spans: ``[B, F, 3]``, or None.
        video: ``[B, F, V]``, or None.
    """

    mixtures: Tensor
    estimates: Tensor
    texts: Tensor
    keep: Tensor | None = None
    text_trust: Tensor | None = None
    spans: Tensor | None = None
    video: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class InitialJudge:
    """A judge before training, in float32.

    Attributes:
        judge: the judge, with the inputs and outputs that the recipe adds.
        tensors: tensors of its checkpoint by name; those that are not trained are exported unchanged.
        tokenizer: folder of its tokenizer, if it has one.
        fresh: whether the rating layers are random, so that the scale of ratings is unknown.
    """

    judge: SAJ
    tensors: Mapping[str, Tensor]
    tokenizer: Path | None
    fresh: bool


class TrainableModel(nn.Module):
    """A judge that rates batches, as a module that accelerate can wrap.

    Args:
        judge: the judge; its frozen parts stay in evaluation mode.
        trains_backbone: whether the backbone is trained, so that batches contain its input.
    """

    def __init__(self, judge: JudgeNetwork, *, trains_backbone: bool) -> None:
        super().__init__()
        self.judge = judge
        self.trains_backbone = trains_backbone
        if judge.spread_head is not None:  # the spread loss must not change the ratings
            judge.spread_head.register_forward_pre_hook(lambda _, given: (given[0].detach(),))

    def train(self, mode: bool = True) -> Self:
        """Sets training mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        for part in (self.judge.ear and self.judge.ear.listener, getattr(self.judge, "text_model", None)):
            if part is not None:
                part.eval()
        return self

    def encode(self, mixtures: Tensor, estimates: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes a mixture ``[1, 1, T]`` and its estimates ``[K, 1, T]`` with the frozen encoder."""
        with torch.no_grad():
            if not self.trains_backbone:
                return self.judge.encode_pair(mixtures, estimates)
            latents = self.judge.audio_codec.encode(torch.cat([mixtures, estimates])).transpose(1, 2)
            return latents[:1], latents[1:]

    def forward(self, batch: Batch) -> Tensor:
        """Rates frames, ``[B, F, 4]`` or ``[B, F, 8]``, as `JudgeNetwork.rate_frames`."""
        mixtures, estimates = batch.mixtures, batch.estimates
        if self.judge.ear is not None:
            return self.judge.rate_frame_features(estimates, text_trust=batch.text_trust, keep=batch.keep)
        if self.trains_backbone:
            both = torch.cat([mixtures, estimates])
            keep = None if batch.keep is None else batch.keep.repeat(2, 1)
            mixtures, estimates = self.judge.transformer(self.judge.data_proj(both), keep).chunk(2)
        return self.judge.rate_frames(
            estimates, mixtures, batch.texts, keep=batch.keep, spans=batch.spans, video=batch.video,
        )  # fmt: skip


def load_initial_judge(recipe: Recipe) -> InitialJudge:
    """Loads or builds the initial judge of a recipe, with the inputs and outputs that it adds.

    Random layers use the recipe's seed.

    Raises:
        Precondition: judge, audio encoder or word vectors are missing. UsageError: parts do not fit.
    """
    torch.manual_seed(recipe.seed)
    tokenizer: Path | None
    tensors: Mapping[str, Tensor] = {}
    if recipe.judge:
        judge, tokenizer = _build_small_judge(recipe)
    else:
        place = find_judge(recipe.init)
        judge, tensors = SAJ.from_pretrained(place), open_weights(place.weights)
        tokenizer = place.folder if (place.folder / "tokenizer.json").is_file() else None
        if recipe.reset:
            _reset(judge, recipe)
    extend = recipe.extend
    judge.extend(
        spread=extend.spread and judge.spread_head is None,
        spans=extend.spans and "spans" not in judge.prompts,
        video_width=extend.video_width if extend.video_width and judge.video_proj is None else None,
    )
    fresh = bool(recipe.judge) or "head" in recipe.reset or "all" in recipe.reset
    return InitialJudge(judge=judge, tensors=tensors, tokenizer=tokenizer, fresh=fresh)


def select_trainable_parts(judge: JudgeNetwork, names: Sequence[str]) -> bool:
    """Makes only the named parts trainable; returns whether the backbone is among them.

    Raises:
        UsageError: a small judge has no trainable backbone, or no parameter would be trained.
    """
    if judge.ear is not None and "backbone" in names:
        raise UsageError(
            'expected train to name "fusion" and "head" of a small judge, found "backbone": its audio encoder is '
            "trained beforehand, by distillation"
        )
    prefixes, found = _prefixes(names), 0
    for name, parameter in judge.named_parameters():
        learns = name.startswith(prefixes)
        if learns:
            parameter.data = parameter.data.clone()  # not in the pages of a memory-mapped file
        parameter.requires_grad_(learns)
        found += learns
    if not found:
        raise UsageError(f"expected parts that this judge has, found none of {', '.join(names)}")
    return judge.ear is None and ("backbone" in names or "all" in names)


def prototype_recordings(recipe: Recipe) -> tuple[str, ...]:
    """Reads the recording of each prototype from ``recordings.json`` next to them; empty if that is missing."""
    path = judge_folder(recipe.prototypes) / "recordings.json"
    return tuple(load_json(path)) if recipe.prototypes and path.is_file() else ()


def _prefixes(names: Sequence[str]) -> tuple[str, ...]:
    parts = PARTS_OF if "all" in names else names
    return tuple(f"{prefix}." for part in parts for prefix in PARTS_OF[part])


def _reset(judge: SAJ, recipe: Recipe) -> None:
    """Reinitialises the parts that the recipe resets."""
    prefixes = _prefixes(recipe.reset)
    fresh = SAJ(judge.config).state_dict()
    judge.load_state_dict({name: value for name, value in fresh.items() if name.startswith(prefixes)}, strict=False)


def _build_small_judge(recipe: Recipe) -> tuple[SAJ, Path]:
    """Builds a small judge with random weights, except for audio encoder, word vectors and prototypes."""
    options = recipe.judge.get("small")
    if not isinstance(options, Mapping):
        raise UsageError(
            "expected [judge.small] in the recipe, found none: to train a judge of the released layout, name one as "
            "init; reset reinitialises its layers"
        )
    parts = {"listener": load_part("listener", recipe.listener), "words": load_part("words", recipe.words)}
    if recipe.prototypes:
        parts["prototypes"] = load_part("prototypes", recipe.prototypes)
    small = {**options, **{name: part.config for name, part in parts.items()}}
    judge = SAJ(JudgeConfig.of_options({**recipe.judge, "small": small}))
    assert judge.ear is not None
    for name, part in parts.items():
        load_strict(getattr(judge.ear, name), part.tensors, source=part.folder)
    judge.ear.listener.float()  # shipped weights are float16
    judge.ear.prototypes.float()
    words = parts["words"]
    judge.processor = _processor_with_words(judge, words.folder)
    return judge, words.folder


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Audio encoder, word vectors or prototypes of a small judge."""

    config: Any
    tensors: dict[str, Tensor]
    folder: Path


def load_part(name: str, place: str) -> _Part:
    """Loads a part of a small judge from its own folder, or from a small judge given by folder or name."""
    folder = judge_folder(place)
    if not place or not (folder / "config.json").is_file():
        raise Precondition(
            f"expected config.json and model.safetensors of a small judge's {name}, or a small judge, in {folder}, "
            f"found none; correct {name} in the recipe, or make it first"
        )
    config, tensors = load_json(folder / "config.json"), open_weights(folder)
    if "small" not in config:
        return _Part(config=config, tensors=tensors, folder=folder)
    return _Part(config=config["small"][name], tensors=strip_prefix(tensors, f"ear.{name}."), folder=folder)


def _processor_with_words(judge: SAJ, words: Path) -> JudgeProcessor:
    old = judge.processor
    return JudgeProcessor(old.hop, old.rate, reader=WordTokenizer(words))
