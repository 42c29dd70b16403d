"""Reads the labels to choose from, the estimates of runs or the rows of a table, with their scores and attributes."""

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
from sam_audio_bench.run.recorded_data import load_recorded_data
from sam_audio_bench.run.remote import display_path, find_runs
from sam_audio_bench.run.results import Results
from sam_audio_bench.run.store import RunFolder, scored_estimates
from sam_audio_bench.stats.verdict import BASELINE
from sam_audio_bench.tabular import TABLE_SUFFIXES
from sam_audio_bench.tasks.data import TaskData, base_item_id
from sam_audio_bench.tasks.manifest import TABLE_NAMES, read_questions
from sam_audio_bench.tasks.manifest_rows import ManifestRow, questions_to_task
from sam_audio_bench.types import Item

if TYPE_CHECKING:
    from sam_audio_bench.filtering.expression import Column

__all__ = ["TEXTS", "VIDEO", "Label", "Pool", "column_values", "read_pool"]

TEXTS = ("text", "task", "separator", "group")
"""Text columns that every pool has."""

VIDEO = "video"
"""A column that every pool has: 1 where the prompt has a video, else 0."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """One pseudo-label: its prompt, and the files of its sounds."""

    id: str
    item: str  # item id in its task; for rows of a table, the row's id
    group: str  # the recording
    text: str
    target: Path
    residual: Path | None
    mixture: Path | None  # None: only its task has it, see ``load``
    has_video: bool = False  # whether its prompt has a video
    video: Path | None = None  # None despite ``has_video``: only its task has it
    mask: Path | None = None
    load: Callable[[], Item] | None = None  # loads the item of its task
    damage: Callable[[], str | None] = lambda: None  # returns why the target is not the one that was scored, or None


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Labels, and their columns: scores, attributes and texts."""

    labels: Sequence[Label]
    frame: pd.DataFrame  # one row per label, in order
    lowest_first: frozenset[str] = frozenset()  # metrics of which lower values are better
    left_out: Mapping[str, int] = field(default_factory=dict)  # reason -> number of rows that are not labels
    notes: tuple[str, ...] = ()
    remedy: str = ""  # the command that computes metrics, with {} for their ids
    sources: Sequence[str] = ()  # the runs or the table that it was read from, with their revisions


def column_values(column: pd.Series) -> Column:
    """Returns a column as float64, NaN if undefined, or as objects: texts, None if missing."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=float)
    return column.astype(object).where(column.notna(), None).to_numpy(dtype=object)


def read_pool(inputs: Sequence[Path | str], *, allow_outside: bool = False, out: Path | None = None) -> Pool:
    """Reads run folders, or one table of questions with a column ``target``.

    Args:
        inputs: run folders, folders or URLs that contain some; or a table, a folder with one, or LAYOUT:PATH.
        allow_outside: accept files of a table that lie outside its folder.
        out: the output folder, whose run of a sample for raters is not part of the pool.

    Raises:
        Precondition: there is no input. UsageError: a table is mixed with other inputs, or a row is invalid.
        StoreError: a run is damaged.
    """
    has_runs = [is_url(place) or any(_find_runs(Path(place))) for place in inputs]
    if all(has_runs):
        return _read_runs(inputs, out)
    if len(inputs) > 1:
        raise UsageError(
            f"expected run folders, or one table or folder of sounds, found {len(inputs)} places of which "
            f"{has_runs.count(False)} hold no run"
        )
    return _read_table(str(inputs[0]), allow_outside, out)


def _find_runs(path: Path) -> Iterator[Path]:
    if exists(path / "run.json"):
        yield path
    elif path.is_dir() and not any((path / name).exists() for name in TABLE_NAMES):
        yield from find_folders(path, "run.json")


def _read_runs(paths: Sequence[Path | str], out: Path | None) -> Pool:
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
        data = load_recorded_data(members)
        rows = _table_rows(data)
        for folder in members:
            for item in folder.items:
                key = _add_label(folder, item, data, rows, labels, left_out)
                if key is not None:
                    keys.append((task, folder.header.model.name, *key))
    if not labels:
        raise Precondition(f"expected estimates with their audio in {display_path(own[0].path)}, found none")
    index = pd.MultiIndex.from_tuples(keys, names=["task", "separator", "item", "candidate", "picked_by"])
    frame, notes = _make_frame(results, index, labels)
    if len(own) < len(folders):
        notes.insert(0, f"the baseline {BASELINE} is no separator: its {len(folders) - len(own)} runs are left out")
    return Pool(
        labels=_unique_ids(labels, index),
        frame=frame,
        lowest_first=frozenset(name for name, record in results.metrics.items() if not record.higher_is_better),
        left_out=dict(left_out),
        notes=tuple(notes),
        remedy=f"sabench score {' '.join(str(display_path(folder.path)) for folder in own)} --metrics {{}}",
        sources=[_describe_run(folder) for folder in own],
    )


def _is_below(path: Path | str, out: Path) -> bool:
    return not is_url(path) and Path(path).resolve().is_relative_to(out.resolve())


def _describe_run(folder: RunFolder) -> str:
    """Describes a run by the revision of its data, the content of its items, and its separator."""
    task, model = folder.header.task, folder.header.model
    items = combined_digest(*(f"{item} {record.data_sha256}" for item, record in sorted(folder.items.items())))
    data = f"{task.label} {task.data_revision[:12]} {items[:12]}"
    return f"{display_path(folder.path)}: {data}, {model.name} {model.fingerprint()}"


def _table_rows(data: TaskData) -> Mapping[str, ManifestRow]:
    """Returns the rows of a task that is a table; none for other tasks, whose mixtures may not be files."""
    if data.place is None or not data.place.lower().endswith(TABLE_SUFFIXES):
        return {}
    return read_questions(data.place, allow_outside=data.allow_outside).rows


def _add_label(
    folder: RunFolder, item: str, data: TaskData, rows: Mapping[str, ManifestRow], labels: list[Label],
    left_out: Counter[str],
) -> tuple[str, int, str] | None:  # fmt: skip
    """Adds an item's estimate as a label; returns item, candidate and picker of its scores, or None if it has none."""
    record = folder.items[item]
    if record.failed or not record.target:
        left_out["the separator gave no estimate"] += 1
        return None
    view = scored_estimates(record)[-1]
    row, root = rows.get(base_item_id(item)), Path(data.place).parent if data.place else Path()
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
            damage=partial(_find_damage, folder, item, data),
        )
    )
    return item, view.candidate, view.picked_by or ""


