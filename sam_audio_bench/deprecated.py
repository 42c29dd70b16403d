"""Old public names that still work for one release, each with a DeprecationWarning that states the new one."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["DEPRECATED", "deprecated_names"]

DEPRECATED: Mapping[str, Mapping[str, str]] = {  # module -> old name -> module and name now
    "sam_audio_bench.files": {"replacing": "sam_audio_bench.files:atomic_write"},
    "sam_audio_bench.stats": {"Row": "sam_audio_bench.stats:SummaryRow"},
}


def deprecated_names(module: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module, which forwards its old names.

    Args:
        module: its name, a key of `DEPRECATED`.

    Returns:
        A function that warns and returns what the new name stands for; AttributeError for any other name.
    """

    def forward(name: str) -> Any:
        if name not in DEPRECATED[module]:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = DEPRECATED[module][name].partition(":")
        message = f"{module}.{name} is now {home}.{new}; the old name goes with the next release"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(home), new)

    return forward
