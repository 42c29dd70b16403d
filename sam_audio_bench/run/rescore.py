"""Scoring kept audio again: another metric, a raised version, or everything; nothing is separated."""

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
from sam_audio_bench.run.attributes import are_current
from sam_audio_bench.run.copying import copy_run
from sam_audio_bench.run.data import recorded_data
from sam_audio_bench.run.executors import opened_workers
from sam_audio_bench.run.exits import no_exit
from sam_audio_bench.run.header import end_record
from sam_audio_bench.run.loading import prefetch
from sam_audio_bench.run.measuring import measure
from sam_audio_bench.run.output_log import NAME as LOG
from sam_audio_bench.run.plan import unavailable_reason
from sam_audio_bench.run.progress import Progress
from sam_audio_bench.run.remote import Store, find_runs, naming_origins, origin
from sam_audio_bench.run.results import Results
from sam_audio_bench.run.scoring import Scorer, ScoringPass, merged_records, outdated
from sam_audio_bench.run.settings import Settings
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.run.usage import Usage
from sam_audio_bench.run.worker_scoring import worker_passes
from sam_audio_bench.tasks import TaskData

__all__ = ["rescore"]


@no_exit()
@naming_origins()
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
    """Scores the answers that run folders hold, and returns everything that the folders then hold.

    Args:
        paths: run folders, or folders that hold them; texts may be URLs, where the scores are copied to.
        metrics: ids to add or to compute again; none: those that the runs have.
        changed: only what was scored in another version, or with other weights, than this installation has.
        metric_args: options of the metrics' constructors, instead of those that the run recorded.
        executor: where the metrics run: "local", "processes" or "ray".
        workers: how many of these; None: as `Settings` has it.
        progress: show a bar; None: where standard error is a terminal.

    Raises:
        UsageError: unknown metrics, or data that differ from those of the run. Precondition: missing data or weights.
    """
    settings = Settings(executor=executor, workers=workers)
    folders = find_runs(paths)
    stores = {folder: Store(url) for folder in folders if (url := origin(folder)) is not None}
    for store in stores.values():
        store.check_writable()
    work = [_prepare(RunFolder.open(path), list(metrics), metric_args or {}) for path in folders]
    total = sum(len(folder.items) for folder, _, _ in work)
    with interruption.handled(), Progress(total, show=progress) as bar, ExitStack() as stack:
        crew = None if executor == "local" else stack.enter_context(opened_workers(settings, bar.note))
        for folder, data, chosen in work:
            loaded = [one for one, _ in chosen]
            scorer = Scorer(folder, data, loaded, bar.counting(f"{folder.header.model.name} on {data.task}"), bar.note)
            passes = [] if crew is None else worker_passes(crew, chosen, folder.path / LOG, bar.note)
            _rescore(scorer, everything=not changed, passes=passes)
            if folder.path in stores:
                copy_run(folder.path, stores[folder.path])
    return Results.read([folder.path for folder, _, _ in work])


def _prepare(
    folder: RunFolder, requested: list[str], arguments: Mapping[str, Any]
) -> tuple[RunFolder, TaskData, list[tuple[LoadedMetric, Options]]]:
    folder.require_digests()
    data = recorded_data([folder])
    loaded = _load(folder, requested, arguments)
    for one, _ in loaded:
        reason = unavailable_reason(one.metric, data)
        if reason:
            raise Precondition(f"expected {', '.join(one.columns)} to run on {data.task}, found an obstacle: {reason}")
    return folder, data, loaded


def _load(folder: RunFolder, requested: list[str], arguments: Mapping[str, Any]) -> list[tuple[LoadedMetric, Options]]:
    """The metrics, each with the parameters that the run recorded for it unless others are given."""
    known = {record.id: record for record in folder.header.metrics}
    by_spelling = {record.specification: record for record in folder.header.metrics}
    alike: dict[str, tuple[list[str], Options]] = {}  # metrics of the same recorded options together
    for name in requested or known:
        record = known.get(name) or by_spelling.get(name)
        recorded = {"stereo": folder.header.stereo, **(record.parameters if record else {})}
        names, _ = alike.setdefault(dump_json(recorded), ([], recorded))
        names.append(record.specification if record else name)
    found: list[tuple[LoadedMetric, Options]] = []
    for names, recorded in alike.values():
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
    said = scorer.data.attributes_of
    done = not _unmeasured(folder) and are_current(folder.path, folder.header.items_sha256, folder.items, said)
    if (
        done
        and not everything
        and not any(outdated(folder, scorer.metrics, item) for item in folder.items if scorer.has_estimate(item))
    ):
        return
    with interruption.deferred(), folder.writing():
        before, earlier, status = folder.header.status, folder.header.timing, "error"
        scorer.forget_other_scores()
        folder.unseal()
        metrics = merged_records(scorer.metrics, folder.metrics)
        folder.write_header(structs.replace(folder.header, status="started", metrics=metrics))
        try:
            scorer.complete(scorer.data.ids, everything=everything, passes=passes)
            _measure_rest(scorer)
            for item, record in folder.items.items():
                if record.failed:
                    scorer.record_failure(item)
            status = before
        except KeyboardInterrupt:
            status = "cancelled"
            raise
        finally:  # what was computed, and what had been before, is there in any case
            folder.seal(scorer.data.ids, said)
            usage = Usage.of(earlier)  # the separator is not called here
            folder.write_header(end_record(folder, status, time.perf_counter() - begun, usage))


def _unmeasured(folder: RunFolder) -> list[str]:
    """Items with an estimate of which the journal does not tell what was measured: those of an older run."""
    return [item for item, record in folder.items.items() if not record.failed and record.measured is None]


def _measure_rest(scorer: Scorer) -> None:
    """Measures items of which that is not known; one that cannot be loaded any more stays as it is, with a word."""
    for batch in prefetch(scorer.data, _unmeasured(scorer.folder), 1):
        for item in batch.items:
            scorer.folder.add_item(structs.replace(scorer.folder.items[item.id], measured=measure(item)))
        for identifier, failure in batch.failures.items():
            scorer.note(f"{identifier}: not measured: {describe_error(failure)}")