def _find_damage(folder: RunFolder, item: str, data: TaskData) -> str | None:
    """Returns why target or mixture are not those that were scored; None if they are, judged without loading them."""
    known = folder.items[item].data_sha256
    if known and data.content is not None and data.content_sha256(item) != known:
        return f"expected the data of {item} as they were when it was separated, found others; evaluate it again"
    return folder.damage(item)


def _make_frame(results: Results, index: pd.MultiIndex, labels: Sequence[Label]) -> tuple[pd.DataFrame, list[str]]:
    """Returns the frame of runs: scores of the labels' estimates, one column per metric; attributes; texts."""
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


def _unique_ids(labels: Sequence[Label], index: pd.MultiIndex) -> list[Label]:
    """Gives labels unique ids: the item's, with separator and task if some item occurs more than once."""
    count = Counter(label.item for label in labels)
    if max(count.values()) == 1:
        return list(labels)
    tasks = index.get_level_values("task").nunique() > 1
    return [
        replace(label, id=f"{f'{task}-' if tasks else ''}{label.item}@{separator}")
        for label, (task, separator, *_) in zip(labels, index, strict=True)
    ]


def _read_table(name: str, allow_outside: bool, out: Path | None) -> Pool:
    found = read_questions(name, allow_outside=allow_outside)
    if out is not None and found.root.resolve() == out.resolve():
        raise UsageError(f"expected another folder than the table's own as --out, found {out}; choose another --out")
    questions_to_task(found)  # raises if a row is invalid
    left_out: Counter[str] = Counter()
    labels: list[Label] = []
    for item, row in found.rows.items():
        if reason := _unusable_reason(row):
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


def _unusable_reason(row: ManifestRow) -> str:
    """Returns why a row cannot be a label; "" if it can."""
    if not row.target:
        return "the row has no target"
    several = row.mixture is None or len(row.target) > 1 or len(row.residual) > 1
    if several or not all(isinstance(sound, str) for _, sound in row.files):
        return "mixture, target or residual are no single files"
    return ""


def _label_of_row(item: str, row: ManifestRow, root: Path) -> Label:
    def find(name: object) -> Path | None:
        return find_file(root / str(name)) if name else None

    target = find(row.target[0])
    assert target is not None  # see `_unusable_reason`
    return Label(
        id=item,
        item=item,
        group=row.group,
        text=row.text,
        target=target,
        residual=find(row.residual[0]) if row.residual else None,
        mixture=find(row.mixture),
        has_video=bool(row.video),
        video=find(row.video),
        mask=find(row.mask),
    )
