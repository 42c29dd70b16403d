"""Separators that live elsewhere: a function, a folder of answers, any program.

What they give back is not repaired here: one boundary function of the run checks the length, rate and finiteness of
every answer.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sam_audio_bench import audio
from sam_audio_bench.digests import folder_digest, joined
from sam_audio_bench.errors import BadSeparation, BenchError, MediaError, Precondition, UsageError
from sam_audio_bench.files import find_files, safe_name, sha256
from sam_audio_bench.identity import Options
from sam_audio_bench.source import is_python, script_digest
from sam_audio_bench.types import Audio, Prompt, Query, Separation

__all__ = ["CommandSeparator", "FolderSeparator", "FunctionSeparator"]


def _residual(mixture: Audio, target: Audio) -> Audio:
    """Mixture - target on the part that both have, in the mixture's shape; what is wrong with the target is its own."""
    rest = mixture.samples.clone()
    common = min(mixture.length, target.length)
    if target.channels in (1, mixture.channels):
        rest[:, :common] -= target.samples[:, :common]
    return Audio(rest, mixture.rate)


def _at_rate(found: Audio, mixture: Audio, where: str) -> Audio:
    """Refuses another rate: resampling would change the answer behind its author's back."""
    if found.rate != mixture.rate:
        raise BadSeparation(
            f"expected {where} at the mixture's {mixture.rate} Hz, found {found.rate} Hz; resample the answer"
        )
    return found


def _check_signature(function: Callable[..., Any], name: str) -> None:
    try:
        inspect.signature(function).bind(None, None, None)
    except TypeError as error:
        raise UsageError(f"expected {name} to be a function (mixture, rate, prompt), found: {error}") from error
    except ValueError:  # written in C and silent about its arguments: the first call will tell
        return


class FunctionSeparator:
    """Wraps a plain function ``(mixture, rate, prompt) -> target``.

    ``mixture`` is a float32 tensor ``[channels, time]``, a copy that the function may change; ``rate`` is in Hz. The
    function returns the target as a tensor or NumPy array of floats ``[channels, time]``, or ``[time]`` for mono. The
    residual is mixture - target.

    Raises:
        UsageError: the function cannot be called with these three arguments.
        BadSeparation: it raised an exception, or returned something else.
    """

    def __init__(self, function: Callable[[Tensor, int, Prompt], Any], name: str) -> None:
        _check_signature(function, name)
        self.function = function
        self.name = name
        where = getattr(function, "__qualname__", type(function).__qualname__)
        self.settings: Mapping[str, str | int | float] = {"function": f"{function.__module__}:{where}"}

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Answers in the order of the queries, one call each; the function is given no seed."""
        return [self._answer(query) for query in queries]

    def _answer(self, query: Query) -> Separation:
        started = time.perf_counter()
        mixture = query.mixture
        try:
            found = self.function(mixture.samples.to(torch.float32, copy=True), mixture.rate, query.prompt)
        except BenchError:
            raise
        except Exception as error:
            raise BadSeparation(f"{self.name} raised {type(error).__name__}: {error}") from error
        seconds = time.perf_counter() - started
        target = Audio(self._samples(found, mixture), mixture.rate)
        return Separation(target=target, residual=_residual(mixture, target), seconds=seconds)

    def _samples(self, found: Any, mixture: Audio) -> Tensor:
        """The answer as a tensor ``[channels, time]`` of its own memory, in the mixture's precision."""
        expected = f"expected {self.name} to return floats [channels, time] as a tensor or NumPy array"
        if isinstance(found, np.ndarray) and np.issubdtype(found.dtype, np.floating):
            found = torch.from_numpy(found.astype(np.float64))
        if not isinstance(found, Tensor):
            dtype = f" of {found.dtype}" if isinstance(found, np.ndarray) else ""
            raise BadSeparation(f"{expected}, found {type(found).__name__}{dtype}")
        if found.ndim == 1 and mixture.channels == 1:
            found = found[None]
        if found.ndim != 2 or not found.is_floating_point():
            raise BadSeparation(f"{expected}, found {found.dtype} {list(found.shape)}")
        samples: Tensor = found.detach().cpu().to(mixture.samples.dtype, copy=True)
        return samples


