"""Figures as SVG text, drawn without scripts, in the colours of the page.

Every figure has a title for screen readers; its numbers are also in a table beside it. Plots are drawn twice, for wide
and for narrow screens, since text that shrinks with a plot becomes unreadable; the style sheet shows one of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup, escape

from sam_audio_bench.leaderboard.drawing import NARROW, WIDTH, decimals, grid, round_ticks, short, shown_on, svg
from sam_audio_bench.render.numbers import number

__all__ = ["MOST_SERIES", "Dot", "Point", "bar", "boxes", "pareto", "radar", "series", "slices", "timeline", "tracks"]

MOST_SERIES = 6
"""Number of separators that can be distinguished in one figure."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A separator in a scatter plot."""

    name: str
    href: str
    kind: str  # "separator", "baseline" or "oracle", a class of the style sheet
    x: float
    y: float
    low: float | None = None  # of y
    high: float | None = None


def bar(
    value: float,
    low: float | None,
    high: float | None,
    ends: tuple[float, float],
    kind: str,
    nothing: float | None = None,
) -> Markup:
    """Draws a mean with its interval for a table cell.

    Args:
        value: the mean.
        low: lower end of its interval.
        high: upper end.
        ends: values at the ends of the axis, shared by a column.
        kind: CSS class.
        nothing: score of the mixture, which does nothing; a line marks it.
    """
    span = (ends[1] - ends[0]) or 1.0

    def place(one: float) -> float:
        return 4 + 112 * min(max((one - ends[0]) / span, 0.0), 1.0)

    whisker = ""
    if low is not None and high is not None:
        whisker = f'<path class="whisker" d="M{place(low):.1f} 8H{place(high):.1f}"/>'
    mark = f'<circle class="dot {kind}" cx="{place(value):.1f}" cy="8" r="4"/>'
    if not ends[0] <= value <= ends[1]:  # an arrow shows that the value lies beyond the axis
        tip, back = (0, 6) if value < ends[0] else (120, 114)
        mark = f'<path class="beyond" d="M{tip} 8L{back} 4V12Z"/>'
    line = "" if nothing is None else f'<path class="nothing" d="M{place(nothing):.1f} 0V16"/>'
    return Markup(
        f'<svg class="bar" viewBox="0 0 120 16" width="120" height="16" aria-hidden="true">{line}{whisker}{mark}</svg>'
    )


def pareto(
    points: Sequence[Point], *, x_label: str, y_label: str, higher_is_better: bool, title: str,
    nothing: float | None = None,
) -> Markup:  # fmt: skip
    """Plots quality against a cost on a logarithmic axis, with the Pareto front as a line.

    Costs of zero, such as those of separators without parameters, have a place of their own on the left; at least one
    cost must be above 0.

    Args:
        points: separators.
        x_label: label of the cost.
        y_label: label of the quality.
        higher_is_better: direction of the quality.
        title: title for screen readers.
        nothing: quality of the mixture, at which a line is drawn.
    """
    front = _front(points, higher_is_better)
    return Markup("").join(
        _plane(points, front, (x_label, y_label), title, nothing, width) for width in (WIDTH, NARROW)
    )


def _plane(
    points: Sequence[Point], front: Sequence[Point], labels: tuple[str, str], title: str, nothing: float | None,
    width: float,
) -> Markup:  # fmt: skip
    left, right, top, bottom = 62.0, width - 16, 14.0, 300.0
    across, marks = _costs([point.x for point in points], left, right)
    bounds = [bound for point in points for bound in (point.low, point.high, point.y) if bound is not None]
    bounds += [] if nothing is None else [nothing]
    ticks = round_ticks(min(bounds), max(bounds))

    def up(y: float) -> float:
        return bottom - (bottom - top) * (y - ticks[0]) / (ticks[-1] - ticks[0])

    digits = decimals(ticks)
    parts = [
        f'<path class="grid" d="M{left} {up(tick):.1f}H{right}"/>'
        f'<text x="{left - 8}" y="{up(tick) + 4:.1f}" text-anchor="end">{number(tick, digits)}</text>'
        for tick in ticks
    ]
    for x, text in marks:
        parts.append(f'<path class="grid" d="M{x:.1f} {top}V{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>')
    if nothing is not None:
        parts.append(f'<path class="nothing" d="M{left} {up(nothing):.1f}H{right}"/>')
    if len(front) > 1:
        line = "L".join(f"{across(point.x):.1f} {up(point.y):.1f}" for point in front)
        parts.append(f'<path class="front" d="M{line}"/>')
    for point in points:
        if point.low is not None and point.high is not None:
            x = across(point.x)
            parts.append(f'<path class="whisker" d="M{x:.1f} {up(point.low):.1f}V{up(point.high):.1f}"/>')
    parts += [_dot(point, across(point.x), up(point.y)) for point in points]
    parts += _names(points, [(across(point.x), up(point.y)) for point in points], right)
    parts.append(
        f'<text class="axis" x="{(left + right) / 2}" y="{bottom + 38}" text-anchor="middle">{escape(labels[0])}</text>'
    )
    turned = f'transform="translate(14 {(top + bottom) / 2}) rotate(-90)"'
    parts.append(f'<text class="axis" {turned} text-anchor="middle">{escape(labels[1])}</text>')
    return svg(parts, width, bottom + 46, title, shown_on(width), role="group")  # an image could not hold links


