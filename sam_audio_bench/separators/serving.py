"""A program in any language that is loaded once and processes one query after another."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from sam_audio_bench import audio
from sam_audio_bench.errors import BadSeparation, UsageError, describe_error
from sam_audio_bench.identity import Options
from sam_audio_bench.separators.dialogue import Dialogue, ProgramError, excerpt
from sam_audio_bench.separators.estimate_files import read_estimate
from sam_audio_bench.separators.program_command import (
    check_duration,
    check_program,
    identify_named_files,
    parse_command,
    program_name,
    prompt_to_json,
    write_prompt_text,
)
from sam_audio_bench.types import Query, Separation

__all__ = ["ServedSeparator"]

_READY = '{"ready": true}'
_LOG_ADVICE = "other output belongs on standard error"


class _Ready(msgspec.Struct, forbid_unknown_fields=True):
    ready: bool


class _Reply(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    target: str | None = None
    residual: str | None = None
    error: str | None = None


class ServedSeparator:
    """Starts a program and sends it one query after another: one line of JSON in, one line of JSON out.

    The program writes ``{"ready": true}`` when it is loaded; loading does not count as an item's run time. Each line of
    its standard input is a query with the fields ``id``, ``folder``, ``mixture`` (path of a 32-bit float WAV in the
    folder), ``rate`` in Hz, ``seed``, ``text``, ``spans`` (``[["+", 1.0, 2.5]]``, in seconds), ``video`` and ``mask``
    (paths), null if the prompt has none; ``text.txt`` in the folder holds the text. It writes the target, and
    optionally the residual, into the folder, at the mixture's rate and length, and replies with a line
    ``{"id": …, "target": "target.wav", "residual": "residual.wav"}``, or ``{"id": …, "error": "why not"}``. The folder
    is removed afterwards. At the end of its input the program should end.

    If the program ends, hangs, or writes anything else, the item fails, and it is restarted for the next one. It is
    started at the first query, in the caller's working directory. It ends with all processes that it started, like a
    program of ``cmd:``: by `release_processes`, with this object or with the process. Its files are part of the
    identity, as there.

    Args:
        command: split as by a POSIX shell; it is not run by one, and has no placeholders.
        timeout: seconds per query.
        load_timeout: seconds until it is ready; None: as ``timeout``.
        max_crashes: after so many crashes without a reply in between, it is not restarted.

    Raises:
        UsageError: an invalid option, a placeholder, or quotes that are not balanced.
        Precondition: the program does not exist.
    """

    where = frozenset({"timeout", "load_timeout", "max_crashes"})  # none of them changes an estimate

    def __init__(
        self, command: str, timeout: float = 600.0, load_timeout: float | None = None, max_crashes: int = 5
    ) -> None:
        self.arguments = parse_command(command)
        check_program(self.arguments[0])
        check_duration("timeout", timeout)
        check_duration("load_timeout", timeout if load_timeout is None else load_timeout)
        if isinstance(max_crashes, bool) or not isinstance(max_crashes, int) or max_crashes < 1:
            raise UsageError(f"expected max_crashes as a whole number above 0, found {max_crashes!r}")
        self.timeout = timeout
        self.load_timeout = timeout if load_timeout is None else load_timeout
        self.max_crashes = max_crashes
        self.name = program_name("serve", self.arguments, command)
        self.settings: Options = {"command": command}
        self._dialogue: Dialogue | None = None
        self._query_count = 0  # over all starts, so that no old reply is mistaken for a new one
        self._crashes = 0  # in a row
        self._last_crash = ""  # its description

    @property
    def named_files(self) -> dict[str, str]:
        """Files and programs named in the command, and what identifies their content."""
        return identify_named_files(self.arguments)

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Returns one estimate per query, in order.

        Raises:
            BadSeparation: the program replied with an error, violated the protocol, hung or ended; or it crashed too
                often.
        """
        return [self._separate_one(query, seed) for query, seed in zip(queries, seeds, strict=True)]

    def release_processes(self) -> None:
        """Ends the program and resets the count of crashes; the next query starts it again."""
        self._end(patiently=True)
        self._query_count, self._crashes, self._last_crash = 0, 0, ""

    def _separate_one(self, query: Query, seed: int) -> Separation:
        if self._crashes >= self.max_crashes:
            raise BadSeparation(
                f"{self.name} was given up after {self._crashes} crashes in a row: at last it {self._last_crash}"
            )
        try:
            with tempfile.TemporaryDirectory(prefix="sabench-", ignore_cleanup_errors=True) as name:
                found = self._exchange(query, seed, self._ensure_running(), Path(name).resolve())
        except ProgramError as failure:
            self._end()
            self._crashes, self._last_crash = self._crashes + 1, str(failure)
            raise BadSeparation(f"{self.name} {failure}{self._describe_restart()}") from failure
        except BadSeparation:
            self._crashes = 0
            raise
        except BaseException:  # an interruption: nobody would read the reply
            self._end()
            raise
        finally:
            if self._dialogue is not None:
                self._dialogue.forward_stderr()
        self._crashes = 0
        return found

    def _ensure_running(self) -> Dialogue:
        """Returns the running program; starts it, and waits until it is loaded, if necessary."""
        if self._dialogue is not None:
            exit_description, extra = self._dialogue.describe_exit(), self._dialogue.unrequested_output()
            if not exit_description and not extra:
                return self._dialogue
            what = exit_description or f"wrote {extra} without being asked"
            sys.stderr.write(f"{self.name} {what} after its last answer; it is started again\n")
            self._end()
        self._dialogue = Dialogue(self.arguments)
        line, _ = self._dialogue.request(
            b"", timeout=self.load_timeout, expected=f"the line {_READY} when it is loaded",
            see="--timeout; for loading alone, --model-args load_timeout=SECONDS",
        )  # fmt: skip
        try:
            is_ready = msgspec.json.decode(line, type=_Ready).ready
        except (msgspec.MsgspecError, ValueError) as error:
            raise ProgramError(
                f"was killed: expected the line {_READY} first, found {excerpt(line)} ({error}); {_LOG_ADVICE}"
            ) from error
        if not is_ready:
            raise ProgramError(f"was killed: expected the line {_READY} first, found {excerpt(line)}")
        return self._dialogue

    def _exchange(self, query: Query, seed: int, program: Dialogue, folder: Path) -> Separation:
        """Sends one query, and reads the estimate."""
        self._query_count += 1
        mixture = folder / "mixture.wav"
        audio.write_wav(mixture, query.mixture)
        write_prompt_text(folder / "text.txt", query.prompt)
        fields = {"id": self._query_count, "folder": str(folder), "mixture": str(mixture), "rate": query.mixture.rate,
                "seed": seed, **prompt_to_json(query.prompt)}  # fmt: skip
        text = json.dumps(fields, allow_nan=False) + "\n"  # pure ASCII, independent of any locale
        line, seconds = program.request(
            text.encode(), timeout=self.timeout, expected="a line of JSON as its answer", see="--timeout"
        )
        reply = self._decode_reply(line)
        if reply.error is None:
            target = self._find_written_file(folder, "target", reply.target or "")
            residual = None if reply.residual is None else self._find_written_file(folder, "residual", reply.residual)
            found = read_estimate(f"{self.name} answered", query.mixture, seconds, target, residual)
        if extra := program.unrequested_output():
            raise ProgramError(f"was killed: expected one line as its answer, found {extra} behind it; {_LOG_ADVICE}")
        if reply.error is not None:
            raise BadSeparation(f"{self.name} could not answer: {reply.error}")
        return found

    def _decode_reply(self, line: bytes) -> _Reply:
        form = f'{{"id": {self._query_count}, "target": "FILE"}}'
        try:
            reply = msgspec.json.decode(line, type=_Reply)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            reason = describe_error(error, named=True)
            raise ProgramError(
                f"was killed: expected an answer as {form}, found {excerpt(line)} ({reason}); {_LOG_ADVICE}"
            ) from error
        if reply.id != self._query_count:
            raise ProgramError(f"was killed: expected the answer to query {self._query_count}, found one to {reply.id}")
        if (reply.target is None) is (reply.error is None) or (reply.residual and reply.error):
            raise ProgramError(f"was killed: expected a target or an error in the answer, found {excerpt(line)}")
        return reply

    def _find_written_file(self, folder: Path, part: str, name: str) -> Path:
        """Returns the path of a written file; must be in the folder, since files elsewhere may be old or unrelated."""
        with suppress(OSError, ValueError):  # too long for a name; a NUL
            path = Path(os.path.realpath(folder / name))
            if folder in path.parents and path.is_file():
                return path
        raise BadSeparation(
            f"expected the {part} of {self.name} as a file that it wrote into its query's folder, found {name!r:.200}"
        )

    def _describe_restart(self) -> str:
        if self._crashes < self.max_crashes:
            return "; it is started again for the next item"
        return f"; it is given up after {self._crashes} crashes in a row"

    def _end(self, *, patiently: bool = False) -> None:
        if self._dialogue is not None:
            self._dialogue.end(patiently=patiently)
            self._dialogue = None
