"""Scoring kept audio again: another metric, a raised version, or everything; nothing is separated."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sam_audio_bench import registry
from sam_audio_bench.errors import Precondition
from sam_audio_bench.metrics.base import Metric
from sam_audio_bench.run.data import recorded_data
from sam_audio_bench.run.header import closing
from sam_audio_bench.run.plan import unavailable_reason
from sam_audio_bench.run.progress import Progress
from sam_audio_bench.run.provenance import peak_memory_mib
from sam_audio_bench.run.results import Results, find_runs
from sam_audio_bench.run.scoring import Scorer, metric_records, outdated
from sam_audio_bench.run.store import RunFolder, failed
from sam_audio_bench.tasks import TaskData

__all__ = ["rescore"]


def rescore(
    paths: Sequence[Path],
    *,
    metrics: Iterable[str] = (),
    changed: bool = False,
    metric_args: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Results:
    """Scores the answers that run folders hold, and returns everything that the folders then hold.

    Args:
        paths: run folders, or folders that hold them.
        metrics: ids to add or to compute again; none: those that the runs have.
        changed: only what was scored in another version, or with other weights, than this installation has.
        metric_args: options of the metrics' constructors, instead of those that the run recorded.
        progress: show a bar; None: where standard error is a terminal.

    Raises:
        UsageError: unknown metrics, or data that differ from those of the run. Precondition: missing data or weights.
    """
    work = [_prepare(RunFolder.open(path), list(metrics), metric_args or {}) for path in find_runs(paths)]
    total = sum(len(folder.items) for folder, _, _ in work)
    with Progress(total, show=progress) as bar:
        for folder, data, loaded in work:
            scorer = Scorer(
                folder, data, loaded, bar.counting(f"{folder.header['model']['name']} on {data.task}"), bar.note
            )
            _rescore(scorer, everything=not changed)
    return Results.read([folder.path for folder, _, _ in work])


def _prepare(
    folder: RunFolder, wanted: list[str], arguments: Mapping[str, Any]
) -> tuple[RunFolder, TaskData, list[Metric]]:
    data = recorded_data([folder])
    loaded = _load(folder, wanted, arguments)
    for metric in loaded:
        reason = unavailable_reason(metric, data)
        if reason:
            raise Precondition(
                f"expected {', '.join(metric.requested)} to run on {data.task}, found an obstacle: {reason}"
            )
    return folder, data, loaded


def _load(folder: RunFolder, wanted: list[str], arguments: Mapping[str, Any]) -> list[Metric]:
    """The metrics, each with the parameters that the run recorded for it unless others are given."""
    known = {record["id"]: record["parameters"] for record in folder.header["metrics"]}
    recorded = {"stereo": folder.header["stereo"]}
    for name in wanted or known:
        recorded.update(known.get(name, {}))
    options = registry.metric_options(wanted or known)
    chosen = {key: value for key, value in recorded.items() if key in options}
    return registry.load_metrics(wanted or known, {**chosen, **arguments})


def _rescore(scorer: Scorer, *, everything: bool) -> None:
    folder, begun = scorer.folder, time.perf_counter()
    if not everything and not any(
        outdated(folder, scorer.metrics, item) for item in folder.items if scorer.answered(item)
    ):
        return
    with folder.writing():
        status = folder.header["status"]
        folder.forget_scores(scorer.columns if everything else ())
        folder.write_header(status="started", metrics=metric_records(scorer.metrics, folder.header["metrics"]))
        scorer.complete(scorer.data.ids)
        for item, record in folder.items.items():
            if failed(record):
                scorer.fail(item)
        folder.seal(scorer.data.ids)
        folder.write_header(**closing(folder, status, time.perf_counter() - begun, peak_memory_mib()))