def _costs(
    values: Sequence[float], left: float, right: float
) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    """Returns a logarithmic axis over the costs above zero, with a position for zero on its left, and its ticks."""
    exponents = [math.log10(value) for value in values if value > 0]
    first = math.floor(min(exponents))
    last = max(math.ceil(max(exponents)), first + 1)
    free = any(value == 0 for value in values)
    start = left + 70 if free else left

    def across(value: float) -> float:
        return start + (right - start) * (math.log10(value) - first) / (last - first) if value > 0 else left + 20

    marks = [(across(10.0**exponent), _power(exponent)) for exponent in range(first, last + 1)]
    return across, [(across(0.0), "none"), *marks] if free else marks


def _dot(point: Point, x: float, y: float) -> str:
    what = escape(f"{point.name}: {number(point.y, 2)}")
    return (
        f'<a href="{escape(point.href)}" aria-label="{what}">'
        f'<circle class="dot {point.kind}" cx="{x:.1f}" cy="{y:.1f}" r="6"><title>{what}</title></circle></a>'
    )


def _names(points: Sequence[Point], places: Sequence[tuple[float, float]], right: float) -> list[str]:
    """Draws names beside the dots, moved down where they would cover each other."""
    taken: list[tuple[float, float, float]] = []
    found = []
    for point, (x, y) in sorted(zip(points, places, strict=True), key=lambda pair: pair[1][1]):
        width = 6.6 * len(point.name)
        start = x + 10 if x + 10 + width < right else x - 10 - width
        line = y + 4
        while any(abs(line - other) < 13 and start < end and begin < start + width for begin, end, other in taken):
            line += 2
        taken.append((start, start + width, line))
        found.append(f'<text class="name" x="{start:.1f}" y="{line:.1f}">{escape(point.name)}</text>')
    return found


def _front(points: Sequence[Point], higher_is_better: bool) -> list[Point]:
    """Returns the Pareto front: separators that no other one beats in both cost and quality, sorted by cost."""
    sign = 1 if higher_is_better else -1
    found: list[Point] = []
    for point in sorted((one for one in points if one.kind == "separator"), key=lambda one: (one.x, -sign * one.y)):
        if not found or sign * point.y > sign * found[-1].y:
            found.append(point)
    return found


def boxes(
    lines: Sequence[tuple[str, str, Sequence[float]]], *, unit: str, title: str, nothing: float | None = None
) -> Markup:
    """Draws box plots of the item scores of several lines: quartiles, median, and up to 40 items as dots.

    Args:
        lines: name, CSS class, and scores.
        unit: label of the axis.
        title: title for screen readers.
        nothing: mean score of the mixture, at which a line is drawn.
    """
    return Markup("").join(_rows(lines, unit, title, nothing, width) for width in (WIDTH, NARROW))


def _rows(
    lines: Sequence[tuple[str, str, Sequence[float]]], unit: str, title: str, nothing: float | None, width: float
) -> Markup:
    height, left, right = 26.0, 190.0 if width == WIDTH else 112.0, width - 16
    values = [value for *_, own in lines for value in own]
    ticks = round_ticks(min(values), max(values))
    bottom = height * len(lines) + 8

    def across(value: float) -> float:
        return left + (right - left) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    parts = grid(ticks, across, bottom)
    if nothing is not None:
        parts.append(f'<path class="nothing" d="M{across(nothing):.1f} 4V{bottom}"/>')
    for row, (name, kind, own) in enumerate(lines):
        y = height * row + height / 2 + 4
        shown = escape(short(name, 27 if width == WIDTH else 16))
        parts.append(f'<text class="name" x="{left - 10}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>')
        parts += _box(sorted(own), kind, y, across)
    parts.append(f'<text class="axis" x="{right}" y="{bottom + 32}" text-anchor="end">{escape(unit)}</text>')
    return svg(parts, width, bottom + 38, title, shown_on(width))


