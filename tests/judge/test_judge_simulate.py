"""Simulated estimates: the same whatever the workers, apart by group and family, and in the promised layout."""

from __future__ import annotations

import importlib.util
import io
import json
import tarfile
from collections import defaultdict
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from judge import benign_changes, degrade, mask_network
from judge.degrade import RATE, TRANSFORM
from judge.families import FAMILIES, TRAINING, Scene, draw_families, make_estimate, suppress_noise
from judge.labels import Truth
from judge.queries import (
    SECONDS,
    DrawnQuery,
    SourceChoice,
    StemIndex,
    active_spans,
    draw_noise,
    draw_query,
    span_overlap,
)
from judge.simulate import SETS, main, simulate, simulate_mixture
from judge.stems import Stem, is_distinguishable, load_pool, mini_pool
from judge.summary import read_rows
from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.separators.suppressors import SUPPRESSORS, Suppressor
from sam_audio_bench.tasks.manifest import parse_spans

ABSENT = [
    *(name for name, suppressor in SUPPRESSORS.items() if suppressor.folder is None),
    *(["vocoder"] if importlib.util.find_spec("pyworld") is None else []),
]
"""Families whose packages are not installed here."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small training set."""
    return simulate("mini", tmp_path_factory.mktemp("answers"), "train", without=ABSENT, mixtures=8)


def members(path: Path) -> dict[str, bytes]:
    """Content of a tar file."""
    with tarfile.open(path) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}


def test_a_mixture_has_its_files(folder):
    files = members(folder / "shard-00000.tar")
    records = [json.loads(content) for name, content in files.items() if name.endswith(".json")]
    assert [record["key"] for record in records] == [f"train-{index:06d}" for index in range(8)]
    for record in records:
        key, estimates = record["key"], {row["target"] for row in record["rows"]}
        mixture, hertz = soundfile.read(io.BytesIO(files[f"{key}.mixture.flac"]), dtype="float32")
        assert hertz == RATE
        assert len(mixture) == record["seconds"] * RATE
        assert record["seconds"] in SECONDS
        assert estimates == set(range(len(estimates)))
        assert 4 <= len(estimates) <= 6
        assert len(record["group"]) == len(record["classes"])
        for k in estimates:
            info = soundfile.info(io.BytesIO(files[f"{key}.{k}.target.flac"]))
            assert (info.frames, info.samplerate, info.channels) == (len(mixture), RATE, 1)
            assert info.subtype in ("PCM_16", "PCM_24")
        for row in record["rows"]:
            needed = {"target", "text", "label", "kind", "query", "system", "scores", "raters"}
            assert needed <= set(row) <= {*needed, "spans"}
            assert row["query"] == f"{key}/{row['text'] or row['spans']}"
            spans = parse_spans(row.get("spans", ""))
            assert all(sign == "+" and 0 <= start < end <= record["seconds"] for sign, start, end in spans)
            assert set(row["scores"]) == set(AXES)
            assert all(1 <= score <= 5 for score in row["scores"].values())
            assert row["kind"] in ("intended", "wrong", "absent")
    assert sum(1 for name in files if name.endswith(".json")) == 8


def test_the_same_whatever_the_workers(folder, tmp_path):
    other = simulate("mini", tmp_path, "train", without=ABSENT, mixtures=8, workers=2)
    assert (other / "shard-00000.tar").read_bytes() == (folder / "shard-00000.tar").read_bytes()


def test_going_on(tmp_path):
    """Complete shards are kept, incomplete ones made again, and another seed is refused."""
    shard = simulate("mini", tmp_path, "valid", without=ABSENT, mixtures=1) / "shard-00000.tar"
    stamp = shard.stat().st_mtime_ns
    simulate("mini", tmp_path, "valid", without=ABSENT, mixtures=1)
    assert shard.stat().st_mtime_ns == stamp
    simulate("mini", tmp_path, "valid", without=ABSENT, mixtures=2)
    assert sum(name.endswith(".json") for name in members(shard)) == 2
    with pytest.raises(StoreError, match="found seed 1; choose --out"):
        simulate("mini", tmp_path, "valid", without=ABSENT, mixtures=2, seed=2)


