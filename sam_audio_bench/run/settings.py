"""The options of an evaluation, once: command line, `evaluate` and plan take names, defaults and help from here.

Importing this module imports no torch.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import escape_surrogates, expand_home, is_url, require_local_path
from sam_audio_bench.identity import Options
from sam_audio_bench.metrics.catalogue import DEFAULT, STEREO
from sam_audio_bench.options import parse_arguments, parse_specification, split_specifications, unknown_option
from sam_audio_bench.separators.pickers import AUTO, PICKERS
from sam_audio_bench.tasks.data import PROMPTS

__all__ = [
    "ABOUT",
    "ALIGNMENTS",
    "BASELINE",
    "EXECUTORS",
    "About",
    "Settings",
    "check_candidates",
    "check_seed",
    "check_workers",
    "documentation",
    "flag",
    "read_texts",
    "settings_from",
    "signature",
]

BASELINE = "mixture"
ALIGNMENTS = ("pad", "trim", "lag")
_DEVICES = ("auto", "cpu", "cuda", "mps", "xpu", "xla", "hpu", "hip", "mtia", "meta", "privateuseone")
EXECUTORS = ("local", "processes", "ray")


@dataclass(frozen=True, kw_only=True)
class About:
    """What a command line needs to know of an option."""

    help: str
    choices: tuple[str, ...] = ()
    flag: str = ""  # if it is not called like the field
    texts: str = ""  # how a text becomes the value, of `read_texts`; "": as click does


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything about an evaluation that is not its separators and tasks; `ABOUT` says what each option does."""

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
        for name, about in ABOUT.items():
            value = getattr(self, name)
            if about.choices and value is not None and value not in about.choices:
                raise UsageError(f"expected {flag(name)} to be one of {', '.join(about.choices)}, found {value!r}")
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
        """Device and dtype for whatever takes them, where they were chosen."""
        chosen = {"device": self.device, "dtype": self.dtype}
        return {name: value for name, value in chosen.items() if value != "auto"}

    @property
    def metric_policies(self) -> dict[str, Any]:
        """Options of the run for metrics whose constructors name them."""
        device = {} if self.device == "auto" else {"device": self.device}
        return {"stereo": self.stereo, **device}

    @property
    def selection(self) -> dict[str, Any]:
        """Which items of a task, as `registry.load_tasks` takes it."""
        return {name: getattr(self, name) for name in ("split", "subset", "prompts", "allow_outside")}


ABOUT: dict[str, About] = {
    "split": About(help="The official data, or the embedded stems.", choices=("test", "mini")),
    "subset": About(help="Of the official data.", choices=("paper", "full")),
    "prompts": About(help="Ask by other words, or for a sound that is not there.", choices=PROMPTS),
    "allow_outside": About(help="Let manifests name files outside their folder."),
    "metrics": About(help="Ids of `sabench list metrics`, also id(option=value), or default.", texts="metrics"),
    "model_args": About(help="Options of the one separator, k=v,k=v.", texts="arguments"),
    "metric_args": About(help="Options of the metrics, k=v,k=v.", texts="arguments"),
    "limit": About(help="The first N items of each task."),
    "sample_ids": About(help="Only this item; may be repeated.", flag="--sample-id"),
    "output": About(help="Folder of the run folders; what is finished in it is kept."),
    "copy_to": About(help="URL (s3://…, any of fsspec) to which each finished run folder is copied."),
    "seed": About(help="Of the run; the seed of an item follows from it, the task and the item."),
    "batch_size": About(help="Queries handed over at once; auto: what the separator prefers.", texts="size"),
    "shard": About(
        help="I/N: every N-th item from the I-th; put together with `sabench merge`. auto: as Slurm's array "
        "or torchrun says.",
        texts="shard",
    ),
    "overwrite": About(help="What to do with finished items.", choices=("only-missing", "always", "never")),
    "align": About(
        help="Accept estimates of another length, and how; lag: cut by how much they are late.", choices=ALIGNMENTS
    ),
    "stereo": About(help="How scores treat channels.", choices=STEREO),
    "candidates": About(help="Estimates per item, of which one is picked."),
    "picker": About(help=f"What picks it: {', '.join(PICKERS)}, also name(option=value); auto: as SAM Audio does."),
    "picker_args": About(help="Options of the picker, k=v,k=v.", texts="arguments"),
    "keep_candidates": About(help="Keep the audio of all candidates."),
    "device": About(help="cpu, cuda …, for whatever takes a device."),
    "dtype": About(help="For separators that take one.", choices=("auto", "float32", "bfloat16")),
    "timeout": About(help="Seconds that a separator may take for an item; then its process is killed."),
    "executor": About(help="Where separators and metrics run.", choices=EXECUTORS),
    "workers": About(help="Processes or actors, each with a separator; default: one for each GPU, or for its threads."),
    "retry": About(help="How often an item is tried again whose worker died."),
    "memory": About(help="GiB that a worker may have; above that it runs out of memory."),
    "profile": About(
        help="Write and print where the time goes: each stage and metric; trace one call of the separator."
    ),
}


