"""Text embedding of a small judge: static word vectors, and the similarity of a prompt to sound-event names.

A text's vector is the normalised sum of the vectors of its words, similar to fastText (Joulin et al., EACL 2017), and
of one vector that all texts share; they are fitted to the sentence embeddings of a large text encoder. The length of a
vector is the weight of its word. Every text has a vector, so a judge that represents prompts by the events that they
resemble also generalises to words that it was not trained on.

Letters: B texts, S tokens, V vocabulary, D width, N events.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_audio_bench.errors import Precondition
from sam_audio_bench.nn.checkpoint import load_strict, open_weights
from sam_audio_bench.nn.config import Config, read_config

__all__ = ["PromptRemark", "WordTokenizer", "WordVectors", "WordVectorsConfig", "name_cosines", "quantise_rows"]

_WORD = re.compile(r"[^\W\d_]{2,}|[^\W\d_a-zA-Z]")  # a single letter names nothing in Latin script
_NEGATION = re.compile(
    r"\b(no|not|non|none|never|without|except|excluding|minus|\w+n['’]t|other than|anything but)\b", re.I
)
_FILLERS = frozenset(
    ("an", "the", "of", "and", "or", "in", "on", "at", "to", "by", "from", "for", "with", "is", "are", "it", "its",
     "this", "that", "some", "my", "sound", "sounds")
)  # fmt: skip
"""Words that do not name a sound by themselves."""

_SURE, _TRAINED = 0.75, 0.95
"""Cosines to the nearest event, and to the nearest text of the training data, from which a word of several tokens
counts as known: foreign words reach 0.5 to 0.7, "didgeridoo" 0.79, "theremin" 0.93."""


class PromptRemark(NamedTuple):
    """What a judge does not understand in a prompt."""

    text: str  # a sentence without a full stop
    understood: bool  # whether enough is understood for ratings to be meaningful


@dataclass(frozen=True, kw_only=True)
class WordVectorsConfig(Config):
    """Sizes of the table of word vectors, and temperature of the softmax over events."""

    vocabulary: int = 26_000
    width: int = 128
    events: int = 521
    temperature: float = 0.05

    def __post_init__(self) -> None:
        if min(self.vocabulary, self.width, self.events) < 1 or not self.temperature > 0:
            raise ValueError(f"expected positive sizes and temperature, found {self}")


class WordTokenizer:
    """Tokenizer that maps texts to rows of the table.

    Args:
        folder: holds ``tokenizer.json``, whose id 0 is the unknown token.

    Raises:
        Precondition: there is no tokenizer.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        path = folder / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:
            raise Precondition(f"expected a tokenizer in {path}, found none that can be read ({error})") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Returns ids, int64, and whether each is a known word, bool, both ``[B, S]``; S is at least 1."""
        rows = [torch.tensor(found.ids) for found in self._tokenizer.encode_batch(list(texts))]
        longest = max([1, *map(len, rows)])
        ids = torch.zeros(len(rows), longest, dtype=torch.int64)
        for padded, row in zip(ids, rows, strict=True):
            padded[: len(row)] = row
        return ids, ids != 0


class WordVectors(nn.Module):
    """A table of word vectors, and the vectors of the names of sound events.

    It is not trained together with a judge, so all tensors are buffers. The table is int8 with one scale per row.
    """

    table: Tensor
    scale: Tensor
    shared: Tensor
    names: Tensor

    def __init__(self, config: WordVectorsConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("table", torch.zeros(config.vocabulary, config.width, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(config.vocabulary))
        self.register_buffer("shared", torch.zeros(config.width))
        self.register_buffer("names", torch.zeros(config.events, config.width, dtype=torch.float16))

    @classmethod
    def of_folder(cls, folder: Path) -> WordVectors:
        """Reads ``config.json`` and ``model.safetensors``; raises Precondition if one is missing."""
        with torch.device("meta"):
            found = cls(WordVectorsConfig.of(read_config(folder / "config.json")))
        load_strict(found, open_weights(folder), source=folder)
        return found.eval()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Returns vectors of texts.

        Args:
            ids: int64 ``[B, S]``, from `WordTokenizer`.
            mask: bool ``[B, S]``, true for known words.

        Returns:
            Unit vectors, float32 ``[B, D]``; zeros for a text without a known word.
        """
        weights = self.scale[ids].double() * mask  # float64, so that padding changes no bit of the sum
        sums = (self.table[ids] * weights[..., None]).sum(dim=1) + self.shared * mask.any(dim=1, keepdim=True)
        return F.normalize(sums, dim=-1).float()

    def event_weights(self, texts: Tensor) -> Tensor:
        """Returns the similarity of texts to each sound event: a softmax of cosines.

        Args:
            texts: unit vectors ``[B, D]``.

        Returns:
            Weights ``[B, N]`` that sum to 1; all equal for a zero vector.
        """
        return (name_cosines(texts, self.names) / self.config.temperature).softmax(dim=-1)

    def check_prompt(
        self,
        text: str,
        tokenize: Callable[[Sequence[str]], tuple[Tensor, Tensor]],
        familiar: Tensor | None = None,
    ) -> PromptRemark | None:
        """Returns what is not understood in a prompt; None if everything is.

        Args:
            text: the prompt.
            tokenize: a `WordTokenizer`, or a function with the same signature.
            familiar: unit vectors of texts of the training data, ``[K, D]``.
        """
        if not text.strip():
            return PromptRemark("the prompt is empty, so no target is named", understood=False)
        if found := _NEGATION.search(text):
            return PromptRemark(
                f"'{text}': negation ('{found.group()}') is not understood; name the target sound",
                understood=False,
            )
        named = [word for word in dict.fromkeys(_WORD.findall(text)) if word.lower() not in _FILLERS]
        known = dict(zip(named, self._known(named, tokenize, familiar), strict=True)) if named else {}
        if not any(known.values()):
            return PromptRemark(
                f"no word of '{text}' is known: the judge reads English names of sounds, so its ratings for this "
                "prompt are meaningless; name the sound in English",
                understood=False,
            )
        strange = [f"'{word}'" for word, one in known.items() if not one]
        return PromptRemark(f"of '{text}' the judge does not know {', '.join(strange)}", True) if strange else None

    def _known(
        self,
        words: Sequence[str],
        tokenize: Callable[[Sequence[str]], tuple[Tensor, Tensor]],
        familiar: Tensor | None,
    ) -> list[bool]:
        """Returns whether each word is in the table, or its tokens are near an event or a text of the training data."""
        ids, mask = tokenize([word.lower() for word in words])
        mask = mask.bool() & (ids != 0)
        vectors = self(ids, mask)
        near = name_cosines(vectors, self.names).amax(dim=-1) >= _SURE
        if familiar is not None and len(familiar):
            near |= name_cosines(vectors, familiar).amax(dim=-1) >= _TRAINED
        pieces = mask.sum(dim=1)
        return [
            bool(count == 1 or (count > 1 and sure)) for count, sure in zip(pieces.tolist(), near.tolist(), strict=True)
        ]


def name_cosines(texts: Tensor, names: Tensor) -> Tensor:
    """Returns cosines of texts, unit vectors ``[B, D]``, to names ``[N, D]``: ``[B, N]``."""
    return texts @ F.normalize(names.float(), dim=-1).T.to(texts)


def quantise_rows(table: Tensor) -> tuple[Tensor, Tensor]:
    """Quantises a table ``[V, D]`` to int8 with one scale per row ``[V]``; the error is at most half a step."""
    scale = table.abs().amax(dim=1) / 127
    steps = table / scale.where(scale > 0, 1)[:, None]
    return steps.round().to(torch.int8), scale
