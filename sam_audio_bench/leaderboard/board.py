"""All submissions in one object, from which every page is made: means, intervals, ranks, coverage.

The numbers of a submission depend on its rows alone; only ranks depend on other submissions. Values are rounded to six
decimals, so that two machines write the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sam_audio_bench.errors import StoreError
from sam_audio_bench.files import dump_json
from sam_audio_bench.leaderboard import log
from sam_audio_bench.leaderboard.item_lists import find_task_card, load_item_list
from sam_audio_bench.leaderboard.records import (
    Aggregate,
    BoardRule,
    LogEntry,
    ReportedNumbers,
    Selection,
    SubmittedTask,
    read_record,
)
from sam_audio_bench.leaderboard.reported import read_reported
from sam_audio_bench.leaderboard.sitetypes import Cell, OverallRow, ScoreFields
from sam_audio_bench.leaderboard.submission import Submission, find_submissions
from sam_audio_bench.plugins import find_card
from sam_audio_bench.records import MetricRecord
from sam_audio_bench.render.text import line_name
from sam_audio_bench.render.verdict import sentence
from sam_audio_bench.separators.pickers import shares_model_with_picker
from sam_audio_bench.stats.item_coverage import CoverageClass, classify_coverage
from sam_audio_bench.stats.ranking import Column, Values, rank
from sam_audio_bench.stats.summary import ItemScore, compute_line_scores
from sam_audio_bench.stats.verdict import BASELINE, decide_many
from sam_audio_bench.tasks import TASKS
from sam_audio_bench.tasks.sources import find_recording_texts, find_shared_training
from sam_audio_bench.types import Status

__all__ = ["BOARDS", "Board", "LeaderboardLine", "read_board", "round_value"]

BOARDS = "boards.json"
_DECIMALS = 6


@dataclass(frozen=True, eq=False)
class LeaderboardLine:
    """One line of a table: a submission, or the candidates that a picker chose in it."""

    submission: Submission
    picked_by: str | None
    unranked_reason: str  # "", or why none of its numbers is ranked: "oracle", "baseline", "withdrawn" or "superseded"
    outdated_metrics: frozenset[str] = frozenset()  # their current version computes something else; not shown

    @property
    def id(self) -> str:
        """Id, unique on the leaderboard."""
        own = f"{self.submission.separator}/{self.submission.revision}"
        return own if self.picked_by is None else f"{own}#{self.picked_by}"

    @property
    def name(self) -> str:
        """Display name; includes the revision if another revision of the separator may be shown too."""
        candidates = max(task.candidates for task in self.submission.header.tasks)
        own = line_name(self.submission.separator, self.picked_by, candidates)
        return f"{own}, {self.submission.revision}" if self.unranked_reason in ("withdrawn", "superseded") else own

    @cached_property
    def item_scores(self) -> dict[tuple[str, str], dict[str, ItemScore]]:
        """(task, metric) -> item -> mean score."""
        units = {name: info.unit for name, info in self.submission.metrics.items()}
        means = compute_line_scores(self.submission.scores, units)
        return {
            (task, metric): own
            for (task, _, picker, metric), own in means.items()
            if picker == self.picked_by and metric not in self.outdated_metrics
        }

    @cached_property
    def aggregates(self) -> dict[tuple[str, str], Aggregate]:
        """(task, metric) -> aggregate as stated in submission.json."""
        aggregates = self.submission.header.aggregates
        return {(one.task, one.metric): one for one in aggregates if one.picked_by == self.picked_by}

    @cached_property
    def undefined_counts(self) -> dict[tuple[str, str], int]:
        """(task, metric) -> number of items whose score is undefined because their target is absent."""
        rows = self.submission.scores
        own = rows[rows["value"].isna() & rows["status"].isin([Status.SILENT_REFERENCE, Status.BOTH_SILENT])]
        own = own[own["picked_by"].fillna("") == (self.picked_by or "")]
        different = set(zip(own["task"].tolist(), own["metric"].tolist(), own["item"].tolist(), strict=True))
        return dict(Counter((task, metric) for task, metric, _ in different))

    def values(self, task: str, metric: str) -> dict[str, float]:
        """Returns item -> value, of the items that have one."""
        found = self.item_scores.get((task, metric), {})
        return {item: mean.value for item, mean in found.items() if mean.value is not None}


@dataclass(frozen=True)
class Board:
    """A leaderboard, as returned by `read_board`."""

    lines: tuple[LeaderboardLine, ...]
    rules: Sequence[BoardRule]
    entries: Sequence[LogEntry]
    reported: Mapping[str, ReportedNumbers]

    @cached_property
    def tasks(self) -> dict[str, SubmittedTask]:
        """Label -> task record, in the order of the catalogue."""
        found = {label: task for line in self.lines for label, task in line.submission.tasks.items()}
        order = {name: place for place, name in enumerate(TASKS)}
        return dict(sorted(found.items(), key=lambda pair: (order.get(pair[1].id, len(order)), pair[0])))

    @cached_property
    def metrics(self) -> dict[str, MetricRecord]:
        """Id -> record of every metric, in order of appearance; raises StoreError if two lines have different records.

        Scores computed with other weights or parameters are another quantity and cannot be ranked together.
        """
        found: dict[str, tuple[str, MetricRecord]] = {}
        for line in self.lines:
            shown = {
                name: record for name, record in line.submission.metrics.items() if name not in line.outdated_metrics
            }
            for name, record in shown.items():
                first, known = found.setdefault(name, (line.id, record))
                if fields := [change.field for change in record.differences(known)]:
                    raise StoreError(
                        f"expected {name} of {line.id} with the {' and '.join(fields)} of {first}, found others; "
                        "score one of them again"
                    )
        return {name: record for name, (_, record) in found.items()}

    def groups(self, task: str) -> Mapping[str, str]:
        """Returns item -> recording, of all items of a task."""
        return load_item_list(self.tasks[task]).groups

    @property
    def cells(self) -> dict[str, dict[str, dict[str, Cell]]]:
        """Task -> metric -> line -> table cell."""
        return self._tables[0]

    @property
    def verdicts(self) -> dict[str, str]:
        """Task -> verdict by its main metric, as a sentence; cells state the same as ranks and marks."""
        return self._tables[1]

    @cached_property
    def _tables(self) -> tuple[dict[str, dict[str, dict[str, Cell]]], dict[str, str]]:
        cells: dict[str, dict[str, dict[str, Cell]]] = {}
        verdicts = {}
        for task, record in self.tasks.items():
            recordings = find_recording_texts(record.id, record.split) or find_task_card(record.id).recordings
            for metric in self.metrics:
                own = [line for line in self.lines if (task, metric) in line.item_scores]
                if own:
                    cells.setdefault(task, {})[metric] = {
                        line.id: _cell(line, task, metric, recordings) for line in own
                    }
            metric = self.main_metric(task)
            column, known = Column(((task,),), {task: self.groups(task)}), cells[task][metric]
            rows = {line: known[line.id] for line in self.lines if line.id in known}
            scores = {line: line.values(task, metric) for line in rows if _competes(line, rows[line])}
            values = {line: {task: own} for line, own in scores.items() if own}
            verdicts[task] = self._rank_rows(column, metric, rows, values)
        return cells, verdicts

    def main_metric(self, task: str) -> str:
        """Returns the metric by which a task's table is sorted and ranked."""
        known = [name for name in self.metrics if any((task, name) in line.item_scores for line in self.lines)]
        preferred = find_task_card(self.tasks[task].id).main_metric
        return next(
            name for name in (preferred, *(one for one in known if one.endswith("_i")), *known) if name in known
        )

    def _rank_rows(
        self, column: Column, metric: str, rows: Mapping[LeaderboardLine, ScoreFields],
        values: Mapping[LeaderboardLine, Values],
    ) -> str:  # fmt: skip
        """Writes ranks and marks into the rows of lines that have values, and returns the verdict.

        If nothing surely beats the mixture, no row gets a rank.
        """
        record = self.metrics[metric]
        named = {line.name: own for line, own in values.items()}
        verdict = decide_many(column, named, higher_is_better=record.higher_is_better)
        ranked = [line for line in values if not rows[line]["why"]]
        places = rank(column, [values[line] for line in ranked], higher_is_better=record.higher_is_better)
        for line, place in zip(ranked, places, strict=True):
            rows[line]["against"], rows[line]["letters"] = verdict.against_baseline(line.name), place.letters
            if verdict.baseline is None or verdict.surely_better:
                rows[line]["rank"], rows[line]["rank_low"], rows[line]["rank_high"] = place.rank, place.low, place.high
        return sentence(verdict, metric, record.unit if record.unit.isalpha() else "")  # "1-5" would read as a number

    def overall(self, board: BoardRule) -> tuple[str, list[OverallRow]]:
        """Returns verdict and rows of one overall table: a row for each line that has any of its tasks.

        There are no rows if a task or the metric is missing from the leaderboard.
        """
        parts = [tuple(_label(board, name) for name in names) for names in board.parts.values()]
        tasks = [task for part in parts for task in part]
        if any(task not in self.tasks for task in tasks) or board.metric not in self.metrics:
            return "", []
        column = Column(tuple(parts), {task: self.groups(task) for task in tasks})
        rows: dict[LeaderboardLine, OverallRow] = {}
        complete: dict[LeaderboardLine, Values] = {}
        for line in self.lines:
            values = {task: found for task in tasks if (found := line.values(task, board.metric))}
            if not values:
                continue
            rows[line] = self._overall_row(line, board.metric, column, values)
            if len(values) == len(tasks) and _competes(line, rows[line]):
                complete[line] = values
        verdict = self._rank_rows(column, board.metric, rows, complete)
        return verdict, _in_order(rows.values(), self.metrics[board.metric].higher_is_better)

    def _overall_row(self, line: LeaderboardLine, metric: str, column: Column, values: Values) -> OverallRow:
        cells = [self.cells[task][metric][line.id] for task in values]
        whole = len(values) == len(column.tasks)
        value = round_value(column.samples(values)[0]) if whole else None
        interval = column.interval(values) if whole else None
        n_ok, possible = sum(cell["n_ok"] for cell in cells), sum(cell["possible"] for cell in cells)
        return {
            "line": line.id, "tasks": len(values), "of": len(column.tasks),
            "why": line.unranked_reason
            or ("" if whole else "tasks missing")
            or next((cell["why"] for cell in cells if cell["why"]), ""),
            "value": value,
            "low": round_value(interval.low) if interval else None,
            "high": round_value(interval.high) if interval else None,
            "n_ok": n_ok, "possible": possible, "capped": sum(cell["capped"] for cell in cells),
            "coverage": str(classify_coverage(n_ok, possible)),
        }  # fmt: skip


