"""Training examples of a judge: rows of ratings, and the clips that they refer to.

A row has the ratings of one estimate for one query, on up to four axes. Tables and shards yield the same format.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import soundfile
import torch
from torch import Tensor

from sam_audio_bench import audio
from sam_audio_bench.errors import MediaError, UsageError
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.types import Audio

__all__ = ["COLUMNS", "Clip", "Examples", "join_recordings", "split_recordings"]

COLUMNS = (
    "query", "item", "group", "system", "domain", "text", "label", "kind", "spans", "video", "mixture", "answer", *AXES,
    "raters",
)  # fmt: skip
"""Columns of `Examples.rows`.

``query`` names mixture and prompt, ``item`` the mixture, ``group`` the recording that it was cut from, or those that
it was mixed from, joined by " & ". ``label`` and ``kind`` are known for simulations: the event that the text
describes, and whether it is intended, wrong or absent. ``spans`` are as `sam_audio_bench.tasks.manifest.parse_spans`
reads; ``video`` is a file of features. ``mixture`` and ``answer`` (an estimate) are indices into `Examples.clips`. Axes
that were not rated are NaN. ``raters`` is the number of ratings that the scores are means of.
"""

_BIGGEST = 512 * 2**20  # bytes of an encoded clip


_BETWEEN = " & "


def join_recordings(recordings: str | Sequence[str]) -> str:
    """Returns the group of a mixture of one or several recordings.

    >>> join_recordings("a"), join_recordings(["b", "a", "b"])
    ('a', 'a & b')
    """
    return recordings if isinstance(recordings, str) else _BETWEEN.join(sorted(set(recordings)))


def split_recordings(group: str) -> list[str]:
    """Returns the recordings of a group.

    >>> split_recordings("a & b")
    ['a', 'b']
    """
    return str(group).split(_BETWEEN)


@dataclass(frozen=True, slots=True)
class Clip:
    """An audio clip: a file, or a member of an archive."""

    path: Path
    name: str  # within the archive; empty: the file itself
    offset: int = 0
    size: int = -1  # bytes; -1: to the end

    def read_bytes(self) -> bytes:
        """Returns the encoded recording; raises MediaError if it is missing or truncated."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                found = file.read(_BIGGEST + 1 if self.size < 0 else self.size)
        except OSError as error:
            raise MediaError(f"expected a recording at {self}, found none that can be read ({error})") from error
        if len(found) > _BIGGEST or len(found) < self.size:
            raise MediaError(f"expected a recording of at most {_BIGGEST} bytes at {self}, found a damaged one")
        return found

    def digest(self) -> str:
        """Returns the SHA-256 of the encoded recording."""
        return hashlib.sha256(self.read_bytes()).hexdigest()

    def read_mono(self, rate: int, max_seconds: float) -> Tensor:
        """Reads the clip as mono at a rate, ``[samples]``, cut to ``max_seconds``.

        Raises:
            MediaError: it is missing, empty or not finite.
        """
        found = self.read_audio()
        cut = Audio(found.samples[:, : round(max_seconds * found.rate)], found.rate)
        return audio.resample(audio.to_mono(cut), rate).samples[0].float()

    def read_audio(self) -> Audio:
        """Reads the whole clip unchanged; raises MediaError as `read_mono`."""
        return self._decoded() if self.name else audio.read(self.path)

    def _decoded(self) -> Audio:
        try:
            samples, rate = soundfile.read(io.BytesIO(self.read_bytes()), dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise MediaError(f"expected audio that libsndfile can read at {self}, found: {error}") from error
        if not len(samples) or not np.isfinite(samples).all():
            raise MediaError(f"expected finite samples at {self}, found none, NaN or infinity")
        return Audio(torch.from_numpy(np.ascontiguousarray(samples.T)), int(rate))

    def __str__(self) -> str:
        return f"{self.path}:{self.name}" if self.name else str(self.path)


@dataclass(frozen=True)
class Examples:
    """Rows with `COLUMNS`, in an order determined only by the sources, and the clips that they refer to by index."""

    rows: pd.DataFrame
    clips: tuple[Clip, ...]
    simulated: bool = False  # whether scores were computed rather than given by listeners
    dropped: Mapping[str, int] = field(default_factory=dict)  # number of rows that were left out, by reason

    def __post_init__(self) -> None:
        if self.rows.empty:
            raise UsageError("expected rated estimates, found none")

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, keep: Sequence[bool] | np.ndarray) -> Self:
        """Returns the rows where ``keep`` is true; clips keep their indices."""
        return replace(self, rows=self.rows[np.asarray(keep)].reset_index(drop=True))

    def without_texts(self) -> Self:
        """Returns the rows of intended prompts with empty texts, to train a judge that ignores texts."""
        intended = self.only(self.rows["kind"].isin(("", "intended")).to_numpy(bool))
        textless = replace(intended, rows=intended.rows.assign(text=""))
        return textless.with_dropped("answers rated for a prompt that was not meant", len(self) - len(intended))

    def with_dropped(self, reason: str, count: int) -> Self:
        """Records that ``count`` rows were left out for a reason."""
        if not count:
            return self
        return replace(self, dropped={**self.dropped, reason: self.dropped.get(reason, 0) + count})

    def scores(self) -> np.ndarray:
        """Returns the scores, float64 ``[rows, 4]``, columns as `AXES`, NaN where an axis was not rated."""
        return self.rows[list(AXES)].to_numpy(float)

    @classmethod
    def concatenate(cls, parts: Iterable[Examples]) -> Examples:
        """Concatenates examples; raises UsageError if a query occurs in two sources."""
        rows: list[pd.DataFrame] = []
        clips: list[Clip] = []
        seen: set[str] = set()
        simulated = False
        dropped: Counter[str] = Counter()
        for part in parts:
            names = set(part.rows["query"])
            if seen & names:
                raise UsageError(f"expected every query in one source, found {min(seen & names)!r} in two; rename it")
            seen |= names
            moved = {name: part.rows[name] + len(clips) for name in ("mixture", "answer")}
            rows.append(part.rows.assign(**moved))
            clips += part.clips
            simulated |= part.simulated
            dropped.update(part.dropped)
        if not rows:
            raise UsageError("expected at least one source of ratings, found none")
        joined = pd.concat(rows, ignore_index=True)
        return cls(rows=joined, clips=tuple(clips), simulated=simulated, dropped=dict(dropped))