def test_another_seed_gives_other_mixtures():
    one, other = (simulate_mixture("mini", "train", seed, 0, ABSENT) for seed in (1, 2))
    assert one != other


def decoded(files: dict[str, bytes], key: str, part: str) -> np.ndarray:
    return soundfile.read(io.BytesIO(files[f"{key}.{part}.flac"]), dtype="float32")[0]


def test_what_else_is_asked_depends_on_whether_there_is_anything_else(monkeypatch):
    """Shares of 1 and 0 instead of those of training: two prompts per estimate with a rival, one without."""
    families = dict.fromkeys(("perfect", "mixture", "bleed"), 1.0)
    plan = replace(SETS["train"], other_prompts=1.0, lone_prompts=0.0, families=families, noise=0.0)
    monkeypatch.setattr("judge.simulate.SETS", {"asked": plan})
    monkeypatch.setattr("judge.simulate._ABSENT", 0.0)  # of which mini has too few to find one each time
    lone = 0
    for index in range(12):
        record = json.loads(simulate_mixture("mini", "asked", 1, index)[-1][1])
        rows = pd.DataFrame(record["rows"])
        alone = len(record["classes"]) == 1
        lone += alone
        assert set(rows["target"].value_counts()) == {1 if alone else 2}
        assert (rows["kind"] == "intended").sum() == rows["target"].nunique()
    assert 0 < lone < 12


def test_stored_estimates_are_what_was_rated(folder):
    """Perfect estimates are rated 5, silence is silent, and the mixture as an estimate is the mixture."""
    files = members(folder / "shard-00000.tar")
    seen = set()
    for name, content in files.items():
        if not name.endswith(".json"):
            continue
        record = json.loads(content)
        read = partial(decoded, files, record["key"])
        for row in record["rows"]:
            if row["system"] == "mixture" and row["kind"] == "intended":
                assert abs(np.corrcoef(read("mixture"), read(f"{row['target']}.target"))[0, 1]) > 0.9999
                assert row["scores"]["recall"] > 4.85
            if row["system"] == "silence":
                assert np.abs(read(f"{row['target']}.target")).max() < 1e-3
                assert row["scores"]["overall"] < 1.01
                assert row["kind"] != "absent"
            if row["system"] == "perfect" and row["kind"] == "intended":
                assert row["scores"]["overall"] > 4.99
            seen.add(row["system"])
    assert seen <= {name for name, family in FAMILIES.items() if not family.held_out}


def test_summary(folder):
    summary, rows = json.loads((folder / "summary.json").read_text()), read_rows(folder)
    intended = rows[rows.kind == "intended"]
    assert summary["mixtures"] == 8
    assert (
        summary["answers"]
        == len(intended)
        == sum(sum(part["overall"]["histogram"]) for part in summary["families"].values())
    )
    assert summary["axes"]["recall"]["mean"] == pytest.approx(intended.recall.mean(), abs=1e-3)
    assert summary["rows"] == len(rows) == sum(summary["kinds"].values())


def test_no_group_and_no_family_is_on_both_sides():
    """By construction: sets for training and validation share no group with each other or with any test."""
    stems = pool_of_many()
    groups = defaultdict(set)
    for stem in stems:
        groups[stem.split].add(stem.group)
    splits = {name: {plan.targets, plan.others} for name, plan in SETS.items()}
    training = {"train", "train-faults"}
    assert all(splits[name] == {"train"} for name in training)
    assert splits["valid"] == {"valid"}
    assert all(not splits[name] & {"train", "valid"} for name in SETS if name not in training | {"valid"})
    assert not groups["train"] & groups["valid"]
    assert not (groups["train"] | groups["valid"]) & (groups["test"] | groups["unseen"])
    assert not any(SETS[name].held_out for name in training)
    for name in (*training, "valid"):
        assert not any(FAMILIES[family].held_out for family in (*SETS[name].families, *SETS[name].always))
    assert not SETS["valid"].held_out
    assert {name for name, family in FAMILIES.items() if family.held_out} == {
        *("spectral-gate", "repet-sim", "band-gains", "phase-noise", "reverb", "codec-mp3", "codec-ogg", "hush")
    }


