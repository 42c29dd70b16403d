"""What a notebook shows: sounds that can be heard, texts that are only texts, and nothing longer than it must be."""

from __future__ import annotations

import base64
import io
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from browser import Browser, needs_browser

import sam_audio_bench as sab
from sam_audio_bench.errors import UsageError
from sam_audio_bench.notebook import COLOURS, escape_text, player_html
from sam_audio_bench.run.display import _MAX_CHARACTERS
from sam_audio_bench.run.results import Results
from sam_audio_bench.types import Audio, Item, Prompt, Query, Separation

HOSTILE = (
    "</bdi></title></style><script>alert(1)</script><img src=x onerror=alert(2)> \" ' & \N{RIGHT-TO-LEFT OVERRIDE}"
)


def tone(seconds: float = 1.0, rate: int = 24_000, channels: int = 1, level: float = 0.5) -> Audio:
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return Audio((level * torch.sin(2 * math.pi * 440 * time)).float().expand(channels, -1), rate)


def item(**more: object) -> Item:
    fields: dict[str, object] = {"id": "i-0", "group": "g", "reference": None} | more
    prompt = fields.pop("prompt", Prompt(text="a dog"))
    return Item(query=Query(mixture=tone(), prompt=prompt), **fields)  # type: ignore[arg-type]


