"""What run folders hold, typed: read and written here alone. The JSON Schemas in ``run/schemas`` are made from these.

    RunRecord     run.json: what was run, with which versions, and how it ended
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
FileName = Annotated[str, Meta(pattern=r"^([^./\\\x00][^/\\\x00]*)?$")]  # in a folder, and not beside it
ItemName = Annotated[str, Meta(min_length=1)]
Whole = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Infinity = Literal["inf", "-inf"]
_Record = TypeVar("_Record", bound=Struct)


class ModelRecord(Identity, frozen=True, kw_only=True):
    """The identity of a separator."""

    oracle: bool = False  # it is shown the references


class MetricRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What identifies a column of scores: they compare where all of it but names for people is equal."""

    id: str
    version: Annotated[int, Meta(ge=1)]
    unit: str
    higher_is_better: bool
    parameters: Options = {}  # what the metric says of itself
    weights_sha256: str | None = None
    options: Options = {}  # of its constructor
    spec: str = ""  # what it is asked for by, where that is not its id
    code_sha256: str | None = None  # of a third party's metric
    unknown: str | None = None  # why it cannot be identified

    @property
    def spelling(self) -> str:
        """What ``--metrics`` takes for it."""
        return self.spec or self.id

    def differences(self, other: MetricRecord) -> list[Difference]:
        """In what two columns of one id differ; what one of the two records does not know yet is left out."""
        fields = ["version", "unit", "higher_is_better", "parameters", "weights_sha256"]
        fields += [name for name in ("options", "code_sha256") if getattr(self, name) and getattr(other, name)]
        return differences(self, other, fields)

    def fingerprint(self) -> str | None:
        """Digest of what the column's scores depend on; None where that is not known."""
        counted = (self.version, self.parameters, self.weights_sha256, self.code_sha256)
        options = Identity(kind="metric", name="", options=self.options).fingerprint()
        return None if self.unknown else sha256(dump_json([*counted, options]).encode())[:16]


def selection_label(task: str, version: str, split: str, subset: str) -> str:
    """Name of a task's selection of items; only one that is not the default has its name in it.

    >>> selection_label("sfx", "1", "test", "paper"), selection_label("sfx", "1", "test", "full")
    ('sfx@1-test', 'sfx@1-test-full')
    """
    return f"{task}@{version}-{split}" + ("" if subset == "paper" else f"-{subset}")


class TaskRecord(Struct, frozen=True, kw_only=True):
    """Which items were asked, and how."""

    id: str
    version: str
    split: str
    subset: str
    source: str  # the name or path that it was asked for by
    data_revision: str
    items: Annotated[int, Meta(ge=1)]
    ids_sha256: Digest
    prompts: Literal["given", "paraphrase", "absent"] = "given"
    allow_outside: bool = False
    place: str | None = None  # absolute path of anyone's data
    code_sha256: str | None = None  # of a third party's task

    @property
    def label(self) -> str:
        """Name of the task with version, split and a selection that is not the default one."""
        return selection_label(self.id, self.version, self.split, self.subset)

    def differences(self, other: TaskRecord) -> list[Difference]:
        """In what two selections of items differ; where they lie, and under which name, does not count."""
        fields = ("version", "split", "subset", "prompts", "data_revision", "ids_sha256", "code_sha256")
        return differences(self, other, fields)


class PartDigests(Struct, kw_only=True, omit_defaults=True, frozen=True, gc=False):
    """SHA-256 of the files of an estimate."""

    target: Digest = ""  # "": there is no such file
    residual: Digest = ""


class PartStats(Struct, kw_only=True, omit_defaults=True, frozen=True, gc=False):
    """Size and time of last change, ns, of the files of an estimate."""

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
    """What was measured of an item itself, see `run.measuring`; None: there is no such thing."""

    words: Whole | None = None  # of its text
    target_share: float | None = None  # of its time, in which the target sounds
    mixture_dbfs: float | None = None  # RMS of the mixture, dB of full scale
    snr: float | None = None  # energy of the target by that of everything else, dB


