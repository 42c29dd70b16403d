"""The contact sheet shows what a separator is given: frames, masks, spans and words, in the same bits each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.image import imread

from sam_audio_bench.cli import group
from sam_audio_bench.errors import MediaError, UsageError
from sam_audio_bench.notebook import envelope
from sam_audio_bench.tasks.contact_sheet import draw_contact_sheet, write_contact_sheet
from sam_audio_bench.tasks.mini import load_mini
from sam_audio_bench.types import Audio, Item, Prompt, Query
from sam_audio_bench.video import masked_frames, read_frames, read_mask


def item(prompt: Prompt, samples: torch.Tensor | None = None, reference: torch.Tensor | None = None) -> Item:
    sound = torch.linspace(-1, 1, 8000).repeat(2, 1) if samples is None else samples
    known = None if reference is None else Audio(reference, 8000)
    return Item(id="an-item", group="g", query=Query(mixture=Audio(sound, 8000), prompt=prompt), reference=known)


def first(task: str) -> Item:
    data = load_mini(task)
    return data[data.ids[0]]


def pictures(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for panel in figure.axes for image in panel.images]


def words(figure: Figure) -> str:
    return figure.get_suptitle()


@pytest.mark.parametrize("task", ["sfx-visual", "sfx-span", "music"])
def test_same_bits(task: str, tmp_path: Path) -> None:
    write_contact_sheet(first(task), tmp_path / "a.png", title=task)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        write_contact_sheet(first(task), tmp_path / "b.png", title=task)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    height, width, _ = imread(tmp_path / "a.png").shape
    assert width == 1440
    assert height > (600 if task == "sfx-visual" else 200)
    assert matplotlib.rcParams["font.size"] == matplotlib.rcParamsDefault["font.size"]


def test_frames_masks_and_masked_frames_are_those_of_their_times() -> None:
    shown = first("sfx-visual")
    figure = draw_contact_sheet(shown, title="t", frames=4)
    prompt, times = shown.query.prompt, [1.0, 3.0, 5.0, 7.0]
    assert prompt.video is not None
    assert prompt.mask is not None
    frames = read_frames(prompt.video, times).pixels.permute(0, 2, 3, 1).numpy()
    masks = read_mask(prompt.mask).numpy()[[10, 30, 50, 70]]  # ten a second
    seen = [frame.permute(1, 2, 0).numpy() for frame in masked_frames(prompt.video, prompt.mask, times)]
    drawn = pictures(figure)
    assert len(drawn) == 12
    for at in range(4):
        np.testing.assert_array_equal(drawn[3 * at], frames[at])
        np.testing.assert_array_equal(drawn[3 * at + 1], masks[at])
        np.testing.assert_array_equal(drawn[3 * at + 2], seen[at])


def test_a_video_without_a_mask_has_one_row() -> None:
    shown = first("sfx-visual")
    bare = replace(shown, query=replace(shown.query, prompt=Prompt(video=shown.query.prompt.video)))
    figure = draw_contact_sheet(bare, title="t", frames=3)
    assert len(pictures(figure)) == 3
    assert "video without a mask" in words(figure)


def test_spans_lie_where_they_are() -> None:
    prompt = Prompt(text="bells", spans=(("+", 0.25, 0.5), ("+", 0.6, 0.7), ("-", 0.75, 1.0)))
    (panel,) = draw_contact_sheet(item(prompt), title="t").axes
    boxes = [(patch.get_x(), patch.get_width()) for patch in panel.patches]
    assert boxes == [(0.25, 0.25), (0.6, pytest.approx(0.1)), (0.75, 0.25)]
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["mixture", "span +", "span −"]
    assert panel.get_xlim() == (0, 1)


def test_heading_says_what_is_asked_and_known() -> None:
    silent = torch.zeros(2, 8000)
    text = words(
        draw_contact_sheet(item(Prompt(text="bells", spans=(("-", 0.5, 1.0),)), reference=silent), title="sfx@1")
    )
    assert "sfx@1   an-item   (group g)" in text
    assert "text “bells”; spans -0.5:1 s" in text
    assert "1.000 s, 8000 Hz, 2 channels, silent reference" in text
    assert "mono, no reference" in words(draw_contact_sheet(item(Prompt(text="a"), torch.zeros(1, 800)), title="t"))


@pytest.mark.parametrize("text", ["$x_1$ costs $5", "鐘の音", "a\nb", "word " * 100, r"\frac", "🔔"])
def test_any_text_can_be_drawn(text: str, tmp_path: Path) -> None:
    write_contact_sheet(item(Prompt(text=text)), tmp_path / "x.png", title="t")
    assert (tmp_path / "x.png").stat().st_size > 5000


@pytest.mark.parametrize("length", [1, 2, 1599, 1600, 1601])
def test_any_length_can_be_drawn(length: int, tmp_path: Path) -> None:
    write_contact_sheet(item(Prompt(text="a"), torch.full((1, length), 0.5)), tmp_path / "x.png", title="t")


@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_envelope_bounds_every_part(length: int, bins: int, seed: int) -> None:
    samples = np.random.default_rng(seed).normal(size=length)
    low, high = envelope(samples, bins)
    assert len(low) == len(high) == min(length, bins)
    assert (low <= high).all()
    assert (low.min(), high.max()) == (samples.min(), samples.max())


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png file"):
        write_contact_sheet(item(Prompt(text="a")), tmp_path / "x.jpg", title="t")
    with pytest.raises(UsageError, match="at least one frame"):
        write_contact_sheet(item(Prompt(text="a")), tmp_path / "x.png", title="t", frames=0)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="can be written"):
        write_contact_sheet(item(Prompt(text="a")), tmp_path / "file" / "x.png", title="t")
    with pytest.raises(MediaError, match="found none"):
        write_contact_sheet(item(Prompt(video=str(tmp_path / "gone.mp4"))), tmp_path / "x.png", title="t")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_the_command_draws_an_item(tmp_path) -> None:
    out = tmp_path / "item.png"
    done = CliRunner().invoke(group, ["data", "show", "sfx-span", "sfx-span-00", "--split", "mini", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert out.read_bytes().startswith(b"\x89PNG")
