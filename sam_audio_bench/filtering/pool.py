"""What there is to choose from: the estimates of runs, or the rows of a table, with all that is known of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from sam_audio_bench.digests import combined_digest
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.files import exists, find_file, find_folders, is_url
from sam_audio_bench.run.data import recorded_data
from sam_audio_bench.run.remote import find_runs, shown_place
from sam_audio_bench.run.results import Results
from sam_audio_bench.run.store import RunFolder, scored_estimates
from sam_audio_bench.stats.verdict import BASELINE
from sam_audio_bench.tabular import TABLE_SUFFIXES
from sam_audio_bench.tasks.data import TaskData, asked_item
from sam_audio_bench.tasks.manifest import TABLE_NAMES, questions
from sam_audio_bench.tasks.manifest_rows import ManifestRow, task_data
from sam_audio_bench.types import Item

if TYPE_CHECKING:
    from sam_audio_bench.filtering.expression import Column

__all__ = ["TEXTS", "VIDEO", "Label", "Pool", "column_values", "read_pool"]

TEXTS = ("text", "task", "separator", "group")
"""Columns that every pool has, of texts."""

VIDEO = "video"
"""A column that every pool has: 1 where the prompt has a video, else 0."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """One pseudo-label: what was asked, and where its sounds are."""

    id: str
    item: str  # of its task; rows of a table: its id
    group: str  # the recording
    text: str
    target: Path
    residual: Path | None
    mixture: Path | None  # None: only its task has it, see ``load``
    has_video: bool = False  # its prompt
    video: Path | None = None  # None with ``has_video``: only its task has it
    mask: Path | None = None
    load: Callable[[], Item] | None = None  # the item of its task
    damage: Callable[[], str | None] = lambda: None  # why the target is not the one that was scored


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Labels, and their columns: scores, attributes and texts."""

    labels: Sequence[Label]
    frame: pd.DataFrame  # a row a label, in their order
    lowest_first: frozenset[str] = frozenset()  # metrics of which less is better
    left_out: Mapping[str, int] = field(default_factory=dict)  # reason -> labels that are none
    notes: tuple[str, ...] = ()
    remedy: str = ""  # the command that computes metrics, with {} for their ids
    sources: Sequence[str] = ()  # what it was read from, with the revisions


