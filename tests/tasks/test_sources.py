"""What a separator was trained on of a task's collections: names in texts, what is made of what, marks in tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import sam_audio_bench as sab
from sam_audio_bench import audio
from sam_audio_bench.records import ModelRecord, RunRecord, TaskRecord
from sam_audio_bench.run.cite import list_citations
from sam_audio_bench.run.training_overlap import training_overlap
from sam_audio_bench.separators.catalogue import CARDS, find_separator_card
from sam_audio_bench.tasks.adapters import ADAPTERS
from sam_audio_bench.tasks.catalogue import TASKS
from sam_audio_bench.tasks.recipes import load_recipes, load_stems
from sam_audio_bench.tasks.sources import SOURCES, find_recording_texts, find_shared_training, find_sources
from sam_audio_bench.types import Audio


def test_every_collection_is_found_by_its_name_alone() -> None:
    for key, source in SOURCES.items():
        assert key in find_sources([source.name])
        assert set(source.parts) <= set(SOURCES)
        assert bool(source.parts) == bool(source.stated)  # who says what it is made of
    assert find_sources(["music, movies on demand, an ami, a fuss and other speech of 800 h"]) == frozenset()
    assert find_sources(["MUSIC-AVQA"]) == {"music-avqa"}
    assert find_sources(["Libri2Mix", "Libri3Mix"]) == {"librimix"}
    assert find_sources(["VoiceBank-DEMAND"]) == {"voicebank", "demand"}


def test_what_cards_say_names_known_collections() -> None:
    for card in CARDS.values():
        for text in card.training_data or ():
            assert find_sources([text]) or text.endswith("unpublished"), text
    for name, stated in {**{one.id: one.recordings for one in TASKS.values()},
                         **{one.name: one.recordings for one in ADAPTERS.values()}}.items():  # fmt: skip
        assert all(find_sources([text]) for text in stated), name
    assert {card.id for card in TASKS.values() if not card.recordings} == set()
    assert {name for name, card in ADAPTERS.items() if not card.recordings} == {"stems", "audiosep"}


@pytest.mark.parametrize(
    ("training", "recordings", "told"),
    [
        (["MUSDB18-HQ (train)", "own songs"], ["MUSDB18-HQ"], "MUSDB18-HQ (train)"),
        (["MedleyDB"], ["MUSDB18"], "MedleyDB"),
        (["DNS Challenge"], ["VoiceBank-DEMAND"], "DNS Challenge (DEMAND)"),
        (["DNS Challenge"], ["Libri2Mix"], "DNS Challenge (LibriVox)"),
        (["Divide and Remaster"], ["LibriMix"], "Divide and Remaster (LibriSpeech)"),  # and so LibriVox, which is in it
        (["WavCaps", "FSD50K"], ["FUSS", "AudioSet"], "WavCaps (AudioSet, Freesound); FSD50K"),
        (["MoisesDB"], ["MUSDB18-HQ"], ""),
        ([], ["MUSDB18-HQ"], ""),
        (["MUSDB18"], [], ""),
    ],
)
def test_shared_collections(training: list[str], recordings: list[str], told: str) -> None:
    assert find_shared_training(training, recordings) == told


def test_collections_of_the_mini_split_are_those_of_its_stems() -> None:
    used = {name for recipe in load_recipes()["speech"] for name in (*recipe.target, *recipe.others)}
    assert set(find_recording_texts("speech", "mini")) == {load_stems()[name].credit for name in used}
    assert find_recording_texts("speech", "test") == TASKS["speech"].recordings
    assert find_recording_texts("own", "file", "own=musdb-bass:songs?excerpt=3") == ("MUSDB18-HQ",)
    assert find_recording_texts("own", "file", "own.csv") == ()


def header(model: ModelRecord, task: str = "musdb-test-bass", source: str = "musdb-bass:songs") -> RunRecord:
    asked = TaskRecord(id=task, version="1", split="file", subset="paper", source=source, data_revision="", items=1,
                       ids_sha256="")  # fmt: skip
    return RunRecord(
        status="success", started="", model=model, task=asked, metrics=[], seed=0, align=None, stereo="joint",
        shard=None, command=[], config={}, git=None, packages={}, hardware={},
    )  # fmt: skip


def test_a_run_knows_its_separator_by_name_and_class() -> None:
    target = CARDS["demucs"].target
    demucs = ModelRecord(kind="separator", name="demucs+overlap=0.5", target=target, options={"folder": ""})
    assert training_overlap(header(demucs)) == "MUSDB18-HQ"
    own = ModelRecord(kind="separator", name="demucs+folder=x", target=target, options={"folder": "digest"})
    assert training_overlap(header(own)) == ""  # nobody knows what a user's weights were trained on
    assert training_overlap(header(ModelRecord(kind="separator", name="demucs", target="mine:Net"))) == ""
    assert training_overlap(header(demucs, "mine", "mine.csv")) == ""
    dtln = ModelRecord(kind="separator", name="dtln", target=CARDS["dtln"].target)
    assert training_overlap(header(dtln, source="voicebank:x")) == "DNS Challenge, Interspeech 2020 (DEMAND)"
    rnnoise = ModelRecord(kind="separator", name="rnnoise", target=CARDS["rnnoise"].target)
    assert training_overlap(header(rnnoise, source="voicebank:x")) == ""  # its authors state nothing
    assert list_citations(header(dtln)) == ["sam_audio_bench", "westhausen2020dtln"]  # and not those of its class alone
    assert find_separator_card("renamed", CARDS["hpss"].target) is CARDS["hpss"]


def test_tables_mark_scores_on_recordings_of_the_same_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "songs" / "one"
    folder.mkdir(parents=True)
    noise = torch.randn(4, 1, 16_000, generator=torch.Generator().manual_seed(1)) * 0.05
    for stem, samples in zip(("vocals", "drums", "bass", "other"), noise, strict=True):
        audio.write_wav(folder / f"{stem}.wav", Audio(samples, 8000))
    audio.write_wav(folder / "mixture.wav", Audio(noise.sum(dim=0), 8000))
    monkeypatch.setitem(CARDS, "hpss", replace(CARDS["hpss"], training_data=("MUSDB18-HQ (train)",)))
    found = sab.evaluate(
        "hpss", f"musdb-drums:{tmp_path / 'songs'}", metrics=["snr"], output=tmp_path / "runs", progress=False
    )
    assert {row.separator: row.trained_on for row in found.rows} == {"hpss": "MUSDB18-HQ (train)", "mixture": ""}
    for table in (found.table("md"), sab.Results.read(tmp_path / "runs").table("html")):
        assert table.count("‡") >= 2
        assert "‡ trained on recordings of the same source (hpss: MUSDB18-HQ (train))" in table
    lines = [line for line in found.table("md", pivot="separator").splitlines() if "‡" in line and "|" in line]
    assert [line.split()[1].partition("@")[0] for line in lines] == [
        "musdb-songs-drums"
    ] * 2  # the mean, and the median
    assert "ddagger" in found.table("tex")
    monkeypatch.undo()
    assert "‡" not in sab.Results.read(tmp_path / "runs").table("md")
