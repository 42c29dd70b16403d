"""Formatting of numbers: a typographic minus, and — for undefined values."""

from __future__ import annotations

__all__ = ["format_interval", "format_number"]


def format_number(value: float | None, digits: int = 3) -> str:
    """Formats a number.

    >>> format_number(-0.25), format_number(None), format_number(-0.0001)
    ('−0.250', '—', '0.000')
    """
    if value is None:
        return "—"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def format_interval(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """``value [low, high]``, without the interval if there is none.

    >>> format_interval(0.5, -0.1, 0.8, 1), format_interval(0.5, None, None, 1)
    ('0.5 [−0.1, 0.8]', '0.5')
    """
    known = low is not None and high is not None
    return format_number(value, digits) + (
        f" [{format_number(low, digits)}, {format_number(high, digits)}]" if known else ""
    )
