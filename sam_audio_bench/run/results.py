"""Results of runs: scores, summaries with confidence intervals, tables. Reading them does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio_bench.errors import StoreError, UsageError, unknown_name
from sam_audio_bench.records import ItemRecord, MetricRecord, RunRecord
from sam_audio_bench.render.layout import Pivot, TableOptions, line_label
from sam_audio_bench.render.tables import print_terminal, render, table_to_json
from sam_audio_bench.run.attributes import AttributeTable, select_attributes
from sam_audio_bench.run.compatibility import CompatibleRuns, check_has_scores, check_unique_scores
from sam_audio_bench.run.remote import display_path, find_runs, show_urls_in_errors
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.run.training_overlap import training_overlaps
from sam_audio_bench.stats.cost import Cost, cost_of
from sam_audio_bench.stats.findings import Findings, compute_findings, compute_slice_findings, main_metric
from sam_audio_bench.stats.item_coverage import Coverage, classify_coverage, items_set_aside
from sam_audio_bench.stats.slices import Slice, make_slices
from sam_audio_bench.stats.summary import SummaryRow, compute_line_scores, summarise, summarise_paraphrases
from sam_audio_bench.tasks.attributes import Attribute
from sam_audio_bench.types import Status

if TYPE_CHECKING:
    import pandas as pd

    from sam_audio_bench.plots.base import Plot
    from sam_audio_bench.run.plan import Plan

__all__ = ["Results", "model_label"]

_STATISTICS = {"worst": ", worst paraphrase of each item", "spread": ", spread over the paraphrases of each item",
               "median": ", median over songs"}  # fmt: skip
_SHOWN_DIGITS = 8  # of a digest


@dataclass(frozen=True)
class Results:
    """Scores of one or several runs.

    ``frame`` holds one row per score, with the columns of scores.parquet; ``asked`` counts the requested items of the
    runs, ``available`` the items of their tasks, and ``failures`` the items without an estimate or with a score that
    could not be computed. ``coverage`` holds the items of a task with an estimate of a separator; `rows` compares the
    separators of one class of coverage on the items that all of them have.
    """

    frame: pd.DataFrame
    metrics: dict[str, MetricRecord]  # by id
    labels: dict[str, str]  # task -> task with version and split, and the revision of official data
    oracles: frozenset[str]
    runs: tuple[Path | str, ...]  # folders, or the URLs from which they were fetched
    asked: int
    available: int
    failures: int
    candidates: dict[tuple[str, str, str], int] = field(default_factory=dict)  # task, separator, picker -> K
    paraphrased: frozenset[str] = frozenset()  # tasks with several prompts per item
    songs: frozenset[str] = frozenset()  # tasks for which published tables report the median over songs
    coverage: dict[tuple[str, str], Coverage] = field(default_factory=dict)  # task, separator -> items with estimates
    costs: tuple[Cost, ...] = ()  # per task and separator
    tables: tuple[AttributeTable, ...] = ()  # item attributes
    trained_on: Mapping[tuple[str, str], str] = field(default_factory=dict)  # task, separator -> see SummaryRow
    slices: Mapping[str, Sequence[Slice]] = field(default_factory=dict)  # task -> slices, if made by `by`

    @classmethod
    def of(cls, plan: Plan) -> Results:
        """Collects the chosen items and metrics of an executed plan."""
        chosen = [(job.folder, job.chosen.ids, job.columns, len(job.data)) for job in plan.jobs]
        found, output = cls._gather(chosen), plan.settings.output
        return replace(found, runs=tuple(output / Path(run).relative_to(output.absolute()) for run in found.runs))

    @classmethod
    @show_urls_in_errors()
    def read(cls, paths: Path | str | Iterable[Path | str]) -> Results:
        """Reads one or several run folders, or all run folders below other folders; texts may be URLs.

        Raises:
            Precondition: there is no run. StoreError: a damaged run.
        """
        return cls.of_folders([RunFolder.open(path) for path in find_runs(paths, audio=False)])

    @classmethod
    def of_folders(cls, folders: Sequence[RunFolder]) -> Results:
        """Collects the contents of opened run folders; raises as `read`."""
        if not any(folder.items for folder in folders):
            raise StoreError(
                f"expected finished items in {folders[0].path}, found none; the same evaluation again does them"
            )
        chosen = []
        for folder in folders:
            check_has_scores(folder)
            order = [record.id for record in folder.header.metrics]
            chosen.append((folder, list(folder.items), order, folder.header.task.items))
        return cls._gather(chosen)

    @classmethod
    def _gather(cls, chosen: Sequence[tuple[RunFolder, Sequence[str], Sequence[str], int]]) -> Results:
        known = CompatibleRuns()
        for folder, _, _, _ in chosen:
            known.add(folder, alone=len(chosen) == 1)
        import pandas as pd

        coverage = _coverage(chosen)
        frame = pd.concat([folder.select(items, columns) for folder, items, columns, _ in chosen], ignore_index=True)
        check_unique_scores(frame, (folder for folder, *_ in chosen))
        return cls(
            frame=frame,
            metrics=known.metrics,
            labels=known.task_labels,
            oracles=frozenset(folder.header.model.name for folder, *_ in chosen if folder.header.model.oracle),
            runs=tuple(display_path(folder.path) for folder, *_ in chosen),
            asked=sum(len(items) for _, items, _, _ in chosen),
            available=sum(covered.items for covered in coverage.values()),  # shards of a task count once
            candidates=known.candidates,
            paraphrased=frozenset(name for name, task in known.tasks.items() if task.prompts == "paraphrase"),
            songs=known.tasks_with_song_median,
            failures=sum(_incomplete(folder, item, columns) for folder, items, columns, _ in chosen for item in items),
            coverage=coverage,
            costs=tuple(_costs(chosen)),
            trained_on=training_overlaps(folder.header for folder, *_ in chosen),
            tables=tuple(
                AttributeTable(folder.path, folder.header.task.id, folder.header.items_sha256) for folder, *_ in chosen
            ),
        )

    @property
    def partial(self) -> bool:
        """Whether some item of a task was not requested, or has no estimate."""
        return self.asked < self.available or self.failures > 0

    @property
    def watermark(self) -> str | None:
        """``PARTIAL n=8/24`` if results are partial."""
        return f"PARTIAL n={self.asked - self.failures}/{self.available}" if self.partial else None

    @property
    def rows(self) -> list[SummaryRow]:
        """One row per task, separator, picker and metric: mean over the common items, interval, counts."""
        if self.frame.empty:  # of a shard without items
            return []
        aside = items_set_aside(self.coverage)
        frame = self._without(aside)
        if self.slices:
            return list(self._sliced_rows(frame, aside))
        rows = summarise(frame, self.metrics, self.oracles)
        reworded = frame[frame["task"].isin(self.paraphrased)]
        if len(reworded):
            rows += summarise_paraphrases(reworded, self.metrics, self.oracles)
        if len(songs := frame[frame["task"].isin(self.songs)]):
            medians = summarise(songs, self.metrics, self.oracles, average="median")
            rows += [replace(row, task=f"{row.task}:median") for row in medians]
        return [self._labelled(row, aside) for row in rows]

    def _sliced_rows(
        self, frame: pd.DataFrame, aside: Mapping[tuple[str, str], frozenset[str]]
    ) -> Iterator[SummaryRow]:
        for task, slices in self.slices.items():
            own = frame[frame["task"] == task]
            for part in slices:
                for row in summarise(own[own["item"].isin(part.items)], self.metrics, self.oracles):
                    labelled = self._labelled(row, aside)
                    label = f"{labelled.label}, {part.label}"
                    heading = f"{label}: {len(part.items)} of {labelled.items} items"
                    yield replace(labelled, label=label, heading=heading, slice=part.label)

    def by(self, attribute: str, points: Sequence[float] = ()) -> Results:
        """Returns the same scores in slices of the items: one table per slice, and a column ``slice`` in `to_frame`.

        >>> results.by("snr", [-10, 0, 10]).print()  # doctest: +SKIP

        Args:
            attribute: name of an item attribute; items for which it is unknown form a slice.
            points: boundaries between slices of numbers; empty: the terciles of each task, unless values are few.

        Raises:
            UsageError: an attribute that no item has, or points that do not increase or are for texts.
            Precondition: a run of a version without attributes. StoreError: attributes that cannot be read.
        """
        known = self.attributes()
        names = sorted({name for own in known.values() for name in own})
        if attribute not in names:
            raise UsageError(f"expected an attribute of these items ({', '.join(names)}), found {attribute!r}")
        tasks: dict[str, dict[str, Attribute | None]] = {}
        for (task, item), own in known.items():
            tasks.setdefault(task, {})[item] = own.get(attribute)
        return replace(self, slices={task: make_slices(values, attribute, points) for task, values in tasks.items()})

    @show_urls_in_errors()
    def attributes(self) -> dict[tuple[str, str], dict[str, Attribute]]:
        """Returns attributes by task and item, for every item that has scores; raises as `by`."""
        return {key: dict(own) for key, own in self._attributes.items()}

    @cached_property
    def _attributes(self) -> dict[tuple[str, str], dict[str, Attribute]]:
        return select_attributes(self.tables, zip(self.frame["task"], self.frame["item"], strict=True))

    def _without(self, aside: Mapping[tuple[str, str], frozenset[str]]) -> pd.DataFrame:
        """Returns the scores without those of items that are set aside."""
        frame = self.frame
        if any(aside.values()):
            names = zip(*(frame[column].tolist() for column in ("task", "separator", "item")), strict=True)
            frame = frame[[item not in aside.get((task, separator), ()) for task, separator, item in names]]
        return frame

    @property
    def counted(self) -> pd.DataFrame:
        """The scores from which means are computed, without those of items that are set aside."""
        return self._without(items_set_aside(self.coverage))

    def answers(self, sort: str | None = None) -> Findings:
        """Returns the best separators by each metric, per task and over all, and those surely better than the mixture.

        Args:
            sort: the metric whose differences have intervals; None: the one by which tables are sorted.
        """
        return self._answers(self.rows, sort, "task")

    def _answers(self, rows: Sequence[SummaryRow], sort: str | None, pivot: Pivot) -> Findings:
        if self.frame.empty:
            return Findings()
        units = {name: record.unit for name, record in self.metrics.items()}
        scores = compute_line_scores(self.counted, units)
        if self.slices:
            return compute_slice_findings(scores, rows, self.slices, line_label, sort)
        return compute_findings(scores, rows, line_label, sort, by_metric=pivot == "metric")

    def _labelled(self, row: SummaryRow, aside: Mapping[tuple[str, str], frozenset[str]]) -> SummaryRow:
        """Adds the task's version and split, the number of candidates, the metric's network, and the coverage."""
        task, _, statistic = (row.task, "", "") if row.task in self.labels else row.task.rpartition(":")
        covered = self.coverage.get((task, row.separator), Coverage())
        label = self.labels.get(task, "") + _STATISTICS.get(statistic, "")
        coverages = {str(other) for (name, _), other in self.coverage.items() if name == task}
        return replace(
            row,
            label=label,
            heading=f"{label}, {covered}" if coverages == {str(covered)} else "",
            remark=str(covered) if len(coverages) > 1 else "",
            candidates=self.candidates.get((task, row.separator, row.picked_by or ""), 1),
            model=model_label(self.metrics[row.metric]) if row.metric in self.metrics else "",
            covered=len(covered.answered),
            items=covered.items,
            coverage=str(classify_coverage(len(covered.answered), covered.items)),
            missing_media=covered.missing_media,
            set_aside=len(aside.get((task, row.separator), ())),
            trained_on=self.trained_on.get((task, row.separator), ""),
        )

    def to_frame(self) -> pd.DataFrame:
        """Returns a copy of all scores, with the columns of scores.parquet, and ``slice`` if there are slices."""
        if not self.slices:
            return self.frame.copy()
        of = {(task, item): part.label for task, parts in self.slices.items() for part in parts for item in part.items}
        return self.frame.assign(slice=[of[key] for key in zip(self.frame["task"], self.frame["item"], strict=True)])

    def to_json(self, *, metrics: Sequence[str] = (), sort: str | None = None) -> dict[str, Any]:
        """Returns ``{"rows", "runs", "partial", "costs", "answer", "overall", "verdicts"}``, the output of ``--json``.

        Args:
            metrics: as in `table`.
            sort: the metric of ``answer``, as in `table`.
        """
        rows, answers = self._shown(metrics, sort, "task")
        return table_to_json(
            rows, partial=self.watermark, runs=map(str, self.runs), costs=self.costs, answers=answers,
            view=TableOptions(sort=sort),
        )  # fmt: skip

    def table(
        self, form: str = "md", *, metrics: Sequence[str] = (), sort: str | None = None, pivot: Pivot = "task",
        digits: int = 2, interval: bool = True,
    ) -> str:  # fmt: skip
        """Returns the table as text.

        Args:
            form: "md", "csv", "tex" (or "latex"), "html" or "json".
            metrics: the columns; empty: all.
            sort: the metric by which lines are sorted, and first column; None: si_sdr_i, otherwise an improvement.
            pivot: one block per "task", "metric" or "separator".
            digits: decimals of every number.
            interval: whether intervals are shown.

        Raises:
            UsageError: a metric that no run has or that applies to no item, or an option out of range.
        """
        view = TableOptions(sort=sort, pivot=pivot, digits=digits, interval=interval, metrics=tuple(metrics))
        rows, answers = self._shown(metrics, sort, pivot)
        return render(
            rows, form, partial=self.watermark, runs=map(str, self.runs), costs=self.costs, answers=answers, view=view
        )

    def print(
        self, *, metrics: Sequence[str] = (), sort: str | None = None, pivot: Pivot = "task", digits: int = 2,
        interval: bool = True,
    ) -> None:  # fmt: skip
        """Prints the table for a terminal; options as in `table`."""
        view = TableOptions(sort=sort, pivot=pivot, digits=digits, interval=interval, metrics=tuple(metrics))
        rows, answers = self._shown(metrics, sort, pivot)
        print_terminal(rows, partial=self.watermark, costs=self.costs, answers=answers, view=view)

    def _shown(self, metrics: Sequence[str], sort: str | None, pivot: Pivot) -> tuple[list[SummaryRow], Findings]:
        """Returns the rows and verdicts of a table of some metrics."""
        chosen = self._chosen(metrics, sort)
        rows = chosen.rows
        if metrics and not rows:
            raise UsageError(f"expected metrics that some item of these runs is for, found {', '.join(metrics)}")
        if sort is not None and rows and main_metric(rows, sort) != sort:
            raise UsageError(f"expected a column to sort by with a mean and a better end, found {sort}")
        return rows, chosen._answers(rows, sort, pivot)

    def _chosen(self, metrics: Sequence[str], sort: str | None) -> Results:
        """Returns the results of some metrics only, in the given order; raises UsageError."""
        for name in (*metrics, *([] if sort is None else [sort])):
            if name not in self.metrics:
                raise unknown_name("column", name, self.metrics)
        if sort is not None and metrics and sort not in metrics:
            raise UsageError(f"expected a table sorted by one of its metrics {', '.join(metrics)}, found {sort}")
        if not metrics:
            return self
        frame = self.frame[self.frame["metric"].isin(metrics)]
        frame = frame.sort_values("metric", key=lambda column: column.map(list(metrics).index), kind="stable")
        return replace(self, frame=frame, metrics={name: self.metrics[name] for name in metrics})

    def plot(
        self, kind: str = "bars", metric: str | Sequence[str] = (), *, separators: Sequence[str] = (),
        task: str | None = None,
    ) -> Plot:  # fmt: skip
        """Returns a figure, whose method `save` writes SVG, PNG and CSV.

        Args:
            kind: "bars", "box", "scatter" or "pareto", see `sam_audio_bench.plots.runs.KINDS`; or "slices".
            metric: its id; two ids for a scatter plot of one against the other; empty: the metric that sorts the table.
            separators: names of separators to draw; empty: all.
            task: its id; None: all tasks; slices have one figure per task, so there must be only one.

        Raises:
            UsageError: a name that is not in these runs, or nothing to draw.
        """
        from sam_audio_bench.run.display import draw_results

        return draw_results(self, kind, [metric] if isinstance(metric, str) else metric, separators, task)

    def __repr__(self) -> str:
        from sam_audio_bench.run.display import summarize_results

        return summarize_results(self)

    def _repr_html_(self) -> str:
        from sam_audio_bench.run.display import render_results_html

        return render_results_html(self)


def _coverage(chosen: Sequence[tuple[RunFolder, Sequence[str], Sequence[str], int]]) -> dict[tuple[str, str], Coverage]:
    """Returns the coverage of each task and separator; the shards of a run are joined."""
    found: dict[tuple[str, str], Coverage] = {}
    for folder, items, _, total in chosen:
        records = [folder.items[item] for item in items if item in folder.items]
        key = folder.header.task.id, folder.header.model.name
        known = found.get(key, Coverage())
        found[key] = Coverage(
            answered=known.answered | {record.item for record in records if not record.failed},
            items=total,
            missing_media=known.missing_media + sum(record.status == Status.MISSING_MEDIA for record in records),
        )
    return found


def _costs(chosen: Sequence[tuple[RunFolder, Sequence[str], Sequence[str], int]]) -> Iterator[Cost]:
    """Yields the costs of each task and separator; the shards of a run are joined."""
    parts: dict[tuple[str, str], tuple[list[RunRecord], list[ItemRecord]]] = {}
    for folder, items, _, _ in chosen:
        headers, records = parts.setdefault((folder.header.task.id, folder.header.model.name), ([], []))
        headers.append(folder.header)
        own = set(items)
        records += (record for item, record in folder.items.items() if item in own)
    for headers, records in parts.values():
        yield cost_of(headers, records)


def model_label(record: MetricRecord) -> str:
    """Returns name and abbreviated digest of a metric's network; empty for a metric without one.

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
    """Returns whether an item has no estimate, or a score that could not be computed."""
    record = folder.items.get(item)
    return record is None or record.failed or any(column not in record.scored for column in columns)