class Dot(NamedTuple):
    """The mean of a separator in a slice, with its interval."""

    series: int  # index of the separator
    mean: float
    low: float | None
    high: float | None
    sure: bool  # significantly worse than on the other items


def slices(rows: Sequence[tuple[str, Sequence[Dot]]], count: int, *, unit: str, title: str) -> Markup:
    """Draws one row per slice, with a colour and a shape per separator; "" without slices.

    Args:
        rows: name and dots of each slice, from top to bottom.
        count: number of separators.
        unit: label of the axis.
        title: title for screen readers.
    """
    return Markup("").join(_slices(rows, count, unit, title, width) for width in (WIDTH, NARROW) if rows)


def _slices(rows: Sequence[tuple[str, Sequence[Dot]]], count: int, unit: str, title: str, width: float) -> Markup:
    wide = width == WIDTH
    above, left, right = 0.0 if wide else 17.0, 236.0 if wide else 14.0, width - 16
    height = above + 11.0 * max(count, 2) + 4
    bounds = [bound for _, dots in rows for dot in dots for bound in (dot.mean, dot.low, dot.high) if bound is not None]
    ticks, bottom = round_ticks(min(bounds), max(bounds)), height * len(rows) + 8

    def across(value: float) -> float:
        return left + (right - left) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    parts = grid(ticks, across, bottom)
    for row, (name, dots) in enumerate(rows):
        top = height * row + 4
        middle, x, anchor = (top + height / 2, left - 10, "end") if wide else (top + 10, left, "start")
        shown = escape(short(name, 36 if wide else 48))
        parts.append(f'<text class="name" x="{x:.1f}" y="{middle + 4:.1f}" text-anchor="{anchor}">{shown}</text>')
        parts += [f'<path class="grid" d="M{left} {top:.1f}H{right}"/>'] if row else []
        for dot in dots:
            y = top + above + (height - above) * (dot.series + 0.5) / max(count, 1)
            if dot.low is not None and dot.high is not None:
                line = f"M{across(dot.low):.1f} {y:.1f}H{across(dot.high):.1f}"
                parts.append(f'<path class="series series-{dot.series}" d="{line}"/>')
            parts.append(_shape(dot.series, across(dot.mean), y, dot.sure))
    parts.append(f'<text class="axis" x="{right}" y="{bottom + 32}" text-anchor="end">{escape(unit)}</text>')
    return svg(parts, width, bottom + 38, title, shown_on(width))


def _shape(series: int, x: float, y: float, sure: bool) -> str:
    shapes = ("m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", "m-4 -4h8v8h-8z", "m0 -5l5 5l-5 5l-5 -5z", "m0 -5l5 9h-10z",
            "m0 5l5 -9h-10z", "m-5 -2h10v4h-10z")  # fmt: skip
    return f'<path class="series series-{series}{" sure" if sure else ""}" d="M{x:.1f} {y:.1f}{shapes[series]}"/>'


def series(number: int) -> Markup:
    """Draws the shape of a separator in `slices`, for a legend."""
    return Markup(
        f'<svg class="key-series" viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">'
        f"{_shape(number, 7, 7, False)}</svg>"
    )


def _box(ordered: Sequence[float], kind: str, y: float, across: Callable[[float], float]) -> list[str]:
    """Draws the box of one line, its items or their range, and the median."""
    low, middle, high = (_quantile(ordered, tail) for tail in (0.25, 0.5, 0.75))
    width = max(1.0, across(high) - across(low))
    parts = [f'<rect class="box {kind}" x="{across(low):.1f}" y="{y - 7:.1f}" width="{width:.1f}" height="14" rx="3"/>']
    if len(ordered) <= 40:
        places = [round(across(value), 1) for value in ordered]
        steps = (f"m{round(later - before, 1):g} 0h0" for before, later in pairwise(places))
        dots = f"M{places[0]:g} {y:g}h0{''.join(steps)}"  # a line without length has a round end
        parts.append(f'<path class="item" d="{dots}"/>')
    else:
        parts.append(f'<path class="whisker" d="M{across(ordered[0]):.1f} {y:.1f}H{across(ordered[-1]):.1f}"/>')
    return [*parts, f'<path class="median" d="M{across(middle):.1f} {y - 9:.1f}V{y + 9:.1f}"/>']


