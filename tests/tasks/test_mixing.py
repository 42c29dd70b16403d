"""`sabench data mix`: sums to the bit, levels and spans by other means, shards, recipes that cannot be met."""

from __future__ import annotations

import csv
import itertools
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import sam_audio_bench as sab
from sam_audio_bench import audio
from sam_audio_bench.cli import group
from sam_audio_bench.errors import BenchError, MediaError, UsageError
from sam_audio_bench.tasks.load import load_task
from sam_audio_bench.tasks.manifest import read_questions
from sam_audio_bench.tasks.manifest_check import check_questions
from sam_audio_bench.tasks.mixing import ClipIndex, cut_sounding
from sam_audio_bench.tasks.mixing_plan import Planner
from sam_audio_bench.tasks.mixing_pool import Clip, read_pool, select_licensed
from sam_audio_bench.tasks.mixing_recipe import parse_recipe
from sam_audio_bench.tasks.mixing_write import write_mixtures
from sam_audio_bench.tasks.span_table import RULES, find_spans
from sam_audio_bench.types import Audio

RATE = 16_000
RECIPE = {"count": 6, "seconds": 2, "rate": RATE, "sources": [2, 4], "overlap": [0.2, 0.9]}


def clip(path: Path, seed: int, seconds: float, *, rate: int = RATE, channels: int = 1) -> None:
    """Noise of its own colour, louder or softer, with a pause in the middle."""
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(channels, int(seconds * rate), generator=generator) * 0.02 * (1 + seed % 7)
    samples[:, 1:] += (seed % 5 - 2) / 3 * samples[:, :-1].clone()
    pause = samples.shape[1] // 2
    samples[:, pause : pause + int(0.3 * rate)] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write_wav(path, Audio(samples.clamp(-1, 1), rate))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five classes of two clips, one of them longer than a mixture, one stereo at another rate."""
    folder = tmp_path_factory.mktemp("pool")
    for at, label in enumerate(("dog", "rain", "car_horn", "flute", "speech")):
        clip(folder / label / "a.wav", 10 * at, 0.9 + 0.1 * at)
        clip(folder / label / "deep" / "b.wav", 10 * at + 1, 3.0 if label == "rain" else 1.2)
    clip(folder / "dog" / "a.wav", 3, 1.0, rate=22_050, channels=2)
    return folder


def mixed(pool: Path, out: Path, *, form: str = "folders", shard: tuple[int, int] = (1, 1), **changes: object):
    """A folder of mixtures and what was said of them."""
    recipe = parse_recipe({**RECIPE, **changes})
    planner = Planner(select_licensed(read_pool(pool), recipe), recipe)
    return write_mixtures(planner, out, form=form, shard=shard)  # type: ignore[arg-type]


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def out(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed") / "own"
    mixed(pool, folder)
    return folder


def stored(out: Path, key: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Mixture and sources as another library reads them."""
    folder = out / "mixtures" / key
    names = sorted(path.name for path in folder.glob("source*.flac"))
    read = [soundfile.read(folder / name, dtype="float32") for name in ("mixture.flac", *names)]
    assert {rate for _, rate in read} == {RATE}
    assert {soundfile.info(folder / name).subtype for name in names} == {"PCM_24"}
    return read[0][0], [samples for samples, _ in read[1:]]


def test_sources_add_up_to_the_bit_in_every_order(out: Path) -> None:
    counts = set()
    for row in rows_of(out):
        mixture, sources = stored(out, row["id"])
        assert len(mixture) == 2 * RATE
        for order in itertools.permutations(sources):
            total = np.zeros_like(mixture)
            for source in order:
                total += source
            assert np.array_equal(total, mixture)
        assert max(np.abs(signal).max() for signal in (mixture, *sources)) <= 0.9 + 2**-23
        counts.add(len(sources))
    assert counts <= {2, 3, 4}
    assert len(counts) > 1


