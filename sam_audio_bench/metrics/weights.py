"""Metrics that are networks: where their weights come from, and what they all do around the network.

A model is a folder in its library's own format. It is looked for in ``--metric-args path=DIR``, else in the cache of
the Hugging Face hub. Nothing is downloaded during a run: whether a download will succeed cannot be planned, and a run
must not die of it halfway; `Metric.missing` gives the command instead. Weights are read as safetensors, or with
``weights_only=True``; nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch

from sam_audio_bench.audio import resample
from sam_audio_bench.devices import deterministic_fp32, find_device, lacking
from sam_audio_bench.errors import BenchError, Precondition, StoreError
from sam_audio_bench.files import load_json
from sam_audio_bench.metrics.base import Row, StereoMetric
from sam_audio_bench.metrics.functional import is_silent
from sam_audio_bench.types import Audio, Item, Score, Separation, Status

__all__ = ["LearnedMetric", "ModelFolder", "Source", "batches"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """A complete model on this machine."""

    folder: Path
    weights: Path
    model: str  # id on the hub, or the label of a folder
    revision: str | None  # commit on the hub

    def sha256(self) -> str:
        """Hex digest of the weight file; it identifies the model wherever it came from."""
        with self.weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where to look for a model, and how to know that it is the right kind and complete.

    Args:
        repository: id on the Hugging Face hub, ``owner/name``.
        revision: branch, tag or commit on the hub; the commit that it stands for is what results record.
        path: a folder of the user's to be used instead, or one that has the model in a subfolder ``name``, so that
            several metrics can share one ``path=DIR``.
        weights: names of the weight file, the preferred one first.
        files: what must lie beside the weights: of each group, one file.
        marks: entries that ``config.json`` must have; None stands for any value.
        label: what results call a model in a folder.
    """

    repository: str
    revision: str = "main"
    path: str = ""
    weights: tuple[str, ...] = ("model.safetensors",)
    files: tuple[tuple[str, ...], ...] = ()
    marks: tuple[tuple[str, str | None], ...] = ()
    label: str = "local"

    def find(self) -> ModelFolder:
        """The complete model; looks at file names and ``config.json`` only.

        Raises:
            Precondition: it is not here, incomplete or another kind of model; the message names the way to get it.
        """
        folder = self._own() if self.path else self._cached()
        absent = [" or ".join(group) for group in (*self.files, self.weights) if _first(folder, group) is None]
        weights = _first(folder, self.weights)
        if absent or weights is None:
            raise Precondition(f"expected {' and '.join(absent)} in {folder}, found none; {self._remedy()}")
        self._check_kind(folder)
        if self.path:
            return ModelFolder(folder=folder, weights=weights, model=self.label, revision=None)
        return ModelFolder(folder=folder, weights=weights, model=self.repository, revision=folder.name)

    def _own(self) -> Path:
        folder = Path(self.path)
        shared = folder / self.repository.rpartition("/")[2]
        for place in (shared, folder):
            if (place / "config.json").is_file():
                return place
        raise Precondition(f"expected a model with a config.json in {folder} or {shared}, found none; {self._remedy()}")

    def _cached(self) -> Path:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.repository, "config.json", revision=self.revision)
        if isinstance(found, str):
            return Path(found).parent
        raise Precondition(
            f"expected {self.repository} at revision {self.revision} in the cache of the Hugging Face hub, found none; "
            + self._remedy()
        )

    def _check_kind(self, folder: Path) -> None:
        try:
            config = load_json(folder / "config.json")
        except StoreError as error:
            raise Precondition(f"{error}; {self._remedy()}") from error
        for key, value in self.marks:
            found = config.get(key) if isinstance(config, dict) else None
            if found is None or value not in (None, found):
                wanted = f"{key} {value}" if value else key
                raise Precondition(
                    f"expected {wanted} in {folder / 'config.json'}, found {found}: another kind of model; "
                    + self._remedy()
                )

    def _remedy(self) -> str:
        from huggingface_hub import is_offline_mode

        revision = "" if self.revision == "main" else f" --revision {self.revision}"
        name = self.repository.rpartition("/")[2]
        offline = " with HF_HUB_OFFLINE unset" if is_offline_mode() else ""
        return (
            f"run `hf download {self.repository}{revision}`{offline}, "
            f"or give a copy with --metric-args path=DIR (the model in DIR or DIR/{name})"
        )


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


