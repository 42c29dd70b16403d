"""Formatting of numbers: a typographic minus, no negative zero, and a dash for an undefined value."""

from __future__ import annotations

__all__ = ["UNDEFINED", "amount", "interval", "mebibytes", "number", "p_value", "plain", "with_interval"]

UNDEFINED = "—"
"""Text for an undefined number."""


def number(value: float | None, digits: int = 2) -> str:
    """Formats a number with a fixed number of decimals; None is undefined.

    >>> number(-0.25), number(None), number(-0.0001), number(-0.25, 3)
    ('−0.25', '—', '0.00', '−0.250')
    """
    if value is None:
        return UNDEFINED
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """Formats an interval as ``[low, high]``, or ``[—]`` if it is undefined.

    >>> interval(-0.1, 0.8), interval(None, None)
    ('[−0.10, 0.80]', '[—]')
    """
    ends = [UNDEFINED] if low is None or high is None else [number(low, digits), number(high, digits)]
    return f"[{', '.join(ends)}]"


def with_interval(value: float | None, low: float | None, high: float | None, digits: int = 2) -> str:
    """Formats ``value [low, high]``, without the interval if there is none.

    >>> with_interval(0.5, -0.1, 0.8, 1), with_interval(0.5, None, None, 1)
    ('0.5 [−0.1, 0.8]', '0.5')
    """
    known = low is not None and high is not None
    return number(value, digits) + (f" {interval(low, high, digits)}" if known else "")


def p_value(p: float | None) -> str:
    """Formats a p-value with three decimals.

    >>> p_value(0.0304), p_value(0.0001), p_value(None)
    ('0.030', '<0.001', '—')
    """
    return "<0.001" if p is not None and p < 0.001 else number(p, 3)


def amount(value: float | None) -> str:
    """Formats a count with at most three digits.

    >>> amount(0), amount(950), amount(12_345), amount(3_200_000), amount(1_100_000_000), amount(None)
    ('0', '950', '12.3 k', '3.2 M', '1.1 B', '—')
    """
    if value is None:
        return UNDEFINED
    for size, letter in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"


def plain(value: float | None) -> str:
    """Formats a number with two significant digits, without an exponent.

    >>> plain(0.00009034), plain(0.339), plain(12.3), plain(412.0), plain(None)
    ('0.00009', '0.34', '12', '412', '—')
    """
    if value is None:
        return UNDEFINED
    if abs(value) >= 10:
        return f"{value:.0f}"
    return f"{float(f'{value:.2g}'):.10f}".rstrip("0").rstrip(".")


def mebibytes(value: int | None) -> str:
    """Formats an amount of memory.

    >>> mebibytes(612), mebibytes(3072), mebibytes(None)
    ('612 MiB', '3.0 GiB', '—')
    """
    if value is None:
        return UNDEFINED
    return f"{value} MiB" if value < 1000 else f"{value / 1024:.1f} GiB"
