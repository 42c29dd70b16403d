"""What a run found: every row, the summary with intervals, the table. Reading it needs no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.files import find_folders, is_url, local_place
from sam_audio_bench.identity import Difference, Identity, differences
from sam_audio_bench.records import SCHEMA_VERSION, ItemRecord, MetricRecord, RunRecord, TaskRecord
from sam_audio_bench.run.attributes import REMEDY, AttributeTable, joined_attributes
from sam_audio_bench.run.remote import fetch_runs, naming_origins, shown_place
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.stats.cost import Cost, cost_of
from sam_audio_bench.stats.item_coverage import Covered, classify_coverage, items_set_aside
from sam_audio_bench.stats.slices import Slice, cut
from sam_audio_bench.stats.summary import SummaryRow, summarise, summarise_paraphrases, to_json
from sam_audio_bench.tasks.attributes import Attribute
from sam_audio_bench.types import Status

if TYPE_CHECKING:
    import pandas as pd

    from sam_audio_bench.run.plan import Plan

__all__ = ["Results", "check_content", "model_label"]

_STATISTICS = {"worst": ", worst paraphrase of each item", "spread": ", spread over the paraphrases of each item"}
_SHOWN_DIGITS = 8  # of a digest
_KEY = ("task", "item", "separator", "seed", "candidate", "picked_by", "metric")


@dataclass(frozen=True)
class Results:
    """Scores of one or several runs.

    ``frame`` holds one row a score, with the columns of scores.parquet; ``asked`` counts the items that the runs were
    asked for, ``available`` those that their tasks have, and ``failures`` those without an answer or with a score that
    could not be computed. ``coverage`` says which items of a task a separator has answered; `rows` compares separators
    of one class on the items that all of them have.
    """

    frame: pd.DataFrame
    metrics: dict[str, MetricRecord]  # by id
    labels: dict[str, str]  # task -> the task with its version and split
    oracles: frozenset[str]
    runs: tuple[Path | str, ...]  # folders, or where they were fetched from
    asked: int
    available: int
    failures: int
    candidates: dict[tuple[str, str, str], int] = field(default_factory=dict)  # task, separator, picker -> K
    paraphrased: frozenset[str] = frozenset()  # tasks whose items are asked in several ways
    coverage: dict[tuple[str, str], Covered] = field(default_factory=dict)  # task, separator -> what is answered
    costs: tuple[Cost, ...] = ()  # of each task and separator
    tables: tuple[AttributeTable, ...] = ()  # of attributes of the items
    slices: Mapping[str, Sequence[Slice]] = field(default_factory=dict)  # of each task, by an attribute; none: `by`

    @classmethod
    def of(cls, plan: Plan) -> Results:
        """The chosen items and metrics of a plan that was carried out."""
        chosen = [(job.folder, job.chosen.ids, job.columns, len(job.data)) for job in plan.jobs]
        found, output = cls._gather(chosen), plan.settings.output
        return replace(found, runs=tuple(output / Path(run).relative_to(output.absolute()) for run in found.runs))

    @classmethod
    @naming_origins()
    def read(cls, paths: Iterable[Path | str]) -> Results:
        """Everything in run folders, or in the run folders below other folders; texts may be URLs.

        Raises:
            Precondition: no run there. StoreError: a run that cannot be trusted.
        """
        return cls.of_folders([RunFolder.open(path) for path in find_runs(paths, audio=False)])

    @classmethod
    def of_folders(cls, folders: Sequence[RunFolder]) -> Results:
        """Everything in opened run folders; raises as `read`."""
        if not any(folder.items for folder in folders):
            raise StoreError(
                f"expected finished items in {folders[0].path}, found none; the same evaluation again does them"
            )
        chosen = []
        for folder in folders:
            _check_scores(folder)
            order = [record.id for record in folder.header.metrics]
            chosen.append((folder, list(folder.items), order, folder.header.task.items))
        return cls._gather(chosen)

    @classmethod
    def _gather(cls, chosen: Sequence[tuple[RunFolder, Sequence[str], Sequence[str], int]]) -> Results:
        known = _Known()
        for folder, _, _, _ in chosen:
            known.add(folder)
        import pandas as pd

        coverage = _coverage(chosen)
        frame = pd.concat([folder.part(items, columns) for folder, items, columns, _ in chosen], ignore_index=True)
        lines = Counter((folder.header.task.id, folder.header.model.name) for folder, *_ in chosen)
        if max(lines.values()) > 1 and frame.duplicated(list(_KEY)).any():
            twice = frame[frame.duplicated(list(_KEY))].iloc[0]
            raise UsageError(
                f"expected each item of {twice['separator']} on {twice['task']} in one run folder, "
                f"found {twice['item']} in two; table them apart"
            )
        return cls(
            frame=frame,
            metrics=known.metrics,
            labels={name: task.label for name, task in known.tasks.items()},
            oracles=frozenset(folder.header.model.name for folder, *_ in chosen if folder.header.model.oracle),
            runs=tuple(shown_place(folder.path) for folder, *_ in chosen),
            asked=sum(len(items) for _, items, _, _ in chosen),
            available=sum(covered.items for covered in coverage.values()),  # shards of a task count once
            candidates=known.candidates,
            paraphrased=frozenset(name for name, task in known.tasks.items() if task.prompts == "paraphrase"),
            failures=sum(_incomplete(folder, item, columns) for folder, items, columns, _ in chosen for item in items),
            coverage=coverage,
            costs=tuple(_costs(chosen)),
            tables=tuple(
                AttributeTable(folder.path, folder.header.task.id, folder.header.items_sha256) for folder, *_ in chosen
            ),
        )

    @property
    def partial(self) -> bool:
        """Whether some item of a task was not asked for, or has no answer."""
        return self.asked < self.available or self.failures > 0

    @property
    def watermark(self) -> str | None:
        """``PARTIAL n=8/24`` where results are partial."""
        return f"PARTIAL n={self.asked - self.failures}/{self.available}" if self.partial else None

    @property
    def rows(self) -> list[SummaryRow]:
        """One row per task, separator, picker and metric: mean over the common items, interval, counts."""
        if self.frame.empty:  # of a shard without items
            return []
        aside, frame = items_set_aside(self.coverage), self.frame
        if any(aside.values()):
            names = zip(*(frame[column].tolist() for column in ("task", "separator", "item")), strict=True)
            frame = frame[[item not in aside.get((task, separator), ()) for task, separator, item in names]]
        if self.slices:
            return list(self._sliced_rows(frame, aside))
        rows = summarise(frame, self.metrics, self.oracles)
        reworded = frame[frame["task"].isin(self.paraphrased)]
        if len(reworded):
            rows += summarise_paraphrases(reworded, self.metrics, self.oracles)
        return [self._labelled(row, aside) for row in rows]

    def _sliced_rows(
        self, frame: pd.DataFrame, aside: Mapping[tuple[str, str], frozenset[str]]
    ) -> Iterator[SummaryRow]:
        for task, slices in self.slices.items():
            own = frame[frame["task"] == task]
            for part in slices:
                for row in summarise(own[own["item"].isin(part.items)], self.metrics, self.oracles):
                    told = self._labelled(row, aside)
                    heading = f"{told.label}, {part.label}: {len(part.items)} of {told.items} items"
                    yield replace(told, heading=heading, slice=part.label)

    def by(self, attribute: str, points: Sequence[float] = ()) -> Results:
        """The same scores in slices of the items: a table for each, and a column ``slice`` in `to_frame`.

        >>> results.by("snr", [-10, 0, 10]).print()  # doctest: +SKIP

        Args:
            attribute: of the items; those whose attribute is not known are a slice of their own.
            points: where numbers are cut; none: at the terciles of each task, unless they are few different numbers.

        Raises:
            UsageError: an attribute that no item has, or points that do not increase or are of texts.
            Precondition: a run from before attributes were kept. StoreError: attributes that cannot be read.
        """
        known = self.attributes()
        names = sorted({name for own in known.values() for name in own})
        if attribute not in names:
            raise UsageError(f"expected an attribute of these items ({', '.join(names)}), found {attribute!r}")
        tasks: dict[str, dict[str, Attribute | None]] = {}
        for (task, item), own in known.items():
            tasks.setdefault(task, {})[item] = own.get(attribute)
        return replace(self, slices={task: cut(values, attribute, points) for task, values in tasks.items()})

    @naming_origins()
    def attributes(self) -> dict[tuple[str, str], dict[str, Attribute]]:
        """Attributes by task and item, of every item that has scores; raises as `by`."""
        known = joined_attributes(self.tables)
        asked = dict.fromkeys(zip(self.frame["task"], self.frame["item"], strict=True))
        if lost := next((key for key in asked if key not in known), None):
            task, item = lost
            place = next((one.folder for one in self.tables if one.task == task and one.sha256 is None), task)
            raise Precondition(
                f"expected attributes of the items in {place}, found none of {item}: the run is from before they were "
                f"kept, or was not finished; {REMEDY.format(place)}"
            )
        return {key: known[key] for key in asked}

    def _labelled(self, row: SummaryRow, aside: Mapping[tuple[str, str], frozenset[str]]) -> SummaryRow:
        """With the task's version and split, the number of candidates, the network that scored, and the coverage."""
        task, _, statistic = (row.task, "", "") if row.task in self.labels else row.task.rpartition(":")
        covered = self.coverage.get((task, row.separator), Covered())
        label = self.labels.get(task, "") + _STATISTICS.get(statistic, "")
        told = {str(other) for (name, _), other in self.coverage.items() if name == task}
        return replace(
            row,
            label=label,
            heading=f"{label}, {covered}" if told == {str(covered)} else "",
            remark=str(covered) if len(told) > 1 else "",
            candidates=self.candidates.get((task, row.separator, row.picked_by or ""), 1),
            model=model_label(self.metrics[row.metric]) if row.metric in self.metrics else "",
            covered=len(covered.answered),
            items=covered.items,
            coverage=str(classify_coverage(len(covered.answered), covered.items)),
            missing_media=covered.missing_media,
            set_aside=len(aside.get((task, row.separator), ())),
        )

    def to_frame(self) -> pd.DataFrame:
        """A copy of every score, with the columns of scores.parquet, and ``slice`` where there are slices."""
        if not self.slices:
            return self.frame.copy()
        label = {
            (task, item): part.label for task, parts in self.slices.items() for part in parts for item in part.items
        }
        return self.frame.assign(slice=[label[key] for key in zip(self.frame["task"], self.frame["item"], strict=True)])

    def to_json(self) -> dict[str, Any]:
        """``{"rows", "runs", "partial", "costs"}``, as ``--json`` prints it."""
        return to_json(self.rows, [str(run) for run in self.runs], self.partial, self.costs)

    def table(self, form: str = "md") -> str:
        """The table as text: "md", "csv", "tex", "html" or "json"."""
        from sam_audio_bench.render.tables import render

        return render(self.rows, form, partial=self.watermark, runs=map(str, self.runs), costs=self.costs)

    def print(self) -> None:
        """Prints the table for a terminal."""
        from sam_audio_bench.render.tables import print_terminal

        print_terminal(self.rows, partial=self.watermark, costs=self.costs)

    def _repr_html_(self) -> str:
        return self.table("html")