def write_pool(folder: Path) -> Path:
    """A pool of tones in many groups."""
    rows = []
    for index in range(60):
        split = ("train", "train", "train", "test", "unseen")[index % 5]
        domain = ("speech", "music", "effects")[index // 5 % 3]
        tone = np.sin(2 * np.pi * (200 + 50 * index) * np.arange(3 * RATE) / RATE)
        soundfile.write(folder / f"{index}.flac", 0.3 * tone, RATE)
        rows.append(
            {"id": f"s{index}", "path": f"{index}.flac", "domain": domain, "split": split, "group": f"{split}-{index}",
             "label": f"thing{'abcdefghijkl'[index // 5]}{split}", "prompts": [f"thing {index // 5} {split}"]}
        )  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "stems.parquet")
    return folder


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pool(tmp_path_factory.mktemp("pool"))


def pool_of_many() -> list[Stem]:
    """Stems as `load_pool` splits them, without audio."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        rows = [
            {"id": f"{split}{index}", "path": "x.flac", "domain": "music", "label": "horn", "prompts": ["horn"],
             "group": f"{split}-{index}", "split": split}
            for split in ("train", "test", "unseen") for index in range(200)
        ]  # fmt: skip
        pd.DataFrame(rows).to_parquet(Path(name) / "stems.parquet")
        return list(load_pool(Path(name)))


def test_a_tenth_of_the_groups_is_for_validation():
    splits = pd.Series([stem.split for stem in pool_of_many()]).value_counts()
    assert 10 <= splits["valid"] <= 35
    assert splits["train"] + splits["valid"] == 200
    assert splits["test"] == splits["unseen"] == 200


def test_a_pool_on_disk(pool, tmp_path):
    folder = simulate(str(pool), tmp_path, "unseen-families", without=ABSENT, mixtures=4)
    rows = read_rows(folder)
    assert set(rows.domain) <= {"music", "effects"}
    assert all(FAMILIES[name].held_out for name in rows.system)
    assert all(groups[0].startswith("unseen-") for groups in rows.groups)
    assert all(group.startswith("test-") for groups in rows.groups for group in groups[1:])


def test_what_is_missing_is_said_before_any_work(tmp_path, capsys):
    with pytest.raises(Precondition, match=r"judge\.sources"):
        simulate(str(tmp_path), tmp_path, "train")
    with pytest.raises(UsageError, match="heldout-families"):
        simulate("mini", tmp_path, "trian")
    with pytest.raises(SystemExit):
        main(["--stems", "mini", "--sets", "trian", "--out", str(tmp_path)])
    assert "expected sets among" in capsys.readouterr().err


@pytest.fixture(scope="module")
def drawn():
    """Mixtures of each domain."""
    roles = StemIndex(stem for stem in mini_pool() if stem.split == "train")
    domains = ("speech", "music", "effects")
    return [
        draw_query(SourceChoice(roles, roles, augment=True), domains[seed % 3], np.random.default_rng(seed))
        for seed in range(30)
    ]


def test_mixtures(drawn):
    counts = set()
    for index, one in enumerate(drawn):
        scene = one.scene
        assert one.stems[0].domain == ("speech", "music", "effects")[index % 3]
        assert np.abs(scene.mixture).max() <= 0.9
        assert len(scene.others) == len(one.stems) - 1 == len(one.wrong)
        if scene.others:
            assert np.allclose(np.sum(scene.others, axis=0), scene.interference, atol=1e-6)
            ratio = 10 * np.log10(np.mean(scene.target**2) / np.mean(scene.interference**2))
            assert -10.1 <= ratio <= 10.1
        counts.add(len(one.stems))
        texts = [scene.text, *one.wrong, *([one.absent[0]] if one.absent else [])]
        assert len(set(texts)) == len(texts)
        if one.absent:
            assert one.absent[1] not in [stem.label for stem in one.stems]
    assert counts == {1, 2, 3}


def test_telling_apart():
    def stem(label: str, domain: str = "effects", prompts: tuple[str, ...] = ()) -> Stem:
        return Stem(label, Path(), domain, label, prompts or (label,), label, "train")

    assert is_distinguishable(stem("dog barking"), [stem("rain"), stem("violin", "music")])
    assert not is_distinguishable(stem("dog barking"), [stem("dog growling")])
    assert not is_distinguishable(stem("dog"), [stem("rain", prompts=("dog",))])
    assert not is_distinguishable(stem("violin", "music"), [stem("orchestral music", "music")])
    assert is_distinguishable(stem("man speaking", "speech"), [stem("woman speaking", "speech")])
    assert not is_distinguishable(stem("man speaking", "speech"), [stem("man speaking", "speech")])
    assert not is_distinguishable(stem("stream"), [stem("rain")])


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    """Level of one signal over another."""
    return float(10 * np.log10(np.mean(one.astype(float) ** 2) / np.mean(other.astype(float) ** 2)))


def octaves(signal: np.ndarray) -> np.ndarray:
    """Long-term levels of the octaves from 125 Hz to 8 kHz in dB."""
    power, places = np.abs(np.fft.rfft(signal)) ** 2, np.fft.rfftfreq(len(signal), 1 / RATE)
    edges = 125 * 2.0 ** np.arange(7)
    bands = [power[(places >= low) & (places < high)].sum() for low, high in pairwise(edges)]
    return 10 * np.log10(np.array(bands) / power.sum())


def noise_scenes(domain: str, count: int) -> list[DrawnQuery]:
    roles = StemIndex(stem for stem in mini_pool() if stem.split == "train")
    casting = SourceChoice(roles, roles, augment=False, noise=1.0 if domain == "speech" else 4.0)
    return [draw_query(casting, domain, np.random.default_rng(seed)) for seed in range(count)]


@pytest.fixture(scope="module")
def noisy() -> list[DrawnQuery]:
    """Noise scenes of speech."""
    return noise_scenes("speech", 40)


def test_noise_scenes(noisy):
    """The target in noise alone, and as much of the same noise again, made of other samples."""
    levels = []
    for one in [*noisy, *noise_scenes("music", 4)]:
        scene = one.scene
        assert scene.others == () == one.wrong
        assert len(one.stems) == 1
        assert np.array_equal(scene.target + scene.interference, scene.mixture)
        assert abs(decibels(scene.again, scene.interference)) < 1
        assert abs(np.corrcoef(scene.again, scene.interference)[0, 1]) < 0.5
        assert not one.absent or one.absent[1] not in {s.label for s in mini_pool() if s.domain == "effects"}
        levels.append(decibels(scene.target, scene.interference))
        if len(scene.target) >= 2 * RATE:
            apart = octaves(scene.again) - octaves(scene.interference)
            assert np.abs(apart[octaves(scene.interference) > -20]).mean() < 5
    assert -5.1 <= min(levels) < 0
    assert 15 < max(levels) <= 20.1


def test_noises_differ_in_colour_but_not_from_themselves():
    colours = []
    for seed in range(20):
        realise = draw_noise(5 * RATE, np.random.default_rng(seed))
        one, other = realise(), realise()
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.1
        assert np.abs(octaves(one) - octaves(other)).max() < 3
        colours.append(octaves(one))
    assert np.std(colours, axis=0).min() > 1


def test_babble_is_of_other_voices_than_the_target():
    """One voice beside the target's is too few for it, and nobody in it is said to be absent."""
    stems = [stem for stem in mini_pool() if stem.split == "train" and stem.domain == "speech"]
    few = StemIndex(
        [next(stem for stem in stems if stem.group == group) for group in sorted({s.group for s in stems})[:2]]
    )
    many = StemIndex(stems)
    for roles, found in ((few, False), (many, True)):
        casting = SourceChoice(roles, roles, augment=False, noise=1.0)
        drawn = [draw_query(casting, "speech", np.random.default_rng(seed)) for seed in range(12)]
        assert {len(one.voices) for one in drawn} <= {0, *range(5, 10)}
        assert all(one.stems[0].group not in {stem.group for stem in one.voices} for one in drawn)
        assert all(not one.absent or one.absent[1] not in {stem.label for stem in one.voices} for one in drawn)
        assert any(one.voices for one in drawn) == found


