"""Functions, folders of estimates and command-line programs as separators.

Estimates are not repaired here: a single function of the run checks the length, rate and finiteness of each.
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
from sam_audio_bench.separators.estimate_files import check_rate, compute_residual, read_estimate
from sam_audio_bench.separators.program_command import (
    check_duration,
    check_program,
    fill_placeholders,
    identify_named_files,
    parse_template,
    placeholder_values,
    program_name,
    reject_injected_options,
    write_prompt_text,
)
from sam_audio_bench.separators.programs import describe_exit, last_stderr_lines, run_program
from sam_audio_bench.types import Audio, Prompt, Query, Separation

__all__ = ["CommandSeparator", "FolderSeparator", "FunctionSeparator"]


def _check_signature(function: Callable[..., Any], name: str) -> None:
    try:
        inspect.signature(function).bind(None, None, None)
    except TypeError as error:
        raise UsageError(f"expected {name} to be a function (mixture, rate, prompt), found: {error}") from error
    except ValueError:  # written in C, without a signature: the first call will show
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
        """Returns one estimate per query, in order, by one call each; the function gets no seed."""
        return [self._separate_one(query) for query in queries]

    def _separate_one(self, query: Query) -> Separation:
        started = synchronized_seconds()
        mixture = query.mixture
        try:
            found = self.function(mixture.samples.to(torch.float32, copy=True), mixture.rate, query.prompt)
        except (BenchError, KeyboardInterrupt):
            raise
        except BaseException as error:  # sys.exit and the like end the function, not the evaluation
            raise BadSeparation(f"{self.name} raised {describe_error(error)}") from error
        seconds = synchronized_seconds() - started
        target = Audio(self._check_samples(found, mixture), mixture.rate)
        return Separation(target=target, residual=compute_residual(mixture, target), seconds=seconds)

    def _check_samples(self, found: Any, mixture: Audio) -> Tensor:
        """Returns the target as a tensor ``[channels, time]`` in its own memory, in the precision of the mixture."""
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
    """Estimates from a folder: ``<item>.flac`` or ``<item>.target.flac``, and optionally ``<item>.residual.flac``.

    ``<item>`` is the id as written by `files.case_sensitive_name` or `files.safe_name`; wav and every other suffix of
    `audio.SUFFIXES` are accepted as well as flac. Without a residual file the residual is mixture - target. The
    ``audio`` folder of a run is such a folder.

    Raises:
        Precondition: the folder does not exist, or holds no audio.
    """

    suffixes = tuple(dict.fromkeys((".flac", *audio.SUFFIXES)))

    def __init__(self, folder: str | Path, name: str | None = None) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise Precondition(f"expected a folder of estimates at {self.folder}, found none")
        if not any(path.suffix.lower() in self.suffixes for path in self.folder.iterdir()):
            raise Precondition(f"expected estimates ({', '.join(self.suffixes[:4])} …) in {self.folder}, found none")
        self.name = name or f"files-{case_sensitive_name(self.folder.resolve().name)}"
        self.settings: Mapping[str, str | int | float] = {}  # what the files hold is in the fingerprint of each item

    def separate_named(self, ids: Sequence[str], queries: Sequence[Query]) -> list[Separation]:
        """Reads the estimates of the ids, in order.

        Raises:
            MediaError: an estimate is missing (status ``missing_media``) or unreadable.
            BadSeparation: an item has two files, or a rate that differs from the mixture's.
        """
        return [self._separate_one(identifier, query.mixture) for identifier, query in zip(ids, queries, strict=True)]

    def fingerprint(self, identifier: str) -> str:
        """Returns the SHA-256 of the names and contents of the item's files, also if there are none yet."""
        found = [*self._find_files(self._target_stems(identifier)), *self._find_files(self._residual_stems(identifier))]
        return sha256("\n".join(f"{path.name} {file_digest(path)}" for path in found).encode())

    def _separate_one(self, identifier: str, mixture: Audio) -> Separation:
        path = self._find_single_file(identifier, "target", self._target_stems(identifier))
        if path is None:
            stem = case_sensitive_name(identifier)
            raise MediaError(
                f"expected the estimate of {identifier} at {self.folder / stem}.flac (or {stem}.target.flac; wav and "
                "other formats will do), found none",
                status="missing_media",
            )
        target = check_rate(audio.read(path), mixture, str(path))
        other = self._find_single_file(identifier, "residual", self._residual_stems(identifier))
        residual = check_rate(audio.read(other), mixture, str(other)) if other else compute_residual(mixture, target)
        return Separation(target=target, residual=residual)

    def _target_stems(self, identifier: str) -> tuple[str, ...]:
        return tuple(stem for name in self._file_stems(identifier) for stem in (name, f"{name}.target"))

    def _residual_stems(self, identifier: str) -> tuple[str, ...]:
        return tuple(f"{name}.residual" for name in self._file_stems(identifier))

    def _file_stems(self, identifier: str) -> Iterable[str]:
        """Returns the name with and without the suffix that distinguishes ids differing only in case."""
        return dict.fromkeys((case_sensitive_name(identifier), safe_name(identifier)))

    def _find_files(self, stems: Sequence[str]) -> list[Path]:
        return [path for stem in stems for path in find_files(self.folder, stem, self.suffixes)]

    def _find_single_file(self, identifier: str, part: str, stems: Sequence[str]) -> Path | None:
        found = self._find_files(stems)
        if len(found) > 1:
            names = " and ".join(path.name for path in found)
            raise BadSeparation(
                f"expected one {part} for {identifier} in {self.folder}, found {names}; keep one of them"
            )
        return found[0] if found else None


