"""The pool of stems: pinned packages, safe archives, class tables, splits, clips."""

from __future__ import annotations

import io
import random
import re
import struct
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from judge.sources import singing, splits
from judge.sources.archives import read_cat, unpack
from judge.sources.clips import RATE, SHORTEST, cut, decode, encode, joined, level, loudness, pitch, trim
from judge.sources.effects import Family, classify, effect_jobs, family, load_classes
from judge.sources.instruments import load_instruments
from judge.sources.job import Stem
from judge.sources.packages import Package, Provenance, Unpacked, check_licence, fetch, load_packages, verify
from judge.sources.patterns import PARTS, groove, tune
from judge.sources.pool import COLUMNS, build, run_job, summarise
from judge.sources.speech import Turns, sex_of, split_by_pitch
from judge.sources.synthetic_voices import sentence
from sam_audio_bench.errors import MediaError, Precondition, StoreError, UsageError
from sam_audio_bench.files import sha256
from sam_audio_bench.tasks.recipes import load_stems as mini_stems

SOME = Package("some", "deb", "1", "0" * 64, "CC0-1.0", "someone", "effects")


def tone(seconds: float, hertz: float = 440.0, amplitude: float = 0.1) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def noise(seconds: float, seed: int = 0, amplitude: float = 0.1) -> np.ndarray:
    return (amplitude * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


# packages


def test_every_pinned_package_may_be_used() -> None:
    packages = load_packages()
    assert len(packages) > 30
    for package in packages.values():
        assert re.fullmatch("[0-9a-f]{64}", package.sha256)
        assert all((package.credit, package.takes, package.version))
        for pattern in (package.keep, package.exclude, *package.licences):
            re.compile(pattern)


@pytest.mark.parametrize(
    "licence", ["CC-BY-NC-4.0", "CC-BY-NC-SA-3.0", "GFDL-1.3", "unknown", "", "CC-BY-ND-4.0", "MIT-0x"]
)
def test_licences_that_are_refused(licence: str) -> None:
    with pytest.raises(UsageError, match="leave it out"):
        replace(SOME, licence=licence)
    with pytest.raises(UsageError, match="leave it out"):
        replace(SOME, licences={"a": licence})


@pytest.mark.parametrize(
    "licence", ["CC0-1.0", "CC-BY-3.0", "CC-BY-SA-4.0", "MIT", "GPL-2.0-or-later", "Public-Domain"]
)
def test_licences_that_are_allowed(licence: str) -> None:
    assert check_licence(licence, "x") == licence


def test_first_pattern_gives_the_licence_of_a_file() -> None:
    package = replace(SOME, licences={"drums/": "MIT", "drums/a": "GPL-2.0-only"})
    assert [package.licence_of(path) for path in ("x/drums/a.wav", "bells/a.wav")] == ["MIT", "CC0-1.0"]


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "some-1.deb").write_bytes(b"something else")
    with pytest.raises(Precondition, match="should have SHA-256 000000000000"):
        fetch(SOME, tmp_path)
    assert not (tmp_path / "unpacked").exists()


