"""What a network must offer to be trained.

What is never trained is apart from what may be, so that it is computed once: `listen` and `look_up` are frozen, `attend`,
`ask` and `estimate` are not. ``hear`` is ``attend(listen(…))``, ``read`` is ``ask(look_up(…))``, ``rate`` is the first
result of `estimate`.

Letters: B batch, T samples, F frames, C width of frozen states, h of those that are fused, S tokens, t of a text, b of
the fusion, V of video features.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

__all__ = ["Trainable"]


class Trainable(Protocol):
    """A judge's network; `sam_audio_bench.judge.network.JudgeNetwork` is one."""

    mean: Any  # parameter [4]: what the ratings of frames are scaled and shifted by
    std: Any

    @property
    def hears_residual(self) -> bool:
        """Whether `estimate` takes what was removed from the mixture, too."""
        ...

    @property
    def has_spread(self) -> bool:
        """Whether `estimate` says how sure it is."""
        ...

    def residual(self, mixtures: Tensor, answers: Tensor) -> Tensor:
        """What was removed, ``[B, 1, T]``, of both ``[B, 1, T]``."""
        ...

    def listen(self, values: Tensor) -> Tensor:
        """Frozen: clips without padding, ``[B, 1, T] -> [B, F, C]``."""
        ...

    def attend(self, states: Tensor, keep: Tensor | None = None) -> Tensor:
        """The rest of hearing, ``[B, F, C] -> [B, F, h]``; ``keep``, bool ``[B, F]``, is true for real frames."""
        ...

    def look_up(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Frozen: tokens to the state of a text, ``[B, S] -> [B, t]`` (or ``[B, …]``)."""
        ...

    def ask(self, states: Tensor) -> Tensor:
        """The rest of reading, ``[B, t] -> [B, b]``; where the module is training, texts may drop out."""
        ...

    def estimate(
        self,
        answers: Tensor,
        mixtures: Tensor,
        texts: Tensor,
        *,
        residuals: Tensor | None = None,
        keep: Tensor | None = None,
        spans: Tensor | None = None,
        video: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Ratings of frames ``[B, F, 4]`` and the logarithm of the spread ``[B, 4]``, both in units of `std`.

        The spread is a standard deviation of the rating of a whole answer; no gradient flows from it into anything but
        its own layers.
        """
        ...