def test_who_gets_noise(drawn):
    """Sets of tests draw none, "denoised" apart; training mostly for speech; and the others say how many are alone."""
    assert all(one.scene.again is None for one in drawn)
    assert {name for name, plan in SETS.items() if plan.noise} == {"train", "train-faults", "valid", "denoised"}
    assert all(plan.alone is None for name, plan in SETS.items() if name != "train-faults")
    roles = StemIndex(stem for stem in mini_pool() if stem.split == "train")
    casting = SourceChoice(roles, roles, augment=False, noise=0.4, alone=0.9)
    for domain, share in (("speech", 0.4), ("music", 0.1)):
        found = [draw_query(casting, domain, np.random.default_rng(seed)) for seed in range(150)]
        assert np.mean([one.scene.again is not None for one in found]) == pytest.approx(share, abs=0.1)
        quiet = [one for one in found if one.scene.again is None]
        assert np.mean([len(one.stems) == 1 for one in quiet]) == pytest.approx(0.9, abs=0.08)


def test_other_noise(noisy):
    """What is not the target is the other noise at a lower level; only noise scenes are answered so."""
    scene = noisy[0].scene
    found = [make_estimate("other-noise", scene, np.random.default_rng(seed)) for seed in range(20)]
    levels = [decibels(one - scene.target, scene.again) for one in found]
    likeness = [np.corrcoef(one - scene.target, scene.again)[0, 1] for one in found]
    assert {like > 0.999 for like in likeness} == {True, False}  # some through the reference unit
    assert all(-40.1 < level < 0.1 for level, like in zip(levels, likeness, strict=True) if like > 0.999)
    wanted = {"other-noise": 1.0, "perfect": 1.0}
    draw = partial(draw_families, random=np.random.default_rng(0), held_out=False, wanted=wanted)
    assert set(draw(scene)) == {"other-noise", "perfect"}
    assert draw(replace(scene, again=None)) == ["perfect"]