class FolderSeparator:
    """Answers that lie in a folder: ``<item>.flac`` or ``<item>.target.flac``, and ``<item>.residual.flac`` if any.

    ``<item>`` is the id as `files.safe_name` writes it; wav and every other suffix of `audio.SUFFIXES` will do as well
    as flac. Without a residual file the residual is mixture - target. The ``audio`` folder of a run is such a folder.

    Raises:
        Precondition: there is no such folder, or it holds no audio.
    """

    suffixes = tuple(dict.fromkeys((".flac", *audio.SUFFIXES)))

    def __init__(self, folder: str | Path, name: str | None = None) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise Precondition(f"expected a folder of answers at {self.folder}, found none")
        if not any(path.suffix.lower() in self.suffixes for path in self.folder.iterdir()):
            raise Precondition(f"expected answers ({', '.join(self.suffixes[:4])} …) in {self.folder}, found none")
        self.name = name or f"files-{safe_name(self.folder.resolve().name)}"
        self.settings: Mapping[str, str | int | float] = {}  # what the files hold is in the fingerprint of each item

    def separate_named(self, ids: Sequence[str], queries: Sequence[Query]) -> list[Separation]:
        """Reads the answers in the order of the ids.

        Raises:
            MediaError: an answer is absent (status ``missing_media``) or cannot be read.
            BadSeparation: two files answer one item, or the rate is not the mixture's.
        """
        return [self._answer(identifier, query.mixture) for identifier, query in zip(ids, queries, strict=True)]

    def fingerprint(self, identifier: str) -> str:
        """SHA-256 over the names and contents of the item's files, whatever there is: an absent answer may come yet."""
        found = [*self._files(self._target_stems(identifier)), *self._files(self._residual_stems(identifier))]
        return sha256("\n".join(f"{path.name} {sha256(path.read_bytes())}" for path in found).encode())

    def _answer(self, identifier: str, mixture: Audio) -> Separation:
        path = self._only(identifier, "target", self._target_stems(identifier))
        if path is None:
            stem = safe_name(identifier)
            raise MediaError(
                f"expected the answer to {identifier} at {self.folder / stem}.flac (or {stem}.target.flac; wav and "
                "other formats will do), found none",
                status="missing_media",
            )
        target = _at_rate(audio.read(path), mixture, str(path))
        other = self._only(identifier, "residual", self._residual_stems(identifier))
        residual = _at_rate(audio.read(other), mixture, str(other)) if other else _residual(mixture, target)
        return Separation(target=target, residual=residual)

    def _target_stems(self, identifier: str) -> tuple[str, ...]:
        return (safe_name(identifier), f"{safe_name(identifier)}.target")

    def _residual_stems(self, identifier: str) -> tuple[str, ...]:
        return (f"{safe_name(identifier)}.residual",)

    def _files(self, stems: Sequence[str]) -> list[Path]:
        return [path for stem in stems for path in find_files(self.folder, stem, self.suffixes)]

    def _only(self, identifier: str, part: str, stems: Sequence[str]) -> Path | None:
        found = self._files(stems)
        if len(found) > 1:
            names = " and ".join(path.name for path in found)
            raise BadSeparation(
                f"expected one {part} for {identifier} in {self.folder}, found {names}; keep the one that counts"
            )
        return found[0] if found else None


_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")
_FIELDS = ("mixture", "text", "spans", "video", "mask", "target", "residual", "rate", "seed")
_NEEDED = ("mixture", "target")
_BREAKS = re.compile(r"[\s\"'`=,;|&<>()]+")  # between the words of a shell's command
_LONGEST_NAME = 1024  # of a file, in characters
_LONGEST_SCRIPT = 1 << 20  # in bytes


def parse_template(template: str) -> list[str]:
    """Splits a command like a POSIX shell and checks its placeholders; raises UsageError.

    >>> parse_template("cp {mixture} {target}")
    ['cp', '{mixture}', '{target}']
    """
    try:
        arguments = shlex.split(template)
    except ValueError as error:
        raise UsageError(f"expected a command with balanced quotes, found {template!r} ({error})") from error
    used = _PLACEHOLDER.findall(" ".join(arguments))
    known = " ".join(f"{{{field}}}" for field in _FIELDS)
    for field in used:
        if field not in _FIELDS:
            raise UsageError(f"expected the placeholders {known} in a command, found {{{field}}}")
    for field in _NEEDED:
        if field not in used:
            raise UsageError(f"expected {{{field}}} in the command, found {template!r}; it may hold {known}")
    return arguments


