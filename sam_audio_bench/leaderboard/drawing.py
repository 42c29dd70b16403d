"""What the figures of the site have in common: axes, widths and the frame of SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

from sam_audio_bench.render.numbers import number

__all__ = ["NARROW", "WIDTH", "decimals", "grid", "round_ticks", "short", "shown_on", "svg"]

WIDTH, NARROW = 720.0, 350.0
"""Of a plot for a page, and for a phone."""


def shown_on(width: float) -> str:
    """Classes of a plot: which one of the two widths a page shows."""
    return "plot on-page" if width == WIDTH else "plot on-phone"


def grid(ticks: Sequence[float], across: Callable[[float], float], bottom: float) -> list[str]:
    """Lines upwards, and their numbers below."""
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
    """A figure with a title for screen readers; ``kind`` is its class in the style sheet."""
    return Markup(
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" preserveAspectRatio="{fit}" role="{role}" '
        f'aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def round_ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers that enclose both.

    >>> round_ticks(-3.2, 17.0)
    [-5.0, 0.0, 5.0, 10.0, 15.0, 20.0]
    """
    span = (high - low) or max(abs(high), 1.0)
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def decimals(ticks: Sequence[float]) -> int:
    """How many decimals tell ticks apart."""
    return max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))


def short(name: str, most: int) -> str:
    """A name of at most so many letters."""
    return name if len(name) <= most else name[: most - 1] + "…"
