"""`clap` and `clap_residual`: similarity of the prompt's text to the target estimate, and to the residual estimate.

The cosine between the embeddings that CLAP (Wu et al., "Large-scale contrastive language-audio pretraining with
feature fusion and keyword-to-caption augmentation", ICASSP 2023) computes from the prompt's text and from the
estimate, in [-1, 1]. CLAP is computed by transformers' `ClapModel`.

The evaluation in the SAM Audio repository uses LAION's own package with the checkpoint ``630k-best.pt`` (HTSAT-tiny, no
fusion) and takes a random crop of clips above 10 s. The default here, ``laion/clap-htsat-unfused``, is by its name also
an HTSAT without fusion, but need not have the same weights. Compare values only if the digests of the weights, which
results record, are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.identity import Options
from sam_audio_bench.metrics.base import Row
from sam_audio_bench.metrics.catalogue import metric_ids_of
from sam_audio_bench.metrics.weights import LearnedMetric, load_pretrained, split_batches
from sam_audio_bench.nn.hub import Checkpoint, ModelSource
from sam_audio_bench.types import Audio, Item, Separation

__all__ = ["Clap", "ClapResidual", "windows"]

WINDOW_SECONDS = 10
PADDING = "repeatpad"


def windows(samples: Tensor, length: int, hop: int) -> list[Tensor]:
    """Splits ``[time]`` into windows of ``length`` samples, one every ``hop``, the last one aligned to the end.

    A signal no longer than ``length`` is a single window.

    >>> [piece.tolist() for piece in windows(torch.arange(6), 3, 2)]
    [[0, 1, 2], [2, 3, 4], [3, 4, 5]]
    """
    last = len(samples) - length
    if last <= 0:
        return [samples]
    return [samples[start : start + length] for start in (*range(0, last, hop), last)]


class Clap(LearnedMetric):
    """Cosine similarity of the prompt's text and the target estimate in CLAP's space, for items with a text.

    The target is resampled to 48 kHz and split into windows of 10 s every ``clap_hop`` seconds, the last one aligned
    to the end; the clip's embedding is the normalised mean of the windows' unit vectors. Silent windows are included.
    A clip below 10 s is repeated as often as it fits as a whole and padded with zeros, which is the model's own rule
    ("repeatpad"). There is no randomness. The text is used without a template.

    CLAP's input is a log-mel spectrogram in absolute dB, so the value depends on the estimate's gain, but not on its
    polarity. Silence has no meaningful embedding: a silent estimate is undefined, with status ``silent_estimate``, and
    hence not part of the mean; read ``n_ok/n`` with it.

    Args:
        path: a folder with the model, see `ModelSource`; empty: the hub's cache.
        clap_model: id of the model on the hub.
        clap_revision: branch, tag or commit of it.
        clap_hop: seconds between windows, above 0 and at most 10.
        device: see `LearnedMetric`.
        stereo: see `LearnedMetric`.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.clap:Clap")
    rate = 48_000
    batch_size = 16

    def __init__(
        self,
        path: str = "",
        clap_model: str = "laion/clap-htsat-unfused",
        clap_revision: str = "main",
        clap_hop: float = 5.0,
        device: str = "auto",
        stereo: str = "joint",
    ) -> None:
        source = ModelSource(
            repository=clap_model,
            revision=str(clap_revision),
            path=str(path),
            weights=("model.safetensors", "pytorch_model.bin"),
            files=(("preprocessor_config.json", "processor_config.json"), ("tokenizer.json", "vocab.json")),
            config_entries=(("model_type", "clap"),),
        )
        super().__init__(source, device=device, stereo=stereo)
        if not 0 < clap_hop <= WINDOW_SECONDS:
            raise UsageError(f"expected clap_hop above 0 and at most {WINDOW_SECONDS} s, found {clap_hop}")
        self.hop = clap_hop

    @property
    def options(self) -> Options:
        """Options that change the values, for ``run.json``."""
        own = {"window_seconds": WINDOW_SECONDS, "hop_seconds": float(self.hop), "padding": PADDING}
        return {**super().options, **own}

    def applies_to(self, item: Item) -> bool:
        """Returns whether the prompt has a text."""
        return item.query.prompt.text is not None

    def load(self, model: Checkpoint, device: torch.device) -> _Encoder:
        """Loads the text and audio towers with their tokenizer and feature extractor."""
        key = model.folder, model.sha256(), str(device)
        if (found := _loaded.get(key)) is None:
            found = _loaded[key] = _Encoder(model, device)
        return found

    def measure(self, network: _Encoder, clips: Sequence[Audio], items: Sequence[Item]) -> Sequence[Sequence[float]]:
        """Returns the cosine of each clip, one value."""
        hop = max(1, round(self.hop * self.rate))
        split = [windows(clip.samples[0], WINDOW_SECONDS * self.rate, hop) for clip in clips]
        pieces = [piece for some in split for piece in some]
        embeddings = torch.cat([network.audio(batch) for batch in split_batches(pieces, self.batch_size)])
        means = [part.mean(dim=0) for part in torch.split(embeddings, [len(some) for some in split])]
        texts = [network.text(item.query.prompt.text or "") for item in items]
        cosines = [torch.nn.functional.normalize(mean, dim=0) @ text for mean, text in zip(means, texts, strict=True)]
        return [[float(cosine.clamp(-1, 1))] for cosine in cosines]


