"""The report of a judge: figures, ``report.json``, and the model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import jinja2
import pandas as pd

from sam_audio_bench.files import write_json
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.judge.training.examples import Examples, split_recordings
from sam_audio_bench.judge.training.figures import (
    learning_curve,
    reliability_diagram,
    scatter_plots,
    spread_calibration,
)
from sam_audio_bench.judge.training.measures import AgreementRow
from sam_audio_bench.judge.training.rating import RatedExamples

__all__ = ["DataFacts", "JudgeReport", "ReportFacts", "data_facts", "rating_source", "write_card", "write_report"]

_SIZES = ("rows", "answers", "mixtures", "recordings")
_PACKAGES = ("torch", "transformers", "accelerate", "numpy", "scipy")


class DataFacts(TypedDict):
    """Sizes of a set of examples."""

    rows: int
    queries: int
    answers: int  # estimates
    mixtures: int
    recordings: int
    systems: list[str]
    domains: dict[str, int]  # rows


class ReportFacts(TypedDict):
    """Further entries of ``report.json``; all but ``data`` exist only for a training run."""

    recipe: NotRequired[dict[str, object]]
    data: dict[str, DataFacts]
    dropped: NotRequired[dict[str, int]]  # rows that were left out, by reason
    parameters: NotRequired[int]
    parameters_trained: NotRequired[int]
    weights_sha256: NotRequired[str]
    packages: NotRequired[dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class JudgeReport:
    """Content of the report of a judge.

    Attributes:
        name: name of the judge.
        rated: held-out examples with ratings.
        agreement: rows of `agreement_rows`.
        coverage: of the 80 % interval by axis, fitted and measured on different recordings; empty if unknown.
        calibration: a sentence on how scale and spread were fitted.
        looks: evaluations during the run; empty if there were none.
        best: step of the weights that were kept.
        facts: further entries of ``report.json``.
    """

    name: str
    rated: RatedExamples
    agreement: Sequence[AgreementRow]
    coverage: Mapping[str, float | None]
    calibration: str = ""
    looks: Sequence[Mapping[str, float]] = ()
    best: int = 0
    facts: ReportFacts


def write_report(folder: Path, report: JudgeReport) -> Path:
    """Writes figures as SVG, PNG and CSV, and ``report.json``; returns the latter's path."""
    source = rating_source(report.rated.examples)
    plots = [scatter_plots(report.rated, source=source), reliability_diagram(report.rated, source=source)]
    if report.rated.spreads is not None:
        plots.append(spread_calibration(report.rated))
    if report.looks:
        plots.append(learning_curve(report.looks, report.best))
    for plot in plots:
        plot.save(folder)
    path = folder / "report.json"
    write_json(
        path,
        {
            "judge": report.name,
            "scores": source,
            "agreement": list(report.agreement),
            "coverage_80": dict(report.coverage),
            "calibration": report.calibration,
            "looks": list(report.looks),
            "best_step": report.best,
            "figures": [{"name": plot.name, "title": plot.title, "caption": plot.caption} for plot in plots],
            **report.facts,
        },
    )
    return path


def rating_source(examples: Examples) -> str:
    """Returns the name of the source of scores, for figures and cards."""
    return "simulated ratings" if examples.simulated else "listeners"


def data_facts(examples: Examples) -> DataFacts:
    """Returns sizes of a set: rows, queries, estimates, mixtures, recordings, systems, rows by domain."""
    rows = examples.rows
    return {
        "rows": len(rows),
        "queries": int(rows["query"].nunique()),
        "answers": int(rows[["mixture", "answer"]].drop_duplicates().shape[0]),
        "mixtures": int(rows["mixture"].nunique()),
        "recordings": len({one for group in rows["group"].unique() for one in split_recordings(group)}),
        "systems": sorted(map(str, rows["system"].unique())),
        "domains": {str(name): int(count) for name, count in rows["domain"].value_counts().sort_index().items()},
    }


def package_versions() -> dict[str, str]:
    """Returns versions of packages that affect the result."""
    return {name: version(name) for name in _PACKAGES}


