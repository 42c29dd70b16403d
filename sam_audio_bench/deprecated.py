"""Old public names, which keep working for one release and raise a DeprecationWarning that states the new name."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["DEPRECATED", "deprecated_names"]

DEPRECATED: Mapping[str, Mapping[str, str]] = {  # module -> old name -> new module:name
    "sam_audio_bench.files": {"replacing": "sam_audio_bench.files:atomic_write"},
    "sam_audio_bench.stats": {"Row": "sam_audio_bench.stats:SummaryRow"},
}


def deprecated_names(module: str) -> Callable[[str], Any]:
    """Makes a module's ``__getattr__`` that forwards its old names.

    Args:
        module: name of the module, a key of `DEPRECATED`.

    Returns:
        A function that warns and returns the object behind the new name; it raises AttributeError for other names.
    """

    def forward(name: str) -> Any:
        if name not in DEPRECATED[module]:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = DEPRECATED[module][name].partition(":")
        message = f"{module}.{name} is now {home}.{new}; the old name goes with the next release"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(home), new)

    return forward
