"""Typed records of run folders; the JSON Schemas in ``run/schemas`` are generated from these.

    RunRecord     run.json: what was run, with which versions, and its status
    ItemRecord    a line of items.jsonl: one finished item
    ScoreRow      a line of scores.jsonl, a row of scores.parquet

JSON has no infinity: it is stored as the string "inf". A field that is missing or of another type raises StoreError.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from sam_audio_bench.errors import StoreError
from sam_audio_bench.files import dump_json, read_journal, sha256
from sam_audio_bench.identity import Difference, Identity, Options, differences
from sam_audio_bench.types import Status

__all__ = [
    "ESTIMATE_PARTS",
    "SCHEMA_VERSION",
    "SCORE_COLUMNS",
    "ErrorRecord",
    "ItemRecord",
    "Measured",
    "MetricRecord",
    "ModelRecord",
    "PartDigests",
    "PartStats",
    "RunRecord",
    "ScoreRow",
    "StoredEstimate",
    "TaskRecord",
    "Timing",
    "garbage_collection_paused",
    "json_schema",
    "read_items",
    "read_records",
    "read_run",
    "schemas",
    "selection_label",
    "to_builtins",
]

SCHEMA_VERSION = 2
ESTIMATE_PARTS = ("target", "residual")

Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, Meta(pattern=r"^([^./\\\x00][^/\\\x00]*)?$")]  # without separators
ItemName = Annotated[str, Meta(min_length=1)]
Whole = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Infinity = Literal["inf", "-inf"]
_Record = TypeVar("_Record", bound=Struct)


class ModelRecord(Identity, frozen=True, kw_only=True):
    """The identity of a separator."""

    oracle: bool = False  # whether it is given the references


class MetricRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Identity of a column of scores: scores are comparable if all fields are equal except those shown to people."""

    id: str
    version: Annotated[int, Meta(ge=1)]
    unit: str
    higher_is_better: bool
    parameters: Options = {}  # stated by the metric
    weights_sha256: str | None = None
    options: Options = {}  # of its constructor
    spec: str = ""  # specification that requests it, if that is not its id
    code_sha256: str | None = None  # of a third party's metric
    unknown: str | None = None  # why it cannot be identified

    @property
    def specification(self) -> str:
        """Specification for ``--metrics`` that requests this column."""
        return self.spec or self.id

    def differences(self, other: MetricRecord) -> list[Difference]:
        """Returns differences from a column of the same id, in fields that both records have."""
        fields = ["version", "unit", "higher_is_better", "parameters", "weights_sha256"]
        fields += [name for name in ("options", "code_sha256") if getattr(self, name) and getattr(other, name)]
        return differences(self, other, fields)

    def fingerprint(self) -> str | None:
        """Returns the digest of all that the column's scores depend on; None if that is unknown."""
        counted = (self.version, self.parameters, self.weights_sha256, self.code_sha256)
        options = Identity(kind="metric", name="", options=self.options).fingerprint()
        return None if self.unknown else sha256(dump_json([*counted, options]).encode())[:16]


def selection_label(task: str, version: str, split: str, subset: str) -> str:
    """Returns the label of a task's selection of items, with the subset if it is not the default.

    >>> selection_label("sfx", "1", "test", "paper"), selection_label("sfx", "1", "test", "full")
    ('sfx@1-test', 'sfx@1-test-full')
    """
    return f"{task}@{version}-{split}" + ("" if subset == "paper" else f"-{subset}")


class TaskRecord(Struct, frozen=True, kw_only=True):
    """Which items were evaluated, and with which prompts."""

    id: str
    version: str
    split: str
    subset: str
    source: str  # the name or path by which it was requested
    data_revision: str
    items: Annotated[int, Meta(ge=1)]
    ids_sha256: Digest
    prompts: Literal["given", "paraphrase", "absent"] = "given"
    allow_outside: bool = False
    place: str | None = None  # absolute path of a user's data
    code_sha256: str | None = None  # of a third party's task

    @property
    def label(self) -> str:
        """Label of the task with version, split and, if it is not the default, subset."""
        return selection_label(self.id, self.version, self.split, self.subset)

    def differences(self, other: TaskRecord) -> list[Difference]:
        """Returns the differences from another selection of items; paths and names are not compared."""
        fields = ("version", "split", "subset", "prompts", "data_revision", "ids_sha256", "code_sha256")
        return differences(self, other, fields)


