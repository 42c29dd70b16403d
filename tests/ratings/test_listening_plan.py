"""A planned test: who hears what under which name, how loud, and that nothing gives a system away."""

from __future__ import annotations

import csv
import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from click.testing import CliRunner

from sam_audio_bench.cli.ratings.plan import plan as command
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.files import load_json
from sam_audio_bench.ratings.axes import AXES, choose_axes
from sam_audio_bench.ratings.blind_key import unblind_ratings, unblind_table
from sam_audio_bench.ratings.controls import low_anchor, make_trap
from sam_audio_bench.ratings.exports import to_yaml
from sam_audio_bench.ratings.listening_page import render_page
from sam_audio_bench.ratings.loudness import integrated_loudness, true_peak
from sam_audio_bench.ratings.options import FORMATS, ListeningTestOptions
from sam_audio_bench.ratings.plan import PlannedTest, plan_test

EVERYTHING = ListeningTestOptions(
    items=4, raters=6, raters_per_item=3, anchors=True, traps=2, golds=2, formats=FORMATS, audio_url="https://x.org/a"
)


@pytest.fixture(scope="module")
def everything(listening_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> PlannedTest:
    """A test in every format with every kind of trial."""
    return plan_test([listening_runs], tmp_path_factory.mktemp("plan") / "test", EVERYTHING)


@pytest.fixture(scope="module")
def key(everything: PlannedTest) -> dict[str, Any]:
    found: dict[str, Any] = load_json(everything.folder / "key.json")
    return found


def heard(folder: Path, name: str) -> tuple[np.ndarray, int]:
    """Samples [channels, time] of a clip of the page and their rate."""
    samples, rate = soundfile.read(folder / "page" / "audio" / f"{name}.flac", always_2d=True)
    return samples.T, rate


def page_data(folder: Path) -> dict[str, Any]:
    """What the page's script reads."""
    text = (folder / "page" / "index.html").read_text(encoding="utf-8")
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    found: dict[str, Any] = json.loads(block)
    return found


def test_every_stimulus_has_its_raters(everything: PlannedTest, key: dict[str, Any]) -> None:
    cells = {name for name, trial in key["trials"].items() if trial["kind"] not in ("trap", "gold")}
    assert everything.stimuli == len(cells) == 4 * (3 + 1 + 1)
    blocks = page_data(everything.folder)["blocks"]
    counts = Counter(name for block in blocks for name in block)
    assert {name: counts[name] for name in cells} == dict.fromkeys(cells, 3)
    for block in blocks:
        kinds = Counter(key["trials"][name]["kind"] for name in block)
        assert (len(set(block)), kinds["trap"], kinds["gold"], len(block)) == (14, 2, 2, 14)
        assert key["trials"][block[0]]["kind"] not in ("trap", "gold")
    systems = Counter((trial["kind"], trial["system"]) for trial in key["trials"].values())
    assert (
        systems[("rating", "secrethalf")]
        == systems[("anchor", "anchor")]
        == systems[("hidden_reference", "reference")]
        == 4
    )


def test_nothing_gives_a_system_away(everything: PlannedTest, key: dict[str, Any]) -> None:
    """No name of a system, item, recording or task, and no kind of a trial, outside the key."""
    for path in everything.folder.rglob("*"):
        inside = path.relative_to(everything.folder)
        assert "secret" not in str(inside)
        if path.is_file() and inside.name != "key.json":
            content = path.read_bytes()
            for word in (b"secret", b"secretsilence", b"hidden_reference", b"expected"):
                assert word not in content.replace(b"nothing leaves", b""), f"{word!r} in {inside}"
    data = page_data(everything.folder)
    assert set(data) == {"test", "mixtures", "trials", "blocks", "minutes"}
    assert {tuple(trial) for trial in data["trials"].values()} == {("file", "mixture", "seconds", "peaks")}
    text = (everything.folder / "page" / "index.html").read_text(encoding="utf-8")
    assert "anchor" not in text
    assert "gold" not in text
    numbers = {kind: [int(n[5:]) for n, t in key["trials"].items() if t["kind"] == kind] for kind in ("rating", "trap")}
    assert min(numbers["trap"]) < max(numbers["rating"])  # numbers follow no order of kinds


def test_every_sound_of_an_item_is_equally_loud(everything: PlannedTest, key: dict[str, Any]) -> None:
    for name, trial in key["trials"].items():
        samples, rate = heard(everything.folder, name)
        assert true_peak(samples) <= 10 ** (-1 / 20) + 1e-4
        if trial["kind"] in ("trap",):
            continue
        loudness = integrated_loudness(np.repeat(samples, 2, axis=0), rate)
        if trial["system"] == "secretsilence":
            assert loudness is None
        elif trial["kind"] != "gold":
            assert loudness == pytest.approx(-23, abs=0.02)
    for name in key["mixtures"]:
        samples, rate = heard(everything.folder, name)
        assert integrated_loudness(np.repeat(samples, 2, axis=0), rate) == pytest.approx(-23, abs=0.02)


def test_sounds_are_what_the_key_says(everything: PlannedTest, key: dict[str, Any], listening_runs: Path) -> None:
    def alike(a: np.ndarray, b: np.ndarray) -> float:
        return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))

    for name, trial in key["trials"].items():
        samples, rate = heard(everything.folder, name)
        number = trial["item"].removeprefix("secretitem")
        mixture, target = (
            soundfile.read(listening_runs.parent / f"secret{what}{number}.wav", always_2d=True)[0].T
            for what in ("mix", "target")
        )
        match trial["kind"], trial["system"]:
            case ("rating", "secrethalf" | "mixture"):
                assert alike(samples, mixture) > 0.9999
            case ("rating", "secretsilence"):
                assert not samples.any()
            case ("hidden_reference", _):
                assert alike(samples, target) > 0.9999
            case ("anchor", _):
                spectrum = np.abs(np.fft.rfft(samples[0]))
                assert spectrum[len(spectrum) // 2 + 100 :].max() < spectrum.max() / 300  # above 4 kHz
            case ("gold", _):
                if set(trial["expected"].values()) == {5}:
                    assert alike(samples, target) > 0.9999
                else:
                    assert trial["expected"] == {"overall": 1, "recall": 1, "precision": 1}
                    assert abs(alike(samples, target)) < 0.1
                    assert samples.shape == mixture.shape
            case ("trap", _):
                beeps = trial["expected"]["overall"]
                assert set(trial["expected"].values()) == {beeps}
                assert beeps_in(samples[0], rate) == beeps


def beeps_in(samples: np.ndarray, rate: int) -> int:
    """Tones of 1 kHz after the last pause of 0.3 s between bursts of any kind, counted without knowing their times."""
    window = rate // 50
    frames = samples[: samples.size // window * window].reshape(-1, window)
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2
    energy = spectrum.sum(axis=1)
    tonal = (spectrum[:, 18:23].sum(axis=1) > 0.95 * energy) & (energy > 1e-3)
    return int((np.diff(tonal.astype(int), prepend=0) == 1).sum())


def test_peaks_draw_the_sound(everything: PlannedTest) -> None:
    data = page_data(everything.folder)
    for name, clip in {**data["trials"], **data["mixtures"]}.items():
        samples, rate = heard(everything.folder, name)
        assert (everything.folder / "page" / clip["file"]).is_file()
        assert clip["seconds"] == pytest.approx(samples.shape[1] / rate, abs=1e-3)
        assert len(clip["peaks"]) == 240
        assert max(clip["peaks"]) == round(1000 * np.abs(samples).max())


def test_same_seed_same_bytes(listening_runs: Path, tmp_path: Path) -> None:
    options = ListeningTestOptions(items=2, raters=2, formats=FORMATS)
    for name in ("a", "b"):
        plan_test([listening_runs], tmp_path / name, options)
    first, second = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("a", "b")
    )
    assert first == second
    other = plan_test(
        [listening_runs], tmp_path / "c", ListeningTestOptions(items=2, raters=2, formats=FORMATS, seed=1)
    )
    assert page_data(other.folder)["test"] != page_data(tmp_path / "a")["test"]


class _Elements(HTMLParser):
    """Names and attributes of the elements of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_asks_nothing_of_the_network_and_runs_only_itself(everything: PlannedTest) -> None:
    text = (everything.folder / "page" / "index.html").read_text(encoding="utf-8")
    page = _Elements(text)
    tags = Counter(tag for tag, _ in page.found)
    assert (tags["script"], tags["img"], tags["link"], tags["iframe"]) == (2, 0, 0, 0)
    assert not [attributes for _, attributes in page.found if {"src", "href", "style", "onclick"} & set(attributes)]
    assert "http:" not in text
    assert "https:" not in text
    (policy,) = (a["content"] for _, a in page.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy


def test_titles_and_prompts_are_escaped() -> None:
    hostile = "</script><script>alert(1)</script>\u2028&amp;"
    text = render_page({"test": hostile}, choose_axes(["recall"]), title=hostile, consent=hostile, beeps=False)
    assert "<script>alert" not in text
    assert "\u2028" not in re.findall(r'id="data">(.*?)</script>', text)[0]
    assert json.loads(re.findall(r'id="data">(.*?)</script>', text)[0]) == {"test": hostile}
    assert text.count(html.escape("</script><script>alert(1)</script>", quote=False)) == 3
    page = _Elements(text)
    assert [a["value"] for tag, a in page.found if tag == "input" and a.get("name") == "recall"] == list("12345")
    assert "beeps" not in page.text.partition('"use strict"')[0]


def test_answers_are_joined_with_the_key(everything: PlannedTest, key: dict[str, Any]) -> None:
    block = page_data(everything.folder)["blocks"][0]
    answers = [{"trial": name, "axes": {"overall": 3}, "seconds": 1.0, "played": True} for name in block]
    joined = unblind_ratings(answers, key, everything.folder)
    assert [found["axes"] for found in joined] == [answer["axes"] for answer in answers]
    rated = [found for found in joined if found["kind"] == "rating"]
    assert {found["system"] for found in rated} <= {"secrethalf", "secretsilence", "mixture"}
    assert all(found["group"].startswith("secretsong") and found["task"] == "secrettask" for found in joined)
    assert {found["expected"] is None for found in rated} == {True}
    assert "item" not in answers[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda key: {**key, "version": 2}, "sabench-listening-key 1, found sabench-listening-key 2"),
        (lambda key: {"schema": "sabench-listening-test"}, "the key.json of a listening test"),
        (lambda key: {**key, "trials": {}}, "give the key.json of the same plan"),
    ],
)
def test_another_key_is_refused(
    key: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        unblind_ratings([{"trial": next(iter(key["trials"]))}], change(key), Path())
    with pytest.raises(UsageError, match=message):
        unblind_table(pd.DataFrame({"item": [next(iter(key["trials"]))]}), change(key), Path())


def test_webmushra_files_parse(everything: PlannedTest, key: dict[str, Any]) -> None:
    yaml = pytest.importorskip("yaml")
    folder = everything.folder / "webmushra"
    files = sorted(folder.glob("*.yaml"))
    assert len(files) == 6
    rated: Counter[str] = Counter()
    for path in files:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        welcome, (order, *pages), last = config["pages"]
        assert (welcome["type"], order, last["type"]) == ("generic", "random", "finish")
        for page in pages:
            rated[page["id"]] += 1
            assert list(page["stimuli"])[-1] == "anchor"
            assert len(page["stimuli"]) == 4
            for url in (page["reference"], *page["stimuli"].values()):
                name = url.removeprefix("https://x.org/a/")
                assert soundfile.info(folder / "audio" / name).subtype == "PCM_16"
                assert key["trials"][name.removesuffix(".wav")]["item"] == key["mixtures"][page["id"]]["item"]
            table = pd.DataFrame({"item": page["id"], "system": [*page["stimuli"], "reference"], "score": 50})
            joined = unblind_table(table, key, everything.folder)
            assert sorted(joined["system"]) == ["anchor", "mixture", "reference", "secrethalf", "secretsilence"]
            assert set(joined["item"]) == {key["mixtures"][page["id"]]["item"]}
    assert set(rated.values()) == {3}
    assert len(rated) == 4


def test_yaml_says_what_was_meant() -> None:
    yaml = pytest.importorskip("yaml")
    value = {
        "a": ["x: y", "#", "- z", "ü\u2028\n\t\"'", True, None, 1.5, [], {}],
        "on off": {"deep": [["random", {"k": "~"}]]},
    }
    assert yaml.safe_load(to_yaml(value)) == value


def test_p808_files_parse(everything: PlannedTest, key: dict[str, Any]) -> None:
    folder = everything.folder / "p808"
    tables = {
        path.stem: list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) for path in folder.glob("*.csv")
    }
    assert len(tables["rating_clips"]) == everything.stimuli
    assert {row["trapping_ans"] for row in tables["trapping_clips"]} == {"1", "2", "4", "5"}
    assert {row["gold_clips_ans"] for row in tables["gold_clips"]} == {"1", "5"}
    assert len(tables["batch"]) == 6
    for row, block in zip(tables["batch"], page_data(everything.folder)["blocks"], strict=True):
        clips = [row[f"Q{number}"] for number in range(10)]
        trials = [key["trials"][clip.removeprefix("https://x.org/a/").removesuffix(".wav")] for clip in clips]
        assert {trial["kind"] for trial in trials} <= {"rating", "hidden_reference", "anchor"}
        assert {clip.rpartition("/")[2].removesuffix(".wav") for clip in clips} <= set(block)
        (trapped,) = unblind_table(pd.DataFrame({"item": [row["TP"]]}), key, everything.folder).to_dict("records")
        found = key["trials"][row["TP"].rpartition("/")[2].removesuffix(".wav")]
        assert (found["kind"], str(found["expected"]["overall"]), found["item"]) == (
            "trap",
            row["TP_ANS"],
            trapped["item"],
        )
        assert unblind_table(pd.DataFrame({"item": clips}), key, everything.folder)["system"].tolist() == [
            trial["system"] for trial in trials
        ]
        samples, rate = soundfile.read(folder / "audio" / clips[0].rpartition("/")[2])
        assert rate == 16000
        assert samples.ndim == 1


def test_absent_targets_and_missing_answers_are_left_out(listening_runs: Path, tmp_path: Path) -> None:
    planned = plan_test([listening_runs], tmp_path / "test", ListeningTestOptions())
    assert planned.items == 7
    assert planned.notes == ("left out 1 items whose target is absent, so that there is nothing to rate",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": ("overall", "beauty")}, "axes among overall, recall"),
        ({"axes": ("recall", "recall")}, "each once"),
        ({"formats": ("pdf",)}, "--format among page, webmushra, p808, found pdf"),
        ({"loudness": 3.0}, "--loudness from -50 to -10 LUFS, found 3"),
        ({"traps": -1}, "--traps to be at least 0"),
        ({"name": " "}, "a --name"),
        ({"formats": ("webmushra",), "hidden_reference": False}, "--hidden-reference for webMUSHRA"),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ListeningTestOptions(**options)


def test_a_folder_in_use_is_left_alone(
    listening_runs: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(listening_runs / "secrethalf", copy / "secrethalf")
    (tmp_path / "answers.json").write_text("{}")
    with pytest.raises(Precondition, match="new or empty folder"):
        plan_test([listening_runs], tmp_path)
    with pytest.raises(UsageError, match="--items to be at least 1"):
        plan_test([listening_runs], tmp_path / "new", ListeningTestOptions(items=0))
    with pytest.raises(UsageError, match="expected each system once, found secrethalf"):
        plan_test([listening_runs, copy], tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["answers.json"]


def test_what_another_process_writes_is_left_alone(listening_runs: Path, tmp_path: Path) -> None:
    """Processes of two containers may have one number."""
    other = tmp_path / f".{os.getpid()}.test" / "page.html"
    other.parent.mkdir()
    other.touch()
    plan_test([listening_runs], tmp_path / "test", ListeningTestOptions(items=1, formats=("page",)))
    assert other.exists()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_lost_answer_leaves_nothing_behind(listening_runs: Path, tmp_path: Path) -> None:
    from sam_audio_bench.errors import MediaError

    shutil.copytree(listening_runs, tmp_path / "runs")
    for path in (tmp_path / "runs").glob("secrethalf/*/audio/*.target.flac"):
        path.unlink()
    with pytest.raises(MediaError, match="expected an audio file"):
        plan_test([tmp_path / "runs"], tmp_path / "test")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_the_low_anchor_meets_bs_1534() -> None:
    """Within 0.1 dB to 3.5 kHz, 25 dB down at 4 kHz, 50 dB at 4.5 kHz, and in time."""
    impulse = np.zeros((1, 48000))
    impulse[0, 24000] = 1
    found = low_anchor(impulse, 48000)
    assert int(np.abs(found).argmax()) == 24000
    response = 20 * np.log10(np.abs(np.fft.rfft(found[0])) + 1e-12)  # 1 Hz a bin
    assert np.abs(response[20:3500]).max() < 0.1
    assert response[4000:4500].max() < -25
    assert response[4500:].max() < -50
    with pytest.raises(UsageError, match="16000 Hz or more"):
        low_anchor(impulse, 8000)


def test_traps_have_as_many_beeps_as_points() -> None:
    noise = np.random.default_rng(0).normal(size=(2, 90000)) * 0.05
    for answer in range(1, 6):
        found = make_trap(noise, 48000, answer)
        assert beeps_in(found[1], 48000) == answer
        assert not found[:, 90000 : 90000 + 20000].any()
    assert set(AXES) == {"overall", "recall", "precision", "faithfulness"}


def test_the_command(listening_runs: Path, tmp_path: Path) -> None:
    words = [
        str(listening_runs),
        "--out",
        str(tmp_path / "test"),
        "--items",
        "2",
        "--raters",
        "2",
        "--axes",
        "overall,recall",
    ]
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "2 items, 8 stimuli of 3 systems (mixture, secrethalf, secretsilence)" in done.stdout
    assert "2 raters, 8 trials each" in done.stdout
    assert "raters connected by common stimuli: yes" in done.stdout
    text = (tmp_path / "test" / "page" / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'data-axis="(\w+)"', text) == ["overall", "recall"]
    words[2] += "2"
    printed = json.loads(CliRunner().invoke(command, [*words, "--json"], catch_exceptions=False).stdout)
    assert printed["designs"]["trials"]["raters_per_cell"] == [2, 2]


def test_help_is_light() -> None:
    code = (
        "import sys\nfrom sam_audio_bench.cli.ratings.plan import plan\n"
        "try:\n    plan(['--help'])\nexcept SystemExit:\n"
        "    print(sorted({'torch', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