def fill(arguments: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Puts values in the place of the placeholders, once: whatever a value holds stays within its argument.

    >>> fill(["--text={text}"], {"text": "a 'loud' {seed}; rm"})
    ["--text=a 'loud' {seed}; rm"]
    """
    return [_PLACEHOLDER.sub(lambda match: values[match[1]], argument) for argument in arguments]


class CommandSeparator:
    """Runs a program for each query, in any language and environment, without a shell.

    The template is split once; these placeholders are then replaced inside each argument, so that a text with spaces
    or quotes stays one argument:

    ``{mixture}``   path of the mixture, 32-bit float WAV
    ``{target}``    path where the program must write the target as WAV, at the mixture's rate and length
    ``{residual}``  path where it may write the residual; unless it does, the residual is mixture - target
    ``{text}`` ``{video}`` ``{mask}``   of the prompt; empty where the prompt has none
    ``{spans}``     as ``+1.0:2.5 -3.0:4.0``, seconds; empty where the prompt has none
    ``{rate}`` ``{seed}``   in Hz; an integer

    The paths lie in a folder that is removed afterwards; the working directory is the caller's. A program that runs
    longer than ``timeout`` seconds is killed with all the processes that it started.

    Every word of an argument that is a file, also in ``--option=…`` or ``sh -c '…'``, is part of the command's identity
    by its content: a Python script with the modules beside it that it imports, a shell's script with the files that its
    words name. So is an argument that is a folder, but the working one; a program on the PATH by path, size and time.

    Raises:
        UsageError: a placeholder is unknown, ``{mixture}`` or ``{target}`` is missing, or quotes are not balanced.
        Precondition: there is no such program.
    """

    where = frozenset({"timeout"})  # a program that is killed has no estimate

    def __init__(self, template: str, timeout: float = 600.0) -> None:
        self.arguments = parse_template(template)
        program = self.arguments[0]
        if shutil.which(program) is None:
            raise Precondition(f"expected a program that can be run, found no {program!r} on the PATH; install it")
        if not timeout > 0:
            raise UsageError(f"expected a timeout above 0 seconds, found {timeout}")
        self.timeout = timeout
        self.name = f"cmd-{safe_name(Path(program).name)}-{sha256(template.encode())[:8]}"
        self.settings: Options = {"command": template}

    @property
    def named_files(self) -> dict[str, str]:
        """What the command names on this machine, with what identifies it."""
        return _named_files(self.arguments)

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Answers in the order of the queries, one run of the program each.

        Raises:
            BadSeparation: the program failed, hung, wrote nothing, or wrote what cannot be read or has another rate.
        """
        return [self._answer(query, seed) for query, seed in zip(queries, seeds, strict=True)]

    def _answer(self, query: Query, seed: int) -> Separation:
        mixture = query.mixture
        with tempfile.TemporaryDirectory(prefix="sabench-") as folder:
            paths = {name: Path(folder, f"{name}.wav") for name in ("mixture", "target", "residual")}
            audio.write_wav(paths["mixture"], mixture)
            values = {**{name: str(path) for name, path in paths.items()}, **_prompt_values(query.prompt)}
            values |= {"rate": str(mixture.rate), "seed": str(seed)}
            started = time.perf_counter()
            self._run(fill(self.arguments, values), Path(folder, "stderr"))
            seconds = time.perf_counter() - started
            target = self._read(paths["target"], mixture)
            wrote = paths["residual"].is_file()
            residual = self._read(paths["residual"], mixture) if wrote else _residual(mixture, target)
        return Separation(target=target, residual=residual, seconds=seconds)

    def _run(self, command: Sequence[str], log: Path) -> None:
        """Runs to the end or the timeout. Errors go to a file: a pipe would stay open in processes left behind."""
        with log.open("wb") as stderr:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    start_new_session=True,  # a process group of its own, to be ended as a whole
                )
            except (OSError, ValueError) as error:  # no executable format; a NUL in the text; a text too long
                raise BadSeparation(f"{self.name} could not be started: {error}") from error
            try:
                code = process.wait(self.timeout)
            except subprocess.TimeoutExpired as error:
                message = f"{self.name} was killed: it had not finished after {self.timeout:g} seconds (see --timeout)"
                raise BadSeparation(message) from error
            finally:
                if process.returncode is None:  # hung, or the user pressed Ctrl-C
                    _kill(process)
        if code != 0:
            raise BadSeparation(f"{self.name} ended with exit code {code}: {_last_lines(log)}")

    def _read(self, path: Path, mixture: Audio) -> Audio:
        try:
            found = audio.read(path)
        except MediaError as error:
            status = error.status if error.status == "non_finite" else "error"
            raise BadSeparation(f"{self.name} ended well, but: {error}", status=status) from error
        return _at_rate(found, mixture, f"the {path.stem} of {self.name}")


def _named_files(arguments: Sequence[str]) -> dict[str, str]:
    """What a command names on this machine, and what identifies it."""
    found = {}
    first, here = arguments[0], Path.cwd()
    if os.sep not in first and (program := shutil.which(first)) is not None:
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
        is_script = (stream.read(2) == b"#!" or path.suffix in (".sh", ".bash", ".zsh")) and not is_python(path)
    if not is_script or path.stat().st_size > _LONGEST_SCRIPT:
        return own
    words = _words([path.read_text(encoding="utf-8", errors="replace").replace("\0", " ")])
    named = [f"{word} {_content(*one, seen)}" for word, one in sorted(_files(words, path).items())]
    return joined(own, *named) if named else own


def _prompt_values(prompt: Prompt) -> dict[str, str]:
    spans = " ".join(f"{sign}{float(start)}:{float(end)}" for sign, start, end in prompt.spans)
    return {"text": prompt.text or "", "spans": spans, "video": prompt.video or "", "mask": prompt.mask or ""}


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and, where the system has process groups, everything that it started."""
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _last_lines(log: Path, count: int = 3) -> str:
    """The end of what the program had to say."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 2000))
        lines = stream.read().decode(errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return " | ".join(said[-count:]) or "it wrote nothing to stderr"
