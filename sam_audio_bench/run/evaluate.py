"""`evaluate` runs a whole evaluation; `execute` runs a plan."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, cast

from sam_audio_bench.errors import Precondition
from sam_audio_bench.run import interruption, output_log
from sam_audio_bench.run.execution import Executor, Recorder
from sam_audio_bench.run.executors import open_executors
from sam_audio_bench.run.isolation import releasing_processes
from sam_audio_bench.run.plan import Model, Plan, make_plan
from sam_audio_bench.run.process_exit import prevent_exit
from sam_audio_bench.run.progress import Progress, print_note
from sam_audio_bench.run.results import Results
from sam_audio_bench.run.settings import expand_signature, options_documentation, settings_from
from sam_audio_bench.run.upload import RunUploader

__all__ = ["evaluate", "execute"]


def evaluate(
    model: Model | Sequence[Model], tasks: str | Sequence[str], *, progress: bool | None = None, **options: Any
) -> Results:
    """Evaluates separators on tasks, as ``sabench eval`` does.

    Args:
        model: a registered name, ``files:DIR``, ``cmd:…``, ``serve:…``, ``module:attribute``, each also with
            ``(option=value)``; a separator; a function ``(mixture, rate, prompt) -> target``; or several of them. The
            mixture baseline is always added.
        tasks: names of tasks and groups, paths of manifests and folders, ``ADAPTER:PATH``, or ``name=PATH``.
        progress: show a bar; None: if standard error is a terminal.
        options: fields of `Settings`, as follows.

    Returns:
        Results with the rows, the table and the run folders.

    Raises:
        UsageError: an invalid name or option, before any work.
        Precondition: missing data, modules, programs or permissions, before any work.
    """
    plan = make_plan(
        [*model] if isinstance(model, list | tuple) else [cast(Model, model)],
        [tasks] if isinstance(tasks, str) else tasks,
        settings=settings_from(options),
    )
    for text in (*plan.ignored, *plan.redone):
        print_note(text)
    return execute(plan, progress=progress)


evaluate.__signature__ = expand_signature(inspect.signature(evaluate))  # type: ignore[attr-defined]
evaluate.__doc__ = inspect.cleandoc(evaluate.__doc__ or "").replace(  # which Python 3.13 keeps without indentation
    "    options: fields of `Settings`, as follows.", options_documentation()
)


def execute(plan: Plan, *, progress: bool | None = None, executor: Executor | None = None) -> Results:
    """Runs what remains of a plan and returns the results of its chosen items.

    Args:
        plan: made by `make_plan`.
        progress: show a bar; None: if standard error is a terminal.
        executor: separates and scores; None: chosen by the settings.

    Raises:
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP was received; finished items are kept, and the status in
            ``run.json`` is ``cancelled``.
    """
    again = plan.settings.overwrite == "always"
    jobs = [job for job in plan.jobs if again or not job.is_finished]
    for job in plan.jobs:
        if all(job is not other for other in jobs):
            job.folder.remove_leftovers()
    if plan.settings.overwrite == "never":
        for job in jobs:
            if job.folder.items:
                raise Precondition(
                    f"expected nothing to add to {job.folder.path} with --overwrite never, found an unfinished run; "
                    "choose another --output, or --overwrite only-missing"
                )
    total = sum(len(job.chosen) if again else len(job.unfinished_items()) for job in jobs)
    logged = [(job.separator, job.folder.path / output_log.LOG_NAME) for job in jobs]
    with (
        interruption.handle_signals(), releasing_processes(logged), prevent_exit(),
        Progress(total, show=progress) as bar, open_executors(plan.settings, jobs, bar.note) as executor_of,
    ):  # fmt: skip
        copier = RunUploader(plan.settings.copy_to, plan.settings.output, bar.note)
        for job in plan.jobs:
            if any(job is other for other in jobs):
                advance = bar.item_callback(f"{job.model.name} on {job.data.task}")
                Recorder(plan, job, advance, bar.note, executor or executor_of(job)).run()
            copier.copy(job.folder.path)
        copier.check()
    return Results.of(plan)
