"""Comparison of a separator's scores in the slices of every item attribute with its scores on all other items."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from sam_audio_bench.cards import MAIN_METRIC
from sam_audio_bench.errors import UsageError
from sam_audio_bench.run.compare import find_estimate_file
from sam_audio_bench.run.remote import find_runs, show_urls_in_errors
from sam_audio_bench.run.results import Results
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.stats.paired import holm
from sam_audio_bench.stats.slices import MIN_RECORDINGS, Slice, SliceTest, compare_slices, make_slices
from sam_audio_bench.stats.summary import ItemScore, compute_item_scores
from sam_audio_bench.tasks.attributes import Attribute

__all__ = [
    "SliceCase",
    "SliceReport",
    "SliceRow",
    "WorstItem",
    "attribute_names",
    "compare_slice_cases",
    "find_slices",
    "make_slice_cases",
    "make_slice_report",
    "worst_items",
]

_MIN_PERMUTATIONS = 2000
_PERMUTATIONS_PER_TEST = 100  # so that the smallest p is far below 5 % after Holm's adjustment


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRow(SliceTest):
    """A `SliceTest` of one separator on one task."""

    task: str
    separator: str
    attribute: str
    slice: str
    place: int  # index of the slice among those of its attribute
    higher_is_better: bool
    p_holm: float | None = None  # over all rows of the report

    @property
    def effect(self) -> float | None:
        """How much better the separator is in the slice than elsewhere; negative: worse."""
        return None if self.difference is None else self.difference * (1 if self.higher_is_better else -1)

    def is_surely_worse(self, alpha: float = 0.05) -> bool:
        """Returns whether the separator is significantly worse in this slice than elsewhere."""
        return self.p_holm is not None and self.p_holm < alpha


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstItem:
    """One of the worst estimates of a separator on a task, and its audio file."""

    task: str
    separator: str
    item: str
    value: float
    slices: tuple[str, ...]  # slices of the item in which the separator is surely worse
    audio: Path | None  # None: the run folder has no audio of it


@dataclass(frozen=True, kw_only=True)
class SliceReport:
    """Every slice that could be compared, by one metric, worst first."""

    metric: str
    unit: str
    higher_is_better: bool
    labels: Mapping[str, str]  # task -> task with version and split
    rows: tuple[SliceRow, ...]
    worst: tuple[WorstItem, ...]
    notes: tuple[str, ...]  # attributes that could not be compared, and why

    def to_json(self) -> dict[str, Any]:
        """Returns the output of ``--format json``."""
        rows = [{**asdict(row), "surely_worse": row.is_surely_worse()} for row in self.rows]
        worst = [{**asdict(one), "audio": None if one.audio is None else str(one.audio)} for one in self.worst]
        return {
            "metric": self.metric, "unit": self.unit, "higher_is_better": self.higher_is_better, "rows": rows,
            "worst": worst, "notes": list(self.notes),
        }  # fmt: skip


class SliceCase(NamedTuple):
    """One separator on one task, by one attribute."""

    task: str
    separator: str
    attribute: str
    slices: Sequence[Slice]
    scores: Mapping[str, ItemScore]  # items with a defined score


@show_urls_in_errors()
def find_slices(
    paths: Sequence[Path | str],
    *,
    metric: str | None = None,
    by: Mapping[str, Sequence[float]] | None = None,
    worst: int = 5,
    permutations: int | None = None,
    seed: int = 0,
) -> SliceReport:
    """Compares each slice of each attribute with all other items, for each separator and task.

    With a picker, the picked estimate is used. Slices are those of `Results.by`; p is adjusted by Holm over all rows.

    Args:
        paths: run folders, or folders that contain them; texts may be URLs.
        metric: its id; None: si_sdr_i, otherwise the first one.
        by: attributes, each with boundaries between its slices, if any; None: all attributes.
        worst: number of worst items to list per separator and task.
        permutations: of each test; None: 2000, or a hundred for each slice where that is more.
        seed: of intervals and tests.

    Raises:
        UsageError: a metric or attribute that the runs do not have.
        Precondition, StoreError: as `Results.by`.
    """
    folders = [RunFolder.open(path) for path in find_runs(paths, audio=False)]
    options: dict[str, Any] = {"metric": metric, "by": by, "permutations": permutations, "seed": seed}
    return make_slice_report(Results.of_folders(folders), folders, worst=worst, **options)


@show_urls_in_errors()
def make_slice_report(
    results: Results,
    folders: Sequence[RunFolder] = (),
    *,
    metric: str | None = None,
    by: Mapping[str, Sequence[float]] | None = None,
    worst: int = 0,
    permutations: int | None = None,
    seed: int = 0,
) -> SliceReport:
    """Returns the report of `find_slices` for loaded results; ``folders`` contain the audio of the worst items."""
    metrics = list(results.metrics)
    chosen = metric or (MAIN_METRIC if MAIN_METRIC in metrics else metrics[0])
    if chosen not in metrics:
        raise UsageError(f"expected a metric of these runs ({', '.join(metrics)}), found {chosen!r}")
    units = {name: record.unit for name, record in results.metrics.items()}
    frame = results.frame[results.frame["metric"] == chosen]
    scores = {(task, separator): items for (task, separator, _), items in compute_item_scores(frame, units).items()}
    notes: list[str] = []
    known = results.attributes()
    names = attribute_names(known)
    if unknown := [name for name in by or () if name not in names]:
        raise UsageError(f"expected attributes of these items ({', '.join(sorted(names))}), found {unknown[0]!r}")
    cases = list(make_slice_cases(known, scores, by or dict.fromkeys(names, ()), notes))
    record = results.metrics[chosen]
    rows = compare_slice_cases(cases, higher_is_better=record.higher_is_better, permutations=permutations, seed=seed)
    order = {task: place for place, task in enumerate(results.labels)}
    rows.sort(key=lambda row: order[row.task])
    sure = {(row.task, row.separator, row.slice) for row in rows if row.is_surely_worse()}
    return SliceReport(
        metric=chosen,
        unit=record.unit,
        higher_is_better=record.higher_is_better,
        labels=results.labels,
        rows=tuple(rows),
        worst=tuple(_worst(folders, cases, scores, sure, worst, record.higher_is_better)),
        notes=tuple(notes),
    )


def attribute_names(known: Mapping[tuple[str, str], Mapping[str, Attribute]]) -> list[str]:
    """Returns every attribute that some item has, in order of appearance."""
    return list(dict.fromkeys(name for attributes in known.values() for name in attributes))


def make_slice_cases(
    known: Mapping[tuple[str, str], Mapping[str, Attribute]],
    scores: Mapping[tuple[str, str], Mapping[str, ItemScore]],
    by: Mapping[str, Sequence[float]],
    notes: list[str],
) -> Iterator[SliceCase]:
    """Yields a case for every separator and every attribute that divides the items of a task.

    Args:
        known: attributes, by task and item.
        scores: of each task and separator, by item.
        by: attributes, each with boundaries between its slices, if any.
        notes: list to which it appends why an attribute has no case, and for how many items it is unknown.
    """
    for task in dict.fromkeys(task for task, _ in scores):
        own = {item: attributes for (at, item), attributes in known.items() if at == task}
        groups = {item: score.group for (at, _), items in scores.items() if at == task for item, score in items.items()}
        for name, points in by.items():
            if not any(name in attributes for attributes in own.values()):
                continue  # an attribute of another task
            slices = make_slices({item: attributes.get(name) for item, attributes in own.items()}, name, points)
            parts = [part for part in slices if part.known and part.items]
            if unknown := sum(len(part.items) for part in slices if not part.known):
                notes.append(f"{task}: {name} is not known of {unknown} of {len(own)} items, which are left out")
            largest = max(len({groups[str(item)] for item in part.items if item in groups}) for part in parts)
            if len(parts) < 2:
                notes.append(f"{task}: {name} does not part the items: {parts[0].label} for all")
            elif largest < MIN_RECORDINGS:
                notes.append(
                    f"{task}: {name} is not tested, as none of its {len(parts)} slices has {MIN_RECORDINGS} recordings"
                )
            else:
                for (at, separator), items in scores.items():
                    if at == task:
                        there = {item: score for item, score in items.items() if score.value is not None}
                        yield SliceCase(task, separator, name, parts, there)


def compare_slice_cases(
    cases: Sequence[SliceCase], *, higher_is_better: bool, permutations: int | None = None, seed: int = 0
) -> list[SliceRow]:
    """Compares every slice with all other items, largest loss first; p is adjusted by Holm over all of them.

    Args:
        cases: of `make_slice_cases`.
        higher_is_better: direction of their scores.
        permutations: of each test; None: 2000, or a hundred for each slice where that is more.
        seed: of intervals and tests.
    """
    tests = sum(len(case.slices) for case in cases)
    permutations = permutations or max(_MIN_PERMUTATIONS, _PERMUTATIONS_PER_TEST * tests)
    rows = [row for case in cases for row in _rows(case, higher_is_better, permutations, seed)]
    rows = [replace(row, p_holm=p) for row, p in zip(rows, holm([row.p for row in rows]), strict=True)]
    return sorted(rows, key=lambda row: (row.p is None, row.effect or 0.0))


def _rows(case: SliceCase, higher_is_better: bool, permutations: int, seed: int) -> Iterator[SliceRow]:
    items = [item for part in case.slices for item in map(str, part.items) if item in case.scores]
    if not items:
        return
    masks = [[item in members for item in items] for members in (frozenset(part.items) for part in case.slices)]
    found = compare_slices(
        [value for item in items if (value := case.scores[item].value) is not None],
        [case.scores[item].group for item in items],
        masks, higher_is_better=higher_is_better, permutations=permutations, seed=seed,
    )  # fmt: skip
    for place, (part, one) in enumerate(zip(case.slices, found, strict=True)):
        yield SliceRow(
            **asdict(one), task=case.task, separator=case.separator, attribute=case.attribute, slice=part.label,
            place=place, higher_is_better=higher_is_better,
        )  # fmt: skip


def _worst(
    folders: Sequence[RunFolder],
    cases: Sequence[SliceCase],
    scores: Mapping[tuple[str, str], Mapping[str, ItemScore]],
    sure: set[tuple[str, str, str]],
    most: int,
    higher_is_better: bool,
) -> Iterator[WorstItem]:
    """Yields the worst items of each separator and task, worst first."""
    for (task, separator), items in scores.items():
        runs = [folder for folder in folders if folder.header.model.name == separator]
        parts = [part for case in cases if (case.task, case.separator) == (task, separator) for part in case.slices]
        for item, value in worst_items(items, higher_is_better=higher_is_better, most=most).items():
            within = tuple(part.label for part in parts if item in part.items and (task, separator, part.label) in sure)
            yield WorstItem(
                task=task, separator=separator, item=item, value=value, slices=within,
                audio=find_estimate_file(runs, task, item),
            )  # fmt: skip


def worst_items(
    scores: Mapping[str, ItemScore], *, higher_is_better: bool, most: int, within: Collection[str] | None = None
) -> dict[str, float]:
    """Returns the items with the worst scores, worst first; none if all scores are equal.

    For example, by an improvement all scores of the mixture are equal, so that it has no worst items.

    Args:
        scores: of one separator on one task, by item.
        higher_is_better: direction.
        most: how many items.
        within: items to choose from; None: all.
    """
    sign = 1 if higher_is_better else -1
    known = {item: score.value for item, score in scores.items() if score.value is not None}
    candidates = known.keys() if within is None else known.keys() & set(within)
    if len(set(known.values())) < 2:
        return {}
    return {item: known[item] for item in sorted(candidates, key=lambda item: (sign * known[item], item))[:most]}
