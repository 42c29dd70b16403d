"""Recomputes scores from the stored estimates, the only proof that submitted scores are correct. Needs torch."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from sam_audio_bench import audio, registry
from sam_audio_bench.columns import metric_options
from sam_audio_bench.errors import BenchError, Precondition, UsageError
from sam_audio_bench.files import case_sensitive_name
from sam_audio_bench.leaderboard import safe_io
from sam_audio_bench.leaderboard.records import SubmittedTask
from sam_audio_bench.leaderboard.submission import HEADER, Submission, estimate_file
from sam_audio_bench.metrics.base import Metric
from sam_audio_bench.plugins import find_card
from sam_audio_bench.records import ESTIMATE_PARTS
from sam_audio_bench.run.estimate_check import check_estimate
from sam_audio_bench.run.loading import prefetch
from sam_audio_bench.run.plan import unavailable_reason
from sam_audio_bench.run.scoring import score_estimate
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import Audio, Item, Separation, Status

__all__ = ["Difference", "RescoringResult", "rescore"]


@dataclass
class Difference:
    """How far recomputed scores of a metric are from the submitted ones."""

    tolerance: float
    largest: float = 0.0
    scores: int = 0


@dataclass
class RescoringResult:
    """The result of rescoring."""

    metrics: dict[str, Difference] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)  # metric or task -> why it could not be computed here


def rescore(
    submission: Submission, share: float, seed: int, audio_root: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> RescoringResult:  # fmt: skip
    """Rescores a seeded random sample of items, at least one per task.

    Args:
        submission: a submission whose rows were checked.
        share: share of each task's items, from 0 to 1.
        seed: seed of the sample; the maintainer chooses one that the submitter cannot know.
        audio_root: run folders with the audio, ``<separator>/<task>/audio``, if the submission contains none.
        progress: callback (label, done, total).
    """
    found = RescoringResult()
    for label, task in submission.tasks.items():
        folder = submission.path / "audio" / case_sensitive_name(label)
        if audio_root is not None:
            folder = audio_root / case_sensitive_name(submission.separator) / case_sensitive_name(label) / "audio"
        try:
            (data,) = registry.load_tasks([task.id], split=task.split, subset=task.subset)
        except Precondition as error:
            found.skipped[label] = str(error)
            continue
        metrics = _metrics(submission, task, data, found)
        available = [name for name in data.ids if name not in data.missing]  # some recordings are no longer online
        count = min(len(available), max(1, math.ceil(share * len(available))))
        rows = submission.scores[submission.scores["task"] == label]
        answers = submission.header.answers.get(label, {})
        sample = sorted(random.Random(f"{seed}/{label}").sample(available, count))
        for done, batch in enumerate(prefetch(data, sample, 1)):
            progress(f"{submission.separator} {label}", done, count)
            found.problems += [(f"{label}: {name}", str(error)) for name, error in batch.failures.items()]
            for item in batch.items:
                own = rows[rows["item"] == item.id]
                try:
                    problems = list(
                        _compare(own, _scored_estimates(own, folder, answers, item, task), item, metrics, found)
                    )
                except BenchError as error:
                    problems = [str(error)]
                found.problems += [(f"{label}: {item.id}", problem) for problem in problems]
        progress(f"{submission.separator} {label}", count, count)
    return found


def _metrics(submission: Submission, task: SubmittedTask, data: TaskData, found: RescoringResult) -> list[Metric]:
    """Creates the task's metrics with the options stated in the submission, if they are available on this machine."""
    usable = []
    for name in task.metrics:
        record = submission.metrics[name]
        try:
            card = find_card("metrics", name)
            if card is not None and record.version != card.version:
                found.skipped[name] = f"version {record.version} is not what is computed here"
                continue
            options = metric_options([name])
            chosen = {key: value for key, value in record.parameters.items() if key in options}
            (metric,) = registry.load_metrics([name], chosen)
            reason = unavailable_reason(metric, data)
        except UsageError as error:
            found.problems.append((name, f"expected parameters of the metric in {HEADER}, found others: {error}"))
            continue
        except BenchError as error:
            reason = str(error)
        weights = None if reason else getattr(metric, "weights_sha256", None)
        if reason is None and weights != record.weights_sha256:
            reason = f"the weights here are {weights}, not {record.weights_sha256}"
        if reason is None:
            usable.append(metric)
        else:
            found.skipped[name] = reason
    return usable