def _coverage(chosen: Sequence[tuple[RunFolder, Sequence[str], Sequence[str], int]]) -> dict[tuple[str, str], Covered]:
    """Of each task and separator; its shards count together."""
    found: dict[tuple[str, str], Covered] = {}
    for folder, items, _, total in chosen:
        records = [folder.items[item] for item in items if item in folder.items]
        key = folder.header.task.id, folder.header.model.name
        known = found.get(key, Covered())
        found[key] = Covered(
            answered=known.answered | {record.item for record in records if not record.failed},
            items=total,
            missing_media=known.missing_media + sum(record.status == Status.MISSING_MEDIA for record in records),
        )
    return found


def _costs(chosen: Sequence[tuple[RunFolder, Sequence[str], Sequence[str], int]]) -> Iterator[Cost]:
    """Of each task and separator; its shards count together."""
    parts: dict[tuple[str, str], tuple[list[RunRecord], list[ItemRecord]]] = {}
    for folder, items, _, _ in chosen:
        headers, records = parts.setdefault((folder.header.task.id, folder.header.model.name), ([], []))
        headers.append(folder.header)
        own = set(items)
        records += (record for item, record in folder.items.items() if item in own)
    for headers, records in parts.values():
        yield cost_of(headers, records)


@dataclass
class _Known:
    """What the runs of a table are of; one that is something else under the same name is refused."""

    metrics: dict[str, MetricRecord] = field(default_factory=dict)
    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    candidates: dict[tuple[str, str, str], int] = field(default_factory=dict)
    _runs: dict[str, RunRecord] = field(default_factory=dict)  # first run of each separator
    _pickers: dict[str, Identity] = field(default_factory=dict)
    _contents: dict[tuple[str, str], tuple[str, Path]] = field(default_factory=dict)  # task, item -> digest, folder

    def add(self, folder: RunFolder) -> None:
        """Raises UsageError for a run that cannot stand beside the others."""
        header, task, path = folder.header, folder.header.task, folder.path
        _same(task.id, self.tasks.setdefault(task.id, task).differences(task), path)
        for item in folder.items.values():
            check_content(self._contents, task.id, item, path)
        for record in header.metrics:
            _same(record.id, self.metrics.setdefault(record.id, record).differences(record), path)
        first = self._runs.setdefault(header.model.name, header)
        _same(header.model.name, _model_differences(first, header), path, "do")
        if header.picker is not None:
            name = header.picker.name
            known = self._pickers.setdefault(name, header.picker)
            _same(f"picker {name}", differences(known, header.picker, ("settings", "weights_sha256")), path, "do")
            line = task.id, header.model.name, name
            count = self.candidates.setdefault(line, header.candidates)
            changed = (
                [] if count == header.candidates else [Difference("candidates", str(count), str(header.candidates))]
            )
            _same(header.model.name, changed, path, "do")