def column_values(column: pd.Series) -> Column:
    """A column as float64, NaN where undefined, or as objects: texts, None where there is none."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=float)
    return column.astype(object).where(column.notna(), None).to_numpy(dtype=object)


def read_pool(inputs: Sequence[Path | str], *, allow_outside: bool = False, out: Path | None = None) -> Pool:
    """Reads run folders, or one table of questions with a column ``target``.

    Args:
        inputs: run folders, folders or URLs that hold some; or a table, a folder with one, or LAYOUT:PATH.
        allow_outside: accept files of a table that lie outside its folder.
        out: folder of what is kept, whose own run, that of a sample for listeners, is none of the pool.

    Raises:
        Precondition: nothing there. UsageError: tables beside other things, or rows that say something impossible.
        StoreError: a run that cannot be trusted.
    """
    of_runs = [is_url(place) or any(_runs_below(Path(place))) for place in inputs]
    if all(of_runs):
        return _of_runs(inputs, out)
    if len(inputs) > 1:
        raise UsageError(
            f"expected run folders, or one table or folder of sounds, found {len(inputs)} places of which "
            f"{of_runs.count(False)} hold no run"
        )
    return _of_table(str(inputs[0]), allow_outside, out)


def _runs_below(path: Path) -> Iterator[Path]:
    if exists(path / "run.json"):
        yield path
    elif path.is_dir() and not any((path / name).exists() for name in TABLE_NAMES):
        yield from find_folders(path, "run.json")


def _of_runs(paths: Sequence[Path | str], out: Path | None) -> Pool:
    folders = [RunFolder.open(path) for path in find_runs(paths) if out is None or not _is_below(path, out)]
    if not folders:
        raise Precondition(f"expected runs beside {out}, the folder of what is kept, found none")
    baselines = [folder for folder in folders if folder.header.model.name == BASELINE]
    own = [folder for folder in folders if folder not in baselines] or baselines
    results = Results.of_folders(own)
    tasks: dict[str, list[RunFolder]] = {}
    for folder in own:
        tasks.setdefault(folder.header.task.id, []).append(folder)
    left_out: Counter[str] = Counter()
    labels: list[Label] = []
    keys: list[tuple[str, str, str, int, str]] = []
    for task, members in tasks.items():
        data = recorded_data(members)
        rows = _rows_of(data)
        for folder in members:
            for item in folder.items:
                key = _labelled(folder, item, data, rows, labels, left_out)
                if key is not None:
                    keys.append((task, folder.header.model.name, *key))
    if not labels:
        raise Precondition(f"expected estimates with their audio in {shown_place(own[0].path)}, found none")
    index = pd.MultiIndex.from_tuples(keys, names=["task", "separator", "item", "candidate", "picked_by"])
    frame, notes = _frame_of_runs(results, index, labels)
    if len(own) < len(folders):
        notes.insert(0, f"the baseline {BASELINE} is no separator: its {len(folders) - len(own)} runs are left out")
    return Pool(
        labels=_named(labels, index),
        frame=frame,
        lowest_first=frozenset(name for name, record in results.metrics.items() if not record.higher_is_better),
        left_out=dict(left_out),
        notes=tuple(notes),
        remedy=f"sabench score {' '.join(str(shown_place(folder.path)) for folder in own)} --metrics {{}}",
        sources=[_source(folder) for folder in own],
    )


def _is_below(path: Path | str, out: Path) -> bool:
    return not is_url(path) and Path(path).resolve().is_relative_to(out.resolve())


def _source(folder: RunFolder) -> str:
    """A run with the revision of its data, the content of its items, and what its separator is."""
    task, model = folder.header.task, folder.header.model
    items = combined_digest(*(f"{item} {record.data_sha256}" for item, record in sorted(folder.items.items())))
    data = f"{task.label} {task.data_revision[:12]} {items[:12]}"
    return f"{shown_place(folder.path)}: {data}, {model.name} {model.fingerprint()}"


def _rows_of(data: TaskData) -> Mapping[str, ManifestRow]:
    """The rows of a table that a task is; none of another task, whose mixtures are no files."""
    if data.place is None or not data.place.lower().endswith(TABLE_SUFFIXES):
        return {}
    return questions(data.place, allow_outside=data.allow_outside).rows


def _labelled(
    folder: RunFolder, item: str, data: TaskData, rows: Mapping[str, ManifestRow], labels: list[Label],
    left_out: Counter[str],
) -> tuple[str, int, str] | None:  # fmt: skip
    """Adds the label that an item's estimate is; returns item, candidate and picker of its scores."""
    record = folder.items[item]
    if record.failed or not record.target:
        left_out["the separator gave no estimate"] += 1
        return None
    view = scored_estimates(record)[-1]
    row, root = rows.get(asked_item(item)), Path(data.place).parent if data.place else Path()
    is_file = row is not None and isinstance(row.mixture, str)
    labels.append(
        Label(
            id=item,
            item=item,
            group=record.group,
            text=data.texts.get(item, ""),
            target=folder.audio_path(item, "target"),
            residual=folder.audio_path(item, "residual") if record.residual else None,
            mixture=find_file(root / str(row.mixture)) if row is not None and is_file else None,
            has_video="video" in data.provides or (row is not None and bool(row.video)),
            video=find_file(root / row.video) if row is not None and row.video else None,
            mask=find_file(root / row.mask) if row is not None and row.mask else None,
            load=partial(data.__getitem__, item),
            damage=partial(_changed, folder, item, data),
        )
    )
    return item, view.candidate, view.picked_by or ""


def _changed(folder: RunFolder, item: str, data: TaskData) -> str | None:
    """Why target or mixture are not those that were scored; None: they are, as far as can be told without loading."""
    known = folder.items[item].data_sha256
    if known and data.content is not None and data.content_sha256(item) != known:
        return f"expected the data of {item} as they were when it was separated, found others; evaluate it again"
    return folder.damage(item)