class CommandSeparator:
    """Runs a program for each query, in any language and environment, without a shell.

    The template is split once; these placeholders are then replaced inside each argument, so that a text with spaces
    or quotes stays one argument:

    ``{mixture}``   path of the mixture, 32-bit float WAV
    ``{target}``    path where the program must write the target as WAV, at the mixture's rate and length
    ``{residual}``  path where it may write the residual, which is otherwise mixture - target
    ``{text}`` ``{video}`` ``{mask}``   of the prompt; empty if the prompt has none
    ``{text_file}`` path of a UTF-8 file that holds the text
    ``{spans}``     as ``+1.0:2.5 -3.0:4.0``, in seconds; empty if the prompt has none
    ``{rate}`` ``{seed}``   in Hz; an integer

    The paths are in a temporary folder; the working directory is the caller's. A program is killed after ``timeout``
    seconds. All processes that it started end with it, on Linux also those in other sessions, elsewhere those of its
    process group. A value that begins with a dash never becomes an option: if a placeholder begins an argument, the
    item fails; ``--text={text}`` and ``{text_file}`` accept any text.

    Each word of an argument that is a file, also in ``--option=…`` or ``sh -c '…'``, is part of the command's identity
    by its content: a Python script with the modules beside it that it imports, a shell script with the files that its
    words name. So is an argument that is a folder, except the working directory; a program on the PATH by path, size
    and modification time.

    Raises:
        UsageError: a placeholder is unknown, ``{mixture}`` or ``{target}`` is missing, or quotes are not balanced.
        Precondition: the program does not exist.
    """

    where = frozenset({"timeout"})  # it does not change an estimate

    def __init__(self, template: str, timeout: float = 600.0) -> None:
        self.arguments = [
            str(expand_home(word)) if word.startswith("~/") else word for word in parse_template(template)
        ]
        check_program(self.arguments[0])
        check_duration("timeout", timeout)
        self.timeout = timeout
        self.name = program_name("cmd", self.arguments, template)
        self.settings: Options = {"command": template}

    @property
    def named_files(self) -> dict[str, str]:
        """Files and programs named in the command, and what identifies their content."""
        return identify_named_files(self.arguments)

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Returns one estimate per query, in order, by one run of the program each.

        Raises:
            BadSeparation: the program failed, timed out, or wrote no readable target at the rate of the mixture.
        """
        return [self._separate_one(query, seed) for query, seed in zip(queries, seeds, strict=True)]

    def _separate_one(self, query: Query, seed: int) -> Separation:
        mixture = query.mixture
        with tempfile.TemporaryDirectory(prefix="sabench-", ignore_cleanup_errors=True) as folder:
            paths = {name: Path(folder, f"{name}.wav") for name in ("mixture", "target", "residual")}
            paths["text_file"] = Path(folder, "text.txt")
            values = {**{name: str(path) for name, path in paths.items()}, **placeholder_values(query.prompt)}
            values |= {"rate": str(mixture.rate), "seed": str(seed)}
            command = fill_placeholders(self.arguments, values)
            reject_injected_options(self.arguments, command)
            audio.write_wav(paths["mixture"], mixture)
            write_prompt_text(paths["text_file"], query.prompt)
            started = time.perf_counter()
            self._run(command, Path(folder, "stderr"))
            seconds = time.perf_counter() - started
            residual = paths["residual"] if paths["residual"].is_file() else None
            return read_estimate(f"{self.name} ended well", mixture, seconds, paths["target"], residual)

    def _run(self, command: Sequence[str], log: Path) -> None:
        """Runs the program to its end or the timeout, and forwards its standard error."""
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
            sys.stderr.write(_read_tail(log, _FORWARDED_BYTES))
        if code != 0:
            raise BadSeparation(
                f"{self.name} {describe_exit(code)}: {last_stderr_lines(_read_tail(log, _FORWARDED_BYTES))}"
            )


_FORWARDED_BYTES = 1 << 20  # bytes of a program's standard error


def _read_tail(log: Path, size: int) -> str:
    """Returns the last ``size`` bytes of a file as text."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - size))
        return stream.read().decode(errors="replace")
