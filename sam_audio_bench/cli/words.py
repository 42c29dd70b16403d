"""Lists that a user writes with commas."""

from __future__ import annotations

from sam_audio_bench.errors import UsageError

__all__ = ["words"]


def words(text: str, option: str) -> list[str]:
    """The names in ``text``, apart by commas; raises UsageError where there is none.

    >>> words("sdr, visqol", "--metrics")
    ['sdr', 'visqol']
    """
    found = [word.strip() for word in text.split(",") if word.strip()]
    if not found:
        raise UsageError(f"expected comma-separated names for {option}, found {text!r}")
    return found