class PartDigests(Struct, kw_only=True, omit_defaults=True, frozen=True, gc=False):
    """SHA-256 of the files of an estimate."""

    target: Digest = ""  # "": no such file
    residual: Digest = ""


class PartStats(Struct, kw_only=True, omit_defaults=True, frozen=True, gc=False):
    """Size in bytes and time of last change in ns of the files of an estimate."""

    target: tuple[int, int] | None = None
    residual: tuple[int, int] | None = None


class StoredEstimate(Struct, kw_only=True, omit_defaults=True):
    """The files of one estimate."""

    picked_by: str | None = None
    target: FileName | None = None  # name of its file in audio/
    residual: FileName | None = None
    sha256: PartDigests = PartDigests()
    stat: PartStats = PartStats()


class Measured(Struct, kw_only=True, omit_defaults=True, frozen=True, gc=False):
    """Properties measured on an item itself, see `run.measuring`; None: not applicable."""

    words: Whole | None = None  # number in its text prompt
    target_share: float | None = None  # fraction of its duration in which the target is active
    mixture_dbfs: float | None = None  # RMS of the mixture, dB of full scale
    snr: float | None = None  # energy ratio of target and all other sources, dB


class ItemRecord(StoredEstimate, kw_only=True, omit_defaults=True):
    """One item; of several lines of an item, the last one is valid."""

    item: ItemName
    group: str
    fingerprint: str  # of everything that its estimate depends on; "": unknown
    seed: Whole
    status: Status
    data_sha256: str = ""  # of its mixture, references and prompt
    message: str | None = None  # why there is no estimate
    remarks: list[str] = []
    seconds: float = 0.0
    audio_seconds: float = 0.0
    rate: Whole = 0  # of the estimate, Hz; 0: unknown
    lag_ms: float | None = None  # delay of the estimate; None: not measured, or it correlates with no sound of the item
    moved_ms: float | None = None  # by which ``--align lag`` had advanced it before
    measured: Measured | None = None  # None: not yet, or it has no estimate
    outputs: dict[str, Whole] = {}  # of unordered outputs: item of this mixture -> number of the output assigned to it
    scored: dict[str, str] = {}  # column -> fingerprint of its metric
    not_asked: list[str] = []  # those of these columns that do not apply to the item
    score_errors: dict[str, str] = {}
    candidates: Whole = 0  # 0: a single estimate, without picking
    picked: Whole | None = None  # number of the picked candidate
    picker_scores: list[float | Infinity | None] = []
    kept: dict[str, StoredEstimate] = {}  # number of a candidate -> its files
    candidate_errors: dict[str, str] = {}

    @property
    def failed(self) -> bool:
        """Whether there is no estimate; a rerun retries it."""
        return self.status != Status.OK


class ScoreRow(Struct, frozen=True, kw_only=True):
    """One score of one item."""

    task: str
    item: ItemName
    group: str
    separator: str
    seed: Whole
    candidate: Whole
    picked_by: str | None
    metric: str
    value: float | Infinity | None
    status: Status

    @property
    def key(self) -> tuple[str, int, str, str]:
        """Item, candidate, picker or "", and metric; a later row of the same key replaces an earlier one."""
        return self.item, self.candidate, self.picked_by or "", self.metric


SCORE_COLUMNS = ScoreRow.__struct_fields__


class ErrorRecord(Struct, frozen=True):
    """Why an item has no estimate, or one of its scores could not be computed."""

    item: str
    status: Status
    message: str


class Timing(Struct, frozen=True, kw_only=True):
    """Time and memory of a run; ``wall_seconds`` is that of the last invocation."""

    wall_seconds: float
    separation_seconds: float
    audio_seconds: float
    real_time_factor: float | None  # median over items, without the first call
    peak_memory_mib: int | None  # of the separating process
    device_memory_mib: int | None = None  # on a GPU
    parameters: int | None = None  # of the separator's networks


class Setting(Struct, frozen=True):
    """The value of an option and its origin."""

    value: Any
    origin: str


class Commit(Struct, frozen=True):
    """The git commit of the code that ran."""

    commit: str
    dirty: bool


