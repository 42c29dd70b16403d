"""HTML report of a listening test: self-contained, light and dark theme, every figure with its data."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import markupsafe

from sam_audio_bench import __version__
from sam_audio_bench.files import atomic_write
from sam_audio_bench.ratings.agreement import STATISTICS, AgreementRow, OpinionRow
from sam_audio_bench.ratings.correlation import CorrelationRow
from sam_audio_bench.ratings.describe import Description
from sam_audio_bench.ratings.finding import SystemDifferenceRow, other_system, ranked_systems
from sam_audio_bench.ratings.preference import PreferenceResult, preference_texts
from sam_audio_bench.ratings.table import Ratings
from sam_audio_bench.render.numbers import number, p_value, with_interval

__all__ = [
    "HtmlFigure",
    "HtmlSound",
    "HtmlTable",
    "correlation_tables",
    "preference_tables",
    "statistic_tables",
    "system_tables",
    "write_report",
]

_TEMPLATE = Path(__file__).with_name("report.html")


@dataclass(frozen=True)
class HtmlSound:
    """A table cell with an audio player."""

    path: str  # relative to the page
    label: str  # accessible name


@dataclass(frozen=True, kw_only=True)
class HtmlTable:
    """A table of texts and players; the first column holds row headings."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | HtmlSound]]


@dataclass(frozen=True, kw_only=True)
class HtmlFigure:
    """A figure with its data."""

    name: str
    title: str
    caption: str
    svg: str
    csv: str
    ink: str  # colour of its text, replaced by that of the page's theme


