"""Excerpts of songs: the samples that a cut by hand has, an identity of their own, songs that are too short."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sam_audio_bench as sab
from sam_audio_bench import audio, registry
from sam_audio_bench.errors import MediaError, UsageError
from sam_audio_bench.names import check_task
from sam_audio_bench.tasks.load import load_task
from sam_audio_bench.tasks.manifest import read_questions
from sam_audio_bench.tasks.manifest_check import check_questions
from sam_audio_bench.types import Audio

RATE = 8000
STEMS = ("vocals", "drums", "bass", "other")


def song(folder: Path, seed: int, seconds: float = 4.5) -> dict[str, torch.Tensor]:
    """Four stems of noise and their sum, in 24 bits."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    parts = {stem: torch.randn(1, int(seconds * RATE), generator=generator) * 0.05 for stem in STEMS}
    parts = {stem: (part * 2**23).round() / 2**23 for stem, part in parts.items()}
    for stem, part in {**parts, "mixture": sum(parts.values(), torch.zeros(()))}.items():
        audio.write_wav(folder / f"{stem}.wav", Audio(part, RATE))
    return parts


def test_an_excerpt_is_what_a_cut_by_hand_has(tmp_path: Path) -> None:
    parts = song(tmp_path / "test" / "one", 1)
    inside = slice(1 * RATE, 3 * RATE)
    item = load_task(f"musdb-bass:{tmp_path}?excerpt=2&at=1")["one-bass@1"]
    assert item.reference is not None
    assert item.residual_reference is not None
    assert torch.equal(item.reference.samples, parts["bass"][:, inside])
    assert torch.equal(item.query.mixture.samples, sum(parts.values(), torch.zeros(()))[:, inside])
    for source, stem in zip(item.residual_sources, ("vocals", "drums", "other"), strict=True):
        assert torch.equal(source.samples, parts[stem][:, inside])
    assert (item.group, item.remarks) == ("one", ())
    (middle,) = load_task(f"musdb-bass:{tmp_path}?excerpt=2")
    assert middle.id == "one-bass@1.25"
    assert torch.equal(middle.query.mixture.samples[0, :9], sum(parts.values(), torch.zeros(()))[0, 10_000:10_009])


def test_its_scores_are_those_of_songs_that_were_cut_before(tmp_path: Path) -> None:
    for at, name in enumerate("ab"):
        parts = song(tmp_path / "songs" / name, at)
        for stem in (*STEMS, "mixture"):
            whole = parts[stem] if stem in parts else sum(parts.values(), torch.zeros(()))
            (tmp_path / "cut" / name).mkdir(parents=True, exist_ok=True)
            audio.write_wav(tmp_path / "cut" / name / f"{stem}.wav", Audio(whole[:, RATE : 3 * RATE], RATE))
    tasks = [f"here=musdb-drums:{tmp_path / 'songs'}?excerpt=2&at=1", f"before=musdb-drums:{tmp_path / 'cut'}"]
    found = sab.evaluate("mixture", tasks, output=tmp_path / "runs", progress=False)
    table = {(row.task, row.metric): (row.value, row.ci_low, row.ci_high) for row in found.rows}
    names = {metric for _, metric in table}
    assert {"bss_images_sdr", "snr"} <= names
    for metric in names:
        for ending in ("", ":median"):
            assert table[f"here{ending}", metric] == table[f"before{ending}", metric]


def test_what_is_cut_belongs_to_the_identity(tmp_path: Path) -> None:
    song(tmp_path / "songs" / "one", 1)
    place = f"{tmp_path / 'songs'}"
    found = [load_task(f"musdb-vocals:{place}{options}") for options in ("", "?excerpt=2", "?excerpt=2&at=1")]
    assert [data.task for data in found] == [
        "musdb-songs-vocals", "musdb-songs-2s-vocals", "musdb-songs-2s-at1-vocals"
    ]  # fmt: skip
    assert len({data.revision for data in found}) == 3
    assert len({data.content_sha256(data.ids[0]) for data in found}) == 3
    named = registry.load_tasks([f"mine=musdb:{place}?excerpt=2"])
    assert [data.task for data in named] == [f"mine-{stem}" for stem in STEMS]
    (again,) = registry.load_tasks([named[1].record.source])
    assert again.record.differences(named[1].record) == []
    (other,) = registry.load_tasks([f"mine-drums=musdb-drums:{place}?excerpt=2&at=1"])
    assert "data_revision" in {change.field for change in other.record.differences(named[1].record)}