def check_content(known: dict[tuple[str, str], tuple[str, Path]], task: str, item: ItemRecord, path: Path) -> None:
    """Refuses an item that another run has separated from other recordings, or asked by another prompt.

    Args:
        known: for each task and item a digest of what it is made of, and the folder that said so; is added to.
        task: its name.
        item: as a folder tells of it; one of schema version 1 tells nothing.
        path: of that folder.
    """
    if item.data_sha256:
        digest, first = known.setdefault((task, item.item), (item.data_sha256, path))
        if digest != item.data_sha256:
            raise UsageError(
                f"expected {item.item} of {task} with the recordings and prompt that it has in {first}, found others "
                f"in {path}; run the evaluation again for both"
            )


def _model_differences(first: RunRecord, other: RunRecord) -> list[Difference]:
    """In what two runs of one name differ; a record of schema version 1 knows no options and no code."""
    fields = ["target", "settings", "weights_sha256", "revision", "oracle"]
    if SCHEMA_VERSION == first.schema_version == other.schema_version:
        fields += ["version", "options", "code_sha256"]
    return differences(first.model, other.model, fields)


def _check_scores(folder: RunFolder) -> None:
    """Refuses a run whose journal promises scores that are not there."""
    if folder.lost:
        raise StoreError(
            f"expected scores of {len(folder.items)} items in {folder.path}, found none or too few of "
            f"{len(folder.lost)}; run the same evaluation again, which computes them from the stored estimates"
        )


