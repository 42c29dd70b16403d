"""The T5 encoder (Raffel et al., 2020) of the text prompts, computed by transformers.

Its weights are not in released checkpoints: they are loaded from a folder, from the hub, or from a checkpoint that
contains them under ``text_encoder.``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sam_audio_bench.errors import Precondition
from sam_audio_bench.identity import Options
from sam_audio_bench.nn.checkpoint import align_weights, load_strict
from sam_audio_bench.nn.config import TextConfig

__all__ = ["TextEncoder", "silence_transformers"]

_ARCHITECTURES: Mapping[str, Options] = {
    "t5-base": {
        "vocab_size": 32_128, "d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12,
        "feed_forward_proj": "relu",
    },
}  # fmt: skip
_TOKENIZER_FILES = ("tokenizer.json", "spiece.model")


class TextEncoder:
    """Encodes texts; the network is loaded for the first text, and can be released.

    Args:
        config: the network.
        tensors: its weights, by the names below ``text_encoder.`` in a checkpoint; empty: load them from a folder or
            the hub.
        checkpoint: folder of the checkpoint, which may contain the tokenizer.
        place: a folder in transformers' format, or an id on the hub, instead of the one in the config.
        device: where the network runs; always in float32.
    """

    def __init__(
        self,
        config: TextConfig,
        tensors: Mapping[str, Tensor],
        *,
        checkpoint: Path,
        place: str = "",
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config
        self._tensors = {} if place else dict(tensors)
        self._checkpoint = checkpoint
        self._place = place or config.name
        self._device = torch.device(device)
        self._network: Any = None
        self._tokenizer: Any = None

    def __call__(self, text: str) -> Tensor:
        """Returns features ``[1, S, dim]`` of one text, without padding."""
        features, mask = self.batch([text])
        return features[:, mask[0]]

    def batch(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Returns features ``[B, S, dim]`` of padded texts, and a mask, bool ``[B, S]``, true for real tokens."""
        if self._tokenizer is None:
            self._tokenizer = self._load_tokenizer()
        tokens = self._tokenizer(
            list(texts), truncation=True, max_length=self.config.max_length, padding=self.config.pad_mode,
            return_tensors="pt",
        )  # fmt: skip
        return self.encode(tokens["input_ids"], tokens["attention_mask"])

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the last hidden state ``[B, S, dim]`` of token ids ``[B, S]``, and the mask as bool."""
        if self._network is None:
            self._network = self._load_network().eval().to(self._device)
        with torch.inference_mode():
            found = self._network(
                input_ids=input_ids.to(self._device), attention_mask=attention_mask.to(self._device)
            ).last_hidden_state
        return found, attention_mask.bool().to(self._device)

    def release(self) -> None:
        """Frees the network; the next text loads it again."""
        self._network = None

    def _load_tokenizer(self) -> Any:
        own = any((self._checkpoint / name).is_file() for name in _TOKENIZER_FILES)
        return self._transformers("AutoTokenizer", str(self._checkpoint) if own and self._tensors else None)

    def _load_network(self) -> Any:
        import transformers

        if not self._tensors:
            network = self._transformers("T5EncoderModel", dtype=torch.float32)
            align_weights(network)
        else:
            architecture = self.config.architecture or _ARCHITECTURES.get(self.config.name)
            if architecture is None:
                raise Precondition(
                    f"expected text_encoder.name to be one of {', '.join(_ARCHITECTURES)}, found {self.config.name!r}; "
                    f"describe another one in {self._checkpoint / 't5_config.json'}"
                )
            kind: Any = transformers.T5EncoderModel
            with torch.device("meta"), silence_transformers():
                network = kind(transformers.T5Config(**architecture))
            named = {name.removeprefix("model."): value.float() for name, value in self._tensors.items()}
            load_strict(network, named, source=self._checkpoint)
        if network.config.d_model != self.config.dim:
            raise Precondition(
                f"expected a text encoder of width {self.config.dim}, as in the checkpoint's config, found "
                f"{network.config.d_model} in {self._place}"
            )
        return network

    def _transformers(self, kind: str, place: str | None = None, **options: Any) -> Any:
        """Calls ``kind.from_pretrained``; raises its errors as Precondition."""
        import transformers

        place = place or self._place
        try:
            with silence_transformers():
                return getattr(transformers, kind).from_pretrained(place, trust_remote_code=False, **options)
        except (OSError, ValueError, RuntimeError) as error:
            found = " ".join(str(error).split())[:160]
            raise Precondition(
                f"expected the text encoder {place} in a folder or on the Hugging Face hub, found {found}; run "
                f"`hf download {place}` once, or give a copy with --model-args text_encoder=DIR"
            ) from error


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Silences progress bars and warnings of transformers while it loads."""
    import transformers

    logging: Any = transformers.utils.logging
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