class LearnedMetric(StereoMetric):
    """A network that listens to the answer's target, `batch_size` windows in one call of the network.

    Windows are never padded to one another, so that a value depends on the items beside it by rounding only. On the CPU
    even that is avoided: there ``batch_size`` is 1, since a product of matrices has other last bits with another number
    of rows and a CPU gains little from a batch. On CUDA scores of one answer in different batches agree within a tenth
    of the card's ``tolerance``.

    The network is loaded when the first item is scored, and kept. Reference-free, hence the statuses: ``ok``;
    ``silent_estimate``, undefined, when every sample that the network would hear is zero; ``non_finite``, undefined.

    Args:
        source: where the model is.
        device: "auto" (CUDA where there is one), "cpu", "cuda" …; always float32 without TF32.
        stereo: "joint" and "mono" average the channels before the network, so that channels that cancel are silence;
            "mean" is the mean of the values of the channels that are not silent.
    """

    rate: ClassVar[int]  # Hz, what the network hears

    def __init__(self, source: Source, *, device: str = "auto", stereo: str = "joint") -> None:
        super().__init__(stereo)
        self._place = find_device(device)
        if self._place.type == "cpu":
            self.batch_size = 1  # bit for bit the same whatever an item is scored beside; see the class
        self.source = source
        self._found: ModelFolder | None = None
        self._sha256: str | None = None
        self._network: Any = None

    @abstractmethod
    def load(self, model: ModelFolder, device: torch.device) -> Any:
        """The network, and what prepares its input, as one object."""

    @abstractmethod
    def measure(self, network: Any, clips: Sequence[Audio], items: Sequence[Item]) -> Sequence[Sequence[float]]:
        """For each clip, a sounding channel at ``rate`` of the answer to its item, a value a column."""

    def asks(self, item: Item) -> bool:
        """Whether the metric has a question about an item."""
        return True

    def missing(self) -> str | None:
        """Why the model cannot be used here, and what would change that; looks at file names only."""
        if (lack := lacking(self._place)) is not None:
            return f"{lack}; use --metric-args device=cpu"
        try:
            self._model()
        except Precondition as error:
            return str(error)
        return None

    @property
    def weights_sha256(self) -> str | None:
        """Digest of the weight file; None where there is none."""
        if self._sha256 is None and self.missing() is None:
            self._sha256 = self._model().sha256()
        return self._sha256

    @property
    def options(self) -> dict[str, Any]:
        """What changes the values; the weights' digest is among them, so that other weights are scored anew."""
        found = None if self.missing() else self._model()
        return {
            "model": found.model if found else self.source.repository,
            "revision": found.revision if found else None,
            "weights_sha256": self.weights_sha256,
            **super().options,
        }

    def _model(self) -> ModelFolder:
        if self._found is None:
            self._found = self.source.find()
        return self._found

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Rows in the order of the items; raises Precondition where the model is missing."""
        heard = [self._clips(item, answer) for item, answer in zip(items, separations, strict=True)]
        pairs = [pair for found in heard if isinstance(found, list) for pair in found]
        values = iter(self._measured(pairs) if pairs else ())
        return [_row([next(values) for _ in found]) if isinstance(found, list) else found for found in heard]

    def _clips(self, item: Item, answer: Separation) -> list[tuple[Audio, Item]] | Row:
        """The channels that the network has to hear, with their item; or the row of an item for which it need not."""
        if not self.asks(item):
            return (None,) * len(self.columns)
        target = answer.target
        if not bool(torch.isfinite(target.samples).all()):
            return self._all(Status.NON_FINITE)
        channels = target.samples if self.stereo == "mean" else target.samples.mean(dim=0, keepdim=True)
        sounding = [Audio(channel[None], target.rate) for channel in channels if not bool(is_silent(channel))]
        return [(resample(clip, self.rate), item) for clip in sounding] or self._all(Status.SILENT_ESTIMATE)

    def _measured(self, pairs: Sequence[tuple[Audio, Item]]) -> Sequence[Sequence[float]]:
        if self._network is None:
            self._network = self._loaded()
        with torch.inference_mode(), deterministic_fp32():
            return self.measure(self._network, [clip for clip, _ in pairs], [item for _, item in pairs])

    def _loaded(self) -> Any:
        model = self._model()
        try:
            return self.load(model, self._place)
        except BenchError:
            raise
        except Exception as error:  # the libraries share no class of errors for a damaged or foreign file
            found = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise Precondition(
                f"expected a model that can be loaded in {model.folder}, found {found}; get it again"
            ) from error

    def _all(self, status: Status) -> Row:
        return (Score(None, status),) * len(self.columns)


def batches(entries: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Cuts entries into runs of at most ``size``.

    >>> list(batches("abcde", 2))
    ['ab', 'cd', 'e']
    """
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def _row(values: Sequence[Sequence[float]]) -> Row:
    """The mean over an answer's channels, a column each."""
    return tuple(_score(math.fsum(column) / len(column)) for column in zip(*values, strict=True))


def _score(value: float) -> Score:
    """NaN comes from damaged weights: no silent number."""
    return Score(value, Status.OK) if math.isfinite(value) else Score(None, Status.NON_FINITE)