def flag(name: str) -> str:
    """The option of the command line that stands for a field."""
    return ABOUT[name].flag or f"--{name.replace('_', '-')}"


def check_candidates(candidates: int, picker: str, keep: bool) -> None:
    """Raises UsageError for inconsistent options."""
    check_count("--candidates", candidates)
    if parse_specification(picker).name not in (AUTO, *PICKERS):
        raise UsageError(f"expected --picker to be one of {', '.join((AUTO, *PICKERS))}, found {picker!r}")
    if keep and candidates == 1:
        raise UsageError("expected --candidates above 1 with --keep-candidates, found 1")


def check_count(name: str, value: object) -> None:
    """Raises UsageError for what is no whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"expected {name} to be a whole number, found {value!r}")
    if value < 1:
        raise UsageError(f"expected {name} to be at least 1, found {value}")


def check_device(device: str) -> None:
    """Raises UsageError for what is no name of a device; whether it is there, torch says when it is imported."""
    kind, colon, number = device.partition(":")
    if kind not in _DEVICES or (colon and not number.isdecimal()):
        near = difflib.get_close_matches(kind, ("auto", "cpu", "cuda", "mps"), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"expected device to be auto, cpu or cuda, found {device!r}{hint}")


def check_output(output: Path) -> None:
    """Raises UsageError for a URL, and for a folder whose path is no UTF-8, which libraries cannot write to."""
    require_local_path("--output", output, "runs are written here, and copied there with --copy-to URL")
    path = str(output.absolute())
    if path != escape_surrogates(path):
        raise UsageError(f"expected --output in a folder whose path is valid UTF-8, found {path!r}; choose another one")


def check_workers(executor: str, workers: int | None, retry: int, memory: float | None) -> None:
    """Raises UsageError for numbers that cannot be meant."""
    if workers is not None and executor == "local":
        raise UsageError(f"expected --executor processes or ray with --workers {workers}, found local")
    if workers is not None:
        check_count("--workers", workers)
    if isinstance(retry, bool) or not isinstance(retry, int) or retry < 0:
        raise UsageError(f"expected --retry as a whole number, 0 or more, found {retry!r}")
    if memory is not None and not 0 < memory < math.inf:
        raise UsageError(f"expected --memory as GiB above 0, and finite, found {memory}")


def check_seed(seed: int) -> None:
    """Raises UsageError for a seed that a table of scores cannot hold."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not -(2**63) <= seed < 2**63:
        raise UsageError(f"expected --seed as a whole number of 64 bits, from -2**63 to 2**63 - 1, found {seed!r}")


def settings_from(options: Mapping[str, Any]) -> Settings:
    """Settings from named values; an option that does not exist raises UsageError with the nearest that does."""
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
    """The shard that a launcher's variables tell, said in one line; where the device is left open, its GPU too."""
    from sam_audio_bench.run.cluster import own_gpu, own_shard
    from sam_audio_bench.run.progress import say

    (index, count), origin = own_shard(os.environ)
    gpu = own_gpu(os.environ) if device in ("auto", "cuda") else ""
    say(f"shard {index}/{count}: {origin}{', ' if gpu else ''}{gpu}")
    return index, count


def signature(first: inspect.Signature) -> inspect.Signature:
    """A signature whose ``**options`` are replaced by the fields of `Settings`, with their defaults."""
    named = [one for one in first.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    own = [
        inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=_default(option), annotation=option.type)
        for option in fields(Settings)
    ]
    return first.replace(parameters=[*named, *own])


def _default(option: Field[Any]) -> Any:
    return option.default_factory() if callable(option.default_factory) else option.default


def documentation() -> str:
    """One line per option, for docstrings."""
    return "\n".join(f"        {name}: {about.help}" for name, about in ABOUT.items())


def read_texts(kind: str, text: str | None) -> Any:
    """The value that a command line's text means, by the kind of its option; raises UsageError.

    >>> read_texts("shard", "2/8"), read_texts("size", "auto"), read_texts("metrics", "si_sdr")
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
