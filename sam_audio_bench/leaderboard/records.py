"""The JSON files of a leaderboard as typed records. The schemas in ``schemas/`` are generated from them.

    SubmissionRecord   submission.json: one revision of a separator, what was run, and what came out
    LogEntry           a line of log.jsonl
    BoardRule          an entry of boards.json
    PreviewRule        previews.json
    Preview            item.json: an item of the site to listen to
    ReportedNumbers    results/reported/*.json: numbers of a paper

Files are untrusted: `safe_io` limits their size first, then every field must have its type, and no other fields may be
present. Submissions keep schema version 1: their files are never rewritten, since the log holds their digests.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from sam_audio_bench.errors import StoreError
from sam_audio_bench.identity import Options
from sam_audio_bench.leaderboard import safe_io
from sam_audio_bench.records import MetricRecord, json_schema, selection_label, to_builtins

__all__ = [
    "FILES",
    "Aggregate",
    "BoardRule",
    "Credit",
    "Frame",
    "LogEntry",
    "Preview",
    "PreviewEstimate",
    "PreviewRule",
    "Quantity",
    "RatingsOverTime",
    "ReportedNumber",
    "ReportedNumbers",
    "SchemaError",
    "Selection",
    "SeparatorRecord",
    "SubmissionRecord",
    "SubmittedMetric",
    "SubmittedTask",
    "json_schemas",
    "parse_record",
    "read_record",
    "to_builtins",
]

_MOST_VIOLATIONS = 20  # of a schema, in a message
_LONGEST_MESSAGE = 300

# Python's $ matches before a line break at the end, hence (?!\n).
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\u0000-\u001f\u007f<>]+$(?!\n)")]
Prose = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\u0000-\u001f\u007f<>]+$(?!\n)")]
Text = Annotated[str, Meta(max_length=2000)]
ShortText = Annotated[str, Meta(max_length=500)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
Date = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$(?!\n)")]
Address = Annotated[str, Meta(pattern=r"^https?://[^\s<>\"']+$(?!\n)")]
Link = Annotated[str, Meta(max_length=500, pattern=r"^https?://[^\s<>\"']+$(?!\n)")]
AudioFile = Annotated[str, Meta(pattern=r"^(?!\.)[A-Za-z0-9._@+=%-]{1,200}\.(flac|wav)$(?!\n)")]
Count = Annotated[int, Meta(ge=0)]
Ordinal = Annotated[int, Meta(ge=1)]
Number = int | float  # as it is written
Time = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)]  # seconds
Duration = Annotated[int, Meta(gt=0)] | Annotated[float, Meta(gt=0)]  # seconds
Stem = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_@+=%-][A-Za-z0-9._@+=%-]{0,249}$(?!\n)")]  # of a preview's files
Ratings = Annotated[list[Number], Meta(min_length=1, max_length=10_000)]


class _Record(Struct, frozen=True, forbid_unknown_fields=True):
    """A record without undeclared fields."""


class SeparatorRecord(_Record, frozen=True):
    """A revision of a separator: what ran, then its card."""

    name: Name
    revision: Name
    target: Text = msgspec.field(name="class")  # "module:Class"
    weights_sha256: Digest | None
    settings: Options
    oracle: bool  # whether it is given the references
    summary: Text
    authors: Annotated[list[Name], Meta(min_length=1, max_length=100)]
    licence: Name
    parameters: Count | None  # None: unknown
    training_data: Annotated[list[Name], Meta(max_length=200)]
    links: Annotated[list[Link], Meta(max_length=20)]


class Selection(_Record, frozen=True):
    """A task with its version, split and subset."""

    id: Name
    version: Name
    split: Name
    subset: Name

    @property
    def label(self) -> str:
        """Name of the task with version, split and, if it is not the paper's, subset.

        >>> Selection(id="sfx", version="1", split="test", subset="full").label
        'sfx@1-test-full'
        """
        return selection_label(self.id, self.version, self.split, self.subset)


class SubmittedTask(Selection, frozen=True):
    """A task of a submission: its items, how they were separated and scored, and the cost."""

    data_revision: Name
    items: Ordinal
    ids_sha256: Digest
    answered: Count
    metrics: Annotated[list[Name], Meta(min_length=1, max_length=200)]
    seed: int
    candidates: Ordinal
    picker: Name | None
    align: Literal["pad", "trim", "lag"] | None
    stereo: Literal["joint", "mean", "mono"]
    real_time_factor: Number | None
    peak_memory_mib: int | None
    command: Annotated[list[Annotated[str, Meta(max_length=4000)]], Meta(max_length=200)]
    device_memory_mib: Count | UnsetType = UNSET  # on a GPU
    lag_ms: Number | UnsetType = UNSET  # median over items


class SubmittedMetric(_Record, frozen=True):
    """The identity of a column of scores."""

    id: Name
    version: Ordinal
    unit: Annotated[str, Meta(max_length=20)]
    higher_is_better: bool
    parameters: Options
    weights_sha256: Digest | None

    @property
    def record(self) -> MetricRecord:
        """The same identity as a record of run folders."""
        return MetricRecord(**{name: getattr(self, name) for name in self.__struct_fields__})


class Aggregate(_Record, frozen=True):
    """The mean of one task by one metric, as computed from the rows."""

    task: Name
    picked_by: Name | None
    metric: Name
    value: Number | None
    ci_low: Number | None
    ci_high: Number | None
    n_ok: Count
    n: Ordinal
    capped: Count

    @property
    def key(self) -> tuple[str, str, str]:
        """Task, picker or "", and metric, a combination that occurs once in a submission."""
        return self.task, self.picked_by or "", self.metric


class SubmissionRecord(_Record, frozen=True):
    """submission.json: one revision of a separator, what was run, and what came out."""

    schema_version: Literal[1]
    date: Date
    separator: SeparatorRecord
    hardware: Options
    packages: dict[str, Annotated[str, Meta(max_length=100)]]
    commit: Annotated[str, Meta(pattern=r"^[0-9a-f]{7,64}$(?!\n)")] | None
    tasks: Annotated[list[SubmittedTask], Meta(min_length=1, max_length=200)]
    metrics: Annotated[list[SubmittedMetric], Meta(min_length=1, max_length=200)]
    aggregates: list[Aggregate]
    scores_sha256: Digest
    has_audio: bool
    answers: dict[str, dict[AudioFile, Digest]]  # task -> file name of an estimate -> its SHA-256
    attributes_sha256: Digest | UnsetType = UNSET  # of attributes.parquet; unset: there is none


class LogEntry(_Record, frozen=True):
    """A line of log.jsonl: a submission or a withdrawal."""

    number: Ordinal
    date: Date
    event: Literal["submitted", "withdrawn"]
    separator: Name
    revision: Name
    attempt: Ordinal
    submission_sha256: Digest
    reason: ShortText
    previous: Digest | None  # SHA-256 of the line before

    @property
    def key(self) -> tuple[str, str]:
        """Separator and revision."""
        return self.separator, self.revision


class BoardRule(_Record, frozen=True):
    """An entry of boards.json: which tasks are averaged into one number, by which metric and how.

    The number is the mean over parts of the mean over tasks of the mean over items.
    """

    id: Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,60}$(?!\n)")]
    title: Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^<>]+$(?!\n)")]
    metric: Annotated[str, Meta(min_length=1, max_length=60)]
    split: str
    subset: str
    parts: Annotated[dict[str, Annotated[list[str], Meta(min_length=1)]], Meta(min_length=1)]  # name -> tasks


class PreviewRule(_Record, frozen=True):
    """previews.json: the default number and size of a leaderboard's previews."""

    items: Annotated[int, Meta(ge=1)] | None  # per task; None: as many as keep a submission small
    kbits: Annotated[float, Meta(ge=6, le=256)]  # per second
    residuals: bool  # whether residuals are included


