"""Numbers as readers see them: a true minus, and — where a value is undefined."""

from __future__ import annotations

__all__ = ["number", "with_interval"]


def number(value: float | None, digits: int = 3) -> str:
    """A number of a table.

    >>> number(-0.25), number(None), number(-0.0001)
    ('−0.250', '—', '0.000')
    """
    if value is None:
        return "—"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def with_interval(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """``value [low, high]``, without the interval where there is none.

    >>> with_interval(0.5, -0.1, 0.8, 1), with_interval(0.5, None, None, 1)
    ('0.5 [−0.1, 0.8]', '0.5')
    """
    known = low is not None and high is not None
    return number(value, digits) + (f" [{number(low, digits)}, {number(high, digits)}]" if known else "")