def _frame_of_runs(results: Results, index: pd.MultiIndex, labels: Sequence[Label]) -> tuple[pd.DataFrame, list[str]]:
    """Scores of the estimates that count, a column a metric; attributes of the items; texts."""
    notes: list[str] = []
    scores = results.frame.assign(picked_by=results.frame["picked_by"].fillna(""))
    wide = scores.set_index([*index.names, "metric"])["value"].unstack("metric").reindex(index)
    frame = wide[[name for name in results.metrics if name in wide]].astype(float).reset_index(drop=True)
    frame.columns.name = None
    try:
        known = results.attributes()
    except Precondition as error:
        notes.append(f"attributes of the items are not known: {error}")
        known = {}
    rows = [known.get((task, item), {}) for task, _, item, *_ in index]
    for name in dict.fromkeys(name for row in rows for name in row):
        if name not in frame and name not in (*TEXTS, VIDEO):
            frame[name] = [row.get(name) for row in rows]
    for name in ("task", "separator"):
        frame[name] = index.get_level_values(name).to_numpy(dtype=object)
    return _with_prompts(frame, labels), notes


def _with_prompts(frame: pd.DataFrame, labels: Sequence[Label]) -> pd.DataFrame:
    return frame.assign(
        text=pd.Series([label.text or None for label in labels], dtype=object),
        group=pd.Series([label.group for label in labels], dtype=object),
        **{VIDEO: [float(label.has_video) for label in labels]},
    )


def _named(labels: Sequence[Label], index: pd.MultiIndex) -> list[Label]:
    """Labels under names that are each one's own: the item's, with separator and task where one is there twice."""
    count = Counter(label.item for label in labels)
    if max(count.values()) == 1:
        return list(labels)
    tasks = index.get_level_values("task").nunique() > 1
    return [
        replace(label, id=f"{f'{task}-' if tasks else ''}{label.item}@{separator}")
        for label, (task, separator, *_) in zip(labels, index, strict=True)
    ]


def _of_table(name: str, allow_outside: bool, out: Path | None) -> Pool:
    found = questions(name, allow_outside=allow_outside)
    if out is not None and found.root.resolve() == out.resolve():
        raise UsageError(f"expected another folder than the table's own as --out, found {out}; choose another --out")
    task_data(found)  # raises where a row says something impossible
    left_out: Counter[str] = Counter()
    labels: list[Label] = []
    for item, row in found.rows.items():
        if reason := _unusable(row):
            left_out[reason] += 1
        else:
            labels.append(_label_of_row(item, row, found.root))
    if not labels:
        reasons = "; ".join(f"{count}: {reason}" for reason, count in left_out.items())
        raise UsageError(f"expected rows with mixture and target in {name}, found none ({reasons})")
    rows = [found.attributes.get(label.item, {}) for label in labels]
    columns = {
        column: [row.get(column) for row in rows]
        for column in dict.fromkeys(column for row in rows for column in row)
        if column not in ("text", "group", VIDEO)
    }
    frame = pd.DataFrame(columns, index=range(len(labels)))
    for column, value in (("task", found.task), ("separator", None)):
        if column not in frame:
            frame[column] = pd.Series([value] * len(labels), dtype=object)
    return Pool(
        labels=labels,
        frame=_with_prompts(frame, labels),
        left_out=dict(left_out),
        remedy=f"a column of that name, or: sabench eval --model files:FOLDER_OF_TARGETS --task {name} --metrics {{}}",
        sources=[f"{name}: {found.revision[:12]}"],
    )


def _unusable(row: ManifestRow) -> str:
    """Why a row is no label."""
    if not row.target:
        return "the row has no target"
    several = row.mixture is None or len(row.target) > 1 or len(row.residual) > 1
    if several or not all(isinstance(sound, str) for _, sound in row.files):
        return "mixture, target or residual are no single files"
    return ""


def _label_of_row(item: str, row: ManifestRow, root: Path) -> Label:
    def place(name: object) -> Path | None:
        return find_file(root / str(name)) if name else None

    target = place(row.target[0])
    assert target is not None  # `_unusable` saw to it
    return Label(
        id=item,
        item=item,
        group=row.group,
        text=row.text,
        target=target,
        residual=place(row.residual[0]) if row.residual else None,
        mixture=place(row.mixture),
        has_video=bool(row.video),
        video=place(row.video),
        mask=place(row.mask),
    )
