"""The options of an evaluation: command line, `evaluate` and plan take names, defaults and help from here.

Importing this module does not import torch.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypedDict

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import escape_surrogates, expand_home, is_url, require_local_path
from sam_audio_bench.identity import Options
from sam_audio_bench.metrics.catalogue import DEFAULT, STEREO
from sam_audio_bench.options import parse_arguments, parse_specification, split_specifications, unknown_option
from sam_audio_bench.separators.pickers import AUTO, PICKERS
from sam_audio_bench.tasks.data import PROMPTS

__all__ = [
    "ALIGNMENTS",
    "BASELINE",
    "EXECUTORS",
    "OPTIONS",
    "OptionInfo",
    "Settings",
    "TaskSelection",
    "check_candidates",
    "check_seed",
    "check_workers",
    "expand_signature",
    "option_flag",
    "options_documentation",
    "parse_option",
    "settings_from",
]

BASELINE = "mixture"
ALIGNMENTS = ("pad", "trim", "lag")
_DEVICES = ("auto", "cpu", "cuda", "mps", "xpu", "xla", "hpu", "hip", "mtia", "meta", "privateuseone")
EXECUTORS = ("local", "processes", "ray")


@dataclass(frozen=True, kw_only=True)
class OptionInfo:
    """Help and syntax of an option on the command line."""

    help: str
    choices: tuple[str, ...] = ()
    flag: str = ""  # if it differs from the name of the field
    parser: str = ""  # first argument of `parse_option`, which converts the text; "": click converts it


class TaskSelection(TypedDict):
    """The version of a task's data, as arguments of `registry.load_tasks`."""

    split: str
    subset: str
    prompts: str
    allow_outside: bool


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All options of an evaluation except its separators and tasks; `OPTIONS` documents each of them."""

    split: str = "test"
    subset: str = "paper"
    prompts: str = "given"
    allow_outside: bool = False
    metrics: tuple[str, ...] = DEFAULT
    model_args: Options = field(default_factory=dict)
    metric_args: Options = field(default_factory=dict)
    limit: int | None = None
    sample_ids: tuple[str, ...] = ()
    output: Path = Path("runs")
    copy_to: str | None = None
    seed: int = 0
    batch_size: int | None = None
    shard: tuple[int, int] | None = None
    overwrite: str = "only-missing"
    align: str | None = None
    stereo: str = "joint"
    candidates: int = 1
    picker: str = AUTO
    picker_args: Options = field(default_factory=dict)
    keep_candidates: bool = False
    device: str = "auto"
    dtype: str = "auto"
    timeout: float | None = None
    executor: str = "local"
    workers: int | None = None
    retry: int = 1
    memory: float | None = None
    profile: bool = False

    def __post_init__(self) -> None:
        for name, about in OPTIONS.items():
            value = getattr(self, name)
            if about.choices and value is not None and value not in about.choices:
                raise UsageError(
                    f"expected {option_flag(name)} to be one of {', '.join(about.choices)}, found {value!r}"
                )
        check_candidates(self.candidates, self.picker, self.keep_candidates)
        check_seed(self.seed)
        check_output(self.output)
        if self.copy_to is not None and not is_url(self.copy_to):
            raise UsageError(f"expected --copy-to as a URL such as s3://bucket/runs, found {self.copy_to!r}")
        check_device(self.device)
        if self.limit is not None:
            check_count("--limit", self.limit)
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise UsageError(f"expected --timeout as seconds above 0, and finite, found {self.timeout}")
        check_workers(self.executor, self.workers, self.retry, self.memory)
        if self.batch_size is not None:
            check_count("--batch-size", self.batch_size)

    @property
    def offered(self) -> dict[str, str]:
        """Device and dtype, if chosen, for components that take them."""
        chosen = {"device": self.device, "dtype": self.dtype}
        return {name: value for name, value in chosen.items() if value != "auto"}

    @property
    def metric_policies(self) -> Options:
        """Options of the run for metrics whose constructors have them."""
        device = {} if self.device == "auto" else {"device": self.device}
        return {"stereo": self.stereo, **device}

    @property
    def selection(self) -> TaskSelection:
        """Arguments of `registry.load_tasks`, besides the tasks."""
        return {
            "split": self.split, "subset": self.subset, "prompts": self.prompts, "allow_outside": self.allow_outside,
        }  # fmt: skip


OPTIONS: dict[str, OptionInfo] = {
    "split": OptionInfo(help="The official data, or the embedded stems.", choices=("test", "mini")),
    "subset": OptionInfo(help="Of the official data.", choices=("paper", "full")),
    "prompts": OptionInfo(help="Ask by other words, or for a sound that is not there.", choices=PROMPTS),
    "allow_outside": OptionInfo(help="Let manifests name files outside their folder."),
    "metrics": OptionInfo(help="Ids of `sabench list metrics`, also id(option=value), or default.", parser="metrics"),
    "model_args": OptionInfo(help="Options of the one separator, k=v,k=v.", parser="arguments"),
    "metric_args": OptionInfo(help="Options of the metrics, k=v,k=v.", parser="arguments"),
    "limit": OptionInfo(help="The first N items of each task."),
    "sample_ids": OptionInfo(help="Only this item; may be repeated.", flag="--sample-id"),
    "output": OptionInfo(help="Folder of the run folders; what is finished in it is kept."),
    "copy_to": OptionInfo(help="URL (s3://…, any of fsspec) to which each finished run folder is copied."),
    "seed": OptionInfo(help="Of the run; the seed of an item follows from it, the task and the item."),
    "batch_size": OptionInfo(help="Queries handed over at once; auto: what the separator prefers.", parser="size"),
    "shard": OptionInfo(
        help="I/N: every N-th item from the I-th; put together with `sabench merge`. auto: as Slurm's array "
        "or torchrun says.",
        parser="shard",
    ),
    "overwrite": OptionInfo(help="What to do with finished items.", choices=("only-missing", "always", "never")),
    "align": OptionInfo(
        help="Accept estimates of another length, and how; lag: cut by how much they are late.", choices=ALIGNMENTS
    ),
    "stereo": OptionInfo(help="How scores treat channels.", choices=STEREO),
    "candidates": OptionInfo(help="Estimates per item, of which one is picked."),
    "picker": OptionInfo(
        help=f"What picks it: {', '.join(PICKERS)}, also name(option=value); auto: as SAM Audio does."
    ),
    "picker_args": OptionInfo(help="Options of the picker, k=v,k=v.", parser="arguments"),
    "keep_candidates": OptionInfo(help="Keep the audio of all candidates."),
    "device": OptionInfo(help="cpu, cuda …, for whatever takes a device."),
    "dtype": OptionInfo(help="For separators that take one.", choices=("auto", "float32", "bfloat16")),
    "timeout": OptionInfo(help="Seconds that a separator may take for an item; then its process is killed."),
    "executor": OptionInfo(help="Where separators and metrics run.", choices=EXECUTORS),
    "workers": OptionInfo(
        help="Processes or actors, each with a separator; default: one for each GPU, or for its threads."
    ),
    "retry": OptionInfo(help="How often an item is tried again whose worker died."),
    "memory": OptionInfo(help="GiB that a worker may have; above that it runs out of memory."),
    "profile": OptionInfo(
        help="Write and print where the time goes: each stage and metric; trace one call of the separator."
    ),
}


def option_flag(name: str) -> str:
    """Returns the command-line option of a field."""
    return OPTIONS[name].flag or f"--{name.replace('_', '-')}"


def check_candidates(candidates: int, picker: str, keep: bool) -> None:
    """Raises UsageError for inconsistent options."""
    check_count("--candidates", candidates)
    if parse_specification(picker).name not in (AUTO, *PICKERS):
        raise UsageError(f"expected --picker to be one of {', '.join((AUTO, *PICKERS))}, found {picker!r}")
    if keep and candidates == 1:
        raise UsageError("expected --candidates above 1 with --keep-candidates, found 1")


def check_count(name: str, value: object) -> None:
    """Raises UsageError unless the value is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"expected {name} to be a whole number, found {value!r}")
    if value < 1:
        raise UsageError(f"expected {name} to be at least 1, found {value}")


