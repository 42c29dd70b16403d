"""Rescoring of stored estimates: by new metrics, new versions, or all again; nothing is separated."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from msgspec import structs

from sam_audio_bench.columns import LoadedMetric, build_metrics, check_columns, check_used
from sam_audio_bench.errors import Precondition, UsageError, describe_error
from sam_audio_bench.files import dump_json
from sam_audio_bench.identity import Options
from sam_audio_bench.run import interruption
from sam_audio_bench.run.attributes import is_table_current
from sam_audio_bench.run.executors import open_workers
from sam_audio_bench.run.header import make_end_record
from sam_audio_bench.run.loading import prefetch
from sam_audio_bench.run.measuring import measure_item
from sam_audio_bench.run.output_log import LOG_NAME as LOG
from sam_audio_bench.run.plan import unavailable_reason
from sam_audio_bench.run.process_exit import prevent_exit
from sam_audio_bench.run.progress import Progress
from sam_audio_bench.run.recorded_data import load_recorded_data
from sam_audio_bench.run.remote import RemoteFolder, find_runs, show_urls_in_errors, source_url
from sam_audio_bench.run.results import Results
from sam_audio_bench.run.scoring import Scorer, ScoringPass, merge_metric_records, outdated_metrics
from sam_audio_bench.run.settings import Settings
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.run.upload import upload_run
from sam_audio_bench.run.usage import Usage
from sam_audio_bench.run.worker_scoring import WorkerPass, worker_passes
from sam_audio_bench.tasks import TaskData

__all__ = ["rescore"]


@prevent_exit()
@show_urls_in_errors()
def rescore(
    paths: Sequence[Path | str],
    *,
    metrics: Iterable[str] = (),
    changed: bool = False,
    metric_args: Mapping[str, Any] | None = None,
    executor: str = "local",
    workers: int | None = None,
    progress: bool | None = None,
) -> Results:
    """Scores the estimates in run folders, and returns all results of the folders.

    Args:
        paths: run folders, or folders that contain them; texts may be URLs, to which the scores are uploaded.
        metrics: ids to add or to compute again; empty: the metrics of the runs.
        changed: only scores of another version or other weights than those of this installation.
        metric_args: options of the metrics' constructors, which replace those recorded in the run.
        executor: where the metrics run: "local", "processes" or "ray".
        workers: number of workers; None: the default of `Settings`.
        progress: show a bar; None: if standard error is a terminal.

    Raises:
        UsageError: unknown metrics, or data other than those of the run. Precondition: missing data or weights.
    """
    settings = Settings(executor=executor, workers=workers)
    folders = find_runs(paths)
    stores = {folder: RemoteFolder(url) for folder in folders if (url := source_url(folder)) is not None}
    for store in stores.values():
        store.check_writable()
    work = [_prepare(RunFolder.open(path), list(metrics), metric_args or {}) for path in folders]
    total = sum(len(folder.items) for folder, _, _ in work)
    with interruption.handle_signals(), Progress(total, show=progress) as bar, ExitStack() as stack:
        executor_of_workers = None if executor == "local" else stack.enter_context(open_workers(settings, bar.note))
        for folder, data, chosen in work:
            loaded = [one for one, _ in chosen]
            scorer = Scorer(
                folder, data, loaded, bar.item_callback(f"{folder.header.model.name} on {data.task}"), bar.note
            )
            passes: list[WorkerPass] = []
            if executor_of_workers is not None:
                passes = worker_passes(executor_of_workers, chosen, folder.path / LOG, bar.note)
            _rescore(scorer, everything=not changed, passes=passes)
            if folder.path in stores:
                upload_run(folder.path, stores[folder.path])
    return Results.read([folder.path for folder, _, _ in work])


def _prepare(
    folder: RunFolder, requested: list[str], arguments: Mapping[str, Any]
) -> tuple[RunFolder, TaskData, list[tuple[LoadedMetric, Options]]]:
    folder.require_digests()
    data = load_recorded_data([folder])
    loaded = _load(folder, requested, arguments)
    for one, _ in loaded:
        reason = unavailable_reason(one.metric, data)
        if reason:
            raise Precondition(
                f"expected {', '.join(one.columns)} to run on {data.task}, found that it cannot: {reason}"
            )
    return folder, data, loaded


def _load(folder: RunFolder, requested: list[str], arguments: Mapping[str, Any]) -> list[tuple[LoadedMetric, Options]]:
    """Builds the metrics, each with its recorded parameters unless others are given."""
    known = {record.id: record for record in folder.header.metrics}
    by_spelling = {record.specification: record for record in folder.header.metrics}
    by_options: dict[str, tuple[list[str], Options]] = {}  # metrics with the same recorded options
    for name in requested or known:
        record = known.get(name) or by_spelling.get(name)
        recorded = {"stereo": folder.header.stereo, **(record.parameters if record else {})}
        names, _ = by_options.setdefault(dump_json(recorded), ([], recorded))
        names.append(record.specification if record else name)
    found: list[tuple[LoadedMetric, Options]] = []
    for names, recorded in by_options.values():
        chosen = {**recorded, **arguments}
        if files := [key for key, value in chosen.items() if isinstance(value, Mapping) and "sha256" in value]:
            raise UsageError(
                f"expected {files[0]} of {', '.join(names)}, which the run knows by content only, found none; say "
                f"--metric-args {files[0]}=PATH"
            )
        found += [(one, chosen) for one in build_metrics(names, policies=chosen)]
    check_columns([one for one, _ in found])
    check_used(arguments, [one for one, _ in found])
    return found


def _rescore(scorer: Scorer, *, everything: bool, passes: Sequence[ScoringPass]) -> None:
    folder, begun = scorer.folder, time.perf_counter()
    attributes_of = scorer.data.attributes_of
    done = not _unmeasured(folder) and is_table_current(
        folder.path, folder.header.items_sha256, folder.items, attributes_of
    )
    if (
        done
        and not everything
        and not any(
            outdated_metrics(folder, scorer.metrics, item) for item in folder.items if scorer.has_estimate(item)
        )
    ):
        return
    with interruption.defer_signals(), folder.writing():
        before, earlier, status = folder.header.status, folder.header.timing, "error"
        scorer.forget_other_scores()
        folder.unseal()
        metrics = merge_metric_records(scorer.metrics, folder.metrics)
        folder.write_header(structs.replace(folder.header, status="started", metrics=metrics))
        try:
            scorer.score_missing(scorer.data.ids, everything=everything, passes=passes)
            _measure_rest(scorer)
            for item, record in folder.items.items():
                if record.failed:
                    scorer.record_failure(item)
            status = before
        except KeyboardInterrupt:
            status = "cancelled"
            raise
        finally:  # new and earlier scores are kept in any case
            folder.seal(scorer.data.ids, attributes_of)
            usage = Usage.of(earlier)  # the separator is not called
            folder.write_header(make_end_record(folder, status, time.perf_counter() - begun, usage))


def _unmeasured(folder: RunFolder) -> list[str]:
    """Returns the items with an estimate but without measured attributes: those of an older run."""
    return [item for item, record in folder.items.items() if not record.failed and record.measured is None]


def _measure_rest(scorer: Scorer) -> None:
    """Measures items without measured attributes; one that cannot be loaded any more is skipped with a note."""
    for batch in prefetch(scorer.data, _unmeasured(scorer.folder), 1):
        for item in batch.items:
            scorer.folder.add_item(structs.replace(scorer.folder.items[item.id], measured=measure_item(item)))
        for identifier, failure in batch.failures.items():
            scorer.note(f"{identifier}: not measured: {describe_error(failure)}")