@pytest.mark.parametrize(("share", "alone"), [(0.8, 3.2), (TRAINING["mixture"], 3.2), (0.3, 1.2)])
def test_a_lone_mixture_is_an_estimate_more_often(noisy, share, alone):
    """Where the target is 12 dB above the rest and no noise is to be taken away."""
    speech = noisy[0].scene.target
    wanted = {"mixture": share, "perfect": 2.0}
    for rest, again, expected in ((-12.5, None, alone), (-11.5, None, share), (-12.5, speech, share)):
        scene = Scene(speech, np.float32(10 ** (rest / 20)) * speech[::-1], (), "man speaking", again=again)
        draw = partial(draw_families, scene, held_out=False, wanted=wanted, counts=(1,))
        found = np.mean([draw(random=np.random.default_rng(seed)) == ["mixture"] for seed in range(1000)])
        assert found == pytest.approx(expected / (expected + 2), abs=0.05)


def test_denoised_speech_is_beside_a_perfect_estimate():
    """And beside families of either side, among them Hush, as far as they are installed."""
    plan, seen = SETS["denoised"], set()
    for index in range(3):
        files = simulate_mixture("mini", "denoised", 1, index, ABSENT)
        assert index or files == simulate_mixture("mini", "denoised", 1, index, ABSENT)
        record = json.loads(files[-1][1])
        systems = {row["target"]: row["system"] for row in record["rows"]}
        assert record["domain"] == "speech"
        assert systems[0] == "perfect"
        assert set(systems.values()) <= {"perfect", *plan.families}
        seen |= set(systems.values())
    assert len(seen) > 2
    scene = replace(noise_scenes("speech", 1)[0].scene, network=Path())
    draw = partial(draw_families, scene, held_out=True, wanted=plan.families, always=plan.always, counts=plan.counts)
    found = [draw(random=np.random.default_rng(seed)) for seed in range(40)]
    assert all(len(set(names)) == 5 and names[0] == "perfect" for names in found)
    assert {name for names in found for name in names} == {"perfect", *plan.families}


@pytest.fixture(scope="module")
def rated_scenes(drawn) -> list[tuple[Scene, Truth]]:
    """Scenes that every family is to estimate, with what rates the estimates."""
    hum = np.sin(np.arange(round(0.3 * RATE)) * 0.05).astype(np.float32)
    short = Scene(target=hum, interference=np.zeros_like(hum), others=(), text="hum")
    scenes = [*(one.scene for one in drawn[1:3]), short]
    return [(scene, Truth(scene.target, scene.interference)) for scene in scenes]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_estimates_every_scene(rated_scenes, name):
    """Finite, as long as the mixture, and the same for the same random numbers; silence and lone sources too."""
    if name in ABSENT:
        pytest.skip(f"{name} is not installed")
    for scene, truth in rated_scenes:
        found = make_estimate(name, scene, np.random.default_rng(3))
        assert found.shape == scene.target.shape
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        assert np.array_equal(found, make_estimate(name, scene, np.random.default_rng(3)))
        assert np.isfinite(truth.rate(found)).all()


