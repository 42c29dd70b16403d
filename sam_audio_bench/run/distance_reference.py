"""What ``--reference`` of `sabench distance` names, told without importing torch."""

from __future__ import annotations

from pathlib import Path

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import exists, find_folders, is_url

__all__ = ["ITEM_REFERENCES", "reference_kind"]

ITEM_REFERENCES = ("references", "mixtures")
"""What the items themselves have."""


def reference_kind(reference: str) -> str:
    """One of `ITEM_REFERENCES`, "run" or "folder"; raises UsageError where there is none of them."""
    if reference in ITEM_REFERENCES:
        return reference
    if is_url(reference):
        return "run"
    path = Path(reference)
    if not path.is_dir():
        raise UsageError(
            f"expected --reference {' or '.join(ITEM_REFERENCES)}, a folder of sounds, or a run, found {reference!r}"
        )
    return "run" if exists(path / "run.json") or any(find_folders(path, "run.json")) else "folder"