def test_the_manifest_is_a_task_whose_references_are_exact(out: Path, tmp_path: Path) -> None:
    assert list(check_questions(read_questions(out))) == []
    data = load_task(str(out / "manifest.csv"))
    assert {"text", "spans", "reference", "residual_reference"} <= data.provides
    for item in data:
        mixture, sources = stored(out, item.id)
        assert item.reference is not None
        assert item.residual_reference is not None
        assert np.array_equal(item.reference.samples[0].numpy(), sources[0])
        assert np.array_equal(item.residual_reference.samples[0].numpy(), np.sum(sources[1:], axis=0))
        assert item.remarks == ()
        assert np.array_equal(item.query.mixture.samples[0].numpy(), mixture)
    task = f"named={out / 'manifest.csv'}"
    found = sab.evaluate("mixture", task, metrics=["snr"], output=tmp_path, progress=False)
    scores = found.frame.set_index("item")["value"].to_dict()
    assert scores == {row["id"]: pytest.approx(float(row["snr"]), abs=2e-3) for row in rows_of(out)}
    assert {key[0] for key in found.attributes()} == {"named"}


def test_levels_are_those_of_the_recipe(pool: Path, out: Path, tmp_path: Path) -> None:
    for row in rows_of(out):
        mixture, sources = stored(out, row["id"])
        rest = np.sum(sources[1:], axis=0, dtype=np.float64)
        snr = 10 * np.log10(np.sum(np.square(sources[0], dtype=np.float64)) / np.sum(rest**2))
        assert float(row["snr"]) == pytest.approx(snr, abs=1e-3)
        assert -5.001 <= snr <= 5.001
        assert -30.001 <= float(row["loudness"]) <= -19.999
    mixed(pool, tmp_path / "rms", unit="dBFS", loudness=-26, snr=60, sources=2, count=2)
    for row in rows_of(tmp_path / "rms"):
        mixture, sources = stored(tmp_path / "rms", row["id"])
        assert 10 * np.log10(np.mean(mixture.astype(float) ** 2)) == pytest.approx(-26, abs=1e-3)
        levels = [np.sum(source.astype(float) ** 2) for source in sources]
        assert 10 * np.log10(levels[0] / levels[1]) == pytest.approx(60, abs=0.05)


def test_loudness_is_that_of_another_library(out: Path) -> None:
    meter = pytest.importorskip("pyloudnorm").Meter(RATE, filter_class="DeMan")
    for row in rows_of(out):
        mixture, _ = stored(out, row["id"])
        assert float(row["loudness"]) == pytest.approx(meter.integrated_loudness(mixture.astype(float)), abs=0.05)


def test_a_mixture_that_would_overload_is_turned_down_and_that_is_said(pool: Path, tmp_path: Path) -> None:
    report = mixed(pool, tmp_path, loudness=-1, count=3)
    assert len(report.turned_down) == 3
    for row, down in zip(rows_of(tmp_path), report.turned_down, strict=True):
        mixture, sources = stored(tmp_path, row["id"])
        assert float(row["loudness"]) == pytest.approx(-1 - down, abs=2e-3)
        magnitudes = np.sum(np.abs(sources), axis=0).max() / 2
        assert max(np.abs(mixture).max(), magnitudes, *(np.abs(one).max() for one in sources)) == pytest.approx(0.9)
        assert np.array_equal(np.sum(sources, axis=0), mixture)


def test_spans_are_when_sources_sound_and_overlap_follows(out: Path) -> None:
    for found in find_spans(read_questions(out), RULES["relative"]):  # which hears no pause below 250 ms at an edge
        assert found.overlap is not None
        assert found.overlap.recall > 0.98, (found.item, found.spans, found.given)
    for row in rows_of(out):
        described = json.loads((out / "mixtures" / row["id"] / "mixture.json").read_text())
        active = np.zeros((len(described["plan"]["sources"]), 2000), bool)
        for at, source in enumerate(described["plan"]["sources"]):
            for start, end in source["spans"]:
                active[at, round(1000 * start) : round(1000 * end)] = True
        _, sources = stored(out, row["id"])
        truth = np.stack([np.abs(source).reshape(2000, -1).max(axis=1) > 0 for source in sources])
        assert (active != truth).sum(axis=1).max() <= 4 * 10  # ms: two edges of two sounds, each found to 10 ms
        share = (active[0] & active[1:].any(axis=0)).sum() / active[0].sum()
        assert float(row["overlap"]) == pytest.approx(share, abs=2e-3)
        assert 0.2 <= float(row["overlap"]) <= 0.9
        assert len({source["label"] for source in described["plan"]["sources"]}) == len(active)