def check_device(device: str) -> None:
    """Raises UsageError for an invalid device name; whether the device exists is checked after torch is imported."""
    kind, colon, number = device.partition(":")
    if kind not in _DEVICES or (colon and not number.isdecimal()):
        near = difflib.get_close_matches(kind, ("auto", "cpu", "cuda", "mps"), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"expected device to be auto, cpu or cuda, found {device!r}{hint}")


def check_output(output: Path) -> None:
    """Raises UsageError for a URL, and for a path that is not valid UTF-8, which libraries cannot write to."""
    require_local_path("--output", output, "runs are written here, and copied there with --copy-to URL")
    path = str(output.absolute())
    if path != escape_surrogates(path):
        raise UsageError(f"expected --output in a folder whose path is valid UTF-8, found {path!r}; choose another one")


def check_workers(executor: str, workers: int | None, retry: int, memory: float | None) -> None:
    """Raises UsageError for invalid or inconsistent options of workers."""
    if workers is not None and executor == "local":
        raise UsageError(f"expected --executor processes or ray with --workers {workers}, found local")
    if workers is not None:
        check_count("--workers", workers)
    if isinstance(retry, bool) or not isinstance(retry, int) or retry < 0:
        raise UsageError(f"expected --retry as a whole number, 0 or more, found {retry!r}")
    if memory is not None and not 0 < memory < math.inf:
        raise UsageError(f"expected --memory as GiB above 0, and finite, found {memory}")


