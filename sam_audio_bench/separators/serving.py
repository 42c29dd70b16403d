"""A program that is loaded once and answers one query after another, in any language and environment."""

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
from sam_audio_bench.separators.answers import written_answer
from sam_audio_bench.separators.command_line import (
    check_program,
    check_seconds,
    named_files,
    parse_command,
    program_name,
    prompt_fields,
    write_text,
)
from sam_audio_bench.separators.dialogue import Broken, Dialogue, shown
from sam_audio_bench.types import Query, Separation

__all__ = ["ServedSeparator"]

_READY = '{"ready": true}'
_ELSEWHERE = "what else it says belongs on standard error"


class _Ready(msgspec.Struct, forbid_unknown_fields=True):
    ready: bool


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    target: str | None = None
    residual: str | None = None
    error: str | None = None


class ServedSeparator:
    """Starts a program and asks it one query after another: a line of JSON in, a line of JSON out.

    The program writes ``{"ready": true}`` when it is loaded; no item's seconds hold that. Each line of its standard
    input is a query with the fields ``id``, ``folder``, ``mixture`` (path of a 32-bit float WAV in the folder),
    ``rate`` in Hz, ``seed``, ``text``, ``spans`` (``[["+", 1.0, 2.5]]``, seconds), ``video`` and ``mask`` (paths), null
    where the prompt has none; ``text.txt`` in the folder holds the text. It writes the target, and if it likes the
    residual, into the folder, at the mixture's rate and length, and answers with a line
    ``{"id": …, "target": "target.wav", "residual": "residual.wav"}``, or ``{"id": …, "error": "why not"}``. The folder
    is removed afterwards. The end of its input is the end of its work.

    A program that ends, hangs, or writes anything else costs the item, and is started again for the next one. It is
    started when it is first asked, in the caller's working directory, and ends with all that it started as a program of
    ``cmd:`` does: by `release_processes`, with this object or with the process. Its files are part of the identity, as
    there.

    Args:
        command: split as a POSIX shell would; there is no shell and there are no placeholders.
        timeout: seconds for a query.
        load_timeout: seconds until it is ready; None: as ``timeout``.
        max_crashes: after so many in a row, without an answer between, it is not started again.

    Raises:
        UsageError: an option that cannot be meant, a placeholder, or quotes that are not balanced.
        Precondition: there is no such program.
    """

    where = frozenset({"timeout", "load_timeout", "max_crashes"})  # a program that is killed has no estimate

    def __init__(
        self, command: str, timeout: float = 600.0, load_timeout: float | None = None, max_crashes: int = 5
    ) -> None:
        self.arguments = parse_command(command)
        check_program(self.arguments[0])
        check_seconds("timeout", timeout)
        check_seconds("load_timeout", timeout if load_timeout is None else load_timeout)
        if isinstance(max_crashes, bool) or not isinstance(max_crashes, int) or max_crashes < 1:
            raise UsageError(f"expected max_crashes as a whole number above 0, found {max_crashes!r}")
        self.timeout = timeout
        self.load_timeout = timeout if load_timeout is None else load_timeout
        self.max_crashes = max_crashes
        self.name = program_name("serve", self.arguments, command)
        self.settings: Options = {"command": command}
        self._dialogue: Dialogue | None = None
        self._asked = 0  # queries, over all starts: no answer to an old one is taken for a new one's
        self._crashes = 0  # in a row
        self._last = ""  # what it did then

    @property
    def named_files(self) -> dict[str, str]:
        """What the command names on this machine, with what identifies it."""
        return named_files(self.arguments)

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Answers in the order of the queries.

        Raises:
            BadSeparation: the program could not answer, broke the rules, hung or died; or it was given up.
        """
        return [self._answer(query, seed) for query, seed in zip(queries, seeds, strict=True)]

    def release_processes(self) -> None:
        """Ends the program and forgets its crashes; when it is asked again, it is started again."""
        self._end(patiently=True)
        self._asked, self._crashes, self._last = 0, 0, ""

    def _answer(self, query: Query, seed: int) -> Separation:
        if self._crashes >= self.max_crashes:
            raise BadSeparation(
                f"{self.name} was given up after {self._crashes} crashes in a row: at last it {self._last}"
            )
        try:
            with tempfile.TemporaryDirectory(prefix="sabench-", ignore_cleanup_errors=True) as name:
                found = self._asked_for(query, seed, self._running(), Path(name).resolve())
        except Broken as broken:
            self._end()
            self._crashes, self._last = self._crashes + 1, str(broken)
            raise BadSeparation(f"{self.name} {broken}{self._outlook()}") from broken
        except BadSeparation:
            self._crashes = 0
            raise
        except BaseException:  # an interruption: what it answers now is for nobody
            self._end()
            raise
        finally:
            if self._dialogue is not None:
                self._dialogue.pass_errors_on()
        self._crashes = 0
        return found

    def _running(self) -> Dialogue:
        """The program, loaded and waiting for a query."""
        if self._dialogue is not None:
            left, extra = self._dialogue.ended(), self._dialogue.unasked()
            if not left and not extra:
                return self._dialogue
            what = left or f"wrote {extra} without being asked"
            sys.stderr.write(f"{self.name} {what} after its last answer; it is started again\n")
            self._end()
        self._dialogue = Dialogue(self.arguments)
        line, _ = self._dialogue.ask(
            b"", timeout=self.load_timeout, expected=f"the line {_READY} when it is loaded",
            see="--timeout; for loading alone, --model-args load_timeout=SECONDS",
        )  # fmt: skip
        try:
            is_ready = msgspec.json.decode(line, type=_Ready).ready
        except (msgspec.MsgspecError, ValueError) as error:
            raise Broken(
                f"was killed: expected the line {_READY} first, found {shown(line)} ({error}); {_ELSEWHERE}"
            ) from error
        if not is_ready:
            raise Broken(f"was killed: expected the line {_READY} first, found {shown(line)}")
        return self._dialogue

    def _asked_for(self, query: Query, seed: int, program: Dialogue, folder: Path) -> Separation:
        """One query and its answer."""
        self._asked += 1
        mixture = folder / "mixture.wav"
        audio.write_wav(mixture, query.mixture)
        write_text(folder / "text.txt", query.prompt)
        told = {"id": self._asked, "folder": str(folder), "mixture": str(mixture), "rate": query.mixture.rate,
                "seed": seed, **prompt_fields(query.prompt)}  # fmt: skip
        text = json.dumps(told, allow_nan=False) + "\n"  # all of it ASCII: no locale can harm it
        line, seconds = program.ask(
            text.encode(), timeout=self.timeout, expected="a line of JSON as its answer", see="--timeout"
        )
        answer = self._decoded(line)
        if answer.error is None:
            target = self._file(folder, "target", answer.target or "")
            residual = None if answer.residual is None else self._file(folder, "residual", answer.residual)
            found = written_answer(f"{self.name} answered", query.mixture, seconds, target, residual)
        if extra := program.unasked():
            raise Broken(f"was killed: expected one line as its answer, found {extra} behind it; {_ELSEWHERE}")
        if answer.error is not None:
            raise BadSeparation(f"{self.name} could not answer: {answer.error}")
        return found

    def _decoded(self, line: bytes) -> _Answer:
        form = f'{{"id": {self._asked}, "target": "FILE"}}'
        try:
            answer = msgspec.json.decode(line, type=_Answer)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            told = describe_error(error, named=True)
            raise Broken(
                f"was killed: expected an answer as {form}, found {shown(line)} ({told}); {_ELSEWHERE}"
            ) from error
        if answer.id != self._asked:
            raise Broken(f"was killed: expected the answer to query {self._asked}, found one to {answer.id}")
        if (answer.target is None) is (answer.error is None) or (answer.residual and answer.error):
            raise Broken(f"was killed: expected a target or an error in the answer, found {shown(line)}")
        return answer

    def _file(self, folder: Path, part: str, name: str) -> Path:
        """A file that the program wrote; one elsewhere may be anybody's, and an old one."""
        with suppress(OSError, ValueError):  # too long for a name; a NUL
            path = Path(os.path.realpath(folder / name))
            if folder in path.parents and path.is_file():
                return path
        raise BadSeparation(
            f"expected the {part} of {self.name} as a file that it wrote into its query's folder, found {name!r:.200}"
        )

    def _outlook(self) -> str:
        if self._crashes < self.max_crashes:
            return "; it is started again for the next item"
        return f"; it is given up after {self._crashes} crashes in a row"

    def _end(self, *, patiently: bool = False) -> None:
        if self._dialogue is not None:
            self._dialogue.end(patiently=patiently)
            self._dialogue = None