def test_a_suppressor_that_is_not_installed(monkeypatch, tmp_path):
    """Said before any work, with what to do; or it is left out."""
    here = dict(SUPPRESSORS, dtln=Suppressor("dtln==1", "no_such_package.dtln", SUPPRESSORS["dtln"].run))
    monkeypatch.setattr("judge.families.SUPPRESSORS", here)
    monkeypatch.setattr("judge.families._suppressor_folder", lambda name: here[name].folder)
    with pytest.raises(Precondition, match="pip install --no-deps dtln==1"):
        suppress_noise("dtln", np.zeros(RATE, np.float32))
    others = [name for name in ABSENT if name != "dtln"]
    with pytest.raises(Precondition, match="dtln"):
        simulate("mini", tmp_path, "train", mixtures=1, without=others)
    with pytest.raises(UsageError, match="found dltn"):
        simulate("mini", tmp_path, "train", mixtures=1, without=["dltn"])


@pytest.mark.parametrize("name", SUPPRESSORS)
def test_suppressors_take_noise_away(name):
    """Little is left of noise alone."""
    if name in ABSENT:
        pytest.skip(f"{name} is not installed")
    noise = np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32) * 0.05
    found = suppress_noise(name, noise)
    assert found.shape == noise.shape
    assert np.mean(found**2) < 0.3 * np.mean(noise**2)


