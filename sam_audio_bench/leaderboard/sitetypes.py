"""Types of the values of ``data.json``, which templates read by these names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

from sam_audio_bench.identity import Options
from sam_audio_bench.leaderboard.evidence import Evidence
from sam_audio_bench.leaderboard.records import Credit, Frame, LogEntry, PreviewEstimate

__all__ = [
    "Agreement",
    "Cell",
    "ItemScores",
    "LineData",
    "MetricData",
    "OverallRow",
    "OverallTable",
    "PreviewData",
    "RankFields",
    "ScoreFields",
    "SiteData",
    "SliceCell",
    "TableRow",
    "TaskData",
    "TaskRow",
    "TaskSlices",
]


class RankFields(TypedDict, total=False):
    """The rank of a line; absent if it is not ranked, or if nothing is surely better than the mixture."""

    against: str  # compared with the mixture: "better", "worse" or "unsure"; "" without a mixture
    rank: int
    rank_low: int
    rank_high: int
    letters: str  # shared by lines that do not differ significantly


class ScoreFields(RankFields):
    """A mean score, its number of items, and why it is not ranked."""

    value: float | None
    low: float | None
    high: float | None
    n_ok: int
    possible: int  # items that can have a score
    coverage: str
    capped: int
    why: str  # "": it is ranked


class Cell(ScoreFields):
    """A line's mean on one task by one metric."""

    n: int
    trained_on: NotRequired[str]  # training data of the separator from the same collections as the task's recordings


class TableRow(ScoreFields):
    """A row of any table."""

    line: str


class TaskRow(TableRow):
    """A row of a task's table: the values of the main metric, and all cells."""

    n: int
    trained_on: NotRequired[str]  # as in `Cell`
    cells: dict[str, Cell]


class OverallRow(TableRow):
    """A row of an overall table."""

    tasks: int
    of: int


class OverallTable(TypedDict):
    """A rule of boards.json with its rows."""

    id: str
    title: str
    metric: str
    split: str
    subset: str
    parts: dict[str, list[str]]
    rule: str  # as text
    verdict: str
    rows: list[OverallRow]


class LineData(TypedDict):
    """A line: its card, settings and cost."""

    name: str
    separator: str
    revision: str
    kind: str
    why: str
    picked_by: str | None
    page: str
    date: str
    attempts: int
    summary: str
    authors: list[str]
    licence: str
    parameters: int | None
    training_data: list[str]
    links: list[str]
    weights_sha256: str | None
    settings: Options
    hardware: Options
    real_time_factor: float | None
    peak_memory_mib: int | None
    device_memory_mib: int | None
    lag_ms: float | None
    machine: str
    commands: list[str]
    seeds: list[int]
    has_audio: bool
    tasks: list[str]


class TaskData(TypedDict):
    """A task."""

    id: str
    version: str
    split: str
    subset: str
    page: str
    description: str
    prompt: str
    items: int
    groups: int
    main: str
    verdict: str
    metrics: list[str]


class MetricData(TypedDict):
    """A metric."""

    unit: str
    higher_is_better: bool
    version: int
    parameters: Options
    weights_sha256: str | None
    model: str
    summary: str
    tolerance: float | None
    listeners: list[Evidence]


class Agreement(TypedDict):
    """Agreement of two metrics."""

    metrics: list[str]
    rho: float | None
    items: int


class SliceCell(TypedDict):
    """A line in one slice compared with the other items; see `run.slices.SliceRow`."""

    line: str
    attribute: str
    slice: str
    place: int
    n: int
    recordings: int
    mean: float | None
    low: float | None
    high: float | None
    elsewhere: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p: float | None  # corrected by Holm
    surely_worse: bool
    untested: str
    worst: list[str]  # items


class TaskSlices(TypedDict):
    """Scores of separators by slices of a task's items."""

    source: str  # the line whose submission first stated the attributes; "": none did
    rows: list[SliceCell]
    small: list[str]  # slices with too few recordings
    notes: list[str]  # what could not be compared, and which submissions disagree


class PreviewData(TypedDict):
    """An item to listen to."""

    item: str
    text: str | None
    spans: Sequence[tuple[str, float, float]]
    seconds: float
    frames: list[Frame]
    credits: list[Credit]
    answers: dict[str, PreviewEstimate]  # by line
    folder: str  # below the site
    has_reference: bool
    has_rest: bool  # the mixture without the reference
    loudness: dict[str, int | float]  # LUFS by stem, of sounds that are not silent


class ItemScores(TypedDict):
    """Scores of every item by one metric."""

    items: list[str]
    groups: list[str]
    lines: dict[str, list[float | None]]


class SiteData(TypedDict):
    """``data.json``."""

    version: str
    lines: dict[str, LineData]
    tasks: dict[str, TaskData]
    metrics: dict[str, MetricData]
    cells: dict[str, dict[str, dict[str, Cell]]]  # task -> metric -> line
    overall: list[OverallTable]
    reported: list[dict[str, object]]
    agreement: list[Agreement]
    slices: dict[str, TaskSlices]  # by task
    listen: dict[str, list[PreviewData]]  # by task
    log: list[LogEntry]