class ItemRecord(StoredEstimate, kw_only=True, omit_defaults=True):
    """One item; the last line of an item counts."""

    item: ItemName
    group: str
    fingerprint: str  # of all that its estimate was made from; "" where that is not known
    seed: Whole
    status: Status
    data_sha256: str = ""  # of its mixture, references and prompt
    message: str | None = None  # why there is no estimate
    remarks: list[str] = []
    seconds: float = 0.0
    audio_seconds: float = 0.0
    rate: Whole = 0  # of the estimate, Hz; 0: not known
    lag_ms: float | None = None  # by which the estimate is late; None: not measured, or it is like no sound
    moved_ms: float | None = None  # by which ``--align lag`` has moved it forward before
    measured: Measured | None = None  # None: not yet, or it has no estimate
    outputs: dict[str, Whole] = {}  # of outputs without an order: item of this mixture -> number of the one it has got
    scored: dict[str, str] = {}  # column -> fingerprint of the metric that computed it
    not_asked: list[str] = []  # of these columns, those that ask nothing of the item
    score_errors: dict[str, str] = {}
    candidates: Whole = 0  # 0: one estimate, of which none was picked
    picked: Whole | None = None  # which candidate counts
    picker_scores: list[float | Infinity | None] = []
    kept: dict[str, StoredEstimate] = {}  # number of a candidate -> its files
    candidate_errors: dict[str, str] = {}

    @property
    def failed(self) -> bool:
        """Whether there is no estimate; a rerun tries again."""
        return self.status != Status.OK


class ScoreRow(Struct, frozen=True, kw_only=True):
    """One number of one item."""

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
        """What a later row of the same replaces: item, candidate, who picked it or "", metric."""
        return self.item, self.candidate, self.picked_by or "", self.metric


SCORE_COLUMNS = ScoreRow.__struct_fields__


class ErrorRecord(Struct, frozen=True):
    """Why an item has no estimate, or a score of it could not be computed."""

    item: str
    status: Status
    message: str


class Timing(Struct, frozen=True, kw_only=True):
    """What a run took; ``wall_seconds`` are those of the last invocation."""

    wall_seconds: float
    separation_seconds: float
    audio_seconds: float
    real_time_factor: float | None  # median over items, without the first call
    peak_memory_mib: int | None  # of the process that separated
    device_memory_mib: int | None = None  # on a GPU
    parameters: int | None = None  # of the separator's networks


class Setting(Struct, frozen=True):
    """An option with where its value came from."""

    value: Any
    origin: str


class Commit(Struct, frozen=True):
    """The checkout that ran."""

    commit: str
    dirty: bool


class RunRecord(Struct, kw_only=True):
    """``run.json``."""

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
    """A record as plain values of JSON."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    return plain


def json_schema(kind: object) -> dict[str, Any]:
    """The JSON Schema of a record."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(kind)}


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schemas of the files of a run folder, by name."""
    return {name: json_schema(kind) for name, kind in (("run", RunRecord), ("item", ItemRecord), ("score", ScoreRow))}


def read_records(path: Path, kind: type[_Record], *, share: Callable[[_Record], None] | None = None) -> list[_Record]:
    """Lines of a journal as records; a last line that breaks off is left out, any other damage raises StoreError.

    Args:
        path: the journal.
        kind: of its records.
        share: lets a record hold what another one holds already.
    """
    decoder = msgspec.json.Decoder(kind)
    encode = msgspec.json.Encoder().encode

    def decode(line: bytes) -> _Record:
        try:
            record = decoder.decode(line)
        except msgspec.DecodeError as error:  # a class of its own
            raise ValueError(str(error)) from error
        if line.count(b'":') != encode(record).count(b'":'):  # a name more than there are fields
            json.loads(line, object_pairs_hook=_reject_duplicate_names)
        if share is not None:
            share(record)
        return record

    with garbage_collection_paused():
        return read_journal(path, decode)


def read_items(path: Path) -> list[ItemRecord]:
    """Lines of ``items.jsonl``; what is equal in 100,000 of them is held once, and is replaced, never changed."""
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
    """Keeps the garbage collector from looking again and again at ever more records, none of which is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _reject_duplicate_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON no name of which is there twice: of two values, which one is meant?"""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return found


def read_run(path: Path) -> RunRecord:
    """Reads ``run.json`` of this schema version or of version 1, which held no digests of data.

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


_RESTORE_HINT = "restore the file, or remove the folder, whose items are then done again"


def _upgrade_header(header: Mapping[str, Any]) -> dict[str, Any]:
    """A header of schema version 1 with the names of today; it stays marked as version 1."""
    model, picker = dict(header["model"]), header.get("picker")
    model = {"kind": "separator", "target": model.pop("class", ""), **model}
    return {**header, "model": model, "picker": {"kind": "picker", **picker} if picker else None}