class Frame(_Record, frozen=True):
    """A frame of a masked clip."""

    file: Annotated[str, Meta(pattern=r"^frame[0-9]{1,3}\.png$(?!\n)")]
    time: Time


class Credit(_Record, frozen=True):
    """Who made a recording."""

    what: ShortText
    licence: ShortText
    credit: ShortText


class RatingsOverTime(_Record, frozen=True):
    """A judge's ratings of an estimate, one per step."""

    step: Duration
    overall: Ratings
    recall: Ratings
    precision: Ratings
    faithfulness: Ratings


class PreviewEstimate(_Record, frozen=True):
    """File names of an estimate, and a judge's ratings of it over time."""

    stem: Stem
    over_time: RatingsOverTime | None
    residual: Stem | UnsetType = UNSET


class Preview(_Record, frozen=True):
    """item.json: one item of the site to listen to; its files lie beside it."""

    item: Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^<>]+$(?!\n)")]
    text: ShortText | None
    spans: Annotated[list[tuple[Literal["+", "-"], Time, Time]], Meta(max_length=1000)]
    seconds: Duration
    frames: Annotated[list[Frame], Meta(max_length=100)]
    credits: Annotated[list[Credit], Meta(max_length=100)]
    answers: dict[Digest, PreviewEstimate]  # by the SHA-256 of the estimate
    loudness: dict[Stem, Number] | UnsetType = UNSET  # LUFS, of sounds that are not silent


