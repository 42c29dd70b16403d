"""Finds the spans in which targets are active, and writes tables of questions with span prompts.

There are two published rules, whose numbers can be changed:

    relative    windows 40 dB below the target's loudest 250 ms are silent, as for `span_iou` (SAM Audio)
    absolute    windows at -40 dBFS are silent, and sounds shorter than 250 ms are left out
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sam_audio_bench.blocks import has_sound
from sam_audio_bench.errors import MediaError, UsageError
from sam_audio_bench.metrics.functional.activity import Overlap, active_spans, span_overlap
from sam_audio_bench.tasks.archives import write_csv
from sam_audio_bench.tasks.manifest_rows import ManifestRow, Questions
from sam_audio_bench.tasks.manifest_sounds import SoundReader
from sam_audio_bench.tasks.manifest_tables import COLUMNS, format_spans
from sam_audio_bench.types import Audio, Span

__all__ = ["RULES", "FoundSpans", "SpanRule", "check_table_path", "find_spans", "write_spans"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRule:
    """The rule by which a sound is active; raises UsageError for invalid numbers."""

    mode: str  # of `activity.MODES`
    threshold: float  # dB relative to the loudest window, or to full scale
    window: float = 0.25  # seconds, also the shortest silence
    shortest: float = 0.0  # seconds of the shortest sound

    def __post_init__(self) -> None:
        if not self.threshold < 0 <= self.shortest:
            raise UsageError(
                f"expected a threshold below 0 dB and sounds of 0 s or more, found {self.threshold} and {self.shortest}"
            )

    def __call__(self, sound: Audio) -> tuple[tuple[float, float], ...]:
        """Returns the spans ``(start, end)`` in seconds in which a sound is active; none in digital silence."""
        if not has_sound(sound.samples):
            return ()
        found = active_spans(sound.samples, sound.rate, threshold=self.threshold, mode=self.mode, window=self.window)
        return tuple((start, end) for start, end in found if end - start >= self.shortest - 1e-9)


RULES: Mapping[str, SpanRule] = MappingProxyType(
    {
        "relative": SpanRule(mode="rel_to_max", threshold=-40.0),
        "absolute": SpanRule(mode="abs", threshold=-40.0, shortest=0.25),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSpans:
    """The spans that were found for one question."""

    item: str
    spans: tuple[Span, ...] = ()
    given: tuple[Span, ...] = ()  # spans of the question
    overlap: Overlap | None = None  # with the given spans; None: there are none
    problem: str = ""  # why the question is left out of the table
    target: Audio | None = None  # for a figure


def find_spans(questions: Questions, rule: SpanRule) -> Iterator[FoundSpans]:
    """Finds the spans of every question's target; a question with a problem does not affect the others."""
    for item, row in questions.rows.items():
        yield _find_spans(item, row, questions.root, rule)


def _find_spans(item: str, row: ManifestRow, root: Path, rule: SpanRule) -> FoundSpans:
    if problem := _unwritable_reason(row):
        return FoundSpans(item=item, problem=problem)
    try:
        target = SoundReader(root, row.part)(row.target[0])
    except MediaError as error:
        return FoundSpans(item=item, problem=str(error))
    times = rule(target)
    given = [(start, end) for sign, start, end in row.spans if sign == "+"]
    spans = tuple(("+", start, end) for start, end in times)
    if not (spans or row.text or row.video):
        return FoundSpans(item=item, problem="expected a target that sounds or a text, found silence and none")
    overlap = span_overlap(reference=given, estimate=times) if given else None
    return FoundSpans(item=item, spans=spans, given=row.spans, overlap=overlap, target=target)


def _unwritable_reason(row: ManifestRow) -> str:
    """Returns why a question cannot be a row of a table with spans; "" if it can."""
    if not row.target:
        return "expected a target, whose activity makes the spans, found none"
    several = row.mixture is None or len(row.target) > 1 or len(row.residual) > 1
    if several or row.part is not None or not all(isinstance(sound, str) for _, sound in row.files):
        return "expected files for mixture, target and residual, found sounds that are added up, cut or in a table"
    return ""


def check_table_path(questions: Questions, path: Path) -> None:
    """Raises UsageError unless the table is a CSV in the folder of the questions and does not replace their own."""
    if path.suffix.lower() != ".csv":
        raise UsageError(f"expected the name of a .csv file for the table, found {path}")
    if path.resolve().parent != questions.root.resolve():
        raise UsageError(
            f"expected a table in the folder of the data, {questions.root}, to which paths are relative, found {path}"
        )
    if path.resolve() == questions.path.resolve():
        raise UsageError(f"expected another name than that of the questions, found {path}: they would be replaced")


def write_spans(questions: Questions, found: Iterable[FoundSpans], path: Path) -> int:
    """Writes the questions with the spans that were found, as a table for ``--task``; returns the number of rows.

    Questions with a problem are left out; attributes are kept.
    """
    attributes = dict.fromkeys(name for own in questions.attributes.values() for name in own)
    rows = [
        {**questions.attributes.get(one.item, {}), **_cells(questions.rows[one.item], one.spans)}
        for one in found
        if not one.problem
    ]
    write_csv(path, [*COLUMNS, *attributes], rows)
    return len(rows)


def _cells(row: ManifestRow, spans: tuple[Span, ...]) -> dict[str, object]:
    return {
        "mixture": row.mixture,
        "text": row.text,
        "spans": format_spans(spans),
        "video": row.video,
        "mask": row.mask,
        "target": row.target[0],
        "residual": row.residual[0] if row.residual else "",
        "group": row.group,
        "id": row.id,
        "paraphrases": "|".join(row.paraphrases),
    }
