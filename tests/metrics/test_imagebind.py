"""`imagebind` through a stand-in package with the authors' interface; their weights cannot be had here."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from tiny_networks import write_imagebind

import sam_audio_bench as sab
from sam_audio_bench.errors import MediaError, Precondition
from sam_audio_bench.metrics.imagebind import WEIGHTS, write_masked_video
from sam_audio_bench.types import Audio, Separation, Status


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return write_imagebind(tmp_path, monkeypatch)


def test_it_says_what_is_missing(tmp_path: Path) -> None:
    metric = sab.load_metric("imagebind")
    assert "expected the authors' package imagebind, found none" in (metric.missing() or "")
    with pytest.raises(Precondition, match="expected a metric that can run, found none: expected the authors' package"):
        sab.evaluate("mixture", "sfx-visual", split="mini", metrics=["imagebind"], output=tmp_path)


def test_weights_are_asked_for(weights: Path) -> None:
    assert sab.load_metric("imagebind", path=str(weights)).missing() is None
    assert f"expected {WEIGHTS} in" in (sab.load_metric("imagebind", path=str(weights.parent)).missing() or "")


def test_cosine_of_what_was_masked_and_heard(weights: Path) -> None:
    data = sab.load_task("sfx-visual", split="mini")
    item = data[data.ids[0]]
    metric = sab.load_metric("imagebind", path=str(weights))
    mixture = item.query.mixture
    answer = Separation(target=mixture, residual=mixture)
    ((score,),) = metric.score([item], [answer])
    again = metric.score([item, item], [answer, answer])
    assert score is not None
    assert score.value is not None
    assert -1 <= score.value <= 1
    assert again == [(score,), (score,)]
    silence = Audio(torch.zeros_like(mixture.samples), mixture.rate)
    assert metric.score([item], [Separation(target=silence, residual=mixture)]) == [((None, Status.SILENT_ESTIMATE),)]
    text = sab.load_task("sfx", split="mini")
    assert metric.score([text[text.ids[0]]], [answer]) == [(None,)]


@pytest.mark.bits
def test_it_does_not_depend_on_where_a_file_puts_a_tensor(weights: Path, tmp_path: Path) -> None:
    """One block of memory holds all tensors of the file, 4 bytes behind one another's ends."""
    tensors = torch.load(weights / WEIGHTS)
    block = torch.cat([torch.cat([torch.zeros(1), value.flatten()]) for value in tensors.values()])
    begins = torch.tensor([0, *(1 + value.numel() for value in tensors.values())]).cumsum(0).tolist()
    (tmp_path / "moved").mkdir()
    torch.save(
        {name: block[at + 1 :][: value.numel()].view_as(value)
         for at, (name, value) in zip(begins, tensors.items(), strict=False)},
        tmp_path / "moved" / WEIGHTS,
    )  # fmt: skip
    data = sab.load_task("sfx-visual", split="mini")
    item = data[data.ids[0]]
    answer = Separation(target=item.query.mixture, residual=item.query.mixture)
    metrics = (sab.load_metric("imagebind", path=str(folder)) for folder in (weights, tmp_path / "moved"))
    first, moved = (metric.score([item], [answer]) for metric in metrics)
    assert first == moved


def test_everything_outside_the_mask_is_black(tmp_path: Path) -> None:
    data = sab.load_task("speaker-visual", split="mini")
    prompt = data[data.ids[0]].query.prompt
    assert prompt.video is not None
    assert prompt.mask is not None
    keep = np.load(prompt.mask)["video_masklet"]
    write_masked_video(Path(prompt.video), Path(prompt.mask), tmp_path / "masked.mp4")
    with av.open(str(tmp_path / "masked.mp4")) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)
    assert frames.shape[:3] == keep.shape
    assert frames[~keep].mean() < 4
    assert frames[keep].mean() > 60


def test_a_mask_that_does_not_fit(tmp_path: Path) -> None:
    data = sab.load_task("speaker-visual", split="mini")
    video = data[data.ids[0]].query.prompt.video
    assert video is not None
    np.savez(tmp_path / "mask.npz", video_masklet=np.ones((3, 96, 96), bool))
    with pytest.raises(MediaError, match=r"expected 3 frames of \(96, 96\) .* found 80 frames"):
        write_masked_video(Path(video), tmp_path / "mask.npz", tmp_path / "masked.mp4")