class Page(HTMLParser):
    """Tags, text and sounds of some HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.sounds: list[tuple[np.ndarray, int]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        for name, value in attrs:
            if tag == "audio" and name == "src":
                head, _, data = str(value).partition(",")
                assert head == "data:audio/mpeg;base64"
                self.sounds.append(soundfile.read(io.BytesIO(base64.b64decode(data))))

    def handle_data(self, data: str) -> None:
        self.text += data


SOUND = Audio(torch.zeros(2, 48_000 * 600), 48_000)
LONG = Item(id="i", group="g", query=Query(mixture=SOUND, prompt=Prompt(text="a dog")), reference=SOUND)


@pytest.mark.parametrize("value", [SOUND, LONG, LONG.query, Separation(target=SOUND, residual=SOUND)], ids=type)
def test_no_repr_holds_samples(value: object) -> None:
    assert len(repr(value)) < 400
    assert "tensor" not in repr(value)
    assert "2 × 28800000 samples at 48000 Hz" in repr(value)


@pytest.mark.parametrize("rate", [8000, 22_000, 24_000, 48_000, 96_000])
def test_a_player_plays_the_sound(rate: int) -> None:
    """Decoded by libsndfile: a tone of the same pitch, level and length, at whatever rate."""
    ((samples, found),) = Page(player_html(tone(2.0, rate))).sounds
    assert len(samples) / found == pytest.approx(2.0, abs=0.06)
    middle = samples[found // 2 : found // 2 + found]
    spectrum = np.abs(np.fft.rfft(middle)) / len(middle) * 2
    assert np.argmax(spectrum) == 440
    assert spectrum[440] == pytest.approx(0.5, rel=0.05)


def test_the_same_sound_gives_the_same_bytes() -> None:
    assert item()._repr_html_() == item()._repr_html_()


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        (tone(40.0, 8000), "the first 30 of 40.000 s"),
        (tone(level=2.0), "peak 2.00, played 6.0 dB softer"),
        (tone(channels=6), "mean of 6 channels"),
        (tone(level=0.0), "silent"),
        (Audio(torch.tensor([[0.0, math.nan]]), 8000), "not playable: samples that are not finite"),
        (Audio(torch.zeros(1, 0), 8000), "no samples"),
    ],
)
def test_what_is_changed_for_listening_is_told(sound: Audio, said: str) -> None:
    page = Page(sound._repr_html_())
    assert said in page.text
    for samples, rate in page.sounds:
        assert len(samples) / rate < 30.2
        assert np.abs(samples).max() <= 1.1  # of a lossy codec


def test_stereo_stays_stereo() -> None:
    left = Audio(torch.cat([tone().samples, torch.zeros(1, 24_000)]), 24_000)
    ((samples, _),) = Page(left._repr_html_()).sounds
    assert np.abs(samples[:, 0]).max() > 0.4
    assert np.abs(samples[:, 1]).max() < 0.1


def test_texts_of_anyone_are_texts() -> None:
    prompt = Prompt(text=HOSTILE, spans=(("+", 0.0, 0.5), ("-", 0.6, 9.0)), video=HOSTILE, mask=HOSTILE)
    page = Page(item(id=HOSTILE, group=HOSTILE, prompt=prompt, remarks=(HOSTILE,))._repr_html_())
    assert set(page.tags) <= {"style", "div", "p", "b", "bdi", "small", "svg", "rect", "title", "path", "span", "audio"}
    assert not [name for name in page.attributes if name.startswith("on")]
    assert page.text.count(HOSTILE) == 6


def test_spans_lie_where_they_are() -> None:
    spans = (("+", 0.25, 0.5), ("-", 0.75, 9.0))
    found = re.findall(
        r'<rect x="([\d.]+)" y="-40" width="([\d.]+)" height="80" fill="(#\w+)"',
        item(prompt=Prompt(spans=spans))._repr_html_(),
    )
    assert found == [("150.0", "150.0", COLOURS["+"]), ("450.0", "150.0", COLOURS["-"])]


def test_an_item_has_a_player_for_each_of_its_sounds() -> None:
    whole = Page(item(reference=tone(level=0.1), residual_reference=tone(level=0.2))._repr_html_())
    assert [float(np.abs(samples).max()) for samples, _ in whole.sounds] == pytest.approx([0.5, 0.1, 0.2], rel=0.1)
    assert "no clean reference" in Page(item()._repr_html_()).text


def test_a_task_is_a_sequence() -> None:
    task = sab.load_task("sfx", split="mini")
    assert [task[0].id, task[np.int64(1)].id, task[-1].id] == [task.ids[0], task.ids[1], task.ids[-1]]
    assert next(iter(task)).id == task[task.ids[0]].id
    recordings = len(set(task.groups.values()))
    offered = "reference, residual_reference, text"
    assert repr(task) == f"TaskData(sfx@1-mini: {len(task)} items of {recordings} recordings, with {offered})"
    for place in (len(task), -len(task) - 1):
        with pytest.raises(UsageError, match=f"one of the {len(task)} items of sfx@1-mini, found {place}"):
            _ = task[place]
    with pytest.raises(UsageError, match=r"found slice\(0, 2, None\); write select\(limit="):
        _ = task[0:2]
    page = Page(task._repr_html_())
    assert page.tags.count("tr") == 11
    assert f"{len(task) - 10} more items" in page.text


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two separators on six items with hostile prompts, which get worse from the first to the last."""
    folder = tmp_path_factory.mktemp("notebook")
    generator = np.random.default_rng(0)
    lines = ["mixture,text,target,group,id"]
    for index in range(6):
        target, rest = generator.normal(size=(2, 4000)) * 0.02
        for name, samples in (("mix", target + rest * (index + 1)), ("target", target)):
            soundfile.write(folder / f"{name}{index}.wav", samples, 8000, subtype="FLOAT")
        text = HOSTILE.replace('"', '""')
        lines.append(f'mix{index}.wav,"{text} {index}",target{index}.wav,song{index % 3},<i>{index}')
    (folder / "task.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sab.evaluate(halved, tasks=[str(folder / "task.csv")], metrics=["si_sdr"], output=folder / "runs", progress=False)
    return folder


def halved(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
    """Half of the mixture."""
    return mixture * 0.5


def test_results_let_the_worst_items_be_heard(finished: Path) -> None:
    results = Results.read(str(finished / "runs"))
    shown = results._repr_html_()
    page = Page(shown)
    assert shown.startswith(results.table("html"))
    own = results.frame[results.frame["separator"] != "mixture"].sort_values("value")
    places = [page.text.index(f"{name} of task") for name in own["item"][:3]]
    assert places == sorted(places)
    assert f"{own['item'].iloc[3]} of task" not in page.text
    assert len(page.sounds) == 9
    mixture, answer, reference = (samples for samples, _ in page.sounds[:3])
    assert np.corrcoef(mixture, answer)[0, 1] > 0.95  # of two lossy sounds
    assert answer.std() == pytest.approx(mixture.std() / 2, rel=0.05)
    assert np.abs(np.corrcoef(mixture, reference)[0, 1]) < 0.9
    assert {"script", "img", "i"}.isdisjoint(page.tags)
    assert page.text.count(HOSTILE) == 3


def test_who_is_heard_is_whom_the_answer_names(finished: Path, tmp_path: Path) -> None:
    """Over tasks that not everyone has, too: the mean over tasks of one who lacks a task says nothing."""
    shutil.copy(finished / "task.csv", tmp_path / "other.csv")
    for path in finished.glob("*.wav"):
        shutil.copy(path, tmp_path)
    sab.evaluate([halved, "silence"], tasks=[str(tmp_path / "other.csv")], metrics=["si_sdr"], output=tmp_path / "runs",
                 progress=False)  # fmt: skip
    sab.evaluate("hpss", tasks=[str(finished / "task.csv")], metrics=["si_sdr"], output=tmp_path / "runs", limit=2,
                 progress=False)  # fmt: skip
    results = Results.read([tmp_path / "runs", finished / "runs" / "halved"])
    leader = results.answers("si_sdr").verdicts["all tasks", "si_sdr"].first_except({"mixture", "silence"})
    assert leader == "halved"
    means = {row.separator: row.value for row in results.rows if row.task == "task"}
    assert means["hpss"] > means["halved"], "who lacks a task is no leader, however good"
    assert f"Where {escape_text('halved')} is worst" in results._repr_html_()
    apart = Results.read([tmp_path / "runs" / "silence", finished / "runs" / "mixture"])
    assert apart.table("html") == apart._repr_html_(), "baselines have no worst items"


def test_what_is_not_there_is_told(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(finished, moved)
    results = Results.read(moved / "runs")
    for path in (moved / "runs").rglob("*.target.flac"):
        path.unlink()
    page = Page(results._repr_html_())
    assert page.text.count("no audio is kept of it here") == 3
    assert len(page.sounds) == 6
    (finished / "task.csv").rename(finished / "gone.csv")
    told = Page(results._repr_html_()).text
    (finished / "gone.csv").rename(finished / "task.csv")
    assert told.count("a table of questions") == 3
    for path in (moved / "runs").rglob("items.jsonl"):
        path.write_text("no record\n")
    assert Page(results._repr_html_()).text.count("items.jsonl") == 3
    shutil.rmtree(moved)
    assert Page(results._repr_html_()).text.count("its run folder is not on this disk") == 3
    there = Results.read(finished / "runs")
    monkeypatch.setattr("sam_audio_bench.run.display._MAX_CHARACTERS", 20_000)
    shown = there._repr_html_()
    assert "no room for its sound on this page" in shown
    assert len(shown) - len(there.table("html")) < 20_000 + 8_000


def test_three_long_items_stay_below_the_bound() -> None:
    loud = Audio(torch.rand(2, 480_000) - 0.5, 48_000)
    assert 9 * len(player_html(loud, seconds=10.0, mono=True)) < _MAX_CHARACTERS


@needs_browser
def test_a_page_of_them_plays_in_chromium(finished: Path, tmp_path: Path, browser: Browser) -> None:
    """Every player knows how long it is, and no text has become a script, which would ask the disk for an image."""
    task = sab.load_task("sfx-span", split="mini")
    parts = [Results.read(finished / "runs"), task, task[0], tone(), item(prompt=Prompt(text=HOSTILE), id=HOSTILE)]
    body = "".join(part._repr_html_() for part in parts)
    (tmp_path / "page.html").write_text(f"<!doctype html><meta charset=utf-8><body>{body}", encoding="utf-8")
    browser.open((tmp_path / "page.html").as_uri())
    browser.wait("[...document.querySelectorAll('audio')].every(one => one.duration > 0)")
    assert browser.evaluate("document.querySelectorAll('audio').length") == 9 + 3 + 1 + 1
    assert browser.evaluate("document.querySelectorAll('script, img').length") == 0
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
