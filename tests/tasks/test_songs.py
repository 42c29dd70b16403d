"""Songs in stems as tasks: MUSDB18-HQ by the field's protocol, MoisesDB, and the table of their texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import museval_metrics
from torch import Tensor

import sam_audio_bench as sab
from sam_audio_bench import audio, blocks, registry
from sam_audio_bench.errors import MediaError, UsageError
from sam_audio_bench.tasks.adapters import ADAPTERS, list_member_tasks
from sam_audio_bench.tasks.adapters.texts import DEFAULT_TEXTS, read_class_texts
from sam_audio_bench.tasks.load import load_task
from sam_audio_bench.tasks.manifest import read_questions
from sam_audio_bench.tasks.manifest_check import check_questions
from sam_audio_bench.types import Audio

RATE = 8000
STEMS = ("vocals", "drums", "bass", "other")


def sound(path: Path, seed: int, seconds: float = 4.5, rate: int = RATE, channels: int = 2) -> Tensor:
    """Coloured noise in stereo, in 24 bits."""
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(channels, int(seconds * rate), generator=generator) * 0.03
    samples[:, 1:] += 0.5 * samples[:, :-1].clone()
    samples = (samples * 2**23).round() / 2**23
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write_wav(path, Audio(samples, rate))
    return samples


def song(
    folder: Path, seed: int, *, silent: dict[str, tuple[float, float]] | None = None, channels: int = 2
) -> dict[str, Tensor]:
    """Four stems and their mixture; ``silent``: seconds in which a stem pauses."""
    parts = {stem: sound(folder / f"{stem}.wav", 10 * seed + at, channels=channels) for at, stem in enumerate(STEMS)}
    for stem, (start, end) in (silent or {}).items():
        parts[stem][:, int(start * RATE) : int(end * RATE)] = 0
        audio.write_wav(folder / f"{stem}.wav", Audio(parts[stem], RATE))
    audio.write_wav(folder / "mixture.wav", Audio(sum(parts.values(), torch.zeros(())), RATE))
    return parts


def separate(mixture: Tensor, rate: int, prompt: object) -> Tensor:
    """An answer of its own for each song: the mixture behind a filter, and some noise."""
    noise = torch.randn(mixture.shape, generator=torch.Generator().manual_seed(mixture.shape[1])) * 0.003
    return 0.6 * mixture + 0.2 * mixture.roll(3, dims=1) + noise


def test_medians_over_frames_and_songs_are_those_of_museval(tmp_path: Path) -> None:
    museval = museval_metrics()
    songs = {
        "one": song(tmp_path / "test" / "one", 1, channels=1),
        "two": song(tmp_path / "test" / "two", 2, silent={"vocals": (1.0, 3.1), "bass": (0.2, 0.9)}, channels=1),
        "three": song(tmp_path / "test" / "three", 3, silent={"drums": (2.0, 3.0)}, channels=1),
    }
    expected: dict[str, list[np.ndarray]] = {stem: [] for stem in STEMS}
    for name, parts in songs.items():
        mixture = audio.read(tmp_path / "test" / name / "mixture.wav").samples
        answer = separate(mixture, RATE, None)
        answer = (answer * 2**23).round() / 2**23  # as the disk gives it back
        references = np.stack([parts[stem].double().numpy().T for stem in STEMS])
        estimates = np.stack([answer.double().numpy().T] * 4)
        found = museval.bss_eval(references, estimates, window=RATE, hop=RATE)[:4]
        assert np.isnan(found[0]).any() == (name != "one")  # frames in which a stem pauses count for no stem
        for at, stem in enumerate(STEMS):
            expected[stem].append(np.array([np.nanmedian(values[at]) for values in found]))
    results = sab.evaluate(separate, tasks=[f"musdb:{tmp_path}"], output=tmp_path / "runs", progress=False)
    rows = {
        (row.task, row.metric): row.value
        for row in results.rows
        if row.separator == "separate" and row.task.endswith(":median")
    }
    for stem in STEMS:
        for at, kind in enumerate(("sdr", "isr", "sir", "sar")):
            value = rows[f"musdb-test-{stem}:median", f"bss_images_{kind}"]
            assert value == pytest.approx(np.median([one[at] for one in expected[stem]]), abs=1e-6), (stem, kind)
    assert "musdb-test-vocals@1-file, median over songs" in results.table("md")
    again = sab.evaluate(separate, tasks=[f"musdb-bass:{tmp_path}"], output=tmp_path / "more", progress=False)
    assert {(row.task, row.metric, row.value, row.ci_low) for row in again.rows} <= {
        (row.task, row.metric, row.value, row.ci_low) for row in results.rows
    }


def test_interference_counts_every_source_and_not_their_sum(tmp_path: Path) -> None:
    """An answer that holds drums in the wrong proportion: all stems explain it, target and residual do not."""
    parts = song(tmp_path / "one", 1)
    item = load_task(f"musdb-vocals:{tmp_path}")["one-vocals"]
    assert [
        torch.equal(source.samples, parts[stem]) for source, stem in zip(item.residual_sources, STEMS[1:], strict=True)
    ]
    answer = Audio(parts["vocals"] + 0.5 * parts["drums"], RATE)
    metric = registry.load_metric("bss_images_sar")
    separation = sab.Separation(target=answer, residual=answer)
    ((_, _, _, _, sar, _),) = metric.score([item], [separation])
    assert sar is not None
    assert sar.value is not None
    assert sar.value > 80
    ((_, _, _, _, alone, _),) = metric.score([replace(item, residual_sources=())], [separation])
    assert alone is not None
    assert alone.value is not None
    assert alone.value < 20


def test_long_songs_in_blocks_score_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    song(tmp_path / "one", 1, silent={"other": (1.0, 2.5)}, channels=1)
    metrics = registry.load_metrics(["bss_images_sdr", "bss_images_isr", "bss_images_sir", "bss_images_sar"])

    def rows() -> list[float | None]:
        item = load_task(f"musdb-vocals:{tmp_path}")["one-vocals"]
        answer = Audio(separate(item.query.mixture.samples, RATE, None), RATE)
        scored = [metric.score([item], [sab.Separation(target=answer, residual=answer)])[0] for metric in metrics]
        return [score.value for row in scored for score in row if score is not None]

    short = rows()
    monkeypatch.setattr(blocks, "LONG", 1 << 13)
    monkeypatch.setattr(blocks, "_BLOCK", 2000)
    assert len(short) == 4
    assert rows() == pytest.approx(short, abs=1e-6)


def test_a_song_that_is_too_short_for_every_filter_has_no_interference(tmp_path: Path) -> None:
    song(tmp_path / "one", 1)
    item = load_task(f"musdb-vocals:{tmp_path}")["one-vocals"]

    def first(sound: Audio) -> Audio:
        return Audio(sound.samples[:, :3000], RATE)  # of 8 filters of 512 taps

    query = replace(item.query, mixture=first(item.query.mixture))
    assert item.reference is not None
    cut = replace(
        item, query=query, reference=first(item.reference), residual_sources=tuple(map(first, item.residual_sources))
    )
    answer = sab.Separation(target=query.mixture, residual=query.mixture)
    (row,) = registry.load_metric("bss_images_sir").score([cut], [answer])
    assert {score.status for score in row if score is not None} == {sab.Status.TOO_SHORT}
    (row,) = registry.load_metric("bss_images_sdr").score([cut], [answer])
    assert row[0] is not None
    assert row[0].status is sab.Status.OK


def test_a_song_of_one_subset_is_four_questions_in_four_tasks(tmp_path: Path) -> None:
    song(tmp_path / "test" / "b song", 1)
    song(tmp_path / "test" / "a song", 2)
    found = registry.load_tasks([f"musdb:{tmp_path}"])
    assert [data.task for data in found] == [f"musdb-test-{stem}" for stem in STEMS]
    assert found[3].texts == {"a song-other": "other instruments", "b song-other": "other instruments"}
    assert "residual_sources" in found[0].provides
    named = registry.load_tasks([f"mine=musdb:{tmp_path / 'test'}"])
    assert [data.task for data in named] == [f"mine-{stem}" for stem in STEMS]
    again = registry.load_tasks([named[2].record.source])
    assert again[0].record.differences(named[2].record) == []
    assert len(read_questions(f"musdb:{tmp_path}").rows) == 8
    with pytest.raises(UsageError, match="expected one task, found the group"):
        registry.load_task(f"musdb:{tmp_path}")
    song(tmp_path / "train" / "c song", 3)
    with pytest.raises(UsageError, match=r"found train and test in .*: name one, such as musdb:.*test"):
        registry.load_tasks([f"musdb:{tmp_path}"])


def test_a_song_without_a_stem_costs_itself(tmp_path: Path) -> None:
    song(tmp_path / "whole", 1)
    song(tmp_path / "torn", 2)
    (tmp_path / "torn" / "bass.wav").unlink()
    (tmp_path / "notes").mkdir()
    data = load_task(f"musdb-vocals:{tmp_path}")
    assert data.notes == ("expected mixture and four stems of torn, found no bass.wav: it cannot be scored",)
    assert data.ids == ("torn-vocals", "whole-vocals")
    assert data["whole-vocals"].remarks == ()
    with pytest.raises(MediaError, match=r"bass\.wav") as caught:
        data["torn-vocals"]
    assert caught.value.status == "missing_media"


def test_stems_that_do_not_add_up_are_told_in_decibels(tmp_path: Path) -> None:
    parts = song(tmp_path / "one", 1)
    mixture = sum(parts.values(), torch.zeros(()))
    extra = sound(tmp_path / "noise.wav", 99)
    gain = 10 ** (-20 / 20) * (mixture.square().sum() / extra.square().sum()).sqrt()
    audio.write_wav(tmp_path / "one" / "mixture.wav", Audio(mixture + gain * extra, RATE))
    (remark,) = load_task(f"musdb-bass:{tmp_path}")["one-bass"].remarks
    level = float(remark.rpartition("found a difference of ")[2].split()[0])
    share = 10 * np.log10(float((gain * extra).square().sum() / (mixture + gain * extra).square().sum()))
    assert level == pytest.approx(share, abs=0.06)
    told = [problem.what for problem in check_questions(read_questions(f"musdb:{tmp_path}"))]
    assert told == [remark] * 4
    assert all(problem.severity == "warning" for problem in check_questions(read_questions(f"musdb:{tmp_path}")))


def test_a_stem_of_another_rate_is_told(tmp_path: Path) -> None:
    song(tmp_path / "one", 1)
    parts = sound(tmp_path / "one" / "drums.wav", 5, rate=2 * RATE)
    assert parts.shape[1] == 2 * 36_000
    item = load_task(f"musdb-vocals:{tmp_path}")["one-vocals"]
    assert "expected one/drums.wav at 8000 Hz as its mixture, found 16000 Hz: resampled" in item.remarks


def test_moisesdb_adds_up_the_recordings_of_a_stem(tmp_path: Path) -> None:
    root = tmp_path / "moisesdb_v0.1"
    lead, choir = (sound(root / "uuid" / "vocals" / f"{name}.wav", seed) for seed, name in enumerate("ab"))
    piano = sound(root / "uuid" / "piano" / "c.wav", 3)
    other = sound(root / "uuid" / "other" / "d.wav", 4)
    (root / "uuid" / "data.json").write_text("{}")
    sound(root / "lonely" / "bass" / "e.wav", 5)
    data = load_task(f"moisesdb:{root}")
    assert data.texts == {"uuid-piano": "piano", "uuid-vocals": "vocals"}
    assert data.notes == ("expected several stems in lonely, found bass alone: it is left out",)
    item = data["uuid-vocals"]
    assert item.reference is not None
    assert item.residual_reference is not None
    assert torch.allclose(item.reference.samples, lead + choir, atol=1e-7)
    assert torch.allclose(item.residual_reference.samples, piano + other, atol=1e-7)
    assert torch.allclose(item.query.mixture.samples, lead + choir + piano + other, atol=1e-7)
    sound(root / "uuid" / "kazoo" / "f.wav", 6)
    (root / "prompts.csv").write_text("class,text\nvocals,people singing\nother,the rest\npiano,\n")
    data = load_task(f"moisesdb:{root}")
    assert data.texts == {"uuid-other": "the rest", "uuid-vocals": "people singing"}
    assert "found kazoo too: in the residual alone" in data.notes[1]


def test_voicebank_pairs_noisy_and_clean(tmp_path: Path) -> None:
    for folder, seed in (("noisy_testset_wav", 1), ("clean_testset_wav", 2)):
        sound(tmp_path / folder / "p232_001.wav", seed, channels=1)
    data = load_task(f"voicebank:{tmp_path}")
    assert (data.task, data.texts) == ("voicebank-noisy_testset_wav", {"p232_001": "person speaking"})
    assert data.groups == {"p232_001": "p232"}
    assert {"speech", "reference", "residual_reference"} <= data.provides
    assert data["p232_001"].reference is not None
    sound(tmp_path / "noisy_trainset_28spk_wav" / "p226_001.wav", 3, channels=1)
    with pytest.raises(UsageError, match=r"name one, voicebank:.*noisy_testset_wav"):
        load_task(f"voicebank:{tmp_path}")
    assert load_task(f"voicebank:{tmp_path / 'noisy_testset_wav'}").ids == ("p232_001",)


def test_the_table_of_texts_changes_questions_and_their_identity(tmp_path: Path) -> None:
    song(tmp_path / "one", 1)
    before = load_task(f"musdb-vocals:{tmp_path}")
    (tmp_path / "prompts.toml").write_text('vocals = "a woman singing"\n')
    after = load_task(f"musdb-vocals:{tmp_path}")
    assert (before.texts["one-vocals"], after.texts["one-vocals"]) == ("vocals", "a woman singing")
    assert before.revision != after.revision
    assert before.content_sha256("one-vocals") != after.content_sha256("one-vocals")
    other = load_task(f"stems:{tmp_path}")
    assert other.texts["one-vocals"] == "a woman singing"
    assert "one-other" not in other.texts
    (tmp_path / "prompts.toml").write_text('other = "everything else"\n')
    assert load_task(f"stems:{tmp_path}").texts["one-other"] == "everything else"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("prompts.toml", 'vocal = "x"', "unknown class 'vocal': did you mean 'vocals'"),
        ("prompts.toml", "vocals = 3", "found vocals = 3"),
        ("prompts.toml", "vocals", "expected lines such as"),
        ("prompts.csv", "stem,words\nvocals,x\n", "expected the columns class,text .* found columns stem, words"),
        ("prompts.csv", "class,text\nvocals,x\nvocals,y\n", "found 'vocals' again in row 3"),
        ("prompts.csv", "", "found columns none"),
    ],
)
def test_a_table_of_texts_that_cannot_be_meant(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        read_class_texts("musdb", tmp_path)


def test_two_tables_of_texts_are_one_too_many(tmp_path: Path) -> None:
    for name in ("prompts.toml", "prompts.csv"):
        (tmp_path / name).write_text("")
    with pytest.raises(UsageError, match="remove one"):
        read_class_texts("musdb", tmp_path)


def test_every_layout_with_classes_has_texts_and_every_part_a_whole() -> None:
    assert set(DEFAULT_TEXTS) <= set(ADAPTERS)
    parts = [card for card in ADAPTERS.values() if card.whole]
    assert [card.name for card in parts] == [f"musdb-{stem}" for stem in STEMS]
    assert list(list_member_tasks("musdb:x")) == list(STEMS) == list(DEFAULT_TEXTS["musdb"])
