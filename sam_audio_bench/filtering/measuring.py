"""What is measured of a label itself, with no network: length, silence, spans, fingerprint, the share of a mask.

One line of a journal for each target, so that what was measured is not measured again: not after an interruption, not
with other thresholds, and not in the process that joins the shards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np

from sam_audio_bench import audio
from sam_audio_bench.digests import combined_digest, file_digest, flush_digests
from sam_audio_bench.errors import BenchError, describe_error
from sam_audio_bench.files import append_lines
from sam_audio_bench.filtering.fingerprint import RATE, sketch
from sam_audio_bench.filtering.pool import Label
from sam_audio_bench.records import read_records, to_builtins
from sam_audio_bench.run.executors import count_cores
from sam_audio_bench.tasks.span_table import SpanRule
from sam_audio_bench.types import Audio
from sam_audio_bench.video import read_mask

__all__ = ["JOURNAL", "MEASURED", "Measurement", "Measurer"]

MEASURED = ("seconds", "silence", "mask_coverage")
"""Columns that are measured here, of labels whose runs or tables do not have them."""

JOURNAL = "measured{}.jsonl"
"""File in the folder of what is kept, with the shard in its name."""

_VERSION = 1  # raised whenever a line would hold something else
_SKETCHED = 300  # seconds of a target, from its start, that its fingerprint is made of: memory grows with them
_BATCH = 64  # lines that are forced to disk together


class Measurement(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A line of the journal."""

    key: str  # digest of the target, its mask and the rule
    seconds: float = 0.0
    silence: float = 0.0  # share of its time in which it does not sound
    spans: list[tuple[float, float]] = []
    sketch: tuple[int, ...] = ()
    content: str = ""  # digest of the target's file
    mask_coverage: float | None = None  # share of the mask's pixels; None: there is no mask
    problem: str = ""  # why it cannot be measured; such a line is not kept


class Measurer:
    """Measures targets, with what a folder's journals know already.

    Args:
        folder: where the journals lie.
        rule: when a sound is active; silence and spans follow from it.
        shard: (I, N), whose journal is written; None: the one of the whole.
    """

    def __init__(self, folder: Path, rule: SpanRule, shard: tuple[int, int] | None = None) -> None:
        self.rule = rule
        self._path = folder / JOURNAL.format("" if shard is None else f".{shard[0]}-of-{shard[1]}")
        self._known: dict[str, Measurement] = {}
        for path in sorted(folder.glob(JOURNAL.format("*"))):
            self._known |= {line.key: line for line in read_records(path, Measurement)}

    def measure(self, labels: Sequence[Label], advance: Callable[[str | None], None]) -> Iterator[Measurement]:
        """One measurement for each label, in their order.

        Args:
            labels: to be measured.
            advance: told once a label, with what went wrong.
        """
        new: list[Measurement] = []
        try:
            for one in _ahead(self._measured, labels):
                if not one.problem and one.key not in self._known:
                    self._known[one.key] = one
                    new.append(one)
                if len(new) >= _BATCH:
                    self._write(new)
                advance(one.problem or None)
                yield one
        finally:
            self._write(new)
            flush_digests()

    def _write(self, new: list[Measurement]) -> None:
        if new:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            append_lines(self._path, map(to_builtins, new))
            new.clear()

    def _measured(self, label: Label) -> Measurement:
        try:
            if damage := label.damage():
                return Measurement(key="", problem=damage)
            content = file_digest(label.target)
            mask = _mask(label)
            key = combined_digest(str(_VERSION), repr(self.rule), content, file_digest(mask) if mask else "")
            if known := self._known.get(key):
                return known
            found = self._of_sound(audio.read(label.target))
        except BenchError as error:
            return Measurement(key="", problem=describe_error(error))
        found.key, found.content = key, content
        if mask is not None:
            found.mask_coverage = round(float(read_mask(mask).float().mean()), 6)
        return found

    def _of_sound(self, sound: Audio) -> Measurement:
        spans = self.rule(sound)
        active = sum(end - start for start, end in spans)
        mono = audio.resample(audio.to_mono(sound), RATE).samples[0].numpy()
        return Measurement(
            key="",
            seconds=round(sound.seconds, 6),
            silence=round(max(0.0, 1 - active / sound.seconds), 6) if sound.seconds else 1.0,
            spans=[(start, end) for start, end in spans],
            sketch=sketch(mono[: _SKETCHED * RATE].astype(np.float32, copy=False)),
        )


def _mask(label: Label) -> Path | None:
    """The mask of a label's video; where only its task knows, the item is loaded."""
    if not label.has_video or label.video is not None or label.load is None:
        return label.mask
    mask = label.load().query.prompt.mask
    return None if mask is None else Path(mask)


def _ahead(function: Callable[[Label], Measurement], labels: Iterable[Label]) -> Iterator[Measurement]:
    """The results in order, from a thread for each core: decoders and numpy let others run."""
    workers = count_cores()
    waiting: deque[Future[Measurement]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for label in labels:
            waiting.append(pool.submit(function, label))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