def _label(board: BoardRule, task: str) -> str:
    return Selection(id=task, version=find_task_card(task).version, split=board.split, subset=board.subset).label


def read_board(root: Path) -> Board:
    """Reads a leaderboard; of revisions with the same audio, scored again, only the latest is shown.

    Raises:
        StoreError: a file that `validate` would refuse to read.
    """
    entries = log.read(root)
    standing, newest = log.active_submissions(entries), log.latest_revisions(entries)
    logged = {entry.key for entry in entries}
    submissions = {(found.separator, found.revision): found
                   for found in map(Submission.read, find_submissions(root / "results"))}  # fmt: skip
    for separator, revision in submissions.keys() - logged:
        raise StoreError(
            f"expected an entry for {separator} {revision} in {root / log.LOG}, found none; `submit` adds one"
        )
    current: dict[str, MetricRecord] = {}
    for key in sorted(newest & submissions.keys()):
        current |= submissions[key].metrics
    latest = _latest_scorings(entries, {key: submissions[key] for key in standing & submissions.keys()})
    lines = []
    for key, submission in submissions.items():
        kind = "" if submission.kind == "separator" else submission.kind
        why = "withdrawn" if key not in standing else kind if key in newest else "superseded"
        if why == "superseded" and key not in latest:
            continue
        past = submission.metrics.items() if key not in newest else ()
        dated = frozenset(name for name, record in past if current.get(name) != record)
        pickers = [None if picker != picker else picker for picker in submission.scores["picked_by"].unique()]
        lines += [
            LeaderboardLine(submission, picker, why, dated) for picker in sorted(pickers, key=lambda name: name or "")
        ]
    return Board(tuple(lines), read_boards(root), entries, read_reported(root / "results"))


