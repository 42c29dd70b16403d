"""What ``cmd:`` and ``serve:`` are given: arguments, placeholders and what they become, the files that are named."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from sam_audio_bench.code_digests import is_python_script, script_digest
from sam_audio_bench.digests import combined_digest, folder_digest
from sam_audio_bench.errors import BadSeparation, Precondition, UsageError
from sam_audio_bench.files import case_sensitive_name, sha256
from sam_audio_bench.platforms import split_command
from sam_audio_bench.types import Prompt

__all__ = [
    "check_program",
    "check_seconds",
    "fill",
    "named_files",
    "parse_command",
    "parse_template",
    "program_name",
    "prompt_fields",
    "prompt_values",
    "refuse_options",
    "write_text",
]

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")
_FIELDS = ("mixture", "text", "text_file", "spans", "video", "mask", "target", "residual", "rate", "seed")
_NEEDED = ("mixture", "target")
_BREAKS = re.compile(r"[\s\"'`=,;|&<>()]+")  # between the words of a shell's command
_LONGEST_NAME = 1024  # of a file, in characters
_LONGEST_SCRIPT = 1 << 20  # in bytes
_SHOWN = 60  # characters of a value in a message


def parse_template(template: str) -> list[str]:
    """Splits a command like a shell, see `split_command`, and checks its placeholders; raises UsageError.

    >>> parse_template("cp {mixture} {target}")
    ['cp', '{mixture}', '{target}']
    """
    arguments = _split(template)
    used = _PLACEHOLDER.findall(" ".join(arguments))
    known = " ".join(f"{{{field}}}" for field in _FIELDS)
    for field in used:
        if field not in _FIELDS:
            raise UsageError(f"expected the placeholders {known} in a command, found {{{field}}}")
    for field in _NEEDED:
        if field not in used:
            raise UsageError(
                f"expected {{{field}}} in the command, found {template!r}; it may hold {known}, or be spelt serve: "
                "where the program answers one query after another"
            )
    return arguments


def parse_command(command: str) -> list[str]:
    """Splits the command of a program that is told its queries, and so has no placeholders; raises UsageError.

    >>> parse_command("python 'my model.py' --gain=0.5")
    ['python', 'my model.py', '--gain=0.5']
    """
    arguments = _split(command)
    if not arguments or not arguments[0]:
        raise UsageError(f"expected a program and its arguments behind serve:, found {command!r}")
    for field in _PLACEHOLDER.findall(" ".join(arguments)):
        if field in _FIELDS:
            raise UsageError(
                f"expected a command without placeholders behind serve:, found {{{field}}}; a program that stays reads "
                "its queries from standard input, and cmd: starts one for each item"
            )
    return arguments


def _split(command: str) -> list[str]:
    try:
        return split_command(command)
    except ValueError as error:
        raise UsageError(f"expected a command with balanced quotes, found {command!r} ({error})") from error


def check_program(program: str) -> None:
    """Raises Precondition where there is no such program."""
    if shutil.which(program) is None:
        if Path(program).is_file():
            raise Precondition(
                f"expected a program that can be run, found the file {program!r}, which is not executable; make it "
                "executable (chmod +x), or begin with what runs it"
            )
        raise Precondition(f"expected a program that can be run, found no {program!r} on the PATH; install it")


def check_seconds(name: str, value: object) -> None:
    """Raises UsageError for what is no time to wait."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise UsageError(f"expected a {name} above 0 seconds, and finite, found {value!r}")


def program_name(prefix: str, arguments: Sequence[str], command: str) -> str:
    """What results call a program: how it is run, its file, and which command it is."""
    return f"{prefix}-{case_sensitive_name(Path(arguments[0]).name)}-{sha256(command.encode())[:8]}"


