"""Everything that sam-audio-bench raises on purpose.

    BenchError
    ├── UsageError      an option, name or argument that cannot be meant; also a ValueError
    ├── Precondition    something outside is missing: data, weights, an extra, a writable folder
    ├── MediaError      a file of audio, video or masks that cannot be read
    ├── BadSeparation   an answer that breaks the separator's contract
    └── StoreError      a run folder that cannot be trusted: another schema, a corrupt file

Each message is one sentence: what was expected, what was found, what to do. The command line prints it without a
traceback and ends with exit code 2.
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

_LONGEST_MESSAGE = 2000  # characters of an error that are told
_SHOWN_NAMES = 5
_LISTINGS = {
    "task": "sabench list tasks",
    "model": "sabench list models",
    "metric": "sabench list metrics",
    "command": "sabench --help",
}


class BenchError(Exception):
    """Root of the tree; ``status`` is what a result row says when the error concerns one item."""

    def __init__(self, message: str, *, status: str = "error") -> None:
        super().__init__(message)
        self.status = status


class UsageError(BenchError, ValueError):
    """An option, name or argument that cannot be meant."""


class Precondition(BenchError):  # noqa: N818 - it names what is missing, not what failed
    """Something outside this program is missing; found before any work."""


class MediaError(BenchError):
    """A file of audio, video or masks that is absent (status ``missing_media``) or cannot be read (``error``)."""


class BadSeparation(BenchError):  # noqa: N818
    """An answer of the wrong length (status ``length_mismatch``), not finite (``non_finite``) or otherwise broken."""


class StoreError(BenchError):
    """A run folder that cannot be trusted."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Makes the error for a name that nothing is registered under, with the nearest known names.

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
    r"""What an error says: a sentence of ours, or the class and text of anyone else's.

    It can be written as UTF-8, halves of letters being escaped, and is cut to its first 2,000 characters.

    Args:
        error: what was raised.
        named: name the class of our errors too.

    >>> describe_error(ValueError("no \udcff")), describe_error(Precondition("expected weights, found none"))
    ('ValueError: no \\udcff', 'expected weights, found none')
    """
    try:
        text = str(error)
    except Exception as second:  # of a class whose text cannot be made
        text = f"(its text cannot be made: {type(second).__name__})"
    told = text[:_LONGEST_MESSAGE].encode("utf-8", "backslashreplace").decode()
    if len(text) > _LONGEST_MESSAGE:
        told += f" … (cut from {len(text):,} characters)"
    if isinstance(error, BenchError) and not named:
        return told
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
