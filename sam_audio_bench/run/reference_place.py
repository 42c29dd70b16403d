"""What ``--reference`` of `sabench distance` names, told without importing torch."""

from __future__ import annotations

from pathlib import Path

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import exists, find_folders, is_url

__all__ = ["OF_ITEMS", "reference_kind"]

OF_ITEMS = ("references", "mixtures")
"""What the items themselves have."""


def reference_kind(reference: str) -> str:
    """One of `OF_ITEMS`, "run" or "folder"; raises UsageError where there is none of them."""
    if reference in OF_ITEMS:
        return reference
    if is_url(reference):
        return "run"
    path = Path(reference)
    if not path.is_dir():
        raise UsageError(
            f"expected --reference {' or '.join(OF_ITEMS)}, a folder of sounds, or a run, found {reference!r}"
        )
    return "run" if exists(path / "run.json") or any(find_folders(path, "run.json")) else "folder"