def test_verify_accepts_the_pinned_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    verify(tmp_path / "empty", replace(SOME, sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"))


def test_a_missing_client_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Precondition, match="apt-get, which was not found"):
        fetch(SOME, tmp_path / "cache")


def test_a_package_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that packs a file on its first call and fails ever after."""
    client = tmp_path / "bin" / "npm"
    client.parent.mkdir()
    client.write_text("#!/bin/sh\n[ -e ../../called ] && exit 1\ntouch ../../called\ncp ../../made.tgz got.tgz\n")
    client.chmod(0o755)
    made = tmp_path / "cache" / "made.tgz"
    made.parent.mkdir()
    with tarfile.open(made, "w:gz") as archive:
        info = tarfile.TarInfo("package/a.wav")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    package = replace(SOME, kind="npm", sha256=sha256(made.read_bytes()))
    monkeypatch.setenv("PATH", f"{client.parent}:/usr/bin:/bin")
    first, second = (fetch(package, tmp_path / "cache") for _ in range(2))
    assert first == second
    assert [first.origin(path) for path in first.files(r"\.wav$")] == ["package/a.wav"]


# archives


def packed(path: Path, names: dict[str, bytes], link: str = "") -> Path:
    if path.suffix in {".zip", ".pk3"}:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in names.items():
                archive.writestr(name, data)
        return path
    with tarfile.open(path, "w:gz") as tar:
        for name, data in names.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if link:
                info.type, info.linkname, info.size = tarfile.SYMTYPE, link, 0
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("suffix", ["zip", "tgz"])
@pytest.mark.parametrize("name", ["../evil.wav", "/tmp/evil.wav", "a/../../evil.wav", "c:/evil.wav"])
def test_members_outside_the_folder_are_refused(tmp_path: Path, suffix: str, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(MediaError, match="must stay inside"):
        unpack(packed(tmp_path / f"bad.{suffix}", {name: b"x"}), folder)
    assert not list(folder.rglob("*.wav"))
    assert not (tmp_path / "evil.wav").exists()


def test_links_outside_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(MediaError, match="must stay inside"):
        unpack(packed(tmp_path / "bad.tgz", {"a": b""}, link="../../etc/passwd"), tmp_path / "in")


@pytest.mark.parametrize("suffix", ["zip", "pk3", "tgz"])
def test_only_wanted_members_are_unpacked(tmp_path: Path, suffix: str) -> None:
    archive = packed(tmp_path / f"good.{suffix}", {"a/b.wav": b"1", "./c.txt": b"2"})
    (tmp_path / "in").mkdir()
    unpack(archive, tmp_path / "in", r"\.wav$")
    assert [path.name for path in (tmp_path / "in").rglob("*.*")] == ["b.wav"]


def test_a_broken_archive_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "broken.tgz").write_bytes(b"no archive")
    with pytest.raises(MediaError, match="delete it"):
        unpack(tmp_path / "broken.tgz", tmp_path)


def cat(sounds: list[tuple[bytes, bytes]]) -> bytes:
    """A sound set in the new format, written from its description."""
    table, body, offset = b"", b"", 8 * len(sounds)
    for title, riff in sounds:
        table += struct.pack("<II", offset | 0x80000000, len(riff))
        entry = bytes([len(title) + 1]) + title + b"\0" + riff + b"extra"
        body += entry
        offset += len(entry)
    return table + body


def test_a_sound_set_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "a.cat").write_bytes(cat([(b'"Cow". License: Zero', b"RIFF1234"), (b"Caf\xe9", b"RIFFxy")]))
    sounds = read_cat(tmp_path / "a.cat")
    assert [(sound.number, sound.title, sound.data) for sound in sounds] == [
        (0, '"Cow". License: Zero', b"RIFF1234"),
        (1, "Café", b"RIFFxy"),
    ]


def test_damaged_sound_sets_are_refused(tmp_path: Path) -> None:
    whole = cat([(b"a", b"RIFF1234")])
    for data in (whole[:6], whole[:14], whole.replace(b"RIFF", b"RIFX"), struct.pack("<II", 8, 4) + b"RIFF", b""):
        (tmp_path / "a.cat").write_bytes(data)
        with pytest.raises(MediaError, match=r"a\.cat"):
            read_cat(tmp_path / "a.cat")


# tables


def test_every_rule_finds_its_example() -> None:
    packages = load_packages()
    for kind in load_classes():
        assert kind.rules, kind.label
        for package, pattern, example in kind.rules:
            assert package in packages, (kind.label, package)
            assert re.search(pattern, example), (kind.label, pattern, example)
            found = classify(package, example)
            assert found is not None, example
            assert found.label == kind.label, (example, found.label)


def test_prompts_are_what_users_type() -> None:
    for kind in (*load_classes(), *load_instruments().values()):
        assert 2 <= len(kind.prompts) <= 5, kind.label
        assert len(set(kind.prompts)) == len(kind.prompts)
        assert all(prompt == prompt.lower().strip() for prompt in (kind.label, *kind.prompts))


def test_enough_classes_are_kept_out() -> None:
    assert sum(kind.unseen for kind in load_classes()) >= 14
    assert sum(kind.unseen for kind in load_instruments().values()) >= 10
    assert len(load_classes()) >= 50
    assert len(load_instruments()) >= 40


def test_unrecognisable_files_have_no_class() -> None:
    assert classify("0ad-data", "audio/interface/ui/chat_alert.ogg") is None
    assert classify("no-such-package", "dog.ogg") is None


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ("a/cattle_07.ogg", "cattle"),
        ("a/dog.ogg", "dog"),
        ("a/step.3.ogg", "step"),
        ("a/hit10a.wav", "hit"),
        ("a/wind_storm_2.ogg", "wind_storm"),
        ("a/7.ogg", "7"),
        ('"Cow". By x', '"Cow". By x'),
    ],
)
def test_families(origin: str, name: str) -> None:
    assert family(origin) == name


def test_same_bytes_are_taken_once(tmp_path: Path) -> None:
    for name in ("units/a/sounds/sheep1.wav", "units/b/sounds/sheep1.wav", "units/b/sounds/sheep2.wav", "sel.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name[-5:].encode())
    jobs = effect_jobs({"megaglest-data": Unpacked(load_packages()["megaglest-data"], tmp_path)})
    assert [(job.label, len(job.parts)) for job in jobs] == [("sheep", 2)]
    assert jobs[0].group == "megaglest-data:sheep:sheep"


def test_excluded_files_are_not_taken(tmp_path: Path) -> None:
    for name in ("misc_crow.flac", "perc_bell.flac", "perc_bell2.flac"):
        (tmp_path / name).write_bytes(name.encode())
    package = load_packages()["supersonic-scsynth-samples"]
    assert [path.name for path in Unpacked(package, tmp_path).files(r"perc_bell|crow")] == [
        "misc_crow.flac",
        "perc_bell2.flac",
    ]


# clips


def test_clips_survive_the_file_format() -> None:
    wave = level(noise(2))
    back = decode(encode(wave))
    assert back.shape == wave.shape
    assert np.abs(back - wave).max() <= 1 / 32767
    assert encode(wave) == encode(wave)


def test_trimming_keeps_what_sounds() -> None:
    silent = np.zeros(RATE, np.float32)
    kept = trim(np.concatenate([silent, tone(1.5), 0 * silent, 0.05 * noise(0.1), silent]))
    assert abs(len(kept) / RATE - 2.6) <= 0.04
    assert len(trim(silent)) == 0


@pytest.mark.parametrize("amplitude", [1e-3, 0.1, 3.0])
def test_levels_are_set_and_peaks_are_safe(amplitude: float) -> None:
    wave = level(np.concatenate([noise(1, amplitude=amplitude), np.zeros(RATE, np.float32)]))
    active = loudness(wave)[1:49]
    assert np.isclose(np.sqrt((active**2).mean()), 10 ** (-23 / 20), rtol=0.02)
    spike = noise(1, amplitude=0.001)
    spike[500] = 1
    assert np.abs(level(spike)).max() <= 10 ** (-1 / 20) + 1e-6


def test_long_recordings_are_cut_evenly_and_quiet_pieces_dropped() -> None:
    pieces = cut(noise(60), 10, 4)
    assert [len(piece) / RATE for piece in pieces] == [10, 10, 10, 10]
    assert len(cut(noise(12), 10, 4)) == 1
    assert len(cut(np.concatenate([noise(10), 0.01 * noise(10)]), 10, 4)) == 1


def test_short_sounds_are_strung_together() -> None:
    clips = joined([tone(0.2, 200 + 50 * index) for index in range(40)], random.Random(1), (0.1, 0.2), 3.0)
    assert len(clips) > 1
    assert all(3 <= len(clip) / RATE <= 20 for clip in clips)
    (alone,) = joined([tone(0.3)], random.Random(1), (0.1, 0.2), 3.0)
    assert SHORTEST <= len(alone) / RATE <= 20
    assert joined([], random.Random(1), (0.1, 0.2), 3.0) == []


@pytest.mark.parametrize("hertz", [90.0, 130.0, 210.0, 320.0])
def test_pitch_of_a_buzz(hertz: float) -> None:
    buzz = np.sign(tone(1, hertz)) * 0.1 + noise(1, amplitude=0.005)
    assert abs(pitch(buzz.astype(np.float32)) / hertz - 1) < 0.03


def test_noise_and_silence_have_no_pitch() -> None:
    assert np.isnan(pitch(noise(1)))
    assert np.isnan(pitch(np.zeros(100, np.float32)))


def test_sexes_and_voices_by_pitch() -> None:
    assert [sex_of(hertz) for hertz in (110, 210, 350)] == ["man", "woman", "child"]
    rng = random.Random(0)
    two = [rng.gauss(110, 10) for _ in range(20)] + [rng.gauss(220, 15) for _ in range(20)]
    assert split_by_pitch(two) == [0] * 20 + [1] * 20
    one = [rng.gauss(200, 25) for _ in range(40)]
    assert split_by_pitch(one) == [0] * 40
    assert split_by_pitch([*two, float("nan")])[-1] in (0, 1)
    assert split_by_pitch([100.0, 220.0]) == [0, 0]


# music


@pytest.mark.parametrize("part", sorted(PARTS))
def test_tunes_keep_to_range_time_and_seed(part: str) -> None:
    for seed in range(20):
        notes = tune(part, 48, 79, 8.0, random.Random(seed))
        assert notes == tune(part, 48, 79, 8.0, random.Random(seed))
        assert all(0 <= note.start < 8 and note.length > 0 and 30 <= note.velocity <= 127 for note in notes)
        assert all(48 <= note.pitch <= 79 + 7 * (part == "power") for note in notes)
        assert max(note.start for note in notes) > 4
    assert len({tuple(tune(part, 48, 79, 8.0, random.Random(seed))) for seed in range(20)}) == 20


def test_grooves_have_a_beat() -> None:
    struck = groove(8.0, random.Random(3))
    assert {"kick", "snare"} <= {drum for _, drum, _ in struck}
    assert all(0 <= at < 8 for at, _, _ in struck)


def test_sentences_vary() -> None:
    rng = random.Random(0)
    said = {sentence(rng) for _ in range(100)}
    assert len(said) > 95
    assert all(re.fullmatch(r"[A-Z][A-Za-z ]+\.", text) for text in said)


# singing


def babble(seconds: float = 6.0) -> np.ndarray:
    """Four syllables of a buzz a second at 110 Hz, with breath between them."""
    at = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 110 * k * at) / k for k in range(1, 30))
    return (0.1 * buzz * np.maximum(0, np.sin(8 * np.pi * at)) + noise(seconds, amplitude=0.003)).astype(np.float32)


def test_every_manner_of_singing_is_on_pitch_and_repeatable() -> None:
    pytest.importorskip("pyworld")
    for number, manner in enumerate(singing.MANNERS):
        song = singing.sing(babble(), manner, random.Random(number))
        assert song is not None
        assert 2 * RATE < len(song) <= 8.1 * RATE
        assert np.isfinite(song).all()
        again = singing.sing(babble(), manner, random.Random(number))
        assert again is not None
        assert np.array_equal(song, again)
    assert singing.sing(noise(3), singing.MANNERS[0], random.Random(0)) is None


def test_melodies_glide_between_notes_and_tremble_on_long_ones() -> None:
    which = np.repeat([0, 1], 200)
    calm, rich = singing.MANNERS[2], singing.MANNERS[1]
    plain = singing.melody(np.where(which, 64.0, 60.0), which, replace(calm, scoop=0), random.Random(0))
    assert abs(np.median(plain[50:150]) - 60) < 0.3
    assert abs(np.median(plain[250:350]) - 64) < 0.3
    assert np.abs(np.diff(plain)).max() < 1
    assert singing.melody(np.full(400, 60.0), 0 * which, rich, random.Random(0))[100:].std() > 2 * plain[60:150].std()


def test_a_voice_sings_in_its_own_group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spoken = Stem(babble(), "speech", "man", ("speech",), "ami:MEE1", Provenance("a==1", "a.wav", "MIT", "b"), "train")
    monkeypatch.setattr(Turns, "stems", lambda self: iter([spoken]))
    monkeypatch.setattr(singing, "sing", lambda wave, manner, rng: wave)
    made = list(singing.Sung(Turns("ami:MEE1", (), spoken.provenance)).stems())
    assert {(stem.domain, stem.label, stem.group, stem.side) for stem in made} == {
        ("music", "singing", "ami:MEE1", "train")
    }
    assert "male vocals" in made[0].prompts
    assert made[0].provenance.origin == "a.wav, made to sing"


def test_a_missing_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyworld", None)
    singing._world.cache_clear()
    with pytest.raises(Precondition, match="pip install pyworld"):
        singing.sing(babble(), singing.MANNERS[0], random.Random(0))


# splits


def test_a_voice_sings_where_it_speaks() -> None:
    spoken = rows("man", "a", 8) + rows("woman", "b", 8)
    sung = [("singing", group, package, side) for _, group, package, side in spoken]
    assert splits.split_groups(spoken + sung) == splits.split_groups(spoken)


def rows(label: str, package: str, groups: int, side: str = "") -> list[tuple[str, str, str, str]]:
    return [(label, f"{package}:{label}:{index}", package, side) for index in range(groups) for _ in range(2)]


def test_a_group_is_in_one_split_and_a_quarter_tests() -> None:
    sides = splits.split_groups(rows("dog", "a", 40))
    assert set(sides.values()) == {"train", "test"}
    assert sum(side == "test" for side in sides.values()) == 10
    assert sides == splits.split_groups(reversed(rows("dog", "a", 40)))


def test_another_package_tests_where_that_fits() -> None:
    sides = splits.split_groups(rows("dog", "a", 8) + rows("dog", "b", 3))
    assert {group for group, side in sides.items() if side == "test"} == {f"b:dog:{index}" for index in range(3)}


def test_design_comes_before_hash_and_a_lone_group_trains() -> None:
    sides = splits.split_groups(rows("owl", "a", 3, "unseen") + rows("cat", "a", 1) + rows("violin", "f", 2, "test"))
    assert sides["a:owl:0"] == "unseen"
    assert sides["a:cat:0"] == "train"
    assert sides["f:violin:1"] == "test"


def test_shared_groups_and_classes_are_caught() -> None:
    splits.check_splits([("a", "g", "train"), ("a", "h", "test"), ("b", "i", "unseen")])
    with pytest.raises(StoreError, match="group 'g'"):
        splits.check_splits([("a", "g", "train"), ("a", "g", "test")])
    with pytest.raises(StoreError, match="class 'a'"):
        splits.check_splits([("a", "g", "train"), ("a", "h", "unseen")])


# pool


@dataclass(frozen=True)
class Made:
    """A job that makes clips of noise; seeds that are the same are the same recording, with another start."""

    name: str
    label: str
    seeds: tuple[int, ...]
    side: str = ""
    late: int = 0

    def stems(self) -> Iterator[Stem]:
        provenance = Provenance("some==1", f"{self.name}.wav", "CC0-1.0", "someone")
        for seed in self.seeds:
            wave = noise(2, seed)[self.late :]
            prompts = (self.label, f"a {self.label}")
            yield Stem(wave, "effects", self.label, prompts, self.name, provenance, self.side)


def test_a_pool_is_built_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [Made("a", "dog", (0, 1)), Made("b", "dog", (2,)), Made("c", "owl", (3,), "unseen")]
    first = build(jobs, tmp_path, 1)
    assert len(first.rows) == 4
    assert {row["split"] for row in first.rows if row["label"] == "dog"} == {"train", "test"}
    table = pd.read_parquet(tmp_path / "stems.parquet")
    assert list(table.columns) == COLUMNS.names
    for row in table.to_dict("records"):
        data = (tmp_path / row["path"]).read_bytes()
        assert sha256(data) == row["sha256"]
        assert len(decode(data)) == round(row["seconds"] * RATE)
    summary = summarise(first)
    assert summary["domain"]["effects unseen"]["clips"] == 1
    assert summary["left_out"] == {"in_mini": 0, "in_another_split": 0}
    monkeypatch.setattr(Made, "stems", lambda self: pytest.fail("made twice"))
    assert build(jobs, tmp_path, 1) == first


def test_a_lost_clip_is_made_again_and_a_stranger_removed(tmp_path: Path) -> None:
    jobs = [Made("a", "dog", (0,)), Made("b", "dog", (1,))]
    first = build(jobs, tmp_path, 1)
    lost = tmp_path / first.rows[0]["path"]
    data = lost.read_bytes()
    lost.rename(lost.with_name("dog-stranger.flac"))
    assert build(jobs, tmp_path, 1) == first
    assert lost.read_bytes() == data
    assert len(list((tmp_path / "audio").rglob("*.flac"))) == 2


def test_workers_change_nothing(tmp_path: Path) -> None:
    packages = load_packages()
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"mudchute_cow_{number}.wav").write_bytes(encode(noise(2, number)))
    jobs = effect_jobs({"megaglest-data": Unpacked(packages["megaglest-data"], tmp_path / "in")})
    assert build(jobs, tmp_path / "one", 1) == build(jobs, tmp_path / "two", 2)


def test_the_same_recording_is_in_one_split_only(tmp_path: Path) -> None:
    jobs = [
        Made("a", "dog", (0, 1), "train"),
        Made("b", "dog", (1, 2), "test", late=4000),
        Made("c", "owl", (2, 3), "unseen", late=2000),
        Made("d", "cat", (3, 4), "train"),
    ]
    built = build(jobs, tmp_path, 1)
    assert sorted(row["group"] for row in built.rows) == ["a", "a", "c", "c", "d"]
    assert built.twins == 3


def test_a_stem_of_the_mini_split_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = decode(next(iter(mini_stems().values())).path)

    monkeypatch.setitem(globals(), "noise", lambda seconds, seed: 0.3 * wave)
    made = run_job(Made("a", "dog", (0,)), tmp_path)
    assert made["rows"] == []
    assert made["in_mini"][0]["mini"] == next(iter(mini_stems()))
    assert not (tmp_path / "audio").exists()


def test_a_family_strings_short_files_and_cuts_long_ones(tmp_path: Path) -> None:
    parts = []
    for index, seconds in enumerate((0.3, 0.4, 0.5, 25.0)):
        path = tmp_path / f"bark_{index}.flac"
        path.write_bytes(encode(noise(seconds, index)))
        parts.append((path, -1, Provenance("some==1", path.name, "CC0-1.0", "someone")))
    (tmp_path / "bark_9.flac").write_bytes(b"damaged")
    parts.append((tmp_path / "bark_9.flac", -1, parts[0][2]))
    made = list(Family("dog", ("dog",), False, "some:bark", tuple(parts)).stems())
    assert sorted(round(len(stem.wave) / RATE) for stem in made)[-2:] == [10, 10]
    assert len(made) == 3
    assert {stem.group for stem in made} == {"some:bark"}


@pytest.mark.parametrize(
    ("package", "origin"),
    [
        ("openttd-opensfx", '"Heavy wind". Original "wind1.wav" by "Anton".'),
        ("openttd-opensfx", '"Big crash". Original "crash.wav" by "sagetyrtle".'),
        ("supersonic-scsynth-samples", "package/samples/loop_amen.flac"),
        ("pyannote-audio", "MEO069"),
        ("pocketsphinx-testdata", "usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01.wav"),
    ],
)
def test_what_mini_was_made_from_is_excluded(package: str, origin: str) -> None:
    assert not Unpacked(load_packages()[package], Path()).takes(origin, "")
