"""Measures labels without a neural network: length, silence, spans, fingerprint, coverage of the mask.

Each measurement is a line of a journal, so that it is not repeated after an interruption, with other thresholds, or in
the process that joins the shards.
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
"""Columns that are measured, unless the pool has them."""

JOURNAL = "measured{}.jsonl"
"""Name of the journal in the output folder, with the shard."""

_VERSION = 1  # raised whenever measurements change
_SKETCHED = 300  # seconds from the start of a target from which its fingerprint is made; memory grows with them
_BATCH = 64  # lines that are written to disk together


class Measurement(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A line of the journal."""

    key: str  # digest of the target, its mask and the rule
    seconds: float = 0.0
    silence: float = 0.0  # share of time in which the target is not active
    spans: list[tuple[float, float]] = []
    sketch: tuple[int, ...] = ()
    content: str = ""  # digest of the target's file
    mask_coverage: float | None = None  # share of pixels in the mask; None: there is no mask
    problem: str = ""  # why the target cannot be measured; then there is no line in the journal


class Measurer:
    """Measures targets, unless the journals of a folder have their measurement.

    Args:
        folder: folder of the journals.
        rule: the rule by which a sound is active, for silence and spans.
        shard: (I, N), whose journal is written; None: the journal without a shard.
    """

    def __init__(self, folder: Path, rule: SpanRule, shard: tuple[int, int] | None = None) -> None:
        self.rule = rule
        self._path = folder / JOURNAL.format("" if shard is None else f".{shard[0]}-of-{shard[1]}")
        self._known: dict[str, Measurement] = {}
        for path in sorted(folder.glob(JOURNAL.format("*"))):
            self._known |= {line.key: line for line in read_records(path, Measurement)}

    def measure(self, labels: Sequence[Label], advance: Callable[[str | None], None]) -> Iterator[Measurement]:
        """Yields one measurement per label, in order.

        Args:
            labels: the labels.
            advance: called once per label, with its problem or None.
        """
        new: list[Measurement] = []
        try:
            for one in _map_parallel(self._measure_label, labels):
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

    def _measure_label(self, label: Label) -> Measurement:
        try:
            if damage := label.damage():
                return Measurement(key="", problem=damage)
            content = file_digest(label.target)
            mask = _find_mask(label)
            key = combined_digest(str(_VERSION), repr(self.rule), content, file_digest(mask) if mask else "")
            if known := self._known.get(key):
                return known
            found = self._measure_sound(audio.read(label.target))
        except BenchError as error:
            return Measurement(key="", problem=describe_error(error))
        found.key, found.content = key, content
        if mask is not None:
            found.mask_coverage = round(float(read_mask(mask).float().mean()), 6)
        return found

    def _measure_sound(self, sound: Audio) -> Measurement:
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


def _find_mask(label: Label) -> Path | None:
    """Returns the mask of a label's video, for which the item is loaded if only its task has the path; or None."""
    if not label.has_video or label.video is not None or label.load is None:
        return label.mask
    mask = label.load().query.prompt.mask
    return None if mask is None else Path(mask)


def _map_parallel(function: Callable[[Label], Measurement], labels: Iterable[Label]) -> Iterator[Measurement]:
    """Yields the results in order, from one thread per core, since decoders and numpy release the GIL."""
    workers = count_cores()
    waiting: deque[Future[Measurement]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for label in labels:
            waiting.append(pool.submit(function, label))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