def radar(axes: Sequence[tuple[str, float]], *, title: str) -> Markup:
    """Draws a radar chart of values from 0 (centre) to 1 (rim), one spoke each; empty for fewer than three."""
    if len(axes) < 3:
        return Markup("")
    centre, size = (180.0, 150.0), 92.0

    def place(index: int, radius: float) -> tuple[float, float]:
        angle = 2 * math.pi * index / len(axes) - math.pi / 2
        return centre[0] + radius * size * math.cos(angle), centre[1] + radius * size * math.sin(angle)

    def ring(radii: Sequence[float]) -> str:
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in map(place, range(len(axes)), radii)) + "Z"

    parts = [f'<path class="grid" d="{ring([radius] * len(axes))}"/>' for radius in (0.25, 0.5, 0.75, 1.0)]
    for index in range(len(axes)):
        x, y = place(index, 1.0)
        parts.append(f'<path class="grid" d="M{centre[0]} {centre[1]}L{x:.1f} {y:.1f}"/>')
    names, bottom = _around([(name, *place(index, 1.12)) for index, (name, _) in enumerate(axes)], centre[0])
    parts.append(f'<path class="area" d="{ring([min(max(value, 0.0), 1.0) for _, value in axes])}"/>')
    return svg([*parts, *names], 2 * centre[0], bottom + 8, title, "radar")


def _around(labels: Sequence[tuple[str, float, float]], centre: float) -> tuple[list[str], float]:
    """Draws labels of a radar chart, moved down where they would cover each other; also returns the lowest position."""
    found, lowest = [], 0.0
    for side in (-1, 1):
        free = 0.0  # the first free line of this half, from the top
        for name, x, y in sorted(
            (one for one in labels if (one[1] < centre - 1) is (side < 0)), key=lambda one: one[2]
        ):
            lines = _broken(name)
            start = max(y + 4 - 6 * (len(lines) - 1), free)
            anchor = "middle" if abs(x - centre) <= 1 else "start" if side > 0 else "end"
            spans = [
                f'<tspan x="{x:.1f}" y="{start + 12 * index:.1f}">{escape(line)}</tspan>'
                for index, line in enumerate(lines)
            ]
            found.append(f'<text text-anchor="{anchor}">{"".join(spans)}</text>')
            free = start + 12 * len(lines) + 1
            lowest = max(lowest, free - 12)
    return found, lowest


def _broken(name: str, width: int = 11) -> list[str]:
    """Breaks a name at hyphens into lines of about ``width`` characters.

    >>> _broken("instr-wild-span-only")
    ['instr-wild-', 'span-only']
    """
    lines = [""]
    for part in re.findall(r"[^-]+-?", name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return lines


def timeline(spans: Sequence[tuple[str, float, float]], seconds: float) -> Markup:
    """Draws the spans of a prompt: where its sound is present (+) or absent (-)."""
    parts = ['<rect class="track" x="0" y="3" width="720" height="10" rx="3"/>']
    for sign, start, end in spans:
        x, width = WIDTH * start / seconds, WIDTH * (end - start) / seconds
        kind = "present" if sign == "+" else "absent"
        parts.append(f'<rect class="{kind}" x="{x:.1f}" y="1" width="{width:.1f}" height="14" rx="3"/>')
    return svg(parts, WIDTH, 16.0, f"Spans of the prompt in {seconds:g} s", "spans", fit="none")


def tracks(ratings: Mapping[str, Sequence[float]], step: float, seconds: float) -> Markup:
    """Draws ratings from 1 to 5 over time, one line per axis, with its name as CSS class."""
    width, height = 320.0, 84.0

    def up(value: float) -> float:
        return height - 7 - (height - 14) * (min(max(value, 1.0), 5.0) - 1) / 4

    parts = [f'<path class="grid" d="M14 {up(mark):.1f}H{width}"/>' for mark in range(1, 6)]
    parts += [f'<text x="0" y="{up(mark) + 4:.1f}">{mark}</text>' for mark in (1, 3, 5)]
    for name, values in ratings.items():
        steps = [(14 + (width - 14) * (index + 0.5) * step / seconds, up(value)) for index, value in enumerate(values)]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in steps)
        parts.append(f'<path class="track-{escape(name)}" d="M{line}"><title>{escape(name)}</title></path>')
    means = ", ".join(f"{name} {sum(values) / len(values):.1f}" for name, values in ratings.items())
    return svg(parts, width, height, f"Ratings over time, on average {means}", "tracks")


def _quantile(ordered: Sequence[float], tail: float) -> float:
    place = tail * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _power(exponent: int) -> str:
    """Formats a power of ten: 1000 as 1000, a million as 10⁶."""
    if -3 <= exponent <= 4:
        return f"{10.0**exponent:g}"
    return "10" + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] if digit != "-" else "⁻" for digit in str(exponent))