def write_report(
    path: Path, *, title: str, finding: Sequence[str], facts: Description | None, notes: Sequence[str],
    sections: Sequence[tuple[str, Sequence[HtmlTable | HtmlFigure]]],
) -> None:  # fmt: skip
    """Writes the page atomically.

    Args:
        path: the HTML file.
        title: of the page.
        finding: the sentences that the page begins with.
        facts: from `describe`; None: the page is not about ratings.
        notes: warnings, shown after the finding.
        sections: heading and contents, in order.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"inline": _inline, "data_uri": _data_uri, "anchor": _anchor}
    environment.tests["illustration"] = lambda content: isinstance(content, HtmlFigure)
    environment.tests["sound"] = lambda cell: isinstance(cell, HtmlSound)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(
        title=title, finding=finding, facts=facts, notes=notes, sections=sections, version=__version__
    )  # fmt: skip
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def statistic_tables(rows: Sequence[AgreementRow]) -> list[HtmlTable]:
    """Formats rows of `agreement_rows`, one table per axis, with one column per value of ``by``."""
    tables = []
    for axis in dict.fromkeys(row["axis"] for row in rows):
        own = [row for row in rows if row["axis"] == axis]
        values = list(dict.fromkeys(row["by"] for row in own))
        cells = {(row["statistic"], row["by"]): row for row in own}
        lines = [
            [STATISTICS[name], *(_statistic(cells.get((name, value))) for value in values)]
            for name in dict.fromkeys(row["statistic"] for row in own)
        ]
        tables.append(HtmlTable(caption=axis, columns=["statistic", *values], rows=lines))
    return tables


def system_tables(
    ratings: Ratings, opinions: Sequence[OpinionRow], differences: Sequence[SystemDifferenceRow]
) -> list[HtmlTable]:
    """Formats mean opinions and differences from the best system, one table per axis, the best system first."""
    tables = []
    for axis in ratings.axes:
        ranked = ranked_systems(ratings, opinions, axis)
        best = ranked[0]["system"]
        pairs = {
            other_system(row, best): row
            for row in differences
            if row["axis"] == axis and best in (row["first"], row["second"])
        }
        lines = [
            [
                row["system"],
                with_interval(row["value"], row["ci_low"], row["ci_high"]),
                *(_distance(pairs[row["system"]], row["system"]) if row["system"] in pairs else ("", "", "")),
                str(row["n"]),
            ]
            for row in ranked
        ]
        columns = ["system", "mean opinion", f"minus {best}", "p", "p (Holm)", "stimuli"]
        tables.append(HtmlTable(caption=f"{axis}: systems, the best first", columns=columns, rows=lines))
    return tables


def _distance(row: SystemDifferenceRow, system: str) -> tuple[str, str, str]:
    """Formats the difference of a system from the other of the pair, p, and p by Holm."""
    values = row["value"], row["ci_low"], row["ci_high"]
    if row["second"] == system:
        value, high, low = (None if one is None else -one for one in values)
    else:
        value, low, high = values
    return with_interval(value, low, high), p_value(row["p"]), p_value(row["p_holm"])


def correlation_tables(rows: Sequence[CorrelationRow], coefficient: str = "spearman") -> list[HtmlTable]:
    """Formats rows of `correlate_ratings`, one table per axis and value of ``by``, the strongest metric first."""
    tables = []
    own = [row for row in rows if row["coefficient"] == coefficient]
    for axis, by in dict.fromkeys((row["axis"], row["by"]) for row in own):
        part = [row for row in own if (row["axis"], row["by"]) == (axis, by)]
        levels = list(dict.fromkeys(row["level"] for row in part))
        cells = {(row["metric"], row["level"]): row for row in part}
        metrics = sorted(
            dict.fromkeys(row["metric"] for row in part), key=lambda name: _strength(cells[name, levels[0]])
        )
        lines = [
            [name, *(_correlation(cells[name, level]) for level in levels), cells[name, levels[0]]["group"]]
            for name in metrics
        ]
        sizes = [
            f"{level.replace('_', ' ')} (n = {max(row['n'] for row in part if row['level'] == level)})"
            for level in levels
        ]
        ceiling = next((row["ceiling"] for row in part if row["ceiling"] is not None), None)
        caption = f"{axis}, {by}: {coefficient}" + (f"; noise ceiling {number(ceiling, 3)}" if ceiling else "")
        tables.append(HtmlTable(caption=caption, columns=["metric", *sizes, "group"], rows=lines))
    return tables


def preference_tables(found: PreferenceResult) -> list[HtmlTable]:
    """Formats strengths, ranks and net win rates, one table per axis and value of ``by``, the best system first."""
    tables = []
    for overall in found.overall:
        place = overall["axis"], overall["by"]
        texts = [preference_texts(row) for row in found.rows if (row["axis"], row["by"]) == place]
        order = with_interval(overall["order"], overall["order_low"], overall["order_high"], 2)
        caption = (
            f"{place[0]}, {place[1]}: {overall['votes']} votes; advantage of the first position {order} logits; "
            f"{overall['circular']} of {overall['triads']} triads circular (p of so few by coin tosses: "
            f"{p_value(overall['p'])})"
        )
        tables.append(HtmlTable(caption=caption, columns=list(texts[0]), rows=[list(text.values()) for text in texts]))
    return tables


def _strength(row: CorrelationRow) -> float:
    return 1.0 if row["value"] is None else -abs(row["value"])


def _correlation(row: CorrelationRow) -> str:
    if row["value"] is None:
        return f"— {row['status']}"
    return with_interval(row["value"], row["ci_low"], row["ci_high"], 2)


def _statistic(row: AgreementRow | None) -> str:
    if row is None:
        return ""
    if row["value"] is None:
        return f"— {row['status']}"
    return with_interval(row["value"], row["ci_low"], row["ci_high"], 2)


def _inline(figure: HtmlFigure) -> markupsafe.Markup:
    """Returns inline SVG with unique ids, so that figures do not clash, and the page's text colour."""
    drawing = figure.svg[figure.svg.index("<svg") :]
    drawing = re.sub(r'\bid="', f'id="{figure.name}-', drawing)
    drawing = re.sub(r"url\(#", f"url(#{figure.name}-", drawing)
    drawing = re.sub(r'href="#', f'href="#{figure.name}-', drawing)
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = drawing.replace(figure.ink, "currentColor")
    label = markupsafe.escape(f"{figure.title}. {figure.caption}")
    return markupsafe.Markup(drawing.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))


def _data_uri(text: str) -> str:
    return "data:text/csv;base64," + base64.b64encode(text.encode()).decode()


def _anchor(heading: str) -> str:
    return re.sub(r"\W+", "-", heading.casefold()).strip("-")
