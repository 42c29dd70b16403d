"""Shared parts of the site's figures: axes, widths and the frame of SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

from sam_audio_bench.render.numbers import number

__all__ = ["NARROW", "WIDTH", "decimals", "grid", "round_ticks", "short", "shown_on", "svg"]

WIDTH, NARROW = 720.0, 350.0
"""Width of a plot on a page, and on a phone."""


def shown_on(width: float) -> str:
    """Returns the CSS classes of a plot, by which the style sheet shows one of its two widths."""
    return "plot on-page" if width == WIDTH else "plot on-phone"


def grid(ticks: Sequence[float], across: Callable[[float], float], bottom: float) -> list[str]:
    """Draws vertical grid lines with their numbers below."""
    parts, digits = [], decimals(ticks)
    for tick in ticks:
        parts.append(f'<path class="grid" d="M{across(tick):.1f} 4V{bottom}"/>')
        parts.append(
            f'<text x="{across(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{number(tick, digits)}</text>'
        )
    return parts


def svg(
    parts: Sequence[str],
    width: float,
    height: float,
    title: str,
    kind: str,
    *,
    role: str = "img",
    fit: str = "xMidYMid",
) -> Markup:
    """Returns a figure with a title for screen readers; ``kind`` is its CSS class."""
    return Markup(
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" preserveAspectRatio="{fit}" role="{role}" '
        f'aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def round_ticks(low: float, high: float) -> list[float]:
    """Returns four to nine round numbers that enclose both.

    >>> round_ticks(-3.2, 17.0)
    [-5.0, 0.0, 5.0, 10.0, 15.0, 20.0]
    """
    span = (high - low) or max(abs(high), 1.0)
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def decimals(ticks: Sequence[float]) -> int:
    """Returns the number of decimals that distinguish neighbouring ticks."""
    return max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))


def short(name: str, most: int) -> str:
    """Shortens a name to at most ``most`` characters."""
    return name if len(name) <= most else name[: most - 1] + "…"
