"""The record in ``run.json``: what was run, with which versions, and how it ended."""

from __future__ import annotations

import sys
from pathlib import Path

from msgspec import structs

from sam_audio_bench.files import utc_now
from sam_audio_bench.records import Commit, ErrorRecord, ItemRecord, RunRecord, Setting, Timing
from sam_audio_bench.run import provenance
from sam_audio_bench.run.job import Job
from sam_audio_bench.run.plan import Plan
from sam_audio_bench.run.scoring import merge_metric_records
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.run.usage import Usage
from sam_audio_bench.stats.cost import real_time_factor
from sam_audio_bench.types import Status

__all__ = ["make_end_record", "make_start_record"]


def make_start_record(plan: Plan, job: Job) -> RunRecord:
    """Makes the record of a run before its first item; metrics already in the folder are kept."""
    commit, settings = provenance.commit(), plan.settings
    return RunRecord(
        status="started",
        started=utc_now(),
        model=job.model,
        task=job.data.record,
        metrics=merge_metric_records(job.metrics, job.folder.metrics),
        seed=settings.seed,
        align=settings.align,  # type: ignore[arg-type]  # checked by Settings
        stereo=settings.stereo,  # type: ignore[arg-type]
        shard=settings.shard,
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
        config={name: Setting(**entry) for name, entry in plan.config.items()},
        git=None if commit is None else Commit(**commit),
        packages=provenance.packages(),
        hardware=provenance.hardware(),
        candidates=job.reranking.candidates if job.reranking else 1,
        picker=job.reranking.identity if job.reranking else None,
        device=settings.device if "device" in job.accepted_options else "auto",
        dtype=settings.dtype if "dtype" in job.accepted_options else "auto",
    )


def make_end_record(folder: RunFolder, status: str, wall_seconds: float, usage: Usage) -> RunRecord:
    """Makes the record of a run that has ended, successfully or not."""
    done = [record for record in folder.items.values() if not record.failed]
    separation, audio = sum(record.seconds for record in done), sum(record.audio_seconds for record in done)
    return structs.replace(
        folder.header,
        status=status,
        finished=utc_now(),
        errors=[error for record in folder.items.values() for error in _list_errors(record)],
        timing=Timing(
            wall_seconds=wall_seconds,
            separation_seconds=separation,
            audio_seconds=audio,
            real_time_factor=real_time_factor(done),
            peak_memory_mib=usage.host_mib,
            device_memory_mib=usage.device_mib,
            parameters=usage.parameters,
        ),
    )


def _list_errors(record: ItemRecord) -> list[ErrorRecord]:
    """Returns why an item has no estimate, or why scores of its estimate could not be computed."""
    if record.failed:
        return [ErrorRecord(record.item, record.status, record.message or "")]
    return [
        ErrorRecord(record.item, Status.ERROR, f"{column} failed: {message}")
        for column, message in record.score_errors.items()
    ]
