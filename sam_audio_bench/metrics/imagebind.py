"""`imagebind`: similarity of the estimate and the masked video; needs an installation of ImageBind.

The cosine of the masked video and the estimate in the space of ImageBind-huge (Girdhar et al., "ImageBind: one
embedding space to bind them all", CVPR 2023), as SAM Audio's evaluation reports it. The network and the preprocessing
of its input are those of the authors' package ``imagebind``, which is on no package index and needs torchaudio and
pytorchvideo. It is used if it can be imported and its weights are given; users must comply with its licence, CC BY-NC
4.0. Tested with a stand-in that has the authors' interface, never with their weights.
"""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from sam_audio_bench import audio
from sam_audio_bench.errors import MediaError
from sam_audio_bench.files import atomic_write
from sam_audio_bench.metrics.catalogue import metric_ids_of
from sam_audio_bench.metrics.weights import LearnedMetric, split_batches
from sam_audio_bench.nn.checkpoint import align_weights
from sam_audio_bench.nn.hub import Checkpoint, ModelSource
from sam_audio_bench.types import Audio, Item, Prompt
from sam_audio_bench.video import mask_frames, read_mask, stream_frames

__all__ = ["ImageBind", "write_masked_video"]

WEIGHTS = "imagebind_huge.pth"
_CLOCK = Fraction(1, 90_000)  # seconds: the unit of time stamps


class ImageBind(LearnedMetric):
    """Cosine of masked video and target estimate, for items with a video; silence is undefined, see `LearnedMetric`.

    Args:
        path: a folder with the authors' ``imagebind_huge.pth``.
        device: see `LearnedMetric`.
        stereo: see `LearnedMetric`.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.imagebind:ImageBind")
    rate = 16_000
    batch_size = 8

    def __init__(self, path: str = "", device: str = "auto", stereo: str = "joint") -> None:
        self._folder = Path(path)
        super().__init__(ModelSource(repository="imagebind_huge", path=str(path)), device=device, stereo=stereo)

    def missing(self) -> str | None:
        """Returns why the authors' package or its weights are unavailable; checks the package first."""
        if importlib.util.find_spec("imagebind") is None:
            return "expected the authors' package imagebind, found none; install it from their repository"
        if not (self._folder / WEIGHTS).is_file():
            return f"expected {WEIGHTS} in {self._folder}, found none; give its folder with --metric-args path=DIR"
        return None

    def applies_to(self, item: Item) -> bool:
        """Returns whether the prompt has a video."""
        return item.query.prompt.video is not None

    def load(self, model: Checkpoint, device: torch.device) -> Any:
        """Loads the authors' network with its weights, and their module that preprocesses files."""
        networks = importlib.import_module("imagebind.models.imagebind_model")
        network = networks.imagebind_huge(pretrained=False)
        network.load_state_dict(torch.load(model.weights, map_location="cpu", weights_only=True))
        align_weights(network)
        return network.eval().to(device), importlib.import_module("imagebind.data"), networks.ModalityType

    def measure(self, network: Any, clips: Sequence[Audio], items: Sequence[Item]) -> Sequence[Sequence[float]]:
        """Returns the cosine of each clip and its item's video."""
        pairs = list(zip(clips, (item.query.prompt for item in items), strict=True))
        return [[cosine] for batch in split_batches(pairs, self.batch_size) for cosine in _cosines(network, batch)]

    def _model(self) -> Checkpoint:
        return Checkpoint(folder=self._folder, weights=self._folder / WEIGHTS)


def _cosines(network: Any, pairs: Sequence[tuple[Audio, Prompt]]) -> list[float]:
    """Returns the cosine of each estimate and its prompt's video, in one forward pass."""
    model, data, modality = network
    device = next(model.parameters()).device
    with tempfile.TemporaryDirectory() as folder:
        files = [_write_inputs(*pair, Path(folder) / str(number)) for number, pair in enumerate(pairs)]
        sounds, videos = map(list, zip(*files, strict=True))
        inputs = {
            modality.VISION: data.load_and_transform_video_data(videos, device),
            modality.AUDIO: data.load_and_transform_audio_data(sounds, device),
        }
    found = model(inputs)
    cosines: list[float] = torch.cosine_similarity(found[modality.VISION], found[modality.AUDIO], dim=-1).tolist()
    return cosines


def _write_inputs(sound: Audio, prompt: Prompt, folder: Path) -> tuple[str, str]:
    """Writes the estimate and the masked video as files, which the authors' preprocessing reads; returns the paths."""
    folder.mkdir()
    audio.write_wav(folder / "answer.wav", sound)
    assert prompt.video is not None  # ensured by `applies_to`
    if prompt.mask is None:
        return str(folder / "answer.wav"), prompt.video
    write_masked_video(Path(prompt.video), Path(prompt.mask), folder / "masked.mp4")
    return str(folder / "answer.wav"), str(folder / "masked.mp4")


def write_masked_video(video: Path, mask: Path, out: Path) -> None:
    """Writes the video with everything outside the mask black; frames and masks are matched by index.

    Args:
        video: a file with a video stream.
        mask: npz with ``video_masklet`` [frames, height, width].
        out: path of the mp4 to write: H.264, visually lossless, with the video's own time stamps.

    Raises:
        MediaError: there is no video stream, or the mask has another size or number of frames.
    """
    import av

    keep = read_mask(mask)
    count, size = 0, tuple(keep.shape[1:])
    with atomic_write(out) as temporary, av.open(str(temporary), "w", format="mp4") as target:
        stream = target.add_stream("libx264", options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = _CLOCK
        for frame in stream_frames(video):
            count, size = count + 1, tuple(frame.pixels.shape[1:])
            if count <= len(keep) and size == keep.shape[1:]:
                pixels = mask_frames(frame.pixels, keep[frame.index]).permute(1, 2, 0).contiguous()
                masked = av.VideoFrame.from_ndarray(pixels.numpy(), format="rgb24")
                masked.pts, masked.time_base = round(frame.time / _CLOCK), _CLOCK
                target.mux(stream.encode(masked))
        if count != len(keep) or size != keep.shape[1:]:
            expected = tuple(keep.shape[1:])
            raise MediaError(
                f"expected {len(keep)} frames of {expected} in {video} as in its mask, found {count} frames of {size}"
            )
        target.mux(stream.encode(None))
