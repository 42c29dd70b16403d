"""``sabench eval``: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sam_audio_bench.cli.config import config_option, data_dir_option, go_offline, origins
from sam_audio_bench.cli.output import note, print_json, print_records
from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.catalogue import STEREO
from sam_audio_bench.separators.pickers import AUTO, PICKERS
from sam_audio_bench.tasks.data import PROMPTS

if TYPE_CHECKING:
    from sam_audio_bench.run.plan import Job, Plan
    from sam_audio_bench.run.results import Results

__all__ = ["evaluate"]


@click.command(context_settings={"auto_envvar_prefix": "SABENCH"})
@click.option("--model", required=True, help="Separators, comma-separated: a name of `sabench list models`, files:DIR, "
              "cmd:'program {mixture} {text} {target}', or module:attribute.")  # fmt: skip
@click.option("--task", required=True, help="Tasks or groups of `sabench list tasks`, or anyone's data: a table, "
              "a folder, ADAPTER:PATH.")  # fmt: skip
@click.option("--split", type=click.Choice(["test", "mini"]), default="test", show_default=True,
              help="The official data, or the embedded stems.")  # fmt: skip
@click.option("--subset", type=click.Choice(["paper", "full"]), default="paper", show_default=True)
@data_dir_option(expose=True)
@click.option("--accept-license", is_flag=True, help="Write down that you accept the terms of the official data.")
@click.option("--prompts", type=click.Choice(PROMPTS), default="given", show_default=True,
              help="Ask by other words, or for a sound that is not there.")  # fmt: skip
@click.option("--allow-outside", is_flag=True, help="Let manifests name files outside their folder.")
@click.option("--metrics", default="default", show_default=True, help="Ids of `sabench list metrics`, or default.")
@click.option("--model-args", default="", help="Options of the separators, k=v,k=v.")
@click.option("--metric-args", default="", help="Options of the metrics, k=v,k=v.")
@click.option("--limit", type=int, help="The first N items of each task.")
@click.option("--sample-id", multiple=True, help="Only this item; may be repeated.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--batch-size", default="auto", show_default=True, help="Queries handed over at once.")
@click.option("--shard", help="I/N: every N-th item from the I-th; put together with `sabench merge`.")
@click.option("--overwrite", type=click.Choice(["only-missing", "always", "never"]), default="only-missing",
              show_default=True, help="What to do with finished items.")  # fmt: skip
@click.option("--align", type=click.Choice(["pad", "trim"]), help="Accept answers of another length, and how.")
@click.option("--stereo", type=click.Choice(STEREO), default="joint", show_default=True,
              help="How scores treat channels.")  # fmt: skip
@click.option("--candidates", type=int, default=1, show_default=True, help="Answers an item, of which one is picked.")
@click.option("--picker", type=click.Choice([AUTO, *PICKERS]), default=AUTO, show_default=True,
              help="What picks it; auto: as SAM Audio does for the task's prompts.")  # fmt: skip
@click.option("--picker-args", default="", help="Options of the picker, k=v,k=v.")
@click.option("--keep-candidates", is_flag=True, help="Keep the audio of all candidates.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda …, for whatever takes a device.")
@click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True,
              help="For separators that take one.")  # fmt: skip
@click.option("--timeout", type=float, help="Seconds that a cmd: program may take for an item.")
@click.option("--fail-on-error", help="Exit with 1 when more than N items, or this fraction of them, fail.")
@click.option("--offline", is_flag=True, help="Never look on the network for weights or data.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@config_option
@click.option("--show-config", is_flag=True, help="Show every option with its origin and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
@click.pass_context
def evaluate(ctx: click.Context, /, **options: Any) -> None:
    """Evaluate separators on tasks and print the table.

    Finished items are kept: running the same command again continues, or just prints the table.
    """
    if options["show_config"]:
        settings = origins(ctx)
        print_records([{"option": name, **entry} for name, entry in settings.items()], ("option", "value", "origin"))
        return
    if options["offline"]:
        go_offline()
    allowed = _allowance(options["fail_on_error"])
    plan = _plan(options, origins(ctx))
    _say_terms(plan, accept=options["accept_license"])
    if not options["as_json"]:
        _show_plan(plan)
    if options["dry_run"]:
        return
    from sam_audio_bench.run.evaluate import execute

    try:
        results = execute(plan)
    except KeyboardInterrupt:
        note("sabench: stopped; finished items are kept, the same command continues")
        sys.exit(3)
    _show(results, plan, as_json=options["as_json"])
    if results.failures:
        sys.exit(1 if results.failures > allowed(results.asked) else 3)


def _plan(options: dict[str, Any], config: dict[str, Any]) -> Plan:
    """Turns texts into a plan; everything that can be wrong with a name or option is wrong here."""
    from sam_audio_bench.metrics import DEFAULT
    from sam_audio_bench.registry import check_weights, parse_arguments, split_models

    size = options["batch_size"]
    if size != "auto" and not size.isdecimal():
        raise UsageError(f"expected --batch-size to be auto or a number, found {size!r}")
    models, arguments = split_models(options["model"]), parse_arguments(options["model_args"])
    for model in models:
        check_weights(model, arguments)
    from sam_audio_bench.run.plan import Settings, make_plan

    return make_plan(
        models,
        _words(options["task"]),
        split=options["split"],
        subset=options["subset"],
        prompts=options["prompts"],
        allow_outside=options["allow_outside"],
        metrics=DEFAULT if options["metrics"] == "default" else _words(options["metrics"]),
        model_args=arguments,
        metric_args=parse_arguments(options["metric_args"]),
        timeout=options["timeout"],
        settings=Settings(
            output=options["output"],
            seed=options["seed"],
            batch_size=None if size == "auto" else int(size),
            limit=options["limit"],
            sample_ids=options["sample_id"],
            shard=_shard(options["shard"]),
            overwrite=options["overwrite"],
            align=options["align"],
            stereo=options["stereo"],
            picker_args=parse_arguments(options["picker_args"]),
            **{name: options[name] for name in ("candidates", "picker", "keep_candidates", "device", "dtype")},
        ),
        config=config,
    )


def _say_terms(plan: Plan, *, accept: bool) -> None:
    """The terms of the official data, once on each machine."""
    from sam_audio_bench.tasks.catalogue import TASKS
    from sam_audio_bench.tasks.licences import show_licences

    names = {job.data.source or job.data.task for job in plan.jobs if job.data.split == "test"}
    show_licences((TASKS[name] for name in sorted(names & set(TASKS))), note, accept=accept)


def _words(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UsageError(f"expected comma-separated names, found {text!r}")
    return words


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal()):
        raise UsageError(f"expected --shard I/N, for example 2/8, found {text!r}")
    return int(index), int(count)


def _allowance(text: str | None) -> Any:
    """How many of n items may fail: all, a count, or a fraction."""
    if text is None:
        return lambda asked: asked
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value < 0 or (value >= 1 and value != int(value)):
        raise UsageError(f"expected --fail-on-error to be a count or a fraction below 1, found {text!r}")
    return lambda asked: value if value >= 1 or value == 0 else value * asked


def _show_plan(plan: Plan) -> None:
    """One line a task: who answers, what is left to do, which metrics run, and why others do not."""
    tasks: dict[str, list[Job]] = {}
    for job in plan.jobs:
        tasks.setdefault(job.data.label, []).append(job)
    for label, jobs in tasks.items():
        asked, left = sum(len(job.chosen) for job in jobs), sum(len(job.to_separate()) for job in jobs)
        state = f"{left} to do, {asked - left} kept" if left else f"all {asked} kept"
        names = ", ".join(job.separator.name for job in jobs)
        metrics = ", ".join(jobs[0].columns) or "none"
        note(f"plan: {label}: {len(jobs[0].chosen)} items for {names}: {state}; metrics {metrics}")
    for text in plan.notes:
        note(f"plan: {text}")
    without: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for (lacking, metric), reason in plan.unavailable.items():
        columns, labels = without.setdefault(reason, ({}, {}))
        columns[metric], labels[lacking] = None, None
    for reason, (columns, labels) in without.items():
        note(f"plan: {', '.join(columns)} will not run on {', '.join(labels)}: {reason}")


_SHOWN_RUNS = 8


def _show(results: Results, plan: Plan, *, as_json: bool) -> None:
    if as_json:
        print_json(results.to_json())
        return
    results.print()
    click.echo("Run folders:")
    for run in results.runs[:_SHOWN_RUNS]:
        click.echo(f"  {run}")
    if len(results.runs) > _SHOWN_RUNS:
        click.echo(f"  and {len(results.runs) - _SHOWN_RUNS} more in {plan.settings.output}")
    others = [name for name in ("oracle-irm", "repet-sim") if all(job.separator.name != name for job in plan.jobs)]
    if others:
        click.echo(f"Next: add --model …,{others[0]} to compare, or `sabench table {results.runs[0]} --format md`.")