def _latest_scorings(
    entries: Iterable[LogEntry], submissions: Mapping[tuple[str, str], Submission]
) -> set[tuple[str, str]]:
    """Returns, for each separator and each of its sets of estimates, the submission that scored them last."""
    latest: dict[tuple[str, str], tuple[str, str]] = {}
    for key in (entry.key for entry in entries if entry.key in submissions):
        latest[key[0], dump_json(submissions[key].header.answers)] = key
    return set(latest.values())


def read_boards(root: Path) -> list[BoardRule]:
    """Reads the rules by which tasks are averaged; raises StoreError."""
    path = root / BOARDS
    found = read_record(path, list[BoardRule], "a list of overall tables") if path.exists() else []
    for board in found:
        names = [name for part in board.parts.values() for name in part]
        strange = sorted(name for name in set(names) if find_card("tasks", name) is None)
        if strange := strange or sorted({name for name in names if names.count(name) > 1}):
            raise StoreError(
                f"expected tasks of the catalogue or of installed plugins, each once per board, in {root / BOARDS}, "
                f"found {strange[0]}"
            )
    return found


def round_value(value: float | None) -> float | None:
    """Rounds to six decimals, to which two machines agree."""
    return None if value is None else round(float(value), _DECIMALS) + 0.0


def _cell(line: LeaderboardLine, task: str, metric: str, recordings: Sequence[str]) -> Cell:
    record = line.aggregates[task, metric]
    possible = max(1, record.n - line.undefined_counts.get((task, metric), 0))
    why = line.unranked_reason
    if shares_model_with_picker(metric, line.picked_by):
        why = why or "own judge"
    coverage = classify_coverage(record.n_ok, possible)
    if record.value is None or coverage is CoverageClass.PARTIAL:
        why = why or "items missing"
    shared = find_shared_training(line.submission.header.separator.training_data, recordings)
    cell: Cell = {
        "value": round_value(record.value), "low": round_value(record.ci_low), "high": round_value(record.ci_high),
        "n_ok": record.n_ok, "n": record.n, "possible": possible, "coverage": str(coverage),
        "capped": record.capped, "why": why,
    }  # fmt: skip
    if shared:
        cell["trained_on"] = shared
    return cell


def _competes(line: LeaderboardLine, row: ScoreFields) -> bool:
    """Whether a line is ranked, or is the mixture, with which all ranked lines are compared."""
    return not row["why"] or (line.unranked_reason == "baseline" and line.name == BASELINE)


def _in_order(rows: Iterable[OverallRow], higher_is_better: bool) -> list[OverallRow]:
    sign = -1 if higher_is_better else 1

    def key(row: OverallRow) -> tuple[bool, float, str]:
        return row["value"] is None, 0.0 if row["value"] is None else sign * row["value"], row["line"]

    return sorted(rows, key=key)
