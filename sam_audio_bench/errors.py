"""Exceptions of sam-audio-bench.

    BenchError
    ├── UsageError      an invalid option, name or argument; also a ValueError
    ├── Precondition    something external is missing: data, weights, an extra, a writable folder
    ├── MediaError      a file of audio, video or masks that cannot be read
    ├── BadSeparation   an estimate that breaks the separator's contract
    └── StoreError      a run folder that cannot be trusted: another schema, a corrupt file

Each message is one sentence: what was expected, what was found, what to do. The command line prints it without a
traceback and exits with code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BadSeparation",
    "BenchError",
    "MediaError",
    "Precondition",
    "StoreError",
    "UsageError",
    "describe_error",
    "unknown_name",
]

_LONGEST_MESSAGE = 2000  # characters of an error's text that are kept
_SHOWN_NAMES = 5
_LISTINGS = {
    "task": "sabench list tasks",
    "model": "sabench list models",
    "metric": "sabench list metrics",
    "command": "sabench --help",
}


class BenchError(Exception):
    """Base class; ``status`` is stored in the result row if the error concerns one item."""

    def __init__(self, message: str, *, status: str = "error") -> None:
        super().__init__(message)
        self.status = status


class UsageError(BenchError, ValueError):
    """An option, name or argument is invalid."""


class Precondition(BenchError):  # noqa: N818 - it names what is missing, not what failed
    """Something outside this program is missing; detected before any computation."""


class MediaError(BenchError):
    """A file of audio, video or masks is absent (status ``missing_media``) or cannot be read (``error``)."""


class BadSeparation(BenchError):  # noqa: N818
    """An estimate has the wrong length (status ``length_mismatch``), is not finite (``non_finite``) or is invalid."""


class StoreError(BenchError):
    """A run folder is damaged or has another schema version."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Returns the error for a name that is not registered, with the most similar known names.

    >>> str(unknown_name("task", "musik", ["music", "speech"]))
    "unknown task 'musik': did you mean 'music'? See `sabench list tasks`."
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hints = [f"did you mean {' or '.join(map(repr, near))}?"] if near else []
    if kind in _LISTINGS:
        hints.append(f"See `{_LISTINGS[kind]}`.")
    elif not near:
        more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
        hints.append(f"there are {', '.join(names[:_SHOWN_NAMES]) or 'none'}{more}")
    return UsageError(f"unknown {kind} {name!r}: {' '.join(hints)}")


def describe_error(error: BaseException, *, named: bool = False) -> str:
    r"""Returns an error's message, with its class unless it is a `BenchError`.

    The text can be encoded as UTF-8, lone surrogates being escaped, and is truncated to 2,000 characters.

    Args:
        error: the exception.
        named: whether to include the class of a `BenchError` too.

    >>> describe_error(ValueError("no \udcff")), describe_error(Precondition("expected weights, found none"))
    ('ValueError: no \\udcff', 'expected weights, found none')
    """
    try:
        text = str(error)
    except Exception as second:  # its __str__ fails
        text = f"(its text cannot be made: {type(second).__name__})"
    shown = text[:_LONGEST_MESSAGE].encode("utf-8", "backslashreplace").decode()
    if len(text) > _LONGEST_MESSAGE:
        shown += f" … (cut from {len(text):,} characters)"
    if isinstance(error, BenchError) and not named:
        return shown
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__
