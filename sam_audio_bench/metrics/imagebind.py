"""`imagebind`: does the answer sound like what the masked video shows? For those who have ImageBind.

The cosine of the masked video and the answer in the space of ImageBind-huge (Girdhar et al., "ImageBind: one embedding
space to bind them all", CVPR 2023), as SAM Audio's evaluation reports it. The network and the preparation of its input
are those of the authors' package ``imagebind``, which is on no package index and needs torchaudio and pytorchvideo. It
is used when it can be imported and its weights are given; its licence, CC BY-NC 4.0, is the user's to keep. Tested with
a stand-in that has the authors' interface, never with their weights.
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
from sam_audio_bench.metrics.weights import LearnedMetric, batches
from sam_audio_bench.nn.checkpoint import align_weights
from sam_audio_bench.nn.hub import Checkpoint, Source
from sam_audio_bench.types import Audio, Item, Prompt
from sam_audio_bench.video import mask_frames, read_mask, stream_frames

__all__ = ["ImageBind", "masked_video"]

WEIGHTS = "imagebind_huge.pth"
_CLOCK = Fraction(1, 90_000)  # seconds: the unit of time stamps


class ImageBind(LearnedMetric):
    """Cosine of masked video and answer, asked of items with a video; silence is undefined, see `LearnedMetric`.

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
        super().__init__(Source(repository="imagebind_huge", path=str(path)), device=device, stereo=stereo)

    def missing(self) -> str | None:
        """The authors' package first, then its weights."""
        if importlib.util.find_spec("imagebind") is None:
            return "expected the authors' package imagebind, found none; install it from their repository"
        if not (self._folder / WEIGHTS).is_file():
            return f"expected {WEIGHTS} in {self._folder}, found none; give its folder with --metric-args path=DIR"
        return None

    def asks(self, item: Item) -> bool:
        """Items whose prompt has a video."""
        return item.query.prompt.video is not None

    def load(self, model: Checkpoint, device: torch.device) -> Any:
        """The authors' network with its weights, and their module that prepares files."""
        networks = importlib.import_module("imagebind.models.imagebind_model")
        network = networks.imagebind_huge(pretrained=False)
        network.load_state_dict(torch.load(model.weights, map_location="cpu", weights_only=True))
        align_weights(network)
        return network.eval().to(device), importlib.import_module("imagebind.data"), networks.ModalityType

    def measure(self, network: Any, clips: Sequence[Audio], items: Sequence[Item]) -> Sequence[Sequence[float]]:
        """The cosine of each clip and its item's video."""
        pairs = list(zip(clips, (item.query.prompt for item in items), strict=True))
        return [[cosine] for batch in batches(pairs, self.batch_size) for cosine in _cosines(network, batch)]

    def _model(self) -> Checkpoint:
        return Checkpoint(folder=self._folder, weights=self._folder / WEIGHTS)


def _cosines(network: Any, pairs: Sequence[tuple[Audio, Prompt]]) -> list[float]:
    """The cosine of each answer and its prompt's video, in one call of the network."""
    model, data, modality = network
    device = next(model.parameters()).device
    with tempfile.TemporaryDirectory() as folder:
        files = [_files(*pair, Path(folder) / str(number)) for number, pair in enumerate(pairs)]
        sounds, videos = map(list, zip(*files, strict=True))
        inputs = {
            modality.VISION: data.load_and_transform_video_data(videos, device),
            modality.AUDIO: data.load_and_transform_audio_data(sounds, device),
        }
    found = model(inputs)
    cosines: list[float] = torch.cosine_similarity(found[modality.VISION], found[modality.AUDIO], dim=-1).tolist()
    return cosines


def _files(sound: Audio, prompt: Prompt, folder: Path) -> tuple[str, str]:
    """Paths of the answer and of the masked video, since the authors' preparation reads files."""
    folder.mkdir()
    audio.write_wav(folder / "answer.wav", sound)
    assert prompt.video is not None  # `asks` saw to it
    if prompt.mask is None:
        return str(folder / "answer.wav"), prompt.video
    masked_video(Path(prompt.video), Path(prompt.mask), folder / "masked.mp4")
    return str(folder / "answer.wav"), str(folder / "masked.mp4")


def masked_video(video: Path, mask: Path, out: Path) -> None:
    """Writes the video with everything outside the mask black; frames and masks are matched by their number.

    Args:
        video: a file with a video stream.
        mask: npz with ``video_masklet`` [frames, height, width].
        out: the mp4 to write, H.264, visually lossless, with the video's own time stamps.

    Raises:
        MediaError: no video stream, or a mask of another size or number of frames.
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
            wanted = tuple(keep.shape[1:])
            raise MediaError(
                f"expected {len(keep)} frames of {wanted} in {video} as in its mask, found {count} frames of {size}"
            )
        target.mux(stream.encode(None))