def fill(arguments: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Puts values in the place of the placeholders, once: whatever a value holds stays within its argument.

    >>> fill(["--text={text}"], {"text": "a 'loud' {seed}; rm"})
    ["--text=a 'loud' {seed}; rm"]
    """
    return [_PLACEHOLDER.sub(lambda match: values[match[1]], argument) for argument in arguments]


def refuse_options(arguments: Sequence[str], filled: Sequence[str]) -> None:
    """Refuses values that would become options of the program: a text may begin with a dash, and is still a text.

    An argument is in danger where it begins with a placeholder; what follows ``--`` is no option by convention.

    Args:
        arguments: of the template.
        filled: the same with values in the place of the placeholders.

    Raises:
        BadSeparation: an argument begins with a dash that the template does not have.
    """
    for template, argument in zip(arguments, filled, strict=True):
        if template == "--":
            return
        if argument.startswith("-") and not template.startswith("-"):
            names = _PLACEHOLDER.findall(template)
            name = names[0] if names else "text"
            file = " or {text_file}" if name == "text" else ""
            raise BadSeparation(
                f"expected {{{name}}} to be no option of the program, found {argument[:_SHOWN]!r}, which begins with a "
                f"dash; write --{name}={{{name}}}{file} in the command"
            )


def prompt_values(prompt: Prompt) -> dict[str, str]:
    """What the placeholders of a prompt stand for; empty where it has none."""
    spans = " ".join(f"{sign}{float(start)}:{float(end)}" for sign, start, end in prompt.spans)
    return {"text": prompt.text or "", "spans": spans, "video": prompt.video or "", "mask": prompt.mask or ""}


def write_text(path: Path, prompt: Prompt) -> None:
    """Writes the text of a prompt as UTF-8, byte for byte; nothing where it has none."""
    path.write_text(prompt.text or "", encoding="utf-8", errors="backslashreplace", newline="")


def prompt_fields(prompt: Prompt) -> dict[str, object]:
    """What a query in JSON says of a prompt; None, and no spans, where it has none."""
    spans = [[sign, float(start), float(end)] for sign, start, end in prompt.spans]
    return {"text": prompt.text, "spans": spans, "video": prompt.video, "mask": prompt.mask}


def named_files(arguments: Sequence[str]) -> dict[str, str]:
    """What a command names on this machine, and what identifies it: digests of files, of a program its place and time.

    Args:
        arguments: of the template, as `parse_template` gives them.
    """
    found = {}
    first, here = arguments[0], Path.cwd()
    if not os.path.dirname(first) and (program := shutil.which(first)) is not None:  # noqa: PTH120 - "" where it has none
        stat = Path(program).stat()
        found[first] = f"{program} {stat.st_size} {stat.st_mtime_ns}"
    for argument in arguments:
        path = Path(argument.partition("=")[2] if argument.startswith("-") else argument)
        if path.is_dir() and path.resolve() not in (here, *here.parents):
            found.setdefault(argument, folder_digest(path))
    for word, (path, module) in _files(_words(arguments), None).items():
        found.setdefault(word, _content(path, module, set()))
    return found


def _words(texts: Sequence[str]) -> list[str]:
    """Whole texts, and what they hold between blanks, quotes and signs of the shell."""
    return [word for text in texts for word in dict.fromkeys([text, *_BREAKS.split(text)]) if word]


def _files(words: Sequence[str], script: Path | None) -> dict[str, tuple[Path, str]]:
    """Files that the words of a command or script name, relative to the working folder or to the script.

    With each comes the name of the module that it is: of ``-m name`` that of ``name.py`` or ``name/__main__.py``.
    """
    found = {}
    places = [Path(), script.parent] if script else [Path()]
    for before, word in zip(["", *words], words, strict=False):
        named = [word, *([word.partition("/")[2]] if script else [])]  # "$folder/name"
        files = [(place / os.path.expanduser(name), "__main__") for place in places for name in named if name]  # noqa: PTH111
        module = word if before == "-m" else word[2:] if word.startswith("-m") else ""
        if module.replace(".", "").isidentifier():
            inside = module.replace(".", "/")
            files += [(place / f"{inside}.py", module) for place in places]
            files += [(place / inside / "__main__.py", f"{module}.__main__") for place in places]
        there = next((one for one in files if len(word) <= _LONGEST_NAME and one[0].is_file()), None)
        if there is not None:
            found[word] = there
    return found


def _content(path: Path, module: str, seen: set[Path]) -> str:
    """Digest of a file that is run or read; of a shell's script, with the files that its words name, each once."""
    if path.resolve() in seen:
        return ""
    seen.add(path.resolve())
    own = script_digest(path, module)
    with path.open("rb") as stream:
        is_script = (stream.read(2) == b"#!" or path.suffix in (".sh", ".bash", ".zsh")) and not is_python_script(path)
    if not is_script or path.stat().st_size > _LONGEST_SCRIPT:
        return own
    words = _words([path.read_text(encoding="utf-8", errors="replace").replace("\0", " ")])
    named = [f"{word} {_content(*one, seen)}" for word, one in sorted(_files(words, path).items())]
    return combined_digest(own, *named) if named else own