_CARD = """# {{ name }}

A judge of separated audio: from mixture, estimate and prompt it predicts ratings by {{ said }}: overall, recall,
precision and faithfulness from 1 to 5, without a clean reference. Made with sam-audio-bench:

    from sam_audio_bench.judge import load
    load("path/to/this/folder").score(mixture, [estimate], "dog barking")

{% if simulated -%}
**It was trained on simulated ratings**, computed from exactly known targets and errors; no listener rated them. It
predicts the result of the formula, as far as that is possible without the reference.
{% else -%}
It was trained on ratings by listeners.
{% endif %}
## Data

| | rows | estimates | mixtures | recordings | systems |
| --- | ---: | ---: | ---: | ---: | ---: |
{% for side, facts in data.items() -%}
| {{ side }} | {{ sizes(facts) | join(" | ") }} |
{% endfor %}
Held-out estimates are of recordings that it was not trained on{% if new %}, and by systems that it was not trained on:
{{ new | join(", ") }}{% endif %}. Trained parts: {{ parts | join(", ") }}; {{ parameters }} parameters.
{% if dropped %}
Left out were
{% for reason, count in dropped.items() %}{{ count }} {{ reason }}{{ "; " if not loop.last else "." }}{% endfor %}
{% endif %}
## Performance on held-out estimates

| domain | axis | PCC | SRCC | RMSE | n |
| --- | --- | ---: | ---: | ---: | ---: |
{% for row in table -%}
| {{ row.domain }} | {{ row.axis }} | {{ row.pcc }} | {{ row.srcc }} | {{ row.rmse }} | {{ row.n }} |
{% endfor %}
In brackets: 95 % intervals; of correlations, over recordings and systems. Weights, scale and spread were chosen on
these estimates, so the numbers are slightly too good; measure on others with `sabench judge evaluate`.

{{ calibration }}
{% if coverage -%}
Its 80 % interval (rating ± 1.28 spreads), fitted on some of the recordings, covers this share of the others:
{% for axis, share in coverage.items() %}{{ axis }} {{ share }}{{ ", " if not loop.last else "." }}{% endfor %}
{% endif %}
## Limits

It uses mono at {{ rate }} Hz. It may misjudge sounds and errors that it was not trained on without a wider interval. It
does not replace a listening test if a decision depends on it.
"""


def write_card(path: Path, report: JudgeReport, *, rate: int) -> None:
    """Writes the model card with everything known from the run; add the rest, such as licences, by hand."""
    facts = report.facts
    environment = jinja2.Environment(keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    held, training = facts["data"]["held out"], facts["data"]["trained on"]
    text = environment.from_string(_CARD).render(
        name=report.name,
        said=rating_source(report.rated.examples),
        simulated=report.rated.examples.simulated,
        data=facts["data"],
        sizes=lambda one: [one[name] for name in _SIZES] + [len(one["systems"])],
        new=[name for name in held["systems"] if name not in training["systems"]],
        parts=facts["recipe"]["train"],
        parameters=f"{facts['parameters_trained']:,}",
        table=_table(report.agreement),
        coverage={axis: f"{share:.0%}" for axis, share in report.coverage.items() if share is not None},
        calibration=report.calibration,
        dropped=facts.get("dropped", {}),
        rate=rate,
    )
    path.write_text(text, encoding="utf-8")


def _table(agreement: Sequence[AgreementRow]) -> list[dict[str, str]]:
    """Returns one line per domain and axis, at utterance level."""
    frame = pd.DataFrame(list(agreement))
    frame = frame[frame["level"] == "utterance"]
    lines = []
    for (domain, axis), part in frame.groupby(["domain", "axis"], sort=False):
        cells = {str(row["coefficient"]): _cell(row) for _, row in part.iterrows()}
        shown = {name: cells.get(name, "–") for name in ("pcc", "srcc", "rmse")}
        lines.append({"domain": str(domain), "axis": str(axis), "n": str(int(part["n"].max())), **shown})
    return sorted(lines, key=lambda line: (line["domain"] != "all", line["domain"], AXES.index(line["axis"])))


def _cell(row: Any) -> str:
    if pd.isna(row["value"]):
        return "–"
    interval = "" if pd.isna(row["ci_low"]) else f" ({row['ci_low']:.2f} to {row['ci_high']:.2f})"
    return f"{row['value']:.2f}{interval}"