class RunRecord(Struct, kw_only=True):
    """The content of ``run.json``."""

    schema_version: int = SCHEMA_VERSION
    status: Literal["started", "success", "partial", "cancelled", "error"]
    started: str
    model: ModelRecord
    task: TaskRecord
    metrics: list[MetricRecord]
    seed: int
    align: Literal["pad", "trim", "lag"] | None
    stereo: Literal["joint", "mean", "mono"]
    shard: tuple[int, int] | None
    command: list[str]
    config: dict[str, Setting]
    git: Commit | None
    packages: dict[str, str]
    hardware: Options
    scores_sha256: str | None = None  # of the sealed scores.parquet
    items_sha256: str | None = None  # of items.parquet; None: there is none
    candidates: int = 1
    picker: Identity | None = None
    device: str = "auto"
    dtype: str = "auto"
    finished: str | None = None
    errors: list[ErrorRecord] = []
    timing: Timing | None = None


def to_builtins(record: Struct) -> dict[str, Any]:
    """Converts a record to JSON values."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    return plain


def json_schema(kind: object) -> dict[str, object]:
    """Returns the JSON Schema of a record class."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(kind)}


def schemas() -> dict[str, dict[str, object]]:
    """Returns the JSON Schemas of the files of a run folder, by name."""
    return {name: json_schema(kind) for name, kind in (("run", RunRecord), ("item", ItemRecord), ("score", ScoreRow))}


def read_records(path: Path, kind: type[_Record], *, share: Callable[[_Record], None] | None = None) -> list[_Record]:
    """Reads the lines of a journal as records; a truncated last line is skipped, other damage raises StoreError.

    Args:
        path: the journal.
        kind: class of its records.
        share: replaces values of a record by equal ones of earlier records, to save memory.
    """
    decoder = msgspec.json.Decoder(kind)
    encode = msgspec.json.Encoder().encode

    def decode(line: bytes) -> _Record:
        try:
            record = decoder.decode(line)
        except msgspec.DecodeError as error:  # not a ValueError
            raise ValueError(str(error)) from error
        if line.count(b'":') != encode(record).count(b'":'):  # more names than fields: a duplicate
            json.loads(line, object_pairs_hook=_reject_duplicate_names)
        if share is not None:
            share(record)
        return record

    with garbage_collection_paused():
        return read_journal(path, decode)


def read_items(path: Path) -> list[ItemRecord]:
    """Reads ``items.jsonl``; equal values of the records are one object, so they must be replaced, not mutated."""
    alike: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    lists, mappings = ("remarks", "not_asked", "picker_scores"), ("score_errors", "kept", "candidate_errors")
    empty: dict[str, object] = {**{name: [] for name in lists}, **{name: {} for name in mappings}}

    def share(record: ItemRecord) -> None:
        record.scored = alike.setdefault(tuple(record.scored.items()), record.scored)
        for name, none in empty.items():
            if not getattr(record, name):
                setattr(record, name, none)
        record.group = record.item if record.group == record.item else sys.intern(record.group)

    return read_records(path, ItemRecord, share=share)


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Disables the garbage collector, which would scan ever more records again and again, none of them garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _reject_duplicate_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Builds a JSON object; raises ValueError for a duplicate name, whose value would be ambiguous."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return found


def read_run(path: Path) -> RunRecord:
    """Reads ``run.json`` of this schema version or of version 1, which had no digests of data.

    Raises:
        StoreError: another version, a missing field, or a damaged file.
    """
    try:
        header = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_reject_duplicate_names)
    except (OSError, ValueError, RecursionError) as error:
        found = f"none that can be read ({error})"
        raise StoreError(f"expected the record of a run in {path}, found {found}; {_RESTORE_HINT}") from error
    version = header.get("schema_version") if isinstance(header, dict) else None
    if type(version) is not int or version not in (1, SCHEMA_VERSION):
        newer = "update sabench, or " if isinstance(version, int) and version > SCHEMA_VERSION else ""
        found = f"found version {version!r}; {newer}use another --output"
        raise StoreError(f"expected a run folder of schema version {SCHEMA_VERSION} at {path.parent}, {found}")
    try:
        return msgspec.convert(_upgrade_header(header) if version == 1 else header, RunRecord)
    except (msgspec.ValidationError, KeyError, TypeError, ValueError, AttributeError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise StoreError(f"expected the record of a run in {path}, found: {found}; {_RESTORE_HINT}") from error


_RESTORE_HINT = "restore the file, or remove the folder, whose items are then separated again"


def _upgrade_header(header: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a header of schema version 1 to the current names; its ``schema_version`` stays 1."""
    model, picker = dict(header["model"]), header.get("picker")
    model = {"kind": "separator", "target": model.pop("class", ""), **model}
    return {**header, "model": model, "picker": {"kind": "picker", **picker} if picker else None}