def check_seed(seed: int) -> None:
    """Raises UsageError for a seed that is not a 64-bit integer, which tables of scores cannot hold."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not -(2**63) <= seed < 2**63:
        raise UsageError(f"expected --seed as a whole number of 64 bits, from -2**63 to 2**63 - 1, found {seed!r}")


def settings_from(options: Mapping[str, Any]) -> Settings:
    """Makes settings from named values; an unknown option raises UsageError with the most similar known one."""
    known = [option.name for option in fields(Settings)]
    if strange := [name for name in options if name not in known]:
        raise unknown_option("evaluation", "evaluate", strange, known)
    values = {name: value for name, value in options.items() if value is not None}
    if isinstance(values.get("metrics"), str):
        values["metrics"] = (values["metrics"],)
    for name in ("metrics", "sample_ids"):
        if name in values:
            values[name] = tuple(values[name])
    if values.get("shard") == "auto":
        values["shard"] = _shard_of_launcher(values.get("device", "auto"))
    if "output" in values:
        values["output"] = expand_home(values["output"])
    return Settings(**values)


def _shard_of_launcher(device: str) -> tuple[int, int]:
    """Returns the shard in a launcher's variables and prints it; if the device is not chosen, selects a GPU too."""
    from sam_audio_bench.run.cluster import find_own_shard, select_own_gpu
    from sam_audio_bench.run.progress import print_note

    (index, count), origin = find_own_shard(os.environ)
    gpu = select_own_gpu(os.environ) if device in ("auto", "cuda") else ""
    print_note(f"shard {index}/{count}: {origin}{', ' if gpu else ''}{gpu}")
    return index, count


def expand_signature(first: inspect.Signature) -> inspect.Signature:
    """Returns the signature with ``**options`` replaced by the fields of `Settings`, with their defaults."""
    named = [one for one in first.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    own = [
        inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=_default(option), annotation=option.type)
        for option in fields(Settings)
    ]
    return first.replace(parameters=[*named, *own])


def _default(option: Field[Any]) -> Any:
    return option.default_factory() if callable(option.default_factory) else option.default


def options_documentation() -> str:
    """Returns one line per option, for docstrings that have been dedented."""
    return "\n".join(f"    {name}: {about.help}" for name, about in OPTIONS.items())


def parse_option(kind: str, text: str | None) -> Any:
    """Parses the text of a command-line option by its kind, `OptionInfo.parser`; raises UsageError.

    >>> parse_option("shard", "2/8"), parse_option("size", "auto"), parse_option("metrics", "si_sdr")
    ((2, 8), None, ('si_sdr',))
    """
    if kind == "arguments":
        return parse_arguments(text or "")
    if kind == "metrics":
        return _metric_ids(text)
    if kind == "size":
        if text is None or text == "auto":
            return None
        if not text.isdecimal():
            raise UsageError(f"expected --batch-size to be auto or a number, found {text!r}")
        return int(text)
    if text is None or text == "auto":
        return text
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal()):
        raise UsageError(f"expected --shard I/N, for example 2/8, or auto, found {text!r}")
    return int(index), int(count)


def _metric_ids(text: str | None) -> tuple[str, ...]:
    if text is None or text == "default":
        return DEFAULT
    found = tuple(split_specifications(text))
    if not found:
        raise UsageError(f"expected comma-separated names, found {text!r}")
    return found
