"""Numbers as readers see them: a true minus, no negative zero, and a dash where a value is undefined."""

from __future__ import annotations

__all__ = ["UNDEFINED", "interval", "number", "with_interval"]

UNDEFINED = "—"
"""What stands in the place of a number that there is not."""


def number(value: float | None, digits: int = 2) -> str:
    """A number with a fixed count of decimals; None: undefined.

    >>> number(-0.25), number(None), number(-0.0001), number(-0.25, 3)
    ('−0.25', '—', '0.00', '−0.250')
    """
    if value is None:
        return UNDEFINED
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """``[low, high]``, or ``[—]`` where the interval is undefined.

    >>> interval(-0.1, 0.8), interval(None, None)
    ('[−0.10, 0.80]', '[—]')
    """
    ends = [UNDEFINED] if low is None or high is None else [number(low, digits), number(high, digits)]
    return f"[{', '.join(ends)}]"


def with_interval(value: float | None, low: float | None, high: float | None, digits: int = 2) -> str:
    """``value [low, high]``, without the interval where there is none.

    >>> with_interval(0.5, -0.1, 0.8, 1), with_interval(0.5, None, None, 1)
    ('0.5 [−0.1, 0.8]', '0.5')
    """
    known = low is not None and high is not None
    return number(value, digits) + (f" {interval(low, high, digits)}" if known else "")