def test_a_song_that_is_too_short_is_left_out_and_named(tmp_path: Path) -> None:
    song(tmp_path / "long", 1)
    song(tmp_path / "short", 2, seconds=1.5)
    data = load_task(f"musdb-vocals:{tmp_path}?excerpt=2")
    assert data.ids == ("long-vocals@1.25",)
    assert data.notes == ("expected 2 s of short, found 1.5 s: it is left out",)
    assert load_task(f"musdb-vocals:{tmp_path}?excerpt=1&at=3").notes == (
        "expected 1 s from 3 s on of short, found 1.5 s: it is left out",
    )
    with pytest.raises(UsageError, match=r"expected a song with 5 s, found none: the longest has 4\.5 s"):
        load_task(f"musdb-vocals:{tmp_path}?excerpt=5")
    (tmp_path / "long" / "mixture.wav").unlink()
    torn = load_task(f"musdb-vocals:{tmp_path}?excerpt=2")
    with pytest.raises(MediaError, match=r"long/mixture\.wav"):
        torn[torn.ids[0]]


def test_other_songs_in_stems_have_excerpts_too(tmp_path: Path) -> None:
    parts = song(tmp_path / "songs" / "one", 3)
    item = load_task(f"stems:{tmp_path / 'songs'}?excerpt=1&at=0")["one-vocals@0"]
    assert item.reference is not None
    assert torch.equal(item.reference.samples, parts["vocals"][:, :RATE])
    for stem, part in parts.items():
        (tmp_path / "moises" / "one" / stem).mkdir(parents=True)
        audio.write_wav(tmp_path / "moises" / "one" / stem / "a.wav", Audio(part, RATE))
    audio.write_wav(tmp_path / "moises" / "one" / "vocals" / "b.wav", Audio(parts["bass"], RATE))
    item = load_task(f"moisesdb:{tmp_path / 'moises'}?excerpt=1&at=2")["one-vocals@2"]
    assert item.reference is not None
    assert torch.equal(item.reference.samples, (parts["vocals"] + parts["bass"])[:, 2 * RATE : 3 * RATE])


def test_stems_that_do_not_add_up_or_have_another_rate_are_told_of_excerpts(tmp_path: Path) -> None:
    parts = song(tmp_path / "one", 1)
    audio.write_wav(tmp_path / "one" / "drums.wav", audio.resample(Audio(parts["drums"], RATE), 2 * RATE))
    wrong = sum(parts.values(), torch.zeros(())).clone()
    wrong[:, : 2 * RATE] *= 0.5  # behind it the sum is right but for what resampling changes
    audio.write_wav(tmp_path / "one" / "mixture.wav", Audio(wrong, RATE))
    (problems,) = (
        {problem.what for problem in check_questions(read_questions(f"musdb-bass:{tmp_path}?excerpt=1&at=0"))},
    )
    assert "expected one/drums.wav at 8000 Hz as its mixture, found 16000 Hz: it will be resampled" in problems
    (told,) = (what for what in problems if "add up" in what)
    assert "found a difference of 0." in told or "found a difference of -0." in told  # as loud as the mixture itself
    later = {problem.what for problem in check_questions(read_questions(f"musdb-bass:{tmp_path}?excerpt=1&at=3"))}
    assert told not in later


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ("musdb:{}?excerp=30", "unknown option 'excerp': did you mean 'excerpt'"),
        ("musdb:{}?excerpt=long", "expected seconds such as .*excerpt=30&at=60"),
        ("musdb:{}?excerpt=0", "found 'excerpt=0'"),
        ("musdb:{}?excerpt=inf", "found 'excerpt=inf'"),
        ("musdb:{}?excerpt=1&excerpt=2", "each once, found 'excerpt=2'"),
        ("musdb:{}?at=3", "expected the seconds of an excerpt"),
        ("dnr:{}?excerpt=3", "unknown option 'excerpt'"),
    ],
)
def test_options_that_cannot_be_meant(spelling: str, message: str, tmp_path: Path) -> None:
    song(tmp_path / "one", 1, seconds=0.1)
    with pytest.raises(UsageError, match=message):
        check_task(f"mine={spelling.format(tmp_path)}")
    with pytest.raises(UsageError, match=message):
        load_task(spelling.format(tmp_path))


def test_a_folder_with_a_question_mark_in_its_name_stays_one(tmp_path: Path) -> None:
    song(tmp_path / "who?excerpt=1" / "one", 1)
    assert load_task(f"musdb-bass:{tmp_path / 'who?excerpt=1'}").ids == ("one-bass",)