def test_a_mask_network(tmp_path, monkeypatch, drawn):
    """Trained in one go or in two it is the same file, and then estimates; another folder is refused."""
    monkeypatch.setattr(mask_network, "_BATCH", 2)
    monkeypatch.setattr(mask_network, "_EVERY", 1)
    stems = mini_pool()
    whole = mask_network.train(stems, tmp_path / "whole", steps=3)
    steps, made = iter((True, True, False)), mask_network._step

    def stopped(*given: Any) -> None:
        if not next(steps):
            raise KeyboardInterrupt
        made(*given)

    with monkeypatch.context() as once:
        once.setattr(mask_network, "_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            mask_network.train(stems, tmp_path / "parts", steps=3)
    assert (tmp_path / "parts" / "checkpoint.pt").is_file()
    parts = mask_network.train(stems, tmp_path / "parts", steps=3)
    assert mask_network.network_digest(parts) == mask_network.network_digest(whole)
    assert sorted(path.name for path in parts.iterdir()) == ["mask-network.json", "weights.safetensors"]
    scene = replace(drawn[0].scene, network=whole)
    found = make_estimate("mask-network", scene, np.random.default_rng(0))
    assert found.shape == scene.target.shape
    assert 0 < np.mean(found**2) < np.mean(scene.mixture**2)
    assert "mask-network" in {
        name for seed in range(40) for name in draw_families(scene, np.random.default_rng(seed), held_out=False)
    }
    with pytest.raises(Precondition, match=r"judge\.mask_network"):
        simulate("mini", tmp_path, "train", mixtures=1, without=ABSENT, network=tmp_path / "nowhere")


def test_families_are_rated_as_they_should_be(drawn):
    """Means over scenes: perfect, near-perfect, bleed, the mixture, the wrong source, silence."""
    scenes = [one.scene for one in drawn if len(one.stems) > 1][:6]
    truths = [Truth(scene.target, scene.interference) for scene in scenes]

    def mean(name: str) -> float:
        ratings = [
            truth.rate(make_estimate(name, scene, np.random.default_rng(at))).overall
            for at, (scene, truth) in enumerate(zip(scenes, truths, strict=True))
        ]
        return float(np.mean(ratings))

    order = [mean(name) for name in ("perfect", "near-perfect", "bleed", "mixture", "silence")]
    assert order == sorted(order, reverse=True)
    assert order[0] > 4.99
    assert order[-1] < 1.01
    assert mean("wrong-source") < mean("mixture")


@pytest.mark.parametrize("gain", [-45, 20])
def test_no_level_of_an_estimate_matters(drawn, gain):
    """What is asked of the ratings, since estimates are turned up or down after they were rated."""
    scene = next(one.scene for one in drawn if one.scene.others)
    truth = Truth(scene.target, scene.interference)
    for name in ("near-perfect", "irm", "mild-filter", "clip"):
        found = make_estimate(name, scene, np.random.default_rng(1))
        assert np.allclose(truth.rate(found), truth.rate(found * np.float32(10 ** (gain / 20))), atol=0.02), name


def test_changes_that_are_hardly_heard(drawn):
    """Another waveform and nearly the best rating."""
    for one in drawn[:4]:
        target, random = one.scene.target, np.random.default_rng(5)
        truth = Truth(target, one.scene.interference)
        for change in (benign_changes.delay, benign_changes.all_pass):
            found = change(target, random)
            assert found.shape == target.shape
            assert np.mean((found - target) ** 2) > 0.01 * np.mean(target**2)
            spectra = [np.abs(np.fft.rfft(signal)) for signal in (found, target)]
            assert np.corrcoef(*spectra)[0, 1] > 0.9
            assert truth.rate(found).overall > 3.5


def test_spans_of_a_source():
    tone, pause = np.ones(RATE // 2, np.float32), np.zeros(RATE, np.float32)
    short = np.zeros(RATE // 10, np.float32)
    assert active_spans(np.concatenate([pause, tone, short, tone, pause, tone])) == [(1.0, 2.1), (3.1, 3.6)]
    assert active_spans(pause) == []
    assert len(active_spans(np.tile(np.concatenate([tone, pause]), 60))) <= 20
    assert span_overlap([(0, 1)], [(0.5, 1.5)]) == pytest.approx(1 / 3)
    assert span_overlap([(0, 1)], [(2, 3)]) == span_overlap([], []) == 0


def test_singers_sing_over_music(tmp_path):
    """Where the pool has singing; elsewhere nothing is different."""
    tone = np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE).astype(np.float32)
    soundfile.write(tmp_path / "tone.flac", 0.3 * tone, RATE)
    labels = ["singing"] * 3 + ["orchestral music"] * 3 + ["piano"] * 3
    stems = [
        Stem(f"{at}", tmp_path / "tone.flac", "music", label, (label,), f"{label}-{at}", "train")
        for at, label in enumerate(labels)
    ]
    roles = StemIndex(stems)
    casts = [
        draw_query(SourceChoice(roles, roles, augment=False), "music", np.random.default_rng(at)) for at in range(60)
    ]
    over = [one for one in casts if one.scene.kind == "singing" and len(one.stems) > 1]
    assert 15 <= len(over) <= 45
    assert any(stem.label == "orchestral music" for one in over for stem in one.stems)
    assert all(one.scene.impostor is not None for one in over)
    assert {one.scene.kind for one in casts} == {"singing", "music"}


def test_the_transform_is_inverted_exactly():
    signal = np.random.default_rng(0).standard_normal(5001).astype(np.float32)
    assert np.allclose(TRANSFORM.inverse(TRANSFORM.forward(signal), 5001), signal, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "band_limit",
        "clip",
        "coarse",
        "drop_out",
        "hiss",
        "musical_noise",
        "swap",
        "pitch",
        "resynthesise",
        "phase_noise",
        "reverberate",
    ],
)
def test_damage(name):
    """Each changes a sound but not its length, and takes silence."""
    random = np.random.default_rng(1)
    sound = random.standard_normal(2 * RATE).astype(np.float32)
    found = getattr(degrade, name)(sound, random)
    assert found.shape == sound.shape
    assert found.dtype == np.float32
    assert not np.allclose(found, sound, atol=1e-3)
    assert np.isfinite(getattr(degrade, name)(np.zeros(RATE, np.float32), random)).all()


def test_pitch_moves_a_tone():
    tone = np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE).astype(np.float32)
    found = degrade.pitch(tone, np.random.default_rng(2))
    peak = np.abs(np.fft.rfft(found * np.hanning(len(found)))).argmax() / 2
    assert 0.29 < abs(12 * np.log2(peak / 1000)) < 4.01