@pytest.mark.parametrize("form", ["folders", "webdataset"])
def test_shards_are_the_whole_to_the_bit(
    pool: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sam_audio_bench.tasks.mixing_write.PER_ARCHIVE", 2)
    mixed(pool, tmp_path / "whole", form=form)
    for number in (2, 3, 1):
        report = mixed(pool, tmp_path / "parts", form=form, shard=(number, 3))
        assert (report.made, report.missing, len(report.tables)) == (2, {2: 4, 3: 2, 1: 0}[number], 0) or number == 1
    assert report.tables[-1] == tmp_path / "parts" / "licences.csv"
    assert content(tmp_path / "parts") == content(tmp_path / "whole")
    again = mixed(pool, tmp_path / "parts", form=form)
    assert (again.mixtures, again.made) == (6, 0)
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


def test_archives_hold_the_same_sounds_as_folders(pool: Path, out: Path, tmp_path: Path) -> None:
    report = mixed(pool, tmp_path, form="webdataset")
    assert [path.name for path in report.tables] == ["licences.csv"]
    assert (tmp_path / "licences.csv").read_bytes() == (out / "licences.csv").read_bytes()
    with tarfile.open(tmp_path / "mix-00000.tar") as tar:
        names = tar.getnames()
        keys = [name.partition(".")[0] for name in names]
        assert keys == sorted(keys)  # files of a mixture lie together, as WebDataset reads them
        for name in names:
            key, _, part = name.partition(".")
            file = tar.extractfile(name)
            assert file is not None
            if part.endswith(".flac"):
                assert file.read() == (out / "mixtures" / key / part).read_bytes()
            else:
                described = json.loads(file.read())
                assert described["plan"]["key"] == key
                assert described["questions"][0]["mixture"] == "mixture.flac"


def test_a_mixture_depends_on_its_number_alone(pool: Path, out: Path, tmp_path: Path) -> None:
    mixed(pool, tmp_path / "fewer", count=2)
    assert content(tmp_path / "fewer" / "mixtures").items() <= content(out / "mixtures").items()
    mixed(pool, tmp_path / "seed", count=2, seed=1)
    assert rows_of(tmp_path / "seed") != rows_of(tmp_path / "fewer")


def test_going_on_makes_what_is_missing_damaged_or_of_another_clip(tmp_path: Path) -> None:
    for label in ("dog", "rain"):
        clip(tmp_path / "pool" / label / "a.wav", len(label), 1.0)
    mixed(tmp_path / "pool", tmp_path / "out", sources=2, count=3)
    before = content(tmp_path / "out")
    folder = tmp_path / "out" / "mixtures" / "mix-000001"
    (folder / "source2.flac").unlink()
    assert mixed(tmp_path / "pool", tmp_path / "out", sources=2, count=3).made == 1
    assert content(tmp_path / "out") == before
    clip(tmp_path / "pool" / "dog" / "a.wav", 77, 1.0)
    assert mixed(tmp_path / "pool", tmp_path / "out", sources=2, count=3).made == 3
    assert content(tmp_path / "out") != before
    with pytest.raises(BenchError, match=r"to be begun with this recipe and format, found count 3; choose"):
        mixed(tmp_path / "pool", tmp_path / "out", sources=2, count=4)
    (folder / "mixture.json").write_text("{")
    with pytest.raises(BenchError, match=r"expected the description of a mixture in .*; remove it"):
        mixed(tmp_path / "pool", tmp_path / "out", sources=2, count=3)


def test_texts_are_of_the_clip_the_recipe_or_the_label(pool: Path, tmp_path: Path) -> None:
    prompts = {"dog": ["dog barking", "barks"], "rain": "", "flute": "", "speech": ""}
    mixed(pool, tmp_path / "own", prompts=prompts, count=8)
    asked = {(row["target_class"], row["text"], row["paraphrases"]) for row in rows_of(tmp_path / "own")}
    assert asked == {("dog", "dog barking", "barks"), ("car_horn", "car horn", "")}
    mixed(pool, tmp_path / "every", ask="every", count=2, sources=3)
    rows = rows_of(tmp_path / "every")
    assert [row["id"] for row in rows[:3]] == ["mix-000000", "mix-000000-2", "mix-000000-3"]
    item = load_task(str(tmp_path / "every"))["mix-000000-2"]
    _, sources = stored(tmp_path / "every", "mix-000000")
    assert item.reference is not None
    assert np.array_equal(item.reference.samples[0].numpy(), sources[1])
    rest = np.sum([sources[0], sources[2]], axis=0)
    ratio = 10 * np.log10(np.sum(sources[1].astype(float) ** 2) / np.sum(rest.astype(float) ** 2))
    assert float(rows[1]["snr"]) == pytest.approx(ratio, abs=1e-3)


def test_a_table_of_clips_tells_licences_groups_and_texts(tmp_path: Path) -> None:
    for at, name in enumerate("abcd"):
        clip(tmp_path / f"{name}.wav", at, 1.0)
    table = tmp_path / "clips.csv"
    table.write_text(
        "path,label,text,licence,group,credit\na.wav,dog,my dog,CC0-1.0,g1,Ann\nb.wav,rain,,CC-BY-4.0,g1,Bob\n"
        "c.wav,rain,,,,\nd.wav,horn,,CC BY-NC 4.0,,\n"
    )
    clips = read_pool(table)
    assert clips[0] == Clip(id="a.wav", path=tmp_path / "a.wav", label="dog", text="my dog", licence="CC0-1.0",
                            group="g1", credit="Ann")  # fmt: skip
    mixed(table, tmp_path / "out", sources=2, licences=["CC0-1.0", "CC-BY-4.0"], licence="CC-BY-4.0")
    with (tmp_path / "out" / "licences.csv").open(encoding="utf-8", newline="") as file:
        licences = {row["clip"]: (row["licence"], row["mixtures"]) for row in csv.DictReader(file)}
    assert licences == {"a.wav": ("CC0-1.0", "6"), "c.wav": ("CC-BY-4.0", "6")}  # a and b are of one group
    assert {row["licences"] for row in rows_of(tmp_path / "out")} == {"CC-BY-4.0 + CC0-1.0"}
    with pytest.raises(UsageError, match=r"unknown licence 'CC0': did you mean 'CC0-1\.0'"):
        mixed(table, tmp_path / "none", licences=["CC0"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,txt\na.wav,dog,x\n", "row 1 of .*unknown column 'txt': did you mean 'text'"),
        ("file,label\na.wav,dog\n", "of which path and label are required, found file, label"),
        ("path,label\na.wav,\n", "row 2 of .*expected a value in column 'label', found an empty cell"),
        ("path,label\n../a.wav,dog\n", "use --allow-outside"),
        ("path,label\na.wav,dog\na.wav,cat\n", "expected each path once, found 'a.wav' again"),
    ],
)
def test_tables_of_clips_that_cannot_be_meant(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_pool(tmp_path / "clips.csv")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"snrs": 0}, "unknown key 'snrs': did you mean 'snr'"),
        ({"snr": [5, -5]}, r"expected snr in the recipe as \[from, to\] within -60 and 60, found \[5, -5\]"),
        ({"snr": float("nan")}, "expected snr"),
        ({"count": 0}, "Expected `?int`? >= 1 - at count"),
        ({"sources": 2.5}, "Expected int, got float - at sources"),
        ({"unit": "LKFS"}, "Invalid enum value 'LKFS' - at unit"),
        ({"shortest": 3.0}, "expected shortest clips .* found 3 s"),
        ({"sources": [1, 2], "overlap": [0.5, 1]}, "since one alone overlaps with none"),
        ({"prompts": {"dog": []}}, "expected a text for 'dog'"),
        ({"prompts": {"dog": ["dog", "a|b"]}}, "expected paraphrases"),
        ({"prompts": {"dgo": "x"}}, "unknown label 'dgo': did you mean 'dog'"),
        ({"confused": [["dog", "reign"]]}, "unknown label 'reign': did you mean 'rain'"),
        ({"sources": 6}, "expected at least 6 labels for 6 sources .* found 5 .* ask for fewer"),
        ({"sources": 5, "confused": [["dog", "rain"]]}, "5 sources of different labels.* none of them confused"),
        ({"prompts": dict.fromkeys(("dog", "rain", "car_horn", "flute", "speech"), "")}, "an empty text for each"),
        (
            {"overlap": 0, "seconds": 1.0, "sources": 4},
            r"expected sources that overlap by 0 to 0 in 1 s, found 0\.\d\d",
        ),
        ({"shortest": 1.15, "count": 20}, r"expected clips of 1\.15 s or more, found .* change shortest; expected"),
    ],
)
def test_a_recipe_that_cannot_be_met_is_told_before_anything_is_written(
    changes: dict[str, object], message: str, pool: Path, tmp_path: Path
) -> None:
    with pytest.raises(BenchError, match=message):
        mixed(pool, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_silent_and_damaged_clips_are_named_together(tmp_path: Path) -> None:
    for label in ("dog", "rain", "horn"):
        clip(tmp_path / label / "a.wav", len(label), 1.0)
    audio.write_wav(tmp_path / "rain" / "a.wav", Audio(torch.zeros(1, RATE), RATE))
    (tmp_path / "horn" / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(MediaError, match=r"silence: take it out of the pool.*; .*a\.wav|a\.wav.*; .*silence"):
        mixed(tmp_path, tmp_path / "out", sources=2, count=9, overlap=[0, 1])
    with pytest.raises(UsageError, match=r"expected folders of sounds such as dog/bark\.wav"):
        read_pool(tmp_path / "rain")


def test_the_command_says_what_it_did_to_clips(pool: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("count = 4\nseconds = 2\nrate = 16000\nsources = [4, 5]\nloudness = -3\n")
    words = ["data", "mix", str(pool), "--recipe", str(recipe), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(group, [*words, "--shard", "2/2"])
    assert done.exit_code == 0, done.output
    assert "2 mixtures of other shards to come" in done.output
    done = CliRunner().invoke(group, words)
    assert "4 mixtures in" in done.output
    assert "2 of them made before" in done.output
    assert "1 clip resampled to 16000 Hz: dog/a.wav" in done.output
    assert "1 clip of several channels averaged to one: dog/a.wav" in done.output
    assert "4 mixtures below the loudness of the recipe, by up to" in done.output
    done = CliRunner().invoke(group, [*words, "--json"])
    assert json.loads(done.output)["questions"] == 4
    done = CliRunner().invoke(
        group, ["data", "mix", str(pool), "--recipe", str(recipe), "--out", str(tmp_path / "set"), "--set", "count=1",
                "--set", "loudness=-40", "--set", 'prompts.dog="a dog"']
    )  # fmt: skip
    assert "1 mixture in" in done.output, done.output
    assert float(rows_of(tmp_path / "set")[0]["loudness"]) == pytest.approx(-40, abs=0.01)
    for wrong in (
        ["--out", str(pool / "made")],
        ["--shard", "3/2"],
        ["--shard", "x"],
        ["--set", "count"],
        ["--set", "count=x"],
    ):
        usual = {"--out": str(tmp_path / "out"), "--recipe": str(recipe), wrong[0]: wrong[1]}
        given = [word for pair in usual.items() for word in pair]
        done = CliRunner().invoke(group, ["data", "mix", str(pool), *given])
        assert isinstance(done.exception, UsageError), wrong


def test_the_recordings_in_the_package_are_a_pool() -> None:
    clips = read_pool("mini")
    assert len(clips) == 75
    assert all(one.licence and one.credit for one in clips)
    assert next(one for one in clips if one.id == "sfx_cat").label == "cat meowing"


@given(lengths=st.lists(st.integers(1, 4), min_size=1, max_size=5), seed=st.integers(0, 9))
def test_every_clip_can_be_drawn_whatever_the_order(lengths: list[int], seed: int) -> None:
    clips = [
        Clip(id=f"{label}-{at}", path=Path("x"), label=str(label), group=str(at % 2))
        for label, count in enumerate(lengths)
        for at in range(count)
    ]
    index, again = ClipIndex(clips), ClipIndex(clips[::-1])
    draws = [np.random.default_rng(seed), np.random.default_rng(seed)]
    assert [index.draw("", draws[0]) for _ in range(5)] == [again.draw("", draws[1]) for _ in range(5)]
    assert {one.id for one in clips} == {one.id for group in index.all_groups("") for one in group}


def test_a_cut_sounds() -> None:
    signal = np.zeros(10_000, np.float32)
    signal[6000:6500] = 0.5
    for seed in range(20):
        start = cut_sounding(signal, 1000, np.random.default_rng(seed))
        assert 0 <= start <= 9000
        assert np.abs(signal[start : start + 1000]).max() > 0
