"""Checks names of components and their options without importing them, so that a typo is reported without torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from sam_audio_bench import separators
from sam_audio_bench.construction import check_importable
from sam_audio_bench.errors import Precondition, UsageError, unknown_name
from sam_audio_bench.files import exists, expand_homes, find_file
from sam_audio_bench.options import parse_specification, unknown_option
from sam_audio_bench.parameters import parameter_names
from sam_audio_bench.plugins import plugins
from sam_audio_bench.separators.pickers import AUTO, PICKERS
from sam_audio_bench.tabular import TABLE_SUFFIXES
from sam_audio_bench.tasks import GROUPS, TASKS

__all__ = [
    "PROGRAM_PREFIXES",
    "BuiltInSeparator",
    "built_in_model",
    "check_exists",
    "check_model",
    "check_picker",
    "check_table",
    "check_task",
]

_PREFIXES = {
    "sam-audio": separators.SAM_AUDIO,
    "files": "sam_audio_bench.separators.external:FolderSeparator",
    "cmd": "sam_audio_bench.separators.external:CommandSeparator",
    "serve": "sam_audio_bench.separators.serving:ServedSeparator",
}

PROGRAM_PREFIXES = ("cmd:", "serve:")
"""Prefixes of separators that are external programs."""


class BuiltInSeparator(NamedTuple):
    """A built-in separator: its class, the positional arguments of its constructor, and its version."""

    target: str
    arguments: tuple[Any, ...]
    version: int | str


def built_in_model(name: str) -> BuiltInSeparator | None:
    """Returns the built-in separator of a name without options; None if it is not built in."""
    if name in separators.CARDS:
        card = separators.CARDS[name]
        return BuiltInSeparator(card.target, card.arguments, card.version)
    prefix, colon, rest = name.partition(":")
    if not colon or prefix not in _PREFIXES:
        return None
    return BuiltInSeparator(_PREFIXES[prefix], (rest if name.startswith(PROGRAM_PREFIXES) else expand_homes(rest),), 1)


def check_exists(what: str, *paths: Path) -> None:
    """Raises Precondition for a missing file or folder, before the code that reads it is imported."""
    for path in paths:
        if not exists(find_file(path)):
            raise Precondition(f"expected {what} at {path}, found none")


def check_model(spec: str, arguments: Iterable[str] = ()) -> None:
    """Checks the name of a separator and, if it is built in, its options, without importing it.

    Raises:
        UsageError: an unknown name or option. Precondition: a folder or module that does not exist.
    """
    parsed = parse_specification(spec)
    prefix, colon, _ = parsed.name.partition(":")
    own, named = built_in_model(parsed.name), plugins("separators")
    if own is not None:
        known = parameter_names(own.target)[len(own.arguments) :]
        if strange := [key for key in (*parsed.options, *arguments) if key not in known]:
            raise unknown_option("model", parsed.name, strange, known)
        if prefix == "files" and not Path(own.arguments[0]).is_dir():
            raise Precondition(f"expected a folder of estimates at {own.arguments[0]}, found none")
    elif colon and all(part.isidentifier() for part in prefix.split(".")):
        check_importable(parsed.name)
    elif (kind := prefix.partition("(")[0] + ":") in PROGRAM_PREFIXES:
        raise UsageError(
            f"expected {kind}PROGRAM with its options in --model-args, found {parsed.name!r}; write --model "
            f"'{kind}{parsed.name.partition(':')[2]}' --model-args OPTION=VALUE"
        )
    elif parsed.name not in named:
        raise unknown_name("model", parsed.name, [*separators.CARDS, *named])


def check_picker(spec: str, arguments: Iterable[str] = ()) -> None:
    """Raises UsageError for an unknown picker, or an option that it does not accept, without importing it."""
    parsed = parse_specification(spec)
    if parsed.name not in (AUTO, *PICKERS):
        raise unknown_name("picker", parsed.name, (AUTO, *PICKERS))
    pickers = PICKERS if parsed.name == AUTO else [parsed.name]
    known = list(dict.fromkeys(name for picker in pickers for name in parameter_names(PICKERS[picker].target)))
    if strange := [key for key in (*parsed.options, *arguments) if key not in known]:
        raise unknown_option("picker", parsed.name, strange, known)


def check_task(name: str) -> None:
    """Raises UsageError for a name that is neither a task, nor a group of tasks, nor a user's data, without import."""
    from sam_audio_bench.tasks.adapters import ADAPTERS
    from sam_audio_bench.tasks.load import is_path, split_label

    name = expand_homes(name)
    name = split_label(name)[1]
    named = plugins("tasks")
    if is_path(name):
        check_table(name)
    elif name not in TASKS and name not in GROUPS and name not in named:
        if exists(name):
            raise UsageError(
                f"expected a table of questions ({', '.join(TABLE_SUFFIXES)}) at {name}, found a file of another kind; "
                "save it as CSV, or as one JSON object per line"
            )
        raise unknown_name("task", name, [*TASKS, *GROUPS, *named, *(f"{layout}:PATH" for layout in ADAPTERS)])


def check_table(name: str) -> None:
    """Raises UsageError if the path of a user's data does not exist."""
    from sam_audio_bench.tasks.adapters import find_adapter, parse_options

    if (known := find_adapter(name)) is None and not exists(find_file(Path(name))):
        raise UsageError(f"expected a table of questions at {name}, found none; see `sabench list tasks`")
    if known is not None and not exists(known[1]):
        raise UsageError(f"expected {known[0].layout} at {known[1]}, found nothing there")
    parse_options(name)
