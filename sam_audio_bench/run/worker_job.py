"""What a worker is told of a job: enough to make the same separator, metrics and picker, and to see that they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sam_audio_bench.errors import UsageError
from sam_audio_bench.run.global_state import to_send
from sam_audio_bench.run.job import Job
from sam_audio_bench.run.serialization import dump_code, pickles_by_reference
from sam_audio_bench.run.settings import Settings
from sam_audio_bench.run.worker import BeginJob, MetricsToLoad
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import Item

__all__ = ["make_begin_job"]


def make_begin_job(job: Job, settings: Settings) -> BeginJob:
    """The first request to each worker of a job.

    Raises:
        UsageError: the separator cannot be sent to another process.
    """
    spec = job.recipe.spec
    is_compared = isinstance(spec, str) or pickles_by_reference(spec)
    return BeginJob(
        model=dump_code(*job.recipe, name=job.model.name),
        model_whole=_whole(job) if is_compared and not isinstance(spec, str) else None,
        model_fingerprint=job.model.fingerprint() if is_compared else None,
        metrics=MetricsToLoad.of(job.metrics, settings.metric_policies | settings.metric_args),
        data=_without_items(job.data),
        picker=_picker(job, settings),
        policies={
            "task": job.data.label, "seed": settings.seed, "align": settings.align, "stereo": settings.stereo,
        },
        state=to_send(),
        memory=settings.memory,
        profile=settings.profile,
    )  # fmt: skip


def _whole(job: Job) -> bytes | None:
    """The separator with its module as it is in memory; None where that cannot be sent."""
    try:
        return dump_code(*job.recipe, name=job.model.name, whole=True)
    except UsageError:
        return None


def _picker(job: Job, settings: Settings) -> Mapping[str, Any] | None:
    if job.reranking is None:
        return None
    return {
        "candidates": settings.candidates, "name": settings.picker, "arguments": settings.picker_args,
        "device": settings.device, "keep": settings.keep_candidates,
    }  # fmt: skip


def _without_items(data: TaskData) -> TaskData:
    """What a picker is chosen by."""
    return replace(
        data, groups={}, load=_nothing, content=None, texts={}, paraphrases={}, heard={}, missing=frozenset(), notes=()
    )


def _nothing(identifier: str) -> Item:
    raise KeyError(identifier)