def _scored_estimates(
    rows: pd.DataFrame, folder: Path, answers: Mapping[str, str], item: Item, task: SubmittedTask
) -> Iterator[tuple[pd.DataFrame, Separation]]:
    """Yields each scored estimate of an item with its rows; its files must have the digests of the submission."""
    if estimate_file(answers, item.id, "target", picked_by="anyone") is None:
        return  # the submission states no estimate for this item, which its rows confirm
    pickers = rows["picked_by"].fillna("")
    for (_, picker), own in rows.groupby(["candidate", pickers], sort=True):
        picked_by = str(picker) or None
        target, residual = (_read(_file(folder, answers, item.id, part, picked_by), item) for part in ESTIMATE_PARTS)
        estimate = Separation(target=target, residual=residual, picked_by=picked_by)
        yield (
            own,
            check_estimate(
                estimate, item.query, align="trim" if task.align == "lag" else task.align, stereo=task.stereo
            ),
        )


def _read(path: Path, item: Item) -> Audio:
    """Reads an estimate, at most one sample longer than the mixture, since an hour of silence is a small file."""
    mixture = item.query.mixture
    channels, rate = audio.read_format(path)
    if rate != mixture.rate or channels > mixture.channels:
        raise BenchError(
            f"expected {mixture.channels} channel(s) at {mixture.rate} Hz in {path}, found {channels} at {rate} Hz"
        )
    return audio.read(path, end=(mixture.length + 1) / rate)


def _file(folder: Path, answers: Mapping[str, str], item: str, part: str, picked_by: str | None) -> Path:
    name = estimate_file(answers, item, part, picked_by)
    if name is None:
        raise BenchError(f"expected an estimate {case_sensitive_name(item)}.{part} in the submission, found none")
    path = folder / name
    if safe_io.file_digest(path) != answers[name]:
        raise BenchError(f"expected the estimate {name} that was scored, found another file at {path}")
    return path


def _compare(
    rows: pd.DataFrame,
    views: Iterator[tuple[pd.DataFrame, Separation]],
    item: Item,
    metrics: Sequence[Metric],
    found: RescoringResult,
) -> Iterator[str]:
    for own, estimate in views:
        stated = {row["metric"]: (row["value"], row["status"]) for row in own.to_dict("records")}
        for metric in metrics:
            row = score_estimate(metric, item, estimate)
            tolerances = {card.id: card.tolerance for card in metric.cards()}
            if different := set(row) ^ (set(metric.requested) & set(stated)):
                yield f"expected rows of exactly the metrics that apply, found others: {', '.join(sorted(different))}"
            for column in sorted(set(row) & set(stated)):
                computed = row[column].value, row[column].status
                problem = _difference(column, tolerances[column], stated[column], computed, found)
                if problem:
                    yield problem


def _difference(
    column: str,
    tolerance: float,
    stated: tuple[float, str],
    computed: tuple[float | None, Status],
    found: RescoringResult,
) -> str | None:
    known = found.metrics.setdefault(column, Difference(tolerance))
    known.scores += 1
    value = math.nan if computed[0] is None else computed[0]
    equal = value == stated[0] or (math.isnan(value) and math.isnan(stated[0]))
    if stated[1] != computed[1]:
        return f"expected {column} with status {computed[1]}, scored again, found {stated[1]}"
    if equal:
        return None
    gap = abs(value - stated[0])
    known.largest = max(known.largest, gap) if math.isfinite(gap) else math.inf
    if gap <= known.tolerance:
        return None
    return f"expected {column} {value:.6g}, scored again, found {stated[0]:.6g}: more than {known.tolerance:g} apart"
