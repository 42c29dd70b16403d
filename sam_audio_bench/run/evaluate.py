"""`evaluate`: the whole evaluation in one call; `execute`: the same from a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from sam_audio_bench.errors import Precondition
from sam_audio_bench.metrics import DEFAULT
from sam_audio_bench.run.plan import Plan, Settings, make_plan
from sam_audio_bench.run.progress import Progress
from sam_audio_bench.run.results import Results
from sam_audio_bench.run.runner import Runner
from sam_audio_bench.separators.pickers import AUTO
from sam_audio_bench.types import AnySeparator

__all__ = ["evaluate", "execute"]

Model = str | Callable[..., Any] | AnySeparator


def evaluate(
    model: Model | Sequence[Model],
    tasks: str | Sequence[str],
    *,
    split: str = "test",
    subset: str = "paper",
    prompts: str = "given",
    allow_outside: bool = False,
    metrics: str | Sequence[str] = DEFAULT,
    model_args: Mapping[str, Any] | None = None,
    metric_args: Mapping[str, Any] | None = None,
    output: str | Path = "runs",
    seed: int = 0,
    limit: int | None = None,
    sample_ids: Sequence[str] = (),
    batch_size: int | None = None,
    shard: tuple[int, int] | None = None,
    overwrite: str = "only-missing",
    align: str | None = None,
    stereo: str = "joint",
    candidates: int = 1,
    picker: str = AUTO,
    picker_args: Mapping[str, Any] | None = None,
    keep_candidates: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    progress: bool | None = None,
) -> Results:
    """Evaluates separators on tasks; what ``sabench eval`` runs.

    Args:
        model: a registered name, ``files:DIR``, ``cmd:…``, ``module:attribute``, a separator, a function
            ``(mixture, rate, prompt) -> target``, or several of them. The mixture baseline is always added.
        tasks: names of tasks and groups, paths of manifests and folders, or ``ADAPTER:PATH``.
        split: "test", the official data, or "mini", the embedded one.
        subset: "paper" or "full".
        prompts: "given"; "paraphrase", every item once by each of its stored paraphrases; or "absent", every item by
            the text of another one, which it does not have.
        allow_outside: accept files of manifests that lie outside their folder.
        metrics: metric ids.
        model_args: options of the separators' constructors, the baseline excepted.
        metric_args: options of the metrics' constructors.
        output: folder that holds the run folders; what is finished in it is not done again.
        seed: of the run; an item's seed is derived from it, the task and the item.
        limit: the first so many items of each task.
        sample_ids: only items of these ids.
        batch_size: queries handed over at once; None: what the separator prefers.
        shard: (I, N), from 1: every N-th item from the I-th, in a folder of its own.
        overwrite: "only-missing", "always" or "never".
        align: None, "pad" or "trim", see `sam_audio_bench.run.check.check`.
        stereo: "joint", "mean" or "mono": how the scores treat channels.
        candidates: answers an item, of which a picker chooses one; scores say what the first and the chosen one are
            worth.
        picker: a name of `sam_audio_bench.separators.pickers.PICKERS`, or "auto", SAM Audio's own choice for a prompt.
        picker_args: options of the picker's constructor.
        keep_candidates: store the audio of all candidates, not only of the first and the chosen one.
        device: for separators, metrics and pickers whose constructors name it; "auto" is left to them.
        dtype: "float32" or "bfloat16" for separators whose constructors name it; "auto" is left to them.
        progress: show a bar; None: where standard error is a terminal.

    Returns:
        Results with the rows, the table and the run folders.

    Raises:
        UsageError: a name or option that cannot be meant, before any work.
        Precondition: missing data, modules, programs or rights, before any work.
    """
    plan = make_plan(
        [*model] if isinstance(model, list | tuple) else [cast(Model, model)],
        [tasks] if isinstance(tasks, str) else tasks,
        split=split,
        subset=subset,
        prompts=prompts,
        allow_outside=allow_outside,
        metrics=[metrics] if isinstance(metrics, str) else metrics,
        model_args=model_args,
        metric_args=metric_args,
        settings=Settings(
            output=Path(output), seed=seed, limit=limit, sample_ids=tuple(sample_ids), batch_size=batch_size,
            shard=shard, overwrite=overwrite, align=align, stereo=stereo,
            candidates=candidates, picker=picker, picker_args=picker_args or {}, keep_candidates=keep_candidates,
            device=device, dtype=dtype,
        ),
    )  # fmt: skip
    return execute(plan, progress=progress)


def execute(plan: Plan, *, progress: bool | None = None) -> Results:
    """Runs what is left of a plan and returns the rows of its chosen items."""
    again = plan.settings.overwrite == "always"
    jobs = [job for job in plan.jobs if again or not job.finished]
    if plan.settings.overwrite == "never":
        for job in jobs:
            if job.folder.items:
                raise Precondition(
                    f"expected nothing to add to {job.folder.path} with --overwrite never, found an unfinished run; "
                    "choose another --output, or --overwrite only-missing"
                )
    total = sum(len(job.chosen) if again else len(job.unfinished()) for job in jobs)
    with Progress(total, show=progress) as bar:
        for job in jobs:
            Runner(plan, job, bar.counting(f"{job.separator.name} on {job.data.task}"), bar.note).run()
    return Results.of(plan)
