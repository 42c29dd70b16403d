"""What ``run.json`` says: what was run, with which versions, and how it ended."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from sam_audio_bench.files import now
from sam_audio_bench.run import provenance
from sam_audio_bench.run.plan import Job, Plan, describe
from sam_audio_bench.run.scoring import metric_records
from sam_audio_bench.run.store import RunFolder, failed

__all__ = ["closing", "opening"]


def opening(plan: Plan, job: Job) -> dict[str, Any]:
    """The part that is known before the first item."""
    data = job.data
    return {
        "status": "started",
        "started": now(),
        "model": describe(job.separator),
        "task": {
            "id": data.task,
            "version": data.version,
            "split": data.split,
            "subset": data.subset,
            "prompts": data.prompts,
            "allow_outside": data.allow_outside,
            "source": data.source or data.task,
            "data_revision": data.revision,
            "items": len(data),
            "ids_sha256": data.ids_sha256,
        },
        "metrics": metric_records(job.metrics, job.folder.header.get("metrics", [])),
        "seed": plan.settings.seed,
        "align": plan.settings.align,
        "stereo": plan.settings.stereo,
        "candidates": job.reranking.candidates if job.reranking else 1,
        "picker": job.reranking.describe() if job.reranking else None,
        "device": plan.settings.device,
        "dtype": plan.settings.dtype,
        "shard": list(plan.settings.shard) if plan.settings.shard else None,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "config": dict(plan.config),
        "git": provenance.commit(),
        "packages": provenance.packages(),
        "hardware": provenance.hardware(),
    }


def closing(folder: RunFolder, status: str, wall_seconds: float, peak_memory_mib: int | None) -> dict[str, Any]:
    """The part that is known when a run ends, however it ends."""
    done = [record for record in folder.items.values() if not failed(record)]
    separation, sounding = (sum(record[key] for record in done) for key in ("seconds", "audio_seconds"))
    return {
        "status": status,
        "finished": now(),
        "errors": [error for record in folder.items.values() for error in _errors(record)],
        "timing": {
            "wall_seconds": wall_seconds,  # of the last invocation
            "separation_seconds": separation,
            "audio_seconds": sounding,
            "real_time_factor": separation / sounding if sounding else None,
            "peak_memory_mib": peak_memory_mib,
        },
    }


def _errors(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Why an item has no answer, or why scores of its answer could not be computed."""
    if failed(record):
        return [{key: record[key] for key in ("item", "status", "message")}]
    failures = record.get("score_errors", {})
    return [
        {"item": record["item"], "status": "error", "message": f"{column} failed: {message}"}
        for column, message in failures.items()
    ]
