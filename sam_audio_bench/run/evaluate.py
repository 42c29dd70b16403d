"""`evaluate`: the whole evaluation in one call; `execute`: the same from a plan."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, cast

from sam_audio_bench.errors import Precondition
from sam_audio_bench.run import interruption, output_log
from sam_audio_bench.run.copying import Copier
from sam_audio_bench.run.execution import Executor, Recorder
from sam_audio_bench.run.executors import opened
from sam_audio_bench.run.exits import no_exit
from sam_audio_bench.run.isolation import released
from sam_audio_bench.run.plan import Model, Plan, make_plan
from sam_audio_bench.run.progress import Progress, print_note
from sam_audio_bench.run.results import Results
from sam_audio_bench.run.settings import expand_signature, options_documentation, settings_from

__all__ = ["evaluate", "execute"]


def evaluate(
    model: Model | Sequence[Model], tasks: str | Sequence[str], *, progress: bool | None = None, **options: Any
) -> Results:
    """Evaluates separators on tasks; what ``sabench eval`` runs.

    Args:
        model: a registered name, ``files:DIR``, ``cmd:…``, ``serve:…``, ``module:attribute``, each also with
            ``(option=value)``; a separator; a function ``(mixture, rate, prompt) -> target``; or several of them. The
            mixture baseline is always added.
        tasks: names of tasks and groups, paths of manifests and folders, ``ADAPTER:PATH``, or ``name=PATH``.
        progress: show a bar; None: where standard error is a terminal.
        options: of `Settings`, as follows.

    Returns:
        Results with the rows, the table and the run folders.

    Raises:
        UsageError: a name or option that cannot be meant, before any work.
        Precondition: missing data, modules, programs or rights, before any work.
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
evaluate.__doc__ = (evaluate.__doc__ or "").replace(
    "        options: of `Settings`, as follows.", options_documentation().rstrip()
)


def execute(plan: Plan, *, progress: bool | None = None, executor: Executor | None = None) -> Results:
    """Runs what is left of a plan and returns the rows of its chosen items.

    Args:
        plan: made by `make_plan`.
        progress: show a bar; None: where standard error is a terminal.
        executor: what separates and scores; None: as the settings say.

    Raises:
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP came; finished items are kept, and ``run.json`` says ``cancelled``.
    """
    again = plan.settings.overwrite == "always"
    jobs = [job for job in plan.jobs if again or not job.finished]
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
    total = sum(len(job.chosen) if again else len(job.unfinished()) for job in jobs)
    held = [(job.separator, job.folder.path / output_log.LOG_NAME) for job in jobs]
    with (
        interruption.handled(), released(held), no_exit(), Progress(total, show=progress) as bar,
        opened(plan.settings, jobs, bar.note) as chosen,
    ):  # fmt: skip
        copier = Copier(plan.settings.copy_to, plan.settings.output, bar.note)
        for job in plan.jobs:
            if any(job is other for other in jobs):
                advance = bar.item_callback(f"{job.model.name} on {job.data.task}")
                Recorder(plan, job, advance, bar.note, executor or chosen(job)).run()
            copier.copy(job.folder.path)
        copier.check()
    return Results.of(plan)
