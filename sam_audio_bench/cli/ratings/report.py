"""``sabench ratings report``: one HTML page and every figure as SVG, PNG and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from sam_audio_bench.cli.output import echo, note
from sam_audio_bench.files import case_sensitive_name, write_json

if TYPE_CHECKING:
    from sam_audio_bench.plots import Plot
    from sam_audio_bench.ratings.agreement import OpinionRow
    from sam_audio_bench.ratings.correlation import CorrelationResult
    from sam_audio_bench.ratings.report import HtmlFigure, HtmlTable
    from sam_audio_bench.ratings.table import Ratings

    Section = tuple[str, Sequence[HtmlTable | HtmlFigure]]

__all__ = ["report"]

_PATH = click.Path(path_type=Path)


class _Options(NamedTuple):
    by: str | None
    scatters: int
    resamples: int
    seed: int


class _Contents(NamedTuple):
    """Contents of the page and of report.json."""

    finding: list[str]
    sections: list[Section]
    notes: list[str]
    numbers: dict[str, object]


@click.command()
@click.argument("table", type=_PATH)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder to write.")
@click.option("--scores", multiple=True, type=_PATH, help="A run whose scores are metrics; may be repeated.")
@click.option(
    "--by", metavar="COLUMN", help="Also for each value of this column; default: domain, if there are several."
)
@click.option("--title", default="Listening test", show_default=True)
@click.option(
    "--scatters",
    type=click.IntRange(min=0),
    default=4,
    show_default=True,
    help="Metrics drawn for each axis, the strongest first.",
)
@click.option("--resamples", type=click.IntRange(min=1), default=2000, show_default=True, help="Of all intervals.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def report(
    table: Path, out: Path, scores: tuple[Path, ...], by: str | None, title: str, scatters: int, resamples: int,
    seed: int,
) -> None:  # fmt: skip
    """Write one HTML page about a listening test: what it found, then opinions, correlations, agreement, data.

    The finding is printed as well: the best system with its significance, and the metrics that follow listeners.
    Figures are in OUT/figures as SVG, PNG and CSV, all numbers in OUT/report.json.
    """
    from sam_audio_bench.ratings.correlation import add_run_scores
    from sam_audio_bench.ratings.describe import describe
    from sam_audio_bench.ratings.report import write_report
    from sam_audio_bench.ratings.table import Ratings

    ratings = Ratings.read(table)
    if scores:
        ratings = add_run_scores(ratings, scores)
    if by is None and ratings.frame["domain"].nunique() > 1:
        by = "domain"
    build = _report_votes if ratings.votes else _report_ratings
    found = build(ratings, out / "figures", _Options(by, scatters, resamples, seed))
    facts = describe(ratings)
    write_json(out / "report.json", {"finding": found.finding, "data": facts, **found.numbers, "notes": found.notes})
    write_report(
        out / "index.html", title=title, finding=found.finding, facts=facts, notes=found.notes, sections=found.sections
    )
    for text in found.notes:
        note(f"warning: {text}")
    for text in found.finding:
        echo(text)
    click.echo(f"{out / 'index.html'}, figures in {out / 'figures'}")


def _report_ratings(ratings: Ratings, folder: Path, options: _Options) -> _Contents:
    from sam_audio_bench.plots import reliability_curves
    from sam_audio_bench.ratings.agreement import agreement_rows, opinion_rows
    from sam_audio_bench.ratings.figure_data import reliability_curve_rows
    from sam_audio_bench.ratings.finding import differences_of_systems, metric_findings, system_findings
    from sam_audio_bench.ratings.report import statistic_tables, system_tables

    agreement = agreement_rows(ratings, by=options.by, resamples=options.resamples, seed=options.seed)
    opinions = opinion_rows(ratings)
    systems = differences_of_systems(ratings, resamples=options.resamples, seed=options.seed)
    curves = reliability_curve_rows(ratings, by=options.by)
    drawn = [reliability_curves(curves, name="reliability")] if curves["reliability"].notna().any() else []
    raters = [] if ratings.anonymous else _rater_plots(ratings)
    ranking = system_tables(ratings, opinions, systems) if systems else []
    finding, notes = system_findings(ratings, opinions, systems, options.resamples), []
    sections: list[Section] = [("Opinions", [*ranking, *_to_html_figures(_opinion_plots(ratings, opinions), folder)])]
    numbers: dict[str, object] = {"agreement": agreement, "opinions": opinions, "systems": systems}
    if ratings.metrics:
        section, found = _correlations(ratings, folder, options)
        sections.append(section)
        finding += metric_findings(ratings, found.rows)
        notes = found.warnings
        numbers |= {"correlations": found.rows, "differences": found.differences}
    sections += [
        ("Agreement", [*statistic_tables(agreement), *_to_html_figures(drawn, folder)]),
        ("Raters", _to_html_figures(raters, folder)),
    ]
    return _Contents(finding, [section for section in sections if section[1]], notes, numbers)


def _opinion_plots(ratings: Ratings, opinions: Sequence[OpinionRow]) -> list[Plot]:
    import pandas as pd

    from sam_audio_bench.plots import system_means

    frame = pd.DataFrame(opinions).astype({"value": "float64", "ci_low": "float64", "ci_high": "float64"})
    known = [(axis, frame[frame["axis"] == axis]) for axis in ratings.axes]
    return [
        system_means(
            part,
            axis=axis,
            name=f"systems-{case_sensitive_name(axis)}",
            caption="Means over stimuli with 95 % intervals that resample recordings.",
            scale=ratings.scale,
        )
        for axis, part in known
        if part["value"].notna().any() and part["system"].nunique() > 1
    ]


def _rater_plots(ratings: Ratings) -> list[Plot]:
    from sam_audio_bench.plots import rater_heat_map
    from sam_audio_bench.ratings.figure_data import rater_agreement, rater_deviations

    return [
        rater_heat_map(
            rater_deviations(ratings, axis),
            rater_agreement(ratings, axis),
            axis=axis,
            name=f"raters-{case_sensitive_name(axis)}",
        )
        for axis in ratings.axes
        if ratings.without_controls["rater"].nunique() > 1
    ]


def _correlations(ratings: Ratings, folder: Path, options: _Options) -> tuple[Section, CorrelationResult]:
    """Computes correlations, and their section with figures for all data and for each value of ``by``."""
    import pandas as pd

    from sam_audio_bench.plots import forest, scatter
    from sam_audio_bench.ratings.agreement import noise_ceilings
    from sam_audio_bench.ratings.correlation import CorrelationSettings, correlate_ratings
    from sam_audio_bench.ratings.figure_data import mean_opinions_with_metric, select_strongest_metrics
    from sam_audio_bench.ratings.report import correlation_tables

    settings = CorrelationSettings(by=options.by, resamples=options.resamples, seed=options.seed)
    found = correlate_ratings(ratings, settings)
    rows = pd.DataFrame(found.rows).astype({"value": "float64", "ci_low": "float64", "ci_high": "float64"})
    best = noise_ceilings(ratings, resamples=options.resamples, seed=options.seed)
    plots: list[Plot] = []
    for axis in ratings.axes:
        ceiling = best[axis, "all"]
        band = None if ceiling.low is None or ceiling.high is None else (ceiling.low, ceiling.high)
        for level in ("utterance", "within_item", "system"):
            part = rows[(rows["axis"] == axis) & (rows["level"] == level) & (rows["coefficient"] == "spearman")]
            if part["value"].notna().any():
                name = f"forest-{case_sensitive_name(axis)}-{level}"
                heading = f"Spearman correlation with {axis}, {level.replace('_', ' ')} level"
                plots.append(forest(part, title=heading, name=name, ceiling=band if level == "utterance" else None))
        for metric in select_strongest_metrics(found.rows, axis, options.scatters):
            points, noise = mean_opinions_with_metric(ratings, axis, metric)
            name = f"scatter-{case_sensitive_name(axis)}-{case_sensitive_name(metric)}"
            plots.append(scatter(points, metric=metric, axis=axis, name=name, noise=noise))
    return ("Correlations", [*correlation_tables(found.rows), *_to_html_figures(plots, folder)]), found


def _report_votes(ratings: Ratings, folder: Path, options: _Options) -> _Contents:
    import pandas as pd

    from sam_audio_bench.plots import system_means
    from sam_audio_bench.ratings.finding import preference_findings
    from sam_audio_bench.ratings.preference import prefer
    from sam_audio_bench.ratings.report import preference_tables

    found = prefer(ratings, by=options.by, resamples=options.resamples, seed=options.seed)
    plots = []
    for axis, part in pd.DataFrame(found.rows).groupby("axis", sort=False):
        rows = part.assign(method=part["by"], value=part["strength"].astype("float64"))
        rows = rows.astype({"ci_low": "float64", "ci_high": "float64"})
        if rows["value"].notna().any():
            name, caption = (
                f"systems-{case_sensitive_name(str(axis))}",
                "Bradley–Terry strengths with 95 % intervals; 0 is the mean.",
            )
            plots.append(system_means(rows, axis=f"strength in logits, {axis}", name=name, caption=caption))
    numbers: dict[str, object] = {"preference": found.rows, "overall": found.overall}
    sections: list[Section] = [("Preference", [*preference_tables(found), *_to_html_figures(plots, folder)])]
    return _Contents(preference_findings(found), sections, found.warnings, numbers)


def _to_html_figures(plots: Sequence[Plot], folder: Path) -> list[HtmlFigure]:
    from sam_audio_bench.plots import INK
    from sam_audio_bench.ratings.report import HtmlFigure

    found = []
    for plot in plots:
        paths = plot.save(folder)
        svg, csv = (paths[at].read_text(encoding="utf-8") for at in (0, 2))
        found.append(HtmlFigure(name=plot.name, title=plot.title, caption=plot.caption, svg=svg, csv=csv, ink=INK))
    return found