def model_label(record: MetricRecord) -> str:
    """Name and abbreviated digest of a metric's network; empty for a metric that is none.

    >>> parameters = {"model": "saj-mini"}
    >>> model_label(MetricRecord(id="saj", version=1, unit="", higher_is_better=True, parameters=parameters,
    ...                          weights_sha256="31bc2250ba3e7865"))
    'saj-mini 31bc2250'
    """
    if record.weights_sha256 is None:
        return ""
    name = str(record.parameters.get("model", "local")).rpartition("/")[2]
    return f"{name} {record.weights_sha256[:_SHOWN_DIGITS]}"


def _incomplete(folder: RunFolder, item: str, columns: Sequence[str]) -> bool:
    """Whether an item has no answer, or a score that could not be computed."""
    record = folder.items.get(item)
    return record is None or record.failed or any(column not in record.scored for column in columns)


def find_runs(paths: Iterable[Path | str], *, audio: bool = True) -> list[Path]:
    """Run folders among and below ``paths``, sorted within each; links are followed, and each folder counts once.

    Args:
        paths: folders; a text may be a URL that fsspec reads, from which they are fetched to temporary files.
        audio: whether the estimates' audio is needed, and so is fetched too.

    Raises:
        Precondition: a place without run folders, or that cannot be read. UsageError: a URL that means nothing.
    """
    found: dict[Path, Path] = {}
    for place in paths:
        if is_url(place):
            here = fetch_runs(str(place), audio=audio)
        else:
            path = local_place("run folders", place, "give it as a text, not as a path")
            here = [path] if (path / "run.json").is_file() else sorted(find_folders(path, "run.json"))
        if not here:
            raise Precondition(f"expected a run folder (with run.json) in {place}, found none")
        for folder in here:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _same(name: str, changes: Iterable[Difference], path: Path, remedy: str = "score") -> None:
    """Refuses to mix runs that differ; ``remedy`` is what would make them alike: to "score" or to "do" one again."""
    for change in changes:
        raise UsageError(
            f"expected {name} with {change.field} {change.one} as in the other runs, found {change.other} in {path}; "
            f"table them apart, or {remedy} that run again"
        )
