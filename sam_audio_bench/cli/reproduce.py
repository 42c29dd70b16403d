"""``sabench reproduce``: repeats a run from its record, and compares the results."""

from __future__ import annotations

import atexit
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from sam_audio_bench.cli.arguments import RUN_OR_URL
from sam_audio_bench.cli.config import data_dir_option, go_offline, option_origins
from sam_audio_bench.cli.output import claim_stdout, echo, note, print_json, print_records
from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.files import is_url, load_json, sha256, write_json
from sam_audio_bench.platforms import join_command

if TYPE_CHECKING:
    from sam_audio_bench.identity import Options
    from sam_audio_bench.records import RunRecord
    from sam_audio_bench.run.plan import Plan
    from sam_audio_bench.run.reproduction import Reproduction
    from sam_audio_bench.run.store import RunFolder

__all__ = ["reproduce"]

_REPORT = "reproduction.json"
_SHOWN = 3  # components that would run code, in a message


@click.command()
@click.argument("run", type=RUN_OR_URL)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="New folder of the run folder.")
@click.option("--tolerance", type=click.FloatRange(min=0), default=0.001, show_default=True,
              help="Allowed difference of scores, in the unit of each metric.")  # fmt: skip
@click.option("--data", help="Local path of the table or folder of its data; default: as recorded.")
@data_dir_option()
@click.option("--device", help="Instead of the recorded one.")
@click.option("--trust", is_flag=True, help="Run code of the record: programs, modules, files that are unpickled.")
@click.option("--offline", is_flag=True, help="Never use the network for weights or data.")
@click.option("--dry-run", is_flag=True, help="Print the command that repeats the run, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def reproduce(
    run: Path | str, output: Path, tolerance: float, data: str | None, device: str | None, trust: bool, offline: bool,
    dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Repeat a run from its record, and report differences: RUN is a run folder or its run.json, here or at a URL.

    First differences of separator, data, metrics, packages and hardware, then of scores item by item and of audio.
    Exits with 0 if all scores agree within the tolerance, else with 1.

    \b
    sabench reproduce runs/hpss/instrument@1-mini --output again
    sabench reproduce https://example.org/run.json --output again --dry-run
    """  # noqa: D301 - \b keeps click from rewrapping the lines
    if math.isnan(tolerance):
        raise UsageError("expected --tolerance as a number of 0 or more, found nan")
    if offline:
        go_offline()
    stdout = claim_stdout() if as_json else None
    from sam_audio_bench.run.reproduction import compare_with_record, recorded_options

    record, stored, digest = _read_record(run)
    options = recorded_options(record, [] if stored is None else list(stored.items), data=data)
    words = [
        *_as_arguments({**options, **({} if device is None else {"device": device})}),
        f"--output={output.absolute()}",
    ]
    if dry_run:
        echo(join_command(["sabench", "eval", *words]))
        return
    plan = _plan(words, record, trust=trust)
    _claim_output(output, digest, plan, None if stored is None else stored.path)
    from sam_audio_bench.run.evaluate import execute
    from sam_audio_bench.run.store import RunFolder

    try:
        execute(plan)
    except KeyboardInterrupt:
        note("sabench: stopped; finished items are kept, the same command continues")
        sys.exit(3)
    made = RunFolder.open(output / plan.jobs[0].folder.path.relative_to(output.absolute()))
    found = compare_with_record(record, stored, made, tolerance=tolerance)
    write_json(output / _REPORT, {"of": digest, **found.to_json()})
    if stdout is None:
        _show(found)
    else:
        print_json(found.to_json(), stdout)
    sys.exit(0 if found.same else 1)


def _read_record(run: Path | str) -> tuple[RunRecord, RunFolder | None, str]:
    """Reads the record, its folder if there is one, and the digest of the record."""
    from sam_audio_bench.records import read_run
    from sam_audio_bench.run.compatibility import check_has_scores
    from sam_audio_bench.run.remote import HEADER
    from sam_audio_bench.run.store import RunFolder

    path = Path(run)
    if is_url(run):
        path = _fetch_record(str(run))
    elif path.is_dir():
        path = _find_single_run(run) / HEADER
    if not path.is_file():
        raise Precondition(f"expected a run folder or its run.json at {run}, found none")
    content = path.read_bytes()
    stored = RunFolder.open(path.parent) if path.name == HEADER else None
    if stored is None or not stored.items:
        note(f"note: {run} came without items.jsonl: the scores are compared by the digest of their table alone")
        return read_run(path), None, sha256(content)
    stored.require_digests()
    check_has_scores(stored)
    return stored.header, stored, sha256(content)


def _find_single_run(place: Path | str) -> Path:
    """Returns the folder of the only run at a place."""
    from sam_audio_bench.run.remote import find_runs

    found = find_runs([place])
    if len(found) > 1:
        raise UsageError(f"expected one run, found {len(found)} in {place}, {found[0]} first; name one of them")
    return found[0]


def _fetch_record(url: str) -> Path:
    """Fetches the record at a URL, with its folder if the server can list that."""
    from sam_audio_bench.run.remote import HEADER, RemoteFolder

    if not urlsplit(url).path.endswith(f"/{HEADER}"):
        return _find_single_run(url) / HEADER
    try:
        if url.endswith(f"/{HEADER}"):
            return _find_single_run(url.removesuffix(f"/{HEADER}")) / HEADER
    except Precondition as error:
        note(f"note: {error}; trying {HEADER} alone")
    path = Path(tempfile.mkdtemp(prefix="sabench-fetched-")) / HEADER
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    path.write_bytes(RemoteFolder(url).read_bytes())
    return path


def _as_arguments(options: Options) -> list[str]:
    """Formats options as command-line arguments, as --option=value, so that no value is parsed as an option."""
    from sam_audio_bench.cli.eval import evaluate

    flags = {option.name: option.opts[0] for option in evaluate.params}
    found = []
    for name, value in options.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is not None and one is not False:
                found.append(flags[name] if one is True else f"{flags[name]}={one}")
    return found


def _plan(words: list[str], record: RunRecord, *, trust: bool) -> Plan:
    """Plans the single run of these arguments; errors are those of a command line."""
    from sam_audio_bench.cli.eval import evaluate, plan_from_options, show_terms

    try:
        ctx = evaluate.make_context("eval", words, auto_envvar_prefix=None)  # ignore variables of this machine
    except click.UsageError as error:
        raise UsageError(f"expected a record of options that can be given, found: {error.format_message()}") from error
    _check_trust(ctx.params, trust=trust)
    settings = {name: {**entry, "origin": "record"} for name, entry in option_origins(ctx).items()}
    plan = plan_from_options(ctx.params, settings)
    matching = [job for job in plan.jobs
              if (job.model.name, job.data.label) == (record.model.name, record.task.label)]  # fmt: skip
    if len(matching) != 1:
        names = ", ".join(f"{job.model.name} on {job.data.label}" for job in plan.jobs)
        raise UsageError(f"expected the record to make {record.model.name} on {record.task.label}, found {names}")
    plan = replace(plan, jobs=tuple(matching))
    show_terms(plan, accept=False)
    for text in (*plan.notes, *plan.needs, *plan.ignored):
        note(f"plan: {text}")
    return plan


def _check_trust(options: Options, *, trust: bool) -> None:
    """Raises Precondition if the record would run code and is not trusted, before any lookup."""
    from sam_audio_bench.options import parse_arguments, split_specifications
    from sam_audio_bench.run.reproduction import find_untrusted_code

    models = [model for text in options["model"] for model in split_specifications(text)]
    arguments = parse_arguments(options["model_args"] or "")
    metrics = split_specifications(options["metrics"])
    found = find_untrusted_code(models, metrics, arguments, allow_outside=options["allow_outside"])
    if found and not trust:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise Precondition(
            f"expected --trust, since this record asks for {'; '.join(found[:_SHOWN])}{more}, found none; look at what "
            "it would run (--dry-run prints the command), and give --trust if you would start that by hand"
        )


def _claim_output(output: Path, digest: str, plan: Plan, stored: Path | None) -> None:
    """Marks a new folder as that of this record; raises StoreError if it has other content."""
    if stored is not None and plan.jobs[0].folder.path.resolve() == stored.resolve():
        raise UsageError(f"expected --output to be another folder than that of the run, found {output}")
    report = output / _REPORT
    if output.is_dir() and any(output.iterdir()):
        before = load_json(report) if report.exists() else None
        if not isinstance(before, dict) or before.get("of") != digest:
            raise StoreError(
                f"expected a new or empty folder at {output}, or one in which this run was begun to be made again, "
                "found another one; choose another --output"
            )
    output.mkdir(parents=True, exist_ok=True)
    write_json(report, {"of": digest})


def _show(found: Reproduction) -> None:
    echo(f"{found.name} on {found.task}, made again in {found.made}")
    echo("\nSeparator, data, metrics, packages, hardware and commit are those of the record." if not found.identity
         else "\nNot as in the record:")  # fmt: skip
    for text in found.identity:
        echo(f"  {text}")
    if found.metrics:
        within = f"within {found.tolerance:g}"
        echo()
        print_records(_records(found, within), ("metric", "equal", within, "not", "largest difference", "of item"))
        echo(f"\nFiles of estimates: {found.equal_files} of {found.files} have the same samples.")
    else:
        table = {True: "has the digest of", False: "differs from that of", None: "cannot be compared with"}
        echo(f"\nThe table of scores {table[found.same_table]} the record.")
    limit = f" within {found.tolerance:g}" if found.metrics else ""
    echo(f"The same{limit}." if found.same else f"Not the same{limit}.")


def _records(found: Reproduction, within: str) -> Iterator[dict[str, object]]:
    for one in found.metrics:
        largest = None if one.largest is None else f"{one.largest:.3g} {one.unit}".strip()
        counts = {"equal": one.equal, within: one.within, "not": one.beyond}
        yield {"metric": one.metric, **counts, "largest difference": largest, "of item": one.item}
