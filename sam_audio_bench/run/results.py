"""What a run found: every row, the summary with intervals, the table. Reading it needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio_bench.errors import StoreError, UsageError, unknown_name
from sam_audio_bench.records import ItemRecord, MetricRecord, RunRecord
from sam_audio_bench.render.layout import Pivot, View, name_of
from sam_audio_bench.render.tables import print_terminal, render, table_to_json
from sam_audio_bench.run.alike import Alike, check_once, check_scores
from sam_audio_bench.run.attributes import AttributeTable, attributes_of
from sam_audio_bench.run.remote import find_runs, naming_origins, shown_place
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.run.training_overlap import shared_in_runs
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

    ``frame`` holds one row a score, with the columns of scores.parquet; ``asked`` counts the items that the runs were
    asked for, ``available`` those that their tasks have, and ``failures`` those without an answer or with a score that
    could not be computed. ``coverage`` says which items of a task a separator has answered; `rows` compares separators
    of one class on the items that all of them have.
    """

    frame: pd.DataFrame
    metrics: dict[str, MetricRecord]  # by id
    labels: dict[str, str]  # task -> the task with its version and split, and the revision of official data
    oracles: frozenset[str]
    runs: tuple[Path | str, ...]  # folders, or where they were fetched from
    asked: int
    available: int
    failures: int
    candidates: dict[tuple[str, str, str], int] = field(default_factory=dict)  # task, separator, picker -> K
    paraphrased: frozenset[str] = frozenset()  # tasks whose items are asked in several ways
    songs: frozenset[str] = frozenset()  # tasks of which published tables give the median over songs
    coverage: dict[tuple[str, str], Coverage] = field(default_factory=dict)  # task, separator -> what is answered
    costs: tuple[Cost, ...] = ()  # of each task and separator
    tables: tuple[AttributeTable, ...] = ()  # of attributes of the items
    trained_on: Mapping[tuple[str, str], str] = field(default_factory=dict)  # task, separator -> see SummaryRow
    slices: Mapping[str, Sequence[Slice]] = field(default_factory=dict)  # of each task, by an attribute; none: `by`

    @classmethod
    def of(cls, plan: Plan) -> Results:
        """The chosen items and metrics of a plan that was carried out."""
        chosen = [(job.folder, job.chosen.ids, job.columns, len(job.data)) for job in plan.jobs]
        found, output = cls._gather(chosen), plan.settings.output
        return replace(found, runs=tuple(output / Path(run).relative_to(output.absolute()) for run in found.runs))

    @classmethod
    @naming_origins()
    def read(cls, paths: Path | str | Iterable[Path | str]) -> Results:
        """Everything in a run folder or in several, or in the run folders below other folders; texts may be URLs.

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
            check_scores(folder)
            order = [record.id for record in folder.header.metrics]
            chosen.append((folder, list(folder.items), order, folder.header.task.items))
        return cls._gather(chosen)

    @classmethod
    def _gather(cls, chosen: Sequence[tuple[RunFolder, Sequence[str], Sequence[str], int]]) -> Results:
        known = Alike()
        for folder, _, _, _ in chosen:
            known.add(folder, alone=len(chosen) == 1)
        import pandas as pd

        coverage = _coverage(chosen)
        frame = pd.concat([folder.part(items, columns) for folder, items, columns, _ in chosen], ignore_index=True)
        check_once(frame, (folder for folder, *_ in chosen))
        return cls(
            frame=frame,
            metrics=known.metrics,
            labels=known.labels,
            oracles=frozenset(folder.header.model.name for folder, *_ in chosen if folder.header.model.oracle),
            runs=tuple(shown_place(folder.path) for folder, *_ in chosen),
            asked=sum(len(items) for _, items, _, _ in chosen),
            available=sum(covered.items for covered in coverage.values()),  # shards of a task count once
            candidates=known.candidates,
            paraphrased=frozenset(name for name, task in known.tasks.items() if task.prompts == "paraphrase"),
            songs=known.songs,
            failures=sum(_incomplete(folder, item, columns) for folder, items, columns, _ in chosen for item in items),
            coverage=coverage,
            costs=tuple(_costs(chosen)),
            trained_on=shared_in_runs(folder.header for folder, *_ in chosen),
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
                    told = self._labelled(row, aside)
                    label = f"{told.label}, {part.label}"
                    heading = f"{label}: {len(part.items)} of {told.items} items"
                    yield replace(told, label=label, heading=heading, slice=part.label)

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
        return replace(self, slices={task: make_slices(values, attribute, points) for task, values in tasks.items()})

    @naming_origins()
    def attributes(self) -> dict[tuple[str, str], dict[str, Attribute]]:
        """Attributes by task and item, of every item that has scores; raises as `by`."""
        return {key: dict(own) for key, own in self._attributes.items()}

    @cached_property
    def _attributes(self) -> dict[tuple[str, str], dict[str, Attribute]]:
        return attributes_of(self.tables, zip(self.frame["task"], self.frame["item"], strict=True))

    def _without(self, aside: Mapping[tuple[str, str], frozenset[str]]) -> pd.DataFrame:
        """The scores without answers that are set aside."""
        frame = self.frame
        if any(aside.values()):
            names = zip(*(frame[column].tolist() for column in ("task", "separator", "item")), strict=True)
            frame = frame[[item not in aside.get((task, separator), ()) for task, separator, item in names]]
        return frame

    @property
    def counted(self) -> pd.DataFrame:
        """The scores that means rest on: without answers that are set aside."""
        return self._without(items_set_aside(self.coverage))

    def answers(self, sort: str | None = None) -> Findings:
        """Who is best by each metric, on each task and over all, and who is surely better than the mixture.

        Args:
            sort: the metric whose differences have intervals; None: the one that tables are sorted by.
        """
        return self._answers(self.rows, sort, "task")

    def _answers(self, rows: Sequence[SummaryRow], sort: str | None, pivot: Pivot) -> Findings:
        if self.frame.empty:
            return Findings()
        units = {name: record.unit for name, record in self.metrics.items()}
        scores = compute_line_scores(self.counted, units)
        if self.slices:
            return compute_slice_findings(scores, rows, self.slices, name_of, sort)
        return compute_findings(scores, rows, name_of, sort, by_metric=pivot == "metric")

    def _labelled(self, row: SummaryRow, aside: Mapping[tuple[str, str], frozenset[str]]) -> SummaryRow:
        """With the task's version and split, the number of candidates, the network that scored, and the coverage."""
        task, _, statistic = (row.task, "", "") if row.task in self.labels else row.task.rpartition(":")
        covered = self.coverage.get((task, row.separator), Coverage())
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
            trained_on=self.trained_on.get((task, row.separator), ""),
        )

    def to_frame(self) -> pd.DataFrame:
        """A copy of every score, with the columns of scores.parquet, and ``slice`` where there are slices."""
        if not self.slices:
            return self.frame.copy()
        of = {(task, item): part.label for task, parts in self.slices.items() for part in parts for item in part.items}
        return self.frame.assign(slice=[of[key] for key in zip(self.frame["task"], self.frame["item"], strict=True)])

    def to_json(self, *, metrics: Sequence[str] = (), sort: str | None = None) -> dict[str, Any]:
        """``{"rows", "runs", "partial", "costs", "answer", "overall", "verdicts"}``, as ``--json`` prints it.

        Args:
            metrics: as in `table`.
            sort: the metric that ``answer`` is by, as in `table`.
        """
        rows, answers = self._shown(metrics, sort, "task")
        return table_to_json(
            rows, partial=self.watermark, runs=map(str, self.runs), costs=self.costs, answers=answers,
            view=View(sort=sort),
        )  # fmt: skip

    def table(
        self, form: str = "md", *, metrics: Sequence[str] = (), sort: str | None = None, pivot: Pivot = "task",
        digits: int = 2, interval: bool = True,
    ) -> str:  # fmt: skip
        """The table as text.

        Args:
            form: "md", "csv", "tex" (or "latex"), "html" or "json".
            metrics: the columns; none: all.
            sort: the metric that lines are sorted by, and the first column; None: si_sdr_i, or else an improvement.
            pivot: what a block is of: a "task", a "metric" or a "separator".
            digits: decimals of every number.
            interval: whether intervals are shown.

        Raises:
            UsageError: a metric that no run has or no item is for, or an option out of range.
        """
        view = View(sort=sort, pivot=pivot, digits=digits, interval=interval, metrics=tuple(metrics))
        rows, answers = self._shown(metrics, sort, pivot)
        return render(
            rows, form, partial=self.watermark, runs=map(str, self.runs), costs=self.costs, answers=answers, view=view
        )

    def print(
        self, *, metrics: Sequence[str] = (), sort: str | None = None, pivot: Pivot = "task", digits: int = 2,
        interval: bool = True,
    ) -> None:  # fmt: skip
        """Prints the table for a terminal; options as in `table`."""
        view = View(sort=sort, pivot=pivot, digits=digits, interval=interval, metrics=tuple(metrics))
        rows, answers = self._shown(metrics, sort, pivot)
        print_terminal(rows, partial=self.watermark, costs=self.costs, answers=answers, view=view)

    def _shown(self, metrics: Sequence[str], sort: str | None, pivot: Pivot) -> tuple[list[SummaryRow], Findings]:
        """What a table of some metrics shows."""
        chosen = self._chosen(metrics, sort)
        rows = chosen.rows
        if metrics and not rows:
            raise UsageError(f"expected metrics that some item of these runs is for, found {', '.join(metrics)}")
        if sort is not None and rows and main_metric(rows, sort) != sort:
            raise UsageError(f"expected a column to sort by with a mean and a better end, found {sort}")
        return rows, chosen._answers(rows, sort, pivot)

    def _chosen(self, metrics: Sequence[str], sort: str | None) -> Results:
        """Of some metrics alone, in their order; raises UsageError."""
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
        """A figure, which `save` of it writes as SVG, PNG and CSV.

        Args:
            kind: "bars", "box", "scatter" or "pareto", see `sam_audio_bench.plots.runs.KINDS`; or "slices".
            metric: its id; two of them for a scatter of one against the other; none: the metric that orders the table.
            separators: names of those to draw; none: all.
            task: its id; None: all; of slices, which are a figure a task, the only one.

        Raises:
            UsageError: a name that these runs do not have, or nothing to draw.
        """
        from sam_audio_bench.run.display import draw_results

        return draw_results(self, kind, [metric] if isinstance(metric, str) else metric, separators, task)

    def __repr__(self) -> str:
        from sam_audio_bench.run.display import results_text

        return results_text(self)

    def _repr_html_(self) -> str:
        from sam_audio_bench.run.display import results_html

        return results_html(self)


def _coverage(chosen: Sequence[tuple[RunFolder, Sequence[str], Sequence[str], int]]) -> dict[tuple[str, str], Coverage]:
    """Of each task and separator; its shards count together."""
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
    """Of each task and separator; its shards count together."""
    parts: dict[tuple[str, str], tuple[list[RunRecord], list[ItemRecord]]] = {}
    for folder, items, _, _ in chosen:
        headers, records = parts.setdefault((folder.header.task.id, folder.header.model.name), ([], []))
        headers.append(folder.header)
        own = set(items)
        records += (record for item, record in folder.items.items() if item in own)
    for headers, records in parts.values():
        yield cost_of(headers, records)


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
