"""docs/metrics: a card for every metric, which says what the catalogue says and what the metric does."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sam_audio_bench.metrics import CARDS
from sam_audio_bench.metrics.catalogue import LIMIT_DB
from sam_audio_bench.metrics.distance_catalogue import DISTANCES
from sam_audio_bench.registry import load_metric
from sam_audio_bench.types import Audio, Item, Prompt, Query, Score, Separation, Status

DOCS = Path(__file__).parents[1] / "docs"
IDS = [name for name in CARDS if not (name.endswith("_i") and name[:-2] in CARDS)]
ALL = {**CARDS, **DISTANCES}
PAGES = [*IDS, *DISTANCES]
HEADINGS = ["Definition", "Invariances", "Statuses", "Known traps", "Worked failure"]
FACTS = ["unit", "range", "direction", "needs", "version", "class"]
OUTSIDE = {Status.MISSING_MEDIA, Status.ERROR}  # given by the run, not by the metric
RATE = 8000


@cache
def text(name: str) -> str:
    return (DOCS / "metrics" / f"{name}.md").read_text(encoding="utf-8")


def section(name: str, heading: str) -> str:
    return text(name).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(part: str) -> list[list[str]]:
    """Cells of the tables in a part of a page, without their heads."""
    lines = re.findall(r"^\|(.*)\|$", part, re.MULTILINE)
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    rules = {index for index, row in enumerate(cells) if set(row) == {"---"}}
    return [row for index, row in enumerate(cells) if index not in rules and index + 1 not in rules]


ELSEWHERE = r"not measured|Measured on"  # what pages say whose invariances need weights or speech
MEASURED = [name for name in IDS if not re.search(ELSEWHERE, section(name, "Invariances"))]


def facts(name: str) -> dict[str, str]:
    return dict(rows(text(name).partition("\n## ")[0]))


def listed(name: str) -> list[str]:
    return re.findall(r"`(\w+)`", " ".join(row[0] for row in rows(section(name, "Statuses"))))


def test_every_metric_has_a_card_and_every_card_a_metric() -> None:
    assert sorted(path.stem for path in (DOCS / "metrics").glob("*.md")) == sorted(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_form(name: str) -> None:
    assert text(name).startswith(f"# {name}\n")
    assert re.findall(r"^## (.*)$", text(name), re.MULTILINE) == HEADINGS
    assert all(section(name, heading).strip() for heading in HEADINGS)
    assert section(name, "Worked failure").count("```python\n") == 1
    assert section(name, "Worked failure").count("assert ") >= 1
    assert len(re.findall(r"^\* ", section(name, "Known traps"), re.MULTILINE)) >= 2


@pytest.mark.parametrize("name", PAGES)
def test_facts_are_those_of_the_catalogue(name: str) -> None:
    card, found = ALL[name], facts(name)
    assert [fact for fact in found if fact != "improvement"] == FACTS
    assert found["unit"] == (card.unit or "none")
    assert found["direction"] == ("higher is better" if card.higher_is_better else "lower is better")
    assert set(re.findall(r"`(\w+)`", found["needs"])) == card.needs
    assert found["needs"] == "nothing" or card.needs
    assert found["version"] == str(card.version)
    assert found["class"] == f"`{card.target}`"
    assert ("improvement" in found) == (f"{name}_i" in CARDS)


@pytest.mark.parametrize("name", PAGES)
def test_ranges_are_those_of_the_catalogue(name: str) -> None:
    """A page's range holds the perfect value too; "nominally": the scale, which a regression may overshoot."""
    card, (said, *nominally) = ALL[name], facts(name)["range"].split(", ")
    low, high = (float(end.replace("−", "-").replace("∞", "inf")) for end in said.split(" … "))
    least, most = card.limits
    if nominally:
        assert least < low < high < most
        assert card.unit in ("MOS", f"{low:g}-{high:g}")
        return
    assert low in (least, -math.inf)
    assert high == pytest.approx(most, abs=0.005) or (high == math.inf and most == LIMIT_DB)
    assert card.best is None or low <= card.best <= max(high, most)


