"""BibTeX of what a run used."""

from __future__ import annotations

import re
from pathlib import Path

import sam_audio_bench as sab
from sam_audio_bench import metrics, separators
from sam_audio_bench.metrics.distance_catalogue import DISTANCES
from sam_audio_bench.records import MetricRecord, ModelRecord, RunRecord, TaskRecord
from sam_audio_bench.run.cite import cite, list_citations, load_bibliography
from sam_audio_bench.tasks import TASKS


def test_entries_are_well_formed() -> None:
    for key, entry in load_bibliography().items():
        assert entry.count("{") == entry.count("}"), key
        assert entry.endswith("\n}")
        fields = set(re.findall(r"^  (\w+) = ", entry, re.MULTILINE))
        assert {"title", "author", "year"} <= fields, key


def test_every_key_of_a_card_has_an_entry() -> None:
    cards = [*TASKS.values(), *separators.CARDS.values(), *metrics.CARDS.values(), *DISTANCES.values()]
    assert {key for card in cards for key in card.cites} <= set(load_bibliography())


def test_a_run_cites_what_it_used(tmp_path: Path) -> None:
    sab.evaluate("hpss", "instr-pro", split="mini", limit=1, metrics=["si_sdr"], output=tmp_path, progress=False)
    found = cite([tmp_path])
    for key in ("sam_audio_bench", "rafii2019musdb", "fitzgerald2010harmonic", "leroux2019sdr"):
        assert found.count(f"{{{key},") == 1
    assert "boll1979" not in found


def test_third_parties_have_no_key() -> None:
    header = RunRecord(
        status="success", started="", model=ModelRecord(kind="separator", name="mine+gain=2"),
        task=TaskRecord(id="mine", version="1", split="test", subset="paper", source="mine", data_revision="", items=1,
                        ids_sha256=""),
        metrics=[MetricRecord(id="peak_db", version=1, unit="", higher_is_better=True)], seed=0, align=None,
        stereo="joint", shard=None, command=[], config={}, git=None, packages={}, hardware={},
    )  # fmt: skip
    assert list_citations(header) == ["sam_audio_bench"]
