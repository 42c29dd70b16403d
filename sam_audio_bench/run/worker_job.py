"""The request that begins a job in a worker, with what is needed to make and verify separator, metrics and picker."""

from __future__ import annotations

from dataclasses import replace

from sam_audio_bench.errors import UsageError
from sam_audio_bench.run.global_state import capture_settings
from sam_audio_bench.run.job import Job
from sam_audio_bench.run.separation import PickerArguments
from sam_audio_bench.run.serialization import dump_code, pickles_by_reference
from sam_audio_bench.run.settings import Settings
from sam_audio_bench.run.worker import BeginJob, MetricsToLoad
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import Item

__all__ = ["make_begin_job"]


def make_begin_job(job: Job, settings: Settings) -> BeginJob:
    """Makes the first request to each worker of a job.

    Raises:
        UsageError: the separator cannot be sent to another process.
    """
    spec = job.build_arguments.spec
    is_compared = isinstance(spec, str) or pickles_by_reference(spec)
    return BeginJob(
        model=dump_code(*job.build_arguments, name=job.model.name),
        model_whole=_dump_with_module(job) if is_compared and not isinstance(spec, str) else None,
        model_fingerprint=job.model.fingerprint() if is_compared else None,
        metrics=MetricsToLoad.of(job.metrics, settings.metric_policies | settings.metric_args),
        data=_without_items(job.data),
        picker=_picker_arguments(job, settings),
        policies={
            "task": job.data.label, "seed": settings.seed, "align": settings.align, "stereo": settings.stereo,
        },
        state=capture_settings(),
        memory=settings.memory,
        profile=settings.profile,
    )  # fmt: skip


def _dump_with_module(job: Job) -> bytes | None:
    """Serializes the separator with its module as it is in memory; None if that is not possible."""
    try:
        return dump_code(*job.build_arguments, name=job.model.name, whole=True)
    except UsageError:
        return None


def _picker_arguments(job: Job, settings: Settings) -> PickerArguments | None:
    if job.reranking is None:
        return None
    return {
        "candidates": settings.candidates, "name": settings.picker, "arguments": settings.picker_args,
        "device": settings.device, "keep": settings.keep_candidates,
    }  # fmt: skip


def _without_items(data: TaskData) -> TaskData:
    """Returns the data without items, which are not needed to choose a picker."""
    return replace(
        data, groups={}, load=_nothing, content=None, texts={}, paraphrases={}, heard={}, missing=frozenset(), notes=()
    )


def _nothing(identifier: str) -> Item:
    raise KeyError(identifier)