class Quantity(_Record, frozen=True):
    """A quantity that a source measured."""

    summary: Prose
    unit: str
    higher_is_better: bool


class ReportedNumber(_Record, frozen=True):
    """A number with the place in its source."""

    task: Prose
    system: Prose
    quantity: Prose
    value: Number
    mark: Prose
    where: Prose
    note: Prose | UnsetType = UNSET


class ReportedNumbers(_Record, frozen=True):
    """Numbers stated in a paper or a release, not measured here."""

    schema_version: Literal[1]
    title: Prose
    authors: Prose
    link: Address
    date: Date
    about: Literal["separators", "metrics"]
    note: Prose
    marks: dict[str, Prose]
    quantities: dict[str, Quantity]
    rows: Annotated[list[ReportedNumber], Meta(min_length=1)]


FILES = {
    "submission": SubmissionRecord,
    "log": LogEntry,
    "boards": list[BoardRule],
    "preview": Preview,
    "previews": PreviewRule,
    "reported": ReportedNumbers,
}
"""Name of a schema in ``schemas/`` -> its type."""

_Kind = TypeVar("_Kind")


class SchemaError(StoreError):
    """A value that violates its schema; ``violations`` holds place and description of at most twenty violations."""

    def __init__(self, expected: str, violations: Sequence[tuple[str, str]]) -> None:
        super().__init__(f"expected {expected}, found {violations[0][0]}: {violations[0][1]}")
        self.violations = violations


def read_record(path: Path, kind: type[_Kind], what: str) -> _Kind:
    """Reads an untrusted file.

    Args:
        path: JSON.
        kind: one of the values of `FILES`.
        what: description of the file in messages.

    Raises:
        SchemaError: the file violates its schema. StoreError: it is not JSON within the limits of `safe_io`.
    """
    return parse_record(safe_io.load_json(path), kind, f"{what} that meets its schema in {path}")


def parse_record(value: object, kind: type[_Kind], expected: str) -> _Kind:
    """Converts a plain JSON value to a record; raises SchemaError, whose message says what was ``expected``."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise SchemaError(expected, _violations(value, kind) or [("$", str(error))]) from error


def _violations(value: object, kind: object) -> list[tuple[str, str]]:
    """Lists all violations in a value; the decoder stops at the first."""
    import jsonschema

    found = []
    for error in jsonschema.Draft202012Validator(json_schema(kind)).iter_errors(value):
        short = error.message[:_LONGEST_MESSAGE]
        found.append((error.json_path, error.message if short == error.message else f"{short} …"))
        if len(found) == _MOST_VIOLATIONS:
            break
    return sorted(found)


def json_schemas() -> dict[str, Options]:
    """Returns the JSON Schemas of the files of a leaderboard, by name."""
    return {name: json_schema(kind) for name, kind in FILES.items()}
