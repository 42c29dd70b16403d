"""Separators that live elsewhere: a function, a folder of answers, any program.

What they give back is not repaired here: one boundary function of the run checks the length, rate and finiteness of
every answer.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sam_audio_bench import audio
from sam_audio_bench.devices import synchronized_seconds
from sam_audio_bench.digests import file_digest
from sam_audio_bench.errors import BadSeparation, BenchError, MediaError, Precondition, UsageError, describe_error
from sam_audio_bench.files import case_sensitive_name, expand_home, find_files, safe_name, sha256
from sam_audio_bench.identity import Options
from sam_audio_bench.separators.answers import at_rate, difference, written_answer
from sam_audio_bench.separators.command_line import (
    check_program,
    check_seconds,
    fill,
    named_files,
    parse_template,
    program_name,
    prompt_values,
    refuse_options,
    write_text,
)
from sam_audio_bench.separators.programs import ending, last_lines, run_program
from sam_audio_bench.types import Audio, Prompt, Query, Separation

__all__ = ["CommandSeparator", "FolderSeparator", "FunctionSeparator"]


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
        started = synchronized_seconds()
        mixture = query.mixture
        try:
            found = self.function(mixture.samples.to(torch.float32, copy=True), mixture.rate, query.prompt)
        except (BenchError, KeyboardInterrupt):
            raise
        except BaseException as error:  # sys.exit and its kind end a function, not an evaluation
            raise BadSeparation(f"{self.name} raised {describe_error(error)}") from error
        seconds = synchronized_seconds() - started
        target = Audio(self._samples(found, mixture), mixture.rate)
        return Separation(target=target, residual=difference(mixture, target), seconds=seconds)

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
        if found.ndim != 2 or not found.is_floating_point() or found.layout != torch.strided:
            layout = "" if found.layout == torch.strided else f"{str(found.layout).removeprefix('torch.')} "
            raise BadSeparation(f"{expected}, found {layout}{found.dtype} {list(found.shape)}")
        samples: Tensor = found.detach().cpu().to(mixture.samples.dtype, copy=True)
        return samples


class FolderSeparator:
    """Answers that lie in a folder: ``<item>.flac`` or ``<item>.target.flac``, and ``<item>.residual.flac`` if any.

    ``<item>`` is the id as `files.case_sensitive_name` or `files.safe_name` writes it; wav and every other suffix of
    `audio.SUFFIXES` will do as well as flac. Without a residual file the residual is mixture - target. The ``audio``
    folder of a run is such a folder.

    Raises:
        Precondition: there is no such folder, or it holds no audio.
    """

    suffixes = tuple(dict.fromkeys((".flac", *audio.SUFFIXES)))

    def __init__(self, folder: str | Path, name: str | None = None) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise Precondition(f"expected a folder of estimates at {self.folder}, found none")
        if not any(path.suffix.lower() in self.suffixes for path in self.folder.iterdir()):
            raise Precondition(f"expected answers ({', '.join(self.suffixes[:4])} …) in {self.folder}, found none")
        self.name = name or f"files-{case_sensitive_name(self.folder.resolve().name)}"
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
        return sha256("\n".join(f"{path.name} {file_digest(path)}" for path in found).encode())

    def _answer(self, identifier: str, mixture: Audio) -> Separation:
        path = self._only(identifier, "target", self._target_stems(identifier))
        if path is None:
            stem = case_sensitive_name(identifier)
            raise MediaError(
                f"expected the answer to {identifier} at {self.folder / stem}.flac (or {stem}.target.flac; wav and "
                "other formats will do), found none",
                status="missing_media",
            )
        target = at_rate(audio.read(path), mixture, str(path))
        other = self._only(identifier, "residual", self._residual_stems(identifier))
        residual = at_rate(audio.read(other), mixture, str(other)) if other else difference(mixture, target)
        return Separation(target=target, residual=residual)

    def _target_stems(self, identifier: str) -> tuple[str, ...]:
        return tuple(stem for name in self._names(identifier) for stem in (name, f"{name}.target"))

    def _residual_stems(self, identifier: str) -> tuple[str, ...]:
        return tuple(f"{name}.residual" for name in self._names(identifier))

    def _names(self, identifier: str) -> Iterable[str]:
        """With and without the suffix by which a run tells ids apart that differ in case alone."""
        return dict.fromkeys((case_sensitive_name(identifier), safe_name(identifier)))

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


class CommandSeparator:
    """Runs a program for each query, in any language and environment, without a shell.

    The template is split once; these placeholders are then replaced inside each argument, so that a text with spaces
    or quotes stays one argument:

    ``{mixture}``   path of the mixture, 32-bit float WAV
    ``{target}``    path where the program must write the target as WAV, at the mixture's rate and length
    ``{residual}``  path where it may write the residual; unless it does, the residual is mixture - target
    ``{text}`` ``{video}`` ``{mask}``   of the prompt; empty where the prompt has none
    ``{text_file}`` path of a UTF-8 file that holds the text
    ``{spans}``     as ``+1.0:2.5 -3.0:4.0``, seconds; empty where the prompt has none
    ``{rate}`` ``{seed}``   in Hz; an integer

    The paths lie in a folder that is removed afterwards; the working directory is the caller's. All processes that a
    program started end with it, on Linux also those in sessions of their own, elsewhere those of its process group; one
    that runs longer than ``timeout`` seconds is killed. A value that begins with a dash never becomes an option: where
    a placeholder begins an argument, that item is refused; ``--text={text}`` and ``{text_file}`` take any text.

    Every word of an argument that is a file, also in ``--option=…`` or ``sh -c '…'``, is part of the command's identity
    by its content: a Python script with the modules beside it that it imports, a shell's script with the files that its
    words name. So is an argument that is a folder, but the working one; a program on the PATH by path, size and time.

    Raises:
        UsageError: a placeholder is unknown, ``{mixture}`` or ``{target}`` is missing, or quotes are not balanced.
        Precondition: there is no such program.
    """

    where = frozenset({"timeout"})  # a program that is killed has no estimate

    def __init__(self, template: str, timeout: float = 600.0) -> None:
        self.arguments = [
            str(expand_home(word)) if word.startswith("~/") else word for word in parse_template(template)
        ]
        check_program(self.arguments[0])
        check_seconds("timeout", timeout)
        self.timeout = timeout
        self.name = program_name("cmd", self.arguments, template)
        self.settings: Options = {"command": template}

    @property
    def named_files(self) -> dict[str, str]:
        """What the command names on this machine, with what identifies it."""
        return named_files(self.arguments)

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Answers in the order of the queries, one run of the program each.

        Raises:
            BadSeparation: the program failed, hung, wrote nothing, or wrote what cannot be read or has another rate.
        """
        return [self._answer(query, seed) for query, seed in zip(queries, seeds, strict=True)]

    def _answer(self, query: Query, seed: int) -> Separation:
        mixture = query.mixture
        with tempfile.TemporaryDirectory(prefix="sabench-", ignore_cleanup_errors=True) as folder:
            paths = {name: Path(folder, f"{name}.wav") for name in ("mixture", "target", "residual")}
            paths["text_file"] = Path(folder, "text.txt")
            values = {**{name: str(path) for name, path in paths.items()}, **prompt_values(query.prompt)}
            values |= {"rate": str(mixture.rate), "seed": str(seed)}
            command = fill(self.arguments, values)
            refuse_options(self.arguments, command)
            audio.write_wav(paths["mixture"], mixture)
            write_text(paths["text_file"], query.prompt)
            started = time.perf_counter()
            self._run(command, Path(folder, "stderr"))
            seconds = time.perf_counter() - started
            residual = paths["residual"] if paths["residual"].is_file() else None
            return written_answer(f"{self.name} ended well", mixture, seconds, paths["target"], residual)

    def _run(self, command: Sequence[str], log: Path) -> None:
        """Runs to the end or the timeout; what the program says is passed on."""
        code = 0
        try:
            with log.open("wb") as errors:
                code = run_program(command, timeout=self.timeout, errors=errors)
        except subprocess.TimeoutExpired as error:
            message = f"{self.name} was killed: it had not finished after {self.timeout:g} seconds (see --timeout)"
            raise BadSeparation(message) from error
        except (OSError, ValueError) as error:  # no executable format; a NUL in the text; a text too long
            raise BadSeparation(f"{self.name} could not be started: {error}") from error
        finally:
            sys.stderr.write(_end_of(log, _PASSED_ON))
        if code != 0:
            raise BadSeparation(f"{self.name} {ending(code)}: {last_lines(_end_of(log, _PASSED_ON))}")


_PASSED_ON = 1 << 20  # bytes of what a program says


def _end_of(log: Path, size: int) -> str:
    """The last bytes of a file as text."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - size))
        return stream.read().decode(errors="replace")