class ClapResidual(Clap):
    """`Clap` of the residual estimate: low if nothing of the target is left in it.

    A silent residual estimate is undefined, with status ``silent_estimate``.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.clap:ClapResidual")

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Returns rows in the order of the items; raises as `Clap.score`."""
        return super().score(items, [replace(one, target=one.residual) for one in separations])


class _Encoder:
    """Computes unit vectors ``[projection]``, float64, of texts and of at most 10 s of audio."""

    def __init__(self, model: Checkpoint, device: torch.device) -> None:
        import transformers

        network = load_pretrained(transformers.ClapModel, model)
        self.network: Any = network.eval().to(device)
        self.device = device
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            model.folder, local_files_only=True, trust_remote_code=False
        )
        self.features: Any = transformers.ClapFeatureExtractor.from_pretrained(model.folder, local_files_only=True)
        found = (self.features.sampling_rate, self.features.max_length_s)
        if found != (Clap.rate, WINDOW_SECONDS):
            raise Precondition(
                f"expected a CLAP for {WINDOW_SECONDS} s at {Clap.rate} Hz, found {found[1]} s, {found[0]}"
            )
        config = network.config.text_config
        self.longest = min(self.tokenizer.model_max_length, config.max_position_embeddings - config.pad_token_id - 1)
        self.texts: dict[str, Tensor] = {}

    def text(self, text: str) -> Tensor:
        """Returns the embedding of a text, truncated to the model's maximum; cached, since separators share prompts."""
        if text not in self.texts:
            tokens = self.tokenizer(text, truncation=True, max_length=self.longest, return_tensors="pt").to(self.device)
            states = self.network.text_model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
            self.texts[text] = _unit(self.network.text_projection(states.pooler_output))[0]
        return self.texts[text]

    def audio(self, pieces: Sequence[Tensor]) -> Tensor:
        """Returns embeddings ``[pieces, projection]`` of ``[time]`` each at 48 kHz, in one forward pass.

        Pieces are at most 10 s long, so the extractor does not crop them, and it pads each to 10 s itself.
        """
        waves = [piece.numpy() for piece in pieces]
        mel = self.features(waves, sampling_rate=Clap.rate, padding=PADDING, return_tensors="pt")
        # the extractor may draw values at random
        longer = torch.zeros(len(waves), 1, dtype=torch.bool, device=self.device)
        states = self.network.audio_model(
            input_features=mel["input_features"].float().to(self.device), is_longer=longer
        )
        return _unit(self.network.audio_projection(states.pooler_output))


def _unit(embeddings: Tensor) -> Tensor:
    return torch.nn.functional.normalize(embeddings.double().cpu(), dim=1)


_loaded: WeakValueDictionary[tuple[Path, str, str], _Encoder] = WeakValueDictionary()
"""Loaded networks by folder, weights and device, so that `clap` and `clap_residual` share one."""
