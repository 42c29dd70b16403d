"""Prepares a judge's input: clips padded to whole frames by reflection and to batches by zeros, and tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sam_audio_bench.errors import UsageError
from sam_audio_bench.nn.codec import reflect_pad
from sam_audio_bench.nn.peav import load_tokenizer, tokenize

__all__ = ["PARITIES", "JudgeProcessor"]

Reader = Callable[[Sequence[str]], tuple[Tensor, Tensor]]

PARITIES = ("exact", "upstream")
"""Whether known faults of the reference implementation are corrected ("exact") or reproduced ("upstream")."""


class JudgeProcessor:
    """Prepares clips and texts as batches for a judge.

    With ``parity="upstream"`` texts and channels are left unchanged, and a clip that one reflection cannot extend to
    whole frames is rejected. With "exact" texts are lower-cased and stripped, as in the judge's training data; channels
    are averaged; and any clip with at least one sample is accepted.

    Args:
        hop: samples per frame.
        rate: of the judge in Hz.
        parity: one of `PARITIES`.
        folder: of the checkpoint, which may contain the tokenizer.
        tokenizer: folder or hub id of the tokenizer, or a callable; empty: that in ``folder``, else
            `sam_audio_bench.nn.peav.TOKENIZER`.
        reader: callable that returns ids and mask of texts; replaces the tokenizer.
    """

    def __init__(
        self,
        hop: int,
        rate: int,
        *,
        parity: str = "exact",
        folder: Path | None = None,
        tokenizer: Any = "",
        reader: Reader | None = None,
    ) -> None:
        if parity not in PARITIES:
            raise UsageError(f"expected parity to be one of {', '.join(PARITIES)}, found {parity!r}")
        self.hop, self.rate, self.parity = hop, rate, parity
        self._folder = folder
        self._tokenizer, self._reader = tokenizer, reader

    def __call__(
        self, texts: Sequence[str], mixtures: Sequence[Tensor], separated: Sequence[Tensor], rate: int
    ) -> dict[str, Tensor]:
        """Returns the judge's arguments for B texts, mixtures and estimates; see `audio` and `tokens`.

        Raises:
            UsageError: their numbers differ, or an estimate has another number of frames than its mixture.
        """
        if not len(texts) == len(mixtures) == len(separated):
            found = f"{len(texts)}, {len(mixtures)} and {len(separated)}"
            raise UsageError(f"expected as many texts, mixtures and estimates, found {found}")
        values, mask = self.audio(mixtures, rate)
        estimates, own = self.audio(separated, rate)
        if mask.shape != own.shape or not torch.equal(mask.sum(dim=1), own.sum(dim=1)):
            raise UsageError("expected every estimate to be as long as its mixture, found another number of frames")
        ids, attention = self.tokens(texts)
        return {
            "input_ids": ids,
            "attention_mask": attention,
            "input_values": values,
            "separated_values": estimates,
            "padding_mask": mask,
        }

    def audio(self, clips: Sequence[Tensor], rate: int) -> tuple[Tensor, Tensor]:
        """Extends clips to whole frames by reflection, and stacks them as one batch.

        Args:
            clips: ``[samples]`` or ``[channels, samples]``.
            rate: of the clips, Hz.

        Returns:
            Values ``[B, channels, T]``, padded with zeros on the right, and bool ``[B, T]``, true for samples of
            the clip itself.

        Raises:
            UsageError: no list of clips, another sampling rate, or a clip that cannot be extended.
        """
        if not isinstance(clips, list | tuple) or not clips:
            raise UsageError(
                f"expected a list of clips [channels, samples], found {type(clips).__name__} or none in it"
            )
        if rate != self.rate:
            raise UsageError(f"expected clips at {self.rate} Hz, the judge's rate, found {rate}; resample them")
        waves = [self._extended(clip) for clip in clips]
        lengths = torch.tensor([wave.shape[1] for wave in waves])
        longest = int(lengths.max())
        if len({len(wave) for wave in waves}) > 1:
            raise UsageError("expected clips with the same number of channels, found several; average them")
        values = torch.stack([F.pad(wave, (0, longest - wave.shape[1])) for wave in waves])
        return values, torch.arange(longest) < lengths[:, None]

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Returns ids and attention mask, int64 ``[B, S]``; raises Precondition if there is no tokenizer."""
        if self._reader is None:
            named = isinstance(self._tokenizer, str)
            tokenizer = load_tokenizer(self._folder, self._tokenizer) if named else self._tokenizer
            self._reader = partial(tokenize, tokenizer)
        return self._reader([self.text(text) for text in texts])

    def text(self, text: str) -> str:
        """Returns the text that is tokenized."""
        return text.lower().strip() if self.parity == "exact" else text

    def _extended(self, clip: Tensor) -> Tensor:
        wave = clip[None] if clip.ndim == 1 else clip
        if wave.ndim != 2 or not wave.is_floating_point():
            found = f"{clip.dtype} {tuple(clip.shape)}"
            raise UsageError(f"expected a float clip [samples] or [channels, samples], found {found}")
        missing = -wave.shape[1] % self.hop
        if self.parity == "exact":
            wave = wave.mean(dim=0, keepdim=True)
        elif wave.shape[1] <= missing:
            raise UsageError(
                f"expected a clip of more than {missing} samples, which its reflection adds, found {wave.shape[1]}; "
                'parity="exact" reflects it again'
            )
        return reflect_pad(wave, self.hop)
