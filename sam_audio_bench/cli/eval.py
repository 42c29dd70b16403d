"""``sabench eval``: evaluates separators on tasks."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sam_audio_bench.cli.config import config_option, data_dir_option, go_offline, option_origins
from sam_audio_bench.cli.output import claim_stdout, echo, note, print_json, print_records
from sam_audio_bench.errors import UsageError
from sam_audio_bench.options import split_specifications
from sam_audio_bench.platforms import join_command
from sam_audio_bench.run.settings import OPTIONS, Settings, option_flag, parse_option, settings_from

if TYPE_CHECKING:
    from sam_audio_bench.identity import Options
    from sam_audio_bench.run.job import Job
    from sam_audio_bench.run.plan import Plan
    from sam_audio_bench.run.results import Results

__all__ = ["evaluate", "plan_from_options", "show_terms"]


class _UnsplitText(click.ParamType[str]):
    """Text that is not split at blanks if it comes from an environment variable."""

    name = "text"
    envvar_list_splitter = "\n"


def _settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds one option per field of `Settings`, in order."""
    for option in reversed(fields(Settings)):
        command = _click_option(option)(command)
    return command


def _click_option(option: Field[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Returns the option of a field, with its default, help and choices."""
    name, about = option.name, OPTIONS[option.name]
    default = None if about.parser or option.default is MISSING else option.default
    shown = {"metrics": "default", "size": "auto"}.get(about.parser, default not in (None, (), False))
    kinds: dict[str, Any] = {
        "limit": int,
        "timeout": float,
        "workers": int,
        "memory": float,
        "output": click.Path(path_type=Path),
    }
    kind = click.Choice(about.choices) if about.choices else kinds.get(name)
    return click.option(
        option_flag(name), default=default, show_default=shown, help=about.help, type=kind,
        multiple=option.default == (), is_flag=default is False,
    )  # fmt: skip


@click.command(context_settings={"auto_envvar_prefix": "SABENCH"})
@click.option("--model", multiple=True, required=True, type=_UnsplitText(), help="Separators, comma-separated; may be "
              "repeated: a name of `sabench list models`, files:DIR, module:attribute, each also with (option=value), "
              "cmd:'program {mixture} --text={text} {target}', or serve:'program'.")  # fmt: skip
@click.option("--task", required=True, help="Tasks or groups of `sabench list tasks`, or anyone's data: a table, "
              "a folder, ADAPTER:PATH; name=PATH gives them another name.")  # fmt: skip
@_settings_options
@data_dir_option(expose=True)
@click.option("--accept-license", is_flag=True, help="Record that you accept the terms of the official data.")
@click.option("--fail-on-error", help="Exit with 1 when more than N items, or this fraction of them, fail.")
@click.option("--offline", is_flag=True, help="Never use the network for weights or data.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--log", multiple=True, help="Log to tensorboard:DIR, wandb:PROJECT or trackio:PROJECT; may be "
              "repeated.")  # fmt: skip
@config_option
@click.option("--show-config", is_flag=True, help="Show every option with its origin and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
@click.pass_context
def evaluate(ctx: click.Context, /, **options: Any) -> None:
    """Evaluate separators on tasks and print the table.

    Finished items are kept: running the same command again continues, or only prints the table.
    """
    if options["show_config"]:
        settings = option_origins(ctx)
        print_records([{"option": name, **entry} for name, entry in settings.items()], ("option", "value", "origin"))
        return
    if options["offline"]:
        go_offline()
    allowed = _parse_failure_limit(options["fail_on_error"])
    from sam_audio_bench.run.loggers import log_results, open_loggers, parse_loggers

    specs = parse_loggers(options["log"])
    stdout = claim_stdout() if options["as_json"] else None
    plan = plan_from_options(options, option_origins(ctx))
    show_terms(plan, accept=options["accept_license"])
    if options["as_json"]:
        for text in (*plan.needs, *plan.ignored, *plan.redone):
            note(f"plan: {text}")
    else:
        _show_plan(plan)
    if options["dry_run"]:
        return
    from sam_audio_bench.run.evaluate import execute

    try:
        with open_loggers(specs, plan) as loggers:
            results = execute(plan)
            if stdout is None:
                _show(results, plan)
            else:
                print_json(results.to_json(), stdout)
            log_results(results, loggers)
    except KeyboardInterrupt:
        note("sabench: stopped; finished items are kept, the same command continues")
        sys.exit(3)
    if results.failures:
        sys.exit(1 if results.failures > allowed(results.asked) else 3)


def plan_from_options(options: Options, config: Options) -> Plan:
    """Makes a plan from option values; all errors in names and options are raised here."""
    settings = settings_from(
        {
            name: parse_option(about.parser, value) if about.parser else value
            for name, about in OPTIONS.items()
            for value in [options[option_flag(name)[2:].replace("-", "_")]]
        }
    )
    models = [model for text in options["model"] for model in split_specifications(text)]
    tasks = _split_names(options["task"])
    _check_names(models, tasks, settings)
    from sam_audio_bench.registry import check_weights

    for model in models:
        check_weights(model, settings.model_args)
    from sam_audio_bench.run.plan import make_plan

    return make_plan(models, tasks, settings=settings, config=config)


def _check_names(models: list[str], tasks: list[str], settings: Settings) -> None:
    """Checks names before anything heavy is imported."""
    from sam_audio_bench.columns import check_metrics
    from sam_audio_bench.names import check_model, check_picker, check_task

    for model in models:
        check_model(model, settings.model_args if len(models) == 1 else ())
    for task in tasks:
        check_task(task)
    check_metrics(settings.metrics, settings.metric_args)
    check_picker(settings.picker, settings.picker_args)
    if settings.split == "test":
        from sam_audio_bench.tasks.load import check_recordings

        asked = join_command(["sabench", "eval", "--model", ",".join(models), "--task", ",".join(tasks)])
        check_recordings(tasks, instead=f"{asked} --split mini")


def show_terms(plan: Plan, *, accept: bool) -> None:
    """Shows the terms of the official data, once per machine."""
    from sam_audio_bench.tasks.catalogue import TASKS
    from sam_audio_bench.tasks.licences import show_licences

    names = {job.data.source or job.data.task for job in plan.jobs if job.data.split == "test"}
    show_licences((TASKS[name] for name in sorted(names & set(TASKS))), note, accept=accept)


def _split_names(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UsageError(f"expected comma-separated names, found {text!r}")
    return words


def _parse_failure_limit(text: str | None) -> Any:
    """Returns a function from the number of items to how many may fail: all, a count, or a fraction."""
    if text is None:
        return lambda asked: asked
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf or (value >= 1 and value != int(value)):
        raise UsageError(f"expected --fail-on-error to be a count or a fraction below 1, found {text!r}")
    return lambda asked: value if value >= 1 or value == 0 else value * asked


def _show_plan(plan: Plan) -> None:
    """Shows per task the separators, remaining items, metrics, and why other metrics do not run."""
    tasks: dict[str, list[Job]] = {}
    for job in plan.jobs:
        tasks.setdefault(job.data.label, []).append(job)
    for label, jobs in tasks.items():
        asked, left = sum(len(job.chosen) for job in jobs), sum(len(job.items_to_separate()) for job in jobs)
        state = f"{left} to do, {asked - left} kept" if left else f"all {asked} kept"
        names = ", ".join(job.model.name for job in jobs)
        metrics = ", ".join(jobs[0].columns) or "none"
        note(f"plan: {label}: {len(jobs[0].chosen)} items for {names}: {state}; metrics {metrics}")
    for text in (*plan.notes, *plan.needs, *plan.ignored, *plan.redone):
        note(f"plan: {text}")
    without: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for (label, metric), reason in plan.unavailable.items():
        columns, labels = without.setdefault(reason, ({}, {}))
        columns[metric], labels[label] = None, None
    for reason, (columns, labels) in without.items():
        note(f"plan: {', '.join(columns)} will not run on {', '.join(labels)}: {reason}")


_SHOWN_RUNS = 8


def _show(results: Results, plan: Plan) -> None:
    results.print()
    echo("Run folders:")
    for run in results.runs[:_SHOWN_RUNS]:
        echo(f"  {run}")
    if len(results.runs) > _SHOWN_RUNS:
        echo(f"  and {len(results.runs) - _SHOWN_RUNS} more in {plan.settings.output}")
    others = [name for name in ("oracle-irm", "repet-sim") if all(job.model.name != name for job in plan.jobs)]
    if others:
        echo(f"Next: add --model …,{others[0]} to compare, or `sabench table {results.runs[0]} --format md`.")