@pytest.mark.parametrize("name", PAGES)
def test_a_metric_of_a_paper_cites_it(name: str) -> None:
    source = text(name).partition("Source:")[2].partition("\n\n")[0]
    assert ALL[name].cites or '"' not in source  # a title
    assert source or not ALL[name].cites
    assert ALL.get(f"{name}_i", ALL[name]).cites == ALL[name].cites


@pytest.mark.parametrize("name", PAGES)
def test_statuses_exist(name: str) -> None:
    named = listed(name)
    assert set(named) <= set(Status)
    assert len(named) == len(set(named))
    assert set(named) >= {Status.OK, *OUTSIDE}


@pytest.mark.parametrize("page", ["metrics.md", *(f"metrics/{name}.md" for name in PAGES)])
def test_links_resolve(page: str) -> None:
    path = DOCS / page
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", path.read_text(encoding="utf-8")):
        there = (path.parent / target).resolve() if target else path
        assert there.is_file(), f"{page} links to {target}"
        titles = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
        assert not anchor or anchor in {title.lower().replace(" ", "-") for title in titles}


def test_the_overview_links_every_card() -> None:
    linked = re.findall(r"\]\(metrics/(\w+)\.md\)", (DOCS / "metrics.md").read_text(encoding="utf-8"))
    assert set(linked) == set(PAGES)
    explained = (DOCS / "metrics.md").read_text(encoding="utf-8").partition("## Statuses")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+)`", " ".join(row[0] for row in rows(explained)))) == set(Status)


def test_every_row_of_the_chooser_ends_at_two_or_three_metrics() -> None:
    chooser = (DOCS / "metrics.md").read_text(encoding="utf-8").partition("## Which ones?")[2].partition("\n## ")[0]
    found = [re.findall(r"`(\w+)`", row[-1]) for row in rows(chooser)]
    assert len(found) == 9
    assert all(2 <= len(names) <= 3 and set(names) <= set(ALL) for names in found)
    assert set(re.findall(r"`([a-z_]+)`", chooser)) <= set(ALL)


def signals() -> tuple[Tensor, Tensor, Tensor]:
    """Target, rest and error: noise for one second of three, with room for a delay at the end of each."""
    found = torch.randn(3, 1, 3 * RATE, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    active = torch.zeros(3 * RATE, dtype=torch.float64)
    active[RATE : 2 * RATE] = 0.1
    return tuple(found * active)


TARGET, REST, ERROR = signals()
SILENCE = torch.zeros_like(TARGET)
ANSWER = TARGET + 0.3 * REST + 0.1 * ERROR


def scored(
    name: str, target: Tensor, reference: Tensor = TARGET, rest: Tensor = REST, residual: Tensor = REST
) -> Score:
    """The score of one answer; the mixture is the sum of the references."""
    if CARDS[name].absent == "only" and reference is TARGET:
        reference = SILENCE  # present targets are not asked
    query = Query(mixture=Audio(reference + rest, RATE), prompt=Prompt(text="dog", spans=(("+", 1.1, 2.4),)))
    truth = Audio(reference, RATE), Audio(rest, RATE)
    item = Item(id="a", group="a", query=query, reference=truth[0], residual_reference=truth[1])
    metric = load_metric(name)
    if metric.missing():
        pytest.skip(f"{name}: {metric.missing()}")
    row = metric.score([item], [Separation(target=Audio(target, RATE), residual=Audio(residual, RATE))])[0]
    score = dict(zip(metric.columns, row, strict=True))[name]
    assert score is not None
    return score


@pytest.mark.parametrize("name", MEASURED)
def test_absent_targets_mean_what_the_card_says(name: str) -> None:
    present, absent = scored(name, ANSWER), [scored(name, answer, SILENCE) for answer in (ANSWER, SILENCE)]
    match CARDS[name].absent:
        case "undefined":
            assert {score.status for score in absent} == {Status.SILENT_REFERENCE, Status.BOTH_SILENT}
            assert all(score.value is None for score in absent)
            assert present.status is Status.OK
            assert scored(name, SILENCE).status is Status.SILENT_ESTIMATE
        case "only":
            with pytest.raises(AssertionError):
                scored(name, ANSWER, 0.5 * TARGET)  # not asked, so that there is no score
        case "any":
            assert present.status is Status.OK


def within(name: str, score: Score) -> bool:
    low, high = (
        float(end.replace("−", "-").replace("∞", "inf")) for end in facts(name)["range"].split(", ")[0].split(" … ")
    )
    return score.value is None or low <= score.value <= high + 0.01


CHANGES: Mapping[str, Tensor] = {
    "gain of the estimate": 0.5 * ANSWER,
    "polarity of the estimate": -ANSWER,
    "constant offset of the estimate": ANSWER + 0.02,
    "delay of the estimate by one sample": ANSWER.roll(1, 1),
}


@pytest.mark.parametrize("name", MEASURED)
def test_invariances_are_measured(name: str) -> None:
    """The cards say "none" (within 1e-6), "small" (within 0.1) or "counts" (beyond 1e-6)."""
    stated = dict(rows(section(name, "Invariances")))
    before = scored(name, ANSWER)
    assert before.value is not None
    together = scored(
        name, 0.1 * ANSWER, 0.1 * TARGET if CARDS[name].absent != "only" else SILENCE, 0.1 * REST, 0.1 * REST
    )
    found = {change: scored(name, target) for change, target in CHANGES.items()}
    found["estimate, references and mixture scaled together"] = together
    assert list(stated) == list(found)
    for change, after in found.items():
        assert after.value is not None
        moved, word = abs(after.value - before.value), re.split(r"\W", stated[change])[0]
        assert {"none": moved <= 1e-6, "small": moved <= 0.1, "counts": moved > 1e-6}[word], f"{change}: {moved}"
        assert within(name, after)


@pytest.mark.parametrize("name", PAGES)
def test_invariances_of_all_cards_are_stated(name: str) -> None:
    for _, effect in rows(section(name, "Invariances")):
        assert effect.startswith(("none", "small", "counts", "not measured"))


@pytest.mark.parametrize("name", [*MEASURED, "pesq_wb", "pesq_nb", "stoi", "estoi", "srmr"])
def test_statuses_that_occur_are_listed(name: str) -> None:
    """Every edge case that a metric can be shown has a status that its card explains; all of the card's occur."""
    cases = [
        scored(name, ANSWER),
        scored(name, TARGET),
        scored(name, SILENCE),
        scored(name, ANSWER, SILENCE),
        scored(name, SILENCE, SILENCE),
        scored(name, TARGET, TARGET, SILENCE),
        scored(name, ANSWER, SILENCE, SILENCE),
        scored(name, SILENCE, SILENCE, SILENCE, SILENCE),
        scored(name, SILENCE, residual=SILENCE),
        scored(name, ANSWER * float("nan")),
    ]
    if not name.startswith("span"):
        cases.append(scored(name, ANSWER[:, 1:]))
    short = slice(RATE, RATE + 300)
    if CARDS[name].absent != "only":
        parts = (part[:, short] for part in (ANSWER, TARGET, REST, REST))
        cases.append(scored(name, *parts))
        cases.append(scored(name, *(part[:, :1] + 0.1 for part in (ANSWER, TARGET, REST, REST))))
    found = {case.status for case in cases}
    assert found <= set(listed(name))
    assert set(listed(name)) - OUTSIDE - found <= {Status.TOO_SHORT}
    assert all(within(name, case) for case in cases)
