"""The global state of this process that a component may change, and its restoration.

torch's default dtype and device, grad mode, threads, precision and determinism; the random generators of torch, NumPy
and `random`; warning filters; the working directory; signal handlers and the alarm; the standard streams.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["GlobalState", "apply_settings", "capture_settings", "seed_generators"]

_Switch = tuple[Callable[[], Any], Callable[[Any], object]]  # getter and setter of a value


def _is_cuda_used() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _attribute_switch(owner: Any, name: str) -> _Switch:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


def _streams() -> tuple[Any, ...]:
    return sys.stdin, sys.stdout, sys.stderr


def _set_streams(streams: tuple[Any, ...]) -> None:
    now = _streams()
    # a stream that was closed keeps its replacement, where there is one
    sys.stdin, sys.stdout, sys.stderr = (
        new if getattr(old, "closed", False) else old for old, new in zip(streams, now, strict=True)
    )


def _filters() -> tuple[Any, ...]:
    return list(warnings.filters), warnings.showwarning


def _set_filters(found: tuple[Any, ...]) -> None:
    warnings.resetwarnings()  # also invalidates the caches of modules
    warnings.filters[:] = found[0]  # type: ignore[index]
    warnings.showwarning = found[1]


def _working_folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - kept as text
    except OSError:  # it was removed
        return None


def _set_working_folder(path: str | None) -> None:
    if path is not None:
        os.chdir(path)


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _set_handlers(handlers: dict[int, Any]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                with suppress(OSError, ValueError):  # some handlers cannot be set
                    signal.signal(number, handler)


def _is_alarm_set() -> bool:
    return hasattr(signal, "getitimer") and signal.getitimer(signal.ITIMER_REAL)[0] > 0


def _clear_alarm(was_set: bool) -> None:
    if not was_set:  # its handler is about to be removed, and without one an alarm ends the process
        signal.setitimer(signal.ITIMER_REAL, 0)


_backends: Any = torch.backends
_cuda, _cudnn, _mkldnn = _backends.cuda, _backends.cudnn, _backends.mkldnn
_PROCESS: tuple[_Switch, ...] = (  # restored after every call, never part of a component's own settings
    (_streams, _set_streams),
    (_is_alarm_set, _clear_alarm),
    (_handlers, _set_handlers),
)
_SETTINGS: tuple[_Switch, ...] = (
    (_working_folder, _set_working_folder),
    (_filters, _set_filters),
    (np.geterr, lambda found: np.seterr(**found)),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, _set_default_device),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (lambda: torch.is_autocast_enabled("cpu"), lambda value: torch.set_autocast_enabled("cpu", value)),
    (lambda: torch.is_autocast_enabled("cuda"), lambda value: torch.set_autocast_enabled("cuda", value)),
    (_cuda.flash_sdp_enabled, _cuda.enable_flash_sdp),
    (_cuda.mem_efficient_sdp_enabled, _cuda.enable_mem_efficient_sdp),
    (_cuda.math_sdp_enabled, _cuda.enable_math_sdp),
    *(_attribute_switch(_cudnn, name) for name in ("enabled", "benchmark", "deterministic")),
    *(
        _attribute_switch(_cuda.matmul, f"allow_{kind}_reduced_precision_reduction")
        for kind in ("fp16", "bf16")
    ),
    # first the older interface for precision, which also sets the newer one; that is then set last
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    _attribute_switch(_cuda.matmul, "allow_tf32"),
    _attribute_switch(_cudnn, "allow_tf32"),
    *(
        _attribute_switch(owner, "fp32_precision")
        for owner in (
            _backends, _mkldnn, _mkldnn.matmul, _mkldnn.conv, _mkldnn.rnn,
            _cudnn, _cuda.matmul, _cudnn.conv, _cudnn.rnn,
        )
    ),
)  # fmt: skip


_UNKNOWN = object()


def _read(switch: _Switch) -> Any:
    try:
        return switch[0]()
    except (RuntimeError, AttributeError):  # torch raises if its older and newer interfaces were mixed
        return _UNKNOWN


@dataclass(frozen=True)
class GlobalState:
    """A snapshot of the global state."""

    process: tuple[Any, ...]
    settings: tuple[Any, ...]
    generators: tuple[Any, ...]

    @classmethod
    def capture(cls) -> GlobalState:
        """Returns a snapshot of the current state."""
        cuda = torch.cuda.get_rng_state_all() if _is_cuda_used() else []
        generators = random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda
        return cls(tuple(map(_read, _PROCESS)), tuple(map(_read, _SETTINGS)), generators)

    def has_same_settings(self, other: GlobalState) -> bool:
        """Whether another snapshot has the same settings; generators, handlers and streams are not compared."""
        return all(map(_is_same, self.settings, other.settings))

    def restore(self) -> None:
        """Restores everything that differs, and the generators."""
        _restore(_PROCESS, self.process)
        self.restore_settings()
        standard, numpy, cpu, cuda = self.generators
        random.setstate(standard)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)

    def restore_settings(self) -> None:
        """Restores the settings that differ, but not generators, handlers and streams."""
        _restore(_SETTINGS, self.settings)


def _restore(switches: tuple[_Switch, ...], values: tuple[Any, ...]) -> None:
    for switch, value in zip(switches, values, strict=True):
        if value is not _UNKNOWN and not _is_same(_read(switch), value):
            with suppress(RuntimeError, OSError):
                switch[1](value)


def _is_same(found: Any, expected: Any) -> bool:
    return found is expected or (found is not _UNKNOWN and bool(found == expected))


def capture_settings() -> dict[int, Any]:
    """Returns the settings of this process for `apply_settings` in another one: all except the warning filters."""
    found = enumerate(map(_read, _SETTINGS))
    return {index: value for index, value in found if value is not _UNKNOWN and _SETTINGS[index][0] is not _filters}


def apply_settings(settings: Mapping[int, Any]) -> None:
    """Applies the settings of another process; one that cannot be set here, such as a missing folder, is unchanged."""
    _restore(_SETTINGS, tuple(settings.get(index, _UNKNOWN) for index in range(len(_SETTINGS))))


def seed_generators(seed: int) -> None:
    """Seeds the global random generators, so that draws from them do not depend on what ran before."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    if _is_cuda_used():
        torch.cuda.manual_seed_all(seed)
